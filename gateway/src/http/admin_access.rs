//! Who may call `/admin/v1` on the admin listener, and by which name.
//!
//! Owns the operator's credential there. Invariants: everything below `/admin` needs it, also what is not there; it is compared
//! in constant time, and no other credential is looked up; probes and metrics need none. A name that anybody could have made to
//! mean this listener is refused (DNS rebinding: a page asks its own name, which its server has turned into 127.0.0.1): an
//! address is taken, `localhost`, and what the operator names in `admin_hosts`. Probes are answered by any name.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Response};
use axum::middleware::Next;
use axum::response::IntoResponse;
use subtle::ConstantTimeEq;

use super::host;
use super::invocation::Invocation;
use super::listener::Peer;
use crate::auth::{AuthError, authorization, behind};
use crate::auth_failures::AuthFailures;
use crate::credentials::api_key::KEY_BYTES_MAX;
use crate::credentials::keyring::{KeyedMac, MAC_BYTES};
use crate::error::{Problem, ProblemKind};

/// What asks nobody for a name.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];
/// What stands for every name.
const ANY_HOST: &str = "*";
/// Longest piece of a name that is repeated, in characters.
const HOST_CHARS_MAX: usize = 64;

/// See the module's head. Cheap to clone.
#[derive(Clone)]
pub struct AdminAccess(Arc<Parts>);

struct Parts {
    failures: Arc<AuthFailures>,
    /// Under a key of this process alone: keys of whatever length are compared as texts of one.
    mac: KeyedMac,
    expected: [u8; MAC_BYTES],
    /// Names by which the listener may be called, in small letters.
    hosts: Vec<String>,
}

impl AdminAccess {
    /// To whoever has `key`, by these names.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn new(
        key: &str,
        hosts: &[String],
        failures: Arc<AuthFailures>,
    ) -> Result<Self, getrandom::Error> {
        let mut random = [0; MAC_BYTES];
        getrandom::fill(&mut random)?;
        let mac = KeyedMac::new(&random);
        Ok(Self(Arc::new(Parts {
            failures,
            expected: mac.of(&[key.as_bytes()]),
            mac,
            hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
        })))
    }

    /// Whether these headers carry the operator's credential.
    fn authenticate(&self, headers: &HeaderMap) -> Result<(), AuthError> {
        let value = authorization(headers)?;
        let key = behind("Bearer", value).ok_or(AuthError::Missing)?;
        if key.len() > KEY_BYTES_MAX {
            return Err(AuthError::Invalid("Bearer"));
        }
        let presented = self.0.mac.of(&[key]);
        match bool::from(presented.ct_eq(&self.0.expected)) {
            true => Ok(()),
            false => Err(AuthError::Invalid("Bearer")),
        }
    }

    /// Whether the listener goes by this name.
    fn goes_by(&self, host: &str) -> bool {
        let name = host::name(host);
        let within = name
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let address = match within {
            Some(within) => within.parse::<Ipv6Addr>().is_ok(),
            None => name.parse::<Ipv4Addr>().is_ok(),
        };
        // What is empty has no name at all: no browser sends it.
        host.is_empty()
            || address
            || name.eq_ignore_ascii_case("localhost")
            || self
                .0
                .hosts
                .iter()
                .any(|known| known == ANY_HOST || name.eq_ignore_ascii_case(known))
    }

    fn check(&self, request: &Request) -> Result<(), Problem> {
        let path = request.uri().path();
        if PROBES.contains(&path) {
            return Ok(());
        }
        // HTTP/2 has it in `:authority` (RFC 9113, 8.3.1); HTTP/1.0 may leave it out.
        let authority = request.uri().authority().map(Authority::as_str);
        let host = request.headers().get(HOST).map(HeaderValue::to_str);
        let host = authority.or(host.map(|host| host.unwrap_or("?")));
        if !self.goes_by(host.unwrap_or_default()) {
            let name: String = host
                .unwrap_or_default()
                .chars()
                .take(HOST_CHARS_MAX)
                .collect();
            return Err(Problem::new(
                ProblemKind::NotAllowed,
                format!(
                    "this listener does not go by the name {name:?}: expected an address, localhost, or a name of the setting \
                     admin_hosts; call it by its address, or have the operator add the name there"
                ),
            ));
        }
        match path == "/admin" || path.starts_with("/admin/") {
            true => self.authenticate(request.headers()).map_err(|error| {
                let invocation = request.extensions().get::<Invocation>();
                let peer = invocation.map_or(Peer(None), |invocation| invocation.peer);
                self.0.failures.problem(error, peer)
            }),
            false => Ok(()),
        }
    }
}

/// The layer of the admin listener.
pub(super) async fn admit(
    State(access): State<AdminAccess>,
    request: Request,
    next: Next,
) -> Response<Body> {
    match access.check(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header::AUTHORIZATION;

    use super::*;
    use crate::credentials::keyring::work;

    const KEY: &str = "faam_admin_a-key-of-the-operators";

    fn access(hosts: &[&str]) -> AdminAccess {
        let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let failures = Arc::new(AuthFailures::new(crate::events::Events::default()));
        AdminAccess::new(KEY, &hosts, failures).expect("random")
    }

    #[test]
    fn an_address_cannot_be_rebound_and_a_name_has_to_be_known() {
        let access = access(&["faam.internal"]);
        for good in [
            "",
            "127.0.0.1",
            "127.0.0.1:8081",
            "10.0.0.7:8081",
            "[::1]",
            "[::1]:8081",
            "localhost",
            "LOCALHOST:1",
            "faam.internal:8081",
            "FAAM.internal",
        ] {
            assert!(access.goes_by(good), "{good}");
        }
        for bad in [
            "evil.example",
            "evil.example:8081",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "faam.internal.",
            "?",
            "127.0.0.1@evil.example",
            "[::1].evil.example",
            "xfaam.internal",
        ] {
            assert!(!access.goes_by(bad), "{bad}");
        }
        assert!(self::access(&["*"]).goes_by("evil.example"));
    }

    #[test]
    fn wrong_keys_take_the_work_of_the_right_one() {
        let access = access(&[]);
        for (key, expected) in [
            (KEY, Ok(())),
            ("faam_admin_another", Err(AuthError::Invalid("Bearer"))),
            ("", Err(AuthError::Invalid("Bearer"))),
            ("faam_0a1b2c3d4e5f_x", Err(AuthError::Invalid("Bearer"))),
        ] {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_str(&format!("Bearer {key}")).expect("a header");
            headers.insert(AUTHORIZATION, value);
            assert_eq!(
                work::of(|| access.authenticate(&headers)),
                (expected, 1),
                "{key}"
            );
        }
        assert_eq!(
            access.authenticate(&HeaderMap::new()),
            Err(AuthError::Missing)
        );
    }

    proptest::proptest! {
        #[test]
        fn no_host_breaks_it(host: String) {
            let _ = access(&["faam.internal"]).goes_by(&host);
        }
    }
}
