//! The golden entries: committed bytes that this crate and the RTL benches both read.
//!
//! One entry a line, most significant byte first (as `$readmemh` takes a word),
//! after a comment that names it. `FAAM_BLESS=1 cargo test -p faam-hwif` rewrites them,
//! after which the interface uuid changes: run `make regs`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use faam_hwif::admin::{AdminCommand, Feature, LogPage};
use faam_hwif::{
    CardLevel, CommandId, CompletionEntry, Flags, Iova, Opcode, QueueEntries, QueueEpoch, QueueId,
    Status, SubmissionEntry, TableMode, WireFormat,
};
use std::path::Path;

fn submissions() -> Vec<(&'static str, Vec<u8>)> {
    let job = SubmissionEntry {
        op: Opcode::Compress as u8,
        flags: Flags::FINAL.0,
        cid: CommandId::new(3, 1).0,
        context: 0x0102_0304,
        src: 0x1_0000_0000,
        dst: 0x1_0002_0000,
        src_len: 0x2_0000,
        dst_cap: 0x2_0200,
        format: WireFormat::Gzip as u8,
        level: CardLevel::Fast as u8,
        timeout_us: 1_000_000,
        ..SubmissionEntry::default()
    };
    let table = SubmissionEntry {
        flags: Flags::SYNC.with(Flags::HIST).with(Flags::TABLE).0,
        hist: 0x1_0004_0000,
        hist_len: 0x8000,
        aux: 0x1_0006_0000,
        aux_len: 1024,
        format: WireFormat::Raw as u8,
        level: CardLevel::Dense as u8,
        table_mode: TableMode::Loaded as u8,
        ..job
    };
    let count = SubmissionEntry {
        op: Opcode::Count as u8,
        flags: 0,
        aux_len: 1280,
        dst: 0,
        dst_cap: 0,
        ..table
    };
    let decompress = SubmissionEntry {
        op: Opcode::Decompress as u8,
        flags: 0,
        ..job
    };
    let nop = SubmissionEntry {
        op: Opcode::Nop as u8,
        cid: CommandId::new(1023, 63).0,
        ..SubmissionEntry::default()
    };
    let id = CommandId::new(7, 2);
    let create = AdminCommand::CreateQueue {
        queue: QueueId(5),
        entries: QueueEntries::from_log2(6).unwrap(),
        sq: Iova(0x2_0000_0000),
        cq: Iova(0x2_0000_1000),
        shadow: Some(Iova(0x2_0000_2000)),
        vector: Some(5),
        epoch: QueueEpoch(0xBEEF),
    };
    let admin = [
        (
            "identify",
            AdminCommand::Identify {
                dst: Iova(0x3000),
                dst_cap: 256,
            },
        ),
        ("create queue", create),
        (
            "delete queue",
            AdminCommand::DeleteQueue { queue: QueueId(5) },
        ),
        (
            "set features: queue pairs",
            AdminCommand::SetFeatures {
                feature: Feature::QueuePairs,
                value: 2,
            },
        ),
        (
            "abort",
            AdminCommand::Abort {
                queue: QueueId(5),
                command: CommandId::new(3, 1),
            },
        ),
        (
            "get log page: health",
            AdminCommand::GetLogPage {
                page: LogPage::Health,
                dst: Iova(0x3000),
                dst_cap: 64,
            },
        ),
        (
            "download image",
            AdminCommand::DownloadImage {
                src: Iova(0x1_0008_0000),
                bytes: 0x1_0000,
                offset: 0x3_0000,
            },
        ),
        (
            "program slot",
            AdminCommand::ProgramSlot {
                slot: 1,
                bytes: 0x3_4567,
            },
        ),
        ("evict slot", AdminCommand::EvictSlot { slot: 1 }),
        ("activate slot", AdminCommand::ActivateSlot { slot: 1 }),
    ];
    [
        ("compress, gzip, final", job),
        ("compress, loaded table, history", table),
        ("count", count),
        ("decompress", decompress),
        ("nop", nop),
        (
            "compress in slot 1 alone",
            SubmissionEntry { slot: 2, ..job },
        ),
    ]
    .into_iter()
    .chain(admin.map(|(name, command)| (name, command.encode(id))))
    .map(|(name, entry)| (name, entry.to_bytes().to_vec()))
    .collect()
}

fn completions() -> Vec<(&'static str, Vec<u8>)> {
    let done = CompletionEntry {
        out_len: 0x1234,
        in_len: 0x2_0000,
        crc32: 0xCBF4_3926,
        adler32: 0x091E_01DE,
        cycles: 0x2_0100,
        info: 0,
        sq_head: 9,
        cid: CommandId::new(3, 1).0,
        ..CompletionEntry::default()
    };
    [
        (
            "success, phase 1, epoch 0xBEEF",
            done.sealed(Status::Success, true, QueueEpoch(0xBEEF)),
        ),
        (
            "success, phase 0, epoch 0xBEEF",
            done.sealed(Status::Success, false, QueueEpoch(0xBEEF)),
        ),
        (
            "success, phase 1, epoch 0xBEF0",
            done.sealed(Status::Success, true, QueueEpoch(0xBEF0)),
        ),
        (
            "corrupt input at 17, phase 1, epoch 1",
            CompletionEntry {
                out_len: 0,
                info: 17,
                ..done
            }
            .sealed(Status::CorruptInput, true, QueueEpoch(1)),
        ),
        (
            "engine fault, phase 0, epoch 1",
            done.sealed(Status::EngineFault, false, QueueEpoch(1)),
        ),
        (
            "kernel absent, phase 1, epoch 1",
            CompletionEntry {
                cid: CommandId::new(3, 1).0,
                ..CompletionEntry::default()
            }
            .sealed(Status::KernelAbsent, true, QueueEpoch(1)),
        ),
    ]
    .into_iter()
    .map(|(name, entry)| (name, entry.to_bytes().to_vec()))
    .collect()
}

fn check(file: &str, entries: Vec<(&'static str, Vec<u8>)>) {
    let text: String = entries
        .iter()
        .map(|(name, bytes)| {
            let word: String = bytes
                .iter()
                .rev()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            format!("// {name}\n{word}\n")
        })
        .collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(file);
    if std::env::var_os("FAAM_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        committed, text,
        "{file}: the wire format changed; if that is meant, see the head of this file"
    );
}

#[test]
fn submission_entries() {
    check("submission.hex", submissions());
}

#[test]
fn completion_entries() {
    check("completion.hex", completions());
}
