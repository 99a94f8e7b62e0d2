//! What a process writes to its standard output and error, line by line, as it comes.
//!
//! Owns the lines and the wait for the next. Each wait has a limit, so nothing here waits
//! for a process that has gone silent. It does not know which process writes.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::spawn;
use std::time::{Duration, Instant};

/// Lines that are kept; the first ones stay, for they say how it began.
const LINES_MAX: usize = 200_000;

/// A line and when it came.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) at: Instant,
    pub(crate) text: String,
}

/// The lines so far. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct ProcessLog(Arc<Lines>);

#[derive(Default)]
struct Lines {
    lines: Mutex<Vec<Line>>,
    more: Condvar,
}

impl ProcessLog {
    /// Take in the lines of `stream` until it ends.
    pub(crate) fn follow(&self, stream: impl Read + Send + 'static) {
        let log = self.clone();
        spawn(move || {
            for text in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                let text = String::from_utf8_lossy(&text).into_owned();
                let mut lines = log.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
                if lines.len() < LINES_MAX {
                    lines.push(Line {
                        at: Instant::now(),
                        text,
                    });
                }
                log.0.more.notify_all();
            }
        });
    }

    /// The first line that contains `text`, waiting for it until `limit` has passed.
    pub(crate) fn wait_for(&self, text: &str, limit: Duration) -> Option<Line> {
        let until = Instant::now() + limit;
        let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = 0;
        loop {
            if let Some(line) = lines[seen..].iter().find(|line| line.text.contains(text)) {
                return Some(line.clone());
            }
            seen = lines.len();
            let rest = until.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return None;
            }
            (lines, _) = self
                .0
                .more
                .wait_timeout(lines, rest)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Wait for the next line, or until `limit` has passed.
    pub(crate) fn changed(&self, limit: Duration) {
        let lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.more.wait_timeout(lines, limit));
    }

    /// Everything so far.
    pub(crate) fn text(&self) -> String {
        let lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .iter()
            .map(|line| format!("{}\n", line.text))
            .collect()
    }
}
