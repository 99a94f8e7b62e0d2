//! Tells data that no DEFLATE engine would shrink, for a fraction of what it costs to try: encrypted, random or
//! already compressed data is stored without an engine.
//!
//! Invariant (the false-positive rule): data that an engine would make more than 2 % smaller is called compressible. What
//! DEFLATE can gain comes from two things, and each is looked for:
//!
//! - byte values that are not equally frequent. Windows of 64 bytes, up to 256 of them spread over the data, each have to
//!   show as many different values as random bytes do, and all together their frequencies have to pass a chi-squared
//!   test. At 16,384 samples 2 % of entropy lifts the statistic from 255 +- 23 to over 3,000.
//! - repeats. At places that the data itself selects, about two thousand, five bytes are looked for at the places before
//!   them within a window's distance. A match of n bytes saves n - 3 at the most and is met at n - 4 places of its n, so
//!   2 % saved is at least 1 % of the places; a quarter of that is enough to be called compressible.
//!
//! Whatever is in doubt is compressed: a wrong "no" costs the test's time, a wrong "yes" ratio.
//! Compressible data mostly shows in the first window, so the test costs it 0.1 microseconds.

/// Shorter data is not tested: libdeflate is done with 4 KiB of it sooner than the test, which gains x6 at 64 KiB and x10 at
/// 1 MiB (`make engines`).
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
const REPEAT_BYTES: usize = 5;
/// Places that data of any length offers for repeats, at the least, on average; one in so many of them may be a repeat; and
/// the slots of their table.
const PLACES: usize = 1 << 11;
const PLACES_A_REPEAT: usize = 400;
const TABLE_SLOTS: usize = 1 << 12;
/// The rarest selection of places: one byte value of 256.
const SELECTION_MASK_MAX: u8 = 0xff;

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

    /// Whether more than a few places hold five bytes that an earlier place within DEFLATE's reach holds too.
    fn repeats(&mut self, data: &[u8]) -> bool {
        self.seen.fill(0);
        let mask = selection_mask(data.len());
        let mut left = data.len() / (usize::from(mask) + 1) / PLACES_A_REPEAT;
        for (at, place) in data.windows(REPEAT_BYTES).enumerate() {
            let &[first, b1, b2, b3, b4] = place else {
                continue;
            };
            if first & mask != 0 {
                continue;
            }
            let word = u64::from_le_bytes([first, b1, b2, b3, b4, 0, 0, 0]);
            // The multiplier is 2^64 divided by the golden ratio; the upper bits are the well mixed ones.
            let hash = word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - TABLE_SLOTS.ilog2());
            let slot = usize::try_from(hash).unwrap_or_default() & (TABLE_SLOTS - 1);
            if let Some(slot) = self.seen.get_mut(slot) {
                let before = usize::try_from(*slot).unwrap_or_default();
                let near = before > 0 && at + 1 - before <= DISTANCE_MAX;
                if near && data.get(before - 1..before - 1 + REPEAT_BYTES) == Some(place) {
                    let Some(fewer) = left.checked_sub(1) else {
                        return true;
                    };
                    left = fewer;
                }
                // Positions beyond 32 bits are out of reach of each other anyway.
                *slot = u32::try_from(at + 1).unwrap_or_default();
            }
        }
        false
    }
}

/// Which bytes make a place: those that have none of these bits. One in eight at 16 KiB, one in 256 from 512 KiB on.
fn selection_mask(len: usize) -> u8 {
    let one_in = (len / PLACES).max(1).next_power_of_two();
    u8::try_from(one_in - 1).unwrap_or(SELECTION_MASK_MAX)
}

/// Whether byte values in windows over all of `data` are as even as random ones.
fn values_are_even(data: &[u8]) -> bool {
    let windows = (data.len() / WINDOW_BYTES).min(WINDOWS_MAX);
    let stride = data.len() / windows.max(1);
    let mut frequencies = [0u32; 256];
    for window in data.chunks(stride.max(1)).take(windows) {
        let window = window.get(..WINDOW_BYTES).unwrap_or(window);
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// splitmix64's output function over a counter: random for all purposes here.
    fn noise(seed: u64, len: usize) -> Vec<u8> {
        (1u64..)
            .flat_map(|n| {
                let mut z = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                (z ^ (z >> 31)).to_le_bytes()
            })
            .take(len)
            .collect()
    }

    /// What libdeflate's level 6 makes of it, as a share of its length.
    fn shrunk_to(data: &[u8]) -> f64 {
        let level = libdeflater::CompressionLvl::new(6).expect("a level");
        let mut compressor = libdeflater::Compressor::new(level);
        let mut out = vec![0; compressor.deflate_compress_bound(data.len())];
        let len = compressor
            .deflate_compress(data, &mut out)
            .expect("it fits");
        #[expect(clippy::cast_precision_loss, reason = "lengths of test data")]
        let share = len as f64 / data.len() as f64;
        share
    }

    fn holds_for(data: &[u8]) -> bool {
        Incompressibility::new().holds_for(data)
    }

    #[test]
    fn random_data_is_told_at_every_length() {
        let mut refused = 0;
        for seed in 0..200 {
            for len in [16_384, 20_000, 65_536, 131_072, 1 << 20] {
                refused += u32::from(!holds_for(&noise(seed, len)));
            }
        }
        assert!(
            refused <= 5,
            "{refused} of 1000 random blocks would be compressed for nothing"
        );
        assert!(
            !holds_for(&noise(1, TESTED_BYTES_MIN - 1)),
            "too short to tell"
        );
    }

    /// Random data with something in it that can be compressed.
    fn flawed() -> impl Strategy<Value = Vec<u8>> {
        let len = prop::sample::select(vec![16_384usize, 30_000, 65_536, 131_072, 262_144]);
        (
            any::<u64>(),
            len,
            0u8..6,
            2usize..40,
            any::<prop::sample::Index>(),
        )
            .prop_map(|(seed, len, kind, share, at)| {
                let mut data = noise(seed, len);
                let part = len * share / 100;
                let at = at.index(len - part + 1);
                match kind {
                    // A run of text, of zeros, and of one of the values too many.
                    0 => data[at..at + part]
                        .iter_mut()
                        .for_each(|byte| *byte = b'a' + (*byte & 15)),
                    1 => data[at..at + part].fill(0),
                    2 => data
                        .iter_mut()
                        .skip(at % 7)
                        .step_by(100 / share)
                        .for_each(|byte| *byte = 0x55),
                    // Values that do not occur.
                    3 => {
                        let values = 256 - u32::try_from(share).expect("small") * 3;
                        data.iter_mut().for_each(|byte| {
                            *byte = u8::try_from(u32::from(*byte) * values / 256).expect("a byte");
                        });
                    }
                    // A long repeat, and many short ones.
                    4 => {
                        let from = at.saturating_sub(part.min(20_000));
                        let copied = data[from..from + part.min(at - from).min(len - at)].to_vec();
                        data[at..at + copied.len()].copy_from_slice(&copied);
                    }
                    _ => {
                        for n in 0..part / 8 {
                            let to = (n + 1) * (len / (part / 8 + 2));
                            let from = (to * 7 + share) % to.max(1);
                            let from = from.max(to.saturating_sub(30_000)).min(len - 8);
                            let piece = data[from..from + 8].to_vec();
                            let to = to.min(len - 8);
                            data[to..to + 8].copy_from_slice(&piece);
                        }
                    }
                }
                data
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        #[test]
        fn what_would_shrink_by_two_per_cent_is_compressed(data in flawed()) {
            let share = shrunk_to(&data);
            prop_assert!(share > 0.98 || !holds_for(&data), "{share} of {} bytes", data.len());
        }
    }
}
