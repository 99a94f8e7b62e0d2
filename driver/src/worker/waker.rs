//! Waking a worker from another thread.
//!
//! Owns the flags between the two and the eventfd. Invariant: after [`Waker::wake`]
//! returns, the worker looks at its source at least once more before it sleeps on.
//! It deliberately does not know what the worker will find.
//!
//! A wake of a worker that is awake is one store, one fence and one load; only a
//! sleeping one costs a system call.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use rustix::io::Errno;

use crate::event::{new_eventfd, signal};

/// Wakes one worker. Clones wake the same.
#[derive(Clone, Debug)]
pub struct Waker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The source may have something new.
    notified: AtomicBool,
    /// The worker sleeps, or is about to.
    asleep: AtomicBool,
    /// The worker is to finish and end.
    stop: AtomicBool,
    event: OwnedFd,
}

impl Waker {
    pub(super) fn new() -> Result<Self, Errno> {
        Ok(Self {
            shared: Arc::new(Shared {
                notified: AtomicBool::new(true),
                asleep: AtomicBool::new(false),
                stop: AtomicBool::new(false),
                event: new_eventfd()?,
            }),
        })
    }

    /// Have the worker look at its source. Call it after the source can hand the new job out.
    pub fn wake(&self) {
        let shared = &*self.shared;
        shared.notified.store(true, Ordering::Release);
        // Partner: the fence in `may_sleep`. Either this load sees the worker about to sleep, or the worker's
        // re-check sees the notice.
        fence(Ordering::SeqCst);
        if shared.asleep.load(Ordering::Relaxed) && shared.asleep.swap(false, Ordering::AcqRel) {
            signal(shared.event.as_fd());
        }
    }

    /// Have the worker finish what is in flight and end.
    pub(super) fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.shared.stop.load(Ordering::Acquire)
    }

    /// Worker: takes a notice, if there is one.
    pub(super) fn take_notice(&self) -> bool {
        self.shared.notified.load(Ordering::Relaxed)
            && self.shared.notified.swap(false, Ordering::Acquire)
    }

    /// Worker: announces sleep; true if nothing speaks against it. Then, and only then, it waits for the event.
    pub(super) fn may_sleep(&self) -> bool {
        self.shared.asleep.store(true, Ordering::Relaxed);
        // Partner: the fence in `wake`.
        fence(Ordering::SeqCst);
        let may = !self.shared.notified.load(Ordering::Acquire);
        if !may {
            self.wakes_up();
        }
        may
    }

    /// Worker: is awake again.
    pub(super) fn wakes_up(&self) {
        self.shared.asleep.store(false, Ordering::Release);
    }

    pub(super) fn event(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventWaiter;
    use std::sync::atomic::AtomicU32;
    use std::time::{Duration, Instant};

    #[test]
    fn no_wake_is_lost_however_the_two_meet() {
        const ROUNDS: u32 = 20_000;
        let waker = Waker::new().unwrap();
        let posted = Arc::new(AtomicU32::new(0));
        let seen = Arc::new(AtomicU32::new(0));
        let producer = {
            let (waker, posted, seen) = (waker.clone(), Arc::clone(&posted), Arc::clone(&seen));
            std::thread::spawn(move || {
                for round in 1..=ROUNDS {
                    posted.store(round, Ordering::Release);
                    waker.wake();
                    while seen.load(Ordering::Acquire) < round {
                        std::thread::yield_now();
                    }
                }
            })
        };
        let waiter = EventWaiter::new(&[waker.event()]).unwrap();
        let limit = Duration::from_secs(20);
        let mut last = 0;
        while last < ROUNDS {
            if waker.take_notice() {
                last = posted.load(Ordering::Acquire);
                seen.store(last, Ordering::Release);
            } else if waker.may_sleep() {
                let before = Instant::now();
                waiter.wait(limit).unwrap();
                assert!(before.elapsed() < limit, "a wake was lost after {last}");
                waker.wakes_up();
            }
        }
        producer.join().unwrap();
    }
}
