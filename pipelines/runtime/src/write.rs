//! The writing thread: tables, the board, checkpoints.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use crossbeam_channel::Receiver;
use headsup_connectors::{Checkpoints, Store, StoreError};
use headsup_events::Quarantined;
use headsup_kpi::Kpi;
use headsup_operators::Output;

use crate::board::Board;
use crate::resume::{Checkpoint, FORMAT, Snapshot};
use crate::run::RunError;

/// What there is to write.
pub(crate) enum Write {
    Output(Output),
    /// What came before is to be completed, and then this, if there is one.
    Flush(Option<Snapshot>),
    Quarantined(String, Vec<Quarantined>),
}

pub(crate) type Written = Result<(Vec<(String, u64)>, Duration), RunError>;

/// What the writing thread has.
pub(crate) struct Writer {
    pub store: Store,
    pub checkpoints: Checkpoints,
    pub definitions: BTreeMap<String, String>,
    /// Records set aside so far, by reason.
    pub quarantined: BTreeMap<String, u64>,
    pub kpis: Vec<Arc<Kpi>>,
    pub board: Arc<Board>,
}

impl Writer {
    pub(crate) fn run(mut self, receiver: &Receiver<Write>) -> Written {
        let mut writing = Duration::ZERO;
        while let Ok(message) = receiver.recv() {
            let started = Instant::now();
            let result = match message {
                Write::Output(output) => self.output(output).map_err(RunError::from),
                Write::Quarantined(name, records) => {
                    self.quarantined(&name, &records).map_err(RunError::from)
                }
                Write::Flush(snapshot) => self.flush(snapshot),
            };
            if let Err(error) = result {
                self.board.update(|state| state.failure = Some(error.to_string()));
                return Err(error);
            }
            writing += started.elapsed();
        }
        let started = Instant::now();
        self.store.flush()?;
        writing += started.elapsed();
        Ok((self.store.rows().clone().into_iter().collect(), writing))
    }

    fn flush(&mut self, snapshot: Option<Snapshot>) -> Result<(), RunError> {
        self.store.flush()?;
        let Some(snapshot) = snapshot else {
            return Ok(());
        };
        let checkpoint = Checkpoint {
            definitions: self.definitions.clone(),
            snapshot,
            next_file: self.store.next(),
            rows: self.store.rows().clone(),
            quarantined: self.quarantined.clone(),
        };
        let contents =
            postcard::to_stdvec(&checkpoint).map_err(|error| RunError::State("pack", error.into()))?;
        self.checkpoints.write(FORMAT, &contents)?;
        self.board.update(|state| {
            state.checkpoints += 1;
            state.checkpoint_bytes = contents.len() as u64;
        });
        Ok(())
    }

    fn output(&mut self, output: Output) -> Result<(), StoreError> {
        let Self { store, kpis, board, .. } = self;
        for (table, rows) in &output.facts {
            store.append(&format!("facts/{}", table.name()), table.event_time(), rows)?;
        }
        for (place, rows) in &output.rows {
            store.append(&format!("kpi_history/{}", kpis[*place].name), "window_start", rows)?;
        }
        board.update(|state| {
            for (table, rows) in &output.facts {
                *state.facts.entry(table.name()).or_default() += rows.num_rows() as u64;
            }
            for (place, rows) in &output.rows {
                if let Some(kpi) = state.kpis.get_mut(*place) {
                    kpi.absorb(rows);
                }
            }
        });
        Ok(())
    }

    fn quarantined(&mut self, partition: &str, records: &[Quarantined]) -> Result<(), StoreError> {
        let Self { store, board, .. } = self;
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
