//! Bytes that mean harm or were hurt on the way: the verifier answers every one of them with the truth, and with no panic.

#[expect(unreachable_pub, reason = "a module of several tests")]
mod deflate_writer;
#[expect(unreachable_pub, reason = "a module of several tests")]
mod oracles;

use faam_codec::{
    EMPTY_STORED_BLOCK, Engine, Level, LibdeflateEngine, Position, SYNC_MARKER, Verifier,
    VerifyError, write_stored,
};
use flate2::{Compression, FlushCompress};
use proptest::prelude::*;

use deflate_writer::{Code, Writer};

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
fn a_final_stream_behind_a_planted_marker_is_no_middle_block() {
    let input = text(5_000);
    let mut block = compress(&input, 3, Position::Last);
    let consumed = block.len();
    block.extend_from_slice(&EMPTY_STORED_BLOCK);
    let expected = VerifyError::EndsEarly {
        consumed,
        block_len: block.len(),
    };
    assert_eq!(refuse(&block, Position::Middle, &input), expected);
}

#[test]
fn a_trailer_planted_by_a_card_that_knows_the_input_does_not_help_it() {
    // A decoder that looks for CRC-32 and length of the input where it stops finds them.
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
        assert_eq!(refuse(&block, position, &input), expected);
    }
}

#[test]
fn sync_marker_bytes_inside_a_code_are_no_boundary() {
    // A stored block whose data ends like a marker, cut before its end: not between two blocks.
    let mut cut = vec![0x00, 0x08, 0x00, 0xf7, 0xff];
    cut.extend_from_slice(&SYNC_MARKER);
    assert_eq!(
        refuse(&cut, Position::Middle, &SYNC_MARKER),
        VerifyError::NoSyncMarker
    );
}

/// A final stored block that ends like a marker, five bytes short: with an end of stream appended it would decode to
/// the input exactly, and swallow the first bytes of the block that follows it in the member.
#[test]
fn a_middle_block_that_would_swallow_what_follows_is_refused() {
    let block = [0x01, 0x09, 0x00, 0xf6, 0xff, 0x00, 0x00, 0xff, 0xff];
    let input = [0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff];
    assert_eq!(
        refuse(&block, Position::Middle, &input),
        VerifyError::NoSyncMarker
    );
}

/// A dynamic block left open within its last match: two of five extra bits of the distance are there, and the three that are
/// missing are read from whatever follows. A fixed block with BFINAL 0 begins with just the bits that make the distance the
/// right one; then the rest of what follows is decoded by the open block's code, in which literals have the fixed
/// code's words. So an end of stream appended to it, or the secret of a verifier, comes out right.
#[test]
fn a_middle_block_that_leaves_a_dynamic_block_open_is_refused() {
    let (block, input) = open_dynamic_block();
    assert!(block.ends_with(&SYNC_MARKER));
    // The trap works: a fixed block behind it is decoded as if it had been begun between two blocks.
    let mut next = Writer::default();
    next.put(0b010, 3);
    for literal in *b"what follows is swallowed" {
        next.symbol(&Code::fixed(), usize::from(literal));
    }
    next.symbol(&Code::fixed(), 256);
    next.empty_stored(true);
    let stream = [&block[..], &next.bytes()].concat();
    let data = [&input[..], b"what follows is swallowed"].concat();
    assert_eq!(oracles::decode(&stream, &data), [true; 3]);
    // And what a caller would get: a stored block behind it is not.
    assert_eq!(
        oracles::decode_block(&block, Position::Middle, &input),
        [false; 3]
    );
    assert_eq!(
        refuse(&block, Position::Middle, &input),
        VerifyError::NoSyncMarker
    );
    refuse(&block, Position::Last, &input);
}

fn open_dynamic_block() -> (Vec<u8>, Vec<u8>) {
    // Complete, and literals 0 to 127 have the fixed code's words: 8 bits from 00110000 on.
    let mut litlen = [0; 286];
    litlen[..207].fill(8);
    litlen[256..272].fill(7);
    litlen[277] = 8;
    litlen[278..].fill(7);
    let mut distance = [0; 17];
    (distance[0], distance[12], distance[16]) = (2, 2, 1);
    let mut writer = Writer::default();
    let precode = [
        (0, 3),
        (1, 3),
        (2, 3),
        (3, 3),
        (4, 3),
        (5, 3),
        (7, 3),
        (8, 3),
    ];
    writer.dynamic(false, &litlen, &distance, &precode);
    let (litlen, distance) = (Code::new(&litlen), Code::new(&distance));
    let mut input = Vec::new();
    for n in 0..400u32 {
        let literal = (n.wrapping_mul(2_654_435_761) >> 25) as u8;
        writer.symbol(&litlen, usize::from(literal));
        input.push(literal);
    }
    let repeat = |input: &mut Vec<u8>, len: usize, distance: usize| {
        for _ in 0..len {
            input.push(input[input.len() - distance]);
        }
    };
    // What follows stands three bits behind a byte boundary.
    while (writer.0.len() + 3) % 8 != 0 {
        writer.symbol(&litlen, 257);
        writer.symbol(&distance, 0);
        repeat(&mut input, 3, 1);
    }
    // Length 83, distance 257: words and extra bits end in sixteen zeros.
    writer.symbol(&litlen, 278);
    writer.put(0, 4);
    writer.symbol(&distance, 16);
    writer.put(0, 7);
    repeat(&mut input, 83, 257);
    // Length 82 and a distance from 65 on, in sixteen ones; of its five extra bits there are two. The others will be 010.
    writer.symbol(&litlen, 277);
    writer.put(15, 4);
    writer.symbol(&distance, 12);
    writer.put(3, 2);
    repeat(&mut input, 82, 65 + 0b0_1011);
    assert!(writer.is_aligned());
    (writer.bytes(), input)
}

/// A dynamic block left open within its header: a fixed block behind it is read as more word lengths.
#[test]
fn a_middle_block_that_leaves_a_header_open_is_refused() {
    let input = b"some data";
    for cut in 0..3 {
        let mut writer = Writer::default();
        writer.put(0b010, 3);
        for &literal in input {
            writer.symbol(&Code::fixed(), usize::from(literal));
        }
        writer.symbol(&Code::fixed(), 256);
        // BFINAL 0, BTYPE 10; then some of its counts and lengths, such that the bytes end like a marker.
        let mut header = writer.clone();
        header.put(0b100, 3);
        let room = 8 * (6 + cut) - header.0.len() % 8;
        for _ in 0..room.saturating_sub(16) {
            header.put(0, 1);
        }
        header.put(0xffff, 16);
        let mut block = header.bytes();
        let len = block.len();
        block[len - 4..].copy_from_slice(&SYNC_MARKER);
        assert_ne!(
            oracles::decode_block(&block, Position::Middle, input),
            [true; 3]
        );
        refuse(&block, Position::Middle, input);
    }
    // Stopped anywhere in a real header, or behind its first bits, with no marker to stand for its end.
    let stream = compress(&text(3_000), 6, Position::Last);
    for len in 1..60 {
        let mut block = EMPTY_STORED_BLOCK.to_vec();
        block.extend_from_slice(&stream[..len]);
        refuse(&block, Position::Middle, b"");
        block.extend_from_slice(&SYNC_MARKER);
        refuse(&block, Position::Middle, b"");
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

/// Streams that some decoders take and others refuse are refused.
#[test]
fn what_the_strictest_decoder_refuses_is_refused() {
    let corrupt = |writer: &Writer, input: &[u8]| {
        let block = writer.bytes();
        let error = refuse(&block, Position::Last, input);
        assert!(matches!(error, VerifyError::Corrupt { .. }), "{error:?}");
        assert!(!oracles::decode(&block, input)[0], "zlib-rs refuses it too");
    };
    // One literal, all its matches, and the end of the block: two words of a bit each, or an incomplete code of three.
    let lengths = |literal, end, symbol: usize, length| {
        let mut lengths = vec![0; 286];
        (lengths[usize::from(b'a')], lengths[256]) = (literal, end);
        lengths[symbol] = length;
        lengths
    };
    let precode = [(0, 1), (1, 2), (2, 3), (3, 3)];
    let block = |litlen: &[u32], distance: &[u32], symbols: &dyn Fn(&mut Writer, &Code, &Code)| {
        let mut writer = Writer::default();
        writer.dynamic(true, litlen, distance, &precode);
        symbols(&mut writer, &Code::new(litlen), &Code::new(distance));
        writer
    };
    let complete = lengths(1, 2, 257, 2);
    let match_after_literal = |writer: &mut Writer, litlen: &Code, distance: &Code| {
        writer.symbol(litlen, usize::from(b'a'));
        writer.symbol(litlen, 257);
        writer.symbol(distance, 0);
        writer.symbol(litlen, 256);
    };
    // A distance code of one word of one bit: complete enough for all.
    let right = block(&complete, &[1], &match_after_literal).bytes();
    assert_eq!(
        Verifier::new().check_block(&right, Position::Last, b"aaaa"),
        Ok(())
    );
    assert_eq!(oracles::decode(&right, b"aaaa"), [true; 3]);
    // Its other bit is no word.
    corrupt(
        &block(&complete, &[1], &|writer, litlen, _| {
            writer.symbol(litlen, usize::from(b'a'));
            writer.symbol(litlen, 257);
            writer.put(1, 1);
            writer.symbol(litlen, 256);
        }),
        b"aaaa",
    );
    // No distance code at all, and a match.
    corrupt(
        &block(&complete, &[0], &|writer, litlen, _| {
            writer.symbol(litlen, usize::from(b'a'));
            writer.symbol(litlen, 257);
            writer.put(0, 1);
            writer.symbol(litlen, 256);
        }),
        b"aaaa",
    );
    // Incomplete codes: a distance code of one word of two bits, a literal/length code of three words.
    corrupt(&block(&complete, &[2], &match_after_literal), b"aaaa");
    corrupt(
        &block(&lengths(2, 2, 257, 2), &[1], &match_after_literal),
        b"aaaa",
    );
    // An oversubscribed one.
    corrupt(
        &block(&lengths(1, 1, 257, 2), &[1], &match_after_literal),
        b"aaaa",
    );
    // No end of the block.
    corrupt(
        &block(&lengths(1, 0, 257, 1), &[1], &|writer, litlen, _| {
            writer.symbol(litlen, usize::from(b'a'));
        }),
        b"a",
    );
    // More distance symbols than there are.
    let mut thirty_two = [0; 32];
    thirty_two[0] = 1;
    corrupt(
        &block(&complete, &thirty_two, &match_after_literal),
        b"aaaa",
    );
    // More literal/length symbols than there are.
    let mut litlen = complete.clone();
    litlen.extend([0, 0]);
    corrupt(&block(&litlen, &[1], &match_after_literal), b"aaaa");
    // A distance that begins before the data.
    corrupt(
        &block(&complete, &[1], &|writer, litlen, distance| {
            writer.symbol(litlen, 257);
            writer.symbol(distance, 0);
            writer.symbol(litlen, 256);
        }),
        b"aaa",
    );
    // Reserved symbols of the fixed codes: lengths 286 and 287, distances 30 and 31.
    for symbol in [286, 287] {
        let mut writer = Writer::default();
        writer.put(0b011, 3);
        writer.symbol(&Code::fixed(), usize::from(b'a'));
        writer.symbol(&Code::fixed(), symbol);
        writer.put(0, 5);
        writer.symbol(&Code::fixed(), 256);
        corrupt(&writer, b"aaaa");
    }
    for distance in [30u32, 31] {
        let mut writer = Writer::default();
        writer.put(0b011, 3);
        writer.symbol(&Code::fixed(), usize::from(b'a'));
        writer.symbol(&Code::fixed(), 257);
        writer.put(distance.reverse_bits() >> 27, 5);
        writer.put(0, 13);
        writer.symbol(&Code::fixed(), 256);
        corrupt(&writer, b"aaaa");
    }
    // A reserved block type.
    corrupt(&Writer(vec![true, true, true]), b"");
    // LEN and NLEN disagree.
    let mut writer = Writer::default();
    writer.put(1, 8);
    writer.put(0, 32);
    corrupt(&writer, b"");
}

/// Length 258 has a symbol of its own, and can be written as the one before it with all its extra bits set.
#[test]
fn the_longest_length_is_taken_in_both_its_forms() {
    for (symbol, extra) in [(284, Some(31)), (285, None)] {
        let mut writer = Writer::default();
        writer.put(0b011, 3);
        writer.symbol(&Code::fixed(), usize::from(b'a'));
        writer.symbol(&Code::fixed(), symbol);
        if let Some(extra) = extra {
            writer.put(extra, 5);
        }
        writer.put(0, 5);
        writer.symbol(&Code::fixed(), 256);
        let (block, input) = (writer.bytes(), [b'a'; 259]);
        assert_eq!(
            Verifier::new().check_block(&block, Position::Last, &input),
            Ok(())
        );
        assert_eq!(oracles::decode(&block, &input), [true; 3]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_verified_without_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        block_type in 0u8..4,
        input in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let mut block = bytes;
        if let Some(first) = block.first_mut() {
            *first = (*first & !6) | (block_type << 1);
        }
        for position in [Position::Middle, Position::Last] {
            if Verifier::new().check_block(&block, position, &input).is_ok() {
                prop_assert_eq!(oracles::decode_block(&block, position, &input), [true; 3]);
            }
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
