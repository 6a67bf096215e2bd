//! Reading one partition: the batches that the server sends, checked to be without gaps.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use arrow::buffer::Buffer;
use fluvio::Isolation;
use fluvio_future::{task::run_block_on, timer::sleep};
use fluvio_protocol::{
    link::ErrorCode,
    record::{Batch, RawRecords},
};
use fluvio_spu_schema::server::stream_fetch::DefaultStreamFetchRequest;
use headsup_connectors::{Chunk, LogError, Reader};

use crate::batch;
use crate::cluster::{Backoff, Cluster, Trouble, passing, tried_for, within};
use crate::connection::Fetch;

/// The header of a batch fits, so that something comes of every fetch.
const FETCH_BYTES_MIN: u32 = 64;

/// How much a fetch may grow to, when a batch does not fit.
const FETCH_BYTES_MAX: u32 = 1 << 30;

/// How often a stream is opened again at the same offset, with twice the bytes if the last ones did
/// not do, before the records there are given up as missing.
const REOPENINGS_MAX: u32 = 24;

/// How often the end of the log is asked for while nothing comes.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(crate) struct FluvioReader {
    cluster: Arc<Cluster>,
    topic: String,
    partition: u32,
    /// Where the caller began.
    from: u64,
    /// Offset of the next record that is handed out.
    next: u64,
    open: Option<Open>,
    /// What is asked of the server at once.
    fetch_bytes: u32,
    /// How often the stream was opened at `next` without a record coming.
    reopened: u32,
    /// The end of the log, when last seen, and when that was.
    end: u64,
    end_seen: Option<Instant>,
    /// When the cluster was last heard of, while there is trouble with it.
    trouble: Option<Instant>,
    pause: Backoff,
}

/// What the server sends.
struct Open {
    fetch: Fetch,
    /// The last answer: its batches, and then whether there was anything wrong.
    answer: VecDeque<Result<Batch<RawRecords>, ErrorCode>>,
}

impl Reader for FluvioReader {
    fn next(&mut self, wait: Duration) -> Result<Option<Chunk>, LogError> {
        // Without a deadline the wait is as good as for ever.
        let deadline = Instant::now().checked_add(wait);
        run_block_on(async {
            loop {
                match self.step(deadline).await {
                    Ok(Step::Chunk(chunk)) => return Ok(Some(chunk)),
                    Ok(Step::Nothing) => return Ok(None),
                    Ok(Step::Again) => {}
                    Err(Trouble::Final(error)) => return Err(error),
                    Err(Trouble::Passing(problem)) => {
                        if self.lost(&problem, deadline).await? {
                            return Ok(None);
                        }
                    }
                }
            }
        })
    }

    fn end_offset(&self) -> Result<u64, LogError> {
        let offsets = run_block_on(self.cluster.offsets(&self.topic, self.partition));
        offsets.map(|offsets| offsets.end).map_err(|trouble| match trouble {
            Trouble::Final(error) => error,
            Trouble::Passing(problem) => self
                .cluster
                .error(format!("ask where topic {} partition {} ends", self.topic, self.partition), problem),
        })
    }
}

enum Step {
    Chunk(Chunk),
    /// There was nothing within the caller's wait.
    Nothing,
    Again,
}

impl FluvioReader {
    pub fn new(cluster: Arc<Cluster>, topic: &str, partition: u32, from_offset: u64) -> Self {
        let fetch_bytes = cluster.options.fetch_bytes.clamp(FETCH_BYTES_MIN, FETCH_BYTES_MAX);
        Self {
            cluster,
            topic: topic.to_owned(),
            partition,
            from: from_offset,
            next: from_offset,
            open: None,
            fetch_bytes,
            reopened: 0,
            end: 0,
            end_seen: None,
            trouble: None,
            pause: Backoff::default(),
        }
    }

    async fn step(&mut self, deadline: Option<Instant>) -> Result<Step, Trouble> {
        let Some(open) = &mut self.open else {
            if self.open().await? {
                return Ok(Step::Again);
            }
            // The log has not got there yet.
            sleep(left(deadline).min(LOOK_EVERY)).await;
            return Ok(if left(deadline).is_zero() { Step::Nothing } else { Step::Again });
        };
        match open.answer.pop_front() {
            Some(Ok(batch)) => {
                return self.take(&batch).map(|chunk| chunk.map_or(Step::Again, Step::Chunk));
            }
            Some(Err(code)) => return self.failed(code),
            None => {}
        }
        // Records that are known to be there are waited for even if the caller does not want to
        // wait: it asked for what there is.
        let is_behind = self.next < self.end;
        let limit =
            if is_behind { self.cluster.options.request_timeout } else { left(deadline).min(LOOK_EVERY) };
        match within(limit, open.fetch.next()).await {
            Some(Some(Ok(answer))) => {
                let code = answer.error_code;
                open.answer = answer.records.batches.into_iter().map(Ok).collect();
                open.answer.extend((code != ErrorCode::None).then_some(Err(code)));
                Ok(Step::Again)
            }
            Some(Some(Err(error))) => Err(passing(error)),
            Some(None) => Err(Trouble::Passing("the connection was closed".into())),
            None if is_behind => {
                let why = format!("the log ends at {} but nothing came within {limit:?}", self.end);
                self.open_again(&why, false)
            }
            None => {
                if self.end_seen.is_none_or(|seen| seen.elapsed() >= LOOK_EVERY) {
                    self.see_end().await?;
                    if self.next < self.end {
                        return Ok(Step::Again);
                    }
                }
                Ok(if left(deadline).is_zero() { Step::Nothing } else { Step::Again })
            }
        }
    }

    /// Opens the stream at `next`; `false` if the log does not reach that far.
    async fn open(&mut self) -> Result<bool, Trouble> {
        let begin = self.see_end().await?;
        if self.next < begin {
            return Err(Trouble::Final(self.missing(format!(
                "the partition begins at {begin}, what was before is removed by the topic's retention; \
                 read on from there, or restore the records"
            ))));
        }
        if self.next > self.end && self.next > self.from {
            // A new leader may not know yet how far it goes. If it stays so, what is appended from
            // now on must not be taken for what comes next.
            let Self { next, end, .. } = self;
            return Err(Trouble::Passing(format!(
                "the log ends at {end}, although it has been read up to {next}: the cluster has lost records"
            )));
        }
        if self.next > self.end {
            return Ok(false);
        }
        let server = Arc::new(self.cluster.connect(&self.topic, self.partition).await?);
        let request = DefaultStreamFetchRequest::builder()
            .topic(self.topic.clone())
            .partition(self.partition)
            .fetch_offset(i64::try_from(self.next).map_err(passing)?)
            .max_bytes(self.fetch_bytes as i32)
            .isolation(Isolation::ReadCommitted)
            .build()
            .map_err(passing)?;
        let opened = self
            .cluster
            .in_time("open the stream", async { Fetch::begin(server, request).await.map_err(passing) });
        self.open = Some(Open { fetch: opened.await?, answer: VecDeque::new() });
        self.trouble = None;
        self.pause = Backoff::default();
        Ok(true)
    }

    /// Asks where the partition ends; returns where it begins.
    async fn see_end(&mut self) -> Result<u64, Trouble> {
        let offsets = self.cluster.offsets(&self.topic, self.partition).await?;
        self.end = offsets.end;
        self.end_seen = Some(Instant::now());
        Ok(offsets.begin)
    }

    /// The records of a batch from `next` on, if any.
    fn take(&mut self, batch: &Batch<RawRecords>) -> Result<Option<Chunk>, Trouble> {
        let first = batch.get_base_offset().max(0) as u64;
        if first > self.next {
            return self.open_again(&format!("the next record that came is {first}"), true).map(|_| None);
        }
        let records = match batch::unpack(batch, self.next - first) {
            Ok(records) => records,
            // Also what comes of a compressed batch that is cut.
            Err(problem) => return self.open_again(&problem, true).map(|_| None),
        };
        if records.spans.is_empty() {
            if records.is_cut {
                let (declared, skipped) = (batch.records_len(), records.skipped);
                let why = format!("of the batch at {first} with {declared} records {skipped} came");
                self.open_again(&why, true)?;
            }
            return Ok(None);
        }
        let first_offset = self.next;
        self.next += records.spans.len() as u64;
        self.reopened = 0;
        if records.is_cut {
            // What is here is good; the rest of the batch would not come.
            self.count_gap();
        }
        Ok(Some(Chunk {
            first_offset,
            appended_at_ms: batch.header.max_time_stamp.max(batch.header.first_timestamp).max(0),
            bytes: Buffer::from_vec(records.bytes),
            spans: records.spans,
            oversized: Vec::new(),
        }))
    }

    fn count_gap(&mut self) {
        self.open = None;
        self.cluster.gaps.fetch_add(1, Ordering::Relaxed);
    }

    /// Opens the stream again at `next`, because what comes there did not come.
    fn open_again(&mut self, why: &str, with_more: bool) -> Result<Step, Trouble> {
        self.count_gap();
        if self.reopened >= REOPENINGS_MAX {
            self.reopened = 0;
            return Err(Trouble::Final(self.missing(format!(
                "{why}, and opening the stream {REOPENINGS_MAX} times again, at last for {} bytes at once, \
                 did not help; look at the cluster, or read on from a later offset",
                self.fetch_bytes
            ))));
        }
        self.reopened += 1;
        if with_more {
            self.fetch_bytes = self.fetch_bytes.saturating_mul(2).min(FETCH_BYTES_MAX);
        }
        Ok(Step::Again)
    }

    /// What the server says.
    fn failed(&mut self, code: ErrorCode) -> Result<Step, Trouble> {
        match code {
            ErrorCode::OffsetEvicted { next_available, .. } => {
                self.open = None;
                Err(Trouble::Final(self.missing(format!(
                    "the partition begins at {next_available}, what was before is removed by the topic's \
                     retention; read on from there, or restore the records"
                ))))
            }
            ErrorCode::Other(why) => self.open_again(&why, true),
            code => Err(Trouble::Passing(code.to_string())),
        }
    }

    /// The connection is of no use any more: pauses, within the caller's wait. Whether that is
    /// over.
    async fn lost(&mut self, problem: &str, deadline: Option<Instant>) -> Result<bool, LogError> {
        if self.open.take().is_some() {
            self.cluster.reconnects.fetch_add(1, Ordering::Relaxed);
        }
        self.cluster.forget();
        let patience = self.cluster.options.patience;
        if self.trouble.get_or_insert_with(Instant::now).elapsed() > patience {
            self.trouble = None;
            let attempt =
                format!("read topic {} partition {} at offset {}", self.topic, self.partition, self.next);
            return Err(self.cluster.error(attempt, tried_for(patience, problem)));
        }
        sleep(self.pause.next().min(left(deadline))).await;
        Ok(left(deadline).is_zero())
    }

    fn missing(&self, problem: String) -> LogError {
        LogError::Missing { topic: self.topic.clone(), partition: self.partition, offset: self.next, problem }
    }
}

/// What is left of the caller's wait.
fn left(deadline: Option<Instant>) -> Duration {
    deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()))
}
