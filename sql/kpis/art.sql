-- title: Average response time | 平均响应时长
-- unit: ms
-- early: none
-- From the first unanswered customer message of a round to the next human,
-- non-automatic reply; rounds count when they are replied to. in_time_level:
-- replied within 3 minutes, the limit inclusive (3分钟回复率 of answered rounds).
SELECT hop(replied_at, INTERVAL '1 minute', INTERVAL '5 minutes') AS period, shop, channel, skill,
       count(*) AS rounds,
       avg_ms(reply_ms) AS art_ms,
       quantile(reply_ms, 0.5) AS p50_ms,
       quantile(reply_ms, 0.9) AS p90_ms,
       ratio(count(*) FILTER (WHERE reply_ms <= 180000), count(*)) AS in_time_level
FROM rounds
WHERE replied_at IS NOT NULL
GROUP BY GROUPING SETS ((period), (period, shop), (period, channel), (period, skill), (period, shop, channel, skill))
