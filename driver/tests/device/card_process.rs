//! A card in a process of its own, to be stopped and killed.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use faam_driver::{ChildFence, FenceProof};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, pidfd_open, waitid,
};

use crate::carrier::{Carrier, until};

/// Names the directory of a child's card, and makes this program serve one.
const CARD_DIR: &str = "FAAM_TEST_CARD_DIR";
/// Longest wait for the card to start, and to die.
const PROCESS_LIMIT: Duration = Duration::from_secs(20);

/// Serves a card if this process was started to be one. Returns when its standard input ends.
pub(crate) fn serve_if_told_to() -> bool {
    let Some(dir) = std::env::var_os(CARD_DIR) else {
        return false;
    };
    let mut options = faam_sim::Options::new(PathBuf::from(dir));
    options.model = Carrier::chosen().model();
    options.allow_faults = true;
    options.exit_on_stdin_eof = true;
    faam_sim::run(options).unwrap();
    true
}

/// The process. Dropping it kills it.
pub(crate) struct CardProcess {
    dir: tempfile::TempDir,
    child: Child,
    fence: ChildFence,
}

impl CardProcess {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .env(CARD_DIR, dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        let fence = ChildFence::new(pidfd).unwrap();
        assert_eq!(fence.pid(), child.id());
        let card = Self { dir, child, fence };
        // The last of its sockets; each is listened on before the next one is made.
        let last = card.dir().join("faults");
        until(PROCESS_LIMIT, "the card's process starts", || {
            UnixStream::connect(&last).is_ok()
        });
        card
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stop(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
    }

    /// Waits until all its threads have stopped, up to `limit`. It has to stop by itself for longer than that takes.
    pub(crate) fn until_stopped(&self, limit: Duration) {
        let pid = WaitId::Pid(Pid::from_child(&self.child));
        until(limit, "the card's process stands still", || {
            let stopped = waitid(pid.clone(), WaitIdOptions::STOPPED | WaitIdOptions::NOHANG);
            stopped.unwrap().is_some()
        });
    }

    pub(crate) fn kill(&self) {
        kill_process(Pid::from_child(&self.child), Signal::KILL).unwrap();
    }

    /// The fence that its death is, if it has died.
    pub(crate) fn fence(&self) -> Option<FenceProof> {
        self.fence.proof().ok()
    }

    /// Waits for its death, up to `limit`.
    pub(crate) fn await_fence(&self, limit: Duration) -> FenceProof {
        until(limit, "the card's process is dead", || {
            self.fence().is_some()
        });
        self.fence().unwrap()
    }
}

impl Drop for CardProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
