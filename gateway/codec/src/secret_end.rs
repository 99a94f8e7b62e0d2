//! An end for a middle block that nobody could foresee.
//!
//! Appended to a block, it makes a stream of it, and makes that stream's data end in a secret, if and only if the
//! block ends between two DEFLATE blocks at a byte boundary. From any other place a decoder reads other bits than these as
//! the secret's: it would take a block made with the knowledge of it to come out right.

use std::hash::{BuildHasher, RandomState};

/// Length of the secret. Each byte has 7 unknown bits: 112 in all.
pub(crate) const SECRET_BYTES: usize = 16;

/// One end, and the data that it decodes to.
pub(crate) struct SecretEnd {
    secret: [u8; SECRET_BYTES],
    bytes: [u8; Self::BYTES],
}

impl SecretEnd {
    /// Length in bytes: a fixed block of 3 + 16 x 8 + 7 bits (RFC 1951, 3.2.6), the header of a final stored block (3 bits)
    /// and its padding, LEN and NLEN of no data.
    pub(crate) const BYTES: usize = 22;

    fn of(words: [u64; 2]) -> Self {
        let [low, high] = words.map(u64::to_le_bytes);
        let mut secret = [0; SECRET_BYTES];
        for (to, from) in secret.iter_mut().zip(low.iter().chain(&high)) {
            *to = from & 0x7f;
        }
        let mut bytes = [0; Self::BYTES];
        let mut bits = Bits {
            bytes: &mut bytes,
            at: 0,
        };
        // BFINAL 0, BTYPE 01.
        bits.put(0b010, 3);
        for literal in secret {
            // Literals up to 143 have the 8-bit codes from 00110000 on, sent from their first bit.
            bits.put((0x30 + literal).reverse_bits(), 8);
        }
        // End of block: seven zeros; then BFINAL 1, BTYPE 00.
        bits.put(0, 7);
        bits.put(1, 3);
        if let Some(complement) = bytes.last_chunk_mut::<2>() {
            *complement = [0xff, 0xff];
        }
        Self { secret, bytes }
    }

    /// What the end decodes to.
    pub(crate) const fn secret(&self) -> &[u8; SECRET_BYTES] {
        &self.secret
    }

    /// What is appended.
    pub(crate) const fn bytes(&self) -> &[u8; Self::BYTES] {
        &self.bytes
    }
}

/// A writer of bits, lowest first.
struct Bits<'bytes> {
    bytes: &'bytes mut [u8; SecretEnd::BYTES],
    at: usize,
}

impl Bits<'_> {
    fn put(&mut self, value: u8, count: usize) {
        for bit in 0..count {
            if let Some(byte) = self.bytes.get_mut(self.at / 8) {
                *byte |= ((value >> bit) & 1) << (self.at % 8);
            }
            self.at += 1;
        }
    }
}

/// A source of ends, each drawn after the block that it is for.
pub(crate) struct SecretEnds {
    /// The standard library's keyed hash, its key random a process: of a counter, a pseudo-random sequence.
    keys: RandomState,
    drawn: u64,
}

impl SecretEnds {
    pub(crate) fn new() -> Self {
        Self {
            keys: RandomState::new(),
            drawn: 0,
        }
    }

    pub(crate) fn draw(&mut self) -> SecretEnd {
        let first = self.keys.hash_one(self.drawn);
        let second = self.keys.hash_one(self.drawn.wrapping_add(1));
        self.drawn = self.drawn.wrapping_add(2);
        SecretEnd::of([first, second])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_decodes_to_its_secret_and_no_two_are_equal() {
        let mut ends = SecretEnds::new();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1_000 {
            let end = ends.draw();
            let mut data = [0; SECRET_BYTES + 1];
            let len = libdeflater::Decompressor::new().deflate_decompress(end.bytes(), &mut data);
            assert_eq!(len, Ok(SECRET_BYTES));
            assert_eq!(&data[..SECRET_BYTES], end.secret());
            assert!(seen.insert(*end.secret()));
        }
    }
}
