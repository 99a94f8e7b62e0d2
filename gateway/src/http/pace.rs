//! Pace: how fast a peer takes what is there for it.
//!
//! Owns one bound: while something waits for a peer, at least `bytes_per_second_min` bytes go on average over any
//! `limit` of waiting. Invariant: time counts only while something waits, so nobody pays for our own slowness, and
//! taking a little now and then buys no more time. It knows neither sockets nor streams, and reads no clock.

use std::time::Duration;

use tokio::time::Instant;

/// One peer's pace, measured over the present period: it ends once as many bytes went as a `limit` of waiting needs.
#[derive(Debug)]
pub(super) struct Pace {
    limit: Duration,
    /// Bytes that end a period.
    quota: u64,
    moved: u64,
    /// Time waited in this period, but for the wait that lasts.
    waited: Duration,
    waiting_since: Option<Instant>,
}

impl Pace {
    /// A rate of 0 asks for any byte at all within `limit`.
    pub(super) fn new(limit: Duration, bytes_per_second_min: u64) -> Self {
        let quota = u128::from(bytes_per_second_min).saturating_mul(limit.as_millis()) / 1000;
        Self {
            limit,
            quota: u64::try_from(quota).unwrap_or(u64::MAX).max(1),
            moved: 0,
            waited: Duration::ZERO,
            waiting_since: None,
        }
    }

    /// Something waits for the peer from here on.
    pub(super) fn wait(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// Nothing waits any more.
    pub(super) fn rest(&mut self, now: Instant) {
        if let Some(since) = self.waiting_since.take() {
            let wait = now.saturating_duration_since(since);
            self.waited = self.waited.saturating_add(wait);
        }
    }

    /// Whether something waits.
    pub(super) const fn is_waiting(&self) -> bool {
        self.waiting_since.is_some()
    }

    /// As many bytes went.
    pub(super) fn moved(&mut self, bytes: usize, now: Instant) {
        self.moved = self.moved.saturating_add(bytes as u64);
        if self.moved < self.quota {
            return;
        }
        self.moved = 0;
        self.waited = Duration::ZERO;
        if let Some(since) = &mut self.waiting_since {
            *since = now;
        }
    }

    /// When the peer will have been too slow, if nothing more goes; `None` while nothing waits for it.
    pub(super) fn late_at(&self) -> Option<Instant> {
        let since = self.waiting_since?;
        Some(since + self.limit.saturating_sub(self.waited))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn is_late(pace: &Pace, now: Instant) -> bool {
        pace.late_at().is_some_and(|at| at <= now)
    }

    #[test]
    fn a_little_now_and_then_buys_no_time() {
        let (mut pace, began) = (Pace::new(10 * SECOND, 100), Instant::now());
        pace.wait(began);
        for second in 1..10 {
            let now = began + second * SECOND;
            pace.moved(99, now);
            assert!(!is_late(&pace, now));
        }
        assert!(is_late(&pace, began + 10 * SECOND), "891 bytes in 10 s");
    }

    #[test]
    fn the_least_rate_is_enough_for_ever() {
        let (mut pace, began) = (Pace::new(10 * SECOND, 100), Instant::now());
        pace.wait(began);
        for period in 1..100 {
            let now = began + period * 9 * SECOND;
            assert!(!is_late(&pace, now));
            pace.moved(1000, now);
        }
    }

    #[test]
    fn only_waiting_counts_and_it_adds_up() {
        let (mut pace, mut now) = (Pace::new(10 * SECOND, 100), Instant::now());
        for _ in 0..3 {
            pace.wait(now);
            now += 3 * SECOND;
            pace.moved(1, now);
            pace.rest(now);
            // We have nothing for it.
            now += 1000 * SECOND;
            assert!(!pace.is_waiting() && pace.late_at().is_none());
        }
        pace.wait(now);
        assert_eq!(pace.late_at(), Some(now + SECOND));
    }

    #[test]
    fn without_a_least_rate_any_byte_is_progress() {
        let (mut pace, mut now) = (Pace::new(SECOND, 0), Instant::now());
        pace.wait(now);
        for _ in 0..10 {
            now += SECOND / 2;
            assert!(!is_late(&pace, now));
            pace.moved(1, now);
        }
        assert!(is_late(&pace, now + SECOND));
    }
}
