-- set words.path=/elsewhere
-- set words.sink.lanes=2
-- set seed=7
SET 'seed' = '6';
SET 'parallelism.default' = '4';
SET 'key-groups' = '64';
SET 'epoch.length' = '50 ms';
SET 'checkpoint.epochs' = '32';
SET 'table.local-time-zone' = 'Europe/Berlin';
SET 'seal' = 'rows:100';
INSERT INTO words SELECT line, 1 FROM lines;
