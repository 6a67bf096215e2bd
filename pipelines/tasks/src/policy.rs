//! Who is contacted: from scores to tasks.
//!
//! [`Policy`] does no I/O and reads no clock: what happened goes in, in the order of event time, and
//! [`Decision`]s come out, the same whenever and however often [`Policy::advance`] is called in
//! between, and wherever its [`State`] is saved and taken up again. An input of an earlier time than
//! the one before counts as of that time. What is due at a time comes before what happens at it.
//!
//! **The arm comes first.** Whom a campaign is for (its threshold, or the best of the hour) is
//! assigned to an arm before anything else is looked at: by a hash of salt, campaign and customer,
//! so that a customer has the same arm for ever. Both arms are logged the same, once a cooldown
//! ([`Decision::Assigned`]); those are what `lift` compares. Only the treated go on to the filters,
//! so a control never has a task of the campaign.
//!
//! **Several campaigns** deal customers independently: a control of one may be contacted by
//! another. Caps and the open task are a customer's, over all campaigns, and count contacts only:
//! being a control uses up nothing. A campaign that contacts more leaves others less room, the same
//! for both of their arms.
//!
//! **A customer has at most one open task**, over all campaigns. It becomes a contact when it ends
//! after an agent accepted it, however it ends, at that time: so caps hold for any time of their
//! length, and a contact is never counted too early. What ends before leaves caps and channels
//! untouched.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::task::{
    Arm, Assignment, Cancelled, Life, Reach, Risk, State as TaskState, Task, TaskError, Transition, joined,
    stable_hash,
};

mod decision;
mod quiet;
mod reading;
mod rules;
#[cfg(test)]
mod tests;

pub use decision::{Decision, Refusal, Score, ScoreError, Suppressed, Suppression};
pub use quiet::QuietHours;
pub use rules::{Campaign, Cap, Channel, Mistake, Pick, Rules, RulesError, STANDARD};

const HOUR_MS: i64 = 3_600_000;

/// How busy service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Customers who wait.
    pub waiting: u64,
    /// Agents who are available.
    pub agents_available: u64,
    /// What they can do at once, all together.
    pub capacity: u64,
}

/// What is remembered. Everything but consent is forgotten when it can no longer matter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    now_ms: Option<i64>,
    queue: Option<Queue>,
    customers: BTreeMap<String, Customer>,
    /// Those that are open, and those of which late word may come.
    tasks: BTreeMap<String, Held>,
    open: u64,
    /// By campaign and customer, the latest score of this hour.
    candidates: BTreeMap<String, BTreeMap<String, Score>>,
    wakes: BTreeSet<(i64, Wake)>,
    /// When there is something that can be forgotten; nobody sees whether it is.
    forgets: BTreeSet<(i64, Forget)>,
}

/// What is due at a time, in the order in which it is done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Wake {
    /// See whether a task is over.
    Expire(String),
    /// The best of the hour.
    Hour,
    /// The policy has changed, so that there is no such task any more.
    Withdraw(String),
}

/// What is forgotten at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Forget {
    /// A task.
    Task(String),
    /// What is old of a customer.
    Customer(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Held {
    task: Task,
    /// Those of its orders that are not back.
    orders_left: BTreeSet<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Customer {
    /// The one open task.
    open: Option<String>,
    /// When the customer was contacted.
    contacts: Vec<i64>,
    channels: BTreeMap<String, ChannelState>,
    campaigns: BTreeMap<String, CampaignState>,
    /// When to look what can be forgotten.
    forget_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct ChannelState {
    message_ms: Option<i64>,
    /// Contacts since that message.
    pushes: u32,
    consent: Option<bool>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct CampaignState {
    /// When it was last assigned.
    assigned_ms: Option<i64>,
    /// When the last task was created, or ended with a contact.
    task_ms: Option<i64>,
}

impl Customer {
    /// Drops what no longer matters at a time. Says until when something of the rest does.
    fn forget(&mut self, rules: &Rules, now_ms: i64) -> Option<i64> {
        let mut last: Option<i64> = None;
        let mut lives = |since_ms: Option<i64>, for_ms: Option<i64>| {
            let until = since_ms.zip(for_ms).map(|(since, length)| since.saturating_add(length));
            let until = until.filter(|&until| until > now_ms);
            last = last.max(until);
            until.is_some()
        };
        let longest = rules.caps.iter().map(|cap| cap.per_ms).max();
        self.contacts.retain(|&at| lives(Some(at), longest));
        self.channels.retain(|name, channel| {
            let reach = rules.channel(name).and_then(|rule| rule.reach_ms);
            if !lives(channel.message_ms, reach) {
                (channel.message_ms, channel.pushes) = (None, 0);
            }
            channel.message_ms.is_some() || channel.consent.is_some()
        });
        self.campaigns.retain(|name, campaign| {
            let cooldown = rules.campaign(name).map(|rule| rule.cooldown_ms);
            lives(campaign.assigned_ms.max(campaign.task_ms), cooldown)
        });
        last
    }

    fn is_empty(&self) -> bool {
        self.open.is_none()
            && self.contacts.is_empty()
            && self.channels.is_empty()
            && self.campaigns.is_empty()
    }

    /// Until when the customer can be reached by a channel at a time; `Some(None)`: for ever.
    fn reach(&self, rule: &Channel, at_ms: i64) -> Result<Option<i64>, Suppressed> {
        let channel = self.channels.get(&rule.name).copied().unwrap_or_default();
        match channel.consent {
            Some(false) => return Err(Suppressed::NoConsent),
            None if rule.consent => return Err(Suppressed::NoConsent),
            _ => {}
        }
        let Some(reach_ms) = rule.reach_ms else { return Ok(None) };
        let until = channel.message_ms.map(|message| message.saturating_add(reach_ms));
        let Some(until) = until.filter(|&until| until > at_ms) else { return Err(Suppressed::Unreachable) };
        if rule.pushes_max.is_some_and(|max| channel.pushes >= max) {
            return Err(Suppressed::Unreachable);
        }
        Ok(Some(until))
    }
}

impl Campaign {
    /// The arm of a customer: always the same.
    pub fn arm(&self, customer_id: &str) -> Arm {
        let hash = xxh3_64(&joined([self.salt.as_str(), &self.name, customer_id]));
        // 53 bits, which is what a number below 1 has room for.
        let place = (hash >> 11) as f64 / (1u64 << 53) as f64;
        if place < self.control_share { Arm::Control } else { Arm::Treated }
    }

    fn is_fresh(&self, since_ms: Option<i64>, now_ms: i64) -> bool {
        since_ms.is_some_and(|since| now_ms.saturating_sub(since) < self.cooldown_ms)
    }
}

/// Who is contacted.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    rules: Arc<Rules>,
    state: State,
}

impl Policy {
    /// Remembers nothing.
    pub fn new(rules: Arc<Rules>) -> Self {
        Self::resume(rules, State::default())
    }

    /// Goes on from what was remembered. Rules may have changed: arms of a campaign stay what they
    /// were unless its name, salt or control share has changed. An open task of a campaign that
    /// there is no longer, or of whom it leaves alone now, is cancelled unless somebody does it.
    pub fn resume(rules: Arc<Rules>, mut state: State) -> Self {
        let withdrawn = state.tasks.values().map(|held| &held.task).filter(|task| {
            let campaign = rules.campaign(&task.campaign);
            let treated = campaign.is_some_and(|campaign| campaign.arm(&task.customer_id) == Arm::Treated);
            task.life.state.is_open() && !task.life.accepted && !treated
        });
        let now_ms = state.now_ms.unwrap_or(i64::MIN);
        let wakes = withdrawn.map(|task| (now_ms, Wake::Withdraw(task.task_id.clone())));
        state.wakes.extend(wakes.collect::<Vec<_>>());
        Self { rules, state }
    }

    /// What it goes by.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What it remembers, to be saved.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// When something is due next.
    pub fn next_due_ms(&self) -> Option<i64> {
        self.state.wakes.first().map(|(at, _)| *at)
    }

    /// A task that is open, or was not long ago.
    pub fn task(&self, task_id: &str) -> Option<&Task> {
        self.state.tasks.get(task_id).map(|held| &held.task)
    }

    /// The open tasks, by id.
    pub fn open_tasks(&self) -> impl Iterator<Item = &Task> {
        self.state.tasks.values().map(|held| &held.task).filter(|task| task.life.state.is_open())
    }

    /// The time up to which everything is decided.
    pub fn now_ms(&self) -> Option<i64> {
        self.state.now_ms
    }

    /// Does what is due up to and at a time.
    pub fn advance(&mut self, at_ms: i64, out: &mut Vec<Decision>) {
        loop {
            let wake_ms = self.state.wakes.first().map_or(i64::MAX, |(due_ms, _)| *due_ms);
            let forget_ms = self.state.forgets.first().map_or(i64::MAX, |(due_ms, _)| *due_ms);
            if wake_ms.min(forget_ms) > at_ms || wake_ms.min(forget_ms) == i64::MAX {
                break;
            }
            let now_ms = self.set_now(wake_ms.min(forget_ms));
            if forget_ms < wake_ms {
                self.forget();
                continue;
            }
            match self.state.wakes.pop_first() {
                Some((_, Wake::Expire(task_id))) => self.expire(&task_id, now_ms, out),
                Some((_, Wake::Hour)) => self.hour(out),
                Some((_, Wake::Withdraw(task_id))) => self.cancel(&task_id, Cancelled::PolicyChanged, out),
                None => {}
            }
        }
        self.set_now(at_ms);
    }

    fn forget(&mut self) {
        match self.state.forgets.pop_first() {
            Some((_, Forget::Task(task_id))) => drop(self.state.tasks.remove(&task_id)),
            Some((_, Forget::Customer(customer_id))) => {
                if let Some(customer) = self.state.customers.get_mut(&customer_id) {
                    customer.forget_ms = None;
                    self.touched(&customer_id);
                }
            }
            None => {}
        }
    }

    /// Takes in a score, for every campaign of its model. Those of a challenger are not to be given.
    ///
    /// # Errors
    /// Its numbers are none that a model gives out. It is passed over then.
    pub fn score(&mut self, score: Score, out: &mut Vec<Decision>) -> Result<(), ScoreError> {
        self.advance(score.at_ms, out);
        let (customer_id, model) = (&score.customer_id, &score.model);
        let orders_named = score.order_ids.iter().all(|id| !id.is_empty());
        for (what, there) in [
            ("customer_id", !customer_id.is_empty()),
            ("model", !model.is_empty()),
            ("version", !score.version.is_empty()),
            ("an id of order_ids", orders_named),
        ] {
            if !there {
                let (customer_id, model) = (customer_id.clone(), model.clone());
                return Err(ScoreError::Missing { customer_id, model, what });
            }
        }
        if !(0.0..=1.0).contains(&score.probability) {
            return Err(ScoreError::Probability {
                customer_id: customer_id.clone(),
                model: model.clone(),
                probability: score.probability,
            });
        }
        if let Some(percentile) = score.percentile.filter(|at| !(0.0..=100.0).contains(at)) {
            return Err(ScoreError::Percentile {
                customer_id: customer_id.clone(),
                model: model.clone(),
                percentile,
            });
        }
        let rules = Arc::clone(&self.rules);
        for campaign in rules.campaigns.iter().filter(|campaign| campaign.model == score.model) {
            let stands =
                campaign.min_percentile.is_none_or(|min| score.percentile.is_some_and(|at| at >= min));
            // Of a customer all of whose orders are back there is none to save.
            let stands = stands && (campaign.orders_within_ms == 0 || !score.order_ids.is_empty());
            match campaign.pick {
                Pick::Threshold(threshold) if stands && score.probability >= threshold => {
                    self.decide(campaign, &score, out);
                }
                Pick::Threshold(_) => {}
                Pick::TopK(_) => self.candidate(campaign, &score, stands),
            }
        }
        Ok(())
    }

    /// The customer wrote by a channel, and can be reached by it for a while.
    pub fn message(&mut self, customer_id: &str, channel: &str, at_ms: i64, out: &mut Vec<Decision>) {
        self.advance(at_ms, out);
        if self.rules.channel(channel).is_none_or(|rule| rule.reach_ms.is_none()) {
            return;
        }
        let now_ms = self.set_now(at_ms);
        let customer = self.state.customers.entry(customer_id.to_owned()).or_default();
        let state = customer.channels.entry(channel.to_owned()).or_default();
        (state.message_ms, state.pushes) = (Some(now_ms), 0);
        self.touched(customer_id);
    }

    /// The customer agreed to be contacted by a channel, or withdrew. That is remembered for ever,
    /// also for channels that the policy does not know yet. An open task by a channel that is
    /// withdrawn is cancelled.
    pub fn consent(
        &mut self,
        customer_id: &str,
        channel: &str,
        given: bool,
        at_ms: i64,
        out: &mut Vec<Decision>,
    ) {
        self.advance(at_ms, out);
        let customer = self.state.customers.entry(customer_id.to_owned()).or_default();
        customer.channels.entry(channel.to_owned()).or_default().consent = Some(given);
        if !given {
            let by_it = |held: &Held| held.task.channels.iter().any(|reach| reach.channel == channel);
            self.cancel_open(customer_id, Cancelled::ConsentWithdrawn, by_it, out);
        }
    }

    /// How busy service is from now on. Until the first word of it nobody is held back.
    pub fn queue(&mut self, queue: Queue, at_ms: i64, out: &mut Vec<Decision>) {
        self.advance(at_ms, out);
        self.state.queue = Some(queue);
    }

    /// An order was cancelled or returned: a task all of whose orders are back is cancelled.
    pub fn order_back(&mut self, customer_id: &str, order_id: &str, at_ms: i64, out: &mut Vec<Decision>) {
        self.advance(at_ms, out);
        for scores in self.state.candidates.values_mut() {
            if let Some(score) = scores.get_mut(customer_id)
                && score.order_ids.iter().any(|id| id == order_id)
            {
                score.order_ids.retain(|id| id != order_id);
                if score.order_ids.is_empty() {
                    scores.remove(customer_id);
                }
            }
        }
        if let Some(held) = self.open_of(customer_id)
            && held.orders_left.remove(order_id)
        {
            let all = |held: &Held| held.orders_left.is_empty();
            self.cancel_open(customer_id, Cancelled::OrderIsBack, all, out);
        }
    }

    /// The customer began a contact: a task that nobody has accepted yet is cancelled.
    pub fn came_first(&mut self, customer_id: &str, at_ms: i64, out: &mut Vec<Decision>) {
        self.advance(at_ms, out);
        let unaccepted = |held: &Held| !held.task.life.accepted;
        self.cancel_open(customer_id, Cancelled::CustomerCameFirst, unaccepted, out);
    }

    /// What became of a task, as whoever does it says. The same again by an event of the same id
    /// changes nothing.
    ///
    /// # Errors
    /// There is no such task, or that cannot become of it. That is in `out` too, for those who look
    /// at decisions alone, and so is what was due before.
    pub fn feedback(
        &mut self,
        task_id: &str,
        transition: Transition,
        event_id: &str,
        at_ms: i64,
        out: &mut Vec<Decision>,
    ) -> Result<(), TaskError> {
        self.advance(at_ms, out);
        let refused = transition.event_type().to_owned();
        self.change(task_id, transition, event_id, out).inspect_err(|error| {
            let held = self.state.tasks.get(task_id);
            out.push(Decision::Refused(Box::new(Refusal {
                task_id: task_id.to_owned(),
                customer_id: held.map(|held| held.task.customer_id.clone()),
                event_id: event_id.to_owned(),
                refused,
                reason: error.to_string(),
                at_ms: self.now(),
            })));
        })
    }

    /// Whether the customer of a task may be contacted by a channel at this moment: a task may be
    /// open over quiet hours, and a channel's time may be over before the task's.
    ///
    /// # Errors
    /// Why not: `Expired` also if the task is over, `Unreachable` also before its time and by a
    /// channel that it has not.
    pub fn may_contact(&self, task_id: &str, channel: &str, at_ms: i64) -> Result<(), Suppressed> {
        let Some(held) = self.state.tasks.get(task_id) else { return Err(Suppressed::Expired) };
        let task = &held.task;
        if !task.life.state.is_open() || at_ms >= self.ends_ms(task) {
            return Err(Suppressed::Expired);
        }
        let listed = task.channels.iter().any(|reach| reach.channel == channel);
        let Some(rule) = self.rules.channel(channel).filter(|_| listed && at_ms >= task.not_before_ms) else {
            return Err(Suppressed::Unreachable);
        };
        if self.rules.quiet_hours.as_ref().is_some_and(|quiet| quiet.is_quiet(at_ms)) {
            return Err(Suppressed::QuietHours);
        }
        let customer = self.state.customers.get(&task.customer_id).ok_or(Suppressed::Unreachable)?;
        customer.reach(rule, at_ms).map(|_| ())
    }

    /// The time does not go back.
    fn set_now(&mut self, at_ms: i64) -> i64 {
        let now_ms = self.state.now_ms.map_or(at_ms, |now| now.max(at_ms));
        self.state.now_ms = Some(now_ms);
        now_ms
    }

    fn now(&self) -> i64 {
        self.state.now_ms.unwrap_or(i64::MIN)
    }

    fn candidate(&mut self, campaign: &Campaign, score: &Score, stands: bool) {
        let hour_ms = self.now().div_euclid(HOUR_MS).saturating_add(1).saturating_mul(HOUR_MS);
        if stands {
            let scores = self.state.candidates.entry(campaign.name.clone()).or_default();
            scores.insert(score.customer_id.clone(), score.clone());
            self.state.wakes.insert((hour_ms, Wake::Hour));
        } else if let Some(scores) = self.state.candidates.get_mut(&campaign.name) {
            scores.remove(&score.customer_id);
        }
    }

    /// The best of the hour, of one campaign after another. Who was assigned a short time ago takes
    /// up no place, in either arm.
    fn hour(&mut self, out: &mut Vec<Decision>) {
        let rules = Arc::clone(&self.rules);
        let mut candidates = std::mem::take(&mut self.state.candidates);
        for campaign in &rules.campaigns {
            let (Pick::TopK(k), Some(scores)) = (campaign.pick, candidates.remove(&campaign.name)) else {
                continue;
            };
            let mut scores: Vec<Score> = scores.into_values().collect();
            // Stable, so that equal ones stay in the order of customers.
            scores.sort_by(|a, b| b.probability.total_cmp(&a.probability));
            let mut left = k;
            for score in scores {
                if left == 0 {
                    break;
                }
                let customer = self.state.customers.get(&score.customer_id);
                let before = customer.and_then(|customer| customer.campaigns.get(&campaign.name));
                if !campaign.is_fresh(before.and_then(|before| before.assigned_ms), self.now()) {
                    left -= 1;
                }
                self.decide(campaign, &score, out);
            }
        }
    }

    /// A campaign is for a customer.
    fn decide(&mut self, campaign: &Campaign, score: &Score, out: &mut Vec<Decision>) {
        let now_ms = self.now();
        let arm = campaign.arm(&score.customer_id);
        let customer = self.state.customers.entry(score.customer_id.clone()).or_default();
        let state = customer.campaigns.entry(campaign.name.clone()).or_default();
        let fresh = campaign.is_fresh(state.assigned_ms, now_ms);
        let assigned_ms = state.assigned_ms.filter(|_| fresh).unwrap_or(now_ms);
        state.assigned_ms = Some(assigned_ms);
        let assignment_id =
            stable_hash(["assignment", &campaign.name, &score.customer_id, &assigned_ms.to_string()]);
        let risk = Risk {
            kind: score.model.clone(),
            probability: score.probability,
            percentile: score.percentile,
            lead_ms: score.lead_ms,
            model: score.version.clone(),
        };
        if !fresh {
            out.push(Decision::Assigned(Box::new(Assignment {
                assignment_id: assignment_id.clone(),
                campaign: campaign.name.clone(),
                customer_id: score.customer_id.clone(),
                shop: score.shop.clone(),
                channel: score.channel.clone(),
                order_ids: score.order_ids.clone(),
                risk: risk.clone(),
                reasons: score.reasons.clone(),
                arm,
                value_minor: campaign.value_minor,
                cost_minor: campaign.cost_minor,
                at_ms: now_ms,
            })));
        }
        if arm == Arm::Treated {
            match self.filter(campaign, score, now_ms) {
                Ok(plan) => self.create(campaign, score, risk, assignment_id, plan, out),
                Err(reason) => out.push(Decision::Suppressed(Box::new(Suppression {
                    assignment_id,
                    campaign: campaign.name.clone(),
                    customer_id: score.customer_id.clone(),
                    reason,
                    at_ms: now_ms,
                }))),
            }
        }
        self.touched(&score.customer_id);
    }

    /// Whether a treated customer may be contacted, and when and how.
    fn filter(&self, campaign: &Campaign, score: &Score, now_ms: i64) -> Result<Plan, Suppressed> {
        let nobody = Customer::default();
        let customer = self.state.customers.get(&score.customer_id).unwrap_or(&nobody);
        let mut expires_ms = now_ms.saturating_add(campaign.expires_after_ms);
        if score.at_ms.saturating_add(campaign.expires_after_ms) <= now_ms {
            return Err(Suppressed::Expired);
        }
        if customer.open.is_some() {
            return Err(Suppressed::OpenTask);
        }
        let before = customer.campaigns.get(&campaign.name).and_then(|before| before.task_ms);
        if campaign.is_fresh(before, now_ms) {
            return Err(Suppressed::Cooldown);
        }
        let full = |cap: &Cap| {
            let within = |at: &&i64| now_ms.saturating_sub(**at) < cap.per_ms;
            customer.contacts.iter().filter(within).count() >= cap.contacts
        };
        if self.rules.caps.iter().any(full) {
            return Err(Suppressed::Cap);
        }
        let wanted_ms = now_ms.saturating_add(campaign.not_before_ms);
        let quiet = self.rules.quiet_hours.as_ref();
        let not_before_ms = quiet.map_or(wanted_ms, |quiet| quiet.next_loud(wanted_ms));
        // As if there were no quiet hours, to know whether it is because of them.
        reaches(&self.rules, campaign, customer, wanted_ms)?;
        let channels = reaches(&self.rules, campaign, customer, not_before_ms);
        let channels = channels.map_err(|_| Suppressed::QuietHours)?;
        if not_before_ms >= expires_ms {
            return Err(Suppressed::QuietHours);
        }
        if let Some(queue) = &self.state.queue {
            if self.rules.backlog_max.is_some_and(|max| queue.waiting > max) {
                return Err(Suppressed::Backlog);
            }
            let capacity = if queue.agents_available == 0 { 0 } else { queue.capacity };
            let room = |share: f64| (share * capacity as f64).floor() as u64;
            if self.rules.capacity_share.is_some_and(|share| self.state.open >= room(share)) {
                return Err(Suppressed::Capacity);
            }
        }
        if channels.iter().all(|reach| reach.until_ms.is_some())
            && let Some(last) = channels.iter().filter_map(|reach| reach.until_ms).max()
        {
            expires_ms = expires_ms.min(last);
        }
        Ok(Plan { not_before_ms, expires_ms, channels })
    }

    fn create(
        &mut self,
        campaign: &Campaign,
        score: &Score,
        risk: Risk,
        assignment_id: String,
        plan: Plan,
        out: &mut Vec<Decision>,
    ) {
        let now_ms = self.now();
        let orders: BTreeSet<String> = score.order_ids.iter().cloned().collect();
        // Two tasks are at least a cooldown apart, and so never in the same window.
        let window = now_ms.div_euclid(campaign.cooldown_ms.max(1)).to_string();
        let key = ["task", &campaign.name, &score.customer_id, &window];
        let idempotency_key = stable_hash(key.into_iter().chain(orders.iter().map(String::as_str)));
        let task = Task {
            task_id: format!("{}-{idempotency_key}", campaign.name),
            idempotency_key,
            assignment_id,
            campaign: campaign.name.clone(),
            title: campaign.title.clone(),
            customer_id: score.customer_id.clone(),
            shop: score.shop.clone(),
            order_ids: orders.iter().cloned().collect(),
            risk,
            reasons: score.reasons.clone(),
            recommended_actions: campaign.recommended_actions.clone(),
            required_skills: campaign.required_skills.clone(),
            channels: plan.channels,
            priority: campaign.priority,
            created_ms: now_ms,
            not_before_ms: plan.not_before_ms,
            expires_ms: plan.expires_ms,
            arm: Arm::Treated,
            life: Life::begin(now_ms),
        };
        out.push(Decision::Created(Box::new(task.clone())));
        let customer = self.state.customers.entry(score.customer_id.clone()).or_default();
        customer.open = Some(task.task_id.clone());
        customer.campaigns.entry(campaign.name.clone()).or_default().task_ms = Some(now_ms);
        self.state.open += 1;
        self.state.wakes.insert((task.expires_ms, Wake::Expire(task.task_id.clone())));
        self.state.tasks.insert(task.task_id.clone(), Held { task, orders_left: orders });
    }

    /// Until when a task can stay as it is.
    fn ends_ms(&self, task: &Task) -> i64 {
        match task.life.state {
            TaskState::Accepted => task.life.since_ms.saturating_add(self.rules.accepted_for_ms),
            _ => task.expires_ms,
        }
    }

    fn expire(&mut self, task_id: &str, now_ms: i64, out: &mut Vec<Decision>) {
        let Some(held) = self.state.tasks.get(task_id) else { return };
        if held.task.life.state.is_open() && self.ends_ms(&held.task) <= now_ms {
            // It is open, so that it can expire.
            let _ = self.change(task_id, Transition::Expired, &format!("headsup/expired/{task_id}"), out);
        }
    }

    fn open_of(&mut self, customer_id: &str) -> Option<&mut Held> {
        let task_id = self.state.customers.get(customer_id)?.open.as_ref()?;
        self.state.tasks.get_mut(task_id)
    }

    /// Cancels the customer's open task if it is one of those.
    fn cancel_open(
        &mut self,
        customer_id: &str,
        reason: Cancelled,
        is_one: impl Fn(&Held) -> bool,
        out: &mut Vec<Decision>,
    ) {
        let Some(held) = self.open_of(customer_id) else { return };
        if is_one(held) {
            let task_id = held.task.task_id.clone();
            self.cancel(&task_id, reason, out);
        }
    }

    /// Cancels a task if it is open.
    fn cancel(&mut self, task_id: &str, reason: Cancelled, out: &mut Vec<Decision>) {
        // What is over stays as it is.
        let event_id = format!("headsup/cancelled/{task_id}");
        let _ = self.change(task_id, Transition::Cancelled { reason }, &event_id, out);
    }

    fn change(
        &mut self,
        task_id: &str,
        transition: Transition,
        event_id: &str,
        out: &mut Vec<Decision>,
    ) -> Result<(), TaskError> {
        let now_ms = self.now();
        let Some(held) = self.state.tasks.get_mut(task_id) else {
            return Err(TaskError::Unknown { task_id: task_id.to_owned() });
        };
        let Some(event) = held.task.apply(transition, event_id, now_ms)? else { return Ok(()) };
        let task = &held.task;
        if task.life.state == TaskState::Accepted {
            let over_ms = now_ms.saturating_add(self.rules.accepted_for_ms);
            self.state.wakes.insert((over_ms, Wake::Expire(task_id.to_owned())));
        }
        if !task.life.state.is_open() {
            let customer = self.state.customers.entry(task.customer_id.clone()).or_default();
            customer.open = None;
            if task.life.accepted {
                customer.contacts.push(now_ms);
                customer.campaigns.entry(task.campaign.clone()).or_default().task_ms = Some(now_ms);
                let told = match &event.transition {
                    Transition::Completed { channel, .. } => channel.as_deref(),
                    _ => None,
                };
                for (name, channel) in &mut customer.channels {
                    // By which channel it was is not always told: then by any of them.
                    let used = match told {
                        Some(told) => told == name,
                        None => task.channels.iter().any(|reach| reach.channel == *name),
                    };
                    channel.pushes = channel.pushes.saturating_add(u32::from(used));
                }
            }
            self.state.open = self.state.open.saturating_sub(1);
            let forget_ms = now_ms.saturating_add(self.rules.memory_ms());
            self.state.forgets.insert((forget_ms, Forget::Task(task_id.to_owned())));
            let customer_id = task.customer_id.clone();
            self.touched(&customer_id);
        }
        out.push(Decision::Changed(Box::new(event)));
        Ok(())
    }

    /// Sees to it that what is remembered of a customer is forgotten in time.
    fn touched(&mut self, customer_id: &str) {
        let now_ms = self.now();
        let Some(customer) = self.state.customers.get_mut(customer_id) else { return };
        let until_ms = customer.forget(&self.rules, now_ms);
        if customer.forget_ms.is_none() {
            if let Some(until_ms) = until_ms {
                customer.forget_ms = Some(until_ms);
                self.state.forgets.insert((until_ms, Forget::Customer(customer_id.to_owned())));
            } else if customer.is_empty() {
                self.state.customers.remove(customer_id);
            }
        }
    }
}

/// When and how a customer is contacted.
struct Plan {
    not_before_ms: i64,
    expires_ms: i64,
    channels: Vec<Reach>,
}

/// How a customer can be reached at a time, the preferred channel first.
fn reaches(
    rules: &Rules,
    campaign: &Campaign,
    customer: &Customer,
    at_ms: i64,
) -> Result<Vec<Reach>, Suppressed> {
    let mut why = Suppressed::NoConsent;
    let mut channels = Vec::new();
    for rule in campaign.channels.iter().filter_map(|name| rules.channel(name)) {
        match customer.reach(rule, at_ms) {
            Ok(until_ms) => channels.push(Reach { channel: rule.name.clone(), until_ms }),
            Err(Suppressed::Unreachable) => why = Suppressed::Unreachable,
            Err(_) => {}
        }
    }
    if channels.is_empty() { Err(why) } else { Ok(channels) }
}
