//! Puts the partial aggregates of all shares of the events into windows.
//!
//! Every share tells how far it has got. At a tick that all of them have passed, the windows
//! take in the partials of all shares, and show what they would have shown if one process had
//! seen all events: the same rows, with the same revisions.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use headsup_operators::{Output, Windows, WindowsError, is_time, pack, unpack};
use serde::{Deserialize, Serialize};

use crate::definition::Kpi;
use crate::engine::KpiWindows;
use crate::ticks::tick_of;

/// What a share says on topic `partials`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareRecord {
    /// Which share.
    pub share: Share,
    /// How many times the share has been computed from the beginning.
    pub generation: u64,
    /// What it is computed by: a hash of the KPIs' texts and of the configuration. Only what
    /// is computed alike can be merged.
    pub definitions: u64,
    /// What it says.
    pub what: ShareSays,
}

/// A share of the input: the partitions of each input topic that one process reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Share {
    /// The first partition.
    pub first: u32,
    /// The partition after the last.
    pub end: u32,
    /// How many partitions there are.
    pub of: u32,
}

/// See [`ShareRecord`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShareSays {
    /// Partial aggregates of one KPI at one tick; or a part of them, if they are many.
    Partials {
        /// The KPI's name.
        kpi: String,
        /// The tick in ms.
        tick_ms: i64,
        /// Which part, from 0.
        part: u32,
        /// One batch of [`crate::KpiPartials`], as an Arrow IPC stream.
        batch: Vec<u8>,
    },
    /// All ticks up to this time, in ms, have been given out.
    Done(i64),
}

/// The version of [`ShareRecord`]'s bytes, their first byte.
const VERSION: u8 = 1;

impl ShareRecord {
    /// The record's bytes.
    ///
    /// # Errors
    /// None that is known.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WindowsError> {
        Ok(postcard::to_extend(self, vec![VERSION])?)
    }

    /// The record of these bytes; `None` if they are of something else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&VERSION, rest) => postcard::from_bytes(rest).ok(),
            _ => None,
        }
    }
}

/// Tick, KPI, share and part of partial aggregates.
type Place = (i64, usize, Share, u32);

/// The windows of all KPIs over all shares.
#[derive(Debug)]
pub struct Merge {
    definitions: u64,
    windows: Vec<KpiWindows>,
    shares: BTreeMap<Share, Progress>,
    /// Shares of an earlier division of the partitions.
    former: BTreeSet<Share>,
    waiting: BTreeMap<Place, RecordBatch>,
}

/// How far a share has got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// How many times it has been computed from the beginning.
    pub generation: u64,
    /// All ticks up to this time, in ms, have been given out.
    pub done_ms: Option<i64>,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merged {
    /// It is going to be in the windows.
    Applied,
    /// It was there before: a share says again what it said before it was stopped.
    Duplicate,
    /// It is of other definitions or of an earlier generation.
    Ignored,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    windows: Vec<Vec<u8>>,
    shares: Vec<(Share, Progress)>,
    former: BTreeSet<Share>,
    waiting: Vec<(Place, Vec<u8>)>,
}

impl Merge {
    /// Windows that have seen nothing. `definitions` is that of the records to merge.
    pub fn new(kpis: &[Arc<Kpi>], definitions: u64) -> Self {
        Self {
            definitions,
            windows: kpis.iter().cloned().map(KpiWindows::new).collect(),
            shares: BTreeMap::new(),
            former: BTreeSet::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// The records that are going to come, each with when the log took it in. Of a share that has
    /// been computed anew only the last generation counts, and of shares that overlap those
    /// that have spoken last: the partitions have been divided anew.
    pub fn expect(&mut self, records: impl Iterator<Item = (i64, ShareRecord)>) {
        let mut said: BTreeMap<Share, (i64, u64)> = BTreeMap::new();
        for (at_ms, record) in records.filter(|(_, record)| record.definitions == self.definitions) {
            let (last_ms, generation) = said.entry(record.share).or_insert((at_ms, record.generation));
            *last_ms = at_ms.max(*last_ms);
            *generation = record.generation.max(*generation);
        }
        let mut said: Vec<_> = said.into_iter().collect();
        said.sort_by_key(|(share, (last_ms, _))| (std::cmp::Reverse(*last_ms), share.clone()));
        for (share, (_, generation)) in said {
            if self.shares.keys().any(|other| other.clashes(&share)) {
                self.former.insert(share);
            } else {
                self.shares.insert(share, Progress { generation, done_ms: None });
            }
        }
    }

    /// Takes in a record.
    ///
    /// # Errors
    /// A record that contradicts others: of a KPI that is not known, of a share that overlaps
    /// another, or of a share that has been computed anew after it was taken in.
    pub fn push(&mut self, record: ShareRecord) -> Result<Merged, WindowsError> {
        let ShareRecord { share, generation, definitions, what } = record;
        if definitions != self.definitions || self.former.contains(&share) {
            return Ok(Merged::Ignored);
        }
        if share.first >= share.end || share.end > share.of {
            return Err("a share of no partitions".into());
        }
        if let Some(other) = self.shares.keys().find(|other| **other != share && other.clashes(&share)) {
            return Err(format!("share {share} overlaps share {other}; if the partitions have been divided anew, merge again with --from-start").into());
        }
        let new = Progress { generation, done_ms: None };
        let progress = self.shares.entry(share.clone()).or_insert(new);
        if generation < progress.generation {
            return Ok(Merged::Ignored);
        }
        if generation > progress.generation {
            return Err(format!(
                "share {share} has been computed anew (generation {generation} after {}); merge again with --from-start",
                progress.generation
            )
            .into());
        }
        let done_ms = &mut progress.done_ms;
        match what {
            ShareSays::Done(ms) if done_ms.is_none_or(|done| ms > done) => *done_ms = Some(ms),
            ShareSays::Done(_) => return Ok(Merged::Duplicate),
            // A share is a function of the log, so what it says of a tick is always the same.
            ShareSays::Partials { tick_ms, .. } if done_ms.is_some_and(|done| tick_ms <= done) => {
                return Ok(Merged::Duplicate);
            }
            ShareSays::Partials { kpi, tick_ms, part, batch } => {
                let place = self.windows.iter().position(|windows| windows.kpi().name == kpi);
                let place = place.ok_or_else(|| format!("there is no KPI {kpi}"))?;
                let [batch] = <[RecordBatch; 1]>::try_from(unpack(&batch)?)
                    .map_err(|_| "partial aggregates are one batch")?;
                if tick_of(&batch) != Some(tick_ms) || !is_time(tick_ms) {
                    return Err("partial aggregates of another tick than stated".into());
                }
                if self.waiting.insert((tick_ms, place, share, part), batch).is_some() {
                    return Ok(Merged::Duplicate);
                }
            }
        }
        Ok(Merged::Applied)
    }

    /// Up to which time, in ms, all shares have told all. `None` while shares are missing;
    /// `i64::MAX` at the end of all.
    pub fn watermark_ms(&self) -> Option<i64> {
        let mut covered = 0;
        // They are in the order of their partitions and do not overlap.
        for share in self.shares.keys() {
            if share.first != covered {
                return None;
            }
            covered = share.end;
        }
        let all = self.shares.keys().next().is_some_and(|share| share.of == covered);
        if all { self.shares.values().map(|progress| progress.done_ms).min().flatten() } else { None }
    }

    /// The partitions that no share has told anything of up to a time, so that nothing can be
    /// merged. Without any share there are `partitions`.
    pub fn missing(&self, partitions: u32) -> Vec<Range<u32>> {
        let of = self.shares.keys().next().map_or(partitions, |share| share.of);
        let (mut missing, mut next) = (Vec::new(), 0);
        // They are in the order of their partitions and do not overlap.
        for (share, _) in self.shares.iter().filter(|(_, progress)| progress.done_ms.is_some()) {
            missing.push(next..share.first);
            next = share.end;
        }
        missing.push(next..of);
        missing.retain(|range| !range.is_empty());
        missing
    }

    /// The shares, and how far each has got.
    pub fn shares(&self) -> &BTreeMap<Share, Progress> {
        &self.shares
    }

    /// Shows all that is due.
    ///
    /// # Errors
    /// A KPI's expression that cannot be evaluated.
    pub fn advance(&mut self) -> Result<Output, WindowsError> {
        let mut output = Output::default();
        let Some(safe_ms) = self.watermark_ms() else {
            return Ok(output);
        };
        loop {
            let partials = self.waiting.first_key_value().map(|((tick_ms, ..), _)| *tick_ms);
            let windows = self.windows.iter().filter_map(Windows::next_tick_ms).min();
            let Some(now_ms) = partials.into_iter().chain(windows).min().filter(|&at| at <= safe_ms) else {
                return Ok(output);
            };
            while let Some(entry) = self.waiting.first_entry()
                && entry.key().0 == now_ms
            {
                let ((_, place, ..), batch) = entry.remove_entry();
                self.windows[place].absorb_partials(now_ms, &batch)?;
            }
            let mut rows = Vec::new();
            for (place, windows) in self.windows.iter_mut().enumerate() {
                windows.tick(now_ms, &mut rows)?;
                output.rows.extend(rows.drain(..).map(|batch| (place, batch)));
            }
        }
    }

    /// How many times facts came for windows that were all final, by KPI.
    pub fn refused(&self) -> impl Iterator<Item = (&str, u64)> {
        self.windows.iter().map(|windows| (windows.name(), windows.refused()))
    }

    /// How many batches of partial aggregates wait for other shares.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The state, for a checkpoint.
    ///
    /// # Errors
    /// A state that cannot be packed.
    pub fn save(&self) -> Result<Vec<u8>, WindowsError> {
        let waiting =
            |(key, batch): (&Place, &RecordBatch)| Ok((key.clone(), pack(std::slice::from_ref(batch))?));
        let saved = Saved {
            windows: self.windows.iter().map(|windows| windows.save().pack()).collect::<Result<_, _>>()?,
            shares: self.shares.iter().map(|(share, progress)| (share.clone(), *progress)).collect(),
            former: self.former.clone(),
            waiting: self.waiting.iter().map(waiting).collect::<Result<_, WindowsError>>()?,
        };
        Ok(postcard::to_stdvec(&saved)?)
    }

    /// Goes on from what [`Merge::save`] of the same KPIs has saved.
    ///
    /// # Errors
    /// Bytes of something else. It is not to be used then.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), WindowsError> {
        let saved: Saved = postcard::from_bytes(bytes)?;
        if saved.windows.len() != self.windows.len() {
            return Err("a state of other KPIs".into());
        }
        for (windows, saved) in self.windows.iter_mut().zip(&saved.windows) {
            windows.restore(saved)?;
        }
        self.shares = saved.shares.into_iter().collect();
        self.former = saved.former;
        self.waiting = BTreeMap::new();
        for (key, batch) in saved.waiting {
            let [batch] = <[RecordBatch; 1]>::try_from(unpack(&batch)?)
                .map_err(|_| "a state with other partial aggregates")?;
            if key.1 >= self.windows.len() {
                return Err("a state of other KPIs".into());
            }
            self.waiting.insert(key, batch);
        }
        Ok(())
    }
}

impl Share {
    /// Whether a partition is in both.
    fn clashes(&self, other: &Self) -> bool {
        self.of != other.of || (self.first < other.end && other.first < self.end)
    }
}

impl std::fmt::Display for Share {
    /// `0-3 of 8`: first and last partition.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{} of {}", self.first, self.end.saturating_sub(1), self.of)
    }
}
