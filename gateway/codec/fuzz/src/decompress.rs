//! One body by every way that decompresses it. Also compiled into the test that replays the corpus.

use faam_codec::{
    DecompressError, Decompressor, Format, Limits, StreamDecompressor, StreamState, Verifier,
    inflate_member,
};

/// Enough for whatever a few KiB of input can do that more could do too.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;

/// Panics if the decompressors disagree, overstep a bound or get nowhere.
///
/// The first two bytes say how the others are cut, whether the ratio is limited, and whether the format is told.
pub fn check(format: Format, bytes: &[u8]) {
    let Some((&[cut, mode], body)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let limits = Limits {
        output_bytes_max: OUTPUT_BYTES_MAX,
        ratio_max: if mode & 1 == 0 { u32::MAX } else { 20 },
    };
    let told = (mode & 2 == 0 || format == Format::Deflate).then_some(format);
    let whole = stream(told, limits, body, usize::MAX, usize::MAX);
    let piece = usize::from(cut) + 1;
    let room = 1 + usize::from(mode >> 2) * 997;
    let cut = stream(told, limits, body, piece, room);
    assert_eq!(
        kind(&cut),
        kind(&whole),
        "pieces of {piece}, room for {room}"
    );
    if limits.ratio_max == u32::MAX {
        // Of the ratio the decompressor of whole bodies judges by the whole length.
        let other = Decompressor::new()
            .decompress(body, told, limits)
            .map(|done| done.data);
        if !(other.is_ok()
            && matches!(format, Format::Gzip | Format::Zlib)
            && is_not_deflate(&whole))
        {
            assert_eq!(kind(&other), kind(&whole));
        }
    }
    if format.is_deflate() {
        let mut out = vec![0; 4_096];
        if let Ok(done) = inflate_member(body, format, &mut out) {
            assert!(done.consumed <= body.len() && done.produced <= out.len());
            let out = out.get(..done.produced).unwrap_or_default();
            Verifier::new()
                .check_decompressed(body, format, out, done.consumed)
                .expect("one decoder decodes it, and another confirms it");
        }
    }
}

/// The data, or the error, that a stream in pieces of `piece` bytes with room for `room` bytes a call comes to.
fn stream(
    format: Option<Format>,
    limits: Limits,
    body: &[u8],
    piece: usize,
    room: usize,
) -> Result<Vec<u8>, DecompressError> {
    let mut decoder = StreamDecompressor::new(format, limits);
    let mut out = Vec::new();
    let mut at = 0usize;
    let mut calls = 0usize;
    loop {
        let end = at.saturating_add(piece).min(body.len());
        let before = out.len();
        let step = decoder.decompress(
            body.get(at..end).unwrap_or_default(),
            end == body.len(),
            room,
            &mut out,
        )?;
        assert!(out.len() - before <= room, "more than there is room for");
        assert!(out.len() as u64 <= limits.output_bytes_max);
        at += step.consumed;
        assert!(at <= end);
        match step.state {
            StreamState::Ended => {
                assert_eq!(at, body.len());
                return Ok(out);
            }
            StreamState::NeedsInput => assert!(at == end && end < body.len()),
            StreamState::NeedsRoom => {}
        }
        calls += 1;
        assert!(
            calls <= 2 * (body.len() + out.len()) + 100,
            "it gets nowhere"
        );
    }
}

/// libdeflate, which decompresses whole bodies, takes the two symbols that never occur (RFC 1951, section 3.2.6: 286 and
/// 287) for matches of 258 bytes, where zlib refuses them. What it makes of them is right if the data's own checksum says
/// so, and is sent only then.
fn is_not_deflate(result: &Result<Vec<u8>, DecompressError>) -> bool {
    let refused = DecompressError::CorruptInput {
        offset: 0,
        what: "bytes that are not DEFLATE",
    };
    kind(result) == Err(refused)
}

/// Without what depends on how far a decoder looked ahead: the offset of bad data, and, of raw DEFLATE that both decoders
/// refuse, whether one of them had made data before that the other one had not.
fn kind(result: &Result<Vec<u8>, DecompressError>) -> Result<&[u8], DecompressError> {
    match result {
        Ok(data) => Ok(data),
        Err(DecompressError::CorruptInput {
            what: "raw DEFLATE that two decoders read differently",
            ..
        }) => Err(DecompressError::CorruptInput {
            offset: 0,
            what: "bytes that are not DEFLATE",
        }),
        Err(DecompressError::CorruptInput { what, .. }) => {
            Err(DecompressError::CorruptInput { offset: 0, what })
        }
        Err(error) => Err(error.clone()),
    }
}
