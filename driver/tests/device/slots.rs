//! Slots: kernels that are loaded, tested, drained, evicted, and what a load that goes wrong leaves behind.
//!
//! A card may outlive a behaviour, and its slots keep what they hold through a reset: each behaviour begins with the kernels
//! of the factory in both, and leaves them there if it holds.

use std::sync::atomic::{AtomicBool, Ordering};

use faam_driver::worker::WorkerExit;
use faam_driver::{DeviceFault, Function, GoldenJob, Kernel, Outcome, SelfTestError, SlotError};
use faam_hwif::{CardLevel, Serves, SlotPayload, SlotReason, SlotState, WireFormat};
use faam_sim::Fault;

use crate::behaviour::{Behaviour, Mutation, Need};
use crate::carrier::{Bench, until};
use crate::data::{inflate, text};
use crate::feeder::{Feeder, Work};

/// Kernels of these behaviours.
pub(crate) const FAST_KERNEL: [u8; 16] = *b"fast of a trial.";
const INFLATE_KERNEL: [u8; 16] = *b"inflate of trial";
/// The kernel that the simulated card leaves its factory with: it does everything.
const FACTORY_KERNEL: [u8; 16] = *b"faam-factory-all";
/// Bytes of a payload's bitstream.
const BITSTREAM_BYTES: usize = 700_000;

/// A job that ends as a DMA fault is none that the other slot served.
const NO_JOB_ENDS_WELL: Mutation = Mutation {
    faults: &[Fault::DmaFaults],
    says: "expected a result, or that the kernel is absent",
};
/// What a slot computes is wrong, so that no kernel passes its test.
const NO_LOAD_ENDS_WELL: Mutation = Mutation {
    faults: &[Fault::LoadGarbage],
    says: "SelfTest",
};

pub(crate) const BEHAVIOURS: &[Behaviour] = &[
    Behaviour {
        name: "slots::a_kernel_serves_while_it_is_there",
        holds: "A kernel serves once it is loaded and tested, in place of what the slot held and beside the other one, and not once it is evicted.",
        needs: &[Need::Slots],
        show: loaded_and_evicted,
        mutation: NO_LOAD_ENDS_WELL,
    },
    Behaviour {
        name: "slots::the_others_go_on",
        holds: "While a slot is programmed the other one serves and the admin queue answers; a second load waits its turn outside.",
        needs: &[Need::Slots, Need::EngineFaults],
        show: the_others_go_on,
        mutation: NO_JOB_ENDS_WELL,
    },
    Behaviour {
        name: "slots::a_slot_drains_first",
        holds: "A job that is in a slot ends before the slot is programmed.",
        needs: &[Need::Slots, Need::EngineFaults],
        show: drained,
        mutation: NO_LOAD_ENDS_WELL,
    },
    Behaviour {
        name: "slots::a_load_that_fails",
        holds: "A load that fails is told as that, leaves its slot empty and the other one serving, and the next one succeeds.",
        needs: &[Need::Slots, Need::EngineFaults],
        show: fails,
        mutation: NO_JOB_ENDS_WELL,
    },
    Behaviour {
        name: "slots::a_load_that_hangs",
        holds: "The same of a load that does not end: it is evicted.",
        needs: &[Need::Slots, Need::EngineFaults],
        show: hangs,
        mutation: NO_JOB_ENDS_WELL,
    },
    Behaviour {
        name: "slots::a_kernel_that_computes_wrong",
        holds: "The same of a kernel that does not pass its self-test: it never serves.",
        needs: &[Need::Slots, Need::EngineFaults],
        show: garbage,
        mutation: NO_JOB_ENDS_WELL,
    },
    Behaviour {
        name: "slots::a_reset_ends_a_load",
        holds: "A reset ends a load in its midst, frees its memory, and keeps what the other slot holds.",
        needs: &[Need::Slots, Need::EngineFaults],
        show: reset_in_mid_load,
        mutation: NO_LOAD_ENDS_WELL,
    },
    Behaviour {
        name: "slots::what_does_not_fit_changes_nothing",
        holds: "An image for another device or shell, cut short, too large or damaged is refused as that, and no slot changes.",
        needs: &[Need::Slots],
        show: refused,
        mutation: NO_JOB_ENDS_WELL,
    },
    Behaviour {
        name: "slots::a_kernel_comes_to_its_golden_output",
        holds: "A kernel that does not come to its image's golden output never serves, one that does is loaded, and the other slot serves on.",
        needs: &[Need::Slots],
        show: golden,
        mutation: Mutation {
            faults: &[Fault::LoadFails],
            says: "Failed",
        },
    },
];

/// A function with the factory's kernels in its slots.
fn with_slots(bench: &Bench) -> Function {
    let function = bench.function(0);
    make_whole(&function);
    function
}

/// Sees to it that each slot holds the factory's kernel.
pub(crate) fn make_whole(function: &Function) {
    for slot in function.slots().unwrap() {
        if slot.kernel_uuid != FACTORY_KERNEL || slot.state != SlotState::Active {
            let all = payload(function, Serves::ALL, FACTORY_KERNEL);
            function.load(slot.index, &all).unwrap();
        }
    }
}

/// A payload for this function's slots.
pub(crate) fn payload(function: &Function, serves: Serves, kernel_uuid: [u8; 16]) -> Vec<u8> {
    let slots = function.identity().slots.unwrap();
    let bitstream = text(BITSTREAM_BYTES);
    let mut head = SlotPayload {
        serves,
        idcode: slots.idcode,
        shell: slots.shell,
        bitstream_bytes: bitstream.len() as u32,
        kernel_uuid,
        crc32: 0,
    };
    seal(&mut head, &bitstream)
}

fn seal(head: &mut SlotPayload, bitstream: &[u8]) -> Vec<u8> {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&head.head()[..SlotPayload::CHECKED_BYTES]);
    sum.update(bitstream);
    head.crc32 = sum.finalize();
    [&head.head()[..], bitstream].concat()
}

const fn compress(level: CardLevel) -> Kernel {
    Kernel::Compress {
        level,
        format: WireFormat::Raw,
        last: true,
    }
}

/// Whether the function serves a job, with the right bytes; the worker lives either way.
fn serves(worker: &Feeder, level: CardLevel) -> bool {
    let input = text(20_000);
    match worker.run(Work::new(compress(level), &input)).0 {
        Outcome::Done(done) => {
            assert_eq!(inflate(WireFormat::Raw, &done.output), Some(input));
            true
        }
        Outcome::Fault(DeviceFault::KernelAbsent) => false,
        other => panic!("expected a result, or that the kernel is absent, got {other:?}"),
    }
}

fn stop(worker: Feeder, function: &Function) {
    make_whole(function);
    match worker.stop() {
        WorkerExit::Stopped { queue_pair } => function.delete_queue_pair(queue_pair).unwrap(),
        other => panic!("a worker ended by {other:?}"),
    }
    let arena = function.arena();
    assert_eq!(arena.free_bytes(), arena.bytes(), "memory is held");
}

fn loaded_and_evicted(bench: &Bench) {
    let function = with_slots(bench);
    let worker = Feeder::start(bench, &function);
    assert_eq!(function.serves().unwrap(), Serves::ALL, "the factory's");
    for slot in function.slots().unwrap() {
        let empty = function.evict(slot.index).unwrap();
        assert_eq!(
            (empty.state, empty.serves),
            (SlotState::Empty, Serves::NONE)
        );
        assert_ne!(empty.generation, slot.generation);
    }
    for level in [CardLevel::Fast, CardLevel::Balanced, CardLevel::Dense] {
        assert!(!serves(&worker, level), "no kernel, and a result");
    }
    function.self_test().unwrap();

    let fast = payload(&function, Serves::FAST, FAST_KERNEL);
    let loaded = function.load(1, &fast).unwrap();
    let slot = loaded.slot;
    assert_eq!(
        (slot.index, slot.state, slot.serves, slot.kernel_uuid),
        (1, SlotState::Active, Serves::FAST, FAST_KERNEL)
    );
    assert_eq!(slot, function.slots().unwrap()[1]);
    assert!(loaded.tested.jobs > 0, "it was tested");
    println!(
        "a kernel of {} bytes: downloaded in {:?}, programmed in {:?} (modelled), tested in {:?}",
        fast.len(),
        loaded.downloaded,
        loaded.programmed,
        loaded.tested.took
    );
    assert!(serves(&worker, CardLevel::Fast));
    assert!(!serves(&worker, CardLevel::Dense));
    function.self_test().unwrap();

    // In place of what it holds, and another kernel beside it.
    let inflates = payload(&function, Serves::INFLATE, INFLATE_KERNEL);
    let tables = payload(&function, Serves::TABLES, [3; 16]);
    function.load(1, &inflates).unwrap();
    function.load(0, &tables).unwrap();
    assert!(!serves(&worker, CardLevel::Fast));
    // A small job of its own level needs no other kernel.
    let input = text(300);
    let small = worker.run(Work::new(compress(CardLevel::Balanced), &input));
    let output = small.done().output;
    let back = Kernel::Decompress {
        format: WireFormat::Raw,
    };
    let back = worker.run(Work::new(back, &output).room(input.len()));
    assert_eq!(back.done().output, input);
    assert!(serves(&worker, CardLevel::Dense) && serves(&worker, CardLevel::Balanced));
    function.self_test().unwrap();
    assert!(matches!(
        function.load(2, &fast),
        Err(SlotError::NoSuchSlot { slot: 2, count: 2 })
    ));
    stop(worker, &function);
}

fn the_others_go_on(bench: &Bench) {
    let function = with_slots(bench);
    let worker = Feeder::start(bench, &function);
    let fast = payload(&function, Serves::FAST, FAST_KERNEL);
    bench.faults().set_rule("load-hangs");
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let loaded = function.load(1, &fast);
            ended.store(true, Ordering::SeqCst);
            loaded
        });
        until(bench.patience(), "the slot is being programmed", || {
            function.slots().unwrap()[1].state == SlotState::Programming
        });
        let times = match bench.carrier().is_slow() {
            false => 20,
            true => 4,
        };
        for _ in 0..times {
            assert!(serves(&worker, CardLevel::Dense));
            function.health().unwrap();
        }
        assert!(matches!(function.evict(0), Err(SlotError::Busy)));
        assert!(
            !ended.load(Ordering::SeqCst),
            "it is still being programmed"
        );
        bench.faults().clear();
        let loaded = load.join().unwrap().unwrap();
        assert_eq!(loaded.slot.kernel_uuid, FAST_KERNEL);
    });
    assert!(serves(&worker, CardLevel::Fast) && serves(&worker, CardLevel::Dense));
    stop(worker, &function);
}

fn drained(bench: &Bench) {
    let function = with_slots(bench);
    function.evict(1).unwrap();
    let worker = Feeder::start(bench, &function);
    let fast = payload(&function, Serves::FAST, FAST_KERNEL);
    let input = text(50_000);
    let hung = bench.faults().struck("engine-hangs");
    bench.faults().hang_after(0, 0);
    let job = worker.submit(Work::new(compress(CardLevel::Dense), &input));
    until(bench.patience(), "an engine has the job", || {
        bench.faults().struck("engine-hangs") > hung
    });
    std::thread::scope(|scope| {
        let load = scope.spawn(|| function.load(0, &fast));
        until(bench.patience(), "the slot drains", || {
            function.slots().unwrap()[0].state == SlotState::Draining
        });
        assert!(!load.is_finished());
        bench.faults().resume(0);
        let loaded = load.join().unwrap().unwrap();
        assert_eq!(loaded.slot.kernel_uuid, FAST_KERNEL);
    });
    // Its count was in the slot when that was to be programmed; its second command found another kernel there.
    let outcome = worker.take(&job).0;
    assert!(
        matches!(outcome, Outcome::Fault(DeviceFault::KernelAbsent)),
        "{outcome:?}"
    );
    assert!(serves(&worker, CardLevel::Fast));
    stop(worker, &function);
}

/// A load with this fault: how it ends. The other slot serves before, meanwhile and after; then the slot is loaded.
fn load_with(bench: &Bench, fault: &str, says: impl Fn(&SlotError)) {
    let function = with_slots(bench);
    let worker = Feeder::start(bench, &function);
    let fast = payload(&function, Serves::FAST, FAST_KERNEL);
    let struck = bench.faults().struck(fault);
    bench.faults().set_rule(&format!("{fault},times=1"));
    std::thread::scope(|scope| {
        let load = scope.spawn(|| function.load(1, &fast));
        let mut served = 0;
        while !load.is_finished() || served == 0 {
            assert!(serves(&worker, CardLevel::Balanced));
            served += 1;
        }
        let error = load.join().unwrap().unwrap_err();
        println!("{fault}: {error}; {served} jobs were served meanwhile");
        assert!(!error.is_of_the_function(), "{error}");
        says(&error);
    });
    assert_eq!(bench.faults().struck(fault), struck + 1);
    let slots = function.slots().unwrap();
    assert_ne!(slots[1].state, SlotState::Active);
    assert_eq!(slots[1].serves, Serves::NONE);
    assert_eq!(slots[0].state, SlotState::Active);
    function.self_test().unwrap();
    let loaded = function.load(1, &fast).unwrap();
    assert_eq!(loaded.slot.state, SlotState::Active);
    assert!(serves(&worker, CardLevel::Fast));
    stop(worker, &function);
}

fn fails(bench: &Bench) {
    load_with(bench, "load-fails", |error| {
        assert!(
            matches!(
                error,
                SlotError::Failed {
                    slot: 1,
                    reason: Some(SlotReason::Port)
                }
            ),
            "{error:?}"
        );
    });
}

fn hangs(bench: &Bench) {
    load_with(bench, "load-hangs", |error| {
        assert!(
            matches!(
                error,
                SlotError::Hang {
                    slot: 1,
                    stuck: false,
                    ..
                }
            ),
            "{error:?}"
        );
    });
}

fn garbage(bench: &Bench) {
    load_with(bench, "load-garbage", |error| {
        assert!(
            matches!(error, SlotError::SelfTest { slot: 1, .. }),
            "{error:?}"
        );
    });
}

fn reset_in_mid_load(bench: &Bench) {
    let function = with_slots(bench);
    let fast = payload(&function, Serves::FAST, FAST_KERNEL);
    let inflates = payload(&function, Serves::INFLATE, INFLATE_KERNEL);
    function.load(1, &fast).unwrap();
    bench.faults().set_rule("load-hangs,times=1");
    std::thread::scope(|scope| {
        let load = scope.spawn(|| function.load(0, &inflates));
        until(bench.patience(), "the slot is being programmed", || {
            function.slots().unwrap()[0].state == SlotState::Programming
        });
        let proof = function.reset(bench.patience()).unwrap();
        let error = load.join().unwrap().unwrap_err();
        assert!(matches!(error, SlotError::Ended), "{error:?}");
        function.arena().release_quarantined(&proof);
        assert_eq!(function.arena().quarantine().held_bytes(), 0);
    });
    drop(function);
    let function = bench.function(0);
    let slots = function.slots().unwrap();
    assert_eq!(
        (slots[0].state, slots[0].reason),
        (SlotState::Failed, Some(SlotReason::Reset))
    );
    assert_eq!(
        (slots[1].state, slots[1].kernel_uuid),
        (SlotState::Active, FAST_KERNEL)
    );
    function.self_test().unwrap();
    let loaded = function.load(0, &inflates).unwrap();
    assert_eq!(loaded.slot.kernel_uuid, INFLATE_KERNEL);
    make_whole(&function);
}

fn golden(bench: &Bench) {
    let function = with_slots(bench);
    let payload = payload(&function, Serves::FAST, FAST_KERNEL);
    let input = text(300);
    let compress = GoldenJob {
        kernel: compress(CardLevel::Fast),
        input: input.clone(),
        output_bytes_max: 1000,
        output_sha256: [0; 32],
    };
    let told = function.load_golden(1, &payload, Some(&compress));
    let told = told.expect_err("another output");
    let SlotError::SelfTest {
        slot: 1,
        fences: false,
        source: SelfTestError::Golden { expected, got },
    } = told
    else {
        panic!("{told:?}");
    };
    assert_eq!(expected, "00".repeat(32));
    assert_eq!(function.slots().unwrap()[1].state, SlotState::Empty);
    let worker = Feeder::start(bench, &function);
    assert!(serves(&worker, CardLevel::Fast), "the other slot serves on");
    let output = worker.run(Work::new(compress.kernel, &input)).done().output;
    assert_eq!(inflate(WireFormat::Raw, &output), Some(input));
    // What the card came to in the other slot is what this one has to come to.
    let mut sha256 = [0; 32];
    for (byte, digits) in sha256.iter_mut().zip(got.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
    }
    let right = GoldenJob {
        output_sha256: sha256,
        ..compress
    };
    let loaded = function.load_golden(1, &payload, Some(&right)).unwrap();
    assert_eq!(loaded.slot.state, SlotState::Active);
    stop(worker, &function);
}

fn refused(bench: &Bench) {
    let function = with_slots(bench);
    let before = function.slots().unwrap();
    let right = payload(&function, Serves::FAST, FAST_KERNEL);
    let head = SlotPayload::decode(&right).unwrap();
    let bitstream = &right[SlotPayload::HEAD_BYTES..];
    let idcode = head.idcode + 1;
    let shell = head.shell + 1;
    let other_device = seal(&mut SlotPayload { idcode, ..head }, bitstream);
    let other_shell = seal(&mut SlotPayload { shell, ..head }, bitstream);
    let mut damaged = right.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let error = |payload: &[u8]| function.load(0, payload).unwrap_err();
    let wrong = error(&other_device);
    assert!(matches!(wrong, SlotError::WrongDevice { .. }), "{wrong:?}");
    let wrong = error(&other_shell);
    assert!(matches!(wrong, SlotError::WrongShell { .. }), "{wrong:?}");
    let wrong = error(&right[..right.len() - 1]);
    assert!(matches!(wrong, SlotError::Malformed), "{wrong:?}");
    let wrong = error(&vec![0; (16 << 20) + 1]);
    assert!(matches!(wrong, SlotError::TooLarge { .. }), "{wrong:?}");
    // This one the card alone can tell.
    let wrong = error(&damaged);
    let reason = Some(SlotReason::Damaged);
    assert!(
        matches!(wrong, SlotError::Refused { reason: why } if why == reason),
        "{wrong:?}"
    );
    assert_eq!(function.slots().unwrap(), before);
    let worker = Feeder::start(bench, &function);
    assert!(serves(&worker, CardLevel::Fast));
    stop(worker, &function);
}
