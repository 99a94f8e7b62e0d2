//! Table blocks: codes of every shape, codes that lack symbols, and codes that break a rule of algorithm.md, section 5.

use faam_sim::model::{Alphabet, BadTable, LoadedTable};
use fastrand::Rng;

pub(crate) const TABLE_BYTES: usize = 1024;
pub(crate) const DISTANCE_AT: usize = 0x120;
const HEADER_BITS_AT: usize = 0x140;
const HEADER_AT: usize = 0x144;
const HEADER_BITS_MAX: u32 = 5600;
const LITLEN_SYMBOLS: usize = 286;
const DISTANCE_SYMBOLS: usize = 30;
const END_OF_BLOCK: usize = 256;

/// A block of a kind drawn at random, and the kind's name. `table_of` makes the host's own table for the job's bytes.
pub(crate) fn draw(
    rng: &mut Rng,
    host: impl FnOnce(&mut Rng) -> Vec<u8>,
) -> (&'static str, Vec<u8>) {
    match rng.u32(0..100) {
        0..=29 => ("the host's", host(rng)),
        30..=59 => ("any code", any_code(rng)),
        60..=79 => ("lacks symbols", lacking(rng)),
        _ => broken(rng),
    }
}

/// Every symbol coded, in a shape drawn at random, behind a header of any bits.
fn any_code(rng: &mut Rng) -> Vec<u8> {
    let litlen: Vec<usize> = (0..LITLEN_SYMBOLS).collect();
    let distance: Vec<usize> = (0..DISTANCE_SYMBOLS).collect();
    block(rng, &litlen, &distance)
}

fn lacking(rng: &mut Rng) -> Vec<u8> {
    let keep = [30, 128, 250, 255][rng.usize(0..4)];
    let mut litlen: Vec<usize> = (0..LITLEN_SYMBOLS)
        .filter(|symbol| *symbol == END_OF_BLOCK || rng.u8(..) <= keep)
        .collect();
    if litlen.len() < 2 {
        litlen.insert(0, 97);
    }
    let keep = [0, 20, 200, 255][rng.usize(0..4)];
    let distance: Vec<usize> = (0..DISTANCE_SYMBOLS)
        .filter(|_| rng.u8(..) < keep)
        .collect();
    block(rng, &litlen, &distance)
}

fn block(rng: &mut Rng, litlen: &[usize], distance: &[usize]) -> Vec<u8> {
    let mut block = vec![0; TABLE_BYTES];
    code(rng, litlen, &mut block[..DISTANCE_AT]);
    code(rng, distance, &mut block[DISTANCE_AT..HEADER_BITS_AT]);
    let bits = match rng.u32(0..8) {
        0 => 0,
        1 => HEADER_BITS_MAX,
        2 => rng.u32(1..9),
        _ => rng.u32(0..900),
    };
    block[HEADER_BITS_AT..HEADER_AT].copy_from_slice(&bits.to_le_bytes());
    // Behind the header's last bit too: it is to be ignored.
    rng.fill(&mut block[HEADER_AT..]);
    block
}

/// Lengths of a complete code for `symbols`: leaves are split until there are enough. A single symbol has one bit.
fn code(rng: &mut Rng, symbols: &[usize], lengths: &mut [u8]) {
    let mut leaves = match symbols.len() {
        0 => return,
        1 => vec![1u8],
        _ => vec![1, 1],
    };
    let steep = rng.bool();
    while leaves.len() < symbols.len() {
        // The last leaf is one of the deepest: splitting it makes a steep code, until the longest is reached.
        let last = leaves.len() - 1;
        let at = if steep && leaves[last] < 15 {
            last
        } else {
            rng.usize(0..leaves.len())
        };
        if leaves[at] < 15 {
            leaves[at] += 1;
            leaves.push(leaves[at]);
        }
    }
    rng.shuffle(&mut leaves);
    for (symbol, length) in symbols.iter().zip(leaves) {
        lengths[*symbol] = length;
    }
}

/// A code with one rule broken.
fn broken(rng: &mut Rng) -> (&'static str, Vec<u8>) {
    let mut block = any_code(rng);
    let kind = match rng.u32(0..11) {
        0 => {
            block[rng.usize(0..DISTANCE_AT)] = rng.u8(16..=255);
            "litlen length above 15"
        }
        1 => {
            block[DISTANCE_AT + rng.usize(0..32)] = rng.u8(16..=255);
            "distance length above 15"
        }
        2 => {
            block[LITLEN_SYMBOLS + rng.usize(0..2)] = rng.u8(1..16);
            "reserved litlen"
        }
        3 => {
            block[DISTANCE_AT + DISTANCE_SYMBOLS + rng.usize(0..2)] = rng.u8(1..16);
            "reserved distance"
        }
        4 => {
            let bits = if rng.bool() {
                HEADER_BITS_MAX + 1
            } else {
                rng.u32(HEADER_BITS_MAX + 1..)
            };
            block[HEADER_BITS_AT..HEADER_AT].copy_from_slice(&bits.to_le_bytes());
            "header too long"
        }
        5 | 6 => {
            let at = rng.usize(0..LITLEN_SYMBOLS);
            block[at] = if block[at] == 15 || rng.bool() {
                block[at] - 1
            } else {
                block[at] + 1
            };
            "litlen Kraft"
        }
        7 => {
            let at = DISTANCE_AT + rng.usize(0..DISTANCE_SYMBOLS);
            block[at] = if block[at] == 15 || rng.bool() {
                block[at] - 1
            } else {
                block[at] + 1
            };
            "distance Kraft"
        }
        8 => {
            // Half of a code: what one distance of one bit comes to.
            block[DISTANCE_AT..HEADER_BITS_AT].fill(0);
            let (length, count) = [(2, 1), (2, 2), (3, 4), (15, 1)][rng.usize(0..4)];
            let from = DISTANCE_AT + rng.usize(0..DISTANCE_SYMBOLS - count);
            block[from..from + count].fill(length);
            "half of a distance code"
        }
        9 => {
            // Complete without 256: another symbol has its length.
            let without: Vec<usize> = (0..LITLEN_SYMBOLS)
                .filter(|symbol| *symbol != END_OF_BLOCK)
                .collect();
            block[..DISTANCE_AT].fill(0);
            code(rng, &without, &mut block[..DISTANCE_AT]);
            "no end of block"
        }
        _ => {
            block.fill(0);
            "all zero"
        }
    };
    (kind, block)
}

/// The rule of section 5 that a block breaks: the first in the model's order; 0 for none.
pub(crate) fn rule(block: &[u8]) -> u32 {
    match LoadedTable::parse(block) {
        Ok(_) => 0,
        Err(
            BadTable::Size { .. }
            | BadTable::Length { .. }
            | BadTable::Reserved { .. }
            | BadTable::Header { .. },
        ) => 1,
        Err(BadTable::Kraft {
            alphabet: Alphabet::Litlen,
            ..
        }) => 2,
        Err(BadTable::Kraft {
            alphabet: Alphabet::Distance,
            ..
        }) => 3,
        Err(BadTable::NoEndOfBlock) => 4,
    }
}

/// Bits of a block's header.
pub(crate) fn header_bits(block: &[u8]) -> usize {
    block
        .get(HEADER_BITS_AT..HEADER_AT)
        .and_then(|bits| bits.try_into().ok())
        .map_or(0, |bits| u32::from_le_bytes(bits) as usize)
}
