//! `MODEL_CARD.md`: what one has to know before using a model. The sections follow Mitchell et al.,
//! "Model Cards for Model Reporting" (FAT* 2019).

use std::fmt::Write;

use crate::metrics::{Comparison, Evaluation, Headline, Interval};
use crate::report::{Report, fixed, percent, range, thousands};

/// The card of a report's model, as Markdown. The same report gives the same bytes.
pub fn card(report: &Report) -> String {
    let found = &report.evaluation;
    let mut card = format!("# {}\n\n`{}`\n\n", plain(&report.title), report.model.replace('`', "'"));
    let mut section = |title: &str, text: String| {
        if !text.trim().is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(card, "## {title}\n\n{}\n\n", text.trim());
        }
    };
    section("What it is for", plain(&report.purpose));
    section("What it foresees", plain(&report.label));
    section("Mind", list(&report.warnings));
    section("Limits", list(&report.limits));
    let slices = report.data.iter().map(|slice| {
        let rate = percent(slice.positives as f64 / slice.rows as f64, 2);
        vec![
            plain(&slice.name),
            plain(&slice.from),
            plain(&slice.to),
            thousands(slice.rows),
            thousands(slice.entities),
            format!("{} ({rate})", thousands(slice.positives)),
        ]
    });
    section("Data", table(&["slice", "from", "to", "rows", "customers", "positives"], slices));
    section("How good it is", metrics(report));
    section("By group", groups(found));
    let gates = report.gates.iter().flat_map(|verdict| &verdict.gates).map(|gate| {
        vec![
            plain(&gate.name),
            if gate.passed { "passed" } else { "**not passed**" }.to_owned(),
            plain(&gate.note),
        ]
    });
    section("Gates", table(&["gate", "", "found"], gates));
    let first = report.importances.iter().take(10).map(|importance| {
        vec![plain(&importance.feature), fixed(importance.mean_abs_shap, 3), plain(&importance.description)]
    });
    section("What moves it", table(&["feature", "mean abs. SHAP", "is"], first));
    let spec = report.spec.iter().map(|(name, value)| vec![plain(name), plain(value)]);
    section("Spec", table(&["", ""], spec));
    section("How to make it again", reproduce(report));
    card.truncate(card.trim_end().len());
    card.push('\n');
    card
}

fn metrics(report: &Report) -> String {
    let row = |name: &str, headline: &Headline| {
        let mut row = vec![name.to_owned()];
        row.extend(cells(Some(headline)));
        row
    };
    let own = row("**model**", &report.evaluation.headline);
    let others = report.baselines.iter().map(|(name, found)| row(&plain(name), &found.headline));
    let mut text = format!(
        "On {} rows of {} customers with a base rate of {}; in brackets 95 % intervals, from resampling customers.\n\n",
        thousands(report.evaluation.rows),
        thousands(report.evaluation.entities),
        percent(report.evaluation.base_rate, 2)
    );
    text += &table(
        &["", HEADINGS[0], HEADINGS[1], HEADINGS[2], HEADINGS[3], HEADINGS[4]],
        std::iter::once(own).chain(others),
    );
    for (name, Comparison { difference, low, high, .. }) in &report.comparisons {
        let name = plain(name);
        let _ = write!(text, "\n- AUC-PR less that of {name}: {difference:+.4} ({low:+.4} to {high:+.4})");
    }
    text
}

const HEADINGS: [&str; 5] = ["AUC-PR", "AUROC", "lift 10 %", "Brier", "calibration error"];

fn cells(headline: Option<&Headline>) -> [String; 5] {
    let Some(headline) = headline else { return std::array::from_fn(|_| "–".to_owned()) };
    let cell = |interval: Interval, digits| {
        format!("{} ({})", fixed(interval.value, digits), range(interval, digits))
    };
    [
        cell(headline.auc_pr, 3),
        cell(headline.auroc, 3),
        headline.lift.last().map_or_else(|| "–".to_owned(), |lift| cell(lift.lift, 2)),
        cell(headline.brier, 4),
        cell(headline.ece, 4),
    ]
}

/// Where the mean prediction leaves the observed rate, the model is unfair to a group or to the rest.
fn groups(found: &Evaluation) -> String {
    let rows = found.groups.iter().map(|group| {
        let [auc_pr, auroc, lift, ..] = cells(group.headline.as_ref());
        vec![
            format!("{} {}", plain(&group.dimension), plain(&group.value)),
            thousands(group.rows),
            percent(group.positives as f64 / group.rows as f64, 2),
            percent(group.predicted, 2),
            auc_pr,
            auroc,
            lift,
        ]
    });
    table(&["group", "rows", "observed", "predicted", HEADINGS[0], HEADINGS[1], HEADINGS[2]], rows)
}

fn reproduce(report: &Report) -> String {
    let mut text = String::new();
    if !report.reproduce.is_empty() {
        text += &format!("```sh\n{}\n```\n\n", report.reproduce.join("\n").replace("```", "'''"));
    }
    if let Some(error) = report.parity_error {
        let _ =
            write!(text, "`model.onnx` and `model.ubj` differ by at most {error:.1e} on every test row. ");
    }
    if !text.is_empty() {
        text += "The same data and seed give the same bytes, and so the same version.";
    }
    text
}

fn list(items: &[String]) -> String {
    items.iter().map(|item| format!("- {}\n", plain(item))).collect()
}

/// Nothing if there are no rows.
fn table(headings: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rows: String = rows.map(|row| line(&row)).collect();
    if rows.is_empty() {
        return rows;
    }
    let headings: Vec<String> = headings.iter().map(|&heading| heading.to_owned()).collect();
    format!("{}|{}\n{rows}", line(&headings), "---|".repeat(headings.len()))
}

/// Text on one line that Markdown and HTML leave alone.
fn plain(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => safe.push_str("&lt;"),
            '&' => safe.push_str("&amp;"),
            '\r' | '\n' => safe.push(' '),
            '\\' | '`' | '*' | '_' | '|' | '[' | ']' | '#' => safe.extend(['\\', letter]),
            _ => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn a_card_has_every_section() {
        let report = sample();
        let text = card(&report);
        assert_eq!(text, card(&report));
        for heading in [
            "# Order return",
            "## What it is for",
            "## What it foresees",
            "## Mind",
            "## Limits",
            "## Data",
            "## How good it is",
            "## By group",
            "## Gates",
            "## What moves it",
            "## How to make it again",
        ] {
            assert!(text.lines().any(|line| line.starts_with(heading)), "{heading}\n{text}");
        }
        // Every table row has as many cells as its heading, whatever is in them.
        let mut width = None;
        for line in text.lines() {
            let cells = line.replace("\\|", "").matches('|').count();
            width = line.starts_with('|').then(|| width.unwrap_or(cells));
            assert_eq!(width.unwrap_or(cells), cells, "{line}");
        }
        assert!(text.contains("| shop &lt;/table&gt;") || text.contains("| shop &lt;/table>"), "{text}");
        assert!(!text.contains("<script>"));
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let mut report = sample();
        report.warnings.clear();
        report.gates = None;
        report.evaluation.groups.clear();
        let text = card(&report);
        for heading in ["## Mind", "## Gates", "## By group"] {
            assert!(!text.contains(heading), "{text}");
        }
    }
}
