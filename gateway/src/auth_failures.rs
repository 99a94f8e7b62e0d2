//! Failed authentication, limited by source.
//!
//! Owns how many wrong credentials each source has sent lately. Invariants: a right credential is always let in, whatever
//! came from its address before; the table is bounded, and when it is full, sources that it does not know share one place;
//! requests that are let in touch none of it. It does not know what was wrong.
//!
//! The decision, and what it costs. A credential is checked first, and only the answer to a wrong one is limited: behind one
//! address there may be a whole company, or a proxy with all callers there are, and a neighbour's slip must lock nobody out.
//! What a guesser is slowed down by is therefore not this: made secrets have 256 bits, and no rate reaches them; a key that
//! an operator chose has to be as good. What is limited is the noise: beyond the rate a source is told 429 and when to come
//! back instead of 401, and one event says so instead of a line an attempt. A check costs one HMAC, about a microsecond, so
//! that leaving it out would save nobody anything.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use faam_sched::{Availability, Nanos, TokenBucket, TokenRate};
use parking_lot::Mutex;
use serde_json::json;

use crate::auth::AuthError;
use crate::error::{Problem, ProblemKind};
use crate::events::{Events, GATEWAY, event};
use crate::http::listener::Peer;
use crate::http::peer_key;

/// Wrong credentials a second that a source may go on sending.
const FAILURES_PER_S: u64 = 1;
/// And at once: a fleet that was given a key that is not there yet.
const FAILURES_BURST: u64 = 30;
/// Sources that are told apart.
pub const SOURCES_MAX: usize = 16_384;
/// How often a full table is looked through for sources that are forgotten.
const SWEEP: Nanos = Nanos(1_000_000_000);
/// Events of this kind: one in [`EVENT_COST`] seconds, for all sources together, and some at once. They share the log's room
/// with what operators did, which nobody without a key may push out.
const EVENTS: TokenRate = TokenRate {
    per_s: 1,
    burst: 20 * EVENT_COST,
};
/// What one event takes of them.
const EVENT_COST: u64 = 10;
/// Kind of the event that says that a source has passed the rate.
const LIMITED: &str = "auth.limited";

/// See the module's head.
pub struct AuthFailures {
    began: Instant,
    events: Events,
    table: Mutex<Table>,
}

struct Table {
    sources: HashMap<IpAddr, Source>,
    /// Of all that have no place of their own.
    others: Source,
    /// How many of its events may be told.
    events: TokenBucket,
    /// When a full table was looked through last.
    swept: Option<Nanos>,
}

#[derive(Clone, Copy)]
struct Source {
    bucket: TokenBucket,
    /// Whether it was said that it is beyond the rate.
    said: bool,
}

impl Source {
    const fn new() -> Self {
        Self {
            bucket: TokenBucket::new(TokenRate {
                per_s: FAILURES_PER_S,
                burst: FAILURES_BURST,
            }),
            said: false,
        }
    }

    /// Whether nothing of it is remembered any more.
    fn is_forgotten(&self, now: Nanos) -> bool {
        self.bucket.available(now) >= FAILURES_BURST
    }
}

impl AuthFailures {
    /// None yet.
    #[must_use]
    pub fn new(events: Events) -> Self {
        Self {
            began: Instant::now(),
            events,
            table: Mutex::new(Table {
                sources: HashMap::new(),
                others: Source::new(),
                events: TokenBucket::new(EVENTS),
                swept: None,
            }),
        }
    }

    /// What is said of a refused credential. One that never came counts for nothing.
    pub(crate) fn problem(&self, error: AuthError, Peer(peer): Peer) -> Problem {
        let wait = match error {
            AuthError::Missing => None,
            AuthError::Several | AuthError::Invalid(_) | AuthError::SigV4(_) => {
                self.failed(peer, Instant::now())
            }
        };
        match wait {
            None => error.into(),
            Some(wait) => Problem::new(
                ProblemKind::TooManyFailures,
                "too many wrong credentials came from this address: expected a right one, which is taken at any time; correct \
                 it, or come back after Retry-After",
            )
            .come_back_after(wait),
        }
    }

    /// A wrong credential came from `peer`, which a Unix socket has not. When it may send another one; `None`: now.
    pub fn failed(&self, peer: Option<IpAddr>, now: Instant) -> Option<Duration> {
        let at = now.saturating_duration_since(self.began);
        let at = Nanos(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX));
        // The Unix socket is a source as well.
        let source = peer.map_or(Ipv4Addr::UNSPECIFIED.into(), peer_key);
        let mut table = self.table.lock();
        let place = table.place(source, at);
        // Not before all is forgiven: a source that goes on at the rate that is left to it is no news.
        if place.is_forgotten(at) {
            place.said = false;
        }
        let wait = match place.bucket.take(1, at) {
            Ok(()) => return None,
            Err(Availability::After(Nanos(wait))) => Duration::from_nanos(wait),
            // One is within the burst, so that it is there sooner or later.
            Err(_) => Duration::from_secs(1),
        };
        let is_news =
            !std::mem::replace(&mut place.said, true) && table.events.take(EVENT_COST, at).is_ok();
        drop(table);
        if is_news {
            let detail = json!({ "failures_per_s": FAILURES_PER_S, "burst": FAILURES_BURST });
            self.events
                .record(event(LIMITED, GATEWAY, &source.to_string(), detail));
        }
        Some(wait)
    }
}

impl Table {
    /// A source's place, or that of all others.
    fn place(&mut self, source: IpAddr, now: Nanos) -> &mut Source {
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            if self.swept.is_none_or(|swept| now.since(swept) >= SWEEP) {
                self.swept = Some(now);
                self.sources.retain(|_, source| !source.is_forgotten(now));
            }
            if self.sources.len() >= SOURCES_MAX {
                return &mut self.others;
            }
        }
        self.sources.entry(source).or_insert_with(Source::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn a_source_is_slowed_down_by_itself_alone_and_forgiven_in_time() {
        let failures = AuthFailures::new(Events::default());
        let began = Instant::now();
        let said = || {
            let source = address("192.0.2.1").expect("an address");
            failures.table.lock().sources[&source].said
        };
        for _ in 0..FAILURES_BURST {
            assert_eq!(failures.failed(address("192.0.2.1"), began), None);
        }
        assert!(!said());
        let wait = failures
            .failed(address("192.0.2.1"), began)
            .expect("too many");
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
        assert!(
            failures
                .failed(address("::ffff:192.0.2.1"), began)
                .is_some()
        );
        assert!(said());
        // Its neighbour, and who comes over the Unix socket, have sent none.
        assert_eq!(failures.failed(address("192.0.2.2"), began), None);
        assert_eq!(failures.failed(None, began), None);
        assert_eq!(failures.failed(address("192.0.2.1"), began + wait), None);
        assert!(
            failures
                .failed(address("192.0.2.1"), began + wait)
                .is_some()
        );
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let failures = AuthFailures::new(Events::default());
        let began = Instant::now();
        for host in 0..FAILURES_BURST {
            assert_eq!(
                failures.failed(address(&format!("2001:db8::{host:x}:1")), began),
                None
            );
        }
        assert!(failures.failed(address("2001:db8::ffff"), began).is_some());
        assert_eq!(failures.failed(address("2001:db8:0:1::1"), began), None);
    }

    #[test]
    fn the_table_is_bounded_and_sources_beyond_it_share_a_place() {
        let failures = AuthFailures::new(Events::default());
        let began = Instant::now();
        for number in 0..u32::try_from(SOURCES_MAX).expect("small") {
            let peer = IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + number));
            assert_eq!(failures.failed(Some(peer), began), None);
        }
        let mut limited = 0;
        for number in 0..2 * u32::try_from(FAILURES_BURST).expect("small") {
            let peer = IpAddr::from(Ipv4Addr::from_bits(0xc000_0000 + number));
            limited += u64::from(failures.failed(Some(peer), began).is_some());
        }
        assert_eq!(limited, FAILURES_BURST);
        assert_eq!(failures.table.lock().sources.len(), SOURCES_MAX);
        // Once those that came first are forgotten there is room again.
        let later = began + Duration::from_secs(2);
        assert_eq!(failures.failed(address("198.51.100.1"), later), None);
        assert_eq!(failures.table.lock().sources.len(), 1);
    }
}
