//! One call of a function through a front, and its answer.
//!
//! Invariant: options are text as it came, read by the one parser of `POST /v1/compress` and `/v1/decompress`, so that they
//! mean the same everywhere and are refused in the same words; what an answer's bytes hold of the gateway's memory is held
//! until the front's own answer has left, where that is made by [`Answer::body`] or [`Answer::body_of`]. It knows no platform.

use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::function::Function;
use crate::admission::AdmissionPermit;
use crate::base64;
use crate::http::answer::{FAAM_BACKEND_REASON, FAAM_LEVEL, FAAM_VERIFY, SERVER_TIMING};
use crate::http::options::FAAM_BACKEND;

/// How a function is to be called. What is `None` is what the HTTP call has where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallOptions {
    /// Effort, `1` to `12`.
    pub level: Option<Box<str>>,
    /// `auto`, `require-hw`, `prefer-hw` or `cpu`.
    pub backend: Option<Box<str>>,
    /// How long the caller waits, in milliseconds.
    pub deadline_ms: Option<Box<str>>,
    /// `0` to `7`.
    pub priority: Option<Box<str>>,
}

impl Call {
    /// Memory of a front's answer to a result of so many bytes, besides the result itself.
    #[must_use]
    pub const fn leaving_bytes(&self, output_bytes: usize) -> usize {
        base64::encoded_len(output_bytes).saturating_mul(self.base64_copies)
    }
}

impl CallOptions {
    /// A container's own, for one function: a level that was meant for its others is not for one that takes none.
    #[must_use]
    pub fn fit(&self, function: Function) -> Self {
        let mut fit = self.clone();
        fit.level = fit.level.filter(|_| function.takes_level());
        fit
    }

    /// These, and where they say nothing what `defaults` say.
    #[must_use]
    pub fn or(self, defaults: &Self) -> Self {
        Self {
            level: self.level.or_else(|| defaults.level.clone()),
            backend: self.backend.or_else(|| defaults.backend.clone()),
            deadline_ms: self.deadline_ms.or_else(|| defaults.deadline_ms.clone()),
            priority: self.priority.or_else(|| defaults.priority.clone()),
        }
    }
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    /// What it does.
    pub function: Function,
    /// How.
    pub options: CallOptions,
    /// With what.
    pub input: Bytes,
    /// Most bytes of output that the front can carry; more is `too-large`.
    pub output_bytes_max: usize,
    /// Memory that the front holds for it besides `input`: the payload it came in, where that was not let go.
    pub held_bytes: usize,
    /// How many times the front's answer has the result in base64, what it is put together of included; 0 where it leaves as
    /// it is.
    pub base64_copies: usize,
}

/// What a call came to.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The result.
    pub output: Bytes,
    /// Length of what it was made of.
    pub bytes_in: u64,
    /// The headers that the same call over HTTP has: `Faam-Backend`, `Faam-Verify`, `Server-Timing`, `Content-Type`, ...
    pub headers: HeaderMap,
    /// What it holds.
    pub hold: Hold,
}

/// A hold of the memory of an answer: the gateway's, or, where another gateway made it, of whoever forwards.
#[derive(Clone, Debug, Default)]
pub struct Hold {
    _permit: Option<Arc<AdmissionPermit>>,
    _room: Option<Arc<OwnedSemaphorePermit>>,
}

impl Hold {
    /// Of what a request was admitted with.
    pub(crate) const fn of(permit: Arc<AdmissionPermit>) -> Self {
        Self {
            _permit: Some(permit),
            _room: None,
        }
    }

    /// Of room for answers that are not this process's own gateway's.
    #[must_use]
    pub fn of_room(room: OwnedSemaphorePermit) -> Self {
        Self {
            _permit: None,
            _room: Some(Arc::new(room)),
        }
    }

    /// `bytes` as a response's body, with a hold that ends once they have left.
    pub fn body_of(&self, bytes: impl Into<Bytes>) -> Body {
        let bytes = bytes.into();
        Body::from(Bytes::from_owner(HeldBytes {
            bytes,
            _hold: self.clone(),
        }))
    }
}

/// Bytes of a front's answer, and what is held for them until they have left.
#[derive(Debug)]
struct HeldBytes {
    bytes: Bytes,
    _hold: Hold,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Answer {
    /// The result as a response's body.
    pub fn body(&self) -> Body {
        self.body_of(self.output.clone())
    }

    /// `bytes`, made of the result, as a response's body.
    pub fn body_of(&self, bytes: impl Into<Bytes>) -> Body {
        self.hold.body_of(bytes)
    }

    fn text(&self, name: impl axum::http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Which engines made it: `cpu`, `fpga0.1;simulated`, ...
    #[must_use]
    pub fn backend(&self) -> &str {
        self.text(FAAM_BACKEND).unwrap_or("none")
    }

    /// Why not those that were preferred.
    #[must_use]
    pub fn backend_reason(&self) -> Option<&str> {
        self.text(FAAM_BACKEND_REASON)
    }

    /// `ok`, `on`, `sampled` or `off`.
    #[must_use]
    pub fn verify(&self) -> &str {
        self.text(FAAM_VERIFY).unwrap_or("off")
    }

    /// The level that served.
    #[must_use]
    pub fn level(&self) -> Option<&str> {
        self.text(FAAM_LEVEL)
    }

    /// Where its time went.
    #[must_use]
    pub fn server_timing(&self) -> Option<&str> {
        self.text(SERVER_TIMING)
    }

    /// Media type of the output.
    #[must_use]
    pub fn media_type(&self) -> &str {
        self.text(CONTENT_TYPE)
            .unwrap_or("application/octet-stream")
    }
}
