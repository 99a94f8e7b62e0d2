//! Slots of cards' functions for an operator: loaded and evicted.
//!
//! Invariant: an image is verified right before it goes to a card; what is named is one function, or each of a card in turn,
//! and what came of it is said of each, also where one of them fails. It carries nothing out itself: supervisors do.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::admin_devices::named;
use super::app::App;
use super::path_name::PathName;
use crate::card_operation::OperationError;
use crate::card_slots::SlotDone;
use crate::error::Problem;

/// What a load is asked with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoadOptions {
    image: String,
    slot: Option<u8>,
}

/// What an eviction is asked with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EvictOptions {
    slot: u8,
}

#[derive(Serialize)]
struct Done {
    devices: Vec<OfFunction>,
}

/// What came of it at one function.
#[derive(Serialize)]
struct OfFunction {
    name: String,
    simulated: bool,
    #[serde(flatten)]
    done: SlotDone,
}

/// What is said where a function fails: its name, and what was done at others before. Those after it were not touched.
fn stopped(error: OperationError, done: &[OfFunction], failed: &str) -> Problem {
    Problem::from(error)
        .with("failed", failed)
        .with("done", done)
}

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/admin/v1/devices/{name}/slots/load", post(load))
        .route("/admin/v1/devices/{name}/slots/evict", post(evict))
}

async fn load(
    State(app): State<App>,
    PathName(name): PathName,
    options: Result<Query<LoadOptions>, QueryRejection>,
) -> Result<Json<Done>, Problem> {
    let functions = named(&app, &name)?;
    let Query(options) = options.map_err(|rejection| {
        Problem::invalid_option(format!(
            "{}: expected ?image=NAME, and &slot=NUMBER where a slot that holds a kernel is to be replaced",
            rejection.body_text()
        ))
    })?;
    let mut devices = Vec::new();
    for (number, function) in functions {
        let done = app
            .dispatcher
            .load_slot(number, &options.image, options.slot)
            .await
            .map_err(|error| stopped(error, &devices, &function.name))?;
        devices.push(OfFunction {
            name: function.name,
            simulated: function.simulated,
            done,
        });
    }
    Ok(Json(Done { devices }))
}

async fn evict(
    State(app): State<App>,
    PathName(name): PathName,
    options: Result<Query<EvictOptions>, QueryRejection>,
) -> Result<Json<Done>, Problem> {
    let functions = named(&app, &name)?;
    let Query(options) = options.map_err(|rejection| {
        Problem::invalid_option(format!(
            "{}: expected ?slot=NUMBER, the slot that is to be emptied",
            rejection.body_text()
        ))
    })?;
    let mut devices = Vec::new();
    for (number, function) in functions {
        let done = app
            .dispatcher
            .evict_slot(number, options.slot)
            .await
            .map_err(|error| stopped(error, &devices, &function.name))?;
        devices.push(OfFunction {
            name: function.name,
            simulated: function.simulated,
            done,
        });
    }
    Ok(Json(Done { devices }))
}
