//! What each front costs over `POST /v1/compress`: one caller, one request at a time, all rows in each turn.
//!
//! Owns the processes (a gateway, an action proxy of each platform with a gateway of its own, and one before the gateway), all
//! as users run them: verified, metered, logged, on the servers' processor. Invariants: every row has the same blocks, in
//! an order that is drawn anew in each turn, so that what the machine does in between meets them alike; each row is asked twice
//! in its turn, for processes that others have just driven out of the processor's caches are slower, and a front has its process to
//! itself; each row's answers are decoded and compared before it is measured; requests, signatures among them, are made before
//! the clock runs. What no front can do without, its bytes on their way, is measured in the same way afterwards.

mod processes;
mod request;
mod signature;
mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use libdeflater::Decompressor;
use serde::Serialize;

use self::processes::{gateway, proxy};
use self::request::{Process, Request, Row};
use self::wire::{Asked, Wire};
use crate::Place;
use crate::connection::Connection;
use crate::load::Stop;
use crate::process::pin_thread;
use crate::statistics::{count, median, percentile};

/// How long one request may take.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// Distinct blocks of a size.
const BLOCKS: usize = 64;
/// Turns before those that count, in which answers are compared.
const CHECKED_TURNS: usize = 16;
/// Where the order of rows is drawn from.
const SEED: u64 = 0xF207_75ED;
/// What a front may cost: a median of so much more,
const GOAL_US: f64 = 150.0;
/// and of such a share more.
const GOAL_SHARE: f64 = 0.10;
#[derive(Debug, Args)]
pub(crate) struct FrontsArgs {
    #[command(flatten)]
    place: Place,
    /// That it works, in seconds
    #[arg(long)]
    smoke: bool,
    /// Turns of each size [default: 4000 of 1 KiB, 2000 of 64 KiB]
    #[arg(long)]
    turns: Option<usize>,
    /// How often a row is asked again in its turn; the last time counts
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    again: u8,
    /// Rows whose names begin so, beside the baseline; comma-separated
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Seconds that it may take
    #[arg(long, default_value_t = 240)]
    limit_s: u64,
    /// Where the JSON goes
    #[arg(long, default_value = "target/bench-fronts/fronts.json")]
    json: PathBuf,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Found {
    schema: u32,
    setting: String,
    goal_us: f64,
    goal_share: f64,
    sizes: Vec<Size>,
}

#[derive(Debug, Serialize)]
struct Size {
    body_bytes: usize,
    turns: usize,
    rows: Vec<Figures>,
}

#[derive(Debug, Serialize)]
struct Figures {
    row: &'static str,
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    /// Median of the differences to the baseline in the same turn, both right after a request of their own.
    over_us: f64,
    over_share: f64,
    /// The same of the first request of each in the turn, after those of all other rows.
    first_p50_us: f64,
    first_over_us: f64,
    /// What as many bytes as the row's take longer than as many as the baseline's, where nothing is done with them but what any
    /// server had to do: Lambda's are hashed, and those that another gateway serves are passed on.
    wire_over_us: f64,
    request_bytes: usize,
    answer_bytes: usize,
    meets_goal: bool,
}

/// Measures, prints a table, writes JSON.
///
/// # Errors
/// A process that does not come up, or an answer that is not its block's.
pub(crate) fn run(arguments: &FrontsArgs, stop: &Stop) -> anyhow::Result<ExitCode> {
    let programs = arguments.place.programs()?;
    let corpus = arguments.place.corpus()?;
    let only = |row: &Row| {
        let only = &arguments.only;
        *row == Row::Direct
            || only.is_empty()
            || only.iter().any(|word| row.name().starts_with(word))
    };
    let rows: Vec<Row> = Row::ALL.into_iter().filter(only).collect();
    let (gateway, access) = gateway(&programs)?;
    let mut processes = BTreeMap::new();
    for row in &rows {
        let name = format!("{:?}", row.process());
        if processes.contains_key(&name) {
            continue;
        }
        let running = match row.process() {
            Process::Gateway => continue,
            Process::Own(platform) => proxy(&programs, platform, None)?,
            Process::Before(platform) => {
                proxy(&programs, platform, Some((gateway.address, &access.key)))?
            }
        };
        processes.insert(name, running);
    }
    let address = |row: Row| match row.process() {
        Process::Gateway => gateway.address,
        process => processes
            .get(&format!("{process:?}"))
            .map_or(gateway.address, |running| running.address),
    };
    let wire = Wire::start(programs.server_cpu)?;
    let began = Instant::now();
    let limit = Duration::from_secs(arguments.limit_s);
    let until = |eighths: u32| began + limit * eighths / 8;
    let mut sizes = Vec::new();
    // With the eighths of the time after which the fronts' turns and those of the wire have to be over.
    for (body_bytes, turns, by, wire_by) in [(1 << 10, 4000, 3, 4), (64 << 10, 2000, 7, 8)] {
        let turns = arguments
            .turns
            .unwrap_or(if arguments.smoke { 120 } else { turns });
        let pool = corpus.pool(arguments.place.data, body_bytes);
        let blocks = pool.blocks().get(..BLOCKS).unwrap_or(pool.blocks());
        let mut lanes = Vec::new();
        for &row in &rows {
            let requests = blocks
                .iter()
                .map(|block| row.request(address(row), &access, block));
            let requests = requests.collect::<anyhow::Result<_>>()?;
            lanes.push(Lane::new(row, address(row), requests));
        }
        let (load_cpu, again) = (programs.load_cpu, arguments.again);
        let (lanes, wires) = std::thread::scope(|scope| {
            let measuring = scope.spawn(|| -> anyhow::Result<_> {
                pin_thread(load_cpu)?;
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                let lanes =
                    runtime.block_on(measure(lanes, blocks, turns, again, until(by), stop))?;
                let wires = wire_lanes(&lanes, wire);
                // Answers of the wire are nothing's.
                let wires =
                    runtime.block_on(measure(wires, &[], turns, again, until(wire_by), stop))?;
                Ok((lanes, wires))
            });
            let ended = measuring.join();
            ended.unwrap_or_else(|_| Err(anyhow::anyhow!("the measuring thread panicked")))
        })?;
        sizes.push(figures(body_bytes, &lanes, &wires));
    }
    let found = Found {
        schema: 3,
        setting: format!(
            "one caller, one request at a time, all rows in each turn, each asked {} times in it; servers on processor {}, caller on \
             {}; {}",
            u16::from(arguments.again) + 1,
            programs.server_cpu,
            programs.load_cpu,
            corpus.description
        ),
        goal_us: GOAL_US,
        goal_share: GOAL_SHARE,
        sizes,
    };
    write(&found, &arguments.json)?;
    Ok(ExitCode::SUCCESS)
}

/// A row, its requests and what they took.
struct Lane {
    row: Row,
    address: SocketAddr,
    requests: Vec<Request>,
    /// The first request of each turn, after other rows' processes.
    first_nanos: Vec<u64>,
    /// The last.
    nanos: Vec<u64>,
    /// Length of the last answer to each request.
    answer_bytes: Vec<usize>,
}

impl Lane {
    fn new(row: Row, address: SocketAddr, requests: Vec<Request>) -> Self {
        Self {
            row,
            address,
            first_nanos: Vec::new(),
            nanos: Vec::new(),
            answer_bytes: vec![0; requests.len()],
            requests,
        }
    }

    /// Bytes of the request of this number, and of its answer.
    fn bytes(&self, number: usize) -> (usize, usize) {
        let request = self.requests.get(number);
        let answer = self.answer_bytes.get(number);
        (
            request.map_or(0, |request| request.body.len()),
            answer.copied().unwrap_or_default(),
        )
    }
}

/// The same bytes as those of lanes that were measured, to the wire.
fn wire_lanes(lanes: &[Lane], wire: Wire) -> Vec<Lane> {
    let wired = lanes.iter().map(|lane| {
        let numbered = lane.requests.iter().enumerate();
        let requests = numbered.map(|(number, request)| {
            let base = || lanes.first().map(|base| base.bytes(number));
            let is_before = matches!(lane.row.process(), Process::Before(_));
            let (_, answer_bytes) = lane.bytes(number);
            let asked = Asked {
                answer_bytes,
                is_hashed: lane.row == Row::Lambda,
                passed_on: is_before.then(base).flatten(),
            };
            asked.request(request.body.clone())
        });
        Lane::new(lane.row, wire.address, requests.collect())
    });
    wired.collect()
}

async fn measure(
    mut lanes: Vec<Lane>,
    blocks: &[Bytes],
    turns: usize,
    again: u8,
    until: Instant,
    stop: &Stop,
) -> anyhow::Result<Vec<Lane>> {
    let mut connections = Vec::new();
    for lane in &lanes {
        connections.push(Connection::open(lane.address).await?);
    }
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut order: Vec<usize> = (0..lanes.len()).collect();
    for turn in 0..CHECKED_TURNS + turns {
        anyhow::ensure!(!stop.load(Ordering::Relaxed), "ended by a signal");
        if Instant::now() > until {
            eprintln!(
                "{} of {turns} turns, for want of time",
                turn.saturating_sub(CHECKED_TURNS)
            );
            break;
        }
        random.shuffle(&mut order);
        let checked = turn < CHECKED_TURNS;
        for &index in &order {
            let (Some(lane), Some(connection)) = (lanes.get_mut(index), connections.get_mut(index))
            else {
                continue;
            };
            let number = turn % lane.requests.len().max(1);
            let block = blocks.get(number).filter(|_| checked);
            let (first, _) = ask(lane, connection, number, block).await?;
            let (mut last, mut answer_bytes) = (first, 0);
            for _ in 0..again {
                (last, answer_bytes) = ask(lane, connection, number, block).await?;
            }
            if let Some(known) = lane.answer_bytes.get_mut(number) {
                *known = answer_bytes;
            }
            if !checked {
                lane.first_nanos.push(first);
                lane.nanos.push(last);
            }
        }
    }
    anyhow::ensure!(
        lanes.iter().all(|lane| !lane.nanos.is_empty()),
        "no turn was over in time: expected some of them to be; raise --limit-s"
    );
    Ok(lanes)
}

/// What one request took, in nanoseconds, and the length of its answer, which is compared with `block`.
async fn ask(
    lane: &Lane,
    connection: &mut Connection,
    number: usize,
    block: Option<&Bytes>,
) -> anyhow::Result<(u64, usize)> {
    let name = lane.row.name();
    let request = lane
        .requests
        .get(number)
        .with_context(|| format!("{name}: no request {number}"))?;
    let began = Instant::now();
    let exchange = connection.exchange(&request.head, &request.body, block.is_some());
    let answer = tokio::time::timeout(REQUEST_MAX, exchange).await;
    let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let answer = answer
        .with_context(|| format!("{name}: no answer in {} s", REQUEST_MAX.as_secs()))?
        .with_context(|| format!("{name}: its connection broke"))?;
    let answer_bytes = usize::try_from(answer.body_bytes).unwrap_or(usize::MAX);
    let kept = answer.kept.unwrap_or_default();
    anyhow::ensure!(
        answer.status == 200,
        "{name}: status {}: {}",
        answer.status,
        String::from_utf8_lossy(kept.get(..400).unwrap_or(&kept))
    );
    if let Some(block) = block {
        check(lane.row, &kept, block).with_context(|| name)?;
    }
    if !connection.is_usable() {
        *connection = Connection::open(lane.address).await?;
    }
    Ok((nanos, answer_bytes))
}

/// Whether an answer is its block, compressed.
fn check(row: Row, answer: &[u8], block: &[u8]) -> anyhow::Result<()> {
    let gzip = row.result(answer)?;
    let mut decoded = vec![0; block.len() + 1];
    let length = Decompressor::new().gzip_decompress(&gzip, &mut decoded)?;
    anyhow::ensure!(
        decoded.get(..length) == Some(block),
        "the answer decodes to other bytes"
    );
    Ok(())
}

/// Times of the lanes, and what the same bytes take on the `wires`.
fn figures(body_bytes: usize, lanes: &[Lane], wires: &[Lane]) -> Size {
    let micros = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64() * 1e6;
    // Median of the differences to the first, and median of the first.
    let over = |own: &[u64], base: &[u64]| {
        let pairs = own.iter().zip(base);
        let mut over: Vec<f64> = pairs
            .map(|(own, base)| micros(*own) - micros(*base))
            .collect();
        let mut base: Vec<f64> = base.iter().copied().map(micros).collect();
        let over_us = median(&mut over).unwrap_or(f64::NAN);
        (over_us, median(&mut base).unwrap_or(f64::NAN))
    };
    let rows = lanes.iter().enumerate().map(|(index, lane)| {
        let sorted = |nanos: &[u64]| {
            let mut sorted = nanos.to_vec();
            sorted.sort_unstable();
            sorted
        };
        let of_base = |lanes: &[Lane], nanos: fn(&Lane) -> &[u64]| {
            let base = lanes.first().map_or(&[][..], nanos);
            let own = lanes.get(index).map_or(&[][..], nanos);
            over(own, base)
        };
        let at = |sorted: &[u64], q| percentile(sorted, q).map_or(f64::NAN, micros);
        let (over_us, base_us) = of_base(lanes, |lane| &lane.nanos);
        let (first_over_us, _) = of_base(lanes, |lane| &lane.first_nanos);
        let (wire_over_us, _) = of_base(wires, |lane| &lane.nanos);
        let (again, first) = (sorted(&lane.nanos), sorted(&lane.first_nanos));
        let over_share = over_us / base_us;
        // Of those that were asked.
        let bytes = (0..lane.requests.len()).map(|number| lane.bytes(number));
        let bytes = bytes.filter(|(_, answer)| *answer > 0);
        let (count, request_bytes, answer_bytes) = bytes.fold((0_usize, 0, 0), |sum, bytes| {
            (sum.0 + 1, sum.1 + bytes.0, sum.2 + bytes.1)
        });
        Figures {
            row: lane.row.name(),
            p50_us: at(&again, 0.5),
            p90_us: at(&again, 0.9),
            p99_us: at(&again, 0.99),
            over_us,
            over_share,
            first_p50_us: at(&first, 0.5),
            first_over_us,
            wire_over_us,
            request_bytes: request_bytes / count.max(1),
            answer_bytes: answer_bytes / count.max(1),
            meets_goal: over_us <= GOAL_US && over_share <= GOAL_SHARE,
        }
    });
    Size {
        body_bytes,
        turns: lanes.first().map_or(0, |lane| lane.nanos.len()),
        rows: rows.collect(),
    }
}

fn write(found: &Found, json: &Path) -> anyhow::Result<()> {
    println!("{}", found.setting);
    for size in &found.sizes {
        println!(
            "\n{} KiB, {} turns; goal: +{:.0} us and +{:.0} % at the median",
            count(size.body_bytes) / 1024.0,
            size.turns,
            found.goal_us,
            100.0 * found.goal_share
        );
        println!(
            "{:<18} {:>9} {:>9} {:>9} {:>9} {:>7}  {:<6}  {:>9} {:>9} {:>9}",
            "row",
            "p50 us",
            "p90 us",
            "p99 us",
            "over us",
            "over %",
            "goal",
            "first us",
            "over us",
            "wire us"
        );
        for row in &size.rows {
            println!(
                "{:<18} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>7.1}  {:<6}  {:>9.1} {:>9.1} {:>9.1}",
                row.row,
                row.p50_us,
                row.p90_us,
                row.p99_us,
                row.over_us,
                100.0 * row.over_share,
                if row.meets_goal { "met" } else { "missed" },
                row.first_p50_us,
                row.first_over_us,
                row.wire_over_us
            );
        }
    }
    if let Some(directory) = json.parent() {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
    }
    std::fs::write(json, serde_json::to_string_pretty(found)?)
        .with_context(|| format!("cannot write {}", json.display()))?;
    eprintln!("wrote {}", json.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_taken_turn_by_turn() {
        let lane = |row, nanos: &[u64]| Lane {
            first_nanos: nanos.iter().map(|nanos| 2 * nanos).collect(),
            nanos: nanos.to_vec(),
            ..Lane::new(row, ([127, 0, 0, 1], 1).into(), Vec::new())
        };
        let slow = (0..100).map(|turn| 1_000_000 * (turn % 7 + 1));
        let base: Vec<u64> = slow.collect();
        let more: Vec<u64> = base.iter().map(|nanos| nanos + 50_000).collect();
        let lanes = [lane(Row::Direct, &base), lane(Row::Lambda, &more)];
        let wires = [lane(Row::Direct, &more), lane(Row::Lambda, &base)];
        let size = figures(1024, &lanes, &wires);
        let over: Vec<_> = size.rows.iter().map(|row| row.over_us.round()).collect();
        assert_eq!((over, size.turns), (vec![0.0, 50.0], 100));
        let first: Vec<_> = size
            .rows
            .iter()
            .map(|row| row.first_over_us.round())
            .collect();
        assert_eq!(first, [0.0, 100.0]);
        let wire: Vec<_> = size
            .rows
            .iter()
            .map(|row| row.wire_over_us.round())
            .collect();
        assert_eq!(wire, [0.0, -50.0]);
        assert!(size.rows.iter().all(|row| row.meets_goal));
    }
}
