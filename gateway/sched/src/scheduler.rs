//! Fair queueing over tenants with guaranteed and peak rates, and placement at the moment of taking.
//!
//! A job's cost is its time on the reference engine, the same wherever it runs: charged as predicted when it is taken,
//! corrected by [`Scheduler::finish`] to what was measured. Three tags of a tenant are charged (`crate::tags`):
//!
//! - the share tag of start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996), with several jobs in service at once
//!   (SFQ(D): Jin, Chase and Kaur, SIGMETRICS 2004): who has the least goes first;
//! - the reservation tag of mClock (Gulati, Merchant and Varman, OSDI 2010): a tenant below its guaranteed rate goes before
//!   all shares. As there, what is taken by share is not charged against the guarantee;
//! - the limit tag: a tenant at its peak rate does not stand in any order, and `next` says when it will again.
//!
//! Why the reference engine and not the time of the engine that served: two tenants with the same work then pay the same,
//! wherever the scheduler put it; and nobody gains by asking for the slow engine. Verification is part of the cost, for the
//! reference engine verifies what it makes: the CPU's time for checking a card's block is charged to whom the block belongs
//! by the same measure as if the CPU had made it.
//!
//! Every call but [`Scheduler::set_in_service`] and [`Scheduler::drain`] is logarithmic in the tenants.

mod charge;
mod choice;
mod forecast;

pub use self::forecast::{Announced, Forecast};

use std::collections::BTreeSet;

use crate::Nanos;
use crate::classes::Classes;
use crate::job::{JobId, JobRequest, JobShape, Measured, QueueFull, Receipt, Taken};
use crate::predictor::{MovingAverage, Predictor};
use crate::queue::{LaneKind, TenantQueue};
use crate::tags::MILLION;
use crate::target::{Abilities, Placement, Serving, TARGETS_MAX, Target, TargetIndex, TargetSet};
use crate::tenant::{Capacity, TenantConfig, TenantIndex};
use crate::waiting::{Waiting, WaitingJobs};

/// Ends of jobs between two looks at how the capacity in service compares with all of it.
const SCALE_EVERY: u32 = 64;
/// How far from its prediction a cost may be measured by comparison of targets: one wild figure of a card must not put a
/// tenant behind for hours.
const CORRECTION_FACTOR_MAX: u64 = 64;
/// How many times its prediction a job teaches at the most that the reference engine took for it: one that the machine
/// interrupted must not make those after it dear. What really takes longer is learned all the same, by a factor of up to
/// 1.7 a job.
const TAUGHT_FACTOR_MAX: u64 = 8;
/// What is predicted to take less counts as this much for that.
const TAUGHT_LEAST: Nanos = Nanos(1_000);

/// What is tuned.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Flows, in tag order, among which a target may pick one that suits it.
    pub eligible_heads_max: usize,
    /// A head is left to another target for no longer than this, and a head of whoever has been due for as long not at all.
    pub defer_max: Nanos,
    /// How much later than elsewhere a job may end here and still be taken.
    pub slack: Nanos,
    /// Of what a guarantee owes a tenant that always asked, at most this time's worth is made up for later.
    pub arrears_max: Nanos,
    /// Reference time by which guarantees may run ahead of a target's tenth that is shared by weight.
    pub reserved_ahead_max: Nanos,
    /// Reference time, at the default weight, by which a tenant's share tag runs ahead at most for what its guarantee gave it.
    pub lead_max: Nanos,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            eligible_heads_max: 8,
            defer_max: Nanos(2_000_000),
            slack: Nanos(200_000),
            arrears_max: Nanos(1_000_000_000),
            reserved_ahead_max: Nanos(50_000_000),
            lead_max: Nanos(100_000_000),
        }
    }
}

/// See the module's head. `J` is whatever the caller runs, `P` what tells how long it takes.
#[derive(Debug)]
pub struct Scheduler<J, P = MovingAverage> {
    config: Config,
    tenants: Vec<TenantQueue>,
    /// Places of tenants that were removed.
    free: Vec<u32>,
    jobs: WaitingJobs<J>,
    classes: Classes,
    /// Tenants at their peak rate, by when they may go on.
    limited: BTreeSet<(u64, u32)>,
    /// Where jobs of tenants may run that were let go on since somebody asked.
    promoted: TargetSet,
    targets: Vec<Target>,
    /// Those that are to ask again at a moment.
    asking: TargetSet,
    serving: Serving,
    reference: Option<TargetIndex>,
    predictor: P,
    /// Sum of the weights of tenants with jobs.
    backlogged_weight: u64,
    /// The part of each guarantee that is held, millionths.
    cir_scale: u64,
    ends: u32,
    now: u64,
}

impl<J> Scheduler<J> {
    /// An empty scheduler that predicts by moving averages.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self::with_predictor(config, MovingAverage::default())
    }
}

impl<J, P: Predictor> Scheduler<J, P> {
    /// An empty scheduler with a predictor of the caller's.
    #[must_use]
    pub fn with_predictor(config: Config, predictor: P) -> Self {
        Self {
            config,
            tenants: Vec::new(),
            free: Vec::new(),
            jobs: WaitingJobs::default(),
            classes: Classes::default(),
            limited: BTreeSet::new(),
            promoted: TargetSet::EMPTY,
            targets: Vec::new(),
            asking: TargetSet::EMPTY,
            serving: Serving::default(),
            reference: None,
            predictor,
            backlogged_weight: 0,
            cir_scale: MILLION,
            ends: 0,
            now: 0,
        }
    }

    /// A new tenant. The place of one that was removed is used again.
    pub fn add_tenant(&mut self, config: TenantConfig) -> TenantIndex {
        if let Some(place) = self.free.pop()
            && let Some(t) = self.tenants.get_mut(place as usize)
        {
            let generation = t.generation.wrapping_add(1);
            *t = TenantQueue::new(generation, config);
            return TenantIndex { place, generation };
        }
        let place = u32::try_from(self.tenants.len()).unwrap_or(u32::MAX);
        let generation = 1;
        self.tenants.push(TenantQueue::new(generation, config));
        TenantIndex { place, generation }
    }

    /// Changes what a tenant was promised. What it has queued stays, also beyond a lower bound; what it owes stays owed.
    pub fn set_tenant(&mut self, tenant: TenantIndex, config: TenantConfig) {
        if self.tenant(tenant).is_none() {
            return;
        }
        self.lift(tenant.place);
        if let Some(t) = self.tenants.get_mut(tenant.place as usize) {
            t.moments.restate(&t.config, &config, self.now);
            t.config = config;
        }
        self.put(tenant.place);
    }

    /// Removes a tenant and gives its queued jobs back. Receipts of its jobs stay good.
    pub fn remove_tenant(&mut self, tenant: TenantIndex) -> Vec<J> {
        if self.tenant(tenant).is_none() {
            return Vec::new();
        }
        let jobs = self.empty(tenant.place);
        if let Some(t) = self.tenants.get_mut(tenant.place as usize) {
            let generation = t.generation.wrapping_add(1);
            *t = TenantQueue::new(generation, t.config);
        }
        self.free.push(tenant.place);
        jobs
    }

    /// Takes every queued job out and gives them back.
    pub fn drain(&mut self) -> Vec<J> {
        let places = (0u32..).take(self.tenants.len());
        places.flat_map(|place| self.empty(place)).collect()
    }

    /// A new target, out of service, that runs `servers` jobs side by side; `None` once there are [`TARGETS_MAX`].
    ///
    /// Cost is charged as predicted from what was measured on the `reference` target, wherever the job runs; the first target
    /// that says it is one is taken.
    pub fn add_target(&mut self, servers: u32, reference: bool) -> Option<TargetIndex> {
        let index = u8::try_from(self.targets.len())
            .ok()
            .filter(|n| usize::from(*n) < TARGETS_MAX)?;
        self.targets.push(Target::new(servers));
        if reference {
            self.reference.get_or_insert(TargetIndex(index));
        }
        self.rescale();
        Some(TargetIndex(index))
    }

    /// A target runs so many jobs side by side.
    pub fn set_servers(&mut self, target: TargetIndex, servers: u32) {
        if let Some(t) = self.targets.get_mut(target.number()) {
            t.servers = u64::from(servers.max(1));
        }
        self.rescale();
    }

    /// Put a target into service or take it out; what it holds is not touched. Guarantees are scaled to what is left, and with
    /// them what was taken of them in advance.
    ///
    /// Linear in the tenants: where jobs may run changes, and with it with whom they are compared. Each flow keeps its
    /// distance from the others of its class.
    pub fn set_in_service(&mut self, target: TargetIndex, on: bool, now: Nanos) {
        self.now = self.now.max(now.0);
        let this = TargetSet::of(target);
        let is_on = self.serving.in_service;
        let in_service = if on {
            is_on.union(this)
        } else {
            is_on.without(this)
        };
        if in_service == is_on {
            return;
        }
        let before = self.targets.clone();
        if on {
            // One that was away does not bring old tags back.
            let latest = self.latest(is_on);
            if let Some(t) = self.targets.get_mut(target.number()) {
                t.virtual_time = t.virtual_time.max(latest);
            }
        }
        self.serving.in_service = in_service;
        let scale_before = self.cir_scale;
        self.rescale();
        self.reseat(&before, scale_before);
    }

    /// Targets in service.
    #[must_use]
    pub const fn in_service(&self) -> TargetSet {
        self.serving.in_service
    }

    /// Changes what a target is able to do; it begins with everything. What it holds is not touched.
    ///
    /// Linear in the tenants, as [`Scheduler::set_in_service`] is, and for the same reason.
    pub fn set_abilities(&mut self, target: TargetIndex, abilities: Abilities, now: Nanos) {
        self.now = self.now.max(now.0);
        if !self.serving.set_abilities(target, abilities) {
            return;
        }
        let before = self.targets.clone();
        self.reseat(&before, self.cir_scale);
    }

    /// What a target is able to do.
    #[must_use]
    pub fn abilities(&self, target: TargetIndex) -> Abilities {
        self.serving.abilities(target)
    }

    /// Where a job may run as things are.
    #[must_use]
    pub fn effective(&self, placement: Placement) -> TargetSet {
        self.serving.effective(placement)
    }

    /// Jobs that a tenant has queued.
    #[must_use]
    pub fn queued(&self, tenant: TenantIndex) -> usize {
        self.tenant(tenant).map_or(0, |t| t.queued)
    }

    /// Whether what a tenant has queued waits for its peak rate.
    #[must_use]
    pub fn is_limited(&self, tenant: TenantIndex) -> bool {
        self.tenant(tenant)
            .is_some_and(|t| t.limited_until.is_some())
    }

    /// Predicted cost of what a tenant has queued.
    #[must_use]
    pub fn queued_cost(&self, tenant: TenantIndex) -> Nanos {
        self.tenant(tenant).map_or(Nanos(0), |t| t.queued_cost)
    }

    /// What a job would be charged, as predicted: its time on the reference engine.
    #[must_use]
    pub fn cost_of(&self, shape: JobShape) -> Nanos {
        self.cost(shape, self.reference)
    }

    /// Jobs queued in all.
    #[must_use]
    pub const fn queued_in_all(&self) -> usize {
        self.jobs.queued()
    }

    /// When the job that has waited longest was queued.
    #[must_use]
    pub fn oldest_queued_at(&self) -> Option<Nanos> {
        self.jobs.oldest_queued_at()
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

    /// How long a target takes for a job that it was given, and for what it holds beside it; `None` where it has never done
    /// such a job, or a larger one.
    #[must_use]
    pub fn ends_within(&self, receipt: &Receipt) -> Option<Nanos> {
        let JobShape { kernel, bytes } = receipt.request.shape;
        let measured = self.predictor.measured(receipt.target, kernel, bytes);
        measured.map(|measured| self.outstanding(receipt.target).max(measured))
    }

    /// What the targets give, by what was measured; one that was never used counts as reference engines.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        let mut capacity = Capacity::default();
        for (target, n) in self.targets.iter().zip(0u8..) {
            let us = target.capacity_us_per_s();
            capacity.full_us_per_s = capacity.full_us_per_s.saturating_add(us);
            if self.serving.in_service.contains(TargetIndex(n)) {
                capacity.healthy_us_per_s = capacity.healthy_us_per_s.saturating_add(us);
            }
        }
        capacity
    }

    /// The part of every guaranteed rate that is held while targets are out of service, 1 while none is.
    #[must_use]
    pub fn cir_scale(&self) -> f64 {
        Nanos(self.cir_scale).as_f64() / 1e6
    }

    /// Queue a job.
    ///
    /// # Errors
    /// [`QueueFull`] with the job, when the tenant's queue is at its bound or the tenant is unknown.
    pub fn push(
        &mut self,
        tenant: TenantIndex,
        job: J,
        request: JobRequest,
        now: Nanos,
    ) -> Result<JobId, QueueFull<J>> {
        self.now = self.now.max(now.0);
        let (queued, queued_max) = match self.tenant(tenant) {
            Some(t) => (t.queued, t.config.queued_max),
            None => return Err(QueueFull { job, queued: 0 }),
        };
        if queued >= queued_max {
            return Err(QueueFull { job, queued });
        }
        let cost = self.cost(request.shape, request.placement.allowed.iter().next());
        let kind = LaneKind::Of(request.priority);
        let seat = self.seat(tenant.place, request.placement, cost);
        let t = &mut self.tenants[tenant.place as usize];
        let waiting = Waiting {
            request,
            queued_at: now,
            cost,
            rank: t.next_rank(request.priority),
            place: tenant.place,
            class: seat.class.index,
            kind,
            charged: None,
        };
        let id = self.jobs.push(t.lane(seat.class, kind), job, waiting);
        if seat.lifted {
            self.put(tenant.place);
        }
        Ok(id)
    }

    /// Takes a job out of the queue, if it is still there: one that was taken is its target's. One that came back from its target is
    /// charged no longer.
    pub fn cancel(&mut self, id: JobId) -> Option<J> {
        let slot = self.jobs.find(id)?;
        let waiting = *self.jobs.get(slot)?;
        self.lift(waiting.place);
        let job = self.unseat(&waiting, slot).map(|(job, id)| {
            self.jobs.release(id);
            job
        });
        self.put(waiting.place);
        if let Some(charge) = waiting.charged {
            self.unclaim(&waiting, charge);
        }
        job
    }

    /// Takes those of a tenant's queued jobs out that `gone` picks. Linear in what that tenant has queued.
    pub fn remove_from(&mut self, tenant: TenantIndex, mut gone: impl FnMut(&J) -> bool) -> Vec<J> {
        let Some(t) = self.tenant(tenant) else {
            return Vec::new();
        };
        let chains: Vec<_> = t.lanes.iter().map(|lane| lane.chain).collect();
        let queued = chains.into_iter().flat_map(|chain| self.jobs.along(chain));
        let picked: Vec<JobId> = queued
            .filter(|(_, job)| gone(job))
            .map(|(id, _)| id)
            .collect();
        picked
            .into_iter()
            .filter_map(|id| self.cancel(id))
            .collect()
    }

    /// Put a job back that its target could not finish, ahead of the tenant's others,
    /// at no second charge. The bound of the queue does not apply: the job was in it before.
    ///
    /// # Errors
    /// The job, where its tenant was removed in the meantime.
    pub fn requeue(&mut self, receipt: Receipt, job: J, placement: Placement) -> Result<(), J> {
        self.unload(&receipt);
        let id = receipt.id;
        if self.tenant(receipt.tenant).is_none() {
            if let Some(id) = id {
                self.jobs.release(id);
            }
            return Err(job);
        }
        let place = receipt.tenant.place;
        let seat = self.seat(place, placement, Nanos(0));
        let waiting = Waiting {
            request: JobRequest {
                placement,
                ..receipt.request
            },
            queued_at: receipt.queued_at,
            // It was charged already.
            cost: Nanos(0),
            rank: 0,
            place,
            class: seat.class.index,
            kind: LaneKind::Returned,
            charged: Some(receipt.charge),
        };
        let chain = self.tenants[place as usize].lane(seat.class, LaneKind::Returned);
        let job = match id {
            Some(id) => self.jobs.put_back(chain, id, job, waiting),
            None => Err(job),
        };
        if let Err(job) = job {
            self.jobs.push(chain, job, waiting);
        }
        if seat.lifted {
            self.put(place);
        }
        Ok(())
    }

    /// A target with credit asks for work. `None`: nothing that it should run now; [`Scheduler::next_eligible_at`] says when
    /// that may change although nothing happens.
    pub fn next(&mut self, target: TargetIndex, now: Nanos) -> Option<Taken<J>> {
        if !self.serving.in_service.contains(target) {
            return None;
        }
        self.now = self.now.max(now.0);
        self.promote(now);
        let choice = self.choose(target, now)?;
        self.take(choice, target, now)
    }

    /// When a target that was just given nothing should ask again: a tenant's peak rate lets it go on then, or a job that is
    /// left to another target is anybody's. `None`: not before something is queued, ended or put into service.
    #[must_use]
    pub fn next_eligible_at(&self, target: TargetIndex) -> Option<Nanos> {
        let left = self.targets.get(target.number())?.ask_again_at;
        self.limit_ends_at().into_iter().chain(left).min()
    }

    /// The same for whichever target comes first: when [`Scheduler::to_wake`] will have somebody to wake.
    #[must_use]
    pub fn wakes_at(&self) -> Option<Nanos> {
        // A tenant that was let go on while another target asked, or a small job was charged: at once.
        if !self.promoted.is_empty() {
            return Some(Nanos(self.now));
        }
        let asking = self.asking.iter();
        let left = asking.filter_map(|target| self.targets.get(target.number())?.ask_again_at);
        self.limit_ends_at().into_iter().chain(left).min()
    }

    /// Targets that were given nothing and should ask again now.
    pub fn to_wake(&mut self, now: Nanos) -> TargetSet {
        self.promote(now);
        let mut wake = std::mem::take(&mut self.promoted);
        for target in self.asking.iter() {
            let Some(t) = self.targets.get_mut(target.number()) else {
                continue;
            };
            if t.ask_again_at.is_none_or(|at| at <= now) {
                t.ask_again_at = None;
                self.asking = self.asking.without(TargetSet::of(target));
                wake = wake.union(TargetSet::of(target));
            }
        }
        wake
    }

    /// When the first tenant that is at its peak rate may go on.
    fn limit_ends_at(&self) -> Option<Nanos> {
        self.limited.first().map(|(at, _)| Nanos(*at))
    }

    /// Charges a job that its caller runs at once, on `target`, without a place in the queue: as if it were pushed and
    /// taken now. `None`, with nothing charged, where it would pass a job that goes before it on this target, would sooner end
    /// elsewhere, is beyond its tenant's peak rate, or where no job of its kind and of its size or more has been measured
    /// here, or those took longer than `measured_max`: whoever waits on the caller's thread must not be the first to learn
    /// how long such a job takes.
    pub fn take_now(
        &mut self,
        tenant: TenantIndex,
        request: JobRequest,
        target: TargetIndex,
        measured_max: Nanos,
        now: Nanos,
    ) -> Option<Receipt> {
        let JobShape { kernel, bytes } = request.shape;
        let effective = self.serving.effective(request.placement);
        let measured = self.predictor.measured(target, kernel, bytes);
        if !effective.contains(target)
            || measured.is_none_or(|measured| measured > measured_max)
            || self.ends_sooner_elsewhere(target, request.shape, effective)
        {
            return None;
        }
        self.promote(now);
        let cost = self.cost(request.shape, Some(target));
        let class = self.classes.of(request.placement, &self.serving);
        if self.tenant(tenant)?.eligible_at(cost) > now.0
            || self.somebody_goes_before(tenant, class, target)
        {
            return None;
        }
        let place = tenant.place;
        self.lift(place);
        let base = self.base(class);
        let t = &mut self.tenants[place as usize];
        let start = t.activate(class, base).start;
        if t.queued == 0 {
            t.moments.activate(now.0);
        }
        let reserved = t.due_at().is_some_and(|due| due <= now.0);
        if let Some(target) = self.targets.get_mut(target.number()) {
            target.virtual_time = target.virtual_time.max(start);
        }
        let charge = self.charge(place, target, cost, reserved);
        self.put(place);
        Some(self.load(Receipt {
            tenant,
            target,
            request,
            predicted: Nanos(0),
            charge,
            queued_at: now,
            id: None,
        }))
    }

    /// A job ran to its end. Its charge is corrected to what was measured, which comes back: what was charged in the end.
    pub fn finish(&mut self, receipt: Receipt, measured: Measured) -> Nanos {
        let shape @ JobShape { kernel, bytes } = receipt.request.shape;
        let target = receipt.target;
        let is_reference = self.reference.is_none_or(|reference| reference == target);
        // Jobs that a target holds beyond its servers stand behind one another in its own queue.
        let served = match self.targets.get(target.number()) {
            Some(t) if !is_reference => t.served(measured.took),
            _ => measured.took,
        };
        self.release(&receipt);
        self.predictor.learn(target, kernel, bytes, served);
        let cost = match measured.reference {
            Some(cost) => cost,
            None if is_reference => measured.took,
            None => self.compared(shape, target, measured.engine.unwrap_or(served)),
        };
        if self.reference == Some(target) {
            let reference = TargetIndex::REFERENCE;
            let known = self.predictor.measured(reference, kernel, bytes);
            let most = known.map_or(u64::MAX, |known| {
                known.max(TAUGHT_LEAST).0.saturating_mul(TAUGHT_FACTOR_MAX)
            });
            self.predictor
                .learn(reference, kernel, bytes, cost.min(Nanos(most)));
        }
        if let Some(t) = self.targets.get_mut(target.number()) {
            t.learn_speed(served, Nanos(cost.0.saturating_sub(measured.verified.0)));
        }
        self.ends = self.ends.wrapping_add(1);
        if self.ends.is_multiple_of(SCALE_EVERY) {
            self.rescale();
        }
        self.correct(&receipt, cost);
        cost
    }

    /// A job ended in a way that teaches nothing about speed: it was cancelled, or its input was bad. It was charged
    /// `reference`, where that was measured, else what was predicted; which of them comes back.
    pub fn abandon(&mut self, receipt: Receipt, reference: Option<Nanos>) -> Nanos {
        self.release(&receipt);
        if let Some(cost) = reference {
            self.correct(&receipt, cost);
        }
        reference.unwrap_or(receipt.charge.cost)
    }

    /// A job that was taken never ran: nothing is charged.
    pub fn refund(&mut self, receipt: Receipt) {
        self.release(&receipt);
        self.correct(&receipt, Nanos(0));
    }

    /// What a job costs on the reference engine that took a target's engine so long: by how both compare for such jobs.
    fn compared(&mut self, shape: JobShape, target: TargetIndex, engine: Nanos) -> Nanos {
        let JobShape { kernel, bytes } = shape;
        let by = target.engine();
        // What was only guessed says nothing of how they compare: the first of a kind teaches it, and is compared with what
        // it taught.
        let is_known = self.predictor.measured(by, kernel, bytes).is_some();
        let known = is_known.then(|| self.predictor.predict(by, kernel, bytes));
        self.predictor.learn(by, kernel, bytes, engine);
        let predicted = known.unwrap_or_else(|| self.predictor.predict(by, kernel, bytes));
        by_comparison(self.cost(shape, Some(target)), engine, predicted)
    }

    fn tenant(&self, index: TenantIndex) -> Option<&TenantQueue> {
        let tenant = self.tenants.get(index.place as usize)?;
        (tenant.generation == index.generation).then_some(tenant)
    }

    /// A guarantee as it is held with what is in service.
    fn held(&self, cir_us_per_s: u64) -> u64 {
        held_at(cir_us_per_s, self.cir_scale)
    }

    fn rescale(&mut self) {
        let Capacity {
            healthy_us_per_s: healthy,
            full_us_per_s: full,
        } = self.capacity();
        let scale = u128::from(healthy) * u128::from(MILLION) / u128::from(full.max(1));
        self.cir_scale = u64::try_from(scale).unwrap_or(MILLION).min(MILLION);
    }

    /// The job's cost, reference time; on `target` where there is no reference engine.
    fn cost(&self, shape: JobShape, target: Option<TargetIndex>) -> Nanos {
        let by = match self.reference {
            Some(_) => TargetIndex::REFERENCE,
            None => target.unwrap_or(TargetIndex(0)),
        };
        self.predictor.predict(by, shape.kernel, shape.bytes)
    }
}

/// A guarantee of which so many millionths are held.
fn held_at(cir_us_per_s: u64, scale: u64) -> u64 {
    let held = u128::from(cir_us_per_s) * u128::from(scale) / u128::from(MILLION);
    u64::try_from(held)
        .unwrap_or(u64::MAX)
        .max(cir_us_per_s.min(1))
}

/// The cost in reference time of a job that took so long where `predicted` was to be expected, and would be expected to
/// cost `reference`.
fn by_comparison(reference: Nanos, took: Nanos, predicted: Nanos) -> Nanos {
    let cost = u128::from(reference.0) * u128::from(took.0) / u128::from(predicted.0.max(1));
    let (least, most) = (
        reference.0 / CORRECTION_FACTOR_MAX,
        reference.0.saturating_mul(CORRECTION_FACTOR_MAX),
    );
    Nanos(u64::try_from(cost).unwrap_or(u64::MAX).clamp(least, most))
}
