//! Looks for the future in the past: features that know too much.

use serde::Serialize;

use crate::frame::Frame;
use crate::metrics;
use crate::split::Split;

/// A feature that alone tells the classes apart this well is looked at.
pub const SUSPICIOUS_AUROC: f64 = 0.9;

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Audit {
    /// What must not be, by feature.
    pub leaks: Vec<Finding>,
    /// What should be looked at.
    pub warnings: Vec<String>,
    /// What is as it should be, with its figures.
    pub notes: Vec<String>,
}

/// A feature and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Its name.
    pub feature: String,
    /// What was seen.
    pub what: String,
}

/// Audits rows and their split. `again` is pairs of frames of the same rows: as they are, and computed
/// from facts of which those known after each row's time were removed.
pub fn audit(frame: &Frame, split: &Split, again: &[(Frame, Frame)]) -> Audit {
    let mut audit = Audit { leaks: Vec::new(), warnings: Vec::new(), notes: Vec::new() };
    too_good(frame, split, &mut audit);
    one_sided(frame, split, &mut audit);
    let mut compared = 0;
    for (as_is, cut) in again {
        compared += as_is.rows();
        changed(as_is, cut, &mut audit);
    }
    if compared > 0 {
        audit.notes.push(format!(
            "{compared} rows were computed again from facts known by their time: {}",
            if audit.leaks.iter().any(|leak| leak.what.contains("removed")) {
                "see the leaks"
            } else {
                "all equal, to the bit"
            }
        ));
    }
    let last = split.train.iter().map(|row| frame.as_of_us[*row as usize]).max().unwrap_or(0);
    let first = split.test.iter().map(|row| frame.as_of_us[*row as usize]).min().unwrap_or(0);
    audit.notes.push(format!(
        "the last training row is {:.1} days before the first of the test",
        (first - last) as f64 / 86_400e6
    ));
    let mut trained = vec![false; frame.customers.len()];
    for row in &split.train {
        trained[frame.customer[*row as usize] as usize] = true;
    }
    let mut tested: Vec<u32> = split.test.iter().map(|row| frame.customer[*row as usize]).collect();
    tested.sort_unstable();
    tested.dedup();
    let both = tested.iter().filter(|customer| trained[**customer as usize]).count();
    audit.notes.push(format!(
        "{both} of the {} customers of the test are in training too, at earlier times: as it is when customers are scored; \
         intervals are over customers, not rows",
        tested.len()
    ));
    audit
}

/// Ranks the test's rows by each feature alone; then by whether it is missing.
fn too_good(frame: &Frame, split: &Split, audit: &mut Audit) {
    let labels = frame.labels(&split.test);
    for (name, column) in frame.features.iter().zip(&frame.columns) {
        let values: Vec<f64> = split.test.iter().map(|row| column[*row as usize]).collect();
        let by_value: Vec<f64> =
            values.iter().map(|value| if value.is_nan() { f64::MIN } else { *value }).collect();
        let by_missing: Vec<f64> = values.iter().map(|value| f64::from(u8::from(value.is_nan()))).collect();
        for (ranks, how) in [(by_value, "its value"), (by_missing, "whether it is missing")] {
            let auroc = metrics::auroc(&ranks, &labels);
            let either = auroc.max(1.0 - auroc);
            if either >= SUSPICIOUS_AUROC {
                let what = format!("{how} alone has an AUROC of {either:.4}, too good to be true");
                audit.leaks.push(Finding { feature: name.clone(), what });
                break;
            }
        }
    }
}

/// Features that are there on one side only.
fn one_sided(frame: &Frame, split: &Split, audit: &mut Audit) {
    for (name, column) in frame.features.iter().zip(&frame.columns) {
        let there = |rows: &[u32]| rows.iter().any(|row| !column[*row as usize].is_nan());
        match (there(&split.train), there(&split.test)) {
            (true, false) => {
                audit.warnings.push(format!("{name} has values in training and none in the test"))
            }
            (false, true) => {
                audit.warnings.push(format!("{name} has values in the test and none in training"))
            }
            _ => {}
        }
    }
}

/// Features whose values the removal of later facts has changed.
fn changed(as_is: &Frame, cut: &Frame, audit: &mut Audit) {
    for (name, column) in as_is.features.iter().zip(&as_is.columns) {
        let Some(place) = cut.place(name) else { continue };
        let differs = |row: &usize| {
            let (one, other) = (column[*row], cut.columns[place][*row]);
            one.to_bits() != other.to_bits() && !(one.is_nan() && other.is_nan())
        };
        let rows = column.len().min(cut.columns[place].len());
        let differ: Vec<usize> = (0..rows).filter(differs).collect();
        if let Some(row) = differ.first() {
            let customer = &as_is.customers[as_is.customer[*row] as usize];
            let what = format!(
                "{} of {rows} values change when facts known later are removed: {} becomes {} for {customer}",
                differ.len(),
                column[*row],
                cut.columns[place][*row]
            );
            audit.leaks.push(Finding { feature: name.clone(), what });
        }
    }
}

impl Audit {
    /// In words.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for leak in &self.leaks {
            text += &format!("leak     {}: {}\n", leak.feature, leak.what);
        }
        for warning in &self.warnings {
            text += &format!("warning  {warning}\n");
        }
        for note in &self.notes {
            text += &format!("fine     {note}\n");
        }
        text
    }
}
