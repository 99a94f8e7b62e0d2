//! A run: from event to event, with the scheduler that serves real callers.
//!
//! Owns the simulated moment, the requests and their outcomes. Invariants: those of [`super::invariants`], checked at each
//! event that could break them. What targets do stands in `serving`; it does not know what is done with the figures.

use std::collections::VecDeque;

use crate::{
    Config, KernelClass, Nanos, Placement, Scheduler, TargetIndex, TargetSet, TenantIndex,
};

use super::admission::{Admission, TenantUse};
use super::arrivals::{Arrivals, Source};
use super::engines::{Block, Core, Function, Running};
use super::events::EventQueue;
use super::invariants::{Invariant, Promise, Service, Violation};
use super::random::{Random, mix};
use super::report::{ClassFigures, FunctionFigures, Outcome, Report, SLOTS, Slot, TenantFigures};
use super::requests::{RequestId, Requests};
use super::scenario::{Backend, Scenario, TenantClass, Unfit};

/// How long a request that requires a card waits for one to come into service, as the gateway has it.
pub(super) const CARD_WAIT: Nanos = Nanos(10_000_000_000);
/// How long after the last request's beginning all must have ended.
const DRAIN_MAX: Nanos = Nanos(24 * 3600 * 1_000_000_000);
/// Jobs that one function holds at most, as the gateway has it.
const FUNCTION_JOBS_MAX: usize = 512;
/// Stream of random numbers that is no tenant's.
const ENGINE_STREAM: u64 = u64::MAX;

/// Why there are no figures.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The scenario cannot be run.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// It was run, and something did not hold that must.
    #[error(transparent)]
    Broken(#[from] Violation),
}

/// Runs a scenario.
///
/// # Errors
/// [`RunError`]
pub fn run(scenario: &Scenario) -> Result<Report, RunError> {
    run_with(scenario, |_| {})
}

/// The same; `progress` is told the simulated moment once a window.
///
/// # Errors
/// [`RunError`]
pub fn run_with(scenario: &Scenario, progress: impl FnMut(Nanos)) -> Result<Report, RunError> {
    scenario.check()?;
    Ok(Run::new(scenario).go(progress)?)
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Arrive {
        tenant: u32,
        bytes: u64,
    },
    HttpDone {
        core: usize,
    },
    CoreDone {
        core: usize,
        turn: u32,
    },
    CardDone {
        function: usize,
        life: u32,
        place: usize,
    },
    /// Targets that were given nothing may ask again.
    Wake,
    GiveUp {
        request: RequestId,
        outcome: Outcome,
    },
    NoRoom {
        request: RequestId,
        since: Nanos,
    },
    CardWaited {
        request: RequestId,
    },
    Fault {
        number: usize,
    },
    HangSeen {
        function: usize,
        life: u32,
    },
    FaultEnd {
        number: usize,
    },
    Window {
        from: Nanos,
    },
}

/// Whoever may have something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Http,
    Cores,
    Function(usize),
}

pub(super) struct Tenant {
    pub(super) class: usize,
    pub(super) index: TenantIndex,
    pub(super) source: Source,
    pub(super) used: TenantUse,
    pub(super) service: Service,
    /// Blocks in its queue that hold a place of it.
    pub(super) queued: usize,
    pub(super) queued_max: usize,
    /// Blocks in its queue that came back from an engine: they need no place.
    pub(super) came_back: usize,
    /// Blocks that wait for a place.
    pub(super) waiting: VecDeque<Block>,
    /// Whether it is among those that are looked at when the window ends.
    pub(super) is_touched: bool,
}

/// What is the same for all tenants of a class.
pub(super) struct Class<'a> {
    pub(super) of: &'a TenantClass,
    pub(super) placement: Placement,
    pub(super) promise: Promise,
    /// Whether every target may serve it.
    pub(super) everywhere: bool,
    /// Its blocks in queues.
    pub(super) queued: usize,
    /// Since when all its targets have had room although it has blocks queued.
    pub(super) passed_over_since: Option<Nanos>,
    pub(super) figures: ClassFigures,
}

pub(super) struct Run<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) now: Nanos,
    pub(super) events: EventQueue<Event>,
    pub(super) scheduler: Scheduler<Block>,
    pub(super) cpu: TargetIndex,
    pub(super) all_cards: TargetSet,
    pub(super) classes: Vec<Class<'a>>,
    pub(super) tenants: Vec<Tenant>,
    pub(super) requests: Requests,
    pub(super) admission: Admission,
    pub(super) cores: Vec<Core>,
    pub(super) functions: Vec<Function>,
    /// Blocks that the HTTP side has to do with.
    pub(super) http: VecDeque<Block>,
    /// The core whose HTTP side is asked next, where none idles.
    pub(super) http_turn: usize,
    pub(super) unverified: VecDeque<Running>,
    pub(super) asks: VecDeque<Ask>,
    /// When the next of them is.
    pub(super) wakes_at: Option<Nanos>,
    pub(super) random: Random,
    pub(super) queued: usize,
    pub(super) touched: Vec<u32>,
    /// The least part of every guarantee that was held in the present window.
    pub(super) cir_scale_min: f64,
    event: u64,
    pub(super) report: Report,
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let mut scheduler = Scheduler::new(Config::default());
        let machine = &scenario.machine;
        // The scenario was checked: there are fewer functions than the scheduler has targets.
        let none = || unreachable!("a checked scenario has fewer targets than there may be");
        let cpu = scheduler
            .add_target(machine.cores, true)
            .unwrap_or_else(none);
        scheduler.set_in_service(cpu, true, Nanos(0));
        let mut functions = Vec::new();
        let mut all_cards = TargetSet::EMPTY;
        for (number, card) in machine.cards.iter().enumerate() {
            for _ in 0..card.functions {
                let target = scheduler
                    .add_target(card.engines, false)
                    .unwrap_or_else(none);
                scheduler.set_in_service(target, true, Nanos(0));
                all_cards = all_cards.union(TargetSet::of(target));
                functions.push(Function::new(number, target, card));
            }
        }
        let mut tenants = Vec::new();
        let mut classes = Vec::new();
        for (number, class) in scenario.classes.iter().enumerate() {
            let queued_max = class.queued_blocks_max.unwrap_or(machine.queue_blocks_max);
            for _ in 0..class.count {
                tenants.push(Tenant {
                    class: number,
                    index: scheduler.add_tenant(tenant_config(class, queued_max)),
                    source: Source::new(scenario.seed, tenants.len() as u64),
                    used: TenantUse::new(class),
                    service: Service::default(),
                    queued: 0,
                    queued_max,
                    came_back: 0,
                    waiting: VecDeque::new(),
                    is_touched: false,
                });
            }
            let by_card = scenario
                .kernels
                .get(class.kernel)
                .is_some_and(|kernel| kernel.card.is_some());
            let placement = placement_of(class.backend, by_card, cpu, all_cards);
            classes.push(Class {
                of: class,
                placement,
                promise: Promise {
                    cir_us_per_s: class.cir_us_per_s,
                    pir_us_per_s: class.pir_us_per_s,
                    pir_burst_us: class.pir_burst_us,
                },
                everywhere: placement == Placement::any_of(TargetSet::of(cpu).union(all_cards)),
                queued: 0,
                passed_over_since: None,
                figures: ClassFigures {
                    name: class.name.clone(),
                    tenants: class.count.into(),
                    ..ClassFigures::default()
                },
            });
        }
        Self {
            scenario,
            now: Nanos(0),
            events: EventQueue::new(),
            scheduler,
            cpu,
            all_cards,
            classes,
            tenants,
            requests: Requests::default(),
            admission: Admission::new(machine),
            cores: (0..machine.cores).map(|_| Core::default()).collect(),
            functions,
            http: VecDeque::new(),
            http_turn: 0,
            unverified: VecDeque::new(),
            asks: VecDeque::new(),
            wakes_at: None,
            random: Random::stream(scenario.seed, ENGINE_STREAM),
            queued: 0,
            touched: Vec::new(),
            cir_scale_min: 1.0,
            event: 0,
            report: Report {
                seed: scenario.seed,
                machines: 1,
                duration: scenario.duration,
                counted: scenario.duration.since(scenario.warm_up),
                cores: machine.cores.into(),
                cir_factor_per_mille_min: 1000,
                slots: vec![Slot::default(); SLOTS],
                ..Report::default()
            },
        }
    }

    fn go(mut self, mut progress: impl FnMut(Nanos)) -> Result<Report, Violation> {
        self.begin();
        let end = Nanos(self.scenario.duration.0.saturating_add(DRAIN_MAX.0));
        while let Some((at, event)) = self.events.take() {
            if at > end {
                let what = format!("{} requests have not ended", self.requests.len());
                return Err(self.broken(Invariant::OneOutcome, what));
            }
            self.now = at;
            self.handle(event)?;
            self.serve()?;
            self.event += 1;
            if matches!(event, Event::Window { .. }) {
                progress(at);
            }
        }
        self.check_end()?;
        Ok(self.into_report())
    }

    fn begin(&mut self) {
        for number in 0..self.tenants.len() {
            let callers = match self.class_of(number).map(|class| &class.of.arrivals) {
                Some(Arrivals::Closed { callers, .. }) => *callers,
                _ => 1,
            };
            for _ in 0..callers {
                self.arrive_next(number, Nanos(0));
            }
        }
        for (number, fault) in self.scenario.faults.iter().enumerate() {
            self.events.put(fault.at, Event::Fault { number });
            if let Some(until) = fault.until {
                self.events.put(until, Event::FaultEnd { number });
            }
        }
        let from = Nanos(0);
        self.events
            .put(self.scenario.window, Event::Window { from });
    }

    fn handle(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Arrive { tenant, bytes } => self.arrive(tenant, bytes),
            Event::HttpDone { core } => self.http_done(core),
            Event::CoreDone { core, turn } => self.core_done(core, turn),
            Event::CardDone {
                function,
                life,
                place,
            } => self.card_done(function, life, place),
            Event::Wake => {
                self.wakes();
                Ok(())
            }
            Event::GiveUp { request, outcome } => self.give_up(request, outcome),
            Event::NoRoom { request, since } => {
                let waits = self.requests.get(request).and_then(|r| r.waits_since);
                if waits == Some(since) {
                    self.give_up(request, Outcome::NoRoom)?;
                }
                Ok(())
            }
            Event::CardWaited { request } => {
                if self.requests.get(request).is_none() {
                    return Ok(());
                }
                let in_service = self.scheduler.in_service().intersection(self.all_cards);
                if in_service.is_empty() {
                    return self.give_up(request, Outcome::NoCard);
                }
                let at = Nanos(self.now.0.saturating_add(CARD_WAIT.0));
                self.events.put(at, Event::CardWaited { request });
                Ok(())
            }
            Event::Fault { number } => self.fault(number),
            Event::HangSeen { function, life } => {
                let hangs = self
                    .functions
                    .get(function)
                    .is_some_and(|f| f.hung && f.life == life);
                if hangs { self.lose(function) } else { Ok(()) }
            }
            Event::FaultEnd { number } => {
                self.fault_end(number);
                Ok(())
            }
            Event::Window { from } => self.window(from),
        }
    }

    fn window(&mut self, from: Nanos) -> Result<(), Violation> {
        let now = self.now;
        let scale = self.cir_scale_min.min(self.scheduler.cir_scale());
        self.cir_scale_min = self.scheduler.cir_scale();
        let per_mille = super::arrivals::whole(scale * 1000.0);
        let least = &mut self.report.cir_factor_per_mille_min;
        *least = per_mille.min(*least);
        let (mut short, mut excess) = (None, None);
        for number in std::mem::take(&mut self.touched) {
            let Some(tenant) = self.tenants.get_mut(number as usize) else {
                continue;
            };
            let Some(class) = self.classes.get(tenant.class) else {
                continue;
            };
            let looked = tenant.service.look(class.promise, scale, from, now);
            if looked.is_short && class.everywhere {
                short = Some((number, looked));
            }
            if looked.has_excess {
                excess = Some((number, looked));
            }
            tenant.is_touched = tenant.service.backlogged_since.is_some();
            if tenant.is_touched {
                self.touched.push(number);
            }
        }
        self.report.checks += 1;
        if let (Some((short, least)), Some((other, most))) = (short, excess) {
            let what = format!(
                "tenant {short} asked without a pause and had {} us of {} us, while tenant {other} had {} us of {} us",
                least.had.0 / 1000,
                least.guaranteed.0 / 1000,
                most.had.0 / 1000,
                most.guaranteed.0 / 1000
            );
            return Err(self.broken(Invariant::CirHeld, what));
        }
        let next = Nanos(now.0.saturating_add(self.scenario.window.0));
        if next <= self.scenario.duration {
            self.events.put(next, Event::Window { from: now });
        }
        Ok(())
    }

    fn check_end(&mut self) -> Result<(), Violation> {
        let left = self.requests.len();
        if left > 0 {
            let what = format!("{left} requests never ended");
            return Err(self.broken(Invariant::OneOutcome, what));
        }
        let held = (self.admission.in_flight, self.admission.memory_bytes);
        let of_tenants: usize = self
            .tenants
            .iter()
            .map(|tenant| tenant.used.in_flight)
            .sum();
        if held != (0, 0) || of_tenants != 0 {
            let what = format!("{held:?} and {of_tenants} are still held at the end");
            return Err(self.broken(Invariant::PermitsBalance, what));
        }
        let queued = self.scheduler.queued_in_all();
        if queued != 0 || self.queued != 0 {
            let what = format!(
                "{queued} blocks are queued at the end, by the books {}",
                self.queued
            );
            return Err(self.broken(Invariant::Consistent, what));
        }
        let targets = self.all_cards.union(TargetSet::of(self.cpu));
        let outstanding: u64 = targets
            .iter()
            .map(|t| self.scheduler.outstanding(t).0)
            .sum();
        if outstanding != 0 {
            let what = format!("targets are charged {outstanding} ns at the end");
            return Err(self.broken(Invariant::Consistent, what));
        }
        self.report.checks += 4;
        Ok(())
    }

    fn into_report(mut self) -> Report {
        self.report.events = self.event;
        self.report.memory_bytes_peak = self.admission.memory_bytes_peak;
        let tenants = self.tenants.iter().map(|tenant| TenantFigures {
            class: tenant.class,
            weight: self
                .classes
                .get(tenant.class)
                .map_or(1, |class| class.of.weight),
            served: tenant.service.served,
            windows: tenant.service.windows,
            backlogged: tenant.service.backlogged,
            served_backlogged: tenant.service.served_backlogged,
            cir_per_mille_min: tenant.service.cir_per_mille_min,
            pir_per_mille_max: tenant.service.pir_per_mille_max,
        });
        self.report.tenants = tenants.collect();
        for tenant in &self.report.tenants {
            if let Some(class) = self.classes.get_mut(tenant.class) {
                class.figures.served.0 = class.figures.served.0.saturating_add(tenant.served.0);
            }
        }
        self.report.classes = self
            .classes
            .into_iter()
            .map(|class| class.figures)
            .collect();
        let machine = &self.scenario.machine;
        let functions = self.functions.iter().map(|function| FunctionFigures {
            card: function.card,
            engines: machine
                .cards
                .get(function.card)
                .map_or(0, |card| card.engines.into()),
            busy: function.busy,
            jobs: function.jobs,
        });
        self.report.functions = functions.collect();
        self.report
    }

    pub(super) fn class_of(&self, tenant: usize) -> Option<&Class<'a>> {
        self.classes.get(self.tenants.get(tenant)?.class)
    }

    pub(super) fn is_counted(&self, arrived: Nanos) -> bool {
        arrived >= self.scenario.warm_up
    }

    /// Which part of the run's time it is.
    pub(super) fn slot(&self) -> usize {
        let place = u128::from(self.now.0) * SLOTS as u128 / u128::from(self.scenario.duration.0);
        usize::try_from(place).map_or(SLOTS - 1, |place| place.min(SLOTS - 1))
    }

    /// Goes into what is the same for the same seed.
    pub(super) fn note(&mut self, kind: u64, one: u64, other: u64) {
        let hash = mix(self.report.trace_hash ^ self.now.0) ^ kind;
        self.report.trace_hash = mix(mix(hash ^ one.rotate_left(17)) ^ other);
    }

    pub(super) fn broken(&self, invariant: Invariant, what: String) -> Violation {
        Violation {
            seed: self.scenario.seed,
            event: self.event,
            at: self.now,
            invariant,
            what,
        }
    }
}

pub(super) fn kernel_class(number: usize) -> KernelClass {
    KernelClass(u16::try_from(number).unwrap_or(u16::MAX))
}

fn tenant_config(class: &TenantClass, queued_max: usize) -> crate::TenantConfig {
    crate::TenantConfig {
        weight: class.weight,
        cir_us_per_s: class.cir_us_per_s,
        pir_us_per_s: class.pir_us_per_s,
        pir_burst: Nanos(class.pir_burst_us.saturating_mul(1000)),
        // Blocks that come back from an engine have room on top, as in the gateway.
        queued_max: queued_max.saturating_add(crate::TARGETS_MAX * FUNCTION_JOBS_MAX),
    }
}

/// Where a class's blocks may run, as the gateway decides it.
fn placement_of(backend: Backend, by_card: bool, cpu: TargetIndex, cards: TargetSet) -> Placement {
    let cpu = TargetSet::of(cpu);
    match backend {
        Backend::RequireCard => Placement::any_of(cards),
        Backend::Cpu => Placement::any_of(cpu),
        _ if !by_card => Placement::any_of(cpu),
        Backend::Auto => Placement::any_of(cpu.union(cards)),
        Backend::PreferCard => Placement {
            preferred: cards,
            ..Placement::any_of(cpu.union(cards))
        },
    }
}
