//! What a token bucket promises, over arbitrary rates, bursts and takes, against exact arithmetic.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use faam_sched::{Availability, Nanos, TokenBucket, TokenRate};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

fn rates() -> impl Strategy<Value = TokenRate> {
    // From one a minute's worth to more than any link carries, dividing a second evenly and not.
    let per_s = prop_oneof![1..10u64, 1..1000u64, 1..100_000_000_000u64];
    let burst = prop_oneof![1..10u64, 1..100_000u64, 1..100_000_000_000u64];
    // A bucket is full again within the centuries that a clock in nanoseconds counts.
    (per_s, burst).prop_map(|(per_s, burst)| TokenRate {
        per_s,
        burst: burst.min(per_s * 1_000_000),
    })
}

/// A pause, and what is asked for after it as a part of the burst in thousandths.
fn steps() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let pause = prop_oneof![Just(0), 0..1000u64, 0..2 * SECOND];
    prop::collection::vec((pause, 0..1100u64), 1..60)
}

fn part_of(burst: u64, thousandths: u64) -> u64 {
    u64::try_from(u128::from(burst) * u128::from(thousandths) / 1000).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Between any two grants, these two included: no more than the rate gives and the burst.
    #[test]
    fn no_window_has_more_than_its_rate_and_the_burst(rate in rates(), steps in steps()) {
        let mut bucket = TokenBucket::new(rate);
        let mut now = Nanos(0);
        let mut grants: Vec<(Nanos, u64)> = Vec::new();
        for (pause, thousandths) in steps {
            now = Nanos(now.0 + pause);
            let asked = part_of(rate.burst, thousandths);
            if bucket.take(asked, now).is_ok() {
                grants.push((now, asked));
            }
            for (first, (begin, _)) in grants.iter().enumerate() {
                let granted: u128 = grants[first..].iter().map(|(_, tokens)| u128::from(*tokens)).sum();
                let span = u128::from(now.since(*begin).0);
                let allowed = u128::from(rate.per_s) * span + u128::from(rate.burst) * u128::from(SECOND);
                prop_assert!(granted * u128::from(SECOND) <= allowed, "{granted} in {span} ns of {rate:?}");
            }
        }
    }

    /// What is told is the first nanosecond at which the same take is granted.
    #[test]
    fn a_wait_is_exact(rate in rates(), steps in steps()) {
        let mut bucket = TokenBucket::new(rate);
        let mut now = Nanos(0);
        for (pause, thousandths) in steps {
            now = Nanos(now.0 + pause);
            let asked = part_of(rate.burst, thousandths);
            let told = bucket.when_available(asked, now);
            match bucket.take(asked, now) {
                Ok(()) => prop_assert_eq!(told, Availability::Now),
                Err(Availability::After(wait)) => {
                    prop_assert_eq!(told, Availability::After(wait));
                    let early = Nanos(now.0 + wait.0 - 1);
                    prop_assert_eq!(bucket.take(asked, early), Err(Availability::After(Nanos(1))));
                    now = Nanos(now.0 + wait.0);
                    prop_assert!(bucket.available(now) >= asked);
                    prop_assert_eq!(bucket.take(asked, now), Ok(()));
                }
                Err(refused) => {
                    prop_assert_eq!(refused, Availability::Never);
                    prop_assert!(asked > rate.burst);
                }
            }
        }
    }

    /// Whoever takes each token as soon as it is there gets the whole rate, however oddly it divides a second. (A bucket of
    /// one token is full when it is taken: what part of a nanosecond it has earned by then is beyond its burst.)
    #[test]
    fn nothing_drifts(per_s in 1..5_000u64, burst in 2..50u64, takes in 100..2_000u64) {
        let mut bucket = TokenBucket::new(TokenRate { per_s, burst });
        let mut now = Nanos(0);
        for _ in 0..takes {
            while let Err(later) = bucket.take(1, now) {
                let Availability::After(wait) = later else { panic!("{later:?}") };
                now = Nanos(now.0 + wait.0);
            }
        }
        let earned = u128::from(takes.saturating_sub(burst)) * u128::from(SECOND);
        prop_assert_eq!(u128::from(now.0), earned.div_ceil(u128::from(per_s)));
    }

    /// A changed rate acts from its moment on, and forgives and invents nothing.
    #[test]
    fn a_change_keeps_what_is_owed(before in rates(), after in rates(), used in 0..1000u64) {
        let mut bucket = TokenBucket::new(before);
        let used = part_of(before.burst, used);
        bucket.take(used, Nanos(7)).unwrap();
        bucket.set_rate(after, Nanos(7));
        prop_assert_eq!(bucket.available(Nanos(7)), after.burst.saturating_sub(used));
        let full = bucket.full_after(Nanos(7)).unwrap();
        let exact = (u128::from(used) * u128::from(SECOND)).div_ceil(u128::from(after.per_s));
        prop_assert_eq!(u128::from(full.0), exact.min(u128::from(u64::MAX)));
    }

    /// A refund gives back what was taken, and never more than the bucket holds.
    #[test]
    fn a_refund_undoes_a_take(rate in rates(), used in 0..1000u64, more in 0..1000u64) {
        let mut bucket = TokenBucket::new(rate);
        let used = part_of(rate.burst, used);
        bucket.take(used, Nanos(1)).unwrap();
        bucket.refund(used, Nanos(1));
        prop_assert_eq!(bucket.available(Nanos(1)), rate.burst);
        bucket.refund(more, Nanos(2));
        prop_assert_eq!(bucket.available(Nanos(2)), rate.burst);
    }

    /// What was used without being there is waited for by whoever comes next.
    #[test]
    fn a_debit_is_paid_back(rate in rates(), beyond in 1..1_000_000u64) {
        let mut bucket = TokenBucket::new(rate);
        bucket.debit(rate.burst, Nanos(0));
        bucket.debit(beyond, Nanos(0));
        prop_assert_eq!(bucket.available(Nanos(0)), 0);
        let exact = ((u128::from(beyond) + 1) * u128::from(SECOND)).div_ceil(u128::from(rate.per_s));
        let told = bucket.take(1, Nanos(0));
        prop_assert_eq!(told, Err(Availability::After(Nanos(u64::try_from(exact).unwrap()))));
    }
}

#[test]
fn a_clock_that_steps_back_earns_nothing() {
    let mut bucket = TokenBucket::new(TokenRate { per_s: 1, burst: 1 });
    assert_eq!(bucket.take(1, Nanos(5 * SECOND)), Ok(()));
    assert_eq!(
        bucket.take(1, Nanos(4 * SECOND)),
        Err(Availability::After(Nanos(SECOND)))
    );
    assert_eq!(bucket.take(1, Nanos(6 * SECOND)), Ok(()));
}

#[test]
fn the_largest_numbers_neither_wrap_nor_panic() {
    let rate = TokenRate {
        per_s: u64::MAX,
        burst: u64::MAX,
    };
    let mut bucket = TokenBucket::new(rate);
    for _ in 0..3 {
        bucket.debit(u64::MAX, Nanos(0));
    }
    assert_eq!(
        bucket.when_available(u64::MAX, Nanos(0)),
        Availability::After(Nanos(3 * SECOND))
    );
    assert_eq!(bucket.available(Nanos(u64::MAX)), u64::MAX);
}

#[test]
fn a_rate_of_nothing_gives_its_burst_once() {
    let mut bucket = TokenBucket::new(TokenRate { per_s: 0, burst: 2 });
    assert_eq!(bucket.take(2, Nanos(0)), Ok(()));
    assert_eq!(bucket.take(1, Nanos(u64::MAX)), Err(Availability::Never));
    assert_eq!(bucket.full_after(Nanos(9)), None);
}
