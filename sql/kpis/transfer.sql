-- title: Transfer and handoff | 转接率 / 转人工率
-- unit: share
-- corrections: 10 minutes
-- early: none
-- Contacts with a transfer ÷ contacts that an agent handled; contacts that the bot
-- gave to a human ÷ contacts that began with the bot. Both count when they end.
SELECT hop(ended_at, INTERVAL '5 minutes', INTERVAL '15 minutes') AS period, shop, channel, skill,
       count(accepted_at) AS handled,
       count(*) FILTER (WHERE accepted_at IS NOT NULL AND transfers > 0) AS transferred,
       ratio(count(*) FILTER (WHERE accepted_at IS NOT NULL AND transfers > 0), count(accepted_at)) AS transfer_rate,
       count(*) FILTER (WHERE entry = 'bot') AS bot_started,
       count(*) FILTER (WHERE entry = 'bot' AND handed_off) AS handed_off,
       ratio(count(*) FILTER (WHERE entry = 'bot' AND handed_off), count(*) FILTER (WHERE entry = 'bot')) AS handoff_rate
FROM contacts
WHERE origin <> 'proactive'
GROUP BY GROUPING SETS ((period), (period, shop), (period, channel), (period, skill), (period, shop, channel, skill))
