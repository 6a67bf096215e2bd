-- title: Bot containment | 机器人独立解决率
-- unit: share
-- parameter: horizon = 24 hours
-- corrections: $horizon + 4 hours
-- early: none
-- Contacts that began with the bot, reached no human and were not repeated (as in
-- fcr) within $horizon ÷ contacts that began with the bot. Both count when the
-- contact is closed or given up, so a row is provisional until its window is final.
SELECT tumble(at, INTERVAL '1 hour') AS period, shop, channel,
       count(*) FILTER (WHERE event = 'ended') AS bot_started,
       count(*) FILTER (WHERE event = 'ended' AND bot_only AND NOT handed_off) AS bot_only,
       count(*) FILTER (WHERE event = 'repeated' AND bot_only AND NOT handed_off) AS repeated,
       ratio(count(*) FILTER (WHERE event = 'ended' AND bot_only AND NOT handed_off)
             - count(*) FILTER (WHERE event = 'repeated' AND bot_only AND NOT handed_off),
             count(*) FILTER (WHERE event = 'ended')) AS containment_rate
FROM resolutions
WHERE entry = 'bot' AND (event = 'ended' OR after_ms <= $horizon)
GROUP BY GROUPING SETS ((period), (period, shop), (period, channel), (period, shop, channel))
