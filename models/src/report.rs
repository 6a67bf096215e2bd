//! What was trained and how good it is, as a page and as JSON.
//!
//! The page holds everything in one file: styles and SVG inside, no script, nothing fetched. The same
//! report gives the same bytes: no time of writing is in it, and no version, which is the hash of all
//! files, this one too.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::gates::Verdict;
use crate::metrics::{CalibrationBin, Comparison, Evaluation, Headline, Interval, TOPS};
use plot::{Axis, Plot};

mod plot;

/// Everything that report and model card tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// As `Order return, foreseen three days ahead`.
    pub title: String,
    /// As in the registry: `order_return`.
    pub model: String,
    /// What the model is for, in a sentence or two.
    pub purpose: String,
    /// What counts as positive, with lead and horizon, in a sentence or two.
    pub label: String,
    /// The rest of the spec: name and value.
    pub spec: Vec<(String, String)>,
    /// The slices in order of time.
    pub data: Vec<Slice>,
    /// On the last slice.
    pub evaluation: Evaluation,
    /// The same of what the model has to beat.
    pub baselines: Vec<(String, Evaluation)>,
    /// The model less others (baselines, the champion), on the same resamples.
    pub comparisons: Vec<(String, Comparison)>,
    /// Most important first.
    pub importances: Vec<Importance>,
    /// The search of parameters, in its order.
    pub trials: Vec<Trial>,
    /// `None` if scores were not calibrated.
    pub calibration: Option<Calibration>,
    /// Rolling origin; empty if there was no backtest.
    pub folds: Vec<Fold>,
    /// Greatest difference between ONNX and XGBoost over the evaluation slice.
    pub parity_error: Option<f64>,
    /// How the model stood before its gates; `None` if it was not held against them.
    pub gates: Option<Verdict>,
    /// Of the profit curve.
    pub currency: Currency,
    /// What a reader has to know before trusting a figure.
    pub warnings: Vec<String>,
    /// What the model is not good for.
    pub limits: Vec<String>,
    /// Commands that make the same bytes again.
    pub reproduce: Vec<String>,
}

/// A span of `as_of` and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// `train`, `early stopping`, `calibration`, `test`.
    pub name: String,
    /// First `as_of`, as a date.
    pub from: String,
    /// Last `as_of`, as a date.
    pub to: String,
    /// Rows.
    pub rows: u64,
    /// Customers.
    pub entities: u64,
    /// Rows whose label is true.
    pub positives: u64,
}

/// How much a feature moves the prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Importance {
    /// Its name.
    pub feature: String,
    /// Mean of |SHAP| over the evaluation slice, in log-odds.
    pub mean_abs_shap: f64,
    /// As its view has it.
    pub description: String,
}

/// One step of the search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// XGBoost's parameters.
    pub params: BTreeMap<String, f64>,
    /// Trees until early stopping.
    pub rounds: u32,
    /// AUC-PR in cross-validation or on the early-stopping slice.
    pub auc_pr: f64,
    /// Whether the model was trained with these.
    pub chosen: bool,
}

/// What calibration did on the evaluation slice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// `isotonic`, `platt`.
    pub method: String,
    /// Of the booster's own probabilities.
    pub before: Quality,
    /// Of those the model gives.
    pub after: Quality,
}

/// How well probabilities hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Expected calibration error.
    pub ece: f64,
    /// Mean squared error.
    pub brier: f64,
    /// Mean negative log-likelihood, nats.
    pub log_loss: f64,
    /// By bins of equal size.
    pub bins: Vec<CalibrationBin>,
}

impl From<&Evaluation> for Quality {
    fn from(of: &Evaluation) -> Self {
        let Headline { ece, brier, log_loss, .. } = &of.headline;
        Self { ece: ece.value, brier: brier.value, log_loss: log_loss.value, bins: of.calibration.clone() }
    }
}

/// One fold of a backtest: trained on what was before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fold {
    /// First `as_of` of its test rows, as a date.
    pub from: String,
    /// Last one.
    pub to: String,
    /// Test rows.
    pub rows: u64,
    /// Of these with a true label.
    pub positives: u64,
    /// On the test rows.
    pub headline: Headline,
}

/// How money is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Currency {
    /// `GBP`
    pub code: String,
    /// Minor units are 10^−digits of it.
    pub digits: u32,
}

/// The report as JSON; [`Report`] reads it back.
///
/// # Errors
/// None with the fields as they are; passed on nonetheless.
pub fn json(report: &Report) -> Result<String, serde_json::Error> {
    serde_json::to_string(report)
}

/// The report as one page that needs nothing else.
pub fn html(report: &Report) -> String {
    let title = escape(&report.title);
    let sections = [
        head(report),
        tiles(report),
        warnings(report),
        format!(
            "<section class=\"charts\">{}</section>",
            [
                precision_recall(report),
                roc(report),
                calibration(report),
                gain(report),
                profit(report),
                lead(report),
                backtest(report),
            ]
            .concat()
        ),
        baselines(report),
        importances(report),
        groups(report),
        gates(report),
        data(report),
        search(report),
        reproduce(report),
    ];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>{title}</title>\n<style>{STYLE}</style></head>\n<body><main>\n{}\n</main></body></html>\n",
        sections.concat()
    )
}

const STYLE: &str = include_str!("report/style.css");

fn head(report: &Report) -> String {
    let verdict = match &report.gates {
        Some(verdict) if verdict.gates.is_empty() => String::new(),
        Some(verdict) if verdict.passed() => {
            format!("<p class=\"good\">Passes all {} gates.</p>", verdict.gates.len())
        }
        Some(verdict) => format!(
            "<p class=\"bad\">Does not pass {} of {} gates: {}.</p>",
            verdict.failures().len(),
            verdict.gates.len(),
            escape(&verdict.failures().join(", "))
        ),
        None => String::new(),
    };
    format!(
        "<header><p class=\"model\">{}</p><h1>{}</h1><p>{}</p><p class=\"muted\">{}</p>{verdict}</header>\n",
        escape(&report.model),
        escape(&report.title),
        escape(&report.purpose),
        escape(&report.label),
    )
}

fn tiles(report: &Report) -> String {
    let found = &report.evaluation;
    let headline = &found.headline;
    let base = found.base_rate;
    let mut tiles = vec![
        (
            "AUC-PR",
            fixed(headline.auc_pr.value, 3),
            range(headline.auc_pr, 3),
            format!("chance is {}", fixed(base, 3)),
        ),
        ("AUROC", fixed(headline.auroc.value, 3), range(headline.auroc, 3), "chance is 0.5".to_owned()),
    ];
    if let Some(lift) = headline.lift.last() {
        let name = "Lift in the best 10 %";
        let note = format!("finds {} of all", percent(lift.recall, 0));
        tiles.push((name, format!("{}×", fixed(lift.lift.value, 2)), range(lift.lift, 2), note));
    }
    let note = "mean gap to what happened".to_owned();
    tiles.push(("Calibration error", fixed(headline.ece.value, 4), range(headline.ece, 4), note));
    let note = format!("base rate alone {}", fixed(base * (1.0 - base), 4));
    tiles.push(("Brier", fixed(headline.brier.value, 4), range(headline.brier, 4), note));
    let note = format!("{} positive, {}", thousands(found.positives), percent(base, 2));
    tiles.push((
        "Test rows",
        thousands(found.rows),
        format!("{} customers", thousands(found.entities)),
        note,
    ));
    let tiles: String = tiles
        .into_iter()
        .map(|(name, value, range, note)| {
            format!("<div><h2>{name}</h2><b>{value}</b><span>{range}</span><small>{note}</small></div>")
        })
        .collect();
    format!("<section class=\"tiles\">{tiles}</section>\n")
}

fn warnings(report: &Report) -> String {
    if report.warnings.is_empty() {
        return String::new();
    }
    let items: String = report.warnings.iter().map(|text| format!("<li>{}</li>", escape(text))).collect();
    format!("<section class=\"warnings\"><h2>Mind</h2><ul>{items}</ul></section>\n")
}

fn figure(title: &str, svg: &str, legend: &[(&str, &str)], note: &str) -> String {
    let legend: String = legend
        .iter()
        .map(|(class, name)| format!("<span class=\"{class}\">{}</span>", escape(name)))
        .collect();
    let legend = if legend.is_empty() { legend } else { format!("<p class=\"legend\">{legend}</p>") };
    format!("<figure><figcaption>{title}</figcaption>{legend}{svg}<p class=\"muted\">{note}</p></figure>\n")
}

fn share(label: &str, high: f64) -> Axis<'_> {
    Axis {
        label,
        low: 0.0,
        high,
        unit: &|value| {
            percent(
                value,
                usize::from(
                    value < 0.1 && value > 0.0 && value.fract() != 0.0 && (value * 100.0).fract() > 1e-9,
                ),
            )
        },
    }
}

fn precision_recall(report: &Report) -> String {
    let found = &report.evaluation;
    let high = found.precision_recall.iter().filter(|point| point[0] >= 0.01).map(|point| point[1]);
    let high = (high.fold(found.base_rate, f64::max) * 1.15).min(1.0);
    let mut plot = Plot::new("Precision over recall", share("recall", 1.0), share("precision", high));
    plot.line("dash", &[[0.0, found.base_rate], [1.0, found.base_rate]]);
    for (number, (_, baseline)) in report.baselines.iter().enumerate() {
        plot.line(OTHERS[number % OTHERS.len()], &baseline.precision_recall);
    }
    plot.line("a", &found.precision_recall);
    figure(
        "Precision and recall",
        &plot.finish(),
        &against(report),
        "How many of those flagged are positive, by how many of the positives are found. Dashed: chance.",
    )
}

const OTHERS: [&str; 3] = ["b", "c", "d"];

/// The legend where baselines are drawn too.
fn against(report: &Report) -> Vec<(&str, &str)> {
    let others = report.baselines.iter().enumerate();
    let others = others.map(|(number, (name, _))| (OTHERS[number % OTHERS.len()], name.as_str()));
    [("a", "model")].into_iter().chain(others).collect()
}

fn roc(report: &Report) -> String {
    let mut plot =
        Plot::new("ROC curve", share("false positive rate", 1.0), share("true positive rate", 1.0));
    plot.line("dash", &[[0.0, 0.0], [1.0, 1.0]]);
    for (number, (_, baseline)) in report.baselines.iter().enumerate() {
        plot.line(OTHERS[number % OTHERS.len()], &baseline.roc);
    }
    plot.line("a", &report.evaluation.roc);
    let note = "Positives found, by negatives wrongly flagged. Dashed: chance.";
    figure("ROC", &plot.finish(), &against(report), note)
}

fn calibration(report: &Report) -> String {
    let after = &report.evaluation.calibration;
    let before = report.calibration.as_ref().map(|calibration| &calibration.before.bins);
    let bins = after.iter().chain(before.into_iter().flatten());
    let high = bins.map(|bin| bin.predicted.max(wilson(bin).1)).fold(0.01, f64::max).min(1.0);
    let mut plot = Plot::new("Calibration by decile", share("predicted", high), share("observed", high));
    plot.line("dash", &[[0.0, 0.0], [high, high]]);
    let point = |bin: &CalibrationBin| [bin.predicted, bin.observed];
    if let Some(before) = before {
        plot.line("b", &before.iter().map(point).collect::<Vec<_>>());
    }
    for bin in after {
        let (low, high) = wilson(bin);
        plot.whisker("a", bin.predicted, low, high);
        let told = format!(
            "{} rows: predicted {}, observed {}",
            thousands(bin.rows),
            percent(bin.predicted, 1),
            percent(bin.observed, 1)
        );
        plot.dot("a", point(bin), &told);
    }
    let (legend, note) = match &report.calibration {
        None => (vec![("a", "by decile")], "Not calibrated.".to_owned()),
        Some(Calibration { method, before, after }) => (
            vec![("a", "model, by decile"), ("b", "before calibration")],
            format!(
                "{} calibration: error {} → {}, Brier {} → {}, log-loss {} → {}.",
                escape(method),
                fixed(before.ece, 4),
                fixed(after.ece, 4),
                fixed(before.brier, 4),
                fixed(after.brier, 4),
                fixed(before.log_loss, 4),
                fixed(after.log_loss, 4)
            ),
        ),
    };
    figure("Calibration", &plot.finish(), &legend, &format!("{note} Bars: 95 % intervals."))
}

/// Wilson's 95 % interval of a share, JASA 22 (1927).
fn wilson(bin: &CalibrationBin) -> (f64, f64) {
    let (n, p, z) = (bin.rows as f64, bin.observed, 1.96);
    let middle = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * f64::sqrt(p * (1.0 - p) / n + z * z / (4.0 * n * n));
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

fn gain(report: &Report) -> String {
    let found = &report.evaluation;
    let mut plot =
        Plot::new("Share of positives found", share("contacted", 1.0), share("positives found", 1.0));
    plot.line("dash", &[[0.0, 0.0], [1.0, 1.0]]);
    plot.line("a", &found.gain);
    let mut rows = String::new();
    for lift in &found.headline.lift {
        let told = format!("best {}: {} of positives", percent(lift.top, 0), percent(lift.recall, 1));
        plot.dot("a", [lift.top, lift.recall], &told);
        let _ = write!(
            rows,
            "<tr><td>{}</td><td>{}× <small>{}</small></td><td>{}</td><td>{}</td><td>{}</td></tr>",
            percent(lift.top, 0),
            fixed(lift.lift.value, 2),
            range(lift.lift, 2),
            percent(lift.precision, 1),
            percent(lift.recall, 1),
            fixed(lift.threshold, 3)
        );
    }
    let table = format!(
        "<div class=\"scroll\"><table><tr><th>best</th><th>lift</th><th>precision</th><th>recall</th><th>from</th></tr>{rows}</table></div>"
    );
    figure(
        "Gain and lift",
        &format!("{}{table}", plot.finish()),
        &[],
        "Of the best share: how many times the base rate, and from what probability. Dashed: chance.",
    )
}

fn profit(report: &Report) -> String {
    let curve = &report.evaluation.profit;
    let of = |point: usize| curve.points.iter().map(move |at| at[point]);
    let (low, high) = (of(1).fold(0.0, f64::min), of(1).fold(0.0, f64::max));
    // What is lost by contacting all would flatten the rest.
    let low = low.max(-high.max(1.0));
    let money = |minor: f64| money(minor, &report.currency);
    let y = Axis { label: "profit", low, high: high * 1.05, unit: &money };
    let mut plot = Plot::new("Profit by share contacted", share("contacted", 1.0), y);
    plot.line("dash", &[[0.0, 0.0], [1.0, 0.0]]);
    plot.line("a", &curve.points);
    let best = format!("{} at {}", money(curve.best_minor), percent(curve.best_share, 1));
    plot.dot("a", [curve.best_share, curve.best_minor], &best);
    let terms = format!(
        "A hit brings {}, a contact costs {}.",
        escape(&money(curve.of.hit_minor as f64)),
        escape(&money(curve.of.contact_minor as f64))
    );
    let note = match curve.best_share > 0.0 {
        true => format!(
            "{terms} Best: {} by contacting {}, those from a probability of {}.",
            escape(&money(curve.best_minor)),
            percent(curve.best_share, 1),
            fixed(curve.best_threshold, 3)
        ),
        false => format!("{terms} No contact pays."),
    };
    figure("Profit", &plot.finish(), &[], &note)
}

fn lead(report: &Report) -> String {
    let Some(lead) = &report.evaluation.lead else { return String::new() };
    let mut leads: Vec<i64> = lead.flagged.iter().map(|flagged| flagged.lead_ms).collect();
    leads.sort_unstable();
    leads.dedup();
    let high = lead.flagged.iter().map(|flagged| flagged.share).fold(0.01, f64::max) * 1.15;
    let names: Vec<String> = leads.iter().map(|&ms| format!("≥ {}", hours(ms))).collect();
    let mut plot = Plot::categories(
        "Share of events flagged by lead time",
        &names,
        share("events flagged", high.min(1.0)),
    );
    for flagged in &lead.flagged {
        let place = leads.partition_point(|&ms| ms < flagged.lead_ms) as f64;
        let series = TOPS.iter().position(|&top| top == flagged.top).unwrap_or_default();
        let left = place + 0.14 + 0.24 * series as f64;
        plot.bar(["c", "b", "a"][series], [left, left + 0.22], flagged.share, &percent(flagged.share, 0));
    }
    let tops = TOPS.map(|top| format!("best {}", percent(top, 0)));
    let legend = [("c", tops[0].as_str()), ("b", &tops[1]), ("a", &tops[2])];
    let note = format!(
        "Of the {} events in the test rows, how many were flagged so long before or more.",
        thousands(lead.events)
    );
    figure("Lead time", &plot.finish(), &legend, &note)
}

fn backtest(report: &Report) -> String {
    if report.folds.is_empty() {
        return String::new();
    }
    let base = |fold: &Fold| fold.positives as f64 / fold.rows as f64;
    let high = report.folds.iter().map(|fold| fold.headline.auc_pr.high).fold(0.01, f64::max) * 1.1;
    let names: Vec<String> = report.folds.iter().map(|fold| fold.from.clone()).collect();
    let axis = Axis { label: "AUC-PR", low: 0.0, high: high.min(1.0), unit: &|value| fixed(value, 2) };
    let mut plot = Plot::categories("AUC-PR by fold", &names, axis);
    let at = |of: &dyn Fn(&Fold) -> f64| -> Vec<[f64; 2]> {
        report.folds.iter().enumerate().map(|(place, fold)| [place as f64 + 0.5, of(fold)]).collect()
    };
    plot.line("dash", &at(&base));
    plot.line("a", &at(&|fold| fold.headline.auc_pr.value));
    let mut rows = String::new();
    for (place, fold) in report.folds.iter().enumerate() {
        let Interval { value, low, high } = fold.headline.auc_pr;
        plot.whisker("a", place as f64 + 0.5, low, high);
        plot.dot(
            "a",
            [place as f64 + 0.5, value],
            &format!("{} to {}: {}", fold.from, fold.to, fixed(value, 3)),
        );
        let _ = write!(
            rows,
            "<tr><td>{} to {}</td><td>{}</td><td>{}</td>{}</tr>",
            escape(&fold.from),
            escape(&fold.to),
            thousands(fold.rows),
            percent(base(fold), 2),
            cells(Some(&fold.headline))
        );
    }
    let table = format!(
        "<details><summary>Figures</summary><div class=\"scroll\"><table><tr><th>fold</th><th>rows</th><th>base rate</th>{HEADINGS}</tr>{rows}</table></div></details>"
    );
    figure(
        "Backtest",
        &format!("{}{table}", plot.finish()),
        &[],
        "Each fold by a model trained on what was before it. Dashed: base rate; bars: 95 % intervals.",
    )
}

const HEADINGS: &str =
    "<th>AUC-PR</th><th>AUROC</th><th>lift 10 %</th><th>Brier</th><th>cal. error</th><th>log-loss</th>";

fn cells(headline: Option<&Headline>) -> String {
    let Some(headline) = headline else {
        return "<td colspan=\"6\" class=\"muted\">one class only</td>".to_owned();
    };
    let cell = |interval: Interval, digits: usize| {
        format!("<td>{} <small>{}</small></td>", fixed(interval.value, digits), range(interval, digits))
    };
    [
        cell(headline.auc_pr, 3),
        cell(headline.auroc, 3),
        headline.lift.last().map_or_else(|| "<td>–</td>".to_owned(), |lift| cell(lift.lift, 2)),
        cell(headline.brier, 4),
        cell(headline.ece, 4),
        cell(headline.log_loss, 4),
    ]
    .concat()
}

fn baselines(report: &Report) -> String {
    let mut rows =
        format!("<tr class=\"own\"><td>model</td>{}</tr>", cells(Some(&report.evaluation.headline)));
    for (name, found) in &report.baselines {
        let _ = write!(rows, "<tr><td>{}</td>{}</tr>", escape(name), cells(Some(&found.headline)));
    }
    let mut better = String::new();
    for (name, Comparison { difference, low, high, .. }) in &report.comparisons {
        let told = match (*low > 0.0, *high < 0.0) {
            (true, _) => "better than",
            (_, true) => "worse than",
            _ => "no telling from",
        };
        let _ = write!(
            better,
            "<li>{told} <b>{}</b>: AUC-PR {difference:+.4} <small>{low:+.4} to {high:+.4}</small></li>",
            escape(name)
        );
    }
    if !better.is_empty() {
        better = format!("<p>On the same resamples, the model is</p><ul>{better}</ul>");
    }
    format!(
        "<section><h2>Against baselines</h2><div class=\"scroll\"><table><tr><th></th>{HEADINGS}</tr>{rows}</table></div>{better}<p class=\"muted\">Small: 95 % intervals, from resampling customers.</p></section>\n"
    )
}

fn importances(report: &Report) -> String {
    let most = report
        .importances
        .iter()
        .map(|importance| importance.mean_abs_shap)
        .fold(f64::MIN_POSITIVE, f64::max);
    let item = |importance: &Importance| {
        format!(
            "<li><code>{}</code><span class=\"bar\"><i style=\"width:{:.1}%\"></i></span><b>{}</b><small>{}</small></li>",
            escape(&importance.feature),
            100.0 * importance.mean_abs_shap / most,
            fixed(importance.mean_abs_shap, 3),
            escape(&importance.description)
        )
    };
    let (first, rest) = report.importances.split_at(report.importances.len().min(20));
    if first.is_empty() {
        return String::new();
    }
    let rest = match rest.len() {
        0 => String::new(),
        more => format!(
            "<details><summary>{more} more</summary><ul class=\"importances\">{}</ul></details>",
            rest.iter().map(item).collect::<String>()
        ),
    };
    format!(
        "<section><h2>What moves the prediction</h2><p class=\"muted\">Mean |SHAP| in log-odds over the test rows.</p><ul class=\"importances\">{}</ul>{rest}</section>\n",
        first.iter().map(item).collect::<String>()
    )
}

fn groups(report: &Report) -> String {
    if report.evaluation.groups.is_empty() {
        return String::new();
    }
    let mut rows = String::new();
    for group in &report.evaluation.groups {
        let _ = write!(
            rows,
            "<tr><td><small>{}</small> {}</td><td>{}</td><td>{}</td><td>{}</td>{}</tr>",
            escape(&group.dimension),
            escape(&group.value),
            thousands(group.rows),
            percent(group.positives as f64 / group.rows as f64, 2),
            percent(group.predicted, 2),
            cells(group.headline.as_ref())
        );
    }
    format!(
        "<section><h2>By group</h2><div class=\"scroll\"><table><tr><th></th><th>rows</th><th>observed</th><th>predicted</th>{HEADINGS}</tr>{rows}</table></div></section>\n"
    )
}

fn gates(report: &Report) -> String {
    let Some(verdict) = report.gates.as_ref().filter(|verdict| !verdict.gates.is_empty()) else {
        return String::new();
    };
    let mut rows = String::new();
    for gate in &verdict.gates {
        let (class, word) = if gate.passed { ("good", "passed") } else { ("bad", "not passed") };
        let _ = write!(
            rows,
            "<tr><td>{}</td><td class=\"{class}\">{word}</td><td>{}</td></tr>",
            escape(&gate.name),
            escape(&gate.note)
        );
    }
    format!("<section><h2>Gates</h2><div class=\"scroll\"><table>{rows}</table></div></section>\n")
}

fn data(report: &Report) -> String {
    let mut rows = String::new();
    for slice in &report.data {
        let _ = write!(
            rows,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{} <small>{}</small></td></tr>",
            escape(&slice.name),
            escape(&slice.from),
            escape(&slice.to),
            thousands(slice.rows),
            thousands(slice.entities),
            thousands(slice.positives),
            percent(slice.positives as f64 / slice.rows as f64, 2)
        );
    }
    let spec: String = report
        .spec
        .iter()
        .map(|(name, value)| {
            format!("<tr><td>{}</td><td class=\"text\">{}</td></tr>", escape(name), escape(value))
        })
        .collect();
    format!(
        "<section><h2>Data and spec</h2><div class=\"scroll\"><table><tr><th></th><th>from</th><th>to</th><th>rows</th><th>customers</th><th>positives</th></tr>{rows}</table></div>\
         <div class=\"scroll\"><table>{spec}</table></div></section>\n"
    )
}

fn search(report: &Report) -> String {
    if report.trials.is_empty() {
        return String::new();
    }
    let mut names: Vec<&String> = report.trials.iter().flat_map(|trial| trial.params.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let headings: String = names.iter().map(|name| format!("<th>{}</th>", escape(name))).collect();
    let mut rows = String::new();
    for (number, trial) in report.trials.iter().enumerate() {
        let class = if trial.chosen { " class=\"own\"" } else { "" };
        let values: String = names
            .iter()
            .map(|name| {
                format!(
                    "<td>{}</td>",
                    trial.params.get(*name).map_or("–".to_owned(), |value| significant(*value))
                )
            })
            .collect();
        let _ = write!(
            rows,
            "<tr{class}><td>{}</td><td>{}</td><td>{}</td>{values}</tr>",
            number + 1,
            fixed(trial.auc_pr, 4),
            trial.rounds
        );
    }
    format!(
        "<section><details><summary><h2>Search: {} trials</h2></summary><div class=\"scroll\"><table><tr><th></th><th>AUC-PR</th><th>trees</th>{headings}</tr>{rows}</table></div></details></section>\n",
        report.trials.len()
    )
}

fn reproduce(report: &Report) -> String {
    let list =
        |items: &[String]| items.iter().map(|item| format!("<li>{}</li>", escape(item))).collect::<String>();
    let limits = match report.limits.is_empty() {
        true => String::new(),
        false => format!("<section><h2>Limits</h2><ul>{}</ul></section>\n", list(&report.limits)),
    };
    let parity = match report.parity_error {
        Some(error) => format!("<p>ONNX and XGBoost differ by at most {error:.1e} on every test row.</p>"),
        None => String::new(),
    };
    let commands = match report.reproduce.is_empty() {
        true => String::new(),
        false => format!("<div class=\"scroll\"><pre>{}</pre></div>", escape(&report.reproduce.join("\n"))),
    };
    if parity.is_empty() && commands.is_empty() {
        return limits;
    }
    format!("{limits}<section><h2>Again</h2>{parity}{commands}</section>\n")
}

/// Text within HTML or an attribute of it.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(letter),
        }
    }
    safe
}

/// As `0.181`; a dash if there is no number.
pub(crate) fn fixed(value: f64, digits: usize) -> String {
    if value.is_finite() { format!("{value:.digits$}") } else { "–".to_owned() }
}

/// As `18.1 %`.
pub(crate) fn percent(value: f64, digits: usize) -> String {
    if value.is_finite() { format!("{:.digits$} %", 100.0 * value) } else { "–".to_owned() }
}

/// As `0.170 to 0.192`.
pub(crate) fn range(interval: Interval, digits: usize) -> String {
    format!("{} to {}", fixed(interval.low, digits), fixed(interval.high, digits))
}

/// As `349,141`.
pub(crate) fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// As `GBP 1,234`: whole units, as nobody reads pence off a curve, unless there are none.
fn money(minor: f64, currency: &Currency) -> String {
    let major = minor / 10_f64.powi(currency.digits as i32);
    let sign = if major < 0.0 { "−" } else { "" };
    let size = major.abs();
    match size > 0.0 && size < 100.0 && size.fract() != 0.0 {
        true => format!("{sign}{} {size:.*}", currency.code, currency.digits as usize),
        false => format!("{sign}{} {}", currency.code, thousands(size.round() as u64)),
    }
}

/// As `72 h`, or in days from a week on.
fn hours(ms: i64) -> String {
    let hours = ms as f64 / 3_600_000.0;
    if hours > 168.0 {
        format!("{} d", significant(hours / 24.0))
    } else {
        format!("{} h", significant(hours))
    }
}

/// Up to four significant digits, without trailing zeros.
fn significant(value: f64) -> String {
    let digits = (3 - value.abs().log10().floor().max(-9.0) as i32).clamp(0, 12) as usize;
    let text = if value == 0.0 { "0".to_owned() } else { format!("{value:.digits$}") };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
pub(crate) mod tests;
