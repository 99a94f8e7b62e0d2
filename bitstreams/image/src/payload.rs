//! What a simulated card's slot takes in place of a bitstream.
//!
//! Owns its encoding: a header of 48 bytes, then bytes that stand for configuration frames, which a slot's modelled load goes
//! through and whose sum it checks. Invariant: decoding foreign bytes never panics, and gives what encodes to the same bytes. It is
//! the simulator's own: no device takes it, and nothing in it is gateware.

use thiserror::Error;
use uuid::Uuid;

const MAGIC: &[u8; 8] = b"FaaMSLOT";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 0x30;
/// Of the header, what the sum is over.
const SUMMED: usize = 0x28;
/// Every job that there is.
const SERVES_ALL: u8 = 0b111;

/// Why bytes are no payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("its payload is none that a simulated slot takes: {what}")]
pub struct PayloadError {
    /// What about it.
    pub what: &'static str,
}

/// See the module's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotPayload<'a> {
    /// Bits of the jobs that it serves.
    pub serves: u8,
    /// The device that it is for.
    pub idcode: u32,
    /// The shell that it is for.
    pub shell: u32,
    /// The kernel.
    pub kernel: Uuid,
    /// What stands for the frames.
    pub bitstream: &'a [u8],
}

impl<'a> SlotPayload<'a> {
    /// Its bytes; `None` beyond 4 GiB.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES.saturating_add(self.bitstream.len()));
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[self.serves, 0]);
        bytes.extend_from_slice(&self.idcode.to_le_bytes());
        bytes.extend_from_slice(&self.shell.to_le_bytes());
        let length = u32::try_from(self.bitstream.len()).ok()?;
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(self.kernel.as_bytes());
        let sum = sum(&bytes, self.bitstream);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(self.bitstream);
        Some(bytes)
    }

    /// From bytes.
    ///
    /// # Errors
    /// [`PayloadError`]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PayloadError> {
        let no = |what| PayloadError { what };
        let (header, bitstream) = bytes
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(no("it is shorter than a header"))?;
        let word = |at: usize| {
            let word = header.get(at..).and_then(|rest| rest.first_chunk::<4>());
            word.map_or(0, |word| u32::from_le_bytes(*word))
        };
        let byte = |at: usize| header.get(at).copied().unwrap_or_default();
        if !header.starts_with(MAGIC) {
            return Err(no("it does not begin with FaaMSLOT"));
        }
        if word(0x08).to_le_bytes().first_chunk() != Some(&VERSION.to_le_bytes()) {
            return Err(no("its version is not 1"));
        }
        let serves = byte(0x0a);
        if serves == 0 || serves & !SERVES_ALL != 0 || byte(0x0b) != 0 || word(0x2c) != 0 {
            return Err(no("it serves nothing, or what is not known"));
        }
        if usize::try_from(word(0x14)) != Ok(bitstream.len()) {
            return Err(no("its length is not the one that it says"));
        }
        if sum(header.get(..SUMMED).unwrap_or_default(), bitstream) != word(SUMMED) {
            return Err(no("its sum is wrong"));
        }
        let kernel = header.get(0x18..).and_then(|rest| rest.first_chunk::<16>());
        Ok(Self {
            serves,
            idcode: word(0x0c),
            shell: word(0x10),
            kernel: Uuid::from_bytes(kernel.copied().unwrap_or_default()),
            bitstream,
        })
    }
}

/// CRC-32 (RFC 1952, 8) of both, one behind the other.
fn sum(header: &[u8], bitstream: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(bitstream);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_and_every_changed_or_missing_byte_is_noticed() {
        let payload = SlotPayload {
            serves: 0b101,
            idcode: 0x4111_3043,
            shell: 0x0001_0000,
            kernel: Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
            bitstream: &[9; 100],
        };
        let bytes = payload.encode().expect("short");
        // As the contract writes it down.
        assert_eq!(&bytes[..12], b"FaaMSLOT\x01\0\x05\0");
        assert_eq!(bytes[0x14..0x18], [100, 0, 0, 0]);
        assert_eq!(bytes[0x18..0x28], (1..=16).collect::<Vec<_>>());
        assert_eq!(SlotPayload::parse(&bytes), Ok(payload));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(SlotPayload::parse(&changed).is_err(), "byte {at}");
            assert!(SlotPayload::parse(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
