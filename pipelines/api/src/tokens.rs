//! Who may ask what: a file of tokens.
//!
//! ```toml
//! [[token]]
//! name = "router"
//! sha256 = "…"                      # of the token, in hexadecimal
//! scopes = ["read", "act"]
//! expires = 2027-01-01T00:00:00Z    # optional
//! ```
//!
//! The file knows hashes only. A token has 256 random bits, so that nothing slower than SHA-256 is
//! needed.

use std::fmt::Write;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rand::TryRng;
use rand::rngs::SysRng;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use toml::Spanned;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// To send events.
    Ingest,
    /// To read scores, tasks, KPIs and alerts.
    Read,
    /// To change tasks.
    Act,
}

impl Scope {
    /// All.
    pub const ALL: [Self; 3] = [Self::Ingest, Self::Read, Self::Act];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Read => "read",
            Self::Act => "act",
        }
    }
}

/// Those that are let in.
#[derive(Debug, Clone, Default)]
pub struct Tokens(Vec<Token>);

/// What is known of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its name, for people.
    pub name: String,
    /// What it is for.
    pub scopes: Vec<Scope>,
    /// From when on it is worth nothing.
    pub expires: Option<Timestamp>,
    sha256: [u8; 32],
}

/// A token that nobody knows yet.
#[derive(Clone, PartialEq, Eq)]
pub struct NewToken {
    /// To be given to who asks, and kept nowhere.
    pub token: String,
    /// To be put into the file.
    pub entry: String,
}

/// What is wrong with a file of tokens, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct TokensError {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Spanned<String>,
    sha256: Spanned<String>,
    scopes: Spanned<Vec<Spanned<String>>>,
    expires: Option<Spanned<toml::Value>>,
}

impl Tokens {
    /// Reads a file of tokens; `path` is what it is called in errors.
    ///
    /// # Errors
    /// It is not TOML, or an entry says something else than above; the first mistake is told.
    pub fn parse(path: &str, text: &str) -> Result<Self, TokensError> {
        let wrong = |at: usize, message: String| TokensError {
            file: path.to_owned(),
            line: 1 + text.bytes().take(at).filter(|&byte| byte == b'\n').count(),
            message,
        };
        let file: File = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            wrong(at, format!("{}; see docs/api.md, Tokens", error.message()))
        })?;
        let mut tokens: Vec<Token> = Vec::new();
        for entry in file.token {
            let entry = entry.into_inner();
            let token = entry.read().map_err(|(at, message)| wrong(at, message))?;
            if tokens.iter().any(|other| other.name == token.name) {
                let message = format!("there are two tokens {:?}; give each its own name", token.name);
                return Err(wrong(entry.name.span().start, message));
            }
            if let Some(other) = tokens.iter().find(|other| other.sha256 == token.sha256) {
                let message = format!("the hash is that of {:?}; make a token for each", other.name);
                return Err(wrong(entry.sha256.span().start, message));
            }
            tokens.push(token);
        }
        if tokens.is_empty() {
            return Err(wrong(0, "there is no [[token]]; make one, see docs/api.md, Tokens".to_owned()));
        }
        Ok(Self(tokens))
    }

    /// The names and rights, in the order of the file.
    pub fn all(&self) -> &[Token] {
        &self.0
    }

    /// The place of a token among [`Tokens::all`]. It takes the same time whatever is wrong with it.
    pub(crate) fn find(&self, token: &[u8]) -> Option<usize> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for (place, known) in self.0.iter().enumerate() {
            if bool::from(known.sha256.ct_eq(&hash)) {
                found = Some(place);
            }
        }
        found
    }
}

impl Entry {
    fn read(&self) -> Result<Token, (usize, String)> {
        let name = self.name.get_ref();
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err((self.name.span().start, "name is empty or has control characters".to_owned()));
        }
        let sha256 = unhex(self.sha256.get_ref()).ok_or_else(|| {
            let message = "sha256 is not the SHA-256 of a token, 64 hexadecimal digits".to_owned();
            (self.sha256.span().start, message)
        })?;
        let mut scopes = Vec::new();
        for text in self.scopes.get_ref() {
            let scope = Scope::ALL.into_iter().find(|scope| scope.name() == text.get_ref());
            scopes.push(scope.ok_or_else(|| {
                let message =
                    format!("there is no scope {:?}; there are ingest, read and act", text.get_ref());
                (text.span().start, message)
            })?);
        }
        if scopes.is_empty() {
            let message = "scopes is empty; name some of ingest, read and act".to_owned();
            return Err((self.scopes.span().start, message));
        }
        let expires = self.expires.as_ref().map(|value| {
            let text = match value.get_ref() {
                toml::Value::Datetime(at) => at.to_string(),
                toml::Value::String(at) => at.clone(),
                _ => String::new(),
            };
            text.parse().map_err(|_| {
                let message = "expires is not a time with an offset, such as 2027-01-01T00:00:00Z".to_owned();
                (value.span().start, message)
            })
        });
        Ok(Token { name: name.clone(), scopes, expires: expires.transpose()?, sha256 })
    }
}

/// Makes a token, and the entry by which a file of tokens knows it.
///
/// # Errors
/// The system gives no random bytes.
pub fn new_token(name: &str, scopes: &[Scope], expires: Option<Timestamp>) -> std::io::Result<NewToken> {
    let mut bytes = [0; 32];
    SysRng.try_fill_bytes(&mut bytes).map_err(std::io::Error::other)?;
    let token = format!("hup_{}", BASE64_URL_SAFE_NO_PAD.encode(bytes));
    let mut sha256 = String::new();
    for byte in Sha256::digest(&token) {
        // Writing to a string does not fail.
        let _ = write!(sha256, "{byte:02x}");
    }
    let scopes: Vec<String> = scopes.iter().map(|scope| format!("\"{}\"", scope.name())).collect();
    let name = toml::Value::from(name);
    let mut entry =
        format!("[[token]]\nname = {name}\nsha256 = \"{sha256}\"\nscopes = [{}]\n", scopes.join(", "));
    if let Some(expires) = expires {
        entry += &format!("expires = {expires}\n");
    }
    Ok(NewToken { token, entry })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(bytes)
}
