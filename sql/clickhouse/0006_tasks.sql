-- Tasks as they are written: a row is an event, with all of it as JSON in data. What was made for them before never
-- held anything. And signals, what proactive service goes by.

DROP TABLE IF EXISTS `{database}`.tasks;

DROP TABLE IF EXISTS `{database}`.rows_tasks;

DROP TABLE IF EXISTS `{database}`.outcomes;

DROP TABLE IF EXISTS `{database}`.rows_outcomes;

CREATE TABLE IF NOT EXISTS `{database}`.rows_tasks
(
    share String,
    generation UInt64,
    file UInt64,
    row UInt64,
    dt Date,
    `event` Nullable(String),
    `at` Nullable({time}),
    `id` Nullable(String),
    `subject` Nullable(String),
    `campaign` Nullable(String),
    `customer_id` Nullable(String),
    `shop` Nullable(String),
    `arm` Nullable(String),
    `assignment_id` Nullable(String),
    `task_id` Nullable(String),
    `reason` Nullable(String),
    `agent_id` Nullable(String),
    `disposition` Nullable(String),
    `channel` Nullable(String),
    `model` Nullable(String),
    `version` Nullable(String),
    `revision` Nullable(UInt64),
    `value_minor` Nullable(Int64),
    `cost_minor` Nullable(Int64),
    `probability` Nullable(Float64),
    `percentile` Nullable(Float64),
    `data` Nullable(String)
)
ENGINE = ReplacingMergeTree
PARTITION BY (share, generation, toYYYYMM(dt))
ORDER BY (dt, share, generation, file, row){settings};

CREATE VIEW IF NOT EXISTS `{database}`.tasks AS
SELECT
    `event`, `at`, `id`, `subject`, `campaign`, `customer_id`, `shop`, `arm`, `assignment_id`,
    `task_id`, `reason`, `agent_id`, `disposition`, `channel`, `model`, `version`, `revision`,
    `value_minor`, `cost_minor`, `probability`, `percentile`, `data`, dt
FROM `{database}`.rows_tasks FINAL
WHERE (share, generation) IN (SELECT share, max(generation) FROM `{database}`.generations GROUP BY share);

CREATE TABLE IF NOT EXISTS `{database}`.rows_signals
(
    share String,
    generation UInt64,
    file UInt64,
    row UInt64,
    dt Date,
    `type` Nullable(String),
    `subject` Nullable(String),
    `source` Nullable(String),
    `id` Nullable(String),
    `customer_id` Nullable(String),
    `shop` Nullable(String),
    `channel` Nullable(String),
    `origin` Nullable(String),
    `agent_id` Nullable(String),
    `state` Nullable(String),
    `reason` Nullable(String),
    `retryable` Nullable(UInt8),
    `disposition` Nullable(String),
    `at` Nullable({time}),
    `known_at` Nullable({time})
)
ENGINE = ReplacingMergeTree
PARTITION BY (share, generation, toYYYYMM(dt))
ORDER BY (dt, share, generation, file, row){settings};

CREATE VIEW IF NOT EXISTS `{database}`.signals AS
SELECT
    `type`, `subject`, `source`, `id`, `customer_id`, `shop`, `channel`, `origin`, `agent_id`,
    `state`, `reason`, `retryable`, `disposition`, `at`, `known_at`, dt
FROM `{database}`.rows_signals FINAL
WHERE (share, generation) IN (SELECT share, max(generation) FROM `{database}`.generations GROUP BY share);
