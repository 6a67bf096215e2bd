-- title: Taobao Wangwang, replied within 3 minutes | 淘宝旺旺3分钟响应率
-- unit: share
-- parameter: within = 3 minutes
-- corrections: 12 hours
-- early: none
-- Rounds asked between 08:00 and 24:00 (Beijing) that anybody replied to within
-- $within ÷ such rounds. Consecutive customer messages are one round, whose clock
-- starts at the first; the bot's and automatic replies count. By the rules of the
-- platform as they were understood in November 2026; platforms change them.
SELECT tumble(asked_at, INTERVAL '1 day', INTERVAL '16 hours') AS period, shop, channel,
       count(*) AS rounds,
       count(*) FILTER (WHERE reply_ms <= $within) AS in_time,
       ratio(count(*) FILTER (WHERE reply_ms <= $within), count(*)) AS in_time_rate
FROM turns
WHERE local_minute(asked_at, 'Asia/Shanghai') >= 480 AND origin <> 'proactive'
GROUP BY GROUPING SETS ((period, shop), (period, shop, channel))
