//! What targets do: cores and functions of cards that ask the scheduler when they have room.
//!
//! Owns the order in which a core works (the HTTP side, verification, jobs), and what a card's loss does to its jobs.
//! Invariant: no target idles while a job waits that nothing keeps from it, for longer than between two looks.

use crate::{
    JobRequest, JobShape, Measured, Nanos, Placement, Receipt, Taken, TargetIndex, TargetSet,
};

use super::engines::{Block, CoreWork, HttpWork, Running};
use super::invariants::{Invariant, Violation};
use super::report::Outcome;
use super::run::{Ask, Event, Run, kernel_class};
use super::scenario::{Backend, Kernel};

/// Results that wait for verification; at the bound cards get no further jobs, as the gateway has it.
const UNVERIFIED_MAX: usize = 64;
/// Times that a job goes back because its engine failed, before it is the CPU's alone, as the gateway has it.
const REPLAYS_MAX: u8 = 3;
/// The least time in which a target that was given nothing asks again: a timer's.
const WAKE: Nanos = Nanos(1_000);
/// How long all targets of a job may have room without taking it: twice what the scheduler leaves it to another.
const PASSED_OVER_MAX: Nanos = Nanos(4_000_000);
/// How often a card that hangs is looked at.
const HANGS_LOOK: Nanos = Nanos(2_000_000);
/// What a job may have been measured to take to be run where it came from, as the gateway has it.
const HERE_MAX: Nanos = Nanos(1_500_000);
/// How long a core that fell idle stays awake: its worker polls that long before it sleeps.
const AWAKE: Nanos = Nanos(30_000);

impl Run<'_> {
    /// Has targets that may have something to do take it, until none does.
    pub(super) fn serve(&mut self) -> Result<(), Violation> {
        while let Some(ask) = self.asks.pop_front() {
            match ask {
                Ask::Http => while self.give_http_work()? {},
                Ask::Cores => {
                    while let Some(core) = self.cores.iter().position(|core| core.worker.is_none())
                        && self.give_core_work(core)?
                    {}
                }
                Ask::Function(function) => while self.give_card_work(function)? {},
            }
        }
        self.check_conserving()?;
        if let Some(at) = self.scheduler.wakes_at() {
            let at = at.max(self.now.plus(WAKE));
            if self.wakes_at.is_none_or(|wakes| at < wakes) {
                self.wakes_at = Some(at);
                self.events.put(at, Event::Wake);
            }
        }
        Ok(())
    }

    /// The moment has come that the scheduler named.
    pub(super) fn wakes(&mut self) {
        if self.wakes_at.is_some_and(|at| at <= self.now) {
            self.wakes_at = None;
        }
        self.wake();
    }

    /// Targets that were given nothing ask again, where the scheduler says so.
    fn wake(&mut self) {
        let asked = self.scheduler.to_wake(self.now);
        self.ask_functions(asked);
        if asked.contains(self.cpu) {
            self.ask(Ask::Cores);
        }
    }

    pub(super) fn ask(&mut self, ask: Ask) {
        if !self.asks.contains(&ask) {
            self.asks.push_back(ask);
        }
    }

    pub(super) fn ask_all(&mut self) {
        self.ask_functions(self.all_cards);
        self.ask(Ask::Cores);
    }

    fn ask_functions(&mut self, targets: TargetSet) {
        for number in 0..self.functions.len() {
            let asked = self
                .functions
                .get(number)
                .is_some_and(|function| targets.contains(function.target) && function.has_room());
            if asked {
                self.ask(Ask::Function(number));
            }
        }
    }

    /// Wakes who may take what was just queued.
    pub(super) fn announce(&mut self, placement: Placement) {
        let takers = placement.effective(self.scheduler.in_service());
        self.ask_functions(takers);
        if takers.contains(self.cpu) {
            self.ask(Ask::Cores);
        }
    }

    /// Whether an idle thread of the HTTP side found something.
    fn give_http_work(&mut self) -> Result<bool, Violation> {
        let idle = self
            .cores
            .iter()
            .position(|core| core.http.is_none() && core.worker.is_none());
        let Some(core) = idle.or_else(|| {
            let turn = self.http_turn;
            let cores = self.cores.len();
            let mut others = (0..cores).map(|n| (turn + n) % cores);
            others.find(|n| self.cores.get(*n).is_some_and(|core| core.http.is_none()))
        }) else {
            return Ok(false);
        };
        while let Some(block) = self.http.pop_front() {
            let Some(request) = self.requests.get(block.request) else {
                continue;
            };
            if request.ended {
                self.block_done(block)?;
                continue;
            }
            let http = self.scenario.machine.http;
            let whole = http.of(block.bytes);
            let lasts = if request.begun <= 1 {
                whole
            } else {
                whole.since(Nanos(http.fixed_ns))
            };
            self.http_turn = core + 1;
            self.begin_http(core, HttpWork::Block(block), lasts);
            return Ok(true);
        }
        Ok(false)
    }

    fn begin_http(&mut self, number: usize, work: HttpWork, lasts: Nanos) {
        let counted = self.count_busy(lasts);
        match work {
            HttpWork::Block(_) => self.report.core_time.http.0 += counted.0,
            HttpWork::Here(_) => self.report.core_time.jobs.0 += counted.0,
        }
        let now = self.now;
        let Some(core) = self.cores.get_mut(number) else {
            return;
        };
        let (ends, put_off) = core.begin_http(work, lasts, now);
        let turn = core.turn;
        self.events.put(ends, Event::HttpDone { core: number });
        if let Some(ends) = put_off {
            self.events
                .put(ends, Event::CoreDone { core: number, turn });
        }
    }

    /// Counts a core's time from now on, as far as it is within the run's; what of it is.
    fn count_busy(&mut self, lasts: Nanos) -> Nanos {
        let slot = self.slot();
        let counted = lasts.min(self.scenario.duration.since(self.now));
        if let Some(slot) = self.report.slots.get_mut(slot) {
            slot.core_busy.0 += counted.0;
        }
        counted
    }

    /// Whether an idle worker found something.
    fn give_core_work(&mut self, number: usize) -> Result<bool, Violation> {
        let machine = &self.scenario.machine;
        let idle_since = self
            .cores
            .get(number)
            .map_or(self.now, |core| core.idle_since);
        let hand_off = if self.now.since(idle_since) <= AWAKE {
            machine.hand_off_busy
        } else {
            machine.hand_off_idle
        };
        if let Some(running) = self.unverified.pop_front() {
            if self.unverified.len() == UNVERIFIED_MAX - 1 {
                self.ask_functions(self.all_cards);
            }
            let verify = self
                .kernel_of(running.block)
                .map_or(Nanos(0), |kernel| kernel.verify.of(running.block.bytes));
            let lasts = Nanos(verify.0.saturating_add(hand_off.0));
            self.begin_worker(number, CoreWork::Verify(running), lasts);
            return Ok(true);
        }
        let Some((block, receipt)) = self.take(self.cpu)? else {
            return Ok(false);
        };
        let took = self.on_core(block);
        let lasts = Nanos(took.0.saturating_add(hand_off.0));
        let running = Running {
            block,
            receipt,
            took,
            had: took,
        };
        self.begin_worker(number, CoreWork::Job(running), lasts);
        Ok(true)
    }

    fn begin_worker(&mut self, number: usize, work: CoreWork, lasts: Nanos) {
        let counted = self.count_busy(lasts);
        match work {
            CoreWork::Verify(_) => self.report.core_time.verify.0 += counted.0,
            CoreWork::Job(_) => self.report.core_time.jobs.0 += counted.0,
        }
        let now = self.now;
        let Some(core) = self.cores.get_mut(number) else {
            return;
        };
        let ends = core.begin_worker(work, lasts, now);
        let turn = core.turn;
        self.events
            .put(ends, Event::CoreDone { core: number, turn });
    }

    pub(super) fn core_done(&mut self, number: usize, turn: u32) -> Result<(), Violation> {
        let now = self.now;
        let Some(core) = self.cores.get_mut(number).filter(|core| core.turn == turn) else {
            return Ok(());
        };
        core.idle_since = now;
        let Some(work) = core.worker.take() else {
            let what = format!("core {number} ended what it had not begun");
            return Err(self.broken(Invariant::Consistent, what));
        };
        self.ask(Ask::Cores);
        match work {
            CoreWork::Verify(running) | CoreWork::Job(running) => self.settle(running),
        }
    }

    pub(super) fn http_done(&mut self, number: usize) -> Result<(), Violation> {
        let Some(work) = self.cores.get_mut(number).and_then(|core| core.http.take()) else {
            let what = format!("the HTTP side of core {number} ended what it had not begun");
            return Err(self.broken(Invariant::Consistent, what));
        };
        self.ask(Ask::Http);
        match work {
            HttpWork::Here(running) => self.settle(running),
            HttpWork::Block(block) => self.block_read(number, block),
        }
    }

    /// A block is in memory. Alone in its body, it runs where it is, if that suits the scheduler.
    fn block_read(&mut self, core: usize, block: Block) -> Result<(), Violation> {
        let Some(request) = self.requests.get(block.request) else {
            return Ok(());
        };
        if request.ended {
            return self.block_done(block);
        }
        if request.blocks > 1 {
            return self.enqueue(block);
        }
        let Some(receipt) = self.take_now(block) else {
            return self.enqueue(block);
        };
        self.charge(block, receipt.charged())?;
        self.note(6, block.tenant.into(), block.bytes);
        let took = self.on_core(block);
        let running = Running {
            block,
            receipt,
            took,
            had: took,
        };
        self.begin_http(core, HttpWork::Here(running), took);
        Ok(())
    }

    fn take_now(&mut self, block: Block) -> Option<Receipt> {
        let tenant = self.tenants.get(block.tenant as usize)?;
        let class = self.classes.get(tenant.class)?;
        let shape = JobShape {
            kernel: kernel_class(class.of.kernel),
            bytes: usize::try_from(block.bytes).ok()?,
        };
        let request = JobRequest {
            shape,
            placement: class.placement,
            priority: class.of.priority,
        };
        let (tenant, cpu) = (tenant.index, self.cpu);
        let now = self.now;
        let receipt = self.scheduler.take_now(tenant, request, cpu, HERE_MAX, now);
        self.wake();
        receipt
    }

    /// The next block for a target whose caller still waits.
    fn take(&mut self, target: TargetIndex) -> Result<Option<(Block, Receipt)>, Violation> {
        if self.queued == 0 {
            return Ok(None);
        }
        let taken = self.scheduler.next(target, self.now);
        self.wake();
        let Some(taken) = taken else {
            return Ok(None);
        };
        let Taken {
            job: block,
            receipt,
            waited,
            ..
        } = taken;
        let waits = self.requests.get(block.request);
        if waits.is_none_or(|request| request.ended) {
            let what = "the scheduler gave a job that had ended, or was taken back".to_owned();
            return Err(self.broken(Invariant::OneOutcome, what));
        }
        let counted = self.is_counted(self.now);
        self.unqueued(block);
        if let Some(class) = self
            .tenants
            .get(block.tenant as usize)
            .and_then(|tenant| self.classes.get_mut(tenant.class))
        {
            class.passed_over_since = None;
            if counted {
                class.figures.waited.record(waited);
            }
        }
        if block.replays == 0 {
            self.charge(block, receipt.charged())?;
        }
        self.note(5, target.number() as u64, block.tenant.into());
        self.refill(block.tenant)?;
        Ok(Some((block, receipt)))
    }

    /// A job was begun: what its tenant has had, in reference time, and what it was charged for that.
    fn charge(&mut self, block: Block, charged: Nanos) -> Result<(), Violation> {
        let cost = self
            .kernel_of(block)
            .map_or(Nanos(0), |kernel| kernel.cpu.of(block.bytes));
        let slots = self.cores.len() + self.functions.iter().map(|f| f.depth).sum::<usize>();
        let now = self.now;
        let Some(tenant) = self.tenants.get_mut(block.tenant as usize) else {
            return Ok(());
        };
        let Some(class) = self.classes.get(tenant.class) else {
            return Ok(());
        };
        let charged = tenant
            .service
            .charge(cost, charged, class.promise, slots as u64, now);
        self.report.checks += 1;
        charged.map_err(|what| {
            let what = format!("tenant {}: {what}", block.tenant);
            self.broken(Invariant::PirHeld, what)
        })
    }

    /// A block is no longer in its tenant's queue.
    pub(super) fn unqueued(&mut self, block: Block) {
        self.queued = self.queued.saturating_sub(1);
        if let Some(request) = self.requests.get(block.request) {
            request.queued = request.queued.saturating_sub(1);
        }
        let Some(tenant) = self.tenants.get_mut(block.tenant as usize) else {
            return;
        };
        let place = if block.replays == 0 {
            &mut tenant.queued
        } else {
            &mut tenant.came_back
        };
        *place = place.saturating_sub(1);
        if tenant.queued + tenant.came_back == 0 {
            tenant.service.backlogged_since = None;
        }
        if let Some(class) = self.classes.get_mut(tenant.class) {
            class.queued = class.queued.saturating_sub(1);
        }
    }

    /// Blocks that waited for room in a tenant's queue take it.
    pub(super) fn refill(&mut self, number: u32) -> Result<(), Violation> {
        while let Some(tenant) = self.tenants.get_mut(number as usize)
            && tenant.queued < tenant.queued_max
            && let Some(block) = tenant.waiting.pop_front()
        {
            self.push(block)?;
        }
        Ok(())
    }

    /// Whether a function with room found something.
    fn give_card_work(&mut self, number: usize) -> Result<bool, Violation> {
        if self.unverified.len() >= UNVERIFIED_MAX {
            return Ok(false);
        }
        let Some(function) = self.functions.get(number).filter(|f| f.has_room()) else {
            return Ok(false);
        };
        let target = function.target;
        let Some((block, receipt)) = self.take(target)? else {
            return Ok(false);
        };
        let (took, scrub, transfer) = self.on_card(number, block);
        let now = self.now;
        let slot = self.slot();
        let counted_until = self.scenario.duration;
        let Some(function) = self.functions.get_mut(number) else {
            return Ok(false);
        };
        let half = Nanos(transfer.0 / 2);
        let there = Nanos(now.0.saturating_add(half.0));
        let end = function.begin(block.tenant, there, took, scrub, counted_until);
        if let Some(slot) = self.report.slots.get_mut(slot) {
            slot.engine_busy.0 += took.0;
        }
        let life = function.life;
        if let Some(place) = function.held.iter().position(Option::is_none)
            && let Some(free) = function.held.get_mut(place)
        {
            let at = Nanos(end.0.saturating_add(transfer.0 - half.0));
            *free = Some(Running {
                block,
                receipt,
                took,
                had: at.since(now),
            });
            let function = number;
            self.events.put(
                at,
                Event::CardDone {
                    function,
                    life,
                    place,
                },
            );
        }
        Ok(true)
    }

    pub(super) fn card_done(
        &mut self,
        number: usize,
        life: u32,
        place: usize,
    ) -> Result<(), Violation> {
        let Some(function) = self.functions.get_mut(number) else {
            return Ok(());
        };
        if function.life != life {
            return Ok(());
        }
        if function.hung {
            // It will be found to hang; if it went on before that, it is as if the answer came then.
            let (function, at) = (number, self.now.plus(HANGS_LOOK));
            self.events.put(
                at,
                Event::CardDone {
                    function,
                    life,
                    place,
                },
            );
            return Ok(());
        }
        let Some(running) = function.held.get_mut(place).and_then(Option::take) else {
            let what = format!("function {number} ended what it did not hold");
            return Err(self.broken(Invariant::Consistent, what));
        };
        self.ask(Ask::Function(number));
        if !self.scenario.machine.verify {
            return self.settle(running);
        }
        self.unverified.push_back(running);
        self.ask(Ask::Cores);
        Ok(())
    }

    /// A job was done and judged.
    fn settle(&mut self, running: Running) -> Result<(), Violation> {
        let Running {
            block,
            receipt,
            took,
            had,
        } = running;
        let on_cpu = receipt.target() == self.cpu;
        let verify = self
            .kernel_of(block)
            .map(|kernel| kernel.verify.of(block.bytes));
        let verified = verify.filter(|_| !on_cpu && self.scenario.machine.verify);
        let measured = Measured {
            took: had,
            reference: on_cpu.then_some(took),
            engine: (!on_cpu).then_some(took),
            verified: verified.unwrap_or_default(),
        };
        let predicted = receipt.charged();
        let charged = self.scheduler.finish(receipt, measured);
        if let Some(tenant) = self.tenants.get_mut(block.tenant as usize) {
            tenant.service.correct(predicted, charged);
        }
        self.wake();
        self.block_done(block)
    }

    /// A function is out of service; what it held goes back.
    pub(super) fn lose(&mut self, number: usize) -> Result<(), Violation> {
        let now = self.now;
        let Some(function) = self.functions.get_mut(number) else {
            return Ok(());
        };
        if !function.in_service {
            return Ok(());
        }
        let target = function.target;
        let held = function.fail(now);
        self.scheduler.set_in_service(target, false, now);
        for running in held {
            self.replay(running)?;
        }
        self.ask_all();
        Ok(())
    }

    fn replay(&mut self, running: Running) -> Result<(), Violation> {
        let Running {
            mut block, receipt, ..
        } = running;
        let ended = self
            .requests
            .get(block.request)
            .is_none_or(|request| request.ended);
        if ended {
            self.scheduler.abandon(receipt, None);
            return self.block_done(block);
        }
        block.replays = block.replays.saturating_add(1);
        let Some(tenant) = self.tenants.get_mut(block.tenant as usize) else {
            return Ok(());
        };
        let Some(class) = self.classes.get_mut(tenant.class) else {
            return Ok(());
        };
        class.figures.replayed += 1;
        let required = class.of.backend == Backend::RequireCard;
        if block.replays > REPLAYS_MAX && required {
            self.scheduler.abandon(receipt, None);
            self.give_up(block.request, Outcome::NoCard)?;
            return self.block_done(block);
        }
        let placement = if required {
            Placement::any_of(self.all_cards)
        } else if block.replays > REPLAYS_MAX {
            Placement::any_of(TargetSet::of(self.cpu))
        } else {
            receipt.placement().avoiding(receipt.target())
        };
        tenant.came_back += 1;
        tenant.service.backlogged_since.get_or_insert(self.now);
        class.queued += 1;
        self.queued += 1;
        if let Some(request) = self.requests.get(block.request) {
            request.queued += 1;
        }
        if self.scheduler.requeue(receipt, block, placement).is_err() {
            let what = "a tenant is gone that nobody removed".to_owned();
            return Err(self.broken(Invariant::Consistent, what));
        }
        self.announce(placement);
        Ok(())
    }

    /// A job may wait for the target that suits it best, but not while all of its targets have room.
    fn check_conserving(&mut self) -> Result<(), Violation> {
        if self.queued == 0 {
            return Ok(());
        }
        let in_service = self.scheduler.in_service();
        let a_core_idles = self.cores.iter().any(|core| core.worker.is_none());
        let cards_take = self.unverified.len() < UNVERIFIED_MAX;
        let mut roomy = TargetSet::EMPTY;
        if a_core_idles {
            roomy = roomy.union(TargetSet::of(self.cpu));
        }
        for function in self.functions.iter().filter(|f| cards_take && f.has_room()) {
            roomy = roomy.union(TargetSet::of(function.target));
        }
        self.report.checks += 1;
        let now = self.now;
        let mut passed_over = None;
        for (number, class) in self.classes.iter_mut().enumerate() {
            let takers = class.placement.effective(in_service);
            let waits = class.queued > 0
                && class.of.pir_us_per_s.is_none()
                && !takers.is_empty()
                && takers.without(roomy).is_empty();
            if !waits {
                class.passed_over_since = None;
                continue;
            }
            let since = *class.passed_over_since.get_or_insert(now);
            if now.since(since) > PASSED_OVER_MAX {
                passed_over = Some((number, since, class.queued));
            }
        }
        if let Some((class, since, queued)) = passed_over {
            let what = format!(
                "all targets of class {class} have had room for {} us, and {queued} blocks are queued",
                now.since(since).0 / 1000
            );
            return Err(self.broken(Invariant::WorkConserving, what));
        }
        Ok(())
    }

    fn kernel_of(&self, block: Block) -> Option<&Kernel> {
        let tenant = self.tenants.get(block.tenant as usize)?;
        let class = self.classes.get(tenant.class)?;
        self.scenario.kernels.get(class.of.kernel)
    }

    /// What a block takes on a core.
    fn on_core(&mut self, block: Block) -> Nanos {
        let Some((cost, jitter)) = self
            .kernel_of(block)
            .map(|kernel| (kernel.cpu.of(block.bytes), kernel.jitter))
        else {
            return Nanos(0);
        };
        self.scattered(cost, jitter)
    }

    /// What a block takes on a function's engine, what clearing the engine takes, and the way there and back.
    fn on_card(&mut self, function: usize, block: Block) -> (Nanos, Nanos, Nanos) {
        let Some((card, slowness)) = self.functions.get(function).and_then(|function| {
            let card = self.scenario.machine.cards.get(function.card)?;
            Some((card, function.slowness))
        }) else {
            return (Nanos(0), Nanos(0), Nanos(0));
        };
        let cycles = self
            .kernel_of(block)
            .and_then(|kernel| kernel.card)
            .map_or(0, |cycles| cycles.of(block.bytes));
        let time = |cycles: u64| {
            let ns = u128::from(cycles) * 1_000_000 / u128::from(card.clock_khz);
            Nanos(u64::try_from(ns).unwrap_or(u64::MAX))
        };
        let slow = |time: Nanos| Nanos(super::arrivals::whole(time.0 as f64 * slowness));
        (
            slow(time(cycles)),
            slow(time(card.scrub_cycles)),
            card.transfer.of(block.bytes),
        )
    }

    fn scattered(&mut self, time: Nanos, jitter: f64) -> Nanos {
        if jitter == 0.0 {
            return time;
        }
        let factor = self.random.log_normal(jitter);
        Nanos(super::arrivals::whole(time.0 as f64 * factor))
    }
}
