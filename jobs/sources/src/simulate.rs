//! The simulator: a seeded generator of a shop's conversations and orders, with the ground truth.
//!
//! A world of customers, agents, orders and parcels that lives by the day and by the event. Customers with habits
//! and temper come to buy, ask, wait in real queues for agents with shifts and skills, and are
//! served well or badly; parcels come late; goods are faulty; who was annoyed returns more and
//! leaves sooner. Incidents switch trouble on.
//!
//! It does no I/O and reads no clock. The same [`Config`] gives the same bytes, on every machine.
//! Memory is bounded by customers and what is open, not by the length of the run, provided that
//! [`Simulator::take_truth`] is called now and then (or `truth` is off).
//!
//! ```
//! use headsup_sources::simulate::{Config, Simulator};
//! let config = Config { customers: 300, days: 1, ..Config::default() };
//! let mut simulator = Simulator::new(config).unwrap();
//! let first = simulator.next().unwrap();
//! assert!(first.json.starts_with(r#"{"specversion":"1.0""#));
//! while simulator.next().is_some() {}
//! assert!(!simulator.take_truth().is_empty());
//! ```
//!
//! Start reading at `days.rs` (what a midnight decides), then `conversations.rs` and
//! `fulfilment.rs` (what happens in the day), then `truth.rs` (what is known about why).
//!
//! How the world is meant, in short:
//! - A visit may begin with a question; a good answer sells. An order is paid, packed, carried and
//!   promised for 96 hours later; about one in eight comes late.
//! - A day's odds of giving an order back are a product of the customer's habit, how far the skus mislead, a
//!   fault, lateness, service about this order, and whim. All but whim leave traces in the events before.
//! - A day's odds of leaving are a product of a trait and of a mood that halves in two weeks: waits, unanswered
//!   messages, unsolved matters, late or faulty parcels.
//! - A contact takes a share of those odds away that depends on the person (some are annoyed) and on
//!   how much there is to mend.

mod aftermath;
mod agents;
mod catalogue;
mod config;
mod conversations;
mod customers;
mod days;
mod dice;
mod emit;
mod fulfilment;
mod incidents;
mod orders;
mod rhythm;
mod serving;
#[cfg(test)]
mod tests;
mod truth;

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fmt::Write;

pub use config::{Config, ConfigError, Incident, IncidentKind};
pub use truth::{Causes, CustomerLeft, CustomerTruth, OrderOutcome, OrderTruth, Treatment, TruthRow};

use crate::SourceEvent;
use agents::{Agent, Queues, agent_id};
use catalogue::{Catalogue, Intent};
use conversations::{Contact, Conversation};
use customers::{Customer, Treated};
use dice::Streams;
use emit::{Outbox, Subject};
use incidents::Incidents;
use orders::Order;

/// The running world: an iterator of events.
///
/// Events come in order of event time, or, with `disorder_ms`, in order of `recordedtime`.
pub struct Simulator {
    config: Config,
    streams: Streams,
    catalogue: Catalogue,
    incidents: Incidents,
    start_ms: i64,
    end_ms: i64,
    now_ms: i64,
    due: BinaryHeap<Due>,
    scheduled: u64,
    customers: Vec<Customer>,
    orders: Vec<Order>,
    free_orders: Vec<u32>,
    conversations: Vec<Conversation>,
    free_conversations: Vec<u32>,
    agents: Vec<Agent>,
    queues: Queues,
    outbox: Outbox,
    truth: Vec<TruthRow>,
    finished: bool,
}

impl Simulator {
    /// A world at its first midnight.
    ///
    /// # Errors
    /// If a key is out of its range, or a time or target cannot be read.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let setting = config.resolve()?;
        let streams = Streams::new(config.seed);
        let shops = config.shops.len();
        let customers = (0..u64::from(config.customers))
            .map(|number| Customer::new(number, shops, setting.start_ms, &streams));
        let agents = (0..setting.agents).map(|index| Agent::new(index, setting.agents, &streams));
        let mut world = Self {
            customers: customers.collect(),
            agents: agents.collect(),
            catalogue: Catalogue::new(&streams),
            incidents: Incidents::new(setting.incidents),
            outbox: Outbox::new(config.seed, config.disorder_ms, config.duplicate_rate),
            start_ms: setting.start_ms,
            end_ms: setting.end_ms,
            now_ms: setting.start_ms,
            due: BinaryHeap::new(),
            scheduled: 0,
            orders: Vec::new(),
            free_orders: Vec::new(),
            conversations: Vec::new(),
            free_conversations: Vec::new(),
            queues: Queues::new(),
            truth: Vec::new(),
            finished: false,
            streams,
            config,
        };
        world.begin();
        world.schedule(world.start_ms, What::Day(0));
        Ok(world)
    }

    /// The ground truth since the last call, in order of time.
    pub fn take_truth(&mut self) -> Vec<TruthRow> {
        std::mem::take(&mut self.truth)
    }

    /// Event time of the simulation, Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// Contacts a customer: from `at_ms` (or now, if that is past) the hazards are what the truth says they are
    /// with a contact, for 14 days, and a conversation of origin `proactive` begins. Where a contact does harm, the
    /// harm begins with the next midnight.
    ///
    /// Returns whether there is such a customer; one who has left is contacted in vain.
    pub fn apply_treatment(&mut self, customer_id: &str, at_ms: i64, kind: Treatment) -> bool {
        let number = customer_id.strip_prefix("cust-").and_then(|digits| digits.parse::<u64>().ok());
        let Some(number) = number else { return false };
        let slot = (number % self.customers.len() as u64) as u32;
        let here = self.customers[slot as usize].number == number;
        if here {
            self.schedule(at_ms.max(self.now_ms), What::Treat { slot, customer: number, kind });
        }
        here
    }

    fn treat(&mut self, slot: u32, number: u64, kind: Treatment) {
        let now_ms = self.now_ms;
        let customer = &mut self.customers[slot as usize];
        if customer.number != number {
            return;
        }
        customer.treated = Some(Treated { kind, at_ms: now_ms });
        let order = customer.open_orders.last().map(|&index| (index, self.orders[index as usize].number));
        self.begin_conversation(Contact { slot, customer: number, order, intent: Intent::Care, attempts: 0 });
    }

    fn schedule(&mut self, at_ms: i64, what: What) {
        debug_assert!(at_ms >= self.now_ms, "the past cannot be planned");
        self.scheduled += 1;
        self.due.push(Due { at_ms, number: self.scheduled, what });
    }

    /// Lets the next thing happen.
    fn advance(&mut self) {
        let Some(due) = self.due.pop().filter(|due| due.at_ms < self.end_ms) else {
            self.finished = true;
            return;
        };
        self.now_ms = due.at_ms;
        match due.what {
            What::Day(day) => self.plan_day(day),
            What::Contact(contact) => self.begin_conversation(contact),
            What::Conversation(index, epoch) => self.step_conversation(index, epoch),
            What::Abandon(index, epoch) => self.abandon(index, epoch),
            What::Buy { slot, customer } => self.buy(slot, customer),
            What::Order(index, epoch, step) => self.order_step(index, epoch, step),
            What::Leave { slot, customer, factor } => self.leave(slot, customer, factor),
            What::Treat { slot, customer, kind } => self.treat(slot, customer, kind),
            What::Agent(index, step) => self.agent_step(index as usize, step),
            What::Desks { down } => self.desks(down),
        }
    }

    fn say_state(&mut self, index: usize) {
        let agent = &mut self.agents[index];
        let number = agent.events;
        agent.events += 1;
        let agent = &self.agents[index];
        let id = agent_id(index);
        let shop = &self.config.shops[0];
        let stream = u64::MAX / 2 - index as u64;
        let subject = Subject {
            topic: "conversations",
            key: id.clone(),
            system: "workforce",
            shop,
            id: id.clone(),
            stream,
        };
        self.outbox.put(subject, number, "agent.state_changed", self.now_ms, |out| {
            _ = write!(
                out,
                r#""agent_id":"{id}","shop":"{shop}","state":"{}","capacity":{}"#,
                agent.state(),
                agent.capacity
            );
        });
    }
}

impl Iterator for Simulator {
    type Item = SourceEvent;

    fn next(&mut self) -> Option<SourceEvent> {
        loop {
            if let Some(event) = self.outbox.pop(self.now_ms, self.finished) {
                return Some(event);
            }
            if self.finished {
                return None;
            }
            self.advance();
        }
    }
}

/// Something that will happen. `slot` is a customer's place; the number beside it says who was meant.
#[derive(Clone, Copy)]
enum What {
    Day(i64),
    Contact(Contact),
    Conversation(u32, u32),
    Abandon(u32, u32),
    Buy { slot: u32, customer: u64 },
    Order(u32, u32, OrderStep),
    Leave { slot: u32, customer: u64, factor: f64 },
    Treat { slot: u32, customer: u64, kind: Treatment },
    Agent(u32, AgentStep),
    Desks { down: bool },
}

/// The next thing in an order's life.
#[derive(Clone, Copy)]
enum OrderStep {
    Pay,
    TimeOut,
    Ship,
    Deliver,
    Review,
    Keep,
    /// `factor`: what the treatment multiplied the hazard with when the dice fell.
    GiveBack {
        factor: f64,
    },
    Arrive,
    Refund,
}

/// A change in an agent's day.
#[derive(Clone, Copy)]
enum AgentStep {
    Come,
    Rest,
    Return,
    Go,
    Desk { down: bool },
}

struct Due {
    at_ms: i64,
    /// Order of planning: decides between equal times.
    number: u64,
    what: What,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    /// The earliest is the greatest, so that the heap gives it first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_ms, other.number).cmp(&(self.at_ms, self.number))
    }
}
