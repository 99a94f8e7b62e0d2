//! An answer that stays in memory, for the front whose request it answers.
//!
//! Invariants: it is whole before anything is said of it; what of it is longer than the window of `super::outflow` is charged
//! to its request's permit, never put on disk, and no longer than its front can carry; the permit is held until the front's
//! own answer has left. It knows no front.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response};
use bytes::{Bytes, BytesMut};

use super::request_record::RequestRecord;
use crate::admission::AdmissionPermit;
use crate::base64;
use crate::error::{Problem, ProblemKind};

/// Of a request that a front makes: how its answer is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// Most bytes that the front can carry.
    pub(super) bytes_max: usize,
    /// Memory that the front holds for it besides.
    pub(super) held_bytes: usize,
    /// How many times the front writes it in base64.
    pub(super) base64_copies: usize,
}

/// A response's extension: its body, and what it is charged to.
#[derive(Clone, Debug)]
struct KeptAnswer {
    chunks: Vec<Bytes>,
    permit: Arc<AdmissionPermit>,
}

impl Kept {
    /// Of a request, if a front makes it.
    pub(super) fn of(request: &Request<Body>) -> Option<Self> {
        request.extensions().get().copied()
    }

    /// The front has its answer: the request has ended well, and what it holds from here on is the answer, what the front
    /// holds for it, and what the front makes of it.
    ///
    /// # Errors
    /// There is no memory for what the front makes of it.
    pub(super) fn answer(
        self,
        record: RequestRecord,
        permit: Arc<AdmissionPermit>,
        headers: HeaderMap,
        chunks: Vec<Bytes>,
    ) -> Result<Response<Body>, Problem> {
        let length: usize = chunks.iter().map(Bytes::len).sum();
        let leaving = base64::encoded_len(length).saturating_mul(self.base64_copies);
        let needed = length
            .saturating_add(self.held_bytes)
            .saturating_add(leaving);
        let more = needed.saturating_sub(permit.bytes());
        if more == 0 {
            permit.shrink_to(needed);
        } else if let Err(refusal) = permit.grow(more) {
            return Err(record.refuse(Problem::from(refusal).into()));
        }
        record.ok();
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = headers;
        response
            .extensions_mut()
            .insert(KeptAnswer { chunks, permit });
        Ok(response)
    }

    /// What is told of a longer answer than the front can carry.
    pub(super) fn too_long(self) -> Problem {
        Problem::new(
            ProblemKind::TooLarge,
            format!(
                "the result is longer than {} bytes, the most that this way of calling carries; send less data, or call \
                 /v1/compress or /v1/decompress, whose answers are streamed",
                self.bytes_max
            ),
        )
    }
}

/// A kept answer's headers, its bytes in one piece, and its permit; `None` if it was not kept.
pub(super) fn taken(response: Response<Body>) -> Option<(HeaderMap, Bytes, Arc<AdmissionPermit>)> {
    let (mut head, _) = response.into_parts();
    let KeptAnswer { mut chunks, permit } = head.extensions.remove()?;
    if chunks.len() <= 1 {
        return Some((head.headers, chunks.pop().unwrap_or_default(), permit));
    }
    let mut whole = BytesMut::with_capacity(chunks.iter().map(Bytes::len).sum());
    // Each goes as it is copied: two whole answers are never there.
    for chunk in chunks {
        whole.extend_from_slice(&chunk);
    }
    Some((head.headers, whole.freeze(), permit))
}
