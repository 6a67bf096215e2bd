//! `headsup lift`: whether a campaign helped, and how many customers it takes to know.

use std::path::{Path, PathBuf};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use clap::Args;
use datafusion::error::DataFusionError;
use datafusion::prelude::ParquetReadOptions;
use headsup_stream::parse_duration_ms;
use headsup_tasks::Unit;
use headsup_tasks::lift::{Lift, Plan, lift as analyse};
use headsup_tasks::power::{Design, days_until, sample_size};

use crate::output::{self, thousands};
use crate::sql::{explain, tokio_runtime};
use crate::{Failure, Place, kpis};

mod campaign;

/// Whether a campaign helped: customers assigned to be contacted against those assigned to be left alone.
///
/// Arms are compared as assigned, whoever was reached (intention to treat). Of a CAMPAIGN the customers are those that
/// a run has assigned (table tasks), each at the first time, once the outcome is known: what a file in sql/outcomes/
/// says of the campaign's model, within its horizon.
///
/// Else a row of --units or --sql is a customer, once, with the columns treated and outcome (true or false), and if you have them: contacted (true or false; else all treated
/// were), score (the risk at assignment), cost_minor and gain_minor (of the contact, and of an averted outcome).
/// Without rows, and with --base-rate, it says how many customers the campaign needs.
#[derive(Debug, Args)]
pub struct LiftArgs {
    #[command(flatten)]
    place: Place,
    /// The campaign, by its name in the policy
    #[arg(conflicts_with_all = ["sql", "units"])]
    campaign: Option<String>,
    /// The policy of the run, if not the one built in
    #[arg(long, value_name = "FILE", requires = "campaign")]
    policy: Option<PathBuf>,
    /// What the campaign is to avert, if not what is built in for its model
    #[arg(long, value_name = "FILE", requires = "campaign")]
    outcome: Option<PathBuf>,
    /// A query that gives these rows, over facts and the table units of --units
    #[arg(long, value_name = "SQL")]
    sql: Option<String>,
    /// A Parquet file, table units; without --sql its rows are taken as they are
    #[arg(long, value_name = "FILE")]
    units: Option<PathBuf>,
    /// Share of customers assigned to be left alone [default: the campaign's, else 0.1]
    #[arg(long, value_name = "SHARE")]
    control_share: Option<f64>,
    /// How often chance may pass for an effect
    #[arg(long, default_value_t = ALPHA)]
    alpha: f64,
    /// How often the planned effect shall be found
    #[arg(long, default_value_t = POWER)]
    power: f64,
    /// The planned effect: 0.18 is 18 % fewer outcomes
    #[arg(long, value_name = "SHARE", default_value_t = CUT)]
    cut: f64,
    /// Share of those left alone with the outcome [default: as seen]
    #[arg(long, value_name = "SHARE")]
    base_rate: Option<f64>,
    /// Customers assigned a day, to say how long it takes
    #[arg(long, value_name = "N")]
    per_day: Option<f64>,
    /// From the assignment until the outcome is known [default: of the outcome's file, else 10d]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    horizon: Option<i64>,
    /// As JSON, with all figures
    #[arg(long)]
    json: bool,
}

/// A control share and a horizon for those who name none.
const CONTROL_SHARE: f64 = 0.1;
const HORIZON_MS: i64 = 10 * 86_400_000;
/// What a campaign is to show, and how surely.
const ALPHA: f64 = 0.05;
const POWER: f64 = 0.8;
const CUT: f64 = 0.18;

fn duration(text: &str) -> Result<i64, String> {
    parse_duration_ms(text).ok_or_else(|| "expected a duration such as 10d".to_owned())
}

fn days(ms: i64) -> f64 {
    ms as f64 / 86_400_000.0
}

pub fn lift(args: &LiftArgs) -> Result<(), Failure> {
    if let (None, None, None, Some(base_rate)) = (&args.campaign, &args.sql, &args.units, args.base_rate) {
        return plan(args, base_rate);
    }
    let lift = found(args)?;
    if args.json {
        return output::print(serde_json::to_string_pretty(&lift).map_err(Failure::from_error)? + "\n");
    }
    output::print(lift.to_string())
}

/// Whether a campaign of the policy helped, as `headsup lift CAMPAIGN` says without further options.
///
/// # Errors
/// Nothing can be said yet, or the tables cannot be read.
pub fn of_campaign(place: &Place, policy: Option<&Path>, campaign: &str) -> Result<Lift, Failure> {
    found(&LiftArgs {
        place: place.clone(),
        campaign: Some(campaign.to_owned()),
        policy: policy.map(Path::to_owned),
        outcome: None,
        sql: None,
        units: None,
        control_share: None,
        alpha: ALPHA,
        power: POWER,
        cut: CUT,
        base_rate: None,
        per_day: None,
        horizon: None,
        json: false,
    })
}

fn found(args: &LiftArgs) -> Result<Lift, Failure> {
    let usage = |message: String| Failure { code: 2, message };
    let of_run = args.campaign.as_deref().map(|name| campaign::find(args, name)).transpose()?;
    if args.sql.is_none() && args.units.is_none() && of_run.is_none() {
        return Err(usage(
            "name a campaign, or say where the customers are, --units FILE or --sql QUERY, or --base-rate to plan a \
             campaign; see headsup lift --help"
                .to_owned(),
        ));
    }
    let plan = Plan {
        control_share: args
            .control_share
            .or(of_run.as_ref().map(|run| run.control_share))
            .unwrap_or(CONTROL_SHARE),
        alpha: args.alpha,
        power: args.power,
        relative_cut: args.cut,
        base_rate: args.base_rate,
        per_day: args.per_day,
        horizon_days: days(of_run.as_ref().map_or(args.horizon.unwrap_or(HORIZON_MS), |run| run.horizon_ms)),
    };
    let query = match (&of_run, &args.sql) {
        (Some(run), _) => run.query.as_str(),
        (None, Some(sql)) => sql,
        (None, None) => "SELECT * FROM units",
    };
    analyse(&units(args, query)?, &plan).map_err(|error| usage(error.to_string()))
}

/// How many customers a campaign needs.
fn plan(args: &LiftArgs, base_rate: f64) -> Result<(), Failure> {
    let usage = |error: headsup_tasks::power::Error| Failure { code: 2, message: error.to_string() };
    let design = |treated_per_control| Design {
        base_rate,
        relative_cut: args.cut,
        alpha: args.alpha,
        power: args.power,
        treated_per_control,
    };
    let share = args.control_share.unwrap_or(CONTROL_SHARE);
    let equal = sample_size(&design(1.0)).map_err(usage)?;
    let own = sample_size(&design((1.0 - share) / share)).map_err(usage)?;
    let mut text = format!(
        "to find {} % fewer outcomes than {} % with power {} at alpha {}:\n",
        args.cut * 100.0,
        base_rate * 100.0,
        args.power,
        args.alpha
    );
    for (name, sizes) in [("equal arms", equal), ("this control share", own)] {
        text += &format!(
            "{name:<20}{:>10} treated, {:>10} control",
            thousands(sizes.treated),
            thousands(sizes.control)
        );
        if let Some(per_day) = args.per_day {
            let days = days_until(sizes.total(), 0, per_day, days(args.horizon.unwrap_or(HORIZON_MS)))
                .map_err(usage)?;
            text += &format!(", {} days", thousands(days));
        }
        text += "\n";
    }
    output::print(text)
}

/// The customers of a campaign.
fn units(args: &LiftArgs, query: &str) -> Result<Vec<Unit>, Failure> {
    let settings = args.place.config()?.kpis;
    let kpis = kpis::load(None, &settings)?;
    let batches = tokio_runtime()?.block_on(async {
        let context = headsup_runtime::session(&args.place.data, &kpis, &settings.calendar).await?;
        if let Some(file) = &args.units {
            let path = file.display().to_string();
            let mut options = ParquetReadOptions::default();
            let extension =
                file.extension().map(|extension| format!(".{}", extension.display())).unwrap_or_default();
            options.file_extension = &extension;
            context.register_parquet("units", &path, options).await?;
        }
        context.sql(query).await?.collect().await
    });
    let batches = batches.map_err(|error: DataFusionError| Failure::new(explain(&error)))?;
    let mut units = Vec::new();
    for batch in &batches {
        of_batch(batch, units.len(), &mut units).map_err(|message| Failure { code: 2, message })?;
    }
    if units.is_empty() {
        return Err(Failure::new(match &args.campaign {
            Some(name) => format!(
                "campaign {name} has assigned no customer whose outcome is known already; `headsup sql \"SELECT event, \
                 count(*) FROM tasks GROUP BY event\"` says what it has done"
            ),
            None => "there are no customers in what was asked for".to_owned(),
        }));
    }
    Ok(units)
}

/// A column of one kind; `None` if there is none.
fn column(rows: &RecordBatch, name: &str, kind: &DataType, what: &str) -> Result<Option<ArrayRef>, String> {
    let Some(column) = rows.column_by_name(name) else { return Ok(None) };
    let wrong = || format!("column {name} is {}; it must be {what}", column.data_type());
    let numbers = column.data_type().is_numeric() && *kind != DataType::Boolean;
    if column.data_type() != kind && !numbers {
        return Err(wrong());
    }
    cast(column, kind).map(Some).map_err(|_| wrong())
}

fn of_batch(rows: &RecordBatch, from: usize, units: &mut Vec<Unit>) -> Result<(), String> {
    let truth = |name| column(rows, name, &DataType::Boolean, "true or false");
    let whole = |name| column(rows, name, &DataType::Int64, "a whole number");
    let needed = |name: &str, column: Option<ArrayRef>| {
        let fields = rows.schema();
        let names: Vec<&str> = fields.fields().iter().map(|field| field.name().as_str()).collect();
        let column = column.ok_or_else(|| format!("there is no column {name}, only {}", names.join(", ")))?;
        match (0..column.len()).find(|row| column.is_null(*row)) {
            Some(row) => Err(format!("row {}: {name} is missing", from + row + 1)),
            None => Ok(column),
        }
    };
    let (treated, outcome) = (needed("treated", truth("treated")?)?, needed("outcome", truth("outcome")?)?);
    let contacted = truth("contacted")?;
    let score = column(rows, "score", &DataType::Float64, "a number")?;
    let (cost, gain) = (whole("cost_minor")?, whole("gain_minor")?);
    let is = |column: &ArrayRef, row: usize| column.is_valid(row) && column.as_boolean().value(row);
    let integer = |column: &Option<ArrayRef>, row: usize| {
        let column = column.as_ref().filter(|column| column.is_valid(row));
        column.map_or(0, |column| column.as_primitive::<Int64Type>().value(row))
    };
    units.extend((0..rows.num_rows()).map(|row| {
        Unit {
            treated: is(&treated, row),
            contacted: contacted.as_ref().map_or_else(|| is(&treated, row), |contacted| is(contacted, row)),
            outcome: is(&outcome, row),
            score: score
                .as_ref()
                .filter(|score| score.is_valid(row))
                .map_or(f64::NAN, |score| score.as_primitive::<Float64Type>().value(row)),
            cost_minor: integer(&cost, row),
            gain_minor: integer(&gain, row),
        }
    }));
    Ok(())
}
