//! One HTTP/2 stream's answer: ended by itself when its peer takes nothing of it.
//!
//! Flow control lets a peer stall one stream while the connection lives on with the others, so the connection's own
//! time-out never sees it. Invariants: a stream ends only after the connection has let go of every byte of its answer;
//! one that lets go of its bytes more slowly than the least rate is reset, and what it held goes back; the other streams
//! of its connection go on. It knows no routes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use hyper::rt::Executor;
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::info;

use super::limits::HttpLimits;
use super::pace::Pace;
use crate::metrics::Metrics;

/// Most bytes of one stream that are handed to the connection at once: what fits one DATA frame, whose largest size is
/// this unless a peer asks for more (RFC 9113, 6.5.2).
pub(super) const HTTP2_PIECE_BYTES_MAX: usize = 16 << 10;

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
    /// How fast the connection lets go of them.
    pace: Pace,
    /// Who waits until no piece is left.
    flushed: Option<Waker>,
}

impl StreamProgress {
    fn new(pace: Pace) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Progress {
            pieces: 0,
            pace,
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
        progress.pace.wait(Instant::now());
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

    /// When the peer will have been too slow; `None` while the connection holds nothing.
    fn late_at(&self) -> Option<Instant> {
        self.0.lock().pace.late_at()
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
        let now = Instant::now();
        progress.pace.moved(self.bytes.len(), now);
        if progress.pieces == 0 {
            progress.pace.rest(now);
        }
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
    limits: HttpLimits,
    metrics: Arc<Metrics>,
}

impl StreamExecutor {
    pub(super) const fn new(limits: &HttpLimits, metrics: Arc<Metrics>) -> Self {
        Self {
            limits: *limits,
            metrics,
        }
    }

    fn pace(&self) -> Pace {
        Pace::new(
            self.limits.write_stall,
            self.limits.answer_bytes_per_second_min,
        )
    }
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let progress = StreamProgress::new(self.pace());
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
            let Some(limit) = this.progress.late_at() else {
                this.timer = None;
                return Poll::Pending;
            };
            let timer = this
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(limit)));
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= limit {
                info!(
                    limit_ms = this.executor.limits.write_stall.as_millis(),
                    bytes_per_second_min = this.executor.limits.answer_bytes_per_second_min,
                    "the peer takes too little of an HTTP/2 stream: it is reset"
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
    use std::time::Duration;

    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    fn executor(write_stall: Duration, answer_bytes_per_second_min: u64) -> StreamExecutor {
        let limits = HttpLimits {
            write_stall,
            answer_bytes_per_second_min,
            ..HttpLimits::default()
        };
        StreamExecutor::new(&limits, Arc::new(Metrics::new()))
    }

    #[tokio::test]
    async fn a_stream_whose_bytes_nobody_takes_ends_no_sooner_than_the_limit_after_the_last_move() {
        const LIMIT: Duration = Duration::from_millis(100);
        let executor = executor(LIMIT, 0);
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
    async fn a_stream_that_is_taken_in_drips_ends() {
        const LIMIT: Duration = Duration::from_millis(100);
        let executor = executor(LIMIT, 4096);
        let (ended, end) = tokio::sync::oneshot::channel::<()>();
        executor.execute(async move {
            let _ended = ended;
            let stream = StreamProgress::current().expect("in a stream's task");
            let mut drip = tokio::time::interval(LIMIT / 10);
            // A piece is always there, and the one before it always taken.
            let mut _held = stream.hand_out(Bytes::from_static(b"drip"));
            loop {
                drip.tick().await;
                _held = stream.hand_out(Bytes::from_static(b"drip"));
            }
        });
        let end = tokio::time::timeout(200 * LIMIT, end).await;
        assert!(end.expect("in time").is_err(), "its task was dropped");
    }

    #[tokio::test]
    async fn a_stream_that_holds_nothing_is_never_ended() {
        let executor = executor(Duration::ZERO, 4096);
        let (ended, mut end) = tokio::sync::oneshot::channel::<()>();
        let (go_on, waits) = tokio::sync::oneshot::channel::<()>();
        let (begun, begins) = tokio::sync::oneshot::channel::<()>();
        executor.execute(async move {
            let stream = StreamProgress::current().expect("in a stream's task");
            drop(stream.hand_out(Bytes::from_static(b"piece")));
            std::future::poll_fn(|cx| stream.poll_flushed(cx)).await;
            begun.send(()).expect("it is waited for");
            let _ = waits.await;
            drop(ended);
        });
        begins.await.expect("it has begun");
        // As often as it takes a task that would be ended.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(end.try_recv(), Err(TryRecvError::Empty));
        go_on.send(()).expect("it still waits");
        assert!(end.await.is_err());
    }
}
