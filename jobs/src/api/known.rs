//! What topic `scores` of a run tells.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use headsup_api::{ReadError, Score, ScorePage, ScoreQuery, Time};
use headsup_events::parse_rfc3339_ms;
use headsup_tasks::task::Reason;
use serde::Deserialize;
use serde_json::Value;

/// The latest champions' scores, by customer and model.
#[derive(Default)]
pub struct Scores {
    scores: HashMap<String, BTreeMap<String, Score>>,
}

#[derive(Deserialize)]
struct Data {
    customer_id: String,
    at: String,
    model: String,
    role: String,
    version: String,
    probability: f64,
    percentile: Option<f64>,
    reasons: Vec<Reason>,
}

impl Scores {
    /// Takes in an event of topic `scores`.
    pub fn take(&mut self, event: &Value) {
        let Ok(data) = Data::deserialize(&event["data"]) else { return };
        let Some(at_ms) = parse_rfc3339_ms(&data.at) else { return };
        if data.role != "champion" {
            return;
        }
        let score = Score {
            customer_id: data.customer_id,
            model: data.model,
            version: data.version,
            probability: data.probability,
            percentile: data.percentile,
            reasons: data.reasons.iter().map(From::from).collect(),
            at: Time(at_ms),
        };
        let of_customer = self.scores.entry(score.customer_id.clone()).or_default();
        if of_customer.get(&score.model).is_none_or(|known| known.at <= score.at) {
            of_customer.insert(score.model.clone(), score);
        }
    }

    /// A customer's, by model.
    pub fn of(&self, customer: &str) -> Vec<Score> {
        self.scores.get(customer).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// Which models have scored, and how many customers.
    pub fn models(&self) -> (BTreeSet<String>, usize) {
        let models = self.scores.values().flat_map(BTreeMap::keys);
        (models.cloned().collect(), self.scores.len())
    }

    /// Those that are asked for, the highest first.
    ///
    /// # Errors
    /// A cursor that is none.
    pub fn page(&self, query: &ScoreQuery) -> Result<ScorePage, ReadError> {
        let behind = query.cursor.as_deref().map(place).transpose()?;
        let of_model = |score: &&Score| query.model.as_ref().is_none_or(|model| *model == score.model);
        let mut found: Vec<(Place<'_>, &Score)> = self
            .scores
            .values()
            .flat_map(BTreeMap::values)
            .filter(of_model)
            .filter(|score| score.probability >= query.min_probability)
            .map(|score| (place_of(score), score))
            .filter(|(place, _)| behind.as_ref().is_none_or(|behind| *place > *behind))
            .collect();
        let more = found.len() > query.limit;
        if more {
            found.select_nth_unstable_by(query.limit, |(a, _), (b, _)| a.cmp(b));
            found.truncate(query.limit);
        }
        found.sort_by_key(|(place, _)| *place);
        let cursor = found
            .last()
            .filter(|_| more)
            .map(|((probability, model, customer), _)| format!("{probability:016x} {model} {customer}"));
        let scores = found.into_iter().map(|(_, score)| score.clone()).collect();
        Ok(ScorePage { scores, cursor })
    }
}

/// The order of pages: the highest probability first, whose bits are in the order of their values from 0 on.
type Place<'s> = (u64, &'s str, &'s str);

fn place_of(score: &Score) -> Place<'_> {
    (!score.probability.max(0.0).to_bits(), &score.model, &score.customer_id)
}

fn place(cursor: &str) -> Result<Place<'_>, ReadError> {
    let mut parts = cursor.splitn(3, ' ');
    let (Some(probability), Some(model), Some(customer)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(ReadError::BadCursor);
    };
    let probability = u64::from_str_radix(probability, 16).map_err(|_| ReadError::BadCursor)?;
    Ok((probability, model, customer))
}
