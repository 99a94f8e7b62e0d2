//! Bodies to send, and a decoder that is not ours.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

/// Text that compresses as text does.
pub(crate) fn text(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let words: [&[u8]; 8] = [
        b"the ", b"card ", b"queue ", b"a ", b"block, ", b"member ", b"and ", b"of\n",
    ];
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        out.extend_from_slice(words[state as usize >> 29]);
    }
    out.truncate(length);
    out
}

/// Bytes that no encoder makes smaller.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).expect("a Vec");
    encoder.finish().expect("a Vec")
}

/// Decodes exactly one member: nothing may follow it.
#[track_caller]
pub(crate) fn decode_one_member(format: &str, member: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    let mut rest = member;
    // Decoders over &mut &[u8] leave what they did not take.
    let read = match format {
        "gzip" => flate2::bufread::GzDecoder::new(&mut rest).read_to_end(&mut data),
        "zlib" => flate2::bufread::ZlibDecoder::new(&mut rest).read_to_end(&mut data),
        "deflate" => flate2::bufread::DeflateDecoder::new(&mut rest).read_to_end(&mut data),
        other => panic!("{other}"),
    };
    read.unwrap_or_else(|error| panic!("{format}: {error}"));
    assert!(rest.is_empty(), "{} bytes follow the member", rest.len());
    data
}
