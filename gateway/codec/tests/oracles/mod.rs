//! Decoders of others that ours is held against.

use faam_codec::{EMPTY_FINAL_STORED_BLOCK, IsalDecoder, Position};

/// Room beyond what is expected, in which a decoder shows that it makes more.
const SLACK: usize = 600;

/// Whether each of zlib-rs, libdeflate and, where it is installed, ISA-L decodes `stream` to exactly `data`; those that say
/// where they stopped must have done so at its end.
pub fn decode(stream: &[u8], data: &[u8]) -> [bool; 3] {
    let mut out = vec![0; data.len() + SLACK];
    let mut zlib = flate2::Decompress::new(false);
    let status = zlib.decompress(stream, &mut out, flate2::FlushDecompress::Finish);
    let made = usize::try_from(zlib.total_out()).expect("within a buffer");
    let by_zlib_rs = matches!(status, Ok(flate2::Status::StreamEnd))
        && zlib.total_in() == stream.len() as u64
        && out[..made] == *data;
    let made = libdeflater::Decompressor::new().deflate_decompress(stream, &mut out);
    let by_libdeflate = made.is_ok_and(|made| out[..made] == *data);
    let by_isal = IsalDecoder::new().map_or(by_zlib_rs, |mut isal| {
        isal.decode(stream, &mut out)
            .is_some_and(|done| done.consumed == stream.len() && out[..done.produced] == *data)
    });
    [by_zlib_rs, by_libdeflate, by_isal]
}

/// The same for a block: behind one in the middle stands the end of a stream, and in another trial a stream with data.
pub fn decode_block(block: &[u8], position: Position, input: &[u8]) -> [bool; 3] {
    match position {
        Position::Last => decode(block, input),
        Position::Middle => {
            let ended = [block, &EMPTY_FINAL_STORED_BLOCK].concat();
            // A fixed block with literals and a match.
            let stream = [0x4b, 0x4c, 0x4a, 0x4e, 0x84, 0x21, 0x00];
            let followed = [block, &stream].concat();
            let more = [input, b"abcabcabcabc"].concat();
            let (first, second) = (decode(&ended, input), decode(&followed, &more));
            std::array::from_fn(|decoder| first[decoder] && second[decoder])
        }
    }
}
