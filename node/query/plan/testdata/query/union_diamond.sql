CREATE VIEW dear AS SELECT auction, bidder, price * 2 AS p FROM bids WHERE price > 100;
INSERT INTO store
SELECT who, SUM(p) FROM (
  SELECT auction AS who, p FROM dear UNION ALL SELECT bidder, p FROM dear WHERE bidder > 7
  UNION ALL SELECT CHAR_LENGTH(line), 1 FROM lines
) GROUP BY who;
