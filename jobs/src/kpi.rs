//! `headsup kpi`: list, check, recompute.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use clap::{Args, Subcommand};
use datafusion::error::DataFusionError;
use headsup_kpi::Kpi;
use headsup_stream::format_duration_ms;

use crate::output::thousands;
use crate::sql::tokio_runtime;
use crate::{Failure, Place, kpis, output};

#[derive(Debug, Args)]
pub struct KpiArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What is computed: names, titles, windows, columns
    List {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        folder: Folder,
        /// As a page in Markdown, with the queries: docs/kpis.md
        #[arg(long)]
        markdown: bool,
    },
    /// Check all files at once
    Check {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        folder: Folder,
    },
    /// Compute all KPIs from the stored facts and compare them with what the
    /// pipeline showed last; exit code 3 if a row differs
    Recompute {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        folder: Folder,
        /// Read the facts from ClickHouse instead of the data folder
        #[arg(long)]
        clickhouse: bool,
    },
}

#[derive(Debug, Args)]
struct Folder {
    /// A folder of KPI files instead of those built in
    #[arg(long = "kpis", value_name = "DIR")]
    folder: Option<PathBuf>,
}

pub fn kpi(args: &KpiArgs) -> Result<(), Failure> {
    match &args.what {
        What::List { place, folder, markdown: false } => list(place, folder),
        What::List { place, folder, markdown: true } => page(place, folder),
        What::Check { place, folder } => {
            let count = kpis::load(folder.folder.as_deref(), &place.config()?.kpis)?.len();
            output::print(format!("{count} KPIs, no mistakes\n"))
        }
        What::Recompute { place, folder, clickhouse } => recompute(place, folder, *clickhouse),
    }
}

/// What is between the keys and what is said of the window.
fn columns(kpi: &Kpi) -> (Vec<&str>, Vec<&str>) {
    let names: Vec<&str> = kpi.rows.fields().iter().map(|field| field.name().as_str()).collect();
    let (keys, values) = (3..3 + kpi.key_count, 3 + kpi.key_count..names.len() - 3);
    (names[keys].to_vec(), names[values].to_vec())
}

fn windows(kpi: &Kpi) -> String {
    let windowing = kpi.windowing;
    let mut out = format_duration_ms(windowing.size_ms());
    if windowing.slide_ms() != windowing.size_ms() {
        out += &format!(" every {}", format_duration_ms(windowing.slide_ms()));
    }
    if windowing.offset_ms() != 0 {
        out += &format!(", {} after midnight (UTC)", format_duration_ms(windowing.offset_ms()));
    }
    out
}

fn page(place: &Place, folder: &Folder) -> Result<(), Failure> {
    let kpis = kpis::load(folder.folder.as_deref(), &place.config()?.kpis)?;
    let mut out = String::from(
        "# The KPIs\n\nMade by `headsup kpi list --markdown` from the files in `sql/kpis/`, which are what is computed. \
         [writing-kpis.md](writing-kpis.md) says how to write one.\n\n| KPI | | unit | windows |\n|---|---|---|---|\n",
    );
    for kpi in &kpis {
        let title = kpi.title.replace('|', "·");
        out += &format!("| [{0}](#{0}) | {title} | {1} | {2} |\n", kpi.name, kpi.unit, windows(kpi));
    }
    for kpi in &kpis {
        let (keys, values) = columns(kpi);
        let title = kpi.title.replace('|', "·");
        out += &format!("\n## {}\n\n**{title}**\n\n{}\n\n", kpi.name, paragraphs(&kpi.description));
        out += &format!("- Unit: {}. Windows of {}", kpi.unit, windows(kpi));
        out += &match kpi.corrections_ms {
            0 => ", without corrections".to_owned(),
            ms => format!(", corrections for {}", format_duration_ms(ms)),
        };
        out += &format!(".\n- By {}. Values: {}.\n", code(&keys), code(&values));
        for parameter in &kpi.parameters {
            out += &format!("- Parameter `{}`: {}.\n", parameter.name, parameter.value);
        }
        let query = kpi.sql.lines().filter(|line| !line.trim_start().starts_with("--"));
        out += &format!("\n```sql\n{}\n```\n", query.collect::<Vec<_>>().join("\n").trim());
    }
    output::print(&out)
}

/// A description, in which a line that is moved in by two is an item of a list: a name and what it
/// is.
fn paragraphs(description: &str) -> String {
    let mut out = String::new();
    let mut in_list = false;
    for line in description.lines() {
        let item = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '));
        match item.and_then(|item| item.split_once(' ')) {
            Some((name, what)) => {
                out += if in_list { "\n" } else { "\n\n" };
                out += &format!("- `{name}`: {}", what.trim());
                in_list = true;
            }
            None if in_list && line.starts_with(' ') => out += &format!(" {}", line.trim()),
            None => {
                out += if in_list {
                    "\n\n"
                } else if out.is_empty() {
                    ""
                } else {
                    "\n"
                };
                out += line;
                in_list = false;
            }
        }
    }
    out
}

fn code(names: &[&str]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn list(place: &Place, folder: &Folder) -> Result<(), Failure> {
    let mut out = String::new();
    for kpi in kpis::load(folder.folder.as_deref(), &place.config()?.kpis)? {
        out += &format!("{}: {}\n", kpi.name, kpi.title);
        out += &format!(
            "  windows of {}, corrections for {}",
            windows(&kpi),
            format_duration_ms(kpi.corrections_ms)
        );
        out += &match kpi.early_ms {
            Some(ms) => format!(", early values every {}\n", format_duration_ms(ms)),
            None => "\n".to_owned(),
        };
        let (keys, values) = columns(&kpi);
        out += &format!("  unit {}; by {}; values {}\n", kpi.unit, keys.join(", "), values.join(", "));
        for parameter in &kpi.parameters {
            out += &format!("  parameter {} = {}\n", parameter.name, parameter.value);
        }
        for line in kpi.description.lines() {
            out += &format!("  {line}\n");
        }
        out.push('\n');
    }
    output::print(&out)
}

fn recompute(place: &Place, folder: &Folder, clickhouse: bool) -> Result<(), Failure> {
    let settings = place.config()?.kpis;
    let kpis = kpis::load(folder.folder.as_deref(), &settings)?;
    let failed = |error: DataFusionError| Failure::new(error.strip_backtrace());
    let rows = match clickhouse {
        true => from_clickhouse(place, &kpis)?,
        false => headsup_runtime::recompute(&place.data, &kpis).map_err(failed)?,
    };
    let runtime = tokio_runtime()?;
    let mut out = String::new();
    let mut different = 0;
    for (kpi, rows) in kpis.iter().zip(rows) {
        let count: usize = rows.iter().map(RecordBatch::num_rows).sum();
        let differing = runtime.block_on(async {
            let context = headsup_runtime::session(&place.data, &kpis, &settings.calendar).await?;
            headsup_runtime::register_rows(&context, "recomputed", kpi.rows.clone(), rows)?;
            let fields: Vec<String> = kpi.rows.fields().iter().map(|field| format!("\"{}\"", field.name())).collect();
            let columns = fields[..fields.len() - 3].join(", ");
            let name = format!("(SELECT * FROM kpi.\"{}\" WHERE final AND {})", kpi.name, headsup_runtime::has_values(kpi));
            // EXCEPT compares NULL with NULL as equal, and doubles by their bits.
            let query = format!(
                "SELECT 'recomputed' AS side, * FROM (SELECT {columns} FROM recomputed EXCEPT SELECT {columns} FROM {name}) \
                 UNION ALL SELECT 'shown' AS side, * FROM (SELECT {columns} FROM {name} EXCEPT SELECT {columns} FROM recomputed)"
            );
            context.sql(&query).await?.collect().await
        });
        let differing = differing.map_err(failed)?;
        let differing_rows: usize = differing.iter().map(RecordBatch::num_rows).sum();
        different += differing_rows;
        out += &format!("{:>14} rows  {}", thousands(count as u64), kpi.name);
        if differing_rows == 0 {
            out += ": as shown, to the bit\n";
        } else {
            let first: Vec<RecordBatch> = differing
                .iter()
                .filter(|b| b.num_rows() > 0)
                .take(1)
                .map(|b| b.slice(0, b.num_rows().min(6)))
                .collect();
            let table = arrow::util::pretty::pretty_format_batches(&first).map_err(Failure::from_error)?;
            out += &format!(": {differing_rows} differ\n{table}\n");
        }
    }
    output::print(&out)?;
    if different > 0 {
        return Err(Failure {
            code: 3,
            message: format!("{different} rows differ from what the pipeline showed"),
        });
    }
    Ok(())
}

/// The final rows of KPIs, of facts in ClickHouse.
#[cfg(feature = "clickhouse")]
fn from_clickhouse(place: &Place, kpis: &[Arc<Kpi>]) -> Result<Vec<Vec<RecordBatch>>, Failure> {
    // Asked for once here, so that a mistake in the configuration is said as such.
    crate::clickhouse::server(place)?;
    let external = |error| DataFusionError::External(Box::new(error));
    let rows = headsup_runtime::recompute_from(kpis, |table| {
        let server = crate::clickhouse::server(place)
            .map_err(|failure| DataFusionError::Execution(failure.message))?;
        let folder = format!("facts/{}", table.name());
        let rows = headsup_clickhouse::read_table(server, &folder, table.schema()).map_err(external)?;
        Ok(rows.map(move |batch| batch.map_err(external)))
    });
    rows.map_err(|error| Failure::new(error.strip_backtrace()))
}

#[cfg(not(feature = "clickhouse"))]
fn from_clickhouse(_place: &Place, _kpis: &[Arc<Kpi>]) -> Result<Vec<Vec<RecordBatch>>, Failure> {
    Err(Failure::new("this headsup was built without ClickHouse; build it with --features clickhouse"))
}
