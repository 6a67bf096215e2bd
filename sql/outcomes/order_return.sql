-- title: Orders cancelled or returned | 退单
-- What campaigns of model order_return are to avert: that the customer cancels an order or asks to return one.
-- horizon: 10d
-- outcome: there is one
SELECT customer_id, at FROM orders
WHERE type = 'return_requested' OR (type = 'cancelled' AND actor = 'customer')
