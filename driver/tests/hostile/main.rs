//! A driver that does its worst, against a card in a process of its own: the card neither crashes, hangs nor leaks.
//!
//! Each round a peer connects to one of the card's functions and maps, writes, rings, resets and hangs up as its seed has
//! it, by messages that are mostly well formed and commands that are nearly right. Then an honest driver connects, tests
//! itself and is served; and the card's descriptors, threads, maps and memory are what they were before.
//!
//! Environment:
//! - `HOSTILE_SECONDS`: how long (10);
//! - `HOSTILE_SEED`: of the first round, which is printed; after what has found something once, which is in [`KEPT`], each
//!   round has the next one. What a round did is done again, first, with the seed that is printed of it.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "constants and lengths of this test, all of them small"
)]

mod attack;
mod card;
mod entries;
mod honest;
mod peer;
mod random;

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use crate::attack::{Attack, Tally};
use crate::card::{Card, Figures};
use crate::random::Random;

/// Rounds that are played whatever the seed, right after the first: one for each kind of beginning.
const KEPT: [u64; 4] = [1, 2, 3, 4];
/// Seconds unless the environment says otherwise.
const SECONDS_DEFAULT: u64 = 10;
/// Rounds before the card's memory is taken as what it needs: its buffers are touched as they are first used.
const ROUNDS_TO_WARM: u64 = 20;
/// Descriptors of a card without clients at most: standard streams, two listeners, what stops it, the directory's lock.
const DESCRIPTORS_MAX: usize = 24;
/// Memory that a card may grow by after that, KiB: an allocator keeps some of what threads gave back.
const GROWTH_KIB_MAX: u64 = 24 << 10;
/// Maps that it may grow by: an allocator's, for threads that come to allocate.
const GROWTH_MAPS_MAX: usize = 24;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| {
        panic!("{name}: expected a number, got {text:?}");
    }))
}

/// A round's seed: the run's own, those that are kept, and those that follow the run's own.
fn seed_of(seed: u64, round: u64) -> u64 {
    let kept = KEPT.len() as u64;
    match round {
        0 => seed,
        1.. if round <= kept => KEPT[round as usize - 1],
        _ => seed.wrapping_add(round - kept),
    }
}

#[test]
fn each_round_can_be_played_first() {
    let kept = KEPT.len() as u64;
    for round in 0..3 * kept {
        let of_round = seed_of(7_000, round);
        assert_eq!(seed_of(of_round, 0), of_round);
    }
    assert_eq!(seed_of(7_000, kept), KEPT[KEPT.len() - 1]);
    // None of the run's own is left out.
    assert_eq!(seed_of(7_000, kept + 1), 7_001);
}

#[test]
fn a_hostile_driver_costs_the_card_nothing() {
    let seconds = number("HOSTILE_SECONDS").unwrap_or(SECONDS_DEFAULT);
    let seed = number("HOSTILE_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("HOSTILE_SEED={seed} HOSTILE_SECONDS={seconds}");
    let card = Card::start();
    // All that it needs for honest work, at once on both functions and in the largest jobs.
    honest::serve_both(&card);
    let idle = card.figures_when_left(DESCRIPTORS_MAX, "the beginning");
    let mut warm: Option<Figures> = None;
    let mut tally = Tally::default();
    let mut last = Figures::default();
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut round = 0;
    while Instant::now() < end || round < KEPT.len() as u64 + ROUNDS_TO_WARM {
        let of_round = seed_of(seed, round);
        let told = format!("round {round}, HOSTILE_SEED={of_round}");
        Attack::new(&card, Random::new(of_round), &mut tally).run();
        honest::serve(&card, (of_round % 2) as u8, &told);
        last = card.figures_when_left(idle.descriptors, &told);
        assert_eq!(
            last.threads, idle.threads,
            "threads of the card after {told}"
        );
        round += 1;
        if round == KEPT.len() as u64 + ROUNDS_TO_WARM {
            warm = Some(last);
        }
        if let Some(warm) = warm {
            assert!(
                last.resident_kib <= warm.resident_kib + GROWTH_KIB_MAX,
                "the card has grown from {warm:?} to {last:?}, seen after {told}"
            );
            assert!(
                last.maps <= warm.maps + GROWTH_MAPS_MAX,
                "the card's maps have grown from {warm:?} to {last:?}, seen after {told}"
            );
        }
    }
    println!("{round} rounds; {tally}");
    println!("idle at first {idle:?}, warm {warm:?}, at last {last:?}");
    tally.check();
}
