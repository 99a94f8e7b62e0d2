//! Where a run's randomness comes from: one seed, printed, that the environment may give.

use std::hash::{BuildHasher, RandomState};

/// The run's seed: `FAAM_TEST_SEED`, or a new one.
pub(crate) fn of_run() -> u64 {
    let given = std::env::var("FAAM_TEST_SEED").ok();
    let seed = given.map_or_else(
        || RandomState::new().hash_one(0),
        |text| text.parse().expect("FAAM_TEST_SEED is a number"),
    );
    println!("FAAM_TEST_SEED={seed}");
    seed
}

/// A number from the environment, or its default.
pub(crate) fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}"))
    })
}
