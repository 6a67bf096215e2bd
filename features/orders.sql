-- title: Orders: how lately, how often, how much | 订单：最近、频率、金额
-- each: w = 7, 30, 90, 180, 365
-- Recency, frequency and monetary value. Money is of the orders' own currency, in minor units.
-- A cancellation counts as the customer's if the customer made it, or asked to return.
SELECT
  count(*) FILTER (WHERE type = 'placed' AND age_ms <= days({w})) AS orders_{w}d, -- orders placed in the last {w} days | 近 {w} 天下单数
  coalesce(sum(amount_minor) FILTER (WHERE type = 'placed' AND age_ms <= days({w})), 0) AS spent_{w}d, -- amount of the orders placed in the last {w} days | 近 {w} 天下单金额
  count(*) FILTER (WHERE (type = 'return_requested' OR (type = 'cancelled' AND actor = 'customer')) AND age_ms <= days({w})) AS returns_{w}d, -- cancellations by the customer and requests to return in the last {w} days | 近 {w} 天退单数
  coalesce(sum(amount_minor) FILTER (WHERE (type = 'return_requested' OR (type = 'cancelled' AND actor = 'customer')) AND age_ms <= days({w})), 0) AS returned_{w}d, -- amount of those | 近 {w} 天退单金额
  count(*) FILTER (WHERE type = 'placed') AS orders, -- orders placed | 下单总数
  count(*) FILTER (WHERE type = 'return_requested' OR (type = 'cancelled' AND actor = 'customer')) AS returns, -- cancellations by the customer and requests to return | 退单总数
  coalesce(sum(amount_minor) FILTER (WHERE type = 'placed'), 0) AS spent, -- amount of all orders | 下单总金额
  ratio(min(age_ms) FILTER (WHERE type = 'placed'), days(1)) AS days_since_order, -- days since the last order | 距最近下单天数
  ratio(min(age_ms) FILTER (WHERE type = 'return_requested' OR (type = 'cancelled' AND actor = 'customer')), days(1)) AS days_since_return, -- days since the last cancellation or request to return | 距最近退单天数
  ratio(max(age_ms) FILTER (WHERE type = 'placed'), days(1)) AS days_since_first_order, -- days since the first order | 距首次下单天数
  mean(amount_minor) FILTER (WHERE type = 'placed') AS order_amount_mean, -- mean amount of an order | 订单平均金额
  stddev(amount_minor) FILTER (WHERE type = 'placed') AS order_amount_stddev, -- how much the amounts differ | 订单金额标准差
  max(amount_minor) FILTER (WHERE type = 'placed' AND age_ms <= days(30)) AS order_amount_max_30d, -- largest order in the last 30 days | 近 30 天最大订单金额
  last(amount_minor) FILTER (WHERE type = 'placed') AS order_amount_last, -- amount of the last order | 最近一单金额
  last(amount_minor) FILTER (WHERE type = 'return_requested' OR (type = 'cancelled' AND actor = 'customer')) AS returned_amount_last, -- amount of the last cancellation or return | 最近退单金额
  ratio(gap_mean(age_ms) FILTER (WHERE type = 'placed'), days(1)) AS order_gap_mean, -- mean days from one order to the next | 平均下单间隔天数
  ratio(gap_stddev(age_ms) FILTER (WHERE type = 'placed'), days(1)) AS order_gap_stddev, -- how much the days between orders differ | 下单间隔标准差
  ratio(gap_mean(age_ms) FILTER (WHERE type = 'return_requested' OR (type = 'cancelled' AND actor = 'customer')), days(1)) AS return_gap_mean, -- mean days from one return to the next | 平均退单间隔天数
  ratio(mean(age_ms - (CAST(as_of AS BIGINT) - CAST(placed_at AS BIGINT)) / 1000) FILTER (WHERE type = 'return_requested' OR (type = 'cancelled' AND actor = 'customer')), -days(1)) AS return_delay_mean, -- mean days from placing an order to giving it back | 下单至退单平均天数
  count(DISTINCT order_id) FILTER (WHERE type = 'return_requested' OR (type = 'cancelled' AND actor = 'customer')) AS orders_given_back, -- orders of which something was given back | 有退货的订单数
  count(DISTINCT shop) FILTER (WHERE type = 'placed') AS shops, -- shops ordered from | 下单店铺数
FROM past.orders
GROUP BY customer_id, as_of
