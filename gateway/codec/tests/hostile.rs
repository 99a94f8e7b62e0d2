//! Bytes that mean harm or were hurt on the way: the verifier answers every one of them with the truth, and with no panic.

#[expect(unreachable_pub, reason = "a module of several tests")]
mod deflate_writer;
#[expect(unreachable_pub, reason = "a module of several tests")]
mod oracles;
#[path = "hostile/planted.rs"]
mod planted;
#[path = "hostile/strictness.rs"]
mod strictness;

use faam_codec::{Engine, Level, LibdeflateEngine, Position, Verifier, VerifyError, write_stored};
use flate2::{Compression, FlushCompress};

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

/// What there is against a block that must not pass.
fn refuse(block: &[u8], position: Position, input: &[u8]) -> VerifyError {
    Verifier::new()
        .check_block(block, position, input)
        .expect_err("the block is wrong and must be refused")
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
                let verdict = verifier.check_block(&hurt, position, &input);
                assert_eq!(
                    [verdict.is_ok(); 3],
                    oracles::decode_block(&hurt, position, &input),
                    "bit {bit} at level {level}, {position:?}: {verdict:?}"
                );
                harmless += usize::from(verdict.is_ok());
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
            assert_eq!(
                verifier.check_block(&block, position, &other),
                Err(VerifyError::Mismatch {
                    offset,
                    input_len: input.len()
                })
            );
        }
        // And the verifier is none the worse for it.
        assert_eq!(verifier.check_block(&block, position, &input), Ok(()));
    }
}

#[test]
fn a_block_in_the_wrong_place_is_refused() {
    let input = text(5_000);
    let last = compress(&input, 3, Position::Last);
    let middle = compress(&input, 3, Position::Middle);
    let ends = VerifyError::EndsEarly {
        consumed: last.len(),
        block_len: last.len(),
    };
    assert_eq!(refuse(&last, Position::Middle, &input), ends);
    assert_eq!(
        refuse(&middle, Position::Last, &input),
        VerifyError::NotFinal
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
        assert_eq!(refuse(&longer, Position::Last, &input), expected);
    }
}

#[test]
fn shorter_and_longer_blocks_are_told_apart() {
    let input = text(200_000);
    let block = compress(&input, 3, Position::Last);
    assert_eq!(
        refuse(&block, Position::Last, &input[..199_999]),
        VerifyError::TooLong { input_len: 199_999 }
    );
    let mut longer = input.clone();
    longer.push(b'x');
    assert_eq!(
        refuse(&block, Position::Last, &longer),
        VerifyError::TooShort {
            decoded_len: 200_000,
            input_len: 200_001,
        }
    );
    for position in [Position::Middle, Position::Last] {
        refuse(&[], position, &input);
        refuse(&[], position, &[]);
    }
}

#[test]
fn every_cut_of_a_block_is_refused() {
    let input = text(900);
    let block = compress(&input, 3, Position::Last);
    for len in 0..block.len() {
        refuse(&block[..len], Position::Last, &input);
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
            assert_eq!(
                verifier.check_block(&block, position, &input),
                Ok(()),
                "{len} {position:?}"
            );
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
    assert_eq!(
        Verifier::new().check_block(&block, Position::Middle, &input),
        Ok(())
    );
}
