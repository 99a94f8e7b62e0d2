//! The faults of one function: which are on, and which of its jobs are struck.
//!
//! Owns the rules that concern the function, their counts and the draw. Invariants:
//! - nothing is ever on unless the card was started with `allow_faults`, for nothing else adds a rule;
//! - where nothing is on, asking is one relaxed load;
//! - the same seed, rules and numbers of jobs give the same strikes, whichever engine takes which job;
//! - a strike on a job is drawn once, and goes with the job to its end.
//!
//! What a fault does is not known here.
//!
//! Lock order: the one lock is a leaf.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::fault_plan::{FaultRule, RULES_MAX};
use crate::faults::{Fault, FaultKind};

/// Faults that there are.
const FAULTS: usize = Fault::ALL.len();

/// Where a fault's bit is.
type Bits = u128;

// Each has a bit.
const _: () = assert!(FAULTS <= 128);

/// One fault that strikes: a job, or the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strike {
    pub(crate) fault: Fault,
    /// For how long, milliseconds; `None` = until something else ends it.
    pub(crate) ms: Option<u32>,
    /// By how much; 1 where it means nothing.
    pub(crate) factor: u32,
}

impl Strike {
    fn of(rule: &FaultRule) -> Self {
        Self {
            fault: rule.fault(),
            ms: rule.ms(),
            factor: rule.factor(),
        }
    }

    /// For how long.
    pub(crate) fn time(self) -> Option<Duration> {
        self.ms.map(|ms| Duration::from_millis(u64::from(ms)))
    }
}

/// The faults that strike one job. Empty for nearly all, and then without memory of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strikes(Vec<Strike>);

/// What was drawn for a job.
#[derive(Debug, Default)]
pub(crate) struct Draw {
    /// What strikes the job.
    pub(crate) strikes: Strikes,
    /// What happens to the function meanwhile.
    pub(crate) events: Vec<Strike>,
}

/// A rule, and how far it has got.
#[derive(Debug)]
struct Kept {
    rule: FaultRule,
    /// Tells the chances of rules apart.
    ordinal: u64,
    /// Jobs taken since the rule came.
    seen: u64,
    /// Jobs that it struck.
    struck: u64,
    /// When a fault that is on for a time goes off.
    until: Option<Instant>,
    /// It goes with the next reset of the function.
    until_reset: bool,
}

#[derive(Debug, Default)]
struct Book {
    rules: Vec<Kept>,
    next_ordinal: u64,
    seed: u64,
    /// Levels that a job has turned on, until the next job is taken.
    until_next_job: Bits,
    /// Levels that a job has turned on for a time.
    timed: Vec<(Fault, Instant)>,
}

/// The faults of one function.
#[derive(Debug)]
pub(crate) struct Faults {
    /// What is on, by bit.
    on: [AtomicU64; 2],
    /// There are rules that jobs are drawn for.
    draws: AtomicBool,
    /// Something of what is on goes off by time.
    timed: AtomicBool,
    book: Mutex<Book>,
    /// How often each broke its rule.
    strikes: [AtomicU64; FAULTS],
    /// State of the generator of random bytes.
    random: AtomicU64,
    function: u8,
}

impl Default for Faults {
    fn default() -> Self {
        Self::new(0, 0)
    }
}

impl Faults {
    /// None, of a function with this number; chances will be drawn from this seed.
    pub(crate) fn new(function: u8, seed: u64) -> Self {
        let faults = Self {
            on: Default::default(),
            draws: AtomicBool::new(false),
            timed: AtomicBool::new(false),
            book: Mutex::default(),
            strikes: std::array::from_fn(|_| AtomicU64::new(0)),
            random: AtomicU64::new(0),
            function,
        };
        faults.seed(seed);
        faults
    }

    /// Whether a fault is on for the function, and so breaks its rule now.
    pub(crate) fn on(&self, fault: Fault) -> bool {
        let on = self.is_on(fault);
        if on {
            self.count(fault);
        }
        on
    }

    /// Whether a fault is on for the function, where asking breaks nothing yet.
    pub(crate) fn is_on(&self, fault: Fault) -> bool {
        let [low, high] = &self.on;
        let number = fault as u8;
        let word = if number < 64 { low } else { high };
        if word.load(Ordering::Relaxed) & 1 << (number % 64) == 0 {
            return false;
        }
        // Slow from here on; only a card that misbehaves comes here.
        if !self.timed.load(Ordering::Relaxed) {
            return true;
        }
        let mut book = self.book.lock();
        self.publish(&mut book) & bit(fault) != 0
    }

    /// Whether a fault is on for the function, or strikes this job, and so breaks its rule now.
    pub(crate) fn hit(&self, fault: Fault, strikes: &Strikes) -> bool {
        self.strike(fault, strikes).is_some()
    }

    /// As [`Faults::hit`], with the magnitudes.
    pub(crate) fn strike(&self, fault: Fault, strikes: &Strikes) -> Option<Strike> {
        let own = strikes.0.iter().find(|strike| strike.fault == fault);
        let strike = match own {
            Some(strike) => Some(*strike),
            None if self.is_on(fault) => self.standing(fault),
            None => None,
        };
        if strike.is_some() {
            self.count(fault);
        }
        strike
    }

    /// Whether any fault is on or strikes this job.
    pub(crate) fn any(&self, strikes: &Strikes) -> bool {
        !strikes.0.is_empty() || self.on.iter().any(|word| word.load(Ordering::Relaxed) != 0)
    }

    /// An engine takes a job: draws what strikes it, of what can, and ends what was on until now.
    pub(crate) fn draw(&self, can: impl Fn(Fault) -> bool) -> Draw {
        let mut draw = Draw::default();
        if !self.draws.load(Ordering::Relaxed) {
            return draw;
        }
        let mut book = self.book.lock();
        let now = Instant::now();
        let seed = book.seed;
        book.until_next_job = 0;
        let mut levels = Vec::new();
        let of_jobs = |kept: &&mut Kept| kept.rule.fault().kind() != FaultKind::Load;
        for kept in book.rules.iter_mut().filter(of_jobs) {
            if !kept.is_due(seed, self.function, can(kept.rule.fault())) {
                continue;
            }
            let strike = Strike::of(&kept.rule);
            tracing::debug!(function = self.function, job = kept.seen, rule = %kept.rule, "a fault strikes a job");
            match strike.fault.kind() {
                FaultKind::Job => draw.strikes.0.push(strike),
                FaultKind::Event => draw.events.push(strike),
                FaultKind::Level => levels.push(strike),
                // Drawn when a slot is programmed.
                FaultKind::Load => {}
            }
        }
        for strike in levels {
            match strike.time() {
                None => book.until_next_job |= bit(strike.fault),
                Some(time) => {
                    book.timed.retain(|(fault, _)| *fault != strike.fault);
                    book.timed.push((strike.fault, now + time));
                }
            }
        }
        self.publish(&mut book);
        draw
    }

    /// A slot is programmed: draws what strikes that, if anything does.
    pub(crate) fn draw_load(&self) -> Option<Strike> {
        let mut book = self.book.lock();
        let seed = book.seed;
        let mut strike = None;
        let of_loads = |kept: &&mut Kept| kept.rule.fault().kind() == FaultKind::Load;
        for kept in book.rules.iter_mut().filter(of_loads) {
            // Each counts the load, whichever strikes it.
            let due = !kept.rule.is_of_jobs() || kept.is_due(seed, self.function, true);
            if due && strike.is_none() {
                tracing::debug!(function = self.function, rule = %kept.rule, "a fault strikes a load");
                strike = Some(Strike::of(&kept.rule));
            }
        }
        if let Some(strike) = strike {
            self.count(strike.fault);
        }
        self.publish(&mut book);
        strike
    }

    /// Adds a rule that concerns this function; in place of the same one, whose counts begin again. What happens to the
    /// function at once, if the rule is one of an event without a condition. `false` if there is no room for it.
    pub(crate) fn add(
        &self,
        rule: &FaultRule,
        until_reset: bool,
    ) -> Result<Option<Strike>, NoRoom> {
        let mut book = self.book.lock();
        if rule.fault().kind() == FaultKind::Event && !rule.is_of_jobs() {
            return Ok(Some(Strike::of(rule)));
        }
        book.rules.retain(|kept| kept.rule != *rule);
        if book.rules.len() >= RULES_MAX {
            return Err(NoRoom);
        }
        let ordinal = book.next_ordinal;
        book.next_ordinal += 1;
        let ends = Strike::of(rule)
            .time()
            .filter(|_| rule.fault().kind() == FaultKind::Level && !rule.is_of_jobs());
        book.rules.push(Kept {
            rule: rule.clone(),
            ordinal,
            seen: 0,
            struck: 0,
            until: ends.map(|time| Instant::now() + time),
            until_reset,
        });
        self.publish(&mut book);
        Ok(None)
    }

    /// Takes all rules away; counts of strikes stay.
    pub(crate) fn clear(&self) {
        let mut book = self.book.lock();
        *book = Book {
            seed: book.seed,
            ..Book::default()
        };
        self.publish(&mut book);
    }

    /// Sets the seed; rules that there are begin again.
    pub(crate) fn seed(&self, seed: u64) {
        let mut book = self.book.lock();
        book.seed = seed;
        for (n, kept) in (0..).zip(&mut book.rules) {
            (kept.ordinal, kept.seen, kept.struck) = (n, 0, 0);
        }
        book.next_ordinal = book.rules.len() as u64;
        self.random
            .store(mix(seed ^ u64::from(self.function)), Ordering::Relaxed);
    }

    /// The function is reset: what goes with that goes.
    pub(crate) fn reset(&self) {
        if !self.draws.load(Ordering::Relaxed) {
            return;
        }
        let mut book = self.book.lock();
        book.rules.retain(|kept| !kept.until_reset);
        // A reset forgets doorbells, and no job would come to end this.
        book.until_next_job &= !bit(Fault::LosesDoorbells);
        self.publish(&mut book);
    }

    /// Takes rules away that hang engines.
    pub(crate) fn end_hangs(&self) {
        let mut book = self.book.lock();
        book.rules
            .retain(|kept| kept.rule.fault() != Fault::EngineHangs);
        self.publish(&mut book);
    }

    /// The rules that have not had their last strike.
    pub(crate) fn rules(&self) -> Vec<FaultRule> {
        let mut book = self.book.lock();
        self.publish(&mut book);
        book.rules.iter().map(|kept| kept.rule.clone()).collect()
    }

    /// How often a fault broke its rule since the card started.
    pub(crate) fn struck(&self, fault: Fault) -> u64 {
        self.strikes
            .get(fault as usize)
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Counts that a fault broke its rule.
    pub(crate) fn count(&self, fault: Fault) {
        if let Some(count) = self.strikes.get(fault as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Random bytes from the seed.
    pub(crate) fn random(&self) -> [u8; 8] {
        let step = self.random.fetch_add(GOLDEN, Ordering::Relaxed);
        mix(step).to_le_bytes()
    }

    fn standing(&self, fault: Fault) -> Option<Strike> {
        let book = self.book.lock();
        let mut rules = book.rules.iter().rev();
        let kept = rules.find(|kept| kept.rule.fault() == fault && !kept.rule.is_of_jobs());
        // A level that a job turned on has no magnitude but its time.
        Some(kept.map_or(
            Strike {
                fault,
                ms: fault.ms_default(),
                factor: 1,
            },
            |kept| Strike::of(&kept.rule),
        ))
    }

    /// Ends what has had its time, and brings the words that are asked in line with the book. What is on.
    fn publish(&self, book: &mut Book) -> Bits {
        let now = Instant::now();
        book.timed.retain(|(_, until)| now < *until);
        book.rules.retain(|kept| {
            kept.struck < kept.rule.times() && kept.until.is_none_or(|until| now < until)
        });
        let standing = book
            .rules
            .iter()
            .filter(|kept| !kept.rule.is_of_jobs())
            .map(|kept| kept.rule.fault());
        let timed = book.timed.iter().map(|(fault, _)| *fault);
        let on = standing
            .chain(timed)
            .fold(book.until_next_job, |bits, fault| bits | bit(fault));
        let goes_off = !book.timed.is_empty() || book.rules.iter().any(|kept| kept.until.is_some());
        // The next job also ends what the last one turned on.
        let draws =
            book.until_next_job != 0 || book.rules.iter().any(|kept| kept.rule.is_of_jobs());
        let [low, high] = halves(on);
        self.timed.store(goes_off, Ordering::SeqCst);
        self.draws.store(draws, Ordering::SeqCst);
        for (word, bits) in self.on.iter().zip([low, high]) {
            word.store(bits, Ordering::SeqCst);
        }
        on
    }
}

/// A function has as many rules as it can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a card has at most {RULES_MAX} rules: clear them first")]
pub(crate) struct NoRoom;

impl Kept {
    /// Counts a job. Whether the rule strikes it, which it does only if it can.
    fn is_due(&mut self, seed: u64, function: u8, can: bool) -> bool {
        if !self.rule.is_of_jobs() {
            return false;
        }
        self.seen += 1;
        if !can || self.seen <= self.rule.after() || self.struck >= self.rule.times() {
            return false;
        }
        // By the job's number rather than in turn: what one rule draws does not depend on the others.
        let place = mix(seed ^ mix(self.ordinal << 8 | u64::from(function)));
        let [a, b, c, d, ..] = mix(place ^ mix(self.seen)).to_le_bytes();
        let drawn = f64::from(u32::from_le_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0);
        let due = drawn < self.rule.chance();
        self.struck += u64::from(due);
        due
    }
}

fn bit(fault: Fault) -> Bits {
    1 << (fault as u8)
}

fn halves(bits: Bits) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bits.to_le_bytes();
    [
        u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        u64::from_le_bytes([i, j, k, l, m, n, o, p]),
    ]
}

/// Step of SplitMix64: the golden ratio of 2^64.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// SplitMix64's finaliser.
fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(GOLDEN);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> FaultRule {
        text.parse().unwrap()
    }

    fn with(seed: u64, rules: &[&str]) -> Faults {
        let faults = Faults::new(0, seed);
        for text in rules {
            assert_eq!(faults.add(&rule(text), false), Ok(None));
        }
        faults
    }

    /// The jobs, from 1, of so many that a rule's fault struck.
    fn struck(faults: &Faults, fault: Fault, jobs: u64) -> Vec<u64> {
        (1..=jobs)
            .filter(|_| {
                faults
                    .draw(|_| true)
                    .strikes
                    .0
                    .iter()
                    .any(|s| s.fault == fault)
            })
            .collect()
    }

    #[test]
    fn each_has_a_bit_of_its_own() {
        let faults = Faults::default();
        for (n, fault) in Fault::ALL.iter().enumerate() {
            assert!(!faults.on(*fault));
            if fault.kind() == FaultKind::Event {
                continue;
            }
            faults.add(&FaultRule::new(*fault), false).unwrap();
            assert!(faults.on(*fault));
            let mut later = Fault::ALL.iter().skip(n + 1);
            assert!(later.all(|later| !faults.on(*later)));
        }
        faults.clear();
        assert!(Fault::ALL.iter().all(|fault| !faults.on(*fault)));
        assert!(!faults.any(&Strikes::default()));
        assert_eq!(faults.struck(Fault::Gone), 1);
    }

    #[test]
    fn after_and_times_count_jobs() {
        let faults = with(0, &["flips-a-bit,after=2,times=3"]);
        assert_eq!(struck(&faults, Fault::FlipsABit, 9), [3, 4, 5]);
        assert!(faults.rules().is_empty(), "it has had its last strike");
        assert!(!faults.on(Fault::FlipsABit), "jobs alone are struck");
    }

    #[test]
    fn the_same_seed_gives_the_same_strikes_and_another_one_others() {
        let rules = ["flips-a-bit,chance=0.5", "wrong-checksum,chance=0.5"];
        let draw = |seed| {
            let faults = with(seed, &rules);
            let bits = struck(&faults, Fault::FlipsABit, 64);
            faults.seed(seed);
            (bits, struck(&faults, Fault::WrongChecksum, 64))
        };
        assert_eq!(draw(7), draw(7));
        let (bits, sums) = draw(7);
        assert_ne!(bits, sums, "each rule has chances of its own");
        assert_ne!(bits, draw(8).0);
        assert!((16..=48).contains(&bits.len()), "{bits:?}");
        let seldom = with(7, &["flips-a-bit,chance=0.01"]);
        let few = struck(&seldom, Fault::FlipsABit, 10_000).len();
        assert!((50..=200).contains(&few), "{few} of 10000 at 0.01");
    }

    #[test]
    fn a_job_that_cannot_be_struck_spends_no_strike() {
        let faults = with(0, &["miscounts,times=1"]);
        assert!(faults.draw(|_| false).strikes.0.is_empty());
        assert_eq!(struck(&faults, Fault::Miscounts, 2), [1]);
    }

    #[test]
    fn a_rule_of_loads_counts_loads_alone() {
        let faults = with(0, &["load-fails,after=1,times=1"]);
        assert!(faults.draw(|_| true).strikes.0.is_empty());
        assert_eq!(faults.draw_load(), None);
        assert_eq!(
            faults.draw_load().map(|it| it.fault),
            Some(Fault::LoadFails)
        );
        assert_eq!(faults.draw_load(), None);
        assert_eq!(faults.struck(Fault::LoadFails), 1);
        let standing = with(0, &["load-hangs,ms=7"]);
        assert_eq!(standing.draw_load().and_then(|it| it.ms), Some(7));
    }

    #[test]
    fn a_level_that_a_job_turned_on_is_on_until_the_next_job() {
        let faults = with(0, &["gone,after=1,times=1"]);
        let mut on = Vec::new();
        for _ in 0..3 {
            faults.draw(|_| true);
            on.push(faults.is_on(Fault::Gone));
        }
        assert_eq!(on, [false, true, false]);
    }

    #[test]
    fn what_is_on_for_a_time_goes_off_by_itself() {
        // Long enough that this thread gets as far as asking.
        let faults = with(0, &["gone,ms=60000"]);
        assert!(faults.on(Fault::Gone));
        faults.book.lock().rules[0].until = Some(Instant::now());
        assert!(!faults.on(Fault::Gone));
        assert!(faults.rules().is_empty());
        let faults = with(0, &["gone,times=1,ms=60000"]);
        faults.draw(|_| true);
        faults.draw(|_| true);
        assert!(faults.on(Fault::Gone), "the next job does not end it");
        faults.book.lock().timed[0].1 = Instant::now();
        assert!(!faults.on(Fault::Gone));
    }

    #[test]
    fn magnitudes_go_with_the_strike() {
        let faults = with(
            0,
            &["slow-engine,factor=7", "slow-engine,times=1,factor=100"],
        );
        let first = faults.draw(|_| true).strikes;
        let second = faults.draw(|_| true).strikes;
        let factor = |strikes: &Strikes| faults.strike(Fault::SlowEngine, strikes).unwrap().factor;
        assert_eq!((factor(&first), factor(&second)), (100, 7));
    }

    #[test]
    fn events_happen_at_once_or_with_a_job() {
        let faults = Faults::default();
        let at_once = faults.add(&rule("surprise-removal"), false).unwrap();
        assert_eq!(at_once.unwrap().ms, Some(1000));
        assert!(faults.rules().is_empty());
        let later = faults.add(&rule("surprise-removal,times=1,ms=5"), false);
        assert_eq!(later, Ok(None));
        assert_eq!(faults.draw(|_| true).events[0].ms, Some(5));
        assert!(faults.draw(|_| true).events.is_empty());
    }

    #[test]
    fn rules_are_bounded_and_the_same_one_takes_its_own_place() {
        let faults = Faults::default();
        for _ in 0..2 * RULES_MAX {
            faults.add(&rule("gone"), false).unwrap();
        }
        assert_eq!(faults.rules().len(), 1);
        for n in 1..RULES_MAX {
            faults
                .add(&rule(&format!("gone,after={n}")), false)
                .unwrap();
        }
        assert_eq!(faults.add(&rule("gone,after=0"), false), Err(NoRoom));
    }

    #[test]
    fn a_reset_takes_what_goes_with_it() {
        let faults = with(0, &["loses-doorbells,times=1", "gone,times=1"]);
        faults.add(&rule("engine-hangs,after=5"), true).unwrap();
        faults.draw(|_| true);
        faults.reset();
        assert!(!faults.on(Fault::LosesDoorbells));
        assert!(faults.on(Fault::Gone));
        assert!(faults.rules().is_empty());
    }
}
