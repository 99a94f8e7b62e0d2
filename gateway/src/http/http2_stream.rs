//! One HTTP/2 stream's answer: ended by itself when its peer takes nothing of it.
//!
//! Flow control lets a peer stall one stream while the connection lives on with the others, so the connection's own
//! time-out never sees it. Invariants: a stream ends only after the connection has let go of every byte of its answer;
//! one that lets go of nothing for the write-stall limit is reset, and what it held goes back; the other streams of its
//! connection go on. It knows no routes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::rt::Executor;
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::info;

use crate::metrics::Metrics;

/// Most bytes of one stream that are handed to the connection at once: what has to be taken within the write-stall limit.
pub(super) const HTTP2_PIECE_BYTES_MAX: usize = 64 << 10;

tokio::task_local! {
    /// The stream whose task this is.
    static STREAM: Arc<StreamProgress>;
}

/// Which of a stream's bytes the connection still holds.
#[derive(Debug)]
pub(super) struct StreamProgress(Mutex<Progress>);

#[derive(Debug)]
struct Progress {
    /// Pieces that the connection holds.
    pieces: usize,
    /// When the last piece went either way.
    moved: Instant,
    /// Who waits until no piece is left.
    flushed: Option<Waker>,
}

impl StreamProgress {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Progress {
            pieces: 0,
            moved: Instant::now(),
            flushed: None,
        })))
    }

    /// That of the task in which this is called; `None` outside an HTTP/2 stream's.
    pub(super) fn current() -> Option<Arc<Self>> {
        STREAM.try_with(Arc::clone).ok()
    }

    /// `bytes` as a piece that is counted until the connection has dropped it.
    pub(super) fn hand_out(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        let mut progress = self.0.lock();
        progress.pieces += 1;
        progress.moved = Instant::now();
        drop(progress);
        Bytes::from_owner(Piece {
            bytes,
            stream: Arc::clone(self),
        })
    }

    /// Ready once the connection holds no piece.
    pub(super) fn poll_flushed(&self, cx: &Context<'_>) -> Poll<()> {
        let mut progress = self.0.lock();
        if progress.pieces == 0 {
            return Poll::Ready(());
        }
        progress.flushed = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Since when nothing has moved while the connection holds pieces.
    fn stalled_since(&self) -> Option<Instant> {
        let progress = self.0.lock();
        (progress.pieces > 0).then_some(progress.moved)
    }
}

struct Piece {
    bytes: Bytes,
    stream: Arc<StreamProgress>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut progress = self.stream.0.lock();
        progress.pieces = progress.pieces.saturating_sub(1);
        progress.moved = Instant::now();
        let waker = progress.flushed.take();
        drop(progress);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Spawns the tasks of a connection's streams, each under its own time-out.
#[derive(Clone, Debug)]
pub(super) struct StreamExecutor {
    write_stall: Duration,
    metrics: Arc<Metrics>,
}

impl StreamExecutor {
    pub(super) const fn new(write_stall: Duration, metrics: Arc<Metrics>) -> Self {
        Self {
            write_stall,
            metrics,
        }
    }
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let progress = StreamProgress::new();
        let watched = WatchedStream {
            stream: Box::pin(stream),
            progress: Arc::clone(&progress),
            executor: self.clone(),
            timer: None,
        };
        tokio::spawn(STREAM.scope(progress, watched));
    }
}

/// A stream's task. Its end drops the stream, which resets it where it is not complete (and discards what is queued).
struct WatchedStream<F> {
    stream: Pin<Box<F>>,
    progress: Arc<StreamProgress>,
    executor: StreamExecutor,
    /// Armed while the connection holds pieces; looked at only when it fires.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<F: Future<Output = ()>> Future for WatchedStream<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        loop {
            let Some(since) = this.progress.stalled_since() else {
                this.timer = None;
                return Poll::Pending;
            };
            let limit = since + this.executor.write_stall;
            let timer = this
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(limit)));
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= limit {
                info!(
                    limit_ms = this.executor.write_stall.as_millis(),
                    "the peer takes nothing of an HTTP/2 stream: it is reset"
                );
                this.executor.metrics.connection_ended("stream-stall");
                return Poll::Ready(());
            }
            this.timer = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_whose_bytes_nobody_takes_ends_no_sooner_than_the_limit_after_the_last_move() {
        const LIMIT: Duration = Duration::from_millis(100);
        let executor = StreamExecutor::new(LIMIT, Arc::new(Metrics::new()));
        let (ended, end) = tokio::sync::oneshot::channel::<()>();
        let (pieces, mut held) = tokio::sync::mpsc::unbounded_channel();
        executor.execute(async move {
            let _ended = ended;
            let stream = StreamProgress::current().expect("in a stream's task");
            for _ in 0..2 {
                let piece = stream.hand_out(Bytes::from_static(b"piece"));
                pieces.send(piece).expect("taken");
            }
            std::future::pending::<()>().await;
        });
        let first = held.recv().await.expect("a piece");
        let _second = held.recv().await.expect("a piece");
        let moved = Instant::now();
        drop(first);
        assert!(end.await.is_err(), "its task was dropped");
        assert!(moved.elapsed() >= LIMIT);
    }

    #[tokio::test]
    async fn a_stream_that_holds_nothing_is_never_ended() {
        let executor = StreamExecutor::new(Duration::ZERO, Arc::new(Metrics::new()));
        let (ended, mut end) = tokio::sync::oneshot::channel::<()>();
        let (go_on, waits) = tokio::sync::oneshot::channel::<()>();
        executor.execute(async move {
            let stream = StreamProgress::current().expect("in a stream's task");
            drop(stream.hand_out(Bytes::from_static(b"piece")));
            std::future::poll_fn(|cx| stream.poll_flushed(cx)).await;
            let _ = waits.await;
            drop(ended);
        });
        tokio::task::yield_now().await;
        assert!(end.try_recv().is_err());
        go_on.send(()).expect("it still waits");
        assert!(end.await.is_err());
    }
}
