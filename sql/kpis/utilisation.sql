-- title: Utilisation and concurrency | 利用率 / 并发
-- unit: share
-- early: none
-- Busy slot time (conversations that agents had, from accepted to wrapped) ÷
-- available slot time (capacity of available agents); above 1, agents have more
-- than their capacity. Concurrency: busy slot time ÷ time in which the agent had
-- at least one conversation. An agent counts where the last contact was accepted.
-- Only where all of an agent's conversations are read by one process.
SELECT hop(at, INTERVAL '5 minutes', INTERVAL '15 minutes') AS period, skill,
       count(DISTINCT agent_id) AS agents,
       sum(busy_ms) AS busy_ms,
       sum(available_ms) AS available_ms,
       sum(engaged_ms) AS engaged_ms,
       ratio(sum(busy_ms), sum(available_ms)) AS utilisation,
       ratio(sum(busy_ms), sum(engaged_ms)) AS concurrency
FROM agents
GROUP BY GROUPING SETS ((period), (period, skill))
