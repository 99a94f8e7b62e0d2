//! Our comparing decoder held against the decoders of others: on right blocks of every maker, cut ones and hurt ones.

#[expect(unreachable_pub, reason = "a module of several tests")]
mod oracles;

use std::io::Write;

use faam_codec::{
    CpuEngines, Engine, IsalEngine, Level, LibdeflateEngine, Position, Verifier, VerifyError,
    write_stored,
};
use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;

/// Who made a block.
#[derive(Clone, Copy, Debug)]
enum Maker {
    Libdeflate(u8),
    IsaL(u8),
    /// With a flush at a place in the data; level 0 stores.
    ZlibRs(u32, usize),
    /// The same with fixed codes only.
    Fixed(u32),
    Stored,
}

fn makers() -> impl Strategy<Value = Maker> {
    prop_oneof![
        3 => (1u8..=12).prop_map(Maker::Libdeflate),
        1 => (1u8..=2).prop_map(Maker::IsaL),
        2 => (0u32..=9, any::<usize>()).prop_map(|(level, cut)| Maker::ZlibRs(level, cut)),
        1 => (1u32..=9).prop_map(Maker::Fixed),
        1 => Just(Maker::Stored),
    ]
}

/// Data of several kinds: words, runs, repetitions near and far, noise.
fn data(len_max: usize) -> impl Strategy<Value = Vec<u8>> {
    let stretch = (0u8..6, any::<u64>(), 1usize..3_000);
    (prop::collection::vec(stretch, 0..40), 0..len_max).prop_map(|(stretches, len)| {
        let mut data: Vec<u8> = Vec::new();
        for (kind, seed, len) in stretches {
            let mut state = seed | 1;
            let mut next = || {
                state ^= state >> 12;
                state ^= state << 25;
                state ^= state >> 27;
                state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40
            };
            let end = data.len() + len;
            while data.len() < end {
                match kind {
                    0 => {
                        data.extend_from_slice(format!("{{\"n\":{}}},", next() % 1_000).as_bytes());
                    }
                    1 => data.extend_from_slice(&next().to_le_bytes()[..3]),
                    2 => data.push(b'a' + u8::try_from(next() % 4).expect("below 4")),
                    3 => data.resize(end, u8::try_from(seed % 256).expect("a byte")),
                    _ if data.is_empty() => data.push(7),
                    _ => {
                        let from = usize::try_from(next()).expect("24 bits") % data.len();
                        let copied = (3 + usize::try_from(next() % 300).expect("small"))
                            .min(data.len() - from);
                        data.extend_from_within(from..from + copied);
                    }
                }
            }
            data.truncate(end);
        }
        data.truncate(len);
        data
    })
}

fn make(maker: Maker, input: &[u8], position: Position) -> Vec<u8> {
    let mut block = Vec::new();
    let level = |level| Level::new(level).expect("in range");
    match maker {
        Maker::Libdeflate(native) => LibdeflateEngine::new()
            .compress_block(input, level(native), position, &mut block)
            .expect("it serves every input"),
        Maker::IsaL(native) => match IsalEngine::new() {
            Some(mut isal) => isal
                .compress_block(input, level(native), position, &mut block)
                .expect("it serves every input"),
            None => write_stored(input, position, &mut block),
        },
        Maker::ZlibRs(native, cut) => {
            let mut encoder =
                flate2::write::DeflateEncoder::new(Vec::new(), Compression::new(native));
            let (first, second) = input.split_at(cut % (input.len() + 1));
            encoder.write_all(first).expect("a Vec takes it");
            encoder.flush().expect("a Vec takes it");
            encoder.write_all(second).expect("a Vec takes it");
            block = match position {
                Position::Last => encoder.finish().expect("a Vec takes it"),
                Position::Middle => {
                    encoder.flush().expect("a Vec takes it");
                    encoder.get_ref().clone()
                }
            };
        }
        Maker::Fixed(native) => {
            // Short pieces come out as fixed blocks.
            let mut compress = Compress::new(Compression::new(native), false);
            for piece in input.chunks(40) {
                block.reserve(200);
                compress
                    .compress_vec(piece, &mut block, FlushCompress::Sync)
                    .expect("zlib-rs compresses");
            }
            block.reserve(200);
            let flush = match position {
                Position::Last => FlushCompress::Finish,
                Position::Middle => FlushCompress::Full,
            };
            compress
                .compress_vec(&[], &mut block, flush)
                .expect("zlib-rs compresses");
            if position == Position::Middle && !block.ends_with(&faam_codec::SYNC_MARKER) {
                block.extend_from_slice(&faam_codec::EMPTY_STORED_BLOCK);
            }
        }
        Maker::Stored => write_stored(input, position, &mut block),
    }
    block
}

fn positions() -> impl Strategy<Value = Position> {
    prop_oneof![Just(Position::Middle), Just(Position::Last)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn right_blocks_of_every_maker_are_taken(
        maker in makers(), input in data(70_000), position in positions(), at in any::<usize>(),
    ) {
        let block = make(maker, &input, position);
        let mut verifier = Verifier::new();
        prop_assert_eq!(verifier.check_block(&block, position, &input), Ok(()));
        prop_assert_eq!(oracles::decode_block(&block, position, &input), [true; 3]);
        // Of another input the first byte that differs is found, and its length.
        let len = input.len();
        if len > 0 {
            let offset = at % len;
            let mut other = input.clone();
            other[offset] ^= 1 << (at % 8);
            let differs = Err(VerifyError::Mismatch { offset, input_len: len });
            prop_assert_eq!(verifier.check_block(&block, position, &other), differs);
            let short = Err(VerifyError::TooLong { input_len: offset });
            prop_assert_eq!(verifier.check_block(&block, position, &input[..offset]), short);
        }
        let longer = [&input[..], b"x"].concat();
        let expected = Err(VerifyError::TooShort { decoded_len: len, input_len: len + 1 });
        prop_assert_eq!(verifier.check_block(&block, position, &longer), expected);
    }

    #[test]
    fn cut_blocks_are_refused(
        maker in makers(), input in data(3_000), position in positions(),
    ) {
        let block = make(maker, &input, position);
        let mut verifier = Verifier::new();
        for len in 0..block.len() {
            // A cut may fall between two blocks, behind a flush with nothing left to say.
            let cut = &block[..len];
            if verifier.check_block(cut, position, &input).is_ok() {
                prop_assert_eq!(oracles::decode_block(cut, position, &input), [true; 3]);
                prop_assert_eq!(position, Position::Middle);
            }
        }
    }

    /// No one takes what another refuses, but for what is said in `what_the_strictest_decoder_refuses_is_refused`.
    #[test]
    fn hurt_blocks_are_taken_only_if_all_decoders_take_them(
        maker in makers(), input in data(20_000), position in positions(),
        bits in prop::collection::vec(any::<usize>(), 1..30),
    ) {
        let block = make(maker, &input, position);
        let mut verifier = Verifier::new();
        for bit in bits {
            let mut hurt = block.clone();
            let bit = bit % (hurt.len() * 8);
            hurt[bit / 8] ^= 1 << (bit % 8);
            let verdict = verifier.check_block(&hurt, position, &input);
            let others = oracles::decode_block(&hurt, position, &input);
            prop_assert_ne!(verdict, Err(VerifyError::DecodersDisagree { block_len: hurt.len() }));
            if verdict.is_ok() {
                prop_assert_eq!(others, [true; 3]);
            } else {
                prop_assert!(!others[0], "zlib-rs takes what is refused: {:?}", verdict);
            }
        }
    }

    /// The edit that makes a middle block of a final stream is right wherever the stream ends.
    #[test]
    fn finished_drafts_are_right_blocks(
        level in 1u8..=12, input in data(70_000), position in positions(), before in 0usize..20,
    ) {
        let mut engines = CpuEngines::without_isal();
        let mut out = vec![0xa5; before];
        let level = Level::new(level).expect("in range");
        let draft = engines.draft_block(&input, level, position, &mut out).expect("they serve every input");
        Verifier::new().finish(draft, &input, &mut out).expect("libdeflate is right");
        prop_assert_eq!(&out[..before], &vec![0xa5; before]);
        let block = &out[before..];
        prop_assert_eq!(oracles::decode_block(block, position, &input), [true; 3]);
        prop_assert_eq!(Verifier::new().check_block(block, position, &input), Ok(()));
        let mut at_once = Vec::new();
        engines.compress_block(&input, level, position, &mut at_once).expect("they serve every input");
        prop_assert_eq!(block, at_once);
    }
}

#[test]
fn a_draft_that_is_wrong_is_taken_back() {
    let input = b"this is what was to be compressed, and this is too".repeat(50);
    let mut out = b"before".to_vec();
    let draft = CpuEngines::without_isal()
        .draft_block(&input, Level::DEFAULT, Position::Middle, &mut out)
        .expect("they serve every input");
    let middle = out.len() / 2;
    out[middle] ^= 0x10;
    assert!(Verifier::new().finish(draft, &input, &mut out).is_err());
    assert_eq!(out, b"before");
}

/// A last block stands as its engine made it, so that the other engine's decoder is asked first.
#[test]
fn a_wrong_draft_of_a_last_block_is_taken_back_whoever_is_asked() {
    let input: Vec<u8> = (0u32..400)
        .flat_map(|n| format!("{{\"n\":{}}}", n * n % 1_009).into_bytes())
        .collect();
    for level in [1, 3, 9] {
        let level = Level::new(level).expect("in range");
        for (mut engines, mut verifier) in [
            (CpuEngines::new(), Verifier::new()),
            (CpuEngines::new(), Verifier::without_isal()),
            (CpuEngines::without_isal(), Verifier::new()),
        ] {
            let mut right = b"before".to_vec();
            let draft = engines
                .draft_block(&input, level, Position::Last, &mut right)
                .expect("they serve every input");
            let mut finished = right.clone();
            assert_eq!(verifier.finish(draft, &input, &mut finished), Ok(()));
            assert_eq!(finished, right);

            let mut refuse = |wrong: &[u8], input: &[u8]| {
                let mut out = wrong.to_vec();
                assert!(
                    verifier.finish(draft, input, &mut out).is_err(),
                    "{level:?}"
                );
                assert_eq!(out, b"before");
            };
            refuse(&[&right[..], &[0]].concat(), &input);
            refuse(&[&right[..], &right[6..]].concat(), &input);
            for len in 6..right.len() {
                refuse(&right[..len], &input);
            }
            // The data, not the stream, is at fault; its length stays.
            for at in (0..input.len()).step_by(97) {
                let mut other = input.clone();
                other[at] ^= 1;
                refuse(&right, &other);
            }
            refuse(&right, &input[..input.len() - 1]);
            refuse(&right, &[&input[..], b"x"].concat());
        }
    }
}
