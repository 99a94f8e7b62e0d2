//! `GET /v1/usage`: what the caller's tenant has used, and what it costs.
//!
//! Invariant: a tenant sees its own usage alone, and one whose credential is for a namespace that namespace's alone. It reads what is
//! stored; what ended within the last second may not be.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use serde::Deserialize;

use super::app::App;
use super::openapi::{ForbiddenProblems, TenantProblems};
use crate::auth::Principal;
use crate::credentials::scopes::Scope;
use crate::error::{Problem, chain};
use crate::events::now;
use crate::usage::report::{GROUP_DEFAULT, Question, StoredUsage, UsageReport};

/// Which usage.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// From then on: a day or a moment (UTC where it says nothing else); the beginning of the day thirty days ago, unless given.
    #[param(value_type = Option<String>, example = "2026-01-01")]
    since: Option<String>,
    /// Before then; now, unless given.
    #[param(value_type = Option<String>, example = "2026-02-01T00:00:00Z")]
    until: Option<String>,
    /// What is told apart, with commas: hour or day, namespace, kernel, backend, outcome.
    #[param(value_type = Option<String>, example = "day,kernel")]
    group: Option<String>,
}

/// What the tenant has used, and what it costs
///
/// Sums by day (UTC) and kernel, or by what `group` tells apart. Whether requests are billed depends on how they ended: those
/// that failed by the gateway's own fault, and refused ones, are not.
#[utoipa::path(
    get, path = "/v1/usage", tag = "catalogue", security(("key" = [])),
    params(Asked),
    responses((status = 200, description = "The usage", body = UsageReport), TenantProblems, ForbiddenProblems)
)]
pub(super) async fn usage(
    State(app): State<App>,
    Extension(principal): Extension<Arc<Principal>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<UsageReport>, Problem> {
    principal.allow(Scope::UsageRead)?;
    let Query(asked) = asked.map_err(|rejection| {
        Problem::invalid_option(format!(
            "{}: expected any of since, until and group",
            rejection.body_text()
        ))
    })?;
    let question = Question {
        tenant: Some(principal.tenant.id.as_str()),
        namespace: principal.namespace.as_deref(),
        since: asked.since.as_deref(),
        until: asked.until.as_deref(),
        group: asked.group.as_deref().or(Some(GROUP_DEFAULT)),
    };
    let (report, query) = stored(&app, &question).await?;
    Ok(Json(report.report(&query)))
}

/// What answers a question.
pub(super) async fn stored(
    app: &App,
    question: &Question<'_>,
) -> Result<(StoredUsage, faam_store::UsageQuery), Problem> {
    let query = question
        .query(now())
        .map_err(|error| Problem::invalid_option(error.to_string()))?;
    // First: what is written meanwhile may be in the rows, and then it is said too early.
    let written_until = app.usage.written_until().0;
    let stored = app.store.usage(&query).await;
    let rows = stored
        .map_err(|error| Problem::internal(&format!("usage cannot be read: {}", chain(&error))))?;
    let stored = StoredUsage {
        rows: rows.rows,
        truncated: rows.truncated,
        written_until,
        prices: app.prices,
    };
    Ok((stored, query))
}
