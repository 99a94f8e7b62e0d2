//! Outflow: an answer on its way from whoever makes it to a caller who reads at a pace of its own.
//!
//! Owns the bytes between the two. What is made goes into a window in memory; a caller
//! that does not read while its own body still arrives (many clients write everything
//! before they read) gets the rest spilled to a file, so that its body keeps flowing. Once
//! the body has arrived, the maker waits instead.
//!
//! Invariants: bytes leave in the order in which they came; the window holds at most
//! [`WINDOW_BYTES`] and one chunk; a caller that takes nothing for `stall_max` while there is
//! something for it loses its stream and everything that is held for it; an answer that
//! was not finished ends in an error, never in an end. It knows no HTTP but the body trait.

use std::collections::VecDeque;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::body::{BodyError, PIECE_BYTES_MAX, held};
use super::digest::{Algorithm, ReprDigest};
use super::spill::Spill;
use crate::admission::AdmissionPermit;

/// Bytes of an answer that wait in memory for a caller to read them. An answer that fits is finished before its head is
/// sent.
pub const WINDOW_BYTES: usize = 256 << 10;

/// What an outflow is made with.
#[derive(Clone, Debug)]
pub(super) struct OutflowOptions {
    /// How long a full window waits for its caller before it spills, while the body still arrives.
    pub(super) spill_after: Duration,
    /// How long a caller may take nothing.
    pub(super) stall_max: Duration,
    /// Where spills are made.
    pub(super) spill_dir: Arc<Path>,
    /// Nobody reads before the answer is finished: what does not fit is spilled at once.
    pub(super) whole: bool,
}

/// Why bytes could not go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum OutflowError {
    /// The caller has hung up.
    #[error("the caller has gone")]
    Gone,
    /// The caller read nothing for too long.
    #[error("the caller does not read")]
    Stalled,
    /// Nobody may read yet, and a bound on spilled bytes is reached.
    #[error("an answer that must be whole before it is sent has no room")]
    Full,
    /// The spill failed where it cannot be done without.
    #[error("the spill file failed")]
    Broken,
}

/// The maker's end. When the last hold of it is dropped without [`Outflow::finish`] the answer is broken off.
#[derive(Debug)]
pub(super) struct Outflow {
    shared: Arc<Shared>,
    /// Fed by whoever makes the answer, in its order; nobody else waits for it.
    digest: Mutex<Option<ReprDigest>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The caller took something, or has gone; the window has passed its bound; a spill has ended.
    changed: Notify,
    /// The window is full for the first time.
    overflow: Notify,
    options: OutflowOptions,
}

#[derive(Debug)]
struct State {
    /// Held until nobody will read any more: a connection may keep its end of a broken answer for long.
    permit: Option<Arc<AdmissionPermit>>,
    window: VecDeque<Bytes>,
    window_bytes: usize,
    /// Everything that was ever put in, and taken out.
    put: u64,
    taken: u64,
    /// Bytes go here while it is there, to keep the order.
    spill: Option<Spill>,
    /// Since when a full window has stood untouched.
    waiting_since: Option<Instant>,
    body_arrived: bool,
    end: Option<Result<Option<HeaderMap>, BodyError>>,
    gone: bool,
    waker: Option<Waker>,
}

impl State {
    fn enqueue(&mut self, bytes: Bytes) {
        self.window_bytes = self.window_bytes.saturating_add(bytes.len());
        self.window.push_back(bytes);
        if self.window_bytes >= WINDOW_BYTES && self.waiting_since.is_none() {
            self.waiting_since = Some(Instant::now());
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn is_empty(&self) -> bool {
        self.window.is_empty() && self.spill.is_none()
    }

    /// Lets go of everything that nobody will read.
    fn break_off(&mut self, why: BodyError) {
        self.window.clear();
        self.window_bytes = 0;
        self.spill = None;
        self.permit = None;
        self.end = Some(Err(why));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Outflow {
    /// An empty window.
    pub(super) fn new(options: OutflowOptions, permit: Arc<AdmissionPermit>) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    permit: Some(permit),
                    window: VecDeque::new(),
                    window_bytes: 0,
                    put: 0,
                    taken: 0,
                    spill: None,
                    waiting_since: None,
                    body_arrived: false,
                    end: None,
                    gone: false,
                    waker: None,
                }),
                changed: Notify::new(),
                overflow: Notify::new(),
                options,
            }),
            digest: Mutex::new(None),
        }
    }

    /// With a digest of all that is put in, where one is wanted.
    pub(super) fn digesting(mut self, wanted: Option<Algorithm>) -> Self {
        *self.digest.get_mut() = wanted.map(ReprDigest::new);
        self
    }

    /// `Repr-Digest` of all that was put in, once.
    pub(super) fn repr_digest(&self) -> Option<HeaderValue> {
        self.digest.lock().take()?.finish()
    }

    /// A second hold of the same outflow, for whoever watches it.
    pub(super) fn watch(&self) -> OutflowWatch {
        OutflowWatch(Arc::clone(&self.shared))
    }

    /// Puts the next bytes in, waiting for room where the caller has to make it.
    pub(super) async fn push(&self, bytes: Bytes) -> Result<(), OutflowError> {
        if bytes.is_empty() {
            return Ok(());
        }
        if let Some(digest) = &mut *self.digest.lock() {
            digest.update(&bytes);
        }
        enum Next {
            Wait(Instant),
            Begin(Arc<AdmissionPermit>),
            Write(super::spill::Part),
        }
        let shared = &*self.shared;
        loop {
            // Registered before the state is looked at: what changes after that wakes us.
            let changed = shared.changed.notified();
            let next = {
                let mut state = shared.state.lock();
                if state.gone {
                    return Err(OutflowError::Gone);
                }
                if matches!(state.end, Some(Err(_))) {
                    return Err(OutflowError::Broken);
                }
                let Some(permit) = state.permit.clone() else {
                    return Err(OutflowError::Broken);
                };
                let window_has_room = state.window_bytes < WINDOW_BYTES;
                // Set where it was not: a caller may have taken less than makes room.
                let waiting_since = *state.waiting_since.get_or_insert_with(Instant::now);
                let stalled_at = waiting_since + shared.options.stall_max;
                let body_arrived = state.body_arrived;
                match &mut state.spill {
                    None if window_has_room => {
                        state.waiting_since = None;
                        state.put = state.put.saturating_add(bytes.len() as u64);
                        state.enqueue(bytes);
                        if state.window_bytes >= WINDOW_BYTES {
                            shared.overflow.notify_one();
                        }
                        return Ok(());
                    }
                    None if shared.options.whole => Next::Begin(permit),
                    None if body_arrived => Next::Wait(stalled_at),
                    None => {
                        let spill_at = waiting_since + shared.options.spill_after;
                        if spill_at <= Instant::now() {
                            Next::Begin(permit)
                        } else {
                            Next::Wait(spill_at)
                        }
                    }
                    Some(spill) => match spill.reserve(bytes.len()) {
                        Some(part) => Next::Write(part),
                        None if shared.options.whole => return Err(OutflowError::Full),
                        None => Next::Wait(stalled_at),
                    },
                }
            };
            match next {
                Next::Begin(permit) => {
                    let dir = Arc::clone(&shared.options.spill_dir);
                    match Spill::create(dir, permit).await {
                        Ok(spill) => {
                            shared.state.lock().spill = Some(spill);
                            tokio::spawn(refill(Arc::clone(&self.shared)));
                        }
                        Err(error) => self.without_spill(&error).await?,
                    }
                }
                Next::Write(part) => {
                    let written = part.write(bytes.clone()).await;
                    if self.wrote(bytes.len(), written.is_ok()) {
                        return Ok(());
                    }
                    if let Err(error) = written {
                        self.without_spill(&error).await?;
                    }
                }
                Next::Wait(until) => {
                    if timeout_at(until, changed).await.is_err() {
                        let mut state = shared.state.lock();
                        let since = state.waiting_since;
                        let stalled =
                            since.is_some_and(|at| at.elapsed() >= shared.options.stall_max);
                        if stalled {
                            state.break_off(BodyError::Stalled);
                            return Err(OutflowError::Stalled);
                        }
                    }
                }
            }
        }
    }

    /// Whether `length` bytes are in the spill now.
    fn wrote(&self, length: usize, written: bool) -> bool {
        let mut state = self.shared.state.lock();
        // Where the caller has gone the spill has as well.
        let Some(spill) = &mut state.spill else {
            return false;
        };
        if written {
            spill.wrote();
            state.put = state.put.saturating_add(length as u64);
        } else {
            spill.gave_up();
        }
        drop(state);
        self.shared.changed.notify_waiters();
        written
    }

    /// The disk is full or broken: the caller has to read, or an answer that must be whole cannot be.
    async fn without_spill(&self, error: &std::io::Error) -> Result<(), OutflowError> {
        tracing::warn!(%error, "an answer could not be spilled; its caller's body waits");
        if self.shared.options.whole {
            return Err(OutflowError::Broken);
        }
        let before = self.shared.state.lock().taken;
        self.watch().progress(before).await
    }

    /// The caller's body has arrived: from here on it can read, and is waited for.
    pub(super) fn body_arrived(&self) {
        self.shared.state.lock().body_arrived = true;
    }

    /// Nothing follows but, where the answer was made, these trailers.
    pub(super) fn finish(&self, end: Result<Option<HeaderMap>, BodyError>) {
        let mut state = self.shared.state.lock();
        match end {
            Ok(trailers) => {
                if state.end.is_none() {
                    state.end = Some(Ok(trailers));
                }
                if let Some(waker) = state.waker.take() {
                    waker.wake();
                }
            }
            Err(why) => state.break_off(why),
        }
        drop(state);
        self.shared.changed.notify_waiters();
    }
}

impl Drop for Outflow {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if state.end.is_none() {
            state.break_off(BodyError::Broken);
            drop(state);
            self.shared.changed.notify_waiters();
        }
    }
}

/// Brings spilled bytes back into the window as the caller makes room, until there are none.
async fn refill(shared: Arc<Shared>) {
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

/// Looks on: when to begin sending, when the caller has gone, when everything has left.
#[derive(Clone, Debug)]
pub(super) struct OutflowWatch(Arc<Shared>);

impl OutflowWatch {
    /// The window is full: the answer is a long one.
    pub(super) async fn overflow(&self) {
        self.0.overflow.notified().await;
    }

    /// Takes all of an answer that fits the window and is finished.
    pub(super) fn take_window(&self) -> Vec<Bytes> {
        let mut state = self.0.state.lock();
        state.window_bytes = 0;
        state.taken = state.put;
        state.window.drain(..).collect()
    }

    /// Bytes that were ever put in.
    pub(super) fn put(&self) -> u64 {
        self.0.state.lock().put
    }

    /// The reader's end. Whatever the connection has taken and not sent holds the permit as well.
    pub(super) fn body(&self) -> OutflowBody {
        OutflowBody {
            shared: Arc::clone(&self.0),
            trailers_sent: false,
        }
    }

    /// Waits until the caller has gone.
    pub(super) async fn gone(&self) {
        loop {
            let changed = self.0.changed.notified();
            if self.0.state.lock().gone {
                return;
            }
            changed.await;
        }
    }

    /// Waits until everything has left, the caller has gone, or it takes nothing for too long: then everything
    /// that was kept for it is let go.
    pub(super) async fn drained(&self) -> Result<(), OutflowError> {
        loop {
            let taken = {
                let state = self.0.state.lock();
                if state.taken == state.put {
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

    /// Waits until more than `before` bytes were taken.
    async fn progress(&self, before: u64) -> Result<(), OutflowError> {
        let until = Instant::now() + self.0.options.stall_max;
        loop {
            let changed = self.0.changed.notified();
            {
                let state = self.0.state.lock();
                // It may have taken the last of it and gone, which is all that was wanted of it.
                if state.taken > before {
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

/// The answer as the connection reads it.
#[derive(Debug)]
pub(super) struct OutflowBody {
    shared: Arc<Shared>,
    trailers_sent: bool,
}

impl HttpBody for OutflowBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut state = self.shared.state.lock();
        if let Some(chunk) = state.window.front_mut() {
            let piece = chunk.split_to(chunk.len().min(PIECE_BYTES_MAX));
            if chunk.is_empty() {
                state.window.pop_front();
            }
            state.window_bytes = state.window_bytes.saturating_sub(piece.len());
            state.taken = state.taken.saturating_add(piece.len() as u64);
            state.waiting_since = None;
            let permit = state.permit.clone();
            drop(state);
            self.shared.changed.notify_waiters();
            let piece = match permit {
                Some(permit) => held(piece, permit),
                None => piece,
            };
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if state.spill.is_none() || matches!(state.end, Some(Err(_))) {
            match &mut state.end {
                Some(Ok(trailers)) => {
                    let trailers = trailers.take();
                    drop(state);
                    let first = !std::mem::replace(&mut self.trailers_sent, true);
                    let trailers = trailers.filter(|_| first);
                    return Poll::Ready(trailers.map(|map| Ok(Frame::trailers(map))));
                }
                Some(Err(why)) => return Poll::Ready(Some(Err(*why))),
                None => {}
            }
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        let state = self.shared.state.lock();
        state.is_empty() && matches!(state.end, Some(Ok(None)))
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.shared.state.lock();
        match state.end {
            Some(Ok(_)) => SizeHint::with_exact(state.put.saturating_sub(state.taken)),
            _ => SizeHint::default(),
        }
    }
}

impl Drop for OutflowBody {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.gone = true;
        state.permit = None;
        state.window.clear();
        state.window_bytes = 0;
        state.spill = None;
        drop(state);
        self.shared.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
