//! What a conversation leaves behind: a label, a rating, a mood, a purchase, another contact.

use std::fmt::Write;

use super::catalogue::{INTENTS, Intent};
use super::config::{DAY_MS, HOUR_MS, MINUTE_MS};
use super::conversations::{Contact, Conversation, Phase};
use super::dice::Dice;
use super::emit::push_hundredths;
use super::rhythm::awake;
use super::{Simulator, What};

/// How a contact's annoyance weighs in the customer's mood, and in the order's odds of coming back.
const MOOD_WEIGHT: f64 = 0.8;
const SERVICE_WEIGHT: f64 = 0.7;
/// Logarithms of the means of exp(weight * annoyance) in normal times: subtracted, so that service yet
/// to come is neutral on average.
const MOOD_EXPECTED: f64 = 0.27;
const SERVICE_EXPECTED: f64 = 0.232;

impl Simulator {
    pub(super) fn label(&mut self, index: u32) {
        let mut dice = self.take_dice(index);
        let c = self.conversation(index);
        let right = dice.chance(0.92);
        let intent = if right { c.contact.intent } else { INTENTS[dice.below(10)] };
        let confidence = if right { dice.between(0.7, 0.99) } else { dice.between(0.4, 0.8) };
        let sentiment = (0.35 - 0.5 * c.annoyance + 0.2 * dice.normal()).clamp(-1.0, 1.0);
        let rates = c.is_rated(&mut dice);
        let reopens = !c.reopened
            && c.rounds == 0
            && c.contact.intent != Intent::Care
            && dice.chance(if c.resolved { 0.015 } else { 0.12 });
        let (rate_in_ms, reopen_in_ms) =
            (8_000.0 + dice.exponential(70_000.0), 60_000.0 + dice.exponential(600_000.0));
        self.put_dice(index, dice);
        self.say(index, "conversation.labelled", |_, out| {
            _ = write!(out, r#","intent":"{}","sentiment":"#, intent.facts().name);
            push_hundredths(out, (sentiment * 100.0).round() as i64);
            out.push_str(r#","confidence":"#);
            push_hundredths(out, (confidence * 100.0).round() as i64);
            out.push_str(r#","model":"intent-zh-1""#);
        });
        if rates {
            self.then(index, Phase::Rate, rate_in_ms, rate_in_ms);
        } else if reopens {
            self.then(index, Phase::Reopen, reopen_in_ms, reopen_in_ms);
        } else {
            self.end_conversation(index);
        }
    }

    pub(super) fn rate(&mut self, index: u32) {
        let noise = self.dice(index).normal();
        let score = (5.1 - 1.5 * self.conversation(index).annoyance + 0.75 * noise).round().clamp(1.0, 5.0);
        self.say(index, "conversation.rated", |_, out| {
            _ = write!(out, r#","score":{}"#, score as i64);
        });
        self.end_conversation(index);
    }

    /// What a conversation leaves behind: mood, the order's standing, a purchase, another contact.
    pub(super) fn settle(&mut self, index: u32, abandoned: bool) {
        let now_ms = self.now_ms;
        let mut dice = self.take_dice(index);
        let c = self.conversation_mut(index);
        let mut pain =
            0.11 * (c.waited_ms as f64 / MINUTE_MS as f64).min(8.0) + 0.15 * f64::from(c.transfers);
        pain += if c.resolved { 0.0 } else { 0.85 };
        pain += if c.ignored_before { 0.7 } else { 0.0 };
        pain += if abandoned { 0.45 } else { 0.0 };
        pain += 0.25 * (c.slow_answers_ms as f64 / MINUTE_MS as f64).min(4.0);
        c.annoyance = (pain * c.temper).min(3.0);
        let (annoyance, contact, resolved) = (c.annoyance, c.contact, c.resolved);
        let inbound = contact.intent != Intent::Care;
        if inbound {
            let customer = &mut self.customers[contact.slot as usize];
            if customer.number == contact.customer {
                customer.feel(now_ms, MOOD_WEIGHT * annoyance - MOOD_EXPECTED);
            }
            if let Some((order, number)) = contact.order {
                let order = &mut self.orders[order as usize];
                if (order.customer, order.number) == (contact.customer, number) {
                    order.service_log += SERVICE_WEIGHT * annoyance - SERVICE_EXPECTED;
                }
            }
        }
        let buys = contact.intent == Intent::ProductQuestion
            && contact.attempts == 0
            && dice.chance(0.66 * (1.0 - 0.28 * annoyance));
        if buys {
            let at_ms = now_ms + 60_000 + dice.exponential(2.0 * HOUR_MS as f64).min(DAY_MS as f64) as i64;
            self.schedule(at_ms, What::Buy { slot: contact.slot, customer: contact.customer });
        }
        let again = if abandoned { 0.5 } else { 0.6 };
        if inbound && !resolved && !buys && contact.attempts < 3 && dice.chance(again) {
            let mean_ms = if abandoned { 0.6 } else { 5.0 } * HOUR_MS as f64;
            let at_ms = awake(now_ms + 120_000 + dice.exponential(mean_ms) as i64, self.start_ms, &mut dice);
            let contact = Contact { attempts: contact.attempts + 1, ..contact };
            self.schedule(at_ms, What::Contact(contact));
        }
        self.put_dice(index, dice);
    }
}

impl Conversation {
    pub(super) fn is_rated(&self, dice: &mut Dice) -> bool {
        let handled = self.contact.intent != Intent::Care && self.rounds == 0;
        handled && dice.chance(0.34 + 0.06 * self.annoyance.min(1.5))
    }
}
