-- title: Reviews, cancellations by others, deliveries | 商品评价、他方取消、配送
SELECT
  count(*) FILTER (WHERE type = 'reviewed' AND age_ms <= days(90)) AS reviews_90d, -- reviews in the last 90 days | 近 90 天评价数
  mean(score) FILTER (WHERE type = 'reviewed') AS review_mean, -- mean score of reviews | 评价均分
  last(score) FILTER (WHERE type = 'reviewed') AS review_last, -- score of the last review | 最近评价分
  count(*) FILTER (WHERE type = 'reviewed' AND score <= 2) AS bad_reviews, -- reviews of 1 or 2 | 差评数
  ratio(min(age_ms) FILTER (WHERE type = 'reviewed'), days(1)) AS days_since_review, -- days since the last review | 距最近评价天数
  ratio(mean((CAST(as_of AS BIGINT) - CAST(placed_at AS BIGINT)) / 1000 - age_ms) FILTER (WHERE type = 'reviewed'), days(1)) AS review_lag_mean, -- mean days from placing an order to reviewing it | 下单至评价平均天数
  ratio(mean((CAST(as_of AS BIGINT) - CAST(placed_at AS BIGINT)) / 1000 - age_ms) FILTER (WHERE type = 'delivered'), days(1)) AS delivery_mean, -- mean days from placing an order to its delivery | 下单至送达平均天数
  ratio(max((CAST(as_of AS BIGINT) - CAST(placed_at AS BIGINT)) / 1000 - age_ms) FILTER (WHERE type = 'delivered' AND age_ms <= days(30)), days(1)) AS delivery_max_30d, -- longest delivery in the last 30 days, in days | 近 30 天最长配送天数
  count(*) FILTER (WHERE type = 'cancelled' AND (actor IS DISTINCT FROM 'customer') AND age_ms <= days(90)) AS cancelled_by_others_90d, -- orders cancelled by others or by timeout in the last 90 days | 近 90 天他方取消或超时订单数
  count(*) FILTER (WHERE type = 'shipped' AND age_ms <= days(30)) - count(*) FILTER (WHERE type = 'delivered' AND age_ms <= days(30)) AS parcels_under_way, -- parcels sent and not delivered in the last 30 days | 近 30 天在途包裹数
  count(*) FILTER (WHERE type = 'refunded') AS refunds, -- refunds | 退款数
FROM past.orders
GROUP BY customer_id, as_of
