//! `GET /v1/images`: what a tenant's card jobs may be served by.
//!
//! It shows no image of a kernel that the tenant may not use, none that is refused, and none that a later one of
//! its kernel for the same device stands in for. Answers are of types that the OpenAPI
//! document is made from.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use faam_image::{ImageKind, Serves};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::app::App;
use super::openapi::TenantProblems;
use crate::card_kernel::CardKernel;
use crate::images::ImageSummary;
use crate::tenants::{Tenant, may_use};

/// Images of this gateway.
#[derive(Serialize, ToSchema)]
pub(super) struct Images {
    images: Vec<Image>,
}

/// A kernel as it can be loaded into a card.
#[derive(Serialize, ToSchema)]
pub(super) struct Image {
    /// Its id.
    image: Uuid,
    /// Its kernel's name.
    name: String,
    /// Its version.
    version: String,
    /// Its kernel's id.
    kernel: Uuid,
    /// The part that it is for.
    part: String,
    /// Whether it is a simulated card's: no gateware.
    simulated: bool,
    /// Jobs that it serves: `fast`, `tables`, `inflate`.
    #[schema(value_type = Vec<String>)]
    serves: Vec<&'static str>,
    /// What has to be said of it.
    notes: Vec<String>,
}

/// Images that cards may be loaded with
///
/// Verified ones, of the kernels that the tenant may use; none for a tenant that may not use cards.
#[utoipa::path(
    get, path = "/v1/images", tag = "catalogue", security(("key" = [])),
    responses((status = 200, description = "The images", body = Images), TenantProblems)
)]
pub(super) async fn images(
    State(app): State<App>,
    Extension(tenant): Extension<Arc<Tenant>>,
) -> Json<Images> {
    let limits = &tenant.limits;
    let is_shown = |image: &ImageSummary| {
        let mut kernels = image.serves.iter().copied().map(CardKernel::of);
        limits.backends.cards
            && image.refused.is_none()
            && app.images.is_newest(image)
            && kernels.any(|kernel| may_use(limits, kernel))
            && limits
                .images
                .as_ref()
                .is_none_or(|list| list.names().any(|name| name == image.name))
    };
    let images = app.images.list().into_iter().filter(is_shown);
    Json(Images {
        images: images.map(Image::from).collect(),
    })
}

impl From<ImageSummary> for Image {
    fn from(summary: ImageSummary) -> Self {
        let ImageSummary {
            image,
            name,
            version,
            kernel,
            kind,
            part,
            serves,
            notes,
            ..
        } = summary;
        Self {
            image,
            name,
            version,
            kernel,
            part,
            simulated: kind == Some(ImageKind::Sim),
            serves: serves.into_iter().map(Serves::name).collect(),
            notes,
        }
    }
}
