//! The client of a simulated card's fault socket.
//!
//! Owns the connection. Invariant: each request waits for the answer with its own number, for a bounded time; answers to
//! a client before this one are passed over. The commands are the card's (faam-sim, `fault_socket`).

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use faam_sim::Fault;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Longest wait for an answer: a virtual machine's serial port is slow.
const ANSWER_SECONDS_MAX: u64 = 20;
/// Longest answer, bytes.
const ANSWER_BYTES_MAX: usize = 512;

/// A way to set faults.
pub(crate) struct CardFaults {
    port: Mutex<Port>,
}

struct Port {
    fd: OwnedFd,
    number: u64,
    received: Vec<u8>,
}

impl CardFaults {
    /// Opens the socket, or the character device that leads to it.
    pub(crate) fn open(path: &Path) -> Self {
        let socket = std::fs::metadata(path).unwrap().file_type().is_socket();
        let fd = match socket {
            true => UnixStream::connect(path).unwrap().into(),
            false => OpenOptions::new()
                .read(true)
                .write(true)
                .open(path)
                .unwrap()
                .into(),
        };
        // Unlike any that another process sent through the same port.
        let number = u64::from(std::process::id()) << 32;
        Self {
            port: Mutex::new(Port {
                fd,
                number,
                received: Vec::new(),
            }),
        }
    }

    /// Turns a fault on.
    pub(crate) fn set(&self, fault: Fault) {
        self.run(&format!("fault {}", fault.name()));
    }

    /// Adds a rule of the card's fault plan.
    pub(crate) fn set_rule(&self, rule: &str) {
        self.run(&format!("fault {rule}"));
    }

    /// How often a fault has broken its rule since the card started.
    pub(crate) fn struck(&self, name: &str) -> u64 {
        let answer = self.port.lock().unwrap().ask("struck");
        let answer = answer.unwrap_or_else(|| panic!("no answer to \"struck\""));
        let counts = answer.split_whitespace();
        let mut of = counts.filter_map(|count| count.strip_prefix(name)?.strip_prefix('='));
        of.next().map_or(0, |count| count.parse().unwrap())
    }

    /// Turns all off, and ends all hangs.
    pub(crate) fn clear(&self) {
        self.run("clear");
    }

    /// Turns all off, unless the card is dead.
    pub(crate) fn clear_if_there(&self) {
        let _ = self.port.lock().unwrap().ask("clear");
    }

    /// Has the function's engines stop after so many more jobs.
    pub(crate) fn hang_after(&self, function: u8, jobs: u64) {
        self.run(&format!("hang {function}:{jobs}"));
    }

    /// Has them go on.
    pub(crate) fn resume(&self, function: u8) {
        self.run(&format!("resume {function}"));
    }

    /// Where the function's engines hold a pattern, and how often: `nothing`, or `PLACE:TIMES ...`.
    pub(crate) fn find(&self, function: u8, pattern: &[u8]) -> String {
        let hex: String = pattern.iter().map(|byte| format!("{byte:02x}")).collect();
        let answer = self.ask(&format!("find {function} {hex}"));
        let found = answer.strip_prefix("ok ").map(str::to_owned);
        found.unwrap_or_else(|| panic!("find: {answer}"))
    }

    /// Has the card's process killed. Whether it died is not known when this returns.
    pub(crate) fn kill(&self) {
        // A dead card does not answer.
        let _ = self.port.lock().unwrap().ask("kill");
    }

    fn run(&self, command: &str) {
        assert_eq!(self.ask(command), "ok", "{command}");
    }

    fn ask(&self, command: &str) -> String {
        let answer = self.port.lock().unwrap().ask(command);
        answer.unwrap_or_else(|| panic!("no answer to {command:?}"))
    }
}

impl Port {
    /// Sends a command; the prefix of its answer, or `None` if it cannot be sent any more.
    fn send(&mut self, command: &str) -> Option<String> {
        self.number += 1;
        let prefix = format!("{} ", self.number);
        let line = format!("{prefix}{command}\n");
        // A virtual machine's serial port lets a writer wait for ever if nobody is behind it.
        let limit = Timespec::try_from(Duration::from_secs(ANSWER_SECONDS_MAX)).ok()?;
        let mut ready = [PollFd::new(&self.fd, PollFlags::OUT)];
        poll(&mut ready, Some(&limit)).ok()?;
        if !ready[0].revents().contains(PollFlags::OUT) {
            return None;
        }
        rustix::io::write(&self.fd, line.as_bytes()).ok()?;
        Some(prefix)
    }

    /// Sends a command and waits for its answer; `None` if none comes any more.
    fn ask(&mut self, command: &str) -> Option<String> {
        let prefix = self.send(command)?;
        let deadline = Instant::now() + Duration::from_secs(ANSWER_SECONDS_MAX);
        loop {
            while let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line);
                if let Some(answer) = line.trim_end().strip_prefix(&prefix) {
                    return Some(answer.to_owned());
                }
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            let mut ready = [PollFd::new(&self.fd, PollFlags::IN)];
            poll(&mut ready, Some(&Timespec::try_from(left).ok()?)).ok()?;
            let mut chunk = [0; ANSWER_BYTES_MAX];
            match rustix::io::read(&self.fd, &mut chunk) {
                Ok(0) => return None,
                Ok(read) => self.received.extend_from_slice(&chunk[..read]),
                Err(_) => return None,
            }
        }
    }
}
