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
        let depths = core.tenants.iter().map(|(tenant, place)| {
            let depth = core.scheduler.queued(place.index);
            (tenant.as_str(), depth)
        });
        self.metrics
            .queue_depths(depths.filter(|(_, depth)| *depth > 0));
        self.metrics.cir_scale(core.scheduler.cir_scale());
        let oldest = core
            .scheduler
            .oldest_queued_at()
            .map_or(Nanos(0), |at| self.now().since(at));
        self.metrics.queue_oldest(seconds(oldest));
        let backlog = |targets: TargetSet| {
            let each = targets.iter().map(|t| core.scheduler.outstanding(t).0);
            seconds(Nanos(each.sum()))
        };
        self.metrics
            .backlog("cpu", backlog(TargetSet::of(self.cpu)));
        self.metrics.backlog("card", backlog(self.all_cards));
    }
}
