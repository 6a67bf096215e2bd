-- title: First response time and speed of answer | 首响时长 / 排队时长
-- unit: ms
-- corrections: 10 minutes
-- early: none
-- First response: from the later of queueing and the first unanswered customer
-- message to the first human, non-automatic reply. Speed of answer (asa_ms):
-- from queued to accepted. Each mean has its own n, since a contact can have one
-- and not the other. business_asa_ms: only the time in which the shop is open
-- (calendar).
SELECT hop(ended_at, INTERVAL '1 minute', INTERVAL '5 minutes') AS period, shop, channel, skill,
       count(first_reply_ms) AS replied,
       avg_ms(first_reply_ms) AS frt_ms,
       quantile(first_reply_ms, 0.5) AS frt_p50_ms,
       quantile(first_reply_ms, 0.9) AS frt_p90_ms,
       count(wait_ms) AS answered,
       avg_ms(wait_ms) AS asa_ms,
       quantile(wait_ms, 0.9) AS asa_p90_ms,
       avg_ms(business_ms(shop, queued_at, accepted_at)) AS business_asa_ms
FROM contacts
WHERE accepted_at IS NOT NULL AND NOT abandoned AND origin <> 'proactive'
GROUP BY GROUPING SETS ((period), (period, shop), (period, channel), (period, skill), (period, shop, channel, skill))
