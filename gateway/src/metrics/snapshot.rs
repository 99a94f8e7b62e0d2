//! Everything that `faam top` shows, at one moment: sums since the gateway's start, so that who reads two of them knows what
//! happened in between.
//!
//! Invariant: bounded as the metrics are. It knows neither terminals nor HTTP.

use serde::Serialize;

use super::{Device, Metrics, PHASES, Pool, Reason};

/// See the module's head.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// Seconds since the gateway's start.
    pub uptime_s: f64,
    /// Requests that hold a permit.
    pub in_flight: i64,
    /// Bytes of bodies in memory.
    pub body_memory_bytes: i64,
    /// Bytes of answers on disk.
    pub spill_bytes: i64,
    /// Age of the oldest waiting block.
    pub queue_oldest_s: f64,
    /// Share of the guaranteed rates that is held.
    pub cir_scale: f64,
    /// Bytes of bodies, in and out.
    pub bytes_in: u64,
    /// The answers'.
    pub bytes_out: u64,
    /// Predicted time to serve all that waits.
    pub backlog: Vec<PoolBacklog>,
    /// Refusals by reason, those that there were.
    pub refused: Vec<Refused>,
    /// The busiest tenants, and all others together.
    pub tenants: Vec<TenantSnapshot>,
    /// Times by phase.
    pub phases: Vec<PhaseSnapshot>,
}

/// How far a pool is behind.
#[derive(Clone, Debug, Serialize)]
pub struct PoolBacklog {
    /// `all`, `card`, `cpu`.
    pub pool: &'static str,
    /// So far.
    pub seconds: f64,
}

/// Refusals.
#[derive(Clone, Debug, Serialize)]
pub struct Refused {
    /// Why.
    pub reason: &'static str,
    /// How many.
    pub count: u64,
}

/// What a tenant has done.
#[derive(Clone, Debug, Serialize)]
pub struct TenantSnapshot {
    /// Its name; `other` is all without a label of their own.
    pub tenant: String,
    /// Requests that ended.
    pub requests: u64,
    /// Of them those that did not end `ok`.
    pub failed: u64,
    /// Blocks that wait.
    pub queue_depth: i64,
    /// Time on cards.
    pub device_s: f64,
    /// Time in queues.
    pub queue_s: f64,
    /// Time on the CPU.
    pub cpu_s: f64,
    /// Time charged.
    pub reference_s: f64,
}

/// Times of a phase.
#[derive(Clone, Debug, Serialize)]
pub struct PhaseSnapshot {
    /// Its name.
    pub phase: &'static str,
    /// All of its time.
    pub sum_s: f64,
    /// Upper bounds of its buckets, seconds; the last has none and is left out.
    pub bounds_s: Vec<f64>,
    /// How many are in each, the last one included.
    pub counts: Vec<u64>,
}

impl Metrics {
    /// What stands in the metrics now; `refusals` are the reasons that there are.
    #[must_use]
    pub fn snapshot(&self, refusals: impl Iterator<Item = &'static str>) -> Snapshot {
        let refused = refusals.filter_map(|reason| {
            let count = self.refused.get(&Reason { reason })?.get();
            (count > 0).then_some(Refused { reason, count })
        });
        let backlog = ["all", "card", "cpu"].into_iter().filter_map(|pool| {
            let seconds = self.backlog.get(&Pool { pool })?.get();
            Some(PoolBacklog { pool, seconds })
        });
        let phases = PHASES.into_iter().zip(&self.request_seconds);
        let phases = phases.map(|(phase, histogram)| {
            let (sum_s, buckets) = histogram.read();
            let bounds = buckets.iter().map(|(bound, _)| *bound);
            PhaseSnapshot {
                phase,
                sum_s,
                bounds_s: bounds.filter(|bound| bound.is_finite()).collect(),
                counts: buckets.iter().map(|(_, count)| *count).collect(),
            }
        });
        Snapshot {
            uptime_s: self.began.elapsed().as_secs_f64(),
            in_flight: self.in_flight.get(),
            body_memory_bytes: self.body_memory.get(),
            spill_bytes: self.spill.get(),
            queue_oldest_s: self.queue_oldest.get(),
            cir_scale: self.cir_scale.get(),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            backlog: backlog.collect(),
            refused: refused.collect(),
            tenants: self.tenants.snapshot(),
            phases: phases.collect(),
        }
    }

    /// Share of time that `device` computed when it was last looked at.
    #[must_use]
    pub fn device_busy_ratio(&self, device: &str) -> Option<f64> {
        let device = self.devices.bounded(device);
        Some(self.device_busy.get(&Device { device })?.get())
    }
}
