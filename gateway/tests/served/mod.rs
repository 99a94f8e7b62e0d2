//! A `faam serve` of a test's own, as an operator starts it, and where it listens.
//!
//! Owns the process and its log, and its data directory with whoever else holds it. Invariants: ports are the system's choice; when it is dropped the
//! gateway is killed and reaped, and after a failed test its log is shown.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::process_log::ProcessLog;

/// How long a gateway may take to start.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A running gateway.
pub(crate) struct Served {
    pub(crate) child: Child,
    pub(crate) log: ProcessLog,
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) key: String,
    pub(crate) data: Arc<tempfile::TempDir>,
}

impl Served {
    /// Starts one with these flags and variables.
    pub(crate) fn start(flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_faam"));
        command.arg("serve");
        Self::start_as(command, flags, variables)
    }

    /// The same, by a command that becomes the gateway's.
    pub(crate) fn start_as(command: Command, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let data = tempfile::TempDir::with_prefix("faam-test-").expect("a temporary directory");
        Self::start_on(Arc::new(data), command, flags, variables)
    }

    /// The same, on a data directory that another one may have left behind.
    pub(crate) fn start_on(
        data: Arc<tempfile::TempDir>,
        mut command: Command,
        flags: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let began = Instant::now();
        let mut child = command
            .args(["--listen", "127.0.0.1:0"])
            .args(["--admin-listen", "127.0.0.1:0", "--data-dir"])
            .arg(data.path())
            .args(flags)
            .env_remove("FAAM_BOOTSTRAP_KEY")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("faam starts");
        let log = ProcessLog::default();
        log.follow(child.stdout.take().expect("stdout is a pipe"));
        log.follow(child.stderr.take().expect("stderr is a pipe"));
        let address = |mark: &str| {
            let line = log.wait_for(mark, START_LIMIT);
            let line = line.unwrap_or_else(|| panic!("no {mark}; it wrote:\n{}", log.text()));
            let (_, rest) = line.text.split_once("://").expect("a URL");
            let address = rest.split(['/', ' ']).next().unwrap_or("");
            address.parse().expect("an address")
        };
        let (public, admin) = (address("listening on"), address("/metrics"));
        if let Some(line) = log.wait_for("/metrics", START_LIMIT) {
            let after = line.at.duration_since(began);
            println!("the gateway listens after {} ms", after.as_millis());
        }
        let key = std::fs::read_to_string(data.path().join("demo.key")).expect("the key");
        Self {
            child,
            log,
            public,
            admin,
            key: key.trim().to_owned(),
            data,
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let data = self.data.path().display();
            eprintln!(
                "--- the gateway of {data} wrote ---\n{}--- end ---",
                self.log.text()
            );
        }
    }
}
