//! lz4 frames whose blocks are linked and small: each match finds what it refers to, however often the history is cut.

use faam_codec::{Format, Limits, StreamDecompressor, StreamState};

const GENEROUS: Limits = Limits {
    output_bytes_max: 1 << 40,
    ratio_max: u32::MAX,
};
/// How far back the matches here reach: 35 bytes less than they could.
const PERIOD_BYTES: usize = 65_500;

fn byte(value: usize) -> u8 {
    u8::try_from(value).expect("below 256")
}

/// A block that is one match as far back as that, but for the five literals that end each block.
fn far_match(piece: &[u8]) -> Vec<u8> {
    let (matched, literals) = piece.split_at(piece.len() - 5);
    let code = matched.len() - 4;
    let mut block = vec![byte(code.min(15))];
    block.extend(u16::try_from(PERIOD_BYTES).expect("16 bits").to_le_bytes());
    if let Some(rest) = code.checked_sub(15) {
        block.extend(vec![255; rest / 255]);
        block.push(byte(rest % 255));
    }
    block.push(5 << 4);
    block.extend_from_slice(literals);
    block
}

/// A frame of linked blocks without checksums: stored, but where a piece can be a match.
fn frame(data: &[u8], lengths: impl Iterator<Item = usize>, stored: bool) -> Vec<u8> {
    // FLG: version 1, nothing else. BD: 64 KiB. HC: the second byte of their XXH32.
    let mut out = vec![0x04, 0x22, 0x4d, 0x18, 0x40, 0x40];
    out.push(twox_hash::XxHash32::oneshot(0, &[0x40, 0x40]).to_le_bytes()[1]);
    let mut at = 0;
    for len in lengths {
        let piece = &data[at..data.len().min(at + len)];
        if piece.is_empty() {
            break;
        }
        let stored = stored || at < PERIOD_BYTES || piece.len() < 9;
        let block = if stored {
            piece.to_vec()
        } else {
            far_match(piece)
        };
        let flag = if stored { 1 << 31 } else { 0 };
        let len = u32::try_from(block.len()).expect("a short block");
        out.extend((len | flag).to_le_bytes());
        out.extend(block);
        at += piece.len();
    }
    out.extend([0; 4]);
    out
}

fn decode(body: &[u8]) -> Vec<u8> {
    let mut decoder = StreamDecompressor::new(Some(Format::Lz4), GENEROUS);
    let mut out = Vec::new();
    let step = decoder
        .decompress(body, true, usize::MAX, &mut out)
        .expect("a right body");
    assert_eq!(step.state, StreamState::Ended);
    out
}

#[test]
fn small_linked_blocks_reach_as_far_back_as_large_ones() {
    // Random words that come back after 65,500 bytes, just within reach.
    let words: Vec<u8> = (0u64..)
        .flat_map(|n| (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes())
        .take(PERIOD_BYTES)
        .collect();
    let data = words.repeat(5);
    for len in [13, 100, 1_000, 30_000, 65_536] {
        let body = frame(&data, std::iter::repeat(len), false);
        assert!(body.len() < data.len() * 9 / 10 || len == 13, "matches");
        assert!(decode(&body) == data, "blocks of {len}");
    }
    let growing = (1..).map(|n| n * n % 9_000 + 1);
    assert!(decode(&frame(&data, growing, false)) == data);
}

#[test]
fn a_hundred_thousand_blocks_of_a_byte_are_nothing_special() {
    let data: Vec<u8> = (0u32..100_000).map(|n| n.to_le_bytes()[0]).collect();
    assert!(decode(&frame(&data, std::iter::repeat(1), true)) == data);
}
