//! Tags: the arithmetic of shares, reservations and limits.
//!
//! A share tag is virtual: cost over weight. The two others are moments: from when on a tenant's next job is due by its
//! guaranteed rate, and when all that it took beyond its peak rate will be paid off. (The three tags of mClock: Gulati,
//! Merchant and Varman, OSDI 2010; the share tag is the start tag of SFQ.) Invariant: a correction moves a tag by exactly
//! what a charge of the difference would have, so that what was charged in the end is all that counts. It knows neither
//! tenants nor queues.

use crate::Nanos;
use crate::tenant::{TenantConfig, WEIGHT_DEFAULT};

/// Microseconds in a second, and parts of a scale of one.
pub(crate) const MILLION: u64 = 1_000_000;
/// Parts of a nanosecond that a share tag tells apart, so that a large weight still pays for a small job.
const TAG_PARTS: u128 = 1 << 20;

/// A share tag: parts of a nanosecond at the default weight.
pub(crate) type ShareTag = u128;

/// What a cost adds to the share tag of a tenant of this weight.
pub(crate) fn share_of(cost: Nanos, weight: u32) -> ShareTag {
    u128::from(cost.0) * TAG_PARTS * u128::from(WEIGHT_DEFAULT) / u128::from(weight.max(1))
}

/// The cost whose share at this weight this is; what is below a nanosecond counts as one.
pub(crate) fn cost_of(share: ShareTag, weight: u32) -> Nanos {
    let parts = TAG_PARTS * u128::from(WEIGHT_DEFAULT);
    let cost = share
        .saturating_mul(u128::from(weight.max(1)))
        .div_ceil(parts);
    Nanos(u64::try_from(cost).unwrap_or(u64::MAX))
}

/// How long a cost takes at a rate of so many microseconds a second; `u64::MAX` at none.
pub(crate) fn span_at(cost: Nanos, us_per_s: u64) -> u64 {
    let span = u128::from(cost.0) * u128::from(MILLION);
    let span = span.checked_div(u128::from(us_per_s));
    span.and_then(|span| u64::try_from(span).ok())
        .unwrap_or(u64::MAX)
}

/// A tag that was charged `was` and should have been charged `is`.
pub(crate) fn corrected(tag: u64, was: u64, is: u64) -> u64 {
    tag.saturating_add(is).saturating_sub(was)
}

/// What of a moment's distance from now is left when the rate behind it changes.
fn restated(at: u64, now: u64, was_us_per_s: u64, is_us_per_s: u64) -> u64 {
    let ahead = at.saturating_sub(now);
    if ahead == 0 || is_us_per_s == 0 {
        return at.min(now);
    }
    let ahead = u128::from(ahead) * u128::from(was_us_per_s) / u128::from(is_us_per_s);
    now.saturating_add(u64::try_from(ahead).unwrap_or(u64::MAX))
}

/// The two tags of a tenant that are moments, nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moments {
    /// From when on the next job is due by the guaranteed rate.
    pub(crate) reserved_at: u64,
    /// When all that was taken is paid off at the peak rate.
    pub(crate) paid_at: u64,
}

impl Moments {
    /// A tenant that was idle has a job again: what it did not ask for is not owed to it.
    pub(crate) fn activate(&mut self, now: u64) {
        self.reserved_at = self.reserved_at.max(now);
    }

    /// Charges a cost against the guaranteed rate. At most `arrears_max` of what was owed stays owed.
    pub(crate) fn reserve(&mut self, cost: Nanos, cir_us_per_s: u64, now: u64, arrears_max: Nanos) {
        let oldest = now.saturating_sub(arrears_max.0);
        let span = span_at(cost, cir_us_per_s);
        self.reserved_at = self.reserved_at.max(oldest).saturating_add(span);
    }

    /// Charges a cost against the peak rate.
    pub(crate) fn pay(&mut self, cost: Nanos, pir_us_per_s: u64, now: u64) {
        let span = span_at(cost, pir_us_per_s);
        self.paid_at = self.paid_at.max(now).saturating_add(span);
    }

    /// From when on a job of this cost keeps to the peak rate and its burst. A job beyond the whole burst waits until all is
    /// paid off, and then goes.
    pub(crate) fn eligible_at(&self, cost: Nanos, pir_us_per_s: u64, burst: Nanos) -> u64 {
        let span = |cost| span_at(cost, pir_us_per_s);
        self.paid_at
            .saturating_sub(span(burst).saturating_sub(span(cost)))
    }

    /// What was taken of a guarantee in advance is the same work when another rate of it is held.
    pub(crate) fn restate_reserved(&mut self, was_us_per_s: u64, is_us_per_s: u64, now: u64) {
        self.reserved_at = restated(self.reserved_at, now, was_us_per_s, is_us_per_s);
    }

    /// What is owed either way is kept when the rates change.
    pub(crate) fn restate(&mut self, was: &TenantConfig, is: &TenantConfig, now: u64) {
        self.restate_reserved(was.cir_us_per_s, is.cir_us_per_s, now);
        self.paid_at = match (was.pir_us_per_s, is.pir_us_per_s) {
            (Some(was), Some(is)) => restated(self.paid_at, now, was.max(1), is.max(1)),
            _ => self.paid_at.min(now),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = Nanos(1_000_000);

    #[test]
    fn a_charge_and_its_correction_are_the_right_charge() {
        let mut once = Moments::default();
        once.pay(Nanos(3_000_000), 250_000, 5);
        let mut twice = Moments::default();
        twice.pay(MS, 250_000, 5);
        let (was, is) = (span_at(MS, 250_000), span_at(Nanos(3_000_000), 250_000));
        twice.paid_at = corrected(twice.paid_at, was, is);
        assert_eq!(once.paid_at, twice.paid_at);
    }

    #[test]
    fn a_burst_goes_at_once_and_then_the_rate_holds() {
        let (rate, burst) = (100_000, Nanos(5_000_000));
        let mut moments = Moments::default();
        let mut taken = 0;
        while moments.eligible_at(MS, rate, burst) == 0 {
            moments.pay(MS, rate, 0);
            taken += 1;
        }
        assert_eq!(taken, 5, "a millisecond each");
        // A tenth of an engine: a millisecond's work every ten.
        assert_eq!(moments.eligible_at(MS, rate, burst), 10_000_000);
        // Work beyond the burst is not kept out for ever.
        let large = Nanos(50_000_000);
        assert_eq!(moments.eligible_at(large, rate, burst), moments.paid_at);
    }

    #[test]
    fn a_changed_rate_keeps_what_is_owed() {
        let config = |pir| TenantConfig {
            pir_us_per_s: Some(pir),
            ..TenantConfig::default()
        };
        let mut moments = Moments::default();
        moments.pay(MS, 1, 0);
        assert_eq!(moments.paid_at, 1_000_000 * MS.0);
        moments.restate(&config(1), &config(1_000_000), 0);
        assert_eq!(moments.paid_at, MS.0);
        moments.restate(&config(1_000_000), &TenantConfig::default(), 0);
        assert_eq!(moments.paid_at, 0, "without a limit nothing is owed");
    }

    #[test]
    fn a_small_job_of_a_heavy_tenant_is_not_free() {
        assert!(share_of(Nanos(1_000), u32::MAX) > 0);
        assert_eq!(span_at(MS, 0), u64::MAX);
    }
}
