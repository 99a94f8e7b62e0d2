//! Bytes to compress, of many kinds: each aims at something that an engine could get wrong.

use std::path::Path;

use fastrand::Rng;

/// Distances around which a match may or may not hold: the farthest one, the window, and the period of positions.
const EDGES: [usize; 3] = [32744, 32768, 65536];
/// Lengths around which something changes: shortest match, the comparer's width, the lazy limit, longest match.
const LENGTHS: [usize; 5] = [4, 16, LAZY_LIMIT, 64, 258];
/// A match of this length is taken without a look at the next byte.
const LAZY_LIMIT: usize = 32;
/// From here on a job can have the farthest match, and more than one stored block.
const LONG_BYTES: usize = 68_000;
/// Bytes that a stored block holds.
const STORED_BLOCK_BYTES: usize = 65535;
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
        if most >= LONG_BYTES {
            match rng.u32(0..10) {
                0 => return ("stored edge", stored_edge(rng, most)),
                1 | 2 => return ("far match", far_match(rng, most)),
                _ => {}
            }
        }
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
            65..=74 => ("ends in a match", ends_in_match(rng, len)),
            75..=80 => ("one set", one_set(rng, len)),
            81..=87 => ("lengths", lengths(rng, len)),
            88..=91 => ("lazy limit", lazy_limit(rng)),
            92..=94 => ("coded or stored", coded_or_stored(rng)),
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

/// Pieces, and each again as far away as a match may reach, or a little nearer or farther.
fn far_match(rng: &mut Rng, most: usize) -> Vec<u8> {
    let reachable = EDGES.iter().filter(|edge| *edge + 1500 < most).count();
    if reachable == 0 {
        return noise(rng, most.min(300));
    }
    // The first one matters most.
    let edge = EDGES[rng.usize(0..reachable) * rng.usize(0..2)];
    let lead = rng.usize(0..40);
    let mut bytes = noise(rng, lead);
    let mut pieces = Vec::new();
    for _ in 0..rng.usize(1..5) {
        let len = rng.usize(4..=258);
        let piece = noise(rng, len);
        let off = if rng.u8(0..4) != 0 { 1 } else { 30 };
        let distance = edge + rng.usize(0..=2 * off) - off;
        pieces.push((bytes.len() + distance, piece.clone()));
        bytes.extend(piece);
        bytes.extend(noise(rng, 70));
    }
    // A run lies in one set; noise pushes out of every set what was in it.
    let run = rng.u8(..);
    let is_noise = rng.u8(0..4) == 0;
    for (at, piece) in pieces {
        let between = at.saturating_sub(bytes.len());
        if is_noise {
            bytes.extend(noise(rng, between));
        } else {
            bytes.extend(std::iter::repeat_n(run, between));
        }
        bytes.extend(piece);
    }
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

/// A match of about 32 bytes, and at its second byte a longer one: taken or not by its very length.
fn lazy_limit(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..rng.usize(1..6) {
        let piece = noise(rng, 80);
        let first = LAZY_LIMIT - 2 + rng.usize(0..4);
        bytes.extend(&piece[..first]);
        bytes.push(!piece[first]);
        // One byte more at its front than the next one has, and shorter.
        bytes.push(!piece[0]);
        bytes.extend(&piece[1..first + rng.usize(1..40)]);
        bytes.push(rng.u8(..));
        bytes.extend(&piece);
    }
    bytes
}

/// Bytes that no match helps, of which the fixed code makes about as many as stored blocks do: some 26 literals of nine bits.
fn coded_or_stored(rng: &mut Rng) -> Vec<u8> {
    let dear = rng.usize(18..36);
    let mut bytes: Vec<u8> = (0..dear + rng.usize(0..120))
        .map(|_| rng.u8(0..144))
        .collect();
    for byte in bytes.iter_mut().take(dear) {
        *byte = rng.u8(144..);
    }
    rng.shuffle(&mut bytes);
    bytes
}

/// Noise of about as many bytes as one or two stored blocks hold.
fn stored_edge(rng: &mut Rng, most: usize) -> Vec<u8> {
    let blocks = rng.usize(1..3).min(most / STORED_BLOCK_BYTES);
    let len = (blocks * STORED_BLOCK_BYTES + rng.usize(0..3)).saturating_sub(1);
    noise(rng, len)
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
