//! Tenants: who is served, and within which limits.
//!
//! Owns the words only. It does not know how a caller proves to be a tenant
//! (that is `auth`), nor how fairly tenants are served (that is `faam-sched`).

use std::fmt;
use std::sync::Arc;

pub use faam_sched::WEIGHT_DEFAULT;

use crate::allowed_images::AllowedImages;
use crate::card_kernel::CardKernel;

/// The tenant that a fresh installation serves.
pub const DEMO_TENANT: &str = "demo";

/// What a tenant may take at once beyond its peak rate, microseconds of the reference engine: a hundred blocks or so.
pub const PIR_BURST_US_DEFAULT: u64 = 100_000;
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

/// What a tenant may use. Rates are of the tenant as a whole, whatever its namespaces and keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantLimits {
    /// Its share of what is left when guarantees are met, against the others' weights; at least 1.
    pub weight: u32,
    /// Guaranteed rate (CIR): microseconds of the reference engine a second; 0 guarantees nothing.
    pub cir_us_per_s: u64,
    /// Peak rate (PIR), in the same unit; `None`: as much as there is.
    pub pir_us_per_s: Option<u64>,
    /// What may be taken at once beyond the peak rate, microseconds of the reference engine.
    pub pir_burst_us: u64,
    /// Bytes of bodies a second; `None`: any number.
    pub bytes_per_s: Option<u64>,
    /// Requests a second; `None`: any number.
    pub requests_per_s: Option<u64>,
    /// Bytes of bodies a day (UTC); `None`: any number.
    pub bytes_per_day: Option<u64>,
    /// Charged microseconds of the reference engine a day (UTC); `None`: any number.
    pub reference_us_per_day: Option<u64>,
    /// Requests in flight.
    pub in_flight_max: usize,
    /// Blocks in its queue; `None`: as many as the process allows any tenant.
    pub queued_blocks_max: Option<usize>,
    /// Bytes of bodies in memory; `None`: as many as the process has.
    pub memory_bytes_max: Option<usize>,
    /// Bytes of answers on disk; `None`: as many as the process allows any tenant.
    pub spill_bytes_max: Option<usize>,
    /// Bytes of one body; `None`: as many as the process allows.
    pub body_bytes_max: Option<u64>,
    /// Bytes out of one decompression.
    pub output_bytes_max: usize,
    /// Output bytes an input byte of one decompression.
    pub ratio_max: u32,
    /// Kernels that it may call.
    pub kernels: AllowedKernels,
    /// Engines that may serve it.
    pub backends: AllowedBackends,
    /// Kernels of cards that may serve it.
    pub card_kernels: AllowedCardKernels,
    /// Images that may serve it from slots of cards; `None`: whatever cards hold, slots or not.
    pub images: Option<AllowedImages>,
}

/// Kernels that a tenant may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowedKernels {
    /// `compress`
    pub compress: bool,
    /// `decompress`
    pub decompress: bool,
}

/// Engines that may serve a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowedBackends {
    /// The CPU engines.
    pub cpu: bool,
    /// Cards.
    pub cards: bool,
}

/// Kernels of cards that may serve a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowedCardKernels {
    /// `deflate-fast`
    pub deflate_fast: bool,
    /// `deflate-tables`
    pub deflate_tables: bool,
    /// `inflate`
    pub inflate: bool,
}

/// Whether a card's kernel may serve a tenant with these limits: to be asked wherever a job is placed on a card, or a kernel is
/// loaded for one. Whether it may use cards at all is another limit.
#[must_use]
pub const fn may_use(limits: &TenantLimits, kernel: CardKernel) -> bool {
    let AllowedCardKernels {
        deflate_fast,
        deflate_tables,
        inflate,
    } = limits.card_kernels;
    match kernel {
        CardKernel::DeflateFast => deflate_fast,
        CardKernel::DeflateTables => deflate_tables,
        CardKernel::Inflate => inflate,
    }
}

impl Default for TenantLimits {
    fn default() -> Self {
        Self {
            weight: WEIGHT_DEFAULT,
            cir_us_per_s: 0,
            pir_us_per_s: None,
            pir_burst_us: PIR_BURST_US_DEFAULT,
            bytes_per_s: None,
            requests_per_s: None,
            bytes_per_day: None,
            reference_us_per_day: None,
            in_flight_max: TENANT_IN_FLIGHT_MAX,
            queued_blocks_max: None,
            memory_bytes_max: None,
            spill_bytes_max: None,
            body_bytes_max: None,
            output_bytes_max: TENANT_OUTPUT_BYTES_MAX,
            ratio_max: TENANT_RATIO_MAX,
            kernels: AllowedKernels {
                compress: true,
                decompress: true,
            },
            backends: AllowedBackends {
                cpu: true,
                cards: true,
            },
            card_kernels: AllowedCardKernels {
                deflate_fast: true,
                deflate_tables: true,
                inflate: true,
            },
            images: None,
        }
    }
}
