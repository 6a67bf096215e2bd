-- title: Customer satisfaction | 满意度
-- unit: share
-- corrections: 10 minutes
-- early: none
-- Ratings of 4 or 5 ÷ ratings; response rate: ratings ÷ contacts an agent
-- handled. Ratings count when they are given and contacts when they end, so in a
-- short window the response rate can exceed 1.
SELECT hop(at, INTERVAL '1 minute', INTERVAL '30 minutes') AS period, shop, channel, skill,
       count(score) AS ratings,
       count(*) FILTER (WHERE score >= 4) AS satisfied,
       ratio(count(*) FILTER (WHERE score >= 4), count(score)) AS csat_rate,
       sum(handled) AS handled,
       ratio(count(score), sum(handled)) AS response_rate
FROM (
  SELECT rated_at AS at, shop, channel, skill, score, 0 AS handled FROM ratings WHERE origin <> 'proactive'
  UNION ALL
  SELECT ended_at AS at, shop, channel, skill, NULL AS score, 1 AS handled FROM contacts
  WHERE accepted_at IS NOT NULL AND NOT abandoned AND origin <> 'proactive'
) AS answers
GROUP BY GROUPING SETS ((period), (period, shop), (period, channel), (period, skill), (period, shop, channel, skill))
