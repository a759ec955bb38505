CREATE VIEW minutes AS
SELECT window_start AS minute_start, window_end AS minute_end, window_time AS rowtime, auction, SUM(price) AS total
FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, window_time, auction;
INSERT INTO store
SELECT auction, MAX(total) FROM TABLE(TUMBLE(TABLE minutes, DESCRIPTOR(rowtime), INTERVAL '1' HOUR, INTERVAL '15' MINUTE))
GROUP BY window_start, window_end, auction;
