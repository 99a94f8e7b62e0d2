//! Benches and reports: criterion, ratio table, load.

pub mod ratio;
