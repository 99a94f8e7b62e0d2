//! When a function or a card that failed is tried again, and when it is not any more.
//!
//! Owns the penalty. Each quarantine adds to it, and time in service halves it: sitting out earns nothing, or a card that
//! fails each real job would be forgiven for not being used. Above [`PENALTY_WAITS_ABOVE`] the next try waits, twice as long
//! each time, up to [`WAIT_MAX`]; above [`PENALTY_OUT_ABOVE`] there is none until an operator asks. Invariant: who serves
//! for [`FORGIVEN_AFTER`] without a fault is as good as new, and who waits is always tried again.
//! It knows no clock: moments come in. It does not know what a self-test is: passing one is no service.

use std::time::{Duration, Instant};

use crate::card_recovery::{Quarantines, Rung};

/// What a quarantine of a queue adds: half of a function's, for its function serves on.
pub(super) const PENALTY_QUEUE: f64 = 500.0;
/// What a quarantine of a function or of a card adds.
pub(super) const PENALTY_FUNCTION: f64 = 1000.0;
/// Time in service in which the penalty halves. With it, who fails every 9 s or more seldom never waits, and who fails every
/// 3 s or more often goes out of service in the end.
pub(super) const PENALTY_HALF_LIFE: Duration = Duration::from_secs(15);
/// Above this the next try waits: three faults at once are let pass.
pub(super) const PENALTY_WAITS_ABOVE: f64 = 3000.0;
/// Above this there is no next try: six faults of a function with no service between them are let pass.
pub(super) const PENALTY_OUT_ABOVE: f64 = 6000.0;
/// The first wait; it doubles.
pub(super) const WAIT_MIN: Duration = Duration::from_millis(500);
/// The longest.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(8);
/// Service without a fault after which nothing is held against it: what is left of the largest penalty that is let pass does
/// not bring on a wait, whatever comes next.
pub(super) const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// What follows from a quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is tried at once.
    AtOnce,
    /// It is tried after so long.
    Wait(Duration),
    /// It is not tried until an operator asks.
    OutOfService,
}

/// The penalty of one function, or of one card.
#[derive(Clone, Debug, Default)]
pub(super) struct Damping {
    /// As it was when it was last looked at.
    penalty: f64,
    /// Since when it serves; `None` while it does not. With that, from when on `penalty` is to be halved.
    serves_since: Option<Instant>,
    /// Waits since it was last forgiven.
    waits: u32,
    /// What is held against it.
    counted: Quarantines,
}

impl Damping {
    /// It serves from now on.
    pub(super) fn serves(&mut self, now: Instant) {
        self.serves_since.get_or_insert(now);
    }

    /// It does not serve from now on, and nobody's fault is the reason.
    pub(super) fn pauses(&mut self, now: Instant) {
        self.penalty = self.penalty(now);
        if self.is_forgiven(now) {
            *self = Self::default();
        }
        self.serves_since = None;
    }

    /// It was quarantined. It does not serve until [`Self::serves`].
    pub(super) fn quarantined(&mut self, rung: Rung, now: Instant) -> Verdict {
        self.pauses(now);
        self.counted.count(rung);
        self.penalty += penalty_of(rung);
        if self.penalty > PENALTY_OUT_ABOVE {
            Verdict::OutOfService
        } else if self.penalty > PENALTY_WAITS_ABOVE {
            Verdict::Wait(self.next_wait())
        } else {
            Verdict::AtOnce
        }
    }

    /// It did not come up, and nothing of its card ever has: it waits as one that fails, and is tried for ever.
    pub(super) fn not_up_yet(&mut self, rung: Rung, now: Instant) -> Verdict {
        match self.quarantined(rung, now) {
            Verdict::OutOfService => {
                self.penalty = PENALTY_OUT_ABOVE;
                Verdict::Wait(self.next_wait())
            }
            verdict => verdict,
        }
    }

    fn next_wait(&mut self) -> Duration {
        let wait = WAIT_MIN
            .saturating_mul(2u32.saturating_pow(self.waits))
            .min(WAIT_MAX);
        self.waits = self.waits.saturating_add(1);
        wait
    }

    /// Whether such a quarantine would be followed by a try at once.
    pub(super) fn lets_pass(&self, rung: Rung, now: Instant) -> bool {
        self.penalty(now) + penalty_of(rung) <= PENALTY_WAITS_ABOVE
    }

    /// Nothing is held against it: an operator says so.
    pub(super) fn forgive(&mut self) {
        *self = Self::default();
    }

    /// The penalty as it is now.
    pub(super) fn penalty(&self, now: Instant) -> f64 {
        let served = self
            .serves_since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let halvings = served.as_secs_f64() / PENALTY_HALF_LIFE.as_secs_f64();
        self.penalty * (-halvings).exp2()
    }

    /// What is held against it.
    pub(super) const fn counted(&self) -> Quarantines {
        self.counted
    }

    fn is_forgiven(&self, now: Instant) -> bool {
        self.serves_since
            .is_some_and(|since| now.saturating_duration_since(since) >= FORGIVEN_AFTER)
    }
}

const fn penalty_of(rung: Rung) -> f64 {
    match rung {
        Rung::Queue => PENALTY_QUEUE,
        Rung::Function | Rung::Card => PENALTY_FUNCTION,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Serves for each span in turn, then fails; what follows from each failure. Waits are waited out.
    fn life(spans: impl IntoIterator<Item = (Duration, Rung)>) -> Vec<(Instant, Verdict)> {
        let mut now = Instant::now();
        let mut damping = Damping::default();
        let mut verdicts = Vec::new();
        for (served, rung) in spans {
            damping.serves(now);
            now += served;
            let verdict = damping.quarantined(rung, now);
            verdicts.push((now, verdict));
            match verdict {
                Verdict::AtOnce => {}
                Verdict::Wait(wait) => now += wait,
                Verdict::OutOfService => break,
            }
        }
        verdicts
    }

    /// The page for operators has these figures.
    #[test]
    fn the_page_has_the_constants() {
        let page = include_str!("../../RECOVERY.md").replace('\n', " ");
        for said in [
            format!("adds {PENALTY_QUEUE}, one of a function or of the card {PENALTY_FUNCTION}"),
            format!("halves it each {} s", PENALTY_HALF_LIFE.as_secs()),
            format!(
                "Above {PENALTY_WAITS_ABOVE} the next try waits {} ms",
                WAIT_MIN.as_millis()
            ),
            format!("up to {} s", WAIT_MAX.as_secs()),
            format!("Above {PENALTY_OUT_ABOVE} there is none"),
            format!(
                "Service for {} s without a fault forgives",
                FORGIVEN_AFTER.as_secs()
            ),
            format!(
                "{} pairs were lost",
                crate::card_supervisor::QUEUES_RETIRED_MAX
            ),
            format!(
                "not proven in {} ms",
                crate::card_supervisor::RESET_LIMIT.as_millis()
            ),
            format!(
                "times {}, at least {} ms and at most {} ms",
                crate::command_limit::COMMAND_LIMIT_FACTOR,
                crate::command_limit::COMMAND_LIMIT_MIN.as_millis(),
                crate::command_limit::COMMAND_LIMIT_MAX.as_millis()
            ),
        ] {
            assert!(
                page.contains(&said),
                "{said:?} is not in gateway/RECOVERY.md"
            );
        }
    }

    fn every(served: Duration, times: usize) -> Vec<Verdict> {
        let lives = life(std::iter::repeat_n((served, Rung::Function), times));
        lives.into_iter().map(|(_, verdict)| verdict).collect()
    }

    #[test]
    fn who_never_serves_is_tried_at_once_then_waits_then_is_out() {
        let ms = |ms| Verdict::Wait(Duration::from_millis(ms));
        let expected = [
            Verdict::AtOnce,
            Verdict::AtOnce,
            Verdict::AtOnce,
            ms(500),
            ms(1000),
            ms(2000),
            Verdict::OutOfService,
        ];
        assert_eq!(every(Duration::ZERO, 20), expected);
    }

    #[test]
    fn who_never_came_up_is_tried_for_ever() {
        let now = Instant::now();
        let mut damping = Damping::default();
        let verdicts: Vec<_> = (0..100)
            .map(|_| damping.not_up_yet(Rung::Function, now))
            .collect();
        assert_eq!(verdicts[3], Verdict::Wait(WAIT_MIN));
        let long = Verdict::Wait(WAIT_MAX);
        assert!(verdicts[8..].iter().all(|verdict| *verdict == long));
        assert!(damping.penalty(now) <= PENALTY_OUT_ABOVE);
    }

    #[test]
    fn who_fails_seldom_never_waits_and_who_fails_often_is_out_in_the_end() {
        let seldom = every(Duration::from_secs(9), 1000);
        assert!(seldom.iter().all(|verdict| *verdict == Verdict::AtOnce));
        let between = every(Duration::from_secs(6), 1000);
        assert_eq!(between.len(), 1000, "it is never given up");
        assert_eq!(between.last(), Some(&Verdict::Wait(WAIT_MAX)));
        let often = every(Duration::from_secs(3), 1000);
        assert_eq!(often.last(), Some(&Verdict::OutOfService));
        assert!(often.len() < 30, "{}", often.len());
    }

    #[test]
    fn sitting_out_earns_nothing_and_an_operator_forgives() {
        let began = Instant::now();
        let mut damping = Damping::default();
        for _ in 0..4 {
            damping.quarantined(Rung::Function, began);
        }
        let later = began + Duration::from_secs(3600);
        assert_eq!(
            damping.quarantined(Rung::Function, later),
            Verdict::Wait(WAIT_MIN * 2)
        );
        assert_eq!(damping.counted().function, 5);
        damping.forgive();
        assert_eq!(damping.quarantined(Rung::Card, later), Verdict::AtOnce);
        assert_eq!(damping.counted().sum(), 1);
    }

    #[test]
    fn a_queue_counts_half() {
        let queues = life(std::iter::repeat_n((Duration::ZERO, Rung::Queue), 30));
        let at_once = queues.iter().filter(|(_, v)| *v == Verdict::AtOnce).count();
        assert_eq!((at_once, queues.len()), (6, 13));
    }

    fn rungs() -> impl Strategy<Value = Rung> {
        prop::sample::select(Rung::ALL.to_vec())
    }

    fn lives() -> impl Strategy<Value = Vec<(Duration, Rung)>> {
        let span = (0u64..40_000).prop_map(Duration::from_millis);
        prop::collection::vec((span, rungs()), 1..120)
    }

    /// Tries that a window of so long may see at most, whatever happens: as many as the penalty has room for, and as many
    /// again as halving makes room for. It halves fastest where it is largest.
    fn tries_max(window: Duration) -> f64 {
        let halved_a_second =
            PENALTY_OUT_ABOVE * std::f64::consts::LN_2 / PENALTY_HALF_LIFE.as_secs_f64();
        (PENALTY_OUT_ABOVE + halved_a_second * window.as_secs_f64()) / PENALTY_QUEUE + 1.0
    }

    proptest! {
        #[test]
        fn no_window_sees_more_tries_than_its_bound(spans in lives(), window_s in 1u64..120) {
            let verdicts = life(spans);
            let tries: Vec<_> = verdicts.iter().filter(|(_, v)| *v != Verdict::OutOfService).map(|(at, _)| *at).collect();
            let window = Duration::from_secs(window_s);
            for (n, from) in tries.iter().enumerate() {
                let within = tries[n..].iter().take_while(|at| **at < *from + window).count();
                prop_assert!(u32::try_from(within).map_or(f64::MAX, f64::from) <= tries_max(window), "{within} in {window:?}");
            }
        }

        #[test]
        fn who_waits_is_tried_again_and_never_waits_long(spans in lives()) {
            for (_, verdict) in life(spans) {
                if let Verdict::Wait(wait) = verdict {
                    prop_assert!((WAIT_MIN..=WAIT_MAX).contains(&wait), "{wait:?}");
                }
            }
        }

        #[test]
        fn who_serves_long_enough_is_as_good_as_new(spans in lives(), rung in rungs()) {
            let began = Instant::now();
            let mut damping = Damping::default();
            let mut now = began;
            for (served, rung) in spans {
                damping.serves(now);
                now += served;
                damping.quarantined(rung, now);
            }
            damping.serves(now);
            now += FORGIVEN_AFTER;
            prop_assert_eq!(damping.quarantined(rung, now), Verdict::AtOnce);
            prop_assert_eq!(damping.counted().sum(), 1);
        }

        #[test]
        fn the_penalty_only_falls_between_quarantines(spans in lives(), looks in prop::collection::vec(0u64..10_000, 1..10)) {
            let mut now = Instant::now();
            let mut damping = Damping::default();
            for (served, rung) in spans {
                damping.serves(now);
                now += served;
                damping.quarantined(rung, now);
            }
            damping.serves(now);
            let mut before = damping.penalty(now);
            for look in looks {
                now += Duration::from_millis(look);
                let penalty = damping.penalty(now);
                prop_assert!(penalty <= before && penalty >= 0.0, "{penalty} after {before}");
                before = penalty;
            }
        }
    }
}
