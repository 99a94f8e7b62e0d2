//! Who stands where, and what moves them: seats in queues, charges and their corrections.
//!
//! Invariant: whoever changes a tenant's tags or queue lifts it out of every order first and puts it back after, so that an
//! order never holds a key that is not its tenant's.

use super::{Scheduler, held_at};
use crate::Nanos;
use crate::classes::ClassKey;
use crate::job::{Charge, JobId, Receipt};
use crate::predictor::Predictor;
use crate::queue::{Flow, TenantQueue};
use crate::tags::{ShareTag, corrected, cost_of, share_of, span_at};
use crate::target::{Placement, Target, TargetIndex, TargetSet};
use crate::waiting::Waiting;

/// Of every so much that guarantees take of a target, one part is shared by weight where somebody asks for it.
const SHARED_ONE_IN: u64 = 10;

/// Where a job was seated.
pub(super) struct Seat {
    pub(super) class: ClassKey,
    /// Whether the tenant was lifted for it and is to be put back.
    pub(super) lifted: bool,
}

impl<J, P: Predictor> Scheduler<J, P> {
    /// The largest share tag that was on its turn at any of these targets.
    pub(super) fn latest(&self, targets: TargetSet) -> ShareTag {
        let of = |target: TargetIndex| Some(self.targets.get(target.number())?.virtual_time);
        targets.iter().filter_map(of).max().unwrap_or(0)
    }

    /// Where a flow of a class begins that comes anew.
    pub(super) fn base(&self, class: ClassKey) -> ShareTag {
        let effective = self.classes.effective(class);
        self.latest(if effective.is_empty() {
            self.classes.allowed(class)
        } else {
            effective
        })
    }

    /// Takes a tenant out of every order.
    pub(super) fn lift(&mut self, place: u32) {
        let Some(t) = self.tenants.get_mut(place as usize) else {
            return;
        };
        if t.queued == 0 {
            return;
        }
        let weight = u64::from(t.config.weight);
        self.backlogged_weight = self.backlogged_weight.saturating_sub(weight);
        if let Some(until) = t.limited_until {
            self.limited.remove(&(until, place));
            return;
        }
        let due = t.due_at();
        for flow in t.flows.iter().filter(|flow| flow.queued > 0) {
            self.classes.leave(flow.class, flow.start, due, place);
        }
    }

    /// Puts it where it belongs now.
    pub(super) fn put(&mut self, place: u32) {
        let Some(t) = self.tenants.get_mut(place as usize) else {
            return;
        };
        let was_limited = t.limited_until.take().is_some();
        if t.queued == 0 {
            return;
        }
        let weight = u64::from(t.config.weight);
        self.backlogged_weight = self.backlogged_weight.saturating_add(weight);
        let eligible_at = t.eligible_at(Nanos(0));
        if eligible_at > self.now {
            t.limited_until = Some(eligible_at);
            self.limited.insert((eligible_at, place));
            return;
        }
        let due = t.due_at();
        for at in 0..t.flows.len() {
            let Some(flow) = self.flow(place, at).filter(|flow| flow.queued > 0) else {
                continue;
            };
            let mut start = flow.start;
            if was_limited {
                // Whoever may take its jobs was told of none: a corrected charge lets it go on as well as time does.
                self.promoted = self.promoted.union(self.classes.effective(flow.class));
                // What its peak rate kept from it is not owed to it.
                start = start.max(self.base(flow.class));
                if let Some(flow) = self.tenants[place as usize].flows.get_mut(at) {
                    flow.start = start;
                }
            }
            self.classes.enter(flow.class, start, due, place);
        }
    }

    fn flow(&self, place: u32, at: usize) -> Option<Flow> {
        self.tenants.get(place as usize)?.flows.get(at).copied()
    }

    /// Tenants whose peak rate lets them go on.
    pub(super) fn promote(&mut self, now: Nanos) {
        self.now = self.now.max(now.0);
        while let Some(&(until, place)) = self.limited.first()
            && until <= now.0
        {
            self.lift(place);
            self.put(place);
        }
    }

    /// A place for a job of this cost in a tenant's queue.
    pub(super) fn seat(&mut self, place: u32, placement: Placement, cost: Nanos) -> Seat {
        let class = self.classes.of(placement, &self.serving);
        let t = &self.tenants[place as usize];
        let stands = |flow: &Flow| flow.class == class && flow.queued > 0;
        // Behind others of its flow it changes nothing but a limit's next moment.
        let lifted = t.config.pir_us_per_s.is_some() || !t.flows.iter().any(stands);
        if lifted {
            self.lift(place);
        }
        let base = self.base(class);
        let now = self.now;
        let t = &mut self.tenants[place as usize];
        if t.queued == 0 {
            t.moments.activate(now);
        }
        t.activate(class, base).queued += 1;
        t.queued += 1;
        t.queued_cost = t.queued_cost.plus(cost);
        t.cost_max = t.cost_max.max(cost);
        self.classes.count(class, true);
        Seat { class, lifted }
    }

    /// A waiting job leaves its place; its tenant was lifted.
    pub(super) fn unseat(&mut self, waiting: &Waiting, slot: u32) -> Option<(J, JobId)> {
        let class = self.classes.key_of(waiting.class);
        let t = self.tenants.get_mut(waiting.place as usize)?;
        let taken = self.jobs.take(t.lane(class, waiting.kind), slot)?;
        t.left(class, waiting.kind, waiting.cost);
        self.classes.count(class, false);
        Some(taken)
    }

    /// Takes all that a tenant has queued.
    pub(super) fn empty(&mut self, place: u32) -> Vec<J> {
        self.lift(place);
        let mut out = Vec::new();
        while let Some(slot) = self.first_of(place)
            && let Some(waiting) = self.jobs.get(slot).copied()
            && let Some((job, id)) = self.unseat(&waiting, slot)
        {
            self.jobs.release(id);
            out.push(job);
        }
        self.put(place);
        out
    }

    fn first_of(&self, place: u32) -> Option<u32> {
        let t = self.tenants.get(place as usize)?;
        t.lanes.iter().find_map(|lane| lane.chain.head())
    }

    /// Charges a lifted tenant for what a target took of it.
    pub(super) fn charge(
        &mut self,
        place: u32,
        target: TargetIndex,
        cost: Nanos,
        reserved: bool,
    ) -> Charge {
        let now = self.now;
        let lead = self.config.lead_max;
        let arrears = self.config.arrears_max;
        let served = self.flows_served(place, |of| of.contains(target));
        let mut charge = Charge {
            cost,
            reserved,
            spared: Nanos(0),
        };
        let Some(t) = self.tenants.get_mut(place as usize) else {
            return charge;
        };
        let cir = t.config.cir_us_per_s;
        let share = share_of(cost, t.config.weight);
        for (at, base) in served {
            let Some(flow) = t.flows.get_mut(at) else {
                continue;
            };
            if flow.queued == 0 {
                flow.start = flow.start.max(base);
            }
            let charged = flow.start.saturating_add(share);
            if reserved {
                flow.start = led(flow.start, charged, base, share_of(lead, t.config.weight));
                let spared = cost_of(charged.saturating_sub(flow.start), t.config.weight);
                charge.spared = charge.spared.max(spared.min(cost));
            } else {
                flow.start = charged;
            }
        }
        if let Some(pir) = t.config.pir_us_per_s {
            t.moments.pay(cost, pir.max(1), now);
        }
        if reserved {
            let held = self.held(cir);
            if let Some(t) = self.tenants.get_mut(place as usize) {
                t.moments.reserve(cost, held, now, arrears);
            }
        }
        self.run_ahead(target, Nanos(0), cost, reserved);
        charge
    }

    /// Notes what guarantees and shares took of a target, or what they are found to have taken instead of `was`.
    fn run_ahead(&mut self, target: TargetIndex, was: Nanos, is: Nanos, reserved: bool) {
        let most = self.config.reserved_ahead_max.0;
        let Some(target) = self.targets.get_mut(target.number()) else {
            return;
        };
        let ahead = target.reserved_ahead;
        target.reserved_ahead = if reserved {
            corrected(ahead, was.0, is.0).min(most)
        } else {
            let of = |cost: Nanos| cost.0.saturating_mul(SHARED_ONE_IN - 1);
            corrected(ahead, of(is), of(was)).min(most)
        };
    }

    /// A tenant's flows that are served where they are to be, with where new ones of their classes would begin.
    fn flows_served<IS: Fn(TargetSet) -> bool>(
        &self,
        place: u32,
        is: IS,
    ) -> impl Iterator<Item = (usize, ShareTag)> + use<IS, J, P> {
        // An idle tenant keeps a few flows; one with jobs in more places is charged in these.
        let mut served = [None; 8];
        let flows = self.tenants.get(place as usize).map(|t| &t.flows);
        let mut free = served.iter_mut();
        for (at, flow) in flows.into_iter().flatten().enumerate() {
            if is(self.classes.effective(flow.class))
                && let Some(entry) = free.next()
            {
                *entry = Some((at, self.base(flow.class)));
            }
        }
        served.into_iter().flatten()
    }

    /// Corrects what a receipt was charged.
    pub(super) fn correct(&mut self, receipt: &Receipt, cost: Nanos) {
        let Receipt { target, charge, .. } = *receipt;
        if cost == charge.cost || self.tenant(receipt.tenant).is_none() {
            return;
        }
        self.run_ahead(target, charge.cost, cost, charge.reserved);
        self.restate_charge(receipt.tenant.place, charge, cost, |of| of.contains(target));
    }

    /// A job that came back and waits again is wanted no more. Which target's tenth it was taken from is not known here, and
    /// that has its bound.
    pub(super) fn unclaim(&mut self, waiting: &Waiting, charge: Charge) {
        let class = self.classes.key_of(waiting.class);
        let effective = self.classes.effective(class);
        self.restate_charge(waiting.place, charge, Nanos(0), |of| {
            of == effective || !of.intersection(effective).is_empty()
        });
    }

    /// A tenant was to be charged `cost` in its flows that are served where they are to be.
    fn restate_charge(
        &mut self,
        place: u32,
        charge: Charge,
        cost: Nanos,
        is: impl Fn(TargetSet) -> bool,
    ) {
        self.lift(place);
        let served = self.flows_served(place, is);
        let lead = self.config.lead_max;
        let held = self.tenants[place as usize].config.cir_us_per_s;
        let held = self.held(held);
        let t = &mut self.tenants[place as usize];
        let of = |cost| share_of(cost, t.config.weight);
        // What the tag was spared is not given back to it.
        let shared = charge.cost.since(charge.spared);
        for (at, base) in served {
            let Some(flow) = t.flows.get_mut(at) else {
                continue;
            };
            flow.start = if cost > charge.cost {
                let raised = flow.start.saturating_add(of(cost) - of(charge.cost));
                match charge.reserved {
                    true => led(flow.start, raised, base, of(lead)),
                    false => raised,
                }
            } else {
                let less = of(shared) - of(cost.min(shared));
                flow.start.saturating_sub(less)
            };
        }
        let moved = |at, rate| {
            let (was, is) = (span_at(charge.cost, rate), span_at(cost, rate));
            corrected(at, was, is)
        };
        if let Some(pir) = t.config.pir_us_per_s {
            t.moments.paid_at = moved(t.moments.paid_at, pir.max(1));
        }
        if charge.reserved && held > 0 {
            t.moments.reserved_at = moved(t.moments.reserved_at, held);
        }
        self.put(place);
    }

    /// A target has a job in its hands.
    pub(super) fn load(&mut self, mut receipt: Receipt) -> Receipt {
        let shape = receipt.request.shape;
        receipt.predicted = self
            .predictor
            .predict(receipt.target, shape.kernel, shape.bytes);
        if let Some(t) = self.targets.get_mut(receipt.target.number()) {
            t.outstanding_ns = t.outstanding_ns.saturating_add(receipt.predicted.0);
            t.held = t.held.saturating_add(1);
        }
        receipt
    }

    /// It has it no more.
    pub(super) fn unload(&mut self, receipt: &Receipt) {
        if let Some(t) = self.targets.get_mut(receipt.target.number()) {
            t.outstanding_ns = t.outstanding_ns.saturating_sub(receipt.predicted.0);
            t.held = t.held.saturating_sub(1);
        }
    }

    /// A job has ended.
    pub(super) fn release(&mut self, receipt: &Receipt) {
        self.unload(receipt);
        if let Some(id) = receipt.id {
            self.jobs.release(id);
        }
    }

    /// What is in service has changed: each flow whose jobs may run elsewhere now keeps its distance from the others of its
    /// class, for tags are compared only among those who share targets; and what was taken in advance of guarantees, of which
    /// another part is held now, is as much work as before.
    pub(super) fn reseat(&mut self, before: &[Target], scale_before: u64) {
        let places = (0u32..).take(self.tenants.len());
        places.clone().for_each(|place| self.lift(place));
        let changed = self.classes.set_serving(&self.serving);
        let moves: Vec<_> = changed
            .into_iter()
            .map(|(key, was)| {
                let now_key = self.classes.key_of(key.index);
                let was = if was.is_empty() {
                    self.classes.allowed(now_key)
                } else {
                    was
                };
                let of = |target: TargetIndex| before.get(target.number()).map(|t| t.virtual_time);
                let base_before = was.iter().filter_map(of).max().unwrap_or(0);
                (key, now_key, base_before, self.base(now_key))
            })
            .collect();
        for t in &mut self.tenants {
            let cir = t.config.cir_us_per_s;
            let (was, is) = (held_at(cir, scale_before), held_at(cir, self.cir_scale));
            t.moments.restate_reserved(was, is, self.now);
            for (was, is, base_before, base) in &moves {
                restate(t, *was, *is, *base_before, *base);
            }
        }
        places.for_each(|place| self.put(place));
    }
}

/// Where a tag stands that is charged up to `charged` for what a guarantee gave: at most so far ahead of its class.
fn led(start: ShareTag, charged: ShareTag, base: ShareTag, lead_max: ShareTag) -> ShareTag {
    charged.min(base.saturating_add(lead_max)).max(start)
}

/// Gives a tenant's flows and lanes of a class its new key, and moves their tags with the class's base.
fn restate(
    t: &mut TenantQueue,
    was: ClassKey,
    is: ClassKey,
    base_before: ShareTag,
    base: ShareTag,
) {
    for flow in t.flows.iter_mut().filter(|flow| flow.class == was) {
        flow.class = is;
        flow.start = flow.start.saturating_add(base).saturating_sub(base_before);
    }
    for lane in t.lanes.iter_mut().filter(|lane| lane.class == was) {
        lane.class = is;
    }
}
