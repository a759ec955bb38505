SELECT auction, t.tag, n FROM bids LEFT JOIN UNNEST(item.tags) WITH ORDINALITY AS t (tag, n) ON TRUE WHERE price > 3;
