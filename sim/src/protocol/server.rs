//! A function's socket: accept, receive, answer, one client after the other.
//!
//! Invariants: a client that stalls in the middle of a message, or does not read its replies, loses its connection
//! after a bounded time; when a connection ends, however it ends, its maps and eventfds are gone and the function is
//! reset before the next client is accepted. A second client waits in the listen queue until then: refusing it would
//! turn away a client that comes back before the end of its last connection was seen.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendFlags, recvmsg,
    sendmsg,
};
use thiserror::Error;

use super::frame::{BadFrame, HEADER_BYTES, Header, MESSAGE_FDS_MAX};
use super::session::Session;
use crate::faults::Fault;
use crate::function::Function;

/// Longest time from a message's first byte to its last, and for a reply to be taken, milliseconds.
const MESSAGE_MS_MAX: u64 = 2_000;
/// Rest after a failed accept (out of descriptors), milliseconds, so that it is not tried in a tight loop.
const ACCEPT_RETRY_MS: u64 = 100;
/// Rest after a client could not be detached, milliseconds.
const DETACH_RETRY_MS: u64 = 10;
/// Payload buffer that is kept from one message to the next, bytes; a larger one is given back.
const PAYLOAD_KEPT_BYTES: usize = 1 << 16;

/// Why a connection ended.
#[derive(Debug, Error)]
pub(crate) enum End {
    #[error("the client hung up")]
    HungUp,
    #[error("the card is stopping")]
    Stopping,
    #[error("the client stalled in the middle of a message")]
    Stalled,
    #[error("bad frame")]
    Frame(#[from] BadFrame),
    #[error("the first message must be a version that fits")]
    NoVersion,
    #[error("more than {MESSAGE_FDS_MAX} descriptors in one message")]
    TooManyFds,
    #[error("socket error")]
    Socket(#[from] Errno),
}

/// Serves clients until `stop` becomes readable.
pub(crate) fn serve(listener: &UnixListener, function: &Arc<Function>, stop: &OwnedFd) {
    loop {
        match wait(listener, PollFlags::IN, stop, None) {
            Ok(()) => {}
            Err(End::Stopping) => return,
            Err(end) => {
                tracing::error!(function = function.index(), %end, "the listener failed");
                return;
            }
        }
        match listener.accept() {
            Ok((stream, _)) => {
                tracing::debug!(function = function.index(), "a client connected");
                if !function.removal.admits(&stream) {
                    continue;
                }
                if function.faults.on(Fault::ServesTwoClients) {
                    serve_aside(stream, function, stop);
                    continue;
                }
                let end = converse(&stream, function, stop);
                // The client's maps, eventfds and work go before the socket does, so that its end is seen late
                // rather than early.
                let detached = detach(listener, function, stop);
                function.removal.leave();
                drop(stream);
                tracing::debug!(function = function.index(), %end, source = ?std::error::Error::source(&end), "the client is gone");
                if !detached || matches!(end, End::Stopping) {
                    return;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::warn!(function = function.index(), %error, "accept failed");
                let rest = Instant::now() + Duration::from_millis(ACCEPT_RETRY_MS);
                if matches!(
                    wait(listener, PollFlags::empty(), stop, Some(rest)),
                    Err(End::Stopping)
                ) {
                    return;
                }
            }
        }
    }
}

/// For a fault: a client has a thread of its own, so that the next one is served beside it.
fn serve_aside(stream: UnixStream, function: &Arc<Function>, stop: &OwnedFd) {
    let function = Arc::clone(function);
    if let Ok(stop) = stop.try_clone() {
        std::thread::spawn(move || {
            converse(&stream, &function, &stop);
            let _ = function.detach();
        });
    }
}

/// Ends all that the function does for its last client: tried until it is done, because another client's memory must not
/// be there beside the last one's. `false` if the card stops before that. Each try waits for a bounded time.
fn detach(listener: &UnixListener, function: &Function, stop: &OwnedFd) -> bool {
    while let Err(still) = function.detach() {
        tracing::error!(function = function.index(), %still, "the next client has to wait");
        let rest = Instant::now() + Duration::from_millis(DETACH_RETRY_MS);
        if let Err(End::Stopping) = wait(listener, PollFlags::empty(), stop, Some(rest)) {
            return false;
        }
    }
    true
}

/// One connection, from the first message to its end.
fn converse(stream: &UnixStream, function: &Arc<Function>, stop: &OwnedFd) -> End {
    if let Err(error) = stream.set_nonblocking(true) {
        return End::Socket(Errno::from_io_error(&error).unwrap_or(Errno::IO));
    }
    let mut session = Session::new(Arc::clone(function));
    let mut payload = Vec::new();
    loop {
        if let Err(end) = exchange(stream, &mut session, &mut payload, stop) {
            return end;
        }
        if payload.capacity() > PAYLOAD_KEPT_BYTES {
            payload = Vec::new();
        }
    }
}

/// One message and its reply.
pub(crate) fn exchange(
    stream: &UnixStream,
    session: &mut Session,
    payload: &mut Vec<u8>,
    stop: &OwnedFd,
) -> Result<(), End> {
    // A client may be silent for as long as it likes between messages.
    wait(stream, PollFlags::IN, stop, None)?;
    let deadline = Instant::now() + Duration::from_millis(MESSAGE_MS_MAX);
    let mut fds = Vec::new();
    let mut header = [0; HEADER_BYTES];
    receive(stream, &mut header, &mut fds, stop, deadline)?;
    let header = Header::parse(&header)?;
    payload.clear();
    payload.resize(header.payload_bytes, 0);
    receive(stream, payload, &mut fds, stop, deadline)?;

    let outcome = session.handle(&header, payload, fds);
    if let Err(errno) = &outcome {
        tracing::debug!(command = header.command.0, %errno, "refused a message");
    }
    if !header.no_reply {
        let head = header.reply(outcome.as_ref().map(Vec::len).map_err(|errno| *errno));
        let deadline = Instant::now() + Duration::from_millis(MESSAGE_MS_MAX);
        send(
            stream,
            &head,
            outcome.as_deref().unwrap_or_default(),
            stop,
            deadline,
        )?;
    }
    if session.is_negotiated() {
        Ok(())
    } else {
        Err(End::NoVersion)
    }
}

/// Fills `into`, gathering descriptors. No more is read than this message's bytes: descriptors come with the first
/// byte that they were sent with, and would else be taken for another message's.
fn receive(
    stream: &UnixStream,
    into: &mut [u8],
    fds: &mut Vec<OwnedFd>,
    stop: &OwnedFd,
    deadline: Instant,
) -> Result<(), End> {
    let mut done = 0;
    while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MESSAGE_FDS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            stream,
            &mut [std::io::IoSliceMut::new(rest)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
        );
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        match received {
            Ok(message) => {
                // Linux has closed what did not fit.
                let truncated = message.flags.contains(rustix::net::ReturnFlags::CTRUNC);
                if truncated || fds.len() > MESSAGE_FDS_MAX {
                    return Err(End::TooManyFds);
                }
                if message.bytes == 0 {
                    return Err(End::HungUp);
                }
                done += message.bytes;
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(stream, PollFlags::IN, stop, Some(deadline))?,
            Err(Errno::CONNRESET | Errno::PIPE) => return Err(End::HungUp),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn send(
    stream: &UnixStream,
    head: &[u8],
    payload: &[u8],
    stop: &OwnedFd,
    deadline: Instant,
) -> Result<(), End> {
    let (mut head, mut payload) = (head, payload);
    while !head.is_empty() || !payload.is_empty() {
        let sent = sendmsg(
            stream,
            &[IoSlice::new(head), IoSlice::new(payload)],
            &mut SendAncillaryBuffer::default(),
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        );
        match sent {
            Ok(n) => {
                let of_head = n.min(head.len());
                head = head.get(of_head..).unwrap_or_default();
                payload = payload.get(n - of_head..).unwrap_or_default();
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(stream, PollFlags::OUT, stop, Some(deadline))?,
            Err(Errno::CONNRESET | Errno::PIPE) => return Err(End::HungUp),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Waits until `fd` is ready, `stop` is readable, or the deadline has passed.
fn wait(
    fd: &impl AsFd,
    flags: PollFlags,
    stop: &OwnedFd,
    deadline: Option<Instant>,
) -> Result<(), End> {
    loop {
        let timeout = match deadline {
            None => None,
            Some(deadline) => {
                let left = deadline
                    .checked_duration_since(Instant::now())
                    .ok_or(End::Stalled)?;
                Some(Timespec::try_from(left).map_err(|_| End::Stalled)?)
            }
        };
        let mut ready = [PollFd::new(stop, PollFlags::IN), PollFd::new(fd, flags)];
        match poll(&mut ready, timeout.as_ref()) {
            Err(Errno::INTR) | Ok(0) => continue,
            Err(errno) => return Err(errno.into()),
            Ok(_) => {}
        }
        let [stopping, client] = ready;
        if !stopping.revents().is_empty() {
            return Err(End::Stopping);
        }
        if !client.revents().is_empty() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::sync::atomic::Ordering;

    use rustix::event::{EventfdFlags, eventfd};

    use super::*;
    use crate::function::Identity;

    #[test]
    fn the_next_client_waits_for_the_last_ones_last_access() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fn0");
        let listener = UnixListener::bind(&path).unwrap();
        let identity = Identity {
            index: 0,
            serial: 1,
            engines: 1,
            clock_khz: 1,
            paced: false,
        };
        let function = Arc::new(Function::new(identity, 0));
        let stop = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| serve(&listener, &function, &stop));
            let lease = function.memory.lease();
            let access = lease.access().unwrap();
            drop(UnixStream::connect(&path).unwrap());
            let mut next = UnixStream::connect(&path).unwrap();
            // A version message: id 1, command 1, 20 bytes, no flags, no error; version 0.0, no capabilities.
            let mut message = [0; 20];
            message[..8].copy_from_slice(&[1, 0, 1, 0, 20, 0, 0, 0]);
            next.write_all(&message).unwrap();
            // Each try to detach is a reset: the second shows that the first was not taken for the end.
            let limit = Instant::now() + Duration::from_secs(20);
            let tries = || function.reset_epoch.load(Ordering::Relaxed);
            while tries() < 2 && Instant::now() < limit {
                std::thread::yield_now();
            }
            let tries = tries();
            next.set_nonblocking(true).unwrap();
            let mut header = [0; HEADER_BYTES];
            let early = next.read(&mut header);
            drop(access);
            next.set_nonblocking(false).unwrap();
            next.set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            let answer = next.read_exact(&mut header);
            // The server ends with this, so that what follows may fail.
            rustix::io::write(&stop, &1u64.to_ne_bytes()).unwrap();
            assert!(tries >= 2, "detached but once");
            assert!(early.is_err(), "accepted too early: {early:?}");
            answer.unwrap();
        });
    }
}
