//! The hostile side of a connection: vfio-user messages, right or wrong, and no surprise at any answer or at none.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

pub(crate) const VERSION: u16 = 1;
pub(crate) const DMA_MAP: u16 = 2;
pub(crate) const DMA_UNMAP: u16 = 3;
pub(crate) const DEVICE_SET_IRQS: u16 = 8;
pub(crate) const REGION_READ: u16 = 9;
pub(crate) const REGION_WRITE: u16 = 10;
pub(crate) const DEVICE_RESET: u16 = 13;

pub(crate) const BAR0: u32 = 0;
pub(crate) const BAR2: u32 = 2;
pub(crate) const CONFIG: u32 = 7;

const NO_REPLY: u32 = 0x10;
/// Longest wait for a reply, and for room to write: longer than the card's own limits, so that a card which keeps to them
/// is never given up.
const WAIT: Duration = Duration::from_secs(10);
/// Most bytes of a reply.
const REPLY_BYTES_MAX: usize = (1 << 20) + 64;

/// What came of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Done(Vec<u8>),
    Refused,
    /// The connection is over.
    Gone,
}

/// A connection.
pub(crate) struct Peer {
    stream: UnixStream,
    next_id: u16,
}

impl Peer {
    pub(crate) fn connect(path: &Path) -> Option<Self> {
        let stream = UnixStream::connect(path).ok()?;
        stream.set_read_timeout(Some(WAIT)).ok()?;
        stream.set_write_timeout(Some(WAIT)).ok()?;
        Some(Self { stream, next_id: 1 })
    }

    pub(crate) fn version(&mut self) -> Reply {
        let json = br#"{"capabilities":{"max_msg_fds":8,"max_data_xfer_size":1048576}}"#;
        let payload = [&[0, 0, 0, 0][..], json, &[0]].concat();
        self.request(VERSION, &payload, &[])
    }

    /// Sends a message and waits for its reply.
    pub(crate) fn request(
        &mut self,
        command: u16,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Reply {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        match self.send(&frame(id, command, 0, payload), fds) {
            true => self.reply(id),
            false => Reply::Gone,
        }
    }

    /// Sends a message that wants no reply.
    pub(crate) fn post(&mut self, command: u16, payload: &[u8]) -> bool {
        self.send(&frame(0xFFFF, command, NO_REPLY, payload), &[])
    }

    /// Sends bytes as they are. Whether they could be sent.
    pub(crate) fn send(&mut self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> bool {
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(fds)));
        }
        let message = [IoSlice::new(bytes)];
        match sendmsg(&self.stream, &message, &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(sent) => self.stream.write_all(&bytes[sent..]).is_ok(),
            Err(_) => false,
        }
    }

    fn reply(&mut self, id: u16) -> Reply {
        loop {
            let mut header = [0; 16];
            if let Err(error) = self.stream.read_exact(&mut header) {
                let silent = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                assert!(
                    !silent,
                    "a message had neither reply nor end within {WAIT:?}"
                );
                return Reply::Gone;
            }
            let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
            let bytes = (word(4) as usize).saturating_sub(16);
            assert!(bytes <= REPLY_BYTES_MAX, "a reply of {bytes} bytes");
            let mut payload = vec![0; bytes];
            if self.stream.read_exact(&mut payload).is_err() {
                return Reply::Gone;
            }
            // Replies to messages that were sent as bytes, and not waited for, come first.
            if header[..2] == id.to_le_bytes() {
                return match word(8) {
                    1 => Reply::Done(payload),
                    _ => Reply::Refused,
                };
            }
        }
    }

    pub(crate) fn read(&mut self, region: u32, offset: u64, count: u32) -> Reply {
        self.request(REGION_READ, &access(region, offset, count), &[])
    }

    pub(crate) fn write(&mut self, region: u32, offset: u64, data: &[u8]) -> Reply {
        let payload = [access(region, offset, data.len() as u32), data.to_vec()].concat();
        self.request(REGION_WRITE, &payload, &[])
    }

    /// Writes a register without waiting for a reply, as a doorbell is rung.
    pub(crate) fn post_register(&mut self, offset: u32, value: u32) -> bool {
        let mut payload = access(BAR0, u64::from(offset), 4);
        payload.extend_from_slice(&value.to_le_bytes());
        self.post(REGION_WRITE, &payload)
    }

    pub(crate) fn map(
        &mut self,
        flags: u32,
        [offset, iova, size]: [u64; 3],
        fds: &[BorrowedFd<'_>],
    ) -> Reply {
        let mut payload = [32u32.to_le_bytes(), flags.to_le_bytes()].concat();
        for word in [offset, iova, size] {
            payload.extend_from_slice(&word.to_le_bytes());
        }
        self.request(DMA_MAP, &payload, fds)
    }

    pub(crate) fn unmap(&mut self, flags: u32, iova: u64, size: u64) -> Reply {
        let mut payload = [24u32.to_le_bytes(), flags.to_le_bytes()].concat();
        payload.extend_from_slice(&iova.to_le_bytes());
        payload.extend_from_slice(&size.to_le_bytes());
        self.request(DMA_UNMAP, &payload, &[])
    }

    pub(crate) fn set_irqs(&mut self, words: [u32; 4], fds: &[BorrowedFd<'_>]) -> Reply {
        let mut payload = 20u32.to_le_bytes().to_vec();
        for word in words {
            payload.extend_from_slice(&word.to_le_bytes());
        }
        self.request(DEVICE_SET_IRQS, &payload, fds)
    }
}

/// A frame as bytes.
pub(crate) fn frame(id: u16, command: u16, flags: u32, payload: &[u8]) -> Vec<u8> {
    [
        &id.to_le_bytes()[..],
        &command.to_le_bytes(),
        &(16 + payload.len() as u32).to_le_bytes(),
        &flags.to_le_bytes(),
        &[0; 4],
        payload,
    ]
    .concat()
}

fn access(region: u32, offset: u64, count: u32) -> Vec<u8> {
    [
        &offset.to_le_bytes()[..],
        &region.to_le_bytes(),
        &count.to_le_bytes(),
    ]
    .concat()
}
