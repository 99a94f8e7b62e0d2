//! The way to the faults of a gateway's own simulated card: the socket `faults` in the card's directory.
//!
//! Owns one connection. Invariant: each request has its answer within a bounded time, or the test fails and says which.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::gateway_process::GatewayProcess;

/// Longest wait for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A connection to the fault socket.
pub(crate) struct FaultPort(RefCell<BufReader<UnixStream>>);

impl FaultPort {
    pub(crate) fn of(gateway: &GatewayProcess) -> Self {
        let path = gateway.served.data.path().join("card0").join("faults");
        let stream = UnixStream::connect(&path).expect("the card's fault socket accepts");
        let limit = Some(ANSWER_LIMIT);
        stream.set_read_timeout(limit).expect("set");
        stream.set_write_timeout(limit).expect("set");
        Self(RefCell::new(BufReader::new(stream)))
    }

    /// The answer to a command, without its number and `ok`.
    #[track_caller]
    pub(crate) fn ask(&self, command: &str) -> String {
        let mut stream = self.0.borrow_mut();
        let asked = stream
            .get_mut()
            .write_all(format!("1 {command}\n").as_bytes());
        asked.expect("the fault socket takes a command");
        let mut answer = String::new();
        let read = stream.read_line(&mut answer);
        read.unwrap_or_else(|error| panic!("no answer to {command:?}: {error}"));
        match answer.trim_end().strip_prefix("1 ok") {
            Some(value) => value.trim().to_owned(),
            None => panic!("{command:?} was answered by {answer:?}"),
        }
    }

    /// Gives a command that the card answers late, if at all.
    pub(crate) fn tell(&self, command: &str) {
        let line = format!("0 {command}\n");
        let told = self.0.borrow_mut().get_mut().write_all(line.as_bytes());
        told.expect("the fault socket takes a command");
    }

    /// How often the fault of this name, or of a rule that begins with it, has struck.
    #[track_caller]
    pub(crate) fn struck(&self, rule: &str) -> u64 {
        let name = rule.split([',', ' ']).next().unwrap_or(rule);
        let answer = self.ask("struck");
        let counts = answer.split_whitespace();
        let of = counts.filter_map(|count| count.split_once('='));
        let of = of.filter(|(of, _)| *of == name);
        of.map(|(_, count)| count.parse::<u64>().expect("a count"))
            .sum()
    }
}
