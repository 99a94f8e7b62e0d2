//! Clients as people use them, against a gateway in a process of its own: curl, Python, Node, Rust clients, nginx in
//! between, and raw connections where a client's habit is one of timing.
//!
//! Invariant: what a test says of a client is what that client's own interface said. It knows the gateway by its
//! interface, its metrics and its process alone.

#![expect(
    clippy::panic,
    reason = "a helper that panics fails its test, with its reason"
)]

mod callers;
#[path = "../free_port/mod.rs"]
mod free_port;
mod gateway;
mod habits;
mod hostile;
mod http2;
mod large;
mod nginx;
#[path = "../process_log/mod.rs"]
mod process_log;
mod program;
mod refusals;
#[path = "../http/samples.rs"]
mod samples;
#[path = "../served/mod.rs"]
mod served;
mod slow;
mod tls;
mod torn;
#[path = "../http/wire.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod wire;
mod write_first;
