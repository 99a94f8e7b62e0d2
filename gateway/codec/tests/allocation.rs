//! The steady path allocates nothing: once a worker has seen its block size, compressing and verifying
//! touch only memory that is already there.
//!
//! What is counted is Rust's allocator. libdeflate and ISA-L allocate in C, and only when a compressor or decompressor is
//! made; that none is made anew shows in the engines keeping them by level.

use faam_codec::{
    BlockChecksum, CpuEngines, Decompressor, Engine, Format, Level, LibdeflateEngine, Maker,
    Position, Verifier, output_bytes_max, write_header, write_trailer,
};

const BLOCK_BYTES: usize = 128 << 10;

fn block() -> Vec<u8> {
    (0u64..)
        .flat_map(|n| format!("{{\"n\":{},", n * n).into_bytes())
        .take(BLOCK_BYTES)
        .collect()
}

/// Compresses `data` by `engines` at all levels in both positions, unverified and verified, and counts once all of that
/// has been done before.
fn assert_steady(mut engines: CpuEngines, blocks: &[&[u8]], expected: &[Maker]) {
    let mut verifier = Verifier::new();
    let mut out = Vec::with_capacity(output_bytes_max(BLOCK_BYTES) + 64);
    let mut makers = Vec::with_capacity(1_000);
    let mut pass = || {
        makers.clear();
        for level in [1, 2, 3, 6, 9, 12] {
            let level = Level::new(level).expect("in range");
            for &data in blocks {
                for position in [Position::Middle, Position::Last] {
                    out.clear();
                    write_header(Format::Gzip, level, &mut out);
                    let start = out.len();
                    let maker = engines
                        .compress_block(data, level, position, &mut out)
                        .expect("the engines serve every input");
                    makers.push(maker);
                    verifier
                        .check_block(&out[start..], position, data)
                        .expect("a right block");
                    out.truncate(start);
                    let draft = engines
                        .draft_block(data, level, position, &mut out)
                        .expect("the engines serve every input");
                    assert_eq!(draft.maker(), maker);
                    verifier
                        .finish(draft, data, &mut out)
                        .expect("a right block");
                    let checksum = BlockChecksum::of(Format::Gzip, data)
                        .combine(BlockChecksum::empty(Format::Gzip));
                    write_trailer(&checksum, &mut out);
                }
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
    for maker in expected {
        assert!(makers.contains(maker), "{maker} has made no block");
    }
}

#[test]
fn compressing_and_verifying_known_block_sizes_allocates_nothing() {
    let text = block();
    // splitmix64: as good as random.
    let noise: Vec<u8> = (1u64..)
        .flat_map(|n| {
            let z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)).to_le_bytes()
        })
        .take(BLOCK_BYTES)
        .collect();
    let blocks = [&text[..], &noise, &text[..4_000], b""];
    assert_steady(
        CpuEngines::without_isal(),
        &blocks,
        &[Maker::Libdeflate, Maker::Stored],
    );
    let engines = CpuEngines::new();
    let made = if engines.has_isal() {
        vec![Maker::IsaL, Maker::Libdeflate, Maker::Stored]
    } else {
        vec![Maker::Libdeflate, Maker::Stored]
    };
    assert_steady(engines, &blocks, &made);
}

#[test]
fn a_large_block_does_not_stay_in_memory() {
    let large = vec![7u8; 8 << 20];
    let mut engines = CpuEngines::new();
    let mut verifier = Verifier::new();
    let mut out = Vec::with_capacity(output_bytes_max(large.len()));
    let kept = allocation_counter::measure(|| {
        for level in [1, 3] {
            let level = Level::new(level).expect("in range");
            for position in [Position::Middle, Position::Last] {
                out.clear();
                let draft = engines
                    .draft_block(&large, level, position, &mut out)
                    .expect("the engines serve every input");
                verifier
                    .finish(draft, &large, &mut out)
                    .expect("a right block");
            }
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
