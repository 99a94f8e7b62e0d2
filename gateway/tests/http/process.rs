//! The gateway as a process: what it prints works, its key persists, and SIGTERM loses nothing.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::tls::{self, Authority};
use crate::wire::{Answer, Wire, request};

/// How long a condition may take to come true: a failure, not a measure.
const SOON: Duration = Duration::from_secs(20);

/// `faam serve --devices none`, and what it printed.
struct Process {
    child: Child,
    key: String,
    curl: String,
    public: SocketAddr,
    admin: SocketAddr,
    _stdout: BufReader<ChildStdout>,
}

fn faam(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_faam"));
    command
        .args([
            "serve",
            "--devices",
            "none",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ])
        .arg("--data-dir")
        .arg(data)
        .env_remove("FAAM_BOOTSTRAP_KEY")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Process {
    fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    fn start_with(data: &Path, flags: &[&OsStr]) -> Self {
        let mut child = faam(data)
            .args(flags)
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        // The curl line is the last; the end of the pipe ends a start that failed.
        let mut lines = Vec::new();
        while !lines
            .last()
            .is_some_and(|line: &String| line.contains("curl"))
        {
            let mut line = String::new();
            assert!(
                stdout.read_line(&mut line).expect("UTF-8") > 0,
                "it ended after {lines:?}"
            );
            lines.push(line.trim().to_owned());
        }
        let after = |mark: &str| {
            let line = lines
                .iter()
                .find_map(|line| line.split_once(mark))
                .unwrap_or_else(|| panic!("{mark} in {lines:?}"));
            let rest = line
                .1
                .trim_start_matches("s:")
                .trim_start_matches([':', '/']);
            rest.split([' ', '/']).next().expect("a word").to_owned()
        };
        Self {
            key: after("Bearer ").trim_matches('"').to_owned(),
            public: after("listening on http").parse().expect("an address"),
            admin: after("metrics      http://").parse().expect("an address"),
            curl: lines.pop().expect("the curl line"),
            child,
            _stdout: stdout,
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a pid");
        kill_process(pid, signal).expect("it runs");
    }

    fn admin(&self, target: &str) -> Answer {
        request(self.admin, "GET", target, &[], b"")
    }

    /// A request whose body has begun and not ended, and that holds its permit.
    fn begin(&self) -> Wire {
        let mut wire = Wire::connect(self.public);
        let authorization = format!("Bearer {}", self.key);
        wire.head(
            "POST",
            "/v1/compress",
            &[
                ("Authorization", &authorization),
                ("Transfer-Encoding", "chunked"),
            ],
        );
        wire.chunk(b"hello ").expect("sent");
        self.wait_until("one request is in flight", || {
            self.admin("/readyz").json()["in_flight"] == 1
        });
        wire
    }

    #[track_caller]
    fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let until = Instant::now() + SOON;
        while !condition() {
            assert!(Instant::now() < until, "not within {SOON:?}: {what}");
            std::thread::yield_now();
        }
    }

    /// The exit status, once it has ended.
    #[track_caller]
    fn wait(&mut self) -> Option<i32> {
        wait(&mut self.child)
    }
}

/// The exit status, once it has ended.
#[track_caller]
fn wait(child: &mut Child) -> Option<i32> {
    let until = Instant::now() + SOON;
    loop {
        if let Some(status) = child.try_wait().expect("our child") {
            return status.code();
        }
        if Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            panic!("it did not end within {SOON:?}");
        }
        std::thread::yield_now();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_printed_line_works_as_printed_the_second_time_as_well() {
    let data = tempfile::tempdir().expect("a directory");
    let mut keys = Vec::new();
    for _ in 0..2 {
        let mut process = Process::start(data.path());
        let output = Command::new("sh")
            .arg("-ec")
            .arg(&process.curl)
            .output()
            .expect("a shell");
        assert!(output.status.success(), "{}\n{output:?}", process.curl);
        assert_eq!(output.stdout, b"hello hello hello");
        keys.push(process.key.clone());
        process.signal(Signal::TERM);
        assert_eq!(process.wait(), Some(0));
    }
    assert_eq!(keys[0], keys[1]);
    assert_eq!(
        std::fs::read_to_string(data.path().join("demo.key"))
            .expect("kept")
            .trim(),
        keys[0]
    );
}

#[test]
fn a_gateway_whose_lines_and_log_nobody_reads_serves_all_the_same() {
    let data = tempfile::tempdir().expect("a directory");
    let socket = data.path().join("faam.sock");
    // Both ends of a pipe whose reader has gone, as after `faam serve 2>&1 | head -1`.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut child = faam(&data.path().join("data"))
        .arg("--unix-listen")
        .arg(&socket)
        .env("FAAM_LOG", "debug")
        .stdout(writer.try_clone().expect("a descriptor"))
        .stderr(writer)
        .spawn()
        .expect("starts");
    let answer = || {
        let mut stream = UnixStream::connect(&socket).ok()?;
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: faam.test\r\nConnection: close\r\n\r\n")
            .ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    };
    let until = Instant::now() + SOON;
    // Twice, for the first answer could come before the lines are written.
    for _ in 0..2 {
        let text = loop {
            let status = child.try_wait().expect("our child");
            assert!(status.is_none(), "it ended: {status:?}");
            if let Some(text) = answer() {
                break text;
            }
            assert!(Instant::now() < until, "not within {SOON:?}");
            std::thread::yield_now();
        };
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    }
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::TERM).expect("it runs");
    assert_eq!(wait(&mut child), Some(0), "it drains, as always");
}

#[test]
fn a_drain_finishes_what_is_in_flight() {
    let data = tempfile::tempdir().expect("a directory");
    let mut process = Process::start(data.path());
    let mut wire = process.begin();
    let mut idle = Wire::connect(process.public);
    process.signal(Signal::TERM);
    process.wait_until("it is not ready", || process.admin("/readyz").status == 503);
    assert_eq!(process.admin("/healthz").status, 200);
    // No new callers; what is in flight goes on.
    process.wait_until("the port is closed", || {
        std::net::TcpStream::connect(process.public).is_err()
    });
    assert!(idle.is_closed(), "an idle connection ends");
    wire.chunk(b"again").expect("still taken");
    wire.chunk(b"").expect("still taken");
    let answer = wire.answer();
    assert_eq!(answer.status, 200);
    let mut text = String::new();
    flate2::read::GzDecoder::new(&answer.body[..])
        .read_to_string(&mut text)
        .expect("gzip");
    assert_eq!(text, "hello again");
    assert_eq!(process.wait(), Some(0));
}

#[test]
fn within_the_drain_delay_callers_are_served_and_a_second_signal_ends_it() {
    let data = tempfile::tempdir().expect("a directory");
    let mut process = Process::start_with(
        data.path(),
        &["--drain-delay-ms".as_ref(), "600000".as_ref()],
    );
    process.signal(Signal::TERM);
    process.wait_until("it is not ready", || process.admin("/readyz").status == 503);
    let mut curl = Command::new("sh");
    let output = curl
        .arg("-ec")
        .arg(&process.curl)
        .output()
        .expect("a shell");
    assert_eq!(output.stdout, b"hello hello hello", "{output:?}");
    process.signal(Signal::TERM);
    assert_eq!(process.wait(), Some(130));
}

#[test]
fn a_second_signal_ends_at_once() {
    let data = tempfile::tempdir().expect("a directory");
    let mut process = Process::start(data.path());
    let _wire = process.begin();
    process.signal(Signal::TERM);
    process.wait_until("it drains", || process.admin("/readyz").status == 503);
    process.signal(Signal::INT);
    assert_eq!(process.wait(), Some(130));
}

#[test]
fn a_hangup_has_the_certificate_read_again() {
    let data = tempfile::tempdir().expect("a directory");
    let one = Authority::new(data.path(), "one");
    let two = Authority::new(data.path(), "two");
    let files = tls::files(data.path());
    tls::write_pair(&files, &one.sign());
    let flags = [
        "--tls-cert".as_ref(),
        files.certificate.as_os_str(),
        "--tls-key".as_ref(),
        files.key.as_os_str(),
    ];
    let process = Process::start_with(data.path(), &flags);
    assert!(tls::curl(process.public, &one, &[]).status.success());
    tls::write_pair(&files, &two.sign());
    // Twice: the poll, which may come first, takes one change once.
    for count in 1..=2 {
        process.signal(Signal::HUP);
        process.wait_until("the files were read", || {
            let text = process.admin("/metrics").text();
            let series = r#"faam_tls_reloads_total{outcome="ok"} "#;
            text.lines().any(|line| {
                line.strip_prefix(series)
                    .is_some_and(|value| value >= &*count.to_string())
            })
        });
    }
    assert!(tls::curl(process.public, &two, &[]).status.success());
}

#[test]
fn a_start_that_fails_says_what_to_do() {
    let data = tempfile::tempdir().expect("a directory");
    let process = Process::start(data.path());
    let other = tempfile::tempdir().expect("a directory");
    let taken = process.public.to_string();
    let cases: [(&[&str], &Path, &[&str]); 4] = [
        (&["--listen", &taken], other.path(), &["taken", "--listen"]),
        (
            &[],
            data.path(),
            &["in use by another gateway", "--data-dir"],
        ),
        (
            &["--listen", "0.0.0.0:0"],
            other.path(),
            &["FAAM_BOOTSTRAP_KEY", "127.0.0.1"],
        ),
        (&[], Path::new("/proc/nowhere"), &["--data-dir"]),
    ];
    for (flags, data, words) in cases {
        let mut command = Command::new(env!("CARGO_BIN_EXE_faam"));
        command
            .args([
                "serve",
                "--devices",
                "none",
                "--admin-listen",
                "127.0.0.1:0",
            ])
            .env_remove("FAAM_BOOTSTRAP_KEY");
        if !flags.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let output = command
            .args(flags)
            .arg("--data-dir")
            .arg(data)
            .output()
            .expect("ends");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{flags:?}: {text}");
        for word in words {
            assert!(text.contains(word), "{word:?} is not in {text:?}");
        }
        assert!(output.stdout.is_empty(), "nothing was served");
    }
}

#[test]
fn help_and_version_are_there() {
    let run = |flags: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_faam"))
            .args(flags)
            .output()
            .expect("ends");
        assert!(output.status.success(), "{flags:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    assert!(run(&["--version"]).starts_with(concat!("faam ", env!("CARGO_PKG_VERSION"))));
    for (command, example) in [
        ("serve", "faam serve --devices sim:2"),
        ("sim", "faam sim --dir"),
    ] {
        let help = run(&[command, "--help"]);
        assert!(
            help.contains("Examples:") && help.contains(example),
            "{help}"
        );
    }
}
