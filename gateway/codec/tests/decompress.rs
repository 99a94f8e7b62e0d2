//! Decompression of whatever callers send: right bytes, or an error that says what and where, within
//! the limits and without a panic.

use std::io::Write;

use faam_codec::{
    DecompressError, Decompressor, Format, HeaderError, InflateDone, InflateError, Limits,
    MEMBERS_MAX, RATIO_FREE_BYTES, Verifier, inflate_member,
};
use flate2::Compression;
use proptest::prelude::*;

const GENEROUS: Limits = Limits {
    output_bytes_max: 1 << 26,
    ratio_max: 1_100,
};

fn pack(format: Format, data: &[u8]) -> Vec<u8> {
    let done = match format {
        Format::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(data).and_then(|()| encoder.finish())
        }
        Format::Zlib => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(data).and_then(|()| encoder.finish())
        }
        Format::Deflate => {
            let mut encoder =
                flate2::write::DeflateEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(data).and_then(|()| encoder.finish())
        }
        Format::Zstd | Format::Lz4 => unreachable!("streams.rs has these"),
    };
    done.expect("a Vec takes it")
}

fn numbers(len: usize) -> Vec<u8> {
    let mut data: Vec<u8> = (0u64..)
        .flat_map(|n| format!("{} ", n * n).into_bytes())
        .take(len)
        .collect();
    data.truncate(len);
    data
}

fn decompress(input: &[u8], format: Option<Format>) -> Result<(usize, Vec<u8>), DecompressError> {
    Decompressor::new()
        .decompress(input, format, GENEROUS)
        .map(|done| (done.members, done.data))
}

#[test]
fn every_format_given_or_detected() {
    for len in [0, 1, 11, 65_535, 65_536, 1_000_000] {
        let data = numbers(len);
        for format in Format::DEFLATE_FAMILY {
            let packed = pack(format, &data);
            assert_eq!(
                decompress(&packed, Some(format)),
                Ok((1, data.clone())),
                "{format} {len}"
            );
            if format != Format::Deflate {
                assert_eq!(
                    decompress(&packed, None),
                    Ok((1, data.clone())),
                    "{format} {len}"
                );
            }
        }
    }
    for unknown in [&b""[..], b"plain text", b"\x28\xb5\x2f\xfe", b"PK\x03\x04"] {
        assert_eq!(
            decompress(unknown, None),
            Err(DecompressError::UnknownFormat)
        );
    }
}

#[test]
fn members_follow_members_and_zeros_may_follow_the_last() {
    let mut packed = Vec::new();
    let mut data = Vec::new();
    for len in [5, 0, 70_000, 70_000, 1] {
        packed.extend(pack(Format::Gzip, &numbers(len)));
        data.extend(numbers(len));
    }
    assert_eq!(decompress(&packed, None), Ok((5, data.clone())));
    packed.resize(packed.len() + 512, 0);
    assert_eq!(decompress(&packed, None), Ok((5, data)));
}

#[test]
fn equal_members_are_not_taken_for_one() {
    // Their trailers are equal, so the last bytes of the body do not say where the first ends.
    let one = pack(Format::Gzip, &numbers(3_000));
    let two = [one.clone(), one].concat();
    assert_eq!(
        decompress(&two, None),
        Ok((2, [numbers(3_000), numbers(3_000)].concat()))
    );
}

#[test]
fn garbage_after_the_end_is_located() {
    for format in Format::DEFLATE_FAMILY {
        let packed = pack(format, &numbers(1_000));
        for garbage in [
            &b"x"[..],
            b"\0\0x",
            b"garbage that is longer than any trailer is",
        ] {
            let body = [&packed[..], garbage].concat();
            assert_eq!(
                decompress(&body, Some(format)),
                Err(DecompressError::TrailingGarbage {
                    offset: packed.len(),
                    format
                })
            );
        }
        if format != Format::Gzip {
            let body = [&packed[..], &[0; 4]].concat();
            let error = DecompressError::TrailingGarbage {
                offset: packed.len(),
                format,
            };
            assert_eq!(decompress(&body, Some(format)), Err(error));
        }
    }
}

#[test]
fn a_planted_trailer_does_not_end_the_body_early() {
    // The body's last 8 bytes repeat the member's trailer: libdeflate alone would take all as one member.
    let packed = pack(Format::Gzip, &numbers(1_000));
    let trailer = &packed[packed.len() - 8..];
    let body = [&packed[..], b"smuggled", trailer].concat();
    assert_eq!(
        decompress(&body, None),
        Err(DecompressError::TrailingGarbage {
            offset: packed.len(),
            format: Format::Gzip
        })
    );
}

#[test]
fn every_cut_is_truncated() {
    let data = numbers(2_000);
    for format in Format::DEFLATE_FAMILY {
        let packed = pack(format, &data);
        for len in 0..packed.len() {
            let error = decompress(&packed[..len], Some(format)).expect_err("cut short");
            assert_eq!(
                error,
                DecompressError::Truncated { offset: len },
                "{format} cut at {len}"
            );
            let mut out = vec![0; data.len()];
            assert_eq!(
                inflate_member(&packed[..len], format, &mut out),
                Err(InflateError::Truncated { len })
            );
        }
        let two = [&packed[..], &packed[..5]].concat();
        if format == Format::Gzip {
            assert_eq!(
                decompress(&two, None),
                Err(DecompressError::Truncated { offset: two.len() })
            );
        }
    }
}

#[test]
fn trailers_are_checked_and_the_member_is_named() {
    let good = pack(Format::Gzip, &numbers(500));
    for (hurt_at, length) in [(8, false), (4, true)] {
        let mut bad = good.clone();
        let at = bad.len() - hurt_at;
        bad[at] ^= 1;
        let error = decompress(&[&good[..], &bad].concat(), None).expect_err("hurt");
        match error {
            DecompressError::ChecksumMismatch {
                expected,
                got,
                member: 1,
            } if !length => assert_eq!(expected, got ^ 1),
            DecompressError::LengthMismatch {
                expected: 501,
                got: 500,
                member: 1,
            } if length => {}
            other => panic!("{other:?}"),
        }
    }
    let mut zlib = pack(Format::Zlib, &numbers(500));
    let last = zlib.len() - 1;
    zlib[last] ^= 1;
    assert!(matches!(
        decompress(&zlib, None),
        Err(DecompressError::ChecksumMismatch { member: 0, .. })
    ));
}

#[test]
fn corruption_is_reported_with_an_offset_within_the_body() {
    let first = pack(Format::Gzip, &numbers(100));
    // A reserved block type right behind the second member's header.
    let body = [
        &first[..],
        &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 0x07],
        &[0; 20],
    ]
    .concat();
    match decompress(&body, None) {
        Err(DecompressError::CorruptInput { offset, .. }) => {
            assert!(
                (first.len() + 10..first.len() + 18).contains(&offset),
                "{offset}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn headers_at_fault_are_named() {
    let name_too_long = [
        &[0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 255][..],
        &vec![b'n'; 70_000],
    ]
    .concat();
    assert!(matches!(
        decompress(&name_too_long, None),
        Err(DecompressError::HeaderTooLarge { offset: 0, .. })
    ));
    let dictionary = [0x78, 0xbb, 1, 2, 3, 4, 0];
    assert_eq!(
        decompress(&dictionary, None),
        Err(DecompressError::PresetDictionary { id: 0x0102_0304 })
    );
    let reserved = [0x1f, 0x8b, 8, 0xe0, 0, 0, 0, 0, 0, 255];
    let source = HeaderError::ReservedFlags { got: 0xe0 };
    assert_eq!(
        decompress(&reserved, None),
        Err(DecompressError::BadHeader { offset: 0, source })
    );
}

#[test]
fn bombs_stop_at_the_limit_that_they_meet_first() {
    let zeros = vec![0; 20 << 20];
    for format in Format::DEFLATE_FAMILY {
        let bomb = pack(format, &zeros);
        let with = |output_bytes_max, ratio_max| {
            Decompressor::new()
                .decompress(
                    &bomb,
                    Some(format),
                    Limits {
                        output_bytes_max,
                        ratio_max,
                    },
                )
                .map(|d| d.data.len())
        };
        assert_eq!(
            with(1 << 20, 1_100),
            Err(DecompressError::TooLarge {
                output_bytes_max: 1 << 20
            })
        );
        assert_eq!(
            with(1 << 30, 100),
            Err(DecompressError::RatioExceeded { ratio_max: 100 })
        );
        assert_eq!(
            with(zeros.len() as u64 - 1, 1_100),
            Err(DecompressError::TooLarge {
                output_bytes_max: zeros.len() as u64 - 1
            })
        );
        assert_eq!(with(zeros.len() as u64, 1_100), Ok(zeros.len()));
        assert_eq!(
            with(0, 1_100),
            Err(DecompressError::TooLarge {
                output_bytes_max: 0
            })
        );
    }
}

#[test]
fn limits_hold_over_all_members_together() {
    let body: Vec<u8> = (0..100)
        .flat_map(|_| pack(Format::Gzip, &[0; 100_000]))
        .collect();
    let limits = Limits {
        output_bytes_max: 9_999_999,
        ratio_max: 1_100,
    };
    let error = DecompressError::TooLarge {
        output_bytes_max: 9_999_999,
    };
    assert_eq!(
        Decompressor::new().decompress(&body, None, limits),
        Err(error)
    );
}

#[test]
fn small_repetitive_bodies_are_not_bombs() {
    let body = pack(Format::Gzip, &vec![b'a'; RATIO_FREE_BYTES]);
    let limits = Limits {
        output_bytes_max: 1 << 20,
        ratio_max: 2,
    };
    assert!(Decompressor::new().decompress(&body, None, limits).is_ok());
    let body = pack(Format::Gzip, &vec![b'a'; RATIO_FREE_BYTES + 1]);
    let error = DecompressError::RatioExceeded { ratio_max: 2 };
    assert_eq!(
        Decompressor::new().decompress(&body, None, limits),
        Err(error)
    );
}

#[test]
fn empty_members_are_counted_and_bounded() {
    let empty = pack(Format::Gzip, &[]);
    let mut body = empty.repeat(MEMBERS_MAX);
    assert_eq!(decompress(&body, None), Ok((MEMBERS_MAX, Vec::new())));
    body.extend(empty);
    assert_eq!(
        decompress(&body, None),
        Err(DecompressError::TooManyMembers)
    );
}

#[test]
fn one_member_into_a_buffer_and_not_a_byte_beyond() {
    let data = numbers(100_000);
    for format in Format::DEFLATE_FAMILY {
        let packed = pack(format, &data);
        let body = [&packed[..], b"what follows"].concat();
        let done = Ok(InflateDone {
            consumed: packed.len(),
            produced: data.len(),
        });
        let mut exact = vec![0; data.len()];
        assert_eq!(inflate_member(&body, format, &mut exact), done, "{format}");
        assert!(exact == data);
        let mut roomy = vec![0xee; data.len() + 3];
        assert_eq!(inflate_member(&body, format, &mut roomy), done);
        assert_eq!(
            roomy[data.len()..],
            [0xee; 3],
            "nothing is written beyond the data"
        );
        for capacity in [0, 1, data.len() - 1] {
            let full = Err(InflateError::OutputFull { capacity });
            assert_eq!(inflate_member(&body, format, &mut vec![0; capacity]), full);
        }
        let empty = pack(format, &[]);
        let done = Ok(InflateDone {
            consumed: empty.len(),
            produced: 0,
        });
        assert_eq!(inflate_member(&empty, format, &mut []), done);
    }
}

#[test]
fn a_hurt_member_is_corrupt_at_its_place() {
    let mut packed = pack(Format::Gzip, &numbers(1_000));
    let trailer = packed.len() - 8;
    packed[trailer] ^= 1;
    match inflate_member(&packed, Format::Gzip, &mut vec![0; 1_000]) {
        Err(InflateError::Corrupt { offset, .. }) => assert_eq!(offset, trailer),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_cards_decompression_is_confirmed_or_refused() {
    let data = numbers(50_000);
    let mut verifier = Verifier::new();
    for format in Format::DEFLATE_FAMILY {
        let packed = pack(format, &data);
        let body = [&packed[..], b"next"].concat();
        let mut check =
            |output: &[u8], consumed| verifier.check_decompressed(&body, format, output, consumed);
        assert_eq!(check(&data, packed.len()), Ok(()), "{format}");
        let mut other = data.clone();
        other[49_999] ^= 1;
        check(&other, packed.len()).expect_err("other bytes");
        check(&data[..49_999], packed.len()).expect_err("a byte short");
        for consumed in [
            0,
            1,
            packed.len() - 1,
            packed.len() + 1,
            body.len() + 1,
            usize::MAX,
        ] {
            check(&data, consumed).expect_err("another length consumed");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_behind_any_header_do_not_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..300),
        header in prop::sample::select(vec![
            &[][..], &[0x1f, 0x8b, 8], &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255], &[0x78, 0x9c], &[0x78, 0xbb],
        ]),
        format in prop::option::of(prop::sample::select(&Format::DEFLATE_FAMILY[..])),
        capacity in 0usize..2_000,
    ) {
        bytes.splice(0..0, header.iter().copied());
        let limits = Limits { output_bytes_max: 100_000, ratio_max: 1_100 };
        if let Ok(done) = Decompressor::new().decompress(&bytes, format, limits) {
            prop_assert!(done.data.len() as u64 <= limits.output_bytes_max);
        }
        let mut out = vec![0; capacity];
        if let Ok(done) = inflate_member(&bytes, format.unwrap_or(Format::Gzip), &mut out) {
            prop_assert!(done.produced <= capacity && done.consumed <= bytes.len());
        }
        let _ = Verifier::new().check_decompressed(&bytes, format.unwrap_or(Format::Zlib), &out, capacity);
    }

    #[test]
    fn no_flipped_bit_gives_other_bytes(len in 0usize..3_000, bit in any::<usize>(), format in prop::sample::select(&[Format::Gzip, Format::Zlib][..])) {
        let data = numbers(len);
        let mut packed = pack(format, &data);
        let bit = bit % (packed.len() * 8);
        packed[bit / 8] ^= 1 << (bit % 8);
        if let Ok((_, decompressed)) = decompress(&packed, Some(format)) {
            prop_assert_eq!(&decompressed, &data);
        }
        let mut out = vec![0; 4_000];
        if let Ok(done) = inflate_member(&packed, format, &mut out) {
            prop_assert_eq!(&out[..done.produced], &data[..]);
        }
    }
}
