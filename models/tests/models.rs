//! Models from training to scores, through XGBoost and onnxruntime.
#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "models/job.rs"]
mod job;
#[path = "models/score.rs"]
mod score;
