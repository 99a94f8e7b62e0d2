//! Each command's own rules: what it does, what it refuses, and where its results go.

use faam_driver::transport::DmaAccess;
use faam_hwif::admin::{AdminCommand, HEALTH_BYTES, Health, field};
use faam_hwif::regs::QueueCounter;
use faam_hwif::table::{HISTOGRAM_BYTES, HISTOGRAM_LITLEN_OFFSET, LITLEN_SYMBOLS, TABLE_BYTES};
use faam_hwif::{
    CardLevel, CommandId, Flags, HISTORY_BYTES_MAX, Iova, JOB_BYTES_MAX, Opcode, Status,
    SubmissionEntry, TableMode, WireFormat,
};
use faam_sim::Fault;

use crate::behaviour::{Behaviour, Mutation, Need};
use crate::carrier::{Bench, until};
use crate::data::{inflate, noise, text};
use crate::host::{ASIDE, AUX, DST, Host, Memory, ROOM, Ring, SRC, nop, status};

pub(crate) const BEHAVIOURS: &[Behaviour] = &[
    Behaviour {
        name: "commands::count_makes_a_histogram",
        holds: "Count writes how often each symbol would be coded: each literal of an input without matches, and one end of block.",
        needs: &[Need::LoadedTables],
        show: count_makes_a_histogram,
        mutation: Mutation {
            faults: &[Fault::Miscounts],
            says: "ends of block",
        },
    },
    Behaviour {
        name: "commands::a_bad_table_is_refused",
        holds: "A table whose codes cannot be is refused, with the rule that it breaks; nothing is written.",
        needs: &[Need::LoadedTables],
        show: a_bad_table_is_refused,
        mutation: Mutation {
            faults: &[Fault::IgnoresTables],
            says: "a table of zeros",
        },
    },
    Behaviour {
        name: "commands::history_is_used",
        holds: "A block that repeats its history becomes a few references, and decodes behind that history.",
        needs: &[Need::History],
        show: history_is_used,
        mutation: Mutation {
            faults: &[Fault::IgnoresHistory],
            says: "bytes for a block that repeats its history",
        },
    },
    Behaviour {
        name: "commands::fields_are_checked",
        holds: "Entries with an operation, flags, lengths or modes that are none are refused by field, and the queue lives.",
        needs: &[],
        show: fields_are_checked,
        mutation: Mutation {
            faults: &[Fault::TakesAnyField],
            says: "an operation that is none",
        },
    },
    Behaviour {
        name: "commands::results_stay_within_their_room",
        holds: "A result that does not fit ends as OutputFull, and no byte beyond its room is touched.",
        needs: &[],
        show: results_stay_within_their_room,
        mutation: Mutation {
            faults: &[Fault::WritesBeyondRoom],
            says: "bytes beyond the room",
        },
    },
    Behaviour {
        name: "commands::abort_ends_what_waits",
        holds: "Abort ends a command that waits, says so, and says of one that is not there that it did not.",
        needs: &[Need::Abort, Need::Faults],
        show: abort_ends_what_waits,
        mutation: Mutation {
            faults: &[Fault::AbortLies],
            says: "a command that is not there",
        },
    },
    Behaviour {
        name: "commands::health_and_counters_count",
        holds: "The health page and the queue's counters count jobs, bytes and failures.",
        needs: &[],
        show: health_and_counters_count,
        mutation: Mutation {
            faults: &[Fault::HealthIsZero],
            says: "jobs on the health page",
        },
    },
    Behaviour {
        name: "commands::contexts_are_scrubbed",
        holds: "An engine that goes from one context to another is scrubbed, and one that stays is not.",
        needs: &[Need::ContextScrub],
        show: contexts_are_scrubbed,
        mutation: Mutation {
            faults: &[Fault::Unscrubbed],
            says: "scrubs for another context",
        },
    },
];

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn health(host: &mut Host) -> Health {
    let bytes: [u8; HEALTH_BYTES] = host.health_page().try_into().unwrap();
    Health::from_bytes(&bytes)
}

fn count_makes_a_histogram(bench: &Bench) {
    let mut host = Host::on(bench, 0);
    let mut ring = host.create(1, 4, false, None);
    // Each byte value once: nothing matches.
    let input: Vec<u8> = (0..=255).collect();
    host.memory.write(SRC, &input);
    let count = SubmissionEntry {
        op: Opcode::Count as u8,
        flags: 0,
        aux: host.memory.at(AUX),
        aux_len: HISTOGRAM_BYTES,
        ..host.compress(1, input.len())
    };
    let done = host.run(&mut ring, &count);
    assert_eq!(status(&done), Status::Success);
    let histogram = host.memory.read(AUX, HISTOGRAM_BYTES as usize);
    let litlen = |symbol: usize| word(&histogram, HISTOGRAM_LITLEN_OFFSET as usize + symbol * 4);
    assert!((0..256).all(|byte| litlen(byte) == 1), "literals");
    assert_eq!(litlen(256), 1, "ends of block");
    assert!((257..LITLEN_SYMBOLS).all(|length| litlen(length) == 0));
    // Twice the same: the second time is a match.
    host.memory.write(SRC, &[input.as_slice(), &input].concat());
    let count = SubmissionEntry {
        src_len: 512,
        ..count
    };
    assert_eq!(status(&host.run(&mut ring, &count)), Status::Success);
    let histogram = host.memory.read(AUX, HISTOGRAM_BYTES as usize);
    let lengths = (257..LITLEN_SYMBOLS)
        .map(|symbol| word(&histogram, HISTOGRAM_LITLEN_OFFSET as usize + symbol * 4))
        .sum::<u32>();
    assert!(lengths >= 1, "references to what came before");
}

fn a_bad_table_is_refused(bench: &Bench) {
    let mut host = Host::on(bench, 0);
    let mut ring = host.create(1, 4, false, None);
    host.memory.write(SRC, &text(5000));
    host.memory.write(AUX, &vec![0; TABLE_BYTES as usize]);
    let before = host.memory.read(DST, 4096);
    let entry = SubmissionEntry {
        flags: Flags::FINAL.with(Flags::TABLE).0,
        aux: host.memory.at(AUX),
        aux_len: TABLE_BYTES,
        table_mode: TableMode::Loaded as u8,
        level: CardLevel::Dense as u8,
        ..host.compress(1, 5000)
    };
    let done = host.run(&mut ring, &entry);
    assert_eq!(status(&done), Status::BadTable, "a table of zeros");
    assert_ne!(done.info, 0, "the rule that it breaks");
    assert!(host.memory.read(DST, 4096) == before, "nothing is written");
    let done = host.run(&mut ring, &host.compress(2, 5000));
    assert_eq!(status(&done), Status::Success);
}

fn history_is_used(bench: &Bench) {
    let mut host = Host::on(bench, 0);
    let mut ring = host.create(1, 4, false, None);
    // Noise, so that nothing but its history makes it short.
    let input = noise(8000);
    host.memory.write(SRC, &input);
    host.memory.write(AUX, &input);
    let entry = SubmissionEntry {
        flags: Flags::FINAL.with(Flags::HIST).0,
        hist: host.memory.at(AUX),
        hist_len: 8000,
        level: CardLevel::Balanced as u8,
        ..host.compress(1, input.len())
    };
    let done = host.run(&mut ring, &entry);
    assert_eq!(status(&done), Status::Success);
    let block = host.memory.read(DST, done.out_len as usize);
    assert!(
        block.len() < 1000,
        "{} bytes for a block that repeats its history",
        block.len()
    );
    // RFC 1951, section 3.2.4: the history as one stored block, then the block.
    let length = (input.len() as u16).to_le_bytes();
    let not_length = (!(input.len() as u16)).to_le_bytes();
    let stream = [&[0][..], &length, &not_length, &input, &block].concat();
    let whole = inflate(WireFormat::Raw, &stream).unwrap();
    assert!(whole == [input.as_slice(), &input].concat());
}

fn fields_are_checked(bench: &Bench) {
    let mut host = Host::on(bench, 0);
    let mut ring = host.create(1, 4, false, None);
    let good = host.compress(7, 100);
    let cases = [
        (
            "an operation that is none",
            SubmissionEntry { op: 0x77, ..good },
            (Status::InvalidOpcode, field::OP),
        ),
        (
            "flags that are none",
            SubmissionEntry {
                flags: 0x81,
                ..good
            },
            (Status::InvalidField, field::FLAGS),
        ),
        (
            "a block that neither ends nor syncs",
            SubmissionEntry { flags: 0, ..good },
            (Status::InvalidField, field::FLAGS),
        ),
        (
            "a job too large",
            SubmissionEntry {
                src_len: JOB_BYTES_MAX + 1,
                ..good
            },
            (Status::InvalidLength, field::SRC_LEN),
        ),
        (
            "a format that is none",
            SubmissionEntry { format: 9, ..good },
            (Status::InvalidField, field::FORMAT),
        ),
        (
            "a level that is none",
            SubmissionEntry { level: 200, ..good },
            (Status::InvalidField, field::LEVEL),
        ),
        (
            "a table without its flag",
            SubmissionEntry {
                table_mode: TableMode::Loaded as u8,
                ..good
            },
            (Status::InvalidField, field::FLAGS),
        ),
        (
            "a history too long",
            SubmissionEntry {
                flags: Flags::FINAL.with(Flags::HIST).0,
                hist_len: HISTORY_BYTES_MAX + 1,
                ..good
            },
            (Status::InvalidLength, field::HIST_LEN),
        ),
    ];
    for (what, entry, expected) in cases {
        let done = host.run(&mut ring, &entry);
        assert_eq!((status(&done), done.info), expected, "{what}");
        assert_eq!(done.cid, 7);
    }
    host.memory.write(SRC, &text(100));
    assert_eq!(status(&host.run(&mut ring, &good)), Status::Success);
    let failed = host.counter(ring.id, QueueCounter::Failed);
    assert_eq!(failed as usize, cases.len());
}

fn results_stay_within_their_room(bench: &Bench) {
    let mut host = Host::on(bench, 0);
    let mut ring = host.create(1, 4, false, None);
    let mark = vec![0xA5; 4096];
    let input = noise(1000);
    host.memory.write(SRC, &input);
    for room in [0usize, 1, 100, 999] {
        host.memory.write(DST, &mark);
        let entry = SubmissionEntry {
            dst_cap: room as u32,
            ..host.compress(1, input.len())
        };
        let done = host.run(&mut ring, &entry);
        assert_eq!(status(&done), Status::OutputFull, "room for {room}");
        let after = host.memory.read(DST, mark.len());
        assert!(
            after[room..] == mark[room..],
            "bytes beyond the room for {room}"
        );
    }
    // As much room as it needs, and not a byte more.
    let whole = host.run(&mut ring, &host.compress(1, input.len())).out_len;
    host.memory.write(DST, &mark);
    let entry = SubmissionEntry {
        dst_cap: whole,
        ..host.compress(1, input.len())
    };
    let done = host.run(&mut ring, &entry);
    assert_eq!((status(&done), done.out_len), (Status::Success, whole));
    let after = host.memory.read(DST, mark.len());
    assert!(
        after[whole as usize..] == mark[whole as usize..],
        "bytes beyond the room"
    );
}

fn abort_ends_what_waits(bench: &Bench) {
    let mut host = Host::on(bench, 0);
    let mut ring = host.create(1, 4, false, None);
    let abort = |host: &mut Host, slot: u16| {
        let done = host.admin(&AdminCommand::Abort {
            queue: faam_hwif::QueueId(1),
            command: CommandId::new(slot, 0),
        });
        assert_eq!(status(&done), Status::Success);
        done.out_len
    };
    assert_eq!(abort(&mut host, 9), 0, "a command that is not there");
    host.memory.write(SRC, &text(1000));
    let filled = fill_engines(&mut host, &mut ring, bench);
    let last = filled.last;
    assert_eq!(abort(&mut host, last), 1, "a command that waits");
    // Of engines that hang no other job ends meanwhile.
    let mut ended = vec![host.next(&mut ring)];
    if bench.meets(Need::EngineFaults) {
        assert_eq!(ended[0].command_id(), CommandId::new(last, 0));
    }
    filled.resume(bench);
    ended.extend((0..last).map(|_| host.next(&mut ring)));
    let mut ends: Vec<_> = ended
        .iter()
        .map(|done| (done.command_id().0, status(done)))
        .collect();
    ends.sort_unstable_by_key(|(id, _)| *id);
    let expected = (0..=last).map(|slot| match slot == last {
        true => (CommandId::new(slot, 0).0, Status::Aborted),
        false => (CommandId::new(slot, 0).0, Status::Success),
    });
    assert_eq!(ends, expected.collect::<Vec<_>>());
}

/// Engines that are busy for longer than a behaviour takes.
pub(crate) struct Filled {
    /// Number of the last job; the first is 0.
    pub(crate) last: u16,
    /// Where engines cannot be made to hang: the source of jobs that take long.
    _long: Option<Memory>,
}

impl Filled {
    /// Ends hangs.
    pub(crate) fn resume(&self, bench: &Bench) {
        if bench.meets(Need::EngineFaults) {
            bench.faults().resume(0);
        }
    }
}

/// A source that takes longer than anything that a behaviour does meanwhile, where each clock is simulated.
pub(crate) fn long_source(host: &Host) -> Memory {
    let long = Memory::new(u64::from(JOB_BYTES_MAX), Iova(ASIDE.0 + 64 * ROOM));
    long.map(&host.transport, DmaAccess::Read);
    long
}

/// With engines that hang, or that have jobs of the largest size where they cannot be made to: submits jobs until each
/// engine has one, another waits for each, and one more is held.
pub(crate) fn fill_engines(host: &mut Host, ring: &mut Ring, bench: &Bench) -> Filled {
    let long = match bench.meets(Need::EngineFaults) {
        true => {
            bench.faults().hang_after(0, 0);
            None
        }
        false => Some(long_source(host)),
    };
    let engines = host.register(faam_hwif::regs::CardRegister::CapabilitiesEngines);
    let engines = faam_hwif::regs::capabilities::Engines(engines);
    let jobs = engines.count() * engines.jobs_each_max() + 1;
    for n in 0..jobs {
        let id = CommandId::new(n as u16, 0);
        let short = host.compress(id.0, 1000);
        let entry = match &long {
            None => short,
            Some(long) => SubmissionEntry {
                src: long.at(0),
                src_len: JOB_BYTES_MAX,
                ..short
            },
        };
        host.submit(ring, &entry);
    }
    // The last one is fetched only when there was a place for the one before, and so an engine for the first.
    until(bench.patience(), "the engines are full", || {
        host.counter(ring.id, QueueCounter::Fetched) == jobs
    });
    Filled {
        last: jobs as u16 - 1,
        _long: long,
    }
}

fn health_and_counters_count(bench: &Bench) {
    let mut host = Host::on(bench, 0);
    let mut ring = host.create(1, 4, false, None);
    let before = health(&mut host);
    host.memory.write(SRC, &text(5000));
    let done = host.run(&mut ring, &host.compress(1, 5000));
    assert_eq!(status(&done), Status::Success);
    assert!(done.cycles > 0);
    host.run(&mut ring, &nop(2));
    host.run(&mut ring, &SubmissionEntry { op: 0x77, ..nop(3) });
    let after = health(&mut host);
    assert_eq!(after.jobs - before.jobs, 3, "jobs on the health page");
    assert_eq!(after.jobs_failed - before.jobs_failed, 1);
    assert_eq!(after.bytes_in - before.bytes_in, 5000);
    assert_eq!(after.bytes_out - before.bytes_out, u64::from(done.out_len));
    assert_eq!(after.dma_faults, before.dma_faults);
    let counted = [
        QueueCounter::Fetched,
        QueueCounter::Completed,
        QueueCounter::Failed,
        QueueCounter::BytesIn,
        QueueCounter::BytesOut,
    ]
    .map(|counter| host.counter(ring.id, counter));
    assert_eq!(counted, [3, 3, 1, 5000, done.out_len]);
}

fn contexts_are_scrubbed(bench: &Bench) {
    let mut host = Host::on(bench, 0);
    let mut ring = host.create(1, 4, false, None);
    host.memory.write(SRC, &text(1000));
    let scrubbed_by = |host: &mut Host, ring: &mut Ring, context: u32| {
        let before = health(host).scrub_cycles;
        let entry = SubmissionEntry {
            context,
            ..host.compress(1, 1000)
        };
        assert_eq!(status(&host.run(ring, &entry)), Status::Success);
        health(host).scrub_cycles - before
    };
    scrubbed_by(&mut host, &mut ring, 1);
    assert_eq!(
        scrubbed_by(&mut host, &mut ring, 1),
        0,
        "scrubs for the same context"
    );
    let cycles = scrubbed_by(&mut host, &mut ring, 2);
    assert!(cycles > 0, "scrubs for another context");
}
