//! What is called incompressible, against what libdeflate makes of it.

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

/// Records of `record` bytes, of which the first `head` are random; what follows is of a kind that shrinks.
fn records(seed: u64, len: usize, record: usize, head: usize, tail: u8) -> Vec<u8> {
    let mut data = noise(seed, len);
    for (number, record) in data.chunks_mut(record).enumerate() {
        let head = head.min(record.len());
        let rest = &mut record[head..];
        match tail {
            // Random letters of 64: no repeats, a quarter to be saved.
            0 => rest.iter_mut().for_each(|byte| *byte = b'0' + (*byte & 63)),
            1 => rest.fill(0),
            // The same words over and over.
            2 => rest
                .iter_mut()
                .zip(b"status=ok; retries=0; region=eu-west-1; ".iter().cycle())
                .for_each(|(byte, &letter)| *byte = letter),
            // A counter.
            3 => rest.chunks_mut(8).enumerate().for_each(|(n, to)| {
                let word = (number * 1_000 + n).to_le_bytes();
                to.copy_from_slice(&word[..to.len()]);
            }),
            // The same random bytes, even in their values.
            4 => rest.copy_from_slice(&noise(99, rest.len())),
            // Random words of four bytes, of which there are 500: even in their bytes, and never five the same.
            _ => rest.chunks_exact_mut(4).for_each(|word| {
                let index = u64::from(word[0]) | u64::from(word[1] & 1) << 8;
                word.copy_from_slice(&noise(index * 77 + 5, 4));
            }),
        }
    }
    data
}

/// Bytes that compression saves on data, and that storing it untried gives away.
#[derive(Clone, Copy, Debug, Default)]
struct Saving {
    achievable: f64,
    missed: f64,
    /// The most that was given away of one piece of data, as a share of its length.
    worst: f64,
}

impl Saving {
    #[expect(clippy::cast_precision_loss, reason = "lengths of test data")]
    fn count(&mut self, data: &[u8]) {
        let share = (1.0 - shrunk_to(data)).max(0.0);
        let saved = share * data.len() as f64;
        self.achievable += saved;
        if holds_for(data) {
            self.missed += saved;
            self.worst = self.worst.max(share);
        }
    }

    fn missed_share(&self) -> f64 {
        self.missed / self.achievable.max(1.0)
    }
}

const RECORDS: [usize; 7] = [256, 512, 1_000, 4_096, 8_192, 16_384, 65_536];

#[test]
fn records_with_random_heads_are_not_taken_for_random() {
    let mut all = Saving::default();
    for len in [16 << 10, 64 << 10, 128 << 10, 1 << 20] {
        for record in RECORDS.into_iter().filter(|record| *record <= len) {
            for head in [5, 12, 25, 50, 75, 90, 96] {
                if len == 1 << 20 && head % 25 != 0 {
                    continue;
                }
                for tail in 0..6 {
                    let mut one = Saving::default();
                    let head = (record * head / 100).max(64);
                    let data = records(7, len, record, head, tail);
                    one.count(&data);
                    all.count(&data);
                    assert!(
                        one.worst <= 0.02,
                        "{len} bytes in records of {record} with heads of {head}, tail {tail}: {one:?}"
                    );
                }
            }
        }
    }
    println!(
        "constructed: {:.4} % missed: {all:?}",
        100.0 * all.missed_share()
    );
    assert!(all.missed_share() < 0.001, "{all:?}");
}

#[test]
fn next_to_nothing_is_given_away_on_the_corpus() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let named = std::env::var_os("FAAM_CORPUS").map(std::path::PathBuf::from);
    let fetched = here.join(".cache/corpus");
    let directory = named.unwrap_or_else(|| {
        if fetched.join("SHA256SUMS").exists() {
            fetched
        } else {
            here.join("benches/sample")
        }
    });
    let mut all = Saving::default();
    for entry in std::fs::read_dir(&directory).expect("the corpus, or the sample") {
        let path = entry.expect("an entry").path();
        let Ok(data) = std::fs::read(&path) else {
            continue;
        };
        let mut file = Saving::default();
        // Every fifth block of each length: all of the file's parts, for a fifth of the time.
        for len in [16 << 10, 64 << 10, 128 << 10] {
            for block in data.chunks_exact(len).step_by(5) {
                file.count(block);
            }
        }
        println!(
            "{}: {:.4} % of the saving missed, {:.2} % of a block at the most",
            path.display(),
            100.0 * file.missed_share(),
            100.0 * file.worst
        );
        all.achievable += file.achievable;
        all.missed += file.missed;
        all.worst = all.worst.max(file.worst);
    }
    println!(
        "corpus: {:.5} % missed: {all:?}",
        100.0 * all.missed_share()
    );
    assert!(all.achievable > 0.0, "nothing in {}", directory.display());
    assert!(all.missed_share() < 0.000_5 && all.worst <= 0.02, "{all:?}");
}

#[test]
fn places_are_chosen_by_what_is_there_and_not_by_where_it_is() {
    let data = [
        noise(11, 4_096),
        (0..500)
            .flat_map(|n| format!("key={n}; ").into_bytes())
            .collect(),
    ]
    .concat();
    let places = |data: &[u8], mask: u8| -> Vec<usize> {
        let mut places = Vec::new();
        for (step, bytes) in data
            .windows(STEP_WINDOW_BYTES)
            .step_by(STEP_BYTES)
            .enumerate()
        {
            let bytes = bytes.first_chunk().expect("ten bytes");
            let found = places_in(bytes, mask, [0; SELECTIONS]);
            assert_eq!(found & 0x7f7f_7f7f_7f7f_7f7f, 0);
            let found = (0..8).filter(|n| found >> (8 * n) & 0x80 != 0);
            places.extend(found.map(|n| step * 8 + n));
        }
        places
    };
    for mask in [0, 1, 7, SELECTION_MASK_MAX] {
        let all = places(&data, mask);
        for shift in 1..9 {
            let shifted: Vec<usize> = places(&data[shift..], mask)
                .iter()
                .map(|at| at + shift)
                .collect();
            let end = data.len() - 32;
            let within = |at: &&usize| (shift..end).contains(*at);
            assert!(
                all.iter().filter(within).eq(shifted.iter().filter(within)),
                "{mask} {shift}"
            );
        }
        // About one in so many of random bytes, and some of text.
        let random = all.iter().filter(|at| **at < 4_000).count() * (usize::from(mask) + 1);
        assert!((2_000..6_000).contains(&random), "{mask}: {random}");
        assert!(all.iter().any(|at| *at > 4_200), "{mask}");
    }
}

#[test]
#[ignore = "times the test"]
fn time() {
    for len in [16 << 10, 64 << 10, 128 << 10, 1 << 20] {
        let data = noise(3, len);
        let mut test = Incompressibility::new();
        let mut best = std::time::Duration::MAX;
        for _ in 0..200 {
            let begun = std::time::Instant::now();
            assert!(test.holds_for(&data));
            best = best.min(begun.elapsed());
        }
        println!("{len}: {best:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_would_shrink_by_two_per_cent_is_compressed(data in flawed()) {
        let share = shrunk_to(&data);
        prop_assert!(share > 0.98 || !holds_for(&data), "{share} of {} bytes", data.len());
    }

    #[test]
    fn aligned_records_are_compressed_where_that_saves_two_per_cent(
        seed in any::<u64>(),
        len in prop::sample::select(vec![16_384usize, 65_536, 131_072, 262_144]),
        record in prop::sample::select(RECORDS.to_vec()),
        head in 2usize..99,
        tail in 0u8..6,
    ) {
        let data = records(seed, len, record, record * head / 100, tail);
        let share = shrunk_to(&data);
        prop_assert!(share > 0.98 || !holds_for(&data), "{} of {} bytes", share, len);
        prop_assert_eq!(holds_for(&data), holds_for(&data.clone()));
    }
}
