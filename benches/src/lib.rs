//! Benches and reports: criterion, ratio table, load.
