//! What there is for a tenant: kernels and their engines, devices; and the problems that a request may meet.
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
use crate::tenants::{Tenant, TenantLimits};

/// The cards of this gateway.
#[derive(Serialize, ToSchema)]
pub(super) struct Devices {
    cards: Vec<CardStatus>,
}

/// Cards and their functions
///
/// Each card's state, its functions, whether it is simulated, its faults and restarts; none for a tenant that may not use cards.
#[utoipa::path(
    get, path = "/v1/devices", tag = "catalogue", security(("key" = [])),
    responses((status = 200, description = "The cards", body = Devices), TenantProblems)
)]
pub(super) async fn devices(
    State(app): State<App>,
    Extension(tenant): Extension<Arc<Tenant>>,
) -> Json<Devices> {
    let cards = match tenant.limits.backends.cards {
        true => app.dispatcher.cards(),
        false => Vec::new(),
    };
    Json(Devices { cards })
}

/// What this gateway computes.
#[derive(Serialize, ToSchema)]
pub(super) struct Kernels {
    kernels: Vec<Kernel>,
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
    formats: Vec<&'static str>,
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
///
/// Those that the tenant may call, as far as the engines go that may serve it.
#[utoipa::path(
    get, path = "/v1/kernels", tag = "catalogue", security(("key" = [])),
    responses((status = 200, description = "The kernels", body = Kernels), TenantProblems)
)]
pub(super) async fn kernels(
    State(app): State<App>,
    Extension(tenant): Extension<Arc<Tenant>>,
) -> Json<Kernels> {
    let TenantLimits {
        kernels: called,
        backends,
        ..
    } = tenant.limits;
    // What cards do not serve is the CPU's.
    let served = |format: &Format| backends.cpu || backends.cards && format.is_deflate();
    let formats: Vec<_> = Format::ALL.into_iter().filter(served).collect();
    let names = || formats.iter().map(|format| format.name()).collect();
    let body_bytes_max = app.body_bytes_max(&tenant);
    let card_level_max = backends.cards.then_some(CARD_LEVEL_MAX);
    let level_max = match backends.cpu {
        true => Level::MAX.get(),
        false => CARD_LEVEL_MAX,
    };
    let cpu_engines = || engines::served().iter().map(LevelEngine::of).collect();
    let compress = Kernel {
        name: "compress",
        path: "/v1/compress",
        formats: names(),
        default_format: Format::Gzip.name(),
        level_min: Some(Level::MIN.get()),
        level_max: Some(level_max),
        card_level_max,
        default_level: Some(Level::DEFAULT.get()),
        cpu_engines: backends.cpu.then(cpu_engines),
        block_bytes: Some(BLOCK_BYTES),
        body_bytes_max,
    };
    let decompress = Kernel {
        name: "decompress",
        path: "/v1/decompress",
        formats: names(),
        default_format: "auto",
        level_min: None,
        level_max: None,
        card_level_max: None,
        default_level: None,
        cpu_engines: None,
        block_bytes: None,
        body_bytes_max,
    };
    let all = [(compress, called.compress), (decompress, called.decompress)];
    let allowed = all.into_iter().filter(|(_, is_allowed)| *is_allowed);
    Json(Kernels {
        kernels: allowed.map(|(kernel, _)| kernel).collect(),
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
