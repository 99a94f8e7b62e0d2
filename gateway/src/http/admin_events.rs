//! The event and audit log for an operator: `GET /admin/v1/events`.
//!
//! It reads, and changes nothing.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use faam_store::EventQuery;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::app::App;
use crate::error::Problem;
use crate::events::{EVENTS_LISTED_MAX, EventRecord, Millis};

#[derive(Serialize)]
struct Listed {
    events: Vec<EventRecord>,
}

/// Which.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    since: Option<String>,
    kind: Option<String>,
    tenant: Option<String>,
    limit: Option<usize>,
}

pub(super) fn routes() -> Router<App> {
    Router::new().route("/admin/v1/events", get(list))
}

async fn list(
    State(app): State<App>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Listed>, Problem> {
    let Query(asked) = asked.map_err(|rejection| {
        Problem::invalid_option(format!(
            "{}: expected any of since, kind, tenant and limit",
            rejection.body_text()
        ))
    })?;
    let since = asked.since.as_deref().map(moment).transpose()?;
    if asked.limit.is_some_and(|limit| limit > EVENTS_LISTED_MAX) {
        return Err(Problem::invalid_option(format!(
            "limit is beyond {EVENTS_LISTED_MAX}; ask for fewer, and for the rest with since"
        )));
    }
    let query = EventQuery {
        since,
        kind: asked.kind,
        tenant: asked.tenant,
        limit: asked.limit.unwrap_or(EVENTS_LISTED_MAX),
        ..EventQuery::default()
    };
    let events = app.events.list(&query).await;
    let events = events.map_err(|error| Problem::internal(&error.to_string()))?;
    Ok(Json(Listed { events }))
}

/// Milliseconds since 1970, or RFC 3339.
fn moment(text: &str) -> Result<Millis, Problem> {
    if let Ok(millis) = text.parse() {
        return Ok(Millis(millis));
    }
    text.parse::<Timestamp>()
        .map(|at| Millis(at.as_millisecond()))
        .map_err(|_| {
            let got: String = text.chars().take(40).collect();
            Problem::invalid_option(format!(
                "since is {got:?}: expected milliseconds since 1970, or a moment such as 2026-01-31T12:00:00Z"
            ))
        })
}
