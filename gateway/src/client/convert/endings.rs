//! The signals that end a run before its last file.
//!
//! Owns which they are. Invariant: one that was ignored before we began stays ignored, as `nohup` and shells without job
//! control count on. It does not know what has to be removed then: that goes with the work.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXCPU, SIGXFSZ};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Those that end it.
const ENDING: [i32; 4] = [SIGINT, SIGTERM, SIGHUP, SIGXCPU];

/// Waits for them.
pub(super) struct Endings {
    signals: Vec<(SignalKind, Signal)>,
}

impl Endings {
    /// From now on they are waited for; those that are ignored are not.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn new() -> io::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = ignored(&status);
        // Obeyed as the error of the write that it stands for (setrlimit(2), RLIMIT_FSIZE), in place of our end.
        drop(signal(SignalKind::from_raw(SIGXFSZ))?);
        let signals = ENDING
            .into_iter()
            .filter(|number| ignored & 1 << (number - 1) == 0)
            .map(SignalKind::from_raw)
            .map(|kind| Ok((kind, signal(kind)?)))
            .collect::<io::Result<_>>()?;
        Ok(Self { signals })
    }

    /// The first that comes.
    pub(super) async fn next(&mut self) -> SignalKind {
        poll_fn(|cx| {
            for (kind, signal) in &mut self.signals {
                if signal.poll_recv(cx).is_ready() {
                    return Poll::Ready(*kind);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// A bit for each signal that is ignored, from `/proc/self/status` (proc(5), `SigIgn`); none where that cannot be read.
fn ignored(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read() {
        let status = "Name:\tfaam\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001003\nSigCgt:\t0000000000000000\n";
        let ignored = ignored(status);
        let is_ignored = |number: i32| ignored & 1 << (number - 1) != 0;
        assert!(is_ignored(SIGHUP) && is_ignored(SIGINT) && !is_ignored(SIGTERM));
        assert_eq!(super::ignored(""), 0);
    }
}
