//! A response body of chunks whose length is known.
//!
//! Invariants: it announces its exact length; its bytes hold the admission permit and their own memory's charge until
//! the connection has let go of them; how it went out is told once. It knows no compression.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::body::BodyError;
use crate::admission::AdmissionPermit;

/// How an answer went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The connection has taken its last byte.
    Whole,
    /// The deadline passed before.
    Late,
    /// The connection let go of it before.
    Cut,
}

/// A response body of chunks. `F` is told once how it went out.
#[derive(Debug)]
pub struct ChunkedBody<F: FnOnce(Sent)> {
    /// None is empty.
    chunks: VecDeque<Bytes>,
    remaining: u64,
    deadline: Option<Instant>,
    /// Whether the connection has asked for the first piece.
    begun: bool,
    /// The deadline was seen to be over.
    late: bool,
    piece_bytes_max: usize,
    on_end: Option<F>,
}

impl<F: FnOnce(Sent)> ChunkedBody<F> {
    /// `chunks` in order. A chunk's memory goes back to the permit's budget when its last byte has left, and the
    /// permit with the last chunk's.
    ///
    /// The bytes hold it, not this body: a connection drops the body as soon as it has taken the last piece, which
    /// a slow reader then leaves in its write queue. It gives at most `piece_bytes_max` at once. A chunk is one allocation: sending half of it frees nothing, so
    /// half of it is not given back.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the body owns the permit from here on; the caller's hold must end with the call"
    )]
    pub fn new(
        chunks: Vec<Bytes>,
        piece_bytes_max: usize,
        deadline: Option<Instant>,
        permit: Arc<AdmissionPermit>,
        on_end: F,
    ) -> Self {
        let remaining = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let chunks = chunks.into_iter().filter(|chunk| !chunk.is_empty());
        let charged = chunks.map(|bytes| {
            Bytes::from_owner(ChargedChunk {
                bytes,
                permit: Arc::clone(&permit),
            })
        });
        let mut body = Self {
            chunks: charged.collect(),
            remaining,
            deadline,
            begun: false,
            late: false,
            piece_bytes_max: piece_bytes_max.max(1),
            on_end: Some(on_end),
        };
        // Nobody asks for a piece of nothing.
        if remaining == 0 {
            body.end(Sent::Whole);
        }
        body
    }

    fn end(&mut self, sent: Sent) {
        if let Some(on_end) = self.on_end.take() {
            on_end(sent);
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

impl<F: FnOnce(Sent)> Drop for ChunkedBody<F> {
    fn drop(&mut self) {
        self.end(Sent::Cut);
    }
}

impl<F: FnOnce(Sent) + Unpin> HttpBody for ChunkedBody<F> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // The first piece leaves with the head: an error in its place would end the connection without any answer.
        if self.begun
            && self.remaining > 0
            && self
                .deadline
                .is_some_and(|deadline| deadline <= Instant::now())
        {
            // A connection asks for several pieces before it sends any, and an error drops what it has not sent: with nothing
            // to send for one look it sends the head and what it has.
            if !self.late {
                self.late = true;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.chunks.clear();
            self.end(Sent::Late);
            return Poll::Ready(Some(Err(BodyError::Deadline)));
        }
        self.begun = true;
        let piece_bytes_max = self.piece_bytes_max;
        let Some(chunk) = self.chunks.front_mut() else {
            return Poll::Ready(None);
        };
        let piece = chunk.split_to(chunk.len().min(piece_bytes_max));
        if chunk.is_empty() {
            self.chunks.pop_front();
        }
        self.remaining = self.remaining.saturating_sub(piece.len() as u64);
        if self.remaining == 0 {
            self.end(Sent::Whole);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt;

    use super::super::body::PIECE_BYTES_MAX;
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

    async fn data(body: &mut (impl HttpBody<Data = Bytes, Error = BodyError> + Unpin)) -> Bytes {
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
        let mut body = ChunkedBody::new(
            chunks,
            PIECE_BYTES_MAX,
            None,
            permit(&admission, 4 + LARGE),
            |_| {},
        );
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
    async fn a_body_that_is_dropped_unsent_gives_everything_back_and_says_so() {
        let admission = admission(100);
        let chunks = vec![Bytes::from_static(b"un"), Bytes::from_static(b"sent")];
        let permit = permit(&admission, 10);
        let (ends, mut ended) = tokio::sync::oneshot::channel();
        let tell = |sent| ends.send(sent).expect("it is waited for");
        let mut body = ChunkedBody::new(chunks, 4, None, permit, tell);
        assert_eq!(data(&mut body).await, &b"un"[..]);
        assert!(ended.try_recv().is_err(), "not yet");
        drop(body);
        assert_eq!(ended.try_recv(), Ok(Sent::Cut));
        assert_eq!((admission.memory_bytes(), admission.in_flight()), (0, 0));
    }

    #[tokio::test]
    async fn a_body_past_its_deadline_breaks_off_between_two_pieces() {
        let admission = admission(2 * PIECE_BYTES_MAX);
        let chunks = vec![Bytes::from(vec![7; PIECE_BYTES_MAX + 1])];
        let later = Instant::now() + Duration::from_secs(3600);
        let permit = permit(&admission, PIECE_BYTES_MAX + 1);
        let (ends, mut ended) = tokio::sync::oneshot::channel();
        let tell = |sent| ends.send(sent).expect("it is waited for");
        let mut body = ChunkedBody::new(chunks, PIECE_BYTES_MAX, Some(later), permit, tell);
        assert_eq!(data(&mut body).await.len(), PIECE_BYTES_MAX);
        body.deadline = Some(Instant::now());
        assert_eq!(
            body.frame().await.expect("a frame").expect_err("late"),
            BodyError::Deadline
        );
        assert_eq!(ended.try_recv(), Ok(Sent::Late));
        assert_eq!((admission.memory_bytes(), admission.in_flight()), (0, 0));
    }

    #[tokio::test]
    async fn a_connection_sends_the_head_and_the_first_piece_before_it_breaks_off() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let admission = admission(64);
        let permit = permit(&admission, 8);
        let service = hyper::service::service_fn(move |_| {
            let chunks = vec![Bytes::from_static(b"late"), Bytes::from_static(b"rest")];
            let (permit, now) = (Arc::clone(&permit), Some(Instant::now()));
            let body = ChunkedBody::new(chunks, 4, now, permit, |_| {});
            std::future::ready(Ok::<_, std::convert::Infallible>(hyper::Response::new(
                body,
            )))
        });
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(hyper_util::rt::TokioIo::new(server), service);
        let served = tokio::spawn(connection);
        let request = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n";
        client.write_all(request).await.expect("it is read");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.expect("it is closed");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
        assert!(answer.ends_with("late"), "{answer:?}");
        assert!(served.await.expect("no panic").is_err(), "it broke off");
    }

    #[tokio::test]
    async fn an_answer_is_never_without_its_first_piece_however_late_it_is() {
        let admission = admission(100);
        let chunks = vec![Bytes::from_static(b"late")];
        let (ends, mut ended) = tokio::sync::oneshot::channel();
        let tell = |sent| ends.send(sent).expect("it is waited for");
        let (now, permit) = (Instant::now(), permit(&admission, 4));
        let mut body = ChunkedBody::new(chunks, PIECE_BYTES_MAX, Some(now), permit, tell);
        assert_eq!(data(&mut body).await, &b"late"[..]);
        // Its connection need not ask again.
        assert_eq!(ended.try_recv(), Ok(Sent::Whole));
        assert!(body.frame().await.is_none());
    }
}
