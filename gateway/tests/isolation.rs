//! What one tenant sends, another never sees: not in an answer's body, head or trailers, not in a refusal, not in what is
//! told of invocations and usage, whatever the first one's requests came to and whatever the second one's do.
//!
//! The first tenant sends bodies with a mark that nobody knows, in each format and by each engine, whole, refused, cut off,
//! past their deadline and spilled. Then the second one sends as many of its own, and all that it gets is searched, as it
//! came and decoded. Its compressed answers are, to the byte, those that it got before the first tenant had sent anything.
//!
//! `FAAM_TEST_SEED` gives the mark; it is printed.

#![expect(
    clippy::panic,
    reason = "what these tests share fails by panicking, as they do"
)]

mod process_log;
mod served;

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use faam_codec::{Decompressor, Format, Limits};
use serde_json::Value;
use served::Served;

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(60);
/// How long after the log's last line the card is asked for again.
const TICK: Duration = Duration::from_millis(20);
/// Bytes by which a body is known again.
const TRACE_BYTES: usize = 16;
/// Formats, and their names in a request.
const FORMATS: [(&str, Format); 5] = [
    ("gzip", Format::Gzip),
    ("zlib", Format::Zlib),
    ("deflate", Format::Deflate),
    ("zstd", Format::Zstd),
    ("lz4", Format::Lz4),
];
const LEVELS: [u8; 5] = [1, 3, 6, 9, 12];
/// Bodies: less than a block, about one, and several of them.
const SIZES: [usize; 3] = [700, 60_000, 300_000];
/// A body that a caller writes whole before it reads: more than connections hold.
const SPILLED_BYTES: usize = 24 << 20;

/// What came back, as it came and in its parts.
struct Answer {
    raw: Vec<u8>,
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    /// The parts of what came: HTTP/1.1, on a connection that ended with it.
    fn of(raw: Vec<u8>) -> Self {
        let end = raw
            .windows(4)
            .position(|bytes| bytes == b"\r\n\r\n")
            .map_or(raw.len(), |at| at + 4);
        let head = String::from_utf8_lossy(&raw[..end]).to_lowercase();
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        let rest = &raw[end..];
        let body = match head.contains("transfer-encoding: chunked") {
            true => dechunked(rest),
            false => rest.to_vec(),
        };
        Self {
            status: status.unwrap_or(0),
            head,
            body,
            raw,
        }
    }

    /// Its deadline passed: it was refused for that, or is broken off, without the chunk that ends a body.
    #[track_caller]
    fn check_late(&self) {
        let refused = self.status == 504;
        let broken_off = self.status == 200
            && self.head.contains("transfer-encoding: chunked")
            && !self.raw.ends_with(b"\r\n\r\n");
        let text = String::from_utf8_lossy(&self.body);
        let text: String = text.chars().take(200).collect();
        assert!(refused || broken_off, "not late: {}{text}", self.head);
    }

    fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.unwrap_or_default()
    }
}

/// A body's bytes from its chunks, up to where it ends or breaks off (RFC 9112, 7.1).
fn dechunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        let read = rest.read_line(&mut line).unwrap_or(0);
        let size = usize::from_str_radix(line.trim(), 16).unwrap_or(0);
        if read == 0 || size == 0 {
            return body;
        }
        let size = size.min(rest.len());
        body.extend_from_slice(&rest[..size]);
        rest = rest.get(size + 2..).unwrap_or_default();
    }
}

/// A tenant, as it calls.
#[derive(Clone)]
struct Caller {
    address: SocketAddr,
    authorization: String,
}

impl Caller {
    fn open(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the gateway listens");
        stream.set_read_timeout(Some(LIMIT)).expect("set");
        stream.set_write_timeout(Some(LIMIT)).expect("set");
        stream
    }

    fn head(&self, method: &str, target: &str, headers: &[(&str, &str)], bytes: usize) -> String {
        let mut head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nConnection: close\r\nTE: trailers\r\n",
            self.address, self.authorization
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {bytes}\r\n\r\n"));
        head
    }

    /// One request, written whole and then read whole.
    fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.open();
        let head = self.head(method, target, headers, body.len());
        stream.write_all(head.as_bytes()).expect("sent");
        // A refusal may come, and the connection end, before all is sent.
        let _ = stream.write_all(body);
        let mut raw = Vec::new();
        let _ = stream.read_to_end(&mut raw);
        Answer::of(raw)
    }

    /// One request, written whole, and read once the gateway at `admin` says that it keeps an answer on disk.
    fn ask_spilled(&self, admin: SocketAddr, target: &str, body: &[u8]) -> Answer {
        let mut stream = self.open();
        let head = self.head("POST", target, &[], body.len());
        stream.write_all(head.as_bytes()).expect("sent");
        stream.write_all(body).expect("sent");
        let metrics = Self {
            address: admin,
            ..self.clone()
        };
        let until = Instant::now() + LIMIT;
        loop {
            let told = metrics.ask("GET", "/metrics", &[], b"").body;
            let told = String::from_utf8_lossy(&told).into_owned();
            let bytes = told
                .lines()
                .find_map(|line| line.strip_prefix("faam_spill_bytes ")?.parse::<u64>().ok());
            if bytes.expect("the metrics tell what is on disk") > 0 {
                break;
            }
            assert!(Instant::now() < until, "{target}: nothing was spilled");
        }
        let mut raw = Vec::new();
        stream.read_to_end(&mut raw).expect("read whole");
        Answer::of(raw)
    }

    /// Sends a part of a body, and hangs up.
    fn cut_off(&self, target: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut stream = self.open();
        let head = self.head("POST", target, headers, body.len());
        stream.write_all(head.as_bytes()).expect("sent");
        let _ = stream.write_all(&body[..body.len() * 2 / 3]);
    }
}

/// A gateway with two tenants.
struct Rig {
    served: Served,
    first: Caller,
    second: Caller,
    has_card: bool,
}

impl Rig {
    fn start(devices: &str) -> Self {
        let mut flags = vec!["--devices", devices];
        if devices != "none" {
            // For the search of the card's memory; no fault is ever on.
            flags.push("--allow-faults");
        }
        let served = Served::start(&flags, &[]);
        let caller = |key: &str| Caller {
            address: served.public,
            authorization: format!("Bearer {key}"),
        };
        operator(&served, &["tenant", "add", "second", "--json"]);
        let words = [
            "key", "add", "--tenant", "second", "--kind", "api", "--json",
        ];
        let made = operator(&served, &words);
        let rig = Self {
            first: caller(&served.key),
            second: caller(made["key"].as_str().expect("a key")),
            has_card: devices != "none",
            served,
        };
        if rig.has_card {
            rig.wait_for_the_card();
        }
        rig
    }

    /// Waits until a card serves.
    fn wait_for_the_card(&self) {
        let until = Instant::now() + LIMIT;
        let headers = [("Faam-Backend", "require-hw")];
        let ask = || {
            self.second
                .ask("POST", "/v1/compress", &headers, b"is it there?")
        };
        while ask().status != 200 {
            assert!(Instant::now() < until, "no card comes into service");
            self.served.log.changed(TICK);
        }
    }

    /// Engines that a format's level can be asked of.
    fn backends(&self, format: &str, level: u8) -> &'static [&'static str] {
        match self.has_card && level <= 9 && !matches!(format, "zstd" | "lz4") {
            true => &["cpu", "require-hw"],
            false => &["cpu"],
        }
    }
}

fn operator(served: &Served, words: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_faam"))
        .args(words)
        .env("FAAM_DATA_DIR", served.data.path())
        .output()
        .expect("runs");
    assert!(output.status.success(), "{words:?}: {output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }

    /// Words that compress, with what is given before them and after every few of them.
    fn text(&mut self, count: usize, mark: &[u8]) -> Vec<u8> {
        let mut bytes = mark.to_vec();
        while bytes.len() < count {
            let number = self.next();
            bytes.extend_from_slice(
                format!("tenant {} sends {} ", number % 97, number % 9973).as_bytes(),
            );
            if number.is_multiple_of(3) {
                bytes.extend_from_slice(mark);
            }
        }
        bytes.truncate(count);
        bytes
    }
}

/// What the first tenant's data are known by.
#[derive(Default)]
struct Traces(Vec<(String, Vec<u8>)>);

impl Traces {
    /// The middle of these bytes, if it is varied enough to be no accident.
    fn note(&mut self, of: &str, bytes: &[u8]) {
        let middle = bytes.len().saturating_sub(TRACE_BYTES) / 2;
        let Some(trace) = bytes.get(middle..middle + TRACE_BYTES) else {
            return;
        };
        let mut values = trace.to_vec();
        values.sort_unstable();
        values.dedup();
        if values.len() >= 10 {
            self.0.push((of.to_owned(), trace.to_vec()));
        }
    }

    /// What of it is in these bytes.
    fn find(&self, bytes: &[u8]) -> Option<&str> {
        let found = self.0.iter().find(|(_, trace)| is_in(trace, bytes));
        found.map(|(of, _)| of.as_str())
    }

    #[track_caller]
    fn check(&self, what: &str, answer: &Answer) {
        for (part, bytes) in [("what came", &answer.raw), ("the body", &answer.body)] {
            assert_eq!(self.find(bytes), None, "in {part} of {what}");
        }
        for (_, format) in FORMATS {
            if let Some(data) = decoded(&answer.body, format) {
                assert_eq!(self.find(&data), None, "in what {what} decodes to");
            }
        }
    }
}

/// Whether it is there. What looks for the first byte is the library's, which is optimised in every build.
fn is_in(trace: &[u8], bytes: &[u8]) -> bool {
    let (first, mut rest) = (trace[0], bytes);
    loop {
        let Ok(read) = rest.skip_until(first) else {
            return false;
        };
        if read == 0 {
            return false;
        }
        if rest.starts_with(&trace[1..]) {
            return true;
        }
    }
}

fn decoded(bytes: &[u8], format: Format) -> Option<Vec<u8>> {
    let limits = Limits {
        output_bytes_max: 64 << 20,
        ratio_max: u32::MAX,
    };
    let done = Decompressor::new().decompress(bytes, Some(format), limits);
    done.ok().map(|done| done.data)
}

/// Streams that refer to before their beginning, or to tables of a block before it, in each format that can.
fn beyond_the_beginning() -> Vec<(&'static str, Vec<u8>)> {
    let deflate = [0x1B, 0xBD, 0xFF, 0x1F, 0x00];
    let gzip = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF];
    let lz4 = [
        0x04, 0x22, 0x4D, 0x18, 0x40, 0x40, 0xC0, 10, 0, 0, 0, 0x10, b'x', 200, 0, 0x50, b'a',
        b'b', b'c', b'd', b'e', 0, 0, 0, 0,
    ];
    let zstd = [
        0x28, 0xB5, 0x2F, 0xFD, 0x20, 20, 0x35, 0, 0, 0x43, 0x81, 0x00, 0x55, 0x01, 0x00,
    ];
    vec![
        ("deflate", deflate.to_vec()),
        ("gzip", [&gzip[..], &deflate, &[0; 8]].concat()),
        ("zlib", [&[0x78, 0x9C][..], &deflate, &[0; 4]].concat()),
        ("lz4", lz4.to_vec()),
        ("zstd", zstd.to_vec()),
    ]
}

/// All that the first tenant does; what its data can be known by, and its invocations' ids.
fn first_tenant(rig: &Rig, seed: u64) -> (Traces, Vec<String>) {
    let caller = &rig.first;
    let mut random = Random(seed);
    let mut traces = Traces::default();
    let mut ids = Vec::new();
    // As text, which a message could repeat, and as bytes.
    let mark: String = random
        .bytes(24)
        .iter()
        .map(|byte| char::from(b'a' + byte % 26))
        .collect();
    let binary = random.bytes(TRACE_BYTES);
    traces
        .0
        .push(("the mark".to_owned(), mark.clone().into_bytes()));
    traces.0.push(("the bytes".to_owned(), binary.clone()));
    let marks = [mark.as_bytes(), &binary].concat();
    let mut streams = Vec::new();
    for (format, _) in FORMATS {
        for level in LEVELS {
            for backend in rig.backends(format, level) {
                for size in SIZES {
                    let body = random.text(size, &marks);
                    let target = format!("/v1/compress?format={format}&level={level}");
                    let headers = [("Faam-Backend", *backend)];
                    let answer = caller.ask("POST", &target, &headers, &body);
                    assert_eq!(answer.status, 200, "{target}: {}", answer.head);
                    traces.note(&target, &answer.body);
                    ids.push(answer.header("faam-invocation-id").to_owned());
                    streams.push((format, *backend, answer.body));
                }
            }
        }
    }
    // Back again, and spoilt in ways that are noticed early, late and at the end.
    for (format, backend, stream) in &streams {
        let target = format!("/v1/decompress?format={format}");
        // Beyond a card's job there is no card that serves.
        let backend = if stream.len() > 100_000 {
            "auto"
        } else {
            backend
        };
        let headers = [("Faam-Backend", backend)];
        let answer = caller.ask("POST", &target, &headers, stream);
        assert!(
            answer.status == 200 && traces.find(&answer.body).is_some(),
            "the search finds what is there: {target}: {}",
            answer.head
        );
        for at in [stream.len() / 10, stream.len() / 2, stream.len() - 2] {
            let mut spoilt = stream.clone();
            spoilt[at] ^= 0x5A;
            caller.ask("POST", &target, &headers, &spoilt);
            caller.ask("POST", &target, &headers, &stream[..at]);
        }
    }
    // Refused, for what stands in the options and in the body.
    let text = random.text(5_000, &marks);
    for target in [
        format!("/v1/compress?level={mark}"),
        format!("/v1/compress?format={mark}"),
        "/v1/decompress?format=gzip".to_owned(),
        "/v1/decompress".to_owned(),
        format!("/v1/{mark}"),
        format!("/v1/invocations/{mark}"),
    ] {
        let answer = caller.ask("POST", &target, &[], &text);
        assert!(answer.status >= 400, "{target}: {}", answer.head);
    }
    // In the midst: hung up on, out of time, and written whole before any of the answer is read.
    let large = random.text(3 << 20, &marks);
    let noise = random.bytes(SPILLED_BYTES);
    traces.note("what was spilled", &noise);
    for backend in ["auto", "cpu"] {
        let headers = [("Faam-Backend", backend)];
        for (format, _) in FORMATS {
            caller.cut_off(
                &format!("/v1/compress?format={format}&level=6"),
                &headers,
                &large,
            );
        }
        let headers = [("Faam-Backend", backend), ("Faam-Deadline-Ms", "3")];
        let answer = caller.ask("POST", "/v1/compress?level=9", &headers, &large);
        answer.check_late();
    }
    let answer = caller.ask_spilled(rig.served.admin, "/v1/compress?level=1", &noise);
    assert_eq!(answer.status, 200, "{}", answer.head);
    traces.note("the answer that was spilled", &answer.body);
    (traces, ids)
}

/// What the second tenant gets: what each is, and the answer.
type Answers = Vec<(String, Answer)>;

/// All that the second tenant does. What it sends is the same each time.
fn second_tenant(rig: &Rig) -> Answers {
    let caller = &rig.second;
    let mut random = Random(77);
    let mut answers = Answers::new();
    let mut ask = |what: &str, target: &str, headers: &[(&str, &str)], body: &[u8]| {
        let answer = caller.ask("POST", target, headers, body);
        let named = format!("{what} {target} {headers:?} of {} bytes", body.len());
        answers.push((named, answer));
        answers
            .last()
            .map(|(_, answer)| (answer.status, answer.body.clone()))
    };
    for (format, _) in FORMATS {
        for level in LEVELS {
            for backend in rig.backends(format, level) {
                for size in [0, 1, 650, 61_000, 300_000] {
                    let body = random.text(size, b"nothing secret");
                    let headers = [("Faam-Backend", *backend)];
                    let target = format!("/v1/compress?format={format}&level={level}");
                    let Some((status, stream)) = ask("compress", &target, &headers, &body) else {
                        continue;
                    };
                    assert_eq!(status, 200, "{target} {backend} of {size} bytes");
                    let target = format!("/v1/decompress?format={format}");
                    ask("decompress", &target, &headers, &stream);
                    if size > 1 {
                        let cut = &stream[..stream.len() / 2];
                        ask("half", &target, &headers, cut);
                        let mut spoilt = stream.clone();
                        let last = spoilt.len() - 1;
                        spoilt[last / 2] ^= 0xFF;
                        ask("spoilt", &target, &headers, &spoilt);
                    }
                }
            }
        }
    }
    for (format, stream) in beyond_the_beginning() {
        for backend in rig.backends(format, 1) {
            let target = format!("/v1/decompress?format={format}");
            let headers = [("Faam-Backend", *backend)];
            if let Some((status, body)) = ask("beyond", &target, &headers, &stream) {
                let text = String::from_utf8_lossy(&body);
                assert!(
                    (400..500).contains(&status),
                    "{format} by {backend}: {status} {text}"
                );
            }
        }
    }
    let noise = random.bytes(SPILLED_BYTES);
    let late = [("Faam-Deadline-Ms", "3")];
    let large = random.text(3 << 20, b"nothing secret");
    ask("late", "/v1/compress?level=9", &late, &large);
    ask("no such level", "/v1/compress?level=77", &[], b"x");
    ask("no such format", "/v1/decompress", &[], b"no magic number");
    ask("nowhere", "/v1/nothing", &[], b"");
    let late = answers.iter().find(|(what, _)| what.starts_with("late"));
    late.expect("it was asked").1.check_late();
    let spilled = caller.ask_spilled(rig.served.admin, "/v1/compress?level=1", &noise);
    assert_eq!(spilled.status, 200, "{}", spilled.head);
    answers.push(("spilled".to_owned(), spilled));
    answers
}

fn seed() -> u64 {
    let seed = match std::env::var("FAAM_TEST_SEED") {
        Ok(seed) => seed.parse().expect("FAAM_TEST_SEED is a number"),
        Err(_) => RandomState::new().hash_one(0),
    };
    println!("FAAM_TEST_SEED={seed}");
    seed
}

fn shows(rig: &Rig) {
    let before = second_tenant(rig);
    let (traces, ids) = first_tenant(rig, seed());
    let after = second_tenant(rig);
    let mut searched = 0;
    for (what, answer) in &after {
        traces.check(what, answer);
        searched += answer.raw.len();
    }
    // What a body compresses to tells of nothing that was compressed before it.
    let mut equal = 0;
    for ((what, before), (_, after)) in before.iter().zip(&after) {
        if what.starts_with("compress") {
            assert_eq!(before.status, after.status, "{what}");
            assert!(
                before.body == after.body,
                "{what} is not what it was before"
            );
            equal += 1;
        }
    }
    for id in ids.iter().step_by(7) {
        let answer = rig
            .second
            .ask("GET", &format!("/v1/invocations/{id}"), &[], b"");
        assert_eq!(answer.status, 404, "another's invocation");
        traces.check("another's invocation", &answer);
    }
    for target in [
        "/v1/usage",
        "/v1/tenants/self",
        "/v1/kernels",
        "/v1/devices",
        "/openapi.json",
    ] {
        let answer = rig.second.ask("GET", target, &[], b"");
        traces.check(target, &answer);
        let told = String::from_utf8_lossy(&answer.body).contains("\"demo\"");
        assert!(!told, "{target} names the other tenant");
    }
    let metrics = Caller {
        address: rig.served.admin,
        ..rig.second.clone()
    };
    traces.check("the metrics", &metrics.ask("GET", "/metrics", &[], b""));
    println!(
        "{} traces of the first tenant looked for in {} answers of the second, {searched} bytes: none; {equal} compressed \
         bodies are to the byte what they were before",
        traces.0.len(),
        after.len()
    );
    assert!(traces.0.len() > 40, "{}", traces.0.len());
}

#[test]
fn with_cpu_engines_nothing_of_one_tenant_reaches_another() {
    shows(&Rig::start("none"));
}

#[test]
fn with_a_card_nothing_of_one_tenant_reaches_another() {
    let rig = Rig::start("sim");
    shows(&rig);
    arena_is_scrubbed(&rig);
    engines_are_scrubbed(&rig);
}

/// What engines of the card hold of the first tenant's job is there, and is gone from each that the second's went through.
fn engines_are_scrubbed(rig: &Rig) {
    let path = rig.served.data.path().join("card0/faults");
    let mut tester = UnixStream::connect(&path).expect("the card's fault socket");
    tester.set_read_timeout(Some(LIMIT)).expect("set");
    let secret = Random(seed() ^ 0xE).bytes(TRACE_BYTES);
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut find = |function: u8| {
        let question = format!("{function} find {function} {hex}\n");
        tester.write_all(question.as_bytes()).expect("asked");
        let mut answer = String::new();
        BufReader::new(&tester)
            .read_line(&mut answer)
            .expect("answered");
        let found = answer.trim().strip_prefix(&format!("{function} ok "));
        let found = found.unwrap_or_else(|| panic!("{answer}")).to_owned();
        // Occupied sets are of any job.
        found
            .split(' ')
            .any(|place| place != "nothing" && !place.starts_with("sets:"))
    };
    let headers = [("Faam-Backend", "require-hw")];
    let run = |caller: &Caller, bytes: usize, mark: &[u8]| {
        let body = Random(5).text(bytes, mark);
        let answer = caller.ask("POST", "/v1/compress?level=6", &headers, &body);
        assert_eq!(answer.status, 200, "{}", answer.head);
    };
    run(&rig.first, 40_000, &secret);
    assert!(find(0) || find(1), "the search finds what is there");
    let until = Instant::now() + LIMIT;
    while find(0) || find(1) {
        assert!(
            Instant::now() < until,
            "an engine that the second tenant's jobs went through holds the first one's data"
        );
        // Less than there was, so that its own data do not cover that.
        run(&rig.second, 9_000, b"none");
    }
}

/// What jobs of the second tenant were given of the arena holds nothing of the first one's: the arena's memory itself is
/// read, where the gateway's process has it mapped: so it can be read on huge pages too.
fn arena_is_scrubbed(rig: &Rig) {
    let pid = rig.served.child.id();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("the gateway runs");
    let arenas: Vec<_> = maps
        .lines()
        .filter(|line| line.contains("faam-arena"))
        .map(|line| {
            let range = line
                .split(' ')
                .next()
                .and_then(|range| range.split_once('-'));
            let (first, end) = range.expect("a range of addresses");
            let address = |text| u64::from_str_radix(text, 16).expect("an address");
            let bytes = usize::try_from(address(end) - address(first)).expect("it is mapped");
            (address(first), bytes)
        })
        .collect();
    assert!(!arenas.is_empty(), "no arena is mapped:\n{maps}");
    let memory = File::open(format!("/proc/{pid}/mem")).expect("a child's memory can be read");
    let mut random = Random(seed());
    let secret = random.bytes(TRACE_BYTES);
    let headers = [("Faam-Backend", "require-hw")];
    let holds = || {
        arenas.iter().any(|(first, bytes)| {
            let mut all = vec![0; *bytes];
            memory
                .read_exact_at(&mut all, *first)
                .expect("the arena's memory can be read");
            is_in(&secret, &all)
        })
    };
    for size in [3_000usize, 30_000, 60_000, 120_000] {
        let body = random.text(size, &secret);
        let answer = rig
            .first
            .ask("POST", "/v1/compress?level=6", &headers, &body);
        assert_eq!(answer.status, 200);
    }
    assert!(holds(), "the search finds what is there");
    // Side by side, so that every page that the first tenant's jobs had, one after the other, is taken; and a little
    // smaller, in buffers of the same classes, so that their own data do not cover what was there.
    let began = Instant::now();
    while holds() {
        std::thread::scope(|scope| {
            for size in [
                500usize, 500, 17_000, 17_000, 35_000, 35_000, 75_000, 75_000,
            ] {
                let (caller, body) = (&rig.second, Random(size as u64).text(size, b"none"));
                scope.spawn(move || {
                    let answer = caller.ask("POST", "/v1/compress?level=6", &headers, &body);
                    assert_eq!(answer.status, 200);
                });
            }
        });
        assert!(
            began.elapsed() < LIMIT,
            "pages that the second tenant's jobs had hold the first one's data"
        );
    }
}
