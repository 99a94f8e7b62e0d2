//! Routes, and what every request passes through, in order.
//!
//! Invariant: credential, options, announced length and admission are decided before a
//! body is first polled. It knows neither connections nor engines.
//!
//! A router's layers and handlers are boxed one in the other, and cloned at each request: at small bodies that costs as
//! much as compressing them. So [`Surface`] calls the two kernels itself, in one future, by the functions of which the
//! layers of all other routes are made.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path as FsPath;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::header::{CACHE_CONTROL, CONNECTION, EXPECT, HOST};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, Response, Uri, Version};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::IntoResponse;
use faam_store::Store;
use pin_project_lite::pin_project;
use tower::ServiceBuilder;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::Streamed;
use super::body::WatchedBody;
use super::invocation::{Invocation, Observer, observe};
use super::invocations::{self, Invocations};
use super::limits::HttpLimits;
use super::listener::{Answers, Peer, Scheme};
use super::openapi::AnyProblems;
use super::unserved::{method_not_allowed, not_found};
use super::{
    catalogue, compress, decompress, docs, host, images, lambda, openapi, tenant_self, usage,
};
use crate::admission::Admission;
use crate::auth::{Authenticated, Authenticator};
use crate::auth_failures::AuthFailures;
use crate::credentials::Presented;
use crate::directory::TenantDirectory;
use crate::dispatch::Dispatcher;
use crate::error::{Problem, ProblemKind};
use crate::events::{Events, now};
use crate::images::ImageStore;
use crate::job::Verification;
use crate::metrics::Metrics;
use crate::telemetry::Telemetry;
use crate::usage::Usage;
use crate::usage::price::PriceSheet;

/// What handlers share. Cheap to clone: every layer of every request holds it.
#[derive(Clone)]
pub struct App(Arc<AppParts>);

/// See [`App`].
pub struct AppParts {
    /// Runs jobs.
    pub dispatcher: Dispatcher,
    /// Lets requests begin.
    pub admission: Admission,
    /// Who is let in: ends every credential in a tenant.
    pub directory: TenantDirectory,
    /// Limits wrong credentials by source.
    pub auth_failures: Arc<AuthFailures>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Keeps what happens.
    pub events: Events,
    /// Images that cards may be loaded with.
    pub images: ImageStore,
    /// Sends spans to a collector, where there is one.
    pub telemetry: Option<Arc<Telemetry>>,
    /// Limits.
    pub limits: HttpLimits,
    /// Whether results are verified.
    pub verify: Verification,
    /// Final facts of streamed answers.
    pub invocations: Invocations,
    /// Where answers are spilled that nobody reads yet.
    pub spill_dir: Arc<FsPath>,
    /// What outlives the process.
    pub store: Store,
    /// Who may make or send a copy of it: disk for one copy is enough.
    pub backup_turn: Arc<tokio::sync::Mutex<()>>,
    /// What tenants use.
    pub usage: Usage,
    /// What that costs.
    pub prices: PriceSheet,
}

impl App {
    /// Shares `parts`.
    #[must_use]
    pub fn new(parts: AppParts) -> Self {
        Self(Arc::new(parts))
    }
}

impl std::ops::Deref for App {
    type Target = AppParts;

    fn deref(&self) -> &AppParts {
        &self.0
    }
}

/// The public surface. Cheap to clone.
#[derive(Clone)]
pub struct Surface(Arc<SurfaceParts>);

struct SurfaceParts {
    app: App,
    observer: Observer,
    router: Router,
}

/// What has a way of its own.
enum Kernel {
    Compress,
    Decompress,
}

impl Kernel {
    /// The one that a request is for, if it is.
    fn of(request: &Request) -> Option<Self> {
        if request.method() != Method::POST {
            return None;
        }
        match request.uri().path() {
            compress::PATH => Some(Self::Compress),
            decompress::PATH => Some(Self::Decompress),
            _ => None,
        }
    }
}

impl Surface {
    /// With every route.
    #[must_use]
    pub fn new(app: App) -> Self {
        let (routes, document) = documented(&app);
        let routes = routes
            .merge(docs::routes(&document))
            .method_not_allowed_fallback(method_not_allowed)
            .fallback(not_found);
        let observer = Observer {
            metrics: Arc::clone(&app.metrics),
            telemetry: app.telemetry.clone(),
            invocations: app.invocations.clone(),
        };
        let router = stack(routes, observer.clone(), app.limits).with_state(app.clone());
        Self(Arc::new(SurfaceParts {
            app,
            observer,
            router,
        }))
    }
}

#[cfg(test)]
impl Surface {
    /// What its handlers share.
    pub(super) fn app(&self) -> &App {
        &self.0.app
    }
}

impl Answers for Surface {
    async fn answer(self, scheme: Scheme, peer: Peer, request: Request) -> Response<Body> {
        let parts = &*self.0;
        let Some(kernel) = Kernel::of(&request) else {
            return Box::pin(parts.router.clone().answer(scheme, peer, request)).await;
        };
        let path = match kernel {
            Kernel::Compress => compress::PATH,
            Kernel::Decompress => decompress::PATH,
        };
        let answer = |invocation, request| {
            caught(bound(parts.app.limits, request, move |request| {
                parts.app.kernel(kernel, invocation, request)
            }))
        };
        parts
            .observer
            .observe(request, peer, Some(path), answer)
            .await
    }
}

/// The OpenAPI document of the public surface, as it is served.
#[must_use]
pub fn openapi() -> String {
    let routes = everyone()
        .merge(kernels())
        .merge(fronts())
        .merge(tenants_only());
    let (_, document) = routes.split_for_parts();
    let document = openapi::completed(document);
    String::from_utf8_lossy(&docs::render(&document)).into_owned()
}

/// Every route with its documentation: what is not here is not there.
fn documented(app: &App) -> (Router<App>, OpenApi) {
    let tenants_only = tenants_only().route_layer(from_fn_with_state(app.clone(), authenticate));
    let routes = everyone()
        .merge(kernels())
        .merge(fronts())
        .merge(tenants_only);
    let (router, document) = routes.split_for_parts();
    (router, openapi::completed(document))
}

/// Routes without credentials.
fn everyone() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(openapi::frame())
        .routes(routes!(front))
        .routes(routes!(healthz))
        .routes(routes!(catalogue::problem))
}

/// Routes that take a body, for whoever has a key: [`Surface`] calls them, so that they look for it themselves.
fn kernels() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(compress::compress))
        .routes(routes!(decompress::decompress))
}

/// Routes in other platforms' words, which look for a key themselves.
fn fronts() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(lambda::invoke))
        .layer(Extension(Arc::new(lambda::Rooms::default())))
}

/// All other routes for whoever has a key.
fn tenants_only() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(invocations::invocation))
        .routes(routes!(catalogue::devices))
        .routes(routes!(catalogue::kernels))
        .routes(routes!(images::images))
        .routes(routes!(tenant_self::tenant_self))
        .routes(routes!(usage::usage))
}

/// What every request passes through, outermost first.
pub(super) fn stack<S: Clone + Send + Sync + 'static>(
    routes: Router<S>,
    observer: Observer,
    limits: HttpLimits,
) -> Router<S> {
    routes.layer(
        ServiceBuilder::new()
            // Names the request, opens its span, renders whatever problem comes back.
            .layer(from_fn_with_state(observer, observe))
            .layer(from_fn(move |request, next: Next| {
                caught(bound(limits, request, |request| next.run(request)))
            })),
    )
}

impl App {
    /// Has the kernel answer.
    async fn kernel(
        &self,
        kernel: Kernel,
        invocation: Invocation,
        request: Request,
    ) -> Response<Body> {
        let (app, invocation) = (State(self.clone()), Extension(invocation));
        let answer = match kernel {
            Kernel::Compress => compress::compress(app, invocation, request).await,
            Kernel::Decompress => decompress::decompress(app, invocation, request).await,
        };
        answer.into_response()
    }

    /// Who sends a request, by the credential that it carries. Wrong ones are limited by where they come from.
    pub(super) fn caller(
        &self,
        invocation: Invocation,
        request: &Request,
    ) -> Result<Authenticated, Problem> {
        let presented = Presented {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            now: now(),
            body_sha256: None,
            takes_chunks: false,
        };
        self.directory
            .authenticate(&presented)
            .map_err(|error| self.auth_failures.problem(error, invocation.peer))
    }
}

async fn authenticate(
    State(app): State<App>,
    Extension(invocation): Extension<Invocation>,
    mut request: Request,
    next: Next,
) -> Response<Body> {
    match app.caller(invocation, &request) {
        Ok(Authenticated { principal, .. }) => {
            let extensions = request.extensions_mut();
            extensions.insert(Arc::clone(&principal.tenant));
            extensions.insert(principal);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// Refuses headers beyond the limit, and a request that names no host, whose connection ends: what follows on it may be
/// meant for somebody else. A body that is left unread is drained, and its connection ends.
pub(super) async fn bound<F>(
    limits: HttpLimits,
    request: Request,
    answer: impl FnOnce(Request) -> F,
) -> Response<Body>
where
    F: Future<Output = Response<Body>>,
{
    let expects_continue = request.headers().contains_key(EXPECT);
    // HTTP/2 ends the stream, not the connection.
    let http1 = request.version() <= Version::HTTP_11;
    let host = host::check(&request);
    let misread = host.is_err();
    let refusal =
        headers_too_large(&request, limits.header_bytes_max).or(host.err().map(Problem::from));
    let (parts, body) = request.into_parts();
    let (body, watch) = WatchedBody::new(body, expects_continue, limits);
    let mut response = match refusal {
        Some(problem) => problem.into_response(),
        None => answer(Request::from_parts(parts, Body::new(body))).await,
    };
    // A streamed answer goes on while its request's body arrives.
    let streamed = response.extensions().get::<Streamed>().is_some();
    if http1 && (misread || !streamed && !watch.ended_well()) {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// What `answer` comes to; a panic is a bug of ours: a 500 with an id, and the process lives on.
pub(super) const fn caught<F: Future<Output = Response<Body>>>(answer: F) -> Caught<F> {
    Caught { answer }
}

pin_project! {
    /// See [`caught`]. A function of its own name with `async` would hold `answer` twice, as its argument and pinned,
    /// and every request's future is moved to its place in the connection.
    pub(super) struct Caught<F> {
        #[pin]
        answer: F,
    }
}

impl<F: Future<Output = Response<Body>>> Future for Caught<F> {
    type Output = Response<Body>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response<Body>> {
        let answer = self.project().answer;
        // Not polled again after a panic.
        catch_unwind(AssertUnwindSafe(|| answer.poll(cx)))
            .unwrap_or_else(|cause| Poll::Ready(panicked(&*cause)))
    }
}

fn headers_too_large(request: &Request, header_bytes_max: usize) -> Option<Problem> {
    let fields = request.headers().iter();
    let bytes: usize = fields
        .map(|(name, value)| name.as_str().len().saturating_add(value.len()))
        .sum();
    let path = request.uri().path_and_query();
    let bytes = bytes.saturating_add(path.map_or(0, |path| path.as_str().len()));
    (bytes > header_bytes_max).then(|| {
        let detail = format!(
            "request line and headers of {bytes} bytes: expected at most {header_bytes_max}; send fewer or shorter ones"
        );
        Problem::new(ProblemKind::Headers, detail)
    })
}

fn panicked(cause: &(dyn Any + Send)) -> Response<Body> {
    let what = cause
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| cause.downcast_ref::<&str>().copied());
    Problem::internal(what.unwrap_or("a panic without a message")).into_response()
}

/// Whether the gateway answers
#[utoipa::path(
    get, path = "/healthz", tag = "catalogue",
    responses((status = 200, description = "It does", body = String, example = "ok\n"), AnyProblems)
)]
async fn healthz() -> &'static str {
    "ok\n"
}

/// Five lines that work as they stand, once `FAAM_KEY` is set
#[utoipa::path(
    get, path = "/", tag = "catalogue",
    responses((status = 200, description = "Shell lines", body = String), AnyProblems)
)]
async fn front(
    scheme: Option<Extension<Scheme>>,
    uri: Uri,
    headers: HeaderMap,
) -> impl IntoResponse {
    let scheme = scheme.map_or("http", |Extension(Scheme(scheme))| scheme);
    // HTTP/2 has it in `:authority` (RFC 9113, 8.3.1).
    let authority = uri.authority().map(Authority::as_str);
    let host = authority
        .or_else(|| headers.get(HOST)?.to_str().ok())
        .filter(|host| is_authority(host));
    let url = format!("{scheme}://{}", host.unwrap_or("127.0.0.1:8080"));
    let key = r#"-H "Authorization: Bearer $FAAM_KEY""#;
    let send = "curl -sS -X POST --data-binary @-";
    let lines = format!(
        "# FaaM compresses on accelerator cards. Put the key that `faam serve` printed into FAAM_KEY; then:\n\
         printf 'hello hello hello' | {send} {key} {url}/v1/compress | gunzip\n\
         printf 'hello hello hello' | {send} {key} '{url}/v1/compress?format=zlib&level=9' | {send} {key} {url}/v1/decompress\n\
         printf 'hello hello hello' | {send} {key} -H 'Faam-Backend: prefer-hw' -o /dev/null -D - {url}/v1/compress\n\
         curl -sS {key} {url}/v1/devices\n\
         curl -sS {key} {url}/v1/kernels\n"
    );
    // They name the host that was asked for: kept for others they would send their keys there.
    ([(CACHE_CONTROL, "no-store")], lines)
}

/// Whether a Host header can stand in a shell line as it is.
fn is_authority(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= 255
        && host.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']')
        })
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use axum::routing::get;
    use serde_json::Value;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_500_with_an_id_and_without_its_cause() {
        async fn broken() -> &'static str {
            panic!("a secret")
        }
        let metrics = Arc::new(Metrics::new());
        let routes = Router::new().route("/", get(broken));
        let observer = Observer {
            metrics: Arc::clone(&metrics),
            telemetry: None,
            invocations: Invocations::default(),
        };
        let service = stack(routes, observer, HttpLimits::default());
        let request = Request::get("/").header(HOST, "faam.test");
        let response = service
            .oneshot(request.body(Body::empty()).expect("a request"))
            .await
            .expect("infallible");
        assert_eq!(response.status().as_u16(), 500);
        assert!(response.headers().contains_key("faam-invocation-id"));
        let body = response
            .into_body()
            .collect()
            .await
            .expect("whole")
            .to_bytes();
        let problem: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(problem["type"], "/problems/internal");
        assert!(!String::from_utf8_lossy(&body).contains("a secret"));
        assert!(
            metrics
                .render()
                .contains(r#"faam_refused_total{reason="internal"} 1"#)
        );
    }

    #[test]
    fn only_a_plain_host_is_repeated_in_shell_lines() {
        for host in ["127.0.0.1:8080", "[::1]:80", "faam.example"] {
            assert!(is_authority(host), "{host}");
        }
        for host in ["", "a b", "a;rm", "$(x)", "a'b"] {
            assert!(!is_authority(host), "{host}");
        }
    }
}
