//! A version of a model that serves.

use std::fmt;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Schema, TimeUnit};
use arrow::error::ArrowError;
use headsup_features::{Definitions, Population, ViewError};
use headsup_models::reasons::{Reason, Reasons};
use headsup_models::registry::Version;
use headsup_models::score::Scorer;
use headsup_models::spec::{Scoring, Spec, SpecError};
use headsup_models::trees::{self, Forest};

/// Why a version cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The registry's manifest.
    #[error("model {model}, version {version}: its specification: {error}; train it again")]
    Spec {
        /// Which.
        model: String,
        /// Which.
        version: String,
        /// What.
        error: SpecError,
    },
    /// It is of other features.
    #[error(
        "model {model}, version {version} takes features that no view has: {}; train it again with these views",
        missing.join(", ")
    )]
    Features {
        /// Which.
        model: String,
        /// Which.
        version: String,
        /// Which.
        missing: Vec<String>,
    },
    /// Who is scored.
    #[error("model {model}: {error}")]
    Population {
        /// Which.
        model: String,
        /// What is wrong with the condition.
        error: Box<ViewError>,
    },
    /// onnxruntime.
    #[error("model {model}, version {version}: {error}")]
    Scorer {
        /// Which.
        model: String,
        /// Which.
        version: String,
        /// Why.
        error: headsup_models::score::Error,
    },
    /// The trees that reasons come from.
    #[error("model {model}, version {version}: {error}")]
    Forest {
        /// Which.
        model: String,
        /// Which.
        version: String,
        /// Why.
        error: trees::Error,
    },
}

/// A version that serves.
pub struct Model {
    /// When customers are scored.
    pub(crate) when: Scoring,
    /// Who is.
    pub(crate) population: Population,
    pub(crate) scorer: Scorer,
    forest: Forest,
    /// Of each feature of the model, the place in the definitions.
    places: Vec<usize>,
    /// 16 hexadecimal digits.
    pub(crate) version: String,
    /// How long it takes at least until what it foretells happens.
    pub(crate) lead_ms: u64,
}

impl fmt::Debug for Model {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Model").field("version", &self.version).field("when", &self.when).finish()
    }
}

/// What conditions on who is scored are over: customer and time, then features.
pub(crate) fn known_schema(definitions: &Definitions) -> Schema {
    let mut fields = vec![
        Field::new("customer_id", DataType::Utf8View, false),
        Field::new("as_of", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
    ];
    fields.extend(definitions.schema().fields().iter().map(|field| field.as_ref().clone()));
    Schema::new(fields)
}

impl Model {
    /// A version from the registry over these features. `None` if its specification has no `[scoring]`.
    ///
    /// # Errors
    /// It is of features that there are not, or damaged; there is no onnxruntime.
    pub fn new(of: &Version, definitions: &Definitions) -> Result<Option<Self>, ModelError> {
        let (model, version) = (of.model.clone(), of.version.clone());
        let spec = Spec::of_manifest(&of.model, &of.manifest);
        let spec = spec.map_err(|error| ModelError::Spec { model, version, error })?;
        let lead_ms = spec.lead_ms().unsigned_abs();
        let Some(when) = spec.scoring else { return Ok(None) };
        let (model, version) = (&of.model, &of.version);
        let file = |name: &str| of.files.get(name).map_or(&[][..], Vec::as_slice);
        let scorer = Scorer::from_bytes(file("model.onnx")).map_err(|error| ModelError::Scorer {
            model: model.clone(),
            version: version.clone(),
            error,
        })?;
        let forest = Forest::from_bytes(file("forest.json")).map_err(|error| ModelError::Forest {
            model: model.clone(),
            version: version.clone(),
            error,
        })?;
        let place =
            |name: &String| definitions.columns().iter().position(|(_, known, _)| known.name == *name);
        let (places, missing): (Vec<_>, Vec<_>) = scorer
            .features()
            .iter()
            .map(|name| place(name).ok_or_else(|| name.clone()))
            .partition(Result::is_ok);
        if !missing.is_empty() {
            let missing = missing.into_iter().filter_map(Result::err).collect();
            return Err(ModelError::Features { model: model.clone(), version: version.clone(), missing });
        }
        let population = Population::new(&spec.population, &known_schema(definitions))
            .map_err(|error| ModelError::Population { model: model.clone(), error: Box::new(error) })?;
        let places = places.into_iter().flatten().collect();
        Ok(Some(Self { when, population, scorer, forest, places, version: version.clone(), lead_ms }))
    }

    /// Rows of the model's features, one after another, as it was trained with: missing is NaN, true is 1.
    pub(crate) fn rows(&self, features: &RecordBatch) -> Result<Vec<f32>, ArrowError> {
        let width = self.places.len();
        let mut rows = vec![f32::NAN; width * features.num_rows()];
        for (column, place) in self.places.iter().enumerate() {
            let values = cast(features.column(*place), &DataType::Float64)?;
            for (row, value) in values.as_primitive::<Float64Type>().iter().enumerate() {
                if let Some(value) = value {
                    rows[row * width + column] = value as f32;
                }
            }
        }
        Ok(rows)
    }

    /// Why a row's risk is high: three reasons at most, the strongest first.
    pub(crate) fn reasons(&self, reasons: &Reasons, row: &[f32]) -> Vec<Reason> {
        reasons.of(self.scorer.features(), row, &self.forest.contributions(row), 3)
    }
}
