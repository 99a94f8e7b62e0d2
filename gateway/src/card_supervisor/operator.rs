//! What an operator asks of a card, carried out on its supervisor's thread.
//!
//! Owns the order of a drain and of a reset that nobody's fault asks for. Invariants: a drained function stays drained through
//! its card's recoveries until it is told otherwise; a reset by hand costs no job: what is in flight ends first, or is
//! replayed elsewhere, and the function serves only after its self-test.

use std::time::Instant;

use serde_json::json;

use super::inspection::inspect;
use super::{Card, RESET_LIMIT};
use crate::card_operation::{Operation, ResetDone};
use crate::events::{OPERATOR, event, kind as happened};

impl Card {
    /// Carries an operation out. `Err`: its function is lost, and only a new start of the card helps.
    ///
    /// Whoever asked may have gone: then there is nobody to tell.
    pub(super) fn operate(&mut self, function: u8, operation: Operation) -> Result<(), String> {
        if self.life_of(function).is_none() {
            self.operate_down(function, operation);
            return Ok(());
        }
        match operation {
            Operation::Drain(on, reply) => {
                self.set_drained(function, on);
                let _ = reply.send(());
            }
            Operation::Inspect(reply) => {
                let live = self.functions.get(usize::from(function));
                let live = live.and_then(Option::as_ref);
                let _ = reply.send(live.map(|live| inspect(&live.function, &live.worker)));
            }
            Operation::Reset(reply) => {
                let done = self.reset_by_hand(function);
                let lost = done.as_ref().err().cloned();
                let _ = reply.send(done);
                if let Some(why) = lost {
                    return Err(why);
                }
            }
        }
        Ok(())
    }

    /// The same while no function is up: what can only be remembered is, the rest is refused.
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
                let fault = self.post.status.lock().last_fault.clone();
                let why = fault.unwrap_or_else(|| "it is being started".to_owned());
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
        let live = self.functions.get(usize::from(number));
        if let Some(live) = live.and_then(Option::as_ref) {
            let waker = live.worker.waker();
            self.jobs
                .set_in_service(self.number, number, Some(Box::new(move || waker.wake())));
        }
        tracing::info!(function = %name, "no longer drained");
    }

    fn reset_by_hand(&mut self, number: u8) -> Result<ResetDone, String> {
        let began = Instant::now();
        // Without a fault: what is in flight ends first, within the limit for a worker's end.
        let Some(live) = self.take_out(number, None) else {
            let fault = self.post.status.lock().last_fault.clone();
            let why = fault.unwrap_or_else(|| "it is being started".to_owned());
            return Err(format!("it is not up ({why})"));
        };
        self.down_since.get_or_insert(began);
        let proof = live
            .function
            .function_level_reset(RESET_LIMIT)
            .map_err(|error| {
                self.cut_off(number, &live.function);
                format!("the reset failed: {error}")
            })?;
        let fenced_bytes = self.arena.release_quarantined(&proof);
        tracing::info!(
            card = self.number,
            function = number,
            freed_bytes = fenced_bytes,
            "reset by an operator: fence (b)"
        );
        drop(live);
        {
            let mut status = self.post.status.lock();
            if let Some(function) = status.functions.get_mut(usize::from(number)) {
                function.drained = false;
            }
            status.note_drained();
        }
        self.jobs.note_drained(self.number, number, false);
        let passed = self
            .bring_up_function(number)
            .map_err(|error| format!("bring-up after the reset failed: {error:#}"))?;
        let done = ResetDone {
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            fenced_bytes,
            self_test_jobs: passed.jobs,
        };
        let name = format!("fpga{}.{number}", self.number);
        self.log
            .record(event(happened::CARD_RESET, OPERATOR, &name, json!(done)));
        Ok(done)
    }
}
