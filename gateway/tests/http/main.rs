//! The HTTP surface, held against gateways mostly without cards: what is accepted, what is refused,
//! how connections begin and end, and that everything that a request held comes back.

#![expect(
    clippy::panic,
    reason = "a helper that panics fails its test, with its reason"
)]

mod answers;
mod catalogue;
mod connections;
mod credentials;
mod decompression;
mod digests;
mod drain;
mod gauges;
mod hang_ups;
mod hosts;
mod http2;
mod odd_requests;
mod process;
mod refusals;
mod samples;
mod secrets;
mod server;
mod slow_readers;
mod streaming;
mod telemetry;
mod tenant_limits;
mod tls;
mod usage;
mod wire;
