-- title: Inquiry conversion | 询单转化率
-- unit: share
-- parameter: soon = 1 day
-- parameter: later = 4 days
-- corrections: $later + 4 hours
-- early: none
-- Customers who asked before a purchase (contacts.presale) and paid the shop within
-- $soon, and within $later ÷ customers who asked. Who asks again within 24 hours has
-- asked once. Both count at the time of asking, so a row is provisional until its
-- window is final.
SELECT tumble(asked_at, INTERVAL '1 hour') AS period, shop, channel, skill,
       count(*) FILTER (WHERE event = 'asked') AS asked,
       count(*) FILTER (WHERE event = 'paid' AND after_ms <= $soon) AS paid_soon,
       ratio(count(*) FILTER (WHERE event = 'paid' AND after_ms <= $soon), count(*) FILTER (WHERE event = 'asked')) AS conversion_rate,
       count(*) FILTER (WHERE event = 'paid') AS paid_later,
       ratio(count(*) FILTER (WHERE event = 'paid'), count(*) FILTER (WHERE event = 'asked')) AS later_rate
FROM inquiries
WHERE event = 'asked' OR after_ms <= $later
GROUP BY GROUPING SETS ((period), (period, shop), (period, channel), (period, skill), (period, shop, channel, skill))
