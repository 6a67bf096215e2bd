-- title: Average handle time | 平均处理时长
-- unit: ms
-- corrections: 10 minutes
-- early: none
-- From accepted to wrapped, without hold and without queueing again after a
-- transfer; hold stands beside it. Contacts that no agent accepted have none.
--   aht_ms      elapsed: time that passed
--   effort_ms   effort: each second divided by the conversations that the agent had
--               then; NULL where agents are not followed (a share of the partitions)
SELECT hop(ended_at, INTERVAL '1 minute', INTERVAL '5 minutes') AS period, shop, channel, skill,
       count(*) AS contacts,
       sum(handle_ms) AS handle_ms,
       avg_ms(handle_ms) AS aht_ms,
       quantile(handle_ms, 0.5) AS p50_ms,
       quantile(handle_ms, 0.9) AS p90_ms,
       quantile(handle_ms, 0.95) AS p95_ms,
       avg_ms(hold_ms) AS hold_ms,
       avg_ms(effort_ms) AS effort_ms
FROM contacts
WHERE handle_ms IS NOT NULL AND NOT abandoned AND origin <> 'proactive'
GROUP BY GROUPING SETS ((period), (period, shop), (period, channel), (period, skill), (period, shop, skill), (period, shop, channel, skill))
