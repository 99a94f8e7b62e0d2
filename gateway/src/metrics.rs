//! What the gateway publishes about itself, in OpenMetrics.
//!
//! Owns the names and labels. Invariant: every label set is bounded: of tenants the busiest
//! ([`TENANT_LABELS_MAX`]) have one of their own, of devices the first [`LABELS_MAX`]; the rest
//! shares the label [`OTHER`]; all other labels are words of ours. It does not know where a
//! figure comes from.
//!
//! | module | owns |
//! |---|---|
//! | `phase_histogram` | times of a phase, with a trace for each bucket |
//! | `image_series` | images that are kept, and refusals of others |
//! | `slot_series` | loads of slots, and how each slot stands |
//! | `recovery_series` | quarantines of devices, and how each stands |
//! | `snapshot` | all that `faam top` shows, at one moment |
//! | `tenant_series` | what is published of each tenant, and of which |

mod image_series;
mod phase_histogram;
mod recovery_series;
mod slot_series;
pub mod snapshot;
mod tenant_series;

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use faam_store::WriterCounts;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::admission::Admission;
use crate::cards::CardStatus;
use crate::engines::ServedLevel;
use crate::fronts::front_name::FrontName;
use crate::job::FallbackReason;
use crate::meter::Spent;

use self::image_series::ImageSeries;
use self::phase_histogram::PhaseHistogram;
pub use self::phase_histogram::TraceName;
use self::recovery_series::RecoverySeries;
use self::slot_series::SlotSeries;
pub use self::tenant_series::TENANT_LABELS_MAX;
use self::tenant_series::{End, TenantSeries};

/// Media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Distinct devices with a label of their own.
pub const LABELS_MAX: usize = 64;
/// The label of all others.
pub const OTHER: &str = "other";
/// Phases of a request, and the whole of it.
pub const PHASES: [&str; 9] = [
    "admit", "receive", "load", "queue", "transfer", "device", "verify", "send", "total",
];
/// What their histogram is called.
const REQUEST_SECONDS: &str = "faam_request_seconds";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Direction {
    direction: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FrontEnd {
    front: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Device {
    device: Arc<str>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Fault {
    device: Arc<str>,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Engine {
    engine: Arc<str>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EngineName {
    engine: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Listener {
    listener: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Pool {
    pool: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LevelEngine {
    format: &'static str,
    level: u8,
    engine: &'static str,
    engine_level: i32,
}

type Ratio = Gauge<f64, AtomicU64>;
type Count = Gauge<i64, AtomicI64>;

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    began: Instant,
    registry: Registry,
    tenants: Arc<TenantSeries>,
    devices: LabelSet,
    /// In the order of [`PHASES`].
    request_seconds: [PhaseHistogram; PHASES.len()],
    bytes_in: Counter,
    bytes_out: Counter,
    refused: Family<Reason, Counter>,
    front_requests: Family<FrontEnd, Counter>,
    streams_broken: Family<Reason, Counter>,
    in_flight: Count,
    body_memory: Count,
    spill: Count,
    queue_oldest: Ratio,
    backlog: Family<Pool, Ratio>,
    device_busy: Family<Device, Ratio>,
    device_faults: Family<Fault, Counter>,
    recovery: RecoverySeries,
    slots: SlotSeries,
    images: ImageSeries,
    device_readmissions: Family<Device, Counter>,
    device_readmission_seconds: Family<Device, Ratio>,
    verify_failures: Family<Engine, Counter>,
    engine_refusals: Family<EngineName, Counter>,
    fallback: Family<Reason, Counter>,
    cir_scale: Ratio,
    store_writes: Family<Outcome, Counter>,
    connections: Family<Listener, Count>,
    connections_ended: Family<Reason, Counter>,
    tls_reloads: Family<Outcome, Counter>,
    tls_not_after: Family<Listener, Count>,
    spans: Family<Outcome, Counter>,
    events: Family<Outcome, Counter>,
    level_engine: Family<LevelEngine, Count>,
}

/// A connection that is counted as open.
#[derive(Debug)]
pub struct OpenConnection(Count);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// One request that has ended, as the metrics see it.
#[derive(Clone, Copy, Debug)]
pub struct RequestEnd<'a> {
    /// Who asked.
    pub tenant: &'a str,
    /// `compress` or `decompress`.
    pub kernel: &'static str,
    /// `cpu`, `card`, `simulated`, `mixed` or `none`.
    pub backend: &'static str,
    /// `ok`, or the name of the problem.
    pub outcome: &'static str,
}

impl Metrics {
    /// Everything registered, nothing counted.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("faam");
        let tenants = Arc::new(TenantSeries::default());
        registry.register_collector(Box::new(Arc::clone(&tenants)));
        let cir_scale = Ratio::default();
        cir_scale.set(1.0);
        registry.register(
            "cir_scale",
            "Share of the guaranteed rates that is held now: less than 1 where cards are lost",
            cir_scale.clone(),
        );
        let bytes: Family<Direction, Counter> = register(
            &mut registry,
            "bytes",
            "Body bytes of requests that were served",
        );
        let of = |direction| bytes.get_or_create_owned(&Direction { direction });
        Self {
            began: Instant::now(),
            tenants,
            devices: LabelSet::default(),
            request_seconds: Default::default(),
            bytes_in: of("in"),
            bytes_out: of("out"),
            refused: register(&mut registry, "refused", "Requests that were refused"),
            front_requests: register(
                &mut registry,
                "front_requests",
                "Requests that came through a front, its platform's probes as well, by how they ended",
            ),
            streams_broken: register(
                &mut registry,
                "streams_broken",
                "Answers that broke off after their first byte",
            ),
            in_flight: register(
                &mut registry,
                "inflight",
                "Requests that hold an admission permit",
            ),
            body_memory: register(
                &mut registry,
                "body_memory_bytes",
                "Bytes of bodies that permits hold",
            ),
            spill: register(
                &mut registry,
                "spill_bytes",
                "Bytes of answers on disk, for callers who do not read yet",
            ),
            queue_oldest: register(
                &mut registry,
                "queue_oldest_seconds",
                "Age of the oldest waiting block",
            ),
            backlog: register(
                &mut registry,
                "backlog_seconds",
                "Predicted time to serve what a pool's engines hold; all: everything that waits, by all that is in service",
            ),
            device_busy: register(
                &mut registry,
                "device_busy_ratio",
                "Share of time that the device computes",
            ),
            device_faults: register(&mut registry, "device_faults", "Faults of a device"),
            recovery: RecoverySeries::register(&mut registry),
            slots: SlotSeries::register(&mut registry),
            images: ImageSeries::register(&mut registry),
            device_readmissions: register(
                &mut registry,
                "device_readmissions",
                "Returns to service after a fault",
            ),
            device_readmission_seconds: register(
                &mut registry,
                "device_readmission_seconds",
                "Time from the last fault to the return to service",
            ),
            verify_failures: register(
                &mut registry,
                "verify_failures",
                "Results that did not pass verification",
            ),
            engine_refusals: register(
                &mut registry,
                "engine_refusals",
                "Blocks that a CPU engine of its own level refused and the next one made",
            ),
            fallback: register(
                &mut registry,
                "fallback",
                "Blocks that ran elsewhere than their policy prefers",
            ),
            cir_scale,
            store_writes: register(
                &mut registry,
                "store_writes",
                "Changes that the store was asked for",
            ),
            connections: register(&mut registry, "connections", "Open connections"),
            connections_ended: register(
                &mut registry,
                "connections_ended",
                "Connections and streams that were ended for others' sake",
            ),
            spans: register(&mut registry, "spans", "Spans for a collector"),
            events: register(
                &mut registry,
                "events",
                "Records of the event and audit log",
            ),
            level_engine: register(
                &mut registry,
                "level_engine",
                "CPU engine that serves a level of a format, and the level in its own numbering; always 1",
            ),
            tls_reloads: register(
                &mut registry,
                "tls_reloads",
                "Readings of changed TLS files",
            ),
            tls_not_after: register(
                &mut registry,
                "tls_not_after_seconds",
                "Last second in which the certificate that serves is valid, since 1970",
            ),
            registry,
        }
    }

    /// Counts of what has not happened yet: those that an alert goes by stand at 0 from the first moment on, for a series
    /// that begins at 1 is no increase to who reads it.
    pub fn begin(&self, refusals: impl Iterator<Item = &'static str>, cards: &[CardStatus]) {
        for reason in refusals {
            let _ = self.refused.get_or_create(&Reason { reason });
        }
        for reason in FallbackReason::ALL.map(FallbackReason::as_str) {
            let _ = self.fallback.get_or_create(&Reason { reason });
        }
        for reason in ["cancelled", "deadline", "spill-full", "stalled"] {
            let _ = self.streams_broken.get_or_create(&Reason { reason });
        }
        self.events("written", 0);
        self.events("dropped", 0);
        let engines = cards.iter().flat_map(|card| &card.functions);
        let engines = engines.map(|function| function.name.as_str());
        for engine in engines.chain(["cpu"]) {
            let engine = self.devices.bounded(engine);
            let _ = self.verify_failures.get_or_create(&Engine { engine });
        }
        for card in cards {
            let device = self.devices.bounded(&format!("fpga{}", card.card));
            let kind = "lost";
            let _ = self.device_faults.get_or_create(&Fault { device, kind });
        }
    }

    /// The exposition, in OpenMetrics text.
    #[must_use]
    pub fn render(&self) -> String {
        self.tenants.review(Instant::now());
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode_registry(&mut out, &self.registry);
        let _ = writeln!(
            out,
            "# HELP {REQUEST_SECONDS} Time of a request by phase; parallel blocks add up.\n\
             # TYPE {REQUEST_SECONDS} histogram"
        );
        for (phase, histogram) in PHASES.iter().zip(&self.request_seconds) {
            let label = format!("phase=\"{phase}\"");
            histogram.encode(REQUEST_SECONDS, &label, &mut out);
        }
        let _ = text::encode_eof(&mut out);
        out
    }

    /// A request has ended.
    pub fn request_end(&self, end: RequestEnd<'_>) {
        let RequestEnd {
            tenant,
            kernel,
            backend,
            outcome,
        } = end;
        let end = End {
            kernel,
            backend,
            outcome,
        };
        self.tenants.request_end(tenant, &end);
    }

    /// A request spent so long in each of [`PHASES`], and stood in `trace`, if it was recorded.
    pub fn request_phases(&self, times: [Duration; PHASES.len()], trace: Option<TraceName>) {
        let trace = trace.map(|trace| (trace, SystemTime::now()));
        for (histogram, time) in self.request_seconds.iter().zip(times) {
            histogram.observe(time, trace);
        }
    }

    /// What a request of `tenant` has cost.
    pub fn used(&self, tenant: &str, spent: Spent) {
        self.tenants.used(tenant, spent);
    }

    /// Bodies of a request that was served.
    pub fn bytes(&self, bytes_in: u64, bytes_out: u64) {
        self.bytes_in.inc_by(bytes_in);
        self.bytes_out.inc_by(bytes_out);
    }

    /// Which CPU engine serves which level of a format.
    pub fn engines(&self, served: &[ServedLevel]) {
        for one in served {
            let labels = LevelEngine {
                format: one.format.name(),
                level: one.level.get(),
                engine: one.engine.engine,
                engine_level: one.engine.native,
            };
            self.level_engine.get_or_create(&labels).set(1);
        }
    }

    /// A request that came through a front has ended.
    pub fn front_request(&self, front: FrontName, outcome: &'static str) {
        let front = front.name();
        self.front_requests
            .get_or_create(&FrontEnd { front, outcome })
            .inc();
    }

    /// A request was refused.
    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    /// An answer broke off after its first byte.
    pub fn stream_broken(&self, reason: &'static str) {
        self.streams_broken.get_or_create(&Reason { reason }).inc();
    }

    /// What admission holds now.
    pub fn admission(&self, admission: &Admission) {
        self.in_flight.set(saturating_i64(admission.in_flight()));
        self.body_memory
            .set(saturating_i64(admission.memory_bytes()));
        self.spill.set(saturating_i64(admission.spill_bytes()));
    }

    /// A device failed.
    pub fn device_fault(&self, device: &str, kind: &'static str) {
        self.device_faults
            .get_or_create(&Fault {
                device: self.devices.bounded(device),
                kind,
            })
            .inc();
    }

    /// A result of `engine` did not pass verification.
    pub fn verify_failure(&self, engine: &str) {
        self.verify_failures
            .get_or_create(&Engine {
                engine: self.devices.bounded(engine),
            })
            .inc();
    }

    /// A CPU engine refused a block of its own level: no input does that.
    pub fn engine_refusal(&self, engine: &'static str) {
        let name = EngineName { engine };
        self.engine_refusals.get_or_create(&name).inc();
    }

    /// A block ran elsewhere than its policy prefers.
    pub fn fallback(&self, reason: &'static str) {
        self.fallback.get_or_create(&Reason { reason }).inc();
    }

    /// Share of time that `device` computes, 0 to 1.
    pub fn device_busy(&self, device: &str, ratio: f64) {
        self.device_busy
            .get_or_create(&Device {
                device: self.devices.bounded(device),
            })
            .set(ratio);
    }

    /// Blocks that wait for an engine, of each tenant that has some; of a tenant that is not named none do.
    pub fn queue_depths<'t>(&self, depths: impl Iterator<Item = (&'t str, usize)>) {
        self.tenants.queue_depths(depths);
    }

    /// Share of the guaranteed rates that is held now, 0 to 1.
    pub fn cir_scale(&self, scale: f64) {
        self.cir_scale.set(scale);
    }

    /// What the store has done so far.
    pub fn store(&self, counts: WriterCounts) {
        for (outcome, count) in [("ok", counts.applied), ("failed", counts.failed)] {
            let counter = self.store_writes.get_or_create(&Outcome { outcome });
            counter.inner().store(count, Ordering::Relaxed);
        }
    }

    /// Age of the oldest waiting block.
    pub fn queue_oldest(&self, seconds: f64) {
        self.queue_oldest.set(seconds);
    }

    /// Predicted time to serve what the engines of `pool` hold (`cpu`, `card`), or everything that waits (`all`).
    pub fn backlog(&self, pool: &'static str, seconds: f64) {
        self.backlog.get_or_create(&Pool { pool }).set(seconds);
    }

    /// A connection of `listener` is open until what this gives is dropped.
    ///
    /// Why not set to how many are open: of two that end at once the one that looked first could set it last, and it would
    /// stay one too high until the next begins.
    #[must_use]
    pub fn connection(&self, listener: &'static str) -> OpenConnection {
        let open = self.connections.get_or_create_owned(&Listener { listener });
        open.inc();
        OpenConnection(open)
    }

    /// A connection was ended (`evicted`, `peer-bound`, `write-stall`, `drained`), or a stream (`stream-stall`).
    pub fn connection_ended(&self, reason: &'static str) {
        self.connections_ended
            .get_or_create(&Reason { reason })
            .inc();
    }

    /// `count` spans were `sent`, `failed` (the collector did not take them), or `dropped` (too many waited).
    pub fn spans(&self, outcome: &'static str, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.spans.get_or_create(&Outcome { outcome }).inc_by(count);
    }

    /// `count` records of the event log were `written`, or `dropped` (too many waited, or the store had closed).
    pub fn events(&self, outcome: &'static str, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.events
            .get_or_create(&Outcome { outcome })
            .inc_by(count);
    }

    /// TLS files have changed, and were taken (`ok`) or not (`kept-old`).
    pub fn tls_reload(&self, outcome: &'static str) {
        self.tls_reloads.get_or_create(&Outcome { outcome }).inc();
    }

    /// The certificate of `listener` is valid until `seconds` after the beginning of 1970.
    pub fn tls_not_after(&self, listener: &'static str, seconds: i64) {
        let label = Listener { listener };
        self.tls_not_after.get_or_create(&label).set(seconds);
    }

    /// `device` is in service again, `seconds` after its fault.
    pub fn readmission(&self, device: &str, seconds: f64) {
        let label = Device {
            device: self.devices.bounded(device),
        };
        self.device_readmissions.get_or_create(&label).inc();
        self.device_readmission_seconds
            .get_or_create(&label)
            .set(seconds);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Label values seen so far, at most [`LABELS_MAX`].
#[derive(Debug, Default)]
struct LabelSet(Mutex<HashSet<Arc<str>>>);

impl LabelSet {
    fn bounded(&self, value: &str) -> Arc<str> {
        let mut seen = self.0.lock();
        if let Some(known) = seen.get(value) {
            return Arc::clone(known);
        }
        if seen.len() >= LABELS_MAX {
            return OTHER.into();
        }
        let new: Arc<str> = value.into();
        seen.insert(Arc::clone(&new));
        new
    }
}

fn register<M>(registry: &mut Registry, name: &str, help: &str) -> M
where
    M: Default + Clone + prometheus_client::registry::Metric,
{
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

fn saturating_i64(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
