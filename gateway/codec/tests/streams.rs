//! Streams both ways: what a stream is does not depend on how it was cut, and hostile bytes end within their bounds.

use std::io::Write;

use faam_codec::{
    DecompressError, Decompressor, Engine, EngineError, Format, HeaderError, Level,
    LibdeflateEngine, Limits, MEMBERS_MAX, Position, StreamCompressor, StreamDecompressor,
    StreamState, ZSTD_WINDOW_BYTES_MAX, write_header, write_trailer,
};
use proptest::prelude::*;

const GENEROUS: Limits = Limits {
    output_bytes_max: 1 << 40,
    ratio_max: u32::MAX,
};

fn numbers(len: usize) -> Vec<u8> {
    (0u64..)
        .flat_map(|n| format!("{} ", n * n).into_bytes())
        .take(len)
        .collect()
}

fn noise(len: usize) -> Vec<u8> {
    (1u64..)
        .flat_map(|n| {
            n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29)
                .wrapping_mul(n)
                .to_be_bytes()
        })
        .take(len)
        .collect()
}

/// One member, made by our own engines.
fn pack(format: Format, level: Level, data: &[u8]) -> Vec<u8> {
    let mut member = Vec::new();
    if format.is_deflate() {
        write_header(format, level, &mut member);
        LibdeflateEngine::new()
            .compress_block(data, level, Position::Last, &mut member)
            .expect("the engine serves every input");
        write_trailer(&faam_codec::BlockChecksum::of(format, data), &mut member);
    } else {
        StreamCompressor::new(format, level)
            .expect("a stream")
            .compress(data, Position::Last, &mut member)
            .expect("it serves every input");
    }
    member
}

/// Frames as other tools make them, which bring no checksum: the second decoder confirms these.
fn pack_without_checksum(format: Format, data: &[u8]) -> Vec<u8> {
    match format {
        Format::Zstd => {
            let mut out = Vec::with_capacity(zstd_safe::compress_bound(data.len()));
            zstd_safe::compress(&mut out, data, 3).expect("it fits");
            out
        }
        Format::Lz4 => {
            let mut encoder = lz4::EncoderBuilder::new()
                .checksum(lz4::ContentChecksum::NoChecksum)
                .block_size(lz4::BlockSize::Max64KB)
                .build(Vec::new())
                .expect("a Vec");
            encoder.write_all(data).expect("a Vec");
            let (out, result) = encoder.finish();
            result.expect("a Vec");
            out
        }
        _ => pack(format, Level::DEFAULT, data),
    }
}

/// Decodes `body` in pieces and rooms of the sizes that `cuts` cycles through.
fn decode(
    body: &[u8],
    format: Option<Format>,
    limits: Limits,
    cuts: &[(usize, usize)],
) -> Result<Vec<u8>, DecompressError> {
    let mut decoder = StreamDecompressor::new(format, limits);
    let mut out = Vec::new();
    let mut at = 0usize;
    let mut calls = 0usize;
    let mut cuts = cuts.iter().cycle();
    loop {
        let &(piece, room) = cuts.next().expect("a cycle");
        let end = at.saturating_add(piece.max(1)).min(body.len());
        let len_before = out.len();
        let last = end == body.len();
        let step = decoder.decompress(&body[at..end], last, room, &mut out)?;
        assert!(
            out.len() - len_before <= room,
            "more than there is room for"
        );
        at += step.consumed;
        calls += 1;
        assert!(
            calls <= 2 * (body.len() + out.len()) + 1_000,
            "it gets nowhere"
        );
        match step.state {
            StreamState::NeedsInput => {
                assert!(at == end && !last, "all input was taken, and there is more");
            }
            StreamState::NeedsRoom => {}
            StreamState::Ended => {
                assert_eq!(at, body.len());
                assert_eq!(decoder.consumed(), body.len());
                assert_eq!(decoder.produced(), out.len() as u64);
                let again = decoder.decompress(b"", true, 1, &mut out);
                assert_eq!(again.map(|step| step.state), Ok(StreamState::Ended));
                return Ok(out);
            }
        }
    }
}

const WHOLE: [(usize, usize); 1] = [(usize::MAX, usize::MAX)];

#[test]
fn every_format_and_level_given_or_detected() {
    for len in [0, 1, 1_000, 300_000] {
        for data in [numbers(len), noise(len)] {
            for format in Format::ALL {
                for level in [1, 3, 6, 9, 12] {
                    let level = Level::new(level).expect("in range");
                    let packed = pack(format, level, &data);
                    let back = decode(&packed, Some(format), GENEROUS, &WHOLE);
                    assert!(back.as_ref() == Ok(&data), "{format} {level} {len}");
                    if format != Format::Deflate {
                        let back = decode(&packed, None, GENEROUS, &[(1, 10_000)]);
                        assert!(back.as_ref() == Ok(&data), "{format} {level} {len}");
                    }
                }
                let packed = pack_without_checksum(format, &data);
                let back = decode(&packed, Some(format), GENEROUS, &[(7_000, 5_000)]);
                assert!(back.as_ref() == Ok(&data), "{format} {len}");
                let whole = Decompressor::new().decompress(&packed, Some(format), GENEROUS);
                assert!(
                    whole.map(|done| done.data).as_ref() == Ok(&data),
                    "{format} {len}"
                );
            }
        }
    }
}

#[test]
fn a_member_is_one_frame_whatever_the_calls_and_each_call_can_be_decoded() {
    let data = [numbers(700_000), noise(100_000), numbers(10)].concat();
    for format in [Format::Zstd, Format::Lz4] {
        for level in Level::all() {
            let mut compressor = StreamCompressor::new(format, level).expect("a stream");
            for round in 0..2 {
                let mut packed = Vec::new();
                let mut decoder = StreamDecompressor::new(Some(format), GENEROUS);
                let mut back = Vec::new();
                let mut rest = &data[..];
                for len in [0, 1, 100, 200_000, 0, 300_000, usize::MAX] {
                    let (piece, after) = rest.split_at(len.min(rest.len()));
                    rest = after;
                    let position = if len == usize::MAX {
                        Position::Last
                    } else {
                        Position::Middle
                    };
                    let start = packed.len();
                    compressor
                        .compress(piece, position, &mut packed)
                        .expect("it serves every input");
                    assert!(packed.len() - start <= compressor.output_bytes_max(piece.len()));
                    let step = decoder
                        .decompress(
                            &packed[start..],
                            position == Position::Last,
                            usize::MAX,
                            &mut back,
                        )
                        .expect("a right frame");
                    assert_eq!(step.consumed, packed.len() - start);
                    assert!(
                        back == data[..data.len() - rest.len()],
                        "{format} {level}: what went in so far"
                    );
                }
                assert_eq!(decoder.members(), 1, "{format} {level} round {round}");
            }
        }
    }
}

#[test]
fn a_frame_given_up_leaves_no_trace_in_the_next() {
    for format in [Format::Zstd, Format::Lz4] {
        let mut compressor = StreamCompressor::new(format, Level::DEFAULT).expect("a stream");
        let mut out = Vec::new();
        compressor
            .compress(&numbers(50_000), Position::Middle, &mut out)
            .expect("served");
        compressor.reset();
        out.clear();
        compressor
            .compress(&numbers(9_000), Position::Last, &mut out)
            .expect("served");
        assert_eq!(out, pack(format, Level::DEFAULT, &numbers(9_000)));
    }
    for format in Format::DEFLATE_FAMILY {
        let refused = StreamCompressor::new(format, Level::DEFAULT).err();
        assert_eq!(refused, Some(EngineError::NotStreamed { format }));
    }
}

#[test]
fn levels_get_denser() {
    let sample = |name| {
        let path = format!("{}/../../benches/sample/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(path).expect("part of the sources")
    };
    let data = [sample("text_alice"), sample("json_logs")].concat();
    for format in [Format::Zstd, Format::Lz4] {
        let sizes: Vec<_> = Level::all()
            .map(|level| pack(format, level, &data).len())
            .collect();
        let dense = sizes[11] * 100 < sizes[0] * 90;
        // A step may cost a little on one file: half a per cent.
        let falls = sizes.windows(2).all(|pair| pair[1] * 200 <= pair[0] * 201);
        assert!(falls && dense, "{format}: {sizes:?}");
    }
}

#[test]
fn frames_follow_frames_with_skippable_ones_between() {
    for format in [Format::Zstd, Format::Lz4] {
        let skippable = [&[0x51, 0x2a, 0x4d, 0x18, 5, 0, 0, 0][..], b"skip!"].concat();
        let one = pack(format, Level::DEFAULT, &numbers(1_000));
        let other = pack_without_checksum(format, &numbers(70_000));
        let body = [
            &skippable[..],
            &one,
            &skippable,
            &skippable,
            &other,
            &skippable,
        ]
        .concat();
        let data = [numbers(1_000), numbers(70_000)].concat();
        for cuts in [&WHOLE[..], &[(1, 100)], &[(3, 1), (50, 90_000)]] {
            assert_eq!(
                decode(&body, Some(format), GENEROUS, cuts),
                Ok(data.clone())
            );
        }
        let garbage = [&body[..], b"x"].concat();
        let offset = body.len();
        let error = Err(DecompressError::TrailingGarbage { offset, format });
        for cuts in [&WHOLE[..], &[(1, 100)]] {
            assert_eq!(
                decode(&garbage, Some(format), GENEROUS, cuts),
                error,
                "{format}"
            );
        }
        for cut in [1, 4, 6, 9] {
            let short = &body[..body.len() - cut];
            let error = Err(DecompressError::Truncated {
                offset: short.len(),
            });
            assert_eq!(
                decode(short, Some(format), GENEROUS, &WHOLE),
                error,
                "{format} {cut}"
            );
        }
    }
}

#[test]
fn ten_thousand_empty_members_and_no_more_than_the_bound() {
    for format in [Format::Gzip, Format::Zstd, Format::Lz4] {
        let empty = pack(format, Level::MIN, &[]);
        assert_eq!(
            decode(&empty.repeat(10_000), None, GENEROUS, &[(1_000, 1_000)]),
            Ok(vec![])
        );
        let error = Err(DecompressError::TooManyMembers);
        assert_eq!(
            decode(
                &empty.repeat(MEMBERS_MAX + 1),
                None,
                GENEROUS,
                &[(1 << 20, 1 << 16)]
            ),
            error
        );
    }
}

#[test]
fn blocks_without_data_are_no_disagreement_of_the_two_decoders() {
    let nothing = [0, 0, 0, 0xff, 0xff].repeat(40_000);
    let body = [&nothing[..], &[3, 0]].concat();
    for cuts in [&WHOLE[..], &[(1_000, 1)], &[(1, 70_000)]] {
        assert_eq!(
            decode(&body, Some(Format::Deflate), GENEROUS, cuts),
            Ok(vec![])
        );
    }
    // The same just where the ratio is judged, with zlib-rs's room full: it takes them all, and ruins nothing.
    for len in [65_535, 65_536, 65_537, 131_072] {
        let mut data = Vec::new();
        faam_codec::write_stored(&numbers(len), Position::Middle, &mut data);
        let body = [
            &data[..],
            &nothing,
            &data,
            &nothing[..40_000],
            &data,
            &[3, 0],
        ]
        .concat();
        for cuts in [&WHOLE[..], &[(1_000, 1_000)], &[(100_000, 70_000)]] {
            let decoded = decode(&body, Some(Format::Deflate), GENEROUS, cuts);
            assert!(decoded == Ok(numbers(len).repeat(3)), "{len} {cuts:?}");
        }
    }
}

#[test]
fn every_cut_is_truncated_at_its_length() {
    for format in Format::ALL {
        for packed in [
            pack(format, Level::DEFAULT, &numbers(2_000)),
            pack_without_checksum(format, &noise(300)),
        ] {
            for len in 0..packed.len() {
                let error = Err(DecompressError::Truncated { offset: len });
                assert_eq!(
                    decode(&packed[..len], Some(format), GENEROUS, &WHOLE),
                    error,
                    "{format} {len}"
                );
                assert_eq!(
                    decode(&packed[..len], Some(format), GENEROUS, &[(1, 64)]),
                    error,
                    "{format} {len}"
                );
            }
        }
    }
}

#[test]
fn a_changed_bit_never_gives_other_data() {
    let data = numbers(500);
    for format in Format::ALL {
        for packed in [
            pack(format, Level::DEFAULT, &data),
            pack_without_checksum(format, &data),
        ] {
            let checked = format == Format::Gzip || format == Format::Zlib;
            for bit in 0..packed.len() * 8 {
                let mut hurt = packed.clone();
                hurt[bit / 8] ^= 1 << (bit % 8);
                let back = decode(&hurt, Some(format), GENEROUS, &WHOLE);
                // Without a checksum a changed literal is good data; with one nothing passes but what means the same.
                if checked && let Ok(back) = &back {
                    assert!(*back == data, "{format} bit {bit}");
                }
                assert_eq!(
                    decode(&hurt, Some(format), GENEROUS, &[(1, 33)]).ok(),
                    back.ok(),
                    "{format} bit {bit}"
                );
            }
        }
    }
}

#[test]
fn checksums_of_frames_are_checked() {
    for format in [Format::Zstd, Format::Lz4] {
        let good = pack(format, Level::DEFAULT, &numbers(500));
        let mut bad = good.clone();
        let last = bad.len() - 1;
        bad[last] ^= 1;
        match decode(&[good, bad].concat(), None, GENEROUS, &[(100, 100)]) {
            Err(DecompressError::ChecksumMismatch {
                expected,
                got,
                member: 1,
            }) => {
                assert_eq!(expected ^ got, 1 << 24);
            }
            other => panic!("{format}: {other:?}"),
        }
    }
}

#[test]
fn windows_dictionaries_and_reserved_bits_are_refused_by_name() {
    let offset = 0;
    // Frame_Header_Descriptor 0, then the window: exponent 13, mantissa 1 is 9 MiB.
    let frame = |header: &[u8]| [&[0x28, 0xb5, 0x2f, 0xfd][..], header, &[1, 0, 0]].concat();
    let zstd = |header: &[u8]| decode(&frame(header), None, GENEROUS, &[(1, 1)]);
    assert_eq!(zstd(&[0, 13 << 3]), Ok(vec![]), "8 MiB are taken");
    let window_bytes = 9 << 20;
    assert_eq!(
        zstd(&[0, 13 << 3 | 1]),
        Err(DecompressError::WindowTooLarge {
            offset,
            window_bytes
        })
    );
    // A single segment of 2^32 - 1 bytes.
    let window_bytes = u64::from(u32::MAX);
    assert!(window_bytes > ZSTD_WINDOW_BYTES_MAX);
    let error = Err(DecompressError::WindowTooLarge {
        offset,
        window_bytes,
    });
    assert_eq!(zstd(&[0xa0, 255, 255, 255, 255]), error);
    let error = Err(DecompressError::PresetDictionary { id: 0x0102 });
    assert_eq!(zstd(&[2, 0, 2, 1]), error);
    assert!(matches!(
        zstd(&[8, 0]),
        Err(DecompressError::CorruptInput { .. })
    ));
    let source = HeaderError::Magic {
        format: Format::Zstd,
        expected: "28 b5 2f fd",
        got: *b"no",
    };
    assert_eq!(
        decode(b"no zstd", Some(Format::Zstd), GENEROUS, &WHOLE),
        Err(DecompressError::BadHeader { offset, source })
    );
    let lz4 = |descriptor: &[u8]| {
        let mut body = vec![0x04, 0x22, 0x4d, 0x18];
        body.extend_from_slice(descriptor);
        body.push(xxh32_second_byte(descriptor));
        body.extend_from_slice(&[0; 4]);
        decode(&body, None, GENEROUS, &[(1, 1)])
    };
    assert_eq!(lz4(&[0x60, 0x40]), Ok(vec![]));
    assert_eq!(
        lz4(&[0x61, 0x40, 4, 3, 2, 1]),
        Err(DecompressError::PresetDictionary { id: 0x0102_0304 })
    );
    for (flags, blocks) in [(0x20, 0x40), (0x62, 0x40), (0x60, 0x30), (0x60, 0xc0)] {
        assert!(matches!(
            lz4(&[flags, blocks]),
            Err(DecompressError::CorruptInput { offset: 0, .. })
        ));
    }
    // A content size that the content has not.
    let mismatch = DecompressError::LengthMismatch {
        expected: 7,
        got: 0,
        member: 0,
    };
    assert_eq!(lz4(&[0x68, 0x40, 7, 0, 0, 0, 0, 0, 0, 0]), Err(mismatch));
}

fn xxh32_second_byte(bytes: &[u8]) -> u8 {
    twox_hash::XxHash32::oneshot(0, bytes).to_le_bytes()[1]
}

#[test]
fn bombs_stop_at_the_limit_that_they_meet_first() {
    let zeros = vec![0; 20 << 20];
    for format in Format::ALL {
        let bomb = pack(format, Level::MAX, &zeros);
        let with = |output_bytes_max, ratio_max| {
            let limits = Limits {
                output_bytes_max,
                ratio_max,
            };
            decode(&bomb, Some(format), limits, &[(1_000, 100_000)]).map(|data| data.len())
        };
        for output_bytes_max in [0, 1 << 20, zeros.len() as u64 - 1] {
            let error = Err(DecompressError::TooLarge { output_bytes_max });
            assert_eq!(with(output_bytes_max, u32::MAX), error, "{format}");
        }
        assert_eq!(
            with(1 << 30, 100),
            Err(DecompressError::RatioExceeded { ratio_max: 100 }),
            "{format}"
        );
        assert_eq!(
            with(zeros.len() as u64, u32::MAX),
            Ok(zeros.len()),
            "{format}"
        );
    }
}

/// Bodies of every format, by other hands and ours, and what is left of them after an accident.
fn body() -> impl Strategy<Value = (Format, Vec<u8>)> {
    let part = (0usize..200_000, any::<bool>(), any::<bool>());
    (
        prop::sample::select(&Format::ALL[..]),
        prop::collection::vec(part, 1..4),
        prop::option::weighted(0.4, (any::<prop::sample::Index>(), any::<u8>())),
        prop::option::weighted(0.2, any::<prop::sample::Index>()),
        prop_oneof![6 => Just(vec![]), 1 => Just(vec![0; 40]), 1 => prop::collection::vec(any::<u8>(), 1..20)],
    )
        .prop_map(|(format, parts, hurt, cut, tail)| {
            let mut body = Vec::new();
            for (len, dull, checksum) in parts {
                let data = if dull { numbers(len) } else { noise(len / 4) };
                body.extend(if checksum { pack(format, Level::MIN, &data) } else { pack_without_checksum(format, &data) });
            }
            body.extend(tail);
            if let Some((at, value)) = hurt {
                let at = at.index(body.len());
                body[at] = value;
            }
            if let Some(cut) = cut {
                body.truncate(cut.index(body.len()));
            }
            (format, body)
        })
}

/// An error without its offset: where exactly a decoder notices bad DEFLATE depends on how far it looked ahead.
fn kind(error: DecompressError) -> DecompressError {
    match error {
        DecompressError::CorruptInput { what, .. } => {
            DecompressError::CorruptInput { offset: 0, what }
        }
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_cuts_give_what_the_whole_gives(
        (format, body) in body(),
        detected in any::<bool>(),
        cuts in prop::collection::vec((1usize..9_000, 0usize..70_000), 1..6),
        output_bytes_max in prop_oneof![3 => Just(1u64 << 40), 1 => 0u64..300_000],
        ratio_max in prop_oneof![3 => Just(u32::MAX), 1 => 1u32..20],
    ) {
        prop_assume!(cuts.iter().any(|(_, room)| *room > 1_000));
        let limits = Limits { output_bytes_max, ratio_max };
        let format = Some(format).filter(|format| !detected || *format == Format::Deflate);
        let whole = decode(&body, format, limits, &WHOLE).map_err(kind);
        prop_assert_eq!(decode(&body, format, limits, &cuts).map_err(kind), whole.clone());
        if body.len() < 3_000 {
            prop_assert_eq!(decode(&body, format, limits, &[(1, 70_000)]).map_err(kind), whole.clone());
        }
        if ratio_max == u32::MAX {
            // The decompressor of whole bodies says the same.
            let other = Decompressor::new().decompress(&body, format, limits).map(|done| done.data);
            prop_assert_eq!(other.map_err(kind), whole);
        }
    }

    #[test]
    fn hostile_bytes_end_within_their_bounds(
        mut body in prop::collection::vec(any::<u8>(), 0..2_000),
        format in prop::sample::select(&Format::ALL[..]),
        piece in 1usize..600,
    ) {
        // Past the magic number, where there is one.
        let magic: &[u8] = match format {
            Format::Gzip => &[0x1f, 0x8b, 8, 0],
            Format::Zlib => &[0x78, 0x9c],
            Format::Deflate => &[],
            Format::Zstd => &[0x28, 0xb5, 0x2f, 0xfd, 0, 0x50],
            Format::Lz4 => &[0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82],
        };
        if body.len() > magic.len() {
            body[..magic.len()].copy_from_slice(magic);
        }
        let limits = Limits { output_bytes_max: 100_000, ratio_max: 1_000 };
        if let Ok(data) = decode(&body, Some(format), limits, &[(piece, 5_000)]) {
            prop_assert!(data.len() <= 100_000);
        }
    }
}
