//! What there is: kernels and their engines, devices, the caller's tenant, and the problems that a request may meet.
//!
//! Answers are of types that the OpenAPI document is made from. It knows no bodies.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use faam_codec::{Format, Level};
use serde::Serialize;
use utoipa::ToSchema;

use super::app::App;
use super::openapi::{AnyProblems, NotFoundProblems, TenantProblems};
use super::path_name::PathName;
use crate::cards::CardStatus;
use crate::engines::{self, ServedLevel};
use crate::error::{Problem, ProblemKind};
use crate::job::{BLOCK_BYTES, CARD_LEVEL_MAX};
use crate::tenants::Tenant;

/// The cards of this gateway.
#[derive(Serialize, ToSchema)]
pub(super) struct Devices {
    cards: Vec<CardStatus>,
}

/// Cards and their functions
///
/// Each card's state, its functions, whether it is simulated, its faults and restarts.
#[utoipa::path(
    get, path = "/v1/devices", tag = "catalogue", security(("key" = [])),
    responses((status = 200, description = "The cards", body = Devices), TenantProblems)
)]
pub(super) async fn devices(State(app): State<App>) -> Json<Devices> {
    Json(Devices {
        cards: app.dispatcher.cards(),
    })
}

/// What this gateway computes.
#[derive(Serialize, ToSchema)]
pub(super) struct Kernels {
    kernels: [Kernel; 2],
}

/// One kernel and its limits.
#[derive(Serialize, ToSchema)]
pub(super) struct Kernel {
    /// Its name.
    #[schema(value_type = String)]
    name: &'static str,
    /// Where it is called.
    #[schema(value_type = String)]
    path: &'static str,
    /// Formats that it takes or gives.
    #[schema(value_type = Vec<String>)]
    formats: [&'static str; Format::ALL.len()],
    /// The format of a request that names none.
    #[schema(value_type = String)]
    default_format: &'static str,
    /// The least effort.
    #[serde(skip_serializing_if = "Option::is_none")]
    level_min: Option<u8>,
    /// The greatest effort.
    #[serde(skip_serializing_if = "Option::is_none")]
    level_max: Option<u8>,
    /// The greatest effort that cards serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    card_level_max: Option<u8>,
    /// The effort of a request that names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    default_level: Option<u8>,
    /// Which CPU engine serves each level of each format, where no card does and for data that can be compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_engines: Option<Vec<LevelEngine>>,
    /// Bytes of a block, the unit of parallel work.
    #[serde(skip_serializing_if = "Option::is_none")]
    block_bytes: Option<usize>,
    /// Bytes of the largest body.
    body_bytes_max: u64,
}

/// Who serves a level of a format.
#[derive(Serialize, ToSchema)]
pub(super) struct LevelEngine {
    /// The format.
    #[schema(value_type = String)]
    format: &'static str,
    /// The level, as a request names it.
    level: u8,
    /// The engine.
    #[schema(value_type = String)]
    engine: &'static str,
    /// The level by the engine's own numbering.
    engine_level: i32,
}

/// Kernels, their formats, levels, engines and limits
#[utoipa::path(
    get, path = "/v1/kernels", tag = "catalogue", security(("key" = [])),
    responses((status = 200, description = "The kernels", body = Kernels), TenantProblems)
)]
pub(super) async fn kernels(State(app): State<App>) -> Json<Kernels> {
    let formats = Format::ALL.map(Format::name);
    let body_bytes_max = app.limits.body_bytes_max;
    let compress = Kernel {
        name: "compress",
        path: "/v1/compress",
        formats,
        default_format: Format::Gzip.name(),
        level_min: Some(Level::MIN.get()),
        level_max: Some(Level::MAX.get()),
        card_level_max: Some(CARD_LEVEL_MAX),
        default_level: Some(Level::DEFAULT.get()),
        cpu_engines: Some(engines::served().iter().map(LevelEngine::of).collect()),
        block_bytes: Some(BLOCK_BYTES),
        body_bytes_max,
    };
    let decompress = Kernel {
        name: "decompress",
        path: "/v1/decompress",
        formats,
        default_format: "auto",
        level_min: None,
        level_max: None,
        card_level_max: None,
        default_level: None,
        cpu_engines: None,
        block_bytes: None,
        body_bytes_max,
    };
    Json(Kernels {
        kernels: [compress, decompress],
    })
}

impl LevelEngine {
    fn of(served: &ServedLevel) -> Self {
        Self {
            format: served.format.name(),
            level: served.level.get(),
            engine: served.engine.engine,
            engine_level: served.engine.native,
        }
    }
}

/// The tenant whose key this is.
#[derive(Serialize, ToSchema)]
pub(super) struct TenantSelf {
    /// Its name.
    id: String,
    /// Its own limits.
    limits: TenantSelfLimits,
}

/// A tenant's limits.
#[derive(Serialize, ToSchema)]
pub(super) struct TenantSelfLimits {
    /// Requests at once.
    in_flight_max: usize,
    /// Bytes that one decompression may give.
    output_bytes_max: usize,
    /// Output bytes an input byte that one decompression may give.
    ratio_max: u64,
}

/// The caller's tenant and its limits
#[utoipa::path(
    get, path = "/v1/tenants/self", tag = "catalogue", security(("key" = [])),
    responses((status = 200, description = "The tenant", body = TenantSelf), TenantProblems)
)]
pub(super) async fn tenant_self(Extension(tenant): Extension<Arc<Tenant>>) -> Json<TenantSelf> {
    let limits = &tenant.limits;
    Json(TenantSelf {
        id: tenant.id.as_str().to_owned(),
        limits: TenantSelfLimits {
            in_flight_max: limits.in_flight_max,
            output_bytes_max: limits.output_bytes_max,
            ratio_max: limits.ratio_max.into(),
        },
    })
}

/// A kind of problem.
#[derive(Serialize, ToSchema)]
pub(super) struct ProblemPage {
    /// Its URI, as in a problem's `type`.
    r#type: String,
    /// As in a problem's `title`.
    title: String,
    /// The status that comes with it.
    status: u16,
    /// What to do about it.
    mend: String,
}

/// What a kind of problem means, and what to do about it
#[utoipa::path(
    get, path = "/problems/{name}", tag = "catalogue",
    params(("name" = String, Path, description = "The last part of a problem's `type`", example = "too-large")),
    responses(
        (status = 200, description = "The kind", body = ProblemPage),
        NotFoundProblems,
        AnyProblems,
    )
)]
pub(super) async fn problem(PathName(name): PathName) -> Result<Json<serde_json::Value>, Problem> {
    ProblemKind::describe(&name).map(Json).ok_or_else(|| {
        let names: Vec<_> = ProblemKind::ALL.iter().map(|kind| kind.name()).collect();
        Problem::new(
            ProblemKind::NotFound,
            format!("no such problem; there are {}", names.join(", ")),
        )
    })
}
