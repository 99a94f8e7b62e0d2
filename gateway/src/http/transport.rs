//! A connection's bytes: TCP, TLS over it, or a Unix socket; under a time-out that needs the peer to make progress.
//!
//! Invariants: silence before the first request, and bytes that the peer takes more slowly than the least rate, each end
//! the connection; one that answered a peer who may still be sending is closed on our side first, and read on within
//! bounds. It knows no HTTP beyond the length of its preface.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_rustls::server::TlsStream;

use super::connections::Place;
use super::limits::HttpLimits;
use super::pace::Pace;

/// Bytes after which a connection has said which HTTP it speaks: HTTP/2's preface (RFC 9113, 3.4).
const PREFACE_BYTES: usize = 24;
/// Bytes that are read at once of what nobody wants.
const LINGER_READ_BYTES: usize = 16 << 10;

/// What carries a connection.
#[derive(Debug)]
pub(super) enum Transport {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

/// Calls the same method of whatever carries the connection.
macro_rules! carried {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self {
            Transport::Tcp($stream) => $call,
            Transport::Tls($stream) => $call,
            Transport::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        carried!(&mut *self, stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        carried!(&mut *self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        carried!(&mut *self, stream => Pin::new(stream).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        carried!(self, stream => stream.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        carried!(&mut *self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        carried!(&mut *self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

/// A stream whose peer has to make progress: with its first bytes, and whenever we have bytes for it.
#[derive(Debug)]
pub(super) struct PatientStream {
    stream: Transport,
    place: Arc<Place>,
    /// How fast the peer takes what is written; where its own body moves meanwhile, that counts as well.
    pace: Pace,
    /// Whether the place was told that something waits to be taken.
    writing: bool,
    /// Armed until the peer has said which HTTP it speaks; the HTTP layer's own time-outs follow.
    opening: Option<Pin<Box<Sleep>>>,
    opening_bytes: usize,
    /// Armed while the peer takes nothing, until its pace is too slow.
    late: Option<Pin<Box<Sleep>>>,
    /// Armed once our side is closed, where the peer's is read on.
    lingering: Option<Pin<Box<Sleep>>>,
    linger: Duration,
    linger_bytes: u64,
}

impl PatientStream {
    pub(super) fn new(stream: Transport, place: Arc<Place>, limits: &HttpLimits) -> Self {
        Self {
            stream,
            place,
            // A stream's own limit comes first: it knows whose stream it was.
            pace: Pace::new(limits.write_stall * 2, limits.answer_bytes_per_second_min),
            writing: false,
            opening: Some(Box::pin(sleep(limits.header_read))),
            opening_bytes: 0,
            late: None,
            lingering: None,
            linger: limits.refusal_drain,
            linger_bytes: limits.refusal_drain_bytes_max,
        }
    }

    /// Reads and forgets what the peer still sends, until it closes its side or the bounds of a refusal's drain.
    ///
    /// Why: a socket that is closed with bytes unread resets the connection, and a peer that is still sending sees the
    /// reset instead of the answer (RFC 9112, 9.6). The drain of the body does not see those who ask for a 100 and
    /// send without waiting for it: reading their body would grant it.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.linger;
        let lingering = self.lingering.get_or_insert_with(|| Box::pin(sleep(limit)));
        if lingering.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut scratch = [0; LINGER_READ_BYTES];
        while self.linger_bytes > 0 {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    let length = buffer.filled().len() as u64;
                    self.linger_bytes = self.linger_bytes.saturating_sub(length);
                }
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(())
    }

    /// Passes a write's result on, of which `moved` bytes went; while one waits the peer's pace counts.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        moved: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(written) = written {
            let now = Instant::now();
            self.pace.rest(now);
            self.pace.moved(written.as_ref().map_or(0, moved), now);
            return Poll::Ready(written);
        }
        self.pace.wait(Instant::now());
        if !std::mem::replace(&mut self.writing, true) {
            self.place.writing(true);
        }
        while let Some(at) = self.pace.late_at() {
            let late = self.late.get_or_insert_with(|| Box::pin(sleep_until(at)));
            // Something went since it was armed.
            if late.deadline() != at {
                late.as_mut().reset(at);
            }
            ready!(late.as_mut().poll(cx));
            if at <= Instant::now() {
                break;
            }
        }
        self.place.too_slow();
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the peer takes too few bytes",
        )))
    }

    /// Everything that was written has been taken.
    fn flushed(&mut self) {
        self.late = None;
        if std::mem::take(&mut self.writing) {
            self.place.writing(false);
        }
    }
}

impl AsyncRead for PatientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buffer);
        // Many callers write everything before they read: what they write is progress of theirs.
        if polled.is_ready() && this.pace.is_waiting() {
            let moved = buffer.filled().len().saturating_sub(before);
            this.pace.moved(moved, Instant::now());
        }
        if let Some(opening) = &mut this.opening {
            if polled.is_ready() {
                this.opening_bytes += buffer.filled().len().saturating_sub(before);
                if this.opening_bytes >= PREFACE_BYTES {
                    this.opening = None;
                }
            } else if opening.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the peer said nothing",
                )));
            }
        }
        polled
    }
}

impl AsyncWrite for PatientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // Whoever is answered has spoken.
        self.opening = None;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, written, |bytes| *bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.opening = None;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, written, |bytes| *bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    // Under TLS a write is taken into a buffer, and it is the flush that waits for the peer.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        ready!(self.watch(cx, flushed, |()| 0))?;
        self.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
            ready!(self.watch(cx, shut, |()| 0))?;
            if !self.place.lingers() {
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_linger(cx).map(Ok)
    }
}
