//! Who may begin: the gateway's rules of admission, with the same token buckets, on the simulation's clock.
//!
//! Owns what each tenant holds and the machine's memory. Invariant: what a request took at its beginning goes back once, at
//! its end. It does not know engines, nor who comes.

use crate::{Availability, Nanos, TokenBucket, TokenRate};

use super::scenario::{BLOCK_BYTES, Machine, TenantClass};

/// Nanoseconds of a day.
const DAY_NS: u64 = 24 * 3600 * 1_000_000_000;
/// Window of an answer, which a request holds as long as it is in flight.
const ANSWER_BYTES_MAX: u64 = 256 << 10;

/// Why a request may not begin, or why it ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The tenant's requests a second.
    RequestRate,
    /// The tenant's bytes a second.
    ByteRate,
    /// The tenant's bytes a day.
    DayQuota,
    /// The tenant's requests in flight.
    InFlight,
    /// The machine's memory for bodies.
    Memory,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::RequestRate,
        Self::ByteRate,
        Self::DayQuota,
        Self::InFlight,
        Self::Memory,
    ];

    /// As the gateway's metrics name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestRate => "request-rate",
            Self::ByteRate => "byte-rate",
            Self::DayQuota => "day-quota",
            Self::InFlight => "in-flight",
            Self::Memory => "memory",
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

/// What one tenant holds.
#[derive(Debug)]
pub(super) struct TenantUse {
    requests: Option<TokenBucket>,
    bytes: Option<TokenBucket>,
    day: u64,
    day_bytes: u64,
    pub(super) in_flight: usize,
    /// All that was ever admitted, to be held against the rates.
    pub(super) requests_admitted: u64,
    pub(super) bytes_admitted: u64,
    /// The largest body.
    body_bytes_max: u64,
}

impl TenantUse {
    pub(super) fn new(class: &TenantClass) -> Self {
        let bucket = |per_s: Option<u64>| {
            per_s.map(|per_s| {
                TokenBucket::new(TokenRate {
                    per_s,
                    burst: per_s,
                })
            })
        };
        Self {
            requests: bucket(class.requests_per_s),
            bytes: bucket(class.bytes_per_s),
            day: 0,
            day_bytes: 0,
            in_flight: 0,
            requests_admitted: 0,
            bytes_admitted: 0,
            body_bytes_max: 0,
        }
    }

    /// Whether more was admitted by `now` than the rates allow: full buckets, what was earned since 0, and one body that was
    /// larger than the bucket.
    pub(super) fn over_rates(&self, class: &TenantClass, now: Nanos) -> Option<String> {
        let over = |what: &str, admitted: u64, per_s: Option<u64>, largest: u64| {
            let per_s = per_s?;
            let earned = u128::from(per_s) * u128::from(now.0) / 1_000_000_000;
            let allowed = u128::from(per_s.max(largest)) + earned + 1;
            (u128::from(admitted) > allowed)
                .then(|| format!("{admitted} {what} were admitted; its rate allows {allowed}"))
        };
        over("requests", self.requests_admitted, class.requests_per_s, 1).or_else(|| {
            over(
                "bytes",
                self.bytes_admitted,
                class.bytes_per_s,
                self.body_bytes_max,
            )
        })
    }
}

/// The machine's bounds.
#[derive(Debug)]
pub(super) struct Admission {
    memory_bytes_max: u64,
    pub(super) memory_bytes: u64,
    pub(super) memory_bytes_peak: u64,
    /// Requests in flight.
    pub(super) in_flight: usize,
}

impl Admission {
    pub(super) const fn new(machine: &Machine) -> Self {
        Self {
            memory_bytes_max: machine.memory_bytes_max,
            memory_bytes: 0,
            memory_bytes_peak: 0,
            in_flight: 0,
        }
    }

    /// Lets a request begin with `bytes` of body; the memory that it holds.
    pub(super) fn admit(
        &mut self,
        tenant: &mut TenantUse,
        class: &TenantClass,
        bytes: u64,
        now: Nanos,
    ) -> Result<u64, Refusal> {
        if tenant.in_flight >= class.in_flight_max {
            return Err(Refusal::InFlight);
        }
        let day = now.0 / DAY_NS;
        if tenant.day != day {
            (tenant.day, tenant.day_bytes) = (day, 0);
        }
        let day_bytes = tenant.day_bytes.saturating_add(bytes);
        if class.bytes_per_day.is_some_and(|max| day_bytes > max) {
            return Err(Refusal::DayQuota);
        }
        let memory = memory_of(bytes);
        if self.memory_bytes.saturating_add(memory) > self.memory_bytes_max {
            return Err(Refusal::Memory);
        }
        if let Some(bucket) = &mut tenant.requests {
            bucket.take(1, now).map_err(|_| Refusal::RequestRate)?;
        }
        if let Some(bucket) = &mut tenant.bytes {
            // A body beyond the burst takes it all, and is owed for, as one whose length nobody told before.
            let taken = match bucket.when_available(bytes, now) {
                Availability::Never if bucket.available(now) == bucket.rate().burst => {
                    bucket.debit(bytes, now);
                    true
                }
                _ => bucket.take(bytes, now).is_ok(),
            };
            if !taken {
                if let Some(requests) = &mut tenant.requests {
                    requests.refund(1, now);
                }
                return Err(Refusal::ByteRate);
            }
        }
        tenant.day_bytes = day_bytes;
        tenant.in_flight += 1;
        tenant.requests_admitted += 1;
        tenant.body_bytes_max = tenant.body_bytes_max.max(bytes);
        tenant.bytes_admitted = tenant.bytes_admitted.saturating_add(bytes);
        self.in_flight += 1;
        self.memory_bytes += memory;
        self.memory_bytes_peak = self.memory_bytes_peak.max(self.memory_bytes);
        Ok(memory)
    }

    /// A request's last job has ended. Whether what goes back was held.
    #[must_use]
    pub(super) fn release(&mut self, tenant: &mut TenantUse, memory: u64) -> bool {
        let held = (
            tenant.in_flight.checked_sub(1),
            self.in_flight.checked_sub(1),
            self.memory_bytes.checked_sub(memory),
        );
        let (Some(of_tenant), Some(in_flight), Some(bytes)) = held else {
            return false;
        };
        (tenant.in_flight, self.in_flight, self.memory_bytes) = (of_tenant, in_flight, bytes);
        true
    }
}

/// A block in flight and its output, the one that fills, and the answer's window: none is larger than the body.
fn memory_of(bytes: u64) -> u64 {
    3 * bytes.min(BLOCK_BYTES) + bytes.min(ANSWER_BYTES_MAX)
}
