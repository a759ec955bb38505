SELECT window_end, COUNT(*) FROM TABLE(TUMBLE(TABLE trades, DESCRIPTOR(at_time), INTERVAL '1' DAY)) GROUP BY window_end;
