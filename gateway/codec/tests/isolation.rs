//! Engines and decoders that served one body know nothing of it at the next: what they make is what new ones make, and a
//! reference to before the beginning finds nothing there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use faam_codec::{
    CpuEngines, Decompressor, Format, Level, Limits, Position, StreamCompressor,
    StreamDecompressor, StreamState,
};

/// Data limits that none of these reaches.
const LIMITS: Limits = Limits {
    output_bytes_max: 1 << 24,
    ratio_max: 1 << 20,
};

/// Bytes of a seed's own: noise, with words in it where `words` are wanted.
fn data(seed: u64, bytes: usize, words: bool) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(bytes + 16);
    while out.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        match words && !state.is_multiple_of(4) {
            true => out.extend_from_slice(
                [b"ring ", b"card ", b"bell ", b"slot "][usize::try_from(state >> 40 & 3).unwrap()],
            ),
            false => out.extend_from_slice(&state.to_le_bytes()),
        }
    }
    out.truncate(bytes);
    out
}

/// Bodies of the one who comes first: of each size and kind, those that fill every table, and none at all.
fn bodies_before() -> Vec<Vec<u8>> {
    let mut bodies = vec![Vec::new(), vec![0; 200_000], b"x".to_vec()];
    for (seed, bytes) in [(1, 100), (2, 5_000), (3, 70_000), (4, 300_000)] {
        bodies.push(data(seed, bytes, false));
        bodies.push(data(seed, bytes, true));
    }
    bodies
}

/// Those of the one who comes after: some begin or end as one before did, so that a history would be of use.
fn bodies_after() -> Vec<Vec<u8>> {
    let before = data(3, 70_000, false);
    vec![
        Vec::new(),
        data(9, 20_000, true),
        data(9, 90_000, false),
        before[..20_000].to_vec(),
        before[50_000..].to_vec(),
    ]
}

#[test]
fn blocks_are_those_of_new_engines_whatever_was_before() {
    let makers: [fn() -> CpuEngines; 2] = [CpuEngines::new, CpuEngines::without_isal];
    for make in makers {
        let mut used = make();
        for level in 1..=12 {
            let level = Level::new(level).unwrap();
            for position in [Position::Middle, Position::Last] {
                for before in bodies_before() {
                    used.compress_block(&before, level, position, &mut Vec::new())
                        .unwrap();
                    for after in bodies_after().iter().take(3) {
                        let (mut of_used, mut of_new) = (Vec::new(), Vec::new());
                        used.compress_block(after, level, position, &mut of_used)
                            .unwrap();
                        make()
                            .compress_block(after, level, position, &mut of_new)
                            .unwrap();
                        assert!(
                            of_used == of_new,
                            "level {level:?} {position:?}: {} bytes after {}",
                            after.len(),
                            before.len()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn streams_are_those_of_a_new_compressor_whatever_was_before() {
    for format in [Format::Zstd, Format::Lz4] {
        for level in [1, 3, 6, 9] {
            let level = Level::new(level).unwrap();
            let mut used = StreamCompressor::new(format, level).unwrap();
            for (n, before) in bodies_before().iter().enumerate() {
                // Every other one is given up in the middle.
                let position = [Position::Last, Position::Middle][n % 2];
                used.compress(before, position, &mut Vec::new()).unwrap();
                if n % 2 == 1 {
                    used.reset();
                }
                for after in bodies_after() {
                    let whole = |compressor: &mut StreamCompressor| {
                        let mut out = Vec::new();
                        compressor
                            .compress(&after, Position::Last, &mut out)
                            .unwrap();
                        out
                    };
                    let of_new = whole(&mut StreamCompressor::new(format, level).unwrap());
                    assert!(
                        whole(&mut used) == of_new,
                        "{format:?} {level:?}: {} bytes after {}",
                        after.len(),
                        before.len()
                    );
                }
            }
        }
    }
}

/// Streams that refer to what is before their beginning, or take tables of a block before it, each beside one that is
/// alike and whole: what is refused of the first is not its frame.
fn beyond_the_beginning() -> Vec<(Format, &'static str, Vec<u8>, Vec<u8>)> {
    // RFC 1951, the fixed code: a match of 258 bytes at distance 32768, then the end; and a literal, then one at distance 1.
    let far = vec![0x1B, 0xBD, 0xFF, 0x1F, 0x00];
    let near = vec![0x4B, 0x84, 0x01, 0x00];
    let lz4 = |flags: [u8; 3], offset: u8| {
        // A literal, a match of 4 bytes, and the 5 literals that end a block.
        let block = [0x10, b'x', offset, 0, 0x50, b'a', b'b', b'c', b'd', b'e'];
        let magic = [0x04, 0x22, 0x4D, 0x18];
        [&magic[..], &flags, &[10, 0, 0, 0], &block, &[0; 4]].concat()
    };
    let zstd = |block: &[u8]| {
        // RFC 8878: a single segment of 20 bytes, of one compressed block, the last.
        let header = u32::try_from(block.len()).unwrap() << 3 | 0b101;
        let magic = [0x28, 0xB5, 0x2F, 0xFD, 0x20, 20];
        [&magic[..], &header.to_le_bytes()[..3], block].concat()
    };
    // 20 times the same literal, and no sequence.
    let literals = zstd(b"\xA1h\x00");
    // Its literals by the tree of the block before: 20 of them in 2 bytes.
    let tree = zstd(&[0x43, 0x81, 0x00, 0x55, 0x01, 0x00]);
    // A sequence by the tables of the block before.
    let tables = zstd(b"\x89h\x01\xFC\x01\x00\x01");
    vec![
        (Format::Deflate, "distance", far, near),
        (
            Format::Lz4,
            "offset, blocks on their own",
            lz4([0x60, 0x40, 0x82], 200),
            lz4([0x60, 0x40, 0x82], 1),
        ),
        (
            Format::Lz4,
            "offset, linked blocks",
            lz4([0x40, 0x40, 0xC0], 200),
            lz4([0x40, 0x40, 0xC0], 1),
        ),
        (Format::Zstd, "tree", tree, literals.clone()),
        (Format::Zstd, "tables", tables, literals),
    ]
}

/// A body of each format that fills a window.
fn filling(format: Format) -> Vec<u8> {
    let bytes = data(5, 100_000, true);
    let mut out = Vec::new();
    let level = Level::new(3).unwrap();
    match format {
        Format::Zstd | Format::Lz4 => StreamCompressor::new(format, level)
            .unwrap()
            .compress(&bytes, Position::Last, &mut out)
            .unwrap(),
        Format::Deflate | Format::Gzip | Format::Zlib => {
            CpuEngines::new()
                .compress_block(&bytes, level, Position::Last, &mut out)
                .unwrap();
        }
    }
    out
}

#[test]
fn a_reference_to_before_the_beginning_finds_nothing() {
    let mut used = Decompressor::new();
    for (format, what, beyond, whole) in beyond_the_beginning() {
        for before in [format, Format::Deflate].map(|format| (format, filling(format))) {
            used.decompress(&before.1, Some(before.0), LIMITS).unwrap();
            let seen = used.decompress(&beyond, Some(format), LIMITS);
            assert!(seen.is_err(), "{format:?}, {what}: {seen:?}");
            let seen = used.decompress(&whole, Some(format), LIMITS);
            assert!(seen.is_ok(), "{format:?}, {what}: {seen:?}");
        }
        // The same in a stream, where a member before may have left a window.
        let mut stream = StreamDecompressor::new(Some(format), LIMITS);
        let run = |stream: &mut StreamDecompressor, bytes: &[u8]| {
            let step = stream.decompress(bytes, true, 1 << 24, &mut Vec::new());
            step.map(|step| assert_eq!(step.state, StreamState::Ended))
        };
        run(&mut stream, &filling(format)).unwrap();
        stream.reset();
        assert!(run(&mut stream, &beyond).is_err(), "{format:?}, {what}");
        stream.reset();
        run(&mut stream, &whole).unwrap();
    }
}
