//! Where events are sent, and how patiently.

use std::fmt;
use std::time::Duration;

use crate::sign::{SecretError, Secrets};

/// A receiver.
#[derive(Clone)]
pub struct Endpoint {
    pub(crate) name: String,
    pub(crate) url: http::Uri,
    pub(crate) secrets: Secrets,
    pub(crate) types: Vec<String>,
    pub(crate) settings: Settings,
}

/// How patiently events are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// For how long an answer is waited for.
    pub timeout: Duration,
    /// After so many attempts an event is a dead letter.
    pub attempts_max: u32,
    /// The longest wait before the second attempt; it doubles with each.
    pub backoff_first: Duration,
    /// The longest wait between two attempts.
    pub backoff_max: Duration,
    /// After so many failures in a row the circuit breaker opens.
    pub breaker_failures: u32,
    /// For how long it is open.
    pub breaker_open: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(15),
            attempts_max: 10,
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
            breaker_failures: 5,
            breaker_open: Duration::from_secs(30),
        }
    }
}

/// Why there can be no such endpoint.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The name is that of a folder, too.
    #[error("cannot use {0:?} as the name of an endpoint: it needs 1 to 64 characters out of a-z 0-9 _ -")]
    Name(String),
    /// Not a URL of HTTP, or one with a password.
    #[error(
        "endpoint {0}: its url is not of the form http://host/path or https://host/path, \
         without user and password"
    )]
    Url(String),
    /// A secret.
    #[error("endpoint {name}: {problem}")]
    Secret {
        /// The endpoint.
        name: String,
        /// What is wrong with it.
        problem: SecretError,
    },
    /// A setting of nothing.
    #[error("endpoint {name}: {key} is 0; it has to be more")]
    Zero {
        /// The endpoint.
        name: String,
        /// The setting.
        key: &'static str,
    },
    /// The first wait is the longest.
    #[error("endpoint {0}: backoff_max is less than backoff_first")]
    Backoff(String),
}

impl Endpoint {
    /// An endpoint that gets events of `types`, or all if there are none.
    ///
    /// # Errors
    /// What is wrong; never with a secret in it.
    pub fn new<T: AsRef<str>>(
        name: &str,
        url: &str,
        secrets: &[T],
        types: Vec<String>,
        settings: Settings,
    ) -> Result<Self, EndpointError> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        if !(1..=64).contains(&name.len()) || !name.bytes().all(allowed) {
            return Err(EndpointError::Name(name.chars().take(80).collect()));
        }
        let name = name.to_owned();
        let url: Option<http::Uri> = url.parse().ok().filter(|url: &http::Uri| {
            matches!(url.scheme_str(), Some("http" | "https"))
                && url.authority().is_some_and(|host| !host.as_str().contains('@') && !host.host().is_empty())
        });
        let Some(url) = url else { return Err(EndpointError::Url(name)) };
        let secrets = match Secrets::parse(secrets) {
            Ok(secrets) => secrets,
            Err(problem) => return Err(EndpointError::Secret { name, problem }),
        };
        let least = Duration::from_millis(1);
        let zeros = [
            ("timeout", settings.timeout < least),
            ("attempts_max", settings.attempts_max == 0),
            ("backoff_first", settings.backoff_first < least),
            ("breaker_failures", settings.breaker_failures == 0),
            ("breaker_open", settings.breaker_open < least),
        ];
        if let Some((key, _)) = zeros.into_iter().find(|(_, zero)| *zero) {
            return Err(EndpointError::Zero { name, key });
        }
        if settings.backoff_max < settings.backoff_first {
            return Err(EndpointError::Backoff(name));
        }
        Ok(Self { name, url, secrets, types, settings })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn wants(&self, kind: &str) -> bool {
        self.types.is_empty() || self.types.iter().any(|wanted| wanted == kind)
    }
}

impl fmt::Debug for Endpoint {
    /// Without secrets, and of the URL only the host, because the rest may hold a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("name", &self.name)
            .field("host", &self.url.host())
            .field("secrets", &self.secrets)
            .field("types", &self.types)
            .field("settings", &self.settings)
            .finish()
    }
}
