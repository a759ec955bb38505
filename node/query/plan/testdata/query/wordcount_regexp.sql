-- set execution.runtime-mode=batch
-- set lines.path=/usr/share/doc
INSERT INTO words
SELECT word, COUNT(*) AS n FROM lines CROSS JOIN UNNEST(REGEXP_EXTRACT_ALL(LOWER(line), '[a-z0-9]+')) AS t (word)
WHERE line <> '' GROUP BY word;
