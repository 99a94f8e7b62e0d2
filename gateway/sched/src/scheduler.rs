//! Start-time fair queueing over tenants, with placement at the moment of taking.
//!
//! Each tenant has a bounded queue and a weight. A backlogged tenant carries a
//! start tag: the larger of virtual time and the finish tag of its last job. The
//! tenant with the least start tag goes first; taking a job charges its predicted
//! reference cost over the weight, and [`Scheduler::finish`] corrects the charge to
//! what was measured. (Goyal, Vin and Cheng, "Start-time Fair Queueing", 1996;
//! with several jobs in service at once it is SFQ(D), Jin, Chase and Kaur, 2004.)
//!
//! Within a tenant, jobs of the same placement are first in, first out; jobs of
//! different placements stand in lanes of their own, so that one that waits for a
//! card does not hold up one that does not.

use std::collections::{BTreeSet, VecDeque};

use crate::Nanos;
use crate::predictor::{KernelClass, Predictor};
use crate::target::{Placement, TARGETS_MAX, TargetIndex, TargetSet};
use crate::tenant::{Capacity, TenantConfig, TenantIndex, WEIGHT_DEFAULT};

/// Heads that one call of `next` looks at before it gives up, whether they could run here or not.
const HEADS_SCANNED_MAX: usize = 1024;

/// What is tuned.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Heads, in tag order, among which a target may pick one that suits it.
    pub eligible_heads_max: usize,
    /// A head is left to another target for no longer than this.
    pub defer_max: Nanos,
    /// How much later than elsewhere a job may end here and still be taken.
    pub slack: Nanos,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            eligible_heads_max: 8,
            defer_max: Nanos(2_000_000),
            slack: Nanos(200_000),
        }
    }
}

/// The tenant's queue is at its bound; the job comes back.
#[derive(Debug, thiserror::Error)]
#[error("the tenant's queue holds {queued} jobs, its most; wait for one to be taken")]
pub struct QueueFull<J> {
    /// The job that did not fit.
    pub job: J,
    /// Jobs in the queue.
    pub queued: usize,
}

/// What decides how long a job takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobShape {
    /// Kind of work.
    pub kernel: KernelClass,
    /// Bytes of input.
    pub bytes: usize,
}

/// What a target holds while it runs a job; goes back with [`Scheduler::finish`] or [`Scheduler::requeue`].
#[derive(Debug)]
#[must_use = "a receipt that is dropped leaves its target charged for ever"]
pub struct Receipt {
    tenant: TenantIndex,
    target: TargetIndex,
    placement: Placement,
    kernel: KernelClass,
    bytes: usize,
    predicted: Nanos,
    charged: Nanos,
    queued_at: Nanos,
}

/// A job that a target took.
#[derive(Debug)]
pub struct Taken<J> {
    /// The job.
    pub job: J,
    /// To be given back when it ends.
    pub receipt: Receipt,
    /// How long it stood in the queue.
    pub waited: Nanos,
    /// Whether a target it would sooner have run on let it stand for `defer_max`.
    pub deferred: bool,
}

#[derive(Debug)]
struct Queued<J> {
    job: J,
    kernel: KernelClass,
    bytes: usize,
    queued_at: Nanos,
    sequence: u64,
    /// Set for a job that comes back: its charge was made when it was first taken.
    charged: Option<Nanos>,
}

impl<J> Queued<J> {
    const fn shape(&self) -> JobShape {
        JobShape {
            kernel: self.kernel,
            bytes: self.bytes,
        }
    }
}

#[derive(Debug)]
struct Lane<J> {
    placement: Placement,
    jobs: VecDeque<Queued<J>>,
}

#[derive(Debug)]
struct Tenant<J> {
    /// Which of the place's successive tenants; odd while there is one.
    generation: u32,
    config: TenantConfig,
    queued: usize,
    start: u128,
    finish: u128,
    lanes: Vec<Lane<J>>,
}

#[derive(Clone, Copy, Debug)]
struct Target {
    servers: u64,
    outstanding_ns: u64,
    /// Reference time of what ended here, and the time that it took, both fading.
    reference_ns: f64,
    busy_ns: f64,
    reference: bool,
}

/// See the module's head. `J` is whatever the caller runs.
#[derive(Debug)]
pub struct Scheduler<J> {
    config: Config,
    tenants: Vec<Tenant<J>>,
    /// Places of tenants that were removed.
    free: Vec<u32>,
    backlogged: BTreeSet<(u128, TenantIndex)>,
    targets: Vec<Target>,
    in_service: TargetSet,
    predictor: Predictor,
    virtual_time: u128,
    sequence: u64,
}

impl<J> Scheduler<J> {
    /// An empty scheduler.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            tenants: Vec::new(),
            free: Vec::new(),
            backlogged: BTreeSet::new(),
            targets: Vec::new(),
            in_service: TargetSet::EMPTY,
            predictor: Predictor::default(),
            virtual_time: 0,
            sequence: 0,
        }
    }

    /// A new tenant. The place of one that was removed is used again.
    pub fn add_tenant(&mut self, config: TenantConfig) -> TenantIndex {
        if let Some(place) = self.free.pop()
            && let Some(t) = self.tenants.get_mut(place as usize)
        {
            let generation = t.generation.wrapping_add(1);
            *t = Tenant::new(generation, config, self.virtual_time);
            return TenantIndex { place, generation };
        }
        let place = u32::try_from(self.tenants.len()).unwrap_or(u32::MAX);
        self.tenants.push(Tenant::new(1, config, self.virtual_time));
        TenantIndex {
            place,
            generation: 1,
        }
    }

    /// Changes what a tenant was promised. What it has queued stays, also beyond a lower bound.
    pub fn set_tenant(&mut self, tenant: TenantIndex, config: TenantConfig) {
        if let Some(t) = live_mut(&mut self.tenants, tenant) {
            t.config = config;
        }
    }

    /// Removes a tenant and gives its queued jobs back. Receipts of its jobs stay good.
    pub fn remove_tenant(&mut self, tenant: TenantIndex) -> Vec<J> {
        let Some(t) = live_mut(&mut self.tenants, tenant) else {
            return Vec::new();
        };
        t.generation = t.generation.wrapping_add(1);
        t.queued = 0;
        let lanes = std::mem::take(&mut t.lanes);
        let start = t.start;
        self.backlogged.remove(&(start, tenant));
        self.free.push(tenant.place);
        let jobs = lanes.into_iter().flat_map(|lane| lane.jobs);
        jobs.map(|queued| queued.job).collect()
    }

    /// What the targets give, by what was measured; one that was never used counts as reference engines.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        let mut capacity = Capacity::default();
        for (target, n) in self.targets.iter().zip(0u8..) {
            let us = target.capacity_us_per_s();
            capacity.full_us_per_s = capacity.full_us_per_s.saturating_add(us);
            if self.in_service.contains(TargetIndex(n)) {
                capacity.healthy_us_per_s = capacity.healthy_us_per_s.saturating_add(us);
            }
        }
        capacity
    }

    /// A new target, out of service, that runs `servers` jobs side by side; `None` once there are [`TARGETS_MAX`].
    ///
    /// Cost is charged as the predicted time on the `reference` target, wherever the job runs;
    /// the first target that says it is one is taken.
    pub fn add_target(&mut self, servers: u32, reference: bool) -> Option<TargetIndex> {
        let index = u8::try_from(self.targets.len())
            .ok()
            .filter(|n| usize::from(*n) < TARGETS_MAX)?;
        self.targets.push(Target {
            servers: u64::from(servers.max(1)),
            outstanding_ns: 0,
            reference_ns: 0.0,
            busy_ns: 0.0,
            reference,
        });
        Some(TargetIndex(index))
    }

    /// Put a target into service or take it out; what it holds is not touched.
    pub fn set_in_service(&mut self, target: TargetIndex, on: bool) {
        let this = TargetSet::of(target);
        self.in_service = if on {
            self.in_service.union(this)
        } else {
            self.in_service.without(this)
        };
    }

    /// Targets in service.
    #[must_use]
    pub const fn in_service(&self) -> TargetSet {
        self.in_service
    }

    /// Jobs that a tenant has queued.
    #[must_use]
    pub fn queued(&self, tenant: TenantIndex) -> usize {
        self.tenant(tenant).map_or(0, |t| t.queued)
    }

    /// Jobs queued in all.
    #[must_use]
    pub fn queued_in_all(&self) -> usize {
        self.backlogged
            .iter()
            .filter_map(|(_, index)| self.tenant(*index))
            .map(|t| t.queued)
            .sum()
    }

    /// When the job that has waited longest was queued.
    #[must_use]
    pub fn oldest_queued_at(&self) -> Option<Nanos> {
        self.backlogged
            .iter()
            .filter_map(|(_, index)| self.tenant(*index))
            .flat_map(|tenant| &tenant.lanes)
            .filter_map(|lane| lane.jobs.front())
            .map(|job| job.queued_at)
            .min()
    }

    /// Predicted time of the work that a target holds, spread over its servers.
    #[must_use]
    pub fn outstanding(&self, target: TargetIndex) -> Nanos {
        Nanos(
            self.targets
                .get(target.number())
                .map_or(0, |t| t.outstanding_ns / t.servers),
        )
    }

    /// Queue a job.
    ///
    /// # Errors
    /// [`QueueFull`] with the job, when the tenant's queue is at its bound or the tenant is unknown.
    pub fn push(
        &mut self,
        tenant: TenantIndex,
        job: J,
        kernel: KernelClass,
        bytes: usize,
        placement: Placement,
        now: Nanos,
    ) -> Result<(), QueueFull<J>> {
        let virtual_time = self.virtual_time;
        let sequence = self.sequence;
        let Some(t) = live_mut(&mut self.tenants, tenant) else {
            return Err(QueueFull { job, queued: 0 });
        };
        if t.queued >= t.config.queued_max {
            return Err(QueueFull {
                job,
                queued: t.queued,
            });
        }
        self.sequence += 1;
        if t.queued == 0 {
            t.start = t.finish.max(virtual_time);
            self.backlogged.insert((t.start, tenant));
        }
        t.queued += 1;
        t.lane(placement).jobs.push_back(Queued {
            job,
            kernel,
            bytes,
            queued_at: now,
            sequence,
            charged: None,
        });
        Ok(())
    }

    /// Put a job back that its target could not finish, ahead of the tenant's others,
    /// at no second charge. The bound of the queue does not apply: the job was in it before.
    pub fn requeue(&mut self, receipt: Receipt, job: J, placement: Placement) {
        self.release(&receipt);
        let virtual_time = self.virtual_time;
        let sequence = self.sequence;
        self.sequence += 1;
        let Some(t) = live_mut(&mut self.tenants, receipt.tenant) else {
            return;
        };
        if t.queued == 0 {
            t.start = t.finish.max(virtual_time);
            self.backlogged.insert((t.start, receipt.tenant));
        }
        t.queued += 1;
        t.lane(placement).jobs.push_front(Queued {
            job,
            kernel: receipt.kernel,
            bytes: receipt.bytes,
            queued_at: receipt.queued_at,
            sequence,
            charged: Some(receipt.charged),
        });
    }

    /// A target with credit asks for work. `None`: nothing that it should run now.
    pub fn next(&mut self, target: TargetIndex, now: Nanos) -> Option<Taken<J>> {
        if !self.in_service.contains(target) {
            return None;
        }
        let (tenant, lane, deferred) = self.choose(target, now)?;
        self.take(tenant, lane, target, now, deferred)
    }

    /// Charges a job that its caller runs at once, on `target`, without a place in the queue: as if it were pushed and
    /// taken now. `None`, with nothing charged, where it would pass a job that goes before it on this target, would sooner end
    /// elsewhere, or where no job of its kind and of its size or more has been measured here, or those took longer than
    /// `measured_max`: whoever waits on the caller's thread must not be the first to learn how long such a job takes.
    pub fn take_now(
        &mut self,
        tenant: TenantIndex,
        job: JobShape,
        placement: Placement,
        target: TargetIndex,
        measured_max: Nanos,
        now: Nanos,
    ) -> Option<Receipt> {
        let JobShape { kernel, bytes } = job;
        let effective = placement.effective(self.in_service);
        let predicted = self.predictor.predict(target, kernel, bytes);
        let measured = self.predictor.measured(target, kernel, bytes);
        if !effective.contains(target)
            || measured.is_none_or(|measured| measured > measured_max)
            || self.somebody_goes_before(tenant, target)
            || self.ends_sooner_elsewhere(target, predicted, job, effective)
        {
            return None;
        }
        let charged = self
            .predictor
            .predict(self.reference(target), kernel, bytes);
        let virtual_time = self.virtual_time;
        let t = live_mut(&mut self.tenants, tenant)?;
        if t.queued == 0 {
            t.start = t.finish.max(virtual_time);
            t.finish = t.start + scaled(charged, t.config.weight);
            self.virtual_time = virtual_time.max(t.start);
        } else {
            // What is queued waits for another target; its tag moves on by what is taken here.
            self.backlogged.remove(&(t.start, tenant));
            t.start += scaled(charged, t.config.weight);
            t.finish += scaled(charged, t.config.weight);
            self.backlogged.insert((t.start, tenant));
        }
        if let Some(t) = self.targets.get_mut(target.number()) {
            t.outstanding_ns = t.outstanding_ns.saturating_add(predicted.0);
        }
        Some(Receipt {
            tenant,
            target,
            placement,
            kernel,
            bytes,
            predicted,
            charged,
            queued_at: now,
        })
    }

    /// Whether a job stands in a queue that `target` may take, and would take before one of this tenant's that came now. Whoever
    /// has had less than those who wait need not wait behind them: that would add a whole job of theirs to each small one of
    /// its own, however seldom it comes.
    fn somebody_goes_before(&self, tenant: TenantIndex, target: TargetIndex) -> bool {
        let Some(own) = self.tenant(tenant) else {
            return true;
        };
        let start = match own.queued {
            0 => own.finish.max(self.virtual_time),
            _ => own.start,
        };
        let heads = self.backlogged.iter().take(HEADS_SCANNED_MAX);
        heads
            .take_while(|(tag, index)| *tag <= start || *index == tenant)
            .filter_map(|(_, index)| self.tenant(*index))
            .flat_map(|tenant| &tenant.lanes)
            .any(|lane| lane.placement.effective(self.in_service).contains(target))
    }

    /// Whether a job that begins at once on `target`, beside what that holds, would end later than on another.
    fn ends_sooner_elsewhere(
        &self,
        target: TargetIndex,
        predicted: Nanos,
        job: JobShape,
        effective: TargetSet,
    ) -> bool {
        let mut others = effective.iter().filter(|other| *other != target);
        let slack = self.config.slack.0;
        others.any(|other| predicted.0 > self.ends_after(other, job).saturating_add(slack))
    }

    /// The target whose time is charged, wherever a job runs; `target` itself where there is none.
    fn reference(&self, target: TargetIndex) -> TargetIndex {
        let reference = self.targets.iter().position(|t| t.reference);
        TargetIndex(
            reference
                .and_then(|n| u8::try_from(n).ok())
                .unwrap_or(target.0),
        )
    }

    /// A job ended: `took` is what the target spent on it, `reference` the measured cost in
    /// reference time, if it was measured; the charge is corrected to it. What was charged in the end.
    pub fn finish(&mut self, receipt: Receipt, took: Nanos, reference: Option<Nanos>) -> Nanos {
        self.release(&receipt);
        self.predictor
            .learn(receipt.target, receipt.kernel, receipt.bytes, took);
        let reference_time = reference.unwrap_or(receipt.charged);
        if let Some(target) = self.targets.get_mut(receipt.target.number()) {
            target.learn_speed(took, reference_time);
        }
        if let Some(measured) = reference {
            self.correct(receipt.tenant, receipt.charged, measured);
        }
        reference_time
    }

    /// A job ended without teaching anything about speed: it was cancelled, or its input was bad.
    /// What it was charged stays.
    pub fn abandon(&mut self, receipt: Receipt) -> Nanos {
        self.release(&receipt);
        receipt.charged
    }

    /// Remove the queued jobs that `gone` picks, and give them back.
    pub fn remove(&mut self, mut gone: impl FnMut(&J) -> bool) -> Vec<J> {
        let mut out = Vec::new();
        for (n, tenant) in self.tenants.iter_mut().enumerate() {
            for lane in &mut tenant.lanes {
                for _ in 0..lane.jobs.len() {
                    let Some(queued) = lane.jobs.pop_front() else {
                        break;
                    };
                    if gone(&queued.job) {
                        tenant.queued -= 1;
                        out.push(queued.job);
                    } else {
                        lane.jobs.push_back(queued);
                    }
                }
            }
            tenant.lanes.retain(|lane| !lane.jobs.is_empty());
            if tenant.queued == 0 {
                let place = u32::try_from(n).unwrap_or(u32::MAX);
                let generation = tenant.generation;
                let index = TenantIndex { place, generation };
                self.backlogged.remove(&(tenant.start, index));
            }
        }
        out
    }

    fn tenant(&self, index: TenantIndex) -> Option<&Tenant<J>> {
        let tenant = self.tenants.get(index.place as usize)?;
        (tenant.generation == index.generation).then_some(tenant)
    }

    /// The tenant and lane to take from, and whether only the deferral limit allows it.
    fn choose(&self, target: TargetIndex, now: Nanos) -> Option<(TenantIndex, usize, bool)> {
        let mut eligible = 0;
        for (_, index) in self.backlogged.iter().take(HEADS_SCANNED_MAX) {
            let Some(tenant) = self.tenant(*index) else {
                continue;
            };
            let mut lanes: Vec<(usize, &Queued<J>, TargetSet)> = tenant
                .lanes
                .iter()
                .enumerate()
                .filter_map(|(n, lane)| {
                    Some((
                        n,
                        lane.jobs.front()?,
                        lane.placement.effective(self.in_service),
                    ))
                })
                .filter(|(_, _, effective)| effective.contains(target))
                .collect();
            lanes.sort_by_key(|(_, head, _)| (head.charged.is_none(), head.sequence));
            for (lane, head, effective) in lanes {
                if self.best_here(target, head.shape(), effective) {
                    return Some((*index, lane, false));
                }
                if now.since(head.queued_at) >= self.config.defer_max {
                    return Some((*index, lane, true));
                }
            }
            if tenant
                .lanes
                .iter()
                .any(|lane| lane.placement.effective(self.in_service).contains(target))
            {
                eligible += 1;
                if eligible >= self.config.eligible_heads_max {
                    return None;
                }
            }
        }
        None
    }

    /// Whether the job would end here no later than on any other target that may take it, plus slack.
    fn best_here(&self, target: TargetIndex, job: JobShape, effective: TargetSet) -> bool {
        let here = self.ends_after(target, job);
        effective
            .iter()
            .filter(|other| *other != target)
            .all(|other| {
                here <= self
                    .ends_after(other, job)
                    .saturating_add(self.config.slack.0)
            })
    }

    fn ends_after(&self, target: TargetIndex, job: JobShape) -> u64 {
        self.outstanding(target)
            .0
            .saturating_add(self.predictor.predict(target, job.kernel, job.bytes).0)
    }

    fn take(
        &mut self,
        index: TenantIndex,
        lane: usize,
        target: TargetIndex,
        now: Nanos,
        deferred: bool,
    ) -> Option<Taken<J>> {
        let reference = self.reference(target);
        let tenant = live_mut(&mut self.tenants, index)?;
        let line = tenant.lanes.get_mut(lane)?;
        let placement = line.placement;
        let queued = line.jobs.pop_front()?;
        if line.jobs.is_empty() {
            tenant.lanes.swap_remove(lane);
        }
        tenant.queued -= 1;
        self.backlogged.remove(&(tenant.start, index));
        let charged = queued.charged.unwrap_or_else(|| {
            self.predictor
                .predict(reference, queued.kernel, queued.bytes)
        });
        self.virtual_time = self.virtual_time.max(tenant.start);
        tenant.finish = match queued.charged {
            None => tenant.start + scaled(charged, tenant.config.weight),
            Some(_) => tenant.start,
        };
        if tenant.queued > 0 {
            tenant.start = tenant.finish;
            self.backlogged.insert((tenant.start, index));
        }
        let predicted = self.predictor.predict(target, queued.kernel, queued.bytes);
        if let Some(t) = self.targets.get_mut(target.number()) {
            t.outstanding_ns = t.outstanding_ns.saturating_add(predicted.0);
        }
        Some(Taken {
            waited: now.since(queued.queued_at),
            deferred,
            receipt: Receipt {
                tenant: index,
                target,
                placement,
                kernel: queued.kernel,
                bytes: queued.bytes,
                predicted,
                charged,
                queued_at: queued.queued_at,
            },
            job: queued.job,
        })
    }

    fn release(&mut self, receipt: &Receipt) {
        if let Some(t) = self.targets.get_mut(receipt.target.number()) {
            t.outstanding_ns = t.outstanding_ns.saturating_sub(receipt.predicted.0);
        }
    }

    fn correct(&mut self, index: TenantIndex, charged: Nanos, measured: Nanos) {
        let Some(tenant) = live_mut(&mut self.tenants, index) else {
            return;
        };
        let (was, is) = (
            scaled(charged, tenant.config.weight),
            scaled(measured, tenant.config.weight),
        );
        let backlogged = tenant.queued > 0 && self.backlogged.remove(&(tenant.start, index));
        tenant.finish = (tenant.finish + is).saturating_sub(was);
        if backlogged {
            // Never behind virtual time: credit for the past must not starve the others.
            tenant.start = ((tenant.start + is).saturating_sub(was)).max(self.virtual_time);
            self.backlogged.insert((tenant.start, index));
        }
    }
}

impl<J> Tenant<J> {
    fn new(generation: u32, config: TenantConfig, virtual_time: u128) -> Self {
        Self {
            generation,
            config,
            queued: 0,
            start: virtual_time,
            finish: virtual_time,
            lanes: Vec::new(),
        }
    }

    fn lane(&mut self, placement: Placement) -> &mut Lane<J> {
        let at = match self
            .lanes
            .iter()
            .position(|lane| lane.placement == placement)
        {
            Some(at) => at,
            None => {
                self.lanes.push(Lane {
                    placement,
                    jobs: VecDeque::new(),
                });
                self.lanes.len() - 1
            }
        };
        &mut self.lanes[at]
    }
}

/// Weight of a new measurement of a target's speed.
const SPEED_GAIN: f64 = 0.02;
/// How far a believable target is from the reference engine, either way.
const SPEED_FACTOR_MAX: f64 = 4096.0;
/// What one reference engine gives, microseconds a second.
const ENGINE_US_PER_S: f64 = 1_000_000.0;

impl Target {
    fn learn_speed(&mut self, took: Nanos, reference: Nanos) {
        let float = |n: Nanos| u32::try_from(n.0).map_or(f64::from(u32::MAX), f64::from);
        let (took, reference) = (float(took), float(reference));
        if took <= 0.0 {
            return;
        }
        if self.busy_ns == 0.0 {
            (self.busy_ns, self.reference_ns) = (took, reference);
        } else {
            self.busy_ns += SPEED_GAIN * (took - self.busy_ns);
            self.reference_ns += SPEED_GAIN * (reference - self.reference_ns);
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded and positive by the clamp; `as` saturates"
    )]
    fn capacity_us_per_s(&self) -> u64 {
        let speed = if self.busy_ns == 0.0 {
            1.0
        } else {
            (self.reference_ns / self.busy_ns).clamp(1.0 / SPEED_FACTOR_MAX, SPEED_FACTOR_MAX)
        };
        (speed * ENGINE_US_PER_S) as u64 * self.servers
    }
}

impl Receipt {
    /// The job's tenant.
    #[must_use]
    pub const fn tenant(&self) -> TenantIndex {
        self.tenant
    }

    /// Where the job was allowed to run.
    #[must_use]
    pub const fn placement(&self) -> Placement {
        self.placement
    }

    /// How long the job is predicted to take there.
    #[must_use]
    pub const fn predicted(&self) -> Nanos {
        self.predicted
    }

    /// Who took it.
    #[must_use]
    pub const fn target(&self) -> TargetIndex {
        self.target
    }
}

/// The tenant of this index, if it is still there.
fn live_mut<J>(tenants: &mut [Tenant<J>], index: TenantIndex) -> Option<&mut Tenant<J>> {
    let tenant = tenants.get_mut(index.place as usize)?;
    (tenant.generation == index.generation).then_some(tenant)
}

/// Cost over weight, in tag units: nanoseconds at the default weight.
fn scaled(cost: Nanos, weight: u32) -> u128 {
    u128::from(cost.0) * u128::from(WEIGHT_DEFAULT) / u128::from(weight.max(1))
}
