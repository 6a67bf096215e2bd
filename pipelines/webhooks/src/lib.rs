//! Signed webhooks of a topic's events, by the specification
//! [Standard Webhooks](https://github.com/standard-webhooks/standard-webhooks).
//!
//! Delivery is at least once with stable ids, in order by subject. Start at [`deliver`]: a thread
//! per [`Endpoint`] that sends what [`queue`] decides. `docs/webhooks.md` is for who receives.

pub mod deliver;
pub mod endpoint;
mod event;
pub mod letters;
mod positions;
pub mod queue;
mod send;
pub mod sign;

pub use deliver::{Deliver, Status, WebhookError};
pub use endpoint::{Endpoint, EndpointError, Settings};
pub use letters::{Letter, LetterError, Letters};
pub use sign::{Secrets, VerifyError, verify};

#[cfg(test)]
mod tests;
