//! The matcher: hash table, candidates and the parse, as algorithm.md, "Matching", says.
//!
//! Invariant: every position of the stream that has four bytes is looked up and inserted at most once, in increasing
//! order, so what a look-up finds is a function of the stream and the parameters alone.
//!
//! It deliberately does not know codes or bits: it hands literals and matches to a [`Sink`].

/// Shortest match, in bytes; also what is hashed.
pub const MATCH_LENGTH_MIN: usize = 4;
/// Longest match, in bytes (RFC 1951, section 3.2.5).
pub const MATCH_LENGTH_MAX: usize = 258;
/// Farthest match, in bytes: 24 short of the window, so that a window RAM of 32 KiB may run ahead of the comparison.
pub const DISTANCE_MAX: u32 = 32744;
/// A match of at least this length is taken without looking at the next position. It bounds the work a token can cost.
pub const LAZY_LENGTH_MAX: usize = 32;
/// Fewest bits of hash, that is log2 of the sets.
pub const HASH_BITS_MIN: u32 = 8;
/// Most bits of hash.
pub const HASH_BITS_MAX: u32 = 13;
/// Most ways of a set.
pub const WAYS_MAX: usize = 4;

/// 2^32 divided by the golden ratio: an odd multiplier whose high product bits depend on all four bytes.
const HASH_MULTIPLIER: u32 = 0x9e37_79b1;
/// Epochs start over here; the table is cleared then.
const EPOCH_MAX: u32 = 0xffff;

/// What a level fixes about matching.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Params {
    /// log2 of the number of sets, [`HASH_BITS_MIN`]..=[`HASH_BITS_MAX`].
    pub hash_bits: u32,
    /// Candidates a set holds, 1..=[`WAYS_MAX`].
    pub ways: usize,
    /// Whether a match is given up for a longer one that starts a byte later.
    pub lazy: bool,
}

impl Params {
    /// Whether both sizes are in range.
    pub fn is_valid(self) -> bool {
        (HASH_BITS_MIN..=HASH_BITS_MAX).contains(&self.hash_bits)
            && (1..=WAYS_MAX).contains(&self.ways)
    }
}

/// Takes what the parse yields, in stream order.
pub(super) trait Sink {
    /// A run of literals, possibly empty.
    fn literals(&mut self, bytes: &[u8]);
    /// A match: length in 4..=258, distance in 1..=32744.
    fn matched(&mut self, length: usize, distance: usize);
}

/// The hash table, allocated once for the largest parameters. An entry is `epoch << 16 | position mod 2^16`.
pub(super) struct Matcher {
    entries: Vec<u32>,
    epoch: u32,
}

impl Matcher {
    pub(super) fn new() -> Self {
        Self {
            entries: vec![0; WAYS_MAX << HASH_BITS_MAX],
            epoch: 0,
        }
    }

    /// Forgets every position of every job.
    pub(super) fn clear(&mut self) {
        self.entries.fill(0);
        self.epoch = 0;
    }

    /// Parses `stream` from `start` on into `sink`; the bytes before are history. `params` must be valid.
    pub(super) fn parse<S: Sink>(
        &mut self,
        stream: &[u8],
        start: usize,
        params: Params,
        sink: &mut S,
    ) {
        if self.epoch == EPOCH_MAX {
            self.clear();
        }
        // Epoch 0 is never a job's: a cleared entry holds for nobody.
        self.epoch += 1;
        match params.ways {
            1 => self
                .search::<1>(stream, params)
                .parse(start, params.lazy, sink),
            2 => self
                .search::<2>(stream, params)
                .parse(start, params.lazy, sink),
            3 => self
                .search::<3>(stream, params)
                .parse(start, params.lazy, sink),
            _ => self
                .search::<4>(stream, params)
                .parse(start, params.lazy, sink),
        }
    }

    fn search<'a, const WAYS: usize>(
        &'a mut self,
        stream: &'a [u8],
        params: Params,
    ) -> Search<'a, WAYS> {
        let sets = self.entries.as_chunks_mut::<WAYS>().0;
        let hash_bits = params.hash_bits.clamp(HASH_BITS_MIN, HASH_BITS_MAX);
        Search {
            stream,
            sets: sets.get_mut(..1 << hash_bits).unwrap_or_default(),
            hash_shift: 32 - hash_bits,
            tag: self.epoch << 16,
        }
    }
}

/// One parse under way.
struct Search<'a, const WAYS: usize> {
    stream: &'a [u8],
    sets: &'a mut [[u32; WAYS]],
    hash_shift: u32,
    tag: u32,
}

#[inline(always)]
fn word(stream: &[u8], at: usize) -> Option<u32> {
    let bytes = stream.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*bytes))
}

#[inline(always)]
fn double_word(stream: &[u8], at: usize) -> Option<u64> {
    let bytes = stream.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*bytes))
}

/// How many bytes at `here` equal those at `there`, which lies before it: at least `known`, at most `limit`.
#[inline(always)]
fn common_length(stream: &[u8], here: usize, there: usize, known: usize, limit: usize) -> usize {
    let mut length = known;
    while length + 8 <= limit {
        let (Some(a), Some(b)) = (
            double_word(stream, here + length),
            double_word(stream, there + length),
        ) else {
            break;
        };
        let difference = a ^ b;
        if difference != 0 {
            return length + (difference.trailing_zeros() >> 3) as usize;
        }
        length += 8;
    }
    while length < limit && stream.get(here + length) == stream.get(there + length) {
        length += 1;
    }
    length
}

impl<const WAYS: usize> Search<'_, WAYS> {
    /// Puts `entry` in front of its set, the oldest falls out; what the set held before.
    #[inline(always)]
    fn insert(&mut self, bytes: u32, position: u32) -> [u32; WAYS] {
        let set = (bytes.wrapping_mul(HASH_MULTIPLIER) >> self.hash_shift) as usize;
        let Some(set) = self.sets.get_mut(set) else {
            return [0; WAYS];
        };
        let before = *set;
        let mut after = [self.tag | position; WAYS];
        after[1..].copy_from_slice(&before[..WAYS - 1]);
        *set = after;
        before
    }

    /// Looks up and inserts `at`, which has four bytes; the longest match above `floor` bytes, if any.
    #[inline(always)]
    fn find(&mut self, at: usize, floor: usize) -> Option<(usize, usize)> {
        let bytes = word(self.stream, at)?;
        let position = (at & 0xffff) as u32;
        let candidates = self.insert(bytes, position);
        let limit = MATCH_LENGTH_MAX.min(self.stream.len() - at);
        let mut best = floor;
        let mut best_distance = 0;
        for candidate in candidates {
            let distance = position.wrapping_sub(candidate) & 0xffff;
            let is_near = distance.wrapping_sub(1) < DISTANCE_MAX;
            let is_ours = (candidate ^ self.tag) >> 16 == 0;
            if !(is_near & is_ours) {
                continue;
            }
            let there = at - distance as usize;
            if word(self.stream, there) != Some(bytes) {
                continue;
            }
            let length = common_length(self.stream, at, there, MATCH_LENGTH_MIN, limit);
            if length > best {
                best = length;
                best_distance = distance as usize;
            }
        }
        (best > floor).then_some((best, best_distance))
    }

    #[inline(always)]
    fn insert_range(&mut self, from: usize, to: usize) {
        for at in from..to {
            if let Some(bytes) = word(self.stream, at) {
                self.insert(bytes, (at & 0xffff) as u32);
            }
        }
    }

    fn parse<S: Sink>(&mut self, start: usize, lazy: bool, sink: &mut S) {
        let stream = self.stream;
        // Positions from here on have fewer than four bytes: neither looked up nor inserted.
        let hashed_end = stream.len().saturating_sub(MATCH_LENGTH_MIN - 1);
        self.insert_range(0, start.min(hashed_end));
        let mut literal_start = start;
        let mut at = start;
        while at < hashed_end {
            let Some((mut length, mut distance)) = self.find(at, MATCH_LENGTH_MIN - 1) else {
                at += 1;
                continue;
            };
            let mut inserted_end = at + 1;
            while lazy && length < LAZY_LENGTH_MAX && at + 1 < hashed_end {
                inserted_end = at + 2;
                let Some(longer) = self.find(at + 1, length) else {
                    break;
                };
                (length, distance) = longer;
                at += 1;
            }
            sink.literals(stream.get(literal_start..at).unwrap_or_default());
            sink.matched(length, distance);
            let end = at + length;
            self.insert_range(inserted_end, end.min(hashed_end));
            at = end;
            literal_start = end;
        }
        sink.literals(stream.get(literal_start..).unwrap_or_default());
    }
}
