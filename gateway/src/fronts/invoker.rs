//! Who carries a front's calls out: this process's own gateway, or another one.
//!
//! Invariant: a call passes through all that a request of `POST /v1/compress` or `/v1/decompress` passes through, once. It
//! knows no platform.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::call::{Answer, Call};
use crate::auth::Principal;
use crate::error::{Problem, ProblemKind};
use crate::http::app::App;
use crate::http::invocation::Invocation;

/// What a call comes to, once it does.
pub type Invoked<'i> = Pin<Box<dyn Future<Output = Result<Answer, Problem>> + Send + 'i>>;

/// Whether calls would be taken, once it is known.
pub type Readiness<'i> = Pin<Box<dyn Future<Output = Result<(), Problem>> + Send + 'i>>;

/// See the module's head.
pub trait Invoker: Send + Sync {
    /// Has a call carried out. A problem that comes back has not been told to anybody.
    fn invoke(&self, invocation: Invocation, call: Call) -> Invoked<'_>;

    /// Whether calls would be taken now; within a limit of time.
    fn ready(&self) -> Readiness<'_> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// This process's own gateway, on behalf of one caller.
pub struct OwnGateway {
    /// The gateway.
    pub app: App,
    /// The caller.
    pub principal: Arc<Principal>,
}

impl Invoker for OwnGateway {
    fn invoke(&self, invocation: Invocation, call: Call) -> Invoked<'_> {
        Box::pin(
            self.app
                .invoke(invocation, Arc::clone(&self.principal), call),
        )
    }

    fn ready(&self) -> Readiness<'_> {
        let ready = match self.app.admission.is_leaving() {
            false => Ok(()),
            true => Err(Problem::new(
                ProblemKind::Draining,
                "the gateway is about to stop: expected one that serves; send the request again, elsewhere",
            )),
        };
        Box::pin(std::future::ready(ready))
    }
}
