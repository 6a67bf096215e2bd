//! The operator.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use headsup_features::{Definitions, FeatureError, History, Names, Side};
use headsup_models::reasons::Reasons;
use headsup_operators::facts::Table;
use headsup_operators::{Copied, Windows, WindowsError, is_time};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::model::{Model, known_schema};
use crate::percentile::Population;
use crate::timeline::{Switch, Timeline};

/// Rows whose features are computed together.
const TOGETHER: usize = 4_096;
/// With fewer rows another thread is not worth its start.
const ALONE: usize = 512;
const MINUTE_MS: i64 = 60_000;
/// Minutes whose turns are scored together: a batch of few costs as much as one of many, and nobody waits for them.
const SWEPT_TOGETHER: i64 = 15;
/// What a sweep is called.
const SWEEP: &str = "sweep";

/// What somebody has changed in the registry.
#[derive(Debug)]
pub struct News {
    /// Of this model.
    pub model: String,
    /// Serves from now on.
    pub champion: Option<Arc<Model>>,
    /// Serves in the shadow from now on.
    pub challenger: Option<Arc<Model>>,
}

/// A model of the registry.
#[derive(Debug)]
struct Serving {
    name: String,
    timeline: Timeline,
    versions: BTreeMap<String, Arc<Model>>,
    /// What came from the registry and is not in force yet.
    news: Option<News>,
    /// Of the champion's scores and the challenger's.
    populations: [Population; 2],
}

/// Scores customers when facts say so, and in a sweep.
pub struct Scoring {
    definitions: Arc<Definitions>,
    reasons: Reasons,
    history: History,
    tables: Vec<Table>,
    serving: Vec<Serving>,
    news: Arc<Mutex<Vec<News>>>,
    customers: Names,
    /// Of each customer, when anything was known first, in µs.
    first_us: Vec<i64>,
    /// Customers by the minute of the day in which it is their turn.
    turns: Vec<Vec<u32>>,
    /// Who is to be scored as of which time in µs, and why.
    due: BTreeMap<(i64, Arc<str>), String>,
    /// The last minute since the epoch whose sweep is done.
    swept: Option<i64>,
    tick_ms: i64,
    threads: usize,
    schema: SchemaRef,
}

impl fmt::Debug for Scoring {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Scoring")
            .field("serving", &self.serving)
            .field("customers", &self.customers.len())
            .finish()
    }
}

/// The state between two batches. Facts come from the store.
#[derive(Serialize, Deserialize)]
struct Saved {
    due: Vec<(i64, String, String)>,
    swept: Option<i64>,
    populations: Vec<(String, [Population; 2])>,
}

/// Why a customer is scored, by table and the text of a column.
fn trigger(table: Table, kind: &str) -> Option<String> {
    match table {
        Table::Orders => Some(format!("order.{kind}")),
        Table::Contacts => Some("contact.ended".to_owned()),
        Table::Ratings => Some("contact.rated".to_owned()),
        _ => None,
    }
}

impl Scoring {
    /// An operator that scores nothing yet; see [`Scoring::serve`] and [`Scoring::learn`]. It is ticked every
    /// `tick_ms` when somebody is to be scored, and takes up what is put into `news`.
    pub fn new(
        definitions: Arc<Definitions>,
        reasons: Reasons,
        tick_ms: i64,
        news: Arc<Mutex<Vec<News>>>,
    ) -> Self {
        let mut fields = vec![
            Field::new("customer_id", DataType::Utf8, false),
            Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        ];
        fields.extend(
            ["model", "role", "version", "trigger"].map(|name| Field::new(name, DataType::Utf8, false)),
        );
        fields.extend(["probability", "margin"].map(|name| Field::new(name, DataType::Float64, false)));
        fields.push(Field::new("percentile", DataType::Float64, true));
        fields.extend(["reasons", "feature_hash"].map(|name| Field::new(name, DataType::Utf8, false)));
        fields.extend(definitions.schema().fields().iter().map(|field| field.as_ref().clone()));
        Self {
            history: History::new(definitions.clone()),
            tables: definitions.tables(),
            definitions,
            reasons,
            serving: Vec::new(),
            news,
            customers: Names::default(),
            first_us: Vec::new(),
            turns: vec![Vec::new(); 24 * 60],
            due: BTreeMap::new(),
            swept: None,
            tick_ms,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            schema: Arc::new(Schema::new(fields)),
        }
    }

    /// Serves a model, by a timeline whose versions are all given.
    pub fn serve(&mut self, model: &str, timeline: Timeline, versions: Vec<Arc<Model>>) {
        self.serving.push(Serving {
            name: model.to_owned(),
            timeline,
            versions: versions.into_iter().map(|version| (version.version.clone(), version)).collect(),
            news: None,
            populations: Default::default(),
        });
        self.serving.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// Takes in stored facts, which nobody is scored for.
    ///
    /// # Errors
    /// Facts without the columns of their table.
    pub fn learn(&mut self, table: Table, facts: &RecordBatch) -> Result<(), WindowsError> {
        self.history.append(table, facts, |_| true)?;
        let (customers, known) = who(facts)?;
        let known = known.as_primitive::<TimestampMicrosecondType>();
        for (customer, known_us) in customers.as_string_view().iter().zip(known) {
            if let (Some(customer), Some(known_us)) = (customer, known_us) {
                self.know(customer, known_us);
            }
        }
        Ok(())
    }

    /// How long it takes at least until what a version foretells happens.
    pub(crate) fn lead_ms(&self, model: &str, version: &str) -> u64 {
        let serving = self.serving.iter().find(|serving| serving.name == model);
        serving.and_then(|serving| serving.versions.get(version)).map_or(0, |version| version.lead_ms)
    }

    /// After all has been learned: makes evaluating faster.
    pub fn learned(&mut self) {
        self.history.sort();
    }

    fn know(&mut self, customer: &str, known_us: i64) {
        let (number, is_new) = self.customers.insert(customer);
        if is_new {
            self.first_us.push(known_us);
            let minute = (xxh3_64(customer.as_bytes()) % self.turns.len() as u64) as usize;
            self.turns[minute].push(number);
        } else {
            let first_us = &mut self.first_us[number as usize];
            *first_us = known_us.min(*first_us);
        }
    }

    /// Takes up what is new in the registry, as of `now_ms`.
    fn adopt(&mut self, now_ms: i64) -> Result<(), WindowsError> {
        let news = std::mem::take(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner));
        for news in news {
            if let Some(serving) = self.serving.iter_mut().find(|serving| serving.name == news.model) {
                serving.news = Some(news);
            }
        }
        for serving in &mut self.serving {
            let last = serving.timeline.switches().last();
            // While the past is computed again, it is as it was.
            if last.is_some_and(|last| last.at_ms >= now_ms) {
                continue;
            }
            let Some(News { champion, challenger, .. }) = serving.news.take() else { continue };
            let name = |model: &Option<Arc<Model>>| model.as_ref().map(|model| model.version.clone());
            let (champion_name, challenger_name) = (name(&champion), name(&challenger));
            if last
                .is_some_and(|last| (&last.champion, &last.challenger) == (&champion_name, &challenger_name))
            {
                continue;
            }
            serving.timeline.push(Switch {
                at_ms: now_ms,
                champion: champion_name,
                challenger: challenger_name,
            })?;
            for model in champion.into_iter().chain(challenger) {
                serving.versions.insert(model.version.clone(), model);
            }
        }
        Ok(())
    }

    /// Puts those whose turn it was before `now_ms` among the due.
    fn sweep(&mut self, now_ms: i64) {
        let wanted = self.serving.iter().any(|serving| {
            let models = [0, 1].map(|role| serving.at(now_ms, role));
            models.into_iter().flatten().any(|model| model.when.sweep)
        });
        let end = now_ms.div_euclid(MINUTE_MS * SWEPT_TOGETHER) * SWEPT_TOGETHER;
        if self.swept.is_some_and(|swept| swept + 1 >= end) {
            return;
        }
        let day = self.turns.len() as i64;
        // Longer ago than a day, all have had a later turn.
        let from = self.swept.map_or(end, |swept| swept + 1).max(end - day);
        if wanted {
            for minute in from..end {
                let at_us = minute * MINUTE_MS * 1_000;
                for customer in &self.turns[minute.rem_euclid(day) as usize] {
                    if self.first_us[*customer as usize] <= at_us {
                        let customer = self.customers.name(*customer).into();
                        self.due.entry((at_us, customer)).or_insert_with(|| SWEEP.to_owned());
                    }
                }
            }
        }
        self.swept = Some(end - 1);
    }

    /// Features and scores of some that are due.
    fn score(&mut self, due: &[((i64, Arc<str>), String)]) -> Result<Option<RecordBatch>, WindowsError> {
        let customers = StringViewArray::from_iter_values(due.iter().map(|((_, customer), _)| customer));
        let as_of_us: Vec<i64> = due.iter().map(|((at_us, _), _)| *at_us).collect();
        let threads = if due.len() < ALONE { 1 } else { self.threads };
        let features = self.history.evaluate(&customers, &as_of_us, Side::Past, threads)?;
        let times = TimestampMicrosecondArray::from(as_of_us.clone()).with_timezone("UTC");
        let mut columns: Vec<ArrayRef> = vec![Arc::new(customers), Arc::new(times)];
        columns.extend(features.columns().iter().cloned());
        let known = RecordBatch::try_new(Arc::new(known_schema(&self.definitions)), columns)?;

        let Self { serving, reasons, .. } = self;
        let mut scores: Vec<Score> = Vec::new();
        for serving in serving.iter_mut() {
            for (role, role_name) in ["champion", "challenger"].into_iter().enumerate() {
                // Versions follow each other in time, as the rows do.
                let of_row: Vec<Option<Arc<Model>>> =
                    as_of_us.iter().map(|us| serving.at(us.div_euclid(1_000), role).cloned()).collect();
                let mut start = 0;
                for run in of_row.chunk_by(|a, b| version(a) == version(b)) {
                    let rows = start..start + run.len();
                    start += run.len();
                    let Some(model) = &run[0] else { continue };
                    let of_it = model.population.of(&known.slice(rows.start, rows.len()))?;
                    let wanted: Vec<u32> = rows
                        .clone()
                        .filter(|row| of_it.is_valid(row - rows.start) && of_it.value(row - rows.start))
                        .filter(|row| model.wants(&due[*row].1))
                        .map(|row| row as u32)
                        .collect();
                    scores.extend(model_scores(model, reasons, &features, &wanted)?.into_iter().map(
                        |mut score| {
                            let population = &mut serving.populations[role];
                            let at_us = as_of_us[score.row as usize];
                            score.percentile = population.percentile(score.probability, at_us);
                            population.add(score.probability, at_us);
                            (score.model, score.role) = (serving.name.clone(), role_name);
                            score
                        },
                    ));
                }
            }
        }
        // By time, customer, model, role.
        scores.sort_by(|a, b| (a.row, &a.model, a.role).cmp(&(b.row, &b.model, b.role)));
        if scores.is_empty() {
            return Ok(None);
        }
        let texts = |of: &dyn Fn(&Score) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(scores.iter().map(of)))
        };
        let customer = |score: &Score| due[score.row as usize].0.1.to_string();
        let at = scores.iter().map(|score| as_of_us[score.row as usize]);
        let mut columns: Vec<ArrayRef> = vec![
            texts(&customer),
            Arc::new(TimestampMicrosecondArray::from_iter_values(at).with_timezone("UTC")),
            texts(&|score| score.model.clone()),
            texts(&|score| score.role.to_owned()),
            texts(&|score| score.version.clone()),
            texts(&|score| due[score.row as usize].1.clone()),
            Arc::new(Float64Array::from_iter_values(scores.iter().map(|score| score.probability))),
            Arc::new(Float64Array::from_iter_values(scores.iter().map(|score| score.margin))),
            Arc::new(scores.iter().map(|score| score.percentile).collect::<Float64Array>()),
            texts(&|score| score.reasons.clone()),
            texts(&|score| score.hash.clone()),
        ];
        let rows = arrow::array::UInt32Array::from_iter_values(scores.iter().map(|score| score.row));
        for column in features.columns() {
            columns.push(take(column, &rows, None)?);
        }
        Ok(Some(RecordBatch::try_new(self.schema.clone(), columns)?))
    }
}

/// One of a model for a row of those due.
struct Score {
    row: u32,
    model: String,
    role: &'static str,
    version: String,
    probability: f64,
    margin: f64,
    percentile: Option<f64>,
    reasons: String,
    hash: String,
}

fn version(model: &Option<Arc<Model>>) -> Option<&str> {
    model.as_ref().map(|model| model.version.as_str())
}

/// Scores of these rows, without what depends on others.
fn model_scores(
    model: &Model,
    reasons: &Reasons,
    features: &RecordBatch,
    wanted: &[u32],
) -> Result<Vec<Score>, WindowsError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let rows = arrow::array::UInt32Array::from(wanted.to_vec());
    let features = arrow::compute::take_record_batch(features, &rows)?;
    let values = model.rows(&features)?;
    let width = model.scorer.features().len();
    let scores = model.scorer.score(&values, width)?;
    let of_row = |((row, score), values): ((&u32, headsup_models::score::Score), &[f32])| {
        let probability = f64::from(score.probability);
        let why = (probability >= model.when.explain_from).then(|| model.reasons(reasons, values));
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Ok(Score {
            row: *row,
            model: String::new(),
            role: "",
            version: model.version.clone(),
            probability,
            margin: score.margin.into(),
            percentile: None,
            reasons: serde_json::to_string(&why.unwrap_or_default())?,
            hash: format!("{:032x}", xxh3_128(&bytes)),
        })
    };
    wanted.iter().zip(scores).zip(values.chunks(width)).map(of_row).collect()
}

impl Serving {
    /// The version in force at a time in ms, as champion (0) or challenger (1).
    fn at(&self, at_ms: i64, role: usize) -> Option<&Arc<Model>> {
        let switch = self.timeline.at(at_ms)?;
        let version = if role == 0 { &switch.champion } else { &switch.challenger };
        self.versions.get(version.as_ref()?)
    }
}

impl Model {
    /// Whether a customer is scored after this.
    fn wants(&self, trigger: &str) -> bool {
        if trigger == SWEEP { self.when.sweep } else { self.when.on.iter().any(|on| on == trigger) }
    }
}

/// The customers of facts, and when each fact was known, in µs.
fn who(facts: &RecordBatch) -> Result<(ArrayRef, ArrayRef), WindowsError> {
    let column = |name: &'static str| {
        facts.column_by_name(name).ok_or(FeatureError::NoColumn { table: "facts", column: name })
    };
    Ok((cast(column("customer_id")?, &DataType::Utf8View)?, column("known_at")?.clone()))
}

impl Windows for Scoring {
    fn name(&self) -> &str {
        "scores"
    }

    fn tables(&self) -> Vec<Table> {
        self.tables.clone()
    }

    fn columns(&self, table: Table) -> BTreeSet<usize> {
        (0..table.columns().len()).collect()
    }

    fn tick_ms(&self) -> i64 {
        self.tick_ms
    }

    fn next_tick_ms(&self) -> Option<i64> {
        // The first tick after the time.
        self.due.keys().next().map(|(at_us, _)| at_us.div_euclid(1_000) + 1)
    }

    fn absorb(&mut self, now_ms: i64, table: Table, facts: &RecordBatch) -> Result<(), WindowsError> {
        if !self.tables.contains(&table) {
            return Ok(());
        }
        self.history.append(table, facts, |_| true)?;
        let kinds = facts.column_by_name("type").and_then(|kinds| kinds.as_string_view_opt());
        let (customers, known) = who(facts)?;
        let known = known.as_primitive::<TimestampMicrosecondType>();
        for (row, who) in customers.as_string_view().iter().zip(known).enumerate() {
            let (Some(customer), Some(known_us)) = who else { continue };
            self.know(customer, known_us);
            let kind = kinds.filter(|kinds| kinds.is_valid(row)).map_or("", |kinds| kinds.value(row));
            let Some(trigger) = trigger(table, kind) else { continue };
            let wanted = self.serving.iter().any(|serving| {
                let models = [0, 1].map(|role| serving.at(now_ms, role));
                models.into_iter().flatten().any(|model| model.wants(&trigger))
            });
            if wanted {
                let why = self.due.entry((known_us, customer.into())).or_insert_with(|| trigger.clone());
                // Of several the same one, in whatever order they come.
                if trigger < *why {
                    *why = trigger;
                }
            }
        }
        Ok(())
    }

    fn tick(&mut self, now_ms: i64, rows: &mut Vec<RecordBatch>) -> Result<(), WindowsError> {
        self.adopt(now_ms)?;
        self.sweep(now_ms);
        let later = self.due.split_off(&(now_ms.saturating_mul(1_000), "".into()));
        let due: Vec<_> = std::mem::replace(&mut self.due, later).into_iter().collect();
        for some in due.chunks(TOGETHER) {
            rows.extend(self.score(some)?);
        }
        Ok(())
    }

    fn refused(&self) -> u64 {
        0
    }

    fn is_optional(&self) -> bool {
        true
    }

    fn save(&self) -> Copied {
        let due = self.due.iter().map(|((at_us, customer), why)| (*at_us, customer.to_string(), why.clone()));
        let populations =
            self.serving.iter().map(|serving| (serving.name.clone(), serving.populations.clone()));
        let saved = Saved { due: due.collect(), swept: self.swept, populations: populations.collect() };
        Copied::new(move || Ok(postcard::to_stdvec(&saved)?))
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), WindowsError> {
        let Saved { due, swept, populations } = postcard::from_bytes(saved)?;
        let is_whole = due.iter().all(|(at_us, ..)| is_time(at_us.div_euclid(1_000)))
            && swept.is_none_or(|minute| is_time(minute.saturating_mul(MINUTE_MS)))
            && populations.iter().all(|(_, populations)| populations.iter().all(Population::is_whole));
        if !is_whole {
            return Err("a damaged state of scores".into());
        }
        for (at_us, customer, why) in due {
            self.due.insert((at_us, customer.as_str().into()), why);
        }
        self.swept = swept;
        for (name, populations) in populations {
            if let Some(serving) = self.serving.iter_mut().find(|serving| serving.name == name) {
                serving.populations = populations;
            }
        }
        Ok(())
    }
}
