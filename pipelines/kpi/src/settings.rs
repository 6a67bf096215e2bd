use std::collections::BTreeMap;
use std::sync::Arc;

use crate::calendar::Calendar;

/// What KPI files leave open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// When shops are open.
    pub calendar: Arc<Calendar>,
    /// Values of parameters in place of those in the files, by KPI and name.
    pub parameters: BTreeMap<String, BTreeMap<String, String>>,
    /// No window begins before this, in ms; `None`: whatever facts there are have windows.
    pub from_ms: Option<i64>,
}
