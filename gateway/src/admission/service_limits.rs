//! What is left of a tenant's limits, for callers who would rather know before they are refused.
//!
//! It knows the limits and what was taken of them; how they stand in a header is HTTP's.

use std::time::Duration;

use super::Admission;
use super::clock::DAY_SECONDS;
use crate::tenants::{Tenant, TenantLimits};

/// One limit of a tenant's and what is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceLimit {
    /// The limit's name, as in the tenant's limits.
    pub name: &'static str,
    /// How much it allows in its window.
    pub quota: u64,
    /// Of what.
    pub unit: Unit,
    /// Seconds of its window; `None`: at once.
    pub window_s: Option<u64>,
    /// How much is left.
    pub left: u64,
    /// Until there is more; `None` where that is somebody's to end.
    pub more_after: Option<Duration>,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Requests.
    Requests,
    /// Bytes of bodies.
    Bytes,
    /// Requests at once.
    InFlight,
    /// Microseconds of the reference engine.
    Reference,
}

/// Whether a tenant has any limit that it can use up.
pub(crate) const fn is_limited(limits: &TenantLimits) -> bool {
    limits.requests_per_s.is_some()
        || limits.bytes_per_s.is_some()
        || limits.bytes_per_day.is_some()
        || limits.reference_us_per_day.is_some()
}

impl Admission {
    /// What is left of a tenant's rates, quotas and requests in flight, by the present moment.
    #[must_use]
    pub fn service_limits(&self, tenant: &Tenant) -> Vec<ServiceLimit> {
        let (limits, inner) = (&tenant.limits, &self.inner);
        let held = inner.tenants.of(&tenant.id);
        let now = inner.clock.now();
        let (rates, used) = {
            let mut ledger = held.ledger.lock();
            let used = ledger.day(inner.clock.day(now));
            (ledger.rates(limits, now), used)
        };
        let size = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
        let in_the_way = held.places.in_the_way(limits.in_flight_max);
        let mut left = vec![ServiceLimit {
            name: "in_flight_max",
            quota: size(limits.in_flight_max),
            unit: Unit::InFlight,
            window_s: None,
            left: size(limits.in_flight_max.saturating_sub(in_the_way)),
            more_after: None,
        }];
        let per_s = [
            ("requests_per_s", limits.requests_per_s, Unit::Requests),
            ("bytes_per_s", limits.bytes_per_s, Unit::Bytes),
        ];
        for ((name, quota, unit), rate) in per_s.into_iter().zip(rates) {
            left.extend(quota.zip(rate).map(|(quota, rate)| ServiceLimit {
                name,
                quota,
                unit,
                window_s: Some(1),
                left: rate.free,
                more_after: Some(rate.wait),
            }));
        }
        let reference_us = u64::try_from(used.reference.as_micros()).unwrap_or(u64::MAX);
        let per_day = [
            (
                "bytes_per_day",
                limits.bytes_per_day,
                used.bytes,
                Unit::Bytes,
            ),
            (
                "reference_us_per_day",
                limits.reference_us_per_day,
                reference_us,
                Unit::Reference,
            ),
        ];
        for (name, quota, used, unit) in per_day {
            left.extend(quota.map(|quota| ServiceLimit {
                name,
                quota,
                unit,
                window_s: Some(DAY_SECONDS),
                left: quota.saturating_sub(used),
                more_after: Some(inner.clock.day_left()),
            }));
        }
        left
    }
}
