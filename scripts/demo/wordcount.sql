-- How often each word stands in all *.go files below a directory. A word is a maximal run of [A-Za-z0-9], lower-cased.
-- The words are cut out first and lower-cased then: a letter outside of ASCII, whose lower case could lie within, is in no word.
--
--   seepnode run wordcount.sql --set files.path="$(go env GOROOT)/src/**/*.go" --set counts.path=counts
SET 'execution.runtime-mode' = 'batch';

CREATE TABLE files (line STRING) WITH (
  'connector' = 'filesystem',
  'path' = 'src/**/*.go',
  'format' = 'raw'
);

CREATE TABLE counts (word STRING, n BIGINT) WITH (
  'connector' = 'filesystem',
  'path' = 'counts',
  'format' = 'csv'
);

INSERT INTO counts
SELECT word, COUNT(*)
FROM (
  SELECT LOWER(found) AS word
  FROM files CROSS JOIN UNNEST(REGEXP_EXTRACT_ALL(line, '[A-Za-z0-9]+', 0)) AS words (found)
)
GROUP BY word;
