SELECT symbol, SUM(amount) FILTER (WHERE amount > 0) AS gains, AVG(amount) AS mean, MIN(day_of), COUNT(amount)
FROM trades WHERE symbol IS NOT NULL GROUP BY symbol;
