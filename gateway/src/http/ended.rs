//! What became of the last requests, kept in memory: for `faam explain` and `GET /v1/invocations/{id}`.
//!
//! Owns the rings. Invariants: their memory has a bound ([`ENDED_KEPT_MAX`] records of a few hundred bytes, and
//! [`NOTABLE_KEPT_MAX`] of those that an operator will ask for, which the others do not push out); keeping one takes a lock
//! that only as many share as one in `SHARDS` requests, for as long as a move takes, and allocates nothing once a ring is
//! full. It does not know who may read it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use uuid::Uuid;

use super::answer::{EngineUse, Spent};
use crate::fault_met::FaultMet;
use crate::fronts::front_name::FrontName;
use crate::limit_met::LimitsMet;
use crate::meter;
use crate::tenants::TenantId;

/// Records of requests that ended well, and soon, and met nothing.
pub const ENDED_KEPT_MAX: usize = SHARDS * ORDINARY_A_SHARD;
/// Records of all others.
pub const NOTABLE_KEPT_MAX: usize = SHARDS * NOTABLE_A_SHARD;
/// From when on a request is one that somebody may ask about.
pub const SLOW_FROM: Duration = Duration::from_millis(100);
/// Characters of what is said of a failure.
pub const DETAIL_CHARS_MAX: usize = 1024;
const SHARDS: usize = 16;
const ORDINARY_A_SHARD: usize = 512;
const NOTABLE_A_SHARD: usize = 256;

/// A request that has ended, or, where its answer streams, goes on.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its id.
    pub id: Uuid,
    /// Whose it was; `None` where that was not known.
    pub tenant: Option<TenantId>,
    /// `compress`, `decompress`; `none` where it was for neither.
    pub kernel: &'static str,
    /// The front that it came through, if through one.
    pub front: Option<FrontName>,
    /// `ok`, the name of a problem, `cancelled` and the like; `None` while it goes on.
    pub outcome: Option<&'static str>,
    /// What was said of a failure.
    pub detail: Option<Box<str>>,
    /// `Faam-Verify`.
    pub verify: &'static str,
    /// Bytes of its body.
    pub bytes_in: u64,
    /// Bytes of its answer.
    pub bytes_out: u64,
    /// Who served it.
    pub engines: EngineUse,
    /// Where its time went.
    pub spent: Spent,
    /// When it began.
    pub began: Instant,
    /// When its answer was whole.
    pub answered: Option<Instant>,
    /// How long it took in all.
    pub total: Duration,
    /// What it has cost.
    pub cost: meter::Spent,
    /// What it met.
    pub limits: LimitsMet,
    /// Devices that failed with it in hand.
    pub faults: Vec<FaultMet>,
    /// The trace that it stands in.
    pub trace: Option<u128>,
}

impl Ended {
    /// Whether somebody may well ask about it.
    fn is_notable(&self) -> bool {
        // Who has no key must not push out what tenants may ask about.
        self.tenant.is_some()
            && (self.outcome != Some("ok")
                || !self.limits.is_empty()
                || self.engines.reasons().is_some()
                || self.total >= SLOW_FROM)
    }

    /// Failures are told within bounds.
    #[must_use]
    pub fn detail(text: &str) -> Box<str> {
        match text.char_indices().nth(DETAIL_CHARS_MAX) {
            Some((end, _)) => text.get(..end).unwrap_or_default().into(),
            None => text.into(),
        }
    }
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct EndedRings([Mutex<Rings>; SHARDS]);

#[derive(Debug, Default)]
struct Rings {
    ordinary: VecDeque<Ended>,
    notable: VecDeque<Ended>,
}

impl EndedRings {
    /// Keeps one, in place of the oldest where there are too many.
    pub(super) fn keep(&self, ended: Ended) {
        let (Some(shard), is_notable) = (self.shard(ended.id), ended.is_notable()) else {
            return;
        };
        let mut rings = shard.lock();
        let (ring, max) = match is_notable {
            true => (&mut rings.notable, NOTABLE_A_SHARD),
            false => (&mut rings.ordinary, ORDINARY_A_SHARD),
        };
        let oldest = match ring.len() >= max {
            true => ring.pop_front(),
            false => None,
        };
        ring.push_back(ended);
        drop(rings);
        // Its memory is freed without the lock.
        drop(oldest);
    }

    /// What is known of `id`.
    pub(super) fn get(&self, id: Uuid) -> Option<Ended> {
        let rings = self.shard(id)?.lock();
        let newest = rings
            .notable
            .iter()
            .rev()
            .chain(rings.ordinary.iter().rev());
        newest.into_iter().find(|ended| ended.id == id).cloned()
    }

    /// By the random end of a UUID of version 7.
    fn shard(&self, id: Uuid) -> Option<&Mutex<Rings>> {
        let last = id.as_bytes().last().copied().map_or(0, usize::from);
        self.0.get(last % SHARDS)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One that ended in a millisecond.
    pub(in crate::http) fn ended(id: Uuid, tenant: &str, outcome: Option<&'static str>) -> Ended {
        Ended {
            id,
            tenant: Some(TenantId::new(tenant)),
            kernel: "compress",
            front: None,
            outcome,
            detail: None,
            verify: "ok",
            bytes_in: 1,
            bytes_out: 2,
            engines: EngineUse::default(),
            spent: Spent::default(),
            began: Instant::now(),
            answered: None,
            total: Duration::from_millis(1),
            cost: meter::Spent::default(),
            limits: LimitsMet::default(),
            faults: Vec::new(),
            trace: None,
        }
    }

    #[test]
    fn what_went_well_pushes_out_nothing_that_did_not() {
        let rings = EndedRings::default();
        let failed = Uuid::now_v7();
        rings.keep(ended(failed, "demo", Some("deadline")));
        let slow = Uuid::now_v7();
        rings.keep(Ended {
            total: SLOW_FROM,
            ..ended(slow, "demo", Some("ok"))
        });
        let ordinary = Uuid::now_v7();
        rings.keep(ended(ordinary, "demo", Some("ok")));
        assert!(rings.get(ordinary).is_some());
        for _ in 0..2 * ENDED_KEPT_MAX {
            rings.keep(ended(Uuid::now_v7(), "demo", Some("ok")));
        }
        assert!(rings.get(ordinary).is_none());
        assert_eq!(
            rings.get(failed).and_then(|ended| ended.outcome),
            Some("deadline")
        );
        assert!(rings.get(slow).is_some());
        for _ in 0..2 * NOTABLE_KEPT_MAX {
            rings.keep(ended(Uuid::now_v7(), "demo", Some("deadline")));
        }
        assert!(rings.get(failed).is_none());
        let kept = rings.0.iter().map(|shard| {
            let rings = shard.lock();
            (rings.ordinary.len(), rings.notable.len())
        });
        let (ordinary, notable) = kept.fold((0, 0), |(o, n), (x, y)| (o + x, n + y));
        assert!(ordinary <= ENDED_KEPT_MAX && notable <= NOTABLE_KEPT_MAX);
        assert!(size_of::<Ended>() <= 704, "{} bytes", size_of::<Ended>());
    }

    #[test]
    fn what_is_said_of_a_failure_has_a_bound() {
        let long = "\u{e4}".repeat(2 * DETAIL_CHARS_MAX);
        assert_eq!(Ended::detail(&long).chars().count(), DETAIL_CHARS_MAX);
        assert_eq!(&*Ended::detail("short"), "short");
    }
}
