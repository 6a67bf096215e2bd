-- title: First contact resolution in three days | 首次解决率（72小时）
-- unit: share
-- parameter: horizon = 72 hours
-- corrections: $horizon + 4 hours
-- early: none
-- Contacts closed as resolved that the customer did not repeat within $horizon ÷
-- contacts closed. Repeated: a contact of the same customer and shop about the same
-- (order, else intent, else skill) begins, or the conversation is reopened. Both
-- count at the time of closing, so a row is provisional until its window is final;
-- what follows is known when it is over, for which there are 4 hours.
SELECT tumble(at, INTERVAL '1 hour') AS period, shop, channel, skill,
       count(*) FILTER (WHERE event = 'ended') AS closed,
       count(*) FILTER (WHERE event = 'ended' AND resolved) AS resolved,
       count(*) FILTER (WHERE event = 'repeated' AND resolved) AS repeated,
       ratio(count(*) FILTER (WHERE event = 'ended' AND resolved)
             - count(*) FILTER (WHERE event = 'repeated' AND resolved),
             count(*) FILTER (WHERE event = 'ended')) AS fcr_rate
FROM resolutions
WHERE closed AND (event = 'ended' OR after_ms <= $horizon)
GROUP BY GROUPING SETS ((period), (period, shop), (period, channel), (period, skill), (period, shop, channel, skill))
