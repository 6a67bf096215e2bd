//! Models that foresee: specs, training, calibration, evaluation, ONNX, registry, drift.
//!
//! Start reading at `job.rs`, which takes rows with labels to a version in the registry.

#[cfg(feature = "train")]
pub mod audit;
#[cfg(feature = "train")]
pub mod backtest;
pub mod baselines;
pub mod bgnbd;
#[cfg(feature = "train")]
pub mod booster;
pub mod calibrate;
pub mod card;
pub mod drift;
#[cfg(feature = "train")]
pub mod frame;
pub mod gates;
#[cfg(feature = "train")]
pub mod job;
pub mod metrics;
pub mod onnx;
pub mod reasons;
pub mod registry;
pub mod report;
#[cfg(feature = "score")]
pub mod score;
#[cfg(feature = "train")]
pub mod search;
pub mod spec;
#[cfg(feature = "train")]
pub mod split;
pub mod trees;
