-- title: Pinduoduo, effective replies | 拼多多有效回复率
-- unit: share
-- parameter: within = 1 hour
-- corrections: 16 hours
-- early: none
-- Customers of a day, of those who asked between 08:00 and 23:00 (Beijing), with no
-- message that waited longer than $within for a reply, or for ever ÷ such customers.
-- One such message spoils the day. By the rules of the platform as they were
-- understood in November 2026; platforms change them.
SELECT tumble(asked_at, INTERVAL '1 day', INTERVAL '16 hours') AS period, shop, channel,
       count(DISTINCT customer_id) AS customers,
       count(DISTINCT customer_id) FILTER (WHERE reply_ms IS NULL OR reply_ms > $within) AS spoiled,
       ratio(count(DISTINCT customer_id) - count(DISTINCT customer_id) FILTER (WHERE reply_ms IS NULL OR reply_ms > $within),
             count(DISTINCT customer_id)) AS effective_rate
FROM turns
WHERE local_minute(asked_at, 'Asia/Shanghai') BETWEEN 480 AND 1379 AND origin <> 'proactive'
GROUP BY GROUPING SETS ((period, shop), (period, shop, channel))
