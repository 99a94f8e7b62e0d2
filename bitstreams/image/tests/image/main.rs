//! What a package holds to, by the public interface alone.

#![expect(
    clippy::panic,
    reason = "a helper that panics fails its test, with its reason"
)]

mod building;
mod golden;
mod refusals;
mod sample;
