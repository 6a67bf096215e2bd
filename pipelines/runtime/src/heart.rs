//! Heartbeats: events that let time pass in partitions that have gone quiet.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headsup_connectors::{EventLog, LogError, Reader, Record};
use headsup_events::format_rfc3339_ms;
use headsup_kpi::{ShareRecord, ShareSays};

use crate::core::{Core, Role};
use crate::run::Source;
use crate::topics::PARTIALS;

/// Writes heartbeats into partitions of the log that have gone quiet, so that they do not hold
/// back time. Being in the log, they are the same in a replay.
pub(crate) struct Heart {
    log: Arc<dyn EventLog>,
    every: Duration,
    last: Instant,
    /// The largest event time at the last look: what is in flight since then is not overtaken.
    latest_ms: Option<i64>,
    count: u64,
    others: Option<Others>,
}

/// How far the other shares have got: a share all of whose partitions are quiet learns the time
/// from them.
struct Others {
    readers: Vec<Box<dyn Reader>>,
    done_ms: Option<i64>,
}

impl Heart {
    /// `None` for runs without heartbeats: over files, and those that merge shares.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn new(
        log: Option<&Arc<dyn EventLog>>,
        role: &Role,
        every_ms: i64,
    ) -> Result<Option<Self>, LogError> {
        let (Some(log), false) = (log, *role == Role::Merge) else {
            return Ok(None);
        };
        let mut others = None;
        if let Role::Share(share) = role {
            let ends = log.topics()?.into_iter().find(|topic| topic.name == PARTIALS);
            let ends = ends.map(|topic| topic.end_offsets).unwrap_or_default();
            let reader = |(partition, &end): (usize, &u64)| {
                // The last record of a share may well be all that it says for a while.
                log.reader(PARTIALS, partition as u32, end.saturating_sub(1))
            };
            let of_others = |(partition, _): &(usize, &u64)| *partition as u32 != share.first;
            let readers = ends.iter().enumerate().filter(of_others).map(reader).collect::<Result<_, _>>()?;
            others = Some(Others { readers, done_ms: None });
        }
        Ok(Some(Self {
            log: log.clone(),
            every: Duration::from_millis(every_ms as u64),
            last: Instant::now(),
            latest_ms: None,
            count: 0,
            others,
        }))
    }

    /// Writes them where they are due.
    ///
    /// # Errors
    /// The log takes nothing.
    pub fn beat(&mut self, core: &Core, sources: &[Source]) -> Result<(), LogError> {
        let elapsed = self.last.elapsed();
        if elapsed < self.every {
            return Ok(());
        }
        self.last = Instant::now();
        // Who has stood still for so long may find that much has come.
        let quiet = |source: &Source| source.has_nothing() && source.quiet_since.elapsed() >= self.every;
        let all_quiet = sources.iter().all(quiet);
        let mut others_ms = None;
        if let Some(others) = &mut self.others {
            others_ms = others.look(all_quiet)?;
        }
        let ours_ms = core.latest_ms();
        let before = std::mem::replace(&mut self.latest_ms, ours_ms.max(others_ms));
        let (Some(before), Some(now)) = (before, self.latest_ms) else {
            return Ok(());
        };
        let target = match all_quiet {
            // Event time goes on as fast as the clock; where others are ahead they see to that.
            true if ours_ms >= others_ms => now.saturating_add(elapsed.as_millis() as i64),
            true => now,
            false => before,
        };
        for (place, source) in sources.iter().enumerate() {
            let Some((topic, partition)) = &source.place else { continue };
            let ahead = core.latest_ms_of(place).is_some_and(|latest| latest >= target);
            if source.ended || !quiet(source) || ahead {
                continue;
            }
            self.count += 1;
            let event = format!(
                r#"{{"specversion":"1.0","id":"{}-{}","source":"/headsup/{topic}/{partition}","type":"headsup.heartbeat","time":"{}"}}"#,
                target,
                self.count,
                format_rfc3339_ms(target),
            );
            self.log.append_to(topic, *partition, &[Record { key: b"", value: event.as_bytes() }])?;
        }
        Ok(())
    }
}

impl Others {
    /// The time of the share that is furthest, in ms. Only a share that is quiet has the time to
    /// look.
    fn look(&mut self, quiet: bool) -> Result<Option<i64>, LogError> {
        if !quiet {
            return Ok(None);
        }
        for reader in &mut self.readers {
            while let Some(chunk) = reader.next(Duration::ZERO)? {
                for index in 0..chunk.spans.len() {
                    let record = ShareRecord::from_bytes(chunk.record(index));
                    if let Some(ShareRecord { what: ShareSays::Done(ms), .. }) = record
                        && ms < i64::MAX
                    {
                        self.done_ms = self.done_ms.max(Some(ms));
                    }
                }
            }
        }
        Ok(self.done_ms)
    }
}
