//! One invocation for an operator, whosever it was: `GET /admin/v1/invocations/{id}`.
//!
//! It reads, and changes nothing.

use std::time::Instant;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use uuid::Uuid;

use super::app::App;
use super::invocations::Explained;
use super::path_name::PathName;
use crate::error::{Problem, ProblemKind};

pub(super) fn routes() -> Router<App> {
    Router::new().route("/admin/v1/invocations/{id}", get(explain))
}

async fn explain(
    State(app): State<App>,
    PathName(name): PathName,
) -> Result<Json<Explained>, Problem> {
    // Also as a problem's instance has it (RFC 9562, 4: urn:uuid:).
    let id = Uuid::parse_str(&name).map_err(|_| {
        let got: String = name.chars().take(64).collect();
        Problem::invalid_option(format!(
            "{got:?} is no invocation's id: expected a UUID, as in Faam-Invocation-Id or in a problem's instance"
        ))
    })?;
    let known = app.invocations.explain(id, Instant::now());
    known.map(Json).ok_or_else(|| {
        Problem::new(
            ProblemKind::NotFound,
            "no such invocation is in memory: a gateway remembers streamed answers for ten minutes, and of all others the \
             last few thousand, those that failed, were slow or met a limit for longer; its log may know more",
        )
    })
}
