-- title: No further purchase | 流失
-- What campaigns of model churn are to avert: that the customer places no order.
-- horizon: 90d
-- outcome: there is none
SELECT customer_id, at FROM orders
WHERE type = 'placed'
