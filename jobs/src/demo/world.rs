//! The simulated shop of the demo, written into the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use headsup_connectors::{EventLog, Record};
use headsup_events::format_rfc3339_ms;
use headsup_runtime::Board;
use headsup_sources::SourceEvent;
#[cfg(feature = "train")]
use headsup_sources::simulate;
use headsup_sources::simulate::Simulator;

use crate::Failure;
use crate::import::Appender;
use crate::run::TOPICS;

/// The shop, as far as it has been played.
pub struct World<'l> {
    simulator: Simulator,
    log: &'l dyn EventLog,
    appender: Appender<'l>,
    board: Arc<Board>,
    stop: Arc<AtomicBool>,
    /// Comes later than what has been played.
    next: Option<SourceEvent>,
    /// Up to when it has been played, in ms.
    pub now_ms: i64,
}

impl<'l> World<'l> {
    pub fn new(
        simulator: Simulator,
        log: &'l dyn EventLog,
        board: Arc<Board>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let now_ms = simulator.now_ms();
        Self { simulator, log, appender: Appender::new(log), board, stop, next: None, now_ms }
    }

    /// Whether somebody wants it to stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Writes what happens before a time, and in every partition that it is that time: nothing that is quiet holds back
    /// the others.
    pub fn play_until(&mut self, until_ms: i64) -> Result<(), Failure> {
        while let Some(event) = self.next.take().or_else(|| self.simulator.next()) {
            if event.time_ms >= until_ms {
                self.next = Some(event);
                break;
            }
            self.appender.push(event)?;
            if self.is_stopped() {
                break;
            }
        }
        self.appender.flush()?;
        if until_ms > self.now_ms {
            self.now_ms = until_ms;
            self.beat()?;
        }
        Ok(())
    }

    /// The same at so many times the speed at which it passed; `each` is called now and then.
    pub fn play_at(
        &mut self,
        speed: f64,
        until_ms: i64,
        mut each: impl FnMut(&mut Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (from_ms, began) = (self.now_ms, Instant::now());
        while self.now_ms < until_ms && !self.is_stopped() {
            std::thread::sleep(STEP);
            let now_ms = from_ms + (began.elapsed().as_secs_f64() * speed * 1e3) as i64;
            self.play_until(now_ms.min(until_ms))?;
            each(self)?;
        }
        Ok(())
    }

    /// Says in every partition what time it is.
    fn beat(&self) -> Result<(), Failure> {
        for topic in self.log.topics().map_err(Failure::from_error)? {
            for partition in 0..topic.end_offsets.len() as u32 {
                if !TOPICS.contains(&topic.name.as_str()) {
                    continue;
                }
                let event = format!(
                    r#"{{"specversion":"1.0","id":"{}","source":"/demo/{}/{partition}","type":"headsup.heartbeat","time":"{}"}}"#,
                    self.now_ms,
                    topic.name,
                    format_rfc3339_ms(self.now_ms),
                );
                let record = Record { key: b"", value: event.as_bytes() };
                self.log.append_to(&topic.name, partition, &[record]).map_err(Failure::from_error)?;
            }
        }
        Ok(())
    }

    /// Waits until the run knows all that was played, but for what may come out of order. `each` is told how far it is,
    /// in ms.
    pub fn wait(&self, disorder_ms: i64, mut each: impl FnMut(i64)) {
        while !self.is_stopped() {
            let watermark_ms = self.board.read(|state| state.watermark_ms).unwrap_or(0);
            if watermark_ms >= self.now_ms - disorder_ms {
                return;
            }
            each(watermark_ms);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// An agent has got hold of a customer.
    #[cfg(feature = "train")]
    pub fn contact(&mut self, customer_id: &str) {
        self.simulator.apply_treatment(customer_id, self.now_ms, simulate::Treatment::Contact);
    }
}

/// Many small appends would be mostly waiting for the disk.
const STEP: Duration = Duration::from_millis(100);
