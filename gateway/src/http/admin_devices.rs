//! Cards' functions for an operator: listed, shown, drained, reset.
//!
//! Invariant: what is named is a function, or a card for all of its functions; a name of nothing changes nothing and is
//! answered with what there is. It carries nothing out itself: supervisors do.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::app::App;
use super::path_name::PathName;
use crate::card_operation::{
    DRAIN_WAIT_MS_DEFAULT, DRAIN_WAIT_MS_MAX, Drained, FunctionDetail, FunctionNumber,
    FunctionSummary, ResetDone,
};
use crate::error::{Problem, ProblemKind};

/// Functions with something said of each.
#[derive(Serialize)]
struct Devices<T> {
    devices: Vec<Device<T>>,
}

/// A function, and what else is said of it.
#[derive(Serialize)]
struct Device<T> {
    #[serde(flatten)]
    summary: FunctionSummary,
    #[serde(flatten)]
    more: T,
}

/// Nothing else.
#[derive(Serialize)]
struct Nothing {}

#[derive(Serialize)]
struct Shown {
    detail: Option<FunctionDetail>,
    /// Why there is none.
    unreadable: Option<String>,
}

#[derive(Serialize)]
struct WasDrained {
    drain: Drained,
}

#[derive(Serialize)]
struct WasReset {
    reset: ResetDone,
}

/// How long a drain may take.
#[derive(Deserialize)]
struct DrainOptions {
    timeout_ms: Option<u64>,
}

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/admin/v1/devices", get(list))
        .route("/admin/v1/devices/{name}", get(show))
        .route("/admin/v1/devices/{name}/drain", post(drain))
        .route("/admin/v1/devices/{name}/undrain", post(undrain))
        .route("/admin/v1/devices/{name}/reset", post(reset))
}

async fn list(State(app): State<App>) -> Json<Devices<Nothing>> {
    let functions = app.dispatcher.functions();
    let devices = functions.into_iter().map(|(_, summary)| Device {
        summary,
        more: Nothing {},
    });
    Json(Devices {
        devices: devices.collect(),
    })
}

async fn show(
    State(app): State<App>,
    PathName(name): PathName,
) -> Result<Json<Devices<Shown>>, Problem> {
    let mut devices = Vec::new();
    for (number, _) in named(&app, &name)? {
        let more = match app.dispatcher.inspect(number).await {
            Ok(detail) => Shown {
                detail: Some(detail),
                unreadable: None,
            },
            Err(error) => Shown {
                detail: None,
                unreadable: Some(error.to_string()),
            },
        };
        devices.extend(now(&app, number, more));
    }
    Ok(Json(Devices { devices }))
}

async fn drain(
    State(app): State<App>,
    PathName(name): PathName,
    options: Result<Query<DrainOptions>, QueryRejection>,
) -> Result<Json<Devices<WasDrained>>, Problem> {
    let Query(options) = options.map_err(|rejection| {
        Problem::invalid_option(format!(
            "{}: expected ?timeout_ms=NUMBER or nothing",
            rejection.body_text()
        ))
    })?;
    let timeout_ms = options.timeout_ms.unwrap_or(DRAIN_WAIT_MS_DEFAULT);
    if timeout_ms > DRAIN_WAIT_MS_MAX {
        return Err(Problem::invalid_option(format!(
            "timeout_ms is {timeout_ms}, expected at most {DRAIN_WAIT_MS_MAX}; ask again to wait on"
        )));
    }
    let limit = Duration::from_millis(timeout_ms);
    let functions = named(&app, &name)?;
    // All of them first, so that a job does not move from one to the next.
    for (number, _) in &functions {
        app.dispatcher.drain(*number, true).await?;
    }
    let mut devices = Vec::new();
    let began = tokio::time::Instant::now();
    for (number, _) in functions {
        let left = limit.saturating_sub(began.elapsed());
        let drain = app.dispatcher.drained(number, left).await;
        devices.extend(now(&app, number, WasDrained { drain }));
    }
    Ok(Json(Devices { devices }))
}

async fn undrain(
    State(app): State<App>,
    PathName(name): PathName,
) -> Result<Json<Devices<Nothing>>, Problem> {
    let mut devices = Vec::new();
    for (number, _) in named(&app, &name)? {
        app.dispatcher.drain(number, false).await?;
        devices.extend(now(&app, number, Nothing {}));
    }
    Ok(Json(Devices { devices }))
}

async fn reset(
    State(app): State<App>,
    PathName(name): PathName,
) -> Result<Json<Devices<WasReset>>, Problem> {
    let mut devices = Vec::new();
    for (number, _) in named(&app, &name)? {
        let reset = app.dispatcher.reset(number).await?;
        devices.extend(now(&app, number, WasReset { reset }));
    }
    Ok(Json(Devices { devices }))
}

/// A function as it is after what was done.
fn now<T>(app: &App, number: FunctionNumber, more: T) -> Option<Device<T>> {
    let functions = app.dispatcher.functions();
    let found = functions.into_iter().find(|(other, _)| *other == number);
    found.map(|(_, summary)| Device { summary, more })
}

/// What `name` names, at least one function.
pub(super) fn named(
    app: &App,
    name: &str,
) -> Result<Vec<(FunctionNumber, FunctionSummary)>, Problem> {
    let functions = app.dispatcher.functions_named(name);
    if !functions.is_empty() {
        return Ok(functions);
    }
    let all = app.dispatcher.functions();
    let known: Vec<_> = all
        .iter()
        .map(|(_, function)| format!("{} ({})", function.name, function.address))
        .collect();
    let known = match known.is_empty() {
        true => "it was started with none: see `faam serve --devices`".to_owned(),
        false => format!("there are {}", known.join(", ")),
    };
    Err(Problem::new(
        ProblemKind::NotFound,
        format!("{name:?} is no device of this gateway; {known}"),
    ))
}
