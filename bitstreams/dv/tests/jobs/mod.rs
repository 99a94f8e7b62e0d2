//! Jobs of the tests: their data, tables and parse, random and reproducible.
//!
//! Shared by the tests of the engine and of the matcher alone. It knows the algorithm's prose, and neither model nor RTL.

pub(crate) mod data;
pub(crate) mod parse;
pub(crate) mod seed;
