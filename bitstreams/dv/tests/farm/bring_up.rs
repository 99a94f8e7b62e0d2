//! Registers and queues: bring-up, admin commands, laps, doorbells, interrupts, abort.

use crate::host::{DATA, EPOCH, Host, LOOK_CYCLES, Ring, SERIAL, SLOW_CLOCK_KHZ, status};
use crate::jobs::Job;
use crate::memory::{BASE, BYTES, Touch};
use crate::random;
use faam_dv::farm::Timing;
use faam_hwif::admin::{AdminCommand, Feature, IDENTIFY_BYTES, Identify};
use faam_hwif::error::ErrorCode;
use faam_hwif::regs::{CardRegister, DOORBELL_SQ_TAIL, QueueCounter, capabilities};
use faam_hwif::table::TABLE_BYTES;
use faam_hwif::{
    CommandId, Flags, IO_PAIRS_MAX, Iova, Opcode, QueueId, Status, SubmissionEntry, TableMode,
};

/// Cycles of a scrub: a set of the hash table each.
pub(crate) const SCRUB_CYCLES: u64 = 1 << 13;

pub(crate) fn nop(id: u16) -> SubmissionEntry {
    SubmissionEntry {
        op: Opcode::Nop as u8,
        cid: id,
        ..SubmissionEntry::default()
    }
}

#[test]
fn registers_say_who_it_is_and_what_it_can() {
    let mut host = Host::new(Timing::smooth(1));
    // Each register that the map fixes reads as it says, before anything is enabled.
    for register in CardRegister::ALL {
        let value = host.register(register);
        let name = format!("{register:?}");
        let fixed = ["Header", "Next", "Magic", "AbiVersion", "Base", "Stride"];
        // The farm's last block is that of the doorbells, whatever the map has behind it.
        let expected = match name.starts_with("Slots") || name == "DoorbellsBlockNext" {
            true => 0,
            false => register.reset(),
        };
        if fixed.iter().any(|word| name.contains(word)) {
            assert_eq!(value, expected, "{name}");
        }
        assert_ne!(value, u32::MAX, "{name} reads as a function that is gone");
    }
    let serial = u64::from(host.register(CardRegister::IdentitySerialLo))
        | u64::from(host.register(CardRegister::IdentitySerialHi)) << 32;
    assert_eq!(serial, SERIAL);
    assert_eq!(host.register(CardRegister::IdentityFunction), 0x0201);
    assert_eq!(host.register(CardRegister::IdentityModel), 2);
    assert_eq!(host.register(CardRegister::ControlResetEpoch), EPOCH);
    let features = capabilities::Features(host.register(CardRegister::CapabilitiesFeatures));
    assert!(features.loaded_tables() && features.history());
    assert!(features.abort() && features.context_scrub());
    assert!(!features.shadow_doorbells() && !features.decompress() && !features.paced());
    assert_eq!(host.register(CardRegister::CapabilitiesClockKhz), 120_000);
    let before = host.register(CardRegister::ControlHeartbeat);
    host.step(4096);
    assert_ne!(host.register(CardRegister::ControlHeartbeat), before);
    // Words that are nothing read as 0, and take a write without effect.
    for nothing in [0x0F0, 0x700, 0xF000, 0x30000, 0xF_FFFC] {
        host.write(nothing, 0x1234_5678);
        assert_eq!(host.read(nothing), 0, "word {nothing:#x}");
    }
    assert!(
        host.memory.log.is_empty(),
        "memory was touched before enable"
    );
}

#[test]
fn it_comes_up_and_obeys_the_admin_queue() {
    for seed in 0..4 {
        let timing = [Timing::smooth(seed), Timing::rough(seed)][seed as usize % 2];
        let mut host = Host::up(timing);
        let at = Iova(DATA + 8 * seed);
        let done = host.admin(&AdminCommand::Identify {
            dst: at,
            dst_cap: IDENTIFY_BYTES as u32,
        });
        assert_eq!(
            (status(&done), done.out_len),
            (Status::Success, IDENTIFY_BYTES as u32)
        );
        let bytes = host.memory.get(at.0, IDENTIFY_BYTES);
        let identify = Identify::from_bytes(bytes.try_into().expect("its size"));
        assert_eq!(identify.clock_khz, 120_000);
        assert_eq!(&identify.serial[..16], b"0123456789ABCDEF");
        assert_eq!(identify.function, 1);
        let engines = capabilities::Engines(host.register(CardRegister::CapabilitiesEngines));
        assert_eq!(identify.engines, engines.count());
        for (wanted, granted) in [(3, 3), (0, 1), (1000, u32::from(IO_PAIRS_MAX))] {
            let done = host.admin(&AdminCommand::SetFeatures {
                feature: Feature::QueuePairs,
                value: wanted,
            });
            assert_eq!((status(&done), done.out_len), (Status::Success, granted));
        }
        let mut ring = host.create(2, 3, None);
        assert_eq!(status(&host.run(&mut ring, &nop(7))), Status::Success);
        let delete = AdminCommand::DeleteQueue { queue: QueueId(2) };
        assert_eq!(status(&host.admin(&delete)), Status::Success);
        assert_eq!(status(&host.admin(&delete)), Status::InvalidQueue);
        assert_eq!(host.register(CardRegister::QueueControlQueueCount), 0);
    }
}

#[test]
fn rings_go_round_and_interrupt_after_each_completion() {
    let mut host = Host::up(Timing::rough(3));
    let mut rings = [host.create(1, 3, Some(4)), host.create(3, 2, None)];
    for n in 0..300u16 {
        for ring in &mut rings {
            let (begun, completion) = (host.memory.log.len(), ring.completion(ring.head));
            let done = host.run(ring, &nop(n));
            assert_eq!(status(&done), Status::Success);
            assert_eq!(u32::from(done.sq_head), ring.tail & 0xFFFF);
            crate::jobs::check_order(&host.memory.log[begun..], completion, 0..0);
        }
    }
    host.step(1000);
    // An interrupt comes after a phase word of its queue; of two that come before the first is taken, one may be all.
    let phases: Vec<_> = (0..rings[0].entries.count())
        .map(|slot| rings[0].completion(slot) + 28)
        .collect();
    let (mut completed, mut interrupts) = (0, 0);
    for touch in &host.memory.log {
        match touch {
            Touch::Write { at, .. } if phases.contains(&at.start) => completed += 1,
            Touch::Interrupt(vector) => {
                assert_eq!(*vector, 4, "the other queue has no vector");
                interrupts += 1;
                assert!(
                    interrupts <= completed,
                    "an interrupt before its completion"
                );
            }
            _ => {}
        }
    }
    assert_eq!(completed, 300);
    assert!((1..=300).contains(&interrupts), "{interrupts} interrupts");
    assert_eq!(host.counter(QueueId(1), QueueCounter::Completed), 300);
    assert_eq!(host.counter(QueueId(3), QueueCounter::Fetched), 300);
    assert_eq!(host.counter(QueueId(1), QueueCounter::Failed), 0);
}

#[test]
fn nothing_is_fetched_without_room_for_its_completion() {
    let mut host = Host::up(Timing::smooth(5));
    let mut ring = host.create(1, 3, None);
    for n in 0..7 {
        host.submit(&mut ring, &nop(n));
    }
    host.until("seven completions", |host| {
        host.counter(QueueId(1), QueueCounter::Completed) == 7
    });
    for n in 7..14 {
        host.submit(&mut ring, &nop(n));
    }
    host.step(20_000);
    assert_eq!(host.counter(QueueId(1), QueueCounter::Fetched), 7);
    for n in 0..14 {
        assert_eq!(host.next(&mut ring).cid, n);
    }
    // Tails that cannot be are noted, and nothing comes of them.
    for tail in [
        ring.tail.wrapping_add(8),
        ring.tail.wrapping_sub(1),
        u32::MAX / 2,
    ] {
        host.doorbell(ring.id, DOORBELL_SQ_TAIL, tail);
    }
    host.step(5_000);
    assert_eq!(host.counter(QueueId(1), QueueCounter::Fetched), 14);
    assert_eq!(host.errors(), (ErrorCode::DoorbellRange as u32, 3));
    host.doorbell(QueueId(9), DOORBELL_SQ_TAIL, 1);
    assert_eq!(host.errors().1, 4);
    assert_eq!(status(&host.run(&mut ring, &nop(14))), Status::Success);
}

#[test]
fn a_completion_queue_that_stays_full_is_told() {
    let mut host = Host::slow(Timing::smooth(11));
    let mut ring = host.create(1, 3, None);
    for n in 0..7 {
        host.submit(&mut ring, &nop(n));
    }
    host.until("seven completions", |host| {
        host.counter(ring.id, QueueCounter::Completed) == 7
    });
    for n in 0..3 {
        assert_eq!(host.next(&mut ring).cid, n);
    }
    // Room for three of these.
    for n in 7..14 {
        host.submit(&mut ring, &nop(n));
    }
    // Not before it has been full for a period, which is 1024 ms.
    host.step(1024 * MS_CYCLES / 2);
    assert_eq!(host.errors(), (0, 0));
    host.step(1024 * MS_CYCLES * 3 / 2 + 20_000);
    assert_eq!(host.errors(), (ErrorCode::CompletionQueueFull as u32, 1));
    assert_eq!(
        host.register(CardRegister::ErrorFirst) >> 16,
        1,
        "the queue"
    );
    assert_eq!(host.register(CardRegister::ErrorInfoLo), 3, "its head");
    assert_eq!(host.counter(ring.id, QueueCounter::Fetched), 10);
    for n in 3..14 {
        assert_eq!(host.next(&mut ring).cid, n);
    }
    assert_eq!(host.errors().1, 1, "told once");
}

/// Cycles of a millisecond on a slow farm.
const MS_CYCLES: u32 = SLOW_CLOCK_KHZ;

#[test]
fn abort_ends_what_waits_and_nothing_else() {
    let (_, seed) = random("abort");
    let mut host = Host::up(Timing::rough(seed));
    let mut ring = host.create(1, 4, None);
    let job = Job::plain(60_000);
    job.place(&mut host);
    let engines = capabilities::Engines(host.register(CardRegister::CapabilitiesEngines));
    let count = (engines.count() * engines.jobs_each_max() + 1) as u16;
    for n in 0..count {
        let cid = CommandId::new(n, 1).0;
        host.submit(&mut ring, &SubmissionEntry { cid, ..job.entry });
    }
    host.until("all are fetched", |host| {
        host.counter(QueueId(1), QueueCounter::Fetched) == u64::from(count)
    });
    let abort = |slot: u16, generation: u8| AdminCommand::Abort {
        queue: QueueId(1),
        command: CommandId::new(slot, generation),
    };
    for other in [abort(count, 1), abort(count - 1, 2)] {
        let done = host.admin(&other);
        assert_eq!((status(&done), done.out_len), (Status::Success, 0));
    }
    let done = host.admin(&abort(count - 1, 1));
    assert_eq!(
        (status(&done), done.out_len),
        (Status::Success, 1),
        "a command that waits"
    );
    let mut ended: Vec<_> = (0..count)
        .map(|_| {
            let done = host.next(&mut ring);
            (done.command_id(), status(&done))
        })
        .collect();
    ended.sort_unstable_by_key(|(id, _)| id.0);
    let expected: Vec<_> = (0..count)
        .map(|n| match n + 1 == count {
            true => (CommandId::new(n, 1), Status::Aborted),
            false => (CommandId::new(n, 1), Status::Success),
        })
        .collect();
    assert_eq!(ended, expected);
    let health = host.health();
    assert_eq!((health.jobs, health.jobs_failed), (u64::from(count), 1));
}

#[test]
fn scrubs_come_with_a_change_of_context_and_cost_no_job() {
    let mut host = Host::up(Timing::smooth(7));
    let mut ring = host.create(1, 3, None);
    let job = Job::plain(3000);
    job.place(&mut host);
    let mut cycles = Vec::new();
    let mut took = Vec::new();
    let mut scrubs = Vec::new();
    for context in [1, 1, 2, 2, 1] {
        let before = host.health().scrub_cycles;
        let begun = host.farm.cycles();
        let done = host.run(
            &mut ring,
            &SubmissionEntry {
                context,
                ..job.entry
            },
        );
        took.push(host.farm.cycles() - begun);
        assert_eq!(status(&done), Status::Success);
        cycles.push(done.cycles);
        scrubs.push(host.health().scrub_cycles > before);
    }
    assert_eq!(scrubs[1..], [false, true, false, true]);
    // The counter adds what a scrub should take: that it was done, the farm's own clock says.
    let without = took[1].max(took[3]);
    assert!(
        took[1].abs_diff(took[3]) <= u64::from(LOOK_CYCLES),
        "farm cycles by context: {took:?}"
    );
    for (job, took) in took.iter().enumerate().filter(|(job, _)| scrubs[*job]) {
        assert!(
            *took >= without + SCRUB_CYCLES - u64::from(LOOK_CYCLES),
            "job {job} came with a scrub and took {took} farm cycles, {without} are taken without one"
        );
    }
    assert!(
        cycles.iter().all(|it| *it == cycles[0]),
        "cycles by context: {cycles:?}"
    );
    let took_then = after_a_bad_table(&mut host, &mut ring, &job.entry, 2);
    assert!(
        took_then >= without + SCRUB_CYCLES - u64::from(LOOK_CYCLES),
        "the job after one with a bad table took {took_then} farm cycles, {without} are taken without a scrub"
    );
}

/// A job that its table ends before anything is matched leaves the scrub to the next one: the farm cycles of that next one, in a `context`
/// that the engine does not know.
pub(crate) fn after_a_bad_table(
    host: &mut Host,
    ring: &mut Ring,
    job: &SubmissionEntry,
    context: u32,
) -> u64 {
    let bad = SubmissionEntry {
        context,
        flags: job.flags | Flags::TABLE.0,
        table_mode: TableMode::Loaded as u8,
        // All zeros are no table.
        aux: BASE + BYTES - 0x1000,
        aux_len: TABLE_BYTES,
        ..*job
    };
    assert_eq!(status(&host.run(ring, &bad)), Status::BadTable);
    let begun = host.farm.cycles();
    let good = SubmissionEntry { context, ..*job };
    assert_eq!(status(&host.run(ring, &good)), Status::Success);
    host.farm.cycles() - begun
}
