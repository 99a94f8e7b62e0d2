//! The card from the outside: over its sockets, by the contract, with a client and a host of the tests' own.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test that cannot go on has failed, and its numbers are its own"
)]

mod bring_up;
mod client;
mod fault_effects;
mod fault_socket;
mod faults;
mod host;
mod hostile;
mod jobs;
mod process;
mod rings;
