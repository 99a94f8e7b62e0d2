//! Bytes that mean harm or were hurt on the way: the walker and the verifier answer every one of them
//! with the truth, and with no panic.

use std::io::Write;

use faam_codec::{
    Decoder, EMPTY_FINAL_STORED_BLOCK, EMPTY_STORED_BLOCK, Engine, Level, LibdeflateEngine,
    Position, SYNC_MARKER, Verifier, VerifyError, WalkError, Walker, write_stored,
};
use flate2::{Compression, FlushCompress};
use proptest::prelude::*;

const DECODERS: [Decoder; 3] = [Decoder::ZlibRs, Decoder::Libdeflate, Decoder::IsaL];

/// Text in which every symbol class occurs: literals, short and long matches, near and far.
fn text(len: usize) -> Vec<u8> {
    let mut data = Vec::new();
    let mut number = 1u32;
    while data.len() < len {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match number >> 29 {
            0..=3 => data.extend_from_slice(format!("queue {} ", number >> 20).as_bytes()),
            4 | 5 if data.len() > 40 => {
                let from = usize::try_from(number >> 8).expect("24 bits") % (data.len() - 30);
                let copy = data[from..from + 30].to_vec();
                data.extend_from_slice(&copy);
            }
            _ => data.extend_from_slice(&number.to_le_bytes()),
        }
    }
    data.truncate(len);
    data
}

fn compress(input: &[u8], level: u8, position: Position) -> Vec<u8> {
    let mut out = Vec::new();
    let level = Level::new(level).expect("in range");
    LibdeflateEngine::new()
        .compress_block(input, level, position, &mut out)
        .expect("the engine serves every input");
    out
}

/// A final raw stream by zlib-rs, with full flushes at the cuts.
fn by_zlib_rs(input: &[u8], level: u32, cut: usize) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Compression::new(level));
    let (first, second) = input.split_at(cut.min(input.len()));
    encoder.write_all(first).expect("a Vec takes it");
    encoder.flush().expect("a Vec takes it");
    encoder.write_all(second).expect("a Vec takes it");
    encoder.finish().expect("a Vec takes it")
}

/// What each decoder has against a block that must not pass.
fn refuse_everywhere(block: &[u8], position: Position, input: &[u8]) -> Vec<VerifyError> {
    let mut verifier = Verifier::new();
    DECODERS
        .iter()
        .map(|&decoder| {
            verifier
                .check_block(block, position, input, decoder)
                .expect_err("the block is wrong and must be refused")
        })
        .collect()
}

#[test]
fn every_flipped_bit_of_a_block_is_caught_or_harmless() {
    let input = text(700);
    let mut verifier = Verifier::new();
    for position in [Position::Middle, Position::Last] {
        for level in [1, 6, 12] {
            let block = compress(&input, level, position);
            let mut harmless = 0;
            for bit in 0..block.len() * 8 {
                let mut hurt = block.clone();
                hurt[bit / 8] ^= 1 << (bit % 8);
                let verdicts = DECODERS.map(|decoder| {
                    verifier
                        .check_block(&hurt, position, &input, decoder)
                        .is_ok()
                });
                assert_eq!(
                    verdicts[0], verdicts[1],
                    "decoders agree on bit {bit} at level {level}"
                );
                harmless += usize::from(verdicts[0]);
            }
            // Padding bits, and code words that no symbol of the block uses, may change without effect: at
            // most a byte of padding and a few unused code lengths. Everything else is seen.
            assert!(
                harmless <= 24,
                "{harmless} flipped bits passed at level {level}, {position:?}"
            );
            if harmless > 0 {
                println!(
                    "{harmless} of {} bits are without effect at level {level}, {position:?}",
                    block.len() * 8
                );
            }
        }
    }
}

#[test]
fn a_flipped_byte_of_the_input_is_located() {
    let input = text(300_000);
    let mut verifier = Verifier::new();
    for position in [Position::Middle, Position::Last] {
        let block = compress(&input, 3, position);
        for offset in [0, 1, 131_071, 131_072, 299_999] {
            let mut other = input.clone();
            other[offset] ^= 0x40;
            for decoder in DECODERS {
                assert_eq!(
                    verifier.check_block(&block, position, &other, decoder),
                    Err(VerifyError::Mismatch {
                        offset,
                        input_len: input.len()
                    }),
                    "{decoder:?}"
                );
            }
        }
        // And the verifier is none the worse for it.
        for decoder in DECODERS {
            assert_eq!(
                verifier.check_block(&block, position, &input, decoder),
                Ok(())
            );
        }
    }
}

#[test]
fn a_block_in_the_wrong_place_is_refused() {
    let input = text(5_000);
    let last = compress(&input, 3, Position::Last);
    let middle = compress(&input, 3, Position::Middle);
    assert_eq!(
        refuse_everywhere(&last, Position::Middle, &input),
        [VerifyError::NoSyncMarker; DECODERS.len()]
    );
    assert_eq!(
        refuse_everywhere(&middle, Position::Last, &input),
        [VerifyError::NotFinal; DECODERS.len()]
    );
}

#[test]
fn bytes_after_the_stream_are_refused() {
    let input = text(5_000);
    let block = compress(&input, 3, Position::Last);
    for tail in [&b"\0"[..], b"\0\0\0\0\0\0\0\0\0\0\0\0", b"tail", &block] {
        let mut longer = block.clone();
        longer.extend_from_slice(tail);
        let expected = VerifyError::EndsEarly {
            consumed: block.len(),
            block_len: longer.len(),
        };
        assert_eq!(
            refuse_everywhere(&longer, Position::Last, &input),
            [expected; DECODERS.len()]
        );
    }
}

#[test]
fn a_final_stream_behind_a_planted_marker_is_no_middle_block() {
    let input = text(5_000);
    let mut block = compress(&input, 3, Position::Last);
    let consumed = block.len();
    block.extend_from_slice(&EMPTY_STORED_BLOCK);
    let expected = VerifyError::EndsEarly {
        consumed,
        block_len: block.len(),
    };
    assert_eq!(
        refuse_everywhere(&block, Position::Middle, &input),
        [expected; DECODERS.len()]
    );
}

#[test]
fn a_trailer_planted_by_a_card_that_knows_the_input_does_not_help_it() {
    // libdeflate alone would take this: it finds CRC-32 and length of the input just where it stops.
    let input = text(5_000);
    for position in [Position::Last, Position::Middle] {
        let mut block = compress(&input, 3, Position::Last);
        let consumed = block.len();
        block.extend_from_slice(&crc32fast::hash(&input).to_le_bytes());
        block.extend_from_slice(&5_000u32.to_le_bytes());
        block.extend_from_slice(&EMPTY_STORED_BLOCK);
        let expected = VerifyError::EndsEarly {
            consumed,
            block_len: block.len(),
        };
        assert_eq!(
            refuse_everywhere(&block, position, &input),
            [expected; DECODERS.len()]
        );
    }
}

#[test]
fn sync_marker_bytes_inside_a_code_are_no_boundary() {
    // A stored block whose data ends like a marker, cut before its end: not between two blocks.
    let mut cut = vec![0x00, 0x08, 0x00, 0xf7, 0xff];
    cut.extend_from_slice(&SYNC_MARKER);
    for error in refuse_everywhere(&cut, Position::Middle, &SYNC_MARKER) {
        assert_eq!(error, VerifyError::NoSyncMarker);
    }
}

/// A final stored block that ends like a marker, five bytes short: with an end of stream appended it would decode to
/// the input exactly, and swallow the first bytes of the block that follows it in the member.
#[test]
fn a_middle_block_that_would_swallow_what_follows_is_refused() {
    let block = [0x01, 0x09, 0x00, 0xf6, 0xff, 0x00, 0x00, 0xff, 0xff];
    let input = [0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff];
    for error in refuse_everywhere(&block, Position::Middle, &input) {
        assert_eq!(error, VerifyError::NoSyncMarker);
    }
}

#[test]
fn shorter_and_longer_blocks_are_told_apart() {
    let input = text(200_000);
    let block = compress(&input, 3, Position::Last);
    assert_eq!(
        refuse_everywhere(&block, Position::Last, &input[..199_999]),
        [const { VerifyError::TooLong { input_len: 199_999 } }; DECODERS.len()]
    );
    let mut longer = input.clone();
    longer.push(b'x');
    assert_eq!(
        refuse_everywhere(&block, Position::Last, &longer),
        [const {
            VerifyError::TooShort {
                decoded_len: 200_000,
                input_len: 200_001,
            }
        }; DECODERS.len()]
    );
    for position in [Position::Middle, Position::Last] {
        refuse_everywhere(&[], position, &input);
        refuse_everywhere(&[], position, &[]);
    }
}

#[test]
fn every_cut_of_a_block_is_refused() {
    let input = text(900);
    let block = compress(&input, 3, Position::Last);
    for len in 0..block.len() {
        refuse_everywhere(&block[..len], Position::Last, &input);
    }
}

#[test]
fn stored_blocks_are_verified_like_any_other() {
    let mut verifier = Verifier::new();
    for len in [0, 1, 65_535, 65_536, 200_000] {
        let input = text(len);
        for position in [Position::Middle, Position::Last] {
            let mut block = Vec::new();
            write_stored(&input, position, &mut block);
            for decoder in DECODERS {
                assert_eq!(
                    verifier.check_block(&block, position, &input, decoder),
                    Ok(()),
                    "{len} {position:?}"
                );
            }
        }
    }
}

#[test]
fn the_walker_refuses_each_kind_of_fault_by_name() {
    let mut walker = Walker::new();
    assert_eq!(walker.walk(&[]), Err(WalkError::Truncated { len: 0 }));
    assert_eq!(
        walker.walk(&[0x07]),
        Err(WalkError::ReservedBlockType { offset: 0 })
    );
    assert_eq!(
        walker.walk(&[0x01, 1, 0, 0, 0, 0]),
        Err(WalkError::StoredLength { offset: 1 })
    );
    assert_eq!(
        walker.walk(&[0x01, 2, 0, 0xfd, 0xff, 0]),
        Err(WalkError::Truncated { len: 6 })
    );
    // Dynamic, 19 code length lengths of 7: oversubscribed is 1 each.
    assert!(matches!(
        walker.walk(&[0x05, 0xe0, 0x49, 0x92, 0x24, 0x49, 0x92, 0x24, 0x49, 0x92]),
        Err(WalkError::CodeDefinition { .. })
    ));
    let mut trailing = EMPTY_FINAL_STORED_BLOCK.to_vec();
    trailing.push(0);
    assert_eq!(
        walker.walk(&trailing),
        Err(WalkError::TrailingBytes {
            consumed: 5,
            len: 6
        })
    );
    // Fixed block: length symbol 286 (11000110) is reserved.
    assert!(matches!(
        walker.walk(&[0x1b, 0x03, 0, 0, 0]),
        Err(WalkError::Symbol { .. })
    ));
}

#[test]
fn padding_that_is_not_zero_does_not_leak_into_the_marker() {
    let mut paddings = [false; 8];
    for len in 1..200 {
        let input = text(len);
        let mut stream = compress(&input, 6, Position::Last);
        let walk = Walker::new()
            .walk(&stream)
            .expect("libdeflate makes DEFLATE");
        let used = walk.end_bit % 8;
        if used != 0 {
            *stream.last_mut().expect("not empty") |= 0xff << used;
        }
        paddings[usize::try_from(used).expect("below 8")] = true;
        Walker::new()
            .make_middle(&mut stream)
            .expect("padding may be anything");
        for decoder in DECODERS {
            let verdict = Verifier::new().check_block(&stream, Position::Middle, &input, decoder);
            assert_eq!(verdict, Ok(()), "{len} bytes, {used} bits used");
        }
    }
    assert_eq!(paddings, [true; 8], "every number of used bits occurs");
}

#[test]
fn every_cut_of_a_stream_is_refused_by_the_walker() {
    let mut walker = Walker::new();
    for level in [1, 6] {
        let stream = compress(&text(3_000), level, Position::Last);
        assert!(walker.walk(&stream).is_ok());
        for len in 0..stream.len() {
            assert!(walker.walk(&stream[..len]).is_err(), "{len}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Streams that libdeflate never makes: zlib-rs's, with fixed blocks and flushes inside.
    #[test]
    fn foreign_streams_become_middle_blocks(len in 0usize..90_000, cut in any::<usize>(), level in 0u32..=9) {
        let input = text(len);
        let mut stream = by_zlib_rs(&input, level, cut % (len + 1));
        let walk = Walker::new().make_middle(&mut stream).expect("zlib-rs makes DEFLATE");
        prop_assert!(walk.blocks >= 1);
        for decoder in DECODERS {
            prop_assert_eq!(Verifier::new().check_block(&stream, Position::Middle, &input, decoder), Ok(()));
        }
    }

    /// Bytes are refused or stand as they are: a refused stream is not touched.
    #[test]
    fn any_bytes_are_walked_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), block_type in 0u8..4) {
        let mut stream = bytes;
        if let Some(first) = stream.first_mut() {
            *first = (*first & !6) | (block_type << 1);
        }
        let before = stream.clone();
        if Walker::new().make_middle(&mut stream).is_err() {
            prop_assert_eq!(stream, before);
        }
    }

    /// Where the walker accepts a hurt stream, zlib-rs does not find its end anywhere else.
    #[test]
    fn a_hurt_stream_is_walked_as_it_decodes(bit in any::<usize>(), level in 1u8..=9, len in 1usize..4_000) {
        let mut stream = compress(&text(len), level, Position::Last);
        let bit = bit % (stream.len() * 8);
        stream[bit / 8] ^= 1 << (bit % 8);
        let walked = Walker::new().walk(&stream);
        let mut decoder = flate2::Decompress::new(false);
        let mut out = vec![0; 1 << 20];
        let status = decoder.decompress(&stream, &mut out, flate2::FlushDecompress::Finish);
        // A distance beyond the data, or a code that is incomplete, is the decoder's to refuse, not the walker's.
        if matches!(status, Ok(flate2::Status::StreamEnd)) {
            match walked {
                Ok(_) => prop_assert_eq!(decoder.total_in(), stream.len() as u64),
                Err(WalkError::TrailingBytes { consumed, .. }) => prop_assert_eq!(decoder.total_in(), consumed),
                Err(error) => prop_assert!(false, "zlib-rs decodes what the walker refuses: {}", error),
            }
        }
    }

    #[test]
    fn any_bytes_are_verified_without_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        input in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let mut verifier = Verifier::new();
        for position in [Position::Middle, Position::Last] {
            let verdicts = DECODERS.map(|decoder| verifier.check_block(&bytes, position, &input, decoder).is_ok());
            prop_assert_eq!(verdicts[0], verdicts[1]);
        }
    }
}

#[test]
fn flush_without_end_is_a_right_middle_block() {
    // As a card that keeps no history makes it: sync flush, nothing final.
    let input = text(10_000);
    let mut compressor = flate2::Compress::new(Compression::fast(), false);
    let mut block = Vec::with_capacity(20_000);
    compressor
        .compress_vec(&input, &mut block, FlushCompress::Sync)
        .expect("zlib-rs compresses");
    for decoder in DECODERS {
        assert_eq!(
            Verifier::new().check_block(&block, Position::Middle, &input, decoder),
            Ok(())
        );
    }
}
