//! `GET /v1/tenants/self`: the caller's tenant, its limits, and what it uses of them now.
//!
//! It shows no other tenant. Names are those that an operator sets the limits by.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::app::App;
use super::openapi::TenantProblems;
use crate::auth::Principal;
use crate::tenants::{AllowedBackends, AllowedCardKernels, AllowedKernels, Tenant, TenantLimits};

/// The tenant whose key this is.
#[derive(Serialize, ToSchema)]
pub(super) struct TenantSelf {
    /// Its name.
    id: String,
    /// The namespace that the key is for; left out where it is for all of the tenant's.
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    /// Its own limits.
    limits: TenantSelfLimits,
    /// What it uses now.
    usage: TenantSelfUse,
}

/// A tenant's limits; what is left out has none but the gateway's own.
#[derive(Serialize, ToSchema)]
pub(super) struct TenantSelfLimits {
    /// Its share of what is left when guarantees are met, against the others' weights.
    weight: u32,
    /// Guaranteed rate: microseconds of the reference engine a second.
    cir_us_per_s: u64,
    /// Peak rate, in the same unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pir_us_per_s: Option<u64>,
    /// What may be taken at once beyond the peak rate, microseconds.
    pir_burst_us: u64,
    /// Bytes of bodies a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_s: Option<u64>,
    /// Requests a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_per_s: Option<u64>,
    /// Bytes of bodies a day (UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_day: Option<u64>,
    /// Charged microseconds of the reference engine a day (UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    reference_us_per_day: Option<u64>,
    /// Requests at once.
    in_flight_max: usize,
    /// Blocks in its queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    queued_blocks_max: Option<usize>,
    /// Bytes of bodies in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes_max: Option<usize>,
    /// Bytes of answers on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    spill_bytes_max: Option<usize>,
    /// Bytes of one body: its own limit, or the gateway's.
    body_bytes_max: u64,
    /// Bytes that one decompression may give.
    output_bytes_max: usize,
    /// Output bytes an input byte that one decompression may give.
    ratio_max: u64,
    /// Kernels that it may call.
    #[schema(value_type = Vec<String>)]
    kernels: Vec<&'static str>,
    /// Engines that may serve it: `cpu`, `cards`.
    #[schema(value_type = Vec<String>)]
    backends: Vec<&'static str>,
    /// Kernels of cards that may serve it: `deflate-fast`, `deflate-tables`, `inflate`.
    #[schema(value_type = Vec<String>)]
    card_kernels: Vec<&'static str>,
    /// Images that may serve it from slots of cards, where there is a list: what is in no slot may not, then.
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<Vec<String>>,
}

/// What a tenant uses.
#[derive(Serialize, ToSchema)]
pub(super) struct TenantSelfUse {
    /// Requests in flight.
    in_flight: usize,
    /// Bytes of bodies in memory.
    memory_bytes: usize,
    /// Bytes of answers on disk.
    spill_bytes: usize,
    /// Bytes of bodies of this day (UTC); announced ones that may arrive yet are among them.
    bytes_today: u64,
    /// Charged microseconds of the reference engine of this day (UTC).
    reference_us_today: u64,
}

/// The caller's tenant, its limits and what it uses of them
#[utoipa::path(
    get, path = "/v1/tenants/self", tag = "catalogue", security(("key" = [])),
    responses((status = 200, description = "The tenant", body = TenantSelf), TenantProblems)
)]
pub(super) async fn tenant_self(
    State(app): State<App>,
    Extension(principal): Extension<Arc<Principal>>,
) -> Json<TenantSelf> {
    let tenant = &principal.tenant;
    let holding = app.admission.holding(&tenant.id);
    let day = app.admission.day_use(&tenant.id);
    Json(TenantSelf {
        id: tenant.id.as_str().to_owned(),
        namespace: principal.namespace.as_deref().map(str::to_owned),
        limits: limits(tenant, app.body_bytes_max(tenant)),
        usage: TenantSelfUse {
            in_flight: holding.in_flight,
            memory_bytes: holding.memory_bytes,
            spill_bytes: holding.spill_bytes,
            bytes_today: day.bytes,
            reference_us_today: u64::try_from(day.reference.as_micros()).unwrap_or(u64::MAX),
        },
    })
}

fn limits(tenant: &Tenant, body_bytes_max: u64) -> TenantSelfLimits {
    let TenantLimits {
        weight,
        cir_us_per_s,
        pir_us_per_s,
        pir_burst_us,
        bytes_per_s,
        requests_per_s,
        bytes_per_day,
        reference_us_per_day,
        in_flight_max,
        queued_blocks_max,
        memory_bytes_max,
        spill_bytes_max,
        body_bytes_max: _,
        output_bytes_max,
        ratio_max,
        kernels: AllowedKernels {
            compress,
            decompress,
        },
        backends: AllowedBackends { cpu, cards },
        card_kernels:
            AllowedCardKernels {
                deflate_fast,
                deflate_tables,
                inflate,
            },
        images: _,
    } = tenant.limits;
    let images = tenant.limits.images.as_ref();
    let words = |of: &[(&'static str, bool)]| {
        let allowed = of.iter().copied().filter(|(_, is_allowed)| *is_allowed);
        allowed.map(|(word, _)| word).collect()
    };
    TenantSelfLimits {
        weight,
        cir_us_per_s,
        pir_us_per_s,
        pir_burst_us,
        bytes_per_s,
        requests_per_s,
        bytes_per_day,
        reference_us_per_day,
        in_flight_max,
        queued_blocks_max,
        memory_bytes_max,
        spill_bytes_max,
        body_bytes_max,
        output_bytes_max,
        ratio_max: ratio_max.into(),
        kernels: words(&[("compress", compress), ("decompress", decompress)]),
        backends: words(&[("cpu", cpu), ("cards", cards)]),
        card_kernels: words(&[
            ("deflate-fast", deflate_fast),
            ("deflate-tables", deflate_tables),
            ("inflate", inflate),
        ]),
        images: images.map(|images| images.names().map(str::to_owned).collect()),
    }
}
