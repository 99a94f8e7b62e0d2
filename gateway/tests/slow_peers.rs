//! Peers that are slow on purpose: slowhttptest's three modes, with thousands of connections each, while probes and
//! honest callers go on and all of them are answered.
//!
//! Invariant: every load is bounded in connections and in time, and goes to a gateway of the test's own on this
//! machine. It knows the gateway by its interface alone.

#![expect(
    clippy::panic,
    reason = "what these tests share fails by panicking, as they do"
)]

mod process_log;
mod served;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use rustix::process::{Resource, getrlimit};
use served::Served;
use ureq::Agent;

/// Connections of a slow load.
const CONNECTIONS: u64 = 5000;
/// How long a slow load lasts.
const LOAD_S: u64 = 10;
/// How long slowhttptest may take in all: it closes its connections one by one.
const LOAD_LIMIT: Duration = Duration::from_secs(60);
/// How long a probe may take.
const PROBE_LIMIT: Duration = Duration::from_secs(3);
/// How long an honest caller may take.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// Honest callers at once.
const CALLERS: usize = 2;
/// Body of an honest caller.
const BODY_BYTES: usize = 64 << 10;

/// One load at a time: two would measure each other.
static TURN: Mutex<()> = Mutex::new(());

/// One value of the metrics.
fn metric(gateway: &Served, series: &str) -> f64 {
    let url = format!("http://{}/metrics", gateway.admin);
    let text = get(&agent(PROBE_LIMIT), &url).unwrap_or_else(|error| panic!("{url}: {error}"));
    let value = text.lines().find_map(|line| line.strip_prefix(series));
    value.map_or(0.0, |value| value.trim().parse().expect("a number"))
}

/// With the CPU engines alone, and without a log line for every refusal of the load.
fn start(settings: &[(&str, &str)]) -> Served {
    let quiet = [&[("FAAM_LOG", "warn")], settings].concat();
    Served::start(&["--devices", "none"], &quiet)
}

/// One connection a call, so that each call has to find a place of its own.
fn agent(limit: Duration) -> Agent {
    let config = Agent::config_builder()
        .timeout_global(Some(limit))
        .max_idle_connections(0)
        .proxy(None);
    config.build().new_agent()
}

fn get(agent: &Agent, url: &str) -> Result<String, ureq::Error> {
    agent.get(url).call()?.body_mut().read_to_string()
}

/// What was seen during a load.
#[derive(Default)]
struct Seen {
    done: AtomicBool,
    probes: AtomicU64,
    calls: AtomicU64,
    slowest_probe_us: AtomicU64,
    slowest_public_us: AtomicU64,
    slowest_call_us: AtomicU64,
    connections_max: AtomicU64,
    connected_max: AtomicU64,
}

impl Seen {
    fn probe(&self, gateway: &Served) {
        let agent = agent(PROBE_LIMIT);
        let (admin, public) = (gateway.admin, gateway.public);
        let urls = [
            format!("http://{admin}/healthz"),
            format!("http://{admin}/readyz"),
            format!("http://{admin}/metrics"),
            format!("http://{public}/healthz"),
        ];
        while !self.done.load(Ordering::Relaxed) {
            for url in &urls {
                let began = Instant::now();
                let text = get(&agent, url).unwrap_or_else(|error| {
                    panic!("{url} after {:?}: {error}", began.elapsed());
                });
                self.probes.fetch_add(1, Ordering::Relaxed);
                let slowest = if url.contains(&admin.to_string()) {
                    &self.slowest_probe_us
                } else {
                    &self.slowest_public_us
                };
                fetch_max(slowest, began.elapsed());
                let open = text
                    .lines()
                    .find_map(|line| line.strip_prefix(r#"faam_connections{listener="public"} "#));
                if let Some(open) = open.and_then(|open| open.parse().ok()) {
                    self.connections_max.fetch_max(open, Ordering::Relaxed);
                }
            }
        }
    }

    fn call(&self, gateway: &Served) {
        let agent = agent(CALL_LIMIT);
        let body: Vec<u8> = (0..251u8)
            .flat_map(|byte| [byte; 7])
            .cycle()
            .take(BODY_BYTES)
            .collect();
        let url = format!("http://{}/v1/compress", gateway.public);
        while !self.done.load(Ordering::Relaxed) {
            let began = Instant::now();
            let answer = agent
                .post(&url)
                .header("Authorization", format!("Bearer {}", gateway.key))
                .send(&body[..])
                .and_then(|mut answer| answer.body_mut().read_to_vec());
            let answer = answer.unwrap_or_else(|error| {
                panic!("an honest caller after {:?}: {error}", began.elapsed());
            });
            self.calls.fetch_add(1, Ordering::Relaxed);
            fetch_max(&self.slowest_call_us, began.elapsed());
            let mut decoded = Vec::new();
            let read = GzDecoder::new(&answer[..]).read_to_end(&mut decoded);
            assert!(read.is_ok() && decoded == body, "a wrong answer");
        }
    }
}

fn fetch_max(slowest_us: &AtomicU64, time: Duration) {
    let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    slowest_us.fetch_max(us, Ordering::Relaxed);
}

/// Runs slowhttptest with `mode` beside probes and honest callers, every one of which has to be answered.
fn endure(gateway: &Served, name: &str, mode: &[&str], connections: u64) -> Seen {
    let directory = tempfile::tempdir().expect("a directory");
    let report = directory.path().join("report");
    let mut load = Command::new("slowhttptest")
        .args(mode)
        .args(["-c", &connections.to_string()])
        .args(["-l", &LOAD_S.to_string(), "-p", "3", "-v", "0", "-g", "-o"])
        .arg(&report)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("slowhttptest starts");
    let seen = Seen::default();
    std::thread::scope(|scope| {
        let prober = scope.spawn(|| seen.probe(gateway));
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| scope.spawn(|| seen.call(gateway)))
            .collect();
        let until = Instant::now() + LOAD_LIMIT;
        let ended = loop {
            if let Some(status) = load.try_wait().expect("our child") {
                break Some(status);
            }
            if Instant::now() > until
                || prober.is_finished()
                || callers.iter().any(ScopedJoinHandle::is_finished)
            {
                let _ = load.kill();
                let _ = load.wait();
                break None;
            }
            gateway.log.changed(Duration::from_millis(20));
        };
        seen.done.store(true, Ordering::Relaxed);
        // Whoever was not answered panicked, and says so here.
        for thread in callers.into_iter().chain([prober]) {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        assert!(
            ended.is_some(),
            "slowhttptest did not end within {LOAD_LIMIT:?}"
        );
    });
    let connected = connected_max(&report.with_extension("csv"));
    seen.connected_max.store(connected, Ordering::Relaxed);
    let ms = |us: &AtomicU64| us.load(Ordering::Relaxed) / 1000;
    println!(
        "{name}: slowhttptest had up to {connected} connections, the gateway up to {}; {} probes, the slowest {} ms \
         (on the public listener {} ms); \
         {} calls, the slowest {} ms",
        seen.connections_max.load(Ordering::Relaxed),
        seen.probes.load(Ordering::Relaxed),
        ms(&seen.slowest_probe_us),
        ms(&seen.slowest_public_us),
        seen.calls.load(Ordering::Relaxed),
        ms(&seen.slowest_call_us),
    );
    assert!(seen.probes.load(Ordering::Relaxed) > 40 && seen.calls.load(Ordering::Relaxed) > 20);
    seen
}

/// The most connections that slowhttptest held at once, of its report: seconds, closed, pending, connected, available.
fn connected_max(report: &Path) -> u64 {
    let text = std::fs::read_to_string(report).expect("slowhttptest's report");
    let rows = text.lines().skip(1);
    let connected = rows.filter_map(|row| row.split(',').nth(3)?.trim().parse().ok());
    connected.max().unwrap_or(0)
}

/// Whether slowhttptest is here; where it may be missing, the test is skipped and says so.
fn is_installed() -> bool {
    let found = Command::new("slowhttptest").arg("-h").output().is_ok();
    if !found {
        assert!(
            std::env::var("FAAM_ALLOW_MISSING_TOOLS").as_deref() == Ok("1"),
            "slowhttptest is not installed; `make test` installs it, FAAM_ALLOW_MISSING_TOOLS=1 does without"
        );
        println!("skipped: slowhttptest is not installed");
    }
    found
}

/// As many connections as this machine lets both sides have.
fn connections() -> u64 {
    let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let connections = CONNECTIONS.min(hard.saturating_sub(1200).max(100));
    if connections < CONNECTIONS {
        println!("{connections} connections: the hard limit on open files is {hard}");
    }
    connections
}

/// The modes of slowhttptest: how, and with how many new connections a second. A slow reader asks twice for 95 KB, more
/// than the kernel takes unsent, so that the gateway is who waits; faster than this it would be a flood instead.
const MODES: [(&str, &[&str]); 3] = [
    ("slow headers", &["-H", "-i", "3", "-x", "24", "-r", "5000"]),
    (
        "slow body",
        &["-B", "-i", "3", "-s", "65536", "-x", "24", "-r", "5000"],
    ),
    (
        "slow read",
        &[
            "-X", "-k", "2", "-n", "3", "-w", "1", "-y", "64", "-z", "8", "-r", "1000",
        ],
    ),
];

#[test]
fn thousands_of_slow_peers_starve_nobody() {
    if !is_installed() {
        return;
    }
    let connections = connections();
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut gateway = start(&[]);
    let front = format!("http://{}/v1/compress", gateway.public);
    // Long enough that the gateway waits for the reader.
    let page = format!("http://{}/openapi.json", gateway.public);
    for (name, mode) in MODES {
        let url = if name == "slow read" { &page } else { &front };
        let seen = endure(&gateway, name, &[mode, &["-u", url]].concat(), connections);
        if name == "slow headers" {
            // They were really held, not refused.
            let held = seen.connections_max.load(Ordering::Relaxed);
            let connected = seen.connected_max.load(Ordering::Relaxed);
            assert!(
                connected >= connections / 2,
                "slowhttptest made {connected} connections"
            );
            assert!(held >= connected * 9 / 10, "{held} connections were held");
        }
    }
    assert!(
        gateway.child.try_wait().expect("our child").is_none(),
        "the gateway ended"
    );
}

#[test]
fn slow_peers_end_for_honest_ones_where_all_places_are_taken() {
    if !is_installed() {
        return;
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let gateway = start(&[("FAAM_HTTP_CONNECTIONS_MAX", "100")]);
    let url = format!("http://{}/", gateway.public);
    let mode = ["-H", "-i", "1", "-x", "24", "-r", "1500", "-u", &url];
    endure(&gateway, "slow headers, 100 places", &mode, 400);
    let evicted = metric(
        &gateway,
        r#"faam_connections_ended_total{reason="evicted"} "#,
    );
    assert!(evicted >= 300.0, "{evicted} ended for others");
}

/// Descriptors of a gateway that has few: half of them are for connections (`descriptors::connections_max`).
const FEW_DESCRIPTORS: usize = 400;

#[test]
fn where_descriptors_are_few_the_admin_listener_still_has_its_own() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new("prlimit");
    command
        .arg(format!("--nofile={FEW_DESCRIPTORS}"))
        .arg(env!("CARGO_BIN_EXE_faam"));
    command.arg("serve");
    let gateway = Served::start_as(command, &["--devices", "none"], &[("FAAM_LOG", "warn")]);
    // More callers than there are places, each in the middle of its body: none may be ended for another.
    let head = format!(
        "POST /v1/compress HTTP/1.1\r\nHost: faam.test\r\nAuthorization: Bearer {}\r\nContent-Length: 10\r\n\r\nhello",
        gateway.key
    );
    let callers: Vec<_> = (0..FEW_DESCRIPTORS)
        .map(|_| {
            let mut caller = TcpStream::connect(gateway.public).expect("the backlog takes it");
            caller.write_all(head.as_bytes()).expect("sent");
            caller
        })
        .collect();
    let open = || metric(&gateway, r#"faam_connections{listener="public"} "#);
    let until = Instant::now() + LOAD_LIMIT;
    let places = f64::from(u32::try_from(FEW_DESCRIPTORS / 2).expect("small"));
    while open() < places {
        assert!(Instant::now() < until, "{} connections", open());
        gateway.log.changed(Duration::from_millis(20));
    }
    // Several at once, each on a connection of its own.
    std::thread::scope(|scope| {
        for path in ["healthz", "readyz", "metrics"].repeat(10) {
            let url = format!("http://{}/{path}", gateway.admin);
            scope.spawn(move || get(&agent(PROBE_LIMIT), &url).expect("answered"));
        }
    });
    assert_eq!(open(), places);
    drop(callers);
    let log = gateway.log.text();
    assert!(
        !log.contains("could not accept") && log.contains("open files"),
        "{log}"
    );
}
