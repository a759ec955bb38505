-- Devices that send nothing for 30 seconds.
CREATE TABLE readings (
  `at`    TIMESTAMP(3),
  device  STRING,
  reading DOUBLE,
  WATERMARK FOR `at` AS `at`
) WITH (
  'connector' = 'filesystem',
  'path' = 'readings.csv',
  'format' = 'csv',
  'csv.header' = 'true'
);

SELECT device, last_value, last_at, alert_at
FROM idle_alert(TABLE readings PARTITION BY (device), 30000);
