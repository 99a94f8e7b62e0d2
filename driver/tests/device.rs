//! The driver against the simulated card, over its real socket.
//!
//! The card runs in this process for most tests and in a child where it must die.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use faam_driver::worker::WorkerExit;
use faam_driver::{
    Arena, DeviceFault, Function, FunctionConfig, Kernel, ModelKind, Outcome, WorkerConfig,
};
use faam_hwif::regs::QueueCounter;
use faam_hwif::{CardLevel, QueueId, Status, WireFormat};
use support::{Bench, Feeder, Work, inflate, text};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn bring_up_identifies_a_simulated_card() {
    let bench = Bench::start(2);
    let function = bench.function(0);
    let identity = function.identity();
    assert_eq!(identity.model, ModelKind::FunctionalModel);
    assert!(identity.model.is_simulated());
    assert_eq!(identity.function_index, 0);
    assert_eq!(identity.engines, 2);
    assert!(!identity.serial.is_empty());
    let other = bench.function(1);
    assert_eq!(other.identity().function_index, 1);
    assert_eq!(other.identity().serial_number, identity.serial_number);
}

#[test]
fn the_heartbeat_advances() {
    let bench = Bench::start(1);
    let function = bench.function(0);
    let first = function.heartbeat().unwrap();
    support::until(LIMIT, || function.heartbeat().unwrap() != first);
}

#[test]
fn queue_pairs_are_created_deleted_and_bounded() {
    let bench = Bench::start(1);
    let function = bench.function(0);
    let one = function.create_queue_pair().unwrap();
    let two = function.create_queue_pair().unwrap();
    assert_ne!(one.id(), two.id());
    assert!(function.create_queue_pair().is_err(), "two were asked for");
    function.delete_queue_pair(one).unwrap();
    let again = function.create_queue_pair().unwrap();
    assert_eq!(again.id(), QueueId(1));
}

fn many_laps(shadow_doorbells: bool) {
    let bench = Bench::start(1);
    let config = FunctionConfig {
        queue_entries_log2: 3,
        shadow_doorbells,
        ..FunctionConfig::default()
    };
    let function = bench.function_with(0, config);
    let mut pair = function.create_queue_pair().unwrap();
    assert_eq!(pair.capacity(), 7);
    // More than a hundred laps of an eight-entry ring, always as full as it may be.
    pair.round_trip(1000, LIMIT).unwrap();
    assert_eq!(pair.outstanding(), 0);
    let completed = function.counter(pair.id(), QueueCounter::Completed);
    assert_eq!(completed.unwrap(), 1000);
}

#[test]
fn rings_wrap_with_shadow_doorbells() {
    many_laps(true);
}

#[test]
fn rings_wrap_with_mmio_doorbells() {
    many_laps(false);
}

fn round_trips(format: WireFormat) {
    let bench = Bench::start(2);
    let function = bench.function(0);
    let worker = bench.worker(&function);
    let inputs = [
        Vec::new(),
        b"a".to_vec(),
        b"hello, world".to_vec(),
        text(5000),
        text(131_072),
        vec![0; 200_000],
        support::noise(70_000),
    ];
    for level in [CardLevel::Fast, CardLevel::Balanced, CardLevel::Dense] {
        for input in &inputs {
            let kernel = Kernel::Compress {
                level,
                format,
                last: true,
            };
            let done = worker.run(Work::new(kernel, input)).done();
            assert_eq!(done.consumed as usize, input.len());
            assert_eq!(done.crc32, crc32fast::hash(input));
            assert_eq!(
                &inflate(format, &done.output),
                input,
                "{level:?} {format:?}, {} bytes",
                input.len()
            );
            let back = worker
                .run(Work::new(Kernel::Decompress { format }, &done.output).room(input.len()))
                .done();
            assert_eq!(&back.output, input);
            assert_eq!(back.crc32, crc32fast::hash(input));
        }
    }
    assert_eq!(worker.counters().table_fallbacks.get(), 0);
}

#[test]
fn raw_round_trips_at_each_level() {
    round_trips(WireFormat::Raw);
}

#[test]
fn zlib_round_trips_at_each_level() {
    round_trips(WireFormat::Zlib);
}

#[test]
fn gzip_round_trips_at_each_level() {
    round_trips(WireFormat::Gzip);
}

#[test]
fn a_higher_level_compresses_better() {
    let bench = Bench::start(1);
    let function = bench.function(0);
    let worker = bench.worker(&function);
    let input = text(131_072);
    let size = |level| {
        let kernel = Kernel::Compress {
            level,
            format: WireFormat::Gzip,
            last: true,
        };
        worker.run(Work::new(kernel, &input)).done().output.len()
    };
    let (fast, balanced, dense) = (
        size(CardLevel::Fast),
        size(CardLevel::Balanced),
        size(CardLevel::Dense),
    );
    assert!(
        dense <= balanced && balanced < fast,
        "{fast} {balanced} {dense}"
    );
}

#[test]
fn blocks_that_are_not_the_last_join_into_one_stream() {
    let bench = Bench::start(2);
    let function = bench.function(0);
    let worker = bench.worker(&function);
    let input = text(100_000);
    let mut stream = Vec::new();
    let blocks = input.chunks(30_000).collect::<Vec<_>>();
    for (n, block) in blocks.iter().enumerate() {
        let kernel = Kernel::Compress {
            level: CardLevel::Dense,
            format: WireFormat::Raw,
            last: n + 1 == blocks.len(),
        };
        stream.extend(worker.run(Work::new(kernel, block)).done().output);
    }
    assert_eq!(inflate(WireFormat::Raw, &stream), input);
}

#[test]
fn data_that_does_not_fit_is_refused_and_the_worker_lives() {
    let bench = Bench::start(1);
    let function = bench.function(0);
    let worker = bench.worker(&function);
    let gzip = Kernel::Decompress {
        format: WireFormat::Gzip,
    };
    let refused = |outcome: Outcome| match outcome {
        Outcome::Data(refusal) => refusal.status,
        other => panic!("expected a refusal, got {other:?}"),
    };
    let junk = worker.run(Work::new(gzip, b"not gzip at all, by any stretch").room(1000));
    assert_eq!(refused(junk.0), Status::CorruptInput);
    let kernel = Kernel::Compress {
        level: CardLevel::Fast,
        format: WireFormat::Gzip,
        last: true,
    };
    let input = text(10_000);
    let good = worker.run(Work::new(kernel, &input)).done().output;
    let half = worker.run(Work::new(gzip, &good[..good.len() / 2]).room(20_000));
    assert_eq!(refused(half.0), Status::TruncatedInput);
    let full = worker.run(Work::new(gzip, &good).room(9_999));
    assert_eq!(refused(full.0), Status::OutputFull);
    assert_eq!(
        worker
            .run(Work::new(gzip, &good).room(10_000))
            .done()
            .output,
        input
    );
}

#[test]
fn a_job_too_large_is_told_so_and_the_worker_lives() {
    let bench = Bench::start(1);
    let function = bench.function(0);
    let worker = bench.worker(&function);
    let kernel = Kernel::Compress {
        level: CardLevel::Fast,
        format: WireFormat::Raw,
        last: true,
    };
    let big = vec![0; (1 << 20) + 1];
    let outcome = worker.run(Work::new(kernel, &big)).0;
    assert!(
        matches!(outcome, Outcome::Fault(DeviceFault::TooLarge { .. })),
        "{outcome:?}"
    );
    worker.run(Work::new(kernel, &big[..1 << 20])).done();
}

#[test]
fn many_jobs_in_flight_all_end_right_and_in_batches() {
    let bench = Bench::start(2);
    let function = bench.function(0);
    let worker = bench.worker(&function);
    let kernel = Kernel::Compress {
        level: CardLevel::Balanced,
        format: WireFormat::Gzip,
        last: true,
    };
    let inputs: Vec<_> = (0..100).map(|n| text(1000 + n * 331)).collect();
    let jobs = inputs.iter().map(|input| Work::new(kernel, input));
    for (n, outcome) in worker.run_all(jobs) {
        assert_eq!(inflate(WireFormat::Gzip, &outcome.done().output), inputs[n]);
    }
    assert_eq!(worker.counters().jobs.get(), 100);
    // An answer is given before what it was made in is given back; who sleeps holds nothing any more.
    worker.until_asleep();
    let free = function.arena().free_bytes();
    assert_eq!(free, function.arena().bytes(), "every buffer came back");
}

#[test]
fn a_worker_that_sleeps_is_woken_by_a_job_and_by_its_completion() {
    let bench = Bench::start(1);
    let function = bench.function(0);
    // Nothing but a wake ends a sleep within the test's limit: neither the worker's own look nor a job's time-out.
    let config = WorkerConfig {
        idle_look_again: Some(LIMIT * 10),
        ..WorkerConfig::default()
    };
    let worker = Feeder::start_with(&function, config);
    let kernel = Kernel::Compress {
        level: CardLevel::Dense,
        format: WireFormat::Raw,
        last: true,
    };
    let work = Work::new(kernel, &text(300_000)).timeout(LIMIT * 10);
    for _ in 0..20 {
        worker.until_asleep();
        worker.run(work.clone()).done();
    }
    let interrupts = function
        .counter(QueueId(1), QueueCounter::Interrupts)
        .unwrap();
    assert!(interrupts > 0, "the card's interrupts ended the waits");
}

#[test]
fn a_source_that_refused_is_asked_again_after_a_completion() {
    let bench = Bench::start(1);
    let function = bench.function(0);
    // It polls all through, so that no sleep has it look.
    let config = WorkerConfig {
        spin: Some(LIMIT * 10),
        ..WorkerConfig::default()
    };
    let kernel = Kernel::Compress {
        level: CardLevel::Fast,
        format: WireFormat::Raw,
        last: true,
    };
    let works = vec![Work::new(kernel, &text(1000)); 20];
    for outcome in support::one_at_a_time(&function, config, &works) {
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    }
}

#[test]
fn stopping_finishes_what_is_in_flight_and_gives_the_pair_back() {
    let bench = Bench::start(1);
    let function = bench.function(0);
    let worker = bench.worker(&function);
    let exit = worker.stop();
    let WorkerExit::Stopped { queue_pair } = exit else {
        panic!("{exit:?}");
    };
    function.delete_queue_pair(queue_pair).unwrap();
}

#[test]
fn health_and_counters_count() {
    let bench = Bench::start(1);
    let function = bench.function(0);
    let worker = bench.worker(&function);
    let kernel = Kernel::Compress {
        level: CardLevel::Fast,
        format: WireFormat::Raw,
        last: true,
    };
    let input = text(50_000);
    let done = worker.run(Work::new(kernel, &input)).done();
    assert!(done.cycles > 0);
    let health = function.health().unwrap();
    assert_eq!(health.jobs, 1);
    assert_eq!(health.bytes_in, 50_000);
    assert_eq!(health.bytes_out, done.output.len() as u64);
    assert_eq!(health.dma_faults, 0);
    let bytes_in = function.counter(QueueId(1), QueueCounter::BytesIn);
    assert_eq!(bytes_in.unwrap(), 50_000);
    assert!(function.error_log().unwrap().is_empty());
}

#[test]
fn the_self_test_passes_and_leaves_nothing_behind() {
    let bench = Bench::start(1);
    let function = bench.function(0);
    let report = function.self_test().unwrap();
    assert!(report.jobs > 10, "{report:?}");
    assert_eq!(function.arena().free_bytes(), function.arena().bytes());
    // Its queue pair was deleted: both can be created.
    let _pairs = [
        function.create_queue_pair().unwrap(),
        function.create_queue_pair().unwrap(),
    ];
}

#[test]
fn a_reset_in_the_middle_of_jobs_is_a_fence_and_the_function_serves_again() {
    let bench = Bench::start(1);
    let function = bench.function(0);
    let worker = bench.worker(&function);
    let kernel = Kernel::Compress {
        level: CardLevel::Dense,
        format: WireFormat::Raw,
        last: true,
    };
    let input = text(1 << 20);
    let pending: Vec<_> = (0..6)
        .map(|_| worker.submit(Work::new(kernel, &input)))
        .collect();
    support::until(LIMIT, || worker.counters().commands.get() >= 2);
    let proof = function.reset(Duration::from_secs(5)).unwrap();
    let (exit, outcomes) = worker.ended(pending);
    assert!(
        matches!(exit, WorkerExit::Fault { incarnation, .. } if incarnation == function.incarnation()),
        "{exit:?}"
    );
    for outcome in outcomes {
        match outcome {
            Outcome::Done(done) => assert_eq!(inflate(WireFormat::Raw, &done.output), input),
            Outcome::Fault(_) => {}
            Outcome::Data(refusal) => panic!("{refusal:?}"),
        }
    }
    let arena = function.arena();
    assert!(arena.quarantine().held_bytes() > 0, "jobs were in flight");
    arena.release_quarantined(&proof);
    assert_eq!(arena.free_bytes(), arena.bytes(), "the proof frees all");

    let again = Function::bring_up(
        function.transport().clone(),
        arena.clone(),
        FunctionConfig::default(),
    )
    .unwrap();
    again.self_test().unwrap();
    assert_ne!(again.incarnation(), function.incarnation());
}

#[test]
fn a_hung_engine_is_a_fault_in_time_and_the_other_function_serves() {
    let bench = Bench::start_hanging(0, 2);
    let function = bench.function(0);
    let worker = bench.worker(&function);
    let kernel = Kernel::Compress {
        level: CardLevel::Fast,
        format: WireFormat::Raw,
        last: true,
    };
    let input = text(20_000);
    for _ in 0..2 {
        worker.run(Work::new(kernel, &input)).done();
    }
    let hang = Work::new(kernel, &input).timeout(Duration::from_millis(300));
    let pending = worker.submit(hang);
    let (exit, outcomes) = worker.ended(vec![pending]);
    assert!(matches!(exit, WorkerExit::Fault { .. }), "{exit:?}");
    for outcome in outcomes {
        assert!(
            matches!(
                outcome,
                Outcome::Fault(DeviceFault::Hang { .. } | DeviceFault::CommandFailed { .. })
            ),
            "{outcome:?}"
        );
    }
    let held = function.arena().quarantine().held_bytes();
    assert!(held > 0);
    let other = bench.function_on(1, function.arena());
    let worker = bench.worker(&other);
    worker.run(Work::new(kernel, &input)).done();
    assert_eq!(
        function.arena().quarantine().held_bytes(),
        held,
        "the other's success frees nothing"
    );
    let proof = function.reset(Duration::from_secs(5)).unwrap();
    assert_eq!(function.arena().release_quarantined(&proof), held);
}

#[test]
fn two_functions_share_one_arena() {
    let bench = Bench::start(1);
    let arena = Arena::new(16 << 20).unwrap();
    let functions = [bench.function_on(0, &arena), bench.function_on(1, &arena)];
    let workers = functions.each_ref().map(|function| bench.worker(function));
    let kernel = Kernel::Compress {
        level: CardLevel::Balanced,
        format: WireFormat::Zlib,
        last: true,
    };
    let inputs: Vec<_> = (0..20).map(|n| text(10_000 + n * 777)).collect();
    for worker in &workers {
        let jobs = inputs.iter().map(|input| Work::new(kernel, input));
        for (n, outcome) in worker.run_all(jobs) {
            assert_eq!(inflate(WireFormat::Zlib, &outcome.done().output), inputs[n]);
        }
    }
    drop(workers);
}

#[test]
fn a_panic_of_the_worker_loses_no_job() {
    let bench = Bench::start(1);
    let function = bench.function(0);
    let (exit, outcomes) = support::panicking_source(&function, 3);
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

#[test]
fn a_job_that_panics_when_it_is_looked_at_is_completed_like_those_in_flight() {
    let bench = Bench::start(1);
    let function = bench.function(0);
    let kernel = Kernel::Compress {
        level: CardLevel::Dense,
        format: WireFormat::Raw,
        last: true,
    };
    let works = vec![Work::new(kernel, &text(500_000)); 3];
    let (exit, outcomes) = support::panicking_job(&function, &works);
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

#[test]
fn a_killed_card_is_a_fault_and_its_death_a_fence_for_both_functions() {
    let card = support::ChildCard::start();
    let arena = Arena::new(16 << 20).unwrap();
    let functions = [card.function(0, &arena), card.function(1, &arena)];
    let kernel = Kernel::Compress {
        level: CardLevel::Dense,
        format: WireFormat::Raw,
        last: true,
    };
    let input = text(1 << 20);
    let busy: Vec<_> = functions
        .iter()
        .map(|function| {
            let worker = Feeder::start(function);
            let jobs: Vec<_> = (0..4)
                .map(|_| worker.submit(Work::new(kernel, &input).timeout(Duration::from_secs(1))))
                .collect();
            support::until(LIMIT, || worker.counters().commands.get() >= 2);
            (worker, jobs)
        })
        .collect();
    let fence = card.kill_and_fence();
    for (worker, jobs) in busy {
        let (exit, outcomes) = worker.ended(jobs);
        assert!(matches!(exit, WorkerExit::Fault { .. }), "{exit:?}");
        assert!(!outcomes.is_empty());
    }
    assert!(functions[0].reset(Duration::from_secs(1)).is_err());
    assert!(arena.quarantine().held_bytes() > 0);
    arena.release_quarantined(&fence);
    assert_eq!(arena.free_bytes(), arena.bytes());
}

#[test]
fn a_stopped_card_is_a_fault_within_the_hang_limit_and_no_fence_until_it_is_dead() {
    let card = support::ChildCard::start();
    let arena = Arena::new(16 << 20).unwrap();
    let function = card.function(0, &arena);
    let worker = Feeder::start(&function);
    let kernel = Kernel::Compress {
        level: CardLevel::Dense,
        format: WireFormat::Raw,
        last: true,
    };
    card.stop();
    let hang = Duration::from_millis(300);
    let job = worker.submit(Work::new(kernel, &text(100_000)).timeout(hang));
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
    assert!(card.is_no_fence_yet());
    let held = arena.quarantine().held_bytes();
    assert!(held > 0);
    let fence = card.kill_and_fence();
    assert_eq!(arena.release_quarantined(&fence), held);
}

/// Not a test: the process that the tests above kill. It serves a card until its standard input ends.
#[test]
#[ignore = "the card's process, started by other tests"]
fn card_process() {
    support::card_process();
}
