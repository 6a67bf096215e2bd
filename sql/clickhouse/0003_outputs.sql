-- What goes out: alerts, scores, tasks; and what came of the tasks. Each row is one event of a
-- life: an alert that fires, is amended, resolved or withdrawn; a task that is created, offered,
-- accepted, completed. Lists and objects are JSON.

CREATE TABLE IF NOT EXISTS `{database}`.rows_alerts
(
    share String,
    generation UInt64,
    file UInt64,
    row UInt64,
    dt Date,
    `alert_id` Nullable(String),
    `name` Nullable(String),
    `state` Nullable(String),
    `severity` Nullable(String),
    `kpi` Nullable(String),
    `value_name` Nullable(String),
    `grouped_by` Nullable(String),
    `keys` Nullable(String),
    `window_start` Nullable({time}),
    `window_end` Nullable({time}),
    `value` Nullable(Float64),
    `threshold` Nullable(Float64),
    `n` Nullable(Int64),
    `contributors` Nullable(String),
    `runbook` Nullable(String),
    `started_at` Nullable({time}),
    `at` Nullable({time}),
    `known_at` Nullable({time})
)
ENGINE = ReplacingMergeTree
PARTITION BY (share, generation, toYYYYMM(dt))
ORDER BY (dt, share, generation, file, row){settings};

CREATE VIEW IF NOT EXISTS `{database}`.alerts AS
SELECT
    `alert_id`, `name`, `state`, `severity`, `kpi`, `value_name`, `grouped_by`, `keys`, `window_start`,
    `window_end`, `value`, `threshold`, `n`, `contributors`, `runbook`, `started_at`, `at`, `known_at`,
    dt
FROM `{database}`.rows_alerts FINAL
WHERE (share, generation) IN (SELECT share, max(generation) FROM `{database}`.generations GROUP BY share);

CREATE TABLE IF NOT EXISTS `{database}`.rows_scores
(
    share String,
    generation UInt64,
    file UInt64,
    row UInt64,
    dt Date,
    `score_id` Nullable(String),
    `model` Nullable(String),
    `version` Nullable(String),
    `customer_id` Nullable(String),
    `order_id` Nullable(String),
    `shop` Nullable(String),
    `as_of` Nullable({time}),
    `probability` Nullable(Float64),
    `percentile` Nullable(Float64),
    `lead_ms` Nullable(Int64),
    `feature_hash` Nullable(String),
    `reasons` Nullable(String),
    `at` Nullable({time}),
    `known_at` Nullable({time})
)
ENGINE = ReplacingMergeTree
PARTITION BY (share, generation, toYYYYMM(dt))
ORDER BY (dt, share, generation, file, row){settings};

CREATE VIEW IF NOT EXISTS `{database}`.scores AS
SELECT
    `score_id`, `model`, `version`, `customer_id`, `order_id`, `shop`, `as_of`, `probability`,
    `percentile`, `lead_ms`, `feature_hash`, `reasons`, `at`, `known_at`, dt
FROM `{database}`.rows_scores FINAL
WHERE (share, generation) IN (SELECT share, max(generation) FROM `{database}`.generations GROUP BY share);

CREATE TABLE IF NOT EXISTS `{database}`.rows_tasks
(
    share String,
    generation UInt64,
    file UInt64,
    row UInt64,
    dt Date,
    `task_id` Nullable(String),
    `idempotency_key` Nullable(String),
    `campaign` Nullable(String),
    `state` Nullable(String),
    `customer_id` Nullable(String),
    `order_ids` Nullable(String),
    `shop` Nullable(String),
    `risk_kind` Nullable(String),
    `probability` Nullable(Float64),
    `percentile` Nullable(Float64),
    `lead_ms` Nullable(Int64),
    `model` Nullable(String),
    `reasons` Nullable(String),
    `recommended_actions` Nullable(String),
    `required_skills` Nullable(String),
    `channels` Nullable(String),
    `priority` Nullable(Int64),
    `not_before` Nullable({time}),
    `expires_at` Nullable({time}),
    `arm` Nullable(String),
    `origin` Nullable(String),
    `at` Nullable({time}),
    `known_at` Nullable({time})
)
ENGINE = ReplacingMergeTree
PARTITION BY (share, generation, toYYYYMM(dt))
ORDER BY (dt, share, generation, file, row){settings};

CREATE VIEW IF NOT EXISTS `{database}`.tasks AS
SELECT
    `task_id`, `idempotency_key`, `campaign`, `state`, `customer_id`, `order_ids`, `shop`, `risk_kind`,
    `probability`, `percentile`, `lead_ms`, `model`, `reasons`, `recommended_actions`, `required_skills`,
    `channels`, `priority`, `not_before`, `expires_at`, `arm`, `origin`, `at`, `known_at`, dt
FROM `{database}`.rows_tasks FINAL
WHERE (share, generation) IN (SELECT share, max(generation) FROM `{database}`.generations GROUP BY share);

CREATE TABLE IF NOT EXISTS `{database}`.rows_outcomes
(
    share String,
    generation UInt64,
    file UInt64,
    row UInt64,
    dt Date,
    `task_id` Nullable(String),
    `state` Nullable(String),
    `reason` Nullable(String),
    `retryable` Nullable(UInt8),
    `disposition` Nullable(String),
    `agent_id` Nullable(String),
    `customer_id` Nullable(String),
    `order_id` Nullable(String),
    `at` Nullable({time}),
    `known_at` Nullable({time})
)
ENGINE = ReplacingMergeTree
PARTITION BY (share, generation, toYYYYMM(dt))
ORDER BY (dt, share, generation, file, row){settings};

CREATE VIEW IF NOT EXISTS `{database}`.outcomes AS
SELECT
    `task_id`, `state`, `reason`, `retryable`, `disposition`, `agent_id`, `customer_id`, `order_id`,
    `at`, `known_at`, dt
FROM `{database}`.rows_outcomes FINAL
WHERE (share, generation) IN (SELECT share, max(generation) FROM `{database}`.generations GROUP BY share);
