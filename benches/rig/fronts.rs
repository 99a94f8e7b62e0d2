//! What each front costs over `POST /v1/compress`: one caller, one request at a time, all rows in each turn.
//!
//! Owns the processes (a gateway, an action proxy of each platform with a gateway of its own, and one before the gateway), all
//! as users run them: verified, metered, logged, on the servers' processor. Invariants: every row has the same blocks, in
//! an order that is drawn anew in each turn, so that what the machine does in between meets them alike; each row is asked twice
//! in its turn, for processes that others have just driven out of the processor's caches are slower, and a front has its process to
//! itself; each row's answers are decoded and compared before it is measured; requests, signatures among them, are made before
//! the clock runs.

mod request;
mod signature;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use libdeflater::Decompressor;
use serde::Serialize;
use serde_json::Value;

use self::request::{Access, Process, Request, Row};
use self::signature::Signer;
use crate::Place;
use crate::connection::Connection;
use crate::load::Stop;
use crate::process::pin_thread;
use crate::server::{Programs, bound, start};
use crate::statistics::{count, median, percentile};

/// How long a process may take to listen.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// Pause between two looks at a process that is not ready.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
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
/// What a process prints before its address.
const LISTENING: &str = "listening on http://";

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
    request_bytes: usize,
    meets_goal: bool,
}

/// A process that serves.
struct Running {
    child: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
    let until = Instant::now() + Duration::from_secs(arguments.limit_s);
    let mut sizes = Vec::new();
    for (body_bytes, turns) in [(1 << 10, 4000), (64 << 10, 2000)] {
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
            lanes.push(Lane {
                row,
                address: address(row),
                requests: requests.collect::<anyhow::Result<_>>()?,
                first_nanos: Vec::with_capacity(turns),
                nanos: Vec::with_capacity(turns),
            });
        }
        let load_cpu = programs.load_cpu;
        let lanes = std::thread::scope(|scope| {
            let measuring = scope.spawn(|| {
                pin_thread(load_cpu)?;
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                runtime.block_on(measure(lanes, blocks, turns, until, stop))
            });
            let ended = measuring.join();
            ended.unwrap_or_else(|_| Err(anyhow::anyhow!("the measuring thread panicked")))
        })?;
        sizes.push(figures(body_bytes, &lanes));
    }
    let found = Found {
        schema: 2,
        setting: format!(
            "one caller, one request at a time, all rows in each turn; servers on processor {}, caller on {}; {}",
            programs.server_cpu, programs.load_cpu, corpus.description
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
    /// The second.
    nanos: Vec<u64>,
}

async fn measure(
    mut lanes: Vec<Lane>,
    blocks: &[Bytes],
    turns: usize,
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
            let first = ask(lane, connection, number, block).await?;
            let second = ask(lane, connection, number, block).await?;
            if !checked {
                lane.first_nanos.push(first);
                lane.nanos.push(second);
            }
        }
    }
    Ok(lanes)
}

/// What one request took, in nanoseconds; its answer is compared with `block`.
async fn ask(
    lane: &Lane,
    connection: &mut Connection,
    number: usize,
    block: Option<&Bytes>,
) -> anyhow::Result<u64> {
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
    Ok(nanos)
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

fn figures(body_bytes: usize, lanes: &[Lane]) -> Size {
    let micros = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64() * 1e6;
    let rows = lanes.iter().map(|lane| {
        let of = |nanos: fn(&Lane) -> &[u64]| {
            let base = lanes.first().map_or(&[][..], nanos);
            let mut sorted = nanos(lane).to_vec();
            sorted.sort_unstable();
            let pairs = nanos(lane).iter().zip(base);
            let mut over: Vec<f64> = pairs
                .map(|(own, base)| micros(*own) - micros(*base))
                .collect();
            let mut base: Vec<f64> = base.iter().copied().map(micros).collect();
            let over_us = median(&mut over).unwrap_or(f64::NAN);
            (sorted, over_us, median(&mut base).unwrap_or(f64::NAN))
        };
        let at = |sorted: &[u64], q| percentile(sorted, q).map_or(f64::NAN, micros);
        let (sorted, over_us, base_us) = of(|lane| &lane.nanos);
        let (first, first_over_us, _) = of(|lane| &lane.first_nanos);
        let over_share = over_us / base_us;
        let bytes: usize = lane.requests.iter().map(|request| request.body.len()).sum();
        Figures {
            row: lane.row.name(),
            p50_us: at(&sorted, 0.5),
            p90_us: at(&sorted, 0.9),
            p99_us: at(&sorted, 0.99),
            over_us,
            over_share,
            first_p50_us: at(&first, 0.5),
            first_over_us,
            request_bytes: bytes / lane.requests.len().max(1),
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
            "{:<18} {:>9} {:>9} {:>9} {:>9} {:>7}  {:<6}  {:>9} {:>9}",
            "row", "p50 us", "p90 us", "p99 us", "over us", "over %", "goal", "first us", "over us"
        );
        for row in &size.rows {
            println!(
                "{:<18} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>7.1}  {:<6}  {:>9.1} {:>9.1}",
                row.row,
                row.p50_us,
                row.p90_us,
                row.p99_us,
                row.over_us,
                100.0 * row.over_share,
                if row.meets_goal { "met" } else { "missed" },
                row.first_p50_us,
                row.first_over_us
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

/// The gateway, its key and an access key.
fn gateway(programs: &Programs) -> anyhow::Result<(Running, Access)> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let mut command = bound(&programs.faam.to_string_lossy());
    command
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ])
        .args(["--devices", "none", "--data-dir"])
        .arg(&data);
    let running = running(command, dir, programs.server_cpu)?;
    let key = std::fs::read_to_string(data.join("demo.key")).context("no demo.key")?;
    let made = Command::new(&programs.faam)
        .args([
            "key",
            "add",
            "--tenant",
            "demo",
            "--kind",
            "sigv4",
            "--json",
            "--data-dir",
        ])
        .arg(&data)
        .output()
        .context("cannot make an access key")?;
    let made: Value = serde_json::from_slice(&made.stdout)
        .with_context(|| format!("no access key: {}", String::from_utf8_lossy(&made.stderr)))?;
    let word = |name: &str| made[name].as_str().map(str::to_owned);
    let signer = Signer {
        id: word("access_key_id").context("an access key without its id")?,
        secret: word("secret_access_key").context("an access key without its secret")?,
    };
    let key = key.trim().to_owned();
    Ok((running, Access { key, signer }))
}

/// An action proxy of a platform, initialized; `before` a gateway, else with its own.
fn proxy(
    programs: &Programs,
    platform: &str,
    before: Option<(SocketAddr, &str)>,
) -> anyhow::Result<Running> {
    let mut command = bound(&programs.faam.to_string_lossy());
    command.args([
        "action-proxy",
        "--platform",
        platform,
        "--listen",
        "127.0.0.1:0",
    ]);
    match before {
        Some((gateway, key)) => {
            command.env("FAAM_URL", format!("http://{gateway}"));
            command.env("FAAM_KEY", key);
        }
        None => {
            command.args(["--devices", "none"]);
        }
    }
    let running = running(command, tempfile::tempdir()?, programs.server_cpu)
        .with_context(|| format!("the action proxy of {platform}"))?;
    if platform == "openwhisk" {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let body = Bytes::from_static(b"{\"value\":{\"code\":\"gzip\"}}");
        let head = format!(
            "POST /init HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            running.address,
            body.len()
        );
        let answer = runtime.block_on(async {
            let mut connection = Connection::open(running.address).await?;
            connection.exchange(head.as_bytes(), &body, true).await
        })?;
        let said = answer.kept.unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        anyhow::ensure!(answer.status == 200, "/init: {} {said}", answer.status);
    }
    Ok(running)
}

/// Starts a process and waits until it has said where it listens.
fn running(command: Command, dir: tempfile::TempDir, cpu: usize) -> anyhow::Result<Running> {
    let mut child = start(command, dir.path(), cpu)?;
    let log = dir.path().join("log");
    let until = Instant::now() + READY_LIMIT;
    loop {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        if let Some(address) = address_in(&said) {
            return Ok(Running {
                child,
                address,
                _dir: dir,
            });
        }
        if Instant::now() > until || child.try_wait()?.is_some() {
            let _ = child.kill();
            let _ = child.wait();
            anyhow::bail!("it did not say where it listens: {said}");
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn address_in(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once(LISTENING)?;
    // Up to where the line goes on; one that is not whole yet is looked at again.
    let end = rest.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ':')))?;
    rest.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_a_log_and_in_a_line() {
        let address = "127.0.0.1:8080".parse().ok();
        assert_eq!(
            address_in("x\nlistening on http://127.0.0.1:8080\n"),
            address
        );
        let log = "INFO faam: listening on http://127.0.0.1:8080 platform=knative\n";
        assert_eq!(address_in(log), address);
        assert_eq!(address_in("listening on http://127.0.0.1:80"), None);
    }

    #[test]
    fn differences_are_taken_turn_by_turn() {
        let lane = |row, nanos: &[u64]| Lane {
            row,
            address: ([127, 0, 0, 1], 1).into(),
            requests: Vec::new(),
            first_nanos: nanos.iter().map(|nanos| 2 * nanos).collect(),
            nanos: nanos.to_vec(),
        };
        let slow = (0..100).map(|turn| 1_000_000 * (turn % 7 + 1));
        let base: Vec<u64> = slow.collect();
        let more: Vec<u64> = base.iter().map(|nanos| nanos + 50_000).collect();
        let size = figures(1024, &[lane(Row::Direct, &base), lane(Row::Lambda, &more)]);
        let over: Vec<_> = size.rows.iter().map(|row| row.over_us.round()).collect();
        assert_eq!((over, size.turns), (vec![0.0, 50.0], 100));
        let first: Vec<_> = size
            .rows
            .iter()
            .map(|row| row.first_over_us.round())
            .collect();
        assert_eq!(first, [0.0, 100.0]);
        assert!(size.rows.iter().all(|row| row.meets_goal));
    }
}
