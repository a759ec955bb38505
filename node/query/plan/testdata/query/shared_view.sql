CREATE VIEW v (who, what, upper_name) AS SELECT auction, price, UPPER(item.name) FROM bids WHERE price IS NOT NULL;
INSERT INTO hole SELECT who, upper_name FROM v WHERE who > 1;
INSERT INTO store SELECT who, SUM(what) FROM v GROUP BY who;
SELECT * FROM v WHERE what < 3;
