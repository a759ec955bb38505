SELECT COUNT(*), SUM(price) FROM bids;
