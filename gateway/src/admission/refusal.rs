//! Why a request may not begin, or not go on: the limit, its value, what came, and when to come back.
//!
//! It knows no status: that is `crate::error`'s.

use std::time::Duration;

use thiserror::Error;

/// A rate of a tenant's, a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Requests.
    Requests,
    /// Bytes of bodies.
    Bytes,
}

/// A quota of a tenant's, a UTC day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// Bytes of bodies.
    Bytes,
    /// Charged microseconds of the reference engine.
    Reference,
}

/// Why a request may not begin, or not go on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The tenant's own bound on requests in flight.
    #[error("{in_flight} requests of this tenant are in flight; {max} are allowed")]
    TooManyInFlight {
        /// How many there are.
        in_flight: usize,
        /// How many there may be.
        max: usize,
    },
    /// The tenant's own bound on bytes of bodies in memory, beside its other requests.
    #[error(
        "the request needs {asked} bytes of memory, and this tenant's requests in flight have {used} of the {max} bytes \
         allowed to them"
    )]
    TenantMemory {
        /// Bytes that the request needs now.
        asked: usize,
        /// Bytes that others have.
        used: usize,
        /// Bytes that the tenant may have.
        max: usize,
    },
    /// The same, however few others there are.
    #[error(
        "the request needs {asked} bytes of memory, and this tenant's requests may have {max} together"
    )]
    BeyondMemory {
        /// Bytes that the request needs.
        asked: usize,
        /// Bytes that the tenant may have.
        max: usize,
    },
    /// The tenant's rate.
    #[error("{asked} {} came; this tenant may have {per_s} a second, and {free} are left now", .rate.what())]
    OverRate {
        /// Which.
        rate: Rate,
        /// How many came.
        asked: u64,
        /// How many are left.
        free: u64,
        /// How many a second are allowed.
        per_s: u64,
        /// When they will be there.
        wait: Duration,
    },
    /// A body that would take too long at the tenant's rate.
    #[error(
        "at this tenant's rate of {per_s} bytes a second a body of {length} bytes would take {} s; at most {} s are waited \
         for", .takes.as_secs(), .paced_max.as_secs()
    )]
    TooLong {
        /// Bytes of the body, announced or arrived.
        length: u64,
        /// The rate.
        per_s: u64,
        /// How long it would take.
        takes: Duration,
        /// How long a body may be slowed down in all.
        paced_max: Duration,
    },
    /// The tenant's quota of the day.
    #[error("{asked} {} came and {used} were used today (UTC); this tenant may have {max} a day", .quota.what())]
    OverQuota {
        /// Which.
        quota: Quota,
        /// How much came; of reference time nobody knows before.
        asked: u64,
        /// How much was used.
        used: u64,
        /// How much may be.
        max: u64,
        /// What is left of the day.
        wait: Duration,
    },
    /// The process's bound on bytes of bodies.
    #[error("{asked} bytes were asked for; {free} of {max} bytes for bodies are free")]
    Saturated {
        /// Bytes that the request needs now.
        asked: usize,
        /// Bytes that are free.
        free: usize,
        /// Bytes in all.
        max: usize,
    },
    /// The process is about to end.
    #[error("the gateway is draining")]
    Draining {
        /// What is left of the drain.
        left: Duration,
    },
}

impl Rate {
    const fn what(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Bytes => "bytes of a body",
        }
    }

    /// The member of the tenant's limits.
    #[must_use]
    pub const fn limit(self) -> &'static str {
        match self {
            Self::Requests => "requests_per_s",
            Self::Bytes => "bytes_per_s",
        }
    }
}

impl Quota {
    const fn what(self) -> &'static str {
        match self {
            Self::Bytes => "bytes of a body",
            Self::Reference => "microseconds of the reference engine",
        }
    }

    /// The member of the tenant's limits.
    #[must_use]
    pub const fn limit(self) -> &'static str {
        match self {
            Self::Bytes => "bytes_per_day",
            Self::Reference => "reference_us_per_day",
        }
    }
}

impl Refusal {
    /// When to come back, where the limit itself says so: a bucket, the end of a day or of a drain.
    #[must_use]
    pub const fn wait(&self) -> Option<Duration> {
        match self {
            Self::OverRate { wait, .. } | Self::OverQuota { wait, .. } => Some(*wait),
            Self::Draining { left } => Some(*left),
            Self::TooManyInFlight { .. }
            | Self::TenantMemory { .. }
            | Self::BeyondMemory { .. }
            | Self::TooLong { .. }
            | Self::Saturated { .. } => None,
        }
    }

    /// The limit that it met: its name, its value.
    #[must_use]
    pub fn limit(&self) -> Option<(&'static str, u64)> {
        let size = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
        Some(match self {
            Self::TooManyInFlight { max, .. } => ("in_flight_max", size(*max)),
            Self::TenantMemory { max, .. } | Self::BeyondMemory { max, .. } => {
                ("memory_bytes_max", size(*max))
            }
            Self::OverRate { rate, per_s, .. } => (rate.limit(), *per_s),
            Self::TooLong { per_s, .. } => (Rate::Bytes.limit(), *per_s),
            Self::OverQuota { quota, max, .. } => (quota.limit(), *max),
            Self::Saturated { max, .. } => ("body_memory_bytes_max", size(*max)),
            Self::Draining { .. } => return None,
        })
    }

    /// What came, in the unit of the limit that it met.
    #[must_use]
    pub fn came(&self) -> Option<u64> {
        let size = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
        match self {
            Self::TenantMemory { asked, .. }
            | Self::BeyondMemory { asked, .. }
            | Self::Saturated { asked, .. } => Some(size(*asked)),
            Self::OverRate { asked, .. } | Self::OverQuota { asked, .. } => Some(*asked),
            Self::TooLong { length, .. } => Some(*length),
            Self::TooManyInFlight { in_flight, .. } => Some(size(*in_flight).saturating_add(1)),
            Self::Draining { .. } => None,
        }
    }
}
