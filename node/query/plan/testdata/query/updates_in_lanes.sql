CREATE TABLE g (k STRING, v BIGINT) WITH ('connector' = 'gen');
CREATE TABLE s (n BIGINT, k STRING) WITH ('connector' = 'store', 'sink.parallelism' = '8');
CREATE TABLE u (n BIGINT) WITH ('connector' = 'store', 'sink.parallelism' = '8');
INSERT INTO s SELECT SUM(v), k FROM g GROUP BY k;
INSERT INTO u SELECT SUM(v) FROM g GROUP BY k;
