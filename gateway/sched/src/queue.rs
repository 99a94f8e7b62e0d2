//! One tenant's queue: its lanes, its flows and its tags.
//!
//! A flow is what a tenant has queued of one placement class, with a share tag of its own; a lane is what a flow holds of
//! one priority. Invariants: within a lane the oldest goes first; a job is passed by no more than
//! [`PASSED_JOBS_MAX`] later ones of its tenant for each level of priority between them; what comes back from a target goes
//! before everything else. It knows neither other tenants nor targets.

use crate::Nanos;
use crate::classes::ClassKey;
use crate::job::Priority;
use crate::tags::{Moments, ShareTag};
use crate::tenant::TenantConfig;
use crate::waiting::{Chain, WaitingJobs};

/// Later jobs of the same tenant that may pass a job for each level by which they are more urgent.
pub(crate) const PASSED_JOBS_MAX: u64 = 256;
/// Flows whose tags an idle tenant keeps; a tag that lies behind is worth nothing and goes first.
const FLOWS_KEPT_MAX: usize = 4;

/// What a lane holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LaneKind {
    /// Jobs that came back from a target.
    Returned,
    /// Jobs of one priority.
    Of(Priority),
}

#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) class: ClassKey,
    pub(crate) kind: LaneKind,
    pub(crate) chain: Chain,
}

/// See the module's head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) class: ClassKey,
    pub(crate) queued: usize,
    pub(crate) start: ShareTag,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct TenantQueue {
    /// Which of the place's successive tenants; odd while there is one.
    pub(crate) generation: u32,
    /// Until when its peak rate keeps it from being served, while it does.
    pub(crate) limited_until: Option<u64>,
    pub(crate) config: TenantConfig,
    pub(crate) moments: Moments,
    pub(crate) queued: usize,
    /// Predicted, reference time.
    pub(crate) queued_cost: Nanos,
    /// The largest cost that was queued since the queue was last empty.
    pub(crate) cost_max: Nanos,
    pub(crate) pushed: u64,
    pub(crate) flows: Vec<Flow>,
    pub(crate) lanes: Vec<Lane>,
}

impl TenantQueue {
    pub(crate) fn new(generation: u32, config: TenantConfig) -> Self {
        Self {
            generation,
            limited_until: None,
            config,
            moments: Moments::default(),
            queued: 0,
            queued_cost: Nanos(0),
            cost_max: Nanos(0),
            pushed: 0,
            flows: Vec::new(),
            lanes: Vec::new(),
        }
    }

    /// The rank of a new job of this priority.
    pub(crate) fn next_rank(&mut self, priority: Priority) -> u64 {
        self.pushed += 1;
        self.pushed + u64::from(priority.get()) * PASSED_JOBS_MAX
    }

    /// The chain of a lane, made if there is none.
    pub(crate) fn lane(&mut self, class: ClassKey, kind: LaneKind) -> &mut Chain {
        let found = self
            .lanes
            .iter()
            .position(|lane| lane.class == class && lane.kind == kind);
        let at = found.unwrap_or_else(|| {
            let chain = Chain::default();
            self.lanes.push(Lane { class, kind, chain });
            self.lanes.len() - 1
        });
        &mut self.lanes[at].chain
    }

    /// The lanes that hold jobs of a class, the one whose head goes first in front.
    pub(crate) fn heads<J>(
        &self,
        class: ClassKey,
        jobs: &WaitingJobs<J>,
    ) -> impl Iterator<Item = u32> + use<J> {
        // At most a lane a priority and one more.
        const LANES_MAX: usize = Priority::LAST.get() as usize + 2;
        let mut heads = [(u64::MAX, 0); LANES_MAX];
        let mut count = 0;
        for lane in self.lanes.iter().filter(|lane| lane.class == class) {
            let Some(head) = lane.chain.head() else {
                continue;
            };
            let rank = match lane.kind {
                LaneKind::Returned => 0,
                LaneKind::Of(_) => jobs.get(head).map_or(u64::MAX, |waiting| waiting.rank),
            };
            if let Some(place) = heads.get_mut(count) {
                *place = (rank, head);
                count += 1;
            }
        }
        heads[..count].sort_unstable();
        heads.into_iter().take(count).map(|(_, head)| head)
    }

    /// The flow of a class, made at `base` if there is none; one that was empty begins at `base` at the earliest.
    pub(crate) fn activate(&mut self, class: ClassKey, base: ShareTag) -> &mut Flow {
        let found = self.flows.iter().position(|flow| flow.class == class);
        let at = found.unwrap_or_else(|| {
            if self.flows.len() >= FLOWS_KEPT_MAX {
                self.forget_flow(class, base);
            }
            self.flows.push(Flow {
                class,
                queued: 0,
                start: base,
            });
            self.flows.len() - 1
        });
        let flow = &mut self.flows[at];
        if flow.queued == 0 {
            flow.start = flow.start.max(base);
        }
        flow
    }

    /// Drops an empty flow, the one that is least ahead; keeps all where none is empty.
    fn forget_flow(&mut self, class: ClassKey, base: ShareTag) {
        let stale = |flow: &Flow| flow.class.index == class.index || flow.start <= base;
        let empty = self.flows.iter().enumerate().filter(|(_, f)| f.queued == 0);
        let least = empty.min_by_key(|(_, flow)| (!stale(flow), flow.start));
        if let Some((at, _)) = least {
            self.flows.swap_remove(at);
        }
    }

    /// A job left a lane of this class.
    pub(crate) fn left(&mut self, class: ClassKey, kind: LaneKind, cost: Nanos) {
        self.queued = self.queued.saturating_sub(1);
        self.queued_cost = Nanos(self.queued_cost.0.saturating_sub(cost.0));
        if let Some(flow) = self.flows.iter_mut().find(|flow| flow.class == class) {
            flow.queued = flow.queued.saturating_sub(1);
        }
        self.lanes
            .retain(|lane| lane.class != class || lane.kind != kind || !lane.chain.is_empty());
        if self.queued == 0 {
            self.cost_max = Nanos(0);
            self.queued_cost = Nanos(0);
        }
    }

    /// From when on its peak rate lets a job of this cost be served, and with it any that it has queued; 0 without one.
    pub(crate) fn eligible_at(&self, cost: Nanos) -> u64 {
        let Some(pir) = self.config.pir_us_per_s else {
            return 0;
        };
        let cost = cost.max(self.cost_max);
        self.moments
            .eligible_at(cost, pir.max(1), self.config.pir_burst)
    }

    /// From when on it is due by its guarantee; `None` without one.
    pub(crate) fn due_at(&self) -> Option<u64> {
        (self.config.cir_us_per_s > 0).then_some(self.moments.reserved_at)
    }
}
