//! Tells data that no DEFLATE engine would shrink, for a fraction of what it costs to try: encrypted, random or
//! already compressed data is stored without an engine.
//!
//! Invariant (the false-positive rule): data that an engine would make more than 2 % smaller is called compressible. What
//! DEFLATE can gain comes from two things, and each is looked for:
//!
//! - byte values that are not equally frequent. Windows of 64 bytes, up to 256 of them, one in each stretch of the data at a
//!   place that a hash picks, each have to show as many different values as random bytes do, and all together their
//!   frequencies have to pass a chi-squared test. At 16,384 samples 2 % of entropy lifts the statistic from 255 +- 23 to
//!   over 3,000. Were the windows at a fixed stride, records of that length with random heads would show nothing else.
//! - repeats. At places that the data itself selects, by a hash of three bytes, a few thousand, four bytes are looked
//!   for at the places before them within a window's distance. A match of n bytes saves n - 3 at the most and is met at
//!   n - 3 places of its n, so 2 % saved is 2 % of the places; an eighth of that is enough to be called compressible. One
//!   selection for all of the data would pass by a short string that comes back and back in every one of its occurrences,
//!   or in none. So two more selections change from stretch to stretch, of 4 KiB and of 32 KiB, and each is another chance.
//!
//! The hashes are seeded by the data: the same data always gives the same answer.
//!
//! What that gives away (a test measures it): of what libdeflate 6 saves on the corpus, 0.00004 %, all of it on a file of
//! compressed data, of whose blocks none would shrink by 0.1 %. Of what it saves on data that was constructed to be missed
//! (records of 256 bytes to 64 KiB that begin with random bytes, six kinds of ends), 0.0002 %, and never more than 0.25 % of the
//! data's length.
//!
//! Whatever is in doubt is compressed: a wrong "no" costs the test's time, a wrong "yes" ratio.
//! Compressible data mostly shows in the first window, so the test costs it 0.1 microseconds.

/// Shorter data is not tested: libdeflate is done with 4 KiB of it sooner than the test, which gains x5 at 64 KiB and x8 at
/// 1 MiB (random data beside compressed data that is tried, by the example `speed`).
pub(crate) const TESTED_BYTES_MIN: usize = 16 << 10;

const WINDOW_BYTES: usize = 64;
const WINDOWS_MAX: usize = 256;

/// Fewest different values in a window of random bytes: 56.7 are expected with a standard deviation of 2.4, so one
/// window in a million has fewer.
const WINDOW_VALUES_MIN: u32 = 45;

/// Highest chi-squared statistic, 255 degrees of freedom, of random bytes: six standard deviations above the mean.
const CHI_SQUARED_MAX: u64 = 391;

/// How far back DEFLATE refers.
const DISTANCE_MAX: usize = 32 << 10;
/// Bytes that have to be equal to count as a repeat. Fewer occur by chance.
const REPEAT_BYTES: usize = 4;
/// Places that data of any length offers for repeats to each selection, at the least, on average; one in so many of them may
/// be a repeat; and the slots of their table.
const PLACES: usize = 1 << 10;
const PLACES_A_REPEAT: usize = 400;
const TABLE_SLOTS: usize = 1 << 12;
/// Positions that are looked at in one step, and the bytes that this takes: a position's hash is of three.
const STEP_BYTES: usize = 8;
const STEP_WINDOW_BYTES: usize = STEP_BYTES + 2;
/// The rarest selection of places: one hash of 64. Of strings of 256 bytes it passes by 2 %.
const SELECTION_MASK_MAX: u8 = 0x3f;
/// Selections at work at once: one that stays, and one for each of these stretches, which see repeats within them.
const SELECTIONS: usize = 3;
const STRETCHES_BYTES: [usize; SELECTIONS - 1] = [4 << 10, 32 << 10];

/// The test, with its table. One a worker; testing allocates nothing.
pub(crate) struct Incompressibility {
    /// Position + 1 of the last place with a hash; 0 for none.
    seen: Box<[u32; TABLE_SLOTS]>,
}

impl Incompressibility {
    pub(crate) fn new() -> Self {
        Self {
            seen: Box::new([0; TABLE_SLOTS]),
        }
    }

    /// Whether no engine would make `data` smaller by 2 %.
    pub(crate) fn holds_for(&mut self, data: &[u8]) -> bool {
        data.len() >= TESTED_BYTES_MIN && values_are_even(data) && !self.repeats(data)
    }

    /// Whether more than a few places hold four bytes that an earlier place within DEFLATE's reach holds too.
    fn repeats(&mut self, data: &[u8]) -> bool {
        self.seen.fill(0);
        let mask = selection_mask(data.len());
        let mut left = data.len() / (usize::from(mask) + 1) / PLACES_A_REPEAT;
        for stretch in (0..data.len()).step_by(STRETCHES_BYTES[0]) {
            let selected = selections_at(stretch);
            for from in (stretch..stretch + STRETCHES_BYTES[0]).step_by(STEP_BYTES) {
                let Some(bytes) = data.get(from..).and_then(<[u8]>::first_chunk) else {
                    return false;
                };
                let mut places = places_in(bytes, mask, selected);
                while places != 0 {
                    let at = from + (places.trailing_zeros() / u8::BITS) as usize;
                    places &= places - 1;
                    if self.repeats_at(data, at) {
                        let Some(fewer) = left.checked_sub(1) else {
                            return true;
                        };
                        left = fewer;
                    }
                }
            }
        }
        false
    }

    /// Whether the place last seen whose bytes have the hash of those here has the same bytes, within DEFLATE's reach.
    fn repeats_at(&mut self, data: &[u8], at: usize) -> bool {
        let Some(place) = data.get(at..).and_then(<[u8]>::first_chunk::<REPEAT_BYTES>) else {
            return false;
        };
        let word = u64::from(u32::from_le_bytes(*place));
        // The multiplier is 2^64 divided by the golden ratio; the upper bits are the well mixed ones.
        let hash = word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - TABLE_SLOTS.ilog2());
        let slot = usize::try_from(hash).unwrap_or_default() & (TABLE_SLOTS - 1);
        let Some(slot) = self.seen.get_mut(slot) else {
            return false;
        };
        let before = usize::try_from(*slot).unwrap_or_default();
        // Positions beyond 32 bits are out of reach of each other anyway.
        *slot = u32::try_from(at + 1).unwrap_or_default();
        let near = before > 0 && at + 1 - before <= DISTANCE_MAX;
        near && data.get(before - 1..before - 1 + REPEAT_BYTES) == Some(place)
    }
}

/// The hashes that are selected in the short stretch that begins at `from`.
fn selections_at(from: usize) -> [u8; SELECTIONS] {
    // The low bits of a stretch's number times an odd one: each value in turn.
    let selected = |stretch: usize, odd: usize| {
        let [low, ..] = (from / stretch).wrapping_mul(odd).to_le_bytes();
        low
    };
    let [short, long] = STRETCHES_BYTES;
    [0, !selected(short, 0x2b), selected(long, 0x1d) ^ 0x15]
}

/// Which of eight positions are places, each told by the highest bit of its byte: those the hash of whose three bytes is, in
/// the bits of `mask`, one of `selected`. All eight at once, in the bytes of a word.
fn places_in(bytes: &[u8; STEP_WINDOW_BYTES], mask: u8, selected: [u8; SELECTIONS]) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let ([first @ .., _, _], [_, second @ .., _], [_, _, third @ ..]) = (bytes, bytes, bytes);
    let [first, second, third] = [first, second, third].map(|bytes| u64::from_le_bytes(*bytes));
    // The low six bits of: the first byte, the second one rotated by 3, the third one rotated by 6. Text, whose bytes lack
    // their highest bits, meets every value of that too. What a shift brings in from the next byte is masked.
    let hash = first
        ^ ((second << 3) & (0x38 * EACH))
        ^ ((second >> 5) & (0x07 * EACH))
        ^ ((third >> 2) & (0x3f * EACH));
    let mut places = 0;
    for selected in selected {
        let differs = (hash ^ (EACH * u64::from(selected))) & (EACH * u64::from(mask));
        // A byte is at most 63 here, so that nothing is carried on to the next one.
        places |= !(differs + 0x7f * EACH) & (0x80 * EACH);
    }
    places
}

/// Which hashes make a place: those that have none of these bits. One in 16 at 16 KiB, one in 64 from 64 KiB on.
fn selection_mask(len: usize) -> u8 {
    let one_in = (len / PLACES).max(1).next_power_of_two();
    u8::try_from(one_in - 1).map_or(SELECTION_MASK_MAX, |mask| mask.min(SELECTION_MASK_MAX))
}

/// splitmix64's step (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): the next of a sequence of
/// numbers as good as random.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number that the data decides: its length, and eight bytes of its beginning, of its middle and of its end.
fn seed(data: &[u8]) -> u64 {
    let mut seed = data.len() as u64;
    for at in [0, data.len() / 2, data.len().saturating_sub(8)] {
        let bytes = data.get(at..).and_then(|rest| rest.first_chunk::<8>());
        seed ^= u64::from_le_bytes(*bytes.unwrap_or(&[0; 8]));
        seed = next_random(&mut seed);
    }
    seed
}

/// Whether byte values in windows over all of `data` are as even as random ones.
fn values_are_even(data: &[u8]) -> bool {
    let windows = (data.len() / WINDOW_BYTES).min(WINDOWS_MAX);
    let stretch = (data.len() / windows.max(1)).max(1);
    // Windows may reach into the next stretch, so that every byte is as likely to be looked at. Where they touch, all are.
    let places = if stretch > WINDOW_BYTES { stretch } else { 1 };
    let mut state = seed(data);
    let mut frequencies = [0u32; 256];
    for number in 0..windows {
        // The upper half of a random number, as a fraction of all places.
        let at = ((next_random(&mut state) >> 32) * places as u64) >> 32;
        let at = number * stretch + usize::try_from(at).unwrap_or_default();
        let at = at.min(data.len().saturating_sub(WINDOW_BYTES));
        let window = data.get(at..at + WINDOW_BYTES).unwrap_or_default();
        let mut values = [0u64; 4];
        for &byte in window {
            values[usize::from(byte >> 6)] |= 1 << (byte & 63);
            frequencies[usize::from(byte)] += 1;
        }
        let different: u32 = values.iter().map(|bits| bits.count_ones()).sum();
        if different < WINDOW_VALUES_MIN {
            return false;
        }
    }
    // chi squared = sum (observed - expected)^2 / expected, with expected = samples / 256, in whole numbers.
    let samples: u64 = frequencies.iter().map(|&count| u64::from(count)).sum();
    let squares: u64 = frequencies
        .iter()
        .map(|&count| {
            let difference = (u64::from(count) * 256).abs_diff(samples);
            difference * difference
        })
        .sum();
    squares <= CHI_SQUARED_MAX * samples * 256
}

#[cfg(test)]
mod tests;
