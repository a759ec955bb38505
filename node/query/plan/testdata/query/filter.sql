INSERT INTO hole SELECT auction + 1, UPPER(item.name) FROM bids WHERE price > 10 AND auction IS NOT NULL;
