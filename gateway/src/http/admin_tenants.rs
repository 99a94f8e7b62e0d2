//! Tenants and keys for an operator: `/admin/v1/tenants` and `/admin/v1/keys`.
//!
//! Owns the calls' words. Invariants: a change is finished, whether or not its caller waits for the answer; a secret is in one
//! answer, which nobody may keep. What a change means is the directory's.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use faam_store::{CredentialKind, Millis};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::json_body::JsonBody;
use super::path_name::PathName;
use crate::directory::TenantDirectory;
use crate::directory::error::DirectoryError;
use crate::directory::keys::{KeyView, NewKey};
use crate::directory::tenants::{NewTenant, TenantChange, TenantView};
use crate::error::{self, Problem};
use crate::events::{OPERATOR, now};

/// Who asks, as events say it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Actor(pub(super) &'static str);

#[derive(Serialize)]
struct Tenants {
    tenants: Vec<TenantView>,
    next: Option<String>,
}

#[derive(Serialize)]
struct Keys {
    keys: Vec<KeyView>,
    next: Option<String>,
}

/// Which part of a list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    after: Option<String>,
    tenant: Option<String>,
}

/// A credential that is to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyWanted {
    tenant: String,
    kind: CredentialKind,
    namespace: Option<String>,
    #[serde(default)]
    scopes: Vec<String>,
    expires: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    #[serde(default)]
    overlap_ms: u64,
}

/// The calls, over this directory.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(directory: TenantDirectory) -> Router<S> {
    Router::new()
        .route("/admin/v1/tenants", get(tenants).post(add_tenant))
        .route(
            "/admin/v1/tenants/{name}",
            get(tenant).patch(change_tenant).delete(remove_tenant),
        )
        .route("/admin/v1/keys", get(keys).post(add_key))
        .route("/admin/v1/keys/{id}", get(key))
        .route("/admin/v1/keys/{id}/rotate", post(rotate_key))
        .route("/admin/v1/keys/{id}/revoke", post(revoke_key))
        .with_state(directory)
}

/// The same calls where no gateway runs, for a command that has opened the store itself.
pub fn offline(directory: TenantDirectory) -> Router {
    let render = |response: Response| async { error::render(response, Uuid::now_v7()).0 };
    routes(directory)
        .layer(Extension(Actor(OPERATOR)))
        .layer(map_response(render))
}

/// Ends a change also where its caller has gone.
async fn finished<T: Send + 'static>(
    change: impl Future<Output = Result<T, DirectoryError>> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::spawn(change).await {
        Ok(done) => Ok(done?),
        Err(error) => Err(Problem::internal(&format!("a change ended early: {error}"))),
    }
}

fn asked(asked: Result<Query<Asked>, QueryRejection>) -> Result<Asked, Problem> {
    let Query(asked) = asked.map_err(|rejection| {
        Problem::invalid_option(format!(
            "{}: expected ?after=NAME, of keys ?tenant=NAME, or nothing",
            rejection.body_text()
        ))
    })?;
    Ok(asked)
}

async fn tenants(
    State(directory): State<TenantDirectory>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Tenants>, Problem> {
    let page = directory
        .tenants(asked(query)?.after.as_deref(), now())
        .await?;
    Ok(Json(Tenants {
        tenants: page.items,
        next: page.next,
    }))
}

async fn tenant(
    State(directory): State<TenantDirectory>,
    PathName(name): PathName,
) -> Result<Json<TenantView>, Problem> {
    Ok(Json(directory.tenant_shown(&name, now()).await?))
}

async fn add_tenant(
    State(directory): State<TenantDirectory>,
    Extension(Actor(actor)): Extension<Actor>,
    JsonBody(new): JsonBody<NewTenant>,
) -> Result<Json<TenantView>, Problem> {
    let change = async move { directory.add_tenant(new, actor, now()).await };
    finished(change).await.map(Json)
}

async fn change_tenant(
    State(directory): State<TenantDirectory>,
    Extension(Actor(actor)): Extension<Actor>,
    PathName(name): PathName,
    JsonBody(change): JsonBody<TenantChange>,
) -> Result<Json<TenantView>, Problem> {
    let change = async move { directory.change_tenant(&name, change, actor, now()).await };
    finished(change).await.map(Json)
}

async fn remove_tenant(
    State(directory): State<TenantDirectory>,
    Extension(Actor(actor)): Extension<Actor>,
    PathName(name): PathName,
) -> Result<Json<Value>, Problem> {
    let removed = json!({ "removed": name });
    let change = async move { directory.remove_tenant(&name, actor).await };
    finished(change).await?;
    Ok(Json(removed))
}

async fn keys(
    State(directory): State<TenantDirectory>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Keys>, Problem> {
    let asked = asked(query)?;
    let page = directory
        .keys(asked.tenant.as_deref(), asked.after.as_deref(), now())
        .await?;
    Ok(Json(Keys {
        keys: page.items,
        next: page.next,
    }))
}

async fn key(
    State(directory): State<TenantDirectory>,
    PathName(id): PathName,
) -> Result<Json<KeyView>, Problem> {
    Ok(Json(directory.key_shown(&id, now()).await?))
}

async fn add_key(
    State(directory): State<TenantDirectory>,
    Extension(Actor(actor)): Extension<Actor>,
    JsonBody(wanted): JsonBody<KeyWanted>,
) -> Result<Response, Problem> {
    let new = NewKey {
        tenant: wanted.tenant,
        kind: wanted.kind,
        namespace: wanted.namespace,
        scopes: wanted.scopes,
        expires: wanted.expires.map(|at| Millis(at.as_millisecond())),
    };
    let change = async move { directory.add_key(new, actor, now()).await };
    Ok(handed_over(finished(change).await?))
}

async fn rotate_key(
    State(directory): State<TenantDirectory>,
    Extension(Actor(actor)): Extension<Actor>,
    PathName(id): PathName,
    JsonBody(rotation): JsonBody<Rotation>,
) -> Result<Response, Problem> {
    let overlap_ms = rotation.overlap_ms;
    let change = async move { directory.rotate_key(&id, overlap_ms, actor, now()).await };
    Ok(handed_over(finished(change).await?))
}

async fn revoke_key(
    State(directory): State<TenantDirectory>,
    Extension(Actor(actor)): Extension<Actor>,
    PathName(id): PathName,
) -> Result<Json<KeyView>, Problem> {
    let change = async move { directory.revoke_key(&id, actor, now()).await };
    finished(change).await.map(Json)
}

/// A secret, on its only way out.
fn handed_over(secret: Value) -> Response {
    let mut response = Json(secret).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
