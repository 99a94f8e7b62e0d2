//! All tenants' usage for an operator: `GET /admin/v1/usage`.
//!
//! It is written before it is answered, so that what has ended is in it.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;

use super::app::App;
use super::usage::stored;
use crate::error::Problem;
use crate::usage::report::{Question, StoredUsage};

/// Which.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    tenant: Option<String>,
    since: Option<String>,
    until: Option<String>,
    group: Option<String>,
}

pub(super) fn routes() -> Router<App> {
    Router::new().route("/admin/v1/usage", get(usage))
}

async fn usage(
    State(app): State<App>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<StoredUsage>, Problem> {
    let Query(asked) = asked.map_err(|rejection| {
        Problem::invalid_option(format!(
            "{}: expected any of tenant, since, until and group",
            rejection.body_text()
        ))
    })?;
    if let Err(error) = app.usage.flush().await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the newest usage is not in an answer, for it cannot be written"
        );
    }
    let question = Question {
        tenant: asked.tenant.as_deref(),
        namespace: None,
        since: asked.since.as_deref(),
        until: asked.until.as_deref(),
        group: asked.group.as_deref(),
    };
    stored(&app, &question)
        .await
        .map(|(stored, _)| Json(stored))
}
