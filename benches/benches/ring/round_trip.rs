//! Round trip of a ring: one Nop from the driver to the simulated card and back.
//!
//! Four ways: the card as a thread of this process or as a process of its own, told by
//! shadow doorbells or by MMIO doorbells over the socket. Both sides poll for a while and
//! then sleep, as in service; the driver's side polls throughout here. All figures are of a
//! simulated card: they measure the driver, the rings and the host's scheduler, no PCIe.
//!
//! `cargo bench -p faam-benches --bench ring`: first a table of p50 and p99, then criterion.

#![expect(clippy::unwrap_used, reason = "a bench ends by panicking")]

use std::hint::black_box;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use faam_driver::{Arena, Function, FunctionConfig, QueuePair, VfioUser};

/// Names the directory of the card that this very binary serves when started with it.
const CARD_DIR: &str = "FAAM_BENCH_CARD_DIR";
/// Longest wait for a round trip, and for the card to start.
const LIMIT: Duration = Duration::from_secs(10);
/// Round trips before the first that counts.
const WARM_UP: u32 = 2_000;
/// Round trips behind each line of the table.
const SAMPLES: u32 = 50_000;
/// Commands of the batch line: one doorbell for all.
const BATCH: u32 = 32;

#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    own_process: bool,
    shadow_doorbells: bool,
}

const WAYS: [Way; 4] = [
    Way {
        name: "thread/shadow",
        own_process: false,
        shadow_doorbells: true,
    },
    Way {
        name: "thread/mmio",
        own_process: false,
        shadow_doorbells: false,
    },
    Way {
        name: "process/shadow",
        own_process: true,
        shadow_doorbells: true,
    },
    Way {
        name: "process/mmio",
        own_process: true,
        shadow_doorbells: false,
    },
];

enum Card {
    Thread { _card: faam_sim::Card },
    Process(Child),
}

impl Drop for Card {
    fn drop(&mut self) {
        if let Self::Process(child) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A queue pair on a card. Fields drop in this order.
struct Bench {
    pair: QueuePair,
    _function: Function,
    _card: Card,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn start(way: Way) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let card = match way.own_process {
            false => Card::Thread {
                _card: faam_sim::Card::start(&faam_sim::Options::new(dir.path())).unwrap(),
            },
            true => Card::Process(
                Command::new(std::env::current_exe().unwrap())
                    .env(CARD_DIR, dir.path())
                    .stdin(Stdio::piped())
                    .stdout(Stdio::null())
                    .spawn()
                    .unwrap(),
            ),
        };
        let transport = connect(&dir.path().join("fn0"));
        let config = FunctionConfig {
            shadow_doorbells: way.shadow_doorbells,
            ..FunctionConfig::default()
        };
        let arena = Arena::new(1 << 20).unwrap();
        let function = Function::bring_up(Arc::new(transport), arena, config).unwrap();
        let mut pair = function.create_queue_pair().unwrap();
        pair.round_trip(WARM_UP, LIMIT).unwrap();
        Self {
            pair,
            _function: function,
            _card: card,
            _dir: dir,
        }
    }

    fn trip(&mut self, commands: u32) {
        self.pair.round_trip(black_box(commands), LIMIT).unwrap();
    }
}

fn connect(path: &Path) -> VfioUser {
    let deadline = Instant::now() + LIMIT;
    loop {
        match VfioUser::connect(path) {
            Ok(transport) => return transport,
            Err(error) => assert!(Instant::now() < deadline, "no card at {path:?}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn micros(sorted: &[Duration], share: f64) -> f64 {
    let last = (sorted.len() - 1) as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index within the slice"
    )]
    let at = (last * share).round() as usize;
    sorted[at].as_secs_f64() * 1e6
}

fn table() {
    println!("ring round trip, simulated card, {SAMPLES} samples, us");
    println!("| way | p50 | p99 | p99.9 | a command in batches of {BATCH} | kicks a trip |");
    println!("|---|---|---|---|---|---|");
    for way in WAYS {
        let mut bench = Bench::start(way);
        let kicks = bench.pair.kicks();
        let mut samples: Vec<_> = (0..SAMPLES)
            .map(|_| {
                let begun = Instant::now();
                bench.trip(1);
                begun.elapsed()
            })
            .collect();
        let kicks = (bench.pair.kicks() - kicks) as f64 / SAMPLES as f64;
        samples.sort_unstable();
        let batches = SAMPLES / BATCH;
        let begun = Instant::now();
        for _ in 0..batches {
            bench.trip(BATCH);
        }
        let each = begun.elapsed().as_secs_f64() * 1e6 / f64::from(batches * BATCH);
        println!(
            "| {} | {:.2} | {:.2} | {:.2} | {each:.2} | {kicks:.3} |",
            way.name,
            micros(&samples, 0.5),
            micros(&samples, 0.99),
            micros(&samples, 0.999),
        );
    }
}

fn round_trip(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring");
    for way in WAYS {
        let mut bench = Bench::start(way);
        group.bench_function(way.name, |bencher| bencher.iter(|| bench.trip(1)));
    }
    group.finish();
}

/// Serve a card until standard input ends, which is when the bench is gone.
fn serve(dir: PathBuf) {
    let _card = faam_sim::Card::start(&faam_sim::Options::new(dir)).unwrap();
    let mut end = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut end);
}

pub(crate) fn run() {
    if let Some(dir) = std::env::var_os(CARD_DIR) {
        return serve(dir.into());
    }
    table();
    let mut criterion = Criterion::default().configure_from_args();
    round_trip(&mut criterion);
    criterion.final_summary();
}
