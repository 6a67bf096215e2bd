-- title: Consultations | 咨询
-- each: w = 1, 3, 7, 30
-- Contacts that are over, as known at as_of. Proactive ones are counted apart.
SELECT
  count(*) FILTER (WHERE (origin IS DISTINCT FROM 'proactive') AND age_ms <= days({w})) AS contacts_{w}d, -- contacts in the last {w} days | 近 {w} 天咨询次数
  count(*) FILTER (WHERE (origin IS DISTINCT FROM 'proactive') AND resolved IS NOT TRUE AND NOT bot_only AND age_ms <= days({w})) AS unresolved_{w}d, -- contacts not closed as resolved in the last {w} days | 近 {w} 天未解决次数
  count(*) FILTER (WHERE abandoned AND age_ms <= days({w})) AS abandoned_{w}d, -- contacts given up while queued in the last {w} days | 近 {w} 天排队放弃次数
  max(wait_ms) FILTER (WHERE age_ms <= days({w})) AS wait_max_{w}d, -- longest wait in ms in the last {w} days | 近 {w} 天最长等待（毫秒）
  coalesce(sum(unanswered) FILTER (WHERE age_ms <= days({w})), 0) AS unanswered_{w}d, -- contacts whose last message was not answered in the last {w} days | 近 {w} 天未回复次数
  coalesce(sum(transfers) FILTER (WHERE age_ms <= days({w})), 0) AS transfers_{w}d, -- transfers in the last {w} days | 近 {w} 天转接次数
  count(*) FILTER (WHERE handed_off AND age_ms <= days({w})) AS bot_failures_{w}d, -- contacts that the bot gave to a human in the last {w} days | 近 {w} 天机器人转人工次数
  count(*) FILTER (WHERE age_ms <= days(30) AND intent IN ('product_question', 'presale')) AS presale_30d, -- contacts before a purchase in the last 30 days | 近 30 天售前咨询次数
  count(*) FILTER (WHERE age_ms <= days(30) AND intent IN ('return_how', 'refund_status', 'cancel_order', 'return', 'refund')) AS return_contacts_30d, -- contacts about a return in the last 30 days | 近 30 天退货咨询次数
  count(*) FILTER (WHERE age_ms <= days(30) AND (intent IN ('where_is_my_order', 'urge_shipping', 'logistics') OR skill = 'logistics')) AS delivery_contacts_30d, -- contacts about a delivery in the last 30 days | 近 30 天物流咨询次数
  count(*) FILTER (WHERE age_ms <= days(30) AND intent IN ('quality_issue', 'complaint')) AS complaints_30d, -- contacts about quality, and complaints, in the last 30 days | 近 30 天质量问题与投诉次数
  count(*) FILTER (WHERE age_ms <= days(30) AND order_id IS NOT NULL) AS order_contacts_30d, -- contacts about an order in the last 30 days | 近 30 天订单相关咨询次数
  count(DISTINCT intent) FILTER (WHERE age_ms <= days(30)) AS intents_30d, -- different matters in the last 30 days | 近 30 天咨询事由种数
  count(*) FILTER (WHERE reopened AND age_ms <= days(30)) AS reopened_30d, -- contacts reopened in the last 30 days | 近 30 天重开次数
  count(*) FILTER (WHERE origin = 'proactive' AND age_ms <= days(30)) AS proactive_30d, -- contacts that we began in the last 30 days | 近 30 天主动服务次数
  ratio(min(age_ms) FILTER (WHERE (origin IS DISTINCT FROM 'proactive')), days(1)) AS days_since_contact, -- days since the last contact | 距最近咨询天数
  ratio(sum(reply_ms) FILTER (WHERE age_ms <= days(30)), sum(rounds) FILTER (WHERE age_ms <= days(30))) AS reply_mean_30d, -- mean time to a reply in ms in the last 30 days | 近 30 天平均响应（毫秒）
  mean(handle_ms) FILTER (WHERE age_ms <= days(30)) AS handle_mean_30d, -- mean handle time in ms in the last 30 days | 近 30 天平均处理时长（毫秒）
  coalesce(sum(customer_messages) FILTER (WHERE age_ms <= days(30)), 0) AS messages_30d, -- messages of the customer in the last 30 days | 近 30 天客户消息数
  count(*) FILTER (WHERE (origin IS DISTINCT FROM 'proactive')) AS contacts, -- contacts | 咨询总次数
FROM past.contacts
GROUP BY customer_id, as_of
