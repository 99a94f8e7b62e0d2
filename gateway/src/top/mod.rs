//! `faam top`: what a running gateway does now, looked at again and again over its operator's socket.
//!
//! Owns the words of the command line, and when it looks. Invariants: a rate is of what happened between two looks; where
//! standard output is no terminal it prints once and ends; a terminal is left as it was found.
//!
//! | module | owns |
//! |---|---|
//! | `frame` | two looks, as lines |
//! | `screen` | the terminal: its size, its keys, and how it is left |

mod frame;
mod screen;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use self::frame::frame;
use self::screen::{Key, Screen};
use crate::admin_client::{AdminClient, OperatorFlags};
use crate::quantity::parse_ms;

/// What all of it is asked for.
const PATH: &str = "/admin/v1/top";
/// Between two looks, at least.
const INTERVAL_MS_MIN: u64 = 100;
/// Lines of a frame that nobody bounds.
const LINES_MAX: usize = 200;
/// Columns where there is no terminal to ask.
const COLUMNS_DEFAULT: usize = 120;

const EXAMPLES: &str = "\
Examples:
  faam top
      the gateway whose data directory is ./data, anew each second; q quits
  faam top --once --data-dir /var/lib/faam
      one frame, of the second that passes meanwhile
  faam top --json | jq '.tenants[] | select(.queue_depth > 0)'
      one snapshot of the sums since the gateway's start, for a program";

/// Watch a running gateway: queues, tenants, cards, rates, time by phase
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Top {
    #[command(flatten)]
    operator: OperatorFlags,
    /// How often it looks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_interval)]
    interval: u64,
    /// One frame, and no terminal's control
    #[arg(long)]
    once: bool,
    /// One snapshot, as JSON: sums since the gateway's start
    #[arg(long, conflicts_with = "once")]
    json: bool,
}

fn parse_interval(text: &str) -> Result<u64, String> {
    let ms = parse_ms(text)?;
    match ms >= INTERVAL_MS_MIN {
        true => Ok(ms),
        false => Err(format!(
            "expected at least {INTERVAL_MS_MIN}ms, got {text:?}"
        )),
    }
}

/// One look, and when.
pub(crate) struct Look {
    at: Instant,
    seen: Value,
}

impl Top {
    /// Looks.
    ///
    /// # Errors
    /// No gateway, or a terminal that cannot be used.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let client = AdminClient::new(&self.operator.data_dir);
        if self.json {
            let seen = client.get(PATH)?;
            let mut out = io::stdout().lock();
            serde_json::to_writer_pretty(&mut out, &seen)?;
            writeln!(out)?;
            out.flush()?;
            return Ok(ExitCode::SUCCESS);
        }
        let interval = Duration::from_millis(self.interval);
        let look = || {
            client.get(PATH).map(|seen| Look {
                at: Instant::now(),
                seen,
            })
        };
        let mut before = look()?;
        if self.once || !io::stdout().is_terminal() {
            std::thread::sleep(interval);
            let lines = frame(&before, &look()?, COLUMNS_DEFAULT, LINES_MAX);
            let mut out = io::stdout().lock();
            for line in lines {
                writeln!(out, "{line}")?;
            }
            out.flush()?;
            return Ok(ExitCode::SUCCESS);
        }
        let screen = Screen::open()?;
        let mut now = look()?;
        loop {
            let (columns, lines) = screen.size();
            screen.show(&frame(&before, &now, columns, lines))?;
            match screen.key(now.at + interval)? {
                Key::Quit => return Ok(ExitCode::SUCCESS),
                // A key that means nothing, or a size that changed: the same, drawn anew.
                Key::Other => continue,
                Key::None => {}
            }
            before = std::mem::replace(&mut now, look()?);
        }
    }
}
