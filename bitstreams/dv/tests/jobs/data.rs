//! Bytes to compress, of many kinds: each aims at something that an engine could get wrong.

use std::path::Path;

use fastrand::Rng;

/// Distances around which a match may or may not hold: the farthest one, the window, and the period of positions.
const EDGES: [usize; 3] = [32744, 32768, 65536];
/// Lengths around which something changes: shortest match, the comparer's width, the lazy limit, longest match.
const LENGTHS: [usize; 5] = [4, 16, 32, 64, 258];
const HASH_MULTIPLIER: u32 = 0x9e37_79b1;

/// The committed sample, by name.
pub(crate) fn sample() -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/sample");
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_none_or(|extension| extension != "md"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(&path).unwrap())
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "the sample is committed");
    files
}

/// Makes bytes of every kind.
pub(crate) struct Bytes {
    sample: Vec<(String, Vec<u8>)>,
}

impl Bytes {
    pub(crate) fn new() -> Self {
        Self { sample: sample() }
    }

    /// Bytes of a kind drawn at random, at most `most` of them; and the kind's name.
    pub(crate) fn draw(&self, rng: &mut Rng, most: usize) -> (&'static str, Vec<u8>) {
        let len = self.len(rng, most);
        let (kind, mut bytes) = match rng.u32(0..100) {
            0..=2 => ("empty", Vec::new()),
            3..=9 => (
                "tiny",
                (0..rng.usize(1..=8)).map(|_| rng.u8(b'a'..=b'c')).collect(),
            ),
            10..=17 => ("random", noise(rng, len)),
            18..=27 => ("few symbols", few(rng, len)),
            28..=37 => ("runs", runs(rng, len)),
            38..=47 => ("periodic", periodic(rng, len)),
            48..=64 => ("sample", self.slice(rng, len)),
            65..=69 => ("far match", far_match(rng, most)),
            70..=79 => ("ends in a match", ends_in_match(rng, len)),
            80..=87 => ("one set", one_set(rng, len)),
            88..=94 => ("lengths", lengths(rng, len)),
            _ => ("lazy chain", lazy_chain(rng, len)),
        };
        bytes.truncate(most);
        (kind, bytes)
    }

    /// Mostly short, for a run has thousands of jobs; now and then beyond a stored block.
    fn len(&self, rng: &mut Rng, most: usize) -> usize {
        let len = match rng.u32(0..100) {
            0..=54 => rng.usize(0..700),
            55..=89 => rng.usize(0..5000),
            90..=97 => rng.usize(0..24_000),
            98 => rng.usize(60_000..70_000),
            _ => rng.usize(0..140_000),
        };
        len.min(most)
    }

    fn slice(&self, rng: &mut Rng, len: usize) -> Vec<u8> {
        let (_, file) = &self.sample[rng.usize(0..self.sample.len())];
        let len = len.min(file.len());
        let from = rng.usize(0..=file.len() - len);
        file[from..from + len].to_vec()
    }
}

fn noise(rng: &mut Rng, len: usize) -> Vec<u8> {
    (0..len).map(|_| rng.u8(..)).collect()
}

fn few(rng: &mut Rng, len: usize) -> Vec<u8> {
    let symbols = rng.u8(1..6);
    (0..len).map(|_| rng.u8(..symbols) + b'a').collect()
}

fn runs(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let run = if rng.bool() {
            rng.usize(1..12)
        } else {
            rng.usize(250..270)
        };
        bytes.extend(std::iter::repeat_n(rng.u8(..), run));
    }
    bytes.truncate(len);
    bytes
}

fn periodic(rng: &mut Rng, len: usize) -> Vec<u8> {
    let period = if rng.bool() {
        rng.usize(1..20)
    } else {
        rng.usize(1..600)
    };
    let cell = noise(rng, period);
    let mut bytes: Vec<u8> = cell.iter().copied().cycle().take(len).collect();
    if rng.bool() {
        // A few strokes that cut the matches.
        for _ in 0..len / 300 {
            let at = rng.usize(0..len);
            bytes[at] ^= 1;
        }
    }
    bytes
}

/// A piece, and the piece again as far away as a match may reach, or a little farther.
fn far_match(rng: &mut Rng, most: usize) -> Vec<u8> {
    let edges: Vec<usize> = EDGES.into_iter().filter(|edge| edge + 300 < most).collect();
    if edges.is_empty() {
        return noise(rng, most.min(300));
    }
    let edge = edges[rng.usize(0..edges.len())];
    let distance = edge + rng.usize(0..60) - 30;
    let piece_len = rng.usize(4..300);
    let piece = noise(rng, piece_len);
    let lead = rng.usize(0..40);
    let mut bytes = noise(rng, lead);
    bytes.extend(&piece);
    // Cheap to come by, and in its own sets: a run or noise between.
    let between = distance - piece.len().min(distance);
    if rng.bool() {
        bytes.extend(noise(rng, between));
    } else {
        bytes.extend(std::iter::repeat_n(rng.u8(..), between));
    }
    bytes.extend(&piece);
    let tail = rng.usize(0..20);
    bytes.extend(noise(rng, tail));
    bytes
}

fn ends_in_match(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut bytes = noise(rng, len.max(8));
    let from = rng.usize(0..bytes.len() - 4);
    let most = (bytes.len() - from).min(300);
    let piece = bytes[from..from + rng.usize(4..=most)].to_vec();
    bytes.extend(piece);
    bytes
}

/// Words of four bytes that all hash to one set, of 2^12 as well as of 2^13: ways shift and fall out.
fn one_set(rng: &mut Rng, len: usize) -> Vec<u8> {
    let set = |word: u32| word.wrapping_mul(HASH_MULTIPLIER) >> 19;
    // The inverse of the multiplier undoes the hash, so words of a set can be made.
    let mut inverse = 1u32;
    for _ in 0..5 {
        inverse = inverse.wrapping_mul(2u32.wrapping_sub(HASH_MULTIPLIER.wrapping_mul(inverse)));
    }
    let wanted = rng.u32(..1 << 13);
    let words: Vec<u32> = (0..rng.usize(2..9))
        .map(|_| (wanted << 19 | rng.u32(..1 << 19)).wrapping_mul(inverse))
        .collect();
    assert!(
        words.iter().all(|word| set(*word) == wanted),
        "the multiplier is odd"
    );
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend(words[rng.usize(0..words.len())].to_le_bytes());
        for _ in 0..rng.usize(0..3) {
            bytes.push(rng.u8(..));
        }
    }
    bytes.truncate(len);
    bytes
}

/// Pieces that repeat with lengths around those at which something changes.
fn lengths(rng: &mut Rng, len: usize) -> Vec<u8> {
    let source = noise(rng, 600);
    let mut bytes = source.clone();
    while bytes.len() < len {
        let around = LENGTHS[rng.usize(0..LENGTHS.len())];
        let piece = (around + rng.usize(0..5)).saturating_sub(2);
        let from = rng.usize(0..source.len() - piece.min(source.len()));
        bytes.extend(&source[from..(from + piece).min(source.len())]);
        bytes.push(rng.u8(..));
    }
    bytes
}

/// At each byte a longer match begins than at the one before, for as long as it goes.
fn lazy_chain(rng: &mut Rng, len: usize) -> Vec<u8> {
    let chain_len = rng.usize(8..48);
    let chain = noise(rng, chain_len);
    let mut bytes = Vec::new();
    while bytes.len() < len {
        // Every suffix, each a byte longer than the distance between two of them would give it.
        for from in 0..chain.len().saturating_sub(4) {
            let to = (from + 4 + from / rng.usize(1..4)).min(chain.len());
            bytes.extend(&chain[from..to]);
            bytes.push(rng.u8(..));
        }
        bytes.extend(&chain);
    }
    bytes.truncate(len.max(4));
    bytes
}
