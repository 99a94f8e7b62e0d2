//! A request's body as a JSON object, for an operator's calls.
//!
//! Invariant: what cannot be read, is too long, or names a member that is not known is refused in words; its type is not asked
//! for, because a shell sends none. It does not know what is in it.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use crate::error::{Problem, ProblemKind};

/// See the module's head. A body of nothing is an empty object.
pub(super) struct JsonBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, state).await.map_err(|error| {
            Problem::new(
                ProblemKind::TooLarge,
                format!("the body cannot be read: {error}; expected a short JSON object"),
            )
        })?;
        let bytes: &[u8] = match bytes.trim_ascii() {
            [] => b"{}",
            bytes => bytes,
        };
        serde_json::from_slice(bytes).map(Self).map_err(|error| {
            Problem::invalid_option(format!(
                "the body is not what is expected here: {error}; correct it"
            ))
        })
    }
}
