//! `faam bench`: a bounded load on a gateway, and what it felt like.
//!
//! Owns the flags and the order: for each size a warm-up, a load, a look at the answers. Invariants:
//! it ends by itself; it loads only a gateway on this machine or one that a flag names; an answer
//! that decodes to other bytes ends it with an error.

pub(crate) mod data;
mod load;
mod page;
mod record;
mod sample;
mod table;

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use faam_codec::{Format, Level};
use indicatif::{ProgressBar, ProgressStyle};
use rustix::fs::{Access, access};
use serde_json::json;
use tokio::runtime::Builder;

use self::data::Data;
use self::load::{Load, run as run_load};
use self::record::Record;
use self::sample::Sampler;
use super::{Backend, GatewayFlags};
use crate::quantity;

/// Most seconds of load for one size.
const SECONDS_MAX: u64 = 3600;
/// Most requests for one size.
const REQUESTS_MAX: u64 = 1_000_000_000;
/// Most requests at once.
const CONCURRENCY_MAX: u16 = 1024;
/// Most sizes.
const SIZES_MAX: usize = 16;
/// Largest size.
const SIZE_BYTES_MAX: u64 = 1 << 30;
/// Most requests a second of an open loop.
const RATE_MAX: f64 = 1e6;
/// Longest warm-up, and its share of the load's time.
const WARM_UP_MAX: Duration = Duration::from_secs(1);
const WARM_UP_SHARE: u32 = 10;

const EXAMPLES: &str = "\
Examples:
  faam bench
      1 KiB, 64 KiB and 1 MiB, 16 at once, 10 s each, on the gateway of this machine
  faam bench --size 64KiB --concurrency 64 --backend cpu --level 6 --html report.html
      and a page with plots
  faam bench --size 1MiB --rate 100 --seconds 30
      100 requests a second, whether the gateway keeps up or not; latencies count from when each was meant to begin
  faam bench --file access.log --requests 1000 --json
      blocks of a file; figures for programs
  faam bench --url https://faam.example --cacert ca.pem
      another machine's gateway: only where --url names it

Exit status: 0; 1 if no load was possible, or if an answer decoded to other bytes than were sent.";

/// Put a bounded load on a gateway, and report throughput and latency by phase
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Bench {
    /// Sizes of requests, one after the other
    #[arg(long, value_name = "SIZE", value_delimiter = ',', default_value = "1KiB,64KiB,1MiB", value_parser = parse_size)]
    size: Vec<u64>,
    /// Requests at once; in an open loop, at most
    #[arg(long, value_name = "NUMBER", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=i64::from(CONCURRENCY_MAX)))]
    concurrency: u16,
    /// Seconds for each size
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    seconds: u64,
    /// End a size after so many requests, if its time has not ended before
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=REQUESTS_MAX))]
    requests: Option<u64>,
    /// An open loop: so many requests a second begin, whether earlier ones have ended or not
    #[arg(long, value_name = "REQUESTS_PER_SECOND", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Level, 1 to 12
    #[arg(long, value_name = "1..12", default_value_t = Level::DEFAULT)]
    level: Level,
    #[arg(long, value_name = "FORMAT", default_value_t = Format::Gzip, help = format!("Format of the answers: {}", Format::ALL.map(Format::name).join(", ")))]
    format: Format,
    /// Engines that may serve: whichever ends soonest; a card or nothing; a card while one serves; the CPU
    #[arg(long, value_enum, default_value = "auto")]
    backend: Backend,
    /// Data to send, in place of what is generated
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// Decides the generated data
    #[arg(long, default_value_t = 1, conflicts_with = "file")]
    seed: u64,
    /// The figures as JSON, into a file, or in place of the table
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-", value_hint = clap::ValueHint::FilePath)]
    json: Option<PathBuf>,
    /// The figures as a page with plots, into a file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    html: Option<PathBuf>,
    /// No progress
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    gateway: GatewayFlags,
}

fn parse_size(text: &str) -> Result<u64, String> {
    let bytes = quantity::parse_bytes(text)?;
    if !(1..=SIZE_BYTES_MAX).contains(&bytes) {
        return Err(format!(
            "expected 1 B to {}, got {text}",
            quantity::show_bytes(SIZE_BYTES_MAX)
        ));
    }
    Ok(bytes)
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: Option<f64> = text.parse().ok();
    rate.filter(|rate| (0.01..=RATE_MAX).contains(rate))
        .ok_or_else(|| format!("expected requests a second from 0.01 to {RATE_MAX}, got {text:?}"))
}

/// What was measured with one size.
pub(crate) struct Measured {
    pub(crate) size: u64,
    pub(crate) record: Record,
    /// Answers that were decoded here, and are right.
    pub(crate) decoded: u64,
}

/// What all figures have in common.
pub(crate) struct Head {
    url: String,
    format: Format,
    level: Level,
    backend: &'static str,
    concurrency: u16,
    seconds: u64,
    requests: Option<u64>,
    rate: Option<f64>,
    data: String,
}

impl Head {
    /// For people.
    pub(crate) fn lines(&self) -> [String; 2] {
        let loop_kind = match self.rate {
            None => "closed loop".to_owned(),
            Some(rate) => format!("open loop, {rate} requests a second"),
        };
        let requests = self
            .requests
            .map_or_else(String::new, |requests| format!(" or {requests} requests"));
        [
            format!(
                "{}, {} level {}, backend {}, {} at once, {loop_kind}, {} s{requests} a size",
                self.url, self.format, self.level, self.backend, self.concurrency, self.seconds
            ),
            format!("data: {}", self.data),
        ]
    }
}

impl Bench {
    /// Run it.
    ///
    /// # Errors
    /// No load was possible, or an answer was wrong.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::ensure!(
            self.gateway.is_local() || names_a_url(std::env::args_os()),
            "a load on another machine's gateway has to be meant: name it with --url, not only in FAAM_URL"
        );
        anyhow::ensure!(
            self.size.len() <= SIZES_MAX,
            "{} sizes: expected at most {SIZES_MAX}",
            self.size.len()
        );
        // Before the load, which may take hours: what cannot be written then is better known now.
        let json = self.json.as_deref().filter(|path| !is_stdout(path));
        for path in self.html.as_deref().into_iter().chain(json) {
            check_writable(path)?;
        }
        let data = match &self.file {
            None => Data::Generated { seed: self.seed },
            Some(path) => {
                Data::of_file(path).with_context(|| format!("cannot read {}", path.display()))?
            }
        };
        let head = Head {
            url: self.gateway.url().to_string(),
            format: self.format,
            level: self.level,
            backend: self.backend.as_str(),
            concurrency: self.concurrency,
            seconds: self.seconds,
            requests: self.requests,
            rate: self.rate,
            data: data.describe(),
        };
        let table = json.is_some() || self.json.is_none();
        if table {
            let mut out = io::stdout().lock();
            for line in head.lines() {
                writeln!(out, "{line}")?;
            }
            writeln!(out)?;
        }
        let load = Load {
            caller: self.gateway.caller()?,
            target: format!("/v1/compress?format={}&level={}", self.format, self.level),
            backend: self.backend.as_str(),
            concurrency: usize::from(self.concurrency),
            time: Duration::from_secs(self.seconds),
            requests: self.requests.unwrap_or(REQUESTS_MAX),
            rate: self.rate,
        };
        let runtime = Builder::new_multi_thread().enable_all().build()?;
        let mut measured = Vec::new();
        for size in &self.size {
            measured.push(self.one(&runtime, &load, &data, *size)?);
        }
        runtime.shutdown_background();
        self.report(&head, &measured, json)?;
        Ok(ExitCode::SUCCESS)
    }

    fn one(
        &self,
        runtime: &tokio::runtime::Runtime,
        load: &Load,
        data: &Data,
        size: u64,
    ) -> anyhow::Result<Measured> {
        let blocks = data.blocks(usize::try_from(size)?);
        let bar = Waiting::start(self.quiet, size, load.time);
        let sampler = Sampler::start(self.format)?;
        let verdict = sampler.verdict();
        let warm_up = Load {
            time: WARM_UP_MAX.min(load.time / WARM_UP_SHARE),
            rate: None,
            ..load.clone()
        };
        let record = runtime.block_on(async {
            let inlet = sampler.inlet();
            run_load(
                warm_up,
                blocks.clone(),
                inlet.clone(),
                sampler.verdict(),
                None,
            )
            .await?;
            let record = Record::new(load.time);
            bar.follow(run_load(
                load.clone(),
                blocks,
                inlet,
                sampler.verdict(),
                Some(record),
            ))
            .await
        });
        bar.end();
        sampler.end();
        if let Some(what) = verdict.wrong() {
            anyhow::bail!("{}: wrong bytes: {what}", quantity::show_bytes(size));
        }
        let record = record?.context("the load gave no record")?;
        anyhow::ensure!(
            record.requests() > 0,
            "{}: no request was answered: {}",
            quantity::show_bytes(size),
            record
                .refusals()
                .map(|(label, count)| format!("{label} × {count}"))
                .collect::<Vec<_>>()
                .join(", ")
        );
        Ok(Measured {
            size,
            record,
            decoded: verdict.decoded(),
        })
    }

    fn report(
        &self,
        head: &Head,
        measured: &[Measured],
        json: Option<&Path>,
    ) -> anyhow::Result<()> {
        let sizes: Vec<_> = measured
            .iter()
            .map(|one| {
                let mut value = one.record.json();
                value["size_bytes"] = one.size.into();
                value["decoded"] = one.decoded.into();
                value
            })
            .collect();
        let report = json!({
            "url": head.url,
            "format": head.format.name(),
            "level": head.level.get(),
            "backend": head.backend,
            "concurrency": head.concurrency,
            "rate": head.rate,
            "data": head.data,
            "sizes": sizes,
        });
        let text = format!("{report:#}\n");
        // Files first: that nobody reads the table any more costs none of them.
        if let Some(path) = &self.html {
            write_file(path, &page::page(head, measured))?;
        }
        if let Some(path) = json {
            write_file(path, &text)?;
        }
        let mut out = io::stdout().lock();
        if json.is_some() || self.json.is_none() {
            table::write(&mut out, measured)?;
        } else {
            out.write_all(text.as_bytes())?;
        }
        Ok(out.flush()?)
    }
}

pub(crate) fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// Whether a report could be written there. It changes nothing: a load that is broken off leaves no empty report.
pub(crate) fn check_writable(path: &Path) -> anyhow::Result<()> {
    let there = match OpenOptions::new().write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            access(
                parent.unwrap_or(Path::new(".")),
                Access::WRITE_OK | Access::EXEC_OK,
            )
            .map_err(io::Error::from)
        }
        opened => opened.map(drop),
    };
    there.with_context(|| format!("cannot write {}", path.display()))
}

pub(crate) fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Whether the command line itself names the gateway.
fn names_a_url(mut words: impl Iterator<Item = OsString>) -> bool {
    words.any(|word| word == "--url" || word.as_encoded_bytes().starts_with(b"--url="))
}

/// A bar on a terminal while a load runs.
struct Waiting {
    bar: ProgressBar,
    time: Duration,
}

impl Waiting {
    fn start(quiet: bool, size: u64, time: Duration) -> Self {
        let bar = if quiet || !io::stderr().is_terminal() {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
        };
        if let Ok(style) = ProgressStyle::with_template("{prefix:>8}  {wide_bar:.cyan/dim}  {msg}")
        {
            bar.set_style(style.progress_chars("━╸─"));
        }
        bar.set_prefix(quantity::show_bytes(size));
        bar.set_message("warming up");
        Self { bar, time }
    }

    async fn follow<T>(&self, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        tokio::pin!(work);
        let mut ticks = tokio::time::interval(Duration::from_millis(200));
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = ticks.tick() => {
                    let elapsed = began.elapsed().min(self.time);
                    self.bar.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
                    let left = self.time.saturating_sub(elapsed).as_secs_f64();
                    self.bar.set_message(format!("{left:.0} s left"));
                }
            }
        }
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_rates_are_bounded() {
        assert_eq!(parse_size("64KiB"), Ok(64 << 10));
        for bad in ["0", "2GiB", "x"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_rate("0.5"), Ok(0.5));
        for bad in ["0", "-1", "nan", "inf", "1e9"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_the_command_line_names_a_gateway_to_load() {
        let words = |words: &[&str]| names_a_url(words.iter().map(OsString::from));
        assert!(words(&["faam", "bench", "--url", "x"]) && words(&["--url=x"]));
        assert!(!words(&["faam", "bench", "--size", "1KiB"]));
    }
}
