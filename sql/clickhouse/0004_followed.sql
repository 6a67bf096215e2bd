-- Turns, what follows contacts, and agents' time; what contacts, the queue and alerts say more of.

ALTER TABLE `{database}`.rows_contacts ADD COLUMN IF NOT EXISTS `rounds` Nullable(Int64);
ALTER TABLE `{database}`.rows_contacts ADD COLUMN IF NOT EXISTS `reply_ms` Nullable(Int64);
ALTER TABLE `{database}`.rows_contacts ADD COLUMN IF NOT EXISTS `unanswered` Nullable(Int64);
ALTER TABLE `{database}`.rows_contacts ADD COLUMN IF NOT EXISTS `effort_ms` Nullable(Int64);

DROP TABLE IF EXISTS `{database}`.contacts;

CREATE VIEW IF NOT EXISTS `{database}`.contacts AS
SELECT
    `conversation_id`, `contact`, `customer_id`, `shop`, `channel`, `skill`, `agent_id`, `intent`,
    `order_id`, `origin`, `entry`, `started_at`, `queued_at`, `accepted_at`, `closed_at`, `wrapped_at`,
    `ended_at`, `ended_by`, `wait_ms`, `handle_ms`, `hold_ms`, `wrap_ms`, `first_reply_ms`,
    `customer_messages`, `agent_messages`, `bot_messages`, `transfers`, `handed_off`, `bot_only`,
    `abandoned`, `reopened`, `resolved`, `rounds`, `reply_ms`, `unanswered`, `effort_ms`, `known_at`, dt
FROM `{database}`.rows_contacts FINAL
WHERE (share, generation) IN (SELECT share, max(generation) FROM `{database}`.generations GROUP BY share);

ALTER TABLE `{database}`.rows_queue ADD COLUMN IF NOT EXISTS `open_over` Nullable(Int64);

DROP TABLE IF EXISTS `{database}`.queue;

CREATE VIEW IF NOT EXISTS `{database}`.queue AS
SELECT
    `at`, `shop`, `channel`, `skill`, `waiting`, `longest_wait_ms`, `open_contacts`, `open_over`,
    `agents_available`, `capacity`, `known_at`, dt
FROM `{database}`.rows_queue FINAL
WHERE (share, generation) IN (SELECT share, max(generation) FROM `{database}`.generations GROUP BY share);

ALTER TABLE `{database}`.rows_rounds ADD COLUMN IF NOT EXISTS `origin` Nullable(String);

DROP TABLE IF EXISTS `{database}`.rounds;

CREATE VIEW IF NOT EXISTS `{database}`.rounds AS
SELECT
    `conversation_id`, `customer_id`, `shop`, `channel`, `skill`, `agent_id`, `origin`, `asked_at`,
    `replied_at`, `reply_ms`, `known_at`, dt
FROM `{database}`.rows_rounds FINAL
WHERE (share, generation) IN (SELECT share, max(generation) FROM `{database}`.generations GROUP BY share);

ALTER TABLE `{database}`.rows_ratings ADD COLUMN IF NOT EXISTS `origin` Nullable(String);

DROP TABLE IF EXISTS `{database}`.ratings;

CREATE VIEW IF NOT EXISTS `{database}`.ratings AS
SELECT
    `conversation_id`, `customer_id`, `shop`, `channel`, `skill`, `agent_id`, `origin`, `score`,
    `rated_at`, `known_at`, dt
FROM `{database}`.rows_ratings FINAL
WHERE (share, generation) IN (SELECT share, max(generation) FROM `{database}`.generations GROUP BY share);

ALTER TABLE `{database}`.rows_alerts ADD COLUMN IF NOT EXISTS `revision` Nullable(UInt64);
ALTER TABLE `{database}`.rows_alerts ADD COLUMN IF NOT EXISTS `peak` Nullable(Float64);
ALTER TABLE `{database}`.rows_alerts ADD COLUMN IF NOT EXISTS `worst` Nullable(String);
ALTER TABLE `{database}`.rows_alerts ADD COLUMN IF NOT EXISTS `resolved_at` Nullable({time});

DROP TABLE IF EXISTS `{database}`.alerts;

CREATE VIEW IF NOT EXISTS `{database}`.alerts AS
SELECT
    `alert_id`, `revision`, `name`, `state`, `severity`, `kpi`, `value_name`, `grouped_by`, `keys`,
    `window_start`, `window_end`, `value`, `threshold`, `n`, `peak`, `contributors`, `worst`, `runbook`,
    `started_at`, `resolved_at`, `at`, `known_at`, dt
FROM `{database}`.rows_alerts FINAL
WHERE (share, generation) IN (SELECT share, max(generation) FROM `{database}`.generations GROUP BY share);

CREATE TABLE IF NOT EXISTS `{database}`.rows_turns
(
    share String,
    generation UInt64,
    file UInt64,
    row UInt64,
    dt Date,
    `conversation_id` Nullable(String),
    `customer_id` Nullable(String),
    `shop` Nullable(String),
    `channel` Nullable(String),
    `skill` Nullable(String),
    `origin` Nullable(String),
    `asked_at` Nullable({time}),
    `replied_at` Nullable({time}),
    `replied_by` Nullable(String),
    `reply_ms` Nullable(Int64),
    `known_at` Nullable({time})
)
ENGINE = ReplacingMergeTree
PARTITION BY (share, generation, toYYYYMM(dt))
ORDER BY (dt, share, generation, file, row){settings};

CREATE VIEW IF NOT EXISTS `{database}`.turns AS
SELECT
    `conversation_id`, `customer_id`, `shop`, `channel`, `skill`, `origin`, `asked_at`, `replied_at`,
    `replied_by`, `reply_ms`, `known_at`, dt
FROM `{database}`.rows_turns FINAL
WHERE (share, generation) IN (SELECT share, max(generation) FROM `{database}`.generations GROUP BY share);

CREATE TABLE IF NOT EXISTS `{database}`.rows_resolutions
(
    share String,
    generation UInt64,
    file UInt64,
    row UInt64,
    dt Date,
    `event` Nullable(String),
    `conversation_id` Nullable(String),
    `contact` Nullable(Int64),
    `customer_id` Nullable(String),
    `shop` Nullable(String),
    `channel` Nullable(String),
    `skill` Nullable(String),
    `agent_id` Nullable(String),
    `intent` Nullable(String),
    `entry` Nullable(String),
    `closed` Nullable(UInt8),
    `resolved` Nullable(UInt8),
    `handed_off` Nullable(UInt8),
    `bot_only` Nullable(UInt8),
    `started_at` Nullable({time}),
    `at` Nullable({time}),
    `first_reply_ms` Nullable(Int64),
    `since_last_ms` Nullable(Int64),
    `after_ms` Nullable(Int64),
    `next_conversation_id` Nullable(String),
    `known_at` Nullable({time})
)
ENGINE = ReplacingMergeTree
PARTITION BY (share, generation, toYYYYMM(dt))
ORDER BY (dt, share, generation, file, row){settings};

CREATE VIEW IF NOT EXISTS `{database}`.resolutions AS
SELECT
    `event`, `conversation_id`, `contact`, `customer_id`, `shop`, `channel`, `skill`, `agent_id`,
    `intent`, `entry`, `closed`, `resolved`, `handed_off`, `bot_only`, `started_at`, `at`,
    `first_reply_ms`, `since_last_ms`, `after_ms`, `next_conversation_id`, `known_at`, dt
FROM `{database}`.rows_resolutions FINAL
WHERE (share, generation) IN (SELECT share, max(generation) FROM `{database}`.generations GROUP BY share);

CREATE TABLE IF NOT EXISTS `{database}`.rows_inquiries
(
    share String,
    generation UInt64,
    file UInt64,
    row UInt64,
    dt Date,
    `event` Nullable(String),
    `conversation_id` Nullable(String),
    `customer_id` Nullable(String),
    `shop` Nullable(String),
    `channel` Nullable(String),
    `skill` Nullable(String),
    `agent_id` Nullable(String),
    `asked_at` Nullable({time}),
    `after_ms` Nullable(Int64),
    `known_at` Nullable({time})
)
ENGINE = ReplacingMergeTree
PARTITION BY (share, generation, toYYYYMM(dt))
ORDER BY (dt, share, generation, file, row){settings};

CREATE VIEW IF NOT EXISTS `{database}`.inquiries AS
SELECT
    `event`, `conversation_id`, `customer_id`, `shop`, `channel`, `skill`, `agent_id`, `asked_at`,
    `after_ms`, `known_at`, dt
FROM `{database}`.rows_inquiries FINAL
WHERE (share, generation) IN (SELECT share, max(generation) FROM `{database}`.generations GROUP BY share);

CREATE TABLE IF NOT EXISTS `{database}`.rows_agents
(
    share String,
    generation UInt64,
    file UInt64,
    row UInt64,
    dt Date,
    `at` Nullable({time}),
    `agent_id` Nullable(String),
    `skill` Nullable(String),
    `busy_ms` Nullable(Int64),
    `available_ms` Nullable(Int64),
    `engaged_ms` Nullable(Int64),
    `known_at` Nullable({time})
)
ENGINE = ReplacingMergeTree
PARTITION BY (share, generation, toYYYYMM(dt))
ORDER BY (dt, share, generation, file, row){settings};

CREATE VIEW IF NOT EXISTS `{database}`.agents AS
SELECT
    `at`, `agent_id`, `skill`, `busy_ms`, `available_ms`, `engaged_ms`, `known_at`, dt
FROM `{database}`.rows_agents FINAL
WHERE (share, generation) IN (SELECT share, max(generation) FROM `{database}`.generations GROUP BY share);
