//! Peers that are slow on purpose: slowhttptest's three modes, with five thousand connections held at once in each,
//! while probes and honest callers go on and all of them are answered.
//!
//! slowhttptest watches its sockets one by one, so that it makes some hundreds of connections a second and fewer the more
//! it has: a load lasts until all are held, and then [`HELD`] longer. Invariant: every load is bounded in connections and
//! in time, and goes to a gateway of the test's own on this machine. It knows the gateway by its interface alone.

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
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process};
use served::Served;
use ureq::Agent;

/// Connections of a slow load, all open at once.
const CONNECTIONS: u64 = 5000;
/// How long a load goes on once it has come to what was asked for: several rows of slowhttptest's report.
const HELD: Duration = Duration::from_secs(3);
/// How long slowhttptest may take to come to it: some six times what it takes on two cores.
const LOAD_LIMIT: Duration = Duration::from_secs(90);
/// The same in seconds, as a limit of slowhttptest's own.
const LOAD_LIMIT_S: &str = "95";
/// How long slowhttptest may take to end when it is told to.
const END_LIMIT: Duration = Duration::from_secs(10);
/// How long what slow peers held may take to come back.
const RETURN_LIMIT: Duration = Duration::from_secs(20);
/// How long after the log's last line a condition is looked at again.
const TICK: Duration = Duration::from_millis(20);
/// How long a probe may take.
const PROBE_LIMIT: Duration = Duration::from_secs(3);
/// How long an honest caller may take.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// Honest callers at once.
const CALLERS: usize = 2;
/// Slow connections beyond those that are asked for: the gateway counts honest callers and the probe of the public listener
/// as well, and what it counts says when all slow ones are there.
const SPARE: u64 = 2 * (CALLERS as u64 + 1);
/// Body of an honest caller.
const BODY_BYTES: usize = 64 << 10;

/// Series of the metrics.
const OPEN: &str = r#"faam_connections{listener="public"} "#;
const IN_FLIGHT: &str = "faam_inflight ";
const MEMORY: &str = "faam_body_memory_bytes ";
const EVICTED: &str = r#"faam_connections_ended_total{reason="evicted"} "#;

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
    in_flight_max: AtomicU64,
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
                for (series, most) in [
                    (OPEN, &self.connections_max),
                    (IN_FLIGHT, &self.in_flight_max),
                ] {
                    let value = text.lines().find_map(|line| line.strip_prefix(series));
                    if let Some(value) = value.and_then(|value| value.parse().ok()) {
                        most.fetch_max(value, Ordering::Relaxed);
                    }
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

/// Runs slowhttptest with `mode` until `is_reached`, and [`HELD`] longer, beside probes and honest callers, every one of
/// which has to be answered.
fn endure(
    gateway: &Served,
    name: &str,
    mode: &[&str],
    connections: u64,
    is_reached: impl Fn(&Seen) -> bool,
) -> Seen {
    let directory = tempfile::tempdir().expect("a directory");
    let report = directory.path().join("report");
    let mut load = Command::new("slowhttptest")
        .args(mode)
        .args(["-c", &connections.to_string()])
        .args(["-l", LOAD_LIMIT_S, "-p", "3", "-v", "0", "-g", "-o"])
        .arg(&report)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("slowhttptest starts");
    let began = Instant::now();
    let seen = Seen::default();
    let reached = std::thread::scope(|scope| {
        let prober = scope.spawn(|| seen.probe(gateway));
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| scope.spawn(|| seen.call(gateway)))
            .collect();
        let mut reached = None;
        while reached.is_none_or(|at: Instant| at.elapsed() < HELD) {
            if reached.is_none() && is_reached(&seen) {
                reached = Some(Instant::now());
            }
            let ended = load.try_wait().expect("our child").is_some();
            let failed = prober.is_finished() || callers.iter().any(ScopedJoinHandle::is_finished);
            if ended || failed || reached.is_none() && began.elapsed() > LOAD_LIMIT {
                break;
            }
            gateway.log.changed(TICK);
        }
        // As from a terminal: it writes its report, and closes what it holds.
        let _ = kill_process(Pid::from_child(&load), Signal::INT);
        let until = Instant::now() + END_LIMIT;
        while load.try_wait().expect("our child").is_none() {
            if Instant::now() > until {
                let _ = load.kill();
                let _ = load.wait();
                break;
            }
            gateway.log.changed(TICK);
        }
        seen.done.store(true, Ordering::Relaxed);
        // Whoever was not answered panicked, and says so here.
        for thread in callers.into_iter().chain([prober]) {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        reached
    });
    let connected = connected_max(&report.with_extension("csv"));
    seen.connected_max.store(connected, Ordering::Relaxed);
    let ms = |us: &AtomicU64| us.load(Ordering::Relaxed) / 1000;
    println!(
        "{name}: slowhttptest had up to {connected} connections, the gateway up to {} and {} requests in flight, after {} ms; \
         {} probes, the slowest {} ms (on the public listener {} ms); {} calls, the slowest {} ms",
        seen.connections_max.load(Ordering::Relaxed),
        seen.in_flight_max.load(Ordering::Relaxed),
        reached.map_or(began.elapsed(), |at| at - began).as_millis(),
        seen.probes.load(Ordering::Relaxed),
        ms(&seen.slowest_probe_us),
        ms(&seen.slowest_public_us),
        seen.calls.load(Ordering::Relaxed),
        ms(&seen.slowest_call_us),
    );
    assert!(
        reached.is_some(),
        "{name}: it did not come to what was asked for within {LOAD_LIMIT:?}"
    );
    assert!(seen.probes.load(Ordering::Relaxed) > 40 && seen.calls.load(Ordering::Relaxed) > 20);
    seen
}

/// Waits until everything that slow peers held has come back.
#[track_caller]
fn check_at_rest(gateway: &Served) {
    for series in [OPEN, IN_FLIGHT, MEMORY] {
        let until = Instant::now() + RETURN_LIMIT;
        loop {
            let left = metric(gateway, series);
            if left == 0.0 {
                break;
            }
            assert!(Instant::now() < until, "{series}is still {left}");
            gateway.log.changed(TICK);
        }
    }
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

/// The modes of slowhttptest. A slow reader asks twice for 95 KB, more than the kernel takes unsent, so that the gateway
/// is who waits.
const MODES: [(&str, &[&str]); 3] = [
    ("slow headers", &["-H", "-i", "3", "-x", "24"]),
    ("slow body", &["-B", "-i", "3", "-s", "65536", "-x", "24"]),
    (
        "slow read",
        &["-X", "-k", "2", "-n", "3", "-w", "1", "-y", "64", "-z", "8"],
    ),
];

/// Room for all of a load's bodies at once, so that nothing but slowness is in their way; and time enough that the first
/// are still there when the last have come, also where slowhttptest shares its processors with others.
const ROOMY: [(&str, &str); 4] = [
    ("FAAM_TENANT_IN_FLIGHT_MAX", "6000"),
    ("FAAM_BODY_MEMORY_BYTES_MAX", "2GiB"),
    ("FAAM_HTTP_BODY_GRACE_MS", "100s"),
    ("FAAM_HTTP_HEADER_READ_MS_MAX", "100s"),
];

#[test]
fn thousands_of_slow_peers_starve_nobody() {
    if !is_installed() {
        return;
    }
    let connections = connections();
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut gateway = start(&ROOMY);
    let front = format!("http://{}/v1/compress", gateway.public);
    // Long enough that the gateway waits for the reader.
    let page = format!("http://{}/openapi.json", gateway.public);
    // Its key goes along, or a slow body would be refused and not waited for.
    let with_key = format!(
        "application/octet-stream\r\nAuthorization: Bearer {}",
        gateway.key
    );
    for (name, mode) in MODES {
        let url = if name == "slow read" { &page } else { &front };
        let mode = [mode, &["-f", &with_key, "-r", "5000", "-u", url]].concat();
        let seen = endure(&gateway, name, &mode, connections + SPARE, |seen| {
            let is_body = name == "slow body";
            seen.connections_max.load(Ordering::Relaxed) >= connections + SPARE
                && (!is_body || seen.in_flight_max.load(Ordering::Relaxed) >= connections)
        });
        // Both sides say so.
        let connected = seen.connected_max.load(Ordering::Relaxed);
        assert!(
            connected >= connections,
            "{name}: slowhttptest held {connected} connections"
        );
        check_at_rest(&gateway);
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
    endure(&gateway, "slow headers, 100 places", &mode, 400, |_| {
        metric(&gateway, EVICTED) >= 300.0
    });
    check_at_rest(&gateway);
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
    let open = || metric(&gateway, OPEN);
    let until = Instant::now() + LOAD_LIMIT;
    let places = f64::from(u32::try_from(FEW_DESCRIPTORS / 2).expect("small"));
    while open() < places {
        assert!(Instant::now() < until, "{} connections", open());
        gateway.log.changed(TICK);
    }
    // Several at once, each on a connection of its own.
    std::thread::scope(|scope| {
        for path in ["healthz", "readyz", "metrics"].repeat(10) {
            let url = format!("http://{}/{path}", gateway.admin);
            scope.spawn(move || get(&agent(PROBE_LIMIT), &url).expect("answered"));
        }
    });
    // One that had not yet sent its head may still be giving its place to another.
    while open() < places {
        assert!(Instant::now() < until, "{} connections", open());
        gateway.log.changed(TICK);
    }
    assert_eq!(open(), places);
    drop(callers);
    let log = gateway.log.text();
    assert!(
        !log.contains("could not accept") && log.contains("open files"),
        "{log}"
    );
}
