//! Streams that some decoders take and others refuse.

use faam_codec::{Position, Verifier, VerifyError};
use proptest::prelude::*;

use crate::deflate_writer::{Code, Writer};
use crate::{oracles, refuse};

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
