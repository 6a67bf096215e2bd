//! Finding the policy of proactive service: the one that came with the binary, or a file's.

use std::path::Path;

use headsup_tasks::policy::{Rules, STANDARD};

use crate::Failure;
use crate::rules::read;

/// The policy of `file`; else the one that came with the binary.
///
/// # Errors
/// All mistakes at once.
pub fn load(file: Option<&Path>) -> Result<Rules, Failure> {
    let (name, text) = match file {
        Some(file) => (file.display().to_string(), read(file)?),
        None => ("models/policy.toml".to_owned(), STANDARD.to_owned()),
    };
    Rules::parse(&name, &text)
        .map_err(|error| Failure { code: 2, message: error.to_string().replace('\n', "\n       ") })
}
