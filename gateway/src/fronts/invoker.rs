//! Who carries a front's calls out: this process's own gateway, or another one.
//!
//! Invariant: a call passes through all that a request of `POST /v1/compress` or `/v1/decompress` passes through, once. It
//! knows no platform.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::call::{Answer, Call};
use crate::auth::Principal;
use crate::error::Problem;
use crate::http::app::App;
use crate::http::invocation::Invocation;

/// What a call comes to, once it does.
pub type Invoked<'i> = Pin<Box<dyn Future<Output = Result<Answer, Problem>> + Send + 'i>>;

/// See the module's head.
pub trait Invoker: Send + Sync {
    /// Has a call carried out. A problem that comes back has not been told to anybody.
    fn invoke(&self, invocation: Invocation, call: Call) -> Invoked<'_>;
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
}
