//! What is read off the queue for the metrics.

use std::time::{Duration, Instant};

use faam_sched::{Nanos, TargetSet};

use super::JobQueue;

impl JobQueue {
    /// Bring the gauges up to date.
    pub(crate) fn refresh_gauges(&self) {
        let seconds = |nanos: Nanos| Duration::from_nanos(nanos.0).as_secs_f64();
        let mut core = self.core.lock();
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(core.gauges_read);
        core.gauges_read = now;
        for place in core.functions.iter_mut() {
            let busy = place.busy.read(now).as_secs_f64() / elapsed.as_secs_f64().max(f64::EPSILON);
            let device = format!("fpga{}.{}", place.card, place.function);
            self.metrics.device_busy(&device, busy.min(1.0));
        }
        let mut queued_ns = 0u64;
        let mut depths = Vec::new();
        for (tenant, place) in core.tenants.iter() {
            let depth = core.scheduler.queued(place.index);
            if depth > 0 {
                depths.push((tenant.as_str(), depth));
                queued_ns = queued_ns.saturating_add(core.scheduler.queued_cost(place.index).0);
            }
        }
        self.metrics.queue_depths(depths.into_iter());
        self.metrics.cir_scale(core.scheduler.cir_scale());
        let oldest = core
            .scheduler
            .oldest_queued_at()
            .map_or(Nanos(0), |at| self.now().since(at));
        self.metrics.queue_oldest(seconds(oldest));
        // Functions work side by side: the last one to end decides.
        let held = |targets: TargetSet| {
            let each = targets.iter().map(|t| core.scheduler.outstanding(t).0);
            each.max().unwrap_or_default()
        };
        let (cpu, card) = (held(TargetSet::of(self.cpu)), held(self.all_cards));
        self.metrics.backlog("cpu", seconds(Nanos(cpu)));
        self.metrics.backlog("card", seconds(Nanos(card)));
        // What is queued is nobody's yet: it takes all that is in service so long.
        let healthy_us_per_s = core.scheduler.capacity().healthy_us_per_s.max(1);
        let queued = u128::from(queued_ns) * 1_000_000 / u128::from(healthy_us_per_s);
        let queued = u64::try_from(queued).unwrap_or(u64::MAX);
        let all = queued.saturating_add(cpu.max(card));
        self.metrics.backlog("all", seconds(Nanos(all)));
    }
}
