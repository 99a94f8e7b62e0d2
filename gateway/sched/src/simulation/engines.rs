//! Who does the work: cores, and the functions of cards with their engines.
//!
//! Owns what each is doing and until when. Invariants: a core does one thing at a time, the HTTP side's before the worker's; a function holds no more jobs than its
//! depth; an engine begins a job when the one before has ended. It does not know who decides what comes next.

use crate::{Nanos, Receipt, TargetIndex};

use super::requests::RequestId;
use super::scenario::Card;

/// A block on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) request: RequestId,
    pub(super) tenant: u32,
    pub(super) bytes: u64,
    /// Times that its engine failed.
    pub(super) replays: u8,
}

/// A job in an engine's hands.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) block: Block,
    pub(super) receipt: Receipt,
    /// What the engine spends on it.
    pub(super) took: Nanos,
    /// From when its target had it until it ended.
    pub(super) had: Nanos,
}

/// What the HTTP side's thread on a core does.
#[derive(Debug)]
pub(super) enum HttpWork {
    /// Its part of a block.
    Block(Block),
    /// A small job that runs where it came from.
    Here(Running),
}

/// What the worker on a core does.
#[derive(Debug)]
pub(super) enum CoreWork {
    /// Verifies what a card made.
    Verify(Running),
    /// A job.
    Job(Running),
}

/// One core, with a thread of the HTTP side and a worker on it. The first has it when it has something to do, as a thread that
/// mostly waits has on a system that is fair to threads; the worker goes on afterwards.
#[derive(Debug, Default)]
pub(super) struct Core {
    pub(super) http: Option<HttpWork>,
    http_ends: Nanos,
    pub(super) worker: Option<CoreWork>,
    worker_ends: Nanos,
    /// Tells the worker's present end from one that was put off.
    pub(super) turn: u32,
    /// Since when the worker has had nothing to do: for a moment it stays awake.
    pub(super) idle_since: Nanos,
}

impl Core {
    /// The HTTP side begins; when it ends, and when the worker will, if that was put off.
    pub(super) fn begin_http(
        &mut self,
        work: HttpWork,
        lasts: Nanos,
        now: Nanos,
    ) -> (Nanos, Option<Nanos>) {
        self.http = Some(work);
        self.http_ends = Nanos(now.0.saturating_add(lasts.0));
        let put_off = self.worker.is_some().then(|| {
            self.turn = self.turn.wrapping_add(1);
            self.worker_ends = Nanos(self.worker_ends.0.saturating_add(lasts.0));
            self.worker_ends
        });
        (self.http_ends, put_off)
    }

    /// The worker begins, once the HTTP side leaves it the core; when it ends.
    pub(super) fn begin_worker(&mut self, work: CoreWork, lasts: Nanos, now: Nanos) -> Nanos {
        self.worker = Some(work);
        self.turn = self.turn.wrapping_add(1);
        let begins = if self.http.is_some() {
            self.http_ends.max(now)
        } else {
            now
        };
        self.worker_ends = Nanos(begins.0.saturating_add(lasts.0));
        self.worker_ends
    }
}

/// Time that cores spent.
#[derive(Clone, Copy, Debug, Default)]
pub struct CoreTime {
    /// On the HTTP side.
    pub http: Nanos,
    /// Verifying.
    pub verify: Nanos,
    /// On jobs.
    pub jobs: Nanos,
}

/// One function of a card.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) card: usize,
    pub(super) target: TargetIndex,
    pub(super) depth: usize,
    /// When each engine is free, and for whom it worked last.
    engines: Vec<(Nanos, Option<u32>)>,
    /// What it holds, by its place.
    pub(super) held: Vec<Option<Running>>,
    /// Which of its lives this is: what a former one held does not end any more.
    pub(super) life: u32,
    /// How many times as long its engines take.
    pub(super) slowness: f64,
    pub(super) in_service: bool,
    /// Hangs: takes jobs, and does not end them.
    pub(super) hung: bool,
    /// Time that its engines worked.
    pub(super) busy: Nanos,
    pub(super) jobs: u64,
}

impl Function {
    pub(super) fn new(card: usize, target: TargetIndex, of: &Card) -> Self {
        let engines = of.engines as usize;
        let depth = of.depth.map_or(2 * engines, |depth| depth as usize);
        Self {
            card,
            target,
            depth,
            engines: vec![(Nanos(0), None); engines],
            held: std::iter::repeat_with(|| None).take(depth).collect(),
            life: 0,
            slowness: 1.0,
            in_service: true,
            hung: false,
            busy: Nanos(0),
            jobs: 0,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.in_service && self.held.iter().any(Option::is_none)
    }

    /// When a job of `tenant` will have ended that comes now and takes `took`, `scrub` more where the engine worked for
    /// another; the engine is busy until then.
    pub(super) fn begin(
        &mut self,
        tenant: u32,
        now: Nanos,
        took: Nanos,
        scrub: Nanos,
        counted_until: Nanos,
    ) -> Nanos {
        let Some((free_at, last)) = self.engines.iter_mut().min_by_key(|(free_at, _)| *free_at)
        else {
            return Nanos(u64::MAX);
        };
        let scrub = if last.replace(tenant) == Some(tenant) {
            0
        } else {
            scrub.0
        };
        let lasts = took.0.saturating_add(scrub);
        let begins = (*free_at).max(now);
        let end = begins.0.saturating_add(lasts);
        *free_at = Nanos(end);
        let counted = lasts.min(counted_until.since(begins).0);
        self.busy.0 = self.busy.0.saturating_add(counted);
        self.jobs += 1;
        Nanos(end)
    }

    /// It begins a new life; what it held in the one before.
    pub(super) fn fail(&mut self, now: Nanos) -> Vec<Running> {
        self.life = self.life.wrapping_add(1);
        self.in_service = false;
        for (free_at, last) in &mut self.engines {
            // What was not worked any more was counted when it began.
            self.busy.0 = self.busy.0.saturating_sub(free_at.since(now).0);
            (*free_at, *last) = (now, None);
        }
        self.held.iter_mut().filter_map(Option::take).collect()
    }
}
