//! Jobs: what engines make of them.

use std::io::Read;

use faam_hwif::admin::{AdminCommand, Health, LogPage};
use faam_hwif::completion::INFO_STORED;
use faam_hwif::regs::CardRegister;
use faam_hwif::table::HISTOGRAM_BYTES;
use faam_hwif::{Flags, Iova, Opcode, Status, SubmissionEntry, WireFormat};

use crate::host::{ARENA, AUX, Bench, DST, Host, SCRATCH, SRC, compress, status, text};

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
        (
            SubmissionEntry { op: 0x42, ..good },
            Status::InvalidOpcode,
            0x00,
        ),
        (
            SubmissionEntry {
                flags: 0x80,
                ..good
            },
            Status::InvalidField,
            0x01,
        ),
        (
            SubmissionEntry { flags: 0, ..good },
            Status::InvalidField,
            0x01,
        ),
        (
            SubmissionEntry { format: 3, ..good },
            Status::InvalidField,
            0x38,
        ),
        (
            SubmissionEntry { level: 3, ..good },
            Status::InvalidField,
            0x39,
        ),
        (
            SubmissionEntry {
                table_mode: 2,
                ..good
            },
            Status::InvalidField,
            0x3A,
        ),
        (
            SubmissionEntry {
                table_mode: 1,
                ..good
            },
            Status::InvalidField,
            0x01,
        ),
        (
            SubmissionEntry { slot: 200, ..good },
            Status::InvalidField,
            0x3B,
        ),
        (
            SubmissionEntry {
                src_len: (1 << 20) + 1,
                ..good
            },
            Status::InvalidLength,
            0x28,
        ),
        (
            SubmissionEntry {
                flags: history.0,
                hist_len: 10,
                ..good
            },
            Status::InvalidField,
            0x38,
        ),
        (
            SubmissionEntry {
                flags: history.0,
                hist_len: 32769,
                format: 0,
                ..good
            },
            Status::InvalidLength,
            0x30,
        ),
        (
            SubmissionEntry {
                flags: 0x09,
                table_mode: 1,
                aux_len: 1023,
                ..good
            },
            Status::InvalidLength,
            0x34,
        ),
    ];
    for (entry, expected, info) in cases {
        let done = host.run(&mut ring, &entry);
        assert_eq!((status(&done), done.info), (expected, info), "{entry:?}");
    }
    assert_eq!(status(&host.run(&mut ring, &good)), Status::Success);
}

/// A table block with the fixed code's literal and length lengths (RFC 1951, section 3.2.6), all distances 5 bits, and
/// the packed header that says so.
pub(crate) fn table_block() -> Vec<u8> {
    let litlen: Vec<u8> = (0..286)
        .map(|symbol| match symbol {
            0..144 => 8,
            144..256 => 9,
            256..280 => 7,
            // Symbols 286 and 287 of the fixed code cannot be in a header; these two take over their places.
            280..282 => 7,
            _ => 8,
        })
        .collect();
    // 24 codes of 7 bits, 2 more; 144 + 4 of 8; 112 of 9: the sum over 2^-length must be 1.
    let kraft: u32 = litlen.iter().map(|length| 1 << (15 - length)).sum();
    assert_eq!(kraft, 1 << 15, "the table of this test is no complete code");
    // 30 distances: two of 4 bits, the rest of 5, sum 1.
    let distance: Vec<u8> = (0..30).map(|n| if n < 2 { 4 } else { 5 }).collect();
    let mut bits = Vec::new();
    let mut put = |value: u32, count: u32| {
        bits.extend((0..count).map(|n| value >> n & 1));
    };
    put(286 - 257, 5);
    put(30 - 1, 5);
    put(19 - 4, 4);
    // Code length code: lengths 4, 5, 7, 8, 9 used; 4 bits for 4 and 5 would do, any complete code is fine:
    // 7, 8, 9 with 2 bits, 4 and 5 with 3.
    let order = [
        16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
    ];
    for symbol in order {
        let length = match symbol {
            7..=9 => 2,
            4 | 5 => 3,
            _ => 0,
        };
        put(length, 3);
    }
    for length in litlen.iter().chain(&distance) {
        // Canonical codes: 7 = 00, 8 = 01, 9 = 10; 4 = 110, 5 = 111; sent with the first bit first.
        match length {
            7 => put(0b00, 2),
            8 => put(0b10, 2),
            9 => put(0b01, 2),
            4 => put(0b011, 3),
            _ => put(0b111, 3),
        }
    }
    let mut block = vec![0; 1024];
    block[..286].copy_from_slice(&litlen);
    block[0x120..0x120 + 30].copy_from_slice(&distance);
    block[0x140..0x144].copy_from_slice(&(bits.len() as u32).to_le_bytes());
    for (n, bit) in bits.iter().enumerate() {
        block[0x144 + n / 8] |= (*bit as u8) << (n % 8);
    }
    block
}

#[test]
fn a_loaded_table_is_used_and_a_bad_one_refused() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let mut ring = host.create(1, 4, true, None);
    let data = text(50_000);
    host.arena.write(SRC, &data);
    let mut block = table_block();
    host.arena.write(AUX, &block);
    let entry = SubmissionEntry {
        flags: Flags::FINAL.with(Flags::TABLE).0,
        table_mode: 1,
        level: 2,
        aux: ARENA + AUX,
        aux_len: 1024,
        ..compress(1, 50_000, 1 << 20)
    };
    let done = host.run(&mut ring, &entry);
    assert_eq!(status(&done), Status::Success);
    let out = host.arena.read(DST, done.out_len as usize);
    assert_eq!(out[10] & 0b110, 0b100, "a dynamic block");
    assert_eq!(gunzip(&out), data);
    // `info` is the number of the rule in algorithm.md, section 5.
    let good = block.clone();
    for (at, value, rule) in [
        (0, 16, 1),
        (287, 1, 1),
        (0, 1, 2),
        (0x120, 1, 3),
        (0x143, 1, 1),
    ] {
        block.clone_from(&good);
        block[at] = value;
        host.arena.write(AUX, &block);
        let done = host.run(&mut ring, &entry);
        assert_eq!((status(&done), done.info), (Status::BadTable, rule));
    }
}

#[test]
fn a_count_job_returns_the_symbols_of_the_same_parse() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let mut ring = host.create(1, 4, true, None);
    let data = b"abcabcabcabcabcabcabcabcabcabc";
    host.arena.write(SRC, data);
    host.arena
        .write(AUX, &[0x5A; HISTOGRAM_BYTES as usize + 64]);
    let entry = SubmissionEntry {
        op: Opcode::Count as u8,
        flags: 0,
        aux: ARENA + AUX,
        aux_len: HISTOGRAM_BYTES,
        ..compress(1, data.len() as u32, 0)
    };
    let done = host.run(&mut ring, &entry);
    assert_eq!(status(&done), Status::Success);
    assert_eq!((done.out_len, done.in_len as usize), (0, data.len()));
    let page = host.arena.read(AUX, HISTOGRAM_BYTES as usize + 64);
    let at = |symbol: usize| u32::from_le_bytes(page[symbol * 4..][..4].try_into().unwrap());
    assert_eq!([at(0x61), at(0x62), at(0x63), at(0x100)], [1, 1, 1, 1]);
    let lengths: u32 = (257..286).map(at).sum();
    assert_eq!(lengths, 1, "27 bytes in one match");
    let distances: u32 = (288..318).map(at).sum();
    assert_eq!(distances, 1);
    assert_eq!(
        page[HISTOGRAM_BYTES as usize..],
        [0x5A; 64],
        "and not a byte more"
    );
    let short = SubmissionEntry {
        aux_len: HISTOGRAM_BYTES - 1,
        ..entry
    };
    assert_eq!(status(&host.run(&mut ring, &short)), Status::InvalidLength);
}

#[test]
fn blocks_with_history_join_into_one_stream() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let mut ring = host.create(1, 4, true, None);
    let data = text(90_000);
    host.arena.write(SRC, &data);
    let mut stream = Vec::new();
    for (n, at) in [0u64, 30_000, 60_000].into_iter().enumerate() {
        let history = if n == 0 { 0 } else { 30_000 };
        let end = if n == 2 { Flags::FINAL } else { Flags::SYNC };
        let flags = if n == 0 { end } else { end.with(Flags::HIST) };
        let entry = SubmissionEntry {
            flags: flags.0,
            format: WireFormat::Raw as u8,
            src: ARENA + SRC + at,
            hist: ARENA + SRC + at - history,
            hist_len: history as u32,
            ..compress(1, 30_000, 1 << 20)
        };
        let done = host.run(&mut ring, &entry);
        assert_eq!(status(&done), Status::Success);
        stream.extend(host.arena.read(DST, done.out_len as usize));
    }
    let mut out = Vec::new();
    flate2::read::DeflateDecoder::new(&stream[..])
        .read_to_end(&mut out)
        .unwrap();
    assert_eq!(out, data);
}

#[test]
fn noise_is_stored_and_said_so() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let mut ring = host.create(1, 4, true, None);
    let mut state = 1u64;
    let noise: Vec<u8> = (0..1 << 20)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    host.arena.write(SRC, &noise);
    let done = host.run(&mut ring, &compress(1, 1 << 20, 2 << 20));
    assert_eq!((status(&done), done.info), (Status::Success, INFO_STORED));
    assert!(done.out_len < (1 << 20) + 128);
    assert_eq!(gunzip(&host.arena.read(DST, done.out_len as usize)), noise);
}

fn health(host: &mut Host) -> Health {
    let done = host.admin(&AdminCommand::GetLogPage {
        page: LogPage::Health,
        dst: Iova(ARENA + SCRATCH),
        dst_cap: 64,
    });
    assert_eq!(status(&done), Status::Success);
    let bytes = host.arena.read(SCRATCH, 64);
    Health::from_bytes(&bytes.try_into().unwrap())
}

#[test]
fn scrubbing_is_charged_to_no_job() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let mut ring = host.create(1, 4, true, None);
    host.arena.write(SRC, &text(4000));
    let mut cycles = Vec::new();
    for context in [1, 1, 2, 1] {
        let entry = SubmissionEntry {
            context,
            ..compress(1, 4000, 1 << 20)
        };
        cycles.push(host.run(&mut ring, &entry).cycles);
    }
    cycles.dedup();
    assert_eq!(cycles.len(), 1, "the same job costs the same: {cycles:?}");
    let health = health(&mut host);
    assert_eq!(health.busy_cycles, 4 * u64::from(cycles[0]));
    assert_eq!(health.scrub_cycles, 3 * 8192, "power-on, 1 to 2, 2 to 1");
    assert_eq!(health.bytes_in, 16_000);
}

#[test]
fn the_same_context_number_of_another_client_is_another_context() {
    let bench = Bench::with(|options| options.engines = 1);
    for client in 1..=3 {
        let mut host = bench.host(0);
        let mut ring = host.create(1, 4, true, None);
        host.arena.write(SRC, &text(4000));
        for _ in 0..2 {
            let done = host.run(&mut ring, &compress(1, 4000, 1 << 20));
            assert_eq!(status(&done), Status::Success);
        }
        assert_eq!(health(&mut host).scrub_cycles, client * 8192);
    }
}

#[test]
fn corrupt_and_cut_input_are_told_apart() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let mut ring = host.create(1, 4, true, None);
    let data = text(10_000);
    host.arena.write(SRC, &data);
    let done = host.run(&mut ring, &compress(1, 10_000, 1 << 20));
    let mut packed = host.arena.read(DST, done.out_len as usize);
    let expand = SubmissionEntry {
        op: Opcode::Decompress as u8,
        flags: 0,
        ..compress(1, 0, 1 << 20)
    };
    let mut run = |bytes: &[u8], dst_cap: u32| {
        host.arena.write(SRC, bytes);
        let entry = SubmissionEntry {
            src_len: bytes.len() as u32,
            dst_cap,
            ..expand
        };
        status(&host.run(&mut ring, &entry))
    };
    assert_eq!(run(&packed, 10_000), Status::Success);
    assert_eq!(run(&packed, 9_999), Status::OutputFull);
    assert_eq!(
        run(&packed[..packed.len() - 1], 10_000),
        Status::TruncatedInput
    );
    assert_eq!(run(&[], 10_000), Status::TruncatedInput);
    let last = packed.len() - 6;
    packed[last] ^= 1;
    assert_eq!(run(&packed, 10_000), Status::CorruptInput);
}
