//! Finding KPI files: those that came with the binary, or a folder's.

use std::path::Path;
use std::sync::Arc;

use headsup_kpi::{Kpi, KpiError, Settings};

use crate::Failure;

/// Name and text of the files in `sql/kpis/`.
const BUILT_IN: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/kpis.rs"));

/// All KPIs of `folder`, or those that came with the binary.
///
/// # Errors
/// All mistakes in all files at once.
pub fn load(folder: Option<&Path>, settings: &Settings) -> Result<Vec<Arc<Kpi>>, Failure> {
    let mut files: Vec<(String, String, String)> = Vec::new();
    match folder {
        None => {
            for (name, sql) in BUILT_IN {
                files.push((format!("sql/kpis/{name}.sql"), (*name).to_owned(), (*sql).to_owned()));
            }
        }
        Some(folder) => files = self::files(folder, "KPIs")?,
    }
    if let Some(name) = settings.parameters.keys().find(|set| files.iter().all(|(_, name, _)| name != *set)) {
        let message = format!("kpis.parameters: there is no KPI {name}, of which a parameter is set");
        return Err(Failure { code: 2, message });
    }
    let (kpis, mistakes): (Vec<_>, Vec<_>) = files
        .iter()
        .map(|(file, name, sql)| Kpi::parse_with(file, name, sql, settings))
        .partition(Result::is_ok);
    if mistakes.is_empty() {
        return Ok(kpis.into_iter().flatten().map(Arc::new).collect());
    }
    let mistakes: Vec<String> =
        mistakes.into_iter().filter_map(Result::err).map(|error: KpiError| error.to_string()).collect();
    Err(Failure { code: 2, message: mistakes.join("\n       ") })
}

/// The *.sql files of a folder: how messages call them, their names, their texts.
///
/// # Errors
/// A folder that cannot be read, or has none.
pub fn files(folder: &Path, what: &str) -> Result<Vec<(String, String, String)>, Failure> {
    let usage = |message: String| Failure { code: 2, message };
    let entries = std::fs::read_dir(folder)
        .map_err(|error| usage(format!("cannot read the {what} in {}: {error}", folder.display())))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| usage(format!("cannot read {}: {error}", folder.display())))?.path();
        if path.extension().is_none_or(|extension| extension != "sql") {
            continue;
        }
        let sql = std::fs::read_to_string(&path)
            .map_err(|error| usage(format!("cannot read {}: {error}", path.display())))?;
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        files.push((path.display().to_string(), name, sql));
    }
    files.sort();
    if files.is_empty() {
        return Err(usage(format!("there are no {what} (*.sql) in {}", folder.display())));
    }
    Ok(files)
}
