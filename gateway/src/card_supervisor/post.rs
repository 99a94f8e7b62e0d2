//! What a supervisor is told, one event after the other.
//!
//! Invariant: once it is to stop, it is told that next, whatever is queued: a channel full of faults keeps no gateway from
//! its end.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crossbeam::channel::RecvTimeoutError;

use crate::cards::{CardEvent, Post};

impl Post {
    /// The next event, waited for until then, or for as long as it takes. What is queued when it is to stop is answered by
    /// nobody: who waits for an answer is told that nobody is there.
    pub(super) fn next(&self, until: Option<Instant>) -> Result<CardEvent, RecvTimeoutError> {
        if self.stopping.load(Ordering::Acquire) {
            return Ok(CardEvent::Stop);
        }
        let event = match until {
            None => self
                .events
                .recv()
                .map_err(|_| RecvTimeoutError::Disconnected),
            Some(until) => self.events.recv_deadline(until),
        };
        match self.stopping.load(Ordering::Acquire) {
            true => Ok(CardEvent::Stop),
            false => event,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::cards::{CardSource, first_status, tell_to_stop};

    const LONG: Duration = Duration::from_secs(30);

    fn post() -> Post {
        let source = CardSource::VfioUser { dir: "card".into() };
        Post::new(first_status(0, &source, Path::new("data")))
    }

    fn fault() -> CardEvent {
        CardEvent::VerifyFailed {
            function: 0,
            life: 1,
        }
    }

    #[test]
    fn a_full_channel_keeps_nobody_from_its_end() {
        let post = post();
        while post.sender.try_send(fault()).is_ok() {}
        let before = Instant::now();
        tell_to_stop(&post.sender, &post.stopping);
        assert!(before.elapsed() < LONG, "telling does not wait");
        assert!(matches!(post.next(None), Ok(CardEvent::Stop)));
        let soon = Some(Instant::now() + LONG);
        assert!(matches!(post.next(soon), Ok(CardEvent::Stop)));
    }

    #[test]
    fn who_waits_is_woken_to_stop() {
        let post = post();
        let (sender, stopping) = (post.sender.clone(), std::sync::Arc::clone(&post.stopping));
        let waits = std::thread::spawn(move || matches!(post.next(None), Ok(CardEvent::Stop)));
        tell_to_stop(&sender, &stopping);
        assert!(waits.join().expect("it ends"));
    }

    #[test]
    fn events_come_in_their_order_and_a_wait_has_an_end() {
        let post = post();
        post.sender.try_send(fault()).expect("room");
        assert!(matches!(
            post.next(None),
            Ok(CardEvent::VerifyFailed { .. })
        ));
        let ended = post.next(Some(Instant::now()));
        assert!(matches!(ended, Err(RecvTimeoutError::Timeout)));
    }
}
