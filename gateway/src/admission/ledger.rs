//! What a tenant has taken of its rates and of its day.
//!
//! Owns two token buckets and the sums of one UTC day. Invariants: a request takes all that it needs of them, or nothing;
//! no more bytes of bodies go on than the rate gives and the burst; what a day's quota counts is given back only where it
//! never came. Moments and days are arguments.
//!
//! A body of announced length takes its bytes when it is admitted, as many as a bucket holds; what is beyond that, and a
//! body of unknown length, pays as it arrives, and waits where the bucket is empty: it is slowed down to its tenant's rate,
//! for a body that broke off would have to be sent again, and cost twice. The day's quota of bytes is strict for announced
//! lengths; a body of unknown length that goes beyond it ends in peace, and the next request is refused.

use std::time::Duration;

use faam_sched::{Availability, Nanos, TokenBucket, TokenRate};

use super::clock::Day;
use super::refusal::{Quota, Rate, Refusal};
use crate::tenants::TenantLimits;

/// How long a body may be slowed down in all by its tenant's rate.
pub const BODY_PACED_MAX: Duration = Duration::from_secs(3600);

/// What may be taken at once: what a second gives.
const BURST_SECONDS: u64 = 1;

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    requests: Option<TokenBucket>,
    bytes: Option<TokenBucket>,
    day: DayUse,
}

/// Use of one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DayUse {
    /// Which.
    pub day: Day,
    /// Bytes of bodies: that have arrived, and announced ones that may arrive yet.
    pub bytes: u64,
    /// Charged time on the reference engine.
    pub reference: Duration,
}

/// What a request took at its admission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Paid {
    /// Bytes of its body that are paid for at the rate.
    pub(super) bytes: u64,
    /// Bytes that its day counts, although they have not arrived.
    pub(super) reserved: u64,
    pub(super) day: Day,
}

/// What became of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payment {
    Done,
    /// So many bytes are unpaid, and more can be paid after so long.
    Rest(u64, Duration),
}

/// What is left of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RateLeft {
    pub(super) free: u64,
    /// Until there is one more.
    pub(super) wait: Duration,
}

impl Ledger {
    /// Takes a request and the announced length of its body, or nothing. `day_left` is asked for what is left of `day`.
    pub(super) fn admit(
        &mut self,
        limits: &TenantLimits,
        announced: Option<u64>,
        now: Nanos,
        day: Day,
        day_left: impl Fn() -> Duration,
    ) -> Result<Paid, Refusal> {
        self.adopt(limits, now);
        self.turn(day);
        self.check_day(limits, announced, &day_left)?;
        let mut paid = Paid {
            bytes: 0,
            reserved: announced.unwrap_or(0),
            day,
        };
        if let Some(bucket) = &self.bytes {
            let TokenRate { per_s, burst } = bucket.rate();
            let length = announced.unwrap_or(0);
            let takes = Duration::from_secs(length / per_s.max(1));
            if takes > BODY_PACED_MAX {
                return Err(Refusal::TooLong {
                    length,
                    per_s,
                    takes,
                    paced_max: BODY_PACED_MAX,
                });
            }
            // Of a body of unknown length the first byte has to be there.
            let asked = announced.unwrap_or(1).min(burst);
            check(bucket, Rate::Bytes, announced.unwrap_or(1), asked, now)?;
            paid.bytes = announced.map_or(0, |_| asked);
        }
        if let Some(bucket) = &mut self.requests {
            check(bucket, Rate::Requests, 1, 1, now)?;
            bucket.debit(1, now);
        }
        if let Some(bucket) = &mut self.bytes {
            bucket.debit(paid.bytes, now);
        }
        self.day.bytes = self.day.bytes.saturating_add(paid.reserved);
        Ok(paid)
    }

    fn check_day(
        &self,
        limits: &TenantLimits,
        announced: Option<u64>,
        day_left: impl Fn() -> Duration,
    ) -> Result<(), Refusal> {
        if let Some(max) = limits.bytes_per_day {
            let asked = announced.unwrap_or(1);
            if self.day.bytes.saturating_add(asked) > max && asked > 0 {
                return Err(Refusal::OverQuota {
                    quota: Quota::Bytes,
                    asked,
                    used: self.day.bytes,
                    max,
                    wait: day_left(),
                });
            }
        }
        if let Some(max) = limits.reference_us_per_day {
            let used = u64::try_from(self.day.reference.as_micros()).unwrap_or(u64::MAX);
            if used >= max {
                return Err(Refusal::OverQuota {
                    quota: Quota::Reference,
                    asked: 0,
                    used,
                    max,
                    wait: day_left(),
                });
            }
        }
        Ok(())
    }

    /// Pays for bytes that have arrived, as far as the bucket has them.
    pub(super) fn pay(&mut self, bytes: u64, now: Nanos) -> Payment {
        let Some(bucket) = &mut self.bytes else {
            return Payment::Done;
        };
        let rest = bytes - bytes.min(bucket.available(now));
        bucket.debit(bytes - rest, now);
        if rest == 0 {
            return Payment::Done;
        }
        // As much as comes within a moment, so that nobody wakes for each byte.
        let step = rest.min((bucket.rate().burst / 8).max(1));
        match bucket.when_available(step, now) {
            Availability::Now => Payment::Rest(rest, Duration::ZERO),
            Availability::After(wait) => Payment::Rest(rest, Duration::from_nanos(wait.0)),
            Availability::Never => Payment::Rest(rest, BODY_PACED_MAX),
        }
    }

    /// Counts bytes that arrived without having been announced.
    pub(super) fn arrived(&mut self, bytes: u64, day: Day) {
        self.turn(day);
        self.day.bytes = self.day.bytes.saturating_add(bytes);
    }

    /// A request has ended: what it reserved and what never came, and what it cost.
    pub(super) fn end(&mut self, unused: u64, reserved_on: Day, reference: Duration, day: Day) {
        self.turn(day);
        if reserved_on == self.day.day {
            self.day.bytes = self.day.bytes.saturating_sub(unused);
        }
        self.day.reference = self.day.reference.saturating_add(reference);
    }

    /// Adds what was used of a day before this process began to count.
    pub(super) fn add(&mut self, used: DayUse, day: Day) {
        self.turn(day);
        if used.day == self.day.day {
            self.day.bytes = self.day.bytes.saturating_add(used.bytes);
            self.day.reference = self.day.reference.saturating_add(used.reference);
        }
    }

    /// What was used of `day`.
    pub(super) fn day(&mut self, day: Day) -> DayUse {
        self.turn(day);
        self.day
    }

    /// What is left of the rates; `None` where there is no such rate.
    pub(super) fn rates(&mut self, limits: &TenantLimits, now: Nanos) -> [Option<RateLeft>; 2] {
        self.adopt(limits, now);
        let left = |bucket: &TokenBucket| {
            let free = bucket.available(now);
            let one_more = free.saturating_add(1).min(bucket.rate().burst);
            let wait = match bucket.when_available(one_more, now) {
                Availability::Now => Duration::ZERO,
                Availability::After(wait) => Duration::from_nanos(wait.0),
                Availability::Never => Duration::MAX,
            };
            RateLeft { free, wait }
        };
        [&self.requests, &self.bytes].map(|bucket| bucket.as_ref().map(left))
    }

    /// Rates as they are now: a changed one acts at once, and forgives nothing.
    fn adopt(&mut self, limits: &TenantLimits, now: Nanos) {
        adopt(&mut self.requests, limits.requests_per_s, now);
        adopt(&mut self.bytes, limits.bytes_per_s, now);
    }

    /// A new day begins at nothing. One that lies behind (a clock was set) goes on as the present one.
    fn turn(&mut self, day: Day) {
        if day > self.day.day {
            self.day = DayUse {
                day,
                ..DayUse::default()
            };
        }
    }
}

fn adopt(bucket: &mut Option<TokenBucket>, per_s: Option<u64>, now: Nanos) {
    let rate = per_s.map(|per_s| TokenRate {
        per_s,
        burst: per_s.saturating_mul(BURST_SECONDS).max(1),
    });
    match (bucket.as_mut(), rate) {
        (_, None) => *bucket = None,
        (None, Some(rate)) => *bucket = Some(TokenBucket::new(rate)),
        (Some(known), Some(rate)) if known.rate() == rate => {}
        (Some(known), Some(rate)) => known.set_rate(rate, now),
    }
}

/// Whether `needed` tokens are there, of `asked` that came.
fn check(
    bucket: &TokenBucket,
    rate: Rate,
    asked: u64,
    needed: u64,
    now: Nanos,
) -> Result<(), Refusal> {
    let wait = match bucket.when_available(needed, now) {
        Availability::Now => return Ok(()),
        Availability::After(wait) => Duration::from_nanos(wait.0),
        // At a rate of nothing: until an operator changes it.
        Availability::Never => Duration::MAX,
    };
    Err(Refusal::OverRate {
        rate,
        asked,
        free: bucket.available(now),
        per_s: bucket.rate().per_s,
        wait,
    })
}
