//! Ends: of a worker, of a function's life, of a card; and the fence that each is, or is not.
//!
//! Owns which of the fences (a) to (e) of the contract is taken where. Fence (a), a command's own completion, is the
//! driver's. Invariant: memory is released behind a proof alone; where there is none it stays in quarantine, or the arena
//! is abandoned.

use std::sync::Arc;
use std::time::Instant;

use faam_driver::{Arena, ChildFence, FenceProof, Function};

use super::ladder::NotUp;
use super::place::Live;
use super::{ARENAS_ABANDONED_MAX, Card, RESET_LIMIT, UNFENCED_LIVES_MAX, WORKER_END_LIMIT};
use crate::card_process::CardProcess;
use crate::card_recovery::FunctionState;

impl Card {
    /// Stop scheduling to a function and end its worker: after a fault at once, its jobs to be replayed elsewhere;
    /// without one after what is in flight.
    pub(super) fn take_out(&mut self, number: u8, fault: Option<&str>) -> Option<Live> {
        self.jobs.set_in_service(self.number, number, None);
        let place = self.place(number)?;
        place.damping.pauses(Instant::now());
        let live = place.live.take()?;
        if self.functions.iter().all(|place| place.live.is_none()) {
            self.damping.pauses(Instant::now());
        }
        if fault.is_some() {
            live.function.end();
        }
        live.worker.stop();
        if let Err(error) = live.worker.join(WORKER_END_LIMIT) {
            tracing::error!(card = self.number, function = number, %error, "a worker is left behind, its memory in quarantine");
        }
        self.served |= live.worker.counters().jobs.get() > 0;
        self.stand(number, FunctionState::Recovering, fault, None);
        let mut status = self.post.status.lock();
        if let Some(function) = status.functions.get_mut(usize::from(number)) {
            function.faults += u32::from(fault.is_some());
        }
        if let Some(fault) = fault {
            status.last_fault = Some(fault.to_owned());
        }
        drop(status);
        Some(live)
    }

    /// End everything: workers, then the process, whose end is fence (d) for all that it held.
    pub(super) fn tear_down(&mut self, fault: Option<&str>) {
        let mut ended = Vec::new();
        for number in 0..self.function_count() {
            let live = self.take_out(number, fault);
            ended.extend(live.as_ref().map(|live| live.function.incarnation()));
            if let Some(place) = self.place(number) {
                place.resets_in_a_row = 0;
            }
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
        ended.append(&mut self.unfenced_lives);
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
                for incarnation in ended {
                    // A worker that was left behind ends after its fence.
                    self.arena.quarantine().note_fenced(incarnation, &proof);
                }
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

    /// Fence (b), for a function that came up and did not pass its self-test.
    pub(super) fn fence_untested(
        &mut self,
        number: u8,
        function: &Arc<Function>,
        why: &str,
    ) -> NotUp {
        let name = self.name(number);
        match function.reset(RESET_LIMIT) {
            Ok(proof) => {
                let freed_bytes = self.arena.release_quarantined(&proof);
                tracing::warn!(function = %name, freed_bytes, why, "fence (b): did not pass its self-test, reset");
                NotUp::Function(why.to_owned())
            }
            Err(error) => {
                self.cut_off(number, function);
                NotUp::Unfenced(format!("{name}: {why}; reset failed: {error}"))
            }
        }
    }

    /// Fence (c), for a function whose reset does not finish, where an IOMMU stands before it.
    pub(super) fn cut_off(&mut self, number: u8, function: &Function) {
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
                // Fenced with the end of its process, if that is ours.
                if self.unfenced_lives.len() < UNFENCED_LIVES_MAX {
                    self.unfenced_lives.push(function.incarnation());
                }
                tracing::debug!(card = self.number, function = number, %error, "not cut off");
            }
        }
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
