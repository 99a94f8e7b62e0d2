//! Completions that break the contract.
//!
//! Owns what each fault makes of a completion. Invariant: none is spoilt that no fault strikes, and the admin queue's
//! never are: without them nobody could recover.

use std::time::{Duration, Instant};

use faam_hwif::completion::PHASE_WORD_OFFSET;
use faam_hwif::{CommandId, CompletionEntry, Status};
use parking_lot::MutexGuard;

use super::{Completions, Queue};
use crate::faults::Fault;
use crate::function_faults::{Strike, Strikes};
use crate::memory::{DmaFault, DmaLease};

/// How often a wait looks whether its queue is still there, milliseconds.
const LOOK_MS: u64 = 1;
/// The phase in a phase word.
const PHASE_BIT: u32 = 1 << 16;

impl Queue {
    /// Writes a completion as the faults that strike it have it.
    pub(super) fn post_spoilt(
        &self,
        mut completions: MutexGuard<'_, Completions>,
        mut entry: CompletionEntry,
        status: Status,
        strikes: &Strikes,
    ) -> Result<(), DmaFault> {
        let faults = self.lease().faults();
        let hit = |fault| faults.hit(fault, strikes);
        // Only where another one is still to come: the contract lets it be late, not stay away.
        let outstanding = self.fetched().wrapping_sub(completions.tail);
        if outstanding > 1 && completions.held_back.is_none() && hit(Fault::OutOfOrder) {
            completions.held_back = Some((entry, status));
            return Ok(());
        }
        if hit(Fault::WrongCommandId) {
            entry.cid = entry.cid.wrapping_sub(1);
        }
        let id = CommandId(entry.cid);
        if hit(Fault::StaleGeneration) {
            let before = id.generation().wrapping_add(CommandId::GENERATIONS - 1);
            entry.cid = CommandId::new(id.slot(), before).0;
        }
        if hit(Fault::UnknownCommand) {
            entry.cid = CommandId::new(CommandId::SLOTS - 1, id.generation()).0;
        }
        if hit(Fault::WithholdsCompletions) {
            return Ok(());
        }
        if hit(Fault::RandomCompletion) {
            return self.write_random(&mut completions);
        }
        if let Some(strike) = faults.strike(Fault::TornCompletion, strikes) {
            return self.write_torn(completions, entry, status, strike);
        }
        let result = if hit(Fault::LiesAboutHead) {
            self.write_lie(&mut completions, entry, status)
        } else {
            self.write_completion(&mut completions, entry, status)
        };
        if hit(Fault::CompletesTwice) {
            let _ = self.write_completion(&mut completions, entry, status);
        }
        result
    }

    fn write_random(&self, completions: &mut Completions) -> Result<(), DmaFault> {
        let index = completions.tail;
        let faults = self.lease().faults();
        let mut bytes = [0; PHASE_WORD_OFFSET];
        for piece in bytes.chunks_mut(8) {
            for (place, byte) in piece.iter_mut().zip(faults.random()) {
                *place = byte;
            }
        }
        let [a, b, c, d, ..] = faults.random();
        let due = u32::from(self.phase(index)) * PHASE_BIT;
        let word = u32::from_le_bytes([a, b, c, d]) & !PHASE_BIT | due;
        self.lease().write(self.place(index)?, &bytes)?;
        self.write_phase_word(index, word)?;
        completions.tail = index.wrapping_add(1);
        Ok(())
    }

    /// The lock is let go for the time between, so that other completions pass by.
    fn write_torn(
        &self,
        mut completions: MutexGuard<'_, Completions>,
        entry: CompletionEntry,
        status: Status,
        strike: Strike,
    ) -> Result<(), DmaFault> {
        let index = completions.tail;
        let entry = self.sealed(index, entry, status, self.fetched());
        self.write_phase_word(index, entry.phase_word())?;
        completions.tail = index.wrapping_add(1);
        drop(completions);
        sleep_while_held(self.lease(), strike.time().unwrap_or_default());
        self.write_body(index, &entry)
    }

    /// As if half a ring less had been fetched.
    fn write_lie(
        &self,
        completions: &mut Completions,
        entry: CompletionEntry,
        status: Status,
    ) -> Result<(), DmaFault> {
        let index = completions.tail;
        let said = self.fetched().wrapping_sub(self.entries().count() / 2);
        let entry = self.sealed(index, entry, status, said);
        self.write_body(index, &entry)?;
        self.write_phase_word(index, entry.phase_word())?;
        completions.tail = index.wrapping_add(1);
        Ok(())
    }
}

/// Sleeps so long, or until the lease is revoked.
fn sleep_while_held(lease: &DmaLease, time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now())
        && !left.is_zero()
        && !lease.is_revoked()
    {
        std::thread::sleep(left.min(Duration::from_millis(LOOK_MS)));
    }
}
