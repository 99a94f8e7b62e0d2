//! A bell: one thread sleeps by it, any thread rings it, and a ring is never lost.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// The bell. Lock order: a leaf.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    /// Wakes the sleeper, or spares it its next sleep.
    pub(crate) fn ring(&self) {
        let mut rung = self.rung.lock();
        if !*rung {
            *rung = true;
            self.changed.notify_one();
        }
    }

    /// Sleeps until the bell is rung, at most `time`. Whether it was rung.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let mut rung = self.rung.lock();
        if !*rung {
            self.changed.wait_for(&mut rung, time);
        }
        std::mem::take(&mut rung)
    }
}
