//! Finding the rules of alerts: those that came with the binary, or a file's.

use std::path::Path;
use std::sync::Arc;

use headsup_alerts::{Rules, RulesError};
use headsup_kpi::Kpi;

use crate::Failure;

const BUILT_IN: &str = include_str!("../../sql/alerts.toml");
const BUILT_IN_TESTS: &str = include_str!("../../sql/alerts_test.toml");
const TESTS: &str = "alerts_test.toml";
/// Beside a folder's KPIs.
const NAME: &str = "alerts.toml";

/// The rules of `file`; else those of `alerts.toml` in the folder of KPIs; else, for the KPIs
/// that came with the binary, its own. A folder of KPIs without that file has none.
///
/// # Errors
/// All mistakes at once.
pub fn load(file: Option<&Path>, folder: Option<&Path>, kpis: &[Arc<Kpi>]) -> Result<Rules, Failure> {
    let beside = folder.map(|folder| folder.join(NAME));
    let (name, text) = match (file, beside) {
        (Some(file), _) => (file.display().to_string(), read(file)?),
        (None, None) => (format!("sql/{NAME}"), BUILT_IN.to_owned()),
        (None, Some(beside)) if beside.is_file() => (beside.display().to_string(), read(&beside)?),
        (None, Some(beside)) => (beside.display().to_string(), String::new()),
    };
    parse(&name, &text, kpis)
}

/// The rules that a text says.
///
/// # Errors
/// All mistakes at once.
pub fn parse(name: &str, text: &str, kpis: &[Arc<Kpi>]) -> Result<Rules, Failure> {
    Rules::parse(name, text, &headsup_runtime::shapes(kpis)).map_err(|error| mistakes(&error))
}

/// Name and text of the tests of rules: those of `file`; else those beside the rules; else those
/// that came with the binary.
///
/// # Errors
/// A file that cannot be read.
pub fn tests(
    file: Option<&Path>,
    alerts: Option<&Path>,
    folder: Option<&Path>,
) -> Result<(String, String), Failure> {
    let folder = alerts.map(|alerts| alerts.parent().unwrap_or(Path::new(""))).or(folder);
    let path = match (file, folder) {
        (Some(file), _) => file.to_owned(),
        (None, Some(folder)) => folder.join(TESTS),
        (None, None) => return Ok((format!("sql/{TESTS}"), BUILT_IN_TESTS.to_owned())),
    };
    Ok((path.display().to_string(), read(&path)?))
}

/// A text file.
pub fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|error| Failure { code: 2, message: format!("cannot read {}: {error}", file.display()) })
}

/// All that is wrong, a line each.
pub fn mistakes(error: &RulesError) -> Failure {
    Failure { code: 2, message: error.to_string().replace('\n', "\n       ") }
}
