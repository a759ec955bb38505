SELECT s.auction, started, events + 1 AS events
FROM sessions(TABLE bids PARTITION BY (auction, bidder), gap => INTERVAL '30' SECOND, 'x', CAST(NULL AS INT)) AS s;
