//! `faam action-proxy` as a process of a test's own, as a platform starts it.
//!
//! Owns the process, and what it writes on each of its two streams. Invariants: ports are the system's choice; nothing of this
//! process's environment decides what it is; when it is dropped it is killed and reaped, and after a failed test its log is
//! shown.

use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::process_log::ProcessLog;
use crate::wire::{Answer, request};

/// How long anything may take here: a failure, not a measure.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// How long a look at a log waits for its next line.
const TICK: Duration = Duration::from_millis(20);
/// Variables by which it would be taken for another platform's, or for somebody's else.
const OTHERS: [&str; 17] = [
    "PORT",
    "K_SERVICE",
    "FUNCTIONS_CUSTOMHANDLER_PORT",
    "fprocess",
    "upstream_url",
    "max_inflight",
    "__OW_API_HOST",
    "FAAM_URL",
    "FAAM_KEY",
    "FAAM_CACERT",
    "FAAM_PLATFORM",
    "FAAM_FUNCTION",
    "FAAM_LEVEL",
    "FAAM_BACKEND",
    "FAAM_DEVICES",
    "FAAM_CONFIG",
    "FAAM_LOG",
];

/// See the module's head.
pub(crate) struct Container {
    child: Child,
    /// Standard output.
    pub(crate) out: ProcessLog,
    /// Standard error: the log.
    pub(crate) err: ProcessLog,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Container {
    /// Starts one on a port of its own.
    pub(crate) fn start(flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let flags = [&["--listen", "127.0.0.1:0"], flags].concat();
        Self::start_where(&flags, variables)
    }

    /// Starts one where the platform's variables or the flags say.
    pub(crate) fn start_where(flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_faam"));
        for other in OTHERS {
            command.env_remove(other);
        }
        let mut child = command
            .arg("action-proxy")
            .args(flags)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("faam starts");
        let (out, err) = (ProcessLog::default(), ProcessLog::default());
        out.follow(child.stdout.take().expect("stdout is a pipe"));
        err.follow(child.stderr.take().expect("stderr is a pipe"));
        let mark = "listening on http://";
        let line = err.wait_for(mark, SOON);
        let line = line.unwrap_or_else(|| panic!("it does not listen; it wrote:\n{}", err.text()));
        let (_, rest) = line.text.split_once(mark).expect("it is there");
        // A line of text, or of JSON.
        let address = rest.split([' ', '"']).next().unwrap_or_default();
        Self {
            child,
            out,
            err,
            address: address.parse().expect("an address"),
        }
    }

    /// `POST path` with `body` as JSON.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_bytes(path, body.to_string().as_bytes())
    }

    /// The same with whatever.
    pub(crate) fn post_bytes(&self, path: &str, body: &[u8]) -> Answer {
        let headers = [("Content-Type", "application/json")];
        request(self.address, "POST", path, &headers, body)
    }

    /// Waits until `condition` holds of what it writes.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let until = Instant::now() + SOON;
        while !condition(self) {
            assert!(
                Instant::now() < until,
                "not within {SOON:?}: {what}; it wrote:\n{}",
                self.out.text()
            );
            self.out.changed(TICK);
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process"), signal).expect("it runs");
    }

    /// How it ended, once it does.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status;
            }
            assert!(Instant::now() < until, "it does not end");
            self.err.changed(TICK);
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "--- the action proxy wrote ---\n{}--- end ---",
                self.err.text()
            );
        }
    }
}
