//! Which job a target is given.
//!
//! First who is due by a guarantee, then by share; of the first few flows on their turn, the first that has a job which
//! would end here no later than on any other target that may take it. Invariant: a job is left to another target for no
//! longer than `defer_max`, of whoever is behind its guarantee by as much not at all, and who is passed over keeps its tags.

use super::Scheduler;
use crate::Nanos;
use crate::classes::{ClassKey, Turn};
use crate::job::{JobShape, Receipt, Taken};
use crate::predictor::Predictor;
use crate::queue::Flow;
use crate::target::{TargetIndex, TargetSet};
use crate::tenant::TenantIndex;

/// A job that a target is given.
pub(super) struct Choice {
    slot: u32,
    /// Whether only the deferral limit allows it.
    deferred: bool,
    /// Whether its tenant's guarantee has it taken.
    reserved: bool,
}

impl<J, P: Predictor> Scheduler<J, P> {
    pub(super) fn choose(&mut self, target: TargetIndex, now: Nanos) -> Option<Choice> {
        let mut ask_again_at = None;
        // A target's tenth that is shared by weight comes first once guarantees are too far ahead.
        let ahead = self.targets.get(target.number())?.reserved_ahead;
        let choice = if ahead < self.config.reserved_ahead_max.0 {
            self.due(target, now, &mut ask_again_at)
                .or_else(|| self.by_share(target, now, &mut ask_again_at))
        } else {
            self.by_share(target, now, &mut ask_again_at)
                .or_else(|| self.due(target, now, &mut ask_again_at))
        };
        let ask_again_at = ask_again_at.filter(|_| choice.is_none());
        let this = TargetSet::of(target);
        self.asking = match ask_again_at {
            Some(_) => self.asking.union(this),
            None => self.asking.without(this),
        };
        if let Some(target) = self.targets.get_mut(target.number()) {
            target.ask_again_at = ask_again_at;
        }
        choice
    }

    fn due(&self, target: TargetIndex, now: Nanos, again: &mut Option<Nanos>) -> Option<Choice> {
        let mut last = None;
        for _ in 0..self.config.eligible_heads_max {
            let turn = self.classes.next_due(target, last, now.0)?;
            if let Some(choice) = self.pick(turn, target, now, Some(Nanos(turn.key)), again) {
                let reserved = true;
                return Some(Choice { reserved, ..choice });
            }
            last = Some(turn);
        }
        None
    }

    fn by_share(
        &self,
        target: TargetIndex,
        now: Nanos,
        again: &mut Option<Nanos>,
    ) -> Option<Choice> {
        let mut last = None;
        for _ in 0..self.config.eligible_heads_max {
            let turn = self.classes.next_share(target, last)?;
            if let Some(choice) = self.pick(turn, target, now, None, again) {
                return Some(choice);
            }
            last = Some(turn);
        }
        None
    }

    /// The job of a flow on its turn that suits a target, by the tenant's own order. Whoever has been due since
    /// longer than a job may be left to others is behind its guarantee: its jobs are anybody's however short they waited
    /// themselves. Were they not, a target would pass them by, and run long ones of those who were promised nothing.
    fn pick<K>(
        &self,
        turn: Turn<K>,
        target: TargetIndex,
        now: Nanos,
        due_since: Option<Nanos>,
        again: &mut Option<Nanos>,
    ) -> Option<Choice> {
        let class = self.classes.key_of(turn.class);
        let effective = self.classes.effective(class);
        let tenant = self.tenants.get(turn.place as usize)?;
        for slot in tenant.heads(class, &self.jobs) {
            let waiting = self.jobs.get(slot)?;
            let best = self.best_here(target, waiting.request.shape, effective);
            let waits_since = due_since.map_or(waiting.queued_at, |due| due.min(waiting.queued_at));
            let anybodys_at = waits_since.plus(self.config.defer_max);
            if best || anybodys_at <= now {
                return Some(Choice {
                    slot,
                    deferred: !best,
                    reserved: false,
                });
            }
            *again = Some(again.map_or(anybodys_at, |at| at.min(anybodys_at)));
        }
        None
    }

    /// Whether the job would end here no later than on any other target that may take it, plus slack.
    pub(super) fn best_here(
        &self,
        target: TargetIndex,
        job: JobShape,
        effective: TargetSet,
    ) -> bool {
        let others = effective.without(TargetSet::of(target));
        if others.is_empty() {
            return true;
        }
        let here = self.ends_after(target, job);
        let slack = self.config.slack.0;
        others
            .iter()
            .all(|other| here <= self.ends_after(other, job).saturating_add(slack))
    }

    /// Whether a job that begins at once on `target`, beside what that holds, would end later than on another.
    pub(super) fn ends_sooner_elsewhere(
        &self,
        target: TargetIndex,
        job: JobShape,
        effective: TargetSet,
    ) -> bool {
        let others = effective.without(TargetSet::of(target));
        let Nanos(here) = self.predictor.predict(target, job.kernel, job.bytes);
        let slack = self.config.slack.0;
        others
            .iter()
            .any(|other| here > self.ends_after(other, job).saturating_add(slack))
    }

    /// Whether a job stands in a queue that `target` may take, and would take before one of this tenant's and class that came
    /// now. Whoever has had less than those who wait need not wait behind them: that would add a whole job of theirs to each
    /// small one of its own, however seldom it comes.
    pub(super) fn somebody_goes_before(
        &self,
        tenant: TenantIndex,
        class: ClassKey,
        target: TargetIndex,
    ) -> bool {
        let Some(own) = self.tenant(tenant) else {
            return true;
        };
        let waits =
            |flow: &Flow| flow.queued > 0 && self.classes.effective(flow.class).contains(target);
        if own.flows.iter().any(waits) {
            return true;
        }
        // Who is due already has been due longer.
        if self.classes.next_due(target, None, self.now).is_some() {
            return true;
        }
        let is_due = own.due_at().is_some_and(|due| due <= self.now);
        let base = self.base(class);
        let kept = own.flows.iter().find(|flow| flow.class == class);
        let start = kept.map_or(base, |flow| flow.start.max(base));
        let first = self.classes.next_share(target, None);
        !is_due && first.is_some_and(|first| first.key <= start)
    }

    /// When a job would end on a target, from now.
    pub(super) fn ends_after(&self, target: TargetIndex, job: JobShape) -> u64 {
        let predicted = self.predictor.predict(target, job.kernel, job.bytes);
        self.outstanding(target).plus(predicted).0
    }

    /// Gives a target the chosen job, and charges its tenant.
    pub(super) fn take(
        &mut self,
        choice: Choice,
        target: TargetIndex,
        now: Nanos,
    ) -> Option<Taken<J>> {
        let waiting = *self.jobs.get(choice.slot)?;
        let place = waiting.place;
        let generation = self.tenants.get(place as usize)?.generation;
        // Where those stand who come anew: with the least of those whose turn could be here, or, where that one was left to
        // another target, with who is served.
        let turn = self.classes.next_share(target, None).map(|turn| turn.key);
        let served = self.start_of(place, waiting.class);
        let virtual_time = if choice.reserved {
            turn
        } else {
            served.or(turn)
        };
        if let (Some(t), Some(at)) = (self.targets.get_mut(target.number()), virtual_time) {
            t.virtual_time = t.virtual_time.max(at);
        }
        self.lift(place);
        let Some((job, id)) = self.unseat(&waiting, choice.slot) else {
            self.put(place);
            return None;
        };
        let charge = match waiting.charged {
            Some(before) => before,
            None => {
                let cost = self.cost(waiting.request.shape, Some(target));
                self.charge(place, target, cost, choice.reserved)
            }
        };
        self.put(place);
        let receipt = self.load(Receipt {
            tenant: TenantIndex { place, generation },
            target,
            request: waiting.request,
            predicted: Nanos(0),
            charge,
            queued_at: waiting.queued_at,
            id: Some(id),
        });
        Some(Taken {
            waited: now.since(waiting.queued_at),
            deferred: choice.deferred,
            job,
            receipt,
        })
    }

    fn start_of(&self, place: u32, class: u16) -> Option<u128> {
        let class = self.classes.key_of(class);
        let flows = &self.tenants.get(place as usize)?.flows;
        Some(flows.iter().find(|flow| flow.class == class)?.start)
    }
}
