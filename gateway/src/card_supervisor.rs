//! A card's supervisor: brings it into service and, when it fails, back.
//!
//! Owns the life of a card: its process (if it is our own simulated one), its
//! functions, their workers, and the fences by which DMA memory becomes free again.
//! The order of recovery is from the least to the most: a function that faulted is
//! reset (fence (b)); where that does not help, the process is killed and its end
//! awaited (fence (d)) and a new one started. A function serves only after its self-test.
//!
//! Invariant: no buffer that a command named is reused before a fence; a foreign
//! socket's hang-up is none, so there the arena is abandoned (fence (e)), a bounded number
//! of times.

mod inspection;
mod operator;
mod reach;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::RecvTimeoutError;
use faam_driver::{
    Arena, ChildFence, FenceProof, Function, FunctionConfig, FunctionIdentity, ModelKind, SelfTest,
    Worker, WorkerConfig, WorkerExit, WorkerHandle,
};
use serde_json::json;

use crate::card_process::{CardCommand, CardProcess};
use crate::card_worker::CardQueue;
use crate::cards::{CardEvent, CardSource, CardState, Post, socket_dir};
use crate::dispatch::{DispatchConfig, StartError};
use crate::events::{Events, GATEWAY, event, kind as happened};
use crate::job::EngineId;
use crate::job_queue::JobQueue;

use self::reach::Reach;

/// How often an idle card is asked for its heartbeat.
const HEARTBEAT_EVERY: Duration = Duration::from_millis(250);
/// A heartbeat that has not moved for this long is a function that hangs.
const HEARTBEAT_STALE_MAX: Duration = Duration::from_millis(1000);
/// How long a function's reset may take before its process is ended instead.
const RESET_LIMIT: Duration = Duration::from_millis(500);
/// How long a worker may take to end after its function has failed.
const WORKER_END_LIMIT: Duration = Duration::from_secs(2);
/// Pause before a failed start is tried again: doubled each time, between these.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(50);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Function resets in a row, without a job served between, after which the process is replaced instead.
const RESETS_IN_A_ROW_MAX: u32 = 3;
/// Arenas that a foreign card may leave behind unfenced before it is given up.
const ARENAS_ABANDONED_MAX: u32 = 4;
/// A card that was in service for this long is not held to have failed to start.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// Start a supervisor for each card, which reports to the post of the same number.
pub(crate) fn supervise(
    jobs: &Arc<JobQueue>,
    config: &DispatchConfig,
    posts: Vec<Post>,
) -> Result<Vec<JoinHandle<()>>, StartError> {
    let arena = || {
        Arena::new(config.arena_bytes).map_err(|error| StartError::Arena {
            bytes: config.arena_bytes,
            source: Box::new(error),
        })
    };
    // Functions of our own cards, and those behind an IOMMU of ours, share one arena, so that a replay can cross from
    // one to the other; a foreign socket gets one of its own.
    let is_own = |card: &CardSource| !matches!(card, CardSource::VfioUser { .. });
    let own = config.cards.iter().any(is_own).then(arena).transpose()?;
    let mut threads = Vec::new();
    for ((source, post), number) in config.cards.iter().zip(posts).zip(0..) {
        let shared = own.as_ref().filter(|_| is_own(source));
        let card = Card {
            number,
            command: command(source, config, number),
            reach: Reach::of(source, config, number),
            jobs: Arc::clone(jobs),
            log: config.events.clone(),
            arena: shared.map_or_else(arena, |shared| Ok(Arc::clone(shared)))?,
            arena_is_shared: shared.is_some(),
            arena_bytes: config.arena_bytes,
            arenas_abandoned: 0,
            unfenced_bytes: 0,
            process: None,
            functions: (0..source.functions()).map(|_| None).collect(),
            post,
            down_since: None,
            lives: 0,
            resets_in_a_row: 0,
            served: false,
        };
        let thread = std::thread::Builder::new()
            .name(format!("card-{number}"))
            .spawn(move || card.run())
            .map_err(StartError::Thread)?;
        threads.push(thread);
    }
    Ok(threads)
}

fn command(source: &CardSource, config: &DispatchConfig, number: u8) -> Option<CardCommand> {
    match source {
        CardSource::OwnSimulated {
            engines,
            pace_mhz,
            hang,
        } => Some(CardCommand {
            program: config.sim_program.clone(),
            dir: socket_dir(&config.data_dir, number),
            engines: *engines,
            pace_mhz: *pace_mhz,
            hang: hang.clone(),
        }),
        CardSource::VfioUser { .. } | CardSource::Pci { .. } => None,
    }
}

/// A function in service.
struct Live {
    function: Arc<Function>,
    worker: WorkerHandle,
    /// Which life of the function this is: a late event of an earlier one is ignored.
    life: u64,
    heartbeat: (u32, Instant),
}

/// One card, on its supervisor's thread.
struct Card {
    number: u8,
    command: Option<CardCommand>,
    reach: Reach,
    jobs: Arc<JobQueue>,
    /// Where it is recorded what happens to it.
    log: Events,
    arena: Arc<Arena>,
    /// Other cards use it too.
    arena_is_shared: bool,
    arena_bytes: usize,
    /// Times that the card kept memory in its hands without a fence.
    arenas_abandoned: u32,
    /// Bytes that the card's present life left in quarantine without a fence.
    unfenced_bytes: usize,
    process: Option<CardProcess>,
    functions: Vec<Option<Live>>,
    post: Post,
    /// Since when something has been out of service.
    down_since: Option<Instant>,
    lives: u64,
    resets_in_a_row: u32,
    /// Whether any function has done a job since the card was brought up.
    served: bool,
}

/// Why a card stopped serving.
enum Ended {
    /// Asked to.
    Stopped,
    /// It failed as a whole.
    Lost(String),
}

impl Card {
    fn run(mut self) {
        let mut pause = RETRY_PAUSE_MIN;
        loop {
            let began = Instant::now();
            let ended = match self.bring_up() {
                Ok(()) => self.serve(),
                Err(error) => Ended::Lost(format!("{error:#}")),
            };
            match ended {
                Ended::Stopped => {
                    self.tear_down(None);
                    return;
                }
                Ended::Lost(why) => {
                    tracing::warn!(card = self.number, %why, "card lost");
                    // The card as a whole: what its functions failed of before that is counted as theirs.
                    self.jobs
                        .metrics
                        .device_fault(&format!("fpga{}", self.number), "lost");
                    self.happened(happened::CARD_LOST, json!({ "why": why }));
                    self.down_since.get_or_insert_with(Instant::now);
                    self.post.status.lock().last_fault = Some(why.clone());
                    self.tear_down(Some(&why));
                    if self.arenas_abandoned > ARENAS_ABANDONED_MAX {
                        tracing::error!(
                            card = self.number,
                            "given up: it was lost {ARENAS_ABANDONED_MAX} times with DMA memory in its hands; restart the \
                             gateway once its server is sound"
                        );
                        self.post.status.lock().state = CardState::OutOfService;
                        self.happened(happened::CARD_GIVEN_UP, json!({ "why": why }));
                        self.wait_for_stop(None);
                        return;
                    }
                    // Starting is not serving: only a card that did some work, or lasted, starts afresh at once.
                    if std::mem::take(&mut self.served) || began.elapsed() > STABLE_AFTER {
                        pause = RETRY_PAUSE_MIN;
                    }
                    if self.wait_for_stop(Some(pause)) {
                        return;
                    }
                    pause = (pause * 2).min(RETRY_PAUSE_MAX);
                }
            }
        }
    }

    /// Wait for `limit` (or for ever), or until told to stop; `true` if so.
    fn wait_for_stop(&mut self, limit: Option<Duration>) -> bool {
        let until = limit.map(|limit| Instant::now() + limit);
        loop {
            let event = match until {
                None => self
                    .post
                    .events
                    .recv()
                    .map_err(|_| RecvTimeoutError::Disconnected),
                Some(until) => self.post.events.recv_deadline(until),
            };
            match event {
                Ok(CardEvent::Stop) | Err(RecvTimeoutError::Disconnected) => return true,
                Ok(CardEvent::Operator {
                    function,
                    operation,
                }) => self.operate_down(function, operation),
                // Events of lives that have ended.
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
    }

    /// Start the process, if it is ours, and every function.
    fn bring_up(&mut self) -> anyhow::Result<()> {
        if let Some(command) = &self.command {
            let process = CardProcess::start(command)?;
            let mut status = self.post.status.lock();
            status.restarts += u32::from(status.serial.is_some());
            status.pid = Some(process.pid());
            drop(status);
            self.process = Some(process);
        }
        self.reach.check(&self.arena, &FunctionConfig::default())?;
        for function in 0..self.function_count() {
            self.bring_up_function(function)?;
        }
        Ok(())
    }

    /// Connect, bring up, test, and put into service.
    fn bring_up_function(&mut self, number: u8) -> anyhow::Result<SelfTest> {
        let transport = self.reach.open(number)?;
        let arena = Arc::clone(&self.arena);
        let function = Function::bring_up(transport, arena, FunctionConfig::default())?;
        let function = Arc::new(function);
        let passed = match function.self_test() {
            Ok(passed) => passed,
            Err(error) => {
                self.cut_off(number, &function);
                return Err(error.into());
            }
        };
        let heartbeat = (function.heartbeat()?, Instant::now());
        let queue_pair = function.create_queue_pair()?;
        let identity = function.identity().clone();
        // Our own card is simulated whatever it says of itself.
        let simulated = self.command.is_some() || identity.model != ModelKind::Hardware;
        let engine = EngineId::Card {
            card: self.number,
            function: number,
            simulated,
        };
        let target = self.jobs.target_of(self.number, number).ok_or_else(|| {
            anyhow::anyhow!("function {number} of card {} has no target", self.number)
        })?;
        self.lives += 1;
        let life = self.lives;
        let events = self.post.sender.clone();
        let worker = Worker::spawn(
            &engine.to_string(),
            queue_pair,
            CardQueue {
                jobs: Arc::clone(&self.jobs),
                target,
                engine,
                life,
                clock_khz: identity.clock_khz,
            },
            WorkerConfig::default(),
            move |exit| {
                let (kind, why) = match exit {
                    WorkerExit::Stopped { .. } => ("stopped", "its worker stopped".to_owned()),
                    WorkerExit::Fault { fault, .. } => (fault.kind(), fault.to_string()),
                    WorkerExit::Panicked { .. } => {
                        ("worker-panic", "its worker panicked".to_owned())
                    }
                };
                // Where the channel is full the supervisor finds out by asking the worker.
                let _ = events.try_send(CardEvent::WorkerEnded {
                    function: number,
                    life,
                    kind,
                    why,
                });
            },
        )?;
        let waker = worker.waker();
        if !self.is_drained(number) {
            self.jobs
                .set_in_service(self.number, number, Some(Box::new(move || waker.wake())));
        }
        if let Some(place) = self.functions.get_mut(usize::from(number)) {
            *place = Some(Live {
                function,
                worker,
                life,
                heartbeat,
            });
        }
        self.note_in_service(number, &identity, simulated);
        Ok(passed)
    }

    fn note_in_service(&mut self, number: u8, identity: &FunctionIdentity, simulated: bool) {
        let back = self.down_since.map(|since| since.elapsed());
        let all = self.functions.iter().all(Option::is_some);
        if all {
            self.down_since = None;
        }
        let mut status = self.post.status.lock();
        status.state = if all {
            CardState::InService
        } else {
            CardState::Degraded
        };
        status.simulated = simulated;
        status.serial = Some(identity.serial.clone());
        let mut name = String::new();
        if let Some(function) = status.functions.get_mut(usize::from(number)) {
            function.in_service = true;
            function.engines = Some(identity.engines);
            function.clock_khz = Some(identity.clock_khz);
            name.clone_from(&function.name);
        }
        status.note_drained();
        drop(status);
        let after_ms = back.map(|back| u64::try_from(back.as_millis()).unwrap_or(u64::MAX));
        let detail =
            json!({ "simulated": simulated, "serial": identity.serial, "after_ms": after_ms });
        self.log
            .record(event(happened::CARD_UP, GATEWAY, &name, detail));
        match back {
            Some(back) => {
                self.post.status.lock().last_readmission_ms = after_ms;
                self.jobs.metrics.readmission(&name, back.as_secs_f64());
                tracing::info!(function = %name, after_ms = back.as_millis(), "re-admitted after its self-test");
            }
            None => tracing::info!(function = %name, simulated, "in service"),
        }
    }

    /// Watch the card until it stops or is lost.
    fn serve(&mut self) -> Ended {
        let mut look_at = Instant::now() + HEARTBEAT_EVERY;
        loop {
            // Not counted from the last event: however many there are, the card is looked at.
            match self.post.events.recv_deadline(look_at) {
                Ok(CardEvent::Stop) | Err(RecvTimeoutError::Disconnected) => return Ended::Stopped,
                Ok(CardEvent::WorkerEnded {
                    function,
                    life,
                    kind,
                    why,
                }) => {
                    if self.life_of(function) != Some(life) {
                        continue;
                    }
                    if let Err(why) = self.recover(function, kind, &why) {
                        return Ended::Lost(why);
                    }
                }
                Ok(CardEvent::VerifyFailed { function, life }) => {
                    // Results of an earlier life say nothing about this one.
                    if self.life_of(function) != Some(life) {
                        continue;
                    }
                    if let Err(why) =
                        self.recover(function, "verify", "a result failed verification")
                    {
                        return Ended::Lost(why);
                    }
                }
                Ok(CardEvent::Operator {
                    function,
                    operation,
                }) => {
                    if let Err(why) = self.operate(function, operation) {
                        return Ended::Lost(why);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    look_at = Instant::now() + HEARTBEAT_EVERY;
                    if self.process.as_ref().is_some_and(CardProcess::has_ended) {
                        return Ended::Lost("its process ended".to_owned());
                    }
                    for function in 0..self.function_count() {
                        if let Some((kind, why)) = self
                            .ended_worker(function)
                            .or_else(|| self.missed_heartbeat(function))
                            && let Err(why) = self.recover(function, kind, &why)
                        {
                            return Ended::Lost(why);
                        }
                    }
                }
            }
        }
    }

    fn life_of(&self, function: u8) -> Option<u64> {
        self.functions
            .get(usize::from(function))?
            .as_ref()
            .map(|live| live.life)
    }

    /// Whether a function's worker has ended without its event having come through.
    fn ended_worker(&self, function: u8) -> Option<(&'static str, String)> {
        let live = self.functions.get(usize::from(function))?.as_ref()?;
        let ended = live.worker.join(Duration::ZERO).is_ok();
        ended.then(|| ("worker-ended", "its worker has ended".to_owned()))
    }

    /// Ask a function for its heartbeat; what is wrong, if something is.
    fn missed_heartbeat(&mut self, function: u8) -> Option<(&'static str, String)> {
        let live = self.functions.get_mut(usize::from(function))?.as_mut()?;
        match live.function.heartbeat() {
            Ok(count) if count != live.heartbeat.0 => {
                live.heartbeat = (count, Instant::now());
                None
            }
            Ok(count) if count == u32::MAX => {
                Some(("gone", "its registers read as all-ones".to_owned()))
            }
            Ok(_) if live.heartbeat.1.elapsed() < HEARTBEAT_STALE_MAX => None,
            Ok(_) => Some((
                "heartbeat",
                format!(
                    "no heartbeat for {} ms",
                    live.heartbeat.1.elapsed().as_millis()
                ),
            )),
            Err(error) => Some(("transport", error.to_string())),
        }
    }

    /// Take one function out, reset it (fence (b)) and bring it back. `Err`: only a new process helps.
    fn recover(&mut self, number: u8, kind: &'static str, why: &str) -> Result<(), String> {
        let name = format!("fpga{}.{number}", self.number);
        tracing::warn!(function = %name, kind, why, "out of service");
        self.jobs.metrics.device_fault(&name, kind);
        let detail = json!({ "fault": kind, "why": why });
        self.log
            .record(event(happened::CARD_QUARANTINED, GATEWAY, &name, detail));
        self.down_since.get_or_insert_with(Instant::now);
        let Some(live) = self.take_out(number, Some(why)) else {
            return Ok(());
        };
        if kind != "verify" && live.worker.counters().jobs.get() > 0 {
            self.resets_in_a_row = 0;
        }
        self.resets_in_a_row += 1;
        if self.process.as_ref().is_some_and(CardProcess::has_ended) {
            return Err(format!("{name}: {why}; its process ended"));
        }
        if self.resets_in_a_row > RESETS_IN_A_ROW_MAX {
            return Err(format!(
                "{name}: {why}, after {RESETS_IN_A_ROW_MAX} resets in a row"
            ));
        }
        let proof = live.function.reset(RESET_LIMIT).map_err(|error| {
            self.cut_off(number, &live.function);
            format!("{name}: {why}; reset failed: {error}")
        })?;
        let freed = self.arena.release_quarantined(&proof);
        tracing::warn!(function = %name, freed_bytes = freed, "fence (b): reset returned, epoch changed, DMA idle");
        drop(live);
        self.bring_up_function(number)
            .map_err(|error| format!("{name}: {why}; bring-up after reset failed: {error:#}"))?;
        Ok(())
    }

    /// Stop scheduling to a function and end its worker: after a fault at once, its jobs to be replayed elsewhere;
    /// without one after what is in flight.
    fn take_out(&mut self, number: u8, fault: Option<&str>) -> Option<Live> {
        self.jobs.set_in_service(self.number, number, None);
        let live = self.functions.get_mut(usize::from(number))?.take()?;
        if fault.is_some() {
            live.function.end();
        }
        live.worker.stop();
        if let Err(error) = live.worker.join(WORKER_END_LIMIT) {
            tracing::error!(card = self.number, function = number, %error, "a worker is left behind, its memory in quarantine");
        }
        self.served |= live.worker.counters().jobs.get() > 0;
        let serving = self.functions.iter().any(Option::is_some);
        let mut status = self.post.status.lock();
        status.state = if serving {
            CardState::Degraded
        } else {
            CardState::Recovering
        };
        if let Some(function) = status.functions.get_mut(usize::from(number)) {
            function.in_service = false;
            function.faults += u32::from(fault.is_some());
        }
        if let Some(fault) = fault {
            status.last_fault = Some(fault.to_owned());
        }
        Some(live)
    }

    /// End everything: workers, then the process, whose end is fence (d) for all that it held.
    fn tear_down(&mut self, fault: Option<&str>) {
        for number in 0..self.function_count() {
            let live = self.take_out(number, fault);
            self.resets_in_a_row = 0;
            // A process of ours is ended below; any other card is left reset, if it can still be reached.
            if self.process.is_none()
                && let Some(live) = live
            {
                match live.function.reset(RESET_LIMIT) {
                    Ok(proof) => {
                        let freed = self.arena.release_quarantined(&proof);
                        tracing::info!(
                            card = self.number,
                            function = number,
                            freed_bytes = freed,
                            "fence (b): left reset"
                        );
                    }
                    Err(_) => self.cut_off(number, &live.function),
                }
            }
        }
        let unfenced = std::mem::take(&mut self.unfenced_bytes);
        let Some(process) = self.process.take() else {
            let held = match self.arena_is_shared {
                true => unfenced,
                false => self.arena.quarantine().held_bytes(),
            };
            if held > 0 {
                self.abandon_arena(held);
            }
            return;
        };
        self.post.status.lock().pid = None;
        let pid = process.pid();
        match end_process(process) {
            Ok(proof) => {
                let freed = self.arena.release_quarantined(&proof);
                let end = "the card's process was killed and has ended";
                if fault.is_some() {
                    tracing::warn!(
                        card = self.number,
                        pid,
                        freed_bytes = freed,
                        "fence (d): {end}"
                    );
                } else {
                    tracing::info!(card = self.number, pid, "stopped: {end}");
                }
            }
            Err(error) => {
                tracing::error!(
                    card = self.number,
                    pid,
                    error = format!("{error:#}"),
                    "no fence: the arena is abandoned"
                );
                self.abandon_arena(self.arena.quarantine().held_bytes());
            }
        }
    }

    /// Fence (c), for a function whose reset does not finish, where an IOMMU stands before it.
    fn cut_off(&mut self, number: u8, function: &Function) {
        match function.cut_off() {
            Ok(proof) => {
                let freed = self.arena.release_quarantined(&proof);
                tracing::warn!(
                    card = self.number,
                    function = number,
                    freed_bytes = freed,
                    "fence (c): cut off, its memory unmapped in the IOMMU"
                );
            }
            Err(error) => {
                let quarantine = self.arena.quarantine();
                self.unfenced_bytes += quarantine.held_bytes_of(function.incarnation());
                tracing::debug!(card = self.number, function = number, %error, "not cut off");
            }
        }
    }

    /// To the card as a whole.
    fn happened(&self, kind: &str, detail: serde_json::Value) {
        let name = format!("fpga{}", self.number);
        self.log.record(event(kind, GATEWAY, &name, detail));
    }

    fn function_count(&self) -> u8 {
        u8::try_from(self.functions.len()).unwrap_or(u8::MAX)
    }

    /// Fence (e): memory that a foreign card may still write is never used again. Where others share the arena, what the
    /// card holds stays in quarantine for good instead.
    fn abandon_arena(&mut self, held: usize) {
        self.arenas_abandoned += 1;
        if self.arena_is_shared {
            tracing::warn!(
                card = self.number,
                held_bytes = held,
                "fence (e): memory left in quarantine for good"
            );
            return;
        }
        match Arena::new(self.arena_bytes) {
            Ok(arena) => {
                tracing::warn!(
                    card = self.number,
                    held_bytes = held,
                    "fence (e): arena abandoned"
                );
                if let Err(error) = std::mem::replace(&mut self.arena, arena).abandon() {
                    tracing::error!(card = self.number, %error, "the card is given up");
                    self.arenas_abandoned = ARENAS_ABANDONED_MAX + 1;
                }
            }
            Err(error) => {
                tracing::error!(card = self.number, %error, "no memory for a new arena: the card is given up");
                self.arenas_abandoned = ARENAS_ABANDONED_MAX + 1;
            }
        }
    }
}

/// Kill a card's process and prove that it has ended.
fn end_process(mut process: CardProcess) -> anyhow::Result<FenceProof> {
    // Opened before the process is waited for, so that the descriptor names it and no other.
    let fence = ChildFence::new(process.pidfd()?)?;
    process.kill()?;
    Ok(fence.proof()?)
}
