//! A fault that strikes the load of a slot: its trial.
//!
//! Owns the steps. Invariant: jobs are served all the while, by the kernel in the other slot; the function is neither fenced
//! nor reset, and the slot takes the next load.

use std::time::{Duration, Instant};

use faam_driver::SlotError;
use faam_hwif::{Serves, SlotState};

use super::Back;
use super::load::Load;
use super::trial::{Came, Course, JOBS_AROUND, Notice};
use crate::slots::{FAST_KERNEL, make_whole, payload};

/// The slot that is loaded.
const SLOT: u8 = 1;

/// As what a load's fault is noticed.
fn noticed_as(error: &SlotError) -> &'static str {
    match error {
        SlotError::Failed { .. } => "load-failed",
        SlotError::Hang { .. } => "load-hang",
        SlotError::SelfTest { .. } => "load-self-test",
        other => other.kind(),
    }
}

impl Course {
    /// Has a load be struck by `rule` with jobs under way, and loads the slot again.
    pub(super) fn run_load(self, rule: &str) -> Came {
        let patience = self.bench.patience();
        let function = self.bench.function_on(0, &self.arena);
        make_whole(&function);
        let image = payload(&function, Serves::FAST, FAST_KERNEL);
        let name = rule.split(',').next().unwrap_or(rule);
        let struck = self.bench.faults().struck(name);
        let mut load = Load::on(&self.bench, &function);
        load.serve(&self.samples, JOBS_AROUND, patience);
        self.set(&[rule]);
        let began = Instant::now();
        let (ended, after): (_, Duration) = std::thread::scope(|scope| {
            let loading = scope.spawn(|| {
                let ended = function.load(SLOT, &image);
                (ended, began.elapsed())
            });
            while !loading.is_finished() {
                load.serve(&self.samples, 1, patience);
            }
            loading.join().unwrap()
        });
        let Err(error) = ended else {
            panic!("{name} did not strike: the load succeeded");
        };
        assert!(!error.is_of_the_function(), "{error}");
        assert_eq!(self.bench.faults().struck(name), struck + 1);
        assert_ne!(
            function.slots().unwrap()[usize::from(SLOT)].state,
            SlotState::Active
        );
        let at = Instant::now();
        let loaded = function.load(SLOT, &image);
        let loaded = loaded.unwrap_or_else(|error| panic!("the next load: {error}"));
        assert_eq!(loaded.slot.state, SlotState::Active);
        load.serve(&self.samples, JOBS_AROUND, patience);
        let took = at.elapsed();
        load.end(&self.samples, patience);
        make_whole(&function);
        self.check_all_free();
        Came {
            noticed: Some(Notice {
                kind: noticed_as(&error),
                after,
            }),
            back: Some((Back::SlotLoaded, took)),
            slowest: load.slowest,
        }
    }
}
