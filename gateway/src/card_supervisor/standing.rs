//! How a card stands, written down where operators and metrics read it.
//!
//! Invariant: a card's state follows from its functions' states alone. It decides nothing.

use std::time::{Duration, Instant};

use super::{Asked, Card, millis};
use crate::card_operation::ResetDone;
use crate::card_recovery::FunctionState;
use crate::cards::CardStatus;
use crate::events::now;

impl Card {
    /// A function stands so from now on, for this reason, and is tried again after `wait`.
    pub(super) fn stand(
        &mut self,
        number: u8,
        state: FunctionState,
        reason: Option<&str>,
        wait: Option<Duration>,
    ) {
        let mut status = self.post.status.lock();
        let Some(function) = status.functions.get_mut(usize::from(number)) else {
            return;
        };
        let name = function.name.clone();
        // What never served is being started, however often that fails.
        let is_new = state == FunctionState::Recovering && function.engines.is_none();
        let state = match is_new {
            true => FunctionState::Starting,
            false => state,
        };
        function.state = state;
        function.in_service = state == FunctionState::InService;
        function.recovery.stands(reason, wait);
        status.note_state();
        drop(status);
        self.jobs.metrics.device_state(&name, state);
        self.jobs
            .metrics
            .device_next_attempt(&name, wait.map(after_seconds));
        self.note_penalty(number);
    }

    /// The card as a whole, and each function that would be tried with it.
    pub(super) fn stand_all(
        &mut self,
        state: FunctionState,
        reason: Option<&str>,
        wait: Option<Duration>,
    ) {
        self.post.status.lock().recovery.stands(reason, wait);
        for number in 0..self.function_count() {
            if state == FunctionState::OutOfService || self.is_due(number) {
                self.stand(number, state, reason, wait);
            }
        }
        let name = format!("fpga{}", self.number);
        self.jobs
            .metrics
            .device_next_attempt(&name, wait.map(after_seconds));
        self.note_card_penalty();
    }

    /// What is held against each function, and against the card, as it is now.
    pub(super) fn note_penalties(&mut self) {
        for number in 0..self.function_count() {
            self.note_penalty(number);
        }
        self.note_card_penalty();
    }

    pub(super) fn note_penalty(&mut self, number: u8) {
        let now = Instant::now();
        let Some(place) = self.functions.get(usize::from(number)) else {
            return;
        };
        let penalty = place.damping.penalty(now);
        let mut status = self.post.status.lock();
        if let Some(function) = status.functions.get_mut(usize::from(number)) {
            function.recovery.penalty = penalty.round();
            self.jobs.metrics.device_penalty(&function.name, penalty);
        }
    }

    fn note_card_penalty(&self) {
        let penalty = self.damping.penalty(Instant::now());
        self.post.status.lock().recovery.penalty = penalty.round();
        let name = format!("fpga{}", self.number);
        self.jobs.metrics.device_penalty(&name, penalty);
    }

    /// Tells an operator who had the card started for a function's sake what came of it.
    pub(super) fn answer(&mut self, asked: Asked, failed: Option<&String>) {
        let number = asked.function;
        let place = self.functions.get(usize::from(number));
        let passed = place
            .filter(|place| place.live.is_some())
            .and_then(|place| place.self_test);
        let done = match (passed, failed) {
            (Some(passed), _) => Ok(ResetDone {
                took_ms: millis(asked.began.elapsed()),
                fenced_bytes: 0,
                self_test_jobs: passed.jobs,
            }),
            (None, Some(why)) => Err(why.clone()),
            (None, None) => Err(self.why_down()),
        };
        // Whoever asked may have gone.
        let _ = asked.reply.send(done);
    }

    /// Why something of it is not up.
    pub(super) fn why_down(&self) -> String {
        let fault = self.post.status.lock().last_fault.clone();
        fault.unwrap_or_else(|| "it is being started".to_owned())
    }
}

impl CardStatus {
    /// Brings `state` into step with its functions.
    fn note_state(&mut self) {
        use crate::cards::CardState;
        let all = |state| {
            let mut functions = self.functions.iter();
            functions.all(|function| function.state == state)
        };
        self.state = if self.functions.iter().all(|function| function.in_service) {
            CardState::InService
        } else if self.functions.iter().any(|function| function.in_service) {
            CardState::Degraded
        } else if all(FunctionState::OutOfService) {
            CardState::OutOfService
        } else if all(FunctionState::Starting) {
            CardState::Starting
        } else {
            CardState::Recovering
        };
        self.note_drained();
    }
}

/// A moment so far ahead, seconds since 1970.
fn after_seconds(wait: Duration) -> i64 {
    let at = now().0.saturating_add_unsigned(millis(wait));
    at.div_euclid(1000)
}
