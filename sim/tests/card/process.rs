//! The card as a process of its own: signals, its parent's end, what it leaves behind.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use faam_hwif::Status;
use faam_hwif::regs::CardRegister;
use faam_sim::{Card, Model, Options, StartError};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::client::{BAR0, Client};
use crate::host::{Host, SRC, compress, eventually, nop, status, text};

const DIR: &str = "FAAM_TEST_CARD_DIR";
/// Set: with faults.
const FAULTS: &str = "FAAM_TEST_CARD_FAULTS";

/// Not a test: what the tests below start, in a process of its own.
#[test]
#[ignore = "the body of a child process"]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let mut options = Options::new(dir);
    options.exit_on_stdin_eof = true;
    options.allow_faults = std::env::var_os(FAULTS).is_some();
    faam_sim::run(options).unwrap();
}

/// A card in a child process, killed at the end if it still runs.
struct Process {
    child: Child,
    dir: PathBuf,
    /// Kept open: it is the test harness in the child that minds a broken pipe, not the card.
    _out: BufReader<ChildStdout>,
}

impl Process {
    /// Starts it and waits until it is ready.
    fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[])
    }

    /// The same with these variables.
    fn start_with(dir: &Path, variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process::child", "--ignored", "--nocapture"])
            .env(DIR, dir)
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let ready = format!("ready {}", dir.display());
        let mut lines = out.by_ref().lines().map_while(Result::ok);
        assert!(lines.any(|line| line.ends_with(&ready)), "never ready");
        Self {
            child,
            dir: dir.to_owned(),
            _out: out,
        }
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("fn0")
    }

    fn host(&self) -> Host {
        let mut host = Host::attach(Client::open(&self.socket()));
        host.enable();
        host
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        eventually(|| {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sockets(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

#[test]
fn sigterm_ends_it_cleanly_even_with_a_client() {
    let dir = tempfile::tempdir().unwrap();
    let mut card = Process::start(dir.path());
    let mut host = card.host();
    let mut ring = host.create(1, 4, true, None);
    host.run(&mut ring, &nop(1));
    assert_eq!(sockets(dir.path()), 2);
    card.signal(Signal::TERM);
    assert!(card.wait().success());
    assert_eq!(sockets(dir.path()), 0);
    assert!(host.client.is_closed());
}

#[test]
fn the_end_of_its_standard_input_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut card = Process::start(dir.path());
    drop(card.child.stdin.take());
    assert!(card.wait().success());
    assert_eq!(sockets(dir.path()), 0);
}

#[test]
fn a_killed_card_leaves_sockets_that_the_next_one_replaces() {
    let dir = tempfile::tempdir().unwrap();
    let mut card = Process::start(dir.path());
    let mut host = card.host();
    let epoch = host.register(CardRegister::ControlResetEpoch);
    let mut ring = host.create(1, 6, true, None);
    host.arena.write(SRC, &text(1 << 18));
    for id in 0..20 {
        ring.submit(
            &host.arena,
            &mut host.client,
            &compress(id, 1 << 18, 1 << 20),
        );
    }
    card.signal(Signal::KILL);
    card.wait();
    assert!(host.client.is_closed());
    assert_eq!(sockets(dir.path()), 2, "nobody was there to remove them");

    let card = Process::start(dir.path());
    let mut host = card.host();
    assert_ne!(host.register(CardRegister::ControlResetEpoch), epoch);
    let mut ring = host.create(1, 4, true, None);
    assert_eq!(status(&host.run(&mut ring, &nop(1))), Status::Success);
}

#[test]
fn a_stopped_card_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let card = Process::start(dir.path());
    let mut host = card.host();
    let mut ring = host.create(1, 4, true, None);
    card.signal(Signal::STOP);
    // The signal is sent; this returns when all its threads have stopped.
    let pid = Pid::from_child(&card.child);
    let (_, stopped) = waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap();
    assert!(stopped.stopped());
    ring.submit(&host.arena, &mut host.client, &nop(7));
    assert_eq!(ring.peek(&host.arena), None);
    card.signal(Signal::CONT);
    assert_eq!(ring.next(&host.arena).cid, 7);
    host.client.read32(BAR0, 0);
}

#[test]
fn a_directory_in_use_is_refused_and_files_are_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("made").join("here");
    let card = Card::start(&Options::new(&inner)).unwrap();
    let mode = std::fs::metadata(&inner).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert!(matches!(
        Card::start(&Options::new(&inner)),
        Err(StartError::InUse { .. })
    ));
    assert_eq!(sockets(&inner), 2, "the running card keeps its sockets");
    card.stop();
    assert_eq!(sockets(&inner), 0);

    std::fs::write(inner.join("fn1"), "mine").unwrap();
    assert!(matches!(
        Card::start(&Options::new(&inner)),
        Err(StartError::Listen { .. })
    ));
    assert_eq!(std::fs::read(inner.join("fn1")).unwrap(), b"mine");
    assert_eq!(sockets(&inner), 1, "fn0 was removed again");
}

#[test]
fn stops_stands_still_for_its_time_and_leaves_nobody_behind() {
    const MS: u64 = 200;
    let dir = tempfile::tempdir().unwrap();
    let card = Process::start_with(dir.path(), &[(FAULTS, "1")]);
    let mut host = card.host();
    let mut ring = host.create(1, 4, false, None);
    let mut tester = UnixStream::connect(dir.path().join("faults")).unwrap();
    let begin = Instant::now();
    tester
        .write_all(format!("1 fault stops,ms={MS}\n").as_bytes())
        .unwrap();
    let pid = Pid::from_child(&card.child);
    let stopped = waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap();
    assert!(stopped.1.stopped(), "{stopped:?}");
    let mut answer = String::new();
    BufReader::new(&tester).read_line(&mut answer).unwrap();
    assert_eq!(answer, "1 ok\n", "answered before the process stands still");
    assert_eq!(status(&host.run(&mut ring, &nop(1))), Status::Success);
    assert!(begin.elapsed() >= Duration::from_millis(MS));
    let children = format!("/proc/{0}/task/{0}/children", card.child.id());
    assert_eq!(std::fs::read_to_string(children).unwrap(), "");
}

#[test]
fn options_out_of_range_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |change: fn(&mut Options)| {
        let mut options = Options::new(dir.path());
        change(&mut options);
        Card::start(&options).err().map(|error| error.to_string())
    };
    for (change, word) in [
        ((|o| o.engines = 0) as fn(&mut Options), "engines"),
        (|o| o.engines = 17, "engines"),
        (|o| o.pace_mhz = Some(0), "pace_mhz"),
        (|o| o.pace_mhz = Some(4001), "pace_mhz"),
        (
            |o| o.faults.push("gone".parse().unwrap()).unwrap(),
            "allow-faults",
        ),
        (
            |o| {
                o.allow_faults = true;
                o.faults.push("stops".parse().unwrap()).unwrap();
            },
            "\"stops\"",
        ),
    ] {
        let message = refused(change).expect("it started");
        assert!(message.contains(word), "{message}");
    }
    assert_eq!(sockets(dir.path()), 0);
}

#[test]
fn gateware_is_refused_where_it_is_not_built_in_and_takes_no_pace_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path().join("card"));
    options.model = Model::Rtl;
    options.pace_mhz = Some(100);
    let Err(error) = Card::start(&options) else {
        panic!("a card at a pace that it cannot keep");
    };
    let text = error.to_string();
    match Model::Rtl.is_built_in() {
        true => assert!(text.contains("pace_mhz"), "{text}"),
        false => assert!(text.contains("cargo build --features rtl"), "{text}"),
    }
    assert!(!options.dir.exists(), "nothing is left lying about");
}
