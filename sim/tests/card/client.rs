//! A vfio-user client of the tests' own: as small as can be, with a time-out on everything, and free to misbehave.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// Longest wait for anything, seconds: a test that needs it has failed.
pub(crate) const WAIT_S_MAX: u64 = 20;

pub(crate) const VERSION: u16 = 1;
pub(crate) const DMA_MAP: u16 = 2;
pub(crate) const DMA_UNMAP: u16 = 3;
pub(crate) const DEVICE_GET_INFO: u16 = 4;
pub(crate) const DEVICE_GET_REGION_INFO: u16 = 5;
pub(crate) const DEVICE_GET_REGION_IO_FDS: u16 = 6;
pub(crate) const DEVICE_GET_IRQ_INFO: u16 = 7;
pub(crate) const DEVICE_SET_IRQS: u16 = 8;
pub(crate) const REGION_READ: u16 = 9;
pub(crate) const REGION_WRITE: u16 = 10;
pub(crate) const DEVICE_RESET: u16 = 13;

pub(crate) const BAR0: u32 = 0;
pub(crate) const BAR2: u32 = 2;
pub(crate) const CONFIG: u32 = 7;

pub(crate) const MAP_READ: u32 = 1;
pub(crate) const MAP_WRITE: u32 = 2;

const NO_REPLY: u32 = 0x10;

/// A connection.
pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    next_id: u16,
}

impl Client {
    /// Connects, without a word yet.
    pub(crate) fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        let limit = Some(Duration::from_secs(WAIT_S_MAX));
        stream.set_read_timeout(limit).unwrap();
        stream.set_write_timeout(limit).unwrap();
        Self { stream, next_id: 1 }
    }

    /// Connects and agrees on a version.
    pub(crate) fn open(path: &Path) -> Self {
        let mut client = Self::connect(path);
        client.version().unwrap();
        client
    }

    pub(crate) fn version(&mut self) -> Result<Vec<u8>, i32> {
        let mut payload = vec![0, 0, 0, 0];
        payload.extend_from_slice(
            br#"{"capabilities":{"max_msg_fds":8,"max_data_xfer_size":1048576,"pgsizes":4096}}"#,
        );
        payload.push(0);
        self.request(VERSION, &payload, &[])
    }

    /// Sends a message and returns the reply's payload, or the errno of an error reply.
    pub(crate) fn request(
        &mut self,
        command: u16,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<Vec<u8>, i32> {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        self.send(&frame(id, command, 0, payload), fds);
        self.reply(id, command)
    }

    /// Sends a message that wants no reply.
    pub(crate) fn post(&mut self, command: u16, payload: &[u8]) {
        self.send(&frame(0xFFFF, command, NO_REPLY, payload), &[]);
    }

    pub(crate) fn send(&mut self, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(fds)));
        }
        let sent = sendmsg(
            &self.stream,
            &[IoSlice::new(bytes)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )
        .unwrap();
        self.stream.write_all(&bytes[sent..]).unwrap();
    }

    fn reply(&mut self, id: u16, command: u16) -> Result<Vec<u8>, i32> {
        let mut header = [0; 16];
        self.stream.read_exact(&mut header).unwrap();
        let u16_at = |at: usize| u16::from_le_bytes(header[at..at + 2].try_into().unwrap());
        let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
        assert_eq!(u16_at(0), id, "message id");
        assert_eq!(u16_at(2), command, "command");
        let mut payload = vec![0; u32_at(4) as usize - 16];
        self.stream.read_exact(&mut payload).unwrap();
        match u32_at(8) {
            1 => Ok(payload),
            0x21 => {
                assert!(payload.is_empty(), "an error reply is a header alone");
                Err(i32::from_le_bytes(header[12..16].try_into().unwrap()))
            }
            flags => panic!("reply with flags {flags:#x}"),
        }
    }

    /// Whether the other side has closed the connection (waits for it).
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    pub(crate) fn read(&mut self, region: u32, offset: u64, count: u32) -> Result<Vec<u8>, i32> {
        let mut reply = self.request(REGION_READ, &access(region, offset, count), &[])?;
        assert_eq!(reply[..16], access(region, offset, count));
        let data = reply.split_off(16);
        assert_eq!(data.len(), count as usize);
        Ok(data)
    }

    pub(crate) fn write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), i32> {
        let mut payload = access(region, offset, data.len() as u32);
        payload.extend_from_slice(data);
        let reply = self.request(REGION_WRITE, &payload, &[])?;
        assert_eq!(reply, payload[..16]);
        Ok(())
    }

    pub(crate) fn read32(&mut self, region: u32, offset: u32) -> u32 {
        let data = self.read(region, u64::from(offset), 4).unwrap();
        u32::from_le_bytes(data.try_into().unwrap())
    }

    pub(crate) fn write32(&mut self, region: u32, offset: u32, value: u32) {
        self.write(region, u64::from(offset), &value.to_le_bytes())
            .unwrap();
    }

    /// Writes without waiting for a reply, as a doorbell is rung.
    pub(crate) fn post32(&mut self, region: u32, offset: u32, value: u32) {
        let mut payload = access(region, u64::from(offset), 4);
        payload.extend_from_slice(&value.to_le_bytes());
        self.post(REGION_WRITE, &payload);
    }

    /// Sets the command register.
    pub(crate) fn command(&mut self, bits: u16) {
        self.write(CONFIG, 4, &bits.to_le_bytes()).unwrap();
    }

    pub(crate) fn map(
        &mut self,
        iova: u64,
        size: u64,
        flags: u32,
        file: Option<(&OwnedFd, u64)>,
    ) -> Result<Vec<u8>, i32> {
        let offset = file.map_or(0, |(_, offset)| offset);
        let mut payload = Vec::new();
        payload.extend_from_slice(&32u32.to_le_bytes());
        payload.extend_from_slice(&flags.to_le_bytes());
        for word in [offset, iova, size] {
            payload.extend_from_slice(&word.to_le_bytes());
        }
        let fds: Vec<BorrowedFd<'_>> = file.iter().map(|(fd, _)| fd.as_fd()).collect();
        self.request(DMA_MAP, &payload, &fds)
    }

    pub(crate) fn unmap(&mut self, iova: u64, size: u64, flags: u32) -> Result<Vec<u8>, i32> {
        let mut payload = Vec::new();
        payload.extend_from_slice(&24u32.to_le_bytes());
        payload.extend_from_slice(&flags.to_le_bytes());
        payload.extend_from_slice(&iova.to_le_bytes());
        payload.extend_from_slice(&size.to_le_bytes());
        self.request(DMA_UNMAP, &payload, &[])
    }

    /// VFIO_DEVICE_SET_IRQS on MSI-X.
    pub(crate) fn set_irqs(
        &mut self,
        flags: u32,
        start: u32,
        count: u32,
        data: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<Vec<u8>, i32> {
        let mut payload = Vec::new();
        for word in [20 + data.len() as u32, flags, 2, start, count] {
            payload.extend_from_slice(&word.to_le_bytes());
        }
        payload.extend_from_slice(data);
        self.request(DEVICE_SET_IRQS, &payload, fds)
    }
}

/// A frame as bytes.
pub(crate) fn frame(id: u16, command: u16, flags: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes.extend_from_slice(&command.to_le_bytes());
    bytes.extend_from_slice(&(16 + payload.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&flags.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

fn access(region: u32, offset: u64, count: u32) -> Vec<u8> {
    let mut payload = offset.to_le_bytes().to_vec();
    payload.extend_from_slice(&region.to_le_bytes());
    payload.extend_from_slice(&count.to_le_bytes());
    payload
}
