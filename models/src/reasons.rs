//! Why a row has a high score, in words: contributions by group of features.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The groups and texts of the features of this repository.
pub const STANDARD: &str = include_str!("../reasons.toml");

/// What is wrong with groups or texts.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No TOML of the expected shape.
    #[error("reasons: {0}")]
    Toml(#[from] toml::de::Error),
    /// A text that cannot be filled in.
    #[error(
        "reasons: the text of `{feature}` in group `{group}`, \"{text}\": expected English and Chinese, separated by \
         \" | \", with no other placeholders than {{value}}, {{money}}, {{percent}}, {{seconds}}, and {{*}} if there \
         is a * in the name"
    )]
    Text {
        /// The group's name.
        group: String,
        /// The feature or pattern, or `title`.
        feature: String,
        /// The text.
        text: String,
    },
    /// A feature with several texts.
    #[error("reasons: `{0}` comes twice: leave it in one group")]
    Twice(String),
    /// Features without any.
    #[error("reasons: no group has a text for {}: add them to one in reasons.toml", .0.join(", "))]
    Missing(Vec<String>),
}

/// Why a score is high.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reason {
    /// The group's name.
    pub group: String,
    /// The group's feature that raises the risk most.
    pub feature: String,
    /// Its value, NaN if missing.
    pub value: f32,
    /// What the group adds to the log-odds, above 0.
    pub contribution: f64,
    /// In English.
    pub en: String,
    /// In Chinese.
    pub zh: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    groups: Vec<Group>,
}

/// Of features that tell of one thing, so that their contributions are one reason.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    title: String,
    texts: BTreeMap<String, String>,
}

/// Groups of features, with texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Reasons {
    groups: Vec<Group>,
    /// From a feature or pattern to its group and text.
    texts: BTreeMap<String, (usize, String)>,
}

/// The name with its last number as `*`, and that number.
fn pattern(name: &str) -> Option<(String, &str)> {
    let end = name.rfind(|c: char| c.is_ascii_digit())? + 1;
    let start = name[..end].rfind(|c: char| !c.is_ascii_digit())? + 1;
    Some((format!("{}*{}", &name[..start], &name[end..]), &name[start..end]))
}

/// With two decimals at most, and no zeros at the end.
fn shown(value: f64) -> String {
    // Adding 0 turns -0 to 0.
    ((value * 100.0).round() / 100.0 + 0.0).to_string()
}

fn filled(text: &str, value: f64, number: &str) -> String {
    let text = text.replace("{value}", &shown(value)).replace("{money}", &format!("{:.2}", value / 100.0));
    let text = text.replace("{percent}", &shown(value * 100.0)).replace("{seconds}", &shown(value / 1000.0));
    text.replace("{*}", number)
}

impl Reasons {
    /// From the text of a file.
    ///
    /// # Errors
    /// It has another shape, a text that cannot be filled in, or a feature twice.
    pub fn read(toml: &str) -> Result<Self, Error> {
        let File { groups } = toml::from_str(toml)?;
        let mut texts = BTreeMap::new();
        for (at, group) in groups.iter().enumerate() {
            for (feature, text) in [(&"title".to_owned(), &group.title)].into_iter().chain(&group.texts) {
                let number = if feature.contains('*') { "" } else { "{*}" };
                let known = !filled(text, 0.0, number).contains(['{', '}']);
                if text.split(" | ").count() != 2 || !known {
                    let (feature, text) = (feature.clone(), text.clone());
                    return Err(Error::Text { group: group.name.clone(), feature, text });
                }
            }
            for (feature, text) in &group.texts {
                if texts.insert(feature.clone(), (at, text.clone())).is_some() {
                    return Err(Error::Twice(feature.clone()));
                }
            }
        }
        Ok(Self { groups, texts })
    }

    /// The group, the text and the number in the name of a feature.
    fn text<'a>(&self, feature: &'a str) -> Option<(usize, &str, &'a str)> {
        let (found, number) = match self.texts.get(feature) {
            Some(found) => (found, ""),
            None => {
                pattern(feature).and_then(|(pattern, number)| Some((self.texts.get(&pattern)?, number)))?
            }
        };
        Some((found.0, &found.1, number))
    }

    /// Whether every feature has a text.
    ///
    /// # Errors
    /// Names those that have none.
    pub fn check<S: AsRef<str>>(&self, features: &[S]) -> Result<(), Error> {
        let missing = features.iter().map(AsRef::as_ref).filter(|name| self.text(name).is_none());
        let missing: Vec<String> = missing.map(str::to_owned).collect();
        if missing.is_empty() { Ok(()) } else { Err(Error::Missing(missing)) }
    }

    /// The `n` groups that raise the risk of a row most, the strongest first. Contributions are those
    /// of [`crate::trees::Forest::contributions`]; features without a group are passed over.
    pub fn of<S: AsRef<str>>(
        &self,
        names: &[S],
        row: &[f32],
        contributions: &[f64],
        n: usize,
    ) -> Vec<Reason> {
        let mut sums = vec![0.0; self.groups.len()];
        let mut strongest: Vec<Option<(f64, &str, f32)>> = vec![None; self.groups.len()];
        for ((name, &value), &contribution) in names.iter().map(AsRef::as_ref).zip(row).zip(contributions) {
            let Some((group, ..)) = self.text(name) else { continue };
            sums[group] += contribution;
            let stronger = |(than, other, _): (f64, &str, f32)| {
                contribution > than || (contribution == than && name < other)
            };
            if strongest[group].is_none_or(stronger) {
                strongest[group] = Some((contribution, name, value));
            }
        }
        let groups = self.groups.iter().zip(sums).zip(strongest).filter(|((_, sum), _)| *sum > 0.0);
        let mut reasons: Vec<Reason> = groups
            .filter_map(|((group, contribution), strongest)| {
                let (_, feature, value) = strongest?;
                let (_, text, number) = self.text(feature)?;
                let (en, zh) = if value.is_nan() { &group.title } else { text }.split_once(" | ")?;
                let (en, zh) = if value.is_nan() {
                    (format!("{en}: nothing known"), format!("{zh}：无数据"))
                } else {
                    (filled(en, value.into(), number), filled(zh, value.into(), number))
                };
                let (group, feature) = (group.name.clone(), feature.to_owned());
                Some(Reason { group, feature, value, contribution, en, zh })
            })
            .collect();
        reasons.sort_by(|a, b| b.contribution.total_cmp(&a.contribution).then_with(|| a.group.cmp(&b.group)));
        reasons.truncate(n);
        reasons
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, clippy::unwrap_used)]
    use super::*;

    /// Those of `features/*.sql`: what follows AS before a comment, once for each number of the line
    /// `-- each: w = 7, 30`.
    fn all_features() -> Vec<String> {
        let mut names = Vec::new();
        for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../features")).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "sql") {
                continue;
            }
            let sql = std::fs::read_to_string(path).unwrap();
            let each = sql.lines().find_map(|line| line.strip_prefix("-- each: w = ")).unwrap_or_default();
            for line in sql.lines() {
                let Some((_, name)) = line.split(", -- ").next().unwrap().rsplit_once(" AS ") else {
                    continue;
                };
                if line.contains(", -- ") && name.contains("{w}") {
                    names.extend(each.split(", ").map(|w| name.replace("{w}", w)));
                } else if line.contains(", -- ") {
                    names.push(name.to_owned());
                }
            }
        }
        names
    }

    #[test]
    fn every_feature_has_a_text_and_every_text_a_feature() {
        let (reasons, names) = (Reasons::read(STANDARD).unwrap(), all_features());
        assert_eq!(names.len(), 138, "{names:?}");
        reasons.check(&names).unwrap();
        for text in reasons.texts.keys() {
            assert!(names.iter().any(|n| n == text || pattern(n).is_some_and(|(p, _)| p == *text)), "{text}");
        }
        let error = reasons.check(&["orders", "orders_of_mars"]).unwrap_err().to_string();
        assert!(error.contains("orders_of_mars") && !error.contains("orders,"), "{error}");
    }

    #[test]
    fn groups_that_raise_the_risk_come_by_strength() {
        let reasons = Reasons::read(STANDARD).unwrap();
        let names =
            ["returns_30d", "returned_30d", "orders_90d", "alive", "days_since_rating", "wait_max_7d"];
        let row = [3.0, 12_345.0, 1.0, 0.25, f32::NAN, 90_500.0];
        let of = |contributions: [f64; 7], n| reasons.of(&names, &row, &contributions, n);
        let texts = |reasons: Vec<Reason>| reasons.into_iter().flat_map(|r| [r.en, r.zh]).collect::<Vec<_>>();
        let got = of([0.3, 0.4, -0.1, 0.5, 0.5, 0.1, 9.0], 3);
        assert_eq!(
            (got[0].group.as_str(), got[0].feature.as_str(), got[0].contribution),
            ("returns", "returned_30d", 0.7)
        );
        let expected = [
            "Amount given back in the last 30 days: 123.45",
            "近 30 天退单金额 123.45",
            "Probability that the customer is still active: 25 %",
            "仍为活跃客户的概率 25%",
            "Ratings and reviews: nothing known",
            "评分与评价：无数据",
        ];
        assert_eq!(texts(got), expected);
        // A group that lowers the risk in sum is none, however strong one of its features.
        let got = of([0.9, -1.0, 0.0, -0.1, -0.1, 0.2, 9.0], 3);
        assert_eq!(texts(got), ["Longest wait in the last 7 days: 90.5 s", "近 7 天最长等待 90.5 秒"]);
    }

    #[test]
    fn what_is_wrong_with_a_text() {
        let group = |name: &str, text: &str| {
            format!("[[groups]]\nname = \"{name}\"\ntitle = \"A | 甲\"\n[groups.texts]\n{text}\n")
        };
        for text in ["a = \"only English\"", "a = \"{values} | 值\"", "a = \"{*} | 值\""] {
            assert!(matches!(Reasons::read(&group("x", text)), Err(Error::Text { .. })), "{text}");
        }
        let twice = group("x", "a = \"A | 甲\"") + &group("y", "a = \"A | 甲\"");
        assert!(matches!(Reasons::read(&twice), Err(Error::Twice(_))));
        assert!(matches!(Reasons::read("groups = 1"), Err(Error::Toml(_))));
    }
}
