-- title: Order cancelled or returned | 退单
-- The customer cancels an order or asks to return one, more than lead and at most lead + horizon after as_of.
-- Who does so within lead and not after is left out: too soon to foresee, and no counter-example.
SELECT
  CASE WHEN count(*) FILTER (WHERE ahead_ms > $lead_ms) > 0 THEN true WHEN count(*) = 0 THEN false END AS label, -- cancels or asks to return | 取消或申请退货
  min(ahead_ms) FILTER (WHERE ahead_ms > $lead_ms) AS event_in_ms, -- when, in ms after as_of | 距发生时间（毫秒）
FROM future.orders
WHERE type = 'return_requested' OR (type = 'cancelled' AND actor = 'customer')
GROUP BY customer_id, as_of
