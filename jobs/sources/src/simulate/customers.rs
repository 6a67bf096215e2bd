//! Customers: habits, temper, mood, and the hazard of leaving.

use super::catalogue::{CHANNEL_WEIGHTS, CHANNELS};
use super::config::DAY_MS;
use super::dice::{Dice, Purpose, Streams, exp};
use super::emit::numbered;
use super::orders::Order;
use super::truth::Treatment;

/// Half of a mood is gone after this long.
const MOOD_HALF_LIFE_MS: f64 = 14.0 * DAY_MS as f64;
/// A treatment works for this long.
pub(super) const TREATMENT_MS: i64 = 14 * DAY_MS;
/// No day's hazard is above this.
pub(super) const HAZARD_MAX: f64 = 0.5;
const VISITS_PER_DAY: f64 = 0.18;

/// One customer. Traits are drawn once from the number; the rest is what has happened.
pub(super) struct Customer {
    pub(super) number: u64,
    pub(super) shop: u8,
    pub(super) channel: u8,
    pub(super) vip: bool,
    /// How hard bad service strikes, 1 on average.
    pub(super) temper: f64,
    /// Inclination to return, a logarithm, 0 at the median.
    pub(super) habit_log: f64,
    pub(super) visits_per_day: f64,
    pub(super) patience_ms: f64,
    leave_per_day: f64,
    /// Share of the hazard of returning that a contact can take away; negative: it annoys.
    pub(super) return_steerable: f64,
    leave_steerable: f64,
    /// Sum of what happened lately, bad is positive; halves in two weeks.
    mood: f64,
    mood_at_ms: i64,
    pub(super) left_ms: Option<i64>,
    pub(super) treated: Option<Treated>,
    pub(super) conversations: u32,
    pub(super) orders: u32,
    /// Indices of orders that are not finished.
    pub(super) open_orders: Vec<u32>,
}

/// A treatment that was applied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Treated {
    pub(super) kind: Treatment,
    pub(super) at_ms: i64,
}

impl Treated {
    /// Whether it works at an instant.
    pub(super) fn works(self, at_ms: i64) -> bool {
        (self.at_ms..self.at_ms + TREATMENT_MS).contains(&at_ms)
    }
}

impl Customer {
    pub(super) fn new(number: u64, shops: usize, now_ms: i64, streams: &Streams) -> Self {
        let mut dice = streams.of(Purpose::Customer, number, 0);
        let halves: Vec<f64> = (0..shops).map(|shop| exp(-0.7 * shop as f64)).collect();
        Self {
            number,
            shop: dice.weighted(&halves) as u8,
            channel: dice.weighted(&CHANNEL_WEIGHTS) as u8,
            vip: dice.chance(0.04),
            temper: dice.log_normal(0.94, 0.35),
            habit_log: 0.75 * dice.normal(),
            // exp(sigma^2 / 2) is the mean of a log-normal whose median is 1.
            visits_per_day: (dice.log_normal(VISITS_PER_DAY / exp(0.32), 0.8)).min(0.8),
            patience_ms: dice.log_normal(170_000.0, 0.3),
            leave_per_day: dice.log_normal(0.0022, 0.6),
            return_steerable: steerable(&mut dice),
            leave_steerable: steerable(&mut dice),
            mood: 0.0,
            mood_at_ms: now_ms,
            left_ms: None,
            treated: None,
            conversations: 0,
            orders: 0,
            open_orders: Vec::new(),
        }
    }

    pub(super) fn id(&self) -> String {
        customer_id(self.number)
    }

    /// The channel of one matter: mostly the customer's own.
    pub(super) fn pick_channel(&self, dice: &mut Dice) -> u8 {
        if dice.chance(0.82) { self.channel } else { dice.below(CHANNELS.len()) as u8 }
    }

    pub(super) fn mood(&self, at_ms: i64) -> f64 {
        if self.mood == 0.0 { 0.0 } else { self.mood * faded(at_ms - self.mood_at_ms) }
    }

    /// Something happened that annoys (positive) or pleases (negative).
    pub(super) fn feel(&mut self, at_ms: i64, change: f64) {
        self.mood = bounded(self.mood(at_ms) + change);
        self.mood_at_ms = at_ms;
    }

    /// The probability of leaving within the day that begins at `at_ms`.
    pub(super) fn leave_hazard(&self, at_ms: i64, treated: Option<Treated>) -> f64 {
        let mood = self.mood(at_ms);
        (self.leave_per_day * exp(mood) * self.leave_factor(at_ms, mood, treated)).min(HAZARD_MAX)
    }

    /// The probability of leaving within the seven days from `at_ms` on, with each of two
    /// treatments, if nothing else happens than what is settled: moods fade, parcels `on_the_way`
    /// arrive.
    pub(super) fn leave_within_7d<'a>(
        &self,
        at_ms: i64,
        treatments: [Option<Treated>; 2],
        on_the_way: impl Iterator<Item = &'a Order> + Clone,
    ) -> [f64; 2] {
        let mut stays = [1.0; 2];
        for day in 0..7 {
            let at_ms = at_ms + day * DAY_MS;
            let arrived = on_the_way.clone().filter(|order| order.delivered_ms < at_ms);
            let change: f64 =
                arrived.map(|order| order.disappointment() * faded(at_ms - order.delivered_ms)).sum();
            let mood = bounded(self.mood(at_ms) + change);
            let calm = self.leave_per_day * exp(mood);
            for (stays, treated) in stays.iter_mut().zip(treatments) {
                *stays *= 1.0 - (calm * self.leave_factor(at_ms, mood, treated)).min(HAZARD_MAX);
            }
        }
        stays.map(|stays| 1.0 - stays)
    }

    /// What a treatment multiplies the hazard of leaving with, in a mood.
    pub(super) fn leave_factor(&self, at_ms: i64, mood: f64, treated: Option<Treated>) -> f64 {
        let Some(treated) = treated.filter(|treated| treated.works(at_ms)) else {
            return 1.0;
        };
        // A contact can mend what went wrong; it can do little where nothing did.
        let wrong = mood.max(0.0);
        let relevance = 0.25 + 0.75 * wrong / (wrong + 0.4);
        1.0 - (self.leave_steerable * treated.kind.on_leaving() * relevance).clamp(-0.5, 0.9)
    }
}

pub(super) fn customer_id(number: u64) -> String {
    numbered("cust-", number)
}

/// What is left of a mood after a time.
fn faded(after_ms: i64) -> f64 {
    // 2^-x as e^(-x ln 2), for libm's sake.
    exp(-std::f64::consts::LN_2 * after_ms as f64 / MOOD_HALF_LIFE_MS)
}

fn bounded(mood: f64) -> f64 {
    mood.clamp(-0.8, 2.6)
}

/// Four kinds of people (Radcliffe's persuadables, the lukewarm, the indifferent, sleeping dogs).
fn steerable(dice: &mut Dice) -> f64 {
    match dice.weighted(&[0.4, 0.25, 0.23, 0.12]) {
        0 => dice.between(0.55, 0.85),
        1 => dice.between(0.15, 0.45),
        2 => 0.0,
        _ => dice.between(-0.35, -0.1),
    }
}
