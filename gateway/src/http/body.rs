//! Bodies: a response of chunks whose length is known, and a request's body on its way in.
//!
//! Invariants: a response body announces its exact length, and its bytes hold the admission
//! permit and their own memory's charge until the connection has let go of them; a request
//! body that nobody read to its end is drained within bounds, so that the caller sees the
//! answer. It knows no compression.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use thiserror::Error;
use tokio::time::{Instant as TokioInstant, timeout_at};

use super::digest::DigestMismatch;
use super::limits::HttpLimits;
use crate::admission::AdmissionPermit;
use crate::error::{Problem, ProblemKind};

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

/// A response body of chunks.
#[derive(Debug)]
pub struct ChunkedBody {
    /// None is empty.
    chunks: VecDeque<Bytes>,
    remaining: u64,
    deadline: Option<Instant>,
    /// Whether the connection has asked for the first piece.
    begun: bool,
}

impl ChunkedBody {
    /// `chunks` in order. A chunk's memory goes back to the permit's budget when its last byte has left, and the
    /// permit with the last chunk's.
    ///
    /// The bytes hold it, not this body: a connection drops the body as soon as it has taken the last piece, which
    /// a slow reader then leaves in its write queue. A chunk is one allocation: sending half of it frees nothing, so
    /// half of it is not given back.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the body owns the permit from here on; the caller's hold must end with the call"
    )]
    pub fn new(
        chunks: Vec<Bytes>,
        deadline: Option<Instant>,
        permit: Arc<AdmissionPermit>,
    ) -> Self {
        let remaining = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let chunks = chunks.into_iter().filter(|chunk| !chunk.is_empty());
        let charged = chunks.map(|bytes| {
            Bytes::from_owner(ChargedChunk {
                bytes,
                permit: Arc::clone(&permit),
            })
        });
        Self {
            chunks: charged.collect(),
            remaining,
            deadline,
            begun: false,
        }
    }

    /// Bytes still to be sent.
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        self.remaining
    }
}

/// A chunk that is charged until the last piece of it is dropped, wherever that is.
#[derive(Debug)]
struct ChargedChunk {
    bytes: Bytes,
    permit: Arc<AdmissionPermit>,
}

impl AsRef<[u8]> for ChargedChunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for ChargedChunk {
    fn drop(&mut self) {
        // The memory first, its charge second: the budget never shows free what is not.
        let length = std::mem::take(&mut self.bytes).len();
        self.permit.shrink(length);
    }
}

impl HttpBody for ChunkedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // The first piece leaves with the head: an error in its place would end the connection without any answer.
        if self.begun
            && self.remaining > 0
            && self
                .deadline
                .is_some_and(|deadline| deadline <= Instant::now())
        {
            self.chunks.clear();
            return Poll::Ready(Some(Err(BodyError::Deadline)));
        }
        self.begun = true;
        let Some(chunk) = self.chunks.front_mut() else {
            return Poll::Ready(None);
        };
        let piece = chunk.split_to(chunk.len().min(PIECE_BYTES_MAX));
        if chunk.is_empty() {
            self.chunks.pop_front();
        }
        self.remaining = self.remaining.saturating_sub(piece.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

/// A request body on its way into a handler: bounded in bytes and in time.
///
/// Time counts only while the body is waited for; while we are busy the caller is not to blame.
#[derive(Debug)]
pub struct Intake {
    body: Body,
    limits: HttpLimits,
    received: u64,
    clock: WaitClock,
}

/// Time spent waiting for a caller, in all and since its last byte.
#[derive(Debug, Default)]
struct WaitClock {
    waited: Duration,
    silent: Duration,
}

/// A wait that counts until it is dropped, so also where the waiting is given up.
struct Wait<'a> {
    clock: &'a mut WaitClock,
    began: Instant,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let time = self.began.elapsed();
        self.clock.waited += time;
        self.clock.silent += time;
    }
}

impl Intake {
    /// Nothing is polled yet.
    #[must_use]
    pub fn new(body: Body, limits: HttpLimits) -> Self {
        Self {
            body,
            limits,
            received: 0,
            clock: WaitClock::default(),
        }
    }

    /// The next bytes; `None` at the end. May be dropped while it waits, and called again.
    ///
    /// # Errors
    /// A [`Problem`]: too large, too slow, or broken.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let patience = self.patience();
            let wait = Wait {
                clock: &mut self.clock,
                began: Instant::now(),
            };
            let until = wait.began + patience;
            let frame = timeout_at(until.into(), self.body.frame()).await;
            drop(wait);
            let Ok(frame) = frame else {
                return Err(self.too_slow());
            };
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| {
                if let Some(mismatch) = DigestMismatch::behind(&error) {
                    return Problem::new(ProblemKind::DigestMismatch, mismatch.to_string());
                }
                Problem::invalid_option(format!(
                    "the body broke off or is not framed as HTTP prescribes, after {} bytes; send it again",
                    self.received
                ))
            })?;
            // Trailers are of no use here.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if data.is_empty() {
                continue;
            }
            self.clock.silent = Duration::ZERO;
            self.received = self.received.saturating_add(data.len() as u64);
            if self.received > self.limits.body_bytes_max {
                return Err(too_large(self.limits.body_bytes_max, None));
            }
            return Ok(Some(data));
        }
    }

    /// Bytes so far.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Time spent waiting for bytes so far.
    #[must_use]
    pub const fn waited(&self) -> Duration {
        self.clock.waited
    }

    /// How long the next bytes may take: the idle limit, or what the least rate leaves.
    fn patience(&self) -> Duration {
        let rate = self.limits.body_bytes_per_second_min.max(1);
        let earned = self.limits.body_grace + Duration::from_secs(self.received / rate);
        let idle = self.limits.body_idle.saturating_sub(self.clock.silent);
        idle.min(earned.saturating_sub(self.clock.waited))
    }

    fn too_slow(&self) -> Problem {
        Problem::new(
            ProblemKind::TooSlow,
            format!(
                "{} bytes of the body came in {:.1} s: expected the next within {} s and {} bytes a second on average after \
                 the first {} s; send it without pauses",
                self.received,
                self.clock.waited.as_secs_f64(),
                self.limits.body_idle.as_secs(),
                self.limits.body_bytes_per_second_min,
                self.limits.body_grace.as_secs(),
            ),
        )
    }
}

/// The refusal of a body beyond `max` bytes.
#[must_use]
pub fn too_large(max: u64, announced: Option<u64>) -> Problem {
    let came = announced.map_or_else(
        || "more came".to_owned(),
        |length| format!("Content-Length says {length}"),
    );
    Problem::new(
        ProblemKind::TooLarge,
        format!("a body has at most {max} bytes, {came}; split the data"),
    )
    .with("body_bytes_max", max)
}

/// Whether a request's body was read to its end.
#[derive(Debug, Default)]
pub struct BodyWatch {
    polled: AtomicBool,
    ended: AtomicBool,
}

impl BodyWatch {
    /// Whether nothing of the body is left unread.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
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
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) || self.inner.is_end_stream() {
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
    use crate::admission::{Admission, AdmissionLimits};
    use crate::tenants::{Tenant, TenantLimits};

    fn admission(body_memory_bytes_max: usize) -> Admission {
        Admission::new(AdmissionLimits {
            body_memory_bytes_max,
            ..AdmissionLimits::default()
        })
    }

    fn permit(admission: &Admission, bytes: usize) -> Arc<AdmissionPermit> {
        Arc::new(
            admission
                .admit(&Tenant::demo(TenantLimits::default()), bytes)
                .expect("room"),
        )
    }

    async fn data(body: &mut ChunkedBody) -> Bytes {
        let frame = body.frame().await.expect("a frame").expect("no error");
        frame.into_data().expect("data")
    }

    #[tokio::test]
    async fn memory_goes_back_when_a_chunks_last_piece_is_dropped_and_the_permit_with_the_last() {
        const LARGE: usize = 2 * PIECE_BYTES_MAX + 6;
        let admission = admission(4 * PIECE_BYTES_MAX);
        let charged = || (admission.memory_bytes(), admission.in_flight());
        let large: Vec<_> = (0u8..251).cycle().take(LARGE).collect();
        let chunks = vec![
            Bytes::from_static(b"four"),
            Bytes::new(),
            Bytes::from(large.clone()),
            Bytes::new(),
        ];
        let mut body = ChunkedBody::new(chunks, None, permit(&admission, 4 + LARGE));
        assert_eq!(body.size_hint().exact(), Some(4 + LARGE as u64));
        let small = data(&mut body).await;
        assert_eq!(small, &b"four"[..]);
        let mut pieces = Vec::new();
        for (length, left) in [
            (PIECE_BYTES_MAX, PIECE_BYTES_MAX as u64 + 6),
            (PIECE_BYTES_MAX, 6),
            (6, 0),
        ] {
            assert!(!body.is_end_stream());
            let piece = data(&mut body).await;
            assert_eq!((piece.len(), body.remaining()), (length, left));
            pieces.push(piece);
        }
        assert!(pieces.concat() == large);
        // Here a connection drops the body; it has sent nothing yet.
        assert!(body.is_end_stream());
        assert!(body.frame().await.is_none());
        drop(body);
        assert_eq!(charged(), (4 + LARGE, 1));
        drop(small);
        assert_eq!(charged(), (LARGE, 1));
        let last = pieces.pop();
        drop(pieces);
        assert_eq!(charged(), (LARGE, 1), "its allocation is still there");
        drop(last);
        assert_eq!(charged(), (0, 0));
    }

    #[tokio::test]
    async fn a_body_that_is_dropped_unsent_gives_everything_back() {
        let admission = admission(100);
        let chunks = vec![Bytes::from_static(b"un"), Bytes::from_static(b"sent")];
        drop(ChunkedBody::new(chunks, None, permit(&admission, 10)));
        assert_eq!((admission.memory_bytes(), admission.in_flight()), (0, 0));
    }

    #[tokio::test]
    async fn a_body_past_its_deadline_breaks_off_between_two_pieces() {
        let admission = admission(2 * PIECE_BYTES_MAX);
        let chunks = vec![Bytes::from(vec![7; PIECE_BYTES_MAX + 1])];
        let later = Instant::now() + Duration::from_secs(3600);
        let permit = permit(&admission, PIECE_BYTES_MAX + 1);
        let mut body = ChunkedBody::new(chunks, Some(later), permit);
        assert_eq!(data(&mut body).await.len(), PIECE_BYTES_MAX);
        body.deadline = Some(Instant::now());
        assert_eq!(
            body.frame().await.expect("a frame").expect_err("late"),
            BodyError::Deadline
        );
        assert_eq!((admission.memory_bytes(), admission.in_flight()), (0, 0));
    }

    #[tokio::test]
    async fn an_answer_is_never_without_its_first_piece_however_late_it_is() {
        let admission = admission(100);
        let chunks = vec![Bytes::from_static(b"late")];
        let mut body = ChunkedBody::new(chunks, Some(Instant::now()), permit(&admission, 4));
        assert_eq!(data(&mut body).await, &b"late"[..]);
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_silent_body_is_too_slow() {
        struct Silent;
        impl HttpBody for Silent {
            type Data = Bytes;
            type Error = BodyError;
            fn poll_frame(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
                Poll::Pending
            }
        }
        let mut intake = Intake::new(
            Body::new(Silent),
            HttpLimits {
                body_idle: Duration::from_millis(1),
                ..HttpLimits::default()
            },
        );
        assert_eq!(
            intake.next().await.expect_err("silent").kind(),
            ProblemKind::TooSlow
        );
    }

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
