//! Signatures: HMAC-SHA256 over `id.timestamp.body`, one of each secret.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};

/// A signature is refused if its time is further than this from the receiver's, in seconds.
pub const TOLERANCE_S: i64 = 5 * 60;

const SECRET_BYTES_MIN: usize = 24;
const SECRET_BYTES_MAX: usize = 64;

/// One or more secrets; all of them sign, and one of them is enough to verify.
#[derive(Clone)]
pub struct Secrets(Vec<Vec<u8>>);

/// Why secrets cannot be used. It never says what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is none.
    #[error("there is no secret; give at least one")]
    None,
    /// Not `whsec_` and base64.
    #[error("secret {0} is not whsec_ and base64")]
    Form(usize),
    /// Too short or too long.
    #[error("secret {number} has {bytes} bytes; it needs {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX}")]
    Length {
        /// Which, from 1.
        number: usize,
        /// How long it is, decoded.
        bytes: usize,
    },
}

/// Why a message is not to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A header is missing or not text.
    #[error("header {0} is missing or not readable")]
    Header(&'static str),
    /// It was signed too long ago, or the clocks differ.
    #[error("the signature's time is more than {TOLERANCE_S} s from now")]
    Time,
    /// No secret fits.
    #[error("no signature is by a known secret")]
    Signature,
}

impl Secrets {
    /// Secrets as `whsec_` and base64 of 24 to 64 bytes.
    ///
    /// # Errors
    /// Which one is wrong, and how.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, SecretError> {
        let parse = |(place, text): (usize, &T)| {
            let form = SecretError::Form(place + 1);
            let encoded = text.as_ref().strip_prefix("whsec_").ok_or(form)?;
            let key = STANDARD.decode(encoded).map_err(|_| form)?;
            if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&key.len()) {
                return Err(SecretError::Length { number: place + 1, bytes: key.len() });
            }
            Ok(key)
        };
        let keys: Vec<_> = texts.iter().enumerate().map(parse).collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(SecretError::None) } else { Ok(Self(keys)) }
    }

    /// The header `webhook-signature`. `None` if `body` is not UTF-8.
    pub fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> Option<String> {
        let sign = |key: &Vec<u8>| Webhook::from_bytes(key.clone()).ok()?.sign(id, timestamp_s, body).ok();
        Some(self.0.iter().map(sign).collect::<Option<Vec<_>>>()?.join(" "))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

/// What a receiver does before it believes a message: the time is about `now_s` (seconds since the
/// Unix epoch), and one of the signatures is by one of the secrets.
///
/// # Errors
/// Why it is not to be trusted.
pub fn verify(headers: &HeaderMap, body: &[u8], secrets: &Secrets, now_s: i64) -> Result<(), VerifyError> {
    let header =
        |name| headers.get(name).and_then(|value| value.to_str().ok()).ok_or(VerifyError::Header(name));
    let id = header(HEADER_WEBHOOK_ID)?;
    let timestamp_s: i64 = header(HEADER_WEBHOOK_TIMESTAMP)?
        .parse()
        .map_err(|_| VerifyError::Header(HEADER_WEBHOOK_TIMESTAMP))?;
    if timestamp_s.abs_diff(now_s) > TOLERANCE_S.unsigned_abs() {
        return Err(VerifyError::Time);
    }
    let expected = secrets.sign(id, timestamp_s, body).ok_or(VerifyError::Signature)?;
    let given = header(HEADER_WEBHOOK_SIGNATURE)?;
    let known = |given: &str| expected.split(' ').any(|expected| same(given, expected));
    if given.split(' ').any(known) { Ok(()) } else { Err(VerifyError::Signature) }
}

/// Takes as long wherever the texts differ.
fn same(one: &str, other: &str) -> bool {
    one.len() == other.len() && one.bytes().zip(other.bytes()).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}
