SELECT window_start, window_end, auction, SUM(price) AS total, COUNT(DISTINCT bidder) AS bidders
FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_start, window_end, auction;
