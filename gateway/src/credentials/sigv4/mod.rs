//! AWS Signature Version 4, in the header form: `Authorization: AWS4-HMAC-SHA256 Credential=.., SignedHeaders=..,
//! Signature=..` (AWS, "Signature Version 4 for API requests").
//!
//! A secret is HMAC(root key, access key id, version): shown once, stored nowhere, made again at each request. What has to
//! be signed is the host, `x-amz-date` and every other `x-amz-` header; `x-amz-content-sha256` says what the body has to
//! be, and the body is checked against it as it is read; `UNSIGNED-PAYLOAD` leaves it open; a signer that does not say it (AWS's
//! SDKs for most services) is taken where the body is read first, and so is one that signs its body in chunks (`chunks`). Chunks
//! with trailers and signatures in a query are refused in words. Which region and service were signed for does not matter: the secret is of
//! this gateway alone. A signed request can be sent again by whoever saw it, within [`CLOCK_SKEW_MAX`]: TLS is against that.

mod canonical;
pub mod chunks;

use std::borrow::Cow;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, Uri};
use faam_store::{CredentialKind, Millis};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;

use self::canonical::canonical_request;
use self::chunks::Chunks;
use super::keyring::{KeyedMac, Keyring, MAC_BYTES, hex, unhex};
use super::random_text::{BASE32, random_text};
use super::{Issued, Judged, Kind, Known, Presented};
use crate::auth::{AuthError, authorization, behind};
use crate::base64;

/// How far a caller's clock may be off, and for how long a signature is taken.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5 * 60);
/// The scheme, which is the algorithm as well.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// What access key ids begin with.
const ID_PREFIX: &str = "FAAM";
/// Characters behind it: 20 in all, as with AWS.
const ID_CHARS: usize = 16;
/// Longest `Authorization` that is looked at, behind its scheme.
const VALUE_BYTES_MAX: usize = 4096;
/// Headers that may be signed.
const SIGNED_HEADERS_MAX: usize = 64;
/// Sets derived secrets apart from whatever else a root key may come to derive.
const DOMAIN: &[u8] = b"faam sigv4 secret\0";
/// Version of a secret of nobody.
const VERSION_OF_NOBODY: i64 = 1;
/// Says the hash of the body, where the signer says it.
const CONTENT_SHA256: &str = "x-amz-content-sha256";
const UNSIGNED_PAYLOAD: &[u8] = b"UNSIGNED-PAYLOAD";
/// Says that a body is signed in chunks.
const CHUNKED_PAYLOAD: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
/// Says how long such a body is without what its chunks are framed by.
const DECODED_LENGTH: &str = "x-amz-decoded-content-length";
/// SHA-256 of nothing.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What a signed request has to have, and this one has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SigV4Error {
    /// The header's own form.
    #[error(
        "header Authorization: expected `AWS4-HMAC-SHA256 Credential=ID/YYYYMMDD/REGION/SERVICE/aws4_request, \
         SignedHeaders=host;x-amz-date, Signature=` and 64 hexadecimal digits; sign the request again"
    )]
    Form,
    /// When it was signed.
    #[error(
        "header x-amz-date: expected the time of signing once, as in 20261129T120000Z, on the day of the credential's scope; \
         sign the request again"
    )]
    Date,
    /// Too long ago, or still to come.
    #[error(
        "x-amz-date is more than 300 s from this gateway's clock; set the clock of whoever signs, and sign the request again"
    )]
    Skew,
    /// What is not signed can be changed.
    #[error(
        "SignedHeaders: expected host, x-amz-date and every other x-amz- header that was sent, each once, in alphabetical \
         order; sign the request again"
    )]
    Unsigned,
    /// What the body is.
    #[error(
        "header x-amz-content-sha256: expected the body's SHA-256 in hexadecimal digits, or UNSIGNED-PAYLOAD; it may be left \
         out of a request without a body"
    )]
    Payload,
    /// Chunks with trailers, or chunks where a body is not read first.
    #[error(
        "bodies signed in chunks (x-amz-content-sha256: STREAMING-..) are not taken here, and nowhere with trailers: sign with \
         the body's SHA-256, or with UNSIGNED-PAYLOAD"
    )]
    Chunked,
    /// What is no chunk, or not all of them.
    #[error(
        "a body signed in chunks: expected `HEX-LENGTH;chunk-signature=` and 64 hexadecimal digits before each, 8192 bytes or \
         more in all but the last, an empty one at the end, and together as many bytes as x-amz-decoded-content-length says; sign the request again"
    )]
    ChunkForm,
    /// A URL that carries its signature.
    #[error(
        "signatures in a query are not taken: expected them in the header Authorization; sign the request in its headers"
    )]
    Presigned,
}

/// Whether a target carries a signature.
#[must_use]
pub fn is_presigned(uri: &Uri) -> bool {
    let mut pairs = uri.query().unwrap_or_default().split('&');
    pairs.any(|pair| pair.starts_with("X-Amz-Signature="))
}

/// Whether a request is signed with a hash of its body that none of its headers says: if it has a body, that has to be read
/// before the signature can be judged.
#[must_use]
pub fn signs_unsaid_body(headers: &HeaderMap) -> bool {
    let signed = authorization(headers).is_ok_and(|value| behind(ALGORITHM, value).is_some());
    signed && !headers.contains_key(CONTENT_SHA256)
}

/// Judges of such a request what can be judged before its body is read, so that few bodies are. That an access key id is not
/// known comes out sooner than that a signature is wrong, though in the same words: ids are random, and none is found by
/// asking.
///
/// # Errors
/// [`AuthError`]
pub fn check_unread(presented: &Presented<'_>, known: &dyn Known) -> Result<(), AuthError> {
    let value = behind(ALGORITHM, authorization(presented.headers)?).ok_or(AuthError::Missing)?;
    let signed = Signed::parse(value)?;
    signed.date(presented.headers, presented.now)?;
    signed.check_headers(presented.headers)?;
    let grant = known.find(CredentialKind::SigV4, signed.id);
    match grant.is_some_and(|grant| grant.root.is_some() && grant.is_live(presented.now)) {
        true => Ok(()),
        false => Err(AuthError::Invalid(ALGORITHM)),
    }
}

/// See the module's head.
pub struct SigV4;

impl Kind for SigV4 {
    fn kind(&self) -> CredentialKind {
        CredentialKind::SigV4
    }

    fn scheme(&self) -> &'static str {
        ALGORITHM
    }

    fn judge<'k>(
        &self,
        value: &[u8],
        presented: &Presented<'_>,
        known: &'k dyn Known,
        keyring: &Keyring,
    ) -> Result<Judged<'k>, AuthError> {
        let signed = Signed::parse(value)?;
        let date = signed.date(presented.headers, presented.now)?;
        signed.check_headers(presented.headers)?;
        let payload = Payload::of(presented)?;
        let body_sha256 = payload.body_sha256;
        let request = canonical_request(presented, &signed.headers, &payload.text, signed.service)
            .ok_or(SigV4Error::Unsigned)?;
        let grant = known.find(CredentialKind::SigV4, signed.id);
        let root = grant.and_then(|grant| grant.root);
        let version = grant.map_or(VERSION_OF_NOBODY, |grant| grant.version);
        let secret = secret(keyring.roots.get(root), signed.id, version);
        let key = signed.key(&secret);
        let signature = signed.signature_of(&key, date, request.as_bytes());
        let usable = Choice::from(u8::from(grant.is_some_and(|grant| grant.root.is_some())));
        Ok(Judged {
            grant,
            holds: signature.ct_eq(&signed.signature) & usable,
            body_sha256,
            chunks: payload.decoded_length.map(|decoded_length| Chunks {
                key,
                date: date.into(),
                scope: signed.scope.into(),
                seed: signature,
                decoded_length,
            }),
        })
    }

    fn issue(&self, keyring: &Keyring) -> Result<Issued, getrandom::Error> {
        let id = format!("{ID_PREFIX}{}", random_text(BASE32, ID_CHARS)?);
        let (root, mac) = keyring.roots.newest();
        Ok(Issued {
            secret: secret(mac, &id, VERSION_OF_NOBODY),
            verifier: Vec::new(),
            root: root.to_owned(),
            id,
            version: VERSION_OF_NOBODY,
        })
    }
}

/// The secret access key of a name.
fn secret(root: &KeyedMac, id: &str, version: i64) -> String {
    let secret = root.of(&[DOMAIN, id.as_bytes(), b"\0", &version.to_be_bytes()]);
    base64::encode_url_safe(&secret)
}

/// What stands in `Authorization`.
struct Signed<'r> {
    id: &'r str,
    /// `YYYYMMDD`
    day: &'r str,
    region: &'r str,
    service: &'r str,
    /// `day/region/service/aws4_request`
    scope: &'r str,
    /// Names of the signed headers.
    headers: Vec<&'r str>,
    signature: [u8; MAC_BYTES],
}

impl<'r> Signed<'r> {
    fn parse(value: &'r [u8]) -> Result<Self, SigV4Error> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(SigV4Error::Form);
        }
        Self::read(value).ok_or(SigV4Error::Form)
    }

    fn read(value: &'r [u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let (mut credential, mut headers, mut signature) = (None, None, None);
        for part in text.split(',') {
            let (name, value) = part.trim().split_once('=')?;
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut headers,
                "Signature" => &mut signature,
                _ => return None,
            };
            if slot.replace(value).is_some() {
                return None;
            }
        }
        let (id, scope) = credential?.split_once('/')?;
        let mut parts = scope.split('/');
        let (day, region, service) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next() != Some("aws4_request") || parts.next().is_some() || id.is_empty() {
            return None;
        }
        let headers: Vec<_> = headers?.split(';').take(SIGNED_HEADERS_MAX + 1).collect();
        if headers.len() > SIGNED_HEADERS_MAX {
            return None;
        }
        Some(Self {
            id,
            day,
            region,
            service,
            scope,
            headers,
            signature: unhex(signature?)?,
        })
    }

    /// When it was signed, which is now, or nearly so.
    fn date<'h>(&self, headers: &'h HeaderMap, now: Millis) -> Result<&'h str, SigV4Error> {
        let text = once(headers, "x-amz-date").ok_or(SigV4Error::Date)?;
        let text = std::str::from_utf8(text).map_err(|_| SigV4Error::Date)?;
        let signed = instant(text).ok_or(SigV4Error::Date)?;
        if text.get(..8) != Some(self.day) {
            return Err(SigV4Error::Date);
        }
        let skew = u128::from(signed.0.abs_diff(now.0));
        match skew <= CLOCK_SKEW_MAX.as_millis() {
            true => Ok(text),
            false => Err(SigV4Error::Skew),
        }
    }

    /// Whether all is signed that has to be.
    fn check_headers(&self, headers: &HeaderMap) -> Result<(), SigV4Error> {
        let ordered = self
            .headers
            .windows(2)
            .all(|pair| matches!(pair, [one, next] if one < next));
        let signs = |name: &str| self.headers.contains(&name);
        let amz = headers
            .keys()
            .map(HeaderName::as_str)
            .filter(|name| name.starts_with("x-amz-"));
        let complete = signs("host") && signs("x-amz-date") && amz.into_iter().all(signs);
        match ordered && complete {
            true => Ok(()),
            false => Err(SigV4Error::Unsigned),
        }
    }

    fn key(&self, secret: &str) -> [u8; MAC_BYTES] {
        signing_key(secret, self.day, self.region, self.service)
    }

    fn signature_of(&self, key: &[u8], date: &str, request: &[u8]) -> [u8; MAC_BYTES] {
        let request: [u8; MAC_BYTES] = Sha256::digest(request).into();
        let to_sign = format!("{ALGORITHM}\n{date}\n{}\n{}", self.scope, hex(&request));
        KeyedMac::new(key).of(&[to_sign.as_bytes()])
    }
}

/// The key of one day, region and service.
fn signing_key(secret: &str, day: &str, region: &str, service: &str) -> [u8; MAC_BYTES] {
    let first = KeyedMac::new(format!("AWS4{secret}").as_bytes());
    let day = first.of(&[day.as_bytes()]);
    [region, service, "aws4_request"]
        .iter()
        .fold(day, |key, part| KeyedMac::new(&key).of(&[part.as_bytes()]))
}

/// `YYYYMMDDTHHMMSSZ` (ISO 8601, basic format).
fn instant(text: &str) -> Option<Millis> {
    let digits = |at: std::ops::Range<usize>| {
        let text = text.get(at)?;
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| text.parse::<i16>().ok()).flatten()
    };
    let small = |at| digits(at).and_then(|number| i8::try_from(number).ok());
    let marks = text.len() == 16 && text.get(8..9) == Some("T") && text.get(15..) == Some("Z");
    if !marks {
        return None;
    }
    let (year, month, day) = (digits(0..4)?, small(4..6)?, small(6..8)?);
    let (hour, minute, second) = (small(9..11)?, small(11..13)?, small(13..15)?);
    let civil = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    let instant = civil.to_zoned(TimeZone::UTC).ok()?.timestamp();
    Some(Millis(instant.as_millisecond()))
}

/// What is signed of a body.
struct Payload<'h> {
    /// What stands for it in what is signed.
    text: Cow<'h, str>,
    /// What it has to be.
    body_sha256: Option<[u8; MAC_BYTES]>,
    /// Of one in chunks: their bytes.
    decoded_length: Option<u64>,
}

impl<'h> Payload<'h> {
    fn of(presented: &Presented<'h>) -> Result<Self, SigV4Error> {
        let headers = presented.headers;
        let hashed = |text: Cow<'h, str>, body_sha256| Self {
            text,
            body_sha256,
            decoded_length: None,
        };
        if !headers.contains_key(CONTENT_SHA256) {
            if let Some(read) = presented.body_sha256 {
                return Ok(hashed(hex(&read).into(), Some(read)));
            }
            let length = once(headers, "content-length");
            if length.is_some_and(|length| length != b"0")
                || headers.contains_key("transfer-encoding")
            {
                return Err(SigV4Error::Payload);
            }
            // One that has a body after all is not what was signed.
            return Ok(hashed(EMPTY_SHA256.into(), unhex(EMPTY_SHA256)));
        }
        let value = once(headers, CONTENT_SHA256).ok_or(SigV4Error::Payload)?;
        let text = std::str::from_utf8(value).map_err(|_| SigV4Error::Payload)?;
        if text == CHUNKED_PAYLOAD && presented.takes_chunks {
            let length = once(headers, DECODED_LENGTH).and_then(|length| {
                let digits = length.iter().all(u8::is_ascii_digit);
                let text = std::str::from_utf8(length).ok().filter(|_| digits)?;
                text.parse().ok()
            });
            return Ok(Self {
                text: text.into(),
                body_sha256: None,
                decoded_length: Some(length.ok_or(SigV4Error::ChunkForm)?),
            });
        }
        if value.starts_with(b"STREAMING-") {
            return Err(SigV4Error::Chunked);
        }
        if value == UNSIGNED_PAYLOAD {
            return Ok(hashed(text.into(), None));
        }
        let hash = unhex(text).ok_or(SigV4Error::Payload)?;
        Ok(hashed(text.into(), Some(hash)))
    }
}

/// A header that comes once.
fn once<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.as_bytes();
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests;
