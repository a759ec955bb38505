SELECT UPPER(item.name) || '!' AS loud, COUNT(*) AS n FROM bids GROUP BY UPPER(item.name), (auction, bidder), auction;
