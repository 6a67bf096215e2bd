//! The life of orders: paid, shipped, delivered, reviewed, given back, refunded.

use std::fmt::Write;

use super::catalogue::{CARRIERS, CHANNELS};
use super::config::{DAY_MS, HOUR_MS};
use super::customers::customer_id;
use super::dice::Purpose;
use super::emit::{Subject, push_common, rfc3339};
use super::orders::{KEPT_AFTER_MS, Order, OrderState, payment};
use super::truth::{OrderOutcome, TruthRow};
use super::{OrderStep, Simulator, What};

impl Order {
    /// Identifies the order in the randomness.
    pub(super) fn stream(&self) -> u64 {
        self.customer << 20 | u64::from(self.number)
    }
}

impl Simulator {
    /// A customer places an order.
    pub(super) fn buy(&mut self, slot: u32, number: u64) {
        let customer = &self.customers[slot as usize];
        // An order that was in hand when the customer left for good is not placed.
        if customer.number != number || customer.left_ms.is_some() {
            return;
        }
        let index = self.add_order(slot, self.now_ms);
        self.say_order(index, "order.placed", |order, out| {
            _ = write!(out, r#","amount_minor":{},"currency":"CNY""#, order.amount_minor());
            push_lines(out, order);
            _ = write!(out, r#","promised_at":"{}""#, rfc3339(order.promised_ms));
        });
        let order = &self.orders[index as usize];
        let mut dice = self.streams.of(Purpose::OrderOutcome, order.stream(), 0);
        let (pays, after_ms) = payment(&mut dice);
        let epoch = order.epoch;
        self.schedule(
            self.now_ms + after_ms,
            What::Order(index, epoch, if pays { OrderStep::Pay } else { OrderStep::TimeOut }),
        );
    }

    /// An order of before the start, as far as it is by then; nothing is emitted of what is past.
    pub(super) fn resume_order(&mut self, slot: u32, placed_ms: i64) {
        let index = self.add_order(slot, placed_ms);
        let start_ms = self.start_ms;
        let order = &mut self.orders[index as usize];
        let epoch = order.epoch;
        let (state, at_ms, step) = if order.shipped_ms > start_ms {
            (OrderState::Paid, order.shipped_ms, OrderStep::Ship)
        } else if order.delivered_ms > start_ms {
            order.missing = false;
            (OrderState::Shipped, order.delivered_ms, OrderStep::Deliver)
        } else {
            order.missing = false;
            (OrderState::Delivered, (order.delivered_ms + KEPT_AFTER_MS).max(start_ms), OrderStep::Keep)
        };
        order.state = state;
        self.schedule(at_ms, What::Order(index, epoch, step));
    }

    pub(super) fn order_step(&mut self, index: u32, epoch: u32, step: OrderStep) {
        let now_ms = self.now_ms;
        let order = &mut self.orders[index as usize];
        if order.epoch != epoch {
            return;
        }
        match step {
            OrderStep::Pay => {
                order.state = OrderState::Paid;
                let at_ms = order.shipped_ms.max(now_ms);
                order.shipped_ms = at_ms;
                self.say_order(index, "order.paid", push_amount);
                self.schedule(at_ms, What::Order(index, epoch, OrderStep::Ship));
            }
            OrderStep::TimeOut => {
                self.say_order(index, "order.cancelled", |_, out| {
                    out.push_str(r#","actor":"timeout","reason":"not_paid""#)
                });
                self.settle_order(index, "timeout");
                self.finish_order(index);
            }
            OrderStep::Ship if order.missing => {
                self.say_order(index, "order.cancelled", |order, out| {
                    out.push_str(r#","actor":"merchant","reason":"out_of_stock""#);
                    push_amount(order, out);
                });
                self.settle_order(index, "merchant");
                self.refund_later(index, 1.0, 12.0);
            }
            OrderStep::Ship => {
                order.state = OrderState::Shipped;
                let at_ms = order.delivered_ms;
                self.say_order(index, "order.shipped", |order, out| {
                    _ = write!(out, r#","carrier":"{}""#, CARRIERS[usize::from(order.carrier)]);
                });
                self.schedule(at_ms, What::Order(index, epoch, OrderStep::Deliver));
            }
            OrderStep::Deliver => self.deliver(index),
            OrderStep::Review => self.review(index),
            OrderStep::Keep => {
                self.settle_order(index, "kept");
                self.finish_order(index);
            }
            OrderStep::GiveBack { factor } => self.give_back(index, factor),
            OrderStep::Arrive => {
                self.say_order(index, "order.returned", |order, out| {
                    push_amount(order, out);
                    push_lines(out, order);
                });
                self.refund_later(index, 8.0, 60.0);
            }
            OrderStep::Refund => {
                self.say_order(index, "order.refunded", push_amount);
                self.finish_order(index);
            }
        }
    }

    fn deliver(&mut self, index: u32) {
        let now_ms = self.now_ms;
        self.say_order(index, "order.delivered", |_, _| {});
        let order = &mut self.orders[index as usize];
        order.state = OrderState::Delivered;
        let epoch = order.epoch;
        let (slot, customer) = (order.slot, order.customer);
        let disappointment = order.disappointment();
        let mut dice = self.streams.of(Purpose::OrderOutcome, order.stream(), 1);
        let person = &mut self.customers[slot as usize];
        if person.number == customer {
            person.feel(now_ms, disappointment);
        }
        self.schedule(now_ms + KEPT_AFTER_MS, What::Order(index, epoch, OrderStep::Keep));
        if dice.chance(0.24) {
            let at_ms =
                now_ms + 6 * HOUR_MS + dice.exponential(2.5 * DAY_MS as f64).min(9.0 * DAY_MS as f64) as i64;
            self.schedule(at_ms, What::Order(index, epoch, OrderStep::Review));
        }
    }

    fn review(&mut self, index: u32) {
        let now_ms = self.now_ms;
        let order = &self.orders[index as usize];
        let customer = &self.customers[order.slot as usize];
        let causes = order.causes(customer, now_ms, None);
        let mut dice = self.streams.of(Purpose::OrderOutcome, order.stream(), 2);
        let felt = causes.product + 0.8 * causes.fault + causes.late + causes.service + causes.whim;
        let score =
            (4.75 - 0.8 * felt * customer.temper + 0.7 * dice.normal()).round().clamp(1.0, 5.0) as i64;
        let text = match score {
            1 | 2 => "质量不好,很失望",
            3 => "一般般吧",
            _ => "很喜欢,会再来",
        };
        let texts = self.config.texts;
        self.say_order(index, "order.reviewed", |_, out| {
            _ = write!(out, r#","score":{score}"#);
            if texts {
                _ = write!(out, r#","text":"{text}""#);
            }
        });
    }

    fn give_back(&mut self, index: u32, factor: f64) {
        let now_ms = self.now_ms;
        let order = &self.orders[index as usize];
        let customer = &self.customers[order.slot as usize];
        let day = (now_ms - self.start_ms).div_euclid(DAY_MS);
        let mut dice = self.streams.of(Purpose::Order, order.stream(), 1 + day as u64);
        // The dice fell at midnight; a treatment since then takes its share of the hazard away.
        if !dice.chance(order.factor(customer, now_ms, customer.treated) / factor) {
            return;
        }
        let causes = order.causes(customer, now_ms, None);
        let reasons = [
            ("quality", if order.faulty { 2.0 } else { 0.05 }),
            ("not_as_described", 0.3 + causes.product.max(0.0)),
            ("late", causes.late),
            ("service", 0.5 * causes.service.max(0.0)),
            ("changed_mind", 0.7),
        ];
        let reason = reasons[dice.weighted(&reasons.map(|(_, weight)| weight))].0;
        if order.state == OrderState::Delivered {
            self.say_order(index, "order.return_requested", |order, out| {
                _ = write!(out, r#","reason":"{reason}""#);
                push_amount(order, out);
                push_lines(out, order);
            });
            self.settle_order(index, "returned");
            let at_ms = now_ms + (dice.between(1.5, 4.5) * DAY_MS as f64) as i64;
            let epoch = self.orders[index as usize].epoch;
            self.schedule(at_ms, What::Order(index, epoch, OrderStep::Arrive));
        } else {
            // Nobody has seen the goods yet.
            let reason = if matches!(reason, "late" | "service") { reason } else { "changed_mind" };
            self.say_order(index, "order.cancelled", |order, out| {
                _ = write!(out, r#","actor":"customer","reason":"{reason}""#);
                push_amount(order, out);
            });
            self.settle_order(index, "cancelled");
            self.refund_later(index, 1.0, 12.0);
        }
    }

    fn refund_later(&mut self, index: u32, from_hours: f64, to_hours: f64) {
        let order = &self.orders[index as usize];
        let mut dice = self.streams.of(Purpose::OrderOutcome, order.stream(), 3);
        let at_ms = self.now_ms + (dice.between(from_hours, to_hours) * HOUR_MS as f64) as i64;
        let epoch = order.epoch;
        self.schedule(at_ms, What::Order(index, epoch, OrderStep::Refund));
    }

    /// Writes how the order ended; what was planned for it is void.
    fn settle_order(&mut self, index: u32, outcome: &'static str) {
        let at_ms = self.now_ms;
        let order = &mut self.orders[index as usize];
        order.epoch += 1;
        order.state = OrderState::GivenBack;
        let order = &self.orders[index as usize];
        if self.config.truth {
            let customer = &self.customers[order.slot as usize];
            let causes = order.causes(customer, at_ms, customer.treated);
            let (customer_id, order_id) = (customer_id(order.customer), order.id());
            let main_cause = causes.main();
            self.truth.push(TruthRow::Outcome(OrderOutcome {
                at_ms,
                customer_id,
                order_id,
                outcome,
                causes,
                main_cause,
            }));
        }
    }

    fn finish_order(&mut self, index: u32) {
        let order = &mut self.orders[index as usize];
        order.epoch += 1;
        order.state = OrderState::Finished;
        let open = &mut self.customers[order.slot as usize].open_orders;
        open.retain(|other| *other != index);
        self.free_orders.push(index);
    }

    fn add_order(&mut self, slot: u32, placed_ms: i64) -> u32 {
        let customer = &self.customers[slot as usize];
        let mut dice = self.streams.of(Purpose::Order, customer.number << 20 | u64::from(customer.orders), 0);
        let mut order = Order::plan((slot, customer), placed_ms, &mut dice, &self.catalogue, &self.incidents);
        let index = if let Some(index) = self.free_orders.pop() {
            // Plans of the one before must not fit.
            order.epoch = self.orders[index as usize].epoch + 1;
            self.orders[index as usize] = order;
            index
        } else {
            self.orders.push(order);
            self.orders.len() as u32 - 1
        };
        let customer = &mut self.customers[slot as usize];
        customer.orders += 1;
        customer.open_orders.push(index);
        index
    }

    fn say_order(&mut self, index: u32, kind: &str, more: impl FnOnce(&Order, &mut String)) {
        let order = &mut self.orders[index as usize];
        let number = order.events;
        order.events += 1;
        let order = &self.orders[index as usize];
        let (customer, shop) = (order.customer, &self.config.shops[usize::from(order.shop)]);
        let channel = CHANNELS[usize::from(order.channel)];
        let subject = Subject {
            topic: "orders",
            key: customer_id(customer),
            system: channel,
            shop,
            id: order.id(),
            // Apart from the conversation of the same number.
            stream: !order.stream(),
        };
        self.outbox.put(subject, number, kind, self.now_ms, |out| {
            push_common(out, customer, shop, channel);
            more(order, out);
        });
    }
}

fn push_amount(order: &Order, out: &mut String) {
    _ = write!(out, r#","amount_minor":{},"currency":"CNY""#, order.amount_minor());
}

fn push_lines(out: &mut String, order: &Order) {
    out.push_str(r#","lines":["#);
    for (number, line) in order.lines().iter().enumerate() {
        let comma = if number > 0 { "," } else { "" };
        _ = write!(
            out,
            r#"{comma}{{"sku":"sku-{:03}","quantity":{},"unit_minor":{}}}"#,
            line.sku, line.quantity, line.unit_minor
        );
    }
    out.push(']');
}
