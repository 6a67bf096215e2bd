//! A rule with other values of its limits, to be tried on the past.

use super::*;

impl Rule {
    /// What can be tried with other values: keys as in the file, and what they are now; empty, if one is left out. The
    /// rates of a burn rate are named after their windows, such as `rate 1h/5m`.
    pub fn values(&self) -> Vec<(String, String)> {
        let of = |key: &str, value: String| (key.to_owned(), value);
        let maybe = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        let mut values = match &self.condition {
            Condition::Threshold(Threshold { direction, fire, clear }) => {
                let [fire_key, clear_key] = match direction {
                    Direction::Above => ["fire_above", "clear_below"],
                    Direction::Below => ["fire_below", "clear_above"],
                };
                vec![of(fire_key, fire.to_string()), of(clear_key, maybe(*clear))]
            }
            Condition::Baseline(Baseline { deviations, clear_deviations, floor, .. }) => vec![
                of("deviations", deviations.to_string()),
                of("clear_deviations", maybe(*clear_deviations)),
                of("floor", floor.to_string()),
            ],
            Condition::Burn(Burn { objective, windows, .. }) => {
                let rate = |pair: &BurnWindow| {
                    let [long, short] = [pair.long_ms, pair.short_ms].map(format_duration_ms);
                    of(&format!("{RATE}{long}/{short}"), pair.rate.to_string())
                };
                std::iter::once(of("objective", objective.to_string()))
                    .chain(windows.iter().map(rate))
                    .collect()
            }
        };
        values.extend([
            of("for", format_duration_ms(self.for_ms)),
            of("keep_firing_for", format_duration_ms(self.keep_firing_for_ms)),
            of("min_n", self.min_n.to_string()),
        ]);
        values
    }

    /// How far back of a window's end the rows go by which it says something then.
    pub fn looks_back_ms(&self) -> i64 {
        let weeks = match &self.condition {
            Condition::Baseline(baseline) => baseline.weeks,
            _ => 0,
        };
        self.size_ms + self.for_ms + self.memory_ms() + weeks * WEEK_MS
    }

    /// As a file has it, but for what does not decide when it fires.
    fn document(&self, values: &[(String, String)]) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let written = |key: &str, value: &str| {
            let plain = value.replace('_', "");
            match (plain.parse::<i64>(), plain.parse::<f64>()) {
                _ if ["for", "keep_firing_for"].contains(&key) => quoted(value),
                (Ok(number), _) => number.to_string(),
                (_, Ok(number)) if number.is_finite() => format!("{number:?}"),
                _ => quoted(value),
            }
        };
        let line = |(key, value): &(String, String)| format!("{key} = {}\n", written(key, value));
        let is_rate = |(key, _): &&(String, String)| key.starts_with(RATE);
        let is_there = |(key, value): &&(String, String)| !(key.starts_with("clear_") && value.is_empty());
        let lines = |keys: &[&str]| -> String {
            let is_wanted = |(key, _): &&(String, String)| keys.contains(&key.as_str());
            values.iter().filter(is_wanted).filter(is_there).map(line).collect()
        };
        let mut text =
            format!("[[alert]]\nname = {}\nkpi = {}\nby = [", quoted(&self.name), quoted(&self.kpi));
        text.extend(self.by.iter().map(|key| quoted(key) + ","));
        text += "]\n";
        if !matches!(self.condition, Condition::Burn(_)) {
            text += &format!("value = {}\nn = {}\n", quoted(&self.value), quoted(&self.n));
        }
        text += &lines(&["fire_above", "fire_below", "clear_above", "clear_below"]);
        text += &lines(&["for", "keep_firing_for", "min_n"]);
        match &self.condition {
            Condition::Threshold(_) => {}
            Condition::Baseline(Baseline { direction, weeks, min_samples, .. }) => {
                let direction = if *direction == Direction::Above { "above" } else { "below" };
                text += &format!(
                    "[alert.baseline]\ndirection = \"{direction}\"\nweeks = {weeks}\nmin_samples = {min_samples}\n"
                );
                text += &lines(&["deviations", "clear_deviations", "floor"]);
            }
            Condition::Burn(Burn { good, total, windows, .. }) => {
                text +=
                    &format!("[alert.burn]\ngood = {}\ntotal = {}\nwindows = [", quoted(good), quoted(total));
                for (pair, (key, rate)) in windows.iter().zip(values.iter().filter(is_rate)) {
                    let [long, short] =
                        [pair.long_ms, pair.short_ms].map(|ms| quoted(&format_duration_ms(ms)));
                    text += &format!("{{ long = {long}, short = {short}, rate = {} }},", written(key, rate));
                }
                text += "]\n";
                text += &lines(&["objective"]);
            }
        }
        text
    }
}

impl Rules {
    /// One of these rules with other values of what [`Rule::values`] names. They are checked as a file's are; an empty
    /// one leaves out a limit for being over.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn tuned(&self, rule: &Rule, changes: &[(String, String)]) -> Result<Rule, String> {
        let mut values = rule.values();
        for (key, value) in changes {
            let Some((_, known)) = values.iter_mut().find(|(known, _)| known == key) else {
                let there = hint(key, "there are", values.iter().map(|(known, _)| known.as_str()));
                return Err(format!("rule {} has no value \"{key}\"{there}", rule.name));
            };
            value.trim().clone_into(known);
        }
        let parsed = Self::parse(&rule.name, &rule.document(&values), &self.shapes).map_err(
            |RulesError(mistakes)| {
                let messages: Vec<String> = mistakes.into_iter().map(|mistake| mistake.message).collect();
                messages.join("; ")
            },
        )?;
        let Some(parsed) = parsed.rules.first() else {
            return Err(format!("there is no rule {}", rule.name));
        };
        let Rule { condition, for_ms, keep_firing_for_ms, min_n, .. } = Rule::clone(parsed);
        Ok(Rule { condition, for_ms, keep_firing_for_ms, min_n, ..rule.clone() })
    }
}

/// What the names of rates begin with.
const RATE: &str = "rate ";
const WEEK_MS: i64 = 7 * 86_400_000;
