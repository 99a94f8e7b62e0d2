//! The OpenAPI document and the page that shows it, all from this binary.
//!
//! Invariant: the page loads nothing from elsewhere, and its Content-Security-Policy says so. It knows no routes.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, Response};
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;
use bytes::Bytes;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::Config;

use super::path_name::PathName;
use crate::error::{Problem, ProblemKind};

/// Where the document is.
const OPENAPI_PATH: &str = "/openapi.json";
/// Where the page is.
const DOCS_PATH: &str = "/docs/";
/// Swagger UI sets styles on its elements, and draws its icons from data URIs; all else is files of ours.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Files change with the binary only.
const CACHE: &str = "public, max-age=3600";

static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    let config = Config::from(OPENAPI_PATH)
        .try_it_out_enabled(true)
        .display_request_duration(true)
        .validator_url("none");
    Arc::new(config)
});

/// The two.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(document: &OpenApi) -> Router<S> {
    let text = render(document);
    let openapi = move || {
        let text = text.clone();
        async move { file("application/json", Body::from(text)) }
    };
    Router::new()
        .route(OPENAPI_PATH, get(openapi))
        .route("/docs", get(async || Redirect::permanent(DOCS_PATH)))
        .route(DOCS_PATH, get(async || page("index.html")))
        .route(
            "/docs/{*file}",
            get(async |PathName(name): PathName| page(&name)),
        )
}

/// The document as it is served and committed.
pub(super) fn render(document: &OpenApi) -> Bytes {
    // Numbers, texts and lists of them: there is nothing that JSON cannot hold.
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text.into()
}

fn page(name: &str) -> Response<Body> {
    match utoipa_swagger_ui::serve(name, Arc::clone(&CONFIG)) {
        Ok(Some(found)) => file(&found.content_type, Body::from(found.bytes.into_owned())),
        Ok(None) => {
            let detail = format!("{DOCS_PATH} has no such file; the page itself is {DOCS_PATH}");
            Problem::new(ProblemKind::NotFound, detail).into_response()
        }
        Err(error) => Problem::internal(&error.to_string()).into_response(),
    }
}

fn file(content_type: &str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 4] = [
        (CACHE_CONTROL, CACHE),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(content_type) = HeaderValue::try_from(content_type) {
        headers.insert(CONTENT_TYPE, content_type);
    }
    response
}
