-- title: Abandonment | 放弃率
-- unit: share
-- corrections: 10 minutes
-- early: none
-- parameter: short = 5 seconds
-- Customers who left while queued after more than $short (those who leave at once
-- are short abandons, counted beside) ÷ customers queued.
SELECT hop(ended_at, INTERVAL '1 minute', INTERVAL '5 minutes') AS period, shop, channel, skill,
       count(*) AS queued,
       count(*) FILTER (WHERE abandoned AND wait_ms > $short) AS abandoned,
       count(*) FILTER (WHERE abandoned AND wait_ms <= $short) AS short_abandons,
       ratio(count(*) FILTER (WHERE abandoned AND wait_ms > $short), count(*)) AS abandonment_rate
FROM contacts
WHERE queued_at IS NOT NULL AND origin <> 'proactive'
GROUP BY GROUPING SETS ((period), (period, shop), (period, channel), (period, skill), (period, shop, channel, skill))
