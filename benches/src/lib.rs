//! Benches and reports: criterion, ratio table, load.

pub mod corpus;
pub mod engines;
pub mod ratio;
