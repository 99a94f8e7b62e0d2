//! Messages of the vfio-user protocol, version 0.x: values to bytes, and the peer's bytes to checked values.
//!
//! Layouts follow the protocol specification (QEMU, docs/interop/vfio-user.rst, "Protocol Specification").
//! Invariant: nothing here believes a length or an id of the peer before it was compared
//! with what was asked for; parsing allocates nothing but the JSON of one version reply,
//! which is bounded by [`VERSION_REPLY_BYTES_MAX`].

use crate::transport::{ProtocolError, TransportError};

/// Bytes of a message header.
pub(super) const HEADER_BYTES: usize = 16;
/// The same, as a header counts it.
const HEADER_SIZE: u32 = 16;
/// Most bytes of payload that a version reply may have.
pub(super) const VERSION_REPLY_BYTES_MAX: u32 = 4096;
/// Most bytes of payload that any other reply of ours has: a region read of 4 bytes, or region info with capabilities.
pub(super) const REPLY_BYTES_MAX: u32 = 256;
/// Most bytes of one message that we send: the version message, and SET_IRQS, are below it.
pub(super) const REQUEST_BYTES_MAX: usize = 256;

const PROTOCOL_MAJOR: u16 = 0;
const PROTOCOL_MINOR: u16 = 1;

const TYPE_MASK: u32 = 0xF;
const TYPE_REPLY: u32 = 1;
const FLAG_NO_REPLY: u32 = 1 << 4;
const FLAG_ERROR: u32 = 1 << 5;

/// A command of the protocol that this client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Command {
    Version = 1,
    DmaMap = 2,
    DmaUnmap = 3,
    DeviceGetInfo = 4,
    DeviceGetRegionInfo = 5,
    DeviceGetIrqInfo = 7,
    DeviceSetIrqs = 8,
    RegionRead = 9,
    RegionWrite = 10,
    DeviceReset = 13,
}

impl Command {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Version => "version negotiation",
            Self::DmaMap => "a DMA map",
            Self::DmaUnmap => "a DMA unmap",
            Self::DeviceGetInfo => "device info",
            Self::DeviceGetRegionInfo => "region info",
            Self::DeviceGetIrqInfo => "interrupt info",
            Self::DeviceSetIrqs => "interrupt set-up",
            Self::RegionRead => "a region read",
            Self::RegionWrite => "a region write",
            Self::DeviceReset => "a device reset",
        }
    }
}

/// Message header: `id u16, command u16, size u32, flags u32, error u32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: u16,
    pub(super) command: u16,
    /// Of the whole message, header included.
    pub(super) size: u32,
    pub(super) flags: u32,
    pub(super) error: u32,
}

impl Header {
    pub(super) fn from_bytes(b: &[u8; HEADER_BYTES]) -> Self {
        let [
            i0,
            i1,
            c0,
            c1,
            s0,
            s1,
            s2,
            s3,
            f0,
            f1,
            f2,
            f3,
            e0,
            e1,
            e2,
            e3,
        ] = *b;
        Self {
            id: u16::from_le_bytes([i0, i1]),
            command: u16::from_le_bytes([c0, c1]),
            size: u32::from_le_bytes([s0, s1, s2, s3]),
            flags: u32::from_le_bytes([f0, f1, f2, f3]),
            error: u32::from_le_bytes([e0, e1, e2, e3]),
        }
    }

    /// Payload bytes that follow this header, if it is the reply to message `id` of `command`.
    /// An error reply may leave its payload out.
    pub(super) fn check_reply(
        &self,
        id: u16,
        command: Command,
        payload_max: u32,
    ) -> Result<u32, ProtocolError> {
        if self.flags & TYPE_MASK != TYPE_REPLY {
            return Err(ProtocolError::NotAReply { flags: self.flags });
        }
        if self.id != id {
            return Err(ProtocolError::WrongId {
                expected: id,
                got: self.id,
            });
        }
        if self.command != command as u16 {
            return Err(ProtocolError::WrongCommand {
                expected: command as u16,
                got: self.command,
            });
        }
        match self.size.checked_sub(HEADER_SIZE) {
            Some(payload) if payload <= payload_max => Ok(payload),
            _ => Err(ProtocolError::BadSize {
                min: HEADER_SIZE,
                max: HEADER_SIZE.saturating_add(payload_max),
                got: self.size,
            }),
        }
    }

    /// The errno of an error reply.
    pub(super) fn refusal(&self, command: Command) -> Option<TransportError> {
        (self.flags & FLAG_ERROR != 0).then_some(TransportError::Refused {
            command: command.name(),
            errno: self.error,
        })
    }
}

/// A request, built in place.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) command: Command,
    bytes: [u8; REQUEST_BYTES_MAX],
    len: usize,
    /// False once something did not fit: sending is refused then.
    whole: bool,
}

impl Request {
    pub(super) fn new(command: Command, no_reply: bool) -> Self {
        let mut request = Self {
            command,
            bytes: [0; REQUEST_BYTES_MAX],
            len: 0,
            whole: true,
        };
        request.push(&0u16.to_le_bytes());
        request.push(&(command as u16).to_le_bytes());
        request.push(&0u32.to_le_bytes());
        request.push(&if no_reply { FLAG_NO_REPLY } else { 0 }.to_le_bytes());
        request.push(&0u32.to_le_bytes());
        request
    }

    pub(super) fn u16(mut self, value: u16) -> Self {
        self.push(&value.to_le_bytes());
        self
    }

    pub(super) fn u32(mut self, value: u32) -> Self {
        self.push(&value.to_le_bytes());
        self
    }

    pub(super) fn u64(mut self, value: u64) -> Self {
        self.push(&value.to_le_bytes());
        self
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.push(bytes);
        self
    }

    fn push(&mut self, bytes: &[u8]) {
        match self.bytes.get_mut(self.len..self.len + bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.whole = false,
        }
    }

    /// The message as sent, numbered `id`; `None` if it did not fit.
    pub(super) fn finish(&mut self, id: u16) -> Option<&[u8]> {
        let size = u32::try_from(self.len).ok()?.to_le_bytes();
        self.bytes.get_mut(0..2)?.copy_from_slice(&id.to_le_bytes());
        self.bytes.get_mut(4..8)?.copy_from_slice(&size);
        self.whole.then_some(())?;
        self.bytes.get(..self.len)
    }
}

/// The version message: `major u16, minor u16, JSON, NUL`.
pub(super) fn version_request() -> Request {
    // max_msg_fds is what we take in one message from the peer: we take none, and 1 is the least the protocol knows.
    Request::new(Command::Version, false)
        .u16(PROTOCOL_MAJOR)
        .u16(PROTOCOL_MINOR)
        .raw(b"{\"capabilities\":{\"max_msg_fds\":1,\"max_data_xfer_size\":4096}}\0")
}

/// What a peer takes in one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PeerLimits {
    /// File descriptors.
    pub(super) fds_max: usize,
}

/// Descriptors a message that we make use of at most, whatever the peer offers.
const FDS_MAX: u64 = 16;

/// Reads the payload of a version reply.
pub(super) fn parse_version_reply(payload: &[u8]) -> Result<PeerLimits, ProtocolError> {
    let mut fields = Fields::new(payload);
    let major = fields.u16("major")?;
    let minor = fields.u16("minor")?;
    if major != PROTOCOL_MAJOR {
        return Err(ProtocolError::Version { major, minor });
    }
    let text = fields.rest.strip_suffix(b"\0").unwrap_or(fields.rest);
    let mut limits = PeerLimits { fds_max: 1 };
    if text.is_empty() {
        return Ok(limits);
    }
    let json: serde_json::Value =
        serde_json::from_slice(text).map_err(|_| ProtocolError::Capabilities)?;
    if let Some(value) = json.pointer("/capabilities/max_msg_fds") {
        let fds = value.as_u64().ok_or(ProtocolError::Capabilities)?;
        limits.fds_max = usize::try_from(fds.clamp(1, FDS_MAX)).unwrap_or(1);
    }
    Ok(limits)
}

/// What `DEVICE_GET_INFO` answers: `argsz u32, flags u32, num_regions u32, num_irqs u32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeviceInfo {
    pub(super) regions: u32,
    pub(super) irqs: u32,
}

pub(super) fn parse_device_info(payload: &[u8]) -> Result<DeviceInfo, ProtocolError> {
    let mut fields = Fields::new(payload);
    fields.u32("argsz")?;
    fields.u32("flags")?;
    Ok(DeviceInfo {
        regions: fields.u32("num_regions")?,
        irqs: fields.u32("num_irqs")?,
    })
}

/// Size of the region that `DEVICE_GET_REGION_INFO` answers for:
/// `argsz u32, flags u32, index u32, cap_offset u32, size u64, offset u64`.
pub(super) fn parse_region_size(payload: &[u8], index: u32) -> Result<u64, ProtocolError> {
    let mut fields = Fields::new(payload);
    fields.u32("argsz")?;
    fields.u32("flags")?;
    fields.expect_u32("index", index)?;
    fields.u32("cap_offset")?;
    fields.u64("size")
}

/// Count of `DEVICE_GET_IRQ_INFO`: `argsz u32, flags u32, index u32, count u32`.
pub(super) fn parse_irq_count(payload: &[u8], index: u32) -> Result<u32, ProtocolError> {
    let mut fields = Fields::new(payload);
    fields.u32("argsz")?;
    fields.u32("flags")?;
    fields.expect_u32("index", index)?;
    fields.u32("count")
}

/// Value that a region read of `count` (1, 2, 4) bytes returned: `offset u64, region u32, count u32, data`.
pub(super) fn parse_region_read(
    payload: &[u8],
    offset: u64,
    region: u32,
    count: u32,
) -> Result<u32, ProtocolError> {
    let mut fields = Fields::new(payload);
    fields.expect_u64("offset", offset)?;
    fields.expect_u32("region", region)?;
    fields.expect_u32("count", count)?;
    match *fields.rest {
        [a] if count == 1 => Ok(u32::from(a)),
        [a, b] if count == 2 => Ok(u32::from(u16::from_le_bytes([a, b]))),
        [a, b, c, d] if count == 4 => Ok(u32::from_le_bytes([a, b, c, d])),
        _ => Err(ProtocolError::BadField {
            field: "data length",
            got: fields.rest.len() as u64,
        }),
    }
}

/// Checks the answer to a region write: `offset u64, region u32, count u32`.
pub(super) fn check_region_write(
    payload: &[u8],
    offset: u64,
    region: u32,
    count: u32,
) -> Result<(), ProtocolError> {
    let mut fields = Fields::new(payload);
    fields.expect_u64("offset", offset)?;
    fields.expect_u32("region", region)?;
    fields.expect_u32("count", count)
}

/// Takes little-endian fields off the front of a reply.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    fn take<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], ProtocolError> {
        let (bytes, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(ProtocolError::BadField {
                field,
                got: self.rest.len() as u64,
            })?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn u16(&mut self, field: &'static str) -> Result<u16, ProtocolError> {
        self.take(field).map(u16::from_le_bytes)
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, ProtocolError> {
        self.take(field).map(u32::from_le_bytes)
    }

    fn u64(&mut self, field: &'static str) -> Result<u64, ProtocolError> {
        self.take(field).map(u64::from_le_bytes)
    }

    fn expect_u32(&mut self, field: &'static str, expected: u32) -> Result<(), ProtocolError> {
        match self.u32(field)? {
            got if got == expected => Ok(()),
            got => Err(ProtocolError::BadField {
                field,
                got: u64::from(got),
            }),
        }
    }

    fn expect_u64(&mut self, field: &'static str, expected: u64) -> Result<(), ProtocolError> {
        match self.u64(field)? {
            got if got == expected => Ok(()),
            got => Err(ProtocolError::BadField { field, got }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reply_header(id: u16, command: Command, payload: u32) -> Header {
        Header {
            id,
            command: command as u16,
            size: HEADER_SIZE + payload,
            flags: TYPE_REPLY,
            error: 0,
        }
    }

    #[test]
    fn a_request_carries_its_id_command_and_size() {
        let mut request = Request::new(Command::RegionRead, false)
            .u64(0x210)
            .u32(0)
            .u32(4);
        let bytes = request.finish(7).unwrap();
        assert_eq!(bytes.len(), 32);
        assert_eq!(&bytes[..8], &[7, 0, 9, 0, 32, 0, 0, 0]);
        assert_eq!(&bytes[8..16], &[0; 8]);
        let mut posted = Request::new(Command::RegionWrite, true);
        assert_eq!(posted.finish(1).unwrap()[8], 0x10);
    }

    #[test]
    fn a_request_that_does_not_fit_is_not_sent() {
        let mut request = Request::new(Command::Version, false).raw(&[0; REQUEST_BYTES_MAX]);
        assert_eq!(request.finish(1), None);
    }

    #[test]
    fn version_replies() {
        assert_eq!(
            parse_version_reply(&[0, 0, 1, 0]),
            Ok(PeerLimits { fds_max: 1 })
        );
        let text = b"\0\0\x01\0{\"capabilities\":{\"max_msg_fds\":8}}\0";
        assert_eq!(parse_version_reply(text), Ok(PeerLimits { fds_max: 8 }));
        let greedy = b"\0\0\0\0{\"capabilities\":{\"max_msg_fds\":18446744073709551615}}";
        assert_eq!(parse_version_reply(greedy), Ok(PeerLimits { fds_max: 16 }));
        assert_eq!(
            parse_version_reply(&[1, 0, 0, 0]),
            Err(ProtocolError::Version { major: 1, minor: 0 })
        );
        assert_eq!(
            parse_version_reply(b"\0\0\x01\0{"),
            Err(ProtocolError::Capabilities)
        );
    }

    #[test]
    fn an_error_reply_is_a_refusal_with_its_errno() {
        let header = Header {
            flags: TYPE_REPLY | FLAG_ERROR,
            error: 22,
            ..reply_header(1, Command::DmaMap, 0)
        };
        assert_eq!(
            header.refusal(Command::DmaMap),
            Some(TransportError::Refused {
                command: "a DMA map",
                errno: 22
            })
        );
        assert_eq!(
            reply_header(1, Command::DmaMap, 0).refusal(Command::DmaMap),
            None
        );
    }

    proptest! {
        #[test]
        fn a_reply_header_passes_only_if_all_of_it_answers(bytes: [u8; HEADER_BYTES], id: u16) {
            let header = Header::from_bytes(&bytes);
            match header.check_reply(id, Command::RegionRead, 20) {
                Ok(payload) => {
                    prop_assert!(payload <= 20);
                    prop_assert_eq!((header.id, header.command), (id, 9));
                }
                Err(_) => prop_assert_ne!(header, reply_header(id, Command::RegionRead, 20)),
            }
        }

        #[test]
        fn a_header_of_our_own_making_passes(id: u16, payload in 0u32..=20) {
            let header = reply_header(id, Command::RegionRead, payload);
            prop_assert_eq!(header.check_reply(id, Command::RegionRead, 20), Ok(payload));
            prop_assert!(header.check_reply(id.wrapping_add(1), Command::RegionRead, 20).is_err());
            prop_assert!(header.check_reply(id, Command::RegionWrite, 20).is_err());
        }

        #[test]
        fn any_payload_parses_or_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..128), index: u32, count in 0u32..8) {
            let _ = parse_version_reply(&bytes);
            let _ = parse_device_info(&bytes);
            let _ = parse_region_size(&bytes, index);
            let _ = parse_irq_count(&bytes, index);
            let _ = check_region_write(&bytes, 0, index, count);
            if parse_region_read(&bytes, 0, index, count).is_ok() {
                prop_assert_eq!(u32::try_from(bytes.len()).unwrap(), 16 + count);
            }
        }

        #[test]
        fn a_region_read_returns_what_was_sent(value: u32, offset: u64) {
            let mut payload = offset.to_le_bytes().to_vec();
            payload.extend(0u32.to_le_bytes());
            payload.extend(4u32.to_le_bytes());
            payload.extend(value.to_le_bytes());
            prop_assert_eq!(parse_region_read(&payload, offset, 0, 4), Ok(value));
            prop_assert!(parse_region_read(&payload, offset ^ 4, 0, 4).is_err());
            payload.push(0);
            prop_assert!(parse_region_read(&payload, offset, 0, 4).is_err());
        }
    }
}
