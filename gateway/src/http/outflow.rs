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
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use self::reader::OutflowBody;
use self::refill::refill;
pub(super) use self::watch::OutflowWatch;
use super::body::BodyError;
use super::digest::{Algorithm, ReprDigest};
use super::spill::{self, Spill};
use crate::admission::{AdmissionPermit, Refusal};
use crate::limit_met::LimitMet;

mod reader;
mod refill;
mod watch;

/// Bytes of an answer that wait in memory for a caller to read them. An answer that fits is finished before its head is
/// sent.
pub const WINDOW_BYTES: usize = 256 << 10;

/// How long an answer that must be whole waits for a file, where as many are on disk as may be: who asks one thing after another
/// has its last answer before the disk of that is freed, which takes the file system a while.
const FILE_PLACE_MAX: Duration = Duration::from_secs(1);

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
    /// The same, and no more than so many bytes: none is spilled, what does not fit the window is charged to the permit.
    pub(super) kept_bytes_max: Option<usize>,
}

/// Why bytes could not go out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
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
    /// Nobody may read yet, and as many answers are on disk as may be.
    #[error("an answer that must be whole before it is sent has no file to wait in")]
    NoFile,
    /// It is to stay in memory, and is longer than it may be.
    #[error("the answer is longer than its front carries")]
    TooLong,
    /// It is to stay in memory, and there is none.
    #[error(transparent)]
    NoMemory(#[from] Refusal),
    /// The spill failed where it cannot be done without.
    #[error("the spill file failed")]
    Broken,
}

/// The maker's end. When it is dropped without [`Outflow::finish`] the answer is broken off.
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
    /// The end has gone out, after everything before it.
    delivered: bool,
    /// Told of it before anybody can see it.
    on_delivery: Option<OnDelivery>,
    gone: bool,
    waker: Option<Waker>,
}

/// What is done when an answer has gone out whole. Knows nothing of the outflow.
struct OnDelivery(Box<dyn FnOnce() + Send>);

impl std::fmt::Debug for OnDelivery {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("OnDelivery")
    }
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

    /// Nothing follows, not even trailers.
    fn is_at_end(&self) -> bool {
        self.is_empty() && matches!(self.end, Some(Ok(None)))
    }

    /// The end goes out now; what is to be done then, without the lock.
    fn deliver(&mut self) -> Option<OnDelivery> {
        self.delivered = true;
        self.on_delivery.take()
    }

    /// Lets go of everything that nobody will read.
    fn break_off(&mut self, why: BodyError) {
        self.window.clear();
        self.window_bytes = 0;
        self.spill = None;
        self.permit = None;
        self.on_delivery = None;
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
                    delivered: false,
                    on_delivery: None,
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
        OutflowWatch::new(Arc::clone(&self.shared))
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
            Begin(Arc<AdmissionPermit>, Instant),
            Write(spill::Part),
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
                if let Some(max) = shared.options.kept_bytes_max {
                    let kept = state.window_bytes.saturating_add(bytes.len());
                    if kept > max {
                        return Err(OutflowError::TooLong);
                    }
                    // The window is part of what admission took.
                    if kept > WINDOW_BYTES {
                        permit.grow(bytes.len().min(kept - WINDOW_BYTES))?;
                    }
                    state.waiting_since = None;
                    state.put = state.put.saturating_add(bytes.len() as u64);
                    state.enqueue(bytes);
                    return Ok(());
                }
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
                    None if shared.options.whole => Next::Begin(permit, stalled_at),
                    None if body_arrived => {
                        permit.meter().met(LimitMet::CallerSlow);
                        Next::Wait(stalled_at)
                    }
                    None => {
                        let spill_at = waiting_since + shared.options.spill_after;
                        if spill_at <= Instant::now() {
                            Next::Begin(permit, stalled_at)
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
                Next::Begin(permit, stalled_at) => {
                    permit.meter().met(LimitMet::Spill);
                    let place = match permit.try_spill_file() {
                        Some(place) => place,
                        None if shared.options.whole => {
                            permit.meter().met(LimitMet::SpillPlace);
                            let place = tokio::time::timeout(FILE_PLACE_MAX, permit.spill_file());
                            place.await.map_err(|_| OutflowError::NoFile)?
                        }
                        // Another's spill may end first, or this caller read.
                        None => {
                            permit.meter().met(LimitMet::SpillPlace);
                            tokio::select! {
                                place = permit.spill_file() => place,
                                () = self.wait(changed, stalled_at) => {
                                    self.check_stalled()?;
                                    continue;
                                }
                            }
                        }
                    };
                    let dir = Arc::clone(&shared.options.spill_dir);
                    match Spill::create(dir, permit, place).await {
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
                    self.wait(changed, until).await;
                    self.check_stalled()?;
                }
            }
        }
    }

    /// Waits for a change, until `until` at the latest.
    async fn wait(&self, changed: impl Future<Output = ()>, until: Instant) {
        // Whoever waits looks again, whatever it was.
        let _ = timeout_at(until, changed).await;
    }

    /// Breaks off where the caller has taken nothing for too long.
    fn check_stalled(&self) -> Result<(), OutflowError> {
        let shared = &*self.shared;
        let mut state = shared.state.lock();
        let since = state.waiting_since;
        if since.is_some_and(|at| at.elapsed() >= shared.options.stall_max) {
            state.break_off(BodyError::Stalled);
            return Err(OutflowError::Stalled);
        }
        Ok(())
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

    /// The caller's body has arrived: from here on it can read, and is waited for. Until now it may have been busy writing.
    pub(super) fn body_arrived(&self) {
        let mut state = self.shared.state.lock();
        state.body_arrived = true;
        state.waiting_since = None;
    }

    /// Nothing follows but these trailers. `on_delivery` is called once they, and all before them, have gone out; not
    /// where they never do.
    pub(super) fn finish(
        &self,
        trailers: Option<HeaderMap>,
        on_delivery: impl FnOnce() + Send + 'static,
    ) {
        let mut state = self.shared.state.lock();
        if state.end.is_none() {
            state.end = Some(Ok(trailers));
            state.on_delivery = Some(OnDelivery(Box::new(on_delivery)));
        }
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
        drop(state);
        self.shared.changed.notify_waiters();
    }

    /// What is still to come cannot be made.
    pub(super) fn break_off(&self, why: BodyError) {
        self.shared.state.lock().break_off(why);
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

#[cfg(test)]
mod tests;
