//! What the kernel may take a minute over, with a limit.
//!
//! Owns the thread that waits in the kernel in the caller's place. Invariant: the caller is back after its limit; what comes
//! later is dropped by that thread, which ends when the kernel does. It does not know what is waited for.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use rustix::io::Errno;

use super::super::TransportError;

/// Runs `work` on a thread called `thread`, and waits for it for `limit_ms` at most.
///
/// # Errors
/// Those of `work`; [`TransportError::TimedOut`] of `what` after the limit; [`TransportError::Io`] without a thread;
/// [`TransportError::Gone`] if `work` panics.
pub(super) fn limit<T: Send + 'static>(
    thread: &str,
    what: &'static str,
    limit_ms: u64,
    work: impl FnOnce() -> Result<T, TransportError> + Send + 'static,
) -> Result<T, TransportError> {
    let (tell, outcome) = sync_channel(1);
    std::thread::Builder::new()
        .name(thread.into())
        .spawn(move || {
            // Nobody may be waiting any more: then it is dropped here.
            let _ = tell.send(work());
        })
        .map_err(|error| TransportError::Io {
            what: "starting a thread to wait for the kernel on",
            errno: Errno::from_io_error(&error).unwrap_or(Errno::AGAIN),
        })?;
    match outcome.recv_timeout(Duration::from_millis(limit_ms)) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => Err(TransportError::TimedOut { what, limit_ms }),
        Err(RecvTimeoutError::Disconnected) => Err(TransportError::Gone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG_MS: u64 = 30_000;

    #[test]
    fn what_is_done_in_time_is_returned() {
        assert_eq!(limit("test", "it", LONG_MS, || Ok(7)), Ok(7));
        let failed = || Err::<(), _>(TransportError::Gone);
        assert_eq!(
            limit("test", "it", LONG_MS, failed),
            Err(TransportError::Gone)
        );
    }

    #[test]
    fn what_comes_late_is_dropped() {
        let (go_on, hold) = sync_channel::<()>(1);
        let (dropped, seen) = sync_channel::<()>(1);
        /// Tells of its drop.
        struct Late(std::sync::mpsc::SyncSender<()>);
        impl Drop for Late {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let work = move || {
            let _ = hold.recv();
            Ok(Late(dropped))
        };
        let outcome = limit("test", "a hang", 1, work).map(drop);
        let expected = TransportError::TimedOut {
            what: "a hang",
            limit_ms: 1,
        };
        assert_eq!(outcome, Err(expected));
        go_on.send(()).unwrap();
        // The thread ends by dropping it.
        seen.recv_timeout(Duration::from_millis(LONG_MS)).unwrap();
    }
}
