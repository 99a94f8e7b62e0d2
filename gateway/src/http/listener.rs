//! Connections: accepted up to a limit, HTTP/1.1 and HTTP/2, ended gracefully.
//!
//! Invariant: no peer holds a connection without making progress: silence before the
//! first request, between requests, in a TLS handshake, in headers and under a response each
//! end it, and where all places are taken the longest without a request ends for a new one. It
//! knows no routes.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdTcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONNECTION;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustix::net::listen;
use socket2::SockRef;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service;
use tracing::{debug, warn};

use super::connections::{Connections, Place};
use super::http2_stream::StreamExecutor;
use super::limits::{
    ACCEPT_BACKLOG, HEADERS_MAX, HTTP1_BUFFER_BYTES_MAX, HTTP2_CONNECTION_WINDOW_BYTES,
    HTTP2_KEEP_ALIVE, HTTP2_LOCAL_RESETS_MAX, HTTP2_PENDING_RESETS_MAX, HTTP2_SEND_BUFFER_BYTES,
    HTTP2_STREAM_WINDOW_BYTES, HTTP2_STREAMS_MAX, HttpLimits, UNSENT_BYTES_MAX,
};
use super::served_body::ServedBody;
use super::tls::Tls;
use super::transport::{PatientStream, Transport};
use super::unix_socket::UnixSocket;
use crate::metrics::Metrics;

/// Pause after a failed accept (out of descriptors, say): others have to end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long connections may take to end that are broken off.
const BREAK_OFF_MAX: Duration = Duration::from_secs(1);

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
    let bind = || {
        let listener = StdTcpListener::bind(address)?;
        // Again, with more room for those that are to be accepted: a burst is not refused.
        listen(&listener, ACCEPT_BACKLOG)?;
        // Each connection has it from here.
        SockRef::from(&listener).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::Taken { address, flag },
        _ => BindError::Other {
            address,
            flag,
            source,
        },
    })
}

/// Where connections come from.
#[derive(Debug)]
pub struct Endpoints {
    /// TCP, non-blocking; `None` where there is the Unix socket alone.
    pub tcp: Option<StdTcpListener>,
    /// TLS of the TCP connections; `None` is plain HTTP.
    pub tls: Option<Arc<Tls>>,
    /// A Unix socket; always plain HTTP.
    pub unix: Option<UnixSocket>,
}

/// Accepts until `stop`, then lets what is in flight end within `drain`, and breaks off what has not: whatever it holds comes back,
/// and is accounted for. `name` is the listener's in the metrics.
///
/// # Errors
/// A listener that the runtime cannot use.
pub async fn serve(
    name: &'static str,
    mut endpoints: Endpoints,
    surface: impl Answers,
    limits: HttpLimits,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    drain: Duration,
) -> io::Result<()> {
    let tcp = endpoints.tcp.map(TcpListener::from_std).transpose()?;
    let tcp = tcp.map(|tcp| Source::Tcp(tcp, endpoints.tls.clone()));
    let unix = endpoints.unix.as_mut().and_then(UnixSocket::take_listener);
    let unix = unix
        .map(|unix| UnixListener::from_std(unix).map(Source::Unix))
        .transpose()?;
    if let Some(tls) = &endpoints.tls {
        tokio::spawn(Arc::clone(tls).watch(limits.tls_poll, stop.clone()));
    }
    let server = Server {
        name,
        builder: connection_builder(&limits, &metrics),
        connections: Connections::new(limits.connections_max, limits.peer_connections_max),
        surface,
        limits,
        metrics,
        graceful: GracefulShutdown::new(),
    };
    let accept = async |source: &Option<Source>| {
        if let Some(source) = source {
            server.accept(source, &stop).await;
        }
    };
    tokio::join!(accept(&tcp), accept(&unix));
    // New connections are refused from here on.
    drop((tcp, unix, endpoints.unix));
    let open = server.graceful.count();
    let mut ended = pin!(server.graceful.shutdown());
    if timeout(drain, &mut ended).await.is_err() {
        warn!(
            name,
            open_when_it_began = open,
            drain_s = drain.as_secs(),
            "connections were still open at the drain limit, and are broken off"
        );
        server.connections.end_all();
        if timeout(BREAK_OFF_MAX, ended).await.is_err() {
            warn!(
                name,
                "connections that were broken off have not ended in time"
            );
        }
    }
    Ok(())
}

/// `http` or `https`, by the connection that a request came on.
#[derive(Clone, Copy, Debug)]
pub struct Scheme(pub(super) &'static str);

/// Whose address is at the connection's other end; a Unix socket has none.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub(crate) Option<IpAddr>);

/// Answers requests. Cheap to clone: each is answered by a clone.
pub trait Answers: Clone + Send + Sync + 'static {
    /// Whatever goes wrong is an answer as well.
    fn answer(
        self,
        scheme: Scheme,
        peer: Peer,
        request: Request<Body>,
    ) -> impl Future<Output = Response<Body>> + Send;
}

impl Answers for Router {
    async fn answer(
        mut self,
        scheme: Scheme,
        peer: Peer,
        mut request: Request<Body>,
    ) -> Response<Body> {
        request.extensions_mut().insert(scheme);
        request.extensions_mut().insert(peer);
        let Ok(response) = self.call(request).await;
        response
    }
}

/// What all connections of a listener share.
struct Server<S> {
    name: &'static str,
    builder: Builder<StreamExecutor>,
    connections: Arc<Connections>,
    surface: S,
    limits: HttpLimits,
    metrics: Arc<Metrics>,
    graceful: GracefulShutdown,
}

/// What is accepted from.
enum Source {
    Tcp(TcpListener, Option<Arc<Tls>>),
    Unix(UnixListener),
}

impl Source {
    /// The next connection, and its peer's address if it has one.
    async fn accept(&self) -> io::Result<(Opening, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener, tls) => {
                let (stream, peer) = listener.accept().await?;
                // Answers are written whole; waiting for more to send would only delay them.
                stream.set_nodelay(true)?;
                let handshake = tls.as_ref().map(|tls| tls.config().into());
                Ok((Opening::Tcp(stream, handshake), Some(peer.ip())))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Opening::Ready(Transport::Unix(stream)), None))
            }
        }
    }
}

/// A connection as it was accepted.
enum Opening {
    Ready(Transport),
    /// With the handshake to make, if any.
    Tcp(TcpStream, Option<TlsAcceptor>),
}

impl<S: Answers> Server<S> {
    /// Accepts one after another until `stop`, each once there is a place for it.
    async fn accept(&self, source: &Source, stop: &CancellationToken) {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = source.accept() => accepted,
            };
            let (opening, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) if is_the_peers(&error) => {
                    debug!(%error, "the peer is gone already");
                    continue;
                }
                Err(error) => {
                    warn!(%error, "could not accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Who is accepted and has no place yet is the newest: another ends for it.
            let place = tokio::select! {
                () = stop.cancelled() => return,
                place = self.connections.take(peer) => place,
            };
            match place {
                Some(place) => drop(tokio::spawn(self.connection(peer).serve(opening, place))),
                None => self.spawn_late(opening, peer, stop.clone()),
            }
        }
    }

    /// Has one served whose peer has as many as it may, where one of those ends in a moment.
    fn spawn_late(&self, opening: Opening, peer: Option<IpAddr>, stop: CancellationToken) {
        let Some(late) = self.connections.wait_for_peer(peer) else {
            return self.metrics.connection_ended("peer-bound");
        };
        let connection = self.connection(peer);
        tokio::spawn(async move {
            // At a stop it is one that has no place yet.
            let place = tokio::select! {
                () = stop.cancelled() => return,
                place = late.place() => place,
            };
            match place {
                Some(place) => connection.serve(opening, place).await,
                None => connection.metrics.connection_ended("peer-bound"),
            }
        });
    }

    fn connection(&self, peer: Option<IpAddr>) -> Connection<S> {
        Connection {
            name: self.name,
            builder: self.builder.clone(),
            surface: self.surface.clone(),
            limits: self.limits,
            metrics: Arc::clone(&self.metrics),
            watcher: self.graceful.watcher(),
            peer: Peer(peer),
        }
    }
}

struct Connection<S> {
    name: &'static str,
    builder: Builder<StreamExecutor>,
    surface: S,
    limits: HttpLimits,
    metrics: Arc<Metrics>,
    watcher: Watcher,
    peer: Peer,
}

impl<S: Answers> Connection<S> {
    async fn serve(self, opening: Opening, place: Arc<Place>) {
        let metrics = Arc::clone(&self.metrics);
        let counted = metrics.connection(self.name);
        tokio::select! {
            // No turn is drawn at each wake-up.
            biased;
            ended = self.run(opening, Arc::clone(&place)) => if let Err(error) = ended {
                debug!(error, "a connection ended early");
                if place.was_too_slow() {
                    metrics.connection_ended("write-stall");
                }
            },
            () = place.ended() => {
                let reason = place.why_ended();
                debug!(reason, "a connection ended for another, or at the drain limit");
                metrics.connection_ended(reason);
            }
        }
        drop(place);
        drop(counted);
    }

    async fn run(
        self,
        opening: Opening,
        place: Arc<Place>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let transport = match opening {
            Opening::Ready(transport) => transport,
            Opening::Tcp(stream, None) => Transport::Tcp(stream),
            Opening::Tcp(stream, Some(acceptor)) => {
                let handshake = timeout(self.limits.tls_handshake, acceptor.accept(stream));
                Transport::Tls(Box::new(handshake.await??))
            }
        };
        let scheme = Scheme(match &transport {
            Transport::Tls(_) => "https",
            Transport::Tcp(_) | Transport::Unix(_) => "http",
        });
        let io = PatientStream::new(transport, Arc::clone(&place), &self.limits);
        let (surface, peer) = (self.surface, self.peer);
        let service = service_fn(move |request: Request<Incoming>| {
            let active = place.begin();
            let surface = surface.clone();
            let place = Arc::clone(&place);
            async move {
                let response = surface.answer(scheme, peer, request.map(Body::new)).await;
                // The layers say so of an answer whose request they left unread.
                if response.headers().contains_key(CONNECTION) {
                    place.linger();
                }
                Ok::<_, std::convert::Infallible>(
                    response.map(|body| ServedBody::new(body, active)),
                )
            }
        });
        let connection = self.builder.serve_connection(TokioIo::new(io), service);
        self.watcher.watch(connection.into_owned()).await
    }
}

/// Whether a failed accept is the affair of that one peer (accept(2), "Error handling").
fn is_the_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected
            | io::ErrorKind::InvalidInput
    )
}

fn connection_builder(limits: &HttpLimits, metrics: &Arc<Metrics>) -> Builder<StreamExecutor> {
    let executor = StreamExecutor::new(limits, Arc::clone(metrics));
    let mut builder = Builder::new(executor);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_inherits_the_bound_on_what_is_unsent() {
        let listener = bind(([127, 0, 0, 1], 0).into(), "--listen").expect("a port");
        let _caller = std::net::TcpStream::connect(listener.local_addr().expect("bound"));
        // The listener does not block; the connection is there already.
        let (connection, _) = listener.accept().expect("a connection");
        let unsent = SockRef::from(&connection).tcp_notsent_lowat();
        assert_eq!(unsent.expect("an option of TCP"), UNSENT_BYTES_MAX);
    }
}
