//! A second hold of an outflow, for whoever looks on: when to begin sending, when the caller has gone, when everything
//! has left.
//!
//! Invariant: whoever waits here for a caller ends once it takes nothing for `stall_max`. It moves no bytes but those of
//! an answer that is whole.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::{BodyError, OutflowBody, OutflowError, Shared};

/// See the module's head.
#[derive(Clone, Debug)]
pub(in crate::http) struct OutflowWatch(Arc<Shared>);

impl OutflowWatch {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// The window is full: the answer is a long one.
    pub(in crate::http) async fn overflow(&self) {
        self.0.overflow.notified().await;
    }

    /// Takes all of an answer that is finished and that nobody reads yet; `None` where some of it is on disk.
    pub(in crate::http) fn take_whole(&self) -> Option<Vec<Bytes>> {
        let mut state = self.0.state.lock();
        if state.spill.is_some() {
            return None;
        }
        state.window_bytes = 0;
        state.taken = state.put;
        Some(state.window.drain(..).collect())
    }

    /// Bytes that were ever put in.
    pub(in crate::http) fn put(&self) -> u64 {
        self.0.state.lock().put
    }

    /// The reader's end. Whatever the connection has taken and not sent holds the permit as well.
    pub(in crate::http) fn body(&self) -> OutflowBody {
        OutflowBody::new(Arc::clone(&self.0))
    }

    /// Waits until the caller has gone.
    pub(in crate::http) async fn gone(&self) {
        loop {
            let changed = self.0.changed.notified();
            if self.0.state.lock().gone {
                return;
            }
            changed.await;
        }
    }

    /// Waits until everything has left and the end as well, the caller has gone, or it takes nothing for too long: then
    /// everything that was kept for it is let go.
    pub(in crate::http) async fn drained(&self) -> Result<(), OutflowError> {
        loop {
            let taken = {
                let state = self.0.state.lock();
                if state.delivered {
                    return Ok(());
                }
                if state.gone {
                    return Err(OutflowError::Gone);
                }
                if matches!(state.end, Some(Err(_))) {
                    return Err(OutflowError::Broken);
                }
                state.taken
            };
            self.progress(taken).await?;
        }
    }

    /// Waits until more than `before` bytes were taken, or the end.
    pub(super) async fn progress(&self, before: u64) -> Result<(), OutflowError> {
        let until = Instant::now() + self.0.options.stall_max;
        loop {
            let changed = self.0.changed.notified();
            {
                let state = self.0.state.lock();
                // It may have taken the last of it and gone, which is all that was wanted of it.
                if state.taken > before || state.delivered {
                    return Ok(());
                }
                if state.gone {
                    return Err(OutflowError::Gone);
                }
            }
            if timeout_at(until, changed).await.is_err() {
                self.0.state.lock().break_off(BodyError::Stalled);
                self.0.changed.notify_waiters();
                return Err(OutflowError::Stalled);
            }
        }
    }
}
