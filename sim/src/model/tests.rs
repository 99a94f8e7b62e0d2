//! What every job must hold, checked with two decoders that share no code with the model.

mod reference;

use std::io::Read;

use proptest::prelude::*;

use self::reference::{Code, Reference, Refusal, Token};
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

/// Reproducible bytes, incompressible (xorshift64*).
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut x = seed | 1;
    (0..len)
        .map(|_| {
            x ^= x >> 12;
            x ^= x << 25;
            x ^= x >> 27;
            (x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
        })
        .collect()
}

/// Reproducible prose-like bytes with repeats at many distances.
fn words(len: usize, seed: u64) -> Vec<u8> {
    let dictionary = noise(4096, seed);
    let choices = noise(len, seed ^ 0xffff);
    let mut text = Vec::with_capacity(len + 32);
    for pair in choices.as_chunks::<2>().0 {
        let from = usize::from(pair[0]) * 15;
        let to = from + 1 + usize::from(pair[1] % 19);
        text.extend(dictionary[from..to].iter().map(|byte| byte % 26 + b'a'));
        if text.len() >= len {
            break;
        }
    }
    text.truncate(len);
    text
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

/// Code lengths of a complete prefix code for `symbols`, shaped by `shape`: leaves are split until there are enough.
fn complete_code(slots: usize, symbols: &[usize], shape: &[u8]) -> Vec<u8> {
    let mut leaves = vec![1u8, 1];
    let mut turn = 0;
    while leaves.len() < symbols.len() {
        let from = usize::from(shape[turn % shape.len()]) * 7 + turn;
        turn += 1;
        let splittable: Vec<usize> = (0..leaves.len())
            .filter(|leaf| leaves[*leaf] < 15)
            .collect();
        let leaf = splittable[from % splittable.len()];
        leaves[leaf] += 1;
        leaves.push(leaves[leaf]);
    }
    let mut lengths = vec![0; slots];
    for (symbol, length) in symbols.iter().zip(leaves) {
        lengths[*symbol] = length;
    }
    lengths
}

/// The header of a dynamic block, its code lengths coded with four bits each and no repeats.
fn plain_header(litlen: &[u8], distance: &[u8]) -> Vec<bool> {
    let mut bits = Vec::new();
    let mut put = |value: usize, count: usize| {
        bits.extend((0..count).map(|bit| value >> bit & 1 == 1));
    };
    put(286 - 257, 5);
    put(30 - 1, 5);
    put(19 - 4, 4);
    for symbol in [
        16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
    ] {
        put(if symbol < 16 { 4 } else { 0 }, 3);
    }
    for length in litlen[..286].iter().chain(&distance[..30]) {
        put(usize::from(length.reverse_bits() >> 4), 4);
    }
    bits
}

/// A table block and the same table for the reference.
fn table_block(litlen: Vec<u8>, distance: Vec<u8>) -> (Vec<u8>, Code) {
    let header = plain_header(&litlen, &distance);
    let mut block = litlen.clone();
    block.extend(&distance);
    block.extend(u32::try_from(header.len()).unwrap().to_le_bytes());
    block.extend(header.chunks(8).map(|byte| {
        (0..byte.len())
            .map(|bit| u8::from(byte[bit]) << bit)
            .sum::<u8>()
    }));
    block.resize(1024, 0);
    let code = Code {
        litlen,
        distance,
        header: Some(header),
    };
    (block, code)
}

fn complete_table(shape: &[u8]) -> (Vec<u8>, Code) {
    let all: Vec<usize> = (0..286).collect();
    table_block(
        complete_code(288, &all, shape),
        complete_code(32, &all[..30], shape),
    )
}

/// Inputs with matches of many kinds: few symbols, words, runs, noise, and repeats of themselves.
fn input(len_max: usize) -> impl Strategy<Value = Vec<u8>> {
    let few = (1u8..8, prop::collection::vec(any::<u8>(), 0..len_max))
        .prop_map(|(symbols, bytes)| bytes.iter().map(|byte| byte % symbols).collect::<Vec<u8>>());
    let text = (0..len_max, any::<u64>()).prop_map(|(len, seed)| words(len, seed));
    let random = prop::collection::vec(any::<u8>(), 0..len_max);
    let runs = prop::collection::vec((any::<u8>(), 0usize..600), 0..8).prop_map(move |runs| {
        let mut bytes: Vec<u8> = runs
            .iter()
            .flat_map(|(byte, len)| vec![*byte; *len])
            .collect();
        bytes.truncate(len_max);
        bytes
    });
    let twice =
        prop::collection::vec(any::<u8>(), 0..len_max / 2).prop_map(|bytes| bytes.repeat(2));
    prop_oneof![few, text, random, runs, twice]
}

fn params() -> impl Strategy<Value = Params> {
    (HASH_BITS_MIN..=HASH_BITS_MAX, 1..=WAYS_MAX, any::<bool>()).prop_map(
        |(hash_bits, ways, lazy)| Params {
            hash_bits,
            ways,
            lazy,
        },
    )
}

fn format() -> impl Strategy<Value = Format> {
    prop_oneof![Just(Format::Raw), Just(Format::Zlib), Just(Format::Gzip)]
}

/// Everything of one job, owned.
#[derive(Debug, Clone)]
struct Case {
    src: Vec<u8>,
    history: Vec<u8>,
    params: Params,
    format: Format,
    last: bool,
    /// Shape of a complete table, if it is not the fixed code.
    table: Option<Vec<u8>>,
}

fn case(len_max: usize) -> impl Strategy<Value = Case> {
    let shape = prop::option::of(prop::collection::vec(any::<u8>(), 1..64));
    (
        input(len_max),
        input(len_max),
        params(),
        format(),
        any::<bool>(),
        shape,
    )
        .prop_map(|(src, history, params, format, last, table)| {
            // A source that begins like its history makes matches reach back over the seam.
            let history = match (format, history.len() % 3) {
                (Format::Raw, 0) => src.clone(),
                (Format::Raw, _) => history,
                _ => vec![],
            };
            Case {
                src,
                history,
                params,
                format,
                last,
                table,
            }
        })
}

impl Case {
    /// Runs the case with this much room on `engine` and on `reference`; both must come to the same.
    fn compare(&self, engine: &mut Engine, reference: &mut Reference, capacity: usize) {
        let table = self.table.as_deref().map(complete_table);
        let loaded = table
            .as_ref()
            .map(|(block, _)| LoadedTable::parse(block).unwrap());
        let fixed = Code::fixed();
        let code = table.as_ref().map_or(&fixed, |(_, code)| code);
        let job = Job {
            src: &self.src,
            history: &self.history,
            params: self.params,
            format: self.format,
            last: self.last,
            sync: true,
            tables: loaded.as_ref().map_or(Tables::Fixed, Tables::Loaded),
        };
        let mut dst = vec![0xa5; capacity];
        let ours = engine.compress(&job, &mut dst);
        let theirs = reference.compress(
            &self.history,
            &self.src,
            self.params,
            self.format,
            self.last,
            code,
            capacity,
        );
        match (ours, theirs) {
            (Ok(report), Ok(outcome)) => {
                assert!(dst[..report.out_len] == outcome.out, "other bytes");
                assert_eq!(
                    (report.stored, report.crc32, report.adler32, report.cycles),
                    (
                        outcome.stored,
                        outcome.crc32,
                        outcome.adler32,
                        outcome.cycles
                    )
                );
                assert!(
                    decode(&job, &outcome.out) == self.src,
                    "decoded to other bytes"
                );
            }
            (Err(Fault::OutputFull { .. }), Err(Refusal::OutputFull)) => {}
            (ours, theirs) => panic!("model {ours:?}, reference {theirs:?}"),
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
