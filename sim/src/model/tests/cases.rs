//! What tests of the model are drawn from: bytes, parameters, tables, and whole jobs.
//!
//! Invariant: a case compares the model with the reference, and both with decoders, in whatever room it is given.

use proptest::prelude::*;

use super::super::*;
use super::decode;
use super::reference::{Code, Reference, Refusal};

/// Reproducible bytes, incompressible (xorshift64*).
pub(super) fn noise(len: usize, seed: u64) -> Vec<u8> {
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
pub(super) fn words(len: usize, seed: u64) -> Vec<u8> {
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

/// Code lengths of a complete prefix code for `symbols`, shaped by `shape`: leaves are split until there are enough.
pub(super) fn complete_code(slots: usize, symbols: &[usize], shape: &[u8]) -> Vec<u8> {
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
pub(super) fn plain_header(litlen: &[u8], distance: &[u8]) -> Vec<bool> {
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
pub(super) fn table_block(litlen: Vec<u8>, distance: Vec<u8>) -> (Vec<u8>, Code) {
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

pub(super) fn complete_table(shape: &[u8]) -> (Vec<u8>, Code) {
    let all: Vec<usize> = (0..286).collect();
    table_block(
        complete_code(288, &all, shape),
        complete_code(32, &all[..30], shape),
    )
}

/// Inputs with matches of many kinds: few symbols, words, runs, noise, and repeats of themselves.
pub(super) fn input(len_max: usize) -> impl Strategy<Value = Vec<u8>> {
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

pub(super) fn params() -> impl Strategy<Value = Params> {
    (HASH_BITS_MIN..=HASH_BITS_MAX, 1..=WAYS_MAX, any::<bool>()).prop_map(
        |(hash_bits, ways, lazy)| Params {
            hash_bits,
            ways,
            lazy,
        },
    )
}

pub(super) fn format() -> impl Strategy<Value = Format> {
    prop_oneof![Just(Format::Raw), Just(Format::Zlib), Just(Format::Gzip)]
}

/// Everything of one job, owned.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) src: Vec<u8>,
    pub(super) history: Vec<u8>,
    pub(super) params: Params,
    pub(super) format: Format,
    pub(super) last: bool,
    /// Shape of a complete table, if it is not the fixed code.
    pub(super) table: Option<Vec<u8>>,
}

pub(super) fn case(len_max: usize) -> impl Strategy<Value = Case> {
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
    pub(super) fn compare(&self, engine: &mut Engine, reference: &mut Reference, capacity: usize) {
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
