SELECT window_start, window_end, COUNT(*) AS n
FROM HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '1' MINUTE)
WHERE price > 1 GROUP BY window_start, window_end;
SELECT window_end, symbol, MAX(amount)
FROM TABLE(CUMULATE(DATA => TABLE trades, TIMECOL => DESCRIPTOR(at_time), STEP => INTERVAL '1' HOUR, SIZE => INTERVAL '1' DAY))
GROUP BY window_end, symbol;
