//! Bodies: what all of them share, and a request's that is drained where nobody reads it.
//!
//! Invariant: a request body that nobody read to its end is drained within bounds, so that the caller sees the answer.
//! It knows no compression.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use thiserror::Error;
use tokio::time::{Instant as TokioInstant, timeout_at};

use super::limits::HttpLimits;
use crate::admission::AdmissionPermit;

/// Most bytes that go to the connection at once. Above the connection's own write buffer, so that it takes one at a
/// time; small enough that a deadline is seen soon after it passed, and that a peer of HTTP/2 who grants no window makes
/// its connection keep little.
pub const PIECE_BYTES_MAX: usize = 64 << 10;

/// Why a response broke off after its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BodyError {
    /// The caller's deadline passed while the answer was sent.
    #[error("the deadline passed before the last byte had left")]
    Deadline,
    /// The caller did not read.
    #[error("the caller read nothing for too long")]
    Stalled,
    /// What was still to come could not be made.
    #[error("the answer broke off: what was still to come could not be made")]
    Broken,
}

/// `bytes`, holding the permit until the last copy of them is dropped.
pub(super) fn held(bytes: Bytes, permit: Arc<AdmissionPermit>) -> Bytes {
    struct Held(
        Bytes,
        #[expect(dead_code, reason = "held for its drop")] Arc<AdmissionPermit>,
    );
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    Bytes::from_owner(Held(bytes, permit))
}

/// Whether a request's body was read to its end.
#[derive(Debug, Default)]
pub struct BodyWatch {
    polled: AtomicBool,
    ended: AtomicBool,
    broken: AtomicBool,
}

impl BodyWatch {
    /// Whether nothing of the body is left unread.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// The same, and that it did not break off: otherwise what follows on its connection cannot be told from it.
    #[must_use]
    pub fn ended_well(&self) -> bool {
        self.ended() && !self.broken.load(Ordering::Acquire)
    }
}

/// A request body that drains itself when it is dropped unread.
///
/// Why: a caller that still writes while the connection closes sees a reset instead of the answer. A caller
/// that waits for `100 Continue` has sent nothing, and a poll would make hyper send one: it is left alone.
#[derive(Debug)]
pub struct WatchedBody {
    inner: Body,
    watch: Arc<BodyWatch>,
    expects_continue: bool,
    limits: HttpLimits,
}

impl WatchedBody {
    /// `expects_continue`: the request said `Expect: 100-continue`.
    #[must_use]
    pub fn new(inner: Body, expects_continue: bool, limits: HttpLimits) -> (Self, Arc<BodyWatch>) {
        let watch = Arc::new(BodyWatch::default());
        watch.ended.store(inner.is_end_stream(), Ordering::Release);
        (
            Self {
                inner,
                watch: Arc::clone(&watch),
                expects_continue,
                limits,
            },
            watch,
        )
    }
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.watch.polled.store(true, Ordering::Release);
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        // An error ends a body as well: there is nothing left to drain.
        let broken = matches!(polled, Poll::Ready(Some(Err(_))));
        if broken {
            self.watch.broken.store(true, Ordering::Release);
        }
        if broken || matches!(polled, Poll::Ready(None)) || self.inner.is_end_stream() {
            self.watch.ended.store(true, Ordering::Release);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for WatchedBody {
    fn drop(&mut self) {
        let untouched = self.expects_continue && !self.watch.polled.load(Ordering::Acquire);
        if self.watch.ended() || untouched {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(drain(
            std::mem::take(&mut self.inner),
            self.limits.refusal_drain_bytes_max,
            self.limits.refusal_drain,
        ));
    }
}

/// Reads and forgets, until the body's end, `bytes_max` or `time_max`.
async fn drain(mut body: Body, bytes_max: u64, time_max: Duration) {
    let deadline = TokioInstant::now() + time_max;
    let mut drained = 0u64;
    while drained < bytes_max {
        match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                drained = drained.saturating_add(frame.data_ref().map_or(0, Bytes::len) as u64);
            }
            Ok(Some(Err(_)) | None) | Err(_) => break,
        }
    }
    tracing::debug!(drained, "drained an unread body");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unread_body_is_drained_unless_it_was_never_asked_for() {
        let limits = HttpLimits::default();
        for (expects_continue, drained) in [(false, true), (true, false)] {
            let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
            let body = Body::new(OneShot(Some(sender)));
            let (watched, watch) = WatchedBody::new(body, expects_continue, limits);
            assert!(!watch.ended());
            drop(watched);
            // The drain polls, and the sender fires; without a drain the sender is dropped.
            assert_eq!(receiver.await.is_ok(), drained);
        }
    }

    /// Says when it is first polled, and ends.
    struct OneShot(Option<tokio::sync::oneshot::Sender<()>>);

    impl HttpBody for OneShot {
        type Data = Bytes;
        type Error = BodyError;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            if let Some(sender) = self.0.take() {
                let _ = sender.send(());
            }
            Poll::Ready(None)
        }
    }
}
