//! Writing: tables, topics, checkpoints.
//!
//! Files and checkpoints are completed by a thread of their own, since the disk takes its time and nobody who waits for
//! a task is to wait for that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::error::ArrowError;
use crossbeam_channel::{Receiver, RecvError, TryRecvError, bounded, never, select};
use headsup_connectors::{Checkpoints, Claim, Store, StoreError};
use headsup_events::Quarantined;
use headsup_kpi::Kpi;
use headsup_operators::facts::Table;

use crate::alerting;
use crate::board::Board;
use crate::checkpoint::{Checkpoint, FORMAT};
use crate::core::Produced;
use crate::publish::{Publisher, SCORE_COLUMNS};
use crate::resume::Snapshot;
use crate::rows::{self, KpiRows};
use crate::run::RunError;
use crate::sink::Sink;

/// What there is to write.
pub enum Write {
    /// What the operators gave out.
    Output(Produced),
    /// What came before is to be completed, and then this, if there is one.
    Flush(Option<Snapshot>),
    /// Records of a partition that were set aside.
    Quarantined(String, Vec<Quarantined>),
}

/// Longest wait for the sink at the end of a run; what it has not taken then, the next run
/// loads.
const SINK_MAX: Duration = Duration::from_secs(60);

/// A checkpoint that has been written, if there was one.
type Completed = Result<Option<Complete>, RunError>;

struct Complete {
    next_file: u64,
    bytes: u64,
}

/// A flush that has begun: the tables' files are to be completed, and then the checkpoint to be written, if there is one.
pub struct Unfinished(Box<dyn FnOnce() -> Completed + Send>);

/// What is being completed, and the time it took.
struct Completing(Receiver<(Completed, Duration)>);

pub(crate) type Written = Result<(Vec<(String, u64)>, Duration), RunError>;

/// What writes.
pub struct Writer {
    pub(crate) store: Store,
    pub(crate) claim: Arc<Claim>,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) definitions: BTreeMap<String, String>,
    /// Records set aside so far, by reason.
    pub(crate) quarantined: BTreeMap<String, u64>,
    pub(crate) kpis: Vec<Arc<Kpi>>,
    /// `None`: the input is no log, and there are no topics.
    pub(crate) publisher: Option<Publisher>,
    pub(crate) board: Arc<Board>,
    pub(crate) sink: Option<Sink>,
}

impl Writer {
    /// Writes what comes until nobody sends any more: rows written, by table, and the time it
    /// took.
    pub(crate) fn run(mut self, receiver: &Receiver<Write>) -> Written {
        let mut completing = None;
        let result = self.receive(receiver, &mut completing);
        if let Err(error) = &result {
            // When this returns, nothing is being written any more.
            let _ = completing.map(|Completing(done)| done.recv());
            self.board.update(|state| state.failure = Some(error.to_string()));
        }
        result
    }

    fn receive(&mut self, receiver: &Receiver<Write>, completing: &mut Option<Completing>) -> Written {
        let mut writing = Duration::ZERO;
        loop {
            let message = match receiver.try_recv() {
                Ok(message) => message,
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    // Nothing else to do: nobody waits longer than need be.
                    self.publish()?;
                    let nothing = never();
                    let done = completing.as_ref().map_or(&nothing, |completing| &completing.0);
                    select! {
                        recv(receiver) -> message => match message {
                            Ok(message) => message,
                            Err(_) => break,
                        },
                        recv(done) -> completed => {
                            *completing = None;
                            writing += self.completed(completed)?;
                            continue;
                        }
                    }
                }
            };
            let started = Instant::now();
            match message {
                Write::Flush(snapshot) => {
                    writing += self.wait(completing)?;
                    let Unfinished(complete) = self.begin_flush(snapshot)?;
                    let (sender, done) = bounded(1);
                    let work = move || {
                        let started = Instant::now();
                        let completed = complete();
                        let _ = sender.send((completed, started.elapsed()));
                    };
                    let thread = std::thread::Builder::new().name("complete".to_owned()).spawn(work);
                    thread.map_err(|_| RunError::Thread("complete"))?;
                    *completing = Some(Completing(done));
                }
                other => self.take(other)?,
            }
            writing += started.elapsed();
        }
        writing += self.wait(completing)?;
        let started = Instant::now();
        self.flush(None)?;
        writing += started.elapsed();
        if let Some(sink) = &self.sink {
            if self.publisher.is_none() {
                // Of files there is no checkpoint, and nothing comes again.
                sink.completed(self.store.next())?;
            }
            sink.finish(SINK_MAX)?;
        }
        Ok((self.store.rows().clone().into_iter().collect(), writing))
    }

    /// Waits until what is being completed is, and says how long that took.
    fn wait(&mut self, completing: &mut Option<Completing>) -> Result<Duration, RunError> {
        match completing.take() {
            Some(Completing(done)) => self.completed(done.recv()),
            None => Ok(Duration::ZERO),
        }
    }

    fn completed(
        &mut self,
        completed: Result<(Completed, Duration), RecvError>,
    ) -> Result<Duration, RunError> {
        let (completed, took) = completed.map_err(|_| RunError::Thread("complete"))?;
        self.show(completed?)?;
        Ok(took)
    }

    /// Tells of a flush that is complete.
    fn show(&self, complete: Option<Complete>) -> Result<(), RunError> {
        if let (Some(Complete { next_file, .. }), Some(sink)) = (&complete, &self.sink) {
            sink.completed(*next_file)?;
        }
        self.board.update(|state| {
            state.flushes += 1;
            if let Some(Complete { bytes, .. }) = complete {
                state.checkpoints += 1;
                state.checkpoint_bytes = bytes;
            }
        });
        Ok(())
    }

    /// Writes one thing.
    ///
    /// # Errors
    /// A disk or log that does not take it, or another process that has taken the run over.
    pub fn take(&mut self, message: Write) -> Result<(), RunError> {
        match message {
            Write::Output(produced) => self.produced(produced)?,
            Write::Quarantined(name, records) => self.quarantined(&name, &records)?,
            Write::Flush(snapshot) => return self.flush(snapshot),
        }
        match &self.publisher {
            Some(publisher) if publisher.is_full() => self.publish(),
            _ => Ok(()),
        }
    }

    /// Appends to the topics what waits for more.
    ///
    /// # Errors
    /// A log that does not take it, or another process that has taken the run over.
    pub fn publish(&mut self) -> Result<(), RunError> {
        match &mut self.publisher {
            Some(publisher) if !publisher.is_empty() => {
                self.claim.check()?;
                Ok(publisher.flush()?)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn flush(&mut self, snapshot: Option<Snapshot>) -> Result<(), RunError> {
        let unfinished = self.begin_flush(snapshot)?;
        self.finish(unfinished)
    }

    /// Completes a flush.
    ///
    /// # Errors
    /// Disk full, or no permission; another process that has taken the run over.
    pub fn finish(&self, Unfinished(complete): Unfinished) -> Result<(), RunError> {
        self.show(complete()?)
    }

    /// Publishes, and says what else is to be done. More may be written before that is, but no other flush begun.
    ///
    /// # Errors
    /// A log that does not take it, or another process that has taken the run over.
    pub fn begin_flush(&mut self, snapshot: Option<Snapshot>) -> Result<Unfinished, RunError> {
        self.publish()?;
        let sealed = self.store.seal();
        let next_file = self.store.next();
        let outputs = self.publisher.as_ref().map(Publisher::positions).transpose()?;
        let (definitions, quarantined) = (self.definitions.clone(), self.quarantined.clone());
        let rows = self.store.rows().clone();
        let (claim, checkpoints) = (self.claim.clone(), self.checkpoints.clone());
        Ok(Unfinished(Box::new(move || {
            sealed.complete()?;
            let Some(snapshot) = snapshot else { return Ok(None) };
            let checkpoint = Checkpoint {
                definitions,
                snapshot: snapshot.pack().map_err(|error| RunError::State("pack", error))?,
                next_file,
                rows,
                quarantined,
                generation: claim.generation(),
                outputs,
                format: FORMAT,
            };
            let contents =
                postcard::to_stdvec(&checkpoint).map_err(|error| RunError::State("pack", error.into()))?;
            claim.check()?;
            checkpoints.write(FORMAT, &contents)?;
            Ok(Some(Complete { next_file, bytes: contents.len() as u64 }))
        })))
    }

    fn produced(&mut self, produced: Produced) -> Result<(), RunError> {
        let Produced { facts, rows, scores, tasks, says, alerts } = produced;
        if let Some(publisher) = &mut self.publisher {
            for (place, rows) in &rows {
                publisher.rows(&self.kpis[*place], rows);
            }
            publisher.alerts(&alerts);
            tasks.iter().for_each(|rows| publisher.tasks(rows));
            for record in &says {
                publisher.says(record).map_err(|error| RunError::State("pack", error))?;
            }
        }
        if !tasks.is_empty() {
            // Somebody waits for them, and not for the tables.
            self.publish()?;
        }
        if !alerts.is_empty() {
            let rows = alerting::rows(&alerts).map_err(|error| RunError::State("write", error.into()))?;
            self.store.append("alerts", "at", &rows)?;
        }
        for rows in &scores {
            self.scores(rows)?;
        }
        for rows in &tasks {
            self.store.append("tasks", "at", rows)?;
        }
        Ok(self.store(&facts, &rows)?)
    }

    /// Stores scores, and apart from them the features that were served.
    fn scores(&mut self, rows: &RecordBatch) -> Result<(), RunError> {
        if let Some(publisher) = &mut self.publisher {
            publisher.scores(rows);
        }
        let unfit = |error: ArrowError| RunError::State("write", error.into());
        let width = SCORE_COLUMNS.len();
        let score: Vec<usize> = (0..width).collect();
        // Customer, time, model, role and version are of both.
        let served: Vec<usize> = (0..5).chain(width..rows.num_columns()).collect();
        self.store.append("scores", "at", &rows.project(&score).map_err(unfit)?)?;
        self.store.append("served", "at", &rows.project(&served).map_err(unfit)?)?;
        Ok(())
    }

    fn store(&mut self, facts: &[(Table, RecordBatch)], rows: &[(usize, KpiRows)]) -> Result<(), StoreError> {
        for (table, rows) in facts {
            self.store.append(&format!("facts/{}", table.name()), table.event_time(), rows)?;
        }
        for (place, rows) in rows {
            self.store.append(&rows::folder(&self.kpis[*place]), "window_start", rows.batch())?;
        }
        Ok(())
    }

    fn quarantined(&mut self, partition: &str, records: &[Quarantined]) -> Result<(), StoreError> {
        let Self { store, board, publisher, .. } = self;
        if let Some(publisher) = publisher {
            publisher.quarantined(partition, records);
        }
        for record in records {
            *self.quarantined.entry(record.reason.name().to_owned()).or_default() += 1;
        }
        let times = records.iter().map(|record| record.appended_at_ms.saturating_mul(1_000));
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("known_at", Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))),
            ("partition", Arc::new(StringArray::from(vec![partition; records.len()]))),
            (
                "offset",
                Arc::new(Int64Array::from_iter_values(records.iter().map(|record| record.offset as i64))),
            ),
            (
                "reason",
                Arc::new(StringArray::from_iter_values(records.iter().map(|record| record.reason.name()))),
            ),
            (
                "detail",
                Arc::new(StringArray::from_iter_values(records.iter().map(|record| record.detail.as_str()))),
            ),
            (
                "bytes",
                Arc::new(BinaryArray::from_iter_values(records.iter().map(|record| record.bytes.as_slice()))),
            ),
        ];
        if let Ok(batch) = RecordBatch::try_from_iter(columns) {
            store.append("quarantine", "known_at", &batch)?;
        }
        board.update(|state| {
            for record in records {
                *state.quarantined.entry(record.reason.name()).or_default() += 1;
            }
        });
        Ok(())
    }
}
