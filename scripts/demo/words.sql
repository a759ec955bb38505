-- How often each word stands in all *.go files below a directory, as a table that is always up to date. A word is a maximal run of
-- [A-Za-z0-9], lower-cased. The words are cut out first and lower-cased then: a letter outside of ASCII, whose lower case could lie
-- within, is in no word.
--
--   seepnode query add words.sql --set lines.path="$(go env GOROOT)/src/**/*.go" --set lines.source.bytes-per-second='3 mb'
--   seepnode table scan words.counts --order-by n --desc --limit 10
SET 'parallelism.default' = '4';

CREATE TABLE lines (line STRING) WITH (
  'connector' = 'filesystem',
  'path' = 'src/**/*.go',
  'format' = 'raw'
);

CREATE TABLE counts (word STRING, n BIGINT, PRIMARY KEY (word) NOT ENFORCED) WITH ('connector' = 'table');

INSERT INTO counts
SELECT word, COUNT(*)
FROM (
  SELECT LOWER(found) AS word
  FROM lines CROSS JOIN UNNEST(REGEXP_EXTRACT_ALL(line, '[A-Za-z0-9]+', 0)) AS words (found)
)
GROUP BY word;
