//! What a bench sends: blocks that differ, of a mixed kind, the same for the same seed.
//!
//! Owns the generator. It knows neither sizes of requests that make sense nor how blocks are sent.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;

/// Most bytes of blocks that are kept for one size.
const POOL_BYTES_MAX: usize = 64 << 20;
/// Most blocks of one size.
const BLOCKS_MAX: usize = 1024;
/// Fewest, where a size alone is beyond [`POOL_BYTES_MAX`].
const BLOCKS_MIN: usize = 2;
/// Most bytes of a file that are read.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Bytes of one kind before the next.
const SEGMENT_BYTES: usize = 4 << 10;

/// Words of prose, the frequent ones first.
const WORDS: [&str; 48] = [
    "the",
    "of",
    "and",
    "to",
    "a",
    "in",
    "is",
    "that",
    "for",
    "it",
    "as",
    "was",
    "with",
    "be",
    "by",
    "on",
    "not",
    "he",
    "his",
    "but",
    "at",
    "are",
    "this",
    "have",
    "from",
    "or",
    "had",
    "an",
    "which",
    "you",
    "one",
    "we",
    "all",
    "were",
    "their",
    "there",
    "would",
    "when",
    "been",
    "no",
    "compression",
    "accelerator",
    "latency",
    "throughput",
    "queue",
    "dictionary",
    "measurement",
    "interval",
];
const HOSTS: [&str; 6] = ["api", "auth", "billing", "ingest", "search", "web"];
const PATHS: [&str; 6] = [
    "/v1/orders",
    "/v1/users/self",
    "/healthz",
    "/v2/search",
    "/static/app.js",
    "/v1/events",
];

/// Where blocks come from.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    /// Made here.
    Generated {
        /// Decides every byte.
        seed: u64,
    },
    /// A file, cut into blocks.
    File {
        /// Its content.
        bytes: Bytes,
    },
}

impl Data {
    /// A file's content.
    ///
    /// # Errors
    /// It cannot be read, or holds nothing.
    pub(crate) fn of_file(path: &Path) -> io::Result<Self> {
        let mut bytes = Vec::new();
        File::open(path)?
            .take(FILE_BYTES_MAX)
            .read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is empty: expected some data",
            ));
        }
        Ok(Self::File {
            bytes: bytes.into(),
        })
    }

    /// Blocks of `size` bytes. A file's begin at different places, and go round at its end.
    pub(crate) fn blocks(&self, size: usize) -> Vec<Bytes> {
        let fitting = POOL_BYTES_MAX / size.max(1);
        match self {
            Self::Generated { seed } => {
                let mut chance = Chance(*seed ^ u64::try_from(size).unwrap_or(0));
                (0..fitting.clamp(BLOCKS_MIN, BLOCKS_MAX))
                    .map(|_| mixed(&mut chance, size).into())
                    .collect()
            }
            Self::File { bytes } => {
                let count = bytes
                    .len()
                    .div_ceil(size.max(1))
                    .clamp(BLOCKS_MIN, BLOCKS_MAX);
                (0..count.min(fitting.max(BLOCKS_MIN)))
                    .map(|index| round_from(bytes, index.wrapping_mul(size) % bytes.len(), size))
                    .collect()
            }
        }
    }

    /// For a report's head.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Generated { seed } => {
                format!("generated (prose, logs, records, noise), seed {seed}")
            }
            Self::File { bytes } => format!("a file of {} bytes", bytes.len()),
        }
    }
}

fn round_from(bytes: &Bytes, from: usize, size: usize) -> Bytes {
    if from + size <= bytes.len() {
        return bytes.slice(from..from + size);
    }
    bytes
        .iter()
        .copied()
        .cycle()
        .skip(from)
        .take(size)
        .collect::<Vec<_>>()
        .into()
}

/// SplitMix64: fast, and good enough for data.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        let index = usize::try_from(self.below(from.len() as u64)).unwrap_or(0);
        from.get(index).copied().unwrap_or_default()
    }
}

/// A block: 35 % prose, 35 % logs, 20 % records, 10 % noise, by segments.
fn mixed(chance: &mut Chance, size: usize) -> Vec<u8> {
    let mut block = Vec::with_capacity(size + 256);
    while block.len() < size {
        let end = (block.len() + SEGMENT_BYTES).min(size);
        match chance.below(100) {
            0..35 => prose(chance, &mut block, end),
            35..70 => logs(chance, &mut block, end),
            70..90 => records(chance, &mut block, end),
            _ => noise(chance, &mut block, end),
        }
    }
    block.truncate(size);
    block
}

fn prose(chance: &mut Chance, block: &mut Vec<u8>, end: usize) {
    while block.len() < end {
        // The smaller of two draws: frequent words are frequent.
        let rank = chance
            .below(WORDS.len() as u64)
            .min(chance.below(WORDS.len() as u64));
        let word = WORDS
            .get(usize::try_from(rank).unwrap_or(0))
            .copied()
            .unwrap_or_default();
        block.extend_from_slice(word.as_bytes());
        block.push(if chance.below(12) == 0 { b'\n' } else { b' ' });
    }
}

fn logs(chance: &mut Chance, block: &mut Vec<u8>, end: usize) {
    let mut ms = chance.below(86_400_000);
    while block.len() < end {
        ms += chance.below(40);
        let line = format!(
            "{{\"t\":\"2026-01-01T{:02}:{:02}:{:02}.{:03}Z\",\"host\":\"{}-{}\",\"path\":\"{}\",\"status\":{},\"ms\":{}}}\n",
            ms / 3_600_000 % 24,
            ms / 60_000 % 60,
            ms / 1000 % 60,
            ms % 1000,
            chance.pick(&HOSTS),
            chance.below(16),
            chance.pick(&PATHS),
            [200, 200, 200, 204, 404, 503][usize::try_from(chance.below(6)).unwrap_or(0)],
            chance.below(900),
        );
        block.extend_from_slice(line.as_bytes());
    }
}

fn records(chance: &mut Chance, block: &mut Vec<u8>, end: usize) {
    let mut id = chance.below(1 << 32);
    while block.len() < end {
        id += 1 + chance.below(3);
        block.extend_from_slice(&id.to_le_bytes());
        block.extend_from_slice(&chance.below(5000).to_le_bytes());
        block.extend_from_slice(&(chance.below(4) << 16 | 1 << 24).to_le_bytes());
    }
}

fn noise(chance: &mut Chance, block: &mut Vec<u8>, end: usize) {
    while block.len() < end {
        block.extend_from_slice(&chance.next().to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_blocks_which_differ() {
        for size in [1, 1000, 100_000] {
            let blocks = Data::Generated { seed: 7 }.blocks(size);
            assert_eq!(blocks, Data::Generated { seed: 7 }.blocks(size));
            assert!(blocks.iter().all(|block| block.len() == size));
            assert!(blocks.len() >= BLOCKS_MIN);
            if size > 8 {
                assert_ne!(blocks[0], blocks[1]);
                assert_ne!(blocks[0], Data::Generated { seed: 8 }.blocks(size)[0]);
            }
        }
    }

    #[test]
    fn a_file_is_cut_and_goes_round() {
        let data = Data::File {
            bytes: Bytes::from_static(b"0123456789"),
        };
        let blocks = data.blocks(4);
        assert_eq!(blocks, ["0123", "4567", "8901"]);
        assert!(data.blocks(25).iter().all(|block| block.len() == 25));
    }
}
