//! The farm by itself: registers, queues, jobs, faults and resets, on memory that spies and refuses.
//!
//! The other half of what is shown of the farm is the device suite of `driver/tests/device`, over the card's protocol. Here
//! is what a driver cannot see: order, answers of the bus, and what a hostile host does to it.
//!
//! Seeds are printed; `FAAM_TEST_SEED` gives one.

#![cfg(rtl_farm)]
#![expect(clippy::panic, reason = "a test fails by panicking")]
#![expect(
    clippy::cast_possible_truncation,
    reason = "constants and lengths of this test, all of them small"
)]

mod bring_up;
#[cfg(rtl_pair)]
mod broken;
mod compare;
mod faults;
mod host;
mod hostile;
mod jobs;
mod memory;
#[cfg(rtl_pair)]
mod pair;
mod resets;

use std::hash::{BuildHasher, RandomState};

use fastrand::Rng;

/// A generator from the seed that the environment gives, or from one that nobody knows.
fn random(purpose: &str) -> (Rng, u64) {
    let seed = match std::env::var("FAAM_TEST_SEED") {
        Ok(seed) => seed.parse().expect("FAAM_TEST_SEED is a number"),
        Err(_) => RandomState::new().hash_one(purpose),
    };
    println!("{purpose}: FAAM_TEST_SEED={seed}");
    (Rng::with_seed(seed), seed)
}
