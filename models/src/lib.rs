//! Models that foresee: specs, training, calibration, evaluation, ONNX, registry, drift.
