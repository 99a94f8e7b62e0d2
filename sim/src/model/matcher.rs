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
pub const DISTANCE_MAX: usize = 32744;
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

/// One set of the hash table: positions modulo 2^16, the newest in the lowest bits. A shift is the insertion.
trait Set: Copy {
    /// A set that nothing was inserted into.
    const EMPTY: Self;

    /// The set after `position` came in front and, if it was full, its oldest fell out.
    fn insert(self, position: u16) -> Self;

    /// The position in way `way`, 0 being the newest.
    fn way(self, way: usize) -> u16;
}

impl Set for u16 {
    const EMPTY: Self = 0;

    #[inline(always)]
    fn insert(self, position: u16) -> Self {
        position
    }

    #[inline(always)]
    fn way(self, _way: usize) -> u16 {
        self
    }
}

impl Set for u32 {
    const EMPTY: Self = 0;

    #[inline(always)]
    fn insert(self, position: u16) -> Self {
        (self << 16) | u32::from(position)
    }

    #[inline(always)]
    fn way(self, way: usize) -> u16 {
        ((self >> (16 * way)) & 0xffff) as u16
    }
}

impl Set for u64 {
    const EMPTY: Self = 0;

    #[inline(always)]
    fn insert(self, position: u16) -> Self {
        (self << 16) | u64::from(position)
    }

    #[inline(always)]
    fn way(self, way: usize) -> u16 {
        ((self >> (16 * way)) & 0xffff) as u16
    }
}

/// The hash tables, one for each size of set, allocated once for the largest parameters.
///
/// Why no epoch in an entry, as the gateware has: here a job begins with an empty table, which costs a memset and is
/// the same thing. Why 0 may stand for "empty" although it is a position too: an empty way that seems to hold position
/// `k * 2^16` can only be a candidate at a position whose four bytes are equal to those there. These were inserted
/// into the very same set, and since it still has an empty way nothing fell out of it: the true entry is in a lower
/// way and wins the tie.
pub(super) struct Matcher {
    one_way: Box<[u16]>,
    two_ways: Box<[u32]>,
    /// For three ways as well: the fourth is filled and never looked at.
    four_ways: Box<[u64]>,
}

impl Matcher {
    pub(super) fn new() -> Self {
        Self {
            one_way: vec![Set::EMPTY; 1 << HASH_BITS_MAX].into_boxed_slice(),
            two_ways: vec![Set::EMPTY; 1 << HASH_BITS_MAX].into_boxed_slice(),
            four_ways: vec![Set::EMPTY; 1 << HASH_BITS_MAX].into_boxed_slice(),
        }
    }

    /// Forgets every position of every job.
    pub(super) fn clear(&mut self) {
        self.one_way.fill(Set::EMPTY);
        self.two_ways.fill(Set::EMPTY);
        self.four_ways.fill(Set::EMPTY);
    }

    /// Sets that hold a position, in all tables.
    pub(super) fn occupied_sets(&self) -> usize {
        fn occupied<T: Set + PartialEq>(sets: &[T]) -> usize {
            sets.iter().filter(|set| **set != T::EMPTY).count()
        }
        occupied(&self.one_way) + occupied(&self.two_ways) + occupied(&self.four_ways)
    }

    /// Parses `stream` from `start` on into `sink`; the bytes before are history. `params` must be valid.
    pub(super) fn parse<S: Sink>(
        &mut self,
        stream: &[u8],
        start: usize,
        params: Params,
        sink: &mut S,
    ) {
        let Params {
            hash_bits,
            ways,
            lazy,
        } = params;
        let (one, two, four) = (&mut self.one_way, &mut self.two_ways, &mut self.four_ways);
        let bits = hash_bits;
        // The card's levels use the largest table: its hash is worth a shift by a constant.
        match (ways, bits == HASH_BITS_MAX) {
            (1, true) => Search::<_, 1, true>::new(stream, one, bits).parse(start, lazy, sink),
            (1, false) => Search::<_, 1, false>::new(stream, one, bits).parse(start, lazy, sink),
            (2, true) => Search::<_, 2, true>::new(stream, two, bits).parse(start, lazy, sink),
            (2, false) => Search::<_, 2, false>::new(stream, two, bits).parse(start, lazy, sink),
            (3, _) => Search::<_, 3, false>::new(stream, four, bits).parse(start, lazy, sink),
            (_, true) => Search::<_, 4, true>::new(stream, four, bits).parse(start, lazy, sink),
            (_, false) => Search::<_, 4, false>::new(stream, four, bits).parse(start, lazy, sink),
        }
    }
}

/// One parse under way.
struct Search<'a, S, const WAYS: usize, const LARGEST: bool> {
    stream: &'a [u8],
    sets: &'a mut [S],
    hash_shift: u32,
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

/// How many bytes at `here` equal those at `there`, which lies before it: at most `limit`.
#[inline(always)]
fn common_length(stream: &[u8], here: usize, there: usize, limit: usize) -> usize {
    let mut length = 0;
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

impl<'a, T: Set, const WAYS: usize, const LARGEST: bool> Search<'a, T, WAYS, LARGEST> {
    /// Takes the first `2^hash_bits` sets of `table`, emptied.
    fn new(stream: &'a [u8], table: &'a mut [T], hash_bits: u32) -> Self {
        let hash_bits = hash_bits.clamp(HASH_BITS_MIN, HASH_BITS_MAX);
        let sets = table.get_mut(..1 << hash_bits).unwrap_or_default();
        sets.fill(T::EMPTY);
        Self {
            stream,
            sets,
            hash_shift: 32 - hash_bits,
        }
    }

    /// Inserts `position`, where `bytes` are; what the set held before.
    #[inline(always)]
    fn insert(&mut self, bytes: u32, position: u16) -> T {
        let shift = if LARGEST {
            32 - HASH_BITS_MAX
        } else {
            self.hash_shift
        };
        let set = (bytes.wrapping_mul(HASH_MULTIPLIER) >> shift) as usize;
        let Some(set) = self.sets.get_mut(set) else {
            return T::EMPTY;
        };
        let before = *set;
        *set = before.insert(position);
        before
    }

    /// Looks up and inserts `at`, which has four bytes; the longest match above `floor` bytes, if any.
    #[inline(always)]
    fn find(&mut self, at: usize, floor: usize) -> Option<(usize, usize)> {
        let stream = self.stream;
        let position = (at as u64 & 0xffff) as u16;
        let candidates = self.insert(word(stream, at)?, position);
        // A match longer than `floor` has these four bytes in common; most candidates fall here.
        let probe = at + floor - (MATCH_LENGTH_MIN - 1);
        let probe_bytes = word(stream, probe)?;
        // Without a branch a way: which of them holds is anything but predictable.
        let mut holding = 0u32;
        for way in 0..WAYS {
            let distance = usize::from(position.wrapping_sub(candidates.way(way)));
            let is_equal = word(stream, probe.wrapping_sub(distance)) == Some(probe_bytes);
            holding |= u32::from(is_equal) << way;
        }
        if holding == 0 {
            return None;
        }
        let limit = MATCH_LENGTH_MAX.min(stream.len() - at);
        let mut best = floor;
        let mut best_distance = 0;
        while holding != 0 {
            let way = holding.trailing_zeros() as usize;
            holding &= holding - 1;
            let distance = usize::from(position.wrapping_sub(candidates.way(way)));
            if distance.wrapping_sub(1) >= DISTANCE_MAX.min(at) {
                continue;
            }
            let length = common_length(stream, at, at - distance, limit);
            if length > best {
                best = length;
                best_distance = distance;
            }
        }
        (best > floor).then_some((best, best_distance))
    }

    #[inline(always)]
    fn insert_range(&mut self, from: usize, to: usize) {
        let Some(bytes) = self.stream.get(from..to + MATCH_LENGTH_MIN - 1) else {
            return;
        };
        for (bytes, at) in bytes.array_windows::<MATCH_LENGTH_MIN>().zip(from..) {
            self.insert(u32::from_le_bytes(*bytes), (at as u64 & 0xffff) as u16);
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
