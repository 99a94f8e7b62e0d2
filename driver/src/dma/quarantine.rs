//! Memory that a device may still reach although its command never completed.
//!
//! Owns runs of pages, each held against one incarnation of a function. Invariant: a run
//! leaves only behind a [`FenceProof`] that covers its incarnation; one that comes after that fence, from a worker that
//! ended late, does not stay.
//! Bounded by the arena: every run in it is out of the pool.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::fence::{FenceProof, Incarnation};
use super::pages::PageRun;
use super::shared_memory::PAGE_BYTES;

/// Incarnations whose fence is remembered, for workers that end after it: many more than can be late at a time.
const FENCED_KEPT_MAX: usize = 256;

/// The quarantine of one arena.
#[derive(Debug, Default)]
pub struct Quarantine {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    held: Vec<(Incarnation, PageRun)>,
    /// The last ones that were fenced: no device reaches anything on their account any more.
    fenced: VecDeque<Incarnation>,
}

impl Inner {
    fn remember(&mut self, incarnation: Incarnation) {
        if self.fenced.contains(&incarnation) {
            return;
        }
        if self.fenced.len() >= FENCED_KEPT_MAX {
            self.fenced.pop_front();
        }
        self.fenced.push_back(incarnation);
    }
}

impl Quarantine {
    /// Holds a run, unless its incarnation was fenced already: then it is given back.
    pub(super) fn hold(&self, incarnation: Incarnation, run: PageRun) -> Option<PageRun> {
        let mut inner = self.inner.lock();
        if inner.fenced.contains(&incarnation) {
            return Some(run);
        }
        inner.held.push((incarnation, run));
        None
    }

    pub(super) fn take(&self, proof: &FenceProof) -> Vec<PageRun> {
        let mut inner = self.inner.lock();
        let covered = inner
            .held
            .extract_if(.., |(incarnation, _)| proof.covers(*incarnation));
        let (incarnations, runs): (Vec<_>, Vec<_>) = covered.unzip();
        for incarnation in incarnations.into_iter().chain(proof.incarnation()) {
            inner.remember(incarnation);
        }
        runs
    }

    /// That this incarnation's fence has passed, where `proof` covers it: what is still held for it later does not stay.
    pub fn note_fenced(&self, incarnation: Incarnation, proof: &FenceProof) {
        if proof.covers(incarnation) {
            self.inner.lock().remember(incarnation);
        }
    }

    /// Bytes held.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let inner = self.inner.lock();
        let pages: usize = inner.held.iter().map(|(_, run)| run.count).sum();
        pages * PAGE_BYTES
    }

    /// Bytes held against one incarnation.
    #[must_use]
    pub fn held_bytes_of(&self, incarnation: Incarnation) -> usize {
        let inner = self.inner.lock();
        let own = inner.held.iter().filter(|(of, _)| *of == incarnation);
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

    #[test]
    fn what_comes_after_its_fence_does_not_stay() {
        let arena = Arena::new(1 << 20).unwrap();
        let all = arena.free_bytes();
        let (late, next) = (Incarnation::begin(None), Incarnation::begin(None));
        let (first, second) = (arena.alloc(8192, 1).unwrap(), arena.alloc(8192, 1).unwrap());
        // Nothing was held when the fence came: its worker had not ended yet.
        assert_eq!(arena.release_quarantined(&reset_proof(late)), 0);
        first.quarantine(late);
        assert_eq!(arena.quarantine().held_bytes(), 0);
        // Another life's fence says nothing of the one after it.
        second.quarantine(next);
        let held = arena.quarantine().held_bytes();
        assert!(held > 0);
        arena.quarantine().note_fenced(next, &reset_proof(late));
        assert_eq!(arena.quarantine().held_bytes_of(next), held);
        assert_eq!(arena.release_quarantined(&reset_proof(next)), held);
        assert_eq!(arena.free_bytes(), all);
    }
}
