-- title: No further purchase | 流失
-- The customer places no order more than lead and at most lead + horizon after as_of.
SELECT
  count(*) FILTER (WHERE ahead_ms > $lead_ms) = 0 AS label, -- places no order | 不再下单
  CAST(NULL AS BIGINT) AS event_in_ms, -- what does not happen has no time | 无事件时间
FROM future.orders
WHERE type = 'placed'
GROUP BY customer_id, as_of
