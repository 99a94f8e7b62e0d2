//! How long a worker sleeps over commands in flight before it looks for completions itself.
//!
//! An interrupt can be lost, and then a completion lies there that nobody tells of. Invariants: a command that took some
//! time is looked for within as long again, [`LOOK_LAST`] at the most, and never sooner than [`LOOK_FIRST`] after the worker
//! fell asleep; so a command that never ends costs a known number of looks, and one that is shorter than the first look none.
//! It knows neither clocks nor queues, and nothing of how long a command should take: a prediction can be wrong, what has
//! passed cannot.

use std::time::Duration;

/// First look after the last sign of life: several times what the blocks of a service take a card.
pub(super) const LOOK_FIRST: Duration = Duration::from_millis(5);
/// Longest sleep between two looks, as long as with nothing in flight.
pub(super) const LOOK_LAST: Duration = Duration::from_millis(100);

/// When a worker looks next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looks {
    first: Duration,
    last: Duration,
    next: Duration,
}

impl Looks {
    /// The first look comes after `first`, or [`LOOK_FIRST`] where that says nothing; a longer one is also the longest sleep.
    pub(super) fn new(first: Option<Duration>) -> Self {
        let first = first.unwrap_or(LOOK_FIRST);
        Self {
            first,
            last: LOOK_LAST.max(first),
            next: first,
        }
    }

    /// How long to sleep now.
    pub(super) const fn next(&self) -> Duration {
        self.next
    }

    /// A sleep was slept to its end, and there was nothing: the next is twice as long.
    pub(super) fn saw_nothing(&mut self) {
        self.next = self.next.saturating_mul(2).min(self.last);
    }

    /// A command was entered, or has ended.
    pub(super) fn begin_anew(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When the looks come of a worker that sleeps from 0 on, until `end`.
    fn looks_until(end: Duration) -> Vec<Duration> {
        let mut looks = Looks::new(None);
        let mut now = Duration::ZERO;
        let mut at = Vec::new();
        while now < end {
            now += looks.next();
            looks.saw_nothing();
            at.push(now);
        }
        at
    }

    #[test]
    fn what_took_a_time_is_found_within_as_long_again() {
        for us in (1..3_000_000).step_by(997) {
            let ended = Duration::from_micros(us);
            let found = *looks_until(ended).last().unwrap();
            let late = found - ended;
            let most = (ended + LOOK_FIRST).min(LOOK_LAST);
            assert!(late <= most, "ended after {ended:?}, found {late:?} later");
        }
    }

    #[test]
    fn a_command_that_never_ends_costs_a_known_number_of_looks() {
        assert_eq!(looks_until(Duration::from_millis(5)).len(), 1);
        // 5, 10, 20, 40, 80, and then each 100 ms.
        assert_eq!(looks_until(Duration::from_millis(1500)).len(), 19);
    }

    #[test]
    fn a_sign_of_life_begins_anew_and_a_long_first_sleep_stays_the_longest() {
        let mut looks = Looks::new(None);
        for _ in 0..40 {
            looks.saw_nothing();
        }
        assert_eq!(looks.next(), LOOK_LAST);
        looks.begin_anew();
        assert_eq!(looks.next(), LOOK_FIRST);
        let never = Duration::from_secs(200);
        let mut looks = Looks::new(Some(never));
        looks.saw_nothing();
        assert_eq!(looks.next(), never);
        let mut looks = Looks::new(Some(Duration::MAX));
        looks.saw_nothing();
        assert_eq!(looks.next(), Duration::MAX);
    }
}
