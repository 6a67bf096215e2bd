//! The strict path: any JSON, and a word on what is wrong with it.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use sonic_rs::{JsonType, JsonValueTrait, LazyValue};

use crate::Reason;
use crate::batch::Text;
use crate::scan::{Field, KIND, RECORDED, Raw, SPECVERSION, TIME};

/// What is wrong, and where.
#[derive(Debug, PartialEq)]
pub(crate) struct Mistake {
    pub reason: Reason,
    pub detail: String,
}

/// Reads `line` with texts unescaped into `arena`.
pub(crate) fn parse<'a>(line: &[u8], arena: &'a mut String) -> Result<Raw<'a>, Mistake> {
    arena.clear();
    if nested(line) > NESTED_MAX {
        return Err(Mistake {
            reason: Reason::NotJson,
            detail: format!("arrays and objects within each other, more than {NESTED_MAX} deep"),
        });
    }
    let envelope: Envelope<'_> = sonic_rs::from_slice(line).map_err(|error| Mistake {
        reason: Reason::NotJson,
        // The library's message has more lines, which show the input again.
        detail: error.to_string().lines().next().unwrap_or_default().trim().to_owned(),
    })?;
    let mut strings: [Range<usize>; RECORDED + 1] = std::array::from_fn(|_| 0..0);
    strings[SPECVERSION] = text(&envelope.specversion, "specversion", arena)?;
    strings[KIND] = text(&envelope.kind, "type", arena)?;
    strings[TIME] = text(&envelope.time, "time", arena)?;
    strings[RECORDED] = text(&envelope.recorded, "recordedtime", arena)?;
    strings[Text::Id as usize] = text(&envelope.id, "id", arena)?;
    strings[Text::Source as usize] = text(&envelope.source, "source", arena)?;
    strings[Text::Subject as usize] = text(&envelope.subject, "subject", arena)?;
    let mut raw = Raw::EMPTY;
    let mut negative = 0..0;
    if let Some(value) = present(&envelope.data) {
        let data: Data<'_> = match value.get_type() {
            JsonType::Object => sonic_rs::from_str(value.as_raw_str())
                .map_err(|error| Mistake { reason: Reason::NotJson, detail: error.to_string() })?,
            _ => return Err(mistyped("data", "an object", value)),
        };
        raw.has_data = true;
        for (key, value) in &data.0 {
            let value = Some(value.clone());
            let present = present(&value);
            match Field::of_data(key) {
                Some(Field::String(place)) => {
                    strings[place] = text(&value, &format!("data.{key}"), arena)?;
                }
                Some(Field::Number(column)) => {
                    let whole = |value: &LazyValue<'_>| {
                        value.as_i64().ok_or_else(|| mistyped(&format!("data.{key}"), "an integer", value))
                    };
                    raw.numbers[column as usize] = present.map(whole).transpose()?;
                }
                Some(Field::Flag(column)) => {
                    let truth = |value: &LazyValue<'_>| {
                        let mistake = || mistyped(&format!("data.{key}"), "true or false", value);
                        value.as_bool().ok_or_else(mistake)
                    };
                    raw.flags[column as usize] = present.map(truth).transpose()?;
                }
                Some(Field::Lines) => {
                    if let Some(value) = present {
                        if value.get_type() != JsonType::Array {
                            return Err(mistyped("data.lines", "an array", value));
                        }
                        strings[Text::Lines as usize] = keep(value.as_raw_str(), arena);
                    }
                }
                Some(Field::Data) | None => match present.map(|value| (value.as_i64(), value)) {
                    Some((None, value)) => {
                        return Err(mistyped(&format!("data.{key}"), "a whole number of ms", value));
                    }
                    Some((Some(..0), _)) => negative = keep(key, arena),
                    Some((Some(0..), _)) | None => {}
                },
            }
        }
    }
    let arena = arena.as_str();
    raw.negative = &arena[negative];
    for (place, range) in strings.into_iter().enumerate() {
        raw.set(place, arena[range].as_bytes());
    }
    Ok(raw)
}

/// How deep arrays and objects may be within each other. The parser skips what nobody reads with
/// a call for each, without a limit of its own, so a line of brackets would end the process.
const NESTED_MAX: usize = 128;

/// How deep arrays and objects are within each other, outside of strings.
fn nested(line: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let mut bytes = line.iter();
    let mut in_string = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => drop(bytes.next()),
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn present<'v, 'a>(value: &'v Option<LazyValue<'a>>) -> Option<&'v LazyValue<'a>> {
    value.as_ref().filter(|value| !value.is_null())
}

fn text(value: &Option<LazyValue<'_>>, name: &str, arena: &mut String) -> Result<Range<usize>, Mistake> {
    match present(value) {
        None => Ok(0..0),
        Some(value) => match value.as_str() {
            Some(text) => Ok(keep(text, arena)),
            None => Err(mistyped(name, "a string", value)),
        },
    }
}

fn keep(text: &str, arena: &mut String) -> Range<usize> {
    let start = arena.len();
    arena.push_str(text);
    start..arena.len()
}

fn mistyped(name: &str, expected: &str, found: &LazyValue<'_>) -> Mistake {
    let found = found.as_raw_str();
    let short: String = found.chars().take(60).collect();
    let more = if short.len() < found.len() { "…" } else { "" };
    Mistake {
        reason: Reason::MistypedField,
        detail: format!("{name}: expected {expected}, found {short}{more}"),
    }
}

/// The attributes in use. Of a name that comes twice, the last one counts.
#[derive(Default)]
struct Envelope<'a> {
    specversion: Option<LazyValue<'a>>,
    kind: Option<LazyValue<'a>>,
    time: Option<LazyValue<'a>>,
    recorded: Option<LazyValue<'a>>,
    id: Option<LazyValue<'a>>,
    source: Option<LazyValue<'a>>,
    subject: Option<LazyValue<'a>>,
    data: Option<LazyValue<'a>>,
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Attributes;
        impl<'de> Visitor<'de> for Attributes {
            type Value = Envelope<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut envelope = Envelope::default();
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    let slot = match key.as_ref() {
                        "specversion" => &mut envelope.specversion,
                        "type" => &mut envelope.kind,
                        "time" => &mut envelope.time,
                        "recordedtime" => &mut envelope.recorded,
                        "id" => &mut envelope.id,
                        "source" => &mut envelope.source,
                        "subject" => &mut envelope.subject,
                        "data" => &mut envelope.data,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *slot = Some(map.next_value()?);
                }
                Ok(envelope)
            }
        }
        deserializer.deserialize_map(Attributes)
    }
}

struct Data<'a>(Vec<(String, LazyValue<'a>)>);

impl<'de> Deserialize<'de> for Data<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Data<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut fields = Vec::new();
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    let known = Field::of_data(&key).is_some() || key.ends_with("_ms");
                    if known {
                        fields.push((key.into_owned(), map.next_value()?));
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Data(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}
