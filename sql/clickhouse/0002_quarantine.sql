-- Records that were set aside, with their bytes.

CREATE TABLE IF NOT EXISTS `{database}`.rows_quarantine
(
    share String,
    generation UInt64,
    file UInt64,
    row UInt64,
    dt Date,
    `known_at` Nullable({time}),
    `partition` Nullable(String),
    `offset` Nullable(Int64),
    `reason` Nullable(String),
    `detail` Nullable(String),
    `bytes` Nullable(String)
)
ENGINE = ReplacingMergeTree
PARTITION BY (share, generation, toYYYYMM(dt))
ORDER BY (dt, share, generation, file, row){settings};

CREATE VIEW IF NOT EXISTS `{database}`.quarantine AS
SELECT
    `known_at`, `partition`, `offset`, `reason`, `detail`, `bytes`, dt
FROM `{database}`.rows_quarantine FINAL
WHERE (share, generation) IN (SELECT share, max(generation) FROM `{database}`.generations GROUP BY share);
