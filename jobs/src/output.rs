//! What is printed: tables, progress, numbers.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::Failure;

/// Prints to standard output; a reader that has gone away is no failure.
pub fn print(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    match std::io::stdout().lock().write_all(text.as_ref()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Progress on standard error: a bar on a terminal, a line every ten seconds
/// elsewhere, and nothing for what is done within a second.
pub struct Progress {
    bar: ProgressBar,
    plain: bool,
    said: std::time::Instant,
    what: &'static str,
}

impl Progress {
    /// `total` in the unit that [`Progress::at`] counts; 0 if unknown.
    pub fn new(what: &'static str, total: u64) -> Self {
        let plain = !std::io::stderr().is_terminal();
        let bar = match total {
            0 => ProgressBar::no_length(),
            total => ProgressBar::new(total),
        };
        bar.set_draw_target(ProgressDrawTarget::hidden());
        if !plain {
            let template = match total {
                0 => "{spinner} {msg} {elapsed}",
                _ => "{msg} [{bar:30}] {percent} % {elapsed}, about {eta} left",
            };
            bar.set_style(
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
        }
        bar.set_message(what);
        Self { bar, plain, said: std::time::Instant::now(), what }
    }

    /// How far it has come.
    pub fn at(&mut self, done: u64, total: u64) {
        if total > 0 && self.bar.length() != Some(total) {
            self.bar.set_length(total);
        }
        self.bar.set_position(done);
        if !self.plain {
            if self.bar.is_hidden() && self.bar.elapsed() >= Duration::from_secs(1) {
                self.bar.set_draw_target(ProgressDrawTarget::stderr());
            }
        } else if self.said.elapsed() >= Duration::from_secs(10) {
            self.said = std::time::Instant::now();
            match (done * 100).checked_div(total) {
                Some(percent) => eprintln!("{}: {percent} %", self.what),
                None => eprintln!("{}: {done}", self.what),
            }
        }
    }

    /// Takes the bar away.
    pub fn done(&self) {
        self.bar.finish_and_clear();
    }
}

/// 1,234,567.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
