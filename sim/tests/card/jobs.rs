//! Jobs: what engines make of them.

use std::io::Read;

use faam_hwif::regs::CardRegister;
use faam_hwif::{Flags, Opcode, Status, SubmissionEntry, WireFormat};

use crate::host::{ARENA, DST, Bench, SRC, compress, status, text};

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(bytes)
        .read_to_end(&mut out)
        .unwrap();
    out
}

#[test]
fn compressed_data_decodes_to_the_source() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let mut ring = host.create(1, 4, true, None);
    for len in [0, 1, 11, 65_536, 1 << 20] {
        let data = text(len);
        host.arena.write(SRC, &data);
        let done = host.run(&mut ring, &compress(5, len as u32, 2 << 20));
        assert_eq!(status(&done), Status::Success);
        assert_eq!(done.in_len as usize, len);
        assert_eq!(done.crc32, crc32fast::hash(&data));
        assert!(done.cycles as usize >= len);
        let out = host.arena.read(DST, done.out_len as usize);
        assert_eq!(gunzip(&out), data);
    }
    assert_eq!(host.register(CardRegister::ErrorCount), 0);
}

#[test]
fn decompressed_data_is_the_source_again() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let mut ring = host.create(1, 4, true, None);
    let data = text(200_000);
    host.arena.write(SRC, &data);
    for format in [WireFormat::Raw, WireFormat::Zlib, WireFormat::Gzip] {
        host.arena.write(SRC, &data);
        let squeeze = SubmissionEntry {
            format: format as u8,
            ..compress(5, data.len() as u32, 1 << 20)
        };
        let done = host.run(&mut ring, &squeeze);
        let packed = host.arena.read(DST, done.out_len as usize);
        host.arena.write(SRC, &packed);
        let expand = SubmissionEntry {
            op: Opcode::Decompress as u8,
            flags: 0,
            ..squeeze
        };
        let expand = SubmissionEntry {
            src_len: packed.len() as u32,
            ..expand
        };
        let done = host.run(&mut ring, &expand);
        assert_eq!(status(&done), Status::Success, "{format:?}");
        assert_eq!(done.in_len as usize, packed.len());
        assert_eq!(host.arena.read(DST, done.out_len as usize), data);
        assert_eq!(done.crc32, crc32fast::hash(&data));
    }
}

#[test]
fn nothing_is_written_beyond_the_capacity() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let mut ring = host.create(1, 4, true, None);
    let data = text(5000);
    host.arena.write(SRC, &data);
    let done = host.run(&mut ring, &compress(1, 5000, 1 << 20));
    let needed = done.out_len;
    let whole = host.arena.read(DST, needed as usize);
    for cap in (0..needed + 40).step_by(7).chain(needed - 3..needed + 3) {
        let canary = vec![0xA5; needed as usize + 64];
        host.arena.write(DST, &canary);
        let done = host.run(&mut ring, &compress(1, 5000, cap));
        let after = host.arena.read(DST, canary.len());
        if cap < needed {
            assert_eq!(status(&done), Status::OutputFull, "capacity {cap}");
            assert_eq!(after, canary, "capacity {cap}");
        } else {
            assert_eq!(status(&done), Status::Success, "capacity {cap}");
            assert_eq!(after[..needed as usize], whole);
            assert_eq!(after[needed as usize..], canary[needed as usize..]);
        }
    }
}

#[test]
fn entries_that_break_a_rule_are_refused_by_name() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let mut ring = host.create(1, 4, true, None);
    let good = compress(1, 100, 1000);
    let history = Flags(Flags::FINAL.0 | Flags::HIST.0);
    let cases = [
        (SubmissionEntry { op: 0x42, ..good }, Status::InvalidOpcode, 0x00),
        (SubmissionEntry { flags: 0x80, ..good }, Status::InvalidField, 0x01),
        (SubmissionEntry { flags: 0, ..good }, Status::InvalidField, 0x01),
        (SubmissionEntry { format: 3, ..good }, Status::InvalidField, 0x38),
        (SubmissionEntry { level: 3, ..good }, Status::InvalidField, 0x39),
        (SubmissionEntry { table_mode: 2, ..good }, Status::InvalidField, 0x3A),
        (SubmissionEntry { table_mode: 1, ..good }, Status::InvalidField, 0x01),
        (SubmissionEntry { reserved: 1, ..good }, Status::InvalidField, 0x3B),
        (SubmissionEntry { src_len: (1 << 20) + 1, ..good }, Status::InvalidLength, 0x28),
        (SubmissionEntry { flags: history.0, hist_len: 10, ..good }, Status::InvalidField, 0x38),
        (
            SubmissionEntry { flags: history.0, hist_len: 32769, format: 0, ..good },
            Status::InvalidLength,
            0x30,
        ),
        (
            SubmissionEntry { flags: 0x09, table_mode: 1, aux_len: 1023, ..good },
            Status::InvalidLength,
            0x34,
        ),
    ];
    for (entry, expected, info) in cases {
        let done = host.run(&mut ring, &entry);
        assert_eq!((status(&done), done.info), (expected, info), "{entry:?}");
    }
    assert_eq!(status(&host.run(&mut ring, &good)), Status::Success);
    assert_eq!(ARENA % 4096, 0);
}
