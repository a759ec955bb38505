INSERT INTO store SELECT auction, AVG(price) FROM bids GROUP BY auction HAVING COUNT(*) > 2;
