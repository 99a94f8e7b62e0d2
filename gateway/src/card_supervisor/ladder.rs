//! The ladder of quarantine: a queue pair, then its function, then the card.
//!
//! Owns which rung a fault takes, and what the next one is where a rung does not help. Invariants: each rung ends in a
//! self-test before anything serves again; the other functions of the card serve on through the lower two; a function has
//! its card started anew once until it is forgiven, so that one function alone cannot keep its card down.
//! When it is tried again is `damping`'s to say.

use std::sync::Arc;
use std::time::Instant;

use faam_hwif::QueueId;
use serde_json::json;

use super::damping::{Damping, Verdict};
use super::place::Next;
use super::{
    Card, QUEUES_RETIRED_MAX, RESET_LIMIT, RESETS_IN_A_ROW_MAX, RETIRED_ARENA_PART,
    RETRY_PAUSE_MIN, WORKER_END_LIMIT, millis,
};
use crate::card_process::CardProcess;
use crate::card_recovery::{FunctionState, Rung};
use crate::cards::WorkerEnd;
use crate::events::{GATEWAY, event, kind as happened};

/// The fault of a function that did not come up.
const NOT_UP: &str = "self-test";

/// Why a function did not come up.
#[derive(Debug)]
pub(super) enum NotUp {
    /// Of itself. Nothing of it is held, and it can be tried again.
    Function(String),
    /// It cannot be reached. Nothing of it is held, and it can be tried again.
    Unreachable(String),
    /// It cannot be fenced: only a new start of its card helps.
    Unfenced(String),
}

impl Card {
    /// A function's worker has ended.
    pub(super) fn worker_ended(&mut self, number: u8, end: &WorkerEnd) -> Result<(), String> {
        self.process_lives(number, &end.why)?;
        match end.queue {
            Some(queue) if self.may_lose_a_queue(number) => {
                self.retire_queue(number, queue, end.kind, &end.why)
            }
            _ => self.recover(number, end.kind, &end.why),
        }
    }

    /// Whether the lowest rung is to be had: not too many pairs lost in this life of the function, not too much memory in
    /// quarantine for them, and not so much held against it that it would have to wait.
    fn may_lose_a_queue(&mut self, number: u8) -> bool {
        let held_max = self.arena.bytes() / RETIRED_ARENA_PART;
        let quarantine = self.arena.quarantine();
        let Some(place) = self.functions.get(usize::from(number)) else {
            return false;
        };
        let Some(live) = &place.live else {
            return false;
        };
        let retired = live.function.retired_queue_pairs().len();
        // Of all that share it: an arena that is full of quarantine serves nobody.
        let held = quarantine.held_bytes();
        retired < usize::from(QUEUES_RETIRED_MAX)
            && held <= held_max
            && place.damping.lets_pass(Rung::Queue, Instant::now())
    }

    /// The first rung: the pair is deleted, and the function serves on by another, once it has passed its self-test.
    fn retire_queue(
        &mut self,
        number: u8,
        queue: QueueId,
        kind: &'static str,
        why: &str,
    ) -> Result<(), String> {
        let name = self.name(number);
        self.quarantined(number, Rung::Queue, kind, why);
        self.jobs.set_in_service(self.number, number, None);
        self.stand(number, FunctionState::Recovering, Some(why), None);
        let Some(live) = self.live(number) else {
            return Ok(());
        };
        let function = Arc::clone(&live.function);
        let served = live.worker.counters().jobs.get() > 0;
        // It has said that it ends: what it had in flight is in quarantine, and goes elsewhere.
        let joined = live.worker.join(WORKER_END_LIMIT);
        self.served |= served;
        let again = joined
            .map_err(anyhow::Error::from)
            .and_then(|()| Ok(function.retire_queue_pair(queue)?))
            .and_then(|()| Ok(function.self_test()?))
            .and_then(|_| self.put_to_work(number, &function));
        match again {
            Ok(()) => {
                let held_bytes = self
                    .arena
                    .quarantine()
                    .held_bytes_of(function.incarnation());
                tracing::warn!(function = %name, %queue, held_bytes, "a queue pair was retired; its memory stays in quarantine until the function's fence");
                Ok(())
            }
            Err(error) => {
                let why = format!("{why}; without {queue}: {error:#}");
                // Its way is closed with the last hold of it, and opened anew after the reset.
                drop(function);
                self.recover(number, kind, &why)
            }
        }
    }

    /// The second rung: take one function out, reset it (fence (b)) and bring it back, now or later. `Err`: only a new start
    /// of the card helps, the third.
    pub(super) fn recover(
        &mut self,
        number: u8,
        kind: &'static str,
        why: &str,
    ) -> Result<(), String> {
        self.process_lives(number, why)?;
        let name = self.name(number);
        let verdict = self.quarantined(number, Rung::Function, kind, why);
        let Some(live) = self.take_out(number, Some(why)) else {
            return Ok(());
        };
        // Also where the card has to be started anew first.
        self.note_out(number, verdict, kind, why);
        let served = kind != "verify" && live.worker.counters().jobs.get() > 0;
        if let Some(place) = self.place(number) {
            place.resets_in_a_row = match served {
                true => 1,
                false => place.resets_in_a_row + 1,
            };
            if place.resets_in_a_row > RESETS_IN_A_ROW_MAX
                && !place.card_was_started_anew
                && verdict != Verdict::OutOfService
            {
                place.card_was_started_anew = true;
                let why = format!("{name}: {why}, after {RESETS_IN_A_ROW_MAX} resets in a row");
                self.is_charged = true;
                self.cut_off(number, &live.function);
                return Err(why);
            }
        }
        let proof = live.function.reset(RESET_LIMIT).map_err(|error| {
            self.is_charged = true;
            self.cut_off(number, &live.function);
            format!("{name}: {why}; reset failed: {error}")
        })?;
        let freed = self.arena.release_quarantined(&proof);
        tracing::warn!(function = %name, freed_bytes = freed, "fence (b): reset returned, epoch changed, DMA idle");
        drop(live);
        match verdict {
            Verdict::AtOnce => self.try_again(number),
            Verdict::Wait(_) | Verdict::OutOfService => Ok(()),
        }
    }

    /// That the card's process, where it is ours, has not ended: that is no fault of a function's.
    pub(super) fn process_lives(&self, number: u8, why: &str) -> Result<(), String> {
        match self.process.as_ref().is_some_and(CardProcess::has_ended) {
            true => Err(format!("{}: {why}; its process ended", self.name(number))),
            false => Ok(()),
        }
    }

    /// Functions that have waited long enough.
    pub(super) fn try_who_is_due(&mut self) -> Result<(), String> {
        for number in 0..self.function_count() {
            if self.live(number).is_none() && self.is_due(number) {
                self.try_again(number)?;
            }
        }
        Ok(())
    }

    /// When the next of those is due.
    pub(super) fn next_try_at(&self) -> Option<Instant> {
        let waiting = self.functions.iter().filter(|place| place.live.is_none());
        let at = waiting.filter_map(|place| match place.next {
            Next::At(at) => Some(at),
            Next::Start | Next::Never => None,
        });
        at.min()
    }

    /// Whether a function that does not serve is to be tried now.
    pub(super) fn is_due(&self, number: u8) -> bool {
        let place = self.functions.get(usize::from(number));
        place.is_some_and(|place| match place.next {
            Next::Start => true,
            Next::At(at) => at <= Instant::now(),
            Next::Never => false,
        })
    }

    fn try_again(&mut self, number: u8) -> Result<(), String> {
        match self.bring_up_function(number) {
            Ok(_) => Ok(()),
            Err(NotUp::Unfenced(why)) => {
                self.is_unfenced(number, &why);
                Err(why)
            }
            Err(NotUp::Function(why) | NotUp::Unreachable(why)) => {
                self.process_lives(number, &why)?;
                // A new process is tried before a second reset: once.
                let anew = self.place(number).is_some_and(|place| {
                    !std::mem::replace(&mut place.card_was_started_anew, true)
                });
                if anew {
                    // For the fault that it was reset for.
                    self.is_charged = true;
                    let name = self.name(number);
                    return Err(format!("{name}: after its reset: {why}"));
                }
                self.did_not_come_up(number, &why);
                Ok(())
            }
        }
    }

    /// A function that is fenced, or was never reached, did not come up. Until anything of the card has served, it is being
    /// started: it waits, and is tried for ever.
    pub(super) fn did_not_come_up(&mut self, number: u8, why: &str) {
        let rung = Rung::Function;
        let verdict = match self.has_served {
            true => self.quarantined(number, rung, NOT_UP, why),
            false => self.charged(number, rung, NOT_UP, why, Damping::not_up_yet),
        };
        self.note_not_up(number, verdict, why);
    }

    /// A function that did not come up, and whose reset is not proven: the card is started anew for it, so it is charged also
    /// where nothing has served yet, or it would keep the others from it.
    pub(super) fn is_unfenced(&mut self, number: u8, why: &str) {
        let verdict = self.quarantined(number, Rung::Function, NOT_UP, why);
        self.is_charged = true;
        self.note_not_up(number, verdict, why);
    }

    fn note_not_up(&mut self, number: u8, verdict: Verdict, why: &str) {
        let verdict = match verdict {
            Verdict::AtOnce => Verdict::Wait(RETRY_PAUSE_MIN),
            verdict => verdict,
        };
        if let Some(place) = self.place(number) {
            place.down_since.get_or_insert_with(Instant::now);
        }
        let mut status = self.post.status.lock();
        status.last_fault = Some(why.to_owned());
        if let Some(function) = status.functions.get_mut(usize::from(number)) {
            function.faults += 1;
        }
        drop(status);
        self.note_out(number, verdict, NOT_UP, why);
    }

    /// Counts a quarantine and makes it known; what follows from it.
    fn quarantined(&mut self, number: u8, rung: Rung, kind: &'static str, why: &str) -> Verdict {
        self.charged(number, rung, kind, why, Damping::quarantined)
    }

    fn charged(
        &mut self,
        number: u8,
        rung: Rung,
        kind: &'static str,
        why: &str,
        charge: impl FnOnce(&mut Damping, Rung, Instant) -> Verdict,
    ) -> Verdict {
        let name = self.name(number);
        tracing::warn!(function = %name, rung = rung.name(), kind, why, "out of service");
        self.jobs.metrics.device_fault(&name, kind);
        self.jobs.metrics.device_quarantine(&name, rung, kind);
        let now = Instant::now();
        let Some(place) = self.place(number) else {
            return Verdict::OutOfService;
        };
        place.down_since.get_or_insert(now);
        let verdict = charge(&mut place.damping, rung, now);
        let (penalty, counted) = (place.damping.penalty(now), place.damping.counted());
        if counted.sum() == 1 {
            // It was forgiven since.
            place.card_was_started_anew = false;
        }
        let mut status = self.post.status.lock();
        if let Some(function) = status.functions.get_mut(usize::from(number)) {
            function.recovery.note_fault(rung, kind, why);
            if rung == Rung::Queue {
                function.faults += 1;
            }
        }
        status.last_fault = Some(why.to_owned());
        drop(status);
        let happened = match rung {
            Rung::Queue => happened::CARD_QUEUE_QUARANTINED,
            Rung::Function | Rung::Card => happened::CARD_QUARANTINED,
        };
        let detail = json!({ "rung": rung, "fault": kind, "why": why, "penalty": penalty.round(), "of_late": counted });
        self.log.record(event(happened, GATEWAY, &name, detail));
        self.note_penalty(number);
        verdict
    }

    /// A function that is fenced is left alone, for a while or until an operator asks.
    fn note_out(&mut self, number: u8, verdict: Verdict, kind: &'static str, why: &str) {
        let name = self.name(number);
        let Some(place) = self.place(number) else {
            return;
        };
        let counted = place.damping.counted();
        let of_late = format!(
            "quarantined {} times of late ({} of a queue, {} of the function), the last time for {kind}: {why}",
            counted.sum(),
            counted.queue,
            counted.function,
        );
        match verdict {
            Verdict::AtOnce => {}
            Verdict::Wait(wait) => {
                place.next = Next::At(Instant::now() + wait);
                let reason = format!("{of_late}; it is tried again by itself");
                self.stand(number, FunctionState::Waiting, Some(&reason), Some(wait));
                tracing::warn!(function = %name, wait_ms = millis(wait), "waits before it is tried again");
                let detail = json!({ "fault": kind, "why": why, "wait_ms": millis(wait), "of_late": counted });
                self.log
                    .record(event(happened::CARD_WAITS, GATEWAY, &name, detail));
            }
            Verdict::OutOfService => {
                place.next = Next::Never;
                let reason = format!(
                    "{of_late}; not tried again until `faam device reset {name}` finds that it passes its self-test"
                );
                self.stand(number, FunctionState::OutOfService, Some(&reason), None);
                tracing::error!(function = %name, reason, "out of service");
                let detail =
                    json!({ "fault": kind, "why": why, "of_late": counted, "reason": reason });
                self.log
                    .record(event(happened::CARD_OUT_OF_SERVICE, GATEWAY, &name, detail));
            }
        }
    }

    /// Nothing is held against a function: an operator says so.
    pub(super) fn forgive(&mut self, number: u8) {
        if let Some(place) = self.place(number) {
            place.damping.forgive();
            place.next = Next::Start;
            place.resets_in_a_row = 0;
            place.card_was_started_anew = false;
        }
        self.note_penalty(number);
    }
}
