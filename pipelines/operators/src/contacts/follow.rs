//! What follows a contact: another one of the same customer about the same, or a purchase.
//!
//! Facts are never taken back. A contact that turns out not to have been the first and last
//! gets a second row that says so, and a KPI counts both: what is resolved less what was
//! repeated. So first contact resolution, bot containment and conversion mature by themselves
//! while their windows take corrections.
//!
//! What is found depends on the customer's own events and their turns, on nothing else: entries
//! count until their time is up, by the turn of what asks for them, however much longer they are
//! kept.

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128_with_seed};

use super::{Name, Names};
use crate::chunks::Chunks;
use crate::facts::Rows;
use crate::pipeline::is_time;

/// How long is waited for what follows. All in ms of event time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowLimits {
    /// From a contact to one that repeats it.
    pub repeat_ms: i64,
    /// From an inquiry to the payment.
    pub paid_ms: i64,
    /// Intents, else skills, that ask before a purchase.
    pub presale: Vec<String>,
}

impl Default for FollowLimits {
    fn default() -> Self {
        Self {
            repeat_ms: 7 * DAY_MS,
            paid_ms: 4 * DAY_MS,
            presale: vec!["presale".to_owned(), "product_question".to_owned()],
        }
    }
}

const DAY_MS: i64 = 86_400_000;
/// Contacts of a customer closer than this are one inquiry.
const INQUIRY_MS: i64 = DAY_MS;
/// How long after its time an entry counts: what follows a contact is known when it is over.
const SLACK_MS: i64 = DAY_MS;

/// The state of all customers who came or paid lately.
#[derive(Debug)]
pub struct Follow {
    limits: FollowLimits,
    /// Table `resolutions`.
    pub(crate) resolutions: Option<Rows>,
    /// Table `inquiries`.
    pub(crate) inquiries: Option<Rows>,
    /// What stands for customer and shop, and the place in `customers`.
    index: HashTable<(u128, u32)>,
    customers: Customers,
    free: Vec<u32>,
    /// Where to look next for entries whose time is up.
    sweep: usize,
}

type Customers = Chunks<Customer, 64>;

/// The state as it is saved.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct SavedFollow {
    customers: Customers,
}

/// A customer in a shop.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Customer {
    key: u128,
    contacts: Vec<Past>,
    inquiries: Vec<Inquiry>,
    payments_ms: Vec<i64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Past {
    issue: u64,
    start_ms: i64,
    /// Closed, else ended.
    at_ms: i64,
    /// When it was known to be over: its turn.
    known_ms: i64,
    repeated: bool,
    whose: Whose,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Inquiry {
    asked_ms: i64,
    known_ms: i64,
    paid: bool,
    whose: Whose,
}

/// What a row says of its contact, to be said again.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Whose {
    conversation: Box<str>,
    contact: i64,
    channel: Name,
    skill: Name,
    agent: Name,
    intent: Name,
    entry: Name,
    closed: bool,
    resolved: Option<bool>,
    handed_off: bool,
    bot_only: bool,
}

/// A contact that is over.
#[derive(Debug)]
pub(super) struct Ended<'a> {
    pub conversation: &'a str,
    pub contact: i64,
    pub customer: &'a str,
    pub shop: &'a str,
    pub channel: Name,
    pub skill: Name,
    pub agent: Name,
    pub intent: Name,
    pub entry: Name,
    pub order: &'a str,
    pub closed: bool,
    pub resolved: Option<bool>,
    pub handed_off: bool,
    pub bot_only: bool,
    pub start_ms: i64,
    pub at_ms: i64,
    pub first_reply_ms: Option<i64>,
    pub known_at_ms: i64,
}

impl Follow {
    /// Nobody has come yet. Tables that nobody wants are `None`.
    pub fn new(limits: FollowLimits, resolutions: Option<Rows>, inquiries: Option<Rows>) -> Self {
        Self {
            limits,
            resolutions,
            inquiries,
            index: HashTable::new(),
            customers: Chunks::default(),
            free: Vec::new(),
            sweep: 0,
        }
    }

    /// An inbound contact is over, at its turn `now_ms`.
    pub(super) fn ended(&mut self, ended: &Ended<'_>, now_ms: i64, names: &Names) {
        self.sweep(now_ms);
        let repeat_ms = self.limits.repeat_ms;
        let asks = names.get(if ended.intent == 0 { ended.skill } else { ended.intent });
        let asks = self.limits.presale.iter().any(|intent| intent == asks);
        let place = self.place(ended.customer, ended.shop);
        let Self { resolutions, inquiries, customers, limits, .. } = self;
        let customer = customers.get_mut(place as usize);
        let whose = ended.whose();
        if let Some(rows) = resolutions {
            let issue = ended.issue(names);
            let lives = |past: &Past| !past.is_old(limits, now_ms);
            // The latest contact before this one began.
            let last_ms = customer.contacts.iter().filter(|past| lives(past));
            let last_ms =
                last_ms.map(|past| ended.start_ms - past.at_ms).filter(|&gap| (0..=repeat_ms).contains(&gap));
            let last_ms = last_ms.min();
            whose.row("ended", ended.customer, ended.shop, names, rows);
            rows.time(Some(ended.start_ms))
                .time(Some(ended.at_ms))
                .integer(ended.first_reply_ms)
                .integer(last_ms)
                .integer(None)
                .text("")
                .time(Some(ended.known_at_ms))
                .end_row();
            let same = |past: &Past| past.issue == issue || *past.whose.conversation == *ended.conversation;
            // Those that this one repeats.
            for past in
                customer.contacts.iter_mut().filter(|past| lives(past) && same(past) && !past.repeated)
            {
                let after_ms = ended.start_ms - past.at_ms;
                if (0..=repeat_ms).contains(&after_ms) {
                    past.repeated = true;
                    past.repeated_row(ended, after_ms, ended.conversation, names, rows);
                }
            }
            // Those that began after this one and were over before it was known to be.
            let mut now = Past {
                issue,
                start_ms: ended.start_ms,
                at_ms: ended.at_ms,
                known_ms: now_ms,
                repeated: false,
                whose: whose.clone(),
            };
            let later = customer.contacts.iter().filter(|past| lives(past) && same(past));
            let later = later.map(|past| (past.start_ms - ended.at_ms, &past.whose.conversation));
            let later = later.filter(|(after_ms, _)| (0..=repeat_ms).contains(after_ms)).min();
            if let Some((after_ms, next)) = later {
                now.repeated = true;
                now.repeated_row(ended, after_ms, next, names, rows);
            }
            customer.contacts.push(now);
        }
        if let Some(rows) = inquiries
            && asks
        {
            let asked_ms = ended.start_ms;
            let near = |inquiry: &Inquiry| {
                (inquiry.asked_ms - asked_ms).abs() < INQUIRY_MS && !inquiry.is_old(limits, now_ms)
            };
            if customer.inquiries.iter().any(near) {
                return;
            }
            let paid_ms = customer.payments_ms.iter().filter(|&&ms| !is_old(ms, limits.paid_ms, now_ms));
            let paid_ms = paid_ms.map(|paid_ms| paid_ms - asked_ms);
            let paid_ms = paid_ms.filter(|after_ms| (0..=limits.paid_ms).contains(after_ms)).min();
            let inquiry = Inquiry { asked_ms, known_ms: now_ms, paid: paid_ms.is_some(), whose };
            let who = (ended.customer, ended.shop);
            inquiry.row("asked", who, None, ended.known_at_ms, names, rows);
            if paid_ms.is_some() {
                inquiry.row("paid", who, paid_ms, ended.known_at_ms, names, rows);
            }
            customer.inquiries.push(inquiry);
        }
    }

    /// A customer has paid a shop at `time_ms`, at its turn `now_ms`.
    pub(super) fn paid(
        &mut self,
        (customer, shop): (&str, &str),
        time_ms: i64,
        known_at_ms: i64,
        now_ms: i64,
        names: &Names,
    ) {
        if self.inquiries.is_none() {
            return;
        }
        self.sweep(now_ms);
        let limit_ms = self.limits.paid_ms;
        let place = self.place(customer, shop);
        let Self { inquiries: Some(rows), customers, limits, .. } = self else {
            return;
        };
        let who = (customer, shop);
        let customer = customers.get_mut(place as usize);
        customer.payments_ms.push(time_ms);
        let lives = |inquiry: &Inquiry| !inquiry.paid && !inquiry.is_old(limits, now_ms);
        for inquiry in customer.inquiries.iter_mut().filter(|inquiry| lives(inquiry)) {
            let after_ms = time_ms - inquiry.asked_ms;
            if (0..=limit_ms).contains(&after_ms) {
                inquiry.paid = true;
                let known_at_ms = known_at_ms.max(inquiry.known_ms);
                inquiry.row("paid", who, Some(after_ms), known_at_ms, names, rows);
            }
        }
    }

    fn place(&mut self, customer: &str, shop: &str) -> u32 {
        let key = xxh3_128_with_seed(customer.as_bytes(), xxh3_64(shop.as_bytes()));
        if let Some(&(_, place)) = self.index.find(key as u64, |entry| entry.0 == key) {
            return place;
        }
        let customer = Customer { key, ..Customer::default() };
        let place = match self.free.pop() {
            Some(place) => {
                *self.customers.get_mut(place as usize) = customer;
                place
            }
            None => {
                self.customers.push(customer);
                self.customers.len() as u32 - 1
            }
        };
        self.index.insert_unique(key as u64, (key, place), |entry| entry.0 as u64);
        place
    }

    /// Looks at two customers for what counts no more: more than can come anew meanwhile.
    fn sweep(&mut self, now_ms: i64) {
        for _ in 0..2 {
            let places = self.customers.len();
            if places == 0 {
                return;
            }
            self.sweep = (self.sweep + 1) % places;
            let customer = self.customers.get(self.sweep);
            if customer.is_empty() || !customer.has_old(&self.limits, now_ms) {
                continue;
            }
            let customer = self.customers.get_mut(self.sweep);
            customer.forget(&self.limits, now_ms);
            if customer.is_empty() {
                let (key, place) = (customer.key, self.sweep as u32);
                *customer = Customer::default();
                if let Ok(entry) = self.index.find_entry(key as u64, |other| other.1 == place) {
                    entry.remove();
                }
                self.free.push(place);
            }
        }
    }

    /// The state, for a checkpoint.
    pub fn save(&self) -> SavedFollow {
        SavedFollow { customers: self.customers.clone() }
    }

    /// Goes on from a saved state. `None`: one that is damaged.
    #[must_use]
    pub fn restore(&mut self, saved: SavedFollow, names: usize) -> Option<()> {
        if !saved.customers.iter().all(|customer| customer.is_whole(names)) {
            return None;
        }
        (self.customers, self.sweep) = (saved.customers, 0);
        self.free.clear();
        self.index = HashTable::with_capacity(self.customers.len());
        for (place, customer) in self.customers.iter().enumerate() {
            let (key, place) = (customer.key, place as u32);
            if customer.is_empty() {
                self.free.push(place);
            } else if self.index.find(key as u64, |entry| entry.0 == key).is_some() {
                return None;
            } else {
                self.index.insert_unique(key as u64, (key, place), |entry| entry.0 as u64);
            }
        }
        Some(())
    }

    /// Whether there are rows that have not been given out.
    pub fn has_rows(&self) -> bool {
        let some = |rows: &Option<Rows>| rows.as_ref().is_some_and(|rows| !rows.is_empty());
        some(&self.resolutions) || some(&self.inquiries)
    }

    /// How many customers are remembered.
    pub fn len(&self) -> usize {
        self.index.len()
    }
}

impl Customer {
    fn is_empty(&self) -> bool {
        self.contacts.is_empty() && self.inquiries.is_empty() && self.payments_ms.is_empty()
    }

    fn has_old(&self, limits: &FollowLimits, now_ms: i64) -> bool {
        self.contacts.iter().any(|past| past.is_old(limits, now_ms))
            || self.inquiries.iter().any(|inquiry| inquiry.is_old(limits, now_ms))
            || self.payments_ms.iter().any(|&paid_ms| is_old(paid_ms, limits.paid_ms, now_ms))
    }

    fn forget(&mut self, limits: &FollowLimits, now_ms: i64) {
        self.contacts.retain(|past| !past.is_old(limits, now_ms));
        self.inquiries.retain(|inquiry| !inquiry.is_old(limits, now_ms));
        self.payments_ms.retain(|&paid_ms| !is_old(paid_ms, limits.paid_ms, now_ms));
    }

    fn is_whole(&self, names: usize) -> bool {
        let contacts = self.contacts.iter().map(|past| &past.whose);
        let known = contacts.chain(self.inquiries.iter().map(|inquiry| &inquiry.whose)).all(|whose| {
            let Whose { channel, skill, agent, intent, entry, .. } = *whose;
            [channel, skill, agent, intent, entry].iter().all(|&name| (name as usize) < names)
        });
        let contacts = self.contacts.iter();
        let times = contacts.flat_map(|past| [past.start_ms, past.at_ms, past.known_ms, past.whose.contact]);
        let inquiries = self.inquiries.iter();
        let asked = inquiries.flat_map(|inquiry| [inquiry.asked_ms, inquiry.known_ms, inquiry.whose.contact]);
        known && times.chain(asked).chain(self.payments_ms.iter().copied()).all(is_time)
    }
}

/// Whether something of `time_ms` counts no more, and could be forgotten.
fn is_old(time_ms: i64, horizon_ms: i64, now_ms: i64) -> bool {
    time_ms.saturating_add(horizon_ms.saturating_add(SLACK_MS)) < now_ms
}

impl Past {
    fn is_old(&self, limits: &FollowLimits, now_ms: i64) -> bool {
        is_old(self.known_ms.max(self.at_ms), limits.repeat_ms, now_ms)
    }

    fn repeated_row(&self, ended: &Ended<'_>, after_ms: i64, next: &str, names: &Names, rows: &mut Rows) {
        self.whose.row("repeated", ended.customer, ended.shop, names, rows);
        rows.time(Some(self.start_ms))
            .time(Some(self.at_ms))
            .integer(None)
            .integer(None)
            .integer(Some(after_ms))
            .text(next)
            .time(Some(ended.known_at_ms))
            .end_row();
    }
}

impl Inquiry {
    fn is_old(&self, limits: &FollowLimits, now_ms: i64) -> bool {
        is_old(self.known_ms.max(self.asked_ms), limits.paid_ms.max(INQUIRY_MS), now_ms)
    }

    fn row(
        &self,
        event: &str,
        (customer, shop): (&str, &str),
        after_ms: Option<i64>,
        known_at_ms: i64,
        names: &Names,
        rows: &mut Rows,
    ) {
        let whose = &self.whose;
        rows.text(event)
            .text(&whose.conversation)
            .text(customer)
            .text(shop)
            .text(names.get(whose.channel))
            .text(names.get(whose.skill))
            .text(names.get(whose.agent))
            .time(Some(self.asked_ms))
            .integer(after_ms)
            .time(Some(known_at_ms))
            .end_row();
    }
}

impl Whose {
    /// The columns from `event` to `bot_only`.
    fn row(&self, event: &str, customer: &str, shop: &str, names: &Names, rows: &mut Rows) {
        rows.text(event)
            .text(&self.conversation)
            .integer(Some(self.contact))
            .text(customer)
            .text(shop)
            .text(names.get(self.channel))
            .text(names.get(self.skill))
            .text(names.get(self.agent))
            .text(names.get(self.intent))
            .text(names.get(self.entry))
            .boolean(Some(self.closed))
            .boolean(self.resolved)
            .boolean(Some(self.handed_off))
            .boolean(Some(self.bot_only));
    }
}

impl Ended<'_> {
    fn whose(&self) -> Whose {
        Whose {
            conversation: self.conversation.into(),
            contact: self.contact,
            channel: self.channel,
            skill: self.skill,
            agent: self.agent,
            intent: self.intent,
            entry: self.entry,
            closed: self.closed,
            resolved: self.resolved,
            handed_off: self.handed_off,
            bot_only: self.bot_only,
        }
    }

    /// What it is about: the order, else the intent, else the skill.
    fn issue(&self, names: &Names) -> u64 {
        let about = [(1, self.order), (2, names.get(self.intent)), (3, names.get(self.skill))];
        let about = about.into_iter().find(|(_, text)| !text.is_empty());
        about.map_or(0, |(kind, text)| xxh3_64_with_seed(text.as_bytes(), kind))
    }
}
