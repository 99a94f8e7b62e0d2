//! Memory that a device may still reach although its command never completed.
//!
//! Owns runs of pages, each held against one incarnation of a function. Invariant: a run
//! leaves only behind a [`FenceProof`] that covers its incarnation.
//! Bounded by the arena: every run in it is out of the pool.

use parking_lot::Mutex;

use super::fence::{FenceProof, Incarnation};
use super::pages::PageRun;
use super::shared_memory::PAGE_BYTES;

/// The quarantine of one arena.
#[derive(Debug, Default)]
pub struct Quarantine {
    held: Mutex<Vec<(Incarnation, PageRun)>>,
}

impl Quarantine {
    pub(super) fn hold(&self, incarnation: Incarnation, run: PageRun) {
        self.held.lock().push((incarnation, run));
    }

    pub(super) fn take(&self, proof: &FenceProof) -> Vec<PageRun> {
        self.held
            .lock()
            .extract_if(.., |(incarnation, _)| proof.covers(*incarnation))
            .map(|(_, run)| run)
            .collect()
    }

    /// Bytes held.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let pages: usize = self.held.lock().iter().map(|(_, run)| run.count).sum();
        pages * PAGE_BYTES
    }

    /// Bytes held against one incarnation.
    #[must_use]
    pub fn held_bytes_of(&self, incarnation: Incarnation) -> usize {
        let held = self.held.lock();
        let own = held.iter().filter(|(of, _)| *of == incarnation);
        own.map(|(_, run)| run.count).sum::<usize>() * PAGE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Arena, FenceProof, Incarnation, ResetEvidence};

    fn reset_proof(incarnation: Incarnation) -> FenceProof {
        FenceProof::from_reset(&ResetEvidence {
            incarnation,
            status: 0b0100,
            dma_idle: true,
            resetting: false,
            epoch_before: 1,
            epoch_after: 2,
        })
        .unwrap()
    }

    #[test]
    fn a_fence_frees_its_own_incarnation_and_no_other() {
        let arena = Arena::new(1 << 20).unwrap();
        let all = arena.free_bytes();
        let (one, other) = (Incarnation::begin(None), Incarnation::begin(None));
        arena.alloc(8192, 1).unwrap().quarantine(one);
        arena.alloc(8192, 1).unwrap().quarantine(other);
        let each = arena.quarantine().held_bytes_of(one);
        assert_eq!(arena.quarantine().held_bytes(), 2 * each);
        assert_eq!(arena.release_quarantined(&reset_proof(one)), each);
        assert_eq!(arena.release_quarantined(&reset_proof(one)), 0);
        assert_eq!(arena.quarantine().held_bytes(), each);
        assert_eq!(arena.release_quarantined(&reset_proof(other)), each);
        assert_eq!(arena.free_bytes(), all);
    }
}
