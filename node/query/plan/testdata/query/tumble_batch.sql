-- set execution.runtime-mode=batch
SELECT window_start, symbol, SUM(amount) AS total
FROM TABLE(TUMBLE(TABLE trades, DESCRIPTOR(at_time), INTERVAL '1' HOUR)) GROUP BY window_start, window_end, symbol;
