//! The simulated card: a vfio-user server in its own process.

pub mod model;
