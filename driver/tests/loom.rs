//! The doorbell protocol over every interleaving and every reordering that the memory model allows.
//!
//! The host's side is the driver's own source, over loom's atomics; the card's side is
//! written here from the contract. With the full fence no wake-up is lost; with a Release
//! fence in its place loom must find the interleaving in which one is, or this test would
//! prove nothing.
//!
//! `cargo test -p faam-driver --test loom`

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use faam_driver::rings::doorbell::{
    HostCell, Kick, ShadowCells, arm_interrupt, publish_submissions,
};
use faam_hwif::doorbell::kick_needed;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering, fence};
use loom::thread;

/// What stands between a store of this side and its next load of the other's.
#[derive(Clone, Copy)]
enum Fence {
    Full,
    ReleaseOnly,
}

impl Fence {
    fn run(self) {
        match self {
            Self::Full => fence(Ordering::SeqCst),
            Self::ReleaseOnly => fence(Ordering::Release),
        }
    }
}

/// A shadow page, one ring place of each kind, and the host's fence.
struct Page {
    sq_tail: AtomicU32,
    cq_head: AtomicU32,
    cq_want: AtomicU32,
    sq_event: AtomicU32,
    /// The submission entry's content.
    entry: AtomicU32,
    /// The completion's phase word: 1 = written.
    phase: AtomicU32,
    host_fence: Fence,
}

impl Page {
    fn new(host_fence: Fence) -> Arc<Self> {
        Arc::new(Self {
            sq_tail: AtomicU32::new(0),
            cq_head: AtomicU32::new(0),
            cq_want: AtomicU32::new(u32::MAX),
            // Behind the tail: the card polls and asks for no kick.
            sq_event: AtomicU32::new(u32::MAX),
            entry: AtomicU32::new(0),
            phase: AtomicU32::new(0),
            host_fence,
        })
    }
}

impl ShadowCells for Page {
    fn store_release(&self, cell: HostCell, value: u32) {
        let cell = match cell {
            HostCell::SubmissionTail => &self.sq_tail,
            HostCell::CompletionHead => &self.cq_head,
            HostCell::CompletionWant => &self.cq_want,
        };
        cell.store(value, Ordering::Release);
    }

    fn load_event(&self) -> u32 {
        self.sq_event.load(Ordering::Acquire)
    }

    fn full_fence(&self) {
        self.host_fence.run();
    }
}

/// One submission meets a card that is about to sleep.
fn submission_meets_sleep(host_fence: Fence) {
    loom::model(move || {
        let page = Page::new(host_fence);
        let card = {
            let page = Arc::clone(&page);
            thread::spawn(move || {
                // Contract, "Doorbells": store the event, fence, re-read the tail, and sleep only if it stands still.
                page.sq_event.store(0, Ordering::Release);
                fence(Ordering::SeqCst);
                let tail = page.sq_tail.load(Ordering::Acquire);
                if tail == 1 {
                    assert_eq!(page.entry.load(Ordering::Relaxed), 7, "a torn entry");
                }
                tail == 1
            })
        };
        page.entry.store(7, Ordering::Relaxed);
        let kick = publish_submissions(&*page, 0, 1);
        let card_saw_it = card.join().unwrap();
        assert!(
            card_saw_it || kick == Kick::Owed,
            "lost kick: the card sleeps on an entry that nobody will tell it of"
        );
    });
}

/// One completion meets a host that is about to sleep.
fn completion_meets_sleep(host_fence: Fence) {
    loom::model(move || {
        let page = Page::new(host_fence);
        let card = {
            let page = Arc::clone(&page);
            thread::spawn(move || {
                page.phase.store(1, Ordering::Release);
                fence(Ordering::SeqCst);
                let want = page.cq_want.load(Ordering::Acquire);
                kick_needed(want, 1, 0)
            })
        };
        arm_interrupt(&*page, 0);
        let host_saw_it = page.phase.load(Ordering::Acquire) == 1;
        let interrupted = card.join().unwrap();
        assert!(
            host_saw_it || interrupted,
            "lost interrupt: the host sleeps on a completion that nobody will tell it of"
        );
    });
}

#[test]
fn no_kick_is_lost_with_the_full_fence() {
    submission_meets_sleep(Fence::Full);
}

#[test]
#[should_panic(expected = "lost kick")]
fn a_release_fence_loses_kicks() {
    submission_meets_sleep(Fence::ReleaseOnly);
}

#[test]
fn no_interrupt_is_lost_with_the_full_fence() {
    completion_meets_sleep(Fence::Full);
}

#[test]
#[should_panic(expected = "lost interrupt")]
fn a_release_fence_loses_interrupts() {
    completion_meets_sleep(Fence::ReleaseOnly);
}
