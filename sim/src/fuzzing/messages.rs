//! A hostile client of the protocol: whole messages and broken ones, with any descriptors, over a real socket.

#![expect(clippy::panic, reason = "a panic is how a target says what it found")]

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, sendmsg};

use super::host::Host;
use super::input::Input;
use crate::protocol::frame::{HEADER_BYTES, PAYLOAD_BYTES_MAX};
use crate::protocol::server::exchange;
use crate::protocol::session::Session;

/// Messages of one input.
const MESSAGES_MAX: usize = 48;
/// Descriptors with one message: more than the card takes.
const FDS_MAX: usize = 20;
/// Room for the largest reply, a read of all registers: a reply that the client does not take ends the connection after
/// two seconds, and here nobody reads until it is written.
const SEND_BUFFER_BYTES: usize = 512 << 10;

thread_local! {
    /// One card for all inputs: making one takes longer than most inputs do.
    static HOST: std::cell::RefCell<Host> = std::cell::RefCell::new(Host::new());
    static DESCRIPTORS: Vec<OwnedFd> = descriptors();
}

/// Panics if a message gets another answer than one whole reply to it, or if the client's end leaves anything behind.
///
/// The first bit says whether a version is sent first. Then messages: a byte for its form, one for its descriptors, and
/// either its bytes as they are, or a command's number and its payload behind a header that fits.
pub fn messages(bytes: &[u8]) {
    HOST.with_borrow_mut(|host| DESCRIPTORS.with(|fds| converse(host, fds, Input::new(bytes))));
}

fn converse(host: &mut Host, descriptors: &[OwnedFd], mut input: Input<'_>) {
    host.begin();
    host.unmap();
    let function = Arc::clone(&host.function);
    let (client, server) = UnixStream::pair().expect("a pair of sockets");
    server.set_nonblocking(true).expect("an option");
    let _ = set_socket_send_buffer_size(&server, SEND_BUFFER_BYTES);
    let stop = eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd");
    let mut session = Session::new(Arc::clone(&function));
    let mut payload = Vec::new();
    // What was sent and is not yet taken off the socket.
    let mut unread = Vec::new();
    if input.u8() & 1 == 0 {
        let version = message(1, 0, &[0; 4]);
        send(&client, &version, &[]);
        unread.extend_from_slice(&version);
    }
    for _ in 0..MESSAGES_MAX {
        while whole(&unread).is_none() && !input.is_empty() {
            let (bytes, fds) = next_message(&mut input, descriptors);
            if !bytes.is_empty() {
                send(&client, &bytes, &fds);
                unread.extend_from_slice(&bytes);
            }
        }
        let claimed = whole(&unread);
        if claimed.is_none() {
            // It would wait for the rest.
            client
                .shutdown(std::net::Shutdown::Write)
                .expect("a socket");
        }
        let went_on = exchange(&server, &mut session, &mut payload, &stop).is_ok();
        let reply = received(&client);
        match claimed {
            Some(bytes) => {
                let header: [u8; HEADER_BYTES] = unread
                    .first_chunk()
                    .copied()
                    .expect("a whole message has a header");
                unread.drain(..bytes);
                check_reply(&header, &reply, went_on);
            }
            None => assert!(!went_on && reply.is_empty(), "half a message is answered"),
        }
        if !went_on {
            break;
        }
        host.settle();
    }
    function.detach().expect("nothing is in flight");
    assert_eq!(function.memory.map_count(), 0, "maps are left");
    assert_eq!(function.queues.all().len(), 0, "queues are left");
    assert!(function.is_settled());
}

/// The length of the message at the front, if it is there as a whole or its header is refused anyway.
fn whole(unread: &[u8]) -> Option<usize> {
    let header: &[u8; HEADER_BYTES] = unread.first_chunk()?;
    let [.., a, b, c, d, _, _, _, _, _, _, _, _] = *header;
    let claimed = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    match claimed {
        _ if !(HEADER_BYTES..=HEADER_BYTES + PAYLOAD_BYTES_MAX).contains(&claimed) => {
            Some(HEADER_BYTES)
        }
        // Of a reply only the header is looked at.
        _ if header[8] & 0xF != 0 => Some(HEADER_BYTES),
        _ => (claimed <= unread.len()).then_some(claimed),
    }
}

fn message(command: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(HEADER_BYTES + payload.len()).expect("short");
    let mut bytes = vec![7, 0];
    bytes.extend_from_slice(&command.to_le_bytes());
    bytes.extend_from_slice(&size.to_le_bytes());
    bytes.extend_from_slice(&[flags, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(payload);
    bytes
}

fn next_message<'a>(
    input: &mut Input<'_>,
    descriptors: &'a [OwnedFd],
) -> (Vec<u8>, Vec<BorrowedFd<'a>>) {
    let (form, fds) = (input.u8(), input.u8());
    let count = match fds & 0x1F {
        few @ 0..4 => usize::from(few),
        4 => FDS_MAX,
        _ => usize::from(fds & 1),
    };
    let kind = usize::from(fds >> 5);
    let fds = (0..count)
        .filter_map(|n| descriptors.get((kind + n) % descriptors.len()))
        .map(AsFd::as_fd)
        .collect();
    let bytes = match form {
        0x80.. => {
            let count = usize::from(form & 0x7F);
            input.take(count).to_vec()
        }
        _ => {
            let flags = if form & 0x40 == 0 { 0 } else { 0x10 };
            let count = usize::from(input.u8());
            message(u16::from(form & 0x3F), flags, input.take(count))
        }
    };
    (bytes, fds)
}

fn send(client: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(fds.is_empty() || ancillary.push(SendAncillaryMessage::ScmRights(fds)));
    let sent = sendmsg(
        client,
        &[IoSlice::new(bytes)],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    );
    assert_eq!(sent, Ok(bytes.len()), "the client's own socket");
}

/// All that the server has written.
fn received(client: &UnixStream) -> Vec<u8> {
    let mut out = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match recv(client, &mut piece, RecvFlags::DONTWAIT) {
            Ok((count @ 1.., _)) => out.extend_from_slice(&piece[..count]),
            Ok(_) | Err(Errno::AGAIN) => return out,
            Err(errno) => panic!("the client's own socket: {errno}"),
        }
    }
}

fn check_reply(request: &[u8; HEADER_BYTES], reply: &[u8], went_on: bool) {
    let wants_none = request[8] & 0x10 != 0;
    if reply.is_empty() {
        assert!(wants_none || !went_on, "a message without an answer");
        return;
    }
    assert!(!wants_none, "an answer that nobody wanted");
    let header: &[u8; HEADER_BYTES] = reply.first_chunk().expect("half a header");
    assert_eq!(header[..4], request[..4], "id and command");
    let size = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    assert_eq!(usize::try_from(size), Ok(reply.len()), "size");
    let errno = u32::from_le_bytes([header[12], header[13], header[14], header[15]]);
    match header[8] {
        0x01 => assert_eq!(errno, 0, "no error has a number"),
        0x21 => assert!(errno != 0 && reply.len() == HEADER_BYTES, "an error"),
        flags => panic!("flags {flags:#x}"),
    }
}

/// One of each kind that matters: eventfds, files in memory sealed and not, a pipe, a device, a read-only file.
fn descriptors() -> Vec<OwnedFd> {
    let memory = |flags, seal: bool| {
        let fd = rustix::fs::memfd_create("fuzz", flags).expect("a file in memory");
        rustix::fs::ftruncate(&fd, 0x1_0000).expect("room");
        if seal {
            rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK).expect("sealed");
        }
        fd
    };
    vec![
        memory(MemfdFlags::ALLOW_SEALING, true),
        eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd"),
        memory(MemfdFlags::ALLOW_SEALING, false),
        eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd"),
        rustix::pipe::pipe().expect("a pipe").1,
        std::fs::File::open("/dev/null").expect("a device").into(),
        memory(MemfdFlags::CLOEXEC, false),
        UnixStream::pair().expect("a socket").0.into(),
    ]
}
