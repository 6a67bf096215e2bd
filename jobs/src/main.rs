//! `headsup`: live KPIs and early warnings for e-commerce customer service.
//!
//! A file per subcommand. Errors are printed here, once.

mod alerts;
mod api;
mod check;
mod clickhouse;
mod demo;
mod features;
mod import;
mod kpi;
mod kpis;
mod lift;
mod merge;
mod models;
mod output;
mod page;
mod parts;
mod past;
mod policy;
mod quarantine;
mod recompute;
mod router;
mod rules;
mod run;
mod scoring;
mod simulate;
mod sql;
#[cfg(feature = "train")]
mod train;
mod webhooks;
#[cfg(not(feature = "train"))]
mod train {
    /// What is given is not looked at.
    #[derive(Debug, clap::Args)]
    pub struct Untrained {
        #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    }

    pub use Untrained as TrainArgs;
    pub use Untrained as BacktestArgs;
    pub use Untrained as AuditArgs;
    pub use Untrained as DriftArgs;
}

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use headsup_connectors::{EmbeddedLog, EmbeddedOptions, EventLog};
use headsup_runtime::Config;

/// What one thread makes another frees, all the time: the C library's allocator has its threads wait for each other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Live KPIs and early warnings for e-commerce customer service.
///
/// headsup reads conversations and orders as CloudEvents, from its log or straight
/// from files, computes service KPIs in windows of event time, keeps facts as
/// Parquet, and answers SQL over both.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it could not be done; the message says why
  2  the command line, the configuration or a KPI file is wrong
  3  what was compared differs, or knows too much: `kpi recompute`, `alerts test`,
     `alerts export --check`, `audit`, `check skew`";

#[derive(Debug, Subcommand)]
enum Command {
    /// Play a simulated day through everything, with a live page
    Demo(demo::DemoArgs),
    /// Run the pipeline over the log or over event files
    Run(run::RunArgs),
    /// Put together what several runs compute, each over a share of the partitions
    Merge(merge::MergeArgs),
    /// Bring data sets or event files into the log
    Import(import::ImportArgs),
    /// Generate a shop's conversations and orders, with the truth behind them
    Simulate(simulate::SimulateArgs),
    /// Query facts and KPIs
    Sql(sql::SqlArgs),
    /// List, check and recompute KPIs
    Kpi(kpi::KpiArgs),
    /// Check alert rules, try them on the past, test and export them
    Alerts(alerts::AlertsArgs),
    /// Features of customers at times, for training and analysis
    Features(features::FeaturesArgs),
    /// Train a model on features and labels, hold it against the latest, and store it
    Train(train::TrainArgs),
    /// Train a model again and again in the past, and hold it against what followed
    Backtest(train::BacktestArgs),
    /// Look for features that know the future
    Audit(train::AuditArgs),
    /// How far customers have moved from those that a model was trained on
    Drift(train::DriftArgs),
    /// List, compare, promote and roll back models
    Models(models::ModelsArgs),
    /// Whether a campaign helped, and how many customers it takes to know
    Lift(lift::LiftArgs),
    /// Hold what was served against the stored facts
    Check(check::CheckArgs),
    /// Heal facts and KPIs with what came too late
    Recompute(recompute::RecomputeArgs),
    /// List, show and put back records that were set aside
    Quarantine(quarantine::QuarantineArgs),
    /// Make the tables in ClickHouse, and look what is in them
    Clickhouse(clickhouse::ClickhouseArgs),
    /// List, show and send again what webhooks could not deliver
    Webhooks(webhooks::WebhooksArgs),
    /// Stand in for the router of tasks: give them to made-up agents
    Router(router::RouterArgs),
    /// Make a token for the HTTP API
    Token(api::TokenArgs),
    /// Print a configuration with every key, its default and its meaning
    Config,
}

/// The data folder and the configuration.
#[derive(Debug, Clone, Args)]
struct Place {
    /// The data folder: log, facts, KPIs
    #[arg(long, global = true, value_name = "DIR", default_value = "headsup-data")]
    data: PathBuf,
    /// The configuration (TOML); see `headsup config`
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Place {
    fn config(&self) -> Result<Config, Failure> {
        match &self.config {
            Some(path) => Config::load(path).map_err(Failure::usage),
            None => Ok(Config::default()),
        }
    }

    /// For what only reads the data folder.
    fn must_exist(&self) -> Result<(), Failure> {
        if self.data.is_dir() {
            return Ok(());
        }
        Err(Failure::new(format!(
            "there is no data folder {}; `headsup run` makes it, --data names another",
            self.data.display()
        )))
    }

    /// The log that the configuration names.
    fn log(&self) -> Result<Arc<dyn EventLog>, Failure> {
        std::fs::create_dir_all(&self.data).map_err(|error| {
            Failure::new(format!("cannot make the data folder {}: {error}", self.data.display()))
        })?;
        let url = self.config()?.log_url;
        if let Some(endpoint) = url.strip_prefix("fluvio://") {
            return fluvio(endpoint);
        }
        let log = EmbeddedLog::open(self.data.join("log"), EmbeddedOptions::default());
        Ok(Arc::new(log.map_err(Failure::from_error)?))
    }
}

#[cfg(feature = "fluvio")]
fn fluvio(endpoint: &str) -> Result<Arc<dyn EventLog>, Failure> {
    let log = headsup_fluvio::FluvioLog::connect(endpoint, headsup_fluvio::FluvioOptions::default());
    Ok(Arc::new(log.map_err(Failure::from_error)?))
}

#[cfg(not(feature = "fluvio"))]
fn fluvio(endpoint: &str) -> Result<Arc<dyn EventLog>, Failure> {
    Err(Failure::new(format!(
        "cannot open the log fluvio://{endpoint}: this headsup was built without fluvio; \
         build it with --features fluvio"
    )))
}

/// Why a command ends without having done its work.
#[derive(Debug)]
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn new(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    fn usage(error: impl std::error::Error) -> Self {
        Self { code: 2, ..Self::from_error(error) }
    }

    /// The error and what it comes from.
    fn from_error(error: impl std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            let next = error.to_string();
            if !message.ends_with(&next) {
                message = format!("{message}: {next}");
            }
            source = error.source();
        }
        Self::new(message)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Demo(args) => demo::demo(&args),
        Command::Run(args) => run::run(&args),
        Command::Merge(args) => merge::merge(&args),
        Command::Import(args) => import::import(&args),
        Command::Simulate(args) => simulate::simulate(&args),
        Command::Sql(args) => sql::sql(&args),
        Command::Kpi(args) => kpi::kpi(&args),
        Command::Alerts(args) => alerts::alerts(&args),
        Command::Features(args) => features::features(&args),
        #[cfg(feature = "train")]
        Command::Train(args) => train::train(&args),
        #[cfg(feature = "train")]
        Command::Backtest(args) => train::backtest(&args),
        #[cfg(feature = "train")]
        Command::Audit(args) => train::audit_job(&args),
        #[cfg(feature = "train")]
        Command::Drift(args) => train::drift(&args),
        #[cfg(not(feature = "train"))]
        Command::Train(_) | Command::Backtest(_) | Command::Audit(_) | Command::Drift(_) => Err(Failure {
            code: 2,
            message: "this headsup was built without training; ./headsup builds it with, for these commands"
                .to_owned(),
        }),
        Command::Models(args) => models::models(&args),
        Command::Lift(args) => lift::lift(&args),
        Command::Check(args) => check::check(&args),
        Command::Recompute(args) => recompute::recompute(&args),
        Command::Quarantine(args) => quarantine::quarantine(&args),
        Command::Clickhouse(args) => clickhouse::clickhouse(&args),
        Command::Webhooks(args) => webhooks::webhooks(&args),
        Command::Router(args) => router::router(&args),
        Command::Token(args) => api::token(&args),
        Command::Config => output::print(Config::sample()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let red = anstyle::AnsiColor::Red.on_default().bold();
            anstream::eprintln!("{red}error:{red:#} {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}
