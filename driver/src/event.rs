//! Sleeping until any of a few eventfds is signalled, or a time has passed.
//!
//! Owns an epoll instance, edge-triggered. Invariant: a signal between two waits ends the
//! second at once; nobody reads the counters, so several waiters can share one eventfd
//! (queues that share an interrupt vector) and none takes another's signal.
//! It deliberately does not know what a signal means.

use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;

/// Descriptors that one waiter watches at most: an interrupt and a waker.
const SOURCES_MAX: usize = 2;

/// A new eventfd at zero.
pub(crate) fn new_eventfd() -> Result<OwnedFd, Errno> {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
}

/// Signal an eventfd. A full counter is signalled already.
pub(crate) fn signal(fd: BorrowedFd<'_>) {
    let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
}

/// Waits for eventfds.
#[derive(Debug)]
pub(crate) struct EventWaiter {
    epoll: OwnedFd,
}

impl EventWaiter {
    pub(crate) fn new(sources: &[BorrowedFd<'_>]) -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (number, source) in sources.iter().take(SOURCES_MAX).enumerate() {
            epoll::add(
                &epoll,
                source,
                epoll::EventData::new_u64(number as u64),
                epoll::EventFlags::IN | epoll::EventFlags::ET,
            )?;
        }
        Ok(Self { epoll })
    }

    /// Sleep until a source is signalled or `limit` has passed; returns whether one was. May return early.
    pub(crate) fn wait(&self, limit: Duration) -> Result<bool, Errno> {
        let limit = Timespec::try_from(limit).map_err(|_| Errno::INVAL)?;
        let mut events = [const { MaybeUninit::<epoll::Event>::uninit() }; SOURCES_MAX];
        match epoll::wait(&self.epoll, &mut events, Some(&limit)) {
            Ok((signalled, _)) => Ok(!signalled.is_empty()),
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::time::Instant;

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn each_waiter_sees_each_signal_of_a_shared_eventfd() {
        let shared = new_eventfd().unwrap();
        let waiters: Vec<_> = (0..2)
            .map(|_| EventWaiter::new(&[shared.as_fd()]).unwrap())
            .collect();
        for _ in 0..3 {
            signal(shared.as_fd());
            for waiter in &waiters {
                let before = Instant::now();
                assert!(waiter.wait(LONG).unwrap());
                assert!(before.elapsed() < LONG);
            }
        }
    }

    #[test]
    fn without_a_new_signal_the_time_passes() {
        let fd = new_eventfd().unwrap();
        let waiter = EventWaiter::new(&[fd.as_fd()]).unwrap();
        signal(fd.as_fd());
        waiter.wait(LONG).unwrap();
        let limit = Duration::from_millis(5);
        let before = Instant::now();
        assert!(!waiter.wait(limit).unwrap());
        assert!(before.elapsed() >= limit);
    }
}
