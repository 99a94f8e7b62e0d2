//! A card's supervisor: brings it into service and, when it fails, back.
//!
//! Owns the life of a card: its process (if it is our own simulated one), its
//! functions, their workers (`bring_up`), and the fences by which DMA memory becomes free again.
//! The order of recovery is from the least to the most (`ladder`): a queue pair whose
//! completions cannot be is retired; a function that faulted is reset (fence (b)); where that
//! does not help, the process is killed and its end awaited (fence (d)) and a new one started.
//! A function serves only after its self-test, and who fails too often waits, and then is
//! not tried any more (`damping`). `gateway/RECOVERY.md` has it on a page.
//!
//! Invariant: no buffer that a command named is reused before a fence; a foreign
//! socket's hang-up is none, so there the arena is abandoned (fence (e)), a bounded number
//! of times.

mod bring_up;
mod damping;
mod fences;
mod inspection;
mod ladder;
mod operator;
mod place;
mod post;
mod reach;
mod slots;
mod standing;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::RecvTimeoutError;
use faam_driver::{Arena, FunctionConfig, Incarnation};
use serde_json::json;
use tokio::sync::oneshot;

use crate::card_operation::{Operation, ResetDone};
use crate::card_process::{CardCommand, CardProcess};
use crate::card_recovery::{FunctionState, Rung};
use crate::cards::{CardEvent, CardSource, Post, socket_dir};
use crate::dispatch::{DispatchConfig, StartError};
use crate::events::{Events, GATEWAY, event, kind as happened};
use crate::job_queue::JobQueue;

use self::damping::{Damping, Verdict};
use self::place::{FunctionPlace, Live, Next};
use self::reach::Reach;
pub(crate) use self::slots::SlotEnd;

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
/// Queue pairs that one life of a function may lose before the function is reset instead.
const QUEUES_RETIRED_MAX: u16 = 3;
/// Of the arena, one part in so many may lie in quarantine for pairs that a function lost.
const RETIRED_ARENA_PART: usize = 4;
/// Function resets in a row, without a job served between, after which the process is replaced instead.
const RESETS_IN_A_ROW_MAX: u32 = 3;
/// Arenas that a foreign card may leave behind unfenced before it is given up.
const ARENAS_ABANDONED_MAX: u32 = 4;
/// Lives that are remembered as unfenced: one of each function, and some more, for the card is torn down after each.
const UNFENCED_LIVES_MAX: usize = 16;
/// Jobs that a function may have called a kernel absent for in one life, no slot of it being loaded or evicted.
const KERNELS_ABSENT_MAX: u32 = 32;
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
            functions: (0..source.functions())
                .map(|_| FunctionPlace::default())
                .collect(),
            damping: Damping::default(),
            post,
            lives: 0,
            came_up: false,
            has_served: false,
            served: false,
            is_charged: false,
            unfenced_lives: Vec::new(),
            kernels: Vec::new(),
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
            model,
            engines,
            pace_mhz,
            slots,
            faults,
        } => Some(CardCommand {
            program: config.sim_program.clone(),
            dir: socket_dir(&config.data_dir, number),
            model: *model,
            engines: *engines,
            pace_mhz: *pace_mhz,
            slots: *slots,
            faults: faults.clone(),
        }),
        CardSource::VfioUser { .. } | CardSource::Pci { .. } => None,
    }
}

/// What a function is asked for: a pair that serves, one for a self-test, and as many as may be lost.
fn function_config() -> FunctionConfig {
    FunctionConfig {
        queue_pairs: 2 + QUEUES_RETIRED_MAX,
        ..FunctionConfig::default()
    }
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
    functions: Vec<FunctionPlace>,
    /// Of the card as a whole.
    damping: Damping,
    post: Post,
    lives: u64,
    /// Whether any function came into service since the card was started.
    came_up: bool,
    /// Whether any function came into service since the gateway's start.
    has_served: bool,
    /// Whether any function has done a job since the card was started.
    served: bool,
    /// Whether a function is charged for the fault that the card is lost of: then the card is not.
    is_charged: bool,
    /// Lives of functions that no fence ended: the end of the card's process does.
    unfenced_lives: Vec<Incarnation>,
    /// Names of the images that kernels were loaded from.
    kernels: Vec<([u8; 16], String)>,
}

/// Why a card stopped serving.
enum Ended {
    /// Asked to.
    Stopped,
    /// It failed as a whole.
    Lost(String),
}

/// How a wait ended.
enum Waited {
    /// Told to stop.
    Stop,
    /// It is over.
    Over,
    /// An operator would have the card started now, for a function's sake.
    Asked(Asked),
}

/// A reset that an operator waits for.
struct Asked {
    function: u8,
    reply: oneshot::Sender<Result<ResetDone, String>>,
    began: Instant,
}

impl Card {
    fn run(mut self) {
        let mut pause = RETRY_PAUSE_MIN;
        let mut asked = None;
        self.stand_all(FunctionState::Starting, None, None);
        loop {
            let began = Instant::now();
            self.came_up = false;
            let up = self.bring_up();
            if let Some(asked) = asked.take() {
                self.answer(asked, up.as_ref().err());
            }
            let ended = match up {
                Ok(()) => self.serve(),
                Err(why) => Ended::Lost(why),
            };
            let why = match ended {
                Ended::Stopped => {
                    self.tear_down(None);
                    return;
                }
                Ended::Lost(why) => why,
            };
            let verdict = self.lost(&why);
            self.tear_down(Some(&why));
            if self.arenas_abandoned > ARENAS_ABANDONED_MAX {
                self.give_up(&why);
                self.wait_given_up();
                return;
            }
            // Starting is not serving: only a card that did some work, or lasted, starts afresh at once.
            if std::mem::take(&mut self.served) || began.elapsed() > STABLE_AFTER {
                pause = RETRY_PAUSE_MIN;
            }
            let limit = self.note_card_waits(verdict, pause, &why);
            match self.wait(limit) {
                Waited::Stop => return,
                Waited::Over => {}
                Waited::Asked(by) => {
                    self.damping.forgive();
                    self.forgive(by.function);
                    pause = RETRY_PAUSE_MIN;
                    asked = Some(by);
                    continue;
                }
            }
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }

    /// Notes that the card failed as a whole; what follows from it, where it had come up at all.
    fn lost(&mut self, why: &str) -> Verdict {
        tracing::warn!(card = self.number, %why, "card lost");
        let name = format!("fpga{}", self.number);
        // The card as a whole: what its functions failed of before that is counted as theirs.
        self.jobs.metrics.device_fault(&name, "lost");
        self.happened(happened::CARD_LOST, json!({ "why": why }));
        let now = Instant::now();
        for place in &mut self.functions {
            place.down_since.get_or_insert(now);
        }
        self.post.status.lock().last_fault = Some(why.to_owned());
        let is_charged = std::mem::take(&mut self.is_charged);
        // What never came up is tried for ever: a card that is started after its gateway is no card that fails.
        if !self.came_up {
            return Verdict::AtOnce;
        }
        self.jobs
            .metrics
            .device_quarantine(&name, Rung::Card, "lost");
        let verdict = match is_charged {
            true => Verdict::AtOnce,
            false => self.damping.quarantined(Rung::Card, now),
        };
        let counted = self.damping.counted();
        let mut status = self.post.status.lock();
        status.recovery.note_fault(Rung::Card, "lost", why);
        for function in &mut status.functions {
            function.recovery.quarantines.count(Rung::Card);
        }
        if verdict == Verdict::OutOfService {
            status.recovery.reason = Some(format!(
                "lost {} times of late, the last time because {why}; not tried again until `faam device reset {name}` finds \
                 that it passes its self-test",
                counted.card
            ));
        }
        verdict
    }

    /// For how long the card is left alone now; `None`: until an operator asks.
    fn note_card_waits(
        &mut self,
        verdict: Verdict,
        pause: Duration,
        why: &str,
    ) -> Option<Duration> {
        let wait = match verdict {
            Verdict::AtOnce => pause,
            Verdict::Wait(wait) => {
                let wait = wait.max(pause);
                let detail = json!({ "why": why, "wait_ms": millis(wait), "quarantines": self.damping.counted() });
                self.happened(happened::CARD_WAITS, detail);
                wait
            }
            Verdict::OutOfService => {
                let reason = self.post.status.lock().recovery.reason.clone();
                tracing::error!(card = self.number, reason, "out of service");
                self.stand_all(FunctionState::OutOfService, reason.as_deref(), None);
                self.happened(happened::CARD_OUT_OF_SERVICE, json!({ "reason": reason }));
                return None;
            }
        };
        self.stand_all(FunctionState::Recovering, Some(why), Some(wait));
        Some(wait)
    }

    /// Wait for `limit` (or for ever), or until told to stop or to go on.
    fn wait(&mut self, limit: Option<Duration>) -> Waited {
        let until = limit.map(|limit| Instant::now() + limit);
        loop {
            let event = self.post.next(until);
            match event {
                Ok(CardEvent::Stop) | Err(RecvTimeoutError::Disconnected) => return Waited::Stop,
                Ok(CardEvent::Operator {
                    function,
                    operation: Operation::Reset(reply),
                }) => {
                    let began = Instant::now();
                    return Waited::Asked(Asked {
                        function,
                        reply,
                        began,
                    });
                }
                Ok(CardEvent::Operator {
                    function,
                    operation,
                }) => self.operate_down(function, operation),
                Ok(CardEvent::Slot { reply, .. }) => self.refuse_slot_work(reply),
                // Events of lives that have ended.
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return Waited::Over,
            }
        }
    }

    fn give_up(&mut self, why: &str) {
        tracing::error!(
            card = self.number,
            "given up: it was lost {ARENAS_ABANDONED_MAX} times with DMA memory in its hands; restart the \
             gateway once its server is sound"
        );
        for place in &mut self.functions {
            place.next = Next::Never;
        }
        let reason = format!(
            "lost more than {ARENAS_ABANDONED_MAX} times with DMA memory in its hands, the last time because {why}; restart \
             the gateway once its server is sound"
        );
        self.stand_all(FunctionState::OutOfService, Some(&reason), None);
        self.happened(happened::CARD_GIVEN_UP, json!({ "why": why }));
    }

    /// Until told to stop; whoever asks is told that nothing helps.
    fn wait_given_up(&mut self) {
        while let Ok(event) = self.post.next(None) {
            match event {
                CardEvent::Stop => return,
                CardEvent::Operator {
                    function,
                    operation,
                } => self.operate_down(function, operation),
                CardEvent::Slot { reply, .. } => self.refuse_slot_work(reply),
                CardEvent::WorkerEnded { .. }
                | CardEvent::VerifyFailed { .. }
                | CardEvent::KernelAbsent { .. }
                | CardEvent::SlotEnded { .. } => {}
            }
        }
    }

    /// Watch the card until it stops or is lost.
    fn serve(&mut self) -> Ended {
        let mut look_at = Instant::now() + HEARTBEAT_EVERY;
        loop {
            if let Err(why) = self.try_who_is_due() {
                return Ended::Lost(why);
            }
            // Not counted from the last event: however many there are, the card is looked at.
            let until = self.next_try_at().map_or(look_at, |next| next.min(look_at));
            let outcome = match self.post.next(Some(until)) {
                Ok(CardEvent::Stop) | Err(RecvTimeoutError::Disconnected) => return Ended::Stopped,
                // Ends and results of an earlier life say nothing about this one.
                Ok(CardEvent::WorkerEnded { function, life, .. })
                    if self.live(function).is_none_or(|live| live.life != life) =>
                {
                    Ok(())
                }
                Ok(CardEvent::VerifyFailed { function, life })
                    if self.live(function).is_none_or(|live| !live.computed(life)) =>
                {
                    Ok(())
                }
                Ok(CardEvent::WorkerEnded { function, end, .. }) => {
                    self.worker_ended(function, &end)
                }
                Ok(CardEvent::VerifyFailed { function, .. }) => {
                    self.recover(function, "verify", "a result failed verification")
                }
                Ok(CardEvent::Operator {
                    function,
                    operation,
                }) => self.operate(function, operation),
                Ok(CardEvent::Slot {
                    function,
                    request,
                    reply,
                }) => {
                    self.begin_slot_work(function, request, reply);
                    Ok(())
                }
                Ok(CardEvent::KernelAbsent { function, life })
                    if self.live(function).is_none_or(|live| live.life != life) =>
                {
                    Ok(())
                }
                Ok(CardEvent::KernelAbsent { function, .. }) => self.kernel_was_absent(function),
                Ok(CardEvent::SlotEnded { function, life, .. })
                    if self.live(function).is_none_or(|live| !live.computed(life)) =>
                {
                    Ok(())
                }
                Ok(CardEvent::SlotEnded { function, end, .. }) => {
                    self.slot_work_ended(function, end)
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() < look_at => Ok(()),
                Err(RecvTimeoutError::Timeout) => {
                    look_at = Instant::now() + HEARTBEAT_EVERY;
                    self.look()
                }
            };
            if let Err(why) = outcome {
                return Ended::Lost(why);
            }
        }
    }

    /// Whether the card lives, and each function's processor.
    fn look(&mut self) -> Result<(), String> {
        if self.process.as_ref().is_some_and(CardProcess::has_ended) {
            return Err("its process ended".to_owned());
        }
        for function in 0..self.function_count() {
            let failed = self
                .ended_worker(function)
                .or_else(|| self.missed_heartbeat(function));
            if let Some((kind, why)) = failed {
                self.recover(function, kind, &why)?;
            }
            self.look_after_slots(function)?;
        }
        self.note_penalties();
        Ok(())
    }

    /// Whether a function's worker has ended without its event having come through.
    fn ended_worker(&self, function: u8) -> Option<(&'static str, String)> {
        let live = self.live(function)?;
        let ended = live.worker.join(Duration::ZERO).is_ok();
        ended.then(|| ("worker-ended", "its worker has ended".to_owned()))
    }

    /// Ask a function for its heartbeat; what is wrong, if something is.
    fn missed_heartbeat(&mut self, function: u8) -> Option<(&'static str, String)> {
        let live = self.place(function)?.live.as_mut()?;
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

    /// To the card as a whole.
    fn happened(&self, kind: &str, detail: serde_json::Value) {
        let name = format!("fpga{}", self.number);
        self.log.record(event(kind, GATEWAY, &name, detail));
    }

    fn function_count(&self) -> u8 {
        u8::try_from(self.functions.len()).unwrap_or(u8::MAX)
    }

    fn name(&self, number: u8) -> String {
        format!("fpga{}.{number}", self.number)
    }

    fn place(&mut self, number: u8) -> Option<&mut FunctionPlace> {
        self.functions.get_mut(usize::from(number))
    }

    fn live(&self, number: u8) -> Option<&Live> {
        let place = self.functions.get(usize::from(number))?;
        place.live.as_ref()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
