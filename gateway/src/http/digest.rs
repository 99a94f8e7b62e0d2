//! Digests of bodies (RFC 9530): those that callers send are checked, those that they want are made.
//!
//! Owns both directions, over sha-256 and sha-512. Invariant: a body whose digest differs never ends well for whoever
//! reads it, and nothing is hashed that nobody asked for. It knows no kernels.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use sfv::{BareItem, Dictionary, ListEntry, Parser};
use sha2::{Digest, Sha256, Sha512};
use thiserror::Error;

use crate::error::{Problem, ProblemKind};

/// Digest of a message's content (RFC 9530, 2).
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// Digest of a representation (RFC 9530, 3): in answers of ours the same bytes, whole.
pub(super) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
/// Which of them a caller wants (RFC 9530, 4).
const WANT_REPR_DIGEST: HeaderName = HeaderName::from_static("want-repr-digest");
/// Longest list of digests that is read, in bytes: all algorithms that are registered, and more.
const FIELD_BYTES_MAX: usize = 2048;

/// An algorithm that is active in the registry (RFC 9530, 7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Sha256,
    Sha512,
}

impl Algorithm {
    const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// The one that a caller wants most of an answer's; `None` where it wants none.
    ///
    /// A wish that cannot be read is none: RFC 9530 has it as a preference.
    pub(super) fn wanted(headers: &HeaderMap) -> Option<Self> {
        let wishes = dictionary(headers, &WANT_REPR_DIGEST).ok().flatten()?;
        let preference = |algorithm: Self| {
            let ListEntry::Item(item) = wishes.get(algorithm.name())? else {
                return None;
            };
            let BareItem::Integer(preference) = &item.bare_item else {
                return None;
            };
            // From 0, not acceptable, to 10.
            let preference = i64::from(*preference);
            (1..=10).contains(&preference).then_some(preference)
        };
        // Of two that are wanted alike the first, which costs less.
        let wanted = Self::ALL
            .into_iter()
            .filter_map(|algorithm| Some((preference(algorithm)?, algorithm)))
            .reduce(|best, other| if other.0 > best.0 { other } else { best });
        wanted.map(|(_, algorithm)| algorithm)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Sha512 => "sha-512",
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    fn hasher(self) -> Hasher {
        match self {
            Self::Sha256 => Hasher::Sha256(Sha256::new()),
            Self::Sha512 => Hasher::Sha512(Box::new(Sha512::new())),
        }
    }
}

#[derive(Clone, Debug)]
enum Hasher {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Hasher {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha256(hasher) => hasher.finalize().to_vec(),
            Self::Sha512(hasher) => hasher.finalize().to_vec(),
        }
    }
}

/// An answer's digest while its bytes are made.
#[derive(Clone, Debug)]
pub(super) struct ReprDigest {
    algorithm: Algorithm,
    hasher: Hasher,
}

impl ReprDigest {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            hasher: algorithm.hasher(),
        }
    }

    /// More of the answer, in its order.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// `Repr-Digest` of all that came.
    pub(super) fn finish(self) -> Option<HeaderValue> {
        let digest = BareItem::ByteSequence(self.hasher.finish());
        let mut members = sfv::DictSerializer::new();
        let key = sfv::KeyRef::from_str(self.algorithm.name()).ok()?;
        let _ = members.bare_item(key, &digest);
        HeaderValue::try_from(members.finish()?).ok()
    }
}

/// A body that is not what its `Content-Digest` says.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the body's {algorithm} is not the one of its {header}; send it again")]
pub(super) struct DigestMismatch {
    algorithm: &'static str,
    header: &'static str,
}

impl DigestMismatch {
    /// Behind an error of a body, if it is one.
    pub(super) fn behind<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut error = Some(error);
        while let Some(link) = error {
            if let Some(mismatch) = link.downcast_ref() {
                return Some(mismatch);
            }
            error = link.source();
        }
        None
    }
}

/// The request with a body that is checked against the digests that its header has of it, and against the SHA-256 that it
/// was signed with, as it is read.
///
/// # Errors
/// Digests that cannot be read.
pub(super) fn checked(request: Request, signed: Option<[u8; 32]>) -> Result<Request, Problem> {
    if signed.is_none() && !request.headers().contains_key(CONTENT_DIGEST) {
        return Ok(request);
    }
    let mut expected = expected(request.headers())?;
    expected.extend(signed.map(|digest| Expected {
        algorithm: Algorithm::Sha256,
        header: "x-amz-content-sha256 (of nothing, where that is left out)",
        digest: digest.to_vec(),
        hasher: Algorithm::Sha256.hasher(),
    }));
    Ok(request.map(|inner| {
        Body::new(DigestedBody {
            inner,
            expected,
            checked: false,
        })
    }))
}

/// What a header's digests say, of the algorithms that are known; others are passed over.
fn expected(headers: &HeaderMap) -> Result<Vec<Expected>, Problem> {
    let invalid = |what: &str| {
        Problem::new(
            ProblemKind::InvalidOption,
            format!(
                "header Content-Digest: {what}; expected a list as in `sha-256=:BASE64:` (RFC 9530); correct it or leave it out"
            ),
        )
    };
    let digests = dictionary(headers, &CONTENT_DIGEST).map_err(invalid)?;
    let mut all = Vec::new();
    for algorithm in Algorithm::ALL {
        let Some(entry) = digests
            .as_ref()
            .and_then(|digests| digests.get(algorithm.name()))
        else {
            continue;
        };
        let digest = match entry {
            ListEntry::Item(item) => match &item.bare_item {
                BareItem::ByteSequence(digest) if digest.len() == algorithm.bytes() => digest,
                _ => {
                    return Err(invalid(&format!(
                        "{} is not {} bytes",
                        algorithm.name(),
                        algorithm.bytes()
                    )));
                }
            },
            ListEntry::InnerList(_) => return Err(invalid("a digest is not one value")),
        };
        all.push(Expected {
            algorithm,
            header: "Content-Digest",
            digest: digest.clone(),
            hasher: algorithm.hasher(),
        });
    }
    Ok(all)
}

/// A field's lines as one dictionary (RFC 9651, 4.2); `None` where none came.
fn dictionary(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Dictionary>, &'static str> {
    let mut joined = Vec::new();
    for line in headers.get_all(name) {
        if !joined.is_empty() {
            joined.extend_from_slice(b", ");
        }
        joined.extend_from_slice(line.as_bytes());
        if joined.len() > FIELD_BYTES_MAX {
            return Err("it is too long");
        }
    }
    if joined.is_empty() {
        return Ok(None);
    }
    let parsed = Parser::new(&joined).parse::<Dictionary>();
    parsed.map(Some).map_err(|_| "it cannot be read")
}

#[derive(Debug)]
struct Expected {
    algorithm: Algorithm,
    /// What said so.
    header: &'static str,
    digest: Vec<u8>,
    hasher: Hasher,
}

/// A request's body under its digests: an error in place of its end where they differ.
#[derive(Debug)]
struct DigestedBody {
    inner: Body,
    expected: Vec<Expected>,
    /// Its end has come.
    checked: bool,
}

impl HttpBody for DigestedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if this.checked {
            return Poll::Ready(None);
        }
        match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
            None => {
                this.checked = true;
                let differs = this
                    .expected
                    .drain(..)
                    .find(|expected| expected.hasher.clone().finish() != expected.digest);
                Poll::Ready(differs.map(|expected| {
                    Err(axum::Error::new(DigestMismatch {
                        algorithm: expected.algorithm.name(),
                        header: expected.header,
                    }))
                }))
            }
            Some(frame) => {
                if let Ok(frame) = &frame
                    && let Some(data) = frame.data_ref()
                {
                    for expected in &mut this.expected {
                        expected.hasher.update(data);
                    }
                }
                Poll::Ready(Some(frame))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        // The end has to be asked for: it is where the digests are compared.
        self.checked || (self.expected.is_empty() && self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    /// Of `hello`, by `printf hello | openssl dgst -sha256 -binary | base64`, and the same with -sha512.
    const SHA256: &str = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";
    const SHA512: &str = "sha-512=:m3HSJL1i83hdltRq0+o9czGb+8KJDKra4t/3JRlnPKcjI8PZm6XBHXx6zG4UuMXaDEZjR1wuXDre9G9zvN7AQw==:";

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_str(value).expect("ASCII"));
        }
        headers
    }

    async fn read(values: &[&str], body: &'static str) -> Result<Bytes, String> {
        let expected = expected(&headers(&CONTENT_DIGEST, values));
        let expected = expected.map_err(|problem| problem.detail().to_owned())?;
        let body = DigestedBody {
            inner: Body::from(body),
            expected,
            checked: false,
        };
        match body.collect().await {
            Ok(whole) => Ok(whole.to_bytes()),
            Err(error) => Err(DigestMismatch::behind(&error)
                .expect("the reason")
                .to_string()),
        }
    }

    #[tokio::test]
    async fn a_body_ends_well_only_with_all_of_its_digests() {
        let both = format!("{SHA512}, {SHA256}");
        for good in [
            &[SHA256][..],
            &[SHA512],
            &[&both],
            &[SHA256, SHA512],
            &["unixsum=30637", SHA256],
            &["md5=:AAAA:"],
        ] {
            assert_eq!(
                read(good, "hello").await.as_deref(),
                Ok(&b"hello"[..]),
                "{good:?}"
            );
        }
        for wrong in [&[SHA256][..], &[SHA512], &[&both]] {
            let error = read(wrong, "hellO").await.expect_err("it differs");
            assert!(error.contains("sha-"), "{error}");
        }
        assert!(
            read(&[SHA256], "").await.is_err(),
            "an empty body has a digest as well"
        );
    }

    #[tokio::test]
    async fn what_is_no_list_of_digests_is_refused() {
        for bad in [
            "sha-256",
            "sha-256=1",
            "sha-256=:AAAA:",
            "sha-256=:A",
            "SHA-256=:AAAA:",
            "=",
            "sha-256=(:AAAA:)",
        ] {
            let error = read(&[bad], "hello").await.expect_err(bad);
            assert!(error.contains("RFC 9530"), "{error}");
        }
        assert!(
            read(&[&format!("a=:{}:", "A".repeat(3000))], "")
                .await
                .is_err()
        );
    }

    #[test]
    fn the_wanted_digest_is_made() {
        let make = |wish: &[&str]| {
            let mut digest = ReprDigest::new(Algorithm::wanted(&headers(&WANT_REPR_DIGEST, wish))?);
            digest.update(b"hel");
            digest.update(b"lo");
            digest.finish()
        };
        let made =
            |wish: &[&str]| make(wish).map(|value| value.to_str().expect("ASCII").to_owned());
        assert_eq!(made(&["sha-256=1"]).as_deref(), Some(SHA256));
        assert_eq!(made(&["sha-256=3, sha-512=10"]).as_deref(), Some(SHA512));
        assert_eq!(made(&["sha-512=5", "sha-256=5"]).as_deref(), Some(SHA256));
        assert_eq!(
            made(&["sha-512=3, sha-256=0, unixsum=10"]).as_deref(),
            Some(SHA512)
        );
        for none in [
            &[][..],
            &["md5=10"],
            &["sha-256=0"],
            &["sha-256=11"],
            &["sha-256"],
            &["x y"],
        ] {
            assert_eq!(made(none), None, "{none:?}");
        }
    }
}
