//! One client's session: from its first message to its last, messages in, replies out.
//!
//! Owns the order of the protocol (version first) and the meaning of each message. Invariant: whatever a message says,
//! the answer is a reply, an error reply, or the end of the session; never a panic, and never an allocation larger
//! than the bounds of `frame`. It does not know sockets: bytes and descriptors come in, bytes go out.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use faam_hwif::pci;
use faam_hwif::regs::BAR0_BYTES;
use rustix::io::Errno;

use super::frame::{ACCESS_BYTES, Command, DATA_BYTES_MAX, Fields, Header, MESSAGE_FDS_MAX};
use crate::config_space::CONFIG_BYTES;
use crate::faults::Fault;
use crate::function::{Function, Region};
use crate::memory::{PAGE_BYTES, Rights};

/// Protocol version: major.
const VERSION_MAJOR: u16 = 0;
/// Protocol version: minor.
const VERSION_MINOR: u16 = 0;
/// Longest JSON text of a version message, bytes.
const VERSION_JSON_BYTES_MAX: usize = 4096;

/// Regions of a PCI device (linux/vfio.h, VFIO_PCI_*_REGION_INDEX): six BARs, ROM, configuration, VGA.
const REGIONS: u32 = 9;
const REGION_CONFIG: u32 = 7;
/// Interrupt types (VFIO_PCI_*_IRQ_INDEX): INTx, MSI, MSI-X, error, request.
const IRQ_TYPES: u32 = 5;
const IRQ_MSIX: u32 = 2;

const DEVICE_FLAG_RESET: u32 = 1 << 0;
const DEVICE_FLAG_PCI: u32 = 1 << 1;
const REGION_FLAG_READ: u32 = 1 << 0;
const REGION_FLAG_WRITE: u32 = 1 << 1;
const IRQ_FLAG_EVENTFD: u32 = 1 << 0;
const IRQ_FLAG_MASKABLE: u32 = 1 << 1;

const MAP_FLAG_READ: u32 = 1 << 0;
const MAP_FLAG_WRITE: u32 = 1 << 1;
/// Sent by older clients with every descriptor; says nothing that the descriptor does not.
const MAP_FLAG_MAPPABLE: u32 = 1 << 2;
/// VFIO_DMA_UNMAP_FLAG_ALL.
const UNMAP_FLAG_ALL: u32 = 1 << 1;

const SET_DATA_NONE: u32 = 1 << 0;
const SET_DATA_BOOL: u32 = 1 << 1;
const SET_DATA_EVENTFD: u32 = 1 << 2;
const SET_ACTION_MASK: u32 = 1 << 3;
const SET_ACTION_UNMASK: u32 = 1 << 4;
const SET_ACTION_TRIGGER: u32 = 1 << 5;
const SET_DATA: u32 = SET_DATA_NONE | SET_DATA_BOOL | SET_DATA_EVENTFD;
const SET_ACTION: u32 = SET_ACTION_MASK | SET_ACTION_UNMASK | SET_ACTION_TRIGGER;

/// A session.
pub(crate) struct Session {
    function: Arc<Function>,
    negotiated: bool,
}

impl Session {
    /// A session that waits for the client's version.
    pub(crate) fn new(function: Arc<Function>) -> Self {
        Self {
            function,
            negotiated: false,
        }
    }

    /// Answers a message: the reply's payload, or the errno of an error reply. Descriptors not used are closed.
    ///
    /// # Errors
    /// The errno for the client.
    pub(crate) fn handle(
        &mut self,
        header: &Header,
        payload: &[u8],
        fds: Vec<OwnedFd>,
    ) -> Result<Vec<u8>, Errno> {
        if header.command == Command::VERSION {
            return self.version(payload);
        }
        if !self.negotiated {
            return Err(Errno::PROTO);
        }
        match header.command {
            Command::DMA_MAP => self.dma_map(payload, fds),
            Command::DMA_UNMAP => self.dma_unmap(payload),
            Command::DEVICE_GET_INFO => device_info(payload),
            Command::DEVICE_GET_REGION_INFO => region_info(payload),
            // Optional: there is no eventfd behind a doorbell, and EOPNOTSUPP is how a server without says so.
            Command::DEVICE_GET_REGION_IO_FDS => Err(Errno::OPNOTSUPP),
            Command::DEVICE_GET_IRQ_INFO => irq_info(payload),
            Command::DEVICE_SET_IRQS => self.set_irqs(payload, fds),
            Command::REGION_READ => self.region_read(payload),
            Command::REGION_WRITE => self.region_write(payload),
            Command::DEVICE_RESET => self
                .function
                .device_reset()
                .map(|()| Vec::new())
                .map_err(|_| Errno::BUSY),
            // What the kernel says of a feature that a device lacks: no migration, no dirty tracking.
            Command::DEVICE_FEATURE => Err(Errno::NOTTY),
            _ => Err(Errno::NOSYS),
        }
    }

    /// Whether the client has been accepted. Before that an error ends the connection.
    pub(crate) fn is_negotiated(&self) -> bool {
        self.negotiated
    }

    fn version(&mut self, payload: &[u8]) -> Result<Vec<u8>, Errno> {
        if self.negotiated {
            return Err(Errno::INVAL);
        }
        let mut fields = Fields::new(payload);
        let (major, _minor) = (fields.u16()?, fields.u16()?);
        if major != VERSION_MAJOR {
            return Err(Errno::PROTONOSUPPORT);
        }
        let offered = capabilities(fields.rest())?;
        self.negotiated = true;
        let mut reply = Vec::new();
        reply.extend_from_slice(&VERSION_MAJOR.to_le_bytes());
        reply.extend_from_slice(&VERSION_MINOR.to_le_bytes());
        let maps_max = self.function.memory().maps_max();
        reply.extend_from_slice(answer(&offered, maps_max).as_bytes());
        reply.push(0);
        Ok(reply)
    }

    fn dma_map(&self, payload: &[u8], fds: Vec<OwnedFd>) -> Result<Vec<u8>, Errno> {
        let mut fields = Fields::new(payload);
        let (_argsz, flags) = (fields.u32()?, fields.u32()?);
        let (offset, iova, size) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let mut fds = fds.into_iter();
        let fd = fds.next();
        if fds.next().is_some()
            || flags & !(MAP_FLAG_READ | MAP_FLAG_WRITE | MAP_FLAG_MAPPABLE) != 0
        {
            return Err(Errno::INVAL);
        }
        let rights = Rights {
            read: flags & MAP_FLAG_READ != 0,
            write: flags & MAP_FLAG_WRITE != 0,
        };
        let file = fd.map(|fd| (fd, offset));
        self.map_for_the_other(iova, size, rights, file.as_ref());
        self.function.memory().map(iova, size, rights, file)?;
        Ok(Vec::new())
    }

    /// For faults: makes a map for the card's other function too.
    fn map_for_the_other(
        &self,
        iova: u64,
        size: u64,
        rights: Rights,
        file: Option<&(OwnedFd, u64)>,
    ) {
        let faults = &self.function.faults;
        let replaces = faults.on(Fault::ConfusesMaps);
        if !replaces && !faults.on(Fault::SharesMaps) {
            return;
        }
        let Some(other) = self.function.neighbour.get().and_then(Weak::upgrade) else {
            return;
        };
        if replaces {
            let _ = other.unmap(iova, size);
        }
        let again = file.and_then(|(fd, offset)| Some((fd.try_clone().ok()?, *offset)));
        let _ = other.map(iova, size, rights, again);
        // Room for this function's own map, where the other one's was left.
        let _ = self.function.memory().unmap(iova, size);
    }

    fn dma_unmap(&self, payload: &[u8]) -> Result<Vec<u8>, Errno> {
        let mut fields = Fields::new(payload);
        let (_argsz, flags) = (fields.u32()?, fields.u32()?);
        let (iova, size) = (fields.u64()?, fields.u64()?);
        let memory = self.function.memory();
        match flags {
            0 => memory.unmap(iova, size)?,
            UNMAP_FLAG_ALL if iova == 0 && size == 0 => {
                memory.unmap_all().map_err(|_| Errno::BUSY)?;
            }
            _ => return Err(Errno::INVAL),
        }
        Ok(payload.get(..24).unwrap_or_default().to_vec())
    }

    fn set_irqs(&self, payload: &[u8], fds: Vec<OwnedFd>) -> Result<Vec<u8>, Errno> {
        let mut fields = Fields::new(payload);
        let (_argsz, flags, index) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let (start, count) = (fields.u32()?, fields.u32()?);
        let data = fields.rest();
        let vectors = if index == IRQ_MSIX {
            u32::from(pci::MSIX_VECTORS)
        } else {
            0
        };
        let end = start.checked_add(count).ok_or(Errno::INVAL)?;
        if index >= IRQ_TYPES || end > vectors || flags & !(SET_DATA | SET_ACTION) != 0 {
            return Err(Errno::INVAL);
        }
        let msix = self.function.msix();
        let (data_kind, action) = (flags & SET_DATA, flags & SET_ACTION);
        // Which vectors of the range the action is for.
        let chosen = |n: u32| match data_kind {
            SET_DATA_BOOL => usize::try_from(n)
                .ok()
                .and_then(|n| data.get(n))
                .is_some_and(|flag| *flag != 0),
            _ => true,
        };
        let wanted = usize::try_from(count).map_err(|_| Errno::INVAL)?;
        match (data_kind, action) {
            (SET_DATA_BOOL, _) if data.len() != wanted => return Err(Errno::INVAL),
            (SET_DATA_NONE, SET_ACTION_TRIGGER) if count == 0 => {
                if start != 0 {
                    return Err(Errno::INVAL);
                }
                msix.disable();
            }
            (SET_DATA_EVENTFD, SET_ACTION_TRIGGER) => {
                let eventfds = if fds.is_empty() {
                    (0..count).map(|_| None).collect()
                } else if fds.len() == wanted {
                    fds.into_iter().map(Some).collect()
                } else {
                    return Err(Errno::INVAL);
                };
                msix.set_eventfds(start, eventfds)?;
            }
            (SET_DATA_NONE | SET_DATA_BOOL, SET_ACTION_TRIGGER) => {
                for vector in (start..end).filter(|vector| chosen(vector - start)) {
                    msix.raise(u16::try_from(vector).map_err(|_| Errno::INVAL)?);
                }
            }
            (SET_DATA_NONE | SET_DATA_BOOL, SET_ACTION_MASK | SET_ACTION_UNMASK) => {
                for vector in (start..end).filter(|vector| chosen(vector - start)) {
                    msix.set_masked(vector, action == SET_ACTION_MASK);
                }
            }
            _ => return Err(Errno::INVAL),
        }
        Ok(Vec::new())
    }

    fn region_read(&self, payload: &[u8]) -> Result<Vec<u8>, Errno> {
        let access = Access::parse(payload)?;
        let mut reply = payload.get(..ACCESS_BYTES).ok_or(Errno::INVAL)?.to_vec();
        reply.resize(ACCESS_BYTES + access.count, 0);
        let into = reply.get_mut(ACCESS_BYTES..).unwrap_or_default();
        self.function
            .region_read(access.region, access.offset, into);
        Ok(reply)
    }

    fn region_write(&self, payload: &[u8]) -> Result<Vec<u8>, Errno> {
        let access = Access::parse(payload)?;
        let data = payload.get(ACCESS_BYTES..).unwrap_or_default();
        if data.len() != access.count {
            return Err(Errno::INVAL);
        }
        self.function
            .region_write(access.region, access.offset, data);
        Ok(payload.get(..ACCESS_BYTES).unwrap_or_default().to_vec())
    }
}

/// A region access within its region.
struct Access {
    region: Region,
    offset: usize,
    count: usize,
}

impl Access {
    fn parse(payload: &[u8]) -> Result<Self, Errno> {
        let mut fields = Fields::new(payload);
        let (offset, index, count) = (fields.u64()?, fields.u32()?, fields.u32()?);
        let (region, bytes) = region(index).ok_or(Errno::INVAL)?;
        let offset = usize::try_from(offset).map_err(|_| Errno::INVAL)?;
        let count = usize::try_from(count).map_err(|_| Errno::INVAL)?;
        let end = offset.checked_add(count).ok_or(Errno::INVAL)?;
        if count == 0 || count > DATA_BYTES_MAX || end > bytes {
            return Err(Errno::INVAL);
        }
        Ok(Self {
            region,
            offset,
            count,
        })
    }
}

/// The region of this index and its size in bytes, if it has one.
fn region(index: u32) -> Option<(Region, usize)> {
    match index {
        0 => Some((Region::Registers, BAR0_BYTES as usize)),
        2 => Some((Region::Msix, pci::BAR_MSIX_BYTES as usize)),
        REGION_CONFIG => Some((Region::Config, CONFIG_BYTES)),
        _ => None,
    }
}

fn device_info(payload: &[u8]) -> Result<Vec<u8>, Errno> {
    Fields::new(payload).u32()?;
    Ok(words(&[
        16,
        DEVICE_FLAG_RESET | DEVICE_FLAG_PCI,
        REGIONS,
        IRQ_TYPES,
    ]))
}

fn region_info(payload: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut fields = Fields::new(payload);
    let (_argsz, _flags, index) = (fields.u32()?, fields.u32()?, fields.u32()?);
    if index >= REGIONS {
        return Err(Errno::INVAL);
    }
    let (flags, bytes) = match region(index) {
        Some((_, bytes)) => (REGION_FLAG_READ | REGION_FLAG_WRITE, bytes as u64),
        None => (0, 0),
    };
    let mut reply = words(&[32, flags, index, 0]);
    reply.extend_from_slice(&bytes.to_le_bytes());
    reply.extend_from_slice(&0u64.to_le_bytes());
    Ok(reply)
}

fn irq_info(payload: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut fields = Fields::new(payload);
    let (_argsz, _flags, index) = (fields.u32()?, fields.u32()?, fields.u32()?);
    match index {
        IRQ_MSIX => Ok(words(&[
            16,
            IRQ_FLAG_EVENTFD | IRQ_FLAG_MASKABLE,
            index,
            u32::from(pci::MSIX_VECTORS),
        ])),
        0..IRQ_TYPES => Ok(words(&[16, 0, index, 0])),
        _ => Err(Errno::INVAL),
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The capabilities object of a version message; an empty one if there is no text.
fn capabilities(text: &[u8]) -> Result<serde_json::Map<String, serde_json::Value>, Errno> {
    let text = match text.split_last() {
        None => return Ok(serde_json::Map::new()),
        Some((0, text)) if text.len() <= VERSION_JSON_BYTES_MAX => text,
        Some(_) => return Err(Errno::INVAL),
    };
    let value: serde_json::Value = serde_json::from_slice(text).map_err(|_| Errno::INVAL)?;
    match value {
        serde_json::Value::Object(mut top) => match top.remove("capabilities") {
            None => Ok(serde_json::Map::new()),
            Some(serde_json::Value::Object(capabilities)) => Ok(capabilities),
            Some(_) => Err(Errno::INVAL),
        },
        _ => Err(Errno::INVAL),
    }
}

/// Our side of each capability that the client named: the reply is a subset of what was proposed. What it leaves out
/// keeps the protocol's default, and no default promises more than this server holds.
fn answer(offered: &serde_json::Map<String, serde_json::Value>, maps_max: usize) -> String {
    let ours = [
        ("max_msg_fds", MESSAGE_FDS_MAX as u64),
        ("max_data_xfer_size", DATA_BYTES_MAX as u64),
        ("max_dma_maps", maps_max as u64),
        ("pgsizes", PAGE_BYTES),
    ];
    let mut capabilities = serde_json::Map::new();
    for (name, value) in ours {
        if offered.contains_key(name) {
            capabilities.insert(name.to_owned(), value.into());
        }
    }
    let mut top = serde_json::Map::new();
    top.insert("capabilities".to_owned(), capabilities.into());
    serde_json::Value::Object(top).to_string()
}

#[cfg(test)]
mod tests;
