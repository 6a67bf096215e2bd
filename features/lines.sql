-- title: Baskets: what was bought and how often that comes back | 购物篮：买了什么，多常被退
-- each: w = 7, 30, 90
-- sku_bought and sku_returned count what everybody bought and gave back before the day of as_of.
-- Rates are smoothed: as if each sku had been bought 20 times more and given back once. Rates are per mille.
SELECT
  mean((1000 * (sku_returned + 1)) / (sku_bought + 20)) FILTER (WHERE type = 'placed' AND age_ms <= days({w})) AS sku_return_mean_{w}d, -- mean return rate of what was bought in the last {w} days, per mille | 近 {w} 天所购商品平均退货率（千分比）
  max((1000 * (sku_returned + 1)) / (sku_bought + 20)) FILTER (WHERE type = 'placed' AND age_ms <= days({w})) AS sku_return_max_{w}d, -- highest return rate of what was bought in the last {w} days, per mille | 近 {w} 天所购商品最高退货率（千分比）
  count(*) FILTER (WHERE type = 'placed' AND age_ms <= days({w})) AS lines_{w}d, -- order lines in the last {w} days | 近 {w} 天订单行数
  count(DISTINCT sku) FILTER (WHERE type = 'placed' AND age_ms <= days({w})) AS skus_{w}d, -- different goods in the last {w} days | 近 {w} 天商品种数
  max(quantity) FILTER (WHERE type = 'placed' AND age_ms <= days({w})) AS quantity_max_{w}d, -- largest quantity of a line in the last {w} days | 近 {w} 天单行最大件数
  max(line_minor) FILTER (WHERE type = 'placed' AND age_ms <= days({w})) AS line_max_{w}d, -- largest amount of a line in the last {w} days | 近 {w} 天单行最大金额
  mean((1000 * (sku_returned + 1)) / (sku_bought + 20)) FILTER (WHERE type = 'placed') AS sku_return_mean, -- mean return rate of all that was bought, per mille | 所购商品平均退货率（千分比）
  mean((1000 * (sku_returned + 1)) / (sku_bought + 20)) FILTER (WHERE type <> 'placed') AS sku_return_mean_of_returns, -- mean return rate of what the customer gave back, per mille | 所退商品平均退货率（千分比）
  mean(sku_bought) FILTER (WHERE type = 'placed' AND age_ms <= days(90)) AS sku_popularity_90d, -- how often everybody bought what was bought in the last 90 days | 近 90 天所购商品的总销量均值
  mean(quantity) FILTER (WHERE type = 'placed') AS quantity_mean, -- mean quantity of a line | 单行平均件数
  mean(unit_minor) FILTER (WHERE type = 'placed') AS unit_price_mean, -- mean price of one | 平均单价
  stddev(unit_minor) FILTER (WHERE type = 'placed') AS unit_price_stddev, -- how much the prices differ | 单价标准差
  max(unit_minor) FILTER (WHERE type = 'placed') AS unit_price_max, -- highest price of one | 最高单价
  count(*) FILTER (WHERE type = 'placed') AS lines, -- order lines | 订单行总数
  count(DISTINCT sku) FILTER (WHERE type = 'placed') AS skus, -- different goods bought | 所购商品种数
  count(*) FILTER (WHERE type = 'return_requested' OR (type = 'cancelled' AND actor = 'customer')) AS lines_given_back, -- lines given back | 退货行总数
  max(quantity) FILTER (WHERE type = 'return_requested' OR (type = 'cancelled' AND actor = 'customer')) AS quantity_given_back_max, -- largest quantity given back in a line | 单行最大退货件数
FROM past.lines
GROUP BY customer_id, as_of
