//! The card from the outside: over its sockets, by the contract, with a client and a host of the tests' own.

mod bring_up;
mod client;
mod faults;
mod host;
mod hostile;
mod jobs;
mod rings;
