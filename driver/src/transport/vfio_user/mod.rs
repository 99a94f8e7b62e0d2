//! A function behind a vfio-user server: the client half of the protocol.
//!
//! Owns the connection and what was learned of the device when it was made: its
//! regions, its interrupts, how many descriptors a message may carry.
//! Invariant: one request is outstanding at a time, its reply is checked field by field,
//! and after a time-out or a malformed reply the connection is given up, because a late
//! reply could not be told from a present one.
//! It deliberately does not map BARs: the server has no way to notice a store into one.
//!
//! Protocol: QEMU, docs/interop/vfio-user.rst. Lock order: `calls`, then `sending`.

#[cfg(any(test, fuzzing))]
mod fuzzing;
mod message;
mod socket;

#[cfg(any(test, fuzzing))]
pub(crate) use self::fuzzing::replies;

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};

use faam_hwif::regs::BAR0_BYTES;
use faam_hwif::{BarOffset, Iova, pci};
use parking_lot::{Mutex, MutexGuard};

use self::message::{
    Command, HEADER_BYTES, Header, REPLY_BYTES_MAX, Request, VERSION_REPLY_BYTES_MAX,
};
use self::socket::{Socket, SocketError};
use super::{
    ConfigWidth, DmaAccess, IovaRange, ProtocolError, Transport, TransportError, TransportKind,
};
use crate::dma::SharedMemory;

/// Longest wait for room in the listener's backlog, and for the version reply: a server that is just starting.
const CONNECT_MS_MAX: u64 = 1000;
/// Longest wait for a reply. One takes 25 us; a device process that gets no processor on a machine under load may take
/// hundreds of milliseconds, and giving it up for dead costs more than waiting. Under the hang limit of 2 s.
const REPLY_MS_MAX: u64 = 1000;
/// Longest wait for the reply to a reset, which ends DMA in flight first.
const RESET_MS_MAX: u64 = 1000;
/// Longest wait for an unmap's reply, which comes after DMA in flight has ended.
const UNMAP_MS_MAX: u64 = 1000;

/// Region index of BAR0 (linux/vfio.h, VFIO_PCI_BAR0_REGION_INDEX).
const REGION_BAR0: u32 = pci::BAR_REGISTERS as u32;
/// Region index of configuration space (VFIO_PCI_CONFIG_REGION_INDEX).
const REGION_CONFIG: u32 = 7;
/// Interrupt index of MSI-X (VFIO_PCI_MSIX_IRQ_INDEX).
const IRQ_MSIX: u32 = 2;
/// VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER.
const SET_IRQS_EVENTFD_TRIGGER: u32 = (1 << 2) | (1 << 5);

/// DMA_MAP flag: readable.
const MAP_READ: u32 = 1 << 0;
/// DMA_MAP flag: writable.
const MAP_WRITE: u32 = 1 << 1;
/// Addresses that a server with no IOMMU of its own can be asked to map: what x86-64's IOMMUs reach at least.
const IOVA_LAST: u64 = (1 << 48) - 1;

/// A connection to the vfio-user server of one function.
#[derive(Debug)]
pub struct VfioUser {
    socket: Socket,
    /// Held from sending a request until its reply is in.
    calls: Mutex<()>,
    /// Held while one message's bytes go out, so that a doorbell need not wait for another thread's reply.
    sending: Mutex<()>,
    next_id: AtomicU16,
    poisoned: AtomicBool,
    fds_max: usize,
    config_bytes: u64,
    vectors: u32,
    peer_pid: Option<u32>,
}

impl VfioUser {
    /// Connect to the server at `path`, negotiate and check that it serves a PCI device of the expected shape.
    ///
    /// # Errors
    /// [`TransportError`]: nobody listens there, it does not answer in time, or it is no such device.
    pub fn connect(path: &Path) -> Result<Self, TransportError> {
        let limit = Duration::from_millis(CONNECT_MS_MAX);
        let socket = Socket::connect(path, limit).map_err(|error| match error {
            SocketError::Closed => TransportError::Gone,
            SocketError::TimedOut => TransportError::TimedOut {
                what: "a connection",
                limit_ms: CONNECT_MS_MAX,
            },
            SocketError::Io(errno) => TransportError::Io {
                what: "connecting to the device's socket",
                errno,
            },
        })?;
        Self::over(socket)
    }

    /// The same over a socket that is connected.
    fn over(socket: Socket) -> Result<Self, TransportError> {
        let mut device = Self {
            peer_pid: socket.peer_pid(),
            socket,
            calls: Mutex::new(()),
            sending: Mutex::new(()),
            next_id: AtomicU16::new(1),
            poisoned: AtomicBool::new(false),
            fds_max: 1,
            config_bytes: 0,
            vectors: 0,
        };
        let mut reply = [0; VERSION_REPLY_BYTES_MAX as usize];
        let version =
            device.call_within(message::version_request(), &[], &mut reply, CONNECT_MS_MAX)?;
        device.fds_max = device.trust(message::parse_version_reply(version))?.fds_max;

        let mut reply = [0; REPLY_BYTES_MAX as usize];
        let request = Request::new(Command::DeviceGetInfo, false)
            .u32(16)
            .u32(0)
            .u32(0)
            .u32(0);
        let payload = device.call(request, &[], &mut reply)?;
        let info = device.trust(message::parse_device_info(payload))?;
        if info.regions <= REGION_CONFIG {
            return Err(TransportError::OutOfRange {
                what: "the index of the configuration region",
                value: u64::from(info.regions),
            });
        }
        let bar0 = device.region_size(REGION_BAR0)?;
        if bar0 < u64::from(BAR0_BYTES) {
            return device.trust(Err(ProtocolError::BadField {
                field: "size of BAR0",
                got: bar0,
            }));
        }
        device.config_bytes = device.region_size(REGION_CONFIG)?;
        if info.irqs > IRQ_MSIX {
            let request = Request::new(Command::DeviceGetIrqInfo, false)
                .u32(16)
                .u32(0)
                .u32(IRQ_MSIX)
                .u32(0);
            let payload = device.call(request, &[], &mut reply)?;
            device.vectors = device.trust(message::parse_irq_count(payload, IRQ_MSIX))?;
        }
        Ok(device)
    }

    fn region_size(&self, index: u32) -> Result<u64, TransportError> {
        let mut reply = [0; REPLY_BYTES_MAX as usize];
        let request = Request::new(Command::DeviceGetRegionInfo, false)
            .u32(32)
            .u32(0)
            .u32(index)
            .u32(0)
            .u64(0)
            .u64(0);
        let payload = self.call(request, &[], &mut reply)?;
        self.trust(message::parse_region_size(payload, index))
    }

    /// Gives the connection up if what the peer said breaks the protocol.
    fn trust<T>(&self, parsed: Result<T, ProtocolError>) -> Result<T, TransportError> {
        parsed.map_err(|error| {
            self.poison();
            TransportError::Protocol(error)
        })
    }

    fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    fn usable(&self) -> Result<(), TransportError> {
        match self.poisoned.load(Ordering::Acquire) {
            true => Err(TransportError::Gone),
            false => Ok(()),
        }
    }

    fn fail(&self, error: SocketError, what: &'static str, limit_ms: u64) -> TransportError {
        self.poison();
        match error {
            SocketError::Closed => TransportError::Gone,
            SocketError::TimedOut => TransportError::TimedOut { what, limit_ms },
            SocketError::Io(errno) => TransportError::Io { what, errno },
        }
    }

    /// Another thread's call holds the lock at most as long as its own limit; whoever waits longer waits for a hung device.
    fn lock<'a>(
        &self,
        lock: &'a Mutex<()>,
        deadline: Instant,
        what: &'static str,
        limit_ms: u64,
    ) -> Result<MutexGuard<'a, ()>, TransportError> {
        lock.try_lock_until(deadline)
            .ok_or(TransportError::TimedOut { what, limit_ms })
    }

    fn send(
        &self,
        request: &mut Request,
        fds: &[BorrowedFd<'_>],
        deadline: Instant,
        limit_ms: u64,
    ) -> Result<u16, TransportError> {
        let what = request.command.name();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let bytes = request.finish(id).ok_or(TransportError::OutOfRange {
            what: "the size of a request",
            value: message::REQUEST_BYTES_MAX as u64,
        })?;
        let _sending = self.lock(&self.sending, deadline, what, limit_ms)?;
        self.usable()?;
        self.socket
            .send(bytes, fds, deadline)
            .map_err(|error| self.fail(error, what, limit_ms))?;
        Ok(id)
    }

    fn call<'a>(
        &self,
        request: Request,
        fds: &[BorrowedFd<'_>],
        reply: &'a mut [u8],
    ) -> Result<&'a [u8], TransportError> {
        self.call_within(request, fds, reply, REPLY_MS_MAX)
    }

    /// Send a request and take its reply's payload into `reply`.
    fn call_within<'a>(
        &self,
        mut request: Request,
        fds: &[BorrowedFd<'_>],
        reply: &'a mut [u8],
        limit_ms: u64,
    ) -> Result<&'a [u8], TransportError> {
        self.usable()?;
        let command = request.command;
        let what = command.name();
        let deadline = Instant::now() + Duration::from_millis(limit_ms);
        let _calls = self.lock(&self.calls, deadline, what, limit_ms)?;
        let id = self.send(&mut request, fds, deadline, limit_ms)?;
        let mut header = [0; HEADER_BYTES];
        self.socket
            .receive(&mut header, deadline)
            .map_err(|error| self.fail(error, what, limit_ms))?;
        let header = Header::from_bytes(&header);
        let payload_max = u32::try_from(reply.len()).unwrap_or(u32::MAX);
        let payload = self.trust(header.check_reply(id, command, payload_max))?;
        let payload = usize::try_from(payload)
            .ok()
            .and_then(|payload| reply.get_mut(..payload))
            .ok_or(TransportError::Gone)?;
        self.socket
            .receive(payload, deadline)
            .map_err(|error| self.fail(error, what, limit_ms))?;
        match header.refusal(command) {
            Some(refusal) => Err(refusal),
            None => Ok(payload),
        }
    }

    fn region_read(&self, region: u32, offset: u64, count: u32) -> Result<u32, TransportError> {
        let mut reply = [0; REPLY_BYTES_MAX as usize];
        let request = Request::new(Command::RegionRead, false)
            .u64(offset)
            .u32(region)
            .u32(count);
        let payload = self.call(request, &[], &mut reply)?;
        self.trust(message::parse_region_read(payload, offset, region, count))
    }

    fn write_request(
        region: u32,
        offset: u64,
        width: ConfigWidth,
        value: u32,
        no_reply: bool,
    ) -> Request {
        let request = Request::new(Command::RegionWrite, no_reply)
            .u64(offset)
            .u32(region)
            .u32(width.bytes());
        let [a, b, c, d] = value.to_le_bytes();
        match width {
            ConfigWidth::U8 => request.raw(&[a]),
            ConfigWidth::U16 => request.raw(&[a, b]),
            ConfigWidth::U32 => request.raw(&[a, b, c, d]),
        }
    }

    fn region_write(
        &self,
        region: u32,
        offset: u64,
        width: ConfigWidth,
        value: u32,
    ) -> Result<(), TransportError> {
        let mut reply = [0; REPLY_BYTES_MAX as usize];
        let request = Self::write_request(region, offset, width, value, false);
        let payload = self.call(request, &[], &mut reply)?;
        self.trust(message::check_region_write(
            payload,
            offset,
            region,
            width.bytes(),
        ))
    }

    fn check_bar0(offset: BarOffset) -> Result<u64, TransportError> {
        match offset.0.is_multiple_of(4) && offset.0 <= BAR0_BYTES - 4 {
            true => Ok(u64::from(offset.0)),
            false => Err(TransportError::OutOfRange {
                what: "register offset",
                value: u64::from(offset.0),
            }),
        }
    }

    fn check_config(&self, offset: u16, width: ConfigWidth) -> Result<u64, TransportError> {
        let offset = u64::from(offset);
        match offset + u64::from(width.bytes()) <= self.config_bytes {
            true => Ok(offset),
            false => Err(TransportError::OutOfRange {
                what: "configuration space offset",
                value: offset,
            }),
        }
    }
}

impl Transport for VfioUser {
    fn read_register(&self, offset: BarOffset) -> Result<u32, TransportError> {
        self.region_read(REGION_BAR0, Self::check_bar0(offset)?, 4)
    }

    fn write_register(&self, offset: BarOffset, value: u32) -> Result<(), TransportError> {
        let offset = Self::check_bar0(offset)?;
        self.region_write(REGION_BAR0, offset, ConfigWidth::U32, value)
    }

    fn post_doorbell(&self, offset: BarOffset, value: u32) -> Result<(), TransportError> {
        let offset = Self::check_bar0(offset)?;
        let mut request = Self::write_request(REGION_BAR0, offset, ConfigWidth::U32, value, true);
        let deadline = Instant::now() + Duration::from_millis(REPLY_MS_MAX);
        self.send(&mut request, &[], deadline, REPLY_MS_MAX)
            .map(drop)
    }

    fn map_dma(
        &self,
        memory: &SharedMemory,
        iova: Iova,
        access: DmaAccess,
    ) -> Result<(), TransportError> {
        let mut reply = [0; REPLY_BYTES_MAX as usize];
        let flags = match access {
            DmaAccess::Read => MAP_READ,
            DmaAccess::ReadWrite => MAP_READ | MAP_WRITE,
        };
        let request = Request::new(Command::DmaMap, false)
            .u32(32)
            .u32(flags)
            .u64(0)
            .u64(iova.0)
            .u64(memory.len() as u64);
        self.call(request, &[memory.as_fd()], &mut reply).map(drop)
    }

    fn unmap_dma(&self, iova: Iova, bytes: u64) -> Result<(), TransportError> {
        let mut reply = [0; REPLY_BYTES_MAX as usize];
        let request = Request::new(Command::DmaUnmap, false)
            .u32(24)
            .u32(0)
            .u64(iova.0)
            .u64(bytes);
        self.call_within(request, &[], &mut reply, UNMAP_MS_MAX)
            .map(drop)
    }

    fn set_interrupts(
        &self,
        first_vector: u16,
        eventfds: &[BorrowedFd<'_>],
    ) -> Result<(), TransportError> {
        let mut start = u32::from(first_vector);
        let mut reply = [0; REPLY_BYTES_MAX as usize];
        for chunk in eventfds.chunks(self.fds_max) {
            let count = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            match start.checked_add(count) {
                Some(end) if end <= self.vectors => {}
                _ => {
                    return Err(TransportError::OutOfRange {
                        what: "interrupt vector",
                        value: u64::from(start),
                    });
                }
            }
            let request = Request::new(Command::DeviceSetIrqs, false)
                .u32(20)
                .u32(SET_IRQS_EVENTFD_TRIGGER)
                .u32(IRQ_MSIX)
                .u32(start)
                .u32(count);
            self.call(request, chunk, &mut reply)?;
            start += count;
        }
        Ok(())
    }

    fn config_read(&self, offset: u16, width: ConfigWidth) -> Result<u32, TransportError> {
        let offset = self.check_config(offset, width)?;
        self.region_read(REGION_CONFIG, offset, width.bytes())
    }

    fn config_write(
        &self,
        offset: u16,
        width: ConfigWidth,
        value: u32,
    ) -> Result<(), TransportError> {
        let offset = self.check_config(offset, width)?;
        self.region_write(REGION_CONFIG, offset, width, value)
    }

    fn function_level_reset(&self) -> Result<(), TransportError> {
        let mut reply = [0; REPLY_BYTES_MAX as usize];
        let request = Request::new(Command::DeviceReset, false);
        self.call_within(request, &[], &mut reply, RESET_MS_MAX)
            .map(drop)
    }

    fn iova_ranges(&self) -> Vec<IovaRange> {
        // The server has no window of its own, but addresses are kept clear of where x86 puts MSI
        // (0xFEE0_0000), so that a placement that works here works behind an IOMMU.
        vec![IovaRange {
            first: Iova(1 << 32),
            last: Iova(IOVA_LAST),
        }]
    }

    fn kind(&self) -> TransportKind {
        TransportKind::VfioUser
    }

    fn serving_process(&self) -> Option<u32> {
        self.peer_pid
    }
}

#[cfg(test)]
mod tests;
