//! Surprise removal: a function that is pulled out, and put in again a while later.
//!
//! Owns who the function's client is and whether one may be. Invariant: while the function is out no client is served.
//! It does not know what a client is told; its end is for the socket's thread to see.
//!
//! Lock order: the one lock is a leaf.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

#[derive(Debug, Default)]
struct State {
    client: Option<UnixStream>,
    out_until: Option<Instant>,
}

/// Whether the function is in its slot.
#[derive(Debug, Default)]
pub(crate) struct Removal(Mutex<State>);

impl Removal {
    /// A client comes. `false` if the function is out: it must not be served.
    pub(crate) fn admits(&self, client: &UnixStream) -> bool {
        let mut state = self.0.lock();
        if state.out_until.is_some_and(|until| Instant::now() < until) {
            return false;
        }
        state.out_until = None;
        // Without a descriptor for a second handle there is nobody to cut off, and nothing else is lost.
        state.client = client.try_clone().ok();
        true
    }

    /// The client has gone.
    pub(crate) fn leave(&self) {
        self.0.lock().client = None;
    }

    /// Pulls the function out for so long.
    pub(crate) fn pull(&self, time: Duration) {
        let mut state = self.0.lock();
        state.out_until = Some(Instant::now() + time);
        if let Some(client) = state.client.take() {
            // One that has gone already is as good.
            let _ = client.shutdown(Shutdown::Both);
        }
    }

    /// Puts it in again.
    pub(crate) fn put_back(&self) {
        self.0.lock().out_until = None;
    }
}
