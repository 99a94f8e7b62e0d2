//! What concerns the driver alone, or a card that is a child of this process: shown on the host, over vfio-user.

use std::sync::mpsc::Receiver;
use std::time::Duration;

use faam_driver::worker::WorkerExit;
use faam_driver::{
    Arena, CutOffError, DeviceFault, Function, FunctionConfig, Job, JobSource, Kernel, Outcome,
    Request, VfioUser, WorkerConfig,
};
use faam_hwif::{CardLevel, WireFormat};
use libtest_mimic::Trial;

use crate::card_process::CardProcess;
use crate::carrier::{Bench, Carrier};
use crate::data::text;
use crate::feeder::{Feeder, Queue, TestJob, Work, queue_of, spawn};
use crate::runner::Running;

const DENSE: Kernel = Kernel::Compress {
    level: CardLevel::Dense,
    format: WireFormat::Raw,
    last: true,
};

/// Shows something of the driver on a card, or panics.
pub(crate) type Show = fn(&Bench);

/// The trials.
pub(crate) fn trials() -> Vec<Trial> {
    let all: [(&str, Show); 5] = [
        ("a_panic_of_the_worker_loses_no_job", a_panic_loses_no_job),
        (
            "a_job_that_panics_when_it_is_looked_at_is_completed_like_those_in_flight",
            a_job_that_panics_is_completed,
        ),
        (
            "a_stopped_card_is_a_fault_within_the_hang_limit_and_no_fence_until_it_is_dead",
            a_stopped_card_is_no_fence,
        ),
        (
            "cutting_off_proves_nothing_where_the_device_keeps_its_own_maps",
            cutting_off_proves_nothing,
        ),
        (
            "a_second_life_has_another_incarnation",
            a_second_life_is_another_incarnation,
        ),
    ];
    named(all)
}

/// A trial of each, on a card of its own.
pub(crate) fn named(all: impl IntoIterator<Item = (&'static str, Show)>) -> Vec<Trial> {
    all.into_iter()
        .map(|(name, show)| {
            let name = format!("host::{name}");
            Trial::test(name.clone(), move || {
                let _running = Running::begin(&name);
                let bench = Bench::start(Carrier::VfioUser, &[], &[]);
                show(&bench.map_err(|need| need.to_string())?);
                Ok(())
            })
        })
        .collect()
}

fn a_panic_loses_no_job(bench: &Bench) {
    let function = bench.function(0);
    let (exit, outcomes) = panicking_source(bench, &function, 3);
    assert!(matches!(exit, WorkerExit::Panicked { .. }), "{exit:?}");
    assert_eq!(outcomes.len(), 3, "each job has exactly one outcome");
    let held = function.arena().quarantine().held_bytes();
    let faults = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Outcome::Fault(_)))
        .count();
    assert_eq!(faults > 0, held > 0, "what was in flight is held back");
    let proof = function.reset(Duration::from_secs(5)).unwrap();
    assert_eq!(function.arena().release_quarantined(&proof), held);
}

fn a_job_that_panics_is_completed(bench: &Bench) {
    let function = bench.function(0);
    let works = vec![Work::new(DENSE, &text(500_000)); 3];
    let (exit, outcomes) = panicking_job(bench, &function, &works);
    assert!(matches!(exit, WorkerExit::Panicked { .. }), "{exit:?}");
    assert_eq!(outcomes.len(), 3, "each job has exactly one outcome");
    assert!(
        outcomes
            .iter()
            .any(|outcome| matches!(outcome, Outcome::Fault(DeviceFault::WorkerEnded))),
        "{outcomes:?}"
    );
    let proof = function.reset(Duration::from_secs(5)).unwrap();
    let arena = function.arena();
    arena.release_quarantined(&proof);
    assert_eq!(arena.free_bytes(), arena.bytes(), "every buffer came back");
}

fn a_stopped_card_is_no_fence(bench: &Bench) {
    let card = CardProcess::start();
    let arena = Arena::new(16 << 20).unwrap();
    let transport = VfioUser::connect(&card.dir().join("fn0")).unwrap();
    let function = Function::bring_up(
        std::sync::Arc::new(transport),
        arena.clone(),
        FunctionConfig::default(),
    )
    .unwrap();
    assert_eq!(function.transport().serving_process(), Some(card.pid()));
    let worker = Feeder::start(bench, &function);
    card.stop();
    let hang = Duration::from_millis(300);
    let job = worker.submit(Work::new(DENSE, &text(100_000)).timeout(hang));
    let (exit, outcomes) = worker.ended(vec![job]);
    assert!(
        matches!(
            exit,
            WorkerExit::Fault {
                fault: DeviceFault::Hang { .. },
                ..
            }
        ),
        "{exit:?}"
    );
    assert_eq!(outcomes.len(), 1);
    assert!(function.heartbeat().is_err());
    assert!(card.fence().is_none(), "stopped is not dead");
    let held = arena.quarantine().held_bytes();
    assert!(held > 0);
    card.kill();
    let fence = card.await_fence(bench.patience());
    assert_eq!(arena.release_quarantined(&fence), held);
}

fn cutting_off_proves_nothing(bench: &Bench) {
    let function = bench.function(0);
    assert_eq!(function.cut_off(), Err(CutOffError::NotEnforced));
    // Nothing was done to it.
    function.self_test().unwrap();
}

fn a_second_life_is_another_incarnation(bench: &Bench) {
    let function = bench.function(0);
    function.reset(Duration::from_secs(5)).unwrap();
    let again = Function::bring_up(
        function.transport().clone(),
        function.arena().clone(),
        FunctionConfig::default(),
    )
    .unwrap();
    assert_ne!(again.incarnation(), function.incarnation());
}

const ROOM_FOR_EIGHT: WorkerConfig = WorkerConfig {
    spin: None,
    jobs_outstanding_max: Some(8),
    idle_look_again: None,
    look_first: None,
    slot: None,
};

/// Panics when it is empty.
struct PanicsWhenEmpty(Queue);

impl JobSource for PanicsWhenEmpty {
    type Job = TestJob;

    fn next(&mut self) -> Option<TestJob> {
        match self.0.next() {
            Some(job) => Some(job),
            None => panic!("this source panics when it is empty"),
        }
    }
}

/// Runs a worker whose source panics after `count` jobs.
fn panicking_source(
    bench: &Bench,
    function: &Function,
    count: usize,
) -> (WorkerExit, Vec<Outcome>) {
    let works = vec![Work::new(DENSE, &text(500_000)); count];
    let (queue, outcomes) = queue_of(&works);
    let (_handle, exit) = spawn(function, ROOM_FOR_EIGHT, PanicsWhenEmpty(queue));
    ended(bench, &exit, &outcomes)
}

/// Its request cannot be had, if `broken`.
struct MayPanic {
    job: TestJob,
    broken: bool,
}

/// Hands out its jobs, the last of them broken.
struct LastIsBroken(Queue);

impl JobSource for LastIsBroken {
    type Job = MayPanic;

    fn next(&mut self) -> Option<MayPanic> {
        let job = self.0.next()?;
        let broken = self.0.is_empty();
        Some(MayPanic { job, broken })
    }
}

impl Job for MayPanic {
    fn request(&self) -> Request<'_> {
        assert!(!self.broken, "this job panics when it is looked at");
        self.job.request()
    }

    fn complete(self, outcome: Outcome) {
        self.job.complete(outcome);
    }
}

/// Runs a worker with jobs, the last of which panics when it is asked for its request.
fn panicking_job(bench: &Bench, function: &Function, works: &[Work]) -> (WorkerExit, Vec<Outcome>) {
    let (queue, outcomes) = queue_of(works);
    let (_handle, exit) = spawn(function, ROOM_FOR_EIGHT, LastIsBroken(queue));
    ended(bench, &exit, &outcomes)
}

fn ended(
    bench: &Bench,
    exit: &Receiver<WorkerExit>,
    outcomes: &Receiver<Outcome>,
) -> (WorkerExit, Vec<Outcome>) {
    let exit = exit.recv_timeout(bench.patience()).unwrap();
    (exit, outcomes.iter().collect())
}
