SELECT n, COUNT(*) AS auctions, MAX(top) AS top
FROM (SELECT auction, COUNT(*) AS n, MAX(price) AS top FROM bids GROUP BY auction) GROUP BY n;
