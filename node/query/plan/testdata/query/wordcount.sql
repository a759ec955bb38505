SET 'execution.runtime-mode' = 'batch';
INSERT INTO words
SELECT word, COUNT(*) FROM lines, LATERAL TABLE(STRING_SPLIT(LOWER(line), ' ')) AS t(word) WHERE word <> '' GROUP BY word;
