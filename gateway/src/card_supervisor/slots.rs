//! Loading and evicting the slots of a function, beside its supervisor.
//!
//! Owns the one thread a function that does it, and what follows from its end. Invariants: the scheduler is told what a slot
//! serves only after its kernel has passed its self-test, and that it serves no more before it is touched; a load that fails
//! costs its slot alone, unless it is the function that failed; nothing of a function's life is used after that has ended,
//! for whoever takes the life away waits for the thread; an end that was not told is found at the next look.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use faam_driver::{Function, GoldenJob, Kernel, Slot, SlotError};
use faam_hwif::{CardLevel, Serves, SlotState, WireFormat};
use serde_json::json;

use super::place::Live;
use super::{Card, KERNELS_ABSENT_MAX, WORKER_END_LIMIT, millis};
use crate::card_slots::{LoadCause, SlotDone, SlotFailed, SlotReply, SlotRequest, SlotStatus};
use crate::card_worker::RTL_LIMIT_FACTOR;
use crate::cards::CardEvent;
use crate::command_limit::COMMAND_LIMIT_MAX;
use crate::events::{event, kind as happened};
use crate::job_queue::{Served, SlotKernel};
use crate::slot_image::{SlotDevice, SlotGolden, kernel_text, served};

/// How often the end of the thread is looked for when a life is taken from it.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// How long the jobs may take that a function has of tenants with a list of images that its slots will not keep to: longer than
/// any command may take, on gateware too.
const LISTED_JOBS_LIMIT: Duration = COMMAND_LIMIT_MAX.saturating_mul(2 * RTL_LIMIT_FACTOR);
/// Names of kernels that a supervisor remembers.
const NAMES_MAX: usize = 64;

/// What came of a load or an eviction.
#[derive(Debug)]
pub(crate) struct SlotEnd {
    slot: u8,
    /// For a load: downloading, programming and testing.
    took: Option<[Duration; 3]>,
    failed: Option<(SlotFailed, bool)>,
}

/// A load or an eviction under way.
pub(super) struct SlotWork {
    function: Arc<Function>,
    /// Gives the end that it could not tell.
    thread: Option<JoinHandle<Option<SlotEnd>>>,
    began: Instant,
    slot: u8,
    /// What that held, and is to hold.
    changing: Vec<SlotKernel>,
    /// Of a load: the image's name, and why.
    load: Option<(String, LoadCause)>,
    /// Who asked for it.
    actor: &'static str,
    reply: Option<SlotReply>,
    ended: bool,
}

impl SlotWork {
    fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for SlotWork {
    /// The life of its function is over, or the work is.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.function.end();
        let until = Instant::now() + WORKER_END_LIMIT;
        while !self.is_finished() && Instant::now() < until {
            std::thread::sleep(LOOK_AGAIN);
        }
        if !self.is_finished() {
            tracing::error!(slot = self.slot, "a slot's thread is left behind");
        }
        if let Some(reply) = self.reply.take() {
            let failed = SlotFailed {
                kind: "ended",
                why: "the function was taken out of service meanwhile; when it is back, its slots say what they hold"
                    .to_owned(),
            };
            // Whoever asked may have gone.
            let _ = reply.send(Err(failed));
        }
    }
}

impl Card {
    /// What is asked of a slot of a card that is not up.
    pub(super) fn refuse_slot_work(&self, reply: SlotReply) {
        let why = format!("the card is not up ({})", self.why_down());
        let _ = reply.send(Err(SlotFailed { kind: "down", why }));
    }

    /// Begins what is asked of a slot.
    pub(super) fn begin_slot_work(&mut self, number: u8, request: SlotRequest, reply: SlotReply) {
        if let Err((reply, kind, why)) = self.try_begin_slot_work(number, request, reply) {
            let _ = reply.send(Err(SlotFailed { kind, why }));
        }
    }

    fn try_begin_slot_work(
        &mut self,
        number: u8,
        request: SlotRequest,
        reply: SlotReply,
    ) -> Result<(), (SlotReply, &'static str, String)> {
        let name = self.name(number);
        let Some(live) = self.live(number) else {
            return Err((
                reply,
                "down",
                format!("{name} is not up ({})", self.why_down()),
            ));
        };
        if live.slot_work.is_some() {
            let why = format!(
                "a slot of {name} is being loaded or evicted: ask again when that has ended"
            );
            return Err((reply, "busy", why));
        }
        let function = Arc::clone(&live.function);
        let slots = match function.slots() {
            Ok(slots) => slots,
            Err(error) => return Err((reply, "transport", format!("{name}: {error}"))),
        };
        if slots.is_empty() {
            let why = format!("{name}: {}", SlotError::NoSlots);
            return Err((reply, "no-slots", why));
        }
        let slot = match &request {
            SlotRequest::Load { slot: None, .. } => free_slot(&slots),
            SlotRequest::Load { slot, .. } => *slot,
            SlotRequest::Evict { slot, .. } => Some(*slot),
        };
        let there = slot.and_then(|slot| slots.get(usize::from(slot)));
        let (Some(slot), Some(_)) = (slot, there) else {
            let count = slots.len();
            let why = match slot {
                Some(slot) => format!("{name} has slots 0 to {}, not {slot}", count - 1),
                None => format!(
                    "all {count} slots of {name} hold a kernel: say which is to be replaced (--slot N), or evict one"
                ),
            };
            return Err((reply, "no-such-slot", why));
        };
        // Before it is touched: no job is given to it any more. What is in it ends first. And none is given to the function
        // whose tenant is not allowed what may come to serve it.
        let (touched, others): (Vec<_>, Vec<_>) =
            slots.iter().partition(|other| other.index == slot);
        let mut changing = active(touched.into_iter());
        if let SlotRequest::Load { image, .. } = &request {
            changing.push(SlotKernel {
                serves: image.serves,
                kernel_uuid: image.kernel_uuid,
            });
        }
        let served = Served::Slots {
            active: active(others.into_iter()),
            changing: changing.clone(),
        };
        self.jobs.set_served(self.number, number, served);
        let events = self.post.sender.clone();
        let life = live_life(self.live(number));
        let actor = request.actor();
        let (load, given) = match request {
            SlotRequest::Load { image, cause, .. } => {
                self.remember_kernel(image.kernel_uuid, &image.name);
                let golden = image.golden.map(golden_job);
                (Some((image.name, cause)), Some((image.payload, golden)))
            }
            SlotRequest::Evict { .. } => (None, None),
        };
        let state = if load.is_some() {
            "loading"
        } else {
            "evicting"
        };
        self.note_slot_state(number, slot, state);
        let working = Arc::clone(&function);
        let (jobs, card) = (Arc::clone(&self.jobs), self.number);
        let work = move || {
            let beyond = || jobs.holds_beyond_lists(card, number);
            let end = match ends_within(LISTED_JOBS_LIMIT, beyond) {
                true => do_work(&working, slot, given.as_ref()),
                false => listed_jobs_left(slot),
            };
            // Its hold of the function ends before its end is told: a reset opens the way to it anew.
            drop(working);
            let event = CardEvent::SlotEnded {
                function: number,
                life,
                end,
            };
            match events.send_timeout(event, WORKER_END_LIMIT) {
                Ok(()) => None,
                // The supervisor finds it by looking for the end of this thread.
                Err(unsent) => match unsent.into_inner() {
                    CardEvent::SlotEnded { end, .. } => Some(end),
                    _ => None,
                },
            }
        };
        let thread = std::thread::Builder::new()
            .name(format!("{name}-slot{slot}"))
            .spawn(work);
        let thread = match thread {
            Ok(thread) => thread,
            Err(error) => {
                self.look_at_slots(number);
                return Err((reply, "thread", format!("no thread for it: {error}")));
            }
        };
        if let Some(live) = self.place(number).and_then(|place| place.live.as_mut()) {
            live.slot_work = Some(SlotWork {
                function,
                thread: Some(thread),
                began: Instant::now(),
                slot,
                changing,
                load,
                actor,
                reply: Some(reply),
                ended: false,
            });
        }
        Ok(())
    }

    /// A load or an eviction has ended. `Err`: its function is lost, and only a new start of the card helps.
    pub(super) fn slot_work_ended(&mut self, number: u8, end: SlotEnd) -> Result<(), String> {
        let Some(live) = self.place(number).and_then(|place| place.live.as_mut()) else {
            return Ok(());
        };
        // What was late of the slot as it was before is nobody's lie.
        live.kernels_absent = 0;
        let Some(mut work) = live.slot_work.take() else {
            return Ok(());
        };
        work.ended = true;
        let name = self.name(number);
        let took = work.began.elapsed();
        self.look_at_slots(number);
        let fault = end.failed.as_ref().map(|(failed, _)| failed.why.clone());
        self.note_slot_fault(number, end.slot, fault, work.load.is_some());
        let (image, cause) = match &work.load {
            Some((image, cause)) => (Some(image.as_str()), Some(*cause)),
            None => (None, None),
        };
        if let (Some(image), Some(cause)) = (image, cause) {
            let result = end.failed.as_ref().map_or("ok", |(failed, _)| failed.kind);
            self.jobs.metrics.slot_load(image, cause, result, took);
        }
        let kind = match (&end.failed, &work.load) {
            (Some(_), _) => happened::SLOT_FAILED,
            (None, Some(_)) => happened::SLOT_LOADED,
            (None, None) => happened::SLOT_EVICTED,
        };
        let detail = json!({
            "slot": end.slot, "image": image, "cause": cause.map(LoadCause::name), "took_ms": millis(took),
            "why": end.failed.as_ref().map(|(failed, _)| failed.why.as_str()),
        });
        self.log.record(event(kind, work.actor, &name, detail));
        match &end.failed {
            Some((failed, _)) => {
                tracing::warn!(function = %name, slot = end.slot, image, kind = failed.kind, why = %failed.why, "a slot's load failed; the others serve on");
            }
            None => {
                tracing::info!(function = %name, slot = end.slot, image, took_ms = millis(took), "a slot changed");
            }
        }
        let reply = work.reply.take();
        drop(work);
        let (answer, lost) = match end.failed {
            Some((failed, of_the_function)) => {
                let lost = of_the_function.then(|| failed.clone());
                (Err(failed), lost)
            }
            None => (self.slot_done(number, end.slot, took, end.took), None),
        };
        if let Some(reply) = reply {
            // Whoever asked may have gone.
            let _ = reply.send(answer);
        }
        // After the answer, which it looks for.
        self.jobs.tell_keeper();
        match lost {
            Some(failed) => self.recover(number, "slot", &failed.why),
            None => Ok(()),
        }
    }

    /// Ends slot work whose thread has ended without having told, and has the scheduler know again what the slots serve, where
    /// that came to differ.
    pub(super) fn look_after_slots(&mut self, number: u8) -> Result<(), String> {
        self.jobs.look_after_lists();
        // In this order: what was told before the thread's end is read first.
        let finished = |live: &Live| live.slot_work.as_ref().is_some_and(SlotWork::is_finished);
        if self.live(number).is_some_and(finished) && self.post.events.is_empty() {
            let place = self.place(number).and_then(|place| place.live.as_mut());
            let Some(work) = place.and_then(|live| live.slot_work.as_mut()) else {
                return Ok(());
            };
            let Some(thread) = work.thread.take() else {
                return Ok(());
            };
            let end = untold_end(thread, work.slot);
            tracing::error!(
                function = number,
                slot = end.slot,
                "the end of a slot's work was not told"
            );
            return self.slot_work_ended(number, end);
        }
        let Some(live) = self.live(number) else {
            return Ok(());
        };
        if live.slot_work.is_some() || live.function.identity().slots.is_none() {
            return Ok(());
        }
        // What cannot be read is the heartbeat's to find.
        if let Ok(slots) = live.function.slots()
            && !self
                .jobs
                .is_served(self.number, number, &self.served(number, &slots))
        {
            self.look_at_slots(number);
        }
        Ok(())
    }

    /// A function had no kernel for a job that was given to it for what its slots serve. Late news of a slot that was evicted,
    /// or a card that lies: that one is not asked for ever.
    pub(super) fn kernel_was_absent(&mut self, number: u8) -> Result<(), String> {
        let Some(live) = self.place(number).and_then(|place| place.live.as_mut()) else {
            return Ok(());
        };
        if live.slot_work.is_some() {
            // What it serves is told when that has ended.
            return Ok(());
        }
        live.kernels_absent += 1;
        if live.kernels_absent > KERNELS_ABSENT_MAX {
            let why = format!(
                "it called kernels absent {KERNELS_ABSENT_MAX} times that its slots say they hold"
            );
            return self.recover(number, "kernel-absent", &why);
        }
        self.look_at_slots(number);
        Ok(())
    }

    fn slot_done(
        &self,
        number: u8,
        slot: u8,
        took: Duration,
        steps: Option<[Duration; 3]>,
    ) -> Result<SlotDone, SlotFailed> {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let status = self.post.status.lock();
        let function = status.functions.get(usize::from(number));
        let slot = function.and_then(|function| function.slots.get(usize::from(slot)));
        let Some(slot) = slot.cloned() else {
            return Err(SlotFailed {
                kind: "transport",
                why: "it was done, and what the slot holds could not be read".to_owned(),
            });
        };
        let step = |n: usize| steps.and_then(|steps| steps.get(n).copied()).map(ms);
        Ok(SlotDone {
            slot,
            took_ms: ms(took),
            downloaded_ms: step(0),
            programmed_ms: step(1),
            tested_ms: step(2),
        })
    }

    /// Reads what a function's slots hold, and tells whoever has to know: the scheduler, operators, metrics.
    pub(super) fn look_at_slots(&mut self, number: u8) {
        let Some(function) = self.live(number).map(|live| Arc::clone(&live.function)) else {
            return;
        };
        self.note_slots(number, &function);
    }

    /// The same of a function that is just coming into service.
    pub(super) fn note_slots(&mut self, number: u8, function: &Function) {
        if function.identity().slots.is_none() {
            let served = Served::Fixed(Serves::ALL);
            self.jobs.set_served(self.number, number, served);
            return;
        }
        let name = self.name(number);
        let slots = match function.slots() {
            Ok(slots) => slots,
            Err(error) => {
                tracing::warn!(function = %name, %error, "its slots cannot be read: it gets no jobs that need a kernel");
                let served = Served::Fixed(Serves::NONE);
                self.jobs.set_served(self.number, number, served);
                return;
            }
        };
        let served = self.served(number, &slots);
        self.jobs.set_served(self.number, number, served);
        for slot in &slots {
            self.jobs
                .metrics
                .slot_state(&name, slot.index, slot.state.name());
        }
        let (identity, model) = (function.identity().slots, function.identity().model);
        let simulated = self.command.is_some() || model.is_simulated();
        let statuses: Vec<_> = slots.iter().map(|slot| self.status_of(slot)).collect();
        let mut status = self.post.status.lock();
        let Some(function) = status.functions.get_mut(usize::from(number)) else {
            return;
        };
        function.slot_device = identity.map(|slots| SlotDevice {
            idcode: slots.idcode,
            shell: slots.shell,
            simulated,
            image_bytes_max: slots.image_bytes_max,
        });
        let before = std::mem::take(&mut function.slots);
        function.slots = statuses
            .into_iter()
            .map(|now| match before.get(usize::from(now.slot)) {
                Some(was) => SlotStatus {
                    loads: was.loads,
                    fault: now.fault.clone().or_else(|| was.fault.clone()),
                    ..now
                },
                None => now,
            })
            .collect();
    }

    /// What a function serves whose slots hold this. One that is being changed counts as what it held and is to hold: a queue
    /// pair may be lost meanwhile, and the work goes on.
    fn served(&self, number: u8, slots: &[Slot]) -> Served {
        let work = self.live(number).and_then(|live| live.slot_work.as_ref());
        let is_changing = |slot: &&Slot| work.is_some_and(|work| work.slot == slot.index);
        Served::Slots {
            active: active(slots.iter().filter(|slot| !is_changing(slot))),
            changing: work.map_or_else(Vec::new, |work| work.changing.clone()),
        }
    }

    fn status_of(&self, slot: &Slot) -> SlotStatus {
        let kernel = (slot.kernel_uuid != [0; 16]).then(|| kernel_text(slot.kernel_uuid));
        let known = self
            .kernels
            .iter()
            .find(|(kernel, _)| *kernel == slot.kernel_uuid);
        let reason = slot.reason.map(|reason| format!("{reason:?}"));
        SlotStatus {
            slot: slot.index,
            state: slot.state.name(),
            serves: served(slot.serves),
            image: known.map(|(_, name)| name.clone()),
            kernel,
            fault: reason.filter(|_| slot.state == SlotState::Failed),
            loads: 0,
        }
    }

    fn note_slot_state(&self, number: u8, slot: u8, state: &'static str) {
        let mut status = self.post.status.lock();
        let function = status.functions.get_mut(usize::from(number));
        if let Some(slot) = function.and_then(|it| it.slots.get_mut(usize::from(slot))) {
            slot.state = state;
        }
    }

    fn note_slot_fault(&self, number: u8, slot: u8, fault: Option<String>, is_load: bool) {
        let mut status = self.post.status.lock();
        let function = status.functions.get_mut(usize::from(number));
        if let Some(slot) = function.and_then(|it| it.slots.get_mut(usize::from(slot))) {
            slot.loads += u32::from(is_load && fault.is_none());
            slot.fault = fault;
        }
    }

    fn remember_kernel(&mut self, kernel: [u8; 16], name: &str) {
        self.kernels.retain(|(known, _)| *known != kernel);
        if self.kernels.len() >= NAMES_MAX {
            self.kernels.remove(0);
        }
        self.kernels.push((kernel, name.to_owned()));
    }
}

fn live_life(live: Option<&Live>) -> u64 {
    live.map_or(0, |live| live.life_first)
}

/// What those of the slots hold that serve.
fn active<'s>(slots: impl Iterator<Item = &'s Slot>) -> Vec<SlotKernel> {
    let active = slots.filter(|slot| slot.state == SlotState::Active);
    let kernel = |slot: &Slot| SlotKernel {
        serves: slot.serves,
        kernel_uuid: slot.kernel_uuid,
    };
    active.map(kernel).collect()
}

/// Waits until `is_so` is over, but no longer than this; whether it is.
fn ends_within(limit: Duration, is_so: impl Fn() -> bool) -> bool {
    let until = Instant::now() + limit;
    while is_so() {
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    true
}

/// The end of slot work that was not begun, for the function did not come to an end with the jobs before.
fn listed_jobs_left(slot: u8) -> SlotEnd {
    let failed = SlotFailed {
        kind: "busy",
        why: format!(
            "after {} s the function still had jobs of tenants whose lists of images do not have all that its slots hold meanwhile: \
             nothing was changed; ask again, or drain the function first",
            LISTED_JOBS_LIMIT.as_secs()
        ),
    };
    SlotEnd {
        slot,
        took: None,
        failed: Some((failed, false)),
    }
}

/// A slot that serves nobody: one that holds nothing, or else one that was programmed and never made active, whose load has
/// ended with its function's life.
fn free_slot(slots: &[Slot]) -> Option<u8> {
    let empty = |slot: &&Slot| matches!(slot.state, SlotState::Empty | SlotState::Failed);
    let left = |slot: &&Slot| slot.state == SlotState::Programmed;
    let free = slots.iter().find(empty).or_else(|| slots.iter().find(left));
    free.map(|slot| slot.index)
}

/// The end of slot work as its thread left it.
fn untold_end(thread: JoinHandle<Option<SlotEnd>>, slot: u8) -> SlotEnd {
    let why = match thread.join() {
        Ok(Some(end)) => return end,
        Ok(None) => "its end was lost",
        Err(_) => "its thread panicked",
    };
    // What the function was in the middle of is not known: a reset ends it.
    let failed = SlotFailed {
        kind: "thread",
        why: format!(
            "{why}: the function is reset, and says then what its slots hold; the log has the cause"
        ),
    };
    SlotEnd {
        slot,
        took: None,
        failed: Some((failed, true)),
    }
}

/// Most bytes that a golden job's output may have beyond four times its input.
const GOLDEN_ROOM_BYTES: usize = 4096;

/// A manifest's golden job, as the driver runs it.
fn golden_job(golden: SlotGolden) -> GoldenJob {
    let format = WireFormat::Gzip;
    let kernel = match golden.decompresses {
        true => Kernel::Decompress { format },
        false => Kernel::Compress {
            level: CardLevel::Fast,
            format,
            last: true,
        },
    };
    GoldenJob {
        kernel,
        output_bytes_max: golden.input.len() * 4 + GOLDEN_ROOM_BYTES,
        input: golden.input,
        output_sha256: golden.output_sha256,
    }
}

/// A payload, and the golden job of its image.
type Given = (Arc<[u8]>, Option<GoldenJob>);

fn do_work(function: &Function, slot: u8, given: Option<&Given>) -> SlotEnd {
    let done = match given {
        Some((payload, golden)) => function
            .load_golden(slot, payload, golden.as_ref())
            .map(|loaded| Some([loaded.downloaded, loaded.programmed, loaded.tested.took])),
        None => function.evict(slot).map(|_| None),
    };
    match done {
        Ok(took) => SlotEnd {
            slot,
            took,
            failed: None,
        },
        Err(error) => {
            let of_the_function = error.is_of_the_function();
            let kind = error.kind();
            let failed = SlotFailed {
                kind,
                why: format!("{:#}", anyhow::anyhow!(error)),
            };
            SlotEnd {
                slot,
                took: None,
                failed: Some((failed, of_the_function)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_without_a_slot_takes_one_that_serves_nobody() {
        use SlotState::{Active, Empty, Failed, Programmed, Programming};
        let slots = |states: &[SlotState]| {
            let slot = |(index, state): (u8, &SlotState)| Slot {
                index,
                state: *state,
                serves: Serves::FAST,
                kernel_uuid: [1; 16],
                generation: 1,
                reason: None,
            };
            free_slot(&(0..).zip(states).map(slot).collect::<Vec<_>>())
        };
        assert_eq!(slots(&[Active, Programmed]), Some(1));
        assert_eq!(slots(&[Programmed, Empty]), Some(1));
        assert_eq!(slots(&[Programmed, Failed]), Some(1));
        assert_eq!(slots(&[Active, Programming]), None);
    }

    #[test]
    fn an_end_that_was_not_told_is_the_threads_own_and_a_panic_is_the_functions() {
        let told = SlotEnd {
            slot: 3,
            took: Some([Duration::from_millis(1); 3]),
            failed: None,
        };
        let end = untold_end(std::thread::spawn(move || Some(told)), 3);
        assert_eq!(end.took, Some([Duration::from_millis(1); 3]));
        assert!(end.failed.is_none());
        let end = untold_end(std::thread::spawn(|| panic!("as it is to")), 1);
        assert_eq!((end.slot, end.took), (1, None));
        let (failed, of_the_function) = end.failed.expect("failed");
        assert!(of_the_function);
        assert!(failed.why.contains("panicked"), "{}", failed.why);
    }
}
