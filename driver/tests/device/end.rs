//! Cards that are gone. The last behaviour kills the card, and with it everything that a long-lived one could show.

use std::time::Duration;

use faam_driver::worker::WorkerExit;
use faam_driver::{Function, Kernel, TransportError};
use faam_hwif::{CardLevel, WireFormat};
use faam_sim::Fault;

use crate::behaviour::{Behaviour, Mutation, Need};
use crate::carrier::{Bench, until};
use crate::data::text;
use crate::feeder::{Feeder, Work};

pub(crate) const BEHAVIOURS: &[Behaviour] = &[
    Behaviour {
        name: "end::all_ones_is_gone",
        holds: "Registers that read as all-ones mean that the function is gone: no heartbeat, no proof from a reset, no bring-up.",
        needs: &[Need::Faults],
        show: all_ones_is_gone,
        mutation: Mutation {
            faults: &[Fault::GoneReadsAsZero],
            says: "the heartbeat of a function that is gone",
        },
    },
    Behaviour {
        name: "end::a_killed_card_is_gone_for_both_functions",
        holds: "When the card's process is killed, workers end with a fault, every job has one outcome, registers are gone, and a reset proves nothing.",
        needs: &[Need::Kill],
        show: a_killed_card_is_gone,
        mutation: Mutation {
            faults: &[Fault::SurvivesKill],
            says: "dead",
        },
    },
];

fn all_ones_is_gone(bench: &Bench) {
    let function = bench.function(0);
    function.heartbeat().unwrap();
    bench.faults().set(Fault::Gone);
    assert_eq!(
        function.heartbeat(),
        Err(TransportError::Gone),
        "the heartbeat of a function that is gone"
    );
    let proof = function.reset(Duration::from_millis(500));
    assert!(proof.is_err(), "a proof by a function that is gone");
    let transport = function.transport().clone();
    let again = Function::bring_up(transport, bench.arena(), bench.config());
    assert!(again.is_err(), "a function that is gone came up");
    // It was not: plugged in again it serves.
    drop((again, function));
    bench.faults().clear();
    bench.function(0).heartbeat().unwrap();
}

fn a_killed_card_is_gone(bench: &Bench) {
    let arena = bench.arena();
    let functions = [bench.function_on(0, &arena), bench.function_on(1, &arena)];
    let kernel = Kernel::Compress {
        level: CardLevel::Dense,
        format: WireFormat::Raw,
        last: true,
    };
    // Jobs that take long, where engines cannot be made to hang.
    let hang = bench.meets(Need::EngineFaults);
    let input = text(if hang { 100_000 } else { 400_000 });
    // Engines that hang keep the functions busy and their workers asleep: QEMU aborts if the card dies with a doorbell
    // unread in its socket, for it takes the reset of the connection for an error within an error.
    for index in (0..2).filter(|_| hang) {
        bench.faults().hang_after(index, 0);
    }
    let busy: Vec<_> = functions
        .iter()
        .map(|function| {
            let worker = Feeder::start(bench, function);
            let jobs: Vec<_> = (0..4)
                .map(|_| worker.submit(Work::new(kernel, &input).timeout(Duration::from_secs(2))))
                .collect();
            until(bench.patience(), "jobs are under way", || {
                worker.counters().commands.get() >= 2
            });
            worker.until_asleep();
            (worker, jobs)
        })
        .collect();
    let fence = bench.kill_card();
    until(bench.patience(), "the card is dead", || {
        functions
            .iter()
            .all(|function| function.heartbeat().is_err())
    });
    for (worker, jobs) in busy {
        let (exit, outcomes) = worker.ended(jobs);
        assert!(matches!(exit, WorkerExit::Fault { .. }), "{exit:?}");
        assert!(!outcomes.is_empty());
    }
    for function in &functions {
        let proof = function.reset(Duration::from_secs(1));
        assert!(proof.is_err(), "a dead card's reset proves nothing");
    }
    assert!(arena.quarantine().held_bytes() > 0);
    // Fence (d), where the card was a child of ours: its death.
    if let Some(fence) = fence {
        arena.release_quarantined(&fence);
        assert_eq!(arena.free_bytes(), arena.bytes());
    }
}
