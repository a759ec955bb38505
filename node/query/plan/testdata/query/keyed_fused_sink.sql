CREATE TABLE e (k STRING, v BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector' = 'mat');
CREATE TABLE f (k STRING, v BIGINT, PRIMARY KEY (v) NOT ENFORCED) WITH ('connector' = 'mat');
CREATE TABLE g (k STRING, v BIGINT) WITH ('connector' = 'gen', 'seal' = 'rows:10');
INSERT INTO e SELECT k, SUM(v) FROM g GROUP BY k;
INSERT INTO f SELECT k, SUM(v) FROM g GROUP BY k;
