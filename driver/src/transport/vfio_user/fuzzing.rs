//! The client against a server that an input plays: replies good, changed, cut short, refused, with descriptors.
//!
//! One thread: a reply lies in the socket before its request is sent. What would leave the client waiting ends the
//! server's half, so that the wait ends at once rather than after its limit.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;

use faam_hwif::regs::BAR0_BYTES;
use faam_hwif::{BarOffset, Iova};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::message::{Command, HEADER_BYTES, REPLY_BYTES_MAX};
use super::socket::Socket;
use super::{MAP_READ, REGION_CONFIG, VfioUser};
use crate::dma::SharedMemory;
use crate::event::new_eventfd;
use crate::fuzzing::Input;
use crate::transport::{ConfigWidth, DmaAccess, Transport, TransportError};

/// Calls of one input.
const CALLS_MAX: usize = 48;
/// Where a place holds its region, above the offset.
const REGION_SHIFT: u32 = 28;
const OFFSET_MASK: u32 = (1 << REGION_SHIFT) - 1;
/// Requests of one call that set interrupts up: 20 vectors, one a message.
const VECTORS: usize = 20;

thread_local! {
    static MEMORY: SharedMemory = SharedMemory::new("fuzz", 4096).expect("memory");
}

pub(crate) fn replies(mut input: Input<'_>) {
    let before = lowest_free_descriptor();
    let (client, server) = UnixStream::pair().expect("a pair of sockets");
    let mut server = Server {
        stream: server,
        lives: true,
    };
    // The five of connecting, whose numbers are known.
    for (n, command) in [
        Command::Version,
        Command::DeviceGetInfo,
        Command::DeviceGetRegionInfo,
        Command::DeviceGetRegionInfo,
        Command::DeviceGetIrqInfo,
    ]
    .into_iter()
    .enumerate()
    {
        let id = u16::try_from(n + 1).expect("five");
        let index = [0, 0, 0, REGION_CONFIG, 2].get(n).copied().unwrap_or(0);
        server.reply(id, command, index, &mut input);
    }
    if let Ok(device) = VfioUser::over(Socket::of(client.into())) {
        assert!(device.fds_max >= 1, "no descriptor goes in a message");
        call(&device, &mut server, &mut input);
    }
    drop(server);
    assert_eq!(lowest_free_descriptor(), before, "a descriptor stays open");
}

fn call(device: &VfioUser, server: &mut Server, input: &mut Input<'_>) {
    let eventfd = new_eventfd().expect("an eventfd");
    let (mut is_broken, mut may_lag) = (false, false);
    for _ in 0..CALLS_MAX {
        if input.is_empty() {
            break;
        }
        let what = input.u8();
        let id = device.next_id.load(Ordering::Relaxed);
        let register = BarOffset(u32::from(input.u8()) * 4);
        let result = match what % 8 {
            0 | 1 => {
                let sent = server.reply(id, Command::RegionRead, register.0, input);
                let got = device.read_register(register);
                // Unless an earlier reply was left in the socket, which may be to the same number.
                if let (Ok(got), Some(sent), false) = (&got, sent, may_lag) {
                    assert_eq!(*got, sent, "another value than was sent");
                }
                got.map(drop)
            }
            2 => {
                server.reply(id, Command::RegionWrite, register.0, input);
                device.write_register(register, 7)
            }
            3 => device.post_doorbell(register, 9),
            4 => {
                let place = register.0 | REGION_CONFIG << REGION_SHIFT;
                server.reply(id, Command::RegionRead, place, input);
                let at = u16::try_from(register.0).unwrap_or(0);
                device.config_read(at, ConfigWidth::U32).map(drop)
            }
            5 => {
                server.reply(id, Command::DmaMap, 0, input);
                MEMORY.with(|memory| {
                    device.map_dma(memory, Iova(u64::from(MAP_READ) << 32), DmaAccess::Read)
                })
            }
            6 => {
                for n in 0..VECTORS {
                    let id = id.wrapping_add(u16::try_from(n).unwrap_or(0));
                    server.reply(id, Command::DeviceSetIrqs, 0, input);
                }
                let eventfds = [eventfd.as_fd(); VECTORS];
                let count = 1 + usize::from(what >> 3) % VECTORS;
                device.set_interrupts(0, eventfds.get(..count).unwrap_or_default())
            }
            _ if what & 8 == 0 => {
                server.reply(id, Command::DmaUnmap, 0, input);
                device.unmap_dma(Iova(1 << 32), 4096)
            }
            _ => {
                server.reply(id, Command::DeviceReset, 0, input);
                device.function_level_reset()
            }
        };
        if is_broken {
            // What is wrong with a request is found before it is sent.
            assert!(
                matches!(
                    result,
                    Err(TransportError::Gone | TransportError::OutOfRange { .. })
                ),
                "a connection that was given up: {result:?}"
            );
        }
        may_lag |= what % 8 == 6 || matches!(result, Err(TransportError::OutOfRange { .. }));
        is_broken |= matches!(
            result,
            Err(TransportError::Gone
                | TransportError::Protocol(_)
                | TransportError::Io { .. }
                | TransportError::TimedOut { .. })
        );
    }
}

struct Server {
    stream: UnixStream,
    lives: bool,
}

impl Server {
    /// Writes what the input makes of the reply to request `id`. The value that it carries, if it is a good reply to a read
    /// and nothing else was left in the socket.
    fn reply(
        &mut self,
        id: u16,
        command: Command,
        place: u32,
        input: &mut Input<'_>,
    ) -> Option<u32> {
        if !self.lives {
            return None;
        }
        let how = input.u8();
        let fds = usize::from(how >> 6);
        let (payload, value) = payload(command, place, how, input);
        let mut bytes = frame(id, command, 1, 0, &payload);
        match how & 0x7 {
            0..=2 => {
                self.write(&bytes, fds);
                return value;
            }
            3 => {
                // A refusal, with or without its payload.
                let payload = if how & 8 == 0 { &payload[..] } else { &[] };
                let errno = u32::from(input.u8());
                self.write(&frame(id, command, 0x21, errno, payload), fds);
                return None;
            }
            4 => {
                let at = usize::from(input.u8()) % bytes.len();
                bytes[at] ^= input.u8();
            }
            5 => bytes.truncate(usize::from(input.u8()) % (bytes.len() + 1)),
            6 => bytes = input.piece(u8::MAX).to_vec(),
            _ => {
                let more = input.piece(u8::MAX);
                bytes.extend_from_slice(more);
                if how & 8 == 0 {
                    let size = u32::try_from(bytes.len()).unwrap_or(REPLY_BYTES_MAX);
                    bytes[4..8].copy_from_slice(&size.to_le_bytes());
                }
            }
        }
        self.write(&bytes, fds);
        self.lives = false;
        let _ = self.stream.shutdown(Shutdown::Write);
        None
    }

    fn write(&self, bytes: &[u8], fds: usize) {
        if bytes.is_empty() {
            return;
        }
        let own = [self.stream.as_fd(); 3];
        let own = own.get(..fds).unwrap_or_default();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(own.is_empty() || ancillary.push(SendAncillaryMessage::ScmRights(own)));
        let sent = sendmsg(
            &self.stream,
            &[IoSlice::new(bytes)],
            &mut ancillary,
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        );
        // The client may have hung up.
        assert!(sent.is_err() || sent == Ok(bytes.len()));
    }
}

fn frame(id: u16, command: Command, flags: u32, errno: u32, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(HEADER_BYTES + payload.len()).expect("short");
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.extend_from_slice(&(command as u16).to_le_bytes());
    for word in [size, flags, errno] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// What a server that keeps the rules puts into the reply, with some of the input's own where it has a choice.
fn payload(command: Command, place: u32, how: u8, input: &mut Input<'_>) -> (Vec<u8>, Option<u32>) {
    let words = |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|w| w.to_le_bytes()).collect() };
    let own = how & 0x10 != 0;
    match command {
        Command::Version => {
            let mut bytes = vec![0, 0, 1, 0];
            if own {
                bytes.extend_from_slice(input.piece(u8::MAX));
            } else {
                let text = "{\"capabilities\":{\"max_msg_fds\":N}}";
                let number = u32::from(input.u8()).to_string();
                bytes.extend_from_slice(text.replace('N', &number).as_bytes());
                bytes.push(0);
            }
            (bytes, None)
        }
        Command::DeviceGetInfo => {
            let (regions, irqs) = if own {
                (input.u32(), input.u32())
            } else {
                (9, 5)
            };
            (words(&[16, 0, regions, irqs]), None)
        }
        Command::DeviceGetRegionInfo => {
            let size = if own { input.u32() } else { BAR0_BYTES };
            (words(&[32, 0, place, 0, size, 0, 0, 0]), None)
        }
        Command::DeviceGetIrqInfo => {
            let count = if own { input.u32() } else { 17 };
            (words(&[16, 0, place, count]), None)
        }
        Command::RegionRead => {
            let value = input.u32();
            let (region, offset) = (place >> REGION_SHIFT, place & OFFSET_MASK);
            (words(&[offset, 0, region, 4, value]), Some(value))
        }
        Command::RegionWrite => (words(&[place, 0, 0, 4]), None),
        Command::DmaMap | Command::DmaUnmap | Command::DeviceSetIrqs | Command::DeviceReset => {
            (Vec::new(), None)
        }
    }
}

/// The number that the next descriptor will have.
fn lowest_free_descriptor() -> i32 {
    let fd = new_eventfd().expect("an eventfd");
    fd.as_raw_fd()
}
