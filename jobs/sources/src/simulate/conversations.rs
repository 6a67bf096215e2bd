//! Conversations: how they begin, their steps, the bot, and how their events are written.
//! `serving` has the queue and the agent's part, `aftermath` what they leave behind.

use std::fmt::Write;

use super::catalogue::{BOT_ANSWERS, CHANNELS, COMPLAINT, GREETING, Intent, NUDGES, PHONE, SKILLS, VIP};
use super::customers::customer_id;
use super::dice::{Dice, Purpose};
use super::emit::{Subject, numbered_twice, push_all, push_common, push_number};
use super::orders::order_id;
use super::{Simulator, What};

/// A contact that is to be made: by a customer, or (intent `Care`) by us.
#[derive(Clone, Copy)]
pub(super) struct Contact {
    pub(super) slot: u32,
    pub(super) customer: u64,
    /// Index, and number for the customer.
    pub(super) order: Option<(u32, u32)>,
    pub(super) intent: Intent,
    /// How many contacts about the same matter came before.
    pub(super) attempts: u8,
}

/// What a conversation does at its next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Ask,
    BotAnswer,
    BotClose,
    HandOff,
    Enqueue,
    Wait,
    Greet,
    Answer,
    Reply,
    Hold,
    Resume,
    Transfer,
    Close,
    Wrap,
    Label,
    Rate,
    Reopen,
    End,
}

/// A conversation under way.
pub(super) struct Conversation {
    pub(super) contact: Contact,
    pub(super) number: u32,
    pub(super) shop: u8,
    pub(super) channel: u8,
    pub(super) skill: u8,
    pub(super) temper: f64,
    pub(super) patience_ms: f64,
    pub(super) entry_bot: bool,
    pub(super) phase: Phase,
    /// Changes when it is accepted, leaves the queue or ends: earlier timers are void.
    pub(super) epoch: u32,
    pub(super) events: u32,
    pub(super) dice: Option<Dice>,
    pub(super) agent: Option<u32>,
    pub(super) bot_rounds: u8,
    /// Agent's answers still to come.
    pub(super) rounds: u8,
    /// Whether the customer has said to the queue or agent what it is about.
    pub(super) asked: bool,
    /// Comes with this answer, from 1; 0 is never.
    pub(super) hold_at: u8,
    pub(super) transfer_at: u8,
    /// The agent will leave the last message without an answer, or has done so.
    pub(super) ignored: bool,
    pub(super) ignored_before: bool,
    /// What the agent or bot says at closing, and what is so.
    pub(super) resolved_said: bool,
    pub(super) resolved: bool,
    pub(super) reopened: bool,
    pub(super) transfers: u8,
    pub(super) queued_ms: i64,
    pub(super) waited_ms: i64,
    pub(super) slow_answers_ms: i64,
    pub(super) annoyance: f64,
}

impl Simulator {
    pub(super) fn begin_conversation(&mut self, contact: Contact) {
        let customer = &mut self.customers[contact.slot as usize];
        if customer.number != contact.customer {
            return;
        }
        let order = contact.order.map(|(index, number)| (&self.orders[index as usize], number));
        if order.is_some_and(|(order, number)| (order.customer, order.number) != (contact.customer, number)) {
            return;
        }
        let number = customer.conversations;
        customer.conversations += 1;
        let mut dice = self.streams.of(Purpose::Conversation, contact.customer, u64::from(number));
        let proactive = contact.intent == Intent::Care;
        let channel = customer.pick_channel(&mut dice);
        let facts = contact.intent.facts();
        let skill = match facts.skill {
            _ if contact.attempts >= 2 => COMPLAINT,
            _ if customer.vip && dice.chance(0.75) => VIP,
            skill => skill,
        };
        let wants_bot = dice.chance(0.64);
        let entry_bot = wants_bot
            && !proactive
            && channel != PHONE
            && contact.attempts < 2
            && !self.incidents.bot_down(self.now_ms);
        let rounds = 1 + dice.weighted(&[0.3, 0.34, 0.2, 0.1, 0.06]) as u8;
        let conversation = Conversation {
            contact,
            number,
            shop: customer.shop,
            channel,
            skill,
            temper: customer.temper,
            patience_ms: customer.patience_ms * dice.log_normal(1.0, 0.7),
            entry_bot,
            phase: if entry_bot { Phase::Ask } else { Phase::Enqueue },
            epoch: 0,
            events: 0,
            agent: None,
            bot_rounds: if entry_bot { 1 + dice.weighted(&[0.6, 0.3, 0.1]) as u8 } else { 0 },
            rounds,
            asked: proactive,
            hold_at: if dice.chance(0.08) { 1 + dice.below(2) as u8 } else { 0 },
            transfer_at: if dice.chance(0.06) && !proactive { 1 } else { 0 },
            ignored: dice.chance(0.05),
            ignored_before: false,
            resolved_said: true,
            resolved: true,
            reopened: false,
            transfers: 0,
            queued_ms: 0,
            waited_ms: 0,
            slow_answers_ms: 0,
            annoyance: 0.0,
            dice: Some(dice),
        };
        let index = self.store(conversation);
        self.say(index, "conversation.started", |c, out| {
            let origin = if proactive { "proactive" } else { "inbound" };
            let entry = if c.entry_bot { "bot" } else { "queue" };
            _ = write!(out, r#","origin":"{origin}","entry":"{entry}""#);
            if !c.entry_bot {
                _ = write!(out, r#","skill":"{}""#, SKILLS[usize::from(c.skill)]);
            }
            if let Some((_, number)) = c.contact.order {
                _ = write!(out, r#","order_id":"{}""#, order_id(c.contact.customer, number));
            }
        });
        self.go_on(index, 300.0, 3_000.0);
    }

    /// Takes a conversation one step further.
    pub(super) fn step_conversation(&mut self, index: u32, epoch: u32) {
        if self.conversation(index).epoch != epoch {
            return;
        }
        match self.conversation(index).phase {
            Phase::Ask => self.ask(index),
            Phase::BotAnswer => self.bot_answer(index),
            Phase::BotClose => self.bot_close(index),
            Phase::HandOff => {
                self.say(index, "conversation.handed_off", |_, _| {});
                self.then(index, Phase::Enqueue, 40.0, 200.0);
            }
            Phase::Enqueue => self.enqueue(index),
            Phase::Wait => self.wait(index),
            Phase::Greet => {
                self.message(index, "agent", true, GREETING);
                self.hear(index);
            }
            Phase::Answer => self.answer(index),
            Phase::Reply => self.reply(index),
            Phase::Hold => {
                self.say_agent(index, "conversation.held");
                self.then(index, Phase::Resume, 15_000.0, 75_000.0);
            }
            Phase::Resume => {
                self.say_agent(index, "conversation.resumed");
                self.then_answer(index, 0.5);
            }
            Phase::Transfer => self.transfer(index),
            Phase::Close => self.close(index),
            Phase::Wrap => self.wrap(index),
            Phase::Label => self.label(index),
            Phase::Rate => self.rate(index),
            Phase::Reopen => {
                self.say(index, "conversation.reopened", |_, _| {});
                let c = self.conversation_mut(index);
                (c.reopened, c.rounds, c.hold_at, c.transfer_at, c.ignored, c.asked) =
                    (true, 1, 0, 0, false, false);
                self.then(index, Phase::Enqueue, 100.0, 700.0);
            }
            Phase::End => self.end_conversation(index),
        }
    }

    pub(super) fn ask(&mut self, index: u32) {
        let asks = &self.conversation(index).contact.intent.facts().asks;
        let pick = self.dice(index).below(asks.len());
        self.message(index, "customer", false, asks[pick]);
        let c = self.conversation_mut(index);
        if c.agent.is_some() {
            c.asked = true;
            self.then_answer(index, 1.0);
        } else {
            self.then(index, Phase::BotAnswer, 500.0, 1_800.0);
        }
    }

    /// Says in the queue what it is about, and later that nobody answers.
    pub(super) fn wait(&mut self, index: u32) {
        let c = self.conversation_mut(index);
        if c.asked {
            let pick = self.dice(index).below(NUDGES.len());
            return self.message(index, "customer", false, NUDGES[pick]);
        }
        c.asked = true;
        let asks = &c.contact.intent.facts().asks;
        let pick = self.dice(index).below(asks.len());
        self.message(index, "customer", false, asks[pick]);
        if self.dice(index).chance(0.5) {
            self.go_on(index, 25_000.0, 90_000.0);
        }
    }

    pub(super) fn bot_answer(&mut self, index: u32) {
        let pick = self.dice(index).below(BOT_ANSWERS.len());
        self.message(index, "bot", true, BOT_ANSWERS[pick]);
        let settles = self.conversation(index).contact.intent.facts().bot_settles;
        let c = self.conversation_mut(index);
        c.bot_rounds -= 1;
        if c.bot_rounds > 0 {
            self.then(index, Phase::Ask, 4_000.0, 25_000.0);
        } else if self.dice(index).chance(settles * 1.08) {
            self.then(index, Phase::BotClose, 20_000.0, 90_000.0);
        } else {
            self.then(index, Phase::HandOff, 3_000.0, 20_000.0);
        }
    }

    pub(super) fn bot_close(&mut self, index: u32) {
        let resolved = self.dice(index).chance(0.82);
        let c = self.conversation_mut(index);
        (c.resolved, c.resolved_said) = (resolved, true);
        self.say(index, "conversation.closed", |_, out| out.push_str(r#","resolved":true"#));
        self.settle(index, false);
        self.then(index, Phase::Label, 800.0, 4_000.0);
    }

    pub(super) fn then(&mut self, index: u32, phase: Phase, from_ms: f64, to_ms: f64) {
        self.conversation_mut(index).phase = phase;
        self.go_on(index, from_ms, to_ms);
    }

    pub(super) fn go_on(&mut self, index: u32, from_ms: f64, to_ms: f64) {
        let delay_ms = self.dice(index).between(from_ms, to_ms) as i64;
        let epoch = self.conversation(index).epoch;
        self.schedule(self.now_ms + delay_ms, What::Conversation(index, epoch));
    }

    pub(super) fn message(&mut self, index: u32, role: &str, auto: bool, text: &str) {
        let texts = self.config.texts;
        self.say(index, "conversation.message", |c, out| {
            push_all(out, &[",\"role\":\"", role, "\",\"auto\":", if auto { "true" } else { "false" }]);
            if let (Some(agent), "agent") = (c.agent, role) {
                push_agent(out, agent as usize);
            }
            if texts {
                push_all(out, &[",\"text\":\"", text, "\""]);
            }
        });
    }

    pub(super) fn say_agent(&mut self, index: u32, kind: &str) {
        let agent = self.agent_of(index);
        self.say(index, kind, |_, out| push_agent(out, agent));
    }

    pub(super) fn say(&mut self, index: u32, kind: &str, more: impl FnOnce(&Conversation, &mut String)) {
        let c = &mut self.conversations[index as usize];
        let number = c.events;
        c.events += 1;
        let c = &self.conversations[index as usize];
        let (customer, shop, channel) =
            (c.contact.customer, &self.config.shops[usize::from(c.shop)], CHANNELS[usize::from(c.channel)]);
        let subject = Subject {
            topic: "conversations",
            key: customer_id(customer),
            system: channel,
            shop,
            id: numbered_twice("conv-", customer, c.number),
            stream: customer << 20 | u64::from(c.number),
        };
        self.outbox.put(subject, number, kind, self.now_ms, |out| {
            push_common(out, customer, shop, channel);
            more(c, out);
        });
    }

    #[expect(clippy::expect_used, reason = "its scripts ask for the agent of a served conversation only")]
    pub(super) fn agent_of(&self, index: u32) -> usize {
        self.conversation(index).agent.expect("only a conversation with an agent gets here") as usize
    }

    pub(super) fn conversation(&self, index: u32) -> &Conversation {
        &self.conversations[index as usize]
    }

    pub(super) fn conversation_mut(&mut self, index: u32) -> &mut Conversation {
        &mut self.conversations[index as usize]
    }

    #[expect(clippy::expect_used, reason = "what it takes it puts back, whatever its configuration")]
    pub(super) fn dice(&mut self, index: u32) -> &mut Dice {
        self.conversations[index as usize].dice.as_mut().expect("a conversation under way has its dice")
    }

    #[expect(clippy::expect_used, reason = "what it takes it puts back, whatever its configuration")]
    pub(super) fn take_dice(&mut self, index: u32) -> Dice {
        self.conversations[index as usize].dice.take().expect("a conversation under way has its dice")
    }

    pub(super) fn put_dice(&mut self, index: u32, dice: Dice) {
        self.conversations[index as usize].dice = Some(dice);
    }

    pub(super) fn store(&mut self, mut conversation: Conversation) -> u32 {
        if let Some(index) = self.free_conversations.pop() {
            // Timers of the one before must not fit.
            conversation.epoch = self.conversation(index).epoch + 1;
            *self.conversation_mut(index) = conversation;
            index
        } else {
            self.conversations.push(conversation);
            self.conversations.len() as u32 - 1
        }
    }

    pub(super) fn end_conversation(&mut self, index: u32) {
        let c = self.conversation_mut(index);
        c.epoch += 1;
        c.dice = None;
        self.free_conversations.push(index);
    }
}

fn push_agent(out: &mut String, agent: usize) {
    out.push_str(",\"agent_id\":\"agent-");
    push_number(out, agent as u64);
    out.push('"');
}
