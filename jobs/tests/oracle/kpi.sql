-- title: Handled and abandoned by day and skill | 每日接待与放弃
-- unit: contacts
-- corrections: 10 minutes
-- early: none
SELECT tumble(ended_at, INTERVAL '1 day') AS period, skill,
       count(handle_ms) AS handled, count(*) FILTER (WHERE abandoned) AS abandoned,
       sum(handle_ms) AS handle_ms, avg_ms(handle_ms) AS aht_ms,
       quantile(handle_ms, 0.5) AS p50_ms, quantile(handle_ms, 0.9) AS p90_ms, quantile(wait_ms, 0.9) AS wait_p90_ms
FROM contacts GROUP BY GROUPING SETS ((period), (period, skill))
