//! When work would end that is not queued yet: for deadlines and for `Retry-After`, at admission.
//!
//! Invariants: it reads and changes nothing; it takes no longer for a hundred thousand tenants than for [`OTHERS_MAX`]. What it
//! says rests on the present backlog, and is no promise: the others may send more, or hang up.

use super::Scheduler;
use crate::Nanos;
use crate::job::JobRequest;
use crate::predictor::Predictor;
use crate::tags::span_at;
use crate::tenant::TenantIndex;

/// Other tenants whose queues are looked at, of those whose turn comes first. Who is beyond is left out, in favour of whoever
/// asks: what is told is sooner then than it will be.
const OTHERS_MAX: usize = 128;

/// When work would end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// How long it would wait for what was there before it, and for its tenant's rate.
    pub queue: Nanos,
    /// How long it would take if nothing else were there.
    pub service: Nanos,
}

impl Forecast {
    /// Until it has ended.
    #[must_use]
    pub const fn total(self) -> Nanos {
        self.queue.plus(self.service)
    }
}

/// Work that somebody announces: jobs of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Announced {
    /// Each of them.
    pub request: JobRequest,
    /// How many.
    pub jobs: u64,
    /// Whether each needs what the one before it left behind.
    pub in_series: bool,
}

impl<J, P: Predictor> Scheduler<J, P> {
    /// When announced work would end if all of it were queued now: by what its tenant has queued, its part of the capacity
    /// and its peak rate. `None` where that is a guess: some target that may take it has never run such a job, or none is in
    /// service.
    #[must_use]
    pub fn forecast(
        &self,
        tenant: TenantIndex,
        announced: &Announced,
        now: Nanos,
    ) -> Option<Forecast> {
        let request = &announced.request;
        let shape = request.shape;
        let effective = self.serving.effective(request.placement);
        let (mut alone, mut soonest) = (None::<Nanos>, None::<Nanos>);
        let serial = if announced.in_series {
            announced.jobs
        } else {
            1
        };
        for target in effective.iter() {
            let one = self.predictor.measured(target, shape.kernel, shape.bytes)?;
            let own = Nanos(one.0.saturating_mul(serial));
            let ends = self.outstanding(target).plus(own);
            alone = Some(alone.map_or(own, |least| least.min(own)));
            soonest = Some(soonest.map_or(ends, |least| least.min(ends)));
        }
        let (alone, soonest) = (alone?, soonest?);
        let cost = self.cost(shape, effective.iter().next());
        let cost = Nanos(cost.0.saturating_mul(announced.jobs));
        let healthy = self.capacity().healthy_us_per_s;
        let service = alone.max(Nanos(span_at(cost, healthy)));
        let (work, limited) = self.worked_off(tenant, cost, now)?;
        let total = soonest.max(work).max(limited).max(service);
        Some(Forecast {
            queue: Nanos(total.0 - service.0),
            service,
        })
    }

    /// When what a tenant has queued is worked off, and a target in service has room.
    #[must_use]
    pub fn backlog(&self, tenant: TenantIndex, now: Nanos) -> Nanos {
        let held = self
            .serving
            .in_service
            .iter()
            .map(|target| self.outstanding(target));
        let held = held.min().unwrap_or_default();
        let queued = self.worked_off(tenant, Nanos(0), now);
        queued.map_or(held, |(work, limited)| held.max(work).max(limited))
    }

    /// How long a tenant's queue and `cost` more take at its rate, and how long its peak rate keeps it waiting.
    ///
    /// Until that is done each of the others has been served in proportion to its weight, or all that it has queued, if that
    /// is less (generalized processor sharing; Parekh and Gallager, 1993).
    fn worked_off(&self, tenant: TenantIndex, cost: Nanos, now: Nanos) -> Option<(Nanos, Nanos)> {
        let t = self.tenant(tenant)?;
        let healthy = self.capacity().healthy_us_per_s;
        let own = t.queued_cost.plus(cost);
        let mine = u128::from(t.config.weight.max(1));
        let mut others: Vec<u32> = self.classes.standing(OTHERS_MAX).collect();
        others.sort_unstable();
        others.dedup();
        let served = |place: u32| {
            let other = self
                .tenants
                .get(place as usize)
                .filter(|_| place != tenant.place)?;
            let in_proportion = u128::from(own.0) * u128::from(other.config.weight) / mine;
            let in_proportion = u64::try_from(in_proportion).unwrap_or(u64::MAX);
            Some(other.queued_cost.0.min(in_proportion))
        };
        let all = others
            .into_iter()
            .filter_map(served)
            .fold(own.0, u64::saturating_add);
        let mut work = span_at(Nanos(all), healthy);
        if t.config.cir_us_per_s > 0 {
            work = work.min(span_at(own, self.held(t.config.cir_us_per_s)));
        }
        // What its burst has is not waited for; whether it has it still, the limit's moment tells.
        let beyond_burst = Nanos(own.0.saturating_sub(t.config.pir_burst.0));
        let peak = t.config.pir_us_per_s.unwrap_or(u64::MAX);
        let limited = t.eligible_at(Nanos(0)).saturating_sub(now.0);
        Some((Nanos(work.max(span_at(beyond_burst, peak))), Nanos(limited)))
    }
}
