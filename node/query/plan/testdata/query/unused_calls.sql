SELECT n FROM (SELECT auction, COUNT(*) AS n, SUM(price) AS s, MIN(bidder) FROM bids GROUP BY auction) WHERE n > 1;
SELECT 1 AS one FROM (SELECT COUNT(*), MAX(price) FROM bids);
