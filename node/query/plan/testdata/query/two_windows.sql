CREATE TABLE t (a TIMESTAMP(3), b TIMESTAMP(3)) WITH ('connector' = 'gen', 'rows' = '5');
SET 'execution.runtime-mode' = 'batch';
CREATE VIEW v AS SELECT a, b, window_start AS s, window_time AS m FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(a), INTERVAL '1' MINUTE));
SELECT m, window_time, window_end, COUNT(*) FROM TABLE(TUMBLE(TABLE v, DESCRIPTOR(b), INTERVAL '1' MINUTE)) GROUP BY m, window_time, window_end;
