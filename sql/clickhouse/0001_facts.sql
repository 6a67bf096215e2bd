-- Generations, and the facts.
--
-- {database} is the database. {time} is DateTime64(6, 'UTC'); on a server that has no times with
-- fractions it is Int64, microseconds since the Unix epoch. {settings} are a table's settings.
--
-- A table rows_<name> has every row that was loaded, with where it came from: share (of the
-- input), generation (one more whenever tables are computed anew), file and row in the file.
-- ReplacingMergeTree keeps a row once, however often it was loaded. The view <name> shows the
-- newest generation of each share alone; it is what to query.

CREATE TABLE IF NOT EXISTS `{database}`.generations
(
    share String,
    generation UInt64,
    store String,
    store_generation UInt64,
    began DateTime
)
ENGINE = ReplacingMergeTree
ORDER BY (share, generation, store){settings};

CREATE TABLE IF NOT EXISTS `{database}`.rows_contacts
(
    share String,
    generation UInt64,
    file UInt64,
    row UInt64,
    dt Date,
    `conversation_id` Nullable(String),
    `contact` Nullable(Int64),
    `customer_id` Nullable(String),
    `shop` Nullable(String),
    `channel` Nullable(String),
    `skill` Nullable(String),
    `agent_id` Nullable(String),
    `intent` Nullable(String),
    `order_id` Nullable(String),
    `origin` Nullable(String),
    `entry` Nullable(String),
    `started_at` Nullable({time}),
    `queued_at` Nullable({time}),
    `accepted_at` Nullable({time}),
    `closed_at` Nullable({time}),
    `wrapped_at` Nullable({time}),
    `ended_at` Nullable({time}),
    `ended_by` Nullable(String),
    `wait_ms` Nullable(Int64),
    `handle_ms` Nullable(Int64),
    `hold_ms` Nullable(Int64),
    `wrap_ms` Nullable(Int64),
    `first_reply_ms` Nullable(Int64),
    `customer_messages` Nullable(Int64),
    `agent_messages` Nullable(Int64),
    `bot_messages` Nullable(Int64),
    `transfers` Nullable(Int64),
    `handed_off` Nullable(UInt8),
    `bot_only` Nullable(UInt8),
    `abandoned` Nullable(UInt8),
    `reopened` Nullable(UInt8),
    `resolved` Nullable(UInt8),
    `known_at` Nullable({time})
)
ENGINE = ReplacingMergeTree
PARTITION BY (share, generation, toYYYYMM(dt))
ORDER BY (dt, share, generation, file, row){settings};

CREATE VIEW IF NOT EXISTS `{database}`.contacts AS
SELECT
    `conversation_id`, `contact`, `customer_id`, `shop`, `channel`, `skill`, `agent_id`, `intent`,
    `order_id`, `origin`, `entry`, `started_at`, `queued_at`, `accepted_at`, `closed_at`, `wrapped_at`,
    `ended_at`, `ended_by`, `wait_ms`, `handle_ms`, `hold_ms`, `wrap_ms`, `first_reply_ms`,
    `customer_messages`, `agent_messages`, `bot_messages`, `transfers`, `handed_off`, `bot_only`,
    `abandoned`, `reopened`, `resolved`, `known_at`, dt
FROM `{database}`.rows_contacts FINAL
WHERE (share, generation) IN (SELECT share, max(generation) FROM `{database}`.generations GROUP BY share);

CREATE TABLE IF NOT EXISTS `{database}`.rows_rounds
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
    `agent_id` Nullable(String),
    `asked_at` Nullable({time}),
    `replied_at` Nullable({time}),
    `reply_ms` Nullable(Int64),
    `known_at` Nullable({time})
)
ENGINE = ReplacingMergeTree
PARTITION BY (share, generation, toYYYYMM(dt))
ORDER BY (dt, share, generation, file, row){settings};

CREATE VIEW IF NOT EXISTS `{database}`.rounds AS
SELECT
    `conversation_id`, `customer_id`, `shop`, `channel`, `skill`, `agent_id`, `asked_at`, `replied_at`,
    `reply_ms`, `known_at`, dt
FROM `{database}`.rows_rounds FINAL
WHERE (share, generation) IN (SELECT share, max(generation) FROM `{database}`.generations GROUP BY share);

CREATE TABLE IF NOT EXISTS `{database}`.rows_ratings
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
    `agent_id` Nullable(String),
    `score` Nullable(Int64),
    `rated_at` Nullable({time}),
    `known_at` Nullable({time})
)
ENGINE = ReplacingMergeTree
PARTITION BY (share, generation, toYYYYMM(dt))
ORDER BY (dt, share, generation, file, row){settings};

CREATE VIEW IF NOT EXISTS `{database}`.ratings AS
SELECT
    `conversation_id`, `customer_id`, `shop`, `channel`, `skill`, `agent_id`, `score`, `rated_at`,
    `known_at`, dt
FROM `{database}`.rows_ratings FINAL
WHERE (share, generation) IN (SELECT share, max(generation) FROM `{database}`.generations GROUP BY share);

CREATE TABLE IF NOT EXISTS `{database}`.rows_queue
(
    share String,
    generation UInt64,
    file UInt64,
    row UInt64,
    dt Date,
    `at` Nullable({time}),
    `shop` Nullable(String),
    `channel` Nullable(String),
    `skill` Nullable(String),
    `waiting` Nullable(Int64),
    `longest_wait_ms` Nullable(Int64),
    `open_contacts` Nullable(Int64),
    `agents_available` Nullable(Int64),
    `capacity` Nullable(Int64),
    `known_at` Nullable({time})
)
ENGINE = ReplacingMergeTree
PARTITION BY (share, generation, toYYYYMM(dt))
ORDER BY (dt, share, generation, file, row){settings};

CREATE VIEW IF NOT EXISTS `{database}`.queue AS
SELECT
    `at`, `shop`, `channel`, `skill`, `waiting`, `longest_wait_ms`, `open_contacts`, `agents_available`,
    `capacity`, `known_at`, dt
FROM `{database}`.rows_queue FINAL
WHERE (share, generation) IN (SELECT share, max(generation) FROM `{database}`.generations GROUP BY share);

CREATE TABLE IF NOT EXISTS `{database}`.rows_orders
(
    share String,
    generation UInt64,
    file UInt64,
    row UInt64,
    dt Date,
    `order_id` Nullable(String),
    `type` Nullable(String),
    `customer_id` Nullable(String),
    `shop` Nullable(String),
    `channel` Nullable(String),
    `amount_minor` Nullable(Int64),
    `currency` Nullable(String),
    `actor` Nullable(String),
    `reason` Nullable(String),
    `score` Nullable(Int64),
    `lines` Nullable(String),
    `at` Nullable({time}),
    `known_at` Nullable({time})
)
ENGINE = ReplacingMergeTree
PARTITION BY (share, generation, toYYYYMM(dt))
ORDER BY (dt, share, generation, file, row){settings};

CREATE VIEW IF NOT EXISTS `{database}`.orders AS
SELECT
    `order_id`, `type`, `customer_id`, `shop`, `channel`, `amount_minor`, `currency`, `actor`, `reason`,
    `score`, `lines`, `at`, `known_at`, dt
FROM `{database}`.rows_orders FINAL
WHERE (share, generation) IN (SELECT share, max(generation) FROM `{database}`.generations GROUP BY share);
