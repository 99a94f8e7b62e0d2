//! The README is true: its commands work as they stand, and what it names is there.
//!
//! Every fenced block marked `sh` is run, line by line, in the order of the page. `make run` stays up
//! while the blocks after it run, its printed curl line is run as printed, and it is started a second
//! time at the end. Only `make test` itself is left out: it is what runs this test. That test builds the
//! release binary, so it is ignored by default and run by `make test-readme`; the others are quick.

#![expect(
    clippy::panic,
    reason = "what these tests share fails by panicking, as they do"
)]

mod process_log;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use process_log::{Line, ProcessLog};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

/// How long `make run` may take until it serves: it installs, and builds for release with two cores.
const MAKE_RUN_LIMIT: Duration = Duration::from_secs(20 * 60);
/// How long a started gateway may take to end once told to: its drain limit and more.
const STOP_LIMIT: Duration = Duration::from_secs(40);
/// How often a process that says nothing is looked at.
const TICK: Duration = Duration::from_millis(20);
/// The ports that a gateway takes when nothing is said.
const PORTS: [u16; 2] = [8080, 8081];

#[test]
#[ignore = "builds the release binary; `make test-readme` runs it, and `make test` with it"]
fn every_command_works_as_printed() {
    let data = TempDir::with_prefix("faam-readme-").expect("a temporary directory");
    let place = Place::choose(data.path());
    let mut running = None;
    for command in fenced_commands() {
        match command.as_str() {
            "make test" => println!("-- make test: this is part of it"),
            "make run" => running = Some(MakeRun::start(&place)),
            other => place.run(other, running.as_ref()),
        }
    }
    let first = running.expect("the README has `make run` in a fenced block");
    let printed = first.printed_curl();
    println!("-- as printed: {printed}");
    check_curl(&printed);
    first.stop();

    let second = MakeRun::start(&place);
    println!("-- as printed the second time: {}", second.printed_curl());
    assert_eq!(
        bearer(&second.printed_curl()),
        bearer(&printed),
        "the key of the second start"
    );
    check_curl(&second.printed_curl());
    second.stop();
}

#[test]
fn every_make_target_exists() {
    let makefile = std::fs::read_to_string(root().join("Makefile")).expect("the Makefile");
    let named = code_spans()
        .into_iter()
        .filter_map(|span| span.strip_prefix("make ").map(str::to_owned));
    let targets: BTreeSet<_> = named
        .map(|rest| rest.split(' ').next().unwrap_or("").to_owned())
        .collect();
    assert!(
        targets.contains("test-quick"),
        "the README lists the targets: {targets:?}"
    );
    for target in targets {
        let rule = format!("\n{target}:");
        assert!(
            makefile.contains(&rule),
            "the README names `make {target}`; the Makefile has no such target"
        );
    }
}

#[test]
fn every_file_exists() {
    let paths: Vec<_> = code_spans()
        .into_iter()
        .filter(|span| is_path(span))
        .collect();
    assert!(
        paths.len() > 20,
        "the code map and the walk name files: {paths:?}"
    );
    for path in paths {
        assert!(
            root().join(&path).exists(),
            "the README names `{path}`, which is not there"
        );
    }
}

/// A step of the walk is a numbered line: a file, then what happens there. The identifiers that it names
/// in code spans must stand in that file.
#[test]
fn the_walk_of_a_request_names_what_is_in_its_files() {
    let readme = readme();
    let (_, walk) = readme
        .split_once("\n## The walk of one request")
        .expect("the README has the walk");
    let walk = walk.split("\n## ").next().unwrap_or(walk);
    let mut steps = 0;
    for line in walk
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
    {
        let spans = spans_of(line);
        let mut text = String::new();
        for span in &spans {
            if is_path(span) {
                text = std::fs::read_to_string(root().join(span))
                    .unwrap_or_else(|error| panic!("{span}: {error}"));
                continue;
            }
            assert!(!text.is_empty(), "a step begins with its file: {line}");
            let name = span
                .trim_end_matches("()")
                .rsplit("::")
                .next()
                .unwrap_or(span);
            assert!(
                text.contains(name),
                "`{span}` does not stand in the file that the step names before it: {line}"
            );
        }
        assert!(!text.is_empty(), "a step names its file: {line}");
        steps += 1;
    }
    assert!(steps >= 12, "the walk has {steps} steps");
}

/// Where the commands are run: with the defaults where their ports are free, else beside what holds them.
struct Place {
    environment: Vec<(&'static str, String)>,
    data: PathBuf,
}

impl Place {
    fn choose(data: &Path) -> Self {
        let free = PORTS
            .iter()
            .all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
        let mut environment = Vec::new();
        if !free {
            println!(
                "-- port 8080 or 8081 is taken: on ports of our own, with a data directory of our own"
            );
            environment.push(("FAAM_LISTEN", "127.0.0.1:0".to_owned()));
            environment.push(("FAAM_ADMIN_LISTEN", "127.0.0.1:0".to_owned()));
            environment.push(("FAAM_DATA_DIR", data.display().to_string()));
        }
        let data = if free {
            root().join("data")
        } else {
            data.to_owned()
        };
        Self { environment, data }
    }

    fn shell(&self, command: &str) -> Command {
        let mut shell = Command::new("bash");
        shell
            .args(["-euo", "pipefail", "-c", command])
            .current_dir(root())
            .stdin(Stdio::null());
        // The make that runs this test has a job server of its own.
        shell
            .env_remove("MAKEFLAGS")
            .env_remove("MFLAGS")
            .env_remove("MAKELEVEL");
        shell.envs(
            self.environment
                .iter()
                .map(|(name, value)| (*name, value.as_str())),
        );
        shell
    }

    /// Run one line of the README; it must succeed.
    fn run(&self, command: &str, running: Option<&MakeRun>) {
        let mut command = command.to_owned();
        if !self.environment.is_empty() {
            let running = running.expect("`make run` comes first in the README");
            for (mark, default) in [
                ("/v1/compress", "127.0.0.1:8080"),
                ("/metrics", "127.0.0.1:8081"),
            ] {
                command = command.replace(default, &running.address(mark));
            }
            command = command.replace(
                "data/demo.key",
                &self.data.join("demo.key").to_string_lossy(),
            );
        }
        println!("-- {command}");
        let output = self.shell(&command).output().expect("bash runs");
        std::io::stdout().write_all(&output.stdout).expect("stdout");
        let status = output.status;
        assert!(
            status.success(),
            "{command}: {status}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// A `make run` that serves, in a process group of its own.
struct MakeRun {
    child: Child,
    log: ProcessLog,
}

impl MakeRun {
    fn start(place: &Place) -> Self {
        println!("-- make run");
        let began = Instant::now();
        let mut shell = place.shell("exec make run");
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        let mut child = shell
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("make runs");
        let log = ProcessLog::default();
        log.follow(child.stdout.take().expect("stdout is a pipe"));
        log.follow(child.stderr.take().expect("stderr is a pipe"));
        let run = Self { child, log };
        let served = run.wait_for_curl().at.saturating_duration_since(began);
        println!("   serves after {:.1} s", served.as_secs_f64());
        run
    }

    /// Host and port in the printed line that contains `mark`.
    fn address(&self, mark: &str) -> String {
        let line = self
            .log
            .wait_for(mark, STOP_LIMIT)
            .expect("`faam serve` prints its addresses")
            .text;
        let address = line
            .split("http://")
            .nth(1)
            .and_then(|rest| rest.split('/').next());
        address.expect("an address").to_owned()
    }

    fn printed_curl(&self) -> String {
        self.wait_for_curl().text.trim().to_owned()
    }

    fn wait_for_curl(&self) -> Line {
        let line = self.log.wait_for("curl -", MAKE_RUN_LIMIT);
        line.unwrap_or_else(|| panic!("make run printed no curl line:\n{}", self.log.text()))
    }

    /// End it as a terminal does, and wait until all of it has ended.
    fn stop(mut self) {
        self.signal(Signal::INT);
        let log = self.log.clone();
        assert!(
            log.wait_for("drained", STOP_LIMIT).is_some(),
            "it did not drain:\n{}",
            log.text()
        );
        let until = Instant::now() + STOP_LIMIT;
        while self.child.try_wait().expect("a child of ours").is_none() {
            assert!(Instant::now() < until, "it has not ended:\n{}", log.text());
            log.changed(TICK);
        }
    }

    fn signal(&self, signal: Signal) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let _ = kill_process_group(group.expect("a process id"), signal);
    }
}

impl Drop for MakeRun {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Run the printed line in a shell, as somebody who pastes it.
fn check_curl(printed: &str) {
    let output = Command::new("bash")
        .args(["-o", "pipefail", "-c", printed])
        .output()
        .expect("bash runs");
    assert!(
        output.status.success(),
        "{printed}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "hello hello hello",
        "{printed}"
    );
}

fn bearer(printed: &str) -> Option<&str> {
    printed.split("Bearer ").nth(1)?.split('"').next()
}

/// The lines of all blocks fenced with `sh`, continued ones joined; no comments.
fn fenced_commands() -> Vec<String> {
    let readme = readme();
    let blocks = readme
        .split("\n```sh\n")
        .skip(1)
        .map(|rest| rest.split("\n```").next().unwrap_or(rest));
    let text = blocks.collect::<Vec<_>>().join("\n").replace("\\\n", "");
    let commands: Vec<_> = text
        .lines()
        .map(|line| line.split(" #").next().unwrap_or(line).trim().to_owned())
        .collect();
    commands
        .into_iter()
        .filter(|command| !command.is_empty() && !command.starts_with('#'))
        .collect()
}

/// Everything in single backticks outside of fenced blocks.
fn code_spans() -> Vec<String> {
    let readme = readme();
    let outside: Vec<_> = readme.split("```").step_by(2).collect();
    outside.into_iter().flat_map(spans_of).collect()
}

fn spans_of(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// A path in this tree: it has a slash, and begins with something that the root holds.
fn is_path(span: &str) -> bool {
    let first = span.split('/').next().unwrap_or("");
    span.contains('/')
        && !span.contains(' ')
        && [
            "gateway",
            "driver",
            "sim",
            "bitstreams",
            "benches",
            ".ci",
            ".config",
        ]
        .contains(&first)
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("the README")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
