-- title: Backlog and longest wait | 积压 / 最长等待
-- unit: customers
-- early: none
-- Gauges: who waits and who is being served at a tick of the queue (10 s).
-- open_over: contacts accepted longer ago than queue.over (2 minutes) and not
-- over yet. Handle times of finished contacts tell of them late.
SELECT tumble(at, INTERVAL '10 seconds') AS period, shop, channel, skill,
       sum(waiting) AS backlog,
       max(longest_wait_ms) AS longest_wait_ms,
       sum(open_contacts) AS open_contacts,
       sum(open_over) AS open_over
FROM queue
WHERE skill IS NOT NULL
GROUP BY GROUPING SETS ((period), (period, shop), (period, channel), (period, skill), (period, shop, skill), (period, shop, channel, skill))
