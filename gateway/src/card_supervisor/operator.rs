//! What an operator asks of a card, carried out on its supervisor's thread.
//!
//! Owns the order of a drain and of a reset that nobody's fault asks for. Invariants: a drained function stays drained through
//! its card's recoveries until it is told otherwise; a reset by hand costs no job: what is in flight ends first, or is
//! replayed elsewhere, and the function serves only after its self-test.

use std::time::Instant;

use serde_json::json;

use super::inspection::inspect;
use super::ladder::NotUp;
use super::place::Next;
use super::{Card, RESET_LIMIT, millis};
use crate::card_operation::{Operation, ResetDone};
use crate::card_recovery::FunctionState;
use crate::events::{OPERATOR, event, kind as happened};

impl Card {
    /// Carries an operation out. `Err`: its function is lost, and only a new start of the card helps.
    ///
    /// Whoever asked may have gone: then there is nobody to tell.
    pub(super) fn operate(&mut self, function: u8, operation: Operation) -> Result<(), String> {
        match operation {
            Operation::Inspect(reply) if self.live(function).is_some() => {
                let live = self.live(function);
                let _ = reply.send(live.map(|live| inspect(&live.function, &live.worker)));
            }
            Operation::Reset(reply) => {
                let done = match self.live(function).is_some() {
                    true => self.reset_by_hand(function),
                    false => self.bring_back(function),
                };
                let lost = match &done {
                    Err(NotUp::Unfenced(why)) => Some(why.clone()),
                    Ok(_) | Err(NotUp::Function(_) | NotUp::Unreachable(_)) => None,
                };
                let done = done.map_err(
                    |(NotUp::Unfenced(why) | NotUp::Function(why) | NotUp::Unreachable(why))| why,
                );
                let _ = reply.send(done);
                if let Some(why) = lost {
                    return Err(why);
                }
            }
            operation => self.operate_down(function, operation),
        }
        Ok(())
    }

    /// The same while the card is not up: what can only be remembered is, the rest is refused.
    pub(super) fn operate_down(&mut self, function: u8, operation: Operation) {
        match operation {
            Operation::Drain(on, reply) => {
                self.set_drained(function, on);
                let _ = reply.send(());
            }
            Operation::Inspect(reply) => {
                let _ = reply.send(None);
            }
            Operation::Reset(reply) => {
                let why = self.why_down();
                let _ = reply.send(Err(format!("it is not up ({why})")));
            }
        }
    }

    /// Whether an operator has a function drained.
    pub(super) fn is_drained(&self, function: u8) -> bool {
        let status = self.post.status.lock();
        status
            .functions
            .get(usize::from(function))
            .is_some_and(|function| function.drained)
    }

    fn set_drained(&self, number: u8, on: bool) {
        let name = {
            let mut status = self.post.status.lock();
            let Some(function) = status.functions.get_mut(usize::from(number)) else {
                return;
            };
            if function.drained == on {
                return;
            }
            function.drained = on;
            let name = function.name.clone();
            status.note_drained();
            name
        };
        self.jobs.note_drained(self.number, number, on);
        let kind = match on {
            true => happened::CARD_DRAINED,
            false => happened::CARD_UNDRAINED,
        };
        self.log.record(event(kind, OPERATOR, &name, json!({})));
        if on {
            // Its worker goes on with what it holds, and finds nothing more.
            self.jobs.set_in_service(self.number, number, None);
            tracing::info!(function = %name, "drained by an operator: it gets no more jobs");
            return;
        }
        if let Some(live) = self.live(number) {
            let waker = live.worker.waker();
            self.jobs
                .set_in_service(self.number, number, Some(Box::new(move || waker.wake())));
        }
        tracing::info!(function = %name, "no longer drained");
    }

    fn reset_by_hand(&mut self, number: u8) -> Result<ResetDone, NotUp> {
        let began = Instant::now();
        // Without a fault: what is in flight ends first, within the limit for a worker's end.
        let Some(live) = self.take_out(number, None) else {
            return Err(NotUp::Function(self.why_down()));
        };
        if let Some(place) = self.place(number) {
            place.down_since.get_or_insert(began);
        }
        let proof = live
            .function
            .function_level_reset(RESET_LIMIT)
            .map_err(|error| {
                self.cut_off(number, &live.function);
                NotUp::Unfenced(format!("the reset failed: {error}"))
            })?;
        let fenced_bytes = self.arena.release_quarantined(&proof);
        tracing::info!(
            card = self.number,
            function = number,
            freed_bytes = fenced_bytes,
            "reset by an operator: fence (b)"
        );
        drop(live);
        self.undrain(number);
        self.forgive(number);
        let passed = match self.bring_up_function(number) {
            Ok(passed) => passed,
            Err(NotUp::Function(why) | NotUp::Unreachable(why)) => {
                self.did_not_come_up(number, &why);
                return Err(NotUp::Function(format!(
                    "after the reset it did not come up: {why}"
                )));
            }
            Err(NotUp::Unfenced(why)) => {
                return Err(NotUp::Unfenced(format!(
                    "bring-up after the reset failed: {why}"
                )));
            }
        };
        Ok(self.note_reset(number, began, fenced_bytes, passed.jobs))
    }

    /// A function that waits, or is out of service, is tried now, and forgiven if it passes its self-test. It was fenced when it
    /// was taken out; coming up, it is reset once more.
    fn bring_back(&mut self, number: u8) -> Result<ResetDone, NotUp> {
        let began = Instant::now();
        match self.bring_up_function(number) {
            Ok(passed) => {
                self.undrain(number);
                self.forgive(number);
                Ok(self.note_reset(number, began, 0, passed.jobs))
            }
            Err(NotUp::Function(why) | NotUp::Unreachable(why)) => {
                // It stands where it stood: an operator's try is not counted.
                let next = self
                    .functions
                    .get(usize::from(number))
                    .map(|place| place.next);
                if next == Some(Next::Never) {
                    let name = self.name(number);
                    let reason = format!(
                        "an operator had it reset, and it did not come up: {why}; not tried again until `faam device reset \
                         {name}`"
                    );
                    self.stand(number, FunctionState::OutOfService, Some(&reason), None);
                }
                Err(NotUp::Function(format!("it did not come up: {why}")))
            }
            Err(unfenced) => Err(unfenced),
        }
    }

    fn undrain(&mut self, number: u8) {
        {
            let mut status = self.post.status.lock();
            if let Some(function) = status.functions.get_mut(usize::from(number)) {
                function.drained = false;
            }
            status.note_drained();
        }
        self.jobs.note_drained(self.number, number, false);
    }

    fn note_reset(
        &mut self,
        number: u8,
        began: Instant,
        fenced_bytes: usize,
        self_test_jobs: u32,
    ) -> ResetDone {
        let done = ResetDone {
            took_ms: millis(began.elapsed()),
            fenced_bytes,
            self_test_jobs,
        };
        let name = self.name(number);
        self.log
            .record(event(happened::CARD_RESET, OPERATOR, &name, json!(done)));
        done
    }
}
