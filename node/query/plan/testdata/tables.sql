CREATE TABLE lines (line STRING) WITH ('connector' = 'files', 'path' = '/in', 'format' = 'raw');
CREATE TABLE bids (
  auction BIGINT,
  bidder BIGINT NOT NULL,
  price DOUBLE,
  item ROW<name STRING, tags ARRAY<STRING>>,
  moment TIMESTAMP_LTZ(3),
  ts AS moment + INTERVAL '1' SECOND,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH ('connector' = 'gen', 'rate' = '1000');
CREATE TABLE trades (
  symbol STRING, amount DECIMAL(10, 2), at_time TIMESTAMP(3), day_of AS CAST(at_time AS DATE),
  WATERMARK FOR at_time AS at_time
) WITH ('connector' = 'gen', 'rows' = '1000', 'scan.watermark.idle-timeout' = '2 s');
CREATE TABLE words (word STRING, n BIGINT) WITH ('connector' = 'files', 'path' = '/out', 'format' = 'csv');
CREATE TABLE store (k BIGINT, v DOUBLE, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector' = 'store', 'sink.lanes' = '4');
CREATE TABLE hole (a BIGINT, b STRING) WITH ('connector' = 'blackhole');
