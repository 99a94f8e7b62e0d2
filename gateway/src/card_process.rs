//! The process of an own simulated card: started, watched, and ended for certain.
//!
//! Invariant: the card's end is known only from its pidfd, never from a socket
//! that hung up: a stopped process keeps its mappings and would write into DMA memory
//! once it is continued. So ending it means SIGKILL, and waiting for the pidfd.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::cards::{SimulatedFaults, SimulatedSlots};

/// How long a new card may take until it listens.
const READY_LIMIT: Duration = Duration::from_secs(5);
/// How long the kernel may take to end a killed process.
const KILL_LIMIT: Duration = Duration::from_secs(5);
/// Most bytes of the card's ready line.
const READY_LINE_BYTES_MAX: usize = 4096;

/// How to start a card.
#[derive(Clone, Debug)]
pub(crate) struct CardCommand {
    /// The program: `faam`.
    pub(crate) program: PathBuf,
    /// Directory of its sockets.
    pub(crate) dir: PathBuf,
    /// What is inside.
    pub(crate) model: faam_sim::Model,
    /// Engines a function.
    pub(crate) engines: u8,
    /// Clock to pace completions by.
    pub(crate) pace_mhz: Option<u32>,
    /// What its slots hold at its start.
    pub(crate) slots: SimulatedSlots,
    /// How it is to fail.
    pub(crate) faults: SimulatedFaults,
}

/// Why a card's process is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CardProcessError {
    /// It could not be started.
    #[error("could not start {program} as a simulated card")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended, or said nothing, before it was ready.
    #[error("the simulated card was not ready within {} ms; its log is above", READY_LIMIT.as_millis())]
    NotReady,
    /// It was killed and still has not ended: it hangs in the kernel.
    #[error("process {pid} was killed {} ms ago and has not ended", KILL_LIMIT.as_millis())]
    Unkillable {
        /// The process.
        pid: u32,
    },
}

/// A running card process.
pub(crate) struct CardProcess {
    child: Child,
    pidfd: OwnedFd,
    /// Open for as long as we live: the card ends itself when it closes.
    _lifeline: Option<ChildStdin>,
}

impl CardProcess {
    /// Start a card and wait until it listens.
    pub(crate) fn start(command: &CardCommand) -> Result<Self, CardProcessError> {
        let mut sim = Command::new(&command.program);
        sim.arg("sim")
            .arg("--dir")
            .arg(&command.dir)
            .arg("--model")
            .arg(command.model.name())
            .arg("--engines")
            .arg(command.engines.to_string());
        if let Some(mhz) = command.pace_mhz {
            sim.arg("--pace").arg(mhz.to_string());
        }
        if command.slots != SimulatedSlots::default() {
            sim.arg("--slots").arg(command.slots.word());
        }
        if command.faults.allowed {
            sim.arg("--allow-faults");
        }
        if let Some(file) = &command.faults.file {
            sim.arg("--faults").arg(file);
        }
        for rule in &command.faults.rules {
            sim.arg("--fault").arg(rule);
        }
        // A group of its own: Ctrl-C is for the gateway, which drains before it ends the card.
        sim.process_group(0);
        // The card has no use for a caller's key.
        sim.env_remove("FAAM_BOOTSTRAP_KEY");
        sim.arg("--exit-on-stdin-eof")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let failed = |source| CardProcessError::Spawn {
            program: command.program.clone(),
            source,
        };
        let mut child = sim.spawn().map_err(failed)?;
        // The child has not been waited for, so its pid cannot have been reused.
        let pidfd = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0))
            .ok_or(rustix::io::Errno::SRCH)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
        let pidfd = match pidfd {
            Ok(pidfd) => pidfd,
            Err(errno) => {
                let _ = child.kill();
                return Err(failed(errno.into()));
            }
        };
        let lifeline = child.stdin.take();
        let mut process = Self {
            child,
            pidfd,
            _lifeline: lifeline,
        };
        if process.wait_ready() {
            Ok(process)
        } else {
            process.kill()?;
            Err(CardProcessError::NotReady)
        }
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process has ended.
    pub(crate) fn has_ended(&self) -> bool {
        readable(&self.pidfd, Duration::ZERO)
    }

    /// A descriptor that becomes readable when the process has ended.
    pub(crate) fn pidfd(&self) -> io::Result<OwnedFd> {
        self.pidfd.try_clone()
    }

    /// Kill the process and wait until it has ended. Stopped or not, it will not write again.
    pub(crate) fn kill(&mut self) -> Result<(), CardProcessError> {
        // Fails only if it has ended already.
        let _ = self.child.kill();
        if !readable(&self.pidfd, KILL_LIMIT) {
            return Err(CardProcessError::Unkillable { pid: self.pid() });
        }
        // Reaps it; it has ended, so this does not block.
        let _ = self.child.wait();
        Ok(())
    }

    /// Wait for the line that the card prints once it listens.
    fn wait_ready(&mut self) -> bool {
        let Some(mut stdout) = self.child.stdout.take() else {
            return false;
        };
        let until = Instant::now() + READY_LIMIT;
        let mut line = Vec::new();
        let mut byte = [0u8; 256];
        while line.len() < READY_LINE_BYTES_MAX && !line.contains(&b'\n') {
            if !readable(&stdout, until.saturating_duration_since(Instant::now())) {
                return false;
            }
            match stdout.read(&mut byte) {
                Ok(n) if n > 0 => line.extend(byte.iter().take(n)),
                _ => return false,
            }
        }
        line.contains(&b'\n')
    }
}

impl Drop for CardProcess {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            tracing::error!(%error, "a simulated card outlives its gateway");
        }
    }
}

/// Wait until `fd` is readable (or hung up), at most `limit`.
fn readable(fd: &impl AsFd, limit: Duration) -> bool {
    let until = Instant::now() + limit;
    loop {
        let rest = until.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(rest.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: rest.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)) {
            Ok(n) => return n > 0,
            Err(rustix::io::Errno::INTR) if !rest.is_zero() => {}
            Err(_) => return false,
        }
    }
}
