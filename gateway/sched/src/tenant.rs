//! Tenants as the scheduler sees them: what each was promised, and how its place is named.
//!
//! Invariant: a place that was given to another tenant is not reached by the index of the
//! one before. It does not know names, keys or what a tenant runs.

use crate::Nanos;

/// Weight of a tenant for whom nothing else is said.
pub const WEIGHT_DEFAULT: u32 = 100;

/// One tenant's place, and which of its successive tenants. Handed out by the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantIndex {
    pub(crate) place: u32,
    pub(crate) generation: u32,
}

/// What a tenant was promised. Rates are in microseconds of the reference engine a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantConfig {
    /// Its share of what is left once guarantees are met; at least 1.
    pub weight: u32,
    /// Guaranteed rate; 0 guarantees nothing.
    pub cir_us_per_s: u64,
    /// Peak rate; `None`: as much as there is.
    pub pir_us_per_s: Option<u64>,
    /// What may be taken at once beyond the peak rate.
    pub pir_burst: Nanos,
    /// Jobs that its queue holds.
    pub queued_max: usize,
}

impl Default for TenantConfig {
    fn default() -> Self {
        Self {
            weight: WEIGHT_DEFAULT,
            cir_us_per_s: 0,
            pir_us_per_s: None,
            pir_burst: Nanos(100_000_000),
            queued_max: usize::MAX,
        }
    }
}

/// What targets give in all, microseconds of the reference engine a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// The targets in service.
    pub healthy_us_per_s: u64,
    /// All of them.
    pub full_us_per_s: u64,
}
