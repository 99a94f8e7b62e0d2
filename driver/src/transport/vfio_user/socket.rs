//! The UNIX socket under the protocol: whole frames out and in, each within a deadline.
//!
//! Owns sending with descriptors (SCM_RIGHTS), receiving without any, and time.
//! Invariant: no call outlives its deadline, however slowly the peer reads or writes;
//! descriptors that a peer attaches are closed by the kernel, for no control buffer is offered.
//! It deliberately does not know messages.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, recv, sendmsg, socket_with, sockopt,
};

/// Descriptors in one message at most.
const FDS_MAX: usize = 16;

/// Why bytes did not get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SocketError {
    /// The peer hung up.
    Closed,
    /// The deadline passed.
    TimedOut,
    /// A system call failed.
    Io(Errno),
}

/// A connected stream socket.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
}

impl Socket {
    /// Connect to the socket at `path`. A listener whose backlog stays full counts as one that hangs.
    pub(super) fn connect(path: &Path, limit: Duration) -> Result<Self, SocketError> {
        let fd = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(SocketError::Io)?;
        // connect(2) on a UNIX socket waits for room in the backlog no longer than the send time-out (unix(7)).
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Send, Some(limit))
            .map_err(SocketError::Io)?;
        let address = SocketAddrUnix::new(path).map_err(SocketError::Io)?;
        match connect(&fd, &address) {
            Ok(()) => Ok(Self { fd }),
            Err(Errno::AGAIN) => Err(SocketError::TimedOut),
            Err(errno) => Err(SocketError::Io(errno)),
        }
    }

    /// A socket that is connected.
    #[cfg(any(test, fuzzing))]
    pub(super) fn of(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Process id of the peer, as it was when it began to listen (SO_PEERCRED).
    pub(super) fn peer_pid(&self) -> Option<u32> {
        let credentials = sockopt::socket_peercred(&self.fd).ok()?;
        u32::try_from(credentials.pid.as_raw_nonzero().get()).ok()
    }

    /// Send all of `bytes`, with `fds` attached to the first of them.
    pub(super) fn send(
        &self,
        bytes: &[u8],
        fds: &[BorrowedFd<'_>],
        deadline: Instant,
    ) -> Result<(), SocketError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut rest = bytes;
        let mut fds = fds;
        while !rest.is_empty() {
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
                return Err(SocketError::Io(Errno::TOOBIG));
            }
            match sendmsg(
                &self.fd,
                &[IoSlice::new(rest)],
                &mut control,
                SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
            ) {
                Ok(sent) => {
                    // Descriptors travel with the first byte; a second copy would be a second message.
                    fds = &[];
                    rest = rest.get(sent..).unwrap_or_default();
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, deadline)?,
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(SocketError::Closed),
                Err(errno) => return Err(SocketError::Io(errno)),
            }
        }
        Ok(())
    }

    /// Fill all of `buffer`.
    pub(super) fn receive(&self, buffer: &mut [u8], deadline: Instant) -> Result<(), SocketError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match recv(&self.fd, rest, RecvFlags::DONTWAIT) {
                Ok((0, _)) | Err(Errno::CONNRESET) => return Err(SocketError::Closed),
                Ok((received, _)) => filled += received,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait(PollFlags::IN, deadline)?,
                Err(errno) => return Err(SocketError::Io(errno)),
            }
        }
        Ok(())
    }

    fn wait(&self, flags: PollFlags, deadline: Instant) -> Result<(), SocketError> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(SocketError::TimedOut);
        }
        let left = Timespec::try_from(left).unwrap_or(Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        });
        let fd = self.fd.as_fd();
        match poll(&mut [PollFd::from_borrowed_fd(fd, flags)], Some(&left)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(SocketError::Io(errno)),
        }
    }
}
