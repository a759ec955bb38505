CREATE TABLE a (x INT, y STRING) WITH ('connector' = 'gen');
CREATE TABLE b (x BIGINT, y STRING) WITH ('connector' = 'files', 'path' = '/b', 'format' = 'json', 'sink.lanes' = '3');
CREATE TABLE c (x INT, y STRING) WITH ('connector' = 'files', 'path' = '/c', 'format' = 'json');
CREATE TABLE d (x INT, y STRING) WITH ('connector' = 'print');
INSERT INTO b SELECT * FROM a; INSERT INTO c SELECT * FROM a; INSERT INTO d SELECT * FROM a;
