-- title: Service level | 服务水平
-- unit: share
-- corrections: 10 minutes
-- early: none
-- parameter: within = 30 seconds
-- parameter: short = 5 seconds
-- Customers answered within $within of queueing, the limit inclusive ÷ customers
-- offered. What customers who left are makes the difference, so each mode has its
-- name (a short abandon left within $short):
--   service_level    missed: offered and not answered in time
--   counted_level    counted: who left within the limit counts as served in time
--   ignored_level    ignored: only those answered count
--   excluded_level   excluded: who left within the limit does not count at all
--   short_level      as service_level, short abandons count as served in time
--   long_level       as service_level, short abandons do not count at all
SELECT hop(ended_at, INTERVAL '1 minute', INTERVAL '5 minutes') AS period, shop, channel, skill,
       count(*) AS offered,
       count(*) FILTER (WHERE NOT abandoned AND wait_ms <= $within) AS answered_in_time,
       ratio(count(*) FILTER (WHERE NOT abandoned AND wait_ms <= $within), count(*)) AS service_level,
       ratio(count(*) FILTER (WHERE wait_ms <= $within), count(*)) AS counted_level,
       ratio(count(*) FILTER (WHERE NOT abandoned AND wait_ms <= $within), count(*) FILTER (WHERE NOT abandoned)) AS ignored_level,
       ratio(count(*) FILTER (WHERE NOT abandoned AND wait_ms <= $within),
             count(*) FILTER (WHERE NOT abandoned OR wait_ms > $within)) AS excluded_level,
       ratio(count(*) FILTER (WHERE (NOT abandoned AND wait_ms <= $within) OR (abandoned AND wait_ms <= $short)), count(*)) AS short_level,
       ratio(count(*) FILTER (WHERE NOT abandoned AND wait_ms <= $within),
             count(*) FILTER (WHERE NOT abandoned OR wait_ms > $short)) AS long_level
FROM contacts
WHERE wait_ms IS NOT NULL AND origin <> 'proactive'
GROUP BY GROUPING SETS ((period), (period, shop), (period, channel), (period, skill), (period, shop, skill), (period, shop, channel, skill))
