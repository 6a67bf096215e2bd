//! `headsup train`, `backtest`, `audit` and `drift`: jobs over rows of features and labels.

use std::path::PathBuf;

use clap::Args;
use headsup_models::audit::{Audit, audit};
use headsup_models::backtest;
use headsup_models::drift::Profile;
use headsup_models::frame::{Frame, show_time};
use headsup_models::job::{self, Step};
use headsup_models::metrics::Evaluation;
use headsup_models::score::Scorer;
use headsup_models::spec::Spec;
use headsup_models::split::Split;

use crate::features::{Asked, Job, Label};
use crate::models::{RegistryArgs, by, spec};
use crate::output::{self, Progress, thousands};
use crate::recompute::time;
use crate::{Failure, Place};

/// A model and the rows it is about.
#[derive(Debug, Args)]
pub struct ModelArgs {
    #[command(flatten)]
    place: Place,
    /// A model that came with headsup, or the path of a .toml file
    model: String,
    /// Rows that headsup features has written, with a label [default: computed from the data folder]
    #[arg(long, value_name = "FILE")]
    rows: Option<PathBuf>,
    /// Compute rows from this day or time on
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "rows")]
    from: Option<i64>,
    /// Compute rows before this day or time
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "rows")]
    to: Option<i64>,
    /// A further condition on the rows of the population
    #[arg(long = "where", value_name = "SQL", conflicts_with = "rows")]
    condition: Option<String>,
    /// Feature views (*.sql) [default: those that came with headsup]
    #[arg(long, value_name = "DIR", conflicts_with = "rows")]
    views: Option<PathBuf>,
}

impl ModelArgs {
    /// The file of rows; it is made if none is given.
    fn file(&self, spec: &Spec) -> Result<PathBuf, Failure> {
        if let Some(file) = &self.rows {
            return Ok(file.clone());
        }
        let file = self.place.data.join(format!("{}.rows.parquet", spec.name));
        self.place.must_exist()?;
        let population = match &self.condition {
            Some(condition) => format!("({}) AND ({condition})", spec.population),
            None => spec.population.clone(),
        };
        let label = Label { name: &spec.label, lead_ms: spec.lead_ms(), horizon_ms: spec.horizon_ms() };
        let job = Job {
            views: self.views.as_deref(),
            population: Some(&population),
            label: Some(label),
            parts: None,
        };
        let asked = Asked::Every { every_ms: spec.every_ms(), from_ms: self.from, to_ms: self.to };
        job.write(&self.place.data, &asked, &file)?;
        Ok(file)
    }
}

#[derive(Debug, Args)]
pub struct TrainArgs {
    #[command(flatten)]
    of: ModelArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    /// Test on rows from this day or time on [default: the last fifth of the times with a label]
    #[arg(long, value_name = "TIME", value_parser = time)]
    test_from: Option<i64>,
}

#[derive(Debug, Args)]
pub struct BacktestArgs {
    #[command(flatten)]
    of: ModelArgs,
    /// How often it is trained again and held against what followed
    #[arg(long, default_value_t = 6)]
    origins: usize,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(flatten)]
    of: ModelArgs,
    /// Test on rows from this day or time on [default: the last fifth of the times with a label]
    #[arg(long, value_name = "TIME", value_parser = time)]
    test_from: Option<i64>,
    /// At so many times, features are computed again from the facts that were known by then
    #[arg(long, default_value_t = 3)]
    times: usize,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct DriftArgs {
    #[command(flatten)]
    of: ModelArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    /// A version, champion or challenger
    #[arg(long, default_value = "champion")]
    version: String,
    /// As a table, JSON, or metrics for Prometheus
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = ["table", "json", "prometheus"])]
    format: String,
}

pub fn train(args: &TrainArgs) -> Result<(), Failure> {
    let spec = spec(&args.of.model)?;
    let registry = args.registry.open(&args.of.place)?;
    let file = args.of.file(&spec)?;
    let test_from_us = match args.test_from {
        Some(ms) => ms.saturating_mul(1_000),
        None => last_fifth(&Frame::read(&file).map_err(Failure::from_error)?),
    };
    let mut progress = Progress::new("reading rows", 0);
    let mut show = |step: Step| match step {
        Step::Read => progress = Progress::new("searching parameters", 1),
        Step::Search(done, of) => progress.at(done as u64, of as u64),
        Step::Train(1, _) => progress = Progress::new("training", 1),
        Step::Train(done, of) => progress.at(done as u64, of as u64),
        Step::Evaluate => progress = Progress::new("evaluating", 0),
    };
    let outcome =
        job::run(&spec, &file, test_from_us, &registry, &by(), &mut show).map_err(Failure::from_error)?;
    progress.done();
    for warning in &outcome.warnings {
        eprintln!("warning: {warning}");
    }
    let of = &outcome.evaluation;
    let mut text = format!(
        "{} rows of {} customers tested, {} of them with the label\n\n{:<22}{:>9}{:>9}{:>9}{:>9}{:>10}\n",
        thousands(of.rows),
        thousands(of.entities),
        thousands(of.positives),
        "",
        "AUROC",
        "AUC-PR",
        "Brier",
        "ECE",
        "lift 10 %"
    );
    text += &figures(&spec.name, of);
    for (name, of) in &outcome.baselines {
        text += &figures(name, of);
    }
    text += &format!("\nONNX differs from XGBoost by {:.1e} at most\n", outcome.parity);
    let failures = outcome.verdict.failures();
    text += &match failures.is_empty() {
        true => "it passes its gates\n".to_owned(),
        false => format!("it does not pass: {}\n", failures.join("; ")),
    };
    text += &format!(
        "version {}; headsup models show {} {}, headsup models promote {} {}\n",
        outcome.version, spec.name, outcome.version, spec.name, outcome.version
    );
    output::print(text)
}

fn figures(name: &str, of: &Evaluation) -> String {
    let headline = &of.headline;
    let lift = headline.lift.last().map_or(f64::NAN, |lift| lift.lift.value);
    format!(
        "{name:<22}{:>9.4}{:>9.4}{:>9.4}{:>9.4}{lift:>10.2}\n",
        headline.auroc.value, headline.auc_pr.value, headline.brier.value, headline.ece.value
    )
}

/// When the last fifth of the times with a label begins.
pub fn last_fifth(frame: &Frame) -> i64 {
    let labelled = (0..frame.rows()).filter(|row| frame.label[*row].is_some());
    let mut times: Vec<i64> = labelled.map(|row| frame.as_of_us[row]).collect();
    times.dedup();
    times.get(times.len() * 4 / 5).copied().unwrap_or(i64::MAX)
}

pub fn backtest(args: &BacktestArgs) -> Result<(), Failure> {
    let spec = spec(&args.of.model)?;
    let file = args.of.file(&spec)?;
    let frame = Frame::read(&file).map_err(Failure::from_error)?;
    let mut progress = Progress::new("origins", args.origins as u64);
    let found = backtest::run(&spec, &frame, args.origins, &mut |origin, _| {
        progress.at(origin as u64, args.origins as u64);
    })
    .map_err(Failure::from_error)?;
    progress.done();
    if args.json {
        let json = serde_json::to_string_pretty(&found).map_err(Failure::from_error)?;
        return output::print(json + "\n");
    }
    output::print(found.table())
}

pub fn audit_job(args: &AuditArgs) -> Result<(), Failure> {
    let spec = spec(&args.of.model)?;
    let file = args.of.file(&spec)?;
    let frame = Frame::read(&file).map_err(Failure::from_error)?;
    let test_from_us = args.test_from.map_or_else(|| last_fifth(&frame), |ms| ms.saturating_mul(1_000));
    let split =
        Split::new(&frame, test_from_us, spec.mature_us(), spec.training.folds, spec.training.fold_share)
            .map_err(Failure::from_error)?;
    let mut again = Vec::new();
    if args.of.rows.is_none() {
        let mut times = frame.as_of_us.clone();
        times.dedup();
        for number in 0..args.times {
            let at_us = times[times.len() * (number + 1) / (args.times + 1)];
            again.push(at_both(args, &spec, at_us)?);
        }
    }
    let found: Audit = audit(&frame, &split, &again);
    if args.json {
        let json = serde_json::to_string_pretty(&found).map_err(Failure::from_error)?;
        output::print(json + "\n")?;
    } else {
        output::print(found.text())?;
    }
    match found.leaks.is_empty() {
        true => Ok(()),
        false => {
            let names: Vec<&str> = found.leaks.iter().map(|leak| leak.feature.as_str()).collect();
            Err(Failure { code: 3, message: format!("these features know too much: {}", names.join(", ")) })
        }
    }
}

/// The rows of one time, from all facts and from those that were known by then.
fn at_both(args: &AuditArgs, spec: &Spec, at_us: i64) -> Result<(Frame, Frame), Failure> {
    let file = args.of.place.data.join(format!("{}.audit.parquet", spec.name));
    let mut both = Vec::new();
    for known_until_us in [None, Some(at_us)] {
        let job = Job { views: args.of.views.as_deref(), population: None, label: None, parts: None };
        let asked = Asked::Every {
            every_ms: spec.every_ms(),
            from_ms: Some(at_us / 1_000),
            to_ms: Some(at_us / 1_000 + 1),
        };
        job.write_known(&args.of.place.data, &asked, &file, known_until_us)?;
        both.push(Frame::read(&file).map_err(Failure::from_error)?);
    }
    std::fs::remove_file(&file).map_err(Failure::from_error)?;
    let (Some(cut), Some(whole)) = (both.pop(), both.pop()) else {
        return Err(Failure::new("nothing was computed"));
    };
    Ok((whole, cut))
}

pub fn drift(args: &DriftArgs) -> Result<(), Failure> {
    let spec = spec(&args.of.model)?;
    let registry = args.registry.open(&args.of.place)?;
    let version = registry.load(&spec.name, &args.version).map_err(Failure::from_error)?;
    let file = args.of.file(&spec)?;
    let frame = Frame::read(&file).map_err(Failure::from_error)?;
    let part = |name: &str| version.files.get(name).map_or(&[][..], Vec::as_slice);
    let profile: Profile = serde_json::from_slice(part("profile.json")).map_err(Failure::from_error)?;
    let scorer = Scorer::from_bytes(part("model.onnx")).map_err(Failure::from_error)?;
    let drift = job::drift(&profile, &scorer, &version, &frame).map_err(Failure::from_error)?;
    output::print(match args.format.as_str() {
        "json" => serde_json::to_string_pretty(&drift).map_err(Failure::from_error)? + "\n",
        "prometheus" => drift.prometheus(&spec.name),
        _ => format!(
            "{} rows of {} to {} against the training of {}\n{}",
            thousands(drift.rows),
            show_time(frame.as_of_us.first().copied().unwrap_or(0)),
            show_time(frame.as_of_us.last().copied().unwrap_or(0)),
            version.version,
            drift.table()
        ),
    })
}
