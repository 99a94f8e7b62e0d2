//! A client of a simulated card's fault socket, for a card that may be dead, stopped or gone at any time.
//!
//! Owns the connection. Invariant: each wait has [`ANSWER_LIMIT`]. The commands are the card's (faam-sim, `fault_socket`).

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Longest wait for an answer: a stopped card has none.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);
/// Longest answer.
const ANSWER_BYTES_MAX: u64 = 16 << 10;

/// A connection.
pub(crate) struct CardFaults(BufReader<UnixStream>);

/// Why a command has no value.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// The card understood it, and says why not.
    Refused(String),
    /// There is no card, or it does not answer.
    Gone,
}

impl CardFaults {
    pub(crate) fn open(path: &Path) -> Result<Self, NoAnswer> {
        let gone = |_| NoAnswer::Gone;
        let stream = UnixStream::connect(path).map_err(gone)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT)).map_err(gone)?;
        stream.set_write_timeout(Some(ANSWER_LIMIT)).map_err(gone)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a command: the value of its answer, empty if it has none.
    pub(crate) fn ask(&mut self, command: &str) -> Result<String, NoAnswer> {
        let sent = self
            .0
            .get_mut()
            .write_all(format!("1 {command}\n").as_bytes());
        sent.map_err(|_| NoAnswer::Gone)?;
        let mut line = String::new();
        let read = self.0.by_ref().take(ANSWER_BYTES_MAX).read_line(&mut line);
        match (read, line.trim_end().strip_prefix("1 ")) {
            (Ok(_), Some(answer)) => match answer.strip_prefix("ok") {
                Some(value) => Ok(value.trim_start().to_owned()),
                None => Err(NoAnswer::Refused(answer.to_owned())),
            },
            _ => Err(NoAnswer::Gone),
        }
    }
}
