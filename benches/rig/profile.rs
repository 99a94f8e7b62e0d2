//! Where a server's processor time goes: its stacks sampled with `perf` under the rig's own load, folded, shared out by
//! component, and drawn.
//!
//! Samples are of the software clock (`cpu-clock`), which needs no hardware counters and so works in virtual machines.
//! Invariant: sampling, folding and drawing are bounded in time, and a profile is of a server of its own, so that no
//! measured window carries perf's cost. It does not know why a profile is wanted.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use inferno::collapse::Collapse;
use inferno::collapse::perf::{Folder, Options as FoldOptions};
use inferno::flamegraph::{Options as DrawOptions, from_lines};
use serde::{Deserialize, Serialize};

use crate::contender::Row;
use crate::load::{self, Plan, Stop};
use crate::pool::Pool;
use crate::results::{Cell, Floor, as_f64};
use crate::server::{Programs, Server, bound};

/// Samples a second: not a multiple of the scheduler's tick.
const SAMPLES_PER_S: &str = "997";
/// Bytes of stack that each sample carries for unwinding: release builds keep no frame pointers.
const CALL_GRAPH: &str = "dwarf,8192";
/// Load before sampling.
const WARM_UP: Duration = Duration::from_millis(500);
/// Longest that one request may take.
const REQUEST_MAX: Duration = Duration::from_secs(60);
/// How long perf may take to unwind what it recorded, seconds, as an argument of timeout(1).
const UNWIND_S_MAX: &str = "60";
/// Bytes of unwound stacks that are read at most.
const UNWOUND_BYTES_MAX: u64 = 512 << 20;
/// Frames narrower than this share are not drawn, per cent.
const DRAWN_PERCENT_MIN: f64 = 0.2;

/// A part of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Component {
    /// Making the compressed data, its checksum, its framing.
    Codec,
    /// Decoding it again and comparing.
    Verify,
    /// Parsing requests and writing answers: hyper.
    Http,
    /// The gateway's own layers: routing, credentials, admission, scheduling, metrics, spans.
    Gateway,
    /// tokio, and threads that wake each other.
    Runtime,
    /// The kernel's sockets.
    Sockets,
    /// The rest of the kernel: waking, switching, memory.
    Kernel,
    /// What no caller's name tells.
    Other,
}

impl Component {
    /// All.
    pub(crate) const ALL: [Self; 8] = [
        Self::Codec,
        Self::Verify,
        Self::Http,
        Self::Gateway,
        Self::Runtime,
        Self::Sockets,
        Self::Kernel,
        Self::Other,
    ];

    /// In words.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Codec => "codec",
            Self::Verify => "verification",
            Self::Http => "HTTP parse and write",
            Self::Gateway => "gateway layers",
            Self::Runtime => "runtime and threads",
            Self::Sockets => "kernel: sockets",
            Self::Kernel => "kernel: the rest",
            Self::Other => "not told apart",
        }
    }
}

/// What was sampled of one component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Which.
    pub(crate) component: Component,
    /// CPU time, nanoseconds, of samples in which its code, or what it called, was running.
    pub(crate) sampled_ns: u64,
}

/// Where the time of one row at one cell goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Profile {
    /// Who.
    pub(crate) row: Row,
    /// On what.
    pub(crate) cell: Cell,
    /// Targets that it is there for.
    pub(crate) targets: Vec<String>,
    /// CPU time that was sampled, nanoseconds: perf's clock counts each sample as the time since the one before.
    pub(crate) sampled_ns: u64,
    /// By component.
    pub(crate) parts: Vec<Part>,
    /// CPU time a request in the measured windows, microseconds: what the shares are of.
    pub(crate) cpu_us_per_request: f64,
    /// What that would be at the least.
    pub(crate) floor: Option<Floor>,
    /// File of the flame graph, beside the run's.
    pub(crate) flame: String,
}

impl Profile {
    /// Share of a part in all samples, 0 to 1.
    pub(crate) fn share(&self, part: &Part) -> f64 {
        as_f64(part.sampled_ns) / as_f64(self.sampled_ns.max(1))
    }
}

/// Folded stacks: a line each, frames from the outermost on, and nanoseconds.
#[derive(Debug)]
pub(crate) struct Stacks {
    folded: String,
    /// Requests that were answered meanwhile.
    pub(crate) requests: u64,
}

/// What is sampled, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sampling {
    /// Whose stacks.
    pub(crate) row: Row,
    /// Under which load.
    pub(crate) cell: Cell,
    /// How long.
    pub(crate) lasts: Duration,
}

/// Why there are no profiles here; `None` if perf is there.
pub(crate) fn missing() -> Option<String> {
    let found = bound("perf")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    (!found.is_ok_and(|status| status.success()))
        .then(|| "perf is not installed (sudo apt-get install -y linux-perf)".to_owned())
}

/// Starts a server, loads it, samples it into `data`.
///
/// # Errors
/// The server or perf does not work, or may not look.
pub(crate) fn record(
    programs: &Programs,
    sampling: Sampling,
    pool: &Arc<Pool>,
    data: &Path,
    stop: &Stop,
) -> anyhow::Result<Stacks> {
    let Sampling { row, cell, lasts } = sampling;
    let server = Server::start(programs, row, cell.body_bytes, &[])?;
    let mut plan = Plan {
        concurrency: cell.concurrency,
        warm_up: Duration::ZERO,
        window: WARM_UP,
        request_max: REQUEST_MAX,
        think: Duration::ZERO,
        samples_max: 0,
        cpu: programs.load_cpu,
    };
    let aim = server.aim(row);
    load::run(&aim, pool, plan, &server.groups(), stop)?;
    let mut perf = bound("perf")
        .args(["record", "--quiet", "-e", "cpu-clock", "-F", SAMPLES_PER_S])
        .args(["--call-graph", CALL_GRAPH, "-o"])
        .arg(data)
        .args(["-p", &server.pid().to_string()])
        .args(["--", "sleep", &lasts.as_secs_f64().to_string()])
        .stdin(Stdio::null())
        .spawn()
        .context("cannot start perf (sudo apt-get install -y linux-perf)")?;
    plan.window = lasts;
    let window = load::run(&aim, pool, plan, &server.groups(), stop);
    // It ends with its sleep.
    let recorded = perf.wait()?;
    let window = window?;
    anyhow::ensure!(recorded.success(), "perf record failed: {recorded}");
    drop(server);
    Ok(Stacks {
        folded: fold(data)?,
        requests: window.requests,
    })
}

/// Unwinds and folds.
fn fold(data: &Path) -> anyhow::Result<String> {
    let mut script = bound("timeout")
        .args([UNWIND_S_MAX, "perf", "script", "--no-inline", "-i"])
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start perf script")?;
    let unwound = script.stdout.take().context("no output of perf script")?;
    let mut options = FoldOptions::default();
    // Tells the kernel's functions from ours.
    options.annotate_kernel = true;
    let mut folded = Vec::new();
    let read = Folder::from(options)
        .collapse(BufReader::new(unwound.take(UNWOUND_BYTES_MAX)), &mut folded);
    let ended = script.wait()?;
    read.context("perf's stacks cannot be folded")?;
    anyhow::ensure!(ended.success(), "perf script failed: {ended}");
    Ok(String::from_utf8_lossy(&folded).into_owned())
}

impl Stacks {
    /// Draws them into `file`.
    ///
    /// # Errors
    /// There are none, or the file cannot be written.
    pub(crate) fn draw(&self, title: &str, file: &PathBuf) -> anyhow::Result<()> {
        let mut options = DrawOptions::default();
        title.clone_into(&mut options.title);
        "ns".clone_into(&mut options.count_name);
        options.min_width = DRAWN_PERCENT_MIN;
        options.deterministic = true;
        let mut svg = Vec::new();
        from_lines(&mut options, self.folded.lines(), &mut svg)
            .context("the stacks cannot be drawn")?;
        std::fs::write(file, svg).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Sampled time by component, the largest part first, and all of it.
    pub(crate) fn parts(&self) -> (Vec<Part>, u64) {
        let mut parts: Vec<Part> = Component::ALL
            .map(|component| Part {
                component,
                sampled_ns: 0,
            })
            .into();
        let mut all = 0;
        for line in self.folded.lines() {
            let Some((stack, count)) = line.rsplit_once(' ') else {
                continue;
            };
            let count: u64 = count.parse().unwrap_or(0);
            let component = component_of(stack);
            if let Some(part) = parts.iter_mut().find(|part| part.component == component) {
                part.sampled_ns += count;
                all += count;
            }
        }
        parts.retain(|part| part.sampled_ns > 0);
        parts.sort_by_key(|part| std::cmp::Reverse(part.sampled_ns));
        (parts, all)
    }
}

/// Mark of the kernel's frames.
const KERNEL: &str = "_[k]";
/// Parts of names of the kernel's that are about sockets.
const SOCKETS: [&str; 7] = [
    "tcp_", "sock_", "inet_", "skb_", "net_rx", "sendmsg", "recvmsg",
];
/// Parts of names that only decoders have; here what decodes verifies.
const VERIFY: [&str; 7] = [
    "faam_codec::verify",
    "faam_codec::secret_end",
    "Verifier",
    "inflate",
    "deflate_decompress",
    "decode_huffman",
    "check_block",
];
/// Parts of names of what compresses.
const CODEC: [&str; 6] = ["faam_codec", "deflate", "isal_", "crc32", "ZSTD_", "LZ4_"];
/// Crates of ours and of others, by the component that they are.
const CRATES: [(&str, Component); 16] = [
    ("hyper", Component::Http),
    ("httparse", Component::Http),
    ("h2::", Component::Http),
    ("http_body", Component::Http),
    ("faam_gateway::", Component::Gateway),
    ("faam_sched::", Component::Gateway),
    ("faam_driver::", Component::Gateway),
    ("axum", Component::Gateway),
    ("tower", Component::Gateway),
    ("tracing", Component::Gateway),
    ("prometheus_client", Component::Gateway),
    ("http::", Component::Gateway),
    ("tokio", Component::Runtime),
    ("mio::", Component::Runtime),
    ("parking_lot", Component::Runtime),
    ("crossbeam", Component::Runtime),
];

/// Whose a stack is: the kernel's where the kernel ran; the codec's or the verification's where one of their functions is
/// on it; else that of the innermost frame that names a component, so that memory copied for hyper is hyper's.
fn component_of(stack: &str) -> Component {
    let has = |marks: &[&str], frame: &str| marks.iter().any(|mark| frame.contains(mark));
    // The first word is the thread's name.
    let frames = || {
        stack
            .split_once(';')
            .map_or("", |(_, frames)| frames)
            .split(';')
    };
    if frames()
        .next_back()
        .is_some_and(|leaf| leaf.ends_with(KERNEL))
    {
        let sockets = frames().any(|frame| frame.ends_with(KERNEL) && has(&SOCKETS, frame));
        return if sockets {
            Component::Sockets
        } else {
            Component::Kernel
        };
    }
    if frames().any(|frame| has(&VERIFY, frame)) {
        return Component::Verify;
    }
    if frames().any(|frame| has(&CODEC, frame)) {
        return Component::Codec;
    }
    // A generic function's name holds those of its arguments: the first one is its own.
    let named = |frame: &str| {
        CRATES
            .iter()
            .filter_map(|(name, component)| Some((frame.find(name)?, *component)))
            .min_by_key(|(at, _)| *at)
            .map(|(_, component)| component)
    };
    frames().rev().find_map(named).unwrap_or(Component::Other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_whose_innermost_named_frame_it_is() {
        for (stack, component) in [
            (
                "faam-http;tokio::runtime::run;hyper::proto::h1::dispatch;__memmove_avx",
                Component::Http,
            ),
            (
                "faam-http;hyper::proto::poll;<axum::FromFn as tower_service::Service>::call;malloc",
                Component::Gateway,
            ),
            (
                "cpu-0;faam_gateway::cpu::Worker::make;faam_codec::libdeflate::compress;deflate_compress_fastest",
                Component::Codec,
            ),
            (
                "cpu-0;faam_gateway::cpu::Worker::make;faam_codec::verify::Verifier::check_block;__memcmp_avx2",
                Component::Verify,
            ),
            (
                "cpu-0;faam_gateway::cpu::work;[libisal.so.2];decode_huffman_code_block_stateless_04",
                Component::Verify,
            ),
            (
                "faam-http;hyper::write;__libc_writev;entry_SYSCALL_64_[k];tcp_sendmsg_[k];_raw_spin_lock_[k]",
                Component::Sockets,
            ),
            (
                "cpu-0;faam_codec::compress;asm_exc_page_fault_[k];clear_page_[k]",
                Component::Kernel,
            ),
            ("faam-http;tokio::park;epoll_wait", Component::Runtime),
            ("faam;_start;[unknown]", Component::Other),
        ] {
            assert_eq!(component_of(stack), component, "{stack}");
        }
    }

    #[test]
    fn samples_are_summed_and_drawn() {
        let stacks = Stacks {
            folded: "t;hyper::a;memcpy 3\nt;faam_codec::b 5\nt;[unknown] 1\n".to_owned(),
            requests: 9,
        };
        let (parts, all) = stacks.parts();
        let found: Vec<_> = parts.iter().map(|p| (p.component, p.sampled_ns)).collect();
        assert_eq!(
            found,
            [
                (Component::Codec, 5),
                (Component::Http, 3),
                (Component::Other, 1)
            ]
        );
        assert_eq!(all, 9);
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("flame.svg");
        stacks.draw("a title", &file).expect("drawn");
        let svg = std::fs::read_to_string(file).expect("there");
        assert!(svg.contains("<svg") && svg.contains("a title") && svg.contains("faam_codec::b"));
    }
}
