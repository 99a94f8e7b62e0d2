//! What time it is, for rates and for days.
//!
//! Invariant: the moments never go back, and a day is the UTC day of the machine's clock, looked at again at least once in
//! `DAY_CHECK_MAX`. Tests have a clock that they set.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use faam_sched::Nanos;

/// Seconds of a UTC day: POSIX time has no leap seconds.
pub const DAY_SECONDS: u64 = 86_400;
/// How long a day that was read is believed: for so long a clock that was set may go unnoticed.
const DAY_CHECK_MAX: Duration = Duration::from_secs(60);

/// Days since 1970-01-01 (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(pub u64);

/// Tells moments and days.
#[derive(Debug)]
pub struct Clock {
    source: Source,
    /// Until when [`Clock::day`] need not look again.
    day_valid: AtomicU64,
    day: AtomicU64,
}

#[derive(Debug)]
enum Source {
    System { origin: Instant },
    Set(Arc<SetClock>),
}

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct SetClock {
    moment: AtomicU64,
    unix_seconds: AtomicU64,
}

impl SetClock {
    /// At this second since 1970.
    #[must_use]
    pub fn at(unix_seconds: u64) -> Arc<Self> {
        let clock = Self::default();
        clock.unix_seconds.store(unix_seconds, Ordering::Release);
        Arc::new(clock)
    }

    /// Lets `time` pass, and the calendar go on by `seconds`: it may be set as well.
    pub fn pass(&self, time: Duration, seconds: u64) {
        self.moment.fetch_add(nanos(time), Ordering::AcqRel);
        self.unix_seconds.fetch_add(seconds, Ordering::AcqRel);
    }
}

impl Clock {
    /// The machine's.
    #[must_use]
    pub fn system() -> Self {
        Self::of(Source::System {
            origin: Instant::now(),
        })
    }

    /// One that somebody sets.
    #[must_use]
    pub fn set(clock: Arc<SetClock>) -> Self {
        Self::of(Source::Set(clock))
    }

    const fn of(source: Source) -> Self {
        Self {
            source,
            day_valid: AtomicU64::new(0),
            day: AtomicU64::new(0),
        }
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Nanos {
        match &self.source {
            Source::System { origin } => Nanos(nanos(origin.elapsed())),
            Source::Set(clock) => Nanos(clock.moment.load(Ordering::Acquire)),
        }
    }

    /// The day at `now`, which is the present moment.
    #[must_use]
    pub fn day(&self, now: Nanos) -> Day {
        if now.0 < self.day_valid.load(Ordering::Acquire) {
            return Day(self.day.load(Ordering::Acquire));
        }
        let seconds = self.unix_seconds();
        let day = seconds / DAY_SECONDS;
        let left = Duration::from_secs(DAY_SECONDS - seconds % DAY_SECONDS);
        // Before its partner, the load above, sees the new time it sees the new day.
        self.day.store(day, Ordering::Release);
        // A clock that is set has its calendar looked at each time.
        if matches!(self.source, Source::System { .. }) {
            // A second early: the calendar is read in whole seconds.
            let valid = left
                .saturating_sub(Duration::from_secs(1))
                .min(DAY_CHECK_MAX);
            self.day_valid
                .store(now.0.saturating_add(nanos(valid)), Ordering::Release);
        }
        Day(day)
    }

    /// What is left of the present day; never nothing.
    #[must_use]
    pub fn day_left(&self) -> Duration {
        Duration::from_secs(DAY_SECONDS - self.unix_seconds() % DAY_SECONDS)
    }

    fn unix_seconds(&self) -> u64 {
        match &self.source {
            Source::System { .. } => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |time| time.as_secs()),
            Source::Set(clock) => clock.unix_seconds.load(Ordering::Acquire),
        }
    }
}

/// A span as a count of nanoseconds; the longest there is where it is longer.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_at_midnight_utc() {
        let set = SetClock::at(DAY_SECONDS * 20_000 + 86_399);
        let clock = Clock::set(Arc::clone(&set));
        assert_eq!(clock.day(clock.now()), Day(20_000));
        assert_eq!(clock.day_left(), Duration::from_secs(1));
        set.pass(Duration::from_secs(1), 1);
        assert_eq!(clock.day(clock.now()), Day(20_001));
        assert_eq!(clock.day_left(), Duration::from_secs(DAY_SECONDS));
        assert_eq!(clock.now(), Nanos(1_000_000_000));
    }

    #[test]
    fn the_machines_day_is_the_machines() {
        let clock = Clock::system();
        let today = |clock: &Clock| {
            let day = clock.day(clock.now());
            // Once more from what is kept.
            (day, clock.day(clock.now()))
        };
        let before = clock.unix_seconds() / DAY_SECONDS;
        let (read, kept) = today(&clock);
        let after = clock.unix_seconds() / DAY_SECONDS;
        assert!((before..=after).contains(&read.0) && (before..=after).contains(&kept.0));
    }
}
