//! `headsup sql`: queries over facts and KPIs.

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use clap::{Args, ValueEnum};

use crate::{Failure, Place, kpis, output};

/// Query facts (contacts, rounds, ratings, queue, orders), KPIs (kpi.aht, with
/// the newest revision of each row; kpi_history.aht, with all) and quarantine.
#[derive(Debug, Args)]
pub struct SqlArgs {
    #[command(flatten)]
    place: Place,
    /// The query; SHOW TABLES lists what there is
    query: String,
    /// How rows are printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// The KPI folder of the run, if it was not the built-in one
    #[arg(long, value_name = "DIR")]
    kpis: Option<std::path::PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// A header and rows
    Csv,
    /// A JSON object a line
    Json,
}

pub fn sql(args: &SqlArgs) -> Result<(), Failure> {
    args.place.must_exist()?;
    let settings = args.place.config()?.kpis;
    let kpis = kpis::load(args.kpis.as_deref(), &settings)?;
    let runtime = tokio_runtime()?;
    let batches = runtime.block_on(async {
        let context = headsup_runtime::session(&args.place.data, &kpis, &settings.calendar).await?;
        let frame = context.sql(&args.query).await?;
        let schema = frame.schema().as_arrow().clone();
        let batches = frame.collect().await?;
        Ok::<_, datafusion::error::DataFusionError>((schema, batches))
    });
    let (schema, batches) = batches.map_err(|error| Failure::new(explain(&error)))?;
    match args.format {
        Format::Table => {
            let batches =
                if batches.is_empty() { vec![RecordBatch::new_empty(schema.into())] } else { batches };
            let table = arrow::util::pretty::pretty_format_batches(&batches).map_err(Failure::from_error)?;
            output::print(format!("{table}\n"))
        }
        Format::Csv => {
            let names: Vec<String> = schema.fields().iter().map(|field| csv_cell(field.name())).collect();
            output::print(&(names.join(",") + "\n"))?;
            each_row(&batches, |cells| {
                let cells: Vec<String> =
                    cells.iter().map(|(_, cell)| cell.as_deref().map(csv_cell).unwrap_or_default()).collect();
                output::print(cells.join(",") + "\n")
            })
        }
        Format::Json => each_row(&batches, |cells| output::print(object(cells).to_string() + "\n")),
    }
}

pub fn tokio_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start threads: {error}")))
}

/// The message without the planner's layers.
pub fn explain(error: &datafusion::error::DataFusionError) -> String {
    let text = error.strip_backtrace().trim_start_matches("Error during planning: ").to_owned();
    // A table is there once a row of it is.
    match text.strip_prefix("table 'datafusion.public.").and_then(|rest| rest.split_once("' not found")) {
        Some((table, _)) => {
            format!(
                "there is no table {table}, or nothing is stored in it yet; SHOW TABLES lists those that are there"
            )
        }
        None => text,
    }
}

type Cell<'a> = (&'a arrow::datatypes::Field, Option<String>);

/// Rows as JSON objects.
///
/// # Errors
/// A column that cannot be shown.
pub fn objects(batches: &[RecordBatch]) -> Result<Vec<serde_json::Value>, Failure> {
    let mut objects = Vec::new();
    each_row(batches, |cells| {
        objects.push(object(cells));
        Ok(())
    })?;
    Ok(objects)
}

fn each_row(
    batches: &[RecordBatch],
    mut row_of: impl FnMut(&[Cell<'_>]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let options = FormatOptions::new()
        .with_timestamp_format(Some("%Y-%m-%dT%H:%M:%S%.3fZ"))
        .with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.3fZ"));
    for batch in batches {
        let schema = batch.schema();
        let columns: Vec<ArrayFormatter<'_>> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<_, _>>()
            .map_err(Failure::from_error)?;
        for row in 0..batch.num_rows() {
            let cells: Vec<Cell<'_>> = columns
                .iter()
                .enumerate()
                .map(|(column, format)| {
                    let cell = (!batch.column(column).is_null(row)).then(|| format.value(row).to_string());
                    (schema.field(column), cell)
                })
                .collect();
            row_of(&cells)?;
        }
    }
    Ok(())
}

fn object(cells: &[Cell<'_>]) -> serde_json::Value {
    let value = |(field, cell): &Cell<'_>| json_cell(field.data_type(), cell.as_deref());
    cells.iter().map(|cell| (cell.0.name().clone(), value(cell))).collect()
}

/// Quoted where a comma, quote or line end asks for it (RFC 4180).
fn csv_cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

fn json_cell(kind: &arrow::datatypes::DataType, cell: Option<&str>) -> serde_json::Value {
    use serde_json::Value;
    let Some(cell) = cell else { return Value::Null };
    if kind.is_integer() || kind.is_floating() {
        return serde_json::from_str(cell).unwrap_or_else(|_| Value::String(cell.to_owned()));
    }
    match (kind, cell) {
        (arrow::datatypes::DataType::Boolean, "true") => Value::Bool(true),
        (arrow::datatypes::DataType::Boolean, "false") => Value::Bool(false),
        _ => Value::String(cell.to_owned()),
    }
}
