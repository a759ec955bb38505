SELECT symbol, COUNT(*) AS n FROM trades GROUP BY symbol;
SELECT day_of, at_time FROM trades;
