//! Tenants: who is served, and within which limits.
//!
//! Owns the words only. It does not know how a caller proves to be a tenant
//! (that is `auth`), nor how fairly tenants are served (that is `faam-sched`).

use std::fmt;
use std::sync::Arc;

/// The tenant that a fresh installation serves.
pub const DEMO_TENANT: &str = "demo";

/// Requests that one tenant may have in flight.
pub const TENANT_IN_FLIGHT_MAX: usize = 256;
/// Bytes that one decompression may give: four times the largest body.
pub const TENANT_OUTPUT_BYTES_MAX: usize = 256 << 30;
/// Output bytes an input byte that one decompression may give. zstd's own limit is 32,768 (a block of 4 bytes that
/// repeats one byte 128 Ki times; RFC 8878, 3.1.1.2), DEFLATE's 1032, so this refuses no honest stream: 50 MB of zeros are
/// 2 KB of zstd. What a bomb costs is bounded all the same, for output flows only as fast as its caller reads; the limit
/// is there to be lowered.
pub const TENANT_RATIO_MAX: u32 = 40_000;

/// A tenant's name: what stands in logs, metrics and queues. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// A name as it is.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A tenant and its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub id: TenantId,
    /// What it may use.
    pub limits: TenantLimits,
}

impl Tenant {
    /// The tenant of a fresh installation.
    #[must_use]
    pub fn demo(limits: TenantLimits) -> Self {
        Self {
            id: TenantId::new(DEMO_TENANT),
            limits,
        }
    }
}

/// What a tenant may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantLimits {
    /// Requests in flight.
    pub in_flight_max: usize,
    /// Bytes out of one decompression.
    pub output_bytes_max: usize,
    /// Output bytes an input byte of one decompression.
    pub ratio_max: u32,
}

impl Default for TenantLimits {
    fn default() -> Self {
        Self {
            in_flight_max: TENANT_IN_FLIGHT_MAX,
            output_bytes_max: TENANT_OUTPUT_BYTES_MAX,
            ratio_max: TENANT_RATIO_MAX,
        }
    }
}
