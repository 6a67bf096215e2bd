//! The file of the policy, table by table and key by key, and what is wrong with each.

use headsup_stream::parse_duration_ms;
use jiff::civil::Time;
use jiff::tz::{self, TimeZone};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::task::Priority;

use super::quiet::QuietHours;
use super::rules::{Campaign, Cap, Channel, Mistake, Pick, Rules, RulesError};

type Table<'a> = DeTable<'a>;
type Value<'a> = Spanned<DeValue<'a>>;

const FILE_KEYS: [&str; 6] = ["accepted_for", "cap", "quiet_hours", "capacity", "channel", "campaign"];
const CAP_KEYS: [&str; 2] = ["contacts", "per"];
const QUIET_KEYS: [&str; 3] = ["from", "to", "zone"];
const CAPACITY_KEYS: [&str; 2] = ["share", "backlog_max"];
const CHANNEL_KEYS: [&str; 4] = ["name", "consent", "reach", "pushes_max"];
const CAMPAIGN_KEYS: [&str; 18] = [
    "name",
    "title",
    "model",
    "threshold",
    "top_k",
    "min_percentile",
    "required_skills",
    "recommended_actions",
    "channels",
    "priority",
    "cooldown",
    "expires_after",
    "not_before",
    "orders_within",
    "control_share",
    "value_minor",
    "cost_minor",
    "salt",
];

/// Durations are at most so long: a state remembers that much.
const DURATION_MS_MAX: i64 = 366 * 86_400_000;
/// For how long an accepted task waits, if the file does not say.
const ACCEPTED_FOR_MS: i64 = 86_400_000;
/// The share that is never contacted, if the file does not say.
const CONTROL_SHARE: f64 = 0.10;
/// Greater amounts are mistakes, and could not be added up.
const MINOR_MAX: i64 = 1_000_000_000_000;

pub(super) fn read(file: &str, text: &str) -> Result<Rules, RulesError> {
    let mut reading = Reading { text, mistakes: Vec::new() };
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        reading.mistake(at, error.message().to_owned());
    }
    let mut rules = None;
    // A file that is no TOML has enough to be mended.
    if reading.mistakes.is_empty() {
        rules = Some(reading.rules(document.get_ref()));
    }
    match rules {
        Some(rules) if reading.mistakes.is_empty() => Ok(rules),
        _ => {
            reading.mistakes.sort_by_key(|(at, _)| *at);
            let line =
                |at: usize| text.as_bytes()[..at.min(text.len())].iter().filter(|&&b| b == b'\n').count() + 1;
            let mistakes = reading.mistakes.into_iter();
            Err(RulesError(
                mistakes
                    .map(|(at, message)| Mistake { file: file.to_owned(), line: line(at), message })
                    .collect(),
            ))
        }
    }
}

/// What is read, and what was found to be wrong, by where it is.
struct Reading<'a> {
    text: &'a str,
    mistakes: Vec<(usize, String)>,
}

impl Reading<'_> {
    fn mistake(&mut self, at: usize, message: impl Into<String>) {
        self.mistakes.push((at, message.into()));
    }

    fn rules(&mut self, document: &Table<'_>) -> Rules {
        self.known("the file", document, &FILE_KEYS);
        let channels = self.tables(document, "channel", Self::channel);
        self.twice(document, "channel");
        let caps = self.tables(document, "cap", Self::cap);
        let (capacity_share, backlog_max) = self.capacity(document);
        let quiet_hours = self.quiet_hours(document);
        let accepted_for_ms = self.duration(document, "accepted_for", 1).unwrap_or(ACCEPTED_FOR_MS);
        let campaigns = self.tables(document, "campaign", Self::campaign);
        self.twice(document, "campaign");
        self.named_channels(document);
        Rules { campaigns, channels, caps, quiet_hours, capacity_share, backlog_max, accepted_for_ms }
    }

    /// Reads every `[[key]]`.
    fn tables<T>(
        &mut self,
        document: &Table<'_>,
        key: &str,
        read: fn(&mut Self, usize, &Table<'_>) -> Option<T>,
    ) -> Vec<T> {
        let Some(value) = document.get(key) else { return Vec::new() };
        let Some(list) = value.get_ref().as_array() else {
            self.mistake(
                value.span().start,
                format!("expected [[{key}]], with two brackets, found one {key}"),
            );
            return Vec::new();
        };
        let mut all = Vec::new();
        for item in list {
            let at = item.span().start;
            match item.get_ref().as_table() {
                Some(table) => all.extend(read(self, at, table)),
                None => self.mistake(at, format!("a {key} is a table; begin it with [[{key}]]")),
            }
        }
        all
    }

    /// Refuses two `[[key]]` of a name.
    fn twice(&mut self, document: &Table<'_>, key: &str) {
        let mut names: Vec<String> = Vec::new();
        for table in items(document, key) {
            let Some(value) = table.get("name") else { continue };
            let Some(name) = value.get_ref().as_str() else { continue };
            if names.iter().any(|other| other == name) {
                self.mistake(
                    value.span().start,
                    format!("there is another {key} named \"{name}\"; give each a name of its own"),
                );
            }
            names.push(name.to_owned());
        }
    }

    /// Refuses channels of campaigns that are not described.
    fn named_channels(&mut self, document: &Table<'_>) {
        let described: Vec<String> = items(document, "channel")
            .filter_map(|table| Some(table.get("name")?.get_ref().as_str()?.to_owned()))
            .collect();
        for table in items(document, "campaign") {
            let list = table.get("channels").and_then(|value| value.get_ref().as_array());
            let mut seen: Vec<&str> = Vec::new();
            for value in list.into_iter().flat_map(|list| list.iter()) {
                let Some(name) = value.get_ref().as_str() else { continue };
                if !described.iter().any(|channel| channel == name) {
                    let there = hint(name, "there are", described.iter().map(String::as_str));
                    self.mistake(
                        value.span().start,
                        format!("no channel \"{name}\"{there}; each is described by a [[channel]]"),
                    );
                }
                if seen.contains(&name) {
                    self.mistake(value.span().start, format!("channels has \"{name}\" twice"));
                }
                seen.push(name);
            }
        }
    }

    fn cap(&mut self, at: usize, table: &Table<'_>) -> Option<Cap> {
        self.known("a cap", table, &CAP_KEYS);
        self.needs("a cap", at, table, &CAP_KEYS);
        let contacts = self.whole(table, "contacts", 1, 1_000_000);
        let per_ms = self.duration(table, "per", 1);
        Some(Cap { contacts: contacts? as usize, per_ms: per_ms? })
    }

    fn channel(&mut self, at: usize, table: &Table<'_>) -> Option<Channel> {
        self.known("a channel", table, &CHANNEL_KEYS);
        self.needs("a channel", at, table, &["name"]);
        let name = self.text(table, "name");
        let consent = self.truth(table, "consent").unwrap_or(false);
        let reach_ms = self.duration(table, "reach", 1);
        let pushes_max = self.whole(table, "pushes_max", 1, 1_000_000).map(|max| max as u32);
        if let (Some(value), None) = (table.get("pushes_max"), table.get("reach")) {
            self.mistake(
                value.span().start,
                "pushes_max is counted since the customer's last message, so it needs reach, such as \"48h\"",
            );
        }
        Some(Channel { name: name?, consent, reach_ms, pushes_max })
    }

    fn capacity(&mut self, document: &Table<'_>) -> (Option<f64>, Option<u64>) {
        let Some(table) = self.table(document, "capacity") else { return (None, None) };
        self.known("[capacity]", table, &CAPACITY_KEYS);
        let share = self.number(table, "share", 0.0, 1.0);
        let backlog_max = self.whole(table, "backlog_max", 0, i64::MAX).map(|max| max as u64);
        (share, backlog_max)
    }

    fn quiet_hours(&mut self, document: &Table<'_>) -> Option<QuietHours> {
        let at = document.get("quiet_hours")?.span().start;
        let table = self.table(document, "quiet_hours")?;
        self.known("[quiet_hours]", table, &QUIET_KEYS);
        self.needs("[quiet_hours]", at, table, &QUIET_KEYS);
        let (from, to) = (self.clock(table, "from"), self.clock(table, "to"));
        let zone = self.zone(table);
        let (from, to) = (from?, to?);
        if from == to {
            self.mistake(
                at_of(table, "to", at),
                "quiet hours end when they begin; leave out [quiet_hours] if there are none",
            );
            return None;
        }
        Some(QuietHours::new(from, to, zone?))
    }

    fn clock(&mut self, table: &Table<'_>, key: &str) -> Option<Time> {
        let value = table.get(key)?;
        let clock = value.get_ref().as_str().and_then(|text| {
            let (hour, minute) = text.split_once(':')?;
            let digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
            if !digits(hour) || !digits(minute) {
                return None;
            }
            Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
        });
        match clock {
            Some(clock) => Some(clock),
            None => self.mistyped(key, value, "a time of the day such as \"21:00\""),
        }
    }

    fn zone(&mut self, table: &Table<'_>) -> Option<TimeZone> {
        let value = table.get("zone")?;
        let name = self.text(table, "zone")?;
        match TimeZone::get(&name) {
            Ok(zone) => Some(zone),
            Err(_) => {
                let names: Vec<String> = tz::db().available().map(|name| name.to_string()).collect();
                let meant = did_you_mean(&name, names.iter().map(String::as_str));
                let do_this =
                    if meant.is_empty() { "; use a name such as \"Asia/Shanghai\"" } else { &meant };
                self.mistake(value.span().start, format!("no time zone \"{name}\"{do_this}"));
                None
            }
        }
    }

    fn campaign(&mut self, at: usize, table: &Table<'_>) -> Option<Campaign> {
        self.known("a campaign", table, &CAMPAIGN_KEYS);
        self.needs(
            "a campaign",
            at,
            table,
            &["name", "title", "model", "channels", "cooldown", "expires_after"],
        );
        let name = self.text(table, "name");
        if let Some(name) = name.as_ref().filter(|name| !is_identifier(name)) {
            self.mistake(
                at_of(table, "name", at),
                format!("\"{name}\" cannot be a name; use a-z, 0-9 and _, a letter first"),
            );
        }
        let (title, model) = (self.text(table, "title"), self.text(table, "model"));
        let pick = self.pick(at, table);
        let min_percentile = self.number(table, "min_percentile", 0.0, 100.0);
        let required_skills = self.texts(table, "required_skills").unwrap_or_default();
        let recommended_actions = self.texts(table, "recommended_actions").unwrap_or_default();
        let channels = self.texts(table, "channels");
        if channels.as_ref().is_some_and(Vec::is_empty) {
            self.mistake(
                at_of(table, "channels", at),
                "channels is empty, so that nobody can be reached; name at least one",
            );
        }
        let priority = self.text(table, "priority").map_or(Some(Priority::Normal), |text| {
            let found = Priority::ALL.into_iter().find(|priority| priority.name() == text);
            if found.is_none() {
                let there = hint(&text, "there are", Priority::ALL.map(Priority::name));
                self.mistake(at_of(table, "priority", at), format!("no priority \"{text}\"{there}"));
            }
            found
        });
        let cooldown_ms = self.duration(table, "cooldown", 1);
        let expires_after_ms = self.duration(table, "expires_after", 1);
        let not_before_ms = self.duration(table, "not_before", 0).unwrap_or(0);
        let orders_within_ms = self.duration(table, "orders_within", 1).unwrap_or(0);
        if expires_after_ms.is_some_and(|expires| not_before_ms >= expires) {
            self.mistake(
                at_of(table, "not_before", at),
                "a task would expire before it may begin; make not_before shorter than expires_after",
            );
        }
        let control_share = self.number(table, "control_share", 0.0, 1.0).unwrap_or(CONTROL_SHARE);
        let value_minor = self.whole(table, "value_minor", 0, MINOR_MAX).unwrap_or(0);
        let cost_minor = self.whole(table, "cost_minor", 0, MINOR_MAX).unwrap_or(0);
        let salt = self.text(table, "salt").unwrap_or_default();
        Some(Campaign {
            name: name?,
            title: title?,
            model: model?,
            pick: pick?,
            min_percentile,
            required_skills,
            recommended_actions,
            channels: channels?,
            priority: priority?,
            cooldown_ms: cooldown_ms?,
            expires_after_ms: expires_after_ms?,
            not_before_ms,
            orders_within_ms,
            control_share,
            value_minor,
            cost_minor,
            salt,
        })
    }

    fn pick(&mut self, at: usize, table: &Table<'_>) -> Option<Pick> {
        let threshold = self.number(table, "threshold", 0.0, 1.0);
        let top_k = self.whole(table, "top_k", 1, 1_000_000);
        match (table.get("threshold"), table.get("top_k")) {
            (Some(_), None) => threshold.map(Pick::Threshold),
            (None, Some(_)) => top_k.map(|k| Pick::TopK(k as u64)),
            (None, None) => {
                self.mistake(
                    at,
                    "a campaign needs threshold, a probability, or top_k, customers an hour, to say whom it is for",
                );
                None
            }
            (Some(_), Some(value)) => {
                self.mistake(value.span().start, "a campaign has threshold or top_k, found both; keep one");
                None
            }
        }
    }

    /// Refuses keys that are not known.
    fn known(&mut self, what: &str, table: &Table<'_>, known: &[&str]) {
        for (key, _) in table.iter() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let there = hint(name, "there are", known.iter().copied());
                self.mistake(key.span().start, format!("{what} has no key \"{name}\"{there}"));
            }
        }
    }

    fn needs(&mut self, what: &str, at: usize, table: &Table<'_>, keys: &[&str]) {
        for key in keys {
            if table.get(*key).is_none() {
                self.mistake(at, format!("{what} needs {key}"));
            }
        }
    }

    fn table<'t>(&mut self, document: &'t Table<'_>, key: &str) -> Option<&'t Table<'t>> {
        let value = document.get(key)?;
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.mistake(value.span().start, format!("expected a table; begin it with [{key}]"));
        }
        table
    }

    fn text(&mut self, table: &Table<'_>, key: &str) -> Option<String> {
        let value = table.get(key)?;
        match value.get_ref().as_str().filter(|text| !text.is_empty() || key == "salt") {
            Some(text) => Some(text.to_owned()),
            None => self.mistyped(key, value, "a text in quotes"),
        }
    }

    fn texts(&mut self, table: &Table<'_>, key: &str) -> Option<Vec<String>> {
        let value = table.get(key)?;
        let texts = value.get_ref().as_array().and_then(|list| {
            let text =
                |item: &Value<'_>| item.get_ref().as_str().filter(|text| !text.is_empty()).map(str::to_owned);
            list.iter().map(text).collect::<Option<Vec<_>>>()
        });
        match texts {
            Some(texts) => Some(texts),
            None => self.mistyped(key, value, "a list of texts, such as [\"phone\"]"),
        }
    }

    fn truth(&mut self, table: &Table<'_>, key: &str) -> Option<bool> {
        let value = table.get(key)?;
        match value.get_ref() {
            DeValue::Boolean(truth) => Some(*truth),
            _ => self.mistyped(key, value, "true or false"),
        }
    }

    fn number(&mut self, table: &Table<'_>, key: &str, min: f64, max: f64) -> Option<f64> {
        let value = table.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(whole) => whole_of(whole).map(|whole| whole as f64),
            DeValue::Float(float) => float.as_str().parse().ok(),
            _ => None,
        };
        match number.filter(|number| (min..=max).contains(number)) {
            Some(number) => Some(number),
            None => self.mistyped(key, value, &format!("a number from {min} to {max}")),
        }
    }

    fn whole(&mut self, table: &Table<'_>, key: &str, min: i64, max: i64) -> Option<i64> {
        let value = table.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(whole) => whole_of(whole).filter(|number| (min..=max).contains(number)),
            _ => None,
        };
        match number {
            Some(number) => Some(number),
            None if max == i64::MAX => {
                self.mistyped(key, value, &format!("a whole number of at least {min}"))
            }
            None => self.mistyped(key, value, &format!("a whole number from {min} to {max}")),
        }
    }

    fn duration(&mut self, table: &Table<'_>, key: &str, min_ms: i64) -> Option<i64> {
        let value = table.get(key)?;
        let allowed = min_ms..=DURATION_MS_MAX;
        match value.get_ref().as_str().and_then(parse_duration_ms).filter(|ms| allowed.contains(ms)) {
            Some(ms) => Some(ms),
            None if min_ms > 0 => self.mistyped(
                key,
                value,
                "a duration such as \"7d\" or \"48h\", above 0 and at most \"366d\"",
            ),
            None => self.mistyped(key, value, "a duration such as \"30m\", at most \"366d\""),
        }
    }

    fn mistyped<T>(&mut self, key: &str, value: &Value<'_>, expected: &str) -> Option<T> {
        let found = self.text.get(value.span()).unwrap_or_default().lines().next().unwrap_or_default();
        self.mistake(value.span().start, format!("{key}: expected {expected}, found {found}"));
        None
    }
}

/// The tables of `[[key]]`, as far as they are such.
fn items<'t>(document: &'t Table<'_>, key: &str) -> impl Iterator<Item = &'t Table<'t>> {
    let list = document.get(key).and_then(|value| value.get_ref().as_array());
    list.into_iter().flat_map(|list| list.iter()).filter_map(|item| item.get_ref().as_table())
}

fn whole_of(whole: &toml::de::DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(whole.as_str(), whole.radix()).ok()
}

/// Where the value of a key is, or else `at`.
fn at_of(table: &Table<'_>, key: &str, at: usize) -> usize {
    table.get(key).map_or(at, |value| value.span().start)
}

/// `; did you mean "x"?` if a known name is near, or else `; there are` all.
fn hint<'a>(name: &str, there_are: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let meant = did_you_mean(name, known.clone());
    if !meant.is_empty() {
        return meant;
    }
    let all: Vec<&str> = known.into_iter().collect();
    format!("; {there_are} {}", if all.is_empty() { "none".to_owned() } else { all.join(", ") })
}

/// `; did you mean "x"?` if a known name is near.
fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .map(|(_, candidate)| format!("; did you mean \"{candidate}\"?"))
        .unwrap_or_default()
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
