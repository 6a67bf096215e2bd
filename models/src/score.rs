//! Scoring with onnxruntime, which is loaded when the first model is.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::session::Session;
use ort::value::{TensorElementType, TensorRef, ValueType};

use crate::onnx::{FEATURES, INPUT, MARGIN, PROBABILITY, intact};

/// Why a model cannot be loaded, or rows not scored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No library.
    #[error(
        "onnxruntime cannot be loaded: {0}; set ORT_DYLIB_PATH to libonnxruntime.so of version 1.{minor} or later \
         (`pip download --no-deps onnxruntime` has it, under onnxruntime/capi)",
        minor = ort::MINOR_VERSION
    )]
    Runtime(String),
    /// No file.
    #[error("the model {path} cannot be read: {source}; check the path, and that the registry is complete")]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No model, or one of another kind.
    #[error("the model is damaged or not one of ours: {0}; export it again, or take another version")]
    Model(String),
    /// Rows of another width.
    #[error(
        "the model takes rows of {expected} features and got {values} values as rows of {got}: give every row the \
         features that the model names, in their order"
    )]
    Rows {
        /// How many values.
        values: usize,
        /// Of how many features.
        got: usize,
        /// How many the model takes.
        expected: usize,
    },
    /// Not as many expected values as rows.
    #[error("{expected} expected probabilities for {rows} rows: give one for a row")]
    Expected {
        /// Of them.
        expected: usize,
        /// Rows.
        rows: usize,
    },
    /// What onnxruntime refuses.
    #[error("onnxruntime: {0}")]
    Run(#[from] ort::Error),
}

/// Of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// The log-odds before calibration.
    pub margin: f32,
    /// The probability after it.
    pub probability: f32,
}

/// A loaded model.
pub struct Scorer {
    // onnxruntime may run a session from several threads, `ort` lets only one at a time.
    session: Mutex<Session>,
    features: Vec<String>,
}

/// Of the library named by `ORT_DYLIB_PATH`, now or at compile time, or the one that the linker finds. Loaded once; what
/// failed is tried again with the next model.
fn environment() -> Result<&'static Environment, Error> {
    static LOADED: OnceLock<Environment> = OnceLock::new();
    if let Some(environment) = LOADED.get() {
        return Ok(environment);
    }
    let named = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from);
    let at_compile_time = || option_env!("ORT_DYLIB_PATH").map(PathBuf::from).filter(|path| path.exists());
    let path = named.or_else(at_compile_time).unwrap_or_else(|| {
        format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX).into()
    });
    let builder = ort::init_from(&path).map_err(|error| Error::Runtime(error.to_string()))?;
    let environment = builder.with_telemetry(false).build()?;
    Ok(LOADED.get_or_init(|| environment))
}

impl Scorer {
    /// From a file.
    ///
    /// # Errors
    /// As [`Scorer::from_bytes`], or the file cannot be read.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        Self::from_bytes(&std::fs::read(path).map_err(|source| Error::Read { path: path.into(), source })?)
    }

    /// From the bytes of an ONNX model.
    ///
    /// # Errors
    /// There is no onnxruntime, or the model is damaged or has other inputs and outputs.
    pub fn from_bytes(onnx: &[u8]) -> Result<Self, Error> {
        let model = |error: &dyn std::fmt::Display| Error::Model(error.to_string());
        if !intact(onnx) {
            return Err(model(&"it is not what its checksum is of"));
        }
        let builder = Session::builder(environment()?)?;
        let mut builder = builder.with_intra_threads(1).map_err(ort::Error::<()>::from)?;
        let session = builder.commit_from_memory(onnx).map_err(|error| model(&error))?;
        let features = {
            let metadata = session.metadata()?;
            let names = metadata.custom(FEATURES).ok_or_else(|| model(&"it does not name its features"))?;
            serde_json::from_str::<Vec<String>>(&names).map_err(|error| model(&error))?
        };
        let columns = |outlets: &[ort::value::Outlet], name: &str, columns: usize| {
            outlets.iter().any(|outlet| {
                outlet.name() == name
                    && matches!(outlet.dtype(), ValueType::Tensor { ty: TensorElementType::Float32, shape, .. }
                        if shape.len() == 2 && shape[1] == columns as i64)
            })
        };
        let outputs = session.outputs();
        if session.inputs().len() != 1 || !columns(session.inputs(), INPUT, features.len()) {
            return Err(model(&format!("its one input is not `{INPUT}`, float [N, {}]", features.len())));
        }
        if !columns(outputs, MARGIN, 1) || !columns(outputs, PROBABILITY, 1) {
            return Err(model(&format!("it has no outputs `{MARGIN}` and `{PROBABILITY}`, float [N, 1]")));
        }
        Ok(Self { session: Mutex::new(session), features })
    }

    /// The names of the features, in the order of a row.
    pub fn features(&self) -> &[String] {
        &self.features
    }

    /// What was given to the export under `key`.
    ///
    /// # Errors
    /// onnxruntime cannot tell.
    pub fn metadata(&self, key: &str) -> Result<Option<String>, Error> {
        Ok(self.session.lock().unwrap_or_else(PoisonError::into_inner).metadata()?.custom(key))
    }

    /// Scores rows of so many features, one after another, missing values NaN.
    ///
    /// # Errors
    /// The rows have another number of features.
    pub fn score(&self, rows: &[f32], features: usize) -> Result<Vec<Score>, Error> {
        let expected = self.features.len();
        if features != expected || features == 0 || !rows.len().is_multiple_of(features) {
            return Err(Error::Rows { values: rows.len(), got: features, expected });
        }
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let input = TensorRef::from_array_view(([rows.len() / features, features], rows))?;
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let outputs = session.run(ort::inputs![INPUT => input])?;
        let (_, margins) = outputs[MARGIN].try_extract_tensor::<f32>()?;
        let (_, probabilities) = outputs[PROBABILITY].try_extract_tensor::<f32>()?;
        Ok(margins
            .iter()
            .zip(probabilities)
            .map(|(&margin, &probability)| Score { margin, probability })
            .collect())
    }
}

/// The largest difference between the probabilities of a model and the expected ones.
///
/// # Errors
/// As [`Scorer::from_bytes`] and [`Scorer::score`], or there are not as many expected as rows.
pub fn parity(onnx: &[u8], rows: &[f32], features: usize, expected: &[f64]) -> Result<f64, Error> {
    let scores = Scorer::from_bytes(onnx)?.score(rows, features)?;
    if scores.len() != expected.len() {
        return Err(Error::Expected { expected: expected.len(), rows: scores.len() });
    }
    // A NaN is a difference, which `f64::max` would pass over.
    let differences =
        scores.iter().zip(expected).map(|(score, &expected)| f64::from(score.probability) - expected);
    Ok(differences.fold(0.0, |worst: f64, d| if d.is_nan() { f64::INFINITY } else { worst.max(d.abs()) }))
}
