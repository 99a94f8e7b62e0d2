//! Memory of each format's decoder over the bodies that take most, against what it is said to take.

use std::io::Write;

use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, zstd_sys::ZSTD_EndDirective};

use super::*;
use crate::engine::{Engine, Position};
use crate::format::Level;
use crate::libdeflate::LibdeflateEngine;
use crate::member::{BlockChecksum, write_header, write_trailer};

const GENEROUS: Limits = Limits {
    output_bytes_max: 1 << 40,
    ratio_max: u32::MAX,
};

fn noise(len: usize) -> Vec<u8> {
    (1u64..)
        .flat_map(|n| {
            let z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (z ^ (z >> 27)).to_le_bytes()
        })
        .take(len)
        .collect()
}

/// Most memory at any one time of decoding `body` in pieces of `piece` bytes into room for `room`.
fn peak(body: &[u8], format: Format, piece: usize, room: usize) -> usize {
    let mut out = Vec::with_capacity(room);
    let mut made = 0usize;
    let mut context = 0;
    let counted = allocation_counter::measure(|| {
        let mut decoder = StreamDecompressor::new(Some(format), GENEROUS);
        let mut rest = body;
        loop {
            let given = rest.get(..piece).unwrap_or(rest);
            let last = given.len() == rest.len();
            out.clear();
            let step = decoder
                .decompress(given, last, room, &mut out)
                .expect("a right body");
            made += out.len();
            rest = &rest[step.consumed..];
            if step.state == StreamState::Ended {
                break;
            }
        }
        if let Some(Member::Zstd(frame)) = &decoder.member {
            context = frame.context_bytes();
        }
    });
    assert!(made > 0);
    usize::try_from(counted.bytes_max).expect("it fits") + context
}

fn lz4_frame(block: lz4::BlockSize, data: &[u8]) -> Vec<u8> {
    let mut encoder = lz4::EncoderBuilder::new()
        .checksum(lz4::ContentChecksum::NoChecksum)
        .block_mode(lz4::BlockMode::Linked)
        .block_size(block)
        .build(Vec::new())
        .expect("a Vec");
    encoder.write_all(data).expect("a Vec");
    let (out, result) = encoder.finish();
    result.expect("a Vec");
    out
}

/// A frame without checksum whose header asks for a window of 2 to the power of `window_log`.
fn zstd_frame(window_log: u32, data: &[u8]) -> Vec<u8> {
    let mut context = CCtx::create();
    for parameter in [
        CParameter::CompressionLevel(1),
        CParameter::WindowLog(window_log),
        CParameter::ChecksumFlag(false),
        CParameter::ContentSizeFlag(false),
    ] {
        context.set_parameter(parameter).expect("a parameter");
    }
    let mut out = Vec::with_capacity(zstd_safe::compress_bound(data.len()) + 64);
    let mut from = InBuffer::around(data);
    let mut to = OutBuffer::around(&mut out);
    let left = context.compress_stream2(&mut to, &mut from, ZSTD_EndDirective::ZSTD_e_end);
    assert_eq!(left, Ok(0));
    out
}

#[test]
fn decoders_take_no_more_memory_than_they_say() {
    let noise = noise(9 << 20);
    let zeros = vec![0; 9 << 20];
    let mib = 1 << 20;
    // Blocks of each size, first small ones; one that is next to nothing, then one that is as large as it came.
    let barely = [&noise[..3 * mib + mib / 2], &zeros[..mib / 2]].concat();
    let mut lz4 = [
        lz4::BlockSize::Max64KB,
        lz4::BlockSize::Max256KB,
        lz4::BlockSize::Max1MB,
    ]
    .map(|size| lz4_frame(size, &barely[3 * mib..]))
    .concat();
    lz4.extend(lz4_frame(
        lz4::BlockSize::Max4MB,
        &[&zeros[..4 * mib], &barely, &barely].concat(),
    ));
    let windows = [22, 23].map(|log| zstd_frame(log, &[&noise[..], &zeros, &noise].concat()));
    // Stored blocks up to a place where the ratio is judged, then blocks of nothing, and again.
    let mut deflate = Vec::new();
    for _ in 0..4 {
        deflate.extend([0, 1, 0, 0xfe, 0xff, b'x'].repeat(64 << 10));
        deflate.extend([0, 0, 0, 0xff, 0xff].repeat(64 << 10));
    }
    deflate.extend([3, 0]);
    let mut gzip = Vec::new();
    let level = Level::DEFAULT;
    write_header(Format::Gzip, level, &mut gzip);
    LibdeflateEngine::new()
        .compress_block(&noise[..mib], level, Position::Last, &mut gzip)
        .expect("it serves every input");
    write_trailer(&BlockChecksum::of(Format::Gzip, &noise[..mib]), &mut gzip);
    let mut figures = Vec::new();
    for (format, body) in [
        (Format::Gzip, gzip),
        (Format::Deflate, deflate),
        (Format::Lz4, lz4),
        (Format::Zstd, windows.concat()),
    ] {
        let said = StreamDecompressor::memory_bytes_max(format);
        let mut most = 0;
        for (piece, room) in [
            (128 << 10, 512 << 10),
            (8 << 20, 512 << 10),
            (100_000, 3_000),
        ] {
            most = most.max(peak(&body, format, piece, room));
        }
        println!("{format}: {most} bytes, {said} said");
        figures.push((format, most, said));
    }
    for (format, most, said) in figures {
        assert!(most <= said, "{format}: {most} bytes, {said} said");
        assert!(
            most > said / 2,
            "{format}: {said} said, and {most} taken: too much is charged"
        );
    }
}
