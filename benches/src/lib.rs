//! Benches and reports: criterion, ratio table, load.

pub mod corpus;
pub mod engines;
pub mod levels;
pub mod ratio;
