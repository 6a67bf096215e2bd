-- title: Average response time | 平均响应时长
-- unit: ms
-- early: none
-- parameter: within = 3 minutes
-- From the first unanswered customer message of a round to the next human,
-- non-automatic reply; rounds count when they are replied to. in_time_level:
-- replied within $within, the limit inclusive (3分钟回复率 of answered rounds).
-- business_art_ms: only the time in which the shop is open (calendar).
SELECT hop(replied_at, INTERVAL '1 minute', INTERVAL '5 minutes') AS period, shop, channel, skill,
       count(*) AS rounds,
       avg_ms(reply_ms) AS art_ms,
       quantile(reply_ms, 0.5) AS p50_ms,
       quantile(reply_ms, 0.9) AS p90_ms,
       ratio(count(*) FILTER (WHERE reply_ms <= $within), count(*)) AS in_time_level,
       avg_ms(business_ms(shop, asked_at, replied_at)) AS business_art_ms
FROM rounds
WHERE replied_at IS NOT NULL AND origin <> 'proactive'
GROUP BY GROUPING SETS ((period), (period, shop), (period, channel), (period, skill), (period, shop, channel, skill))
