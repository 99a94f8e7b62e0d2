//! Everything below `/admin/v1`: one list for both doors, the operator's socket and the admin listener.
//!
//! Invariant: what one door serves the other serves as well. Who may pass is each door's own affair.
//!
//! | room | owns |
//! |---|---|
//! | `/admin/v1` | the gateway itself |
//! | `/admin/v1/backup` | `super::admin_backup` |
//! | `/admin/v1/devices` | `super::admin_devices`, `super::admin_faults`, `super::admin_slots` |
//! | `/admin/v1/events` | `super::admin_events` |
//! | `/admin/v1/images` | `super::admin_images` |
//! | `/admin/v1/invocations` | `super::admin_invocations` |
//! | `/admin/v1/top` | `super::admin_top` |
//! | `/admin/v1/usage` | `super::admin_usage` |
//! | `/admin/v1/tenants`, `/admin/v1/keys` | `super::admin_tenants` |

use axum::extract::{DefaultBodyLimit, Extension, Request};
use axum::routing::get;
use axum::{Json, Router};

use super::admin_slots;
use super::admin_socket::About;
use super::admin_tenants::Actor;
use super::app::App;
use super::{
    admin_backup, admin_devices, admin_events, admin_faults, admin_images, admin_invocations,
    admin_tenants, admin_top, admin_usage,
};
use crate::error::{Problem, ProblemKind};

/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 64 << 10;
/// What there is, for whoever asks for something else.
pub(super) const ROOMS: &str = "/admin/v1, and below it backup, devices, events, images, invocations/ID, keys, tenants, top and usage";

/// All rooms; what is changed is changed by `actor`.
pub(super) fn rooms(app: &App, about: About, actor: &'static str) -> Router<App> {
    Router::new()
        .route("/admin/v1", get(async move || Json(about.clone())))
        .merge(admin_backup::routes())
        .merge(admin_devices::routes())
        .merge(admin_faults::routes())
        .merge(admin_images::routes())
        .merge(admin_events::routes())
        .merge(admin_invocations::routes())
        .merge(admin_top::routes())
        .merge(admin_slots::routes())
        .merge(admin_usage::routes())
        .merge(admin_tenants::routes(app.directory.clone()))
        .layer(Extension(Actor(actor)))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

/// A method that is not for a room.
pub(super) async fn method_not_allowed(request: Request) -> Problem {
    let detail = format!(
        "{} is not for {}: expected GET to look, and POST, PATCH or DELETE to change, as Allow says",
        request.method(),
        request.uri().path()
    );
    Problem::new(ProblemKind::Method, detail)
}
