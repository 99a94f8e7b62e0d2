//! What becomes of a queue pair whose worker met a completion that cannot be: retired, while the function serves on.
//!
//! These trials concern the driver's books, and run over vfio-user alone.

use std::time::Duration;

use faam_driver::worker::WorkerExit;
use faam_driver::{Function, FunctionConfig, Kernel, QueuePairError};
use faam_hwif::{CardLevel, QueueId, WireFormat};
use faam_sim::Fault;
use libtest_mimic::Trial;

use crate::carrier::Bench;
use crate::data::text;
use crate::feeder::{Feeder, Work};
use crate::host_alone::{Show, named};

const FAST: Kernel = Kernel::Compress {
    level: CardLevel::Fast,
    format: WireFormat::Raw,
    last: true,
};
/// Longest wait for a reset.
const RESET_LIMIT: Duration = Duration::from_secs(2);

/// The trials.
pub(crate) fn trials() -> Vec<Trial> {
    let all: [(&str, Show); 3] = [
        (
            "a_retired_pair_is_out_of_use_until_the_fence_and_the_function_serves_on",
            a_retired_pair_is_out_of_use,
        ),
        (
            "a_function_retires_no_more_pairs_than_it_was_granted",
            no_more_than_granted,
        ),
        (
            "a_pair_that_the_card_does_not_delete_is_not_taken_for_retired",
            not_deleted,
        ),
    ];
    named(all)
}

fn bring_up(bench: &Bench, queue_pairs: u16) -> Function {
    let config = FunctionConfig {
        queue_pairs,
        ..bench.config()
    };
    Function::bring_up(bench.open(0), bench.arena(), config).unwrap()
}

/// A worker on a new pair that ends because of a completion that it had twice: the pair's number.
fn a_pair_that_fails(bench: &Bench, function: &Function) -> QueueId {
    let input = text(20_000);
    let worker = Feeder::start(bench, function);
    bench.faults().set(Fault::CompletesTwice);
    let jobs: Vec<_> = (0..4)
        .map(|_| worker.submit(Work::new(FAST, &input)))
        .collect();
    let (exit, outcomes) = worker.ended(jobs);
    bench.faults().clear();
    assert!(!outcomes.is_empty(), "a job was taken");
    match exit {
        WorkerExit::Fault { fault, queue, .. } => {
            assert!(fault.is_of_the_queue(), "{fault}");
            queue
        }
        other => panic!("expected a fault, got {other:?}"),
    }
}

fn a_retired_pair_is_out_of_use(bench: &Bench) {
    let function = bring_up(bench, 4);
    let other = Feeder::start(bench, &function);
    let failed = a_pair_that_fails(bench, &function);
    function.retire_queue_pair(failed).unwrap();
    assert_eq!(function.retired_queue_pairs(), [failed]);
    // What was in flight may be written still, as far as is known.
    let held = function.arena().quarantine().held_bytes();
    // Pairs made after it have other numbers; they and those that were there serve, and the self-test passes.
    function.self_test().unwrap();
    let after = function.create_queue_pair().unwrap();
    assert_ne!(after.id(), failed);
    function.delete_queue_pair(after).unwrap();
    let input = text(30_000);
    other.run(Work::new(FAST, &input)).done();
    let another = Feeder::start(bench, &function);
    another.run(Work::new(FAST, &input)).done();
    assert!(
        function.arena().quarantine().held_bytes() >= held,
        "deleting a pair freed what its commands named"
    );
    drop((other.stop(), another.stop()));
    let proof = function.reset(RESET_LIMIT).unwrap();
    function.arena().release_quarantined(&proof);
    assert_eq!(function.arena().quarantine().held_bytes(), 0);
    // A new life has its number again.
    drop(function);
    let function = bring_up(bench, 4);
    assert!(function.retired_queue_pairs().is_empty());
    let pairs: Vec<_> = (0..4)
        .map(|_| function.create_queue_pair().unwrap().id())
        .collect();
    assert!(pairs.contains(&failed), "{pairs:?}");
}

fn no_more_than_granted(bench: &Bench) {
    let function = bring_up(bench, 2);
    for _ in 0..2 {
        let failed = a_pair_that_fails(bench, &function);
        function.retire_queue_pair(failed).unwrap();
        let again = function.retire_queue_pair(failed);
        assert!(
            matches!(again, Err(QueuePairError::NotInBeing { queue }) if queue == failed),
            "{again:?}"
        );
    }
    let none = function.create_queue_pair().map(drop);
    assert!(
        matches!(none, Err(QueuePairError::NoneLeft { granted: 2 })),
        "{none:?}"
    );
    for never in [QueueId::ADMIN, QueueId(9)] {
        let refused = function.retire_queue_pair(never);
        assert!(
            matches!(refused, Err(QueuePairError::NotInBeing { .. })),
            "{refused:?}"
        );
    }
}

fn not_deleted(bench: &Bench) {
    let function = bring_up(bench, 3);
    let failed = a_pair_that_fails(bench, &function);
    // It can neither read the command nor answer it.
    function.transport().set_bus_master(false).unwrap();
    let silent = function.retire_queue_pair(failed);
    assert!(
        matches!(silent, Err(QueuePairError::Admin(_))),
        "{silent:?}"
    );
    // Its admin queue is broken from then on, and only a fence helps.
    function.transport().set_bus_master(true).unwrap();
    assert!(function.create_queue_pair().is_err());
    let proof = function.reset(RESET_LIMIT).unwrap();
    function.arena().release_quarantined(&proof);
    assert_eq!(function.arena().quarantine().held_bytes(), 0);
}
