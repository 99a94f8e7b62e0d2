//! Credentials: their kinds, how each is made, presented and recognised.
//!
//! Owns the one trait of all kinds. Invariants: a secret is never kept, only what recognises it; what is presented is
//! compared in constant time; a credential that is not known costs the same work as one that is known and wrong, and is
//! refused in the same words. It knows no tenants' limits and no store.
//!
//! | module | owns |
//! |---|---|
//! | `api_key` | `Authorization: Bearer faam_<id>_<secret>` |
//! | `openwhisk` | `Authorization: Basic`, uuid and key |
//! | `sigv4` | AWS Signature Version 4 |
//! | `keyring` | peppers and root keys, in files of their own |
//! | `kept_key` | keys that a gateway makes for itself: the demo tenant's, the operator's |
//! | `scopes` | what a credential may be used for |
//! | `random_text` | identifiers and secrets |
//! | `secret_file` | files with secrets |
//!
//! Why HMAC and not a password hash: a secret is 256 random bits, so there is nothing to guess, and a slow hash a request
//! would let any caller burn our processors.

pub mod api_key;
pub mod kept_key;
pub mod keyring;
pub mod openwhisk;
mod random_text;
pub mod scopes;
pub mod secret_file;
pub mod sigv4;

use std::sync::Arc;

use axum::http::{HeaderMap, Method, Uri};
use faam_store::{CredentialKind, Millis};
use subtle::Choice;

use self::keyring::{Keyring, MAC_BYTES, RootIndex};
use crate::auth::{AuthError, Principal};

/// What a request says of who sends it.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'r> {
    /// Its method.
    pub method: &'r Method,
    /// Its target.
    pub uri: &'r Uri,
    /// Its headers.
    pub headers: &'r HeaderMap,
    /// When it came.
    pub now: Millis,
    /// SHA-256 of its body, where that was read before it is known who sends it.
    pub body_sha256: Option<[u8; MAC_BYTES]>,
    /// Whether the body may be signed in chunks: whoever asks has to open them.
    pub takes_chunks: bool,
}

/// A credential as it is looked up: whose it is, and what recognises it.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Whose it is.
    pub principal: Arc<Principal>,
    /// Its kind.
    pub kind: CredentialKind,
    /// HMAC of the secret; of no use where the secret is derived.
    pub verifier: [u8; MAC_BYTES],
    /// Which pepper or root key it was made with; `None` where that is gone, so that nothing matches.
    pub root: Option<RootIndex>,
    /// Counts the secrets that this name has had.
    pub version: i64,
    /// From when on it is no longer taken, whether it expired or was revoked.
    pub not_after: Option<Millis>,
}

impl Grant {
    /// Whether it is taken at this moment.
    #[must_use]
    pub fn is_live(&self, now: Millis) -> bool {
        self.not_after.is_none_or(|end| now < end)
    }
}

/// Where credentials are looked up.
pub trait Known: Send + Sync {
    /// The credential of this kind and public name.
    fn find(&self, kind: CredentialKind, id: &str) -> Option<&Grant>;
    /// The one API key without a public name, if there is one: what recognises it under each pepper, in their order.
    fn nameless(&self) -> Option<(&Grant, &[[u8; MAC_BYTES]])>;
}

/// What became of a presented credential.
#[derive(Clone, Debug)]
pub struct Judged<'k> {
    /// Which one it claims to be.
    pub grant: Option<&'k Grant>,
    /// Whether its secret was shown to be known.
    pub holds: Choice,
    /// SHA-256 of the body that the request was signed with: the body has to have it.
    pub body_sha256: Option<[u8; MAC_BYTES]>,
    /// What a body in chunks has to be opened with.
    pub chunks: Option<sigv4::chunks::Chunks>,
}

/// A new credential: the only moment at which its secret is there.
#[derive(Clone)]
pub struct Issued {
    /// Its public name.
    pub id: String,
    /// What its holder keeps.
    pub secret: String,
    /// What recognises it; empty where that is derived.
    pub verifier: Vec<u8>,
    /// Name of the pepper or root key that it was made with.
    pub root: String,
    /// Counts the secrets that this name has had.
    pub version: i64,
}

/// A kind of credential.
pub trait Kind: Send + Sync {
    /// Its name in the store.
    fn kind(&self) -> CredentialKind;

    /// What `Authorization` begins with, in whatever case (RFC 9110, 11.1).
    fn scheme(&self) -> &'static str;

    /// Judges what came behind the scheme. The work does not depend on whether the credential is known.
    ///
    /// # Errors
    /// [`AuthError`] for what does not even have the form of this kind.
    fn judge<'k>(
        &self,
        value: &[u8],
        presented: &Presented<'_>,
        known: &'k dyn Known,
        keyring: &Keyring,
    ) -> Result<Judged<'k>, AuthError>;

    /// Makes a new one.
    ///
    /// # Errors
    /// The system gave no random bytes.
    fn issue(&self, keyring: &Keyring) -> Result<Issued, getrandom::Error>;
}

/// Every kind.
pub static KINDS: [&dyn Kind; 3] = [&api_key::ApiKey, &openwhisk::BasicAuth, &sigv4::SigV4];

/// The kind with this name in the store.
#[must_use]
pub fn of(kind: CredentialKind) -> &'static dyn Kind {
    match kind {
        CredentialKind::Api => &api_key::ApiKey,
        CredentialKind::OpenWhisk => &openwhisk::BasicAuth,
        CredentialKind::SigV4 => &sigv4::SigV4,
    }
}
