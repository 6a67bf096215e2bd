//! What a run computes: facts and KPIs of all events or of a share of them, or the KPIs of all
//! shares.
//!
//! Pure, as the operators are: records in, output out.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use headsup_alerts::{Alert, Change, CopiedAlerts, Rule, Rules};
use headsup_connectors::Reader;
use headsup_events::{Chunk, Decoded, Decoder, Limits, Quarantined, Reason};
use headsup_kpi::{Kpi, KpiPartials, KpiWindows, Merge, Merged, Share, ShareRecord, ShareSays, tick_of};
use headsup_operators::facts::Table;
use headsup_operators::{
    Bytes, Copied, Output, Pipeline, PipelineConfig, Profile, Windows, WindowsError, pack,
};
use headsup_stream::Accounting;

use crate::alerting::Alerting;
use crate::rows::KpiRows;
use crate::run::{Job, RunError};

/// Which part of the work a run does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Role {
    /// All of it: facts and KPIs of all events.
    #[default]
    All,
    /// Facts and partial aggregates of some partitions, for [`Role::Merge`].
    Share(Share),
    /// The KPIs of all shares, from their partial aggregates.
    Merge,
}

impl Role {
    /// What its folders and files are called by.
    pub fn name(&self) -> String {
        match self {
            Self::All => "all".to_owned(),
            Self::Share(share) => format!("p{}-{}of{}", share.first, share.end.saturating_sub(1), share.of),
            Self::Merge => "merge".to_owned(),
        }
    }

    /// What distinguishes its files from those of others in the same folder.
    pub(crate) fn tag(&self) -> Option<String> {
        (*self != Self::All).then(|| self.name())
    }
}

/// Records as the core takes them.
pub enum Batch {
    /// Events.
    Events(Box<Decoded>),
    /// What shares say, how many records there were, and those that are no such thing.
    Shares(Vec<ShareRecord>, u64, Vec<Quarantined>),
}

/// Turns chunks into batches.
pub enum Decode {
    /// Of events.
    Events(Box<Decoder>),
    /// Of what shares say.
    Shares,
}

impl Decode {
    /// For runs of this role.
    pub fn new(role: &Role, limits: Limits) -> Self {
        match role {
            Role::Merge => Self::Shares,
            _ => Self::Events(Box::new(Decoder::new(limits, Pipeline::columns()))),
        }
    }

    /// All records of a chunk.
    pub fn decode(&mut self, chunk: &Chunk) -> Batch {
        let Self::Events(decoder) = self else {
            return decode_shares(chunk);
        };
        Batch::Events(Box::new(decoder.decode(chunk)))
    }
}

fn decode_shares(chunk: &Chunk) -> Batch {
    let (mut records, mut quarantined) = (Vec::new(), Vec::new());
    for index in 0..chunk.spans.len() {
        let bytes = chunk.record(index);
        match ShareRecord::from_bytes(bytes) {
            Some(record) => records.push(record),
            None => quarantined.push(Quarantined {
                offset: chunk.first_offset + index as u64,
                appended_at_ms: chunk.appended_at_ms,
                reason: Reason::NoPartials,
                detail: "expected partial aggregates of this version of headsup".to_owned(),
                bytes: bytes.to_vec(),
            }),
        }
    }
    Batch::Shares(records, chunk.spans.len() as u64, quarantined)
}

/// What comes out.
#[derive(Debug, Default)]
pub struct Produced {
    /// What has become of alerts.
    pub alerts: Vec<Change>,
    /// Facts, by table.
    pub facts: Vec<(Table, RecordBatch)>,
    /// Rows of KPIs, with their places.
    pub rows: Vec<(usize, KpiRows)>,
    /// Scores with the features that they are of.
    pub scores: Vec<RecordBatch>,
    /// What became of proactive service.
    pub tasks: Vec<RecordBatch>,
    /// What a share says.
    pub says: Vec<ShareRecord>,
}

impl Produced {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        let Self { alerts, facts, rows, scores, tasks, says } = self;
        alerts.is_empty()
            && scores.is_empty()
            && tasks.is_empty()
            && facts.is_empty()
            && rows.is_empty()
            && says.is_empty()
    }
}

/// The state of a run.
pub struct Core {
    kind: Kind,
    kpis: Vec<Arc<Kpi>>,
    /// A share has none.
    alerting: Option<(Alerting, Rules)>,
    /// Which rules were others in the checkpoint, so that alerts began anew.
    other_rules: Option<String>,
}

enum Kind {
    All(Pipeline),
    Share { pipeline: Pipeline, share: Share, generation: u64, definitions: u64, done_ms: Option<i64> },
    Merge { merge: Merge, partitions: Vec<Accounting> },
}

/// Rows of partial aggregates in one record at most. A number of rows, and not of bytes in
/// memory, because the parts have to be the same when they are given out again.
const PART_ROWS: usize = 1_024;

impl Core {
    /// The run of a job that has seen nothing, over so many partitions. `generation` is that of
    /// its tables, `definitions` a hash of what decides the result. `scores` is what scores customers.
    pub fn new(
        job: &Job,
        partitions: usize,
        generation: u64,
        definitions: u64,
        scores: Option<Box<dyn Windows>>,
    ) -> Self {
        let Job { role, config, kpis, alerts: rules, profile, .. } = job;
        let profile = *profile;
        let pipeline = |windows| {
            let config = PipelineConfig {
                partitions,
                disorder_ms_max: config.disorder_ms_max,
                lateness_ms_max: config.lateness_ms_max,
                contacts: config.contacts,
                follow: config.follow.clone(),
                // A share has only some of an agent's conversations.
                agents: config.agents && *role == Role::All,
                queue_tick_ms: config.queue_tick_ms,
                queue_over_ms: config.queue_over_ms,
                quiet_until_ms: config.kpis.from_ms.unwrap_or(i64::MIN),
                store: config.store_tables.clone(),
                profile,
            };
            Pipeline::new(config, windows)
        };
        let alerting = Alerting::new(rules, kpis);
        let kind = match role {
            Role::All => {
                let windows = |kpi: &Arc<Kpi>| Box::new(KpiWindows::new(kpi.clone())) as Box<dyn Windows>;
                let mut all: Vec<Box<dyn Windows>> = kpis.iter().map(windows).collect();
                // Without rows, so the others' places stay.
                all.push(Box::new(alerting.details()));
                all.extend(scores);
                Kind::All(pipeline(all))
            }
            Role::Share(share) => {
                let windows = |kpi: &Arc<Kpi>| Box::new(KpiPartials::new(kpi.clone())) as Box<dyn Windows>;
                let pipeline = pipeline(kpis.iter().map(windows).collect());
                Kind::Share { pipeline, share: share.clone(), generation, definitions, done_ms: None }
            }
            Role::Merge => Kind::Merge {
                merge: Merge::new(kpis, definitions),
                partitions: vec![Accounting::default(); partitions],
            },
        };
        let alerting = (!matches!(role, Role::Share(_))).then(|| (alerting, rules.clone()));
        Self { kind, kpis: kpis.to_vec(), alerting, other_rules: None }
    }

    fn pipeline(&self) -> Option<&Pipeline> {
        match &self.kind {
            Kind::All(pipeline) | Kind::Share { pipeline, .. } => Some(pipeline),
            Kind::Merge { .. } => None,
        }
    }

    fn pipeline_mut(&mut self) -> Option<&mut Pipeline> {
        match &mut self.kind {
            Kind::All(pipeline) | Kind::Share { pipeline, .. } => Some(pipeline),
            Kind::Merge { .. } => None,
        }
    }

    /// Before anything is computed from the beginning: looks at all that shares have said.
    /// Only the last generation of each counts.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn look_ahead(&mut self, readers: Vec<Box<dyn Reader>>) -> Result<(), RunError> {
        let Kind::Merge { merge, .. } = &mut self.kind else {
            return Ok(());
        };
        let mut all = Vec::new();
        for mut reader in readers {
            while let Some(chunk) = reader.next(Duration::ZERO)? {
                if let Batch::Shares(records, ..) = decode_shares(&chunk) {
                    // What they say is not looked at yet.
                    let head = |record: ShareRecord| ShareRecord { what: ShareSays::Done(0), ..record };
                    all.extend(records.into_iter().map(|record| (chunk.appended_at_ms, head(record))));
                }
            }
        }
        merge.expect(all.into_iter());
        Ok(())
    }

    /// Takes in records of a partition, in their order, and gives out those to set aside.
    ///
    /// # Errors
    /// Shares that contradict each other.
    pub fn push(&mut self, partition: usize, batch: Batch) -> Result<Vec<Quarantined>, RunError> {
        match (&mut self.kind, batch) {
            (Kind::All(pipeline) | Kind::Share { pipeline, .. }, Batch::Events(mut decoded)) => {
                let quarantined = std::mem::take(&mut decoded.quarantined);
                pipeline.push(partition, *decoded, quarantined.len() as u64);
                Ok(quarantined)
            }
            (Kind::Merge { merge, partitions }, Batch::Shares(records, read, quarantined)) => {
                let accounting = &mut partitions[partition];
                accounting.read += read;
                accounting.quarantined += quarantined.len() as u64;
                for record in records {
                    match merge.push(record).map_err(RunError::Merge)? {
                        Merged::Applied => accounting.applied += 1,
                        Merged::Duplicate => accounting.duplicate += 1,
                        Merged::Ignored => accounting.ignored += 1,
                    }
                }
                Ok(quarantined)
            }
            _ => unreachable!("a core gets what its own decoder makes"),
        }
    }

    /// A partition has ended: it no longer holds back time.
    pub fn end(&mut self, partition: usize) {
        if let Some(pipeline) = self.pipeline_mut() {
            pipeline.end(partition);
        }
    }

    /// Does all that is due.
    ///
    /// # Errors
    /// A KPI's expression that cannot be evaluated.
    pub fn advance(&mut self) -> Result<Produced, RunError> {
        let (Output { facts, mut rows }, says) = self.produce().map_err(RunError::Kpi)?;
        let mut produced = Produced { facts, says, ..Produced::default() };
        let of_customers = |(place, _): &mut (usize, RecordBatch)| *place > self.kpis.len();
        for (_, rows) in rows.extract_if(.., of_customers) {
            match rows.schema_ref().metadata().get("table").map(String::as_str) {
                Some("tasks") => produced.tasks.push(rows),
                _ => produced.scores.push(rows),
            }
        }
        let watermark_ms = self.watermark_ms();
        if let (Some((alerting, _)), Some(until_ms)) = (&mut self.alerting, watermark_ms) {
            produced.alerts = alerting.advance(&rows, until_ms)?;
        }
        let of_kpi = |(place, rows): (usize, RecordBatch)| {
            let kpi = &self.kpis[place];
            let rows = KpiRows::of(kpi, rows);
            Ok((place, rows.map_err(|problem| RunError::Rows { kpi: kpi.name.clone(), problem })?))
        };
        produced.rows = rows.into_iter().map(of_kpi).collect::<Result<_, RunError>>()?;
        Ok(produced)
    }

    fn produce(&mut self) -> Result<(Output, Vec<ShareRecord>), WindowsError> {
        match &mut self.kind {
            Kind::All(pipeline) => Ok((pipeline.advance()?, Vec::new())),
            Kind::Merge { merge, .. } => Ok((merge.advance()?, Vec::new())),
            Kind::Share { pipeline, share, generation, definitions, done_ms } => {
                let mut output = pipeline.advance()?;
                let say = |what| ShareRecord {
                    share: share.clone(),
                    generation: *generation,
                    definitions: *definitions,
                    what,
                };
                let mut says = Vec::new();
                for (place, batch) in std::mem::take(&mut output.rows) {
                    let tick_ms = tick_of(&batch).ok_or("partial aggregates without a tick")?;
                    for (part, start) in (0..batch.num_rows()).step_by(PART_ROWS).enumerate() {
                        let some = batch.slice(start, PART_ROWS.min(batch.num_rows() - start));
                        says.push(say(ShareSays::Partials {
                            kpi: self.kpis[place].name.clone(),
                            tick_ms,
                            part: part as u32,
                            batch: pack(&[some])?,
                        }));
                    }
                }
                let now_ms = pipeline.watermark_ms();
                if now_ms > *done_ms {
                    *done_ms = now_ms;
                    says.extend(now_ms.map(|ms| say(ShareSays::Done(ms))));
                }
                Ok((output, says))
            }
        }
    }

    /// The state, for a checkpoint. To call after [`Core::advance`]; what has come out before
    /// is not in it.
    ///
    /// # Errors
    /// A state that cannot be packed.
    pub fn save(&mut self) -> Result<Copied, WindowsError> {
        let kind = match &mut self.kind {
            Kind::All(pipeline) | Kind::Share { pipeline, .. } => pipeline.save(),
            Kind::Merge { merge, partitions } => {
                let (merge, partitions) = (merge.save()?, partitions.clone());
                Copied::new(move || Ok(postcard::to_stdvec(&(merge, partitions))?))
            }
        };
        let alerts = self.alerting.as_ref().map(|(alerting, _)| alerting.copy());
        Ok(Copied::new(move || {
            let alerts = alerts.map(CopiedAlerts::pack).transpose()?;
            Ok(postcard::to_stdvec(&(Bytes(kind.pack()?), alerts.map(Bytes)))?)
        }))
    }

    /// Goes on from a saved state of the same role, configuration and KPIs, in a checkpoint of
    /// this `format`.
    ///
    /// # Errors
    /// Bytes of something else.
    pub fn restore(&mut self, bytes: &[u8], format: u32) -> Result<(), WindowsError> {
        if format < 3 {
            return self.restore_kind(bytes, format);
        }
        let (kind, alerts): (Bytes, Option<Bytes>) = postcard::from_bytes(bytes)?;
        self.restore_kind(&kind.0, format)?;
        if let (Some((alerting, rules)), Some(alerts)) = (&mut self.alerting, alerts) {
            self.other_rules = alerting.restore(&alerts.0, rules)?;
        }
        Ok(())
    }

    fn restore_kind(&mut self, bytes: &[u8], format: u32) -> Result<(), WindowsError> {
        match &mut self.kind {
            Kind::All(pipeline) => pipeline.restore(bytes, format),
            Kind::Share { pipeline, done_ms, .. } => {
                pipeline.restore(bytes, format)?;
                *done_ms = pipeline.watermark_ms();
                Ok(())
            }
            Kind::Merge { merge, partitions } => {
                let (saved, accounts): (Vec<u8>, Vec<Accounting>) = postcard::from_bytes(bytes)?;
                if accounts.len() != partitions.len() {
                    return Err("a state of other partitions".into());
                }
                *partitions = accounts;
                merge.restore(&saved)
            }
        }
    }

    /// The alerts that fire, as they were said last.
    pub fn firing(&self) -> impl Iterator<Item = (&Arc<Rule>, &Alert)> {
        self.alerting.iter().flat_map(|(alerting, _)| alerting.firing())
    }

    /// By rule of alerts, rows of series that were left out because there were so many, and rows
    /// that came when their window was final.
    pub fn alerts_left_out(&self) -> Vec<(String, u64, u64)> {
        self.alerting.as_ref().map(|(alerting, _)| alerting.left_out()).unwrap_or_default()
    }

    /// Which rules of alerts were others in the checkpoint that it goes on from, if so: then
    /// alerts began anew.
    pub fn other_rules(&self) -> Option<&str> {
        self.other_rules.as_deref()
    }

    /// Up to which time, in ms, everything is known; `i64::MAX` at the end.
    pub fn watermark_ms(&self) -> Option<i64> {
        match &self.kind {
            Kind::All(pipeline) | Kind::Share { pipeline, .. } => pipeline.watermark_ms(),
            Kind::Merge { merge, .. } => merge.watermark_ms(),
        }
    }

    /// The largest event time seen, in ms.
    pub fn latest_ms(&self) -> Option<i64> {
        self.pipeline().and_then(Pipeline::latest_ms)
    }

    /// The largest event time seen in one partition, in ms.
    pub fn latest_ms_of(&self, partition: usize) -> Option<i64> {
        match &self.kind {
            Kind::All(pipeline) | Kind::Share { pipeline, .. } => pipeline.latest_ms_of(partition),
            // A share speaks in the partition that is its first.
            Kind::Merge { merge, .. } => {
                let of = |share: &Share| share.first as usize == partition;
                merge.shares().iter().find(|(share, _)| of(share)).and_then(|(_, progress)| progress.done_ms)
            }
        }
    }

    /// Of a merge, the partitions that no share has spoken for.
    pub fn missing(&self) -> Vec<Range<u32>> {
        match &self.kind {
            Kind::Merge { merge, partitions } => merge.missing(partitions.len() as u32),
            _ => Vec::new(),
        }
    }

    /// What became of the records of each partition.
    pub fn accounting(&self) -> Vec<Accounting> {
        match &self.kind {
            Kind::All(pipeline) | Kind::Share { pipeline, .. } => pipeline.accounting().collect(),
            Kind::Merge { partitions, .. } => partitions.clone(),
        }
    }

    /// How many times facts came for windows that were all final, by KPI.
    pub fn refused(&self) -> Vec<(String, u64)> {
        let owned = |(name, count): (&str, u64)| (name.to_owned(), count);
        match &self.kind {
            Kind::All(pipeline) | Kind::Share { pipeline, .. } => pipeline.refused().map(owned).collect(),
            Kind::Merge { merge, .. } => merge.refused().map(owned).collect(),
        }
    }

    /// Entries in the states of the operators.
    pub fn sizes(&self) -> Vec<(&'static str, usize)> {
        match &self.kind {
            Kind::All(pipeline) | Kind::Share { pipeline, .. } => pipeline.sizes().to_vec(),
            Kind::Merge { merge, .. } => vec![("partials", merge.waiting())],
        }
    }

    /// Time spent in each operator, if asked for.
    pub fn profile(&self) -> Profile {
        self.pipeline().map(Pipeline::profile).unwrap_or_default()
    }
}
