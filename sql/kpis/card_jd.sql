-- title: JD Dongdong, answered within 30 seconds | 京东咚咚30秒应答率
-- unit: share
-- parameter: within = 30 seconds
-- parameter: same_session = 10 minutes
-- corrections: 16 hours
-- early: none
-- Sessions whose first question a human answered within $within ÷ sessions with a
-- human. Those begun between 23:00 and 09:00 (Beijing) are left out, and a customer
-- who returns within $same_session is in the same session. By the rules of the
-- platform as they were understood in November 2026; platforms change them.
SELECT tumble(started_at, INTERVAL '1 day', INTERVAL '16 hours') AS period, shop, channel,
       count(*) AS sessions,
       count(*) FILTER (WHERE first_reply_ms <= $within) AS in_time,
       ratio(count(*) FILTER (WHERE first_reply_ms <= $within), count(*)) AS in_time_rate
FROM resolutions
WHERE event = 'ended' AND NOT bot_only AND (since_last_ms IS NULL OR since_last_ms > $same_session)
  AND local_minute(started_at, 'Asia/Shanghai') BETWEEN 540 AND 1379
GROUP BY GROUPING SETS ((period, shop), (period, shop, channel))
