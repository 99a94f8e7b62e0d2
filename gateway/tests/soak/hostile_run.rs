//! A gateway beside a card that lies: its callers must not notice, and it must not suffer.
//!
//! Owns the order of events. Invariants: as in a soak, every request has one right end; at each quiet point everything is back,
//! within bounds for what a foreign card keeps in its hands; a card that is given up stays so until the next life, which begins
//! then.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::accounts::Accounts;
use crate::caller::{self, Scene};
use crate::dice::Dice;
use crate::hostile::{HostileCard, LIES};
use crate::life::{EndKind, Life, Lives};
use crate::load::{Load, Phase};
use crate::quiet::{HOSTILE, Leaks, Rest};
use crate::report::Recoveries;
use crate::samples::Samples;
use crate::{CALLERS_OF, CLOSE_LIMIT, callers, keys, story};

/// Lies that have to be told, and how many times as long as was asked for that may take.
const LIES_MIN: u64 = 20;
const LIMITS_MAX: u32 = 10;
/// Cards, each a liar of its own.
const CARDS: u64 = 3;
/// How long a request that requires a card waits for one: they are down most of the time.
const HW_WAIT: (&str, &str) = ("FAAM_HW_WAIT_MS_MAX", "500");
/// Requests between two looks at `/readyz`, and longest wait for them: callers that require a card may have to wait for one.
const LOOK_REQUESTS: u64 = 50;
const LOOK_LIMIT: Duration = Duration::from_secs(15);
/// Looks between two quiet points.
const LOOKS: u64 = 4;
/// Quiet points of a life at most.
const POINTS_OF_LIFE_MAX: u64 = 6;

/// Everything; or what went wrong.
pub(crate) fn run(seconds: u64, seed: u64) -> Result<(), String> {
    let cards = (0..CARDS).map(|card| HostileCard::start(Dice::new(seed, card).next()));
    let cards: Vec<_> = cards.collect();
    let devices = cards
        .iter()
        .map(|card| format!("vfio-user:{}", card.dir().display()));
    let devices: Vec<_> = devices.collect();
    let lives = Lives::begin(&["--devices", &devices.join(",")], &[HW_WAIT]);
    let load = Load::new();
    let outcome = keys(&lives).and_then(|keys| {
        let samples = Samples::make(seed);
        let accounts = Accounts::default();
        let scene = Scene {
            load: &load,
            lives: &lives,
            samples: &samples,
            accounts: &accounts,
            keys: &keys,
            cards_are_own: false,
        };
        std::thread::scope(|scope| {
            let scene = &scene;
            for (number, tenant) in callers().enumerate() {
                scope.spawn(move || caller::call(scene, number, tenant, seed));
            }
            let conducted = conduct(scene, &cards, Duration::from_secs(seconds));
            load.finish();
            conducted
        })
    });
    let done = outcome.map_err(|why| story(&lives, &load, &why))?;
    let tally = load.tally();
    println!(
        "beside a card that lies, seed {seed}: {} requests, {:?}; {} lives of the gateway, {} in which it \
         gave the card up",
        tally.ended,
        load.failed(),
        done.lives,
        done.given_up
    );
    for (outcome, count) in &tally.by_outcome {
        println!("  {count:>9}  {outcome}");
    }
    println!(
        "right answers by the backend that their heads name: {:?}",
        tally.by_backend
    );
    println!("what {CARDS} cards did:");
    let mut told = BTreeMap::<String, u64>::new();
    for (what, count) in cards.iter().flat_map(HostileCard::told) {
        *told.entry(what).or_default() += count;
    }
    for (what, count) in told {
        println!("  {count:>9}  {what}");
    }
    done.recoveries.print();
    println!("at rest: {:?}", done.leaks);
    Ok(())
}

/// What it came to.
#[derive(Default)]
struct Done {
    leaks: Leaks,
    lives: u64,
    given_up: u64,
    recoveries: Recoveries,
}

fn conduct(scene: &Scene<'_>, cards: &[HostileCard], limit: Duration) -> Result<Done, String> {
    let (load, lives) = (scene.load, scene.lives);
    let began = Instant::now();
    let mut done = Done {
        lives: 1,
        ..Done::default()
    };
    let mut rest = Rest::begin(&lives.now(), HOSTILE)?;
    loop {
        load.open(Phase::Chaos);
        for _ in 0..LOOKS {
            load.wait_ended(LOOK_REQUESTS, LOOK_LIMIT)?;
            if !lives.now().ready()?.0 {
                return Err("/readyz says that it is not ready".to_owned());
            }
            // A round of requests that wait for cards takes long: who asked for seconds is not kept for minutes.
            if began.elapsed() >= limit && lies(cards) >= LIES_MIN {
                break;
            }
        }
        load.close(CALLERS_OF.iter().sum(), CLOSE_LIMIT)?;
        let life = lives.now();
        rest.check(lives, &life)?;
        scene.accounts.settle(lives, &life, None)?;
        let lies = lies(cards);
        let over = began.elapsed() >= limit && lies >= LIES_MIN;
        if began.elapsed() >= limit * LIMITS_MAX && !over {
            return Err(format!("only {lies} lies were told: this shows nothing"));
        }
        let gave_up = is_given_up(&life)?;
        done.given_up += u64::from(gave_up);
        if over || gave_up || rest.points >= POINTS_OF_LIFE_MAX {
            done.leaks.add(&rest);
            lives.end(EndKind::Stopped)?;
            done.recoveries.add(&life.log);
            if over {
                return Ok(done);
            }
            done.lives += 1;
            rest = Rest::begin(&lives.begin_next(), HOSTILE)?;
        }
    }
}

/// Lies that were told so far.
fn lies(cards: &[HostileCard]) -> u64 {
    let told = cards
        .iter()
        .map(|card| card.told().get(LIES).copied().unwrap_or(0));
    told.sum()
}

fn is_given_up(life: &Life) -> Result<bool, String> {
    let (_, cards) = life.ready()?;
    Ok(cards.iter().any(|card| card["state"] == "out-of-service"))
}
