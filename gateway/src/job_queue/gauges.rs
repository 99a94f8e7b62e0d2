//! What is read off the queue for the metrics.
//!
//! Invariant: however many tenants there are, the queue's lock is held for as long as it takes to look at
//! [`TENANTS_A_LOOK`] of them; the sums are so of a few moments that follow each other. Nothing is written while it is held.

use std::time::{Duration, Instant};

use faam_sched::{Nanos, TargetSet};

use super::JobQueue;
use crate::tenants::TenantId;

/// Tenants that are looked at while the lock is held: some microseconds, as a few jobs take.
pub(super) const TENANTS_A_LOOK: usize = 256;

/// What tenants have queued.
#[derive(Debug, Default)]
pub(super) struct Queued {
    /// Blocks, of each tenant that has some.
    pub(super) depths: Vec<(TenantId, usize)>,
    /// Predicted cost of them all.
    pub(super) cost: Nanos,
}

/// What engines hold and do.
struct Held {
    busy: Vec<(u8, u8, f64)>,
    cir_scale: f64,
    oldest: Nanos,
    cpu: Nanos,
    card: Nanos,
    healthy_us_per_s: u64,
}

impl JobQueue {
    /// Bring the gauges up to date.
    pub(crate) fn refresh_gauges(&self) {
        let seconds = |nanos: Nanos| Duration::from_nanos(nanos.0).as_secs_f64();
        let mut queued = Queued::default();
        let mut from = 0;
        while let Some(next) = self.look_at_queued(from, &mut queued) {
            from = next;
        }
        let held = self.held();
        for (card, function, busy) in held.busy {
            let device = format!("fpga{card}.{function}");
            self.metrics.device_busy(&device, busy);
        }
        let depths = queued.depths.iter();
        let depths = depths.map(|(tenant, depth)| (tenant.as_str(), *depth));
        self.metrics.queue_depths(depths);
        self.metrics.cir_scale(held.cir_scale);
        self.metrics.queue_oldest(seconds(held.oldest));
        self.metrics.backlog("cpu", seconds(held.cpu));
        self.metrics.backlog("card", seconds(held.card));
        // What is queued is nobody's yet: it takes all that is in service so long.
        let queued =
            u128::from(queued.cost.0) * 1_000_000 / u128::from(held.healthy_us_per_s.max(1));
        let queued = Nanos(u64::try_from(queued).unwrap_or(u64::MAX));
        let all = queued.plus(held.cpu.max(held.card));
        self.metrics.backlog("all", seconds(all));
    }

    /// Adds what some tenants have queued; from which place on to look next, if there are more.
    pub(super) fn look_at_queued(&self, from: usize, queued: &mut Queued) -> Option<usize> {
        let core = self.core.lock();
        let places = core.tenants.some(from, TENANTS_A_LOOK);
        for (tenant, index) in places.iter().flatten() {
            let depth = core.scheduler.queued(*index);
            if depth > 0 {
                queued.depths.push((tenant.clone(), depth));
                queued.cost = queued.cost.plus(core.scheduler.queued_cost(*index));
            }
        }
        (places.len() == TENANTS_A_LOOK).then_some(from + places.len())
    }

    fn held(&self) -> Held {
        let mut core = self.core.lock();
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(core.gauges_read);
        core.gauges_read = now;
        let places = core.functions.iter_mut();
        let busy = places
            .map(|place| {
                let busy = place.busy.read(now).as_secs_f64();
                let part = busy / elapsed.as_secs_f64().max(f64::EPSILON);
                (place.card, place.function, part.min(1.0))
            })
            .collect();
        // Functions work side by side: the last one to end decides.
        let last = |targets: TargetSet| {
            let each = targets.iter().map(|t| core.scheduler.outstanding(t));
            each.max().unwrap_or_default()
        };
        let oldest = core.scheduler.oldest_queued_at();
        Held {
            busy,
            cir_scale: core.scheduler.cir_scale(),
            oldest: oldest.map_or(Nanos(0), |at| self.now().since(at)),
            cpu: last(TargetSet::of(self.cpu)),
            card: last(self.all_cards),
            healthy_us_per_s: core.scheduler.capacity().healthy_us_per_s,
        }
    }
}
