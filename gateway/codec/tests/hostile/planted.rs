//! Blocks made to be taken for what they are not: with an end planted in them, or left open so that they swallow what follows.

use faam_codec::{EMPTY_STORED_BLOCK, Position, SYNC_MARKER, VerifyError};

use crate::deflate_writer::{Code, Writer};
use crate::{compress, oracles, refuse, text};

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
