//! What varies in a path: the name of a thing.
//!
//! Invariant: one that is no text names nothing, and is refused as any other name of nothing. It does not know which things
//! there are.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use crate::error::{Problem, ProblemKind};

/// The one name in a route's path, decoded.
pub(super) struct PathName(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for PathName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(_) => Err(Problem::new(
                ProblemKind::NotFound,
                "the path is no UTF-8 once its percent signs are decoded: expected the name of something; GET / lists \
                 what there is",
            )),
        }
    }
}
