//! Messages of vfio-user on a socket, as bytes and descriptors.
//!
//! Owns reading and writing them whole. Invariants: a wait ends when all is over; no more is read than a message says that it
//! has. It judges nothing: whatever is in them may be a lie.

use std::io::{Error, ErrorKind, IoSlice, IoSliceMut, Result};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Bytes of a header: `id u16, command u16, size u32, flags u32, error u32`.
pub(super) const HEADER_BYTES: usize = 16;
/// Most bytes of a message: one region access, and room.
const MESSAGE_BYTES_MAX: usize = (1 << 20) + 4096;
/// Descriptors of a message.
const FDS_MAX: usize = 16;
/// How often a wait looks whether all is over.
const LOOK: Duration = Duration::from_millis(50);

pub(super) const DMA_MAP: u16 = 2;
pub(super) const DMA_UNMAP: u16 = 3;
pub(super) const SET_IRQS: u16 = 8;
pub(super) const REGION_READ: u16 = 9;
pub(super) const REGION_WRITE: u16 = 10;
/// The sender wants no reply.
pub(super) const FLAG_NO_REPLY: u32 = 1 << 4;

/// A message.
#[derive(Default)]
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    pub(super) fds: Vec<OwnedFd>,
}

impl Message {
    pub(super) fn command(&self) -> u16 {
        self.u32(0).to_le_bytes()[2..]
            .try_into()
            .map_or(0, u16::from_le_bytes)
    }

    pub(super) fn wants_reply(&self) -> bool {
        self.u32(8) & FLAG_NO_REPLY == 0
    }

    /// A word at this byte, 0 beyond the end.
    pub(super) fn u32(&self, at: usize) -> u32 {
        let word = self
            .bytes
            .get(at..at + 4)
            .and_then(|word| word.try_into().ok());
        word.map_or(0, u32::from_le_bytes)
    }

    pub(super) fn u64(&self, at: usize) -> u64 {
        u64::from(self.u32(at)) | u64::from(self.u32(at + 4)) << 32
    }

    /// Changes a word, if there is one.
    pub(super) fn set_u32(&mut self, at: usize, value: u32) {
        if let Some(word) = self.bytes.get_mut(at..at + 4) {
            word.copy_from_slice(&value.to_le_bytes());
        }
    }

    /// A region write of four bytes that wants no reply.
    pub(super) fn poke(region: u32, offset: u64, value: u32) -> Self {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&u16::MAX.to_le_bytes());
        bytes.extend_from_slice(&REGION_WRITE.to_le_bytes());
        bytes.extend_from_slice(&36u32.to_le_bytes());
        bytes.extend_from_slice(&FLAG_NO_REPLY.to_le_bytes());
        bytes.extend_from_slice(&0u32.to_le_bytes());
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.extend_from_slice(&region.to_le_bytes());
        bytes.extend_from_slice(&4u32.to_le_bytes());
        bytes.extend_from_slice(&value.to_le_bytes());
        Self {
            bytes,
            fds: Vec::new(),
        }
    }

    /// The next one; an error if the peer is gone or `over` says so.
    pub(super) fn receive(stream: &UnixStream, over: &dyn Fn() -> bool) -> Result<Self> {
        stream.set_read_timeout(Some(LOOK))?;
        let mut message = Self {
            bytes: vec![0; HEADER_BYTES],
            fds: Vec::new(),
        };
        message.fill(stream, 0, over)?;
        let size = usize::try_from(message.u32(4)).unwrap_or(usize::MAX);
        if !(HEADER_BYTES..=MESSAGE_BYTES_MAX).contains(&size) {
            return Err(ErrorKind::InvalidData.into());
        }
        message.bytes.resize(size, 0);
        message.fill(stream, HEADER_BYTES, over)?;
        Ok(message)
    }

    fn fill(&mut self, stream: &UnixStream, from: usize, over: &dyn Fn() -> bool) -> Result<()> {
        let mut at = from;
        while at < self.bytes.len() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let rest = &mut [IoSliceMut::new(&mut self.bytes[at..])];
            let received = recvmsg(stream, rest, &mut ancillary, RecvFlags::CMSG_CLOEXEC);
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = message {
                    self.fds.extend(rights);
                }
            }
            match received {
                Ok(message) if message.bytes == 0 => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(message) => at += message.bytes,
                Err(Errno::AGAIN | Errno::INTR) if !over() => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Sends so many of its bytes, its descriptors with the first.
    pub(super) fn send(&self, stream: &UnixStream, bytes_max: usize) -> Result<()> {
        let fds: Vec<BorrowedFd<'_>> = self.fds.iter().map(AsFd::as_fd).collect();
        let mut left = self.bytes.get(..bytes_max).unwrap_or(&self.bytes);
        let mut first = true;
        while !left.is_empty() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if first && !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
                return Err(Error::other("too many descriptors"));
            }
            let part = &[IoSlice::new(left)];
            match sendmsg(stream, part, &mut ancillary, SendFlags::NOSIGNAL) {
                Ok(sent) => left = left.get(sent..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            first = false;
        }
        Ok(())
    }
}
