//! The steady path allocates nothing: once a worker has seen its block size, compressing and verifying
//! touch only memory that is already there.
//!
//! What is counted is Rust's allocator. libdeflate allocates in C, and only when a compressor or
//! decompressor is made; that none is made anew shows in the engine keeping them by level.

use faam_codec::{
    BlockChecksum, Decoder, Decompressor, Engine, Format, Level, LibdeflateEngine, Position,
    Verifier, output_bytes_max, write_header, write_trailer,
};

const BLOCK_BYTES: usize = 128 << 10;

fn block() -> Vec<u8> {
    (0u64..)
        .flat_map(|n| format!("{{\"n\":{},", n * n).into_bytes())
        .take(BLOCK_BYTES)
        .collect()
}

#[test]
fn compressing_and_verifying_known_block_sizes_allocates_nothing() {
    let input = block();
    let noise: Vec<u8> = (0u64..)
        .flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes())
        .take(BLOCK_BYTES)
        .collect();
    let mut engine = LibdeflateEngine::new();
    let mut verifier = Verifier::new();
    let mut out = Vec::with_capacity(output_bytes_max(BLOCK_BYTES) + 64);
    let mut pass = || {
        for level in [1, 3, 6, 9, 12] {
            let level = Level::new(level).expect("in range");
            for (data, position) in [
                (&input, Position::Middle),
                (&input, Position::Last),
                (&noise, Position::Middle),
                (&noise, Position::Last),
            ] {
                out.clear();
                write_header(Format::Gzip, level, &mut out);
                let start = out.len();
                engine
                    .compress_block(data, level, position, &mut out)
                    .expect("the engine serves every input");
                for decoder in [Decoder::ZlibRs, Decoder::Libdeflate] {
                    verifier
                        .check_block(&out[start..], position, data, decoder)
                        .expect("a right block");
                }
                let checksum = BlockChecksum::of(Format::Gzip, data)
                    .combine(BlockChecksum::empty(Format::Gzip));
                write_trailer(&checksum, &mut out);
            }
        }
    };
    let first = allocation_counter::measure(&mut pass);
    assert!(
        first.count_total > 0,
        "the first pass grows the buffers, or nothing is counted"
    );
    for _ in 0..3 {
        let steady = allocation_counter::measure(&mut pass);
        assert_eq!(steady.count_total, 0, "{steady:?}");
    }
}

#[test]
fn a_large_block_does_not_stay_in_memory() {
    let large = vec![7u8; 8 << 20];
    let mut engine = LibdeflateEngine::new();
    let mut verifier = Verifier::new();
    let mut out = Vec::with_capacity(output_bytes_max(large.len()));
    let kept = allocation_counter::measure(|| {
        for position in [Position::Middle, Position::Last] {
            out.clear();
            engine
                .compress_block(&large, Level::DEFAULT, position, &mut out)
                .expect("the engine serves every input");
            verifier
                .check_block(&out, position, &large, Decoder::Libdeflate)
                .expect("a right block");
        }
    });
    assert!(
        kept.bytes_max > 8 << 20,
        "the buffers were needed: {kept:?}"
    );
    assert!(kept.bytes_current < 2 << 20, "and are kept: {kept:?}");
}

#[test]
fn members_into_a_given_buffer_allocate_nothing() {
    let input = block();
    let mut member = Vec::new();
    write_header(Format::Zlib, Level::DEFAULT, &mut member);
    LibdeflateEngine::new()
        .compress_block(&input, Level::DEFAULT, Position::Last, &mut member)
        .expect("the engine serves every input");
    write_trailer(&BlockChecksum::of(Format::Zlib, &input), &mut member);
    let mut decompressor = Decompressor::new();
    let mut out = vec![0; BLOCK_BYTES];
    let mut pass = || {
        decompressor
            .inflate_member(&member, Format::Zlib, &mut out)
            .expect("a right member");
    };
    pass();
    assert_eq!(allocation_counter::measure(&mut pass).count_total, 0);
}
