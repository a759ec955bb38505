INSERT INTO hole (b, a)
SELECT 'all', n FROM TABLE(net(TABLE (SELECT auction, COUNT(*) AS c FROM bids GROUP BY auction UNION ALL SELECT bidder, 1 FROM bids)));
