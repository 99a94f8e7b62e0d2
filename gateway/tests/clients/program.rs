//! A program that is run to its end, within a limit.
//!
//! Invariant: nothing that was started here outlives its caller. A program that is missing fails its test, unless
//! `FAAM_ALLOW_MISSING_TOOLS=1` says that this machine cannot have it; then its test says that it was skipped.

use std::io::Read;
use std::process::{Child, Command, Output, Stdio};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// How long one program may take: a failure, not a measure.
pub(crate) const PROGRAM_LIMIT: Duration = Duration::from_secs(60);

/// Whether `program` is installed here; where it may be missing, whoever needs it is skipped.
pub(crate) fn is_installed(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if !found {
        assert!(
            std::env::var("FAAM_ALLOW_MISSING_TOOLS").as_deref() == Ok("1"),
            "{program} is not installed; `make test` installs it, FAAM_ALLOW_MISSING_TOOLS=1 does without"
        );
        println!("skipped: {program} is not installed");
    }
    found
}

/// Runs `command` to its end within `limit`, with nothing on its standard input.
#[track_caller]
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Output {
    command.stdin(Stdio::null());
    Program::start(command).end(limit)
}

/// A program that runs. Its output is taken as it comes.
pub(crate) struct Program {
    pub(crate) child: Child,
    shown: String,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

impl Program {
    /// Starts it; standard input is as `command` says, and so is standard output where it is piped elsewhere.
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let shown = format!("{:?}", command.get_program());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{shown}: {error}"));
        Self {
            stdout: child.stdout.take().map(collect),
            stderr: child.stderr.take().map(collect),
            child,
            shown,
        }
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn end(mut self, limit: Duration) -> Output {
        if !has_ended(&self.child, limit) {
            let _ = self.child.kill();
            let _ = self.child.wait();
            let stderr = joined(self.stderr.take());
            panic!(
                "{} has not ended within {limit:?}; it wrote {}",
                self.shown,
                String::from_utf8_lossy(&stderr)
            );
        }
        Output {
            status: self.child.wait().expect("our child"),
            stdout: joined(self.stdout.take()),
            stderr: joined(self.stderr.take()),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether `child` ends within `limit`.
pub(crate) fn has_ended(child: &Child, limit: Duration) -> bool {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).expect("our child");
    let limit = Timespec::try_from(limit).expect("a limit");
    let mut ends = [PollFd::new(&pidfd, PollFlags::IN)];
    poll(&mut ends, Some(&limit)).expect("a poll") > 0
}

fn collect(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is what there is to say.
        let _ = stream.read_to_end(&mut bytes);
        bytes
    })
}

fn joined(stream: Option<JoinHandle<Vec<u8>>>) -> Vec<u8> {
    stream.map_or_else(Vec::new, |stream| stream.join().expect("a reader"))
}
