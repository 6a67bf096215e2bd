//! What each midnight decides: who comes to buy, who asks, who gives back, who leaves, who works.

use super::catalogue::{Intent, SKU_COUNT};
use super::config::{DAY_MS, IncidentKind};
use super::conversations::Contact;
use super::customers::Customer;
use super::dice::{Dice, Purpose};
use super::incidents::OUTAGE_SHARE;
use super::orders::{Order, OrderState};
use super::rhythm::{time_of_day_ms, weekday};
use super::truth::{CustomerLeft, TruthRow, rounded, rows_at_midnight};
use super::{AgentStep, OrderStep, Simulator, What};

/// Share of visits that begin with a question, and of the others that end with an order.
const VISITS_WITH_QUESTION: f64 = 0.34;
const VISITS_WITH_ORDER: f64 = 0.8;
/// The days before the start whose orders are still under way in a warm start.
const WARM_DAYS: i64 = 17;
/// A place that a customer has left is taken by somebody new with this probability a day.
const NEWCOMERS_PER_DAY: f64 = 0.2;

impl Simulator {
    /// Everything of one day, at its midnight.
    pub(super) fn plan_day(&mut self, day: i64) {
        let day_ms = self.now_ms;
        self.plan_shifts(day);
        for slot in 0..self.customers.len() as u32 {
            self.plan_customer(slot, day, day_ms);
        }
        self.schedule(day_ms + DAY_MS, What::Day(day + 1));
    }

    fn plan_customer(&mut self, slot: u32, day: i64, day_ms: i64) {
        let customer = &self.customers[slot as usize];
        if self.config.truth && day % i64::from(self.config.truth_every_days) == 0 {
            rows_at_midnight(customer, &self.orders, day_ms, &mut self.truth);
        }
        for position in 0..customer.open_orders.len() {
            let index = self.customers[slot as usize].open_orders[position];
            self.plan_order(slot, index, day, day_ms);
        }
        let customer = &self.customers[slot as usize];
        let number = customer.number;
        let mut dice = self.streams.of(Purpose::CustomerDay, number, day as u64);
        if customer.left_ms.is_some() {
            if customer.open_orders.is_empty() && dice.chance(NEWCOMERS_PER_DAY) {
                let newcomer = number + self.customers.len() as u64;
                self.customers[slot as usize] =
                    Customer::new(newcomer, self.config.shops.len(), day_ms, &self.streams);
            }
            return;
        }
        let treated = customer.treated;
        let leaves = dice.chance(customer.leave_hazard(day_ms, treated));
        let leave_ms = day_ms + time_of_day_ms(&mut dice);
        let visits =
            dice.chance((customer.visits_per_day * self.config.rate_scale * weekday(day_ms)).min(0.95));
        let visit_ms = day_ms + time_of_day_ms(&mut dice);
        if leaves {
            let factor = customer.leave_factor(day_ms, customer.mood(day_ms), treated);
            self.schedule(leave_ms, What::Leave { slot, customer: number, factor });
        }
        if visits {
            if dice.chance(VISITS_WITH_QUESTION) {
                let contact = Contact {
                    slot,
                    customer: number,
                    order: None,
                    intent: Intent::ProductQuestion,
                    attempts: 0,
                };
                self.schedule(visit_ms, What::Contact(contact));
            } else if dice.chance(VISITS_WITH_ORDER) {
                self.schedule(visit_ms, What::Buy { slot, customer: number });
            }
        }
        let annoyed = self.customers[slot as usize].mood(day_ms) - 0.5;
        if dice.chance(0.03 * annoyed.max(0.0)) {
            let contact =
                Contact { slot, customer: number, order: None, intent: Intent::Complaint, attempts: 0 };
            self.schedule(day_ms + time_of_day_ms(&mut dice), What::Contact(contact));
        }
    }

    fn plan_order(&mut self, slot: u32, index: u32, day: i64, day_ms: i64) {
        let customer = &self.customers[slot as usize];
        let order = &self.orders[index as usize];
        let mut dice = self.streams.of(Purpose::OrderDay, order.stream(), day as u64);
        let gives_back = dice.unit();
        let back_ms = day_ms + time_of_day_ms(&mut dice);
        if order.can_be_given_back() && gives_back < order.hazard(customer, day_ms, customer.treated) {
            let factor = order.factor(customer, day_ms, customer.treated);
            let epoch = order.epoch;
            self.schedule(back_ms, What::Order(index, epoch, OrderStep::GiveBack { factor }));
        }
        let order = &self.orders[index as usize];
        let customer = &self.customers[slot as usize];
        let (per_day, intent) = asks(order, customer, day_ms, &mut dice);
        if dice.chance(per_day) {
            let contact = Contact {
                slot,
                customer: order.customer,
                order: Some((index, order.number)),
                intent,
                attempts: 0,
            };
            self.schedule(day_ms + time_of_day_ms(&mut dice), What::Contact(contact));
        }
    }

    /// The customer is gone from now on, unless treated since midnight.
    pub(super) fn leave(&mut self, slot: u32, number: u64, factor: f64) {
        let now_ms = self.now_ms;
        let customer = &self.customers[slot as usize];
        if customer.number != number || customer.left_ms.is_some() {
            return;
        }
        // The dice fell at midnight; a treatment since then takes its share of the hazard away.
        let day = (now_ms - self.start_ms).div_euclid(DAY_MS);
        let remains = customer.leave_factor(now_ms, customer.mood(now_ms), customer.treated) / factor;
        let mut dice = self.streams.of(Purpose::Session, number, day as u64);
        if !dice.chance(remains) {
            return;
        }
        if self.config.truth {
            let (customer_id, mood) = (customer.id(), rounded(customer.mood(now_ms)));
            self.truth.push(TruthRow::Left(CustomerLeft { at_ms: now_ms, customer_id, mood }));
        }
        self.customers[slot as usize].left_ms = Some(now_ms);
    }

    fn plan_shifts(&mut self, day: i64) {
        for index in 0..self.agents.len() {
            let duty = self.agents[index].shift_on(index, day, self.now_ms, &self.streams);
            let Some(duty) = duty else { continue };
            let step = |at_ms, step| (at_ms, What::Agent(index as u32, step));
            for (at_ms, what) in [
                step(duty.from_ms, AgentStep::Come),
                step(duty.break_from_ms, AgentStep::Rest),
                step(duty.break_to_ms, AgentStep::Return),
                step(duty.to_ms, AgentStep::Go),
            ] {
                self.schedule(at_ms, what);
            }
        }
    }

    /// The night shift of the day before, and orders of the weeks before, as they stand at the start.
    pub(super) fn begin(&mut self) {
        for index in 0..self.agents.len() {
            let before_ms = self.start_ms - DAY_MS;
            let Some(duty) = self.agents[index].shift_on(index, -1, before_ms, &self.streams) else {
                continue;
            };
            if duty.to_ms > self.start_ms {
                self.schedule(duty.from_ms.max(self.start_ms), What::Agent(index as u32, AgentStep::Come));
                let break_ms = duty.break_from_ms;
                if break_ms > self.start_ms {
                    self.schedule(break_ms, What::Agent(index as u32, AgentStep::Rest));
                    self.schedule(duty.break_to_ms, What::Agent(index as u32, AgentStep::Return));
                }
                self.schedule(duty.to_ms, What::Agent(index as u32, AgentStep::Go));
            }
        }
        for trouble in self.incidents.all().to_vec() {
            if trouble.kind == IncidentKind::Outage {
                self.schedule(trouble.from_ms.max(self.start_ms), What::Desks { down: true });
                self.schedule(trouble.to_ms.max(self.start_ms), What::Desks { down: false });
            }
        }
        if !self.config.warm_start {
            return;
        }
        for slot in 0..self.customers.len() as u32 {
            for day in -WARM_DAYS..0 {
                let customer = &self.customers[slot as usize];
                let mut dice = self.streams.of(Purpose::CustomerDay, customer.number, day as u64);
                let day_ms = self.start_ms + day * DAY_MS;
                let orders = 0.76 * customer.visits_per_day * self.config.rate_scale * weekday(day_ms);
                if dice.chance(orders.min(0.95)) {
                    self.resume_order(slot, day_ms + time_of_day_ms(&mut dice));
                }
            }
        }
    }

    pub(super) fn agent_step(&mut self, index: usize, step: AgentStep) {
        let others_here =
            self.agents.iter().enumerate().filter(|(other, agent)| *other != index && agent.here()).count();
        let agent = &mut self.agents[index];
        let before = agent.state();
        match step {
            AgentStep::Come => {
                agent.on_shift = true;
                agent.idle_since_ms = self.now_ms;
            }
            // The last one at the desk stays.
            AgentStep::Rest => agent.on_break = agent.on_shift && others_here > 0,
            AgentStep::Return => agent.on_break = false,
            AgentStep::Go => (agent.on_shift, agent.on_break) = (false, false),
            AgentStep::Desk { down } => agent.desk_down = down,
        }
        if agent.state() != before {
            self.say_state(index);
        }
        self.fill(index);
    }

    /// An outage begins or ends at the desks it strikes.
    pub(super) fn desks(&mut self, down: bool) {
        let struck = |index: usize| (index as f64 * 0.618_034).fract() < OUTAGE_SHARE;
        for index in (0..self.agents.len()).filter(|index| struck(*index)) {
            // Another outage may still hold.
            let down = down || self.incidents.outage(self.now_ms);
            self.agent_step(index, AgentStep::Desk { down });
        }
    }
}

/// Whether the customer will ask about an order on a day, and what.
fn asks(order: &Order, customer: &Customer, day_ms: i64, dice: &mut Dice) -> (f64, Intent) {
    let late_days = order.late_days(day_ms);
    match order.state {
        OrderState::Paid => {
            let intent = match dice.weighted(&[0.62, 0.16, 0.22]) {
                0 => Intent::UrgeShipping,
                1 => Intent::CancelOrder,
                _ => Intent::Invoice,
            };
            (0.17, intent)
        }
        OrderState::Shipped if late_days > 0.0 => ((0.38 * customer.temper).min(0.7), Intent::WhereIsMyOrder),
        OrderState::Shipped => (0.13, Intent::WhereIsMyOrder),
        OrderState::Delivered => {
            let age = (day_ms - order.delivered_ms).div_euclid(DAY_MS);
            let fades = match age {
                0 => 1.0,
                1 => 0.6,
                2 => 0.4,
                3..=6 => 0.15,
                _ => 0.015,
            };
            let faulty = if order.faulty { 0.5 } else { 0.0 };
            let calm = 0.21;
            let technical = f64::from(order.lines[0].sku) / SKU_COUNT as f64;
            let intent = if dice.chance(faulty / (faulty + calm)) {
                Intent::QualityIssue
            } else {
                let weights = [0.25 + 0.35 * technical, 0.26, 0.2, 0.06 + 0.05 * late_days.min(4.0)];
                [Intent::HowToUse, Intent::Invoice, Intent::ReturnHow, Intent::Complaint]
                    [dice.weighted(&weights)]
            };
            ((faulty + calm) * fades, intent)
        }
        OrderState::GivenBack => (0.16, Intent::RefundStatus),
        OrderState::Placed | OrderState::Finished => (0.0, Intent::RefundStatus),
    }
}
