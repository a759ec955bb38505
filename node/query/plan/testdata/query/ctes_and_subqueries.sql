WITH a AS (SELECT auction AS x, price FROM bids), b (y, p) AS (SELECT x + 1, price FROM a WHERE x > 0)
SELECT q.y AS y, z.p, 'b' AS src FROM (SELECT * FROM b) AS q (y, pp), LATERAL TABLE(STRING_SPLIT(CAST(q.y AS STRING), '1')) AS z (p);
