-- title: Handled and abandoned per minute
-- unit: contacts
-- early: none
SELECT tumble(ended_at, INTERVAL '1 minute') AS period, shop, channel, skill,
       count(*) FILTER (WHERE NOT abandoned) AS handled, sum(handle_ms) AS handle_ms, max(handle_ms) AS max_ms,
       count(*) FILTER (WHERE abandoned) AS abandoned
FROM contacts GROUP BY period, shop, channel, skill
