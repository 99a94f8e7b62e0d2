//! One block by the verifier and by the decoders of others. Also compiled into the test that replays the corpus.

use faam_codec::{EMPTY_FINAL_STORED_BLOCK, IsalDecoder, Position, Verifier, VerifyError};

/// More than this decoded data is not looked at.
const DATA_BYTES_MAX: usize = 1 << 16;

/// Panics if the verifier takes a block that another decoder does not decode to exactly its data, refuses one that zlib-rs
/// does, or takes other data for its.
///
/// The first byte says in which position, and where the data is changed.
pub fn check(bytes: &[u8]) {
    let Some((&mode, block)) = bytes.split_first() else {
        return;
    };
    let position = if mode & 1 == 0 {
        Position::Last
    } else {
        Position::Middle
    };
    let end: &[u8] = match position {
        Position::Last => &[],
        Position::Middle => &EMPTY_FINAL_STORED_BLOCK,
    };
    let stream = [block, end].concat();
    let mut data = vec![0; DATA_BYTES_MAX];
    let mut zlib = flate2::Decompress::new(false);
    let status = zlib.decompress(&stream, &mut data, flate2::FlushDecompress::Finish);
    data.truncate(usize::try_from(zlib.total_out()).expect("within a buffer"));
    let is_whole =
        matches!(status, Ok(flate2::Status::StreamEnd)) && zlib.total_in() == stream.len() as u64;
    let mut verifier = Verifier::new();
    let verdict = verifier.check_block(block, position, &data);
    assert!(
        !matches!(verdict, Err(VerifyError::DecodersDisagree { .. })),
        "{verdict:?}"
    );
    if verdict.is_err() {
        assert!(
            !is_whole || position == Position::Middle,
            "zlib-rs takes it: {verdict:?}"
        );
        return;
    }
    assert!(is_whole, "zlib-rs refuses it");
    let mut room = vec![0; data.len() + 600];
    let made = libdeflater::Decompressor::new().deflate_decompress(&stream, &mut room);
    assert_eq!(made.map(|made| room[..made] == data), Ok(true));
    if let Some(mut isal) = IsalDecoder::new() {
        let done = isal.decode(&stream, &mut room).expect("ISA-L takes it");
        assert_eq!(done.consumed, stream.len());
        assert!(room[..done.produced] == data, "ISA-L makes other data");
    }
    if position == Position::Middle {
        // A fixed block with a literal and a match behind it.
        let more = [block, &[0x4b, 0x4c, 0x04, 0x02, 0x00]].concat();
        let made = libdeflater::Decompressor::new().deflate_decompress(&more, &mut room);
        let expected = [&data[..], b"aaaaa"].concat();
        assert_eq!(made.map(|made| room[..made] == expected), Ok(true));
    }
    let input_len = data.len();
    if input_len > 0 {
        let offset = usize::from(mode >> 1) * 31 % input_len;
        data[offset] ^= 0x10;
        let differs = Err(VerifyError::Mismatch { offset, input_len });
        assert_eq!(verifier.check_block(block, position, &data), differs);
    }
}
