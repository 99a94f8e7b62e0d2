//! The card, in a process of its own, and what the kernel says of that process.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Names the directory of a child's card.
const CARD_DIR: &str = "FAAM_HOSTILE_CARD_DIR";
/// Engines of each function: two, so that jobs of one client run side by side.
const ENGINES: u8 = 2;
/// Longest wait for the card to start, and to let a client go that has hung up.
const CARD_SECONDS_MAX: u64 = 20;

/// Not a test: what [`Card::start`] starts.
#[test]
#[ignore = "the body of a child process"]
fn child() {
    let Some(dir) = std::env::var_os(CARD_DIR) else {
        return;
    };
    let mut options = faam_sim::Options::new(PathBuf::from(dir));
    options.engines = ENGINES;
    options.exit_on_stdin_eof = true;
    faam_sim::run(options).unwrap();
}

/// The process. Dropping it kills it.
pub(crate) struct Card {
    dir: tempfile::TempDir,
    child: Child,
}

/// What a process holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
    pub(crate) maps: usize,
    /// Of those, the clients'.
    pub(crate) client_maps: usize,
    pub(crate) resident_kib: u64,
}

impl Card {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "card::child", "--ignored", "--nocapture"])
            .env(CARD_DIR, dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let card = Self { dir, child };
        let deadline = Instant::now() + Duration::from_secs(CARD_SECONDS_MAX);
        // Each is listened on before the next one is made.
        while UnixStream::connect(card.socket(1)).is_err() {
            assert!(Instant::now() < deadline, "the card does not start");
            std::thread::yield_now();
        }
        card
    }

    pub(crate) fn socket(&self, function: u8) -> PathBuf {
        self.dir.path().join(format!("fn{function}"))
    }

    /// What it holds once it has let its clients go: nothing of theirs, no connection, and no more descriptors than
    /// `descriptors_max`. Waits for that, for a bounded time: an engine may be in the midst of a job of theirs.
    pub(crate) fn figures_when_left(&self, descriptors_max: usize, after: &str) -> Figures {
        let deadline = Instant::now() + Duration::from_secs(CARD_SECONDS_MAX);
        loop {
            let (clients, figures) = (self.clients(), self.figures());
            let left = figures.client_maps == 0 && clients == 0;
            if left && figures.descriptors <= descriptors_max {
                return figures;
            }
            assert!(
                Instant::now() < deadline,
                "the card holds what is a client's, {CARD_SECONDS_MAX} s after it has gone: {clients} connections and \
                 {figures:?}, after {after}"
            );
            std::thread::yield_now();
        }
    }

    /// Its connections, as /proc/net/unix has them: what has a path of ours and is no listener, accepted or not yet.
    fn clients(&self) -> usize {
        let table = fs::read_to_string("/proc/net/unix").unwrap();
        let dir = self.dir.path().to_string_lossy().into_owned();
        // Num RefCount Protocol Flags Type St Inode Path: of the flags, 00010000 says that it listens.
        let connection = |line: &&str| {
            let mut fields = line.split_whitespace();
            let flags = fields.nth(3);
            let path = fields.nth(3).unwrap_or_default();
            flags != Some("00010000") && path.starts_with(&dir)
        };
        table.lines().filter(connection).count()
    }

    fn figures(&self) -> Figures {
        let of = |name: &str| PathBuf::from(format!("/proc/{}/{name}", self.child.id()));
        let count = |name: &str| fs::read_dir(of(name)).map_or(0, Iterator::count);
        let maps = fs::read_to_string(of("maps")).unwrap_or_default();
        let status = fs::read_to_string(of("status")).unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.unwrap_or_else(|| {
            panic!("the card's process is dead: {status:?}");
        });
        Figures {
            descriptors: count("fd"),
            threads: count("task"),
            maps: maps.lines().count(),
            client_maps: maps.lines().filter(|line| line.contains("memfd:")).count(),
            resident_kib: resident.trim().trim_end_matches(" kB").parse().unwrap(),
        }
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
