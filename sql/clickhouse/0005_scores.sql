-- What a score says more of: which part its version plays, why it was computed, the log-odds.

ALTER TABLE `{database}`.rows_scores ADD COLUMN IF NOT EXISTS `role` Nullable(String);
ALTER TABLE `{database}`.rows_scores ADD COLUMN IF NOT EXISTS `trigger` Nullable(String);
ALTER TABLE `{database}`.rows_scores ADD COLUMN IF NOT EXISTS `margin` Nullable(Float64);

DROP TABLE IF EXISTS `{database}`.scores;

CREATE VIEW IF NOT EXISTS `{database}`.scores AS
SELECT
    `customer_id`, `at`, `model`, `role`, `version`, `trigger`, `probability`, `margin`, `percentile`,
    `reasons`, `feature_hash`, dt
FROM `{database}`.rows_scores FINAL
WHERE (share, generation) IN (SELECT share, max(generation) FROM `{database}`.generations GROUP BY share);
