SELECT auction % 10 AS bucket, COUNT(*) AS n, COUNT(*) FILTER (WHERE price > 100) AS dear, COUNT(DISTINCT bidder) AS bidders,
  SUM(price) / COUNT(price) AS mean, MIN(item.name), COUNT(*) + 1
FROM bids GROUP BY auction % 10 HAVING MAX(price) > 5;
