SELECT RAND() AS a, RAND() AS b, NOW() AS c, auction FROM bids WHERE RAND() < 0.5;
