//! One fault's trial: jobs under way, the fault, how it is noticed, the fence, and the way back.
//!
//! Owns the steps, which are a supervisor's. Invariants: memory that was in the card's hands is free only behind a proof; at
//! the end every buffer has come back. A trial whose fault did not strike has failed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use faam_driver::{Arena, FenceProof, Function, TransportError};
use faam_hwif::QueueId;
use libtest_mimic::{Completion, Failed, Trial};

use super::load::{JOBS_AT_ONCE, Load, Sample, samples};
use super::{Back, Expected, ROWS, Row, Strike};
use crate::behaviour::Need;
use crate::carrier::{Bench, Carrier};
use crate::runner::{Running, say, shown};

/// Jobs that are served before the fault, and again after it.
pub(super) const JOBS_AROUND: usize = 6;
/// Jobs that are begun under a fault that nobody notices.
const JOBS_UNDER_FAULT: usize = 16;
/// Strikes until a fault is noticed: each harms some of the jobs that it may strike.
const TRIES_MAX: u32 = 16;
/// How often the heartbeat is looked at, and how long it may stand still.
const HEARTBEAT_EVERY: Duration = Duration::from_millis(100);
const HEARTBEAT_STALE_MAX: Duration = Duration::from_millis(3000);
/// How long a function's reset may take, as a gateway has it, and in a virtual machine.
const RESET_LIMIT_VFIO_USER: Duration = Duration::from_millis(500);
const RESET_LIMIT_KERNEL_VFIO: Duration = Duration::from_secs(4);

/// A trial for each fault.
pub(crate) fn trials(carrier: Carrier) -> Vec<Trial> {
    let trial = |row: &'static Row| {
        let name = format!("fault::{}", row.name);
        Trial::ignorable_test(name.clone(), move || {
            let _running = Running::begin(&name);
            let (words, told) = run(row, carrier);
            say("fault", row.name, carrier, &words);
            told
        })
    };
    ROWS.iter().map(trial).collect()
}

fn expected(row: &Row, carrier: Carrier) -> &Expected {
    match carrier {
        // Gateware has none of these faults: no trial is run with it.
        Carrier::VfioUser | Carrier::Rtl => &row.vfio_user,
        Carrier::KernelVfio => &row.kernel_vfio,
    }
}

/// Runs one, and says what came of it.
fn run(row: &'static Row, carrier: Carrier) -> (String, Result<Completion, Failed>) {
    let expected = expected(row, carrier);
    if let Expected::NotCarried(why) = expected {
        return (expected.words(), Ok(Completion::ignored_with(why)));
    }
    let bench = match Bench::start(carrier, &[Need::Faults, Need::Kill], &[]) {
        Ok(bench) => bench,
        Err(need) => {
            let words = format!("skipped: {need}");
            return (words, Ok(Completion::ignored_with(need)));
        }
    };
    match shown(|| Course::new(row, bench).run()) {
        Ok(Came {
            noticed: None,
            slowest,
            ..
        }) if matches!(expected, Expected::Served) => {
            let words = format!("served; slowest {} ms", slowest.as_millis());
            (words, Ok(Completion::Completed))
        }
        Ok(Came {
            noticed: Some(notice),
            back: Some((back, took)),
            ..
        }) if matches!(expected, Expected::Noticed(kinds, of) if kinds.contains(&notice.kind) && *of == back) =>
        {
            let words = format!(
                "{}; noticed {} ms; back {} ms",
                expected.words(),
                notice.after.as_millis(),
                took.as_millis()
            );
            (words, Ok(Completion::Completed))
        }
        Ok(came) => {
            let words = format!("failed: {}", came.words());
            let why = format!("expected {}, got {}", expected.words(), came.words());
            (words, Err(Failed::from(why)))
        }
        Err(why) => {
            let words = format!("failed: {}", why.lines().next().unwrap_or_default());
            (words, Err(Failed::from(why)))
        }
    }
}

/// What came of a fault.
pub(super) struct Came {
    pub(super) noticed: Option<Notice>,
    pub(super) back: Option<(Back, Duration)>,
    pub(super) slowest: Duration,
}

impl Came {
    fn words(&self) -> String {
        match (&self.noticed, &self.back) {
            (Some(notice), Some((back, took))) => format!(
                "{} after {:?}, {} after {took:?}",
                notice.kind,
                notice.after,
                back.words()
            ),
            (Some(notice), None) => format!("{}, and not back", notice.kind),
            (None, _) => "served".to_owned(),
        }
    }
}

/// How a fault was noticed, and how long after it struck.
pub(super) struct Notice {
    pub(super) kind: &'static str,
    pub(super) after: Duration,
}

/// A function's heartbeat, as a supervisor watches it.
struct Heartbeat {
    count: Option<u32>,
    moved: Instant,
    look_at: Instant,
}

impl Heartbeat {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            count: None,
            moved: now,
            look_at: now,
        }
    }

    /// What is wrong with it, if something is.
    fn look(&mut self, function: &Function) -> Option<&'static str> {
        let now = Instant::now();
        if now < self.look_at {
            return None;
        }
        self.look_at = now + HEARTBEAT_EVERY;
        match function.heartbeat() {
            Ok(count) if self.count != Some(count) => {
                self.count = Some(count);
                self.moved = now;
                None
            }
            Ok(_) if now.duration_since(self.moved) < HEARTBEAT_STALE_MAX => None,
            Ok(_) => Some("heartbeat"),
            Err(TransportError::Gone) => Some("gone"),
            Err(_) => Some("transport"),
        }
    }
}

/// A trial's course.
pub(super) struct Course {
    row: &'static Row,
    pub(super) bench: Bench,
    pub(super) samples: Vec<Sample>,
    pub(super) arena: Arc<Arena>,
}

impl Course {
    fn new(row: &'static Row, bench: Bench) -> Self {
        Self {
            row,
            samples: samples(bench.carrier()),
            arena: bench.arena(),
            bench,
        }
    }

    fn run(mut self) -> Came {
        if let Strike::Load(rule) = self.row.strike {
            return self.run_load(rule);
        }
        let patience = self.bench.patience();
        if let Strike::RulesBefore(rules) = self.row.strike {
            self.set(rules);
        }
        let began = Instant::now();
        let function = match self.bring_up() {
            Ok(function) => function,
            Err(kind) => {
                let after = began.elapsed();
                let at = Instant::now();
                let back = self.mend();
                self.check_all_free();
                return Came {
                    noticed: Some(Notice { kind, after }),
                    back: Some((back, at.elapsed())),
                    slowest: Duration::ZERO,
                };
            }
        };
        let mut load = Load::on(&self.bench, &function);
        if !matches!(self.row.strike, Strike::RulesBefore(_)) {
            load.serve(&self.samples, JOBS_AROUND, patience);
        }
        let (noticed, at) = self.strike(&function, &mut load);
        let Some(noticed) = noticed else {
            load.end(&self.samples, patience);
            self.check_struck();
            self.check_all_free();
            return Came {
                noticed: None,
                back: None,
                slowest: load.slowest,
            };
        };
        // As a supervisor does: the worker's end, and, if it was not a completion that cannot be, the function's.
        if !load.is_of_the_queue {
            function.end();
        }
        load.end(&self.samples, patience);
        let free = self.arena.free_bytes();
        let held = self.arena.quarantine().held_bytes();
        assert_eq!(free + held, self.arena.bytes(), "no buffer is lost");
        let retired = load
            .broken_queue()
            .is_some_and(|queue| self.serves_without(&function, queue));
        let (back, took) = match retired {
            true => {
                let took = at.elapsed();
                let held_now = self.arena.quarantine().held_bytes();
                assert_eq!(held_now, held, "what is retired frees nothing");
                let proof = function.reset(self.bench.patience());
                let proof = proof.unwrap_or_else(|error| panic!("{error}"));
                self.release(&proof, &function);
                (Back::QueueRetired, took)
            }
            false => {
                let back = self.recover(function);
                (back, at.elapsed())
            }
        };
        self.check_all_free();
        Came {
            noticed: Some(noticed),
            back: Some((back, took)),
            slowest: load.slowest,
        }
    }

    /// Brings the function up. A card whose fault is there before may well not be taken for one.
    fn bring_up(&self) -> Result<Function, &'static str> {
        match self.row.strike {
            Strike::RulesBefore(_) => {
                let transport = self.bench.open(0);
                let arena = Arc::clone(&self.arena);
                Function::bring_up(transport, arena, self.bench.config()).map_err(|_| "bring-up")
            }
            _ => Ok(self.bench.function_on(0, &self.arena)),
        }
    }

    /// The card without its fault, for a function that never served.
    fn mend(&mut self) -> Back {
        let replaced = self.bench.replace_card().is_some();
        if !replaced {
            self.bench.faults().clear();
        }
        let function = self.bench.function_on(0, &self.arena);
        assert!(
            self.serves(&function),
            "a card that was mended does not serve"
        );
        match replaced {
            true => Back::ProcessReplaced,
            false => Back::Cleared,
        }
    }

    /// Has the fault strike with jobs under way, and goes on until it is noticed, or until enough were served; when it was
    /// noticed.
    fn strike(&self, function: &Function, load: &mut Load) -> (Option<Notice>, Instant) {
        let limit = Instant::now() + self.bench.patience();
        let mut heartbeat = Heartbeat::new();
        let mut tries = 1;
        let must_be_noticed = self.must_be_noticed();
        let mut last = load.submitted + JOBS_UNDER_FAULT;
        for _ in 0..JOBS_AT_ONCE {
            load.submit(&self.samples);
        }
        let mut struck = Instant::now();
        match self.row.strike {
            Strike::Rules(rules) => self.set(rules),
            // A load has a course of its own.
            Strike::RulesBefore(_) | Strike::Load(_) => {}
            Strike::HostResets => {
                let reset = function.function_level_reset(self.reset_limit());
                reset.unwrap_or_else(|error| panic!("the host's own reset: {error}"));
            }
            Strike::Killed => self.bench.faults().kill(),
        }
        loop {
            while load.submitted < last && load.pending.len() < JOBS_AT_ONCE {
                load.submit(&self.samples);
            }
            let wrong = load
                .take(&self.samples)
                .or_else(|| load.ended())
                .or_else(|| heartbeat.look(function));
            let now = Instant::now();
            if let Some(kind) = wrong {
                let after = now.duration_since(struck);
                return (Some(Notice { kind, after }), now);
            }
            if load.submitted == last && load.pending.is_empty() {
                let Strike::Rules(rules) = self.row.strike else {
                    return (None, now);
                };
                // Some strike only where jobs meet, which they need not in the first few.
                let is_over = !must_be_noticed && self.have_struck(rules);
                if is_over || tries == TRIES_MAX {
                    return (None, now);
                }
                tries += 1;
                last += JOBS_UNDER_FAULT;
                if must_be_noticed {
                    struck = now;
                    self.set(rules);
                }
            }
            assert!(now < limit, "jobs without an end, and nothing is noticed");
        }
    }

    /// The first rung: the queue pair is deleted, and the function serves by another. Whether it does.
    fn serves_without(&self, function: &Function, queue: QueueId) -> bool {
        function.retire_queue_pair(queue).is_ok() && self.serves(function)
    }

    /// Resets the function or replaces the card, and serves again.
    fn recover(&mut self, function: Function) -> Back {
        let proof = function.reset(self.reset_limit());
        if let Ok(proof) = &proof {
            self.release(proof, &function);
            let transport = Arc::clone(function.transport());
            let again = Function::bring_up(transport, Arc::clone(&self.arena), self.bench.config());
            if let Ok(again) = again {
                if self.serves(&again) {
                    return Back::Reset;
                }
                // What its self-test left in the card's hands is this life's.
                if let Ok(proof) = again.reset(self.reset_limit()) {
                    self.release(&proof, &again);
                }
            }
        }
        if let Some(death) = self.bench.replace_card() {
            self.release(&death, &function);
            drop(function);
            let again = self.bench.function_on(0, &self.arena);
            assert!(self.serves(&again), "another process does not serve");
            return Back::ProcessReplaced;
        }
        if proof.is_err() {
            let cut = function.cut_off();
            let cut = cut.unwrap_or_else(|error| panic!("neither a reset nor a cut: {error}"));
            self.release(&cut, &function);
        }
        drop(function);
        self.bench.faults().clear();
        let again = self.bench.function_on(0, &self.arena);
        assert!(self.serves(&again), "a card that was mended does not serve");
        match proof {
            Ok(_) => Back::Cleared,
            Err(_) => Back::CutOff,
        }
    }

    fn reset_limit(&self) -> Duration {
        match self.bench.carrier() {
            Carrier::VfioUser | Carrier::Rtl => RESET_LIMIT_VFIO_USER,
            Carrier::KernelVfio => RESET_LIMIT_KERNEL_VFIO,
        }
    }

    /// Frees what the proof covers: of this life, all.
    fn release(&self, proof: &FenceProof, function: &Function) {
        self.arena.release_quarantined(proof);
        let held = self.arena.quarantine();
        assert_eq!(
            held.held_bytes_of(function.incarnation()),
            0,
            "a proof frees what its function held"
        );
    }

    /// Whether a new life passes its self-test; then it serves, or the trial fails.
    fn serves(&self, function: &Function) -> bool {
        if function.self_test().is_err() {
            return false;
        }
        let patience = self.bench.patience();
        let mut load = Load::on(&self.bench, function);
        load.serve(&self.samples, JOBS_AROUND, patience);
        load.end(&self.samples, patience);
        true
    }

    pub(super) fn set(&self, rules: &[&str]) {
        for rule in rules {
            self.bench.faults().set_rule(rule);
            // It is answered before the process stands still: jobs that are done meanwhile would show nothing.
            if rule.starts_with("stops") && self.must_be_noticed() {
                self.bench.until_card_stands_still();
            }
        }
    }

    fn must_be_noticed(&self) -> bool {
        matches!(
            expected(self.row, self.bench.carrier()),
            Expected::Noticed(..)
        )
    }

    /// A fault that did not strike shows nothing. One that was noticed did.
    fn check_struck(&self) {
        if let Strike::Rules(rules) | Strike::RulesBefore(rules) = self.row.strike {
            assert!(self.have_struck(rules), "{rules:?} did not strike");
        }
    }

    fn have_struck(&self, rules: &[&str]) -> bool {
        rules.iter().all(|rule| {
            let name = rule.split(',').next().unwrap_or(rule);
            self.bench.faults().struck(name) > 0
        })
    }

    pub(super) fn check_all_free(&self) {
        let free = self.arena.free_bytes();
        assert_eq!(free, self.arena.bytes(), "every buffer came back");
    }
}
