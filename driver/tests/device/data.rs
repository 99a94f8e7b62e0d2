//! Bytes to compress, and a decoder that is not the card's.

use std::hash::{BuildHasher, RandomState};
use std::io::Read;

use faam_hwif::WireFormat;

/// Compressible bytes of which no two stretches are quite alike.
pub(crate) fn text(bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes + 64);
    let mut state = 1u32;
    while out.len() < bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let words = [
            "request", "card", "queue", "block", "fence", "arena", "tenant",
        ];
        let word = words[(state >> 16) as usize % words.len()];
        out.extend(format!("{word} {} ", state >> 24).bytes());
    }
    out.truncate(bytes);
    out
}

/// Bytes that do not compress.
pub(crate) fn noise(bytes: usize) -> Vec<u8> {
    noise_of(0x9E37_79B9_7F4A_7C15, bytes)
}

/// Others of them for each seed.
pub(crate) fn noise_of(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..bytes).map(|_| next()).collect()
}

/// A seed: the one that the environment gives, or one that nobody knows. It is printed.
pub(crate) fn seed() -> u64 {
    let seed = match std::env::var("FAAM_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => RandomState::new().hash_one(0),
    };
    println!("FAAM_TEST_SEED={seed}");
    seed
}

/// Decodes by an implementation that is not the card's; `None` if it cannot be decoded.
pub(crate) fn inflate(format: WireFormat, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match format {
        WireFormat::Raw => flate2::read::DeflateDecoder::new(bytes).read_to_end(&mut out),
        WireFormat::Zlib => flate2::read::ZlibDecoder::new(bytes).read_to_end(&mut out),
        WireFormat::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
    }
    .is_ok()
    .then_some(out)
}

/// Encodes by the same implementation.
pub(crate) fn deflate(format: WireFormat, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let level = flate2::Compression::new(6);
    match format {
        WireFormat::Raw => flate2::read::DeflateEncoder::new(bytes, level).read_to_end(&mut out),
        WireFormat::Zlib => flate2::read::ZlibEncoder::new(bytes, level).read_to_end(&mut out),
        WireFormat::Gzip => flate2::read::GzEncoder::new(bytes, level).read_to_end(&mut out),
    }
    .unwrap();
    out
}
