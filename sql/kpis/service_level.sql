-- title: Service level | 服务水平
-- unit: share
-- corrections: 10 minutes
-- early: none
-- Customers answered within 30 s of queueing, the limit inclusive ÷ customers
-- offered. What abandoned ones are makes the difference:
--   service_level    missed: they count as offered and not as answered
--   counted_level    counted: who left within the limit counts as served in time
--   ignored_level    ignored: only those answered count
--   short_level      as service_level, who left within 5 s left out
SELECT hop(ended_at, INTERVAL '1 minute', INTERVAL '5 minutes') AS period, shop, channel, skill,
       count(*) AS offered,
       count(*) FILTER (WHERE NOT abandoned AND wait_ms <= 30000) AS answered_in_time,
       ratio(count(*) FILTER (WHERE NOT abandoned AND wait_ms <= 30000), count(*)) AS service_level,
       ratio(count(*) FILTER (WHERE wait_ms <= 30000), count(*)) AS counted_level,
       ratio(count(*) FILTER (WHERE NOT abandoned AND wait_ms <= 30000), count(*) FILTER (WHERE NOT abandoned)) AS ignored_level,
       ratio(count(*) FILTER (WHERE NOT abandoned AND wait_ms <= 30000),
             count(*) FILTER (WHERE NOT (abandoned AND wait_ms <= 5000))) AS short_level
FROM contacts
WHERE wait_ms IS NOT NULL AND origin <> 'proactive'
GROUP BY GROUPING SETS ((period), (period, shop), (period, channel), (period, skill), (period, shop, channel, skill))
