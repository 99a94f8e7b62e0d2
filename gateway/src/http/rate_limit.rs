//! `RateLimit-Policy` and `RateLimit`: what a tenant may do and what is left of it, before it is refused.
//!
//! As in draft-ietf-httpapi-ratelimit-headers-11 (23 May 2026), sections 3 and 4: lists of strings with parameters
//! (RFC 9651). Invariants: a quota unit is one of those that the draft registers (10.3), so the quota of reference time,
//! which has none, stands in problems only; numbers are within what a structured field can say; `Retry-After` is never
//! earlier than the end of the window that is told (6).

use std::fmt::Write;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::admission::{Admission, ServiceLimit, Unit, is_limited};
use crate::tenants::Tenant;

/// What the tenant may do.
pub(super) const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is left of it.
pub(super) const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Largest number of a structured field (RFC 9651, 3.3.1).
const SF_INTEGER_MAX: u64 = 999_999_999_999_999;

/// Adds both fields to an answer of a tenant that has a rate or a quota; all other tenants' stay as they are.
pub(super) fn tell(admission: &Admission, tenant: &Tenant, headers: &mut HeaderMap) {
    if is_limited(&tenant.limits) {
        write(&admission.service_limits(tenant), headers);
    }
}

/// Both fields for a refusal: what was met is told also where nothing else is limited.
pub(super) fn of_refused(admission: &Admission, tenant: &Tenant) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(2);
    write(&admission.service_limits(tenant), &mut headers);
    headers
}

fn write(limits: &[ServiceLimit], headers: &mut HeaderMap) {
    let (mut policy, mut left) = (String::new(), String::new());
    for limit in limits {
        let Some(unit) = unit(limit.unit) else {
            continue;
        };
        let comma = if policy.is_empty() { "" } else { ", " };
        let (name, quota) = (limit.name, limit.quota.min(SF_INTEGER_MAX));
        // Writing to a String cannot fail.
        let _ = write!(policy, "{comma}\"{name}\";q={quota}{unit}");
        if let Some(window) = limit.window_s {
            let _ = write!(policy, ";w={window}");
        }
        let _ = write!(
            left,
            "{comma}\"{name}\";r={}",
            limit.left.min(SF_INTEGER_MAX)
        );
        if let Some(more) = limit.more_after {
            // Whole seconds, and no window is empty.
            let seconds = more
                .as_secs()
                .saturating_add(u64::from(more.subsec_nanos() > 0));
            let _ = write!(left, ";t={}", seconds.clamp(1, SF_INTEGER_MAX));
        }
    }
    // Names of ours and numbers.
    for (name, text) in [(RATELIMIT_POLICY, policy), (RATELIMIT, left)] {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    }
}

/// `qu`, where it is not the default one.
const fn unit(unit: Unit) -> Option<&'static str> {
    match unit {
        Unit::Requests => Some(""),
        Unit::Bytes => Some(";qu=\"content-bytes\""),
        Unit::InFlight => Some(";qu=\"concurrent-requests\""),
        Unit::Reference => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::clock::{Clock, DAY_SECONDS, SetClock};
    use crate::admission::{AdmissionLimits, Ask};
    use crate::tenants::TenantLimits;

    fn texts(headers: &HeaderMap) -> [Option<&str>; 2] {
        [RATELIMIT_POLICY, RATELIMIT].map(|name| headers.get(name)?.to_str().ok())
    }

    #[test]
    fn limits_and_what_is_left_of_them() {
        let clock = SetClock::at(DAY_SECONDS * 20_000 + 86_000);
        let admission = Admission::with_clock(AdmissionLimits::default(), Clock::set(clock));
        let tenant = Tenant::demo(TenantLimits {
            requests_per_s: Some(5),
            bytes_per_s: Some(1000),
            bytes_per_day: Some(u64::MAX),
            reference_us_per_day: Some(7),
            in_flight_max: 3,
            ..TenantLimits::default()
        });
        let ask = Ask {
            body_bytes: Some(600),
            ..Ask::default()
        };
        let _permit = admission.admit(&tenant, ask).expect("room");
        let mut headers = HeaderMap::new();
        tell(&admission, &tenant, &mut headers);
        let [policy, left] = texts(&headers);
        assert_eq!(
            policy,
            Some(
                "\"in_flight_max\";q=3;qu=\"concurrent-requests\", \"requests_per_s\";q=5;w=1, \
                 \"bytes_per_s\";q=1000;qu=\"content-bytes\";w=1, \
                 \"bytes_per_day\";q=999999999999999;qu=\"content-bytes\";w=86400"
            )
        );
        assert_eq!(
            left,
            Some(
                "\"in_flight_max\";r=2, \"requests_per_s\";r=4;t=1, \"bytes_per_s\";r=400;t=1, \
                 \"bytes_per_day\";r=999999999999999;t=400"
            )
        );
    }

    #[test]
    fn who_is_not_limited_is_told_nothing_until_refused() {
        let admission = Admission::new(AdmissionLimits::default());
        let tenant = Tenant::demo(TenantLimits::default());
        let mut headers = HeaderMap::new();
        tell(&admission, &tenant, &mut headers);
        assert!(headers.is_empty());
        let headers = of_refused(&admission, &tenant);
        assert_eq!(
            texts(&headers)[1],
            Some("\"in_flight_max\";r=256"),
            "{headers:?}"
        );
    }
}
