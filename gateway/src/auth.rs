//! From a credential to a tenant.
//!
//! Owns the trait in which every kind of credential ends, what a request may do once it has, and the words of a refusal.
//! Invariants: a refusal says nothing about whether a tenant or a credential exists; a credential that has expired, was
//! revoked or never was are refused alike. It knows no limits of tenants, and of kinds only their schemes.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use thiserror::Error;

use crate::credentials::Presented;
use crate::credentials::scopes::{Scope, Scopes};
use crate::credentials::sigv4::SigV4Error;
use crate::credentials::sigv4::chunks::Chunks;
use crate::tenants::Tenant;

/// Ends every kind of credential in a tenant.
pub trait Authenticator: Send + Sync {
    /// Whose credential the request carries.
    ///
    /// # Errors
    /// [`AuthError`]
    fn authenticate(&self, presented: &Presented<'_>) -> Result<Authenticated, AuthError>;
}

/// Who sends a request, by the credential that it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The credential's public name; that of the demo tenant's own key is [`Principal::DEMO_KEY`].
    pub credential: Box<str>,
    /// Whose it is.
    pub tenant: Arc<Tenant>,
    /// On behalf of which of the tenant's namespaces; `None` where the credential is for all of them.
    pub namespace: Option<Box<str>>,
    /// What it may be used for.
    pub scopes: Scopes,
}

impl Principal {
    /// What stands for the public name of the demo tenant's own key, which has none.
    pub const DEMO_KEY: &'static str = "demo.key";

    /// Whether the credential may be used for this.
    ///
    /// # Errors
    /// [`ScopeMissing`]
    pub fn allow(&self, scope: Scope) -> Result<(), ScopeMissing> {
        match self.scopes.allows(scope) {
            true => Ok(()),
            false => Err(ScopeMissing(scope)),
        }
    }
}

/// A credential that is not for this use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the credential is not for this: expected one with the scope {0}; use another, or have the operator make one: `faam key \
     add --scope {0}`"
)]
pub struct ScopeMissing(pub Scope);

/// What a credential came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated {
    /// Who.
    pub principal: Arc<Principal>,
    /// SHA-256 of the body that the request was signed with, which the body has to have.
    pub body_sha256: Option<[u8; 32]>,
    /// What opens the body, where it was signed in chunks.
    pub chunks: Option<Chunks>,
}

/// Why a credential was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AuthError {
    /// There are several: whoever stands in between may have gone by another than we would.
    #[error(
        "header Authorization came more than once: expected it once, with one key; leave the others out"
    )]
    Several,
    /// There is none, or none of a kind that is known.
    #[error(
        "no credential came: expected the header `Authorization: Bearer faam_...`; `faam serve` prints a key"
    )]
    Missing,
    /// It is none of ours, or not any more. With the scheme that it came under.
    #[error(
        "the credential is not valid here: expected a key of this gateway; `faam serve` prints the demo tenant's, `faam key \
         add` makes others"
    )]
    Invalid(&'static str),
    /// A signed request that is not as it has to be.
    #[error(transparent)]
    SigV4(#[from] SigV4Error),
}

impl AuthError {
    /// The challenge of its answer (RFC 6750, 3): who sent no credential of this kind is told of no error.
    #[must_use]
    pub fn challenge(self) -> &'static str {
        match self {
            Self::Several => "Bearer realm=\"faam\", error=\"invalid_request\"",
            Self::Invalid("Bearer") => "Bearer realm=\"faam\", error=\"invalid_token\"",
            Self::Invalid("Basic") => "Basic realm=\"faam\", charset=\"UTF-8\"",
            Self::Missing | Self::Invalid(_) | Self::SigV4(_) => "Bearer realm=\"faam\"",
        }
    }
}

/// The one value of `Authorization`.
///
/// # Errors
/// [`AuthError::Several`], [`AuthError::Missing`]
pub fn authorization(headers: &HeaderMap) -> Result<&[u8], AuthError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(AuthError::Missing)?.as_bytes();
    match values.next() {
        Some(_) => Err(AuthError::Several),
        None => Ok(value),
    }
}

/// What stands behind a scheme, if `authorization` is of this one (RFC 9110, 11.1: in whatever case).
#[must_use]
pub fn behind<'v>(scheme: &str, authorization: &'v [u8]) -> Option<&'v [u8]> {
    let (word, rest) = authorization.split_at_checked(scheme.len())?;
    let rest = rest.strip_prefix(b" ")?;
    word.eq_ignore_ascii_case(scheme.as_bytes())
        .then(|| rest.trim_ascii())
}
