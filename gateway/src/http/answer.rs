//! What is said of a result: which engines made it, where the time went, in headers and in trailers.
//!
//! Invariant: whatever ran on a simulated card says so, in every header that names it.
//! It knows neither kernels nor admission.

use std::fmt::Write;
use std::time::Instant;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRAILER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response};
use bytes::{Bytes, BytesMut};

use super::options::FAAM_BACKEND;
pub use super::spent::Spent;
use crate::job::{BlockOutcome, EngineId, FallbackReason};

/// Why blocks ran elsewhere than their policy prefers.
pub const FAAM_BACKEND_REASON: HeaderName = HeaderName::from_static("faam-backend-reason");
/// Whether the answer was verified.
pub const FAAM_VERIFY: HeaderName = HeaderName::from_static("faam-verify");
/// The level that served.
pub const FAAM_LEVEL: HeaderName = HeaderName::from_static("faam-level");
/// W3C Server-Timing.
pub const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// What comes as trailers of a streamed answer (RFC 9110, 6.6.2).
const TRAILERS: &str = "faam-backend, faam-backend-reason, faam-verify, repr-digest, server-timing";

/// Room for the headers of an answer, so that their table never grows.
const HEADERS_EXPECTED: usize = 12;

/// An answer up to this size is copied into one chunk, so that it leaves in one write.
pub(super) const COALESCE_BYTES_MAX: usize = 16 << 10;

/// Which engines served a request's blocks, in order of first use, and why not others.
#[derive(Clone, Debug, Default)]
pub struct EngineUse {
    engines: Vec<(EngineId, u64)>,
    reasons: Vec<FallbackReason>,
}

impl EngineUse {
    /// Why not another engine, where that is known before any block has run.
    pub fn because(&mut self, reason: FallbackReason) {
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    fn count(&mut self, engine: EngineId, fallback: Option<FallbackReason>) {
        match self.engines.iter_mut().find(|(known, _)| *known == engine) {
            Some((_, blocks)) => *blocks += 1,
            None => self.engines.push((engine, 1)),
        }
        if let Some(reason) = fallback {
            self.because(reason);
        }
    }

    /// `Faam-Backend`: the engine, or all of them with their shares.
    #[must_use]
    pub fn header(&self) -> String {
        let mut text = String::new();
        for (engine, blocks) in &self.engines {
            if !text.is_empty() {
                text.push_str(", ");
            }
            // Writing to a String cannot fail.
            let _ = write!(text, "{engine}");
            if matches!(
                engine,
                EngineId::Card {
                    simulated: true,
                    ..
                }
            ) {
                text.push_str(";simulated");
            }
            if self.engines.len() > 1 {
                let _ = write!(text, ";blocks={blocks}");
            }
        }
        text
    }

    /// Whether no block has been served.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.engines.is_empty()
    }

    /// `Faam-Backend-Reason`, if there was a fallback.
    #[must_use]
    pub fn reasons(&self) -> Option<String> {
        let words: Vec<_> = self.reasons.iter().map(|reason| reason.as_str()).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// The label of the metric: `cpu`, `card`, `simulated`, `mixed` or `none`.
    #[must_use]
    pub fn label(&self) -> &'static str {
        let label = |engine: &EngineId| match engine {
            EngineId::Cpu => "cpu",
            EngineId::Card {
                simulated: true, ..
            } => "simulated",
            EngineId::Card {
                simulated: false, ..
            } => "card",
        };
        let mut labels = self.engines.iter().map(|(engine, _)| label(engine));
        match labels.next() {
            None => "none",
            Some(first) if labels.all(|label| label == first) => first,
            Some(_) => "mixed",
        }
    }
}

/// What has become of a request so far. Outlives the work, so that a deadline can say where time went.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Engines.
    pub engines: EngineUse,
    /// Time.
    pub spent: Spent,
    /// Bytes of the body.
    pub bytes_in: u64,
    /// Bytes of the answer.
    pub bytes_out: u64,
    /// When the answer was whole.
    pub answered: Option<Instant>,
}

impl Progress {
    /// A block has ended.
    pub fn count(&mut self, outcome: &BlockOutcome) {
        self.engines.count(outcome.engine, outcome.fallback);
        self.spent.add(&outcome.phases);
    }

    /// What is known, as headers or trailers. `verify` is `Faam-Verify`; `began` is when the request did.
    #[must_use]
    pub fn facts(&self, verify: &'static str, began: Instant) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(4);
        self.tell(verify, began, &mut headers);
        headers
    }

    /// Adds [`Progress::facts`] to `headers`.
    pub fn tell(&self, verify: &'static str, began: Instant, headers: &mut HeaderMap) {
        // Made of words of ours and of numbers.
        let value = |text: String| HeaderValue::try_from(text).ok();
        let backend = match self.engines.engines[..] {
            [(EngineId::Cpu, _)] => Some(HeaderValue::from_static("cpu")),
            _ => value(self.engines.header()),
        };
        let facts = [
            (FAAM_VERIFY, Some(HeaderValue::from_static(verify))),
            (FAAM_BACKEND, backend),
            (FAAM_BACKEND_REASON, self.engines.reasons().and_then(value)),
            (
                SERVER_TIMING,
                HeaderValue::try_from(self.spent.header_bytes(began.elapsed())).ok(),
            ),
        ];
        for (name, value) in facts {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
    }
}

/// Headers with room for all that is said of an answer.
#[must_use]
pub fn headers() -> HeaderMap {
    HeaderMap::with_capacity(HEADERS_EXPECTED)
}

/// `body` with exactly `length` bytes, and all facts as headers.
#[must_use]
pub fn whole(mut headers: HeaderMap, facts: HeaderMap, length: u64, body: Body) -> Response<Body> {
    headers.extend(facts);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    with_headers(headers, body)
}

/// `body` of a length that nobody knows yet, with what is known as headers. Its final facts come as trailers where
/// `takes_trailers`.
#[must_use]
pub fn streamed(
    mut headers: HeaderMap,
    facts: HeaderMap,
    takes_trailers: bool,
    body: Body,
) -> Response<Body> {
    headers.extend(facts);
    if takes_trailers {
        headers.insert(TRAILER, HeaderValue::from_static(TRAILERS));
    }
    let mut response = with_headers(headers, body);
    response.extensions_mut().insert(Streamed);
    response
}

/// Marks a response that began before its request's body had ended.
#[derive(Clone, Copy, Debug)]
pub struct Streamed;

fn with_headers(mut headers: HeaderMap, body: Body) -> Response<Body> {
    headers
        .entry(CONTENT_TYPE)
        .or_insert(HeaderValue::from_static("application/octet-stream"));
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    response
}

/// Chunks of a whole answer; small ones in one piece.
#[must_use]
pub fn coalesced(mut chunks: Vec<Bytes>) -> Vec<Bytes> {
    let length: usize = chunks.iter().map(Bytes::len).sum();
    if chunks.len() > 1 && length <= COALESCE_BYTES_MAX {
        let mut one = BytesMut::with_capacity(length);
        for chunk in chunks.drain(..) {
            one.extend_from_slice(&chunk);
        }
        chunks.push(one.freeze());
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: EngineId = EngineId::Card {
        card: 0,
        function: 1,
        simulated: true,
    };

    fn engine_use(blocks: &[(EngineId, Option<FallbackReason>)]) -> EngineUse {
        let mut engines = EngineUse::default();
        for (engine, fallback) in blocks {
            engines.count(*engine, *fallback);
        }
        engines
    }

    #[test]
    fn one_engine_stands_alone_and_a_simulated_one_says_so() {
        let engines = engine_use(&[(CARD, None), (CARD, None)]);
        assert_eq!(engines.header(), "fpga0.1;simulated");
        assert_eq!(engines.reasons(), None);
        assert_eq!(engines.label(), "simulated");
        assert_eq!(engine_use(&[(EngineId::Cpu, None)]).header(), "cpu");
        let hardware = EngineId::Card {
            card: 3,
            function: 0,
            simulated: false,
        };
        assert_eq!(engine_use(&[(hardware, None)]).header(), "fpga3.0");
    }

    #[test]
    fn mixed_engines_come_in_order_of_first_use_with_their_shares() {
        let fault = Some(FallbackReason::CardFault);
        let engines = engine_use(&[
            (CARD, None),
            (EngineId::Cpu, fault),
            (CARD, None),
            (EngineId::Cpu, fault),
        ]);
        assert_eq!(engines.header(), "fpga0.1;simulated;blocks=2, cpu;blocks=2");
        assert_eq!(engines.reasons().as_deref(), Some("card-fault"));
        assert_eq!(engines.label(), "mixed");
    }
}
