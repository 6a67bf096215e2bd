-- title: What comes of several views together | 综合特征
-- BG/NBD's parameters were fitted to the purchases of CDNOW's customers, in days (alpha is 4.414 weeks).
SELECT
  ratio(returns, orders) AS return_rate, -- returns per order | 退单率
  ratio(returns_90d, orders_90d) AS return_rate_90d, -- returns per order in the last 90 days | 近 90 天退单率
  ratio(returned_365d, spent_365d) AS returned_share_365d, -- share of the amount of the last 365 days that was given back | 近 365 天退单金额占比
  ratio(returns + 1, orders + 12) AS return_rate_smoothed, -- returns per order, smoothed | 平滑退单率
  orders_30d - ratio(orders_180d, 6) AS order_slope, -- orders of the last 30 days minus the monthly mean of 180 | 下单趋势
  spent_30d - ratio(spent_180d, 6) AS spent_slope, -- amount of the last 30 days minus the monthly mean of 180 | 消费趋势
  ratio(contacts_30d, orders_30d) AS contacts_per_order_30d, -- contacts per order in the last 30 days | 近 30 天每单咨询次数
  ratio(days_since_order, order_gap_mean) AS overdue, -- days since the last order by the usual gap | 超期程度
  days_since_order - order_gap_mean AS overdue_days, -- days since the last order minus the usual gap | 超期天数
  ratio(order_amount_last, order_amount_mean) AS last_order_relative, -- amount of the last order by the mean | 最近一单相对金额
  ratio(lines, orders) AS lines_per_order, -- lines of an order | 每单行数
  alive(greatest(orders - 1, 0), coalesce(days_since_first_order - days_since_order, 0), days_since_first_order, 0.243, 30.9, 0.793, 2.426) AS alive, -- BG/NBD: probability of still being a customer | BG/NBD 留存概率
  expected_purchases(30, greatest(orders - 1, 0), coalesce(days_since_first_order - days_since_order, 0), days_since_first_order, 0.243, 30.9, 0.793, 2.426) AS expected_orders_30d, -- BG/NBD: orders to expect in 30 days | BG/NBD 30 天预期订单数
FROM features
