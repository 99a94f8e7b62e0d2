//! One request's span for a collector, from its first header to its answer's last byte.
//!
//! Invariant: a span ends once, with its answer's body, also where the caller hangs up; what went wrong is in its status.
//! It knows no queue: `crate::telemetry` sends what has ended.

use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Response, Version};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::SpanData;

use super::answer::SERVER_TIMING;
use super::options::FAAM_BACKEND;
use super::trace_context::{SpanName, tracestate};
use crate::telemetry::Telemetry;

/// What the status of a request says whose caller hung up.
const CANCELLED: &str = "cancelled";
/// What the spans are of.
pub(super) const SCOPE: &str = "faam-gateway";

/// A span that has begun.
pub(super) struct ServerSpan {
    telemetry: Arc<Telemetry>,
    began: SystemTime,
    name: SpanName,
    parent: Option<SpanName>,
    state: TraceState,
    operation: String,
    attributes: Vec<KeyValue>,
    status: Status,
}

impl ServerSpan {
    /// `parent` is the caller's, `name` ours below it. `None` where the caller records nothing.
    pub(super) fn begin(
        telemetry: &Arc<Telemetry>,
        name: SpanName,
        parent: Option<SpanName>,
        request: &axum::extract::Request,
    ) -> Option<Self> {
        if !name.is_sampled() {
            return None;
        }
        let state = parent.and_then(|_| tracestate(request.headers()));
        let state = state.and_then(|state| TraceState::from_str(&state).ok());
        let (operation, method) = method(request.method());
        let path = request.uri().path().to_owned();
        Some(Self {
            telemetry: Arc::clone(telemetry),
            began: SystemTime::now(),
            name,
            parent,
            state: state.unwrap_or_default(),
            operation: operation.to_owned(),
            attributes: method
                .into_iter()
                .chain([
                    KeyValue::new("url.path", path),
                    KeyValue::new("network.protocol.version", version(request.version())),
                ])
                .collect(),
            // Until there is an answer.
            status: Status::error(CANCELLED),
        })
    }

    /// The route that serves the request: its path with names in place of what varies.
    pub(super) fn route(&mut self, route: &str) {
        self.operation = format!("{} {route}", self.operation);
        self.add("http.route", route.to_owned());
    }

    /// The answer's head; the span ends with its body.
    pub(super) fn answered(
        mut self,
        response: Response<Body>,
        id: String,
        problem: Option<&'static str>,
    ) -> Response<Body> {
        let status = response.status();
        self.add("http.response.status_code", i64::from(status.as_u16()));
        self.add("faam.invocation_id", id);
        if let Some(problem) = problem {
            self.add("error.type", problem);
        }
        self.status = if status.is_server_error() {
            Status::error(problem.unwrap_or("error"))
        } else {
            Status::Unset
        };
        self.facts(response.headers());
        response.map(|inner| {
            Body::new(TracedBody {
                inner,
                span: self,
                ended: false,
            })
        })
    }

    /// What headers or trailers say of the work.
    fn facts(&mut self, headers: &HeaderMap) {
        for (name, key) in [
            (FAAM_BACKEND, "faam.backend"),
            (SERVER_TIMING, "faam.server_timing"),
        ] {
            if let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) {
                self.add(key, value.to_owned());
            }
        }
    }

    fn add(&mut self, key: &'static str, value: impl Into<opentelemetry::Value>) {
        self.attributes
            .retain(|attribute| attribute.key.as_str() != key);
        self.attributes.push(KeyValue::new(key, value));
    }
}

impl Drop for ServerSpan {
    fn drop(&mut self) {
        let context = |name: SpanName, is_remote| {
            SpanContext::new(
                TraceId::from(name.trace),
                SpanId::from(name.span),
                TraceFlags::SAMPLED,
                is_remote,
                self.state.clone(),
            )
        };
        let parent = self.parent.map(|parent| SpanId::from(parent.span));
        self.telemetry.send(SpanData {
            span_context: context(self.name, false),
            parent_span_id: parent.unwrap_or(SpanId::INVALID),
            parent_span_is_remote: parent.is_some(),
            span_kind: SpanKind::Server,
            name: std::mem::take(&mut self.operation).into(),
            start_time: self.began,
            end_time: SystemTime::now(),
            attributes: std::mem::take(&mut self.attributes),
            dropped_attributes_count: 0,
            events: Default::default(),
            links: Default::default(),
            status: std::mem::replace(&mut self.status, Status::Unset),
            instrumentation_scope: InstrumentationScope::builder(SCOPE)
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
        });
    }
}

/// What a span is called for a method, and its attributes: one of a caller's invention names no span (OpenTelemetry's
/// semantic conventions for HTTP, "HTTP request method").
fn method(method: &Method) -> (&str, Vec<KeyValue>) {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::CONNECT,
        Method::OPTIONS,
        Method::TRACE,
        Method::PATCH,
    ];
    let attribute = |key, value: &str| KeyValue::new(key, value.to_owned());
    match known.contains(method) {
        true => {
            let name = method.as_str();
            (name, vec![attribute("http.request.method", name)])
        }
        false => (
            "HTTP",
            vec![
                attribute("http.request.method", "_OTHER"),
                attribute("http.request.method_original", method.as_str()),
            ],
        ),
    }
}

/// As the same conventions have it.
fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

/// An answer's body under its span.
struct TracedBody {
    inner: Body,
    span: ServerSpan,
    /// Well or with an error.
    ended: bool,
}

impl Drop for TracedBody {
    fn drop(&mut self) {
        if !self.ended && !self.inner.is_end_stream() {
            self.span.status = Status::error(CANCELLED);
        }
    }
}

impl HttpBody for TracedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Err(error))) => {
                this.ended = true;
                this.span.status = Status::error(error.to_string());
            }
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    this.ended = true;
                    this.span.facts(trailers);
                }
            }
            Poll::Ready(None) => this.ended = true,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
