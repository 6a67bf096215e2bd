//! A file of rules, table by table and key by key, and what is wrong with each.

use super::*;

/// What is read, and what was found to be wrong, by where it is.
pub(super) struct Reading<'a> {
    pub(super) text: &'a str,
    pub(super) mistakes: Vec<(usize, String)>,
}

type Table<'a> = DeTable<'a>;
type Value<'a> = Spanned<DeValue<'a>>;

const KEYS: [&str; 19] = [
    "name",
    "title",
    "kpi",
    "value",
    "by",
    "fire_above",
    "fire_below",
    "clear_below",
    "clear_above",
    "for",
    "keep_firing_for",
    "min_n",
    "n",
    "severity",
    "group_by",
    "runbook",
    "series_max",
    "baseline",
    "burn",
];
const BASELINE_KEYS: [&str; 6] =
    ["weeks", "deviations", "clear_deviations", "min_samples", "direction", "floor"];
const BURN_KEYS: [&str; 4] = ["good", "total", "objective", "windows"];
const WINDOW_KEYS: [&str; 3] = ["long", "short", "rate"];

impl Reading<'_> {
    pub(super) fn mistake(&mut self, at: usize, message: impl Into<String>) {
        self.mistakes.push((at, message.into()));
    }

    pub(super) fn rules(&mut self, document: &Table<'_>, shapes: &[KpiShape]) -> Vec<Rule> {
        self.known("the file", document, &["alert"]);
        let Some(alerts) = document.get("alert") else {
            return Vec::new();
        };
        let Some(alerts) = alerts.get_ref().as_array() else {
            self.mistake(
                alerts.span().start,
                "expected [[alert]], found [alert]; a rule begins with [[alert]]",
            );
            return Vec::new();
        };
        let mut rules: Vec<Rule> = Vec::new();
        let mut names: Vec<String> = Vec::new();
        for alert in alerts {
            let at = alert.span().start;
            let Some(table) = alert.get_ref().as_table() else {
                self.mistake(at, "a rule is a table; begin it with [[alert]]");
                continue;
            };
            if let Some(value) = table.get("name")
                && let Some(name) = value.get_ref().as_str()
            {
                if names.iter().any(|other| other == name) {
                    self.mistake(
                        value.span().start,
                        format!("there is another rule named \"{name}\"; names tell alerts apart"),
                    );
                }
                names.push(name.to_owned());
            }
            rules.extend(self.rule(at, table, shapes));
        }
        rules
    }

    fn rule(&mut self, at: usize, table: &Table<'_>, shapes: &[KpiShape]) -> Option<Rule> {
        let before = self.mistakes.len();
        self.known("a rule", table, &KEYS);
        let name = self.required_text(at, table, "name", "a rule");
        if let Some(name) = name.as_ref().filter(|name| !is_identifier(name)) {
            self.mistake(
                at_of(table, "name", at),
                format!("\"{name}\" cannot be a name; use a-z, 0-9 and _, a letter first"),
            );
        }
        let timing = Timing {
            for_ms: self.duration(table, "for").unwrap_or(0),
            keep_firing_for_ms: self.duration(table, "keep_firing_for").unwrap_or(0),
        };
        let severity = self.text(table, "severity").map_or(Some(Severity::Ticket), |text| {
            let found = Severity::ALL.into_iter().find(|severity| severity.name() == text);
            if found.is_none() {
                let there = hint(&text, "there are", Severity::ALL.map(Severity::name));
                self.mistake(at_of(table, "severity", at), format!("no severity \"{text}\"{there}"));
            }
            found
        });
        let min_n = self.whole(table, "min_n", 0, i64::MAX).unwrap_or(0);
        let kpi = self.required_text(at, table, "kpi", "a rule");
        let found = shapes.iter().enumerate().find(|(_, shape)| Some(&shape.name) == kpi.as_ref());
        let condition = self.condition(at, table, found.map(|(_, shape)| shape));
        // The rest is about the KPI, so that without one there is nothing to hold it against.
        let kpi = kpi?;
        let Some((kpi_place, shape)) = found else {
            let there = hint(&kpi, "there are", shapes.iter().map(|shape| shape.name.as_str()));
            self.mistake(at_of(table, "kpi", at), format!("no KPI \"{kpi}\"{there}"));
            return None;
        };
        let by = self.by(at, table, shape);
        let group_by = match self.texts(table, "group_by") {
            Some(group) => {
                for (name, at) in &group {
                    if by.as_ref().is_some_and(|(by, _)| !by.contains(name)) {
                        self.mistake(
                            *at,
                            format!("group_by has \"{name}\", which is not in by; it is a part of by"),
                        );
                    }
                }
                Some(group.into_iter().map(|(name, _)| name).collect())
            }
            None => by.as_ref().map(|(by, _)| by.clone()),
        };
        let (value, n) = self.columns(at, table, shape, &condition);
        if let Some(Condition::Burn(burn)) = &condition {
            self.burn_fits(table, burn, shape);
        }
        if matches!(condition, Some(Condition::Baseline(_)))
            && shape.corrections_ms > SEASONAL_CORRECTIONS_MS_MAX
        {
            self.mistake(
                at_of(table, "baseline", at),
                format!(
                    "KPI {kpi} takes corrections for {}; of last week's values those are known too late, so compare only KPIs with corrections up to 6 days",
                    format_duration_ms(shape.corrections_ms)
                ),
            );
        }
        if let (Some(Condition::Threshold(threshold)), true) = (&condition, value.is_some() && value == n)
            && threshold.direction == Direction::Below
            && min_n as f64 >= threshold.fire
        {
            self.mistake(
                at_of(table, "min_n", at),
                format!(
                    "min_n = {min_n} is of the value itself, so that none is left below {}",
                    threshold.fire
                ),
            );
        }
        let series_max = match &condition {
            Some(Condition::Threshold(_)) | None => 10_000,
            // These remember more of each.
            _ => 1_000,
        };
        let series_max = self.whole(table, "series_max", 1, 1_000_000).map_or(series_max, |max| max as usize);
        let title = self.text(table, "title").unwrap_or_else(|| shape.title.clone());
        let runbook = self.text(table, "runbook").unwrap_or_default();
        if self.mistakes.len() > before {
            return None;
        }
        let (by, grouped_by) = by?;
        Some(Rule {
            name: name?,
            title,
            kpi,
            value: value?,
            by,
            condition: condition?,
            for_ms: timing.for_ms,
            keep_firing_for_ms: timing.keep_firing_for_ms,
            min_n,
            n: n?,
            severity: severity?,
            group_by: group_by?,
            runbook,
            series_max,
            grouped_by,
            kpi_place,
            size_ms: shape.size_ms,
            slide_ms: shape.slide_ms,
            corrections_ms: shape.corrections_ms,
        })
    }

    /// The keys of the rule's series, and `grouped_by` of its rows.
    fn by(&mut self, at: usize, table: &Table<'_>, shape: &KpiShape) -> Option<(Vec<String>, String)> {
        if table.get("by").is_none() {
            self.mistake(
                at,
                "a rule needs by, the keys of its series; by = [] is one series over everything",
            );
            return None;
        }
        let named = self.texts(table, "by")?;
        let mut by: Vec<String> = Vec::new();
        for (name, at) in named {
            if !shape.keys.contains(&name) {
                let there = hint(&name, "it has", shape.keys.iter().map(String::as_str));
                self.mistake(at, format!("KPI {} has no key \"{name}\"{there}", shape.name));
                return None;
            }
            if by.contains(&name) {
                self.mistake(at, format!("by has \"{name}\" twice"));
                return None;
            }
            by.push(name);
        }
        let same = |set: &&Vec<String>| set.len() == by.len() && by.iter().all(|key| set.contains(key));
        let Some(set) = shape.sets.iter().find(same) else {
            let sets: Vec<String> = shape.sets.iter().map(|set| list(set)).collect();
            self.mistake(
                at_of(table, "by", at),
                format!(
                    "KPI {} is not grouped by {}; it is by {}; use one of those, or add the grouping set to the KPI",
                    shape.name,
                    list(&by),
                    sets.join(", ")
                ),
            );
            return None;
        };
        let grouped_by = set.join(",");
        Some((by, grouped_by))
    }

    /// The names of the value and of n.
    fn columns(
        &mut self,
        at: usize,
        table: &Table<'_>,
        shape: &KpiShape,
        condition: &Option<Condition>,
    ) -> (Option<String>, Option<String>) {
        if let Some(Condition::Burn(burn)) = condition {
            for key in ["value", "n"] {
                if table.get(key).is_some() {
                    self.mistake(
                        at_of(table, key, at),
                        format!("a burn rate is computed from good and total; leave out {key}"),
                    );
                }
            }
            return (Some("burn_rate".to_owned()), Some(burn.total.clone()));
        }
        if table.get("burn").is_some() {
            return (None, None);
        }
        let value = self.required_text(at, table, "value", "a rule");
        if let Some(value) = &value {
            let at = at_of(table, "value", at);
            match self.column(at, value, shape) {
                Some(kind) if !kind.is_numeric() => {
                    self.mistake(at, format!("{value} of KPI {} is no number", shape.name));
                }
                _ => {}
            }
        }
        let n = match self.text(table, "n") {
            Some(n) => {
                let at = at_of(table, "n", at);
                if self.column(at, &n, shape).is_some_and(|kind| !kind.is_integer()) {
                    self.mistake(
                        at,
                        format!("n is {n}, which is no count: whole numbers say of how many a value is"),
                    );
                }
                Some(n)
            }
            None => match shape.values.first() {
                Some((first, kind)) if kind.is_integer() => Some(first.clone()),
                _ => {
                    self.mistake(
                        at,
                        format!("the first value of KPI {} is no count; say which column is n", shape.name),
                    );
                    None
                }
            },
        };
        (value, n)
    }

    /// The type of a value of the KPI.
    fn column<'s>(&mut self, at: usize, name: &str, shape: &'s KpiShape) -> Option<&'s DataType> {
        let found = shape.value_column(name).map(|(_, kind)| kind);
        if found.is_none() {
            let there = hint(name, "it has", shape.values.iter().map(|(name, _)| name.as_str()));
            self.mistake(at, format!("KPI {} has no value \"{name}\"{there}", shape.name));
        }
        found
    }

    fn condition(&mut self, at: usize, table: &Table<'_>, shape: Option<&KpiShape>) -> Option<Condition> {
        let given: Vec<&str> = ["fire_above", "fire_below", "baseline", "burn"]
            .into_iter()
            .filter(|key| table.get(*key).is_some())
            .collect();
        match given.as_slice() {
            [] => {
                self.mistake(
                    at,
                    "a rule needs one of fire_above, fire_below, [alert.baseline], [alert.burn], to say when it fires",
                );
                None
            }
            ["fire_above"] => {
                self.threshold(table, Direction::Above, "fire_above", "clear_below", "clear_above")
            }
            ["fire_below"] => {
                self.threshold(table, Direction::Below, "fire_below", "clear_above", "clear_below")
            }
            [one] => {
                for key in ["clear_below", "clear_above"] {
                    if table.get(key).is_some() {
                        self.mistake(
                            at_of(table, key, at),
                            format!("{key} goes with fire_above or fire_below, not with {one}; leave it out"),
                        );
                    }
                }
                if *one == "baseline" { self.baseline(table, shape) } else { self.burn(table) }
            }
            several => {
                self.mistake(
                    at_of(table, several[1], at),
                    format!("a rule fires for one reason, found {}; keep one", several.join(" and ")),
                );
                None
            }
        }
    }

    fn threshold(
        &mut self,
        table: &Table<'_>,
        direction: Direction,
        fire_key: &str,
        clear_key: &str,
        other_key: &str,
    ) -> Option<Condition> {
        if table.get(other_key).is_some() {
            self.mistake(
                at_of(table, other_key, 0),
                format!("{other_key} does not go with {fire_key}; use {clear_key}"),
            );
        }
        let clear = self.number(table, clear_key);
        let fire = self.number(table, fire_key)?;
        if let Some(clear) = clear.filter(|&clear| direction.is_beyond(clear, fire)) {
            let side = if direction == Direction::Above { "at most" } else { "at least" };
            self.mistake(
                at_of(table, clear_key, 0),
                format!("{clear_key} = {clear} is beyond {fire_key} = {fire}; it has to be {side} that"),
            );
        }
        Some(Condition::Threshold(Threshold { direction, fire, clear }))
    }

    fn baseline(&mut self, table: &Table<'_>, shape: Option<&KpiShape>) -> Option<Condition> {
        let value = table.get("baseline")?;
        let Some(table) = value.get_ref().as_table() else {
            self.mistake(value.span().start, "expected a table; begin it with [alert.baseline]");
            return None;
        };
        let at = value.span().start;
        self.known("[alert.baseline]", table, &BASELINE_KEYS);
        let direction = match self.text(table, "direction").as_deref() {
            None | Some("above") => Direction::Above,
            Some("below") => Direction::Below,
            Some(other) => {
                self.mistake(
                    at_of(table, "direction", at),
                    format!("no direction \"{other}\"; there are above, below"),
                );
                Direction::Above
            }
        };
        let weeks = self.whole(table, "weeks", 1, 8);
        let deviations = self.number(table, "deviations").unwrap_or(4.0);
        let clear_deviations = self.number(table, "clear_deviations");
        let floor = self.number(table, "floor").unwrap_or(0.0);
        for (key, wrong, allowed) in [
            ("deviations", deviations <= 0.0, "more than 0"),
            ("floor", floor < 0.0, "at least 0"),
            ("clear_deviations", clear_deviations.is_some_and(|clear| clear < 0.0), "at least 0"),
        ] {
            if wrong {
                self.mistake(at_of(table, key, at), format!("{key} has to be {allowed}"));
            }
        }
        if clear_deviations.is_some_and(|clear| clear > deviations) {
            self.mistake(
                at_of(table, "clear_deviations", at),
                "clear_deviations is more than deviations; it has to be at most that",
            );
        }
        let weeks = weeks.unwrap_or(4);
        let min_samples = match self.whole(table, "min_samples", 1, 100_000) {
            Some(min) => min as usize,
            // Half of what there can be.
            None => (shape.map_or(1, |s| 3_600_000 / sample_ms(s.size_ms, s.slide_ms)).max(1) * weeks / 2)
                .max(1) as usize,
        };
        Some(Condition::Baseline(Baseline {
            direction,
            weeks,
            deviations,
            clear_deviations,
            min_samples,
            floor,
        }))
    }

    fn burn(&mut self, table: &Table<'_>) -> Option<Condition> {
        let value = table.get("burn")?;
        let at = value.span().start;
        let Some(table) = value.get_ref().as_table() else {
            self.mistake(at, "expected a table; begin it with [alert.burn]");
            return None;
        };
        self.known("[alert.burn]", table, &BURN_KEYS);
        let good = self.required_text(at, table, "good", "[alert.burn]");
        let total = self.required_text(at, table, "total", "[alert.burn]");
        let objective = self.number(table, "objective");
        match objective {
            None if table.get("objective").is_none() => {
                self.mistake(at, "[alert.burn] needs objective, the share that should be good");
            }
            Some(objective) if !(0.0..1.0).contains(&objective) || objective <= 0.0 => {
                self.mistake(
                    at_of(table, "objective", at),
                    format!("objective = {objective} is no share between 0 and 1, such as 0.8"),
                );
            }
            _ => {}
        }
        let Some(list) = table.get("windows") else {
            self.mistake(at, "[alert.burn] needs windows = [{ long = \"1h\", short = \"5m\", rate = 2.0 }]");
            return None;
        };
        let Some(pairs) = list.get_ref().as_array().filter(|pairs| !pairs.is_empty()) else {
            self.mistake(
                list.span().start,
                "expected a list of { long = \"1h\", short = \"5m\", rate = 2.0 }",
            );
            return None;
        };
        let mut windows = Vec::new();
        for pair in pairs {
            let at = pair.span().start;
            let Some(table) = pair.get_ref().as_table() else {
                self.mistake(at, "expected { long = \"1h\", short = \"5m\", rate = 2.0 }");
                continue;
            };
            self.known("a pair of windows", table, &WINDOW_KEYS);
            for key in WINDOW_KEYS {
                if table.get(key).is_none() {
                    self.mistake(at, format!("a pair of windows needs {key}"));
                }
            }
            let (long, short) = (self.duration(table, "long"), self.duration(table, "short"));
            let rate = self.number(table, "rate");
            if rate.is_some_and(|rate| rate <= 0.0) {
                self.mistake(at_of(table, "rate", at), "rate has to be more than 0");
            }
            if let (Some(long_ms), Some(short_ms), Some(rate)) = (long, short, rate) {
                if short_ms > long_ms {
                    self.mistake(at_of(table, "short", at), "short is longer than long");
                }
                windows.push(BurnWindow { long_ms, short_ms, rate });
            }
        }
        if pairs.len() > BURN_PAIRS_MAX {
            self.mistake(list.span().start, format!("more than {BURN_PAIRS_MAX} pairs of windows"));
        }
        let mut lengths_ms: Vec<i64> =
            windows.iter().flat_map(|pair| [pair.long_ms, pair.short_ms]).collect();
        lengths_ms.sort_unstable();
        lengths_ms.dedup();
        Some(Condition::Burn(Burn { good: good?, total: total?, objective: objective?, windows, lengths_ms }))
    }

    /// Whether the KPI has what a burn rate is computed from.
    fn burn_fits(&mut self, table: &Table<'_>, burn: &Burn, shape: &KpiShape) {
        let at = at_of(table, "burn", 0);
        let inner = table.get("burn").and_then(|burn| burn.get_ref().as_table());
        let at_key = |key: &str| inner.map_or(at, |inner| at_of(inner, key, at));
        for (key, name) in [("good", &burn.good), ("total", &burn.total)] {
            if self.column(at_key(key), name, shape).is_some_and(|kind| !kind.is_integer()) {
                self.mistake(at_key(key), format!("{key} is {name}, which is no count"));
            }
        }
        for pair in &burn.windows {
            let most = 1.0 / (1.0 - burn.objective);
            if most > 0.0 && pair.rate > most - 1e-9 {
                self.mistake(
                    at_key("windows"),
                    format!(
                        "rate = {} is never exceeded: with objective = {}, all failing is {}",
                        pair.rate,
                        burn.objective,
                        (most * 1e6).round() / 1e6
                    ),
                );
            }
        }
        if shape.size_ms % shape.slide_ms != 0 {
            self.mistake(
                at,
                format!(
                    "windows of KPI {} cannot be laid end to end, as a burn rate does: {} is no multiple of the slide {}",
                    shape.name,
                    format_duration_ms(shape.size_ms),
                    format_duration_ms(shape.slide_ms)
                ),
            );
        }
        for pair in &burn.windows {
            for (key, ms) in [("long", pair.long_ms), ("short", pair.short_ms)] {
                if ms == 0 || ms % shape.size_ms != 0 {
                    self.mistake(
                        at_key("windows"),
                        format!(
                            "{key} = {} is no multiple of {}, which is the window of KPI {}",
                            format_duration_ms(ms),
                            format_duration_ms(shape.size_ms),
                            shape.name
                        ),
                    );
                }
            }
        }
        if burn.longest_ms() / shape.slide_ms > BURN_POINTS_MAX {
            self.mistake(
                at_key("windows"),
                format!(
                    "long = {} has more than {BURN_POINTS_MAX} windows of KPI {}; make it shorter",
                    format_duration_ms(burn.longest_ms()),
                    shape.name
                ),
            );
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

    fn required_text(&mut self, at: usize, table: &Table<'_>, key: &str, what: &str) -> Option<String> {
        if table.get(key).is_none() {
            self.mistake(at, format!("{what} needs {key}"));
        }
        self.text(table, key)
    }

    fn text(&mut self, table: &Table<'_>, key: &str) -> Option<String> {
        let value = table.get(key)?;
        match value.get_ref().as_str() {
            Some(text) => Some(text.to_owned()),
            None => self.mistyped(key, value, "a text in quotes"),
        }
    }

    /// A list of texts, each with its place.
    fn texts(&mut self, table: &Table<'_>, key: &str) -> Option<Vec<(String, usize)>> {
        let value = table.get(key)?;
        let texts = value.get_ref().as_array().and_then(|list| {
            list.iter()
                .map(|text| text.get_ref().as_str().map(|name| (name.to_owned(), text.span().start)))
                .collect::<Option<Vec<_>>>()
        });
        match texts {
            Some(texts) => Some(texts),
            None => self.mistyped(key, value, "a list of names, such as [\"shop\"]"),
        }
    }

    fn number(&mut self, table: &Table<'_>, key: &str) -> Option<f64> {
        let value = table.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(whole) => whole_of(whole).map(|whole| whole as f64),
            DeValue::Float(float) => float.as_str().parse().ok(),
            _ => None,
        };
        match number.filter(|number: &f64| number.is_finite()) {
            Some(number) => Some(number),
            None => self.mistyped(key, value, "a number"),
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

    fn duration(&mut self, table: &Table<'_>, key: &str) -> Option<i64> {
        let value = table.get(key)?;
        match value.get_ref().as_str().and_then(parse_duration_ms).filter(|&ms| ms <= DURATION_MS_MAX) {
            Some(ms) => Some(ms),
            None => self.mistyped(key, value, "a duration such as \"5m\", at most \"31d\""),
        }
    }

    fn mistyped<T>(&mut self, key: &str, value: &Value<'_>, expected: &str) -> Option<T> {
        let found = self.text.get(value.span()).unwrap_or_default().lines().next().unwrap_or_default();
        self.mistake(value.span().start, format!("{key}: expected {expected}, found {found}"));
        None
    }
}

struct Timing {
    for_ms: i64,
    keep_firing_for_ms: i64,
}

fn whole_of(whole: &toml::de::DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(whole.as_str(), whole.radix()).ok()
}

/// Where the value of a key is, or else `at`.
fn at_of(table: &Table<'_>, key: &str, at: usize) -> usize {
    table.get(key).map_or(at, |value| value.span().start)
}

/// `(shop, skill)`.
fn list(names: &[String]) -> String {
    format!("({})", names.join(", "))
}
