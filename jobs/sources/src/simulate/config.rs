//! What the simulator can be told.

use jiff::{SpanRelativeTo, Timestamp};
use serde::Deserialize;

use super::catalogue::{CARRIERS, SKILLS, SKU_COUNT};
use super::incidents::SLOWER;

/// Milliseconds of a second, minute, hour and day.
pub(super) const SECOND_MS: i64 = 1_000;
pub(super) const MINUTE_MS: i64 = 60 * SECOND_MS;
pub(super) const HOUR_MS: i64 = 60 * MINUTE_MS;
pub(super) const DAY_MS: i64 = 24 * HOUR_MS;

/// The world to simulate. Every key has a default; unknown keys are refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Same seed and same other keys, same bytes.
    pub seed: u64,
    /// First instant, RFC 3339. The clock of the time stamp is the shop's clock: days begin at
    /// this instant's time of day.
    pub start: String,
    /// Length in days.
    pub days: u32,
    /// Customers at any time. Who leaves is replaced by somebody new within some weeks.
    pub customers: u32,
    /// Names of the shops, the biggest first: each next one has half the customers.
    pub shops: Vec<String>,
    /// Agents on the roster; 0 takes as many as keep them about 75 % busy.
    pub agents: u32,
    /// Multiplies how often customers come to buy (and so, orders and contacts). 1 = 0.18 visits per
    /// customer and day.
    pub rate_scale: f64,
    /// What goes wrong, and when.
    pub incidents: Vec<Incident>,
    /// Whether messages carry a text (short, Chinese).
    pub texts: bool,
    /// Begin with the orders of the weeks before under way, as in a shop that was there before.
    /// Events of before `start` are not emitted. `false` begins with an empty shop.
    pub warm_start: bool,
    /// Emit in the order of `recordedtime` and let an event come up to this many milliseconds
    /// behind a later one. 0 emits in the order of event time.
    pub disorder_ms: u32,
    /// Share of events emitted twice with the same id, in 0..=1.
    pub duplicate_rate: f64,
    /// Whether to keep the ground truth. It grows until `take_truth` is called.
    pub truth: bool,
    /// Keep the rows of customers and open orders of each n-th midnight, in days.
    pub truth_every_days: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 1,
            start: "2026-03-02T00:00:00Z".into(),
            days: 7,
            customers: 40_000,
            shops: vec!["shop-1".into(), "shop-2".into(), "shop-3".into()],
            agents: 0,
            rate_scale: 1.0,
            incidents: Vec::new(),
            texts: true,
            warm_start: true,
            disorder_ms: 0,
            duplicate_rate: 0.0,
            truth: true,
            truth_every_days: 1,
        }
    }
}

/// Something that goes wrong for a while.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incident {
    /// What goes wrong.
    pub kind: IncidentKind,
    /// When it begins: RFC 3339, or a duration after the start (`34h`, `1d 10h`).
    pub at: String,
    /// How long it lasts: a duration (`30m`, `2h`, `3d`).
    pub lasting: String,
    /// What it strikes: a skill (`aht`; default `logistics`), a carrier (`late_delivery`; default
    /// `zto`) or a sku (`bad_batch`; default `sku-000`, the most popular). Others take none.
    #[serde(default)]
    pub target: Option<String>,
    /// Under `aht`, how many times as long handling takes; others take none.
    #[serde(default)]
    pub factor: Option<f64>,
}

/// The kinds of [`Incident`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentKind {
    /// Handling takes 2.5 times as long for one skill, or `factor` times.
    Aht,
    /// The agents' desk is down for four agents in five: queues explode.
    Outage,
    /// One carrier takes two to six days longer for what it is given meanwhile.
    LateDelivery,
    /// Six in ten of one sku's units ordered meanwhile are faulty.
    BadBatch,
    /// Nobody is answered by the bot; all go to the queue.
    BotDown,
}

/// Why a [`Config`] cannot be simulated.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A number outside of what makes sense.
    #[error("cannot simulate: `{key}` is {found}; it must be {expected}")]
    OutOfRange {
        /// The key.
        key: &'static str,
        /// What it holds.
        found: String,
        /// What it may hold.
        expected: &'static str,
    },
    /// A time or duration that cannot be read.
    #[error("cannot simulate: `{key}` is {found:?}; expected {expected}")]
    Time {
        /// The key.
        key: String,
        /// What it holds.
        found: String,
        /// What it may hold.
        expected: &'static str,
        /// What the parser says.
        source: jiff::Error,
    },
    /// An incident's target that does not exist.
    #[error("cannot simulate: incidents[{index}].target is {found:?}; expected {expected}")]
    Target {
        /// Which incident, from 0.
        index: usize,
        /// What it holds.
        found: String,
        /// What it may hold.
        expected: String,
    },
}

/// [`Config`] with its times and targets resolved.
pub(super) struct Setting {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) agents: usize,
    pub(super) incidents: Vec<Trouble>,
}

/// [`Incident`], resolved. `target` is an index into the catalogue of its kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trouble {
    pub(super) kind: IncidentKind,
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
    pub(super) target: usize,
    pub(super) factor: f64,
}

/// So many customers keep one agent busy who shares the work with many others; a roster of six is the least that covers three shifts on
/// seven days.
const CUSTOMERS_PER_AGENT: f64 = 2_300.0;
const AGENTS_MIN: u32 = 6;
const AGENTS_MAX: u32 = 100_000;

impl Config {
    pub(super) fn resolve(&self) -> Result<Setting, ConfigError> {
        let positive = |key, value: f64, max: f64, expected| {
            let fine = value > 0.0 && value <= max;
            fine.then_some(()).ok_or(ConfigError::OutOfRange { key, found: value.to_string(), expected })
        };
        positive("customers", self.customers.into(), 1e8, "from 1 to 100,000,000")?;
        positive("shops", self.shops.len() as f64, 255.0, "a list of 1 to 255 names")?;
        positive("rate_scale", self.rate_scale, 8.0, "above 0 and at most 8")?;
        positive("truth_every_days", self.truth_every_days.into(), 36_500.0, "from 1 to 36,500")?;
        positive("days", self.days.into(), 36_500.0, "from 1 to 36,500")?;
        if !(0.0..=1.0).contains(&self.duplicate_rate) {
            let found = self.duplicate_rate.to_string();
            return Err(ConfigError::OutOfRange { key: "duplicate_rate", found, expected: "from 0 to 1" });
        }
        let plain = |name: &String| {
            !name.is_empty() && !name.contains(['"', '\\', '/']) && !name.contains(char::is_control)
        };
        if let Some(shop) = self.shops.iter().find(|name| !plain(name)) {
            let expected = "names without quotes, slashes and control characters";
            return Err(ConfigError::OutOfRange { key: "shops", found: format!("{shop:?}"), expected });
        }
        let agents = match self.agents {
            0 => {
                let needed = self.rate_scale * f64::from(self.customers) / CUSTOMERS_PER_AGENT;
                // A small pool needs some more, since calls bunch (the square-root rule of staffing).
                ((needed + 2.1 * needed.sqrt()).round() as u32).clamp(AGENTS_MIN, AGENTS_MAX)
            }
            n @ AGENTS_MIN..=AGENTS_MAX => n,
            n => {
                let expected = "0 (as many as needed), or from 6 to 100,000";
                return Err(ConfigError::OutOfRange { key: "agents", found: n.to_string(), expected });
            }
        };
        let start_ms = instant("start", &self.start)?;
        let incidents = self.incidents.iter().enumerate();
        let incidents = incidents.map(|(index, incident)| incident.resolve(index, start_ms));
        Ok(Setting {
            start_ms,
            end_ms: start_ms + i64::from(self.days) * DAY_MS,
            agents: agents as usize,
            incidents: incidents.collect::<Result<_, _>>()?,
        })
    }
}

impl Incident {
    fn resolve(&self, index: usize, start_ms: i64) -> Result<Trouble, ConfigError> {
        let key = format!("incidents[{index}].at");
        let from_ms = match duration(&key, &self.at) {
            Ok(after_ms) => start_ms + after_ms,
            Err(_) => instant(&key, &self.at)?,
        };
        let to_ms = from_ms + duration(&format!("incidents[{index}].lasting"), &self.lasting)?;
        let wrong = |expected: String| {
            let found = self.target.clone().unwrap_or_default();
            ConfigError::Target { index, found, expected }
        };
        let among = |names: &[&str], default: &str| {
            let wanted = self.target.as_deref().unwrap_or(default);
            names
                .iter()
                .position(|name| *name == wanted)
                .ok_or_else(|| wrong(format!("one of {}", names.join(", "))))
        };
        let target = match self.kind {
            IncidentKind::Aht => among(&SKILLS, "logistics")?,
            IncidentKind::LateDelivery => among(&CARRIERS, "zto")?,
            IncidentKind::BadBatch => {
                let wanted = self.target.as_deref().unwrap_or("sku-000");
                let number = wanted.strip_prefix("sku-").and_then(|digits| digits.parse().ok());
                let known = number.filter(|number| *number < SKU_COUNT);
                known.ok_or_else(|| wrong(format!("sku-000 to sku-{}", SKU_COUNT - 1)))?
            }
            IncidentKind::Outage | IncidentKind::BotDown if self.target.is_some() => {
                return Err(wrong("no target for this kind".into()));
            }
            IncidentKind::Outage | IncidentKind::BotDown => 0,
        };
        let factor = match (self.kind, self.factor) {
            (IncidentKind::Aht, Some(factor)) if (0.1..=20.0).contains(&factor) => factor,
            (IncidentKind::Aht, None) => SLOWER,
            (_, None) => 1.0,
            (_, Some(factor)) => {
                let expected = "from 0.1 to 20, and only of kind aht";
                let key = "incidents.factor";
                return Err(ConfigError::OutOfRange { key, found: factor.to_string(), expected });
            }
        };
        Ok(Trouble { kind: self.kind, from_ms, to_ms, target, factor })
    }
}

fn instant(key: &str, text: &str) -> Result<i64, ConfigError> {
    let parsed = text.parse::<Timestamp>().map_err(|source| ConfigError::Time {
        key: key.into(),
        found: text.into(),
        expected: "an RFC 3339 time such as 2026-03-02T00:00:00Z",
        source,
    })?;
    Ok(parsed.as_millisecond())
}

fn duration(key: &str, text: &str) -> Result<i64, ConfigError> {
    let parsed = text.parse::<jiff::Span>();
    let parsed = parsed.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
    let length = parsed.map_err(|source| ConfigError::Time {
        key: key.into(),
        found: text.into(),
        expected: "a duration such as 30m, 2h or 3d",
        source,
    })?;
    Ok(length.as_millis() as i64)
}
