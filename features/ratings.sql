-- title: Ratings | 评价
SELECT
  count(*) FILTER (WHERE age_ms <= days(90)) AS ratings_90d, -- ratings in the last 90 days | 近 90 天评分次数
  count(*) FILTER (WHERE age_ms <= days(90) AND score <= 2) AS bad_ratings_90d, -- ratings of 1 or 2 in the last 90 days | 近 90 天差评次数
  mean(score) AS rating_mean, -- mean rating of the service | 服务评分均值
  last(score) AS rating_last, -- last rating | 最近评分
  min(score) FILTER (WHERE age_ms <= days(30)) AS rating_min_30d, -- lowest rating in the last 30 days | 近 30 天最低评分
  ratio(min(age_ms), days(1)) AS days_since_rating, -- days since the last rating | 距最近评分天数
  mean(score) FILTER (WHERE age_ms <= days(30)) - mean(score) AS rating_trend, -- mean rating of the last 30 days minus that of all | 近 30 天评分与总体之差
FROM past.ratings
GROUP BY customer_id, as_of
