//! The file of the policy, and everything that can be wrong with it.

use std::fmt;

use jiff::tz::TimeZone;

use crate::task::Priority;

use super::quiet::QuietHours;
use super::reading;

/// The policy, as it is written down.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// In the order of the file, which is that in which they are asked.
    pub campaigns: Vec<Campaign>,
    /// How customers can be reached.
    pub channels: Vec<Channel>,
    /// How often a customer is contacted at most, over all campaigns.
    pub caps: Vec<Cap>,
    /// When nobody is contacted.
    pub quiet_hours: Option<QuietHours>,
    /// At most this share of what available agents can do at once is open tasks.
    pub capacity_share: Option<f64>,
    /// There are no tasks while more customers wait.
    pub backlog_max: Option<u64>,
    /// For how long an accepted task waits for word of how it went.
    pub accepted_for_ms: i64,
}

/// For whom something is done, and what.
#[derive(Debug, Clone, PartialEq)]
pub struct Campaign {
    /// An identifier.
    pub name: String,
    /// English and Chinese, separated by `|`.
    pub title: String,
    /// Whose scores.
    pub model: String,
    /// Whom it is for.
    pub pick: Pick,
    /// Of these only who stands so high among the scores of the last day, 0 to 100.
    pub min_percentile: Option<f64>,
    /// What an agent has to be able to.
    pub required_skills: Vec<String>,
    /// What an agent could do, the best first.
    pub recommended_actions: Vec<String>,
    /// The preferred one first.
    pub channels: Vec<String>,
    /// How urgent it is.
    pub priority: Priority,
    /// For how long a customer is left alone by the campaign after a task of it.
    pub cooldown_ms: i64,
    /// For how long a task is worth doing.
    pub expires_after_ms: i64,
    /// How long to wait with the contact.
    pub not_before_ms: i64,
    /// It is about the customer's orders of so long that are not back; 0: it is about none.
    pub orders_within_ms: i64,
    /// The share of customers that is never contacted, to compare with.
    pub control_share: f64,
    /// What averting it would be worth, minor units.
    pub value_minor: i64,
    /// What a contact costs, minor units.
    pub cost_minor: i64,
    /// Another one deals the customers anew.
    pub salt: String,
}

/// Whom a campaign is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pick {
    /// Whose probability is at least so high, at once.
    Threshold(f64),
    /// So many of those scored in an hour, those with the highest probability, at its end.
    TopK(u64),
}

/// How often a customer is contacted at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    /// So often.
    pub contacts: usize,
    /// In any time of this length.
    pub per_ms: i64,
}

/// How customers can be reached by a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its name in events.
    pub name: String,
    /// Only customers who agreed. Who withdrew is not contacted either way.
    pub consent: bool,
    /// Only for so long after the customer's last message by it.
    pub reach_ms: Option<i64>,
    /// Only so often until the customer's next message.
    pub pushes_max: Option<u32>,
}

/// Something that is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What was found and what to do.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: line {}: {}", self.file, self.line, self.message)
    }
}

/// All that is wrong with a file, a line each, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesError(pub Vec<Mistake>);

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, mistake) in self.0.iter().enumerate() {
            let end = if place > 0 { "\n" } else { "" };
            write!(f, "{end}{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for RulesError {}

/// The policy of this repository.
pub const STANDARD: &str = include_str!("../../../../models/policy.toml");

impl Rules {
    /// Reads a file. `file` is how messages call it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(file: &str, text: &str) -> Result<Self, RulesError> {
        reading::read(file, text)
    }

    /// The models that campaigns ask, each once.
    pub fn models(&self) -> Vec<&str> {
        let mut models: Vec<&str> = self.campaigns.iter().map(|campaign| campaign.model.as_str()).collect();
        models.sort_unstable();
        models.dedup();
        models
    }

    /// How old the orders are at most that campaigns of a model are about.
    pub fn orders_within_ms(&self, model: &str) -> i64 {
        let of_it = self.campaigns.iter().filter(|campaign| campaign.model == model);
        of_it.map(|campaign| campaign.orders_within_ms).max().unwrap_or(0)
    }

    /// A campaign by its name.
    pub fn campaign(&self, name: &str) -> Option<&Campaign> {
        self.campaigns.iter().find(|campaign| campaign.name == name)
    }

    /// A channel by its name.
    pub fn channel(&self, name: &str) -> Option<&Channel> {
        self.channels.iter().find(|channel| channel.name == name)
    }

    /// The longest time that anything but consent is remembered after it was last of use.
    pub fn memory_ms(&self) -> i64 {
        let caps = self.caps.iter().map(|cap| cap.per_ms);
        let campaigns = self.campaigns.iter().map(|campaign| campaign.cooldown_ms);
        let channels = self.channels.iter().filter_map(|channel| channel.reach_ms);
        caps.chain(campaigns).chain(channels).max().unwrap_or(0)
    }

    /// The zone of quiet hours.
    pub fn zone(&self) -> Option<&TimeZone> {
        self.quiet_hours.as_ref().map(QuietHours::zone)
    }
}
