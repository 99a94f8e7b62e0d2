//! Jobs with random data, lengths, addresses, formats and tables, each compared with the functional model to the byte.
//!
//! Owns what a job is and what must come of it. The model is asked for the result; where it lies, what is around it, and in
//! which order it came to be there is looked at here.

use faam_driver::huffman::{Coverage, Histogram, HuffmanTable};
use faam_hwif::completion::INFO_STORED;
use faam_hwif::table::{HISTOGRAM_BYTES, TABLE_BYTES};
use faam_hwif::{
    CardLevel, CompletionEntry, Flags, Opcode, Status, SubmissionEntry, TableMode, WireFormat,
};
use faam_sim::model::{Engine, Fault, Format, Job as ModelJob, LoadedTable, Params, Tables};
use fastrand::Rng;

use crate::host::{DATA, Host, Ring, status};
use crate::memory::Touch;

/// Bytes on each side of a destination that nobody may touch.
pub(crate) const MARGIN: usize = 256;
/// What they hold.
pub(crate) const MARK: u8 = 0xA5;
/// Where each kind of memory lies: data of jobs of up to 2^20 bytes.
pub(crate) const SRC: u64 = DATA;
pub(crate) const HISTORY: u64 = DATA + 0x11_0000;
pub(crate) const AUX: u64 = DATA + 0x12_0000;
pub(crate) const DST: u64 = DATA + 0x13_0000;

/// Memory of a job of several that are under way, how many there are, and the most source that one has room for.
const PLACE: u64 = 0x6_0000;
pub(crate) const PLACES: u64 = 8;
pub(crate) const PLACE_BYTES_MAX: usize = 0xC000;

/// Bytes as programs and people make them, and as nobody does.
pub(crate) fn data(random: &mut Rng, bytes: usize) -> Vec<u8> {
    let words = [
        "request", "card", "queue", "block", "fence", "arena", "tenant", "0", "\n",
    ];
    let mut out = Vec::with_capacity(bytes + 300);
    while out.len() < bytes {
        match random.u8(..8) {
            0 => {
                for _ in 0..random.usize(1..200) {
                    out.push(random.u8(..));
                }
            }
            1 => {
                let byte = random.u8(..);
                out.extend(std::iter::repeat_n(byte, random.usize(1..400)));
            }
            2 if !out.is_empty() => {
                let from = random.usize(..out.len());
                for n in 0..random.usize(1..300) {
                    out.push(out[from + n]);
                }
            }
            _ => {
                for _ in 0..random.usize(1..20) {
                    out.extend(words[random.usize(..words.len())].bytes());
                    out.push(b' ');
                }
            }
        }
    }
    out.truncate(bytes);
    out
}

/// A length up to `max`, short ones and round ones as often as others.
fn length(random: &mut Rng, max: usize) -> usize {
    match random.u8(..6) {
        0 => random.usize(..=max.min(8)),
        1 => random.usize(..=max.min(300)),
        2 => (1usize << random.u32(..=max.max(1).ilog2())).saturating_sub(random.usize(..2)),
        _ => random.usize(..=max),
    }
}

/// A job and everything that it is about.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) entry: SubmissionEntry,
    pub(crate) src: Vec<u8>,
    history: Vec<u8>,
    table: Option<[u8; TABLE_BYTES as usize]>,
}

/// What a job must come to.
#[derive(Debug, PartialEq, Eq)]
struct Expected {
    status: Status,
    output: Vec<u8>,
    crc32: u32,
    adler32: u32,
    in_len: u32,
    stored: bool,
}

pub(crate) fn params(entry: &SubmissionEntry) -> Params {
    let fast = entry.level == CardLevel::Fast as u8;
    Params {
        hash_bits: 13,
        ways: if fast { 1 } else { 4 },
        lazy: true,
    }
}

impl Job {
    /// A job that is well formed, of up to `max` bytes.
    pub(crate) fn random(random: &mut Rng, max: usize) -> Self {
        let len = length(random, max);
        let src = data(random, len);
        let counts = random.u8(..5) == 0;
        let format = match random.u8(..3) {
            0 => WireFormat::Raw,
            1 => WireFormat::Zlib,
            _ => WireFormat::Gzip,
        };
        let history = match (counts || format == WireFormat::Raw) && random.bool() {
            true => {
                let len = length(random, 1 << 15).max(1);
                data(random, len)
            }
            false => Vec::new(),
        };
        let level = [CardLevel::Fast, CardLevel::Balanced, CardLevel::Dense][random.usize(..3)];
        let mut entry = SubmissionEntry {
            op: if counts {
                Opcode::Count
            } else {
                Opcode::Compress
            } as u8,
            cid: random.u16(..),
            context: random.u32(..4),
            // On any byte.
            src: SRC + random.u64(..64),
            dst: DST + MARGIN as u64 + random.u64(..64),
            hist: HISTORY + random.u64(..64),
            aux: AUX + random.u64(..64),
            src_len: u32::try_from(src.len()).expect("small"),
            hist_len: u32::try_from(history.len()).expect("small"),
            format: if counts { 0 } else { format as u8 },
            level: level as u8,
            ..SubmissionEntry::default()
        };
        if !history.is_empty() {
            entry.flags |= Flags::HIST.0;
        }
        let mut table = None;
        if counts {
            entry.aux_len = HISTOGRAM_BYTES;
        } else {
            entry.flags |= [Flags::FINAL.0, Flags::SYNC.0, 3][random.usize(..3)];
            entry.dst_cap = u32::try_from(src.len() * 2 + 700).expect("small");
            if random.bool() {
                entry.flags |= Flags::TABLE.0;
                entry.table_mode = TableMode::Loaded as u8;
                entry.aux_len = TABLE_BYTES;
                table = Some(table_for(random, &src));
            }
        }
        let mut job = Self {
            entry,
            src,
            history,
            table,
        };
        // Sometimes there is just enough room, or a byte less, or any.
        if !counts && random.u8(..3) == 0 {
            let whole = u32::try_from(job.expected().output.len()).expect("small");
            job.entry.dst_cap = match random.u8(..3) {
                0 => whole,
                1 => whole.saturating_sub(1),
                _ => random.u32(..=whole),
            };
        }
        job
    }

    /// A job of so many bytes that compresses with the fixed code, always the same one.
    pub(crate) fn plain(bytes: usize) -> Self {
        let mut job = Self::random(&mut Rng::with_seed(2), 10);
        job.src = data(&mut Rng::with_seed(3), bytes);
        (job.history, job.table) = (Vec::new(), None);
        job.entry = SubmissionEntry {
            op: Opcode::Compress as u8,
            flags: Flags::FINAL.0,
            src_len: u32::try_from(bytes).expect("small"),
            dst_cap: u32::try_from(2 * bytes + 2000).expect("small"),
            hist_len: 0,
            aux_len: 0,
            table_mode: 0,
            ..job.entry
        };
        job
    }

    /// The model's answer.
    fn expected(&self) -> Expected {
        let entry = &self.entry;
        let mut engine = Engine::new();
        let failed = |status| Expected {
            status,
            output: Vec::new(),
            crc32: 0,
            adler32: 0,
            in_len: 0,
            stored: false,
        };
        if entry.op == Opcode::Count as u8 {
            let counted = engine.count(&self.src, &self.history, params(entry));
            let (histogram, _) = counted.expect("a count job has nothing that fails");
            return Expected {
                output: histogram.to_bytes().to_vec(),
                in_len: entry.src_len,
                ..failed(Status::Success)
            };
        }
        let loaded = match self.table.as_ref().map(|table| LoadedTable::parse(table)) {
            Some(Err(_)) => return failed(Status::BadTable),
            Some(Ok(table)) => Some(table),
            None => None,
        };
        let flags = Flags(entry.flags);
        let job = ModelJob {
            src: &self.src,
            history: &self.history,
            params: params(entry),
            format: match entry.format {
                0 => Format::Raw,
                1 => Format::Zlib,
                _ => Format::Gzip,
            },
            last: flags.has(Flags::FINAL),
            sync: flags.has(Flags::SYNC),
            tables: loaded.as_ref().map_or(Tables::Fixed, Tables::Loaded),
        };
        let mut output = vec![0; entry.dst_cap as usize];
        match engine.compress(&job, &mut output) {
            Ok(report) => {
                output.truncate(report.out_len);
                Expected {
                    status: Status::Success,
                    output,
                    crc32: report.crc32,
                    adler32: report.adler32,
                    in_len: entry.src_len,
                    stored: report.stored,
                }
            }
            Err(Fault::OutputFull { .. }) => failed(Status::OutputFull),
            Err(Fault::TableMiss) => failed(Status::TableMiss),
            Err(other) => panic!("the model refuses a well formed job: {other}"),
        }
    }

    /// Where its result goes, and how much of it there may be.
    pub(crate) fn room(&self) -> (u64, usize) {
        match self.entry.op == Opcode::Count as u8 {
            true => (self.entry.aux, HISTOGRAM_BYTES as usize),
            false => (self.entry.dst, self.entry.dst_cap as usize),
        }
    }

    /// Puts its data where they belong, with marks around its room.
    pub(crate) fn place(&self, host: &mut Host) {
        let memory = &mut host.memory;
        memory.put(self.entry.src, &self.src);
        memory.put(self.entry.hist, &self.history);
        let (at, room) = self.room();
        memory.put(at - MARGIN as u64, &vec![MARK; room + 2 * MARGIN]);
        if let Some(table) = &self.table {
            memory.put(self.entry.aux, table);
        }
    }

    /// Runs it, and compares everything.
    pub(crate) fn check(&self, host: &mut Host, ring: &mut Ring) -> CompletionEntry {
        self.place(host);
        let begun = host.memory.log.len();
        let completion = ring.completion(ring.head);
        let done = host.run(ring, &self.entry);
        self.judge(host, &done);
        let (at, room) = self.room();
        check_order(&host.memory.log[begun..], completion, at..at + room as u64);
        done
    }

    /// Compares what it came to with the model, and looks at what is around its room.
    pub(crate) fn judge(&self, host: &Host, done: &CompletionEntry) {
        let expected = self.expected();
        let about = format!("{:?}", self.entry);
        assert_eq!(status(done), expected.status, "{about}");
        let (at, room) = self.room();
        if expected.status == Status::Success {
            let output = host.memory.get(at, expected.output.len());
            assert!(
                output == expected.output,
                "other bytes than the model's: {about}"
            );
            assert_eq!(done.info == INFO_STORED, expected.stored, "stored: {about}");
        }
        // A count job's histogram has a length of its own.
        let out_len = match self.entry.op == Opcode::Count as u8 {
            true => 0,
            false => expected.output.len(),
        };
        let told = (done.out_len as usize, done.in_len, done.crc32, done.adler32);
        let wanted = (out_len, expected.in_len, expected.crc32, expected.adler32);
        assert_eq!(told, wanted, "out_len, in_len, crc32, adler32: {about}");
        for (what, from) in [("before", at - MARGIN as u64), ("behind", at + room as u64)] {
            let margin = host.memory.get(from, MARGIN);
            assert!(
                margin.iter().all(|byte| *byte == MARK),
                "bytes {what} its room: {about}"
            );
        }
    }

    /// The same job in memory of its own, so that several can be under way: each kind of data keeps its place within a word.
    pub(crate) fn in_place(mut self, place: u64) -> Self {
        assert!(place < PLACES && self.src.len() <= PLACE_BYTES_MAX);
        let first = DATA + place * PLACE;
        let entry = &mut self.entry;
        entry.src = first + entry.src % 64;
        entry.hist = first + PLACE_BYTES_MAX as u64 + 64 + entry.hist % 64;
        entry.aux = first + 0x1_8000 + MARGIN as u64 + entry.aux % 64;
        entry.dst = first + 0x2_0000 + MARGIN as u64 + entry.dst % 64;
        assert!(entry.dst + u64::from(entry.dst_cap) + MARGIN as u64 <= first + PLACE);
        self
    }
}

/// A table for this data, or nearly.
fn table_for(random: &mut Rng, src: &[u8]) -> [u8; TABLE_BYTES as usize] {
    let params = Params {
        hash_bits: 13,
        ways: 4,
        lazy: true,
    };
    // Sometimes of other data: all symbols have a code nonetheless.
    let of = if random.bool() {
        src
    } else {
        &src[..src.len() / 3]
    };
    let counted = Engine::new().count(of, &[], params).expect("counted").0;
    let histogram = Histogram::from_bytes(&counted.to_bytes()).expect("a histogram");
    let mut block = [0; TABLE_BYTES as usize];
    HuffmanTable::build(&histogram, Coverage::Sample).write_to(&mut block);
    match random.u8(..12) {
        // Any table that is none.
        0 => block[random.usize(..0x140)] ^= 1 << random.u8(..4),
        // One that lacks a code: two of the longest make one a bit shorter, and the other goes.
        1 => {
            let longest = block[..286].iter().copied().max().unwrap_or(0);
            let mut of_it = (0..256).filter(|symbol| block[*symbol] == longest);
            if let (Some(one), Some(two)) = (of_it.next(), of_it.next()) {
                block[one] -= 1;
                block[two] = 0;
            }
        }
        _ => {}
    }
    block
}

/// The order of a command's accesses: results first, answered, then the completion but for its last word, answered, then
/// that word.
pub(crate) fn check_order(log: &[Touch], completion: u64, room: std::ops::Range<u64>) {
    let writes: Vec<_> = log
        .iter()
        .enumerate()
        .filter_map(|(n, touch)| match touch {
            Touch::Write { at, unanswered } => Some((n, at.clone(), *unanswered)),
            Touch::Read(_) | Touch::Refused(_) | Touch::Interrupt(_) => None,
        })
        .collect();
    let (word, body) = (
        completion + 28..completion + 32,
        completion..completion + 28,
    );
    let at = |wanted: &std::ops::Range<u64>| {
        let mut found = writes.iter().filter(|(_, at, _)| at == wanted);
        match (found.next(), found.next()) {
            (Some(one), None) => one.clone(),
            (one, two) => panic!("{wanted:?} is written {one:?} and {two:?}: {log:?}"),
        }
    };
    let (word_at, _, before_word) = at(&word);
    let (body_at, _, before_body) = at(&body);
    assert!(body_at < word_at, "the phase word comes last");
    assert_eq!(before_word, 0, "the phase word comes behind an answer");
    assert_eq!(
        before_body, 0,
        "the completion comes behind the results' answers"
    );
    for (n, at, _) in &writes {
        if *n == word_at || *n == body_at {
            continue;
        }
        assert!(*n < body_at, "{at:?} is written after the completion");
        assert!(
            room.start <= at.start && at.end <= room.end,
            "{at:?} is outside the room {room:?}"
        );
    }
}
