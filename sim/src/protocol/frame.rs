//! Frames: the 16-byte header before every message, and fields of the payload after it.
//!
//! Invariant: a length in a frame is compared with its bound before anything is read, allocated or indexed by it.

use rustix::io::Errno;
use thiserror::Error;

/// Size of a header, bytes.
pub(crate) const HEADER_BYTES: usize = 16;
/// Most bytes that one region access moves: the protocol's default for `max_data_xfer_size`.
pub(crate) const DATA_BYTES_MAX: usize = 1 << 20;
/// Bytes before the data of a region access.
pub(crate) const ACCESS_BYTES: usize = 16;
/// Largest payload, bytes.
pub(crate) const PAYLOAD_BYTES_MAX: usize = ACCESS_BYTES + DATA_BYTES_MAX;
/// Most file descriptors taken from one message. QEMU takes a server that offers more for a broken one.
pub(crate) const MESSAGE_FDS_MAX: usize = 16;

const FLAG_TYPE_MASK: u32 = 0xF;
const FLAG_TYPE_COMMAND: u32 = 0;
const FLAG_TYPE_REPLY: u32 = 1;
const FLAG_NO_REPLY: u32 = 1 << 4;
const FLAG_ERROR: u32 = 1 << 5;

/// A command, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Command(pub(crate) u16);

impl Command {
    pub(crate) const VERSION: Self = Self(1);
    pub(crate) const DMA_MAP: Self = Self(2);
    pub(crate) const DMA_UNMAP: Self = Self(3);
    pub(crate) const DEVICE_GET_INFO: Self = Self(4);
    pub(crate) const DEVICE_GET_REGION_INFO: Self = Self(5);
    pub(crate) const DEVICE_GET_REGION_IO_FDS: Self = Self(6);
    pub(crate) const DEVICE_GET_IRQ_INFO: Self = Self(7);
    pub(crate) const DEVICE_SET_IRQS: Self = Self(8);
    pub(crate) const REGION_READ: Self = Self(9);
    pub(crate) const REGION_WRITE: Self = Self(10);
    pub(crate) const DEVICE_RESET: Self = Self(13);
    pub(crate) const DEVICE_FEATURE: Self = Self(16);
}

/// A header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Echoed in the reply.
    pub(crate) id: u16,
    /// What is asked.
    pub(crate) command: Command,
    /// Bytes after the header, at most [`PAYLOAD_BYTES_MAX`].
    pub(crate) payload_bytes: usize,
    /// The sender wants no reply.
    pub(crate) no_reply: bool,
}

/// Why a header cannot be followed: where the next one begins is not known, so the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum BadFrame {
    /// The size leaves no room for the header, or is over the limit.
    #[error(
        "a message has from {HEADER_BYTES} to {} bytes, this one claims {claimed}",
        HEADER_BYTES + PAYLOAD_BYTES_MAX
    )]
    Size {
        /// Size it claims.
        claimed: u32,
    },
    /// Not a command.
    #[error(
        "expected a command, got a message of type {kind}: this server asks nothing that could be replied to"
    )]
    NotCommand {
        /// Its type.
        kind: u32,
    },
}

impl Header {
    /// Checks a header.
    pub(crate) fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, BadFrame> {
        let mut fields = Fields::new(bytes);
        // Sixteen bytes hold all of these; `Fields` cannot run out.
        let id = fields.u16().unwrap_or_default();
        let command = Command(fields.u16().unwrap_or_default());
        let claimed = fields.u32().unwrap_or_default();
        let flags = fields.u32().unwrap_or_default();
        let payload_bytes = usize::try_from(claimed)
            .ok()
            .and_then(|size| size.checked_sub(HEADER_BYTES))
            .filter(|payload| *payload <= PAYLOAD_BYTES_MAX)
            .ok_or(BadFrame::Size { claimed })?;
        let kind = flags & FLAG_TYPE_MASK;
        if kind != FLAG_TYPE_COMMAND {
            return Err(BadFrame::NotCommand { kind });
        }
        Ok(Self {
            id,
            command,
            payload_bytes,
            no_reply: flags & FLAG_NO_REPLY != 0,
        })
    }

    /// The header of the reply to this message.
    pub(crate) fn reply(&self, outcome: Result<usize, Errno>) -> [u8; HEADER_BYTES] {
        let (payload, flags, errno) = match outcome {
            Ok(payload) => (payload, FLAG_TYPE_REPLY, 0),
            Err(errno) => (0, FLAG_TYPE_REPLY | FLAG_ERROR, errno.raw_os_error()),
        };
        let size = u32::try_from(HEADER_BYTES + payload).unwrap_or(u32::MAX);
        let mut bytes = [0; HEADER_BYTES];
        let parts: [&[u8]; 5] = [
            &self.id.to_le_bytes(),
            &self.command.0.to_le_bytes(),
            &size.to_le_bytes(),
            &flags.to_le_bytes(),
            &errno.to_le_bytes(),
        ];
        for (place, byte) in bytes.iter_mut().zip(parts.concat()) {
            *place = byte;
        }
        bytes
    }
}

/// Takes little-endian fields off the front of a payload.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Errno> {
        let (piece, rest) = self.rest.split_first_chunk().ok_or(Errno::INVAL)?;
        self.rest = rest;
        Ok(*piece)
    }

    /// EINVAL past the end, as for the other widths.
    pub(crate) fn u16(&mut self) -> Result<u16, Errno> {
        self.take().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Errno> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Errno> {
        self.take().map(u64::from_le_bytes)
    }

    /// What is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(command: u16, size: u32, flags: u32) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..2].copy_from_slice(&7u16.to_le_bytes());
        bytes[2..4].copy_from_slice(&command.to_le_bytes());
        bytes[4..8].copy_from_slice(&size.to_le_bytes());
        bytes[8..12].copy_from_slice(&flags.to_le_bytes());
        bytes
    }

    #[test]
    fn sizes_are_bounded_both_ways() {
        let most = u32::try_from(HEADER_BYTES + PAYLOAD_BYTES_MAX).unwrap();
        for (size, fits) in [
            (0, false),
            (15, false),
            (16, true),
            (most, true),
            (most + 1, false),
            (u32::MAX, false),
        ] {
            assert_eq!(Header::parse(&header(9, size, 0)).is_ok(), fits, "{size}");
        }
    }

    #[test]
    fn a_reply_is_refused_and_no_reply_is_seen() {
        assert_eq!(
            Header::parse(&header(9, 16, 1)),
            Err(BadFrame::NotCommand { kind: 1 })
        );
        assert!(Header::parse(&header(9, 16, 0x10)).unwrap().no_reply);
    }

    #[test]
    fn an_error_reply_carries_the_errno() {
        let reply = Header::parse(&header(2, 48, 0))
            .unwrap()
            .reply(Err(Errno::EXIST));
        assert_eq!(reply, [7, 0, 2, 0, 16, 0, 0, 0, 0x21, 0, 0, 0, 17, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn any_header_is_parsed_or_refused(bytes: [u8; 16]) {
            if let Ok(header) = Header::parse(&bytes) {
                prop_assert!(header.payload_bytes <= PAYLOAD_BYTES_MAX);
            }
        }
    }
}
