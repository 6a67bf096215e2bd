-- title: Douyin Feige, mean reply within 3 minutes | 抖音飞鸽3分钟平均回复率
-- unit: share
-- parameter: within = 3 minutes
-- corrections: 16 hours
-- early: none
-- Sessions that reached a human and began between 08:00 and 22:59:59 (Beijing), in
-- which the mean wait of the rounds that an agent replied to is at most $within ÷
-- such sessions in which the customer asked something. Without any reply a session
-- is not in time. By the rules of the platform as they were understood in November
-- 2026; platforms change them.
SELECT tumble(started_at, INTERVAL '1 day', INTERVAL '16 hours') AS period, shop, channel,
       count(*) AS sessions,
       count(*) FILTER (WHERE rounds > 0 AND reply_ms <= $within * rounds) AS in_time,
       ratio(count(*) FILTER (WHERE rounds > 0 AND reply_ms <= $within * rounds), count(*)) AS in_time_rate
FROM contacts
WHERE accepted_at IS NOT NULL AND rounds + unanswered > 0 AND origin <> 'proactive'
  AND local_minute(started_at, 'Asia/Shanghai') BETWEEN 480 AND 1379
GROUP BY GROUPING SETS ((period, shop), (period, shop, channel))
