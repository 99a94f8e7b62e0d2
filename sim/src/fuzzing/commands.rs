//! Entries of all queues: what is executed, what is refused, and where the card writes.

#![expect(clippy::panic, reason = "a panic is how a target says what it found")]

use faam_codec::{Decompressor, Limits, Position, Verifier};
use faam_hwif::admin::{AdminCommand, Feature, LogPage};
use faam_hwif::table::{HISTOGRAM_BYTES, TABLE_BYTES};
use faam_hwif::{
    CommandId, CompletionEntry, Flags, Iova, Opcode, QueueId, Status, SubmissionEntry, WireFormat,
};

use super::host::{BASE, DATA, Host, READ_ONLY, Ring, UNSEEN, WRITE_ONLY, place_of};
use super::input::Input;

/// Steps of one input.
const STEPS_MAX: usize = 64;

thread_local! {
    /// One card for all inputs: making one takes longer than most inputs do.
    static HOST: std::cell::RefCell<Host> = std::cell::RefCell::new(Host::new());
}

/// Panics if an entry completes otherwise than once, with a status that there is and lengths within what it gave, if a
/// byte changes that no successful command was to write, or if a compressed block is not one of its source.
///
/// Two bytes a step: what to do and to which queue, then its operands.
pub fn commands(bytes: &[u8]) {
    HOST.with_borrow_mut(|host| run(host, Input::new(bytes)));
}

fn run(host: &mut Host, mut input: Input<'_>) {
    let mut rings = host.begin();
    host.enable(&mut rings[0]);
    let mut bench = Bench {
        host,
        next_id: 0,
        is_strict: true,
    };
    for queue in [1, 2] {
        bench.create(&mut rings, queue);
    }
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        bench.step(&mut rings, &mut input);
    }
    bench.settle(&mut rings);
    bench.host.function.detach().expect("nothing is in flight");
}

struct Bench<'a> {
    host: &'a mut Host,
    next_id: u16,
    /// Nothing has been allowed to write where rings lie, so that every change can be accounted for.
    is_strict: bool,
}

impl Bench<'_> {
    fn step(&mut self, rings: &mut [Ring; 3], input: &mut Input<'_>) {
        let (what, which) = (input.u8(), input.u8());
        let io = 1 + usize::from(which & 1);
        match what % 8 {
            0..=2 => {
                let entry = structured(which >> 1, input);
                self.submit(rings, io, entry);
            }
            3 => {
                let entry = SubmissionEntry::from_bytes(&input.array());
                self.is_strict &= !names_rings(&entry);
                self.submit(rings, io, entry);
            }
            4 => self.admin(rings, which, input),
            5 => {
                let entry = SubmissionEntry::from_bytes(&input.array());
                // A queue of its own, or the end of one: this bench does not follow them.
                let follows = !matches!(
                    AdminCommand::decode(&entry),
                    Ok(AdminCommand::CreateQueue { .. } | AdminCommand::DeleteQueue { .. })
                );
                self.is_strict &= follows && !names_rings(&entry);
                self.submit(rings, 0, entry);
            }
            6 => {
                let at = DATA + usize::from(input.u16()) % (WRITE_ONLY.end - DATA);
                let bytes = input.take(usize::from(which));
                self.host
                    .write(at, bytes.get(..UNSEEN.start - at).unwrap_or(bytes));
            }
            _ if which & 1 == 0 => self.settle(rings),
            _ => {
                // The engine does nothing: there is something to abort, or to delete under.
                self.host.remember();
                self.host.turn();
                let mut completed = Vec::new();
                self.collect(rings, &mut completed);
                self.check_changes(&completed);
            }
        }
    }

    fn submit(&mut self, rings: &mut [Ring; 3], queue: usize, entry: SubmissionEntry) {
        if rings[queue].is_full() {
            self.settle(rings);
        }
        let ring = &mut rings[queue];
        if !ring.lives || ring.is_full() {
            return;
        }
        let entry = SubmissionEntry {
            cid: self.next_id,
            ..entry
        };
        self.next_id = self.next_id.wrapping_add(1);
        self.host.submit(ring, &entry);
    }

    fn create(&mut self, rings: &mut [Ring; 3], queue: usize) {
        let ring = &mut rings[queue];
        self.host.restart(ring);
        let iova = |at: usize| Iova(BASE + at as u64);
        let command = AdminCommand::CreateQueue {
            queue: ring.id,
            entries: ring.entries,
            sq: iova(ring.sq),
            cq: iova(ring.cq),
            shadow: ring.shadow.map(iova),
            vector: None,
            epoch: ring.epoch,
        };
        self.submit(rings, 0, command.encode(CommandId(0)));
        self.settle(rings);
    }

    fn admin(&mut self, rings: &mut [Ring; 3], which: u8, input: &mut Input<'_>) {
        let queue = QueueId(u16::from(which & 3));
        let command = match input.u8() % 7 {
            0 => AdminCommand::Identify {
                dst: place(input),
                dst_cap: length(input),
            },
            1 => AdminCommand::GetLogPage {
                page: LogPage::Errors,
                dst: place(input),
                dst_cap: length(input),
            },
            2 => AdminCommand::GetLogPage {
                page: LogPage::Health,
                dst: place(input),
                dst_cap: length(input),
            },
            3 => AdminCommand::SetFeatures {
                feature: if which & 4 == 0 {
                    Feature::QueuePairs
                } else {
                    Feature::InterruptCoalescing
                },
                value: input.u32(),
            },
            4 => AdminCommand::Abort {
                queue,
                command: CommandId(self.next_id.wrapping_sub(u16::from(input.u8() & 0xF))),
            },
            5 => {
                // What was not completed never will be.
                if let Some(ring) = rings.get_mut(usize::from(queue.0)).filter(|_| queue.0 != 0) {
                    ring.lives = false;
                }
                AdminCommand::DeleteQueue { queue }
            }
            _ => {
                let queue = 1 + usize::from(which & 1);
                if self.is_strict && !rings[queue].lives {
                    self.settle(rings);
                    self.create(rings, queue);
                }
                return;
            }
        };
        self.submit(rings, 0, command.encode(CommandId(0)));
    }

    /// Everything runs to its end; then nothing is outstanding.
    fn settle(&mut self, rings: &mut [Ring; 3]) {
        self.host.remember();
        let before: Vec<_> = rings
            .iter()
            .flat_map(|ring| ring.outstanding.clone())
            .collect();
        self.host.settle();
        let mut completed = Vec::new();
        self.collect(rings, &mut completed);
        if self.is_strict {
            for ring in rings.iter_mut() {
                if !ring.lives {
                    ring.outstanding.clear();
                }
                assert!(
                    ring.outstanding.is_empty(),
                    "never completed: {:?}",
                    ring.outstanding
                );
            }
        }
        self.check_changes(&completed);
        if let ([_], [(entry, completion)]) = (&*before, &*completed)
            && self.is_strict
            && entry.op == Opcode::Compress as u8
        {
            self.check_block(entry, completion);
        }
    }

    /// Takes all completions, each with its entry.
    fn collect(
        &mut self,
        rings: &mut [Ring; 3],
        completed: &mut Vec<(SubmissionEntry, CompletionEntry)>,
    ) {
        if !self.is_strict {
            return;
        }
        for ring in rings {
            while let Some(completion) = self.host.reap(ring) {
                assert!(completion.is_intact(ring.epoch), "{completion:?}");
                let at = ring
                    .outstanding
                    .iter()
                    .position(|entry| entry.cid == completion.cid);
                let at = at.expect("completed twice, or never submitted");
                let entry = ring.outstanding.remove(at);
                let status = Status::from_bits(completion.status_bits());
                assert!(status.is_some(), "{completion:?}");
                if ring.id != QueueId::ADMIN {
                    assert!(completion.out_len <= entry.dst_cap, "{completion:?}");
                    assert!(completion.in_len <= entry.src_len, "{completion:?}");
                }
                completed.push((entry, completion));
            }
        }
    }

    /// Nothing changed but what successful commands were to write, and what belongs to the rings.
    fn check_changes(&mut self, completed: &[(SubmissionEntry, CompletionEntry)]) {
        let is_strict = self.is_strict;
        let written: Vec<_> = completed.iter().filter_map(written).collect();
        for at in self.host.changed() {
            assert!(
                !READ_ONLY.contains(&at) && !UNSEEN.contains(&at),
                "{at:#x} was written without the right"
            );
            let allowed =
                !is_strict || at < DATA || written.iter().any(|range| range.contains(&at));
            assert!(allowed, "{at:#x} was written by nobody: {written:#x?}");
        }
    }

    /// What was compressed is what was there before.
    fn check_block(&mut self, entry: &SubmissionEntry, completion: &CompletionEntry) {
        let has_history = Flags(entry.flags).has(Flags::HIST);
        if completion.status_bits() != Status::Success.bits() || has_history {
            return;
        }
        let length = |bytes: u32| usize::try_from(bytes).unwrap_or(usize::MAX);
        let (Some(src), Some(dst)) = (place_of(Iova(entry.src)), place_of(Iova(entry.dst))) else {
            // Of nothing, or into nothing: an address without a byte behind it.
            assert!(completion.out_len == 0 || entry.src_len == 0, "{entry:?}");
            return;
        };
        let mut block = vec![0; length(completion.out_len)];
        self.host.read(dst, &mut block);
        let data = self
            .host
            .remembered()
            .get(src..src + length(entry.src_len))
            .expect("it was read");
        if !Flags(entry.flags).has(Flags::FINAL) {
            if entry.format == WireFormat::Raw as u8 {
                let verdict = Verifier::new().check_block(&block, Position::Middle, data);
                verdict.expect("a block of its source");
            }
            return;
        }
        let format = match WireFormat::from_bits(entry.format) {
            Some(WireFormat::Raw) => faam_codec::Format::Deflate,
            Some(WireFormat::Zlib) => faam_codec::Format::Zlib,
            Some(WireFormat::Gzip) => faam_codec::Format::Gzip,
            None => panic!("a format that there is not: {entry:?}"),
        };
        let limits = Limits {
            output_bytes_max: 1 << 20,
            ratio_max: u32::MAX,
        };
        let back = Decompressor::new().decompress(&block, Some(format), limits);
        assert!(back.expect("a whole member").data == data, "{entry:?}");
    }
}

/// Where a completed command may have written.
fn written(
    (entry, completion): &(SubmissionEntry, CompletionEntry),
) -> Option<std::ops::Range<usize>> {
    let is_count = entry.op == Opcode::Count as u8 && entry.aux_len >= HISTOGRAM_BYTES;
    let status = Status::from_bits(completion.status_bits());
    let (at, bytes) = match status {
        Some(Status::Success) if is_count && completion.out_len == 0 => {
            (entry.aux, HISTOGRAM_BYTES)
        }
        Some(Status::Success) => (entry.dst, completion.out_len),
        // What comes before the place that could not be written.
        Some(Status::DmaWriteFault) if is_count => (entry.aux, HISTOGRAM_BYTES),
        Some(Status::DmaWriteFault) => (entry.dst, entry.dst_cap),
        _ => return None,
    };
    let at = usize::try_from(at.checked_sub(BASE)?).ok()?;
    Some(at..at.saturating_add(usize::try_from(bytes).ok()?))
}

/// Whether a command is to write where the rings lie.
fn names_rings(entry: &SubmissionEntry) -> bool {
    let touches =
        |at: u64, bytes: u32| at < BASE + DATA as u64 && at.saturating_add(u64::from(bytes)) > BASE;
    touches(entry.dst, entry.dst_cap) || touches(entry.aux, HISTOGRAM_BYTES)
}

fn structured(which: u8, input: &mut Input<'_>) -> SubmissionEntry {
    let op = [
        Opcode::Compress,
        Opcode::Decompress,
        Opcode::Count,
        Opcode::Nop,
    ];
    let op = op[usize::from(which & 3)];
    let [flags, context, kinds] = input.array();
    let (src, src_len) = (place(input).0, length(input));
    let (dst, dst_cap) = (place(input).0, length(input));
    let has = |flag: Flags| Flags(flags).has(flag);
    let (hist, hist_len) = match has(Flags::HIST) {
        true => (place(input).0, length(input)),
        false => (0, 0),
    };
    let (aux, aux_len) = match (op, has(Flags::TABLE)) {
        (Opcode::Count, _) => (place(input).0, HISTOGRAM_BYTES),
        (_, true) => (place(input).0, TABLE_BYTES),
        _ => (0, 0),
    };
    SubmissionEntry {
        op: op as u8,
        flags: flags & 0x0F,
        context: u32::from(context & 3),
        src,
        src_len,
        dst,
        dst_cap,
        hist,
        hist_len,
        aux,
        aux_len,
        format: kinds & 3,
        level: kinds >> 2 & 3,
        table_mode: u8::from(has(Flags::TABLE)),
        ..SubmissionEntry::default()
    }
}

/// An address: mostly of data, of any rights and of none; else one at an edge.
fn place(input: &mut Input<'_>) -> Iova {
    let data = DATA as u64;
    let at = u64::from(input.u16());
    match at {
        0..0xF000 => Iova(BASE + data + at % (0x1_0000 - data)),
        _ => {
            let edges = [
                0,
                BASE + 0xC000 - 1,
                BASE + 0x8000 - 3,
                0xFEE0_0000,
                u64::MAX - 15,
                u64::MAX,
                1 << 48,
                BASE + 0xA000 - 1,
            ];
            let index = usize::try_from(at % edges.len() as u64).unwrap_or(0);
            Iova(edges[index])
        }
    }
}

/// A length: mostly one that fits, else any.
fn length(input: &mut Input<'_>) -> u32 {
    match input.u16() {
        short @ 0..0xF000 => u32::from(short % 0x2000),
        long => u32::from(long) << (long & 0x1F).min(20),
    }
}
