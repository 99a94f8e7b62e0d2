//! `faam events`: what happened to a running gateway, asked of it over its operator's socket, and shown.
//!
//! Invariants: an event is shown once, also while it is followed; what it says is shown with nothing in it that a terminal
//! would obey. It knows no kinds.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::admin_client::{AdminClient, OperatorFlags, in_path};
use crate::columns::{columns, printable};
use crate::quantity::parse_ms;

/// Records may come in another order than their moments: so far back each look reaches.
const OVERLAP_MS: i64 = 5_000;
/// How often `--follow` looks, unless told.
const POLL_DEFAULT: &str = "1s";
/// And at most.
const POLL_MS_MIN: u64 = 100;
/// A day.
const DAY_MS: i64 = 86_400_000;

const EXAMPLES: &str = "\
Examples:
  faam events
      the newest events of the gateway whose data directory is ./data, oldest first
  faam events --since 1h --kind card
      what happened to cards within the last hour
  faam events --tenant acme --since 2026-01-31T00:00:00Z --json
      all about a tenant since then, for a program
  faam events --follow --kind key
      what is done to keys, as it is done; until Ctrl-C";

/// Show what happened: starts and stops, cards, keys, tenants, TLS files
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EventLog {
    #[command(flatten)]
    operator: OperatorFlags,
    /// From then on: a time ago (15m, 2h, 7d), a day (2026-01-31) or a moment (2026-01-31T12:00:00Z)
    #[arg(long, value_name = "WHEN", value_parser = parse_since)]
    since: Option<Since>,
    /// Only this kind and those below it: card, card.lost, key, tenant, gateway, tls
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Only about this tenant
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// So many of the newest
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=400))]
    limit: u16,
    /// Go on, and show what happens from now on
    #[arg(long)]
    follow: bool,
    /// How often to look while following
    #[arg(long, value_name = "TIME", default_value = POLL_DEFAULT, value_parser = parse_poll, requires = "follow")]
    poll: u64,
    /// As JSON: one document, or with --follow one event a line
    #[arg(long)]
    json: bool,
}

/// A moment, or how long ago it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    At(i64),
    AgoMs(i64),
}

impl Since {
    pub(crate) fn millis(self) -> i64 {
        match self {
            Self::At(millis) => millis,
            Self::AgoMs(ago) => Timestamp::now().as_millisecond().saturating_sub(ago),
        }
    }
}

pub(crate) fn parse_since(text: &str) -> Result<Since, String> {
    if let Some(days) = text
        .strip_suffix('d')
        .and_then(|days| days.parse::<u32>().ok())
    {
        return Ok(Since::AgoMs(i64::from(days).saturating_mul(DAY_MS)));
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(Since::At(at.as_millisecond()));
    }
    let day = text.parse::<Date>().ok();
    if let Some(midnight) = day.and_then(|day| day.to_zoned(TimeZone::UTC).ok()) {
        return Ok(Since::At(midnight.timestamp().as_millisecond()));
    }
    match parse_ms(text).map(i64::try_from) {
        // A bare number would be milliseconds ago, and nobody means that.
        Ok(Ok(ms)) if !text.ends_with(|last: char| last.is_ascii_digit()) => Ok(Since::AgoMs(ms)),
        _ => Err(format!(
            "expected a time ago (30s, 15m, 2h, 7d), a day (2026-01-31) or a moment (2026-01-31T12:00:00Z), got {text:?}"
        )),
    }
}

fn parse_poll(text: &str) -> Result<u64, String> {
    let ms = parse_ms(text)?;
    match ms >= POLL_MS_MIN {
        true => Ok(ms),
        false => Err(format!("expected at least {POLL_MS_MIN}ms, got {text:?}")),
    }
}

impl EventLog {
    /// Shows them.
    ///
    /// # Errors
    /// No gateway, or one that cannot be asked.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let client = AdminClient::new(&self.operator.data_dir);
        let answer = client.get(&self.path(self.since.map(Since::millis)))?;
        let first = events(&answer);
        if !self.follow {
            let mut out = io::stdout().lock();
            if self.json {
                serde_json::to_writer_pretty(&mut out, &answer)?;
                writeln!(out)?;
            } else if first.is_empty() {
                writeln!(out, "No such event is on record.")?;
            } else {
                let mut rows = vec![HEADINGS.map(str::to_owned)];
                rows.extend(first.iter().map(row));
                out.write_all(columns(&rows).as_bytes())?;
            }
            out.flush()?;
            return Ok(ExitCode::SUCCESS);
        }
        self.tell(&first)?;
        let mut seen = Seen::of(first);
        loop {
            std::thread::sleep(Duration::from_millis(self.poll));
            let answer = client.get(&self.path(Some(seen.look_from())))?;
            self.tell(&seen.new_of(events(&answer)))?;
        }
    }

    fn path(&self, since: Option<i64>) -> String {
        let mut path = format!("/admin/v1/events?limit={}", self.limit);
        if let Some(since) = since {
            path.push_str(&format!("&since={since}"));
        }
        for (name, value) in [("kind", &self.kind), ("tenant", &self.tenant)] {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", in_path(value)));
            }
        }
        path
    }

    /// One a line, as they come.
    fn tell(&self, events: &[Value]) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        for event in events {
            match self.json {
                true => writeln!(out, "{event}")?,
                false => writeln!(out, "{}", row(event).join("  "))?,
            }
        }
        out.flush()?;
        Ok(())
    }
}

/// What was shown of late, so that it is not shown again.
struct Seen {
    late: Vec<Value>,
    newest: i64,
}

impl Seen {
    fn of(events: Vec<Value>) -> Self {
        let newest = events.iter().map(at).max();
        Self {
            late: events,
            newest: newest.unwrap_or_else(|| Timestamp::now().as_millisecond()),
        }
    }

    fn look_from(&self) -> i64 {
        self.newest.saturating_sub(OVERLAP_MS)
    }

    /// What of `events`, all since [`Seen::look_from`], was not there the last time. Two that are alike in all are two.
    fn new_of(&mut self, events: Vec<Value>) -> Vec<Value> {
        let mut known = std::mem::take(&mut self.late);
        let mut new = Vec::new();
        for event in &events {
            match known.iter().position(|known| known == event) {
                Some(at) => drop(known.swap_remove(at)),
                None => new.push(event.clone()),
            }
        }
        self.newest = events.iter().map(at).fold(self.newest, i64::max);
        let from = self.look_from();
        self.late = events;
        self.late.retain(|event| at(event) >= from);
        new
    }
}

const HEADINGS: [&str; 6] = ["AT", "KIND", "BY", "TENANT", "SUBJECT", "DETAIL"];

fn row(event: &Value) -> [String; 6] {
    let word = |name: &str| match event.get(name).and_then(Value::as_str) {
        None | Some("") => "-".to_owned(),
        Some(word) => printable(word),
    };
    let when = Timestamp::from_millisecond(at(event))
        .map(|at| at.to_zoned(TimeZone::UTC))
        .map_or_else(
            |_| "-".to_owned(),
            |at| at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        );
    let detail = match event.get("detail") {
        None | Some(Value::Null) => String::new(),
        Some(Value::Object(members)) => {
            let members = members.iter().map(|(name, value)| match value {
                Value::String(text) => format!("{name}={}", printable(text)),
                other => format!("{name}={other}"),
            });
            members.collect::<Vec<_>>().join(" ")
        }
        Some(other) => other.to_string(),
    };
    [
        when,
        word("kind"),
        word("actor"),
        word("tenant"),
        word("subject"),
        detail,
    ]
}

fn at(event: &Value) -> i64 {
    event.get("at").and_then(Value::as_i64).unwrap_or_default()
}

fn events(answer: &Value) -> Vec<Value> {
    let events = answer.get("events").and_then(Value::as_array);
    events.cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(at: i64, kind: &str) -> Value {
        json!({ "at": at, "kind": kind, "actor": "gateway", "tenant": null, "subject": "x", "detail": {} })
    }

    #[test]
    fn moments_are_read() {
        assert_eq!(parse_since("15m"), Ok(Since::AgoMs(900_000)));
        assert_eq!(parse_since("2d"), Ok(Since::AgoMs(2 * DAY_MS)));
        let at = parse_since("1970-01-01T00:00:01Z");
        assert_eq!(at, Ok(Since::At(1000)));
        assert_eq!(parse_since("1970-01-02"), Ok(Since::At(DAY_MS)));
        for bad in ["", "5", "d", "-1d", "yesterday"] {
            let error = parse_since(bad).expect_err(bad);
            assert!(error.contains("2h"), "{error}");
        }
        assert!(parse_poll("50ms").is_err() && parse_poll("100ms") == Ok(100));
    }

    #[test]
    fn what_is_followed_is_shown_once_also_where_it_comes_late() {
        let first = vec![event(10_000, "a"), event(10_000, "a")];
        let mut seen = Seen::of(first.clone());
        assert_eq!(seen.look_from(), 10_000 - OVERLAP_MS);
        assert!(seen.new_of(first.clone()).is_empty());
        // One more that is like the others, and one whose moment is past.
        let mut more = vec![event(9_999, "late")];
        more.extend(first);
        more.push(event(10_000, "a"));
        let new = seen.new_of(more.clone());
        assert_eq!(new, [event(9_999, "late"), event(10_000, "a")]);
        assert!(seen.new_of(more).is_empty());
        let new = seen.new_of(vec![event(40_000, "b")]);
        assert_eq!(new.len(), 1);
        assert!(seen.new_of(vec![event(40_000, "b")]).is_empty());
    }

    #[test]
    fn nothing_shown_is_obeyed_by_a_terminal() {
        let hostile = json!({ "at": 0, "kind": "k", "actor": "a\u{1b}[2J", "subject": "", "detail": { "why": "x\ny" } });
        let row = row(&hostile);
        assert_eq!(row[0], "1970-01-01T00:00:00.000Z");
        assert_eq!(row[2], "a\u{fffd}[2J");
        assert_eq!(row[3..5], ["-", "-"]);
        assert_eq!(row[5], "why=x\u{fffd}y");
    }
}
