//! The whole path next to the engine alone, in one run: what HTTP, admission, scheduling, hand-off and
//! (for the card) DMA and rings add to compressing and verifying a body.
//!
//! `engine/cpu` compresses with libdeflate at the default level and verifies with zlib-rs, on
//! this thread, with nothing around it. `http/cpu` and `http/simulated-card` send the same body over one
//! kept-alive connection on loopback and read the whole answer. The card is the functional model in
//! a thread of this process behind its vfio-user socket: a figure of the simulation, not of a card.

#![expect(clippy::unwrap_used, reason = "a bench stops where it cannot go on")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use faam_codec::{Engine, Level, LibdeflateEngine, Position, Verifier};
use faam_gateway::cards::{CardSource, CardState};
use faam_gateway::config::GatewayConfig;
use faam_gateway::dispatch::DispatchConfig;
use faam_gateway::gateway::Gateway;
use faam_sim::{Card, Options};

/// How long the card may take to come into service.
const IN_SERVICE_LIMIT: Duration = Duration::from_secs(10);
/// Bytes of an answer's head at most.
const HEAD_BYTES_MAX: usize = 16 << 10;

fn body(bytes: usize) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let logs = root.join(".cache/corpus/json_logs");
    let mut data = std::fs::read(&logs).unwrap_or_default();
    if data.len() < bytes {
        // No corpus: the committed sample, repeated at a distance beyond the window.
        let sample: Vec<u8> = std::fs::read_dir(root.join("benches/sample"))
            .unwrap()
            .flat_map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
            .collect();
        data = sample.iter().copied().cycle().take(bytes).collect();
    }
    data.truncate(bytes);
    data
}

/// One kept-alive connection.
struct Connection {
    stream: BufReader<TcpStream>,
    key: String,
}

impl Connection {
    fn open(address: SocketAddr, key: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: BufReader::new(stream),
            key: key.to_owned(),
        }
    }

    /// Compress `body`; the engine that served, and the length of the answer.
    fn compress(&mut self, body: &[u8], backend: &str) -> (String, usize) {
        let head = format!(
            "POST /v1/compress HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {}\r\nFaam-Backend: {backend}\r\n\
             Content-Length: {}\r\n\r\n",
            self.key,
            body.len()
        );
        self.stream.get_mut().write_all(head.as_bytes()).unwrap();
        self.stream.get_mut().write_all(body).unwrap();
        let (mut length, mut engine, mut line) = (0, String::new(), String::new());
        let mut head_bytes = 0;
        while line != "\r\n" {
            line.clear();
            head_bytes += self.stream.read_line(&mut line).unwrap();
            assert!(head_bytes < HEAD_BYTES_MAX, "no end of the answer's head");
            assert!(
                !line.starts_with("HTTP/") || line.contains(" 200 "),
                "{line}"
            );
            if let Some((name, value)) = line.split_once(':') {
                match name.to_ascii_lowercase().as_str() {
                    "content-length" => length = value.trim().parse().unwrap(),
                    "faam-backend" => value.trim().clone_into(&mut engine),
                    _ => {}
                }
            }
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).unwrap();
        (engine, length)
    }
}

fn path(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let sockets = dir.path().join("card");
    let card = Card::start(&Options::new(&sockets)).unwrap();
    let gateway = Gateway::start(GatewayConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        admin_listen: ([127, 0, 0, 1], 0).into(),
        data_dir: dir.path().join("data"),
        dispatch: DispatchConfig {
            cards: vec![CardSource::VfioUser { dir: sockets }],
            ..DispatchConfig::default()
        },
        ..GatewayConfig::default()
    })
    .unwrap();
    let until = Instant::now() + IN_SERVICE_LIMIT;
    while gateway
        .dispatcher()
        .cards()
        .iter()
        .any(|card| card.state != CardState::InService)
    {
        assert!(
            Instant::now() < until,
            "the card did not come into service: {:?}",
            gateway.dispatcher().cards()
        );
        std::thread::yield_now();
    }
    let key = gateway.demo_key().map_or("", |demo| demo.key.as_str());
    let mut connection = Connection::open(gateway.public_address(), key);
    for bytes in [1 << 10, 64 << 10, 1 << 20] {
        let body = body(bytes);
        let mut group = c.benchmark_group(format!("path/{}KiB", bytes >> 10));
        group.throughput(Throughput::Bytes(bytes as u64));
        let (mut engine, mut verifier, mut out) =
            (LibdeflateEngine::new(), Verifier::new(), Vec::new());
        group.bench_function(BenchmarkId::new("engine", "cpu"), |b| {
            b.iter(|| {
                out.clear();
                engine
                    .compress_block(&body, Level::DEFAULT, Position::Last, &mut out)
                    .unwrap();
                verifier.check_block(&out, Position::Last, &body).unwrap();
                out.len()
            });
        });
        for (name, backend) in [("cpu", "cpu"), ("simulated-card", "require-hw")] {
            group.bench_function(BenchmarkId::new("http", name), |b| {
                b.iter(|| {
                    let (engine, length) = connection.compress(&body, backend);
                    assert_eq!(
                        engine.starts_with("fpga"),
                        backend == "require-hw",
                        "served by {engine}"
                    );
                    length
                });
            });
        }
        group.finish();
    }
    drop(connection);
    gateway.stop();
    card.stop();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
    targets = path
}
criterion_main!(benches);
