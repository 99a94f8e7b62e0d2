//! The way back from the disk: spilled bytes into the window, as the caller makes room.
//!
//! Invariant: one such task a spill, and it ends with it; bytes come back in the order in which they were written.

use std::sync::Arc;

use super::super::body::BodyError;
use super::{Shared, WINDOW_BYTES};

/// Brings spilled bytes back into the window as the caller makes room, until there are none.
pub(super) async fn refill(shared: Arc<Shared>) {
    loop {
        let changed = shared.changed.notified();
        let part = {
            let mut state = shared.state.lock();
            let room = state.window_bytes < WINDOW_BYTES;
            if state.gone {
                state.spill = None;
            }
            let Some(spill) = &state.spill else { return };
            match spill.next_part() {
                Some(part) if room => Some(part),
                Some(_) => None,
                // A write may be under way; it ends in a notification.
                None if room && spill.is_idle() => {
                    state.spill = None;
                    // The end may wait for this alone.
                    if let Some(waker) = state.waker.take() {
                        waker.wake();
                    }
                    drop(state);
                    shared.changed.notify_waiters();
                    return;
                }
                None => None,
            }
        };
        let Some((part, length)) = part else {
            changed.await;
            continue;
        };
        let read = part.read(length).await;
        let mut state = shared.state.lock();
        let Some(spill) = &mut state.spill else {
            return;
        };
        match read {
            Ok(bytes) => {
                spill.was_read(length);
                state.enqueue(bytes);
            }
            Err(error) => {
                tracing::error!(%error, "a spill could not be read back");
                state.break_off(BodyError::Broken);
                drop(state);
                shared.changed.notify_waiters();
                return;
            }
        }
    }
}
