//! Faults of cards, as a scenario has them: begun and ended. What is lost with a function goes back (`serving`).

use crate::Nanos;

use super::invariants::Violation;
use super::run::{Event, Run};
use super::scenario::{Fault, FaultKind};

/// Until a stopped card is found to be hung, as the gateway has it.
const HANG_LIMIT: Nanos = Nanos(1_500_000_000);

impl Run<'_> {
    /// A fault of the scenario begins.
    pub(super) fn fault(&mut self, number: usize) -> Result<(), Violation> {
        let Some(fault) = self.scenario.faults.get(number).copied() else {
            return Ok(());
        };
        self.note(3, number as u64, 0);
        for function in 0..self.functions.len() {
            let Some(there) = self.functions.get_mut(function) else {
                continue;
            };
            if there.card != fault.card {
                continue;
            }
            match fault.kind {
                FaultKind::Slow(factor) => there.slowness = factor,
                FaultKind::Gone => self.lose(function)?,
                FaultKind::Hung => {
                    there.hung = true;
                    let life = there.life;
                    let at = Nanos(self.now.0.saturating_add(HANG_LIMIT.0));
                    self.events.put(at, Event::HangSeen { function, life });
                }
            }
        }
        Ok(())
    }

    /// And ends.
    pub(super) fn fault_end(&mut self, number: usize) {
        let Some(Fault { card, .. }) = self.scenario.faults.get(number).copied() else {
            return;
        };
        self.note(4, number as u64, 0);
        for function in &mut self.functions {
            if function.card == card {
                function.slowness = 1.0;
                // A hang that nobody saw ends as if the card had only paused: its jobs were lost with it.
                function.hung = false;
                if !function.in_service {
                    function.in_service = true;
                    self.scheduler
                        .set_in_service(function.target, true, self.now);
                }
            }
        }
        self.ask_all();
    }
}
