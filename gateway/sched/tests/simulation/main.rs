//! What many tenants are promised, in simulated time: gates on latency, shares and guarantees, and invariants over random
//! scenarios. Seeds are printed with every failure.

mod day;
mod invariants;
mod promises;
mod scenarios;
