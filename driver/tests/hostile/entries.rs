//! Submission entries and data that are nearly right.

use std::io::Read;

use faam_hwif::admin::{AdminCommand, Feature, LogPage};
use faam_hwif::submission::SUBMISSION_BYTES;
use faam_hwif::{
    CommandId, Flags, Iova, Opcode, QueueEntries, QueueEpoch, QueueId, SubmissionEntry,
};

use crate::random::Random;

/// Where a round's own memory is mapped, and how much there is of it.
pub(crate) const MEMORY: u64 = 0x1_0000_0000;
pub(crate) const MEMORY_BYTES: u64 = 4 << 20;
/// Where its rings are: a stride a queue, of submissions, completions and a shadow page.
pub(crate) const RING_STRIDE: u64 = 0x4000;
pub(crate) const COMPLETIONS: u64 = 0x2000;
pub(crate) const SHADOW: u64 = 0x3000;
/// Queues that it makes, the admin queue among them.
pub(crate) const QUEUES: u64 = 5;
/// Where its data begin.
pub(crate) const DATA: u64 = RING_STRIDE * QUEUES;
/// Entries of its rings, as a power of two: a page of submissions.
pub(crate) const ENTRIES_LOG2: u8 = 6;

/// An address: most often among the data.
fn address(random: &mut Random) -> u64 {
    match random.below(24) {
        0 => random.edge(),
        1 => MEMORY + MEMORY_BYTES - random.below(64),
        2 => MEMORY.wrapping_sub(random.below(4096)),
        3 => MEMORY + random.below(DATA),
        4 => 0xFEE0_0000 + random.below(1 << 20),
        _ => MEMORY + DATA + random.below(MEMORY_BYTES - DATA),
    }
}

fn length(random: &mut Random) -> u32 {
    match random.below(12) {
        0 => random.edge() as u32,
        1 => 0,
        2 => 1 << 20,
        3 => (1 << 20) + 1,
        4 => 32_768 + random.below(3) as u32,
        5 => 1024,
        6 => 1280,
        _ => random.below(100_000) as u32,
    }
}

/// A command for an I/O queue.
pub(crate) fn io(random: &mut Random) -> [u8; SUBMISSION_BYTES] {
    let op = random.pick(&[
        Opcode::Nop,
        Opcode::Compress,
        Opcode::Compress,
        Opcode::Compress,
        Opcode::Decompress,
        Opcode::Decompress,
        Opcode::Count,
    ]);
    let flags = match op {
        Opcode::Compress => random.pick(&[
            Flags::FINAL,
            Flags::SYNC,
            Flags::FINAL.with(Flags::HIST),
            Flags::FINAL.with(Flags::TABLE),
            Flags::SYNC.with(Flags::HIST).with(Flags::TABLE),
        ]),
        _ => Flags(0),
    };
    let table = flags.has(Flags::TABLE);
    let entry = SubmissionEntry {
        op: op as u8,
        flags: flags.0,
        cid: random.next() as u16,
        context: random.below(4) as u32,
        src: address(random),
        src_len: length(random),
        dst: address(random),
        dst_cap: length(random),
        hist: address(random),
        hist_len: 1 + random.below(32_768) as u32,
        aux: address(random),
        aux_len: if table { 1024 } else { 1280 },
        format: random.below(3) as u8,
        level: random.below(3) as u8,
        table_mode: u8::from(table),
        timeout_us: random.pick(&[0, 0, 1, 50, 1000, u32::MAX]),
        ..SubmissionEntry::default()
    };
    nearly(random, entry.to_bytes())
}

/// A command for the admin queue.
pub(crate) fn admin(random: &mut Random) -> [u8; SUBMISSION_BYTES] {
    let queue = QueueId(random.below(QUEUES + 1) as u16);
    let command = match random.below(12) {
        0 => AdminCommand::Identify {
            dst: Iova(address(random)),
            dst_cap: length(random),
        },
        1 => AdminCommand::DeleteQueue { queue },
        2 => AdminCommand::SetFeatures {
            feature: Feature::QueuePairs,
            value: random.edge() as u32,
        },
        3 => AdminCommand::Abort {
            queue,
            command: CommandId(random.next() as u16),
        },
        4 => AdminCommand::GetLogPage {
            page: random.pick(&[LogPage::Errors, LogPage::Health]),
            dst: Iova(address(random)),
            dst_cap: length(random),
        },
        _ => create(random, queue),
    };
    let id = CommandId(random.next() as u16);
    nearly(random, command.encode(id).to_bytes())
}

/// The command that makes a queue where its ring is.
pub(crate) fn create(random: &mut Random, queue: QueueId) -> AdminCommand {
    let base = MEMORY + u64::from(queue.0) * RING_STRIDE;
    AdminCommand::CreateQueue {
        queue,
        entries: QueueEntries::from_log2(ENTRIES_LOG2).unwrap(),
        sq: Iova(base),
        cq: Iova(base + COMPLETIONS),
        shadow: random.one_in(2).then_some(Iova(base + SHADOW)),
        vector: random.pick(&[None, Some(0), Some(1), Some(3)]),
        epoch: QueueEpoch(random.next() as u16),
    }
}

/// As it is, mostly; else with a byte or two that are any.
fn nearly(random: &mut Random, mut entry: [u8; SUBMISSION_BYTES]) -> [u8; SUBMISSION_BYTES] {
    if random.one_in(4) {
        for _ in 0..=random.below(2) {
            entry[random.below(SUBMISSION_BYTES as u64) as usize] = random.next() as u8;
        }
    }
    entry
}

/// Data for a job: words, noise, zeros, or a stream, whole or spoilt.
pub(crate) fn data(random: &mut Random) -> Vec<u8> {
    let bytes = random.pick(&[0usize, 1, 100, 5000, 70_000]);
    let words = || {
        b"ring card queue arena "
            .iter()
            .copied()
            .cycle()
            .take(bytes)
    };
    match random.below(6) {
        0 => random.bytes(bytes),
        1 => vec![0; bytes],
        2 => words().collect(),
        kind => {
            let plain: Vec<u8> = match kind {
                3 => words().collect(),
                _ => random.bytes(bytes),
            };
            let mut stream = Vec::new();
            let level = flate2::Compression::new(random.below(10) as u32);
            match random.below(3) {
                0 => flate2::read::DeflateEncoder::new(&plain[..], level).read_to_end(&mut stream),
                1 => flate2::read::ZlibEncoder::new(&plain[..], level).read_to_end(&mut stream),
                _ => flate2::read::GzEncoder::new(&plain[..], level).read_to_end(&mut stream),
            }
            .unwrap();
            if random.one_in(2) {
                let at = random.below(stream.len() as u64) as usize;
                stream[at] ^= random.next() as u8;
            }
            stream
        }
    }
}
