//! The admin listener's surface: probes and metrics, without credentials, and what an operator may do, with the operator's.
//!
//! It runs on a thread and a runtime of its own, so that no load on the public side
//! starves it. It answers from snapshots and never waits for an engine.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::json;

use super::admin_access::{self, AdminAccess};
use super::admin_rooms;
use super::admin_socket::About;
use super::app::{App, stack};
use super::invocation::Observer;
use super::invocations::Invocations;
use super::unserved;
use crate::error::{self, Problem, ProblemKind};
use crate::metrics;

/// Who changes something here, as events say it: whoever has the key of that file.
const ACTOR: &str = "admin.key";

/// The admin surface.
pub fn router(app: App, about: About, access: AdminAccess) -> Router {
    let routes = admin_rooms::rooms(&app, about, ACTOR)
        .method_not_allowed_fallback(admin_rooms::method_not_allowed)
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .fallback(not_found)
        .layer(from_fn_with_state(access, admin_access::admit));
    // Probes by the second are no story for a collector.
    let observer = Observer {
        metrics: Arc::clone(&app.metrics),
        telemetry: None,
        // Callers' requests alone are explained.
        invocations: Invocations::default(),
    };
    stack(routes, observer, app.limits).with_state(app)
}

async fn healthz() -> &'static str {
    "ok\n"
}

/// Ready while anything serves: the CPU engines always do, until the gateway is told to stop.
async fn readyz(State(app): State<App>) -> Response<Body> {
    // Also while callers are still served who come before everybody knows.
    let draining = app.admission.is_leaving();
    let state = json!({
        "ready": !draining,
        "draining": draining,
        "in_flight": app.admission.in_flight(),
        "cards": app.dispatcher.cards(),
    });
    if draining {
        error::not_ready(state)
    } else {
        Json(state).into_response()
    }
}

async fn render(State(app): State<App>) -> Response<Body> {
    app.metrics.admission(&app.admission);
    app.dispatcher.refresh_gauges();
    app.metrics.store(app.store.counts());
    let mut response = Response::new(Body::from(app.metrics.render()));
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static(metrics::CONTENT_TYPE),
    );
    response
}

async fn not_found(request: Request) -> Problem {
    let detail = format!(
        "{} names nothing here; there are /healthz, /readyz, /metrics, and for operators {}",
        unserved::path(&request),
        admin_rooms::ROOMS
    );
    Problem::new(ProblemKind::NotFound, detail)
}
