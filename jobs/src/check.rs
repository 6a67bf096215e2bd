//! `headsup check`: whether what was served is what the facts say.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use clap::{Args, Subcommand};
use headsup_connectors::store;
use headsup_events::format_rfc3339_ms;
use headsup_features::{History, Side};

use crate::features;
use crate::output::{self, Progress, thousands};
use crate::{Failure, Place};

#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Compute features that were served with scores again from the stored facts; exit code 3 if any differs
    Skew,
}

pub fn check(args: &CheckArgs) -> Result<(), Failure> {
    args.place.must_exist()?;
    match args.what {
        What::Skew => skew(&args.place),
    }
}

/// A difference, and the first place where it was seen.
struct Differs {
    feature: String,
    rows: u64,
    first: String,
}

fn skew(place: &Place) -> Result<(), Failure> {
    let definitions = Arc::new(features::standard()?);
    let mut history = History::new(definitions.clone());
    features::load(&place.data, &mut history, None, None)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut progress = Progress::new("served rows", 0);
    let (mut rows, mut differs): (u64, Vec<Differs>) = (0, Vec::new());
    for batch in store::read_table(&place.data, "served").map_err(Failure::from_error)? {
        let served = batch.map_err(Failure::from_error)?;
        let (customers, as_of_us) = whose(&served)?;
        let again = history
            .evaluate(customers.as_string_view(), &as_of_us, Side::Past, threads)
            .map_err(Failure::from_error)?;
        for (field, again) in again.schema().fields().iter().zip(again.columns()) {
            let name = field.name();
            let mut differ = |row: usize, was: String, is: &str| {
                let customer = customers.as_string_view().value(row);
                let at = format_rfc3339_ms(as_of_us[row].div_euclid(1_000));
                let first = format!("{customer} at {at}: {was} was served, {is} it is");
                match differs.iter_mut().find(|known| known.feature == *name) {
                    Some(known) => known.rows += 1,
                    None => differs.push(Differs { feature: name.clone(), rows: 1, first }),
                }
            };
            let Some(served) = served.column_by_name(name) else {
                differ(0, "nothing".to_owned(), "a feature");
                continue;
            };
            if served.to_data() == again.to_data() {
                continue;
            }
            for row in 0..again.len() {
                let (was, is) = (served.slice(row, 1), again.slice(row, 1));
                if was.to_data() != is.to_data() {
                    differ(row, shown(&was), &shown(&is));
                }
            }
        }
        rows += served.num_rows() as u64;
        progress.at(rows, 0);
    }
    progress.done();
    if rows == 0 {
        return Err(Failure::new(format!(
            "nothing was served in {}: a run scores customers when the registry has a champion, see `headsup models`",
            place.data.display()
        )));
    }
    let values = thousands(rows * definitions.columns().len() as u64);
    if differs.is_empty() {
        return output::print(format!(
            "{} served rows, {values} values: all as computed again\n",
            thousands(rows)
        ));
    }
    let lines: Vec<String> = differs
        .iter()
        .map(|d| format!("{} in {} rows, first of {}", d.feature, thousands(d.rows), d.first))
        .collect();
    Err(Failure {
        code: 3,
        message: format!(
            "{} served rows, {values} values; {} features differ from what the stored facts say now (`headsup recompute` \
             changes facts after they were served):\n       {}",
            thousands(rows),
            differs.len(),
            lines.join("\n       ")
        ),
    })
}

/// The customers and times of served rows.
fn whose(served: &RecordBatch) -> Result<(arrow::array::ArrayRef, Vec<i64>), Failure> {
    let column = |name: &str| {
        served.column_by_name(name).ok_or_else(|| {
            Failure::new(format!("a file of table served has no column {name}; is it headsup's?"))
        })
    };
    let customers = cast(column("customer_id")?, &DataType::Utf8View).map_err(Failure::from_error)?;
    let times = cast(column("at")?, &DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None))
        .map_err(Failure::from_error)?;
    Ok((customers, times.as_primitive::<TimestampMicrosecondType>().values().to_vec()))
}

fn shown(value: &arrow::array::ArrayRef) -> String {
    if value.is_null(0) {
        return "nothing".to_owned();
    }
    let text = cast(value, &DataType::Utf8);
    text.map_or_else(|_| "?".to_owned(), |text| text.as_string::<i32>().value(0).to_owned())
}
