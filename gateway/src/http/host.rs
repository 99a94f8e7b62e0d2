//! Which host a request is for, as its HTTP version has it say so.
//!
//! Invariant: a request that is answered names its host once, in one way, and so that nobody on its way could have
//! read another: what names none, two, or none that is one is how requests are smuggled past a proxy (RFC 9112, 11.2).
//! It does not know which hosts are ours: callers come by any name.

use std::net::Ipv6Addr;

use axum::http::header::HOST;
use axum::http::uri::Scheme;
use axum::http::{HeaderValue, Request, Version};
use thiserror::Error;

use crate::error::Problem;

/// Longest piece of a caller's text that a problem repeats, in characters.
const QUOTED_CHARS_MAX: usize = 48;

/// Why a request names no host.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum HostError {
    /// HTTP/1.1 and later need one (RFC 9112, 3.2; RFC 9113, 8.3.1).
    #[error(
        "no Host header came: expected one, as in `Host: faam.example:8080`; send it, or speak HTTP/1.0"
    )]
    Missing,
    /// Also where they are the same.
    #[error("{0} Host headers came: expected one; leave the others out")]
    Several(usize),
    /// Not as RFC 3986, 3.2.2 and 3.2.3 have it.
    #[error(
        "header Host: expected a name or an address, and a port where it is not the scheme's own, got {0:?}; correct it"
    )]
    Invalid(String),
    /// Names of users have no place there (RFC 9110, 4.2.4). Not repeated: there may be a password.
    #[error("the request's target names a user; leave what stands before the @ out")]
    User,
    /// HTTP/2 has it in `:authority`, and may repeat it (RFC 9113, 8.3.1).
    #[error(
        "header Host is {host:?} and :authority {authority:?}: expected the same; leave Host out"
    )]
    Differs {
        /// The header.
        host: String,
        /// The pseudo-header.
        authority: String,
    },
}

impl From<HostError> for Problem {
    fn from(error: HostError) -> Self {
        Self::invalid_option(error.to_string())
    }
}

/// Whether a request names its host as it has to.
pub(super) fn check<T>(request: &Request<T>) -> Result<(), HostError> {
    let hosts = request.headers().get_all(HOST);
    let mut values = hosts.iter();
    let host = values.next();
    if values.next().is_some() {
        return Err(HostError::Several(hosts.iter().count()));
    }
    if let Some(host) = host
        && !is_host(host.as_bytes())
    {
        return Err(HostError::Invalid(quoted(host)));
    }
    let authority = request.uri().authority();
    if authority.is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(HostError::User);
    }
    match (request.version(), host, authority) {
        (Version::HTTP_09 | Version::HTTP_10, _, _) => Ok(()),
        (Version::HTTP_11, Some(_), _) => Ok(()),
        (Version::HTTP_11, None, _) | (_, None, None) => Err(HostError::Missing),
        // The target alone counts (RFC 9113, 8.3.1); what contradicts it was made to be read by somebody else.
        (_, Some(host), Some(authority)) => {
            let scheme = request.uri().scheme();
            if same(host.as_bytes(), authority.as_str().as_bytes(), scheme) {
                return Ok(());
            }
            Err(HostError::Differs {
                host: quoted(host),
                authority: authority.as_str().chars().take(QUOTED_CHARS_MAX).collect(),
            })
        }
        _ => Ok(()),
    }
}

/// `uri-host [ ":" port ]` (RFC 9110, 7.2). May be empty: what has no authority says so (RFC 9112, 3.2).
fn is_host(value: &[u8]) -> bool {
    let (name, port) = split(value);
    let port = port.unwrap_or_default();
    port.iter().all(u8::is_ascii_digit)
        && match name.strip_prefix(b"[") {
            Some(rest) => rest.strip_suffix(b"]").is_some_and(is_address),
            None => is_name(name),
        }
}

/// A host without its port.
pub(super) fn name(host: &str) -> &str {
    let (name, _) = split(host.as_bytes());
    host.get(..name.len()).unwrap_or_default()
}

/// A host and what stands behind the colon that ends it.
fn split(value: &[u8]) -> (&[u8], Option<&[u8]>) {
    // Colons within brackets are the address's.
    let from = value
        .iter()
        .position(|byte| *byte == b']')
        .filter(|_| value.starts_with(b"["))
        .map_or(0, |end| end + 1);
    let colon = value
        .iter()
        .skip(from)
        .position(|byte| *byte == b':')
        .map(|at| from + at);
    match colon.and_then(|at| Some((value.get(..at)?, value.get(at + 1..)))) {
        Some((name, port)) => (name, port),
        None => (value, None),
    }
}

/// `reg-name`, of which an IPv4 address is one (RFC 3986, 3.2.2).
fn is_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let Some((first, after)) = rest.split_first() {
        rest = match first {
            b'%' => match after {
                [high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    after
                }
                _ => return false,
            },
            byte if is_mark(*byte) => after,
            _ => return false,
        };
    }
    true
}

/// What stands between brackets: an IPv6 address, or one of a kind to come. A zone is for its own host alone (RFC 6874, 4).
fn is_address(text: &[u8]) -> bool {
    let future = |text: &[u8]| {
        let rest = text.strip_prefix(b"v").or(text.strip_prefix(b"V"))?;
        let dot = rest.iter().position(|byte| *byte == b'.')?;
        let (version, address) = (rest.get(..dot)?, rest.get(dot + 1..)?);
        Some(
            !version.is_empty()
                && version.iter().all(u8::is_ascii_hexdigit)
                && !address.is_empty()
                && address.iter().all(|byte| is_mark(*byte) || *byte == b':'),
        )
    };
    let v6 = std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    v6 || future(text).unwrap_or(false)
}

/// `unreserved` and `sub-delims` (RFC 3986, 2.2 and 2.3).
const fn is_mark(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
        )
}

/// Whether two name the same entity: names without regard to case, and a port that is not written is the scheme's.
fn same(one: &[u8], other: &[u8], scheme: Option<&Scheme>) -> bool {
    let own: &[u8] = match scheme {
        Some(scheme) if *scheme == Scheme::HTTPS => b"443",
        _ => b"80",
    };
    let parts = |value| {
        let (name, port) = split(value);
        (name, port.filter(|port| !port.is_empty()).unwrap_or(own))
    };
    let ((one, one_port), (other, other_port)) = (parts(one), parts(other));
    one.eq_ignore_ascii_case(other) && one_port == other_port
}

fn quoted(value: &HeaderValue) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    text.chars().take(QUOTED_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::uri::Authority;

    use super::*;

    #[test]
    fn the_same_entity_may_be_written_in_several_ways() {
        let https = Some(&Scheme::HTTPS);
        for (one, other, scheme, expected) in [
            ("faam.test", "FAAM.Test", https, true),
            ("faam.test:443", "faam.test", https, true),
            ("faam.test:", "faam.test", None, true),
            ("[::1]", "[::1]:80", None, true),
            ("faam.test:80", "faam.test", https, false),
            ("[::1]:1", "[::1]", None, false),
            ("faam.test", "faam.tests", None, false),
        ] {
            let found = same(one.as_bytes(), other.as_bytes(), scheme);
            assert_eq!(found, expected, "{one} {other} {scheme:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_a_library_takes_for_an_authority_is_a_host_and_no_bytes_break_it(
            text in "([a-z0-9.-]{1,20}|\\[[0-9a-f:]{2,20}\\])(:[0-9]{0,5})?", bytes: Vec<u8>
        ) {
            // Ours is the stricter of the two: what it takes the library takes as well.
            if is_host(text.as_bytes()) {
                proptest::prop_assert!(text.parse::<Authority>().is_ok(), "{text}");
            }
            let _ = is_host(&bytes);
            let _ = same(&bytes, text.as_bytes(), None);
        }
    }
}
