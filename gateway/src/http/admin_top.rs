//! All that `faam top` shows: `GET /admin/v1/top`.
//!
//! It reads what the metrics read, and changes nothing.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use super::app::App;
use crate::card_operation::FunctionSummary;
use crate::error::ProblemKind;
use crate::metrics::snapshot::Snapshot;

#[derive(Serialize)]
struct Top {
    version: &'static str,
    pid: u32,
    draining: bool,
    #[serde(flatten)]
    snapshot: Snapshot,
    devices: Vec<BusyDevice>,
}

#[derive(Serialize)]
struct BusyDevice {
    #[serde(flatten)]
    summary: FunctionSummary,
    /// Share of time that it computed since it was last looked at.
    busy: Option<f64>,
}

pub(super) fn routes() -> Router<App> {
    Router::new().route("/admin/v1/top", get(top))
}

async fn top(State(app): State<App>) -> Json<Top> {
    app.metrics.admission(&app.admission);
    app.dispatcher.refresh_gauges();
    let functions = app.dispatcher.functions().into_iter();
    let devices = functions.map(|(_, summary)| BusyDevice {
        busy: app.metrics.device_busy_ratio(&summary.name),
        summary,
    });
    Json(Top {
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        draining: app.admission.is_leaving(),
        snapshot: app
            .metrics
            .snapshot(ProblemKind::ALL.into_iter().map(ProblemKind::name)),
        devices: devices.collect(),
    })
}
