//! The configuration: one TOML file, every key with a default.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headsup_events::{Limits, parse_rfc3339_ms};
use headsup_kpi::{Schedule, Settings};
use headsup_operators::facts::Table;
use headsup_operators::{ContactLimits, FollowLimits};
use headsup_stream::{DURATION_MS_MAX, format_duration_ms, parse_duration_ms};

/// Everything that can be configured. Durations are in ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What a record may be.
    pub limits: Limits,
    /// How far events of a partition may be out of order.
    pub disorder_ms_max: i64,
    /// How far behind the watermark an event is still applied.
    pub lateness_ms_max: i64,
    /// When conversations are given up.
    pub contacts: ContactLimits,
    /// How long is waited for what follows contacts.
    pub follow: FollowLimits,
    /// How often table `queue` is sampled, in event time.
    pub queue_tick_ms: i64,
    /// Contacts accepted longer ago than this count apart in it.
    pub queue_over_ms: i64,
    /// Customers are scored at multiples of this, in event time.
    pub scoring_tick_ms: i64,
    /// Whether agents' time is followed.
    pub agents: bool,
    /// What KPI files leave open.
    pub kpis: Settings,
    /// Where the log is: `fluvio://host:port`, or empty for the one in the data folder.
    pub log_url: String,
    /// Partitions of a topic that is made anew.
    pub log_partitions: u32,
    /// Topics that a run over the log writes.
    pub publish_topics: Vec<String>,
    /// Facts that are stored.
    pub store_tables: Vec<Table>,
    /// How often stored tables are completed while running, by the clock.
    pub store_flush_ms: i64,
    /// Where the page and the metrics are served.
    pub http_listen: String,
    /// The file of tokens for the API; empty: nobody may ask.
    pub api_tokens: String,
    /// The files of a certificate and its key; empty: without TLS.
    pub api_certificate: String,
    /// See `api_certificate`.
    pub api_key: String,
    /// The file that says where tasks are sent; empty: nowhere.
    pub webhooks_file: String,
    /// Series of KPIs in the metrics at most.
    pub metrics_series_max: usize,
    /// A partition that has been quiet for so long, by the clock, gets a heartbeat.
    pub heartbeat_ms: i64,
    /// The sink and source ClickHouse.
    pub clickhouse: ClickhouseConfig,
}

/// Where ClickHouse is, and what is expected of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClickhouseConfig {
    /// Its HTTP interface; empty: there is none.
    pub url: String,
    /// The database of headsup's tables.
    pub database: String,
    /// The user.
    pub user: String,
    /// A file with the user's password.
    pub password_file: Option<PathBuf>,
    /// Bytes of stored files that may wait to be loaded before the input does.
    pub spill_bytes_max: u64,
    /// Longest wait for an answer.
    pub timeout_ms: i64,
    /// Longest wait before something is tried again.
    pub retry_ms_max: i64,
}

impl Default for ClickhouseConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            database: "headsup".to_owned(),
            user: "default".to_owned(),
            password_file: None,
            spill_bytes_max: 10 << 30,
            timeout_ms: 30_000,
            retry_ms_max: 30_000,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            disorder_ms_max: 2_000,
            lateness_ms_max: 600_000,
            contacts: ContactLimits::default(),
            follow: FollowLimits::default(),
            queue_tick_ms: 10_000,
            scoring_tick_ms: 10_000,
            queue_over_ms: 120_000,
            agents: true,
            kpis: Settings::default(),
            log_url: String::new(),
            log_partitions: 4,
            publish_topics: ["kpis", "alerts", "scores", "tasks", "quarantine"].map(str::to_owned).to_vec(),
            store_tables: Table::ALL.into_iter().filter(|table| *table != Table::Signals).collect(),
            store_flush_ms: 30_000,
            http_listen: "127.0.0.1:8787".to_owned(),
            api_tokens: String::new(),
            api_certificate: String::new(),
            api_key: String::new(),
            webhooks_file: String::new(),
            metrics_series_max: 10_000,
            heartbeat_ms: 1_000,
            clickhouse: ClickhouseConfig::default(),
        }
    }
}

/// A key: its section and name, its default as TOML, what it is, and how it is set.
struct Key {
    section: &'static str,
    name: &'static str,
    default: &'static str,
    doc: &'static str,
    set: fn(&mut Config, &toml::Value) -> Result<(), String>,
}

const KEYS: &[Key] = &[
    Key {
        section: "input",
        name: "event_bytes_max",
        default: "1048576",
        doc: "Longest event, in bytes. Longer ones go to quarantine.",
        set: |config, value| {
            config.limits.event_bytes_max = integer(value, 1, 16 << 20)? as usize;
            Ok(())
        },
    },
    Key {
        section: "input",
        name: "max_skew",
        default: "\"5m\"",
        doc: "How far an event's time may be ahead of when it was taken in. What is further ahead goes to quarantine, so that one wrong clock does not close everyone's windows.",
        set: |config, value| {
            config.limits.skew_ms_max = duration(value, 0)?;
            Ok(())
        },
    },
    Key {
        section: "time",
        name: "max_disorder",
        default: "\"2s\"",
        doc: "How far the events of a partition may be out of order. Results come later by this much.",
        set: |config, value| {
            config.disorder_ms_max = duration(value, 0)?;
            Ok(())
        },
    },
    Key {
        section: "time",
        name: "allowed_lateness",
        default: "\"10m\"",
        doc: "How far behind the watermark an event is still applied. Copies are recognised for as long.",
        set: |config, value| {
            config.lateness_ms_max = duration(value, 0)?;
            Ok(())
        },
    },
    Key {
        section: "time",
        name: "heartbeat",
        default: "\"1s\"",
        doc: "A partition of the log that has been quiet for so long, by the clock, gets a heartbeat event, so that it does not hold back time.",
        set: |config, value| {
            config.heartbeat_ms = duration(value, 10)?;
            Ok(())
        },
    },
    Key {
        section: "contacts",
        name: "idle",
        default: "\"30m\"",
        doc: "A conversation without any event for so long, neither waiting in the queue nor being served, is closed and marked ended_by = 'idle'.",
        set: |config, value| {
            config.contacts.idle_ms = duration(value, 1_000)?;
            Ok(())
        },
    },
    Key {
        section: "contacts",
        name: "served",
        default: "\"4h\"",
        doc: "The same for a conversation that an agent has accepted. A telephone call has no events until it ends.",
        set: |config, value| {
            config.contacts.served_ms = duration(value, 1_000)?;
            Ok(())
        },
    },
    Key {
        section: "contacts",
        name: "queue",
        default: "\"12h\"",
        doc: "The same for a conversation that waits in the queue.",
        set: |config, value| {
            config.contacts.queue_ms = duration(value, 1_000)?;
            Ok(())
        },
    },
    Key {
        section: "contacts",
        name: "wrap",
        default: "\"10m\"",
        doc: "How long after closing `conversation.wrapped` is waited for. Not longer than the corrections of KPIs over contacts. \"0s\": closing ends the contact.",
        set: |config, value| {
            config.contacts.wrap_ms = duration(value, 0)?;
            Ok(())
        },
    },
    Key {
        section: "contacts",
        name: "linger",
        default: "\"30m\"",
        doc: "How long an ended conversation is remembered, for its rating and for reopening.",
        set: |config, value| {
            config.contacts.linger_ms = duration(value, 0)?;
            Ok(())
        },
    },
    Key {
        section: "contacts",
        name: "repeat",
        default: "\"7d\"",
        doc: "How long after a contact another one of the same customer about the same repeats it, at most: table `resolutions` says after how long. KPIs have their own limit within this one.",
        set: |config, value| {
            config.follow.repeat_ms = duration(value, 60_000)?;
            Ok(())
        },
    },
    Key {
        section: "contacts",
        name: "paid",
        default: "\"4d\"",
        doc: "How long after an inquiry a payment is its outcome, at most: table `inquiries`.",
        set: |config, value| {
            config.follow.paid_ms = duration(value, 60_000)?;
            Ok(())
        },
    },
    Key {
        section: "contacts",
        name: "presale",
        default: "[\"presale\", \"product_question\"]",
        doc: "Intents (of a contact without one, skills) that ask before a purchase.",
        set: |config, value| {
            let texts = |list: &toml::value::Array| {
                list.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
            };
            let list = value.as_array().and_then(texts);
            config.follow.presale = list.ok_or("expected a list of intents, such as [\"presale\"]")?;
            Ok(())
        },
    },
    Key {
        section: "agents",
        name: "follow",
        default: "true",
        doc: "Whether to follow how much of each agent's time is taken: table `agents`, and effort_ms of contacts. All conversations of an agent have to be read by one process, so a share of the partitions never does.",
        set: |config, value| {
            config.agents = value.as_bool().ok_or("expected true or false")?;
            Ok(())
        },
    },
    Key {
        section: "queue",
        name: "over",
        default: "\"2m\"",
        doc: "Contacts accepted longer ago than this and not over yet are counted apart in table `queue`: handle times of finished contacts tell of them late.",
        set: |config, value| {
            config.queue_over_ms = duration(value, 0)?;
            Ok(())
        },
    },
    Key {
        section: "queue",
        name: "tick",
        default: "\"10s\"",
        doc: "How often table `queue` is sampled, in event time.",
        set: |config, value| {
            config.queue_tick_ms = duration(value, 1_000)?;
            Ok(())
        },
    },
    Key {
        section: "scoring",
        name: "tick",
        default: "\"10s\"",
        doc: "Customers are scored at multiples of this, in event time, where the registry has a champion. A shorter one sends scores sooner and costs more.",
        set: |config, value| {
            config.scoring_tick_ms = duration(value, 10)?;
            Ok(())
        },
    },
    Key {
        section: "calendar",
        name: "default",
        default: "\"UTC Mon-Sun 00:00-24:00\"",
        doc: "When shops are open, for business_ms in KPI files: a time zone (IANA), then days and hours, such as \"Asia/Shanghai Mon-Fri 09:00-12:00 13:00-18:00, Sat 10:00-16:00\".",
        set: |config, value| {
            Arc::make_mut(&mut config.kpis.calendar).default = schedule(value)?;
            Ok(())
        },
    },
    Key {
        section: "calendar",
        name: "shops",
        default: "{}",
        doc: "The same of shops that have their own hours, such as { \"shop-7\" = \"Europe/Berlin Mon-Sat 10:00-20:00\" }.",
        set: |config, value| {
            let shops = value.as_table().ok_or("expected a table of shops and their hours")?;
            for (shop, hours) in shops {
                let hours = schedule(hours).map_err(|problem| format!("{shop}: {problem}"))?;
                Arc::make_mut(&mut config.kpis.calendar).shops.insert(shop.clone(), hours);
            }
            Ok(())
        },
    },
    Key {
        section: "kpis",
        name: "from",
        default: "\"\"",
        doc: "KPIs have no windows that begin before this time, such as \"2026-03-01T00:00:00Z\". For a log with years of events from before anybody watched: they are read much faster, and facts, features and scores are made of all of them.",
        set: |config, value| {
            let time = |text: &str| match text {
                "" => Some(None),
                text => parse_rfc3339_ms(text).map(Some),
            };
            config.kpis.from_ms = value
                .as_str()
                .and_then(time)
                .ok_or("expected \"\" or a time such as \"2026-03-01T00:00:00Z\"")?;
            Ok(())
        },
    },
    Key {
        section: "kpis",
        name: "parameters",
        default: "{}",
        doc: "Values of KPIs' parameters in place of those in their files, such as { service_level = { within = \"20 s\" } }; `headsup kpi list` shows them.",
        set: |config, value| {
            let expected = || "expected a table such as { service_level = { within = \"20 s\" } }".to_owned();
            for (kpi, set) in value.as_table().ok_or_else(expected)? {
                for (name, value) in set.as_table().ok_or_else(expected)? {
                    let text = match value {
                        toml::Value::String(text) => text.clone(),
                        toml::Value::Integer(number) => number.to_string(),
                        _ => return Err(expected()),
                    };
                    config.kpis.parameters.entry(kpi.clone()).or_default().insert(name.clone(), text);
                }
            }
            Ok(())
        },
    },
    Key {
        section: "log",
        name: "url",
        default: "\"\"",
        doc: "Where the log is: \"\" is the one in the data folder, \"fluvio://host:port\" a Fluvio cluster, by its controller (SC), unencrypted.",
        set: |config, value| {
            let url = value.as_str().filter(|url| {
                let address = url.strip_prefix("fluvio://").and_then(|address| address.rsplit_once(':'));
                url.is_empty()
                    || address.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
            });
            config.log_url = url.ok_or("expected \"\" or \"fluvio://host:port\"")?.to_owned();
            Ok(())
        },
    },
    Key {
        section: "log",
        name: "partitions",
        default: "4",
        doc: "Partitions of each topic, when it is made.",
        set: |config, value| {
            config.log_partitions = integer(value, 1, 256)? as u32;
            Ok(())
        },
    },
    Key {
        section: "log",
        name: "publish",
        default: "[\"kpis\", \"alerts\", \"scores\", \"tasks\", \"quarantine\"]",
        doc: "Topics that a run over the log writes: every row of the KPIs with its revision, what becomes of alerts, scores of customers, tasks of proactive service, and what was set aside. [] writes none.",
        set: |config, value| {
            let known = [
                crate::topics::KPIS,
                crate::topics::ALERTS,
                crate::topics::SCORES,
                crate::topics::TASKS,
                crate::topics::QUARANTINE,
            ];
            let topics =
                value.as_array().map(|list| list.iter().map(|topic| topic.as_str()).collect::<Vec<_>>());
            let known = |topic: &&str| known.contains(topic);
            config.publish_topics = match topics {
                Some(topics) if topics.iter().all(|topic| topic.as_ref().is_some_and(known)) => {
                    topics.into_iter().flatten().map(str::to_owned).collect()
                }
                _ => {
                    return Err(
                        "expected a list out of \"kpis\", \"alerts\", \"scores\", \"quarantine\"".to_owned()
                    );
                }
            };
            Ok(())
        },
    },
    Key {
        section: "store",
        name: "tables",
        default: "[\"contacts\", \"rounds\", \"ratings\", \"queue\", \"orders\", \"turns\", \"resolutions\", \"inquiries\", \"agents\"]",
        doc: "The facts that are stored as Parquet. There is also signals: what proactive service goes by.",
        set: |config, value| {
            let names: Vec<&str> = Table::ALL.iter().map(|table| table.name()).collect();
            let expected = || format!("expected a list of {}", names.join(", "));
            let list = value.as_array().ok_or_else(expected)?;
            config.store_tables = list
                .iter()
                .map(|name| name.as_str().and_then(Table::parse).ok_or_else(expected))
                .collect::<Result<_, _>>()?;
            config.store_tables.sort_unstable();
            config.store_tables.dedup();
            Ok(())
        },
    },
    Key {
        section: "store",
        name: "flush",
        default: "\"30s\"",
        doc: "How often, by the clock, stored tables are completed while running, so that queries see the newest rows; of a run over the log also how often a checkpoint is written, from which the next run goes on.",
        set: |config, value| {
            config.store_flush_ms = duration(value, 100)?;
            Ok(())
        },
    },
    Key {
        section: "clickhouse",
        name: "url",
        default: "\"\"",
        doc: "The HTTP interface of ClickHouse, such as \"http://127.0.0.1:8123\"; \"\" is none. Stored tables are loaded into it as they are completed; `headsup clickhouse migrate` makes its tables.",
        set: |config, value| {
            let url = value.as_str().filter(|url| url.is_empty() || url.starts_with("http://"));
            config.clickhouse.url = url
                .ok_or("expected \"\" or an address such as \"http://127.0.0.1:8123\"")?
                .trim_end_matches('/')
                .to_owned();
            Ok(())
        },
    },
    Key {
        section: "clickhouse",
        name: "database",
        default: "\"headsup\"",
        doc: "The database. It is of one log: a second one that loads into it hides the first.",
        set: |config, value| {
            let name = value.as_str().filter(|name| {
                name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                    && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            });
            config.clickhouse.database =
                name.ok_or("expected a name of a-z, 0-9 and _, a letter first")?.to_owned();
            Ok(())
        },
    },
    Key {
        section: "clickhouse",
        name: "user",
        default: "\"default\"",
        doc: "The user.",
        set: |config, value| {
            let name = value.as_str().filter(|name| !name.is_empty());
            config.clickhouse.user = name.ok_or("expected a name")?.to_owned();
            Ok(())
        },
    },
    Key {
        section: "clickhouse",
        name: "password_file",
        default: "\"\"",
        doc: "A file that holds the user's password. Without one it is in the environment variable HEADSUP_CLICKHOUSE_PASSWORD, or empty.",
        set: |config, value| {
            let path = value.as_str().ok_or("expected a path")?;
            config.clickhouse.password_file = (!path.is_empty()).then(|| path.into());
            Ok(())
        },
    },
    Key {
        section: "clickhouse",
        name: "spill_bytes_max",
        default: "10737418240",
        doc: "While ClickHouse does not take them, stored files wait, and nothing else does. When they are larger than this together, the input waits too.",
        set: |config, value| {
            config.clickhouse.spill_bytes_max = integer(value, 1 << 20, i64::MAX)? as u64;
            Ok(())
        },
    },
    Key {
        section: "clickhouse",
        name: "timeout",
        default: "\"30s\"",
        doc: "Longest wait for an answer.",
        set: |config, value| {
            config.clickhouse.timeout_ms = duration(value, 100)?;
            Ok(())
        },
    },
    Key {
        section: "clickhouse",
        name: "retry_max",
        default: "\"30s\"",
        doc: "Longest wait before something is tried again. The first is 0.2 s, each twice the one before.",
        set: |config, value| {
            config.clickhouse.retry_ms_max = duration(value, 100)?;
            Ok(())
        },
    },
    Key {
        section: "http",
        name: "listen",
        default: "\"127.0.0.1:8787\"",
        doc: "Where the live page, /metrics, /healthz and /readyz are served. Port 0 takes a free one.",
        set: |config, value| {
            let text = value.as_str().unwrap_or_default();
            text.parse::<std::net::SocketAddr>()
                .map_err(|_| "expected an address and port such as \"127.0.0.1:8787\"".to_owned())?;
            config.http_listen = text.to_owned();
            Ok(())
        },
    },
    Key {
        section: "api",
        name: "tokens",
        default: "\"\"",
        doc: "The file of tokens for the HTTP API; `headsup token` makes one. Without it nobody may ask.",
        set: |config, value| {
            config.api_tokens = text(value)?;
            Ok(())
        },
    },
    Key {
        section: "api",
        name: "certificate",
        default: "\"\"",
        doc: "A PEM file of certificates, the server's first; with it everything is served by TLS.",
        set: |config, value| {
            config.api_certificate = text(value)?;
            Ok(())
        },
    },
    Key {
        section: "api",
        name: "key",
        default: "\"\"",
        doc: "A PEM file of the certificate's key.",
        set: |config, value| {
            config.api_key = text(value)?;
            Ok(())
        },
    },
    Key {
        section: "webhooks",
        name: "file",
        default: "\"\"",
        doc: "The file that says where tasks are sent, see docs/webhooks.md.",
        set: |config, value| {
            config.webhooks_file = text(value)?;
            Ok(())
        },
    },
    Key {
        section: "metrics",
        name: "series_max",
        default: "10000",
        doc: "KPI series in /metrics at most; what is over is left out and counted.",
        set: |config, value| {
            config.metrics_series_max = integer(value, 0, 1_000_000)? as usize;
            Ok(())
        },
    },
];

/// Everything that is wrong with a configuration file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It says something that cannot be.
    #[error("cannot use the configuration {}:\n{}", path.display(), .mistakes.join("\n"))]
    Mistakes {
        /// The file.
        path: PathBuf,
        /// A line for each.
        mistakes: Vec<String>,
    },
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|mistakes| ConfigError::Mistakes { path: path.to_owned(), mistakes })
    }

    /// Reads TOML.
    ///
    /// # Errors
    /// All mistakes at once, a line each.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
            vec![format!("  line {line}: {}", error.message())]
        })?;
        let mut config = Self::default();
        let mut mistakes = Vec::new();
        let mut mistake = |section: &str, name: &str, message: String| {
            let line = match line_of(text, section, name) {
                Some(line) => format!("line {line}: "),
                None => String::new(),
            };
            mistakes.push(format!("  {line}{message}"));
        };
        let mut sections: Vec<&str> = KEYS.iter().map(|key| key.section).collect();
        sections.dedup();
        for (section, content) in &table {
            if !sections.contains(&section.as_str()) {
                mistake("", section, format!("unknown section [{section}]{}", nearest(section, &sections)));
                continue;
            }
            let Some(content) = content.as_table() else {
                mistake("", section, format!("{section} is a section: write [{section}] and its keys below"));
                continue;
            };
            for (name, value) in content {
                let known: Vec<&str> =
                    KEYS.iter().filter(|key| key.section == section).map(|key| key.name).collect();
                match KEYS.iter().find(|key| key.section == section && key.name == name) {
                    None => mistake(
                        section,
                        name,
                        format!("unknown key {section}.{name}{}", nearest(name, &known)),
                    ),
                    Some(key) => {
                        if let Err(expected) = (key.set)(&mut config, value) {
                            mistake(section, name, format!("{section}.{name}: {expected}, found {value}"));
                        }
                    }
                }
            }
        }
        if mistakes.is_empty() { Ok(config) } else { Err(mistakes) }
    }

    /// A file with every key, its default, and what it is.
    pub fn sample() -> String {
        let mut out = String::from(
            "# headsup: every key with its default. Durations are a number with ms, s, m, h or d.\n",
        );
        let mut section = "";
        for key in KEYS {
            if key.section != section {
                section = key.section;
                let _ = write!(out, "\n[{section}]\n");
            } else {
                out.push('\n');
            }
            for line in wrap(key.doc, 98) {
                let _ = writeln!(out, "# {line}");
            }
            let _ = writeln!(out, "{} = {}", key.name, key.default);
        }
        out
    }
}

fn schedule(value: &toml::Value) -> Result<Schedule, String> {
    Schedule::parse(value.as_str().ok_or("expected a text such as \"Asia/Shanghai Mon-Sun 09:00-21:00\"")?)
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].len() + 1 + word.len() > width {
            lines.push(word.to_owned());
        } else {
            if !lines[last].is_empty() {
                lines[last].push(' ');
            }
            lines[last].push_str(word);
        }
    }
    lines
}

fn text(value: &toml::Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| "expected a text".to_owned())
}

fn integer(value: &toml::Value, least: i64, most: i64) -> Result<i64, String> {
    match value.as_integer() {
        Some(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("expected a whole number from {least} to {most}")),
    }
}

fn duration(value: &toml::Value, least_ms: i64) -> Result<i64, String> {
    match value.as_str().and_then(parse_duration_ms) {
        Some(ms) if ms >= least_ms => Ok(ms),
        Some(_) => Err(format!("expected at least {}", format_duration_ms(least_ms))),
        None => Err(format!(
            "expected a duration such as \"90s\" or \"10m\", at most {}",
            format_duration_ms(DURATION_MS_MAX)
        )),
    }
}

fn nearest(name: &str, known: &[&str]) -> String {
    let near = known.iter().map(|other| (strsim::damerau_levenshtein(name, other), other)).min();
    match near {
        Some((distance, other)) if distance <= 1 + other.len() / 3 => format!("; did you mean {other}?"),
        _ => format!("; known are {}", known.join(", ")),
    }
}

/// The line of `name` within `section`, from 1.
fn line_of(text: &str, section: &str, name: &str) -> Option<usize> {
    let mut current = String::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            current = header.split(']').next().unwrap_or_default().trim().to_owned();
            if section.is_empty() && current.split('.').next() == Some(name) {
                return Some(index + 1);
            }
        } else if (current == section || section.is_empty())
            && line.split('=').next().map(str::trim) == Some(name)
        {
            return Some(index + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_says_the_defaults() {
        assert_eq!(Config::parse(&Config::sample()), Ok(Config::default()));
    }

    #[test]
    fn all_mistakes_at_once_each_with_its_line() {
        let mistakes = Config::parse(
            "[tme]\nx = 1\n[time]\nmax_disordr = \"2s\"\nallowed_lateness = 5\n[store]\ntables = [\"contact\"]\n",
        )
        .expect_err("four mistakes");
        assert_eq!(
            mistakes,
            [
                "  line 7: store.tables: expected a list of contacts, rounds, ratings, queue, orders, turns, resolutions, inquiries, agents, signals, found [\"contact\"]",
                "  line 5: time.allowed_lateness: expected a duration such as \"90s\" or \"10m\", at most 3650d, found 5",
                "  line 4: unknown key time.max_disordr; did you mean max_disorder?",
                "  line 1: unknown section [tme]; did you mean time?",
            ]
        );
        assert_eq!(Config::parse("x = ").expect_err("no TOML").len(), 1);
    }

    #[test]
    fn no_duration_is_so_long_that_times_overflow() {
        let durations: Vec<&Key> =
            KEYS.iter().filter(|key| parse_duration_ms(key.default.trim_matches('"')).is_some()).collect();
        assert_eq!(durations.len(), 17);
        for Key { section, name, .. } in &durations {
            let with = |value: &str| Config::parse(&format!("[{section}]\n{name} = \"{value}\"\n"));
            assert!(with("3650d").is_ok(), "{section}.{name}");
            for value in ["3651d", "315360000001ms", "9223372036854775807ms", "106751991168d"] {
                let expected = format!(
                    "  line 2: {section}.{name}: expected a duration such as \"90s\" or \"10m\", at most 3650d, found \"{value}\""
                );
                assert_eq!(with(value), Err(vec![expected]));
            }
        }
        // The last time that an event may have, and every limit on top of it, in microseconds.
        let last_ms = (1_i64 << 52) - 1;
        assert!(
            (0..durations.len())
                .try_fold(last_ms, |sum, _| sum.checked_add(DURATION_MS_MAX))
                .is_some_and(|sum| sum.checked_mul(1_000).is_some())
        );
    }
}
