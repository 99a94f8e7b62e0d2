//! Connections: accepted up to a limit, HTTP/1.1 and HTTP/2, ended gracefully.
//!
//! Invariant: no peer holds a connection without making progress: silence before the
//! first request, between requests, in headers and under a response each end it. It
//! knows no routes.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::limits::{
    HEADERS_MAX, HTTP1_BUFFER_BYTES_MAX, HTTP2_CONNECTION_WINDOW_BYTES, HTTP2_KEEP_ALIVE,
    HTTP2_LOCAL_RESETS_MAX, HTTP2_PENDING_RESETS_MAX, HTTP2_SEND_BUFFER_BYTES,
    HTTP2_STREAM_WINDOW_BYTES, HTTP2_STREAMS_MAX, HttpLimits,
};

/// Pause after a failed accept (out of descriptors, say): others have to end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Bytes after which a connection has said which HTTP it speaks: HTTP/2's preface (RFC 9113, 3.4).
const PREFACE_BYTES: usize = 24;

/// A port that could not be listened on.
#[derive(Debug, Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error(
        "cannot listen on {address}: the port is taken; stop what holds it (ss -ltnp), or choose another with {flag}"
    )]
    Taken {
        /// Where.
        address: SocketAddr,
        /// The flag that chooses it.
        flag: &'static str,
    },
    /// Any other reason.
    #[error("cannot listen on {address}; choose another address with {flag}")]
    Other {
        /// Where.
        address: SocketAddr,
        /// The flag that chooses it.
        flag: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Listens on `address`; `flag` is what an error tells the operator to change.
///
/// # Errors
/// [`BindError`]
pub fn bind(address: SocketAddr, flag: &'static str) -> Result<StdTcpListener, BindError> {
    let listen = || {
        let listener = StdTcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::Taken { address, flag },
        _ => BindError::Other {
            address,
            flag,
            source,
        },
    })
}

/// Accepts until `stop`, then lets what is in flight end within `drain`.
pub async fn serve(
    listener: StdTcpListener,
    router: Router,
    limits: HttpLimits,
    stop: CancellationToken,
    drain: Duration,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let builder = connection_builder(&limits);
    let graceful = GracefulShutdown::new();
    let connections = Arc::new(Semaphore::new(limits.connections_max));
    loop {
        let slot = tokio::select! {
            () = stop.cancelled() => break,
            slot = Arc::clone(&connections).acquire_owned() => slot,
        };
        // Nobody closes the semaphore.
        let Ok(slot) = slot else { break };
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match stream {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "could not accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Answers are written whole; waiting for more to send would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "the peer is gone already");
            continue;
        }
        let io = TokioIo::new(PatientStream::new(stream, &limits));
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(builder.serve_connection(io, service).into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(error, "a connection ended early");
            }
            drop(slot);
        });
    }
    // New connections are refused from here on.
    drop(listener);
    let open = graceful.count();
    if timeout(drain, graceful.shutdown()).await.is_err() {
        warn!(
            open,
            drain_s = drain.as_secs(),
            "connections were still open at the drain limit"
        );
    }
    Ok(())
}

fn connection_builder(limits: &HttpLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HTTP1_BUFFER_BYTES_MAX.max(limits.header_bytes_max));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_pending_accept_reset_streams(HTTP2_PENDING_RESETS_MAX)
        .max_local_error_reset_streams(HTTP2_LOCAL_RESETS_MAX)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(HTTP2_SEND_BUFFER_BYTES)
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(HTTP2_KEEP_ALIVE)
        .keep_alive_timeout(HTTP2_KEEP_ALIVE);
    builder
}

/// A stream whose peer has to make progress: with its first bytes, and whenever we have bytes for it.
struct PatientStream {
    stream: TcpStream,
    write_stall: Duration,
    /// Armed until the peer has said which HTTP it speaks; the HTTP layer's own time-outs follow.
    opening: Option<Pin<Box<Sleep>>>,
    opening_bytes: usize,
    /// Armed while the peer takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl PatientStream {
    fn new(stream: TcpStream, limits: &HttpLimits) -> Self {
        Self {
            stream,
            write_stall: limits.write_stall,
            opening: Some(Box::pin(sleep(limits.header_read))),
            opening_bytes: 0,
            stalled: None,
        }
    }

    /// Passes a write's result on; one that waits arms the time-out, any other disarms it.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self.write_stall;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the peer takes no bytes",
        )))
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
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.opening = None;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
