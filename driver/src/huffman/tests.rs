//! Tables checked with a decoder of their own and with optimal lengths.

use std::io::Read;

use proptest::prelude::*;

use super::*;

const COVERAGES: [Coverage; 2] = [Coverage::Whole, Coverage::Sample];

/// Counts of every shape: none, even, steep enough to break the length limit, and the largest there are.
fn counts<const N: usize>() -> impl Strategy<Value = [u32; N]> {
    let any_count = prop_oneof![
        3 => Just(0u32),
        3 => 0u32..20,
        3 => (0u32..32).prop_map(|shift| 1 << shift),
        1 => any::<u32>(),
    ];
    let free = prop::collection::vec(any_count, N);
    let steep = (1.1f64..2.5, any::<u64>()).prop_map(|(base, seed)| {
        (0..N)
            .map(|symbol| {
                let rank = (symbol as u64).wrapping_mul(seed | 1) % 40;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "saturates, which is as steep"
                )]
                let count = base.powi(i32::try_from(rank).unwrap()) as u32;
                count
            })
            .collect()
    });
    prop_oneof![free, steep, Just(vec![0; N]), Just(vec![u32::MAX; N])]
        .prop_map(|counts| counts.try_into().unwrap())
}

fn histograms() -> impl Strategy<Value = Histogram> {
    (counts(), counts()).prop_map(|(litlen, distance)| Histogram { litlen, distance })
}

fn kraft(lengths: &[u8]) -> u32 {
    lengths.iter().map(|length| 1 << (15 - length)).sum()
}

fn push(bits: &mut Vec<bool>, value: usize, count: u8) {
    bits.extend((0..count).map(|bit| value >> bit & 1 == 1));
}

/// Codes as RFC 1951, section 3.2.2 tells it, most significant bit first.
fn codes(lengths: &[u8]) -> Vec<Vec<bool>> {
    let mut codes = vec![vec![]; lengths.len()];
    let mut code = 0usize;
    for length in 1..=15 {
        code <<= 1;
        for symbol in 0..lengths.len() {
            if lengths[symbol] == length {
                codes[symbol] = (0..length).rev().map(|bit| code >> bit & 1 == 1).collect();
                code += 1;
            }
        }
    }
    codes
}

const LENGTHS: [(usize, u8); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];

/// A block that uses each symbol of the table at least once, and the bytes it stands for.
fn block_of_everything(table: &HuffmanTable) -> (Vec<u8>, Vec<u8>) {
    let mut block = [0; TABLE_BYTES];
    table.write_to(&mut block);
    let mut bits = vec![true, false, true];
    let header_bits = u32::from_le_bytes(block[0x140..0x144].try_into().unwrap());
    for bit in 0..header_bits as usize {
        bits.push(block[0x144 + bit / 8] >> (bit % 8) & 1 == 1);
    }
    let (litlen, distance) = (codes(&block[..286]), codes(&block[0x120..0x120 + 30]));
    let mut bytes = Vec::new();
    // Bytes enough behind for the farthest distance symbol.
    for index in 0..24832usize {
        let byte = index * 7 % 256;
        bits.extend(&litlen[byte]);
        bytes.push(u8::try_from(byte).unwrap());
    }
    for turn in 0..30 {
        let (length, length_extra) = LENGTHS[turn % 29];
        bits.extend(&litlen[257 + turn % 29]);
        push(&mut bits, 0, length_extra);
        let extra = u8::try_from(turn).unwrap().saturating_sub(2) / 2;
        let from = if turn < 2 {
            turn + 1
        } else {
            ((2 + turn % 2) << extra) + 1
        };
        bits.extend(&distance[turn]);
        push(&mut bits, 0, extra);
        for _ in 0..length {
            bytes.push(bytes[bytes.len() - from]);
        }
    }
    bits.extend(&litlen[256]);
    let packed = bits
        .chunks(8)
        .map(|byte| (0..byte.len()).map(|bit| u8::from(byte[bit]) << bit).sum())
        .collect();
    (packed, bytes)
}

fn check(histogram: &Histogram, coverage: Coverage) {
    let table = HuffmanTable::build(histogram, coverage);
    for lengths in [&table.litlen()[..], &table.distance()[..]] {
        assert!(lengths.iter().all(|length| (1..=15).contains(length)));
        assert_eq!(kraft(lengths), 1 << 15);
    }
    let (packed, expected) = block_of_everything(&table);
    let mut decoded = Vec::new();
    let mut reader = flate2::bufread::DeflateDecoder::new(&packed[..]);
    reader.read_to_end(&mut decoded).unwrap();
    assert!(decoded == expected, "decoded to other bytes");
    assert_eq!(reader.total_in(), packed.len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_table_decodes_every_symbol(histogram in histograms(), coverage in prop::sample::select(&COVERAGES[..])) {
        check(&histogram, coverage);
        let again = HuffmanTable::build(&histogram, coverage);
        prop_assert_eq!(again, HuffmanTable::build(&histogram, coverage));
    }

    #[test]
    fn lengths_are_nearly_optimal(counts in counts::<286>()) {
        let weights = weights(&counts, Coverage::Whole);
        let mut lengths = [0; 286];
        code_lengths(&weights, CODE_LENGTH_MAX, &mut lengths);
        let cost = |lengths: &[u8]| -> u128 {
            weights.iter().zip(lengths).map(|(weight, length)| u128::from(*weight) * u128::from(*length)).sum()
        };
        let (ours, optimal) = (cost(&lengths), cost(&package_merge(&weights, CODE_LENGTH_MAX)));
        prop_assert!(ours >= optimal);
        prop_assert!(ours * 1000 <= optimal * 1020, "{ours} against {optimal}");
    }

    #[test]
    fn histograms_read_back(bytes in prop::collection::vec(any::<u8>(), 0..1400)) {
        match Histogram::from_bytes(&bytes) {
            Ok(histogram) => {
                prop_assert_eq!(histogram.litlen[1].to_le_bytes(), &bytes[4..8]);
                prop_assert_eq!(histogram.litlen[285].to_le_bytes(), &bytes[1140..1144]);
                prop_assert_eq!(histogram.distance[29].to_le_bytes(), &bytes[0x480 + 116..0x480 + 120]);
            }
            Err(error) => {
                prop_assert!(bytes.len() < HISTOGRAM_BYTES);
                prop_assert_eq!(error, BadHistogram::Short { got: bytes.len() });
            }
        }
    }
}

/// Larmore and Hirschberg's package-merge: optimal lengths under a limit, for weights that are all above 0.
fn package_merge(weights: &[u64], length_max: usize) -> Vec<u8> {
    let mut leaves: Vec<(u128, Vec<usize>)> = weights
        .iter()
        .enumerate()
        .map(|(symbol, weight)| (u128::from(*weight), vec![symbol]))
        .collect();
    leaves.sort();
    let mut level = leaves.clone();
    for _ in 1..length_max {
        let mut next: Vec<_> = level
            .chunks_exact(2)
            .map(|pair| {
                (
                    pair[0].0 + pair[1].0,
                    [&pair[0].1[..], &pair[1].1[..]].concat(),
                )
            })
            .collect();
        next.extend(leaves.iter().cloned());
        next.sort();
        level = next;
    }
    let mut lengths = vec![0; weights.len()];
    for (_, symbols) in &level[..2 * weights.len() - 2] {
        for symbol in symbols {
            lengths[*symbol] += 1;
        }
    }
    lengths
}

#[test]
fn a_known_histogram_gives_known_lengths() {
    let mut weights = [0u64; 19];
    weights[..6].copy_from_slice(&[45, 13, 12, 16, 9, 5]);
    let mut lengths = [0; 19];
    code_lengths(&weights, 7, &mut lengths);
    assert_eq!(lengths[..7], [1, 3, 3, 3, 4, 4, 0]);
    let mut fibonacci = [0u64; 19];
    let (mut a, mut b) = (1, 1);
    for weight in &mut fibonacci {
        *weight = a;
        (a, b) = (b, a + b);
    }
    code_lengths(&fibonacci, 7, &mut lengths);
    assert_eq!(lengths.iter().max(), Some(&7));
    assert_eq!(
        lengths
            .iter()
            .map(|length| 1u32 << (7 - length))
            .sum::<u32>(),
        128
    );
}

#[test]
fn one_used_symbol_still_makes_a_complete_code() {
    for only in [0, 5, 18] {
        let mut weights = [0u64; 19];
        weights[only] = 3;
        let mut lengths = [0; 19];
        code_lengths(&weights, 7, &mut lengths);
        assert_eq!(lengths[only], 1);
        assert_eq!(
            lengths.iter().map(|length| u32::from(*length)).sum::<u32>(),
            2
        );
    }
}

#[test]
fn an_empty_and_a_full_histogram_decode() {
    for count in [0, 1, u32::MAX] {
        for coverage in COVERAGES {
            let histogram = Histogram {
                litlen: [count; LITLEN_SYMBOLS],
                distance: [count; DISTANCE_SYMBOLS],
            };
            check(&histogram, coverage);
        }
    }
}
