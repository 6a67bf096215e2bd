//! Which rows of a spine count.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use datafusion::physical_expr::PhysicalExpr;

use crate::FeatureError;
use crate::plan::selected_of;
use crate::view::{View, ViewError};

/// A condition on the columns of a spine and on features, such as `orders_30d > 0`.
#[derive(Debug)]
pub struct Population {
    condition: Arc<dyn PhysicalExpr>,
    schema: Arc<Schema>,
}

impl Population {
    /// Checks a condition. Nothing of the future is among the columns.
    ///
    /// # Errors
    /// What is wrong with it: an unknown column, another type, more than a condition.
    pub fn new(condition: &str, rows: &Schema) -> Result<Self, ViewError> {
        let text = format!(
            "-- title: the population\nSELECT\n  ({condition}) AS is_of_it, -- of it | 属于\nFROM features"
        );
        let view = View::parse("the population", "population", &text, &[])?;
        let schema = Arc::new(rows.clone());
        let without_line = |(_, message)| view.wrong(None, message);
        let mut selected = selected_of(&view, &schema).map_err(without_line)?;
        let wrong =
            |found: &str| view.wrong(None, format!("expected one condition, true or false; found {found}"));
        let (Some((_, condition)), true) = (selected.pop(), selected.is_empty()) else {
            return Err(wrong("several values"));
        };
        match condition.data_type(&schema) {
            Ok(DataType::Boolean) => Ok(Self { condition, schema }),
            Ok(other) => Err(wrong(&other.to_string())),
            Err(error) => Err(view.wrong(None, error.to_string())),
        }
    }

    /// For each row whether the condition is true of it.
    ///
    /// # Errors
    /// What cannot be computed, such as a division by zero.
    pub fn of(&self, rows: &RecordBatch) -> Result<BooleanArray, FeatureError> {
        let columns: Option<Vec<_>> =
            self.schema.fields().iter().map(|field| rows.column_by_name(field.name()).cloned()).collect();
        let rows = RecordBatch::try_new(self.schema.clone(), columns.unwrap_or_default())?;
        let value = self.condition.evaluate(&rows)?.into_array(rows.num_rows())?;
        Ok(value.as_boolean().clone())
    }
}
