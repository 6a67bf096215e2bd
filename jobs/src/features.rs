//! `headsup features`: features of customers at times, from the stored facts.

use std::fs::File;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use clap::{Args, Subcommand};
use headsup_connectors::store;
use headsup_events::format_rfc3339_ms;
use headsup_features::{Definitions, History, Past, Population, Side, View, ViewError};
use headsup_kpi::sql::did_you_mean;
use headsup_operators::facts::{Kind, Table};
use headsup_stream::parse_duration_ms;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use crate::output::{self, Progress, thousands};
use crate::parts::{self, Part, Parts, parts, with_place};
use crate::recompute::time;
use crate::{Failure, Place};

/// Features of customers at times, from the stored facts.
///
/// The rows asked for are the spine: a Parquet file with the columns customer_id and as_of (--spine),
/// whose other columns are carried through, or every customer that was known, at regular times
/// (--every). A feature sees what was known at as_of, and nothing later.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct FeaturesArgs {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    place: Place,
    /// The rows asked for (Parquet: customer_id, as_of)
    #[arg(long, value_name = "FILE", conflicts_with = "every")]
    spine: Option<PathBuf>,
    /// Instead: all customers known at each of these times, so far apart, such as 7d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    every: Option<i64>,
    /// With --every: from this day or time [default: the first fact]
    #[arg(long, value_name = "TIME", value_parser = time, requires = "every")]
    from: Option<i64>,
    /// With --every: before this day or time [default: after the last fact]
    #[arg(long, value_name = "TIME", value_parser = time, requires = "every")]
    to: Option<i64>,
    /// Feature views (*.sql) [default: those that came with headsup]
    #[arg(long, value_name = "DIR")]
    views: Option<PathBuf>,
    /// A condition on features and the spine's columns; rows for which it is not true are left out
    #[arg(long, value_name = "SQL")]
    population: Option<String>,
    /// Add the columns label and event_in_ms of this label, or of a label's .sql file
    #[arg(long, value_name = "NAME")]
    label: Option<String>,
    /// With --label: what happens sooner than this is not foreseen
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "3d")]
    lead: i64,
    /// With --label: how far ahead it looks, after the lead
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "7d")]
    horizon: i64,
    /// Where the rows are written (Parquet)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Divide the facts into so many parts of the customers, and take one after the other, which needs less memory and
    /// room beside --out; the rows are the same [default: as many as keep facts below 3 GiB]
    #[arg(long, value_name = "N")]
    parts: Option<NonZeroU32>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List features: name, type, view, what it is
    List {
        /// Feature views (*.sql) [default: those that came with headsup]
        #[arg(long, value_name = "DIR")]
        views: Option<PathBuf>,
        /// As the page docs/features.md
        #[arg(long)]
        markdown: bool,
    },
    /// Check feature views and say all that is wrong with them
    Check {
        /// Feature views (*.sql) [default: those that came with headsup]
        #[arg(long, value_name = "DIR")]
        views: Option<PathBuf>,
    },
}

/// Name and text of the files in `features/` and `sql/labels/`.
const VIEWS: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/features.rs"));
const LABELS: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/labels.rs"));

/// Rows of the spine that are evaluated and written together.
const BATCH: usize = 64 * 1024;

fn duration(text: &str) -> Result<i64, String> {
    if text.bytes().all(|byte| byte == b'0') && !text.is_empty() {
        return Ok(0);
    }
    parse_duration_ms(text).ok_or_else(|| "expected a duration such as 7d or 12h".to_owned())
}

pub fn features(args: &FeaturesArgs) -> Result<(), Failure> {
    match &args.what {
        Some(What::List { views, markdown }) => {
            let definitions = plan(read_views(views.as_deref())?)?;
            output::print(if *markdown { as_page(&definitions) } else { as_list(&definitions) })
        }
        Some(What::Check { views }) => {
            let views = read_views(views.as_deref())?;
            let count = views.len();
            let definitions = plan(views)?;
            output::print(format!("{count} views, {} features: fine\n", definitions.columns().len()))
        }
        None => {
            let usage = |message: &str| Failure { code: 2, message: message.to_owned() };
            let Some(out) = &args.out else {
                return Err(usage("--out says where the rows are written; see headsup features --help"));
            };
            let asked = match (&args.spine, args.every) {
                (Some(file), _) => Asked::File(file.clone()),
                (None, Some(every_ms)) => Asked::Every { every_ms, from_ms: args.from, to_ms: args.to },
                (None, None) => {
                    return Err(usage(
                        "say for whom and when: --spine FILE, or --every DURATION for all customers",
                    ));
                }
            };
            let label = args.label.as_deref().map(|name| Label {
                name,
                lead_ms: args.lead,
                horizon_ms: args.horizon,
            });
            args.place.must_exist()?;
            let job = Job {
                views: args.views.as_deref(),
                population: args.population.as_deref(),
                label,
                parts: args.parts,
            };
            let written = job.write(&args.place.data, &asked, out)?;
            if written.ahead > 0 {
                eprintln!(
                    "warning: {} later than the last fact, of {}; what happened since is not in the features",
                    if written.ahead == 1 {
                        "1 row is".to_owned()
                    } else {
                        format!("{} rows are", thousands(written.ahead))
                    },
                    format_rfc3339_ms(written.last_us / 1_000)
                );
            }
            output::print(format!(
                "{} rows with {} features, {} left out: {}\n",
                thousands(written.rows),
                written.features,
                thousands(written.left_out),
                out.display()
            ))
        }
    }
}

/// For whom and when.
pub enum Asked {
    /// A spine.
    File(PathBuf),
    /// All customers known at regular times.
    Every { every_ms: i64, from_ms: Option<i64>, to_ms: Option<i64> },
}

/// What is foretold.
#[derive(Clone, Copy)]
pub struct Label<'a> {
    pub name: &'a str,
    pub lead_ms: i64,
    pub horizon_ms: i64,
}

/// Features, and a label if asked for, of rows.
pub struct Job<'a> {
    pub views: Option<&'a Path>,
    /// A condition on features and the spine's columns.
    pub population: Option<&'a str>,
    pub label: Option<Label<'a>>,
    /// How many parts of the customers are taken one after the other; as many as memory asks for if it is not said.
    pub parts: Option<NonZeroU32>,
}

/// What came of it.
#[derive(Default)]
pub struct Written {
    pub rows: u64,
    pub features: usize,
    /// Not of the population.
    pub left_out: u64,
    /// Later than all that is known.
    pub ahead: u64,
    /// When something was known last, in µs.
    pub last_us: i64,
}

impl Job<'_> {
    /// Writes the rows asked for with their features to a file.
    pub fn write(&self, data: &Path, asked: &Asked, out: &Path) -> Result<Written, Failure> {
        self.write_known(data, asked, out, None)
    }

    /// The same from the facts that were known at a time, in µs.
    pub fn write_known(
        &self,
        data: &Path,
        asked: &Asked,
        out: &Path,
        known_us: Option<i64>,
    ) -> Result<Written, Failure> {
        let definitions = Arc::new(plan(read_views(self.views)?)?);
        let label = self.label.map(|label| read_label(&label)).transpose()?.map(Arc::new);
        let parts = match self.parts {
            Some(parts) => parts.get(),
            None => parts(data, &definitions, label.as_deref())?,
        };
        let features = features_json(&definitions);
        let mut written = Written { features: definitions.columns().len(), ..Written::default() };
        let mut progress = Progress::new("features", 0);
        if parts == 1 {
            let mut history = History::new(definitions);
            let mut future = label.map(History::new);
            let span = load(data, &mut history, future.as_mut(), known_us)?;
            known_in(span, data)?;
            let mut writer = Out::new(out, &features);
            let part = Part { which: 0, of: 1 };
            self.part(asked, part, (history, future, span), &mut written, &mut progress, |_, rows| {
                writer.write(&rows)
            })?;
            progress.done();
            writer.finish()?;
            return Ok(written);
        }
        let split = Parts::split(data, out, parts, &definitions, label.as_deref(), known_us)?;
        known_in(split.span, data)?;
        for which in 0..parts {
            let mut history = split.all.for_some();
            let mut future = label.clone().map(History::new);
            load(&split.facts(which), &mut history, future.as_mut(), None)?;
            let rows = split.rows(which);
            let mut writer = Out::new(&rows, &features);
            let part = Part { which, of: parts };
            self.part(
                asked,
                part,
                (history, future, split.span),
                &mut written,
                &mut progress,
                |places, rows| writer.write(&with_place(places, &rows)?),
            )?;
            if writer.writer.is_some() {
                writer.finish()?;
            }
        }
        progress.done();
        let mut writer = Out::new(out, &features);
        split.merge(|rows| writer.write(&rows))?;
        writer.finish()?;
        Ok(written)
    }

    /// Gives `take` the rows of a part of the customers, whose facts are given, each with its place among all.
    fn part(
        &self,
        asked: &Asked,
        part: Part,
        (history, future, span): (History, Option<History>, (i64, i64)),
        written: &mut Written,
        progress: &mut Progress,
        mut take: impl FnMut(Int64Array, RecordBatch) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (_, last_us) = span;
        written.last_us = last_us;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut population: Option<Population> = None;
        for batch in spine(asked, &history, part, span)? {
            let Spine { rows, customers, as_of_us, places } = batch?;
            progress.at(written.rows + written.left_out, 0);
            let values =
                history.evaluate(&customers, &as_of_us, Side::Past, threads).map_err(Failure::from_error)?;
            let known = beside(&rows, &values)?;
            let labels = match (&future, &self.label) {
                (Some(future), Some(label)) => {
                    Some(labels(future, label, &customers, &as_of_us, last_us, threads)?)
                }
                _ => None,
            };
            if let (Some(condition), None) = (self.population, &population) {
                population = Some(Population::new(condition, &known.schema()).map_err(mistake)?);
            }
            let mut kept = match &labels {
                Some(labels) => beside(&beside(&rows, labels)?, &values)?,
                None => known.clone(),
            };
            let mut places = Int64Array::from(places);
            if let Some(population) = &population {
                let of_it = population.of(&known).map_err(Failure::from_error)?;
                kept = filter_record_batch(&kept, &of_it).map_err(Failure::from_error)?;
                places = arrow::compute::filter(&places, &of_it)
                    .map_err(Failure::from_error)?
                    .as_primitive()
                    .clone();
            }
            written.ahead += as_of_us.iter().filter(|us| **us > last_us).count() as u64;
            written.left_out += (known.num_rows() - kept.num_rows()) as u64;
            written.rows += kept.num_rows() as u64;
            take(places, kept)?;
        }
        Ok(())
    }
}

/// Label and time of what is foretold; nothing of what cannot be known yet.
fn labels(
    future: &History,
    label: &Label,
    customers: &StringViewArray,
    as_of_us: &[i64],
    last_us: i64,
    threads: usize,
) -> Result<RecordBatch, Failure> {
    let until_ms = label.lead_ms.saturating_add(label.horizon_ms);
    let labels = future
        .evaluate(customers, as_of_us, Side::Future { until_ms }, threads)
        .map_err(Failure::from_error)?;
    let immature: BooleanArray =
        as_of_us.iter().map(|us| Some(us.saturating_add(until_ms.saturating_mul(1_000)) > last_us)).collect();
    let columns: Result<Vec<_>, _> =
        labels.columns().iter().map(|column| arrow::compute::nullif(column, &immature)).collect();
    RecordBatch::try_new(labels.schema(), columns.map_err(Failure::from_error)?).map_err(Failure::from_error)
}

/// The columns of both.
fn beside(left: &RecordBatch, right: &RecordBatch) -> Result<RecordBatch, Failure> {
    let (mut fields, mut columns) = (left.schema().fields().to_vec(), left.columns().to_vec());
    for (field, column) in right.schema().fields().iter().zip(right.columns()) {
        if fields.iter().any(|other| other.name() == field.name()) {
            let name = field.name();
            return Err(Failure::new(format!(
                "the spine has a column {name}, and one of that name is computed; rename the spine's"
            )));
        }
        fields.push(field.clone());
        columns.push(column.clone());
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(Failure::from_error)
}

/// That anything is known.
fn known_in((first_us, last_us): (i64, i64), data: &Path) -> Result<(), Failure> {
    if first_us <= last_us {
        return Ok(());
    }
    Err(Failure::new(format!(
        "there are no facts of customers in {}; headsup run computes them from the log",
        data.display()
    )))
}

/// Takes in the stored facts; answers when something was known first, and when last, in µs.
pub fn load(
    data: &Path,
    history: &mut History,
    mut future: Option<&mut History>,
    known_us: Option<i64>,
) -> Result<(i64, i64), Failure> {
    let tables = parts::tables(history.tables(), future.as_ref().map(|future| future.tables()));
    let span = read_facts(data, tables, known_us, |table, batch| {
        if history.tables().contains(&table) {
            history.append(table, batch, |_| true).map_err(Failure::from_error)?;
        }
        if let Some(future) = future.as_mut().filter(|future| future.tables().contains(&table)) {
            future.append(table, batch, |_| true).map_err(Failure::from_error)?;
        }
        Ok(())
    })?;
    history.sort();
    if let Some(future) = future {
        future.sort();
    }
    Ok(span)
}

/// Gives `take` the stored facts that were known at a time in µs, if one is said; answers when something was known first,
/// and when last.
pub fn read_facts(
    data: &Path,
    tables: impl IntoIterator<Item = Table>,
    known_us: Option<i64>,
    mut take: impl FnMut(Table, &RecordBatch) -> Result<(), Failure>,
) -> Result<(i64, i64), Failure> {
    let mut progress = Progress::new("facts", 0);
    let (mut rows, mut first_us, mut last_us) = (0, i64::MAX, i64::MIN);
    for table in tables {
        let files = store::read_table(&data.join("facts"), table.name()).map_err(Failure::from_error)?;
        for batch in files {
            let mut batch = batch.map_err(Failure::from_error)?;
            if let (Some(until), Some(known)) = (known_us, batch.column_by_name("known_at")) {
                let known = known.as_primitive::<TimestampMicrosecondType>();
                let keep: BooleanArray =
                    known.iter().map(|us| Some(us.is_none_or(|us| us <= until))).collect();
                batch = filter_record_batch(&batch, &keep).map_err(Failure::from_error)?;
            }
            rows += batch.num_rows() as u64;
            progress.at(rows, 0);
            if let Some(known) = batch.column_by_name("known_at") {
                let known = known.as_primitive::<TimestampMicrosecondType>();
                last_us = last_us.max(arrow::compute::max(known).unwrap_or(i64::MIN));
                first_us = first_us.min(arrow::compute::min(known).unwrap_or(i64::MAX));
            }
            take(table, &batch)?;
        }
    }
    progress.done();
    Ok((first_us, last_us))
}

/// Rows of the spine: all columns, and those that count.
struct Spine {
    rows: RecordBatch,
    customers: StringViewArray,
    as_of_us: Vec<i64>,
    /// Of each row among all; where it is the same, the customer decides.
    places: Vec<i64>,
}

impl Spine {
    /// The rows of a part.
    fn of(self, part: Part) -> Result<Self, Failure> {
        if part.of == 1 {
            return Ok(self);
        }
        let mine: BooleanArray =
            self.customers.iter().map(|name| Some(name.is_some_and(|name| part.has(name)))).collect();
        let some = |values: Vec<i64>| {
            values.into_iter().zip(mine.values()).filter_map(|(value, mine)| mine.then_some(value)).collect()
        };
        Ok(Self {
            rows: filter_record_batch(&self.rows, &mine).map_err(Failure::from_error)?,
            customers: arrow::compute::filter(&self.customers, &mine)
                .map_err(Failure::from_error)?
                .as_string_view()
                .clone(),
            as_of_us: some(self.as_of_us),
            places: some(self.places),
        })
    }
}

type Batches<'a> = Box<dyn Iterator<Item = Result<Spine, Failure>> + 'a>;

fn spine<'a>(
    asked: &'a Asked,
    history: &'a History,
    part: Part,
    (first_us, last_us): (i64, i64),
) -> Result<Batches<'a>, Failure> {
    match asked {
        Asked::File(path) => {
            let cannot =
                |what: &str| Failure::new(format!("cannot read the spine {}: {what}", path.display()));
            let file = File::open(path).map_err(|error| cannot(&error.to_string()))?;
            let reader = ParquetRecordBatchReaderBuilder::try_new(file)
                .and_then(|builder| builder.with_batch_size(BATCH).build())
                .map_err(|error| cannot(&error.to_string()))?;
            let mut row = 0;
            Ok(Box::new(reader.map(move |batch| {
                let batch = batch.map_err(|error| cannot(&error.to_string()))?;
                let from = row;
                row += batch.num_rows();
                of_file(batch, from).map_err(|what| cannot(&what))?.of(part)
            })))
        }
        &Asked::Every { every_ms, from_ms, to_ms } => {
            let every_us = every_ms.saturating_mul(1_000);
            if every_us <= 0 {
                return Err(Failure { code: 2, message: "--every is of no length".to_owned() });
            }
            let known = history.first_known_us();
            let from_us = from_ms.map_or((first_us.div_euclid(every_us) + 1) * every_us, |ms| ms * 1_000);
            let to_us = to_ms.map_or(last_us + 1, |ms| ms * 1_000);
            let mut at_us = from_us;
            let times = std::iter::from_fn(move || {
                let now_us = at_us;
                at_us += every_us;
                (now_us < to_us).then_some(now_us)
            });
            Ok(Box::new(times.flat_map(move |at_us| {
                let customers: Vec<&str> =
                    known.iter().filter(|(_, known_us)| *known_us <= at_us).map(|(name, _)| *name).collect();
                let chunks: Vec<_> = customers.chunks(BATCH).map(|chunk| made(chunk, at_us)).collect();
                chunks.into_iter()
            })))
        }
    }
}

fn made(customers: &[&str], at_us: i64) -> Result<Spine, Failure> {
    let customers = StringViewArray::from_iter_values(customers);
    let as_of_us = vec![at_us; customers.len()];
    let times = TimestampMicrosecondArray::from(as_of_us.clone()).with_timezone("UTC");
    let schema = Schema::new(vec![
        Field::new("customer_id", DataType::Utf8View, false),
        Field::new("as_of", times.data_type().clone(), false),
    ]);
    let columns: Vec<ArrayRef> = vec![Arc::new(customers.clone()), Arc::new(times)];
    let rows = RecordBatch::try_new(Arc::new(schema), columns).map_err(Failure::from_error)?;
    Ok(Spine { rows, customers, places: as_of_us.clone(), as_of_us })
}

/// The columns that count, of a batch that begins at row `from`.
fn of_file(rows: RecordBatch, from: usize) -> Result<Spine, String> {
    let names = || {
        let schema = rows.schema();
        schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>().join(", ")
    };
    let column = |name: &str| {
        let column = rows.column_by_name(name);
        let column = column.ok_or_else(|| format!("it has no column {name}; there are {}", names()))?;
        match (0..column.len()).find(|row| column.is_null(*row)) {
            Some(row) => Err(format!("row {}: {name} is missing", from + row + 1)),
            None => Ok(column.clone()),
        }
    };
    let customers = column("customer_id")?;
    let customers = cast(&customers, &DataType::Utf8View).map_err(|_| {
        format!("customer_id is {}; it must be a text or a whole number", customers.data_type())
    })?;
    let as_of = column("as_of")?;
    if !as_of.data_type().is_temporal() {
        return Err(format!("as_of is {}; it must be a time or a date", as_of.data_type()));
    }
    let utc = |array: &ArrayRef, zone: Option<&str>| {
        cast(array, &DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into)))
            .map_err(|error| format!("as_of: {error}"))
    };
    let times = utc(&utc(&as_of, Some("UTC"))?, None)?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let as_of_us = times.values().to_vec();
    let places = (from..from + rows.num_rows()).map(|row| row as i64).collect();
    Ok(Spine { customers: customers.as_string_view().clone(), as_of_us, places, rows })
}

/// A file of rows, begun with the first of them.
struct Out<'a> {
    path: &'a Path,
    features: &'a str,
    writer: Option<Writer>,
}

impl<'a> Out<'a> {
    fn new(path: &'a Path, features: &'a str) -> Self {
        Self { path, features, writer: None }
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<(), Failure> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(Writer::new(self.path, &rows.schema(), self.features)?),
        };
        writer.write(rows)
    }

    fn finish(self) -> Result<(), Failure> {
        self.writer.ok_or_else(|| Failure::new("the spine has no rows"))?.finish()
    }
}

/// A Parquet file that appears whole, by rename.
struct Writer {
    writer: ArrowWriter<File>,
    partial: PathBuf,
    out: PathBuf,
}

impl Writer {
    fn new(out: &Path, schema: &SchemaRef, features: &str) -> Result<Self, Failure> {
        let mut partial = out.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let cannot =
            |error: &dyn std::fmt::Display| Failure::new(format!("cannot write {}: {error}", out.display()));
        let file = File::create(&partial).map_err(|error| cannot(&error))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_key_value_metadata(Some(vec![KeyValue::new(
                "headsup.features".to_owned(),
                features.to_owned(),
            )]))
            .build();
        let writer =
            ArrowWriter::try_new(file, schema.clone(), Some(properties)).map_err(|error| cannot(&error))?;
        Ok(Self { writer, partial, out: out.to_owned() })
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<(), Failure> {
        let cannot = |error| Failure::new(format!("cannot write {}: {error}", self.out.display()));
        self.writer.write(rows).map_err(cannot)
    }

    fn finish(self) -> Result<(), Failure> {
        let Self { writer, partial, out } = self;
        let cannot =
            |error: &dyn std::fmt::Display| Failure::new(format!("cannot write {}: {error}", out.display()));
        let file = writer.into_inner().map_err(|error| cannot(&error))?;
        file.sync_all().and_then(|()| std::fs::rename(&partial, &out)).map_err(|error| cannot(&error))
    }
}

/// The columns with their descriptions, as the files' metadata has them.
fn features_json(definitions: &Definitions) -> String {
    let columns = definitions.columns().iter();
    let list: Vec<serde_json::Value> = columns
        .map(|(view, feature, _)| {
            serde_json::json!({"name": feature.name, "view": view, "en": feature.en, "zh": feature.zh})
        })
        .collect();
    serde_json::Value::from(list).to_string()
}

fn plan(views: Vec<View>) -> Result<Definitions, Failure> {
    Definitions::features(views).map_err(mistakes)
}

/// The features that came with the binary.
pub fn standard() -> Result<Definitions, Failure> {
    plan(read_views(None)?)
}

fn mistakes(mistakes: Vec<ViewError>) -> Failure {
    let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    Failure { code: 2, message: lines.join("\n       ") }
}

fn mistake(error: ViewError) -> Failure {
    mistakes(vec![error])
}

/// The views of a folder, or those that came with the binary.
fn read_views(folder: Option<&Path>) -> Result<Vec<View>, Failure> {
    let files: Vec<(String, String, String)> = match folder {
        None => VIEWS
            .iter()
            .map(|(name, sql)| (format!("features/{name}.sql"), (*name).to_owned(), (*sql).to_owned()))
            .collect(),
        Some(folder) => crate::kpis::files(folder, "feature views")?,
    };
    let (views, wrong): (Vec<_>, Vec<_>) =
        files.iter().map(|(file, name, sql)| View::parse(file, name, sql, &[])).partition(Result::is_ok);
    if wrong.is_empty() {
        return Ok(views.into_iter().flatten().collect());
    }
    Err(mistakes(wrong.into_iter().filter_map(Result::err).collect()))
}

fn read_label(label: &Label<'_>) -> Result<Definitions, Failure> {
    let wrong = |message: String| Failure { code: 2, message };
    let known = LABELS.iter().find(|(name, _)| *name == label.name);
    let (file, name, sql) = match known {
        Some((name, sql)) => (format!("sql/labels/{name}.sql"), *name, (*sql).to_owned()),
        None if label.name.ends_with(".sql") => {
            let sql = std::fs::read_to_string(label.name)
                .map_err(|error| wrong(format!("cannot read the label {}: {error}", label.name)))?;
            let name = Path::new(label.name).file_stem().and_then(|stem| stem.to_str()).unwrap_or("label");
            (label.name.to_owned(), name, sql)
        }
        None => {
            let names: Vec<&str> = LABELS.iter().map(|(name, _)| *name).collect();
            return Err(wrong(format!(
                "there is no label \"{}\"{}; there are {}, or the path of a .sql file",
                label.name,
                did_you_mean(label.name, &names),
                names.join(", ")
            )));
        }
    };
    let parameters = [("lead_ms", label.lead_ms), ("horizon_ms", label.horizon_ms)];
    let view = View::parse(&file, name, &sql, &parameters).map_err(mistake)?;
    Definitions::label(view).map_err(mistakes)
}

fn as_list(definitions: &Definitions) -> String {
    let columns = definitions.columns();
    let width = columns.iter().map(|(_, feature, _)| feature.name.len()).max().unwrap_or(0);
    let line = |(view, feature, kind): &(String, headsup_features::Feature, DataType)| {
        format!("{:width$}  {:8}  {view:9}  {} | {}\n", feature.name, name_of(kind), feature.en, feature.zh)
    };
    columns.iter().map(line).collect()
}

fn name_of(kind: &DataType) -> &'static str {
    match kind {
        DataType::Int64 => "integer",
        DataType::Boolean => "boolean",
        _ => "double",
    }
}

fn as_page(definitions: &Definitions) -> String {
    let mut page = String::from(
        "# Features\n\nMade from the files in `features/` by `headsup features list --markdown`. \
         A feature sees what was known at `as_of`, and nothing later.\n",
    );
    let mut last = "";
    for (view, feature, kind) in definitions.columns() {
        if view != last {
            page += &format!("\n## {view}\n\n| feature | type | what it is | 说明 |\n|---|---|---|---|\n");
            last = view;
        }
        page += &format!("| `{}` | {} | {} | {} |\n", feature.name, name_of(kind), feature.en, feature.zh);
    }
    page += "\n# Tables for features\n\nA view selects from one of these as `past.<table>`, a label as `future.<table>`.\n";
    for past in Past::ALL {
        page += &format!("\n## past.{}\n\n| column | type | what it is |\n|---|---|---|\n", past.name());
        for (name, kind, what) in past.columns() {
            let kind = match kind {
                Kind::Text => "text",
                Kind::Integer => "integer",
                Kind::Boolean => "boolean",
                Kind::Time => "time",
            };
            page += &format!("| `{name}` | {kind} | {what} |\n");
        }
        for (name, _) in past.derived(false) {
            let what = headsup_features::DERIVED.iter().find(|(known, ..)| *known == name);
            if let Some((_, kind, what)) = what {
                let kind = if *kind == DataType::Int64 { "integer" } else { "time" };
                page += &format!("| `{name}` | {kind} | {what} |\n");
            }
        }
    }
    page
}
