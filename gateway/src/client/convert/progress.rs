//! What a person sees while it runs and when it ends: a bar, notes, one line.
//!
//! Owns everything that is written to standard error. Invariant: a bar only on a terminal; notes
//! never tear it. What programs read (JSON) is not here.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::transfer::Converted;
use crate::client::upload::Meter;

/// Before that, a bar would only flicker.
const BAR_AFTER: Duration = Duration::from_millis(300);
/// Longest name before a bar, in characters.
const NAME_CHARS_MAX: usize = 32;

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Talk {
    /// Errors.
    Quiet,
    /// Errors and warnings; on a terminal a bar and a line.
    Normal,
    /// A line for each, with more in it.
    Verbose,
}

/// Talks about one input after the other.
pub(crate) struct Progress {
    talk: Talk,
    terminal: bool,
    decompress: bool,
    name: String,
    total: Option<u64>,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// `shares_terminal`: the result itself goes to the terminal, so that nothing else should.
    pub(crate) fn new(talk: Talk, decompress: bool, shares_terminal: bool) -> Self {
        Self {
            talk,
            terminal: io::stderr().is_terminal() && !shares_terminal,
            decompress,
            name: String::new(),
            total: None,
            bar: None,
        }
    }

    /// From now on it is about `name`, of `total` bytes.
    pub(crate) fn next(&mut self, name: &str, total: Option<u64>) {
        name.clone_into(&mut self.name);
        self.total = total;
        self.bar = None;
    }

    /// An attempt begins.
    pub(crate) fn begin(&mut self, meter: &Meter) {
        if self.bar.is_some() {
            self.show(meter);
        }
    }

    /// How far it has come.
    pub(crate) fn show(&mut self, meter: &Meter) {
        if !self.terminal || self.talk == Talk::Quiet || meter.elapsed() < BAR_AFTER {
            return;
        }
        let (name, total) = (&self.name, self.total);
        let bar = self.bar.get_or_insert_with(|| new_bar(name, total));
        let (sent, received) = (meter.sent(), meter.received());
        bar.set_position(sent);
        bar.set_message(state(
            sent,
            received,
            meter.elapsed(),
            total,
            self.decompress,
        ));
    }

    /// Something happened on the way.
    pub(crate) fn note(&self, text: &str) {
        if self.talk == Talk::Verbose || (self.terminal && self.talk == Talk::Normal) {
            self.say(text);
        }
    }

    /// Something was left alone.
    pub(crate) fn warning(&mut self, text: &str) {
        if self.talk > Talk::Quiet {
            self.say(text);
        }
        self.clear();
    }

    /// Something failed.
    pub(crate) fn error(&mut self, text: &str) {
        self.say(text);
        self.clear();
    }

    /// It is done: `3.4x, 412 MB/s, fpga0 (simulated), verified`.
    pub(crate) fn done(&mut self, converted: &Converted, tested: bool) {
        self.clear();
        if self.talk == Talk::Verbose || (self.terminal && self.talk == Talk::Normal) {
            let mut line = String::new();
            if tested {
                line.push_str("OK, ");
            }
            line.push_str(&summary(converted, self.decompress));
            if self.talk == Talk::Verbose {
                line.push_str(&details(converted));
            }
            self.say(&line);
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn say(&self, text: &str) {
        let line = format!("{}: {text}\n", self.name);
        // That nobody reads it is no reason to stop.
        let print = || drop(io::stderr().write_all(line.as_bytes()));
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

fn new_bar(name: &str, total: Option<u64>) -> ProgressBar {
    let name: String = if name.chars().count() > NAME_CHARS_MAX {
        let short: String = name.chars().take(NAME_CHARS_MAX - 1).collect();
        format!("{short}…")
    } else {
        name.to_owned()
    };
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    let template = match total {
        Some(_) => "{prefix}  {wide_bar:.cyan/dim}  {percent:>3} %  {msg}",
        None => "{prefix}  {spinner:.cyan}  {msg}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar.set_prefix(name);
    bar
}

/// `412 MB/s  3.4x  2 s left`.
fn state(
    sent: u64,
    received: u64,
    elapsed: Duration,
    total: Option<u64>,
    decompress: bool,
) -> String {
    let original = if decompress { received } else { sent };
    let mut text = match total {
        Some(_) => String::new(),
        None => format!("{}  ", decimal(sent)),
    };
    text.push_str(&format!("{:>9}", speed(original, elapsed)));
    if received > 0 && sent > 0 {
        text.push_str(&format!("  {:>5}", ratio(sent, received, decompress)));
    }
    if let Some(left) = total
        .map(|total| total.saturating_sub(sent))
        .filter(|left| *left > 0 && sent > 0)
    {
        let seconds = elapsed.as_secs_f64() * as_f64(left) / as_f64(sent);
        text.push_str(&format!("  {} left", clock(seconds)));
    }
    text
}

/// Ratio, speed, engines, verification.
pub(crate) fn summary(converted: &Converted, decompress: bool) -> String {
    let Converted {
        facts,
        bytes_in,
        bytes_out,
        elapsed,
        ..
    } = converted;
    let original = if decompress { bytes_out } else { bytes_in };
    format!(
        "{}, {}, {}, {}",
        ratio(*bytes_in, *bytes_out, decompress),
        speed(*original, *elapsed),
        facts.served_by(),
        facts.verified()
    )
}

fn details(converted: &Converted) -> String {
    let mut text = format!(", {} -> {} bytes", converted.bytes_in, converted.bytes_out);
    let facts = &converted.facts;
    for (label, value) in [
        ("level", &facts.level),
        ("because of", &facts.backend_reason),
    ] {
        if let Some(value) = value {
            text.push_str(&format!(", {label} {value}"));
        }
    }
    if converted.retries > 0 {
        text.push_str(&format!(", after {} repetitions", converted.retries));
    }
    text
}

fn ratio(bytes_in: u64, bytes_out: u64, decompress: bool) -> String {
    let (original, compressed) = if decompress {
        (bytes_out, bytes_in)
    } else {
        (bytes_in, bytes_out)
    };
    let ratio = as_f64(original) / as_f64(compressed.max(1));
    match ratio {
        ratio if ratio >= 99.95 => format!("{ratio:.0}x"),
        ratio if ratio >= 0.95 || original == 0 => format!("{ratio:.1}x"),
        // Small things grow: say by how much.
        ratio => format!("{ratio:.2}x"),
    }
}

/// Original bytes a second, in the 10^6 that speeds are told in.
fn speed(bytes: u64, elapsed: Duration) -> String {
    let per_second = as_f64(bytes) / elapsed.as_secs_f64().max(1e-6) / 1e6;
    match per_second {
        speed if speed >= 99.5 => format!("{speed:.0} MB/s"),
        speed if speed >= 0.995 => format!("{speed:.1} MB/s"),
        speed => format!("{:.1} kB/s", speed * 1e3),
    }
}

fn decimal(bytes: u64) -> String {
    match as_f64(bytes) {
        bytes if bytes >= 1e9 => format!("{:.2} GB", bytes / 1e9),
        bytes if bytes >= 1e6 => format!("{:.1} MB", bytes / 1e6),
        bytes => format!("{:.1} kB", bytes / 1e3),
    }
}

fn clock(seconds: f64) -> String {
    match seconds {
        seconds if seconds >= 5999.5 => format!("{:.0} h", seconds / 3600.0),
        seconds if seconds >= 99.5 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{seconds:.0} s"),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "for people: 53 bits of a count of bytes are plenty"
)]
fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::facts::Facts;

    #[test]
    fn the_line_at_the_end_is_the_documented_one() {
        let converted = Converted {
            facts: Facts {
                backend: Some("fpga0.1;simulated".to_owned()),
                verify: Some("ok".to_owned()),
                ..Facts::default()
            },
            bytes_in: 34_000_000,
            bytes_out: 10_000_000,
            elapsed: Duration::from_micros(82_524),
            retries: 0,
        };
        assert_eq!(
            summary(&converted, false),
            "3.4x, 412 MB/s, fpga0 (simulated), verified"
        );
        assert_eq!(details(&converted), ", 34000000 -> 10000000 bytes");
    }

    #[test]
    fn ratios_are_of_the_original() {
        assert_eq!(ratio(1000, 10, false), "100x");
        assert_eq!(ratio(10, 1000, true), "100x");
        assert_eq!(ratio(10, 30, false), "0.33x");
        assert_eq!(ratio(0, 20, false), "0.0x");
    }
}
