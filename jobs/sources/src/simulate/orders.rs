//! Orders: the plan (payment, shipping, delivery), and the hazard of being cancelled or returned.

use super::catalogue::{CARRIER_DAYS, CARRIER_WEIGHTS, Catalogue};
use super::config::{DAY_MS, HOUR_MS, MINUTE_MS};
use super::customers::{Customer, HAZARD_MAX, Treated};
use super::dice::{Dice, exp, ln};
use super::emit::numbered_twice;
use super::incidents::{BAD_BATCH_FAULTY, Incidents};
use super::truth::{Causes, rounded};

/// Days after delivery in which an order can be returned, and how likely each is.
const RETURN_DAYS: [f64; 15] =
    [0.7, 1.25, 1.3, 1.15, 1.0, 0.85, 0.7, 0.35, 0.2, 0.15, 0.1, 0.1, 0.05, 0.05, 0.05];
/// Hazard of returning on an average day after delivery when every cause is neutral.
const RETURN_PER_DAY: f64 = 0.0075;
/// Hazard of cancelling before shipping, in transit, and in transit after the promised time.
const CANCEL_PER_DAY: f64 = 0.012;
const REFUSE_PER_DAY: f64 = 0.002;
const REFUSE_OVERDUE_PER_DAY: f64 = 0.035;
const FAULT_LOG: f64 = 1.7;
const LATE_LOG_PER_DAY: f64 = 0.38;
const LATE_LOG_MAX: f64 = 1.6;
/// An order is settled as kept this long after delivery.
pub(super) const KEPT_AFTER_MS: i64 = 16 * DAY_MS;

/// Where an order is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OrderState {
    Placed,
    Paid,
    Shipped,
    Delivered,
    /// Cancelled or on its way back: settled, but for the refund.
    GivenBack,
    Finished,
}

/// One order. When it ships and arrives is settled when it is placed.
pub(super) struct Order {
    pub(super) slot: u32,
    pub(super) customer: u64,
    pub(super) number: u32,
    pub(super) shop: u8,
    pub(super) channel: u8,
    pub(super) carrier: u8,
    pub(super) lines: [Line; 3],
    pub(super) line_count: u8,
    pub(super) state: OrderState,
    /// Changes when the order is given back or its place is reused: what was planned before is void.
    pub(super) epoch: u32,
    pub(super) events: u32,
    pub(super) promised_ms: i64,
    pub(super) shipped_ms: i64,
    pub(super) delivered_ms: i64,
    /// The goods turn out to be missing: the merchant cancels instead of shipping.
    pub(super) missing: bool,
    pub(super) faulty: bool,
    product_log: f64,
    whim_log: f64,
    /// Grows with bad service about this order, falls with good.
    pub(super) service_log: f64,
}

/// One line of an order.
#[derive(Clone, Copy, Default)]
pub(super) struct Line {
    pub(super) sku: u16,
    pub(super) quantity: u8,
    pub(super) unit_minor: u32,
}

impl Order {
    /// Plans an order that is placed at `placed_ms`.
    pub(super) fn plan(
        (slot, customer): (u32, &Customer),
        placed_ms: i64,
        dice: &mut Dice,
        catalogue: &Catalogue,
        incidents: &Incidents,
    ) -> Self {
        let mut lines = [Line::default(); 3];
        let line_count = 1 + dice.weighted(&[0.68, 0.24, 0.08]);
        let (mut faulty, mut product_log) = (false, 0.0);
        for line in &mut lines[..line_count] {
            let sku = catalogue.pick(dice);
            let facts = &catalogue.skus[sku];
            let faulty_share =
                if incidents.batch_bad(placed_ms, sku) { BAD_BATCH_FAULTY } else { facts.faulty };
            faulty |= dice.chance(faulty_share);
            product_log += facts.misleads_log / line_count as f64;
            *line = Line {
                sku: sku as u16,
                quantity: 1 + dice.weighted(&[0.8, 0.15, 0.05]) as u8,
                unit_minor: facts.unit_minor,
            };
        }
        let carrier = dice.weighted(&CARRIER_WEIGHTS);
        let packing_ms = dice.log_normal(20.0, 0.55) * HOUR_MS as f64;
        let transit_ms = dice.log_normal(CARRIER_DAYS[carrier], 0.33) * DAY_MS as f64;
        let delay_ms = dice.between(2.0, 6.0) * DAY_MS as f64;
        let shipped_ms = placed_ms + (packing_ms as i64).clamp(HOUR_MS, 4 * DAY_MS);
        let delayed = incidents.carrier_delayed(shipped_ms, carrier);
        let transit_ms = (transit_ms as i64).min(9 * DAY_MS) + if delayed { delay_ms as i64 } else { 0 };
        // Promised to the full hour, so that it reads like a promise.
        let promised_ms = (placed_ms + 96 * HOUR_MS).div_euclid(HOUR_MS) * HOUR_MS;
        Self {
            slot,
            customer: customer.number,
            number: customer.orders,
            shop: customer.shop,
            channel: customer.pick_channel(dice).min(5),
            carrier: carrier as u8,
            lines,
            line_count: line_count as u8,
            state: OrderState::Placed,
            epoch: 0,
            events: 0,
            promised_ms,
            shipped_ms,
            delivered_ms: shipped_ms + transit_ms,
            missing: dice.chance(0.006),
            faulty,
            product_log,
            whim_log: 0.45 * dice.normal(),
            service_log: 0.0,
        }
    }

    pub(super) fn id(&self) -> String {
        order_id(self.customer, self.number)
    }

    pub(super) fn amount_minor(&self) -> u64 {
        self.lines().iter().map(|line| u64::from(line.unit_minor) * u64::from(line.quantity)).sum()
    }

    pub(super) fn lines(&self) -> &[Line] {
        &self.lines[..self.line_count.into()]
    }

    pub(super) fn can_be_given_back(&self) -> bool {
        matches!(self.state, OrderState::Paid | OrderState::Shipped | OrderState::Delivered)
    }

    /// Days after the promise, at delivery or, before it, at `at_ms`.
    pub(super) fn late_days(&self, at_ms: i64) -> f64 {
        (self.delivered_ms.min(at_ms) - self.promised_ms).max(0) as f64 / DAY_MS as f64
    }

    /// What delivery will do, or did, to the customer's mood.
    pub(super) fn disappointment(&self) -> f64 {
        0.35 * self.late_days(self.delivered_ms).min(4.0) + if self.faulty { 0.45 } else { 0.0 } - 0.09
    }

    /// The hazards of being cancelled or returned on each of the next ten days, with each of two
    /// treatments, if nothing else happens than what is settled.
    pub(super) fn hazards_ahead(
        &self,
        customer: &Customer,
        at_ms: i64,
        treatments: [Option<Treated>; 2],
    ) -> [[f64; 10]; 2] {
        let others_log = self.others_log(customer);
        let mut hazards = [[0.0; 10]; 2];
        for day in 0..10 {
            let at_ms = at_ms + day as i64 * DAY_MS;
            let calm = self.calm_hazard(others_log, at_ms);
            for (hazards, treated) in hazards.iter_mut().zip(treatments) {
                hazards[day] = (calm * self.factor(customer, at_ms, treated)).min(HAZARD_MAX);
            }
        }
        hazards
    }

    /// The hazard on the day that begins at `at_ms`.
    pub(super) fn hazard(&self, customer: &Customer, at_ms: i64, treated: Option<Treated>) -> f64 {
        let calm = self.calm_hazard(self.others_log(customer), at_ms);
        (calm * self.factor(customer, at_ms, treated)).min(HAZARD_MAX)
    }

    /// All causes but lateness, which changes with the days, and treatment.
    fn others_log(&self, customer: &Customer) -> f64 {
        customer.habit_log + self.product_log + self.fault_log() + self.service_log + self.whim_log
    }

    fn fault_log(&self) -> f64 {
        if self.faulty { FAULT_LOG } else { 0.0 }
    }

    /// What a treatment multiplies the hazard with.
    pub(super) fn factor(&self, customer: &Customer, at_ms: i64, treated: Option<Treated>) -> f64 {
        let Some(treated) = treated.filter(|treated| treated.works(at_ms)) else {
            return 1.0;
        };
        // A contact mends what the shop did wrong; against habit and whim it does little.
        let fault = if at_ms >= self.delivered_ms { 0.4 * self.fault_log() } else { 0.0 };
        let wrong = self.late_log(at_ms) + self.service_log.max(0.0) + fault;
        let relevance = 0.25 + 0.75 * wrong / (wrong + 0.5);
        1.0 - (customer.return_steerable * treated.kind.on_returning() * relevance).clamp(-0.5, 0.9)
    }

    pub(super) fn causes(&self, customer: &Customer, at_ms: i64, treated: Option<Treated>) -> Causes {
        Causes {
            habit: rounded(customer.habit_log),
            product: rounded(self.product_log),
            fault: self.fault_log(),
            late: rounded(self.late_log(at_ms)),
            service: rounded(self.service_log),
            whim: rounded(self.whim_log),
            treatment: if treated.is_some() {
                rounded(ln(self.factor(customer, at_ms, treated)))
            } else {
                0.0
            },
        }
    }

    fn late_log(&self, at_ms: i64) -> f64 {
        (LATE_LOG_PER_DAY * self.late_days(at_ms)).min(LATE_LOG_MAX)
    }

    /// Without treatment. `others_log` is the sum of all causes but lateness.
    fn calm_hazard(&self, others_log: f64, at_ms: i64) -> f64 {
        if self.missing && at_ms + DAY_MS > self.shipped_ms {
            // The merchant comes first.
            return 0.0;
        }
        if at_ms < self.shipped_ms {
            // Nobody has seen the goods yet: only habit and service speak, the rest is silent.
            return CANCEL_PER_DAY * exp(0.5 * self.early_log(others_log));
        }
        if at_ms < self.delivered_ms {
            let overdue_days = self.late_days(at_ms);
            let per_day = if overdue_days > 0.0 {
                REFUSE_OVERDUE_PER_DAY * (1.0 + 0.4 * overdue_days.min(5.0))
            } else {
                REFUSE_PER_DAY
            };
            return per_day * exp(0.5 * self.early_log(others_log));
        }
        let age = (at_ms - self.delivered_ms) / DAY_MS;
        let likely = RETURN_DAYS.get(age as usize).copied().unwrap_or(0.0);
        if likely == 0.0 { 0.0 } else { RETURN_PER_DAY * likely * exp(others_log + self.late_log(at_ms)) }
    }

    fn early_log(&self, others_log: f64) -> f64 {
        others_log - self.product_log - self.fault_log()
    }
}

pub(super) fn order_id(customer: u64, number: u32) -> String {
    numbered_twice("order-", customer, number)
}

/// How long after placing payment comes, or the order times out.
pub(super) fn payment(dice: &mut Dice) -> (bool, i64) {
    if dice.chance(0.035) {
        (false, 30 * MINUTE_MS)
    } else {
        (true, 2_000 + dice.exponential(70_000.0).min(1_500_000.0) as i64)
    }
}
