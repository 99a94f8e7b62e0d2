//! Fronts: other platforms' ways to invoke a function, as their callers use them, over TCP on the real binary.

#![expect(
    clippy::panic,
    reason = "what these tests share fails by panicking, as they do"
)]

#[expect(dead_code, reason = "the HTTP tests send more than these")]
#[path = "../http/wire.rs"]
mod wire;

#[path = "../process_log/mod.rs"]
mod process_log;

#[path = "../served/mod.rs"]
mod served;

#[path = "../free_port/mod.rs"]
mod free_port;

#[expect(dead_code, reason = "the clients' tests need more of it")]
#[path = "../clients/program.rs"]
mod program;

mod azure;
mod carried;
mod container;
mod error_tables;
mod events;
mod examples;
mod exchange;
mod knative;
mod lambda;
mod openfaas;
mod openwhisk;
mod page;
