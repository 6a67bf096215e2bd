use arrow::datatypes::{DataType, Schema};

/// What rules have to know of a KPI.
#[derive(Debug, Clone, PartialEq)]
pub struct KpiShape {
    /// Its name, as of the file.
    pub name: String,
    /// English and Chinese, separated by `|`.
    pub title: String,
    /// Names of its keys, in the order of its columns.
    pub keys: Vec<String>,
    /// Its grouping sets, each as the names in its `grouped_by`.
    pub sets: Vec<Vec<String>>,
    /// Its values, in the order of its columns, with their types.
    pub values: Vec<(String, DataType)>,
    /// Length of a window in ms.
    pub size_ms: i64,
    /// From one window to the next, in ms.
    pub slide_ms: i64,
    /// How long after the Unix epoch a window begins, in ms, less than the slide.
    pub offset_ms: i64,
    /// How long after its end a window takes late facts, in ms.
    pub corrections_ms: i64,
}

/// Columns before the keys: `window_start`, `window_end`, `grouped_by`.
pub(crate) const BEFORE: usize = 3;
/// Columns after the values: `revision`, `final`, `at`.
pub(crate) const AFTER: usize = 3;

impl KpiShape {
    /// Takes keys and values from the schema of the KPI's rows: `window_start`, `window_end`,
    /// `grouped_by`, so many keys, the values, `revision`, `final`, `at`. Windows and corrections
    /// are 0 and have to be set.
    pub fn of_rows(name: &str, rows: &Schema, key_count: usize, sets: Vec<Vec<String>>) -> Self {
        let fields = rows.fields();
        let keys_end = (BEFORE + key_count).min(fields.len());
        let values_end = fields.len().saturating_sub(AFTER).max(keys_end);
        let name_of = |place: usize| fields[place].name().clone();
        Self {
            name: name.to_owned(),
            title: String::new(),
            keys: (BEFORE.min(keys_end)..keys_end).map(name_of).collect(),
            sets,
            values: (keys_end..values_end).map(|p| (name_of(p), fields[p].data_type().clone())).collect(),
            size_ms: 0,
            slide_ms: 0,
            offset_ms: 0,
            corrections_ms: 0,
        }
    }

    /// Columns of its rows.
    pub(crate) fn columns(&self) -> usize {
        BEFORE + self.keys.len() + self.values.len() + AFTER
    }

    /// The column of a key.
    pub(crate) fn key_column(&self, name: &str) -> Option<usize> {
        self.keys.iter().position(|key| key == name).map(|place| BEFORE + place)
    }

    /// The column of a value, and its type.
    pub(crate) fn value_column(&self, name: &str) -> Option<(usize, &DataType)> {
        let place = self.values.iter().position(|(value, _)| value == name)?;
        Some((BEFORE + self.keys.len() + place, &self.values[place].1))
    }

    /// The last end of a window that is not after `ms`.
    pub(crate) fn last_end(&self, ms: i64) -> i64 {
        let since = ms.saturating_sub(self.size_ms).saturating_sub(self.offset_ms);
        ms.saturating_sub(since.rem_euclid(self.slide_ms))
    }
}
