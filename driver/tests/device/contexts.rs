//! One context's data is not another's: nothing of it is left in an engine, in a result, in a history, or in the time that
//! a job is said to have taken.
//!
//! A pattern that nobody knows goes through the card in the jobs of one context. Then jobs of another go through each
//! engine, and all that they could reach is searched. Each search is first shown to find what is there.

use faam_driver::huffman::{Coverage, Histogram, HuffmanTable};
use faam_driver::transport::DmaAccess;
use faam_hwif::admin::LogPage;
use faam_hwif::regs::{CardRegister, QueueCounter, capabilities};
use faam_hwif::table::{HISTOGRAM_BYTES, TABLE_BYTES};
use faam_hwif::{
    CardLevel, CommandId, Flags, Opcode, Status, SubmissionEntry, TableMode, WireFormat,
};
use faam_sim::Fault;

use crate::behaviour::{Behaviour, Mutation, Need};
use crate::carrier::{Bench, until};
use crate::data::{deflate, inflate, noise, noise_of, seed, text};
use crate::host::{ASIDE, AUX, DST, Host, Memory, ROOM, Ring, SRC, status};

pub(crate) const BEHAVIOURS: &[Behaviour] = &[
    Behaviour {
        name: "contexts::nothing_is_left_in_an_engine",
        holds: "Once another context's jobs have gone through each engine, no buffer and no hash table of the card holds anything of the context before.",
        needs: &[
            Need::EngineFaults,
            Need::ContextScrub,
            Need::LoadedTables,
            Need::History,
        ],
        show: nothing_is_left_in_an_engine,
        mutation: Mutation {
            faults: &[Fault::Unscrubbed],
            says: "is left of another context",
        },
    },
    Behaviour {
        name: "contexts::no_result_has_anothers_bytes",
        holds: "Whatever a context's jobs come to, its memory holds nothing of another's data afterwards, behind its results neither.",
        needs: &[Need::ContextScrub, Need::LoadedTables, Need::History],
        show: no_result_has_anothers_bytes,
        mutation: Mutation {
            faults: &[Fault::Unscrubbed, Fault::WritesBeyondRoom],
            says: "another context's bytes",
        },
    },
    Behaviour {
        name: "contexts::history_is_each_ones_own",
        holds: "Streams of two contexts that take turns at an engine each decode by their own history alone, though both have the same data.",
        needs: &[Need::History],
        show: history_is_each_ones_own,
        mutation: Mutation {
            faults: &[Fault::Unscrubbed, Fault::KeepsHistory],
            says: "by its own history alone",
        },
    },
    Behaviour {
        name: "contexts::cycles_do_not_tell_what_ran_before",
        holds: "A job is reported to the cycle alike whatever ran before it: any data, size, level or failure, of its own context or another.",
        needs: &[Need::LoadedTables],
        show: cycles_do_not_tell_what_ran_before,
        mutation: Mutation {
            faults: &[Fault::ChargesForSets],
            says: "cycles of the probe",
        },
    },
];

/// The context whose data must not be found.
const FIRST: u32 = 0xA1;
/// The one whose jobs come after it.
const NEXT: u32 = 0xB2;
/// Bytes of a trace: found by chance in a mebibyte once in 2^108.
const TRACE_BYTES: usize = 16;
/// What stands where a card has nothing to write.
const MARK: u8 = 0xEE;

/// Where a context's data lie in its own memory.
const FIRST_SRC: u64 = 0;
const FIRST_DST: u64 = ROOM;
const FIRST_AUX: u64 = 2 * ROOM;

/// What of this part the card can take.
#[derive(Clone, Copy)]
struct Can {
    decompress: bool,
    be_searched: bool,
}

impl Can {
    /// To be asked before function 0 is opened.
    fn of(bench: &Bench) -> Self {
        Self {
            decompress: bench.meets(Need::Decompress),
            be_searched: bench.meets(Need::EngineFaults),
        }
    }
}

/// Bytes by which data are known again, and what they are of.
struct Trace {
    of: String,
    bytes: Vec<u8>,
}

impl Trace {
    /// The most varied stretch of these bytes.
    fn of(of: &str, bytes: &[u8]) -> Self {
        let varied = |stretch: &&[u8]| {
            let mut values = stretch.to_vec();
            values.sort_unstable();
            values.dedup();
            values.len()
        };
        let bytes = bytes.windows(TRACE_BYTES).max_by_key(varied).unwrap();
        assert!(varied(&bytes) >= 6, "{of} has no stretch to be known by");
        Self {
            of: of.to_owned(),
            bytes: bytes.to_vec(),
        }
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        bytes
            .windows(TRACE_BYTES)
            .any(|stretch| stretch == self.bytes)
    }
}

/// A compress job on `memory`, with source and destination where that context has them.
fn job_of_first(memory: &Memory, id: u16, len: usize) -> SubmissionEntry {
    SubmissionEntry {
        op: Opcode::Compress as u8,
        flags: Flags::FINAL.0,
        cid: id,
        context: FIRST,
        src: memory.at(FIRST_SRC),
        src_len: u32::try_from(len).unwrap(),
        dst: memory.at(FIRST_DST),
        dst_cap: ROOM as u32,
        format: WireFormat::Raw as u8,
        ..SubmissionEntry::default()
    }
}

fn with_table(entry: SubmissionEntry, at: u64) -> SubmissionEntry {
    SubmissionEntry {
        flags: Flags::FINAL.with(Flags::TABLE).0,
        aux: at,
        aux_len: TABLE_BYTES,
        table_mode: TableMode::Loaded as u8,
        level: CardLevel::Dense as u8,
        ..entry
    }
}

fn decompressing(entry: SubmissionEntry, format: WireFormat) -> SubmissionEntry {
    SubmissionEntry {
        op: Opcode::Decompress as u8,
        flags: 0,
        format: format as u8,
        ..entry
    }
}

/// The table block for a histogram.
fn table_of(histogram: &[u8]) -> [u8; TABLE_BYTES as usize] {
    let mut block = [0; TABLE_BYTES as usize];
    let histogram = Histogram::from_bytes(histogram).unwrap();
    HuffmanTable::build(&histogram, Coverage::Whole).write_to(&mut block);
    block
}

/// Runs jobs of every kind in the first context, each with data of its own, those that fail among them. Returns what they
/// can be known by; each was found in the card just after its job, where a card can be searched.
fn run_first(bench: &Bench, can: Can, host: &Host, ring: &mut Ring, memory: &Memory) -> Vec<Trace> {
    let seed = seed();
    let mut secrets = 0;
    // Words with a pattern of their own among them, and 4 KiB that do not compress.
    let mut secret = || {
        secrets += 1;
        let pattern = noise_of(seed.wrapping_add(secrets * 0x1_0001), TRACE_BYTES);
        let words = text(12_000);
        let mut bytes: Vec<u8> = words
            .chunks(200)
            .flat_map(|words| [&pattern, words].concat())
            .collect();
        bytes.extend(noise_of(seed ^ secrets, 4096));
        (pattern, bytes)
    };
    let mut traces = Vec::new();
    let mut note = |trace: Trace| {
        if !can.be_searched {
            traces.push(trace);
            return;
        }
        let found = bench.faults().find(0, &trace.bytes);
        let mut places = found.split(' ').filter(|place| !place.starts_with("sets:"));
        assert!(
            places.any(|place| place != "nothing"),
            "{} is not found where it must be: {found}",
            trace.of
        );
        traces.push(trace);
    };
    let mut run = |what: &str, entry: &SubmissionEntry, expected: Status| {
        let done = host.run(ring, entry);
        assert_eq!(status(&done), expected, "{what}");
        memory.read(FIRST_DST, done.out_len as usize)
    };
    for level in [CardLevel::Fast, CardLevel::Balanced, CardLevel::Dense] {
        for (name, format) in [("raw", WireFormat::Raw), ("gzip", WireFormat::Gzip)] {
            let (pattern, input) = secret();
            memory.write(FIRST_SRC, &input);
            let entry = SubmissionEntry {
                level: level as u8,
                format: format as u8,
                ..job_of_first(memory, 1, input.len())
            };
            let what = format!("{level:?} {name}");
            let output = run(&what, &entry, Status::Success);
            note(Trace::of(&format!("the input of {what}"), &pattern));
            note(Trace::of(&format!("the output of {what}"), &output));
        }
    }
    // What does not compress is stored, and stands in the output as it is.
    let stored = noise_of(!seed, 9000);
    memory.write(FIRST_SRC, &stored);
    run("stored", &job_of_first(memory, 2, 9000), Status::Success);
    note(Trace::of("what was stored", &stored));
    // Counted, then coded with the table of that.
    let (pattern, input) = secret();
    memory.write(FIRST_SRC, &input);
    let count = SubmissionEntry {
        op: Opcode::Count as u8,
        flags: 0,
        aux: memory.at(FIRST_AUX),
        aux_len: HISTOGRAM_BYTES,
        level: CardLevel::Dense as u8,
        ..job_of_first(memory, 3, input.len())
    };
    run("count", &count, Status::Success);
    let histogram = memory.read(FIRST_AUX, HISTOGRAM_BYTES as usize);
    note(Trace::of("a histogram", &histogram));
    let table = table_of(&histogram);
    memory.write(FIRST_AUX, &table);
    let entry = with_table(job_of_first(memory, 4, input.len()), memory.at(FIRST_AUX));
    let output = run("with a table", &entry, Status::Success);
    note(Trace::of("the input of a job with a table", &pattern));
    note(Trace::of("a table", &table));
    note(Trace::of("the output of a job with a table", &output));
    // With history, which has data of its own.
    let (pattern, history) = secret();
    memory.write(FIRST_AUX, &history);
    let entry = SubmissionEntry {
        flags: Flags::FINAL.with(Flags::HIST).0,
        hist: memory.at(FIRST_AUX),
        hist_len: u32::try_from(history.len()).unwrap(),
        level: CardLevel::Balanced as u8,
        ..job_of_first(memory, 5, input.len())
    };
    run("with history", &entry, Status::Success);
    note(Trace::of("a history", &pattern));
    // Those that fail leave no less behind.
    let (pattern, input) = secret();
    memory.write(FIRST_SRC, &input);
    let entry = SubmissionEntry {
        dst_cap: 1000,
        ..job_of_first(memory, 6, input.len())
    };
    run("without room", &entry, Status::OutputFull);
    note(Trace::of("the input of a job without room", &pattern));
    let (pattern, input) = secret();
    for (what, cut, flip, expected) in [
        ("truncated", 3, 0, Status::TruncatedInput),
        ("corrupt", 0, 0xFF, Status::CorruptInput),
    ]
    .into_iter()
    .filter(|_| can.decompress)
    {
        let mut stream = deflate(WireFormat::Gzip, &input);
        stream.truncate(stream.len() - cut);
        // The CRC-32, RFC 1952, section 2.3.1.
        let at = stream.len() - 8 + cut;
        stream[at] ^= flip;
        memory.write(FIRST_SRC, &stream);
        let entry = job_of_first(memory, 7, stream.len());
        run(what, &decompressing(entry, WireFormat::Gzip), expected);
        note(Trace::of(
            &format!("what was decoded of {what} data"),
            &pattern,
        ));
        note(Trace::of(&format!("{what} data"), &stream));
    }
    let entry = SubmissionEntry {
        dst: ASIDE.0 - 64 * ROOM,
        ..job_of_first(memory, 8, input.len())
    };
    memory.write(FIRST_SRC, &input);
    run("without a destination", &entry, Status::DmaWriteFault);
    note(Trace::of(
        "the input of a job without a destination",
        &pattern,
    ));
    if !can.decompress {
        return traces;
    }
    // The last: an output that is nothing but a pattern, so that any stretch of it is known.
    let (pattern, _) = secret();
    let stream = deflate(WireFormat::Zlib, &pattern.repeat(4000));
    memory.write(FIRST_SRC, &stream);
    let entry = job_of_first(memory, 9, stream.len());
    run(
        "decompress",
        &decompressing(entry, WireFormat::Zlib),
        Status::Success,
    );
    note(Trace::of("what was decoded", &pattern));
    traces
}

/// Has each engine of function 0 run this job at least once: engines that hang hold one each.
fn through_each_engine(bench: &Bench, host: &Host, ring: &mut Ring, entry: &SubmissionEntry) {
    let engines = capabilities::Engines(host.register(CardRegister::CapabilitiesEngines));
    let jobs = engines.count() * engines.jobs_each_max() + 1;
    let fetched = || host.counter(ring.id, QueueCounter::Fetched);
    let before = fetched();
    bench.faults().hang_after(0, 0);
    let mut tail = ring.clone();
    for n in 0..jobs {
        let cid = CommandId::new(n as u16, 0).0;
        host.submit(&mut tail, &SubmissionEntry { cid, ..*entry });
    }
    // The last one is fetched only when there was a place for the one before, and so an engine for the first.
    until(bench.patience(), "the engines are full", || {
        fetched().wrapping_sub(before) == jobs
    });
    *ring = tail;
    bench.faults().resume(0);
    for _ in 0..jobs {
        host.next(ring);
    }
    host.retire(ring);
}

/// Jobs of the next context: what they are, and a source, room and level for each. All are of a kind that could show what
/// was in an engine before: some fail, some have no data.
fn jobs_of_next(can: Can, host: &Host) -> Vec<(&'static str, Vec<u8>, SubmissionEntry)> {
    let input = text(5000);
    let gzip = deflate(WireFormat::Gzip, &input);
    let mut corrupt = gzip.clone();
    corrupt[gzip.len() / 2] ^= 0x55;
    // RFC 1951: a block of the fixed code whose first symbol is a match of length 258 at distance 32768.
    let beyond = [0x1B, 0xBD, 0xFF, 0x1F, 0x00];
    let job = |len: usize| SubmissionEntry {
        context: NEXT,
        ..host.compress(1, len)
    };
    let unpack = |len, room, format| {
        let entry = SubmissionEntry {
            dst_cap: room,
            ..job(len)
        };
        decompressing(entry, format)
    };
    let room = |dst_cap| SubmissionEntry {
        dst_cap,
        ..job(input.len())
    };
    let gz = WireFormat::Gzip;
    let mut jobs = vec![
        ("nothing", Vec::new(), job(0)),
        ("a byte", vec![7], job(1)),
        ("a text", input.clone(), job(input.len())),
        ("a text without room", input.clone(), room(0)),
        ("a text with little room", input.clone(), room(100)),
        ("noise without room", noise(5000), room(1000)),
        ("gzip", gzip.clone(), unpack(gzip.len(), 5000, gz)),
        (
            "gzip without room",
            gzip.clone(),
            unpack(gzip.len(), 4999, gz),
        ),
        (
            "half of gzip",
            gzip.clone(),
            unpack(gzip.len() / 2, 8000, gz),
        ),
        (
            "corrupt gzip",
            corrupt.clone(),
            unpack(corrupt.len(), 8000, gz),
        ),
        (
            "a reference to before the beginning",
            beyond.to_vec(),
            unpack(beyond.len(), 8000, WireFormat::Raw),
        ),
    ];
    jobs.retain(|(_, _, entry)| can.decompress || entry.op != Opcode::Decompress as u8);
    jobs
}

fn nothing_is_left_in_an_engine(bench: &Bench) {
    let can = Can::of(bench);
    let mut host = Host::on(bench, 0);
    let mut ring = host.create(1, 4, false, None);
    let memory = Memory::new(3 * ROOM, ASIDE);
    memory.map(&host.transport, DmaAccess::ReadWrite);
    let traces = run_first(bench, can, &host, &mut ring, &memory);
    // The last job has no data: what is left then is another's.
    for (_, source, entry) in jobs_of_next(can, &host).iter().rev() {
        host.memory.write(SRC, source);
        through_each_engine(bench, &host, &mut ring, entry);
    }
    host.log_page(LogPage::Errors);
    for function in [0, 1] {
        for trace in &traces {
            let found = bench.faults().find(function, &trace.bytes);
            // The other function of a card that lives long has had jobs of its own, and its tables hold their positions.
            let is_own = |place: &&str| function != 1 || !place.starts_with("sets:");
            let found: Vec<_> = found.split(' ').filter(is_own).collect();
            assert!(
                found.is_empty() || found == ["nothing"],
                "{} is left of another context, in function {function}: {found:?}",
                trace.of
            );
        }
    }
}

fn no_result_has_anothers_bytes(bench: &Bench) {
    let can = Can::of(bench);
    let mut host = Host::on(bench, 0);
    let mut ring = host.create(1, 4, false, None);
    let memory = Memory::new(3 * ROOM, ASIDE);
    memory.map(&host.transport, DmaAccess::ReadWrite);
    for n in 0..jobs_of_next(can, &host).len() {
        // Each job is the first after the other context's.
        let traces = run_first(bench, can, &host, &mut ring, &memory);
        let (what, source, entry) = jobs_of_next(can, &host).swap_remove(n);
        host.memory.write(SRC, &source);
        host.memory.write(DST, &vec![MARK; ROOM as usize]);
        host.memory.write(AUX, &vec![MARK; ROOM as usize]);
        let done = host.run(&mut ring, &entry);
        // Whatever a card can tell besides: it is all read into the same memory.
        host.health_page();
        host.log_page(LogPage::Errors);
        let all = host.memory.all();
        for trace in &traces {
            assert!(
                !trace.is_in(&all),
                "another context's bytes, {}, after {what}",
                trace.of
            );
        }
        let written = done.out_len as usize;
        let room = host.memory.read(DST, ROOM as usize);
        let behind = &room[written.max(entry.dst_cap as usize).min(room.len())..];
        assert!(
            behind.iter().all(|byte| *byte == MARK),
            "bytes behind the room of {what}"
        );
        let aux = host.memory.read(AUX, ROOM as usize);
        assert!(aux.iter().all(|byte| *byte == MARK), "aux of {what}");
    }
}

fn history_is_each_ones_own(bench: &Bench) {
    let mut host = Host::on(bench, 0);
    let mut ring = host.create(1, 4, false, None);
    // Noise: only a history makes anything of it shorter.
    let blocks: Vec<_> = (1..=6).map(|n| noise_of(n * 7919, 6000)).collect();
    let mut histories = [noise_of(11, 6000), noise_of(13, 6000)];
    for (n, block) in blocks.iter().enumerate() {
        let other = histories[0].clone();
        for (of, context) in [FIRST, NEXT].into_iter().enumerate() {
            let history = histories[of].clone();
            // The second has every other block without a history, and then it is what the first has just had as its own.
            // Else it is the first's block again, which is in neither history.
            let alone = of == 1 && n % 2 == 1;
            let block = if alone { &other } else { block };
            host.memory.write(SRC, block);
            host.memory.write(AUX, &history);
            let entry = SubmissionEntry {
                context,
                level: CardLevel::Balanced as u8,
                ..host.compress(1, block.len())
            };
            let entry = match alone {
                true => entry,
                false => SubmissionEntry {
                    flags: Flags::FINAL.with(Flags::HIST).0,
                    hist: host.memory.at(AUX),
                    hist_len: u32::try_from(history.len()).unwrap(),
                    ..entry
                },
            };
            let done = host.run(&mut ring, &entry);
            assert_eq!(status(&done), Status::Success);
            let output = host.memory.read(DST, done.out_len as usize);
            let (stream, expected) = match alone {
                true => (output, block.clone()),
                false => (
                    [stored(&history), output].concat(),
                    [history.as_slice(), block].concat(),
                ),
            };
            assert!(
                inflate(WireFormat::Raw, &stream).as_ref() == Some(&expected),
                "block {n} of context {context:#x} does not decode by its own history alone"
            );
            histories[of].clone_from(block);
        }
        // From now on they differ.
        histories[1].reverse();
    }
}

/// Bytes as a stored block that is not the last (RFC 1951, section 3.2.4).
fn stored(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    let head = [length.to_le_bytes(), (!length).to_le_bytes()].concat();
    [&[0][..], &head, bytes].concat()
}

/// What may have run before a probe: what it is, its data, and what its entry has instead of the usual.
type Before = (
    &'static str,
    Vec<u8>,
    fn(SubmissionEntry) -> SubmissionEntry,
);

fn cycles_do_not_tell_what_ran_before(bench: &Bench) {
    let unpacks = bench.meets(Need::Decompress);
    let mut host = Host::on(bench, 0);
    let mut ring = host.create(1, 4, false, None);
    let memory = Memory::new(3 * ROOM, ASIDE);
    memory.map(&host.transport, DmaAccess::ReadWrite);
    // Probes: every command and level, with a table of their own.
    let input = text(6000);
    let stream = deflate(WireFormat::Gzip, &input);
    host.memory.write(SRC, &input);
    let probe = SubmissionEntry {
        context: NEXT,
        ..host.compress(1, input.len())
    };
    let count = SubmissionEntry {
        op: Opcode::Count as u8,
        flags: 0,
        aux: host.memory.at(AUX),
        aux_len: HISTOGRAM_BYTES,
        level: CardLevel::Dense as u8,
        ..probe
    };
    assert_eq!(status(&host.run(&mut ring, &count)), Status::Success);
    let histogram = host.memory.read(AUX, HISTOGRAM_BYTES as usize);
    let table_at = AUX + 0x1000;
    host.memory.write(table_at, &table_of(&histogram));
    let stream_at = AUX + 0x2000;
    host.memory.write(stream_at, &stream);
    let unpack = SubmissionEntry {
        src: host.memory.at(stream_at),
        src_len: u32::try_from(stream.len()).unwrap(),
        ..decompressing(probe, WireFormat::Gzip)
    };
    let level = |level: CardLevel| SubmissionEntry {
        level: level as u8,
        ..probe
    };
    let mut probes = vec![
        ("fast", probe),
        ("balanced", level(CardLevel::Balanced)),
        ("with a table", with_table(probe, host.memory.at(table_at))),
        ("count", count),
    ];
    probes.extend(unpacks.then_some(("decompress", unpack)));
    let cycles_of = |host: &Host, ring: &mut Ring, what: &str, entry: &SubmissionEntry| {
        let done = host.run(ring, entry);
        assert_eq!(status(&done), Status::Success, "{what}");
        done.cycles
    };
    let measure = |host: &Host, ring: &mut Ring| -> Vec<u32> {
        let each = probes.iter();
        each.map(|(what, entry)| cycles_of(host, ring, what, entry))
            .collect()
    };
    // After an empty job, which leaves nothing in a hash table.
    let nothing = SubmissionEntry {
        src_len: 0,
        ..probe
    };
    let mut expected = Vec::new();
    for (what, entry) in &probes {
        host.run(&mut ring, &nothing);
        expected.push(cycles_of(&host, &mut ring, what, entry));
    }
    println!("cycles of the probes: {expected:?}");
    let same: fn(SubmissionEntry) -> SubmissionEntry = |entry| entry;
    let four_ways = |entry| SubmissionEntry {
        level: CardLevel::Balanced as u8,
        ..entry
    };
    let large = usize::try_from(ROOM).unwrap() - 4096;
    let seed = seed();
    let befores: [Before; 9] = [
        ("nothing", Vec::new(), same),
        ("a byte", vec![1], same),
        ("zeros", vec![0; large], same),
        ("zeros, four ways", vec![0; large], four_ways),
        ("a text, four ways", text(large), four_ways),
        ("noise, one way", noise_of(seed, large), same),
        ("noise, four ways", noise_of(!seed, large), four_ways),
        ("no room", noise_of(seed ^ 1, 3000), |entry| {
            SubmissionEntry {
                dst_cap: 10,
                ..entry
            }
        }),
        ("corrupt data", noise_of(seed ^ 2, 3000), |entry| {
            decompressing(entry, WireFormat::Gzip)
        }),
    ];
    for context in [FIRST, NEXT] {
        for (what, data, change) in &befores {
            memory.write(FIRST_SRC, data);
            let entry = SubmissionEntry {
                context,
                ..change(job_of_first(&memory, 2, data.len()))
            };
            host.run(&mut ring, &entry);
            let cycles = measure(&host, &mut ring);
            assert_eq!(
                cycles, expected,
                "cycles of the probe after {what} of context {context:#x}"
            );
        }
    }
}
