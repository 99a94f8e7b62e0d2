//! A front: whatever answers requests in another platform's words.
//!
//! Invariant: whatever goes wrong is an answer of the platform's own form, with the problem that it tells attached
//! ([`Problem::told_by`](crate::error::Problem::told_by)), so that it is logged and counted like any other. It knows no
//! platform.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use axum::response::IntoResponse;

use super::body_room::BodyRoom;
use super::call::CallOptions;
use super::front_name::FrontName;
use super::function::Function;
use super::invoker::Invoker;
use crate::error::Problem;
use crate::http::invocation::Invocation;

/// An answer, once it is there.
pub type Answered<'f> = Pin<Box<dyn Future<Output = Response<Body>> + Send + 'f>>;

/// Waited for between an answer's line in the log and the answer.
pub type Logged = Pin<Box<dyn Future<Output = ()> + Send>>;

/// See the module's head.
pub trait Front: Send + Sync + 'static {
    /// Which front it is, for logs and metrics.
    fn name(&self) -> FrontName;

    /// Answers one request.
    fn answer(&self, invocation: Invocation, request: Request) -> Answered<'_>;

    /// Tells a problem that came before or instead of the front's own answer to a request of `path`: a panic, headers that
    /// are too large. Without words of the platform's it is a problem in JSON, as our own callers have it.
    fn tell(&self, problem: Problem, path: &str) -> Response<Body> {
        let _ = path;
        problem.into_response()
    }

    /// What has to happen once the log has the answer's line, and before the answer leaves.
    fn logged(&self, answer: &Response<Body>) -> Option<Logged> {
        let _ = answer;
        None
    }
}

/// What a front in a process of its own works with.
#[derive(Clone)]
pub struct Backend {
    /// Carries calls out.
    pub invoker: Arc<dyn Invoker>,
    /// What is called where a request does not say.
    pub function: Function,
    /// How, where a request does not say.
    pub options: CallOptions,
    /// Room for bodies that are held whole.
    pub room: Arc<BodyRoom>,
}
