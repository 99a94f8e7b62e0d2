//! The limits of the HTTP surface, by name.
//!
//! Owns their defaults and units. Whoever enforces one names it from here.

use std::time::Duration;

/// Largest request body. It is streamed, so this bounds time and a bill, not memory.
pub const BODY_BYTES_MAX: u64 = 64 << 30;
/// Longest silence in the middle of a body.
pub const BODY_IDLE: Duration = Duration::from_secs(30);
/// Time before the least average rate counts.
pub const BODY_GRACE: Duration = Duration::from_secs(20);
/// Least average rate of a body after [`BODY_GRACE`].
pub const BODY_BYTES_PER_SECOND_MIN: u64 = 4 << 10;
/// Bytes of an unread body that are drained after a refusal.
pub const REFUSAL_DRAIN_BYTES_MAX: u64 = 128 << 20;
/// Time for which an unread body is drained after a refusal.
pub const REFUSAL_DRAIN: Duration = Duration::from_secs(5);
/// Connections at once, where descriptors allow (see `descriptors`). When all are taken, the one that has been longest
/// without a complete request head ends for a new one.
pub const CONNECTIONS_MAX: usize = 10_000;
/// Connections that the kernel holds until they are accepted; it takes no more than net.core.somaxconn.
pub const ACCEPT_BACKLOG: i32 = 4096;
/// Bytes of an answer that the kernel takes for a connection before the network can (`TCP_NOTSENT_LOWAT`): without this
/// bound thousands of slow readers fill the kernel's memory for all sockets.
pub const UNSENT_BYTES_MAX: u32 = 128 << 10;
/// Time for a TLS handshake.
pub const TLS_HANDSHAKE: Duration = Duration::from_secs(10);
/// How often certificate, key and client authorities are looked at for changes.
pub const TLS_POLL: Duration = Duration::from_secs(10);
/// Bytes of request headers, names and values.
pub const HEADER_BYTES_MAX: usize = 32 << 10;
/// Request headers.
pub const HEADERS_MAX: usize = 100;
/// Time for a request's headers, and of an idle connection.
pub const HEADER_READ: Duration = Duration::from_secs(30);
/// Time for which a response may make no progress at all: its connection's write, or on HTTP/2 its own stream.
pub const WRITE_STALL: Duration = Duration::from_secs(30);
/// Least average rate at which an answer that waits for its peer is taken, over [`WRITE_STALL`] of waiting on HTTP/2 and
/// twice that on HTTP/1.
pub const ANSWER_BYTES_PER_SECOND_MIN: u64 = 4 << 10;
/// How long a full window waits for a caller that does not read while its body still arrives, before the answer is
/// spilled to disk: longer than the pauses of a caller that does both at once.
pub const SPILL_AFTER: Duration = Duration::from_millis(100);
/// Read buffer of an HTTP/1 connection. Above [`HEADER_BYTES_MAX`], so that the refusal is ours.
pub const HTTP1_BUFFER_BYTES_MAX: usize = 64 << 10;
/// Requests at once on one HTTP/2 connection.
pub const HTTP2_STREAMS_MAX: u32 = 64;
/// Streams that a peer reset before they were accepted (rapid reset, CVE-2023-44487).
pub const HTTP2_PENDING_RESETS_MAX: usize = 20;
/// Streams that we reset for errors of the peer's.
pub const HTTP2_LOCAL_RESETS_MAX: usize = 256;
/// Flow-control window of one stream.
pub const HTTP2_STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// Flow-control window of one connection: that of all its streams, so that bodies which wait take none from those that go
/// on. What is held unread is bounded by the streams' windows all the same.
pub const HTTP2_CONNECTION_WINDOW_BYTES: u32 = HTTP2_STREAMS_MAX * HTTP2_STREAM_WINDOW_BYTES;
/// Bytes that one stream buffers for sending.
pub const HTTP2_SEND_BUFFER_BYTES: usize = 256 << 10;
/// How often a silent peer is asked whether it lives, and for how long it may not answer.
pub const HTTP2_KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Limits that an operator or a test may change.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// See [`BODY_BYTES_MAX`].
    pub body_bytes_max: u64,
    /// See [`BODY_IDLE`].
    pub body_idle: Duration,
    /// See [`BODY_GRACE`].
    pub body_grace: Duration,
    /// See [`BODY_BYTES_PER_SECOND_MIN`].
    pub body_bytes_per_second_min: u64,
    /// See [`REFUSAL_DRAIN_BYTES_MAX`].
    pub refusal_drain_bytes_max: u64,
    /// See [`REFUSAL_DRAIN`].
    pub refusal_drain: Duration,
    /// See [`CONNECTIONS_MAX`].
    pub connections_max: usize,
    /// Connections at once of one address (IPv6: of one /64); `None` sets no bound, as behind a proxy.
    pub peer_connections_max: Option<usize>,
    /// See [`TLS_HANDSHAKE`].
    pub tls_handshake: Duration,
    /// See [`TLS_POLL`].
    pub tls_poll: Duration,
    /// See [`HEADER_BYTES_MAX`].
    pub header_bytes_max: usize,
    /// See [`HEADER_READ`].
    pub header_read: Duration,
    /// See [`WRITE_STALL`].
    pub write_stall: Duration,
    /// See [`ANSWER_BYTES_PER_SECOND_MIN`].
    pub answer_bytes_per_second_min: u64,
    /// See [`SPILL_AFTER`].
    pub spill_after: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: BODY_BYTES_MAX,
            body_idle: BODY_IDLE,
            body_grace: BODY_GRACE,
            body_bytes_per_second_min: BODY_BYTES_PER_SECOND_MIN,
            refusal_drain_bytes_max: REFUSAL_DRAIN_BYTES_MAX,
            refusal_drain: REFUSAL_DRAIN,
            connections_max: CONNECTIONS_MAX,
            peer_connections_max: None,
            tls_handshake: TLS_HANDSHAKE,
            tls_poll: TLS_POLL,
            header_bytes_max: HEADER_BYTES_MAX,
            header_read: HEADER_READ,
            write_stall: WRITE_STALL,
            answer_bytes_per_second_min: ANSWER_BYTES_PER_SECOND_MIN,
            spill_after: SPILL_AFTER,
        }
    }
}
