//! Ends of DMA: bus mastering, function-level reset, the reset register, and what each of them proves.

use std::sync::Arc;
use std::time::Duration;

use faam_driver::transport::DmaAccess;
use faam_driver::worker::WorkerExit;
use faam_driver::{Function, Kernel, Outcome};
use faam_hwif::error::ErrorCode;
use faam_hwif::regs::{CardRegister, DOORBELL_SQ_TAIL, QueueCounter};
use faam_hwif::{CardLevel, JOB_BYTES_MAX, Status, SubmissionEntry, WireFormat};
use faam_sim::Fault;

use crate::behaviour::{Behaviour, Mutation, Need};
use crate::carrier::{Bench, until};
use crate::commands::{fill_engines, long_source};
use crate::data::{inflate, text};
use crate::feeder::{Feeder, Work};
use crate::host::{ASIDE, DST, Host, Memory, PAGE, SRC, nop, status};

pub(crate) const BEHAVIOURS: &[Behaviour] = &[
    Behaviour {
        name: "reset::bus_master_off_means_no_dma",
        holds: "With bus mastering off, and read back as off, a card neither fetches nor writes; its registers answer.",
        needs: &[],
        show: bus_master_off_means_no_dma,
        mutation: Mutation {
            faults: &[Fault::IgnoresBusMaster],
            says: "memory was written with bus mastering off",
        },
    },
    Behaviour {
        name: "reset::flr_of_an_idle_function",
        holds: "Function-level reset of an idle function changes RESET_EPOCH, leaves no queue and DMA idle, and the function comes up again.",
        needs: &[],
        show: flr_of_an_idle_function,
        mutation: Mutation {
            faults: &[Fault::ResetKeepsEpoch],
            says: "RESET_EPOCH changes",
        },
    },
    Behaviour {
        name: "reset::flr_in_mid_job",
        holds: "After a function-level reset nothing of the jobs that were under way is written, however late their engines go on.",
        needs: &[Need::Faults],
        show: flr_in_mid_job,
        mutation: Mutation {
            faults: &[Fault::WorksThroughReset],
            says: "memory was written after the reset",
        },
    },
    Behaviour {
        name: "reset::a_finished_reset_is_a_fence",
        holds: "Fence (b): a reset in the midst of jobs returns with a proof that frees their memory, each job has one outcome, and the function serves again.",
        needs: &[],
        show: a_finished_reset_is_a_fence,
        mutation: Mutation {
            faults: &[Fault::NeverIdle],
            // Before its first job: DMA that is not idle keeps it from coming up.
            says: "finish a reset",
        },
    },
    Behaviour {
        name: "reset::bus_master_off_and_an_unmap_are_a_fence",
        holds: "Fence (c): with bus mastering off and the memory unmapped, a job that was under way writes nothing more, though it was never reset.",
        needs: &[Need::Faults],
        show: bus_master_off_and_an_unmap_are_a_fence,
        mutation: Mutation {
            faults: &[Fault::IgnoresBusMaster, Fault::KeepsUnmapped],
            says: "memory was written behind the fence",
        },
    },
    Behaviour {
        name: "reset::cutting_off_is_a_proof",
        holds: "Fence (c), the driver's: cutting off a function with a hung engine proves that its memory is free, where an IOMMU enforces maps.",
        needs: &[Need::EngineFaults, Need::EnforcedMaps],
        show: cutting_off_is_a_proof,
        mutation: Mutation {
            faults: &[Fault::BusMasterSticks],
            says: "bus mastering reads back as on: true",
        },
    },
];

fn cutting_off_is_a_proof(bench: &Bench) {
    let function = bench.function(0);
    let worker = Feeder::start(bench, &function);
    let kernel = Kernel::Compress {
        level: CardLevel::Fast,
        format: WireFormat::Raw,
        last: true,
    };
    bench.faults().hang_after(0, 0);
    let hang = Duration::from_millis(500);
    let job = worker.submit(Work::new(kernel, &text(20_000)).timeout(hang));
    until(bench.patience(), "the job is under way", || {
        worker.counters().commands.get() >= 1
    });
    let proof = function.cut_off();
    let (exit, outcomes) = worker.ended(vec![job]);
    assert!(matches!(exit, WorkerExit::Fault { .. }), "{exit:?}");
    assert!(
        matches!(outcomes.as_slice(), [Outcome::Fault(_)]),
        "{outcomes:?}"
    );
    let arena = function.arena();
    let held = arena.quarantine().held_bytes();
    assert!(held > 0);
    let proof = proof.unwrap_or_else(|error| panic!("cut off without a proof: {error}"));
    assert_eq!(arena.release_quarantined(&proof), held);
    bench.faults().resume(0);
}

fn bus_master_off_means_no_dma(bench: &Bench) {
    let mut host = Host::on(bench, 0);
    let mut ring = host.create(1, 4, false, None);
    assert_eq!(status(&host.run(&mut ring, &nop(1))), Status::Success);
    let off = host.transport.set_bus_master(false).unwrap();
    assert!(!off, "bus mastering reads back as off");
    host.push(&mut ring, &nop(2));
    let pushed = host.memory.all();
    host.doorbell(ring.id, DOORBELL_SQ_TAIL, ring.tail);
    // The card tries, and notes that it could not.
    let mut wrote = false;
    until(bench.patience(), "the fetch is refused", || {
        wrote = host.memory.all() != pushed;
        wrote || host.errors().1 > 0
    });
    assert!(!wrote, "memory was written with bus mastering off");
    assert_eq!(host.errors().0, ErrorCode::RingAccess as u32);
    assert_eq!(host.counter(ring.id, QueueCounter::Completed), 1);
    // On again, after a reset, all is well.
    host.transport.function_level_reset().unwrap();
    assert!(host.transport.set_bus_master(true).unwrap());
    host.enable();
    let mut ring = host.create(1, 4, false, None);
    assert_eq!(status(&host.run(&mut ring, &nop(3))), Status::Success);
}

fn flr_of_an_idle_function(bench: &Bench) {
    let shadow = bench.meets(Need::ShadowDoorbells);
    let mut host = Host::on(bench, 0);
    let mut ring = host.create(1, 4, shadow, None);
    assert_eq!(status(&host.run(&mut ring, &nop(1))), Status::Success);
    let before = host.register(CardRegister::ControlResetEpoch);
    host.transport.function_level_reset().unwrap();
    let after = host.register(CardRegister::ControlResetEpoch);
    assert_ne!(before, after, "RESET_EPOCH changes");
    let state = host.status();
    assert!(
        state.dma_idle() && !state.ready() && !state.resetting(),
        "{state:?}"
    );
    assert_eq!(host.register(CardRegister::QueueControlQueueCount), 0);
    assert_eq!(host.errors().1, 0, "errors since the reset");
    assert!(host.transport.set_bus_master(true).unwrap());
    host.enable();
    let mut ring = host.create(1, 4, shadow, None);
    assert_eq!(status(&host.run(&mut ring, &nop(2))), Status::Success);
}

fn flr_in_mid_job(bench: &Bench) {
    let mut host = Host::on(bench, 0);
    let mut ring = host.create(1, 4, false, None);
    host.memory.write(SRC, &text(1000));
    // The engines hang, and go on as soon as the function is reset; or they are in the midst of long jobs.
    let _filled = fill_engines(&mut host, &mut ring, bench);
    let mark = vec![0xA5; PAGE as usize];
    host.memory.write(DST, &mark);
    host.transport.function_level_reset().unwrap();
    // A second life, on rings of its own. Its jobs come after those of the first, if an engine still has them: as many
    // as there are engines, twice, so that each has done one.
    assert!(host.transport.set_bus_master(true).unwrap());
    host.enable();
    let mut ring = host.create(2, 4, false, None);
    for n in 0..4 {
        let entry = SubmissionEntry {
            dst: host.memory.at(DST + PAGE),
            ..host.compress(n, 1000)
        };
        let done = host.run(&mut ring, &entry);
        assert_eq!(status(&done), Status::Success);
    }
    let after = host.memory.read(DST, mark.len());
    assert!(after == mark, "memory was written after the reset");
}

fn a_finished_reset_is_a_fence(bench: &Bench) {
    let function = bench.function(0);
    let worker = Feeder::start(bench, &function);
    let kernel = Kernel::Compress {
        level: CardLevel::Dense,
        format: WireFormat::Raw,
        last: true,
    };
    let input = text(1 << 20);
    // A worker that nobody wakes sees the reset when its jobs are due, at the latest.
    let limit = Duration::from_secs(3);
    let pending: Vec<_> = (0..6)
        .map(|_| worker.submit(Work::new(kernel, &input).timeout(limit)))
        .collect();
    until(bench.patience(), "jobs are under way", || {
        worker.counters().commands.get() >= 2
    });
    let proof = function.reset(bench.patience());
    let proof = proof.unwrap_or_else(|error| panic!("a reset without a proof: {error}"));
    let (exit, outcomes) = worker.ended(pending);
    assert!(
        matches!(exit, WorkerExit::Fault { incarnation, .. } if incarnation == function.incarnation()),
        "{exit:?}"
    );
    for outcome in outcomes {
        match outcome {
            Outcome::Done(done) => {
                let whole = inflate(WireFormat::Raw, &done.output);
                assert!(whole.as_ref() == Some(&input), "what was done is right");
            }
            Outcome::Fault(_) => {}
            Outcome::Data(refusal) => panic!("{refusal:?}"),
        }
    }
    let arena = function.arena();
    assert!(arena.quarantine().held_bytes() > 0, "jobs were in flight");
    arena.release_quarantined(&proof);
    assert_eq!(arena.free_bytes(), arena.bytes(), "the proof frees all");

    let transport = Arc::clone(function.transport());
    let again = Function::bring_up(transport, Arc::clone(arena), bench.config()).unwrap();
    again.self_test().unwrap();
    assert_ne!(again.incarnation(), function.incarnation());
}

fn bus_master_off_and_an_unmap_are_a_fence(bench: &Bench) {
    let mut host = Host::on(bench, 0);
    let mut ring = host.create(1, 4, false, None);
    let aside = Memory::new(4 * PAGE, ASIDE);
    aside.map(&host.transport, DmaAccess::ReadWrite);
    aside.write(0, &text(1000));
    // An engine that hangs with the job, or one that the job keeps busy for long.
    let hangs = bench.meets(Need::EngineFaults);
    let long = match hangs {
        true => {
            bench.faults().hang_after(0, 0);
            None
        }
        false => Some(long_source(&host)),
    };
    let short = SubmissionEntry {
        src: aside.at(0),
        dst: aside.at(2 * PAGE),
        dst_cap: 2 * PAGE as u32,
        ..host.compress(1, 1000)
    };
    let entry = match &long {
        None => short,
        Some(long) => SubmissionEntry {
            src: long.at(0),
            src_len: JOB_BYTES_MAX,
            ..short
        },
    };
    host.submit(&mut ring, &entry);
    until(bench.patience(), "the job is fetched", || {
        host.counter(ring.id, QueueCounter::Fetched) == 1
    });
    let off = host.transport.set_bus_master(false).unwrap();
    assert!(!off, "bus mastering reads back as off");
    host.transport.unmap_dma(ASIDE, aside.bytes()).unwrap();
    // From here on the memory is the host's again.
    let mark = vec![0xA5; 2 * PAGE as usize];
    aside.write(2 * PAGE, &mark);
    if hangs {
        bench.faults().resume(0);
    }
    let mut wrote = false;
    until(bench.patience(), "the job's access is refused", || {
        wrote = aside.read(2 * PAGE, mark.len()) != mark;
        wrote || host.errors().1 > 0
    });
    assert!(!wrote, "memory was written behind the fence");
    assert_eq!(host.errors().0, ErrorCode::DataRead as u32);
    // Nor does it help the card that it may master the bus again.
    assert!(host.transport.set_bus_master(true).unwrap());
    host.transport.function_level_reset().unwrap();
    assert!(
        aside.read(2 * PAGE, mark.len()) == mark,
        "memory was written later"
    );
}
