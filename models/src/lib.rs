//! Models that foresee: specs, training, calibration, evaluation, ONNX, registry, drift.

pub mod baselines;
pub mod bgnbd;
pub mod drift;
pub mod gates;
pub mod metrics;
pub mod registry;
