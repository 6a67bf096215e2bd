//! `headsup alerts`: check rules, try them on the past, test them, and export them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use headsup_alerts::{Backtest, Cases, Fired, Rules, diff, export, runs};
use headsup_events::format_rfc3339_ms;
use headsup_kpi::Kpi;
use headsup_stream::format_duration_ms;

use crate::output::thousands;
use crate::past::{self, History};
use crate::{Failure, Place, kpis, output, rules};

#[derive(Debug, Args)]
pub struct AlertsArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check all rules at once
    Check(Which),
    /// Run the tests of the rules; exit code 3 if one fails
    Test {
        #[command(flatten)]
        which: Which,
        /// The tests instead of those built in; by default alerts_test.toml beside the rules
        #[arg(long, value_name = "FILE")]
        tests: Option<PathBuf>,
    },
    /// When rules would have fired over the stored KPIs, and how that differs from what did
    Backtest {
        #[command(flatten)]
        which: Which,
        /// Compute the KPIs from the stored facts, as if every fact had been known at once,
        /// instead of reading the rows that they showed
        #[arg(long)]
        facts: bool,
        /// Show every alert, not only the sums
        #[arg(long)]
        all: bool,
    },
    /// Write the rules for Prometheus, their promtool test, and a configuration of Alertmanager
    Export {
        #[command(flatten)]
        which: Which,
        /// The folder for alerts.yml, alerts_test.yml and alertmanager.yml
        #[arg(long, value_name = "DIR", default_value = "dashboards/prometheus")]
        out: PathBuf,
        /// Write nothing, and fail with exit code 3 if the files there are others
        #[arg(long)]
        check: bool,
    },
}

#[derive(Debug, Args)]
struct Which {
    #[command(flatten)]
    place: Place,
    /// A folder of KPI files instead of those built in
    #[arg(long, value_name = "DIR")]
    kpis: Option<PathBuf>,
    /// Rules instead of those built in; by default alerts.toml in the folder of --kpis, if it is
    /// there
    #[arg(long, value_name = "FILE")]
    alerts: Option<PathBuf>,
}

impl Which {
    fn load(&self) -> Result<(Vec<Arc<Kpi>>, Rules), Failure> {
        let kpis = kpis::load(self.kpis.as_deref(), &self.place.config()?.kpis)?;
        let rules = rules::load(self.alerts.as_deref(), self.kpis.as_deref(), &kpis)?;
        Ok((kpis, rules))
    }
}

pub fn alerts(args: &AlertsArgs) -> Result<(), Failure> {
    match &args.what {
        What::Check(which) => {
            let (_, rules) = which.load()?;
            output::print(format!("{} alerts, no mistakes\n", rules.rules.len()))
        }
        What::Test { which, tests } => test(which, tests.as_deref()),
        What::Backtest { which, facts, all } => try_on_the_past(which, *facts, *all),
        What::Export { which, out, check } => write(&which.load()?.1, out, *check),
    }
}

fn test(which: &Which, file: Option<&Path>) -> Result<(), Failure> {
    let (_, rules) = which.load()?;
    let (name, text) = rules::tests(file, which.alerts.as_deref(), which.kpis.as_deref())?;
    let cases = Cases::parse(&name, &text, &rules).map_err(|error| rules::mistakes(&error))?;
    let outcomes = cases.run(&rules);
    let failed = outcomes.iter().filter(|outcome| !outcome.differences.is_empty()).count();
    let lines: Vec<String> = outcomes.iter().map(|outcome| format!("{outcome}\n")).collect();
    output::print(lines.concat())?;
    match failed {
        0 => output::print(format!("{} tests, all passed\n", outcomes.len())),
        _ => Err(Failure { code: 3, message: format!("{failed} of {} tests failed", outcomes.len()) }),
    }
}

fn try_on_the_past(which: &Which, facts: bool, all: bool) -> Result<(), Failure> {
    which.place.must_exist()?;
    let (kpis, rules) = which.load()?;
    let data = &which.place.data;
    let would = if facts {
        of_facts(which, &kpis, &rules)?
    } else {
        History::of(data, &kpis, &rules)?.backtest(&rules, None)?
    };
    let fired = past::fired(data, &kpis, &which.place.config()?.kpis.calendar)?;
    let mut out = String::new();
    let Some((from_ms, to_ms)) = would.span_ms else {
        return Err(Failure::new(format!(
            "there are no rows of the KPIs in {}; `headsup run` computes them",
            data.display()
        )));
    };
    out += &format!(
        "{} rows of KPIs, {} to {}\n",
        thousands(would.rows),
        format_rfc3339_ms(from_ms),
        format_rfc3339_ms(to_ms)
    );
    for rule in &rules.rules {
        let of: Vec<Fired> = would.fired.iter().filter(|one| one.rule == rule.name).cloned().collect();
        let before: Vec<Fired> = fired.iter().filter(|one| one.rule == rule.name).cloned().collect();
        let statistics = would.statistics(&rule.name);
        let duration = |ms: Option<i64>| ms.map_or("-".to_owned(), format_duration_ms);
        out += &format!("\n{} ({})\n", rule.name, rule.severity.name());
        out += &format!(
            "  would have fired {} times, of {} series{}; lasting {} (median), {} (p90), {} at most\n",
            thousands(statistics.episodes as u64),
            statistics.series,
            if statistics.firing > 0 {
                format!(", {} still firing", statistics.firing)
            } else {
                String::new()
            },
            duration(statistics.median_ms),
            duration(statistics.p90_ms),
            duration(statistics.longest_ms),
        );
        let diff = diff(&before, &of);
        out += &format!(
            "  did fire {} times: {} the same, {} at other times, {} would not have, {} would have besides\n",
            thousands(before.len() as u64),
            diff.same.len(),
            diff.moved.len(),
            diff.gone.len(),
            diff.new.len()
        );
        let mut lines: Vec<(i64, String)> = Vec::new();
        if all {
            lines.extend(of.iter().map(|one| (one.episode.started_ms, line(' ', one))));
        }
        lines.extend(diff.gone.iter().map(|one| (one.episode.started_ms, line('-', one))));
        if !all && !before.is_empty() {
            lines.extend(diff.new.iter().map(|one| (one.episode.started_ms, line('+', one))));
        }
        lines.sort();
        out.extend(lines.into_iter().map(|(_, line)| line));
    }
    output::print(&out)
}

fn line(sign: char, fired: &Fired) -> String {
    let labels: Vec<String> = fired.labels.iter().map(|(key, value)| format!("{key} {value}")).collect();
    let lasting = fired.duration_ms().map_or("still firing".to_owned(), format_duration_ms);
    format!(
        "  {sign} {} {lasting}  {}  value {}, n {}, peak {}\n",
        format_rfc3339_ms(fired.episode.started_ms),
        if labels.is_empty() { "everything".to_owned() } else { labels.join(", ") },
        rounded(fired.episode.value),
        fired.episode.n,
        rounded(fired.episode.peak)
    )
}

/// With so many digits that people can compare it.
fn rounded(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

/// Over the final rows that KPIs have by the stored facts.
fn of_facts(which: &Which, kpis: &[Arc<Kpi>], rules: &Rules) -> Result<Backtest, Failure> {
    let wanted: Vec<Arc<Kpi>> =
        kpis.iter().filter(|kpi| rules.rules.iter().any(|rule| rule.kpi == kpi.name)).cloned().collect();
    let computed = headsup_runtime::recompute(&which.place.data, &wanted)
        .map_err(|error| Failure::new(error.strip_backtrace()))?;
    let mut rows = Vec::new();
    for (kpi, batches) in wanted.iter().zip(computed) {
        let place = kpis.iter().position(|other| other.name == kpi.name).unwrap_or(0);
        for batch in batches {
            for run in runs(&batch).map_err(Failure::from_error)? {
                rows.push((past::at_ms(&run), place, run));
            }
        }
    }
    past::of_runs(rules, rows)
}

fn write(rules: &Rules, folder: &Path, check: bool) -> Result<(), Failure> {
    let files = [
        ("alerts.yml", export::prometheus_rules(rules)),
        ("alerts_test.yml", export::prometheus_tests(rules, "alerts.yml")),
        ("alertmanager.yml", export::alertmanager(rules)),
    ];
    let mut out = String::new();
    for (name, text) in files {
        let path = folder.join(name);
        if check {
            let found = rules::read(&path)?;
            if found != text {
                let message = format!(
                    "{} is not what the rules say; write it with `headsup alerts export`",
                    path.display()
                );
                return Err(Failure { code: 3, message });
            }
            out += &format!("{} is what the rules say\n", path.display());
            continue;
        }
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, text));
        written.map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
        out += &format!("wrote {}\n", path.display());
    }
    output::print(&out)
}
