//! The life of a request: from its arrival over its blocks to its outcome.
//!
//! Invariant: each has one outcome, and gives back what it held. What targets do with its blocks stands in `serving`.

use crate::{JobRequest, JobShape, Nanos};

use super::arrivals::Arrivals;
use super::engines::Block;
use super::invariants::{Invariant, Violation};
use super::report::Outcome;
use super::requests::{Request, RequestId};
use super::run::{Ask, CARD_WAIT, Event, Run, kernel_class};
use super::scenario::{BLOCK_BYTES, Backend};

/// Blocks of one request in flight at once while few requests are, as the gateway has it.
const REQUEST_BLOCKS_IN_FLIGHT_MAX: u64 = 16;
/// Blocks of all requests together, shared evenly, as the gateway has it.
const ALL_BLOCKS_IN_FLIGHT: u64 = 96;
/// When a refused caller of a closed loop comes again.
const RETRY_AFTER: Nanos = Nanos(1_000_000_000);

impl Run<'_> {
    /// The request that a tenant begins after one at `now`, as long as any begin.
    pub(super) fn arrive_next(&mut self, number: usize, now: Nanos) {
        let Some(tenant) = self.tenants.get_mut(number) else {
            return;
        };
        let Some(class) = self.classes.get(tenant.class) else {
            return;
        };
        let next = tenant.source.next(&class.of.arrivals, &class.of.sizes, now);
        if let Some(next) = next.filter(|next| next.at < self.scenario.duration)
            && let Ok(tenant) = u32::try_from(number)
        {
            let bytes = next.bytes;
            self.events.put(next.at, Event::Arrive { tenant, bytes });
        }
    }

    pub(super) fn arrive(&mut self, number: u32, bytes: u64) -> Result<(), Violation> {
        let place = number as usize;
        let (now, counted) = (self.now, self.is_counted(self.now));
        let slot = self.slot();
        let Some(tenant) = self.tenants.get_mut(place) else {
            return Ok(());
        };
        let Some(class) = self.classes.get_mut(tenant.class) else {
            return Ok(());
        };
        let closed = matches!(class.of.arrivals, Arrivals::Closed { .. });
        class.figures.offered += u64::from(counted);
        let admitted = self.admission.admit(&mut tenant.used, class.of, bytes, now);
        if let Err(refusal) = admitted
            && let Some(count) = class.figures.refused.get_mut(refusal.index())
        {
            *count += u64::from(counted);
        }
        let (hang_up, deadline) = (class.of.hang_up, class.of.deadline);
        let requires_card = class.of.backend == Backend::RequireCard;
        if let Some(what) = tenant.used.over_rates(class.of, now) {
            return Err(self.broken(Invariant::TokensBalance, what));
        }
        self.report.checks += 1;
        if let Some(slot) = self.report.slots.get_mut(slot) {
            slot.offered += 1;
            slot.refused += u64::from(admitted.is_err());
        }
        self.note(1, number.into(), bytes ^ u64::from(admitted.is_ok()));
        if !closed {
            self.arrive_next(place, now);
        }
        let Ok(memory) = admitted else {
            if closed {
                self.arrive_next(place, Nanos(now.0.saturating_add(RETRY_AFTER.0)));
            }
            return Ok(());
        };
        self.report.in_flight_peak = self.report.in_flight_peak.max(self.admission.in_flight);
        let request = self.requests.begin(Request {
            tenant: number,
            bytes,
            arrived: now,
            memory,
            blocks: bytes.div_ceil(BLOCK_BYTES).max(1),
            begun: 0,
            under_way: 0,
            queued: 0,
            ended: false,
            waits_since: None,
        });
        let Some(request) = request else {
            let what = "more requests are in flight than have names".to_owned();
            return Err(self.broken(Invariant::Consistent, what));
        };
        let ends = [(hang_up, Outcome::HungUp), (deadline, Outcome::Deadline)];
        for (span, outcome) in ends {
            if let Some(span) = span {
                let at = Nanos(now.0.saturating_add(span.0));
                self.events.put(at, Event::GiveUp { request, outcome });
            }
        }
        if requires_card && deadline.is_none() {
            let at = Nanos(now.0.saturating_add(CARD_WAIT.0));
            self.events.put(at, Event::CardWaited { request });
        }
        self.begin_blocks(request);
        Ok(())
    }

    /// Has the HTTP side begin as many of a request's blocks as may be in flight.
    fn begin_blocks(&mut self, id: RequestId) {
        let shared = ALL_BLOCKS_IN_FLIGHT / (self.admission.in_flight as u64).max(1);
        let in_flight_max = shared.clamp(1, REQUEST_BLOCKS_IN_FLIGHT_MAX);
        while let Some(request) = self.requests.get(id)
            && request.under_way < in_flight_max
            && request.begun < request.blocks
        {
            let before = request.begun * BLOCK_BYTES;
            request.begun += 1;
            request.under_way += 1;
            self.http.push_back(Block {
                request: id,
                tenant: request.tenant,
                bytes: request.bytes.saturating_sub(before).min(BLOCK_BYTES),
                replays: 0,
            });
            self.ask(Ask::Http);
        }
    }

    /// A block has its place in its tenant's queue, or waits for one.
    pub(super) fn enqueue(&mut self, block: Block) -> Result<(), Violation> {
        let (now, queue_wait) = (self.now, self.scenario.machine.queue_wait);
        let Some(tenant) = self.tenants.get_mut(block.tenant as usize) else {
            return Ok(());
        };
        if tenant.queued < tenant.queued_max && tenant.waiting.is_empty() {
            return self.push(block);
        }
        tenant.waiting.push_back(block);
        let has_deadline = self
            .classes
            .get(tenant.class)
            .is_some_and(|class| class.of.deadline.is_some());
        if let Some(request) = self.requests.get(block.request)
            && !has_deadline
            && request.waits_since.is_none()
        {
            request.waits_since = Some(now);
            let (request, since) = (block.request, now);
            let at = Nanos(now.0.saturating_add(queue_wait.0));
            self.events.put(at, Event::NoRoom { request, since });
        }
        Ok(())
    }

    pub(super) fn push(&mut self, block: Block) -> Result<(), Violation> {
        let now = self.now;
        let (Some(tenant), Some(request)) = (
            self.tenants.get_mut(block.tenant as usize),
            self.requests.get(block.request),
        ) else {
            return Ok(());
        };
        let Some(class) = self.classes.get_mut(tenant.class) else {
            return Ok(());
        };
        tenant.queued += 1;
        class.queued += 1;
        self.queued += 1;
        self.report.queued_peak = self.report.queued_peak.max(self.queued);
        request.queued += 1;
        request.waits_since = None;
        tenant.service.backlogged_since.get_or_insert(now);
        if !std::mem::replace(&mut tenant.is_touched, true) {
            self.touched.push(block.tenant);
        }
        let (index, placement) = (tenant.index, class.placement);
        let kernel = kernel_class(class.of.kernel);
        let bytes = usize::try_from(block.bytes).unwrap_or(usize::MAX);
        let request = JobRequest {
            shape: JobShape { kernel, bytes },
            placement,
            priority: class.of.priority,
        };
        let pushed = self.scheduler.push(index, block, request, now);
        let expected = tenant.queued + tenant.came_back;
        let held = self.scheduler.queued(index);
        if let Err(full) = pushed {
            let what = format!("{full}, although its bound is {}", tenant.queued_max);
            return Err(self.broken(Invariant::QueueBound, what));
        }
        if tenant.queued > tenant.queued_max || held != expected {
            let what = format!(
                "{held} blocks queued of tenant {}: expected {expected}, at most {} and {} that came back",
                block.tenant, tenant.queued_max, tenant.came_back
            );
            return Err(self.broken(Invariant::QueueBound, what));
        }
        self.report.checks += 1;
        self.announce(placement);
        Ok(())
    }

    /// A block has ended.
    pub(super) fn block_done(&mut self, block: Block) -> Result<(), Violation> {
        let Some(request) = self.requests.get(block.request) else {
            let what = "a block ended after its request".to_owned();
            return Err(self.broken(Invariant::OneOutcome, what));
        };
        let Some(under_way) = request.under_way.checked_sub(1) else {
            let what = "a request's blocks ended more often than they began".to_owned();
            return Err(self.broken(Invariant::OneOutcome, what));
        };
        request.under_way = under_way;
        if request.ended {
            return self.release_if_done(block.request);
        }
        if request.begun < request.blocks {
            self.begin_blocks(block.request);
            return Ok(());
        }
        if under_way > 0 {
            return Ok(());
        }
        request.ended = true;
        self.outcome(block.request, Outcome::Delivered);
        self.release_if_done(block.request)
    }

    /// A caller waits no more.
    pub(super) fn give_up(&mut self, id: RequestId, outcome: Outcome) -> Result<(), Violation> {
        let Some(request) = self.requests.get(id) else {
            return Ok(());
        };
        if std::mem::replace(&mut request.ended, true) {
            return Ok(());
        }
        let (tenant, queued) = (request.tenant, request.queued);
        self.outcome(id, outcome);
        if let Some(tenant) = self.tenants.get_mut(tenant as usize) {
            let before = tenant.waiting.len();
            tenant.waiting.retain(|block| block.request != id);
            let dropped = (before - tenant.waiting.len()) as u64;
            if let Some(request) = self.requests.get(id) {
                request.under_way = request.under_way.saturating_sub(dropped);
            }
        }
        if queued > 0 {
            let index = self.tenants.get(tenant as usize).map(|tenant| tenant.index);
            let removed = index.map(|index| {
                let of_it = |block: &Block| block.request == id;
                self.scheduler.remove_from(index, of_it)
            });
            for block in removed.unwrap_or_default() {
                self.unqueued(block);
                if let Some(request) = self.requests.get(id) {
                    request.under_way = request.under_way.saturating_sub(1);
                }
            }
            self.refill(tenant)?;
        }
        self.release_if_done(id)
    }

    fn outcome(&mut self, id: RequestId, outcome: Outcome) {
        let now = self.now;
        let Some(request) = self.requests.get(id).copied() else {
            return;
        };
        let slot = self.slot();
        let counted = self.is_counted(request.arrived);
        let latency = now.since(request.arrived);
        let number = request.tenant as usize;
        let class = self.tenants.get(number).map_or(0, |tenant| tenant.class);
        let Some(class) = self.classes.get_mut(class) else {
            return;
        };
        if let Some(count) = class.figures.outcomes.get_mut(outcome as usize) {
            *count += u64::from(counted);
        }
        if outcome == Outcome::Delivered && counted {
            class.figures.bytes = class.figures.bytes.saturating_add(request.bytes);
            class.figures.latency.record(latency);
            if let Some(slot) = self.report.slots.get_mut(slot) {
                slot.latency.record(latency);
            }
        }
        let closed = matches!(class.of.arrivals, Arrivals::Closed { .. });
        self.note(2, outcome as u64, latency.0);
        if closed {
            self.arrive_next(number, now);
        }
    }

    /// Gives back what a request holds whose outcome is known and whose last block has ended.
    pub(super) fn release_if_done(&mut self, id: RequestId) -> Result<(), Violation> {
        let is_done = self
            .requests
            .get(id)
            .is_some_and(|request| request.ended && request.under_way == 0);
        if !is_done {
            return Ok(());
        }
        let Some(request) = self.requests.end(id) else {
            return Ok(());
        };
        let Some(tenant) = self.tenants.get_mut(request.tenant as usize) else {
            return Ok(());
        };
        self.report.checks += 1;
        if !self.admission.release(&mut tenant.used, request.memory) {
            let what = format!("tenant {} gives back what it does not hold", request.tenant);
            return Err(self.broken(Invariant::PermitsBalance, what));
        }
        Ok(())
    }
}
