//! `faam` as a process, and a gateway in this one for it to call.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use faam_gateway::config::GatewayConfig;
use faam_gateway::gateway::Gateway;
use tempfile::TempDir;

/// How long one command may take: a failure, not a measure.
pub(crate) const SOON: Duration = Duration::from_secs(30);
pub(crate) const KEY: &str = "faam_a-key-for-these-tests-only";

/// A gateway with the CPU engines alone, and a directory to work in.
pub(crate) struct Place {
    pub(crate) gateway: Gateway,
    pub(crate) data: TempDir,
    url: String,
    pub(crate) dir: TempDir,
}

/// How a command ended, in words.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut GatewayConfig)) -> Self {
        Self::with_data(tempfile::tempdir().expect("a directory"), change)
    }

    /// With a data directory in which something is prepared.
    pub(crate) fn with_data(data: TempDir, change: impl FnOnce(&mut GatewayConfig)) -> Self {
        let mut config = GatewayConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            admin_listen: ([127, 0, 0, 1], 0).into(),
            data_dir: data.path().to_owned(),
            bootstrap_key: Some(KEY.to_owned()),
            ..GatewayConfig::default()
        };
        config.dispatch.cards.clear();
        config.dispatch.data_dir = data.path().to_owned();
        change(&mut config);
        let gateway = Gateway::start(config).expect("starts");
        Self {
            url: format!("http://{}", gateway.public_address()),
            gateway,
            data,
            dir: tempfile::tempdir().expect("a directory"),
        }
    }

    /// Its gateway is stopped; what stays: the data directory, and the one that commands run in.
    pub(crate) fn stop(self) -> (TempDir, TempDir) {
        self.gateway.stop();
        (self.data, self.dir)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// `faam` with these words, in the directory.
    pub(crate) fn faam(&self, words: &[&str]) -> Command {
        faam(self.dir.path(), &self.url, words)
    }

    #[track_caller]
    pub(crate) fn run(&self, words: &[&str]) -> Ended {
        run(self.faam(words), b"")
    }

    #[track_caller]
    pub(crate) fn pipe(&self, words: &[&str], input: &[u8]) -> Ended {
        run(self.faam(words), input)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.dir.path().join(name), bytes).expect("written");
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.dir.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Every name in the directory, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        names(self.dir.path())
    }
}

pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("listed");
    let mut names: Vec<_> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

/// `faam` with these words in `dir`, calling `url`.
pub(crate) fn faam(dir: &Path, url: &str, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_faam"));
    command
        .args(words)
        .current_dir(dir)
        .env("FAAM_URL", url)
        .env("FAAM_KEY", KEY)
        .env_remove("FAAM_CACERT")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[track_caller]
pub(crate) fn run(command: Command, input: &[u8]) -> Ended {
    run_within(command, input, SOON)
}

/// The same for a command that may take as long as `limit`.
#[track_caller]
pub(crate) fn run_within(mut command: Command, input: &[u8], limit: Duration) -> Ended {
    let mut child = command.spawn().expect("faam starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    // It may end before it has read all: then the pipe breaks.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let ended = finish_within(child, limit);
    writer.join().expect("written");
    ended
}

/// Wait for the end, and read what it wrote meanwhile.
#[track_caller]
pub(crate) fn finish(child: Child) -> Ended {
    finish_within(child, SOON)
}

#[track_caller]
fn finish_within(child: Child, limit: Duration) -> Ended {
    let pid = rustix::process::Pid::from_child(&child);
    let (done, outcome) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    let output: Output = match outcome.recv_timeout(limit) {
        Ok(output) => output.expect("output"),
        Err(_) => {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            panic!("faam has not ended within {limit:?}");
        }
    };
    Ended {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Ended {
    /// It ended so, and said these words on standard error.
    #[track_caller]
    pub(crate) fn check(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        for word in words {
            assert!(
                self.stderr.contains(word),
                "{word:?} is not in {:?}",
                self.stderr
            );
        }
        self
    }

    /// And nothing else than the words.
    #[track_caller]
    pub(crate) fn silent(self) -> Self {
        assert_eq!(self.stderr, "");
        self
    }
}

/// Wait until `check` gives something. What it looks at changes by another process, which tells nobody.
#[track_caller]
pub(crate) fn wait_until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + SOON;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < until, "not within {SOON:?}: {what}");
        std::thread::yield_now();
    }
}

/// Text that compresses, of `bytes` bytes, the same every time.
pub(crate) fn text(bytes: usize) -> Vec<u8> {
    let mut state: u32 = 0x2545_f491;
    let mut text = Vec::with_capacity(bytes + 16);
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        text.extend_from_slice(format!("{:x} word ", state & 0xfff).as_bytes());
    }
    text.truncate(bytes);
    text
}

/// Bytes that do not compress, the same every time.
pub(crate) fn noise(bytes: usize) -> Vec<u8> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(bytes).collect()
}
