//! A storm of HTTP/2 resets (rapid reset, CVE-2023-44487): a hundred thousand streams that are opened and reset, in the
//! three ways in which that can cost something, while another tenant's callers go on.
//!
//! Frames are written by hand, so that each stream's reset is on the wire whatever a client library would spare its peer,
//! and what is sent costs next to nothing. Invariants: every batch is known to have been processed before the next one
//! (the PING behind it was answered), so that no reset is counted that a dead connection swallowed; the load is bounded in
//! streams and in time. It knows the gateway by its interface alone.

#![expect(
    clippy::panic,
    reason = "what these tests share fails by panicking, as they do"
)]

mod process_log;
mod served;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use served::Served;

/// Resets in all.
const RESETS: u64 = 100_000;
/// Connections of the storm, each with a thread of its own.
const CONNECTIONS: u64 = 8;
/// Streams of a batch that are reset before anybody can have accepted them: below what ends a connection.
const RAPID_BATCH: u64 = 16;
/// Streams of a batch that are let in first: nearly as many as a connection may have.
const ADMITTED_BATCH: u64 = 48;
/// Bytes of a body.
const BODY_BYTES: usize = 1024;
/// Callers of the other tenant, each with a connection of its own, and their body.
const CALLERS: usize = 2;
const CALLER_BODY_BYTES: usize = 4096;
/// How long they are measured alone.
const ALONE: Duration = Duration::from_secs(3);
/// How long the storm may take: a failure, not a measure.
const STORM_LIMIT: Duration = Duration::from_secs(50);
/// How long one read or write may take.
const WIRE_LIMIT: Duration = Duration::from_secs(20);
/// How long what the storm held may take to come back.
const RETURN_LIMIT: Duration = Duration::from_secs(20);
/// How long after the log's last line a condition is looked at again.
const TICK: Duration = Duration::from_millis(20);

/// What the gateway's memory may grow by. Ten times what was measured at most.
const GROWTH_KIB_MAX: u64 = 64 << 10;
/// Within which the other tenant's slowest hundredth has to be answered: more than ten times what it is in a storm.
const P99_MAX: Duration = Duration::from_secs(2);

/// How a stream is reset.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Right behind its head.
    Rapid,
    /// Once it was let in, in the middle of its body.
    Admitted,
    /// Behind the end of its body: the work is wanted, and then not.
    Complete,
}

/// What the storm has come to.
#[derive(Default)]
struct Storm {
    resets: AtomicU64,
    /// Connections that the gateway ended.
    ended: AtomicU64,
}

/// One connection of HTTP/2 (RFC 9113), by hand.
struct Wire {
    stream: TcpStream,
    received: Vec<u8>,
    next_stream: u32,
    pings: u64,
}

/// The gateway has ended the connection.
struct Ended;

impl Wire {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the gateway listens");
        stream.set_nodelay(true).expect("set");
        stream.set_read_timeout(Some(WIRE_LIMIT)).expect("set");
        stream.set_write_timeout(Some(WIRE_LIMIT)).expect("set");
        let mut wire = Self {
            stream,
            received: Vec::new(),
            next_stream: 1,
            pings: 0,
        };
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // SETTINGS without any, and the answer to the gateway's own.
        frame(&mut hello, 4, 0, 0, b"");
        frame(&mut hello, 4, 1, 0, b"");
        assert!(wire.send(&hello).is_ok(), "a new connection takes bytes");
        wire
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        self.stream.write_all(bytes).map_err(|error| {
            assert!(
                error.kind() != ErrorKind::WouldBlock,
                "the gateway reads nothing"
            );
            Ended
        })
    }

    /// Waits until all that was sent has been processed.
    fn processed(&mut self) -> Result<(), Ended> {
        self.pings += 1;
        let token = self.pings.to_be_bytes();
        let mut ping = Vec::new();
        frame(&mut ping, 6, 0, 0, &token);
        self.send(&ping)?;
        loop {
            let (kind, flags, payload) = self.frame()?;
            match kind {
                6 if flags & 1 != 0 && payload == token => return Ok(()),
                7 => return Err(Ended),
                _ => {}
            }
        }
    }

    fn frame(&mut self) -> Result<(u8, u8, Vec<u8>), Ended> {
        let mut head = [0; 9];
        self.fill(&mut head)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        self.fill(&mut payload)?;
        Ok((head[3], head[4], payload))
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<(), Ended> {
        while self.received.len() < out.len() {
            let mut piece = [0; 64 << 10];
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(Ended),
                Ok(length) => self.received.extend_from_slice(&piece[..length]),
                Err(error) => {
                    assert!(
                        error.kind() != ErrorKind::WouldBlock,
                        "the gateway answers nothing"
                    );
                    return Err(Ended);
                }
            }
        }
        out.copy_from_slice(&self.received[..out.len()]);
        self.received.drain(..out.len());
        Ok(())
    }

    /// Opens `count` streams in one way and resets them.
    fn batch(&mut self, way: Way, count: u64, head: &[u8]) -> Result<(), Ended> {
        let streams: Vec<u32> = (0..count)
            .map(|_| {
                let stream = self.next_stream;
                self.next_stream += 2;
                stream
            })
            .collect();
        let body = [7; BODY_BYTES];
        let mut out = Vec::new();
        for stream in &streams {
            frame(&mut out, 1, 4, *stream, head);
            match way {
                Way::Rapid => reset(&mut out, *stream),
                Way::Admitted => frame(&mut out, 0, 0, *stream, &body),
                Way::Complete => {
                    frame(&mut out, 0, 1, *stream, &body);
                    reset(&mut out, *stream);
                }
            }
        }
        self.send(&out)?;
        if way == Way::Admitted {
            self.processed()?;
            out.clear();
            streams.iter().for_each(|stream| reset(&mut out, *stream));
            self.send(&out)?;
        }
        self.processed()
    }
}

/// A frame (RFC 9113, 4.1).
fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// RST_STREAM with CANCEL.
fn reset(out: &mut Vec<u8>, stream: u32) {
    frame(out, 3, 0, stream, &8u32.to_be_bytes());
}

/// A request's head, each field literal and not to be kept (RFC 7541, 6.2.2).
fn head(key: &str, length: Option<usize>) -> Vec<u8> {
    let mut out = Vec::new();
    let authorization = format!("Bearer {key}");
    let length = length.map(|length| length.to_string());
    let mut fields = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/v1/compress"),
        (":authority", "faam.test"),
        ("authorization", authorization.as_str()),
    ];
    fields.extend(length.as_deref().map(|length| ("content-length", length)));
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            out.push(u8::try_from(text.len()).expect("short"));
            assert!(text.len() < 127, "one byte says its length");
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

impl Storm {
    /// One thread's part of the resets.
    fn rage(&self, address: SocketAddr, key: &str, worker: u64) {
        let until = Instant::now() + STORM_LIMIT;
        let unknown = head(key, None);
        let announced = head(key, Some(1 << 20));
        let whole = head(key, Some(BODY_BYTES));
        let share = RESETS / CONNECTIONS;
        let mut wire = Wire::connect(address);
        let (mut done, mut turn) = (0, worker);
        while done < share {
            assert!(
                Instant::now() < until,
                "{done} of {share} resets in {STORM_LIMIT:?}"
            );
            let (way, count, head) = match turn % 4 {
                0 => (Way::Admitted, ADMITTED_BATCH, &announced),
                1 => (Way::Complete, RAPID_BATCH, &whole),
                2 => (Way::Rapid, RAPID_BATCH, &announced),
                _ => (Way::Rapid, RAPID_BATCH, &unknown),
            };
            turn += 1;
            if wire.batch(way, count, head).is_ok() {
                done += count;
                self.resets.fetch_add(count, Ordering::Relaxed);
            } else {
                self.ended.fetch_add(1, Ordering::Relaxed);
                wire = Wire::connect(address);
            }
        }
    }
}

/// Calls one after another until told to stop: how long each took.
fn call(address: SocketAddr, key: &str, stop: &AtomicBool) -> Vec<Duration> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(WIRE_LIMIT))
        .proxy(None);
    let agent = config.build().new_agent();
    let body = [b'x'; CALLER_BODY_BYTES];
    let mut took = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let request = agent
            .post(format!("http://{address}/v1/compress"))
            .header("Authorization", format!("Bearer {key}"));
        let mut answer = request.send(&body[..]).expect("the other tenant is served");
        let member = answer.body_mut().read_to_vec().expect("whole");
        assert!(member.starts_with(&[0x1f, 0x8b]), "gzip");
        took.push(began.elapsed());
    }
    took
}

/// All calls of the other tenant's while `meanwhile` lasts, sorted.
fn measured(address: SocketAddr, key: &str, meanwhile: impl FnOnce()) -> Vec<Duration> {
    let stop = AtomicBool::new(false);
    let mut took = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| scope.spawn(|| call(address, key, &stop)))
            .collect();
        // Also where it fails: a caller would never end.
        let meanwhile = std::panic::catch_unwind(std::panic::AssertUnwindSafe(meanwhile));
        stop.store(true, Ordering::Relaxed);
        let took: Vec<_> = callers
            .into_iter()
            .flat_map(|caller| caller.join().expect("a caller"))
            .collect();
        meanwhile.expect("the storm");
        took
    });
    took.sort_unstable();
    took
}

fn part(sorted: &[Duration], thousandths: usize) -> Duration {
    let index = (sorted.len() * thousandths / 1000).min(sorted.len() - 1);
    sorted[index]
}

/// Sum of all series of the metric whose names begin so.
fn metric(gateway: &Served, series: &str) -> f64 {
    let url = format!("http://{}/metrics", gateway.admin);
    let mut answer = ureq::get(url).call().expect("probes are never starved");
    let text = answer.body_mut().read_to_string().expect("text");
    let values = text.lines().filter(|line| line.starts_with(series));
    values
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// Most memory that the gateway has held, in KiB.
fn memory_kib_max(gateway: &Served) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.child.id()));
    let status = status.expect("the gateway runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
    kib.expect("the kernel tells it")
}

/// The key of a new tenant, made as an operator makes it.
fn tenant(gateway: &Served, name: &str) -> String {
    let faam = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_faam"))
            .args(arguments)
            .arg("--data-dir")
            .arg(gateway.data.path())
            .arg("--json")
            .output()
            .expect("faam starts");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {text}");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("JSON")
    };
    faam(&["tenant", "add", name]);
    let made = faam(&["key", "add", "--tenant", name, "--kind", "api"]);
    made["key"].as_str().expect("a key").to_owned()
}

#[test]
fn a_storm_of_resets_buys_nothing() {
    let gateway = Served::start(&["--devices", "none"], &[("FAAM_LOG", "warn")]);
    let (storming, other) = (tenant(&gateway, "storm"), gateway.key.clone());
    let address = gateway.public;
    let alone = measured(address, &other, || std::thread::park_timeout(ALONE));
    let before_kib = memory_kib_max(&gateway);

    let storm = Storm::default();
    let began = Instant::now();
    let beside = measured(address, &other, || {
        std::thread::scope(|scope| {
            for worker in 0..CONNECTIONS {
                let (storm, storming) = (&storm, &storming);
                scope.spawn(move || storm.rage(address, storming, worker));
            }
        });
    });
    let took = began.elapsed();
    let resets = storm.resets.load(Ordering::Relaxed);
    let growth_kib = memory_kib_max(&gateway).saturating_sub(before_kib);
    println!(
        "{resets} streams reset in {took:.1?} over {CONNECTIONS} connections, of which {} were ended; memory {before_kib} \
         KiB before, {growth_kib} KiB more at most since",
        storm.ended.load(Ordering::Relaxed)
    );
    for (what, sorted) in [("alone", &alone), ("in the storm", &beside)] {
        println!(
            "another tenant's 4 KiB {what}: {} calls, p50 {:.1?}, p99 {:.1?}, slowest {:.1?}",
            sorted.len(),
            part(sorted, 500),
            part(sorted, 990),
            part(sorted, 1000)
        );
    }
    assert!(resets >= RESETS, "{resets}");
    assert!(growth_kib <= GROWTH_KIB_MAX, "{growth_kib} KiB");
    assert!(part(&beside, 990) <= P99_MAX, "{:?}", part(&beside, 990));

    // Whatever was let in is charged to its tenant and given back.
    let until = Instant::now() + RETURN_LIMIT;
    for gauge in [
        "faam_inflight",
        "faam_body_memory_bytes",
        "faam_queue_depth",
    ] {
        while metric(&gateway, gauge) != 0.0 {
            assert!(Instant::now() < until, "{gauge} is not back at 0");
            gateway.log.changed(TICK);
        }
    }
    let storms = |more: &str| metric(&gateway, &format!("{more}{{tenant=\"storm\""));
    let (requests, charged_s) = (
        storms("faam_requests_total"),
        storms("faam_usage_seconds_total"),
    );
    println!(
        "the storm was counted as {requests} requests, and charged {charged_s:.3} s of engines and queues"
    );
    assert!(requests > 0.0, "what is reset is counted");
    assert!(charged_s > 0.0, "what ran is charged, whoever hung up");
    assert!(
        !gateway.log.text().contains("panicked"),
        "a thread panicked"
    );
}
