//! What every job must hold, checked with two decoders that share no code with the model.

mod cases;
mod reference;

use std::io::Read;

use proptest::prelude::*;

use self::cases::{Case, case, complete_code, complete_table, noise, table_block, words};
use self::reference::{Reference, Refusal, Token};
use super::*;

const FAST: Params = Params {
    hash_bits: 13,
    ways: 1,
    lazy: true,
};

const FOUR_WAYS: Params = Params { ways: 4, ..FAST };

fn job(src: &[u8]) -> Job<'_> {
    Job {
        src,
        history: &[],
        params: FAST,
        format: Format::Raw,
        last: true,
        sync: false,
        tables: Tables::Fixed,
    }
}

/// Runs a job into more room than any job needs.
fn run(engine: &mut Engine, job: &Job<'_>) -> (Report, Vec<u8>) {
    let mut dst = vec![0xa5; job.src.len() * 2 + 2048];
    let report = engine.compress(job, &mut dst).unwrap();
    dst.truncate(report.out_len);
    (report, dst)
}

/// A stored block of the history, in front of a raw body, is how a decoder without dictionaries learns it.
fn behind_history(history: &[u8], body: &[u8], last: bool) -> Vec<u8> {
    let mut whole = vec![0];
    let len = u16::try_from(history.len()).unwrap();
    whole.extend(len.to_le_bytes());
    whole.extend((!len).to_le_bytes());
    whole.extend(history);
    whole.extend(body);
    if !last {
        whole.extend([1, 0, 0, 0xff, 0xff]);
    }
    whole
}

/// Decodes with zlib-rs and with libdeflate; both must agree on the bytes and take the whole of the output.
fn decode(job: &Job<'_>, out: &[u8]) -> Vec<u8> {
    let whole_len = job.history.len() + job.src.len();
    let mut by_libdeflate = vec![0; whole_len];
    let mut by_zlib = Vec::new();
    let mut libdeflate = libdeflater::Decompressor::new();
    match job.format {
        Format::Raw => {
            let whole = behind_history(job.history, out, job.last);
            let mut reader = flate2::bufread::DeflateDecoder::new(&whole[..]);
            reader.read_to_end(&mut by_zlib).unwrap();
            assert_eq!(
                reader.total_in(),
                whole.len() as u64,
                "bytes behind the end"
            );
            let got = libdeflate
                .deflate_decompress(&whole, &mut by_libdeflate)
                .unwrap();
            assert_eq!(got, whole_len);
        }
        Format::Zlib if job.last => {
            let mut reader = flate2::bufread::ZlibDecoder::new(out);
            reader.read_to_end(&mut by_zlib).unwrap();
            assert_eq!(reader.total_in(), out.len() as u64, "bytes behind the end");
            let got = libdeflate.zlib_decompress(out, &mut by_libdeflate).unwrap();
            assert_eq!(got, whole_len);
        }
        Format::Gzip if job.last => {
            let mut reader = flate2::bufread::GzDecoder::new(out);
            reader.read_to_end(&mut by_zlib).unwrap();
            assert!(reader.into_inner().is_empty(), "bytes behind the end");
            let got = libdeflate.gzip_decompress(out, &mut by_libdeflate).unwrap();
            assert_eq!(got, whole_len);
        }
        Format::Zlib => {
            assert_eq!(out[..2], [0x78, 0x01]);
            let raw = Job {
                format: Format::Raw,
                ..*job
            };
            return decode(&raw, &out[2..]);
        }
        Format::Gzip => {
            assert_eq!(out[..3], [0x1f, 0x8b, 8]);
            let raw = Job {
                format: Format::Raw,
                ..*job
            };
            return decode(&raw, &out[10..]);
        }
    }
    assert!(by_zlib == by_libdeflate, "the decoders disagree");
    by_zlib.split_off(job.history.len())
}

fn check(engine: &mut Engine, job: &Job<'_>) -> (Report, Vec<u8>) {
    let (report, out) = run(engine, job);
    assert!(decode(job, &out) == job.src, "decoded to other bytes");
    assert_eq!(report.crc32, libdeflater::crc32(job.src));
    assert_eq!(report.adler32, libdeflater::adler32(job.src));
    (report, out)
}

#[test]
fn the_shortest_jobs_have_known_bytes() {
    let mut engine = Engine::new();
    assert_eq!(check(&mut engine, &job(b"")).1, [0x03, 0x00]);
    assert_eq!(check(&mut engine, &job(b"a")).1, [0x4b, 0x04, 0x00]);
    let sync = Job {
        last: false,
        sync: true,
        ..job(b"")
    };
    assert_eq!(check(&mut engine, &sync).1, [0x02, 0, 0, 0, 0xff, 0xff]);
}

#[test]
fn short_jobs_of_every_kind_decode() {
    let mut engine = Engine::new();
    for len in [
        0, 1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 255, 256, 257, 258, 259, 260, 263,
    ] {
        for src in [vec![0; len], noise(len, 7), words(len, 7)] {
            for format in [Format::Raw, Format::Zlib, Format::Gzip] {
                for last in [true, false] {
                    let job = Job {
                        format,
                        last,
                        sync: !last,
                        ..job(&src)
                    };
                    check(&mut engine, &job);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_model_is_the_prose(case in case(3000)) {
        case.compare(&mut Engine::new(), &mut Reference::new(), 8192);
    }

    #[test]
    fn room_decides_whether_there_is_output_never_which(case in case(200), capacity in 0usize..700) {
        case.compare(&mut Engine::new(), &mut Reference::new(), capacity);
    }

    #[test]
    fn a_count_is_of_the_symbols_that_are_coded(case in case(2000)) {
        let (histogram, cycles) = Engine::new()
            .count(&case.src, &case.history, case.params)
            .unwrap();
        let tokens = Reference::new().tokens(&case.history, &case.src, case.params);
        let literals = tokens.iter().filter(|token| matches!(token, Token::Literal(_))).count();
        let matches = tokens.len() - literals;
        let sum = |counts: &[u32]| counts.iter().map(|count| *count as usize).sum::<usize>();
        prop_assert_eq!(sum(&histogram.litlen[..256]), literals);
        prop_assert_eq!(histogram.litlen[256], 1);
        prop_assert_eq!(sum(&histogram.litlen[257..]), matches);
        prop_assert_eq!(sum(&histogram.distance), matches);
        prop_assert_eq!(cycles, 64 + 320 + (case.history.len() + case.src.len()) as u64);
    }

    #[test]
    fn no_table_block_is_more_than_refused(block in prop::collection::vec(any::<u8>(), 0..1100)) {
        prop_assert!(LoadedTable::parse(&block).is_err());
    }

    #[test]
    fn a_code_length_changed_is_found(shape in prop::collection::vec(any::<u8>(), 1..32), slot in 0usize..320, length in any::<u8>()) {
        let (mut block, _) = complete_table(&shape);
        prop_assume!(block[slot] != length);
        block[slot] = length;
        prop_assert!(LoadedTable::parse(&block).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn engines_that_ran_other_jobs_come_to_the_same(cases in prop::collection::vec(case(600), 1..12)) {
        let (mut engine, mut reference) = (Engine::new(), Reference::new());
        for case in cases {
            case.compare(&mut engine, &mut reference, 4096);
            case.compare(&mut Engine::new(), &mut Reference::new(), 4096);
        }
    }
}

#[test]
fn every_room_from_none_to_enough() {
    let sources = [words(300, 3), noise(300, 3), vec![], vec![9; 1000]];
    for (src, format) in sources
        .iter()
        .flat_map(|src| [Format::Raw, Format::Zlib, Format::Gzip].map(|format| (src, format)))
    {
        for last in [true, false] {
            let job = Job {
                format,
                last,
                sync: true,
                ..job(src)
            };
            let mut engine = Engine::new();
            let (report, whole) = check(&mut engine, &job);
            for capacity in 0..whole.len() + 3 {
                let mut dst = vec![0xa5; whole.len() + 64];
                let result = engine.compress(&job, &mut dst[..capacity]);
                if capacity < whole.len() {
                    assert_eq!(result, Err(Fault::OutputFull { capacity }));
                } else {
                    assert_eq!(result, Ok(report));
                    assert!(dst[..report.out_len] == whole);
                }
                assert!(dst[capacity..].iter().all(|byte| *byte == 0xa5));
            }
        }
    }
}

#[test]
fn long_inputs_wrap_positions_and_match_the_prose() {
    // Three times round the 16-bit positions, with words so rare that entries outlive a round.
    let mut src = words(200_000, 11);
    src.extend(noise(30_000, 5));
    src.extend_from_within(..20_000);
    for ways in 1..=WAYS_MAX {
        for hash_bits in [HASH_BITS_MIN, HASH_BITS_MAX] {
            let case = Case {
                src: src.clone(),
                history: words(32768, 11),
                params: Params {
                    hash_bits,
                    ways,
                    lazy: true,
                },
                format: Format::Raw,
                last: false,
                table: None,
            };
            case.compare(&mut Engine::new(), &mut Reference::new(), 1 << 18);
        }
    }
}

#[test]
fn the_largest_job_decodes() {
    let history = words(HISTORY_BYTES_MAX, 1);
    for src in [
        words(INPUT_BYTES_MAX, 2),
        noise(INPUT_BYTES_MAX, 2),
        vec![0; INPUT_BYTES_MAX],
    ] {
        let job = Job {
            history: &history,
            ..job(&src)
        };
        let (report, _) = run(&mut Engine::new(), &job);
        assert_eq!(report.stored, src == noise(INPUT_BYTES_MAX, 2));
        let without = Job {
            history: &[],
            format: Format::Gzip,
            ..job
        };
        check(&mut Engine::new(), &without);
        // libdeflate and zlib-rs learn the history from one stored block of at most 65535 bytes.
        check(&mut Engine::new(), &job);
    }
}

#[test]
fn incompressible_input_grows_by_stored_headers_alone() {
    let src = noise(65536, 99);
    let gzip = Job {
        format: Format::Gzip,
        ..job(&src)
    };
    let (report, out) = check(&mut Engine::new(), &gzip);
    assert!(report.stored);
    assert_eq!(out.len(), 65536 + 2 * 5 + 18);
    assert_eq!(report.cycles, CYCLES_PER_JOB + 2 * 65536);
}

#[test]
fn zeros_take_the_longest_matches() {
    let src = vec![0; 65536];
    let (report, out) = check(&mut Engine::new(), &job(&src));
    assert!(!report.stored);
    // One literal, then 254 matches of 258 at distance 1, 8 + 5 bits each, and what is left.
    assert!(out.len() < 65536 / 258 * 13 / 8 + 8, "{}", out.len());
}

#[test]
fn history_is_matched_up_to_the_distance_limit() {
    let secret = noise(64, 77);
    for (gap, found) in [(32744 - 64, true), (32745 - 64, false)] {
        let mut history = secret.clone();
        history.resize(64 + gap, 0);
        let job = Job {
            history: &history,
            ..job(&secret)
        };
        let (_, out) = check(&mut Engine::new(), &job);
        assert_eq!(out.len() < 16, found, "distance {}", 64 + gap);
    }
}

#[test]
fn a_match_of_32_bytes_is_taken_at_once_and_one_of_31_given_up_for_a_longer() {
    let text = noise(48, 31);
    for (first, literals, matches) in [(31, 1, 1), (32, 0, 2), (33, 0, 2)] {
        // The text's beginning, cut short, and all of it but its first byte: the longer match begins a byte later.
        let history = [&text[..first], b"\0", &text[1..], b"\0"].concat();
        let (histogram, _) = Engine::new().count(&text, &history, FOUR_WAYS).unwrap();
        let sum = |counts: &[u32]| counts.iter().sum::<u32>();
        assert_eq!(sum(&histogram.litlen[..256]), literals, "{first}");
        assert_eq!(sum(&histogram.distance), matches, "{first}");
    }
}

#[test]
fn a_probe_job_is_the_same_whatever_ran_before() {
    let probe_src = words(5000, 21);
    let probe = Job {
        params: Params { ways: 4, ..FAST },
        ..job(&probe_src)
    };
    let expected = run(&mut Engine::new(), &probe);
    let mut engine = Engine::new();
    let long = words(300_000, 21);
    run(
        &mut engine,
        &Job {
            params: FOUR_WAYS,
            ..job(&long)
        },
    );
    assert_eq!(run(&mut engine, &probe), expected);
    // More jobs than any 16-bit epoch counts.
    let mut dst = [0; 64];
    for _ in 0..70_000u32 {
        engine
            .compress(
                &Job {
                    params: FOUR_WAYS,
                    ..job(&probe_src[..8])
                },
                &mut dst,
            )
            .unwrap();
    }
    assert_eq!(run(&mut engine, &probe), expected);
    assert_eq!(
        engine.compress(&probe, &mut [0; 3]),
        Err(Fault::OutputFull { capacity: 3 })
    );
    assert_eq!(run(&mut engine, &probe), expected);
    engine.scrub();
    assert_eq!(run(&mut engine, &probe), expected);
    // The reference's epochs of 8 bits run out here.
    let mut reference = Reference::new();
    let first = reference.tokens(&[], &probe_src, FOUR_WAYS);
    for _ in 0..600 {
        reference.tokens(&[], &long[..64], FOUR_WAYS);
    }
    assert!(reference.tokens(&[], &probe_src, FOUR_WAYS) == first);
}

#[test]
fn a_symbol_without_a_code_ends_the_job() {
    // Literals below 128, end-of-block and no distance at all.
    let symbols: Vec<usize> = (0..128).chain([256]).collect();
    let (block, code) = table_block(complete_code(288, &symbols, &[1, 200, 30]), vec![0; 32]);
    let table = LoadedTable::parse(&block).unwrap();
    let mut engine = Engine::new();
    let mut dst = vec![0; 4096];
    for (src, coded) in [
        (&b"abcdefghijklm"[..], true),
        (b"", true),
        (b"abc\x80def", false),
        (b"abcdabcdabcd", false),
    ] {
        let job = Job {
            tables: Tables::Loaded(&table),
            ..job(src)
        };
        let theirs = Reference::new().compress(&[], src, FAST, Format::Raw, true, &code, 4096);
        assert_eq!(theirs.is_ok(), coded);
        match engine.compress(&job, &mut dst) {
            Ok(report) => assert!(dst[..report.out_len] == theirs.unwrap().out),
            Err(fault) => assert_eq!((fault, theirs), (Fault::TableMiss, Err(Refusal::TableMiss))),
        }
        // Missing a symbol goes before lacking room, and before storing.
        if !coded {
            assert_eq!(engine.compress(&job, &mut []), Err(Fault::TableMiss));
        }
    }
}

#[test]
fn tables_that_are_no_codes_are_refused() {
    let (good, _) = complete_table(&[5, 80, 3]);
    assert!(LoadedTable::parse(&good).is_ok());
    let refused = |at: usize, bytes: &[u8]| {
        let mut block = good.clone();
        block[at..at + bytes.len()].copy_from_slice(bytes);
        LoadedTable::parse(&block).unwrap_err()
    };
    assert_eq!(
        LoadedTable::parse(&good[..1023]).unwrap_err(),
        BadTable::Size { got: 1023 }
    );
    assert!(
        matches!(refused(0, &[1, 1, 1]), BadTable::Kraft { alphabet: Alphabet::Litlen, sum } if sum > 32768)
    );
    assert!(
        matches!(refused(0, &[0]), BadTable::Kraft { alphabet: Alphabet::Litlen, sum } if sum < 32768)
    );
    assert!(matches!(
        refused(0x120, &[0]),
        BadTable::Kraft {
            alphabet: Alphabet::Distance,
            ..
        }
    ));
    assert!(matches!(
        refused(7, &[16]),
        BadTable::Length {
            symbol: 7,
            length: 16,
            ..
        }
    ));
    assert!(matches!(
        refused(286, &[1]),
        BadTable::Reserved { slot: 286, .. }
    ));
    assert!(matches!(
        refused(0x120 + 31, &[1]),
        BadTable::Reserved { slot: 31, .. }
    ));
    assert_eq!(
        refused(0x140, &5601u32.to_le_bytes()),
        BadTable::Header { bits: 5601 }
    );
    assert_eq!(
        refused(0x140, &[0xff; 4]),
        BadTable::Header { bits: u32::MAX }
    );
    let without_end: Vec<usize> = (0..256).collect();
    let (block, _) = table_block(complete_code(288, &without_end, &[0]), vec![0; 32]);
    assert_eq!(
        LoadedTable::parse(&block).unwrap_err(),
        BadTable::NoEndOfBlock
    );
    // The two incomplete distance codes that RFC 1951 allows, and one that it does not.
    let symbols: Vec<usize> = (0..257).collect();
    let litlen = complete_code(288, &symbols, &[9]);
    for (lengths, is_good) in [
        (vec![], true),
        (vec![1], true),
        (vec![2], false),
        (vec![2, 2], false),
    ] {
        let mut distance = lengths.clone();
        distance.resize(32, 0);
        let (block, _) = table_block(litlen.clone(), distance);
        assert_eq!(LoadedTable::parse(&block).is_ok(), is_good, "{lengths:?}");
    }
}

#[test]
fn jobs_out_of_range_are_refused() {
    let mut engine = Engine::new();
    let mut dst = [0; 64];
    let long = vec![0; INPUT_BYTES_MAX + 1];
    let mut fault = |job: Job<'_>| engine.compress(&job, &mut dst).unwrap_err();
    assert_eq!(
        fault(job(&long)),
        Fault::InputTooLong {
            got: INPUT_BYTES_MAX + 1
        }
    );
    let history = &long[..=HISTORY_BYTES_MAX];
    assert_eq!(
        fault(Job {
            history,
            ..job(b"a")
        }),
        Fault::HistoryTooLong { got: 32769 }
    );
    let framed = Job {
        history: b"a",
        format: Format::Gzip,
        ..job(b"a")
    };
    assert_eq!(
        fault(framed),
        Fault::HistoryInFrame {
            format: Format::Gzip
        }
    );
    assert_eq!(
        fault(Job {
            last: false,
            ..job(b"a")
        }),
        Fault::NoEnd
    );
    for (hash_bits, ways) in [
        (7, 1),
        (14, 1),
        (u32::MAX, 1),
        (13, 0),
        (13, 5),
        (13, usize::MAX),
    ] {
        let params = Params {
            hash_bits,
            ways,
            lazy: true,
        };
        assert_eq!(
            fault(Job {
                params,
                ..job(b"a")
            }),
            Fault::BadParams { params }
        );
        assert!(engine_count_refuses(params));
    }
}

fn engine_count_refuses(params: Params) -> bool {
    Engine::new().count(b"abc", &[], params).is_err()
}
