//! Images for an operator: listed, shown, added, removed, compared with a device.
//!
//! Invariants: a package is bounded before it is read, and one is taken at a time, so that its memory is one package's; what it
//! holds is the image store's to judge, on a thread that serves nobody.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Extension, FromRequest, Request, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use faam_image::{Manifest, PACKAGE_BYTES_MAX};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use uuid::Uuid;

use super::admin_devices::named as devices_named;
use super::admin_tenants::Actor;
use super::app::App;
use super::path_name::PathName;
use crate::card_operation::FunctionNumber;
use crate::error::{Problem, ProblemKind};
use crate::images::{ImageError, ImageStore, ImageSummary, Point};

/// Longest upload of a package, milliseconds: who stalls keeps nobody from adding another for longer.
const UPLOAD_MS_MAX: u64 = 600_000;

#[derive(Serialize)]
struct Images {
    images: Vec<ImageSummary>,
    trusted_keys: usize,
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    summary: ImageSummary,
    /// The least that is taken of its kernel now.
    security_version_min: u32,
    /// What it says of itself, verified now; `None` where it is refused.
    manifest: Option<Manifest>,
    /// Why it is refused.
    why: Option<String>,
}

/// A package and each function that was named.
#[derive(Serialize)]
struct Compared {
    /// Whether it would be loaded into each of them.
    accepted: bool,
    /// What it says of itself, where its signature and its files hold.
    manifest: Option<Manifest>,
    /// What concerns no device.
    points: Vec<Point>,
    devices: Vec<OfFunction>,
}

#[derive(Serialize)]
struct OfFunction {
    name: String,
    simulated: bool,
    /// Whether it would be loaded into this one.
    fits: bool,
    points: Vec<Point>,
}

/// Who may have a package in memory.
type Turn = tokio::sync::OwnedMutexGuard<()>;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/admin/v1/images", get(list).post(add))
        .route("/admin/v1/images/{image}", get(show).delete(remove))
        .route("/admin/v1/devices/{name}/slots/verify", post(compare))
        .layer(DefaultBodyLimit::max(PACKAGE_BYTES_MAX))
}

async fn list(State(app): State<App>) -> Json<Images> {
    Json(Images {
        images: app.images.list(),
        trusted_keys: app.images.trusted_keys(),
    })
}

async fn add(
    State(app): State<App>,
    Extension(Actor(actor)): Extension<Actor>,
    request: Request,
) -> Result<Json<ImageSummary>, Problem> {
    let (turn, bytes) = package(&app, request).await?;
    // Finished also where its caller has gone: the turn ends with the work, not with the caller.
    let take = move |images: &ImageStore| {
        let taken = images.accept(&bytes, actor);
        drop(turn);
        taken
    };
    let summary = on_files(&app, take).await?;
    Ok(Json(summary))
}

/// A package as it comes, and the turn that goes with it: as long as it is held, no other one is in memory.
async fn package(app: &App, request: Request) -> Result<(Turn, Bytes), Problem> {
    let Some(turn) = app.images.turn_to_add() else {
        return Err(Problem::new(
            ProblemKind::Saturated,
            "another image is being added or compared; send this one once that is done",
        ));
    };
    let limit = Duration::from_millis(UPLOAD_MS_MAX);
    let read = timeout(limit, Bytes::from_request(request, app)).await;
    let read = read.map_err(|_| {
        Problem::new(
            ProblemKind::TooSlow,
            format!(
                "the package did not come whole within {UPLOAD_MS_MAX} ms; send it again, faster"
            ),
        )
    })?;
    let bytes = read.map_err(|error| {
        Problem::new(
            ProblemKind::TooLarge,
            format!(
                "the package cannot be read: {error}; expected at most {PACKAGE_BYTES_MAX} bytes of a .fgi file"
            ),
        )
    })?;
    Ok((turn, bytes))
}

/// Compares a package with each function that is named, as it would be compared before it is programmed; nothing is kept.
async fn compare(
    State(app): State<App>,
    PathName(name): PathName,
    request: Request,
) -> Result<Json<Compared>, Problem> {
    let functions = devices_named(&app, &name)?;
    let (turn, bytes) = package(&app, request).await?;
    let compared = move |images: &ImageStore| {
        let compared = images.compare(&bytes);
        drop((bytes, turn));
        Ok(compared)
    };
    let compared = on_files(&app, compared).await?;
    let cards = app.dispatcher.cards();
    let device = |number: FunctionNumber| {
        let card = cards.iter().find(|card| card.card == number.card)?;
        let function = card.functions.get(usize::from(number.function))?;
        function.slot_device
    };
    let devices = functions.into_iter().map(|(number, function)| {
        let points = compared.with(device(number).as_ref(), &function.slots);
        OfFunction {
            fits: all_fit(&compared.points) && all_fit(&points),
            name: function.name,
            simulated: function.simulated,
            points,
        }
    });
    let devices: Vec<_> = devices.collect();
    Ok(Json(Compared {
        accepted: devices.iter().all(|device| device.fits),
        manifest: compared.manifest,
        points: compared.points,
        devices,
    }))
}

fn all_fit(points: &[Point]) -> bool {
    points.iter().all(|point| point.fits == Some(true))
}

async fn show(State(app): State<App>, PathName(name): PathName) -> Result<Json<Shown>, Problem> {
    let image = named(&app, &name)?;
    let shown = on_files(&app, move |images| {
        let summary = images.summary(image)?;
        let (manifest, why) = match images.manifest(image) {
            Ok(manifest) => (Some(manifest), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let kernel = manifest.as_ref().map_or(summary.kernel, |it| it.kernel);
        Ok(Shown {
            security_version_min: images.security_version_min(kernel),
            summary,
            manifest,
            why,
        })
    });
    shown.await.map(Json)
}

async fn remove(
    State(app): State<App>,
    Extension(Actor(actor)): Extension<Actor>,
    PathName(name): PathName,
) -> Result<Json<Value>, Problem> {
    let image = named(&app, &name)?;
    on_files(&app, move |images| images.remove(image, actor)).await?;
    Ok(Json(json!({ "removed": image })))
}

/// An image by its id, or by the name of its kernel.
fn named(app: &App, name: &str) -> Result<Uuid, Problem> {
    app.images.find(name).ok_or_else(|| {
        let known = app.images.list();
        let known: Vec<_> = known
            .iter()
            .map(|image| format!("{} ({})", image.image, image.name))
            .collect();
        let known = match known.is_empty() {
            true => "there are none: `faam image add FILE` adds one".to_owned(),
            false => format!("there are {}", known.join(", ")),
        };
        let name: String = name.chars().take(64).collect();
        Problem::new(
            ProblemKind::NotFound,
            format!("{name:?} is no image of this gateway; {known}"),
        )
    })
}

async fn on_files<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&ImageStore) -> Result<T, ImageError> + Send + 'static,
) -> Result<T, Problem> {
    let images = app.images.clone();
    match spawn_blocking(move || work(&images)).await {
        Ok(done) => Ok(done?),
        Err(error) => Err(Problem::internal(&format!(
            "work on images ended early: {error}"
        ))),
    }
}
