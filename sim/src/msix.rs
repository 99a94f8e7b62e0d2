//! MSI-X: vectors, their masks, pending bits, and the eventfds that stand for messages.
//!
//! Owns the table and the pending-bit array as BAR2 shows them (PCI Local Bus 3.0, section 6.8.2). Invariant: a vector
//! that is masked is never signalled; what it missed is pending and is signalled once when it is unmasked.
//!
//! Setting an eventfd also unmasks its vector, as a kernel does behind VFIO_DEVICE_SET_IRQS: a client of that
//! interface never sees the table. It does not know queues or what an interrupt is for.
//!
//! An eventfd is made non-blocking when it comes, as the client may fill its counter at any time. The flag is of the open
//! file, so the client's own descriptor has it from then on too: it waits with poll(2) rather than with read(2).
//!
//! Lock order: the one lock is a leaf, and is not held while an eventfd is written.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use faam_hwif::pci::{MSIX_PBA_OFFSET, MSIX_TABLE_OFFSET, MSIX_VECTORS};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};
use rustix::io::Errno;

/// Bytes of a table entry: address low and high, data, vector control.
const ENTRY_BYTES: usize = 16;
/// Word of a table entry that holds the mask bit.
const CONTROL_WORD: usize = 3;
/// Vectors, as an index.
const VECTORS: usize = MSIX_VECTORS as usize;
const TABLE_START: usize = MSIX_TABLE_OFFSET as usize;
const TABLE_END: usize = TABLE_START + VECTORS * ENTRY_BYTES;
const PENDING_START: usize = MSIX_PBA_OFFSET as usize;
const PENDING_END: usize = PENDING_START + VECTORS.div_ceil(64) * 8;

#[derive(Clone, Default)]
struct Vector {
    /// Address and data: kept for software to read back; messages go by the eventfd.
    message: [u32; 3],
    masked: bool,
    pending: bool,
    eventfd: Option<Arc<OwnedFd>>,
}

#[derive(Default)]
struct State {
    vectors: [Vector; VECTORS],
    function_mask: bool,
}

/// The vectors of one function.
pub(crate) struct Msix {
    state: Mutex<State>,
}

impl Msix {
    /// As after power-on: all masked, none with an eventfd.
    pub(crate) fn new() -> Self {
        let mut state = State::default();
        for vector in &mut state.vectors {
            vector.masked = true;
        }
        Self {
            state: Mutex::new(state),
        }
    }

    /// Raises a vector's interrupt: signals it, or notes it as pending. `false` if there is no such vector or nobody listens.
    pub(crate) fn raise(&self, vector: u16) -> bool {
        let mut state = self.state.lock();
        let function_mask = state.function_mask;
        let Some(vector) = state.vectors.get_mut(usize::from(vector)) else {
            return false;
        };
        if vector.masked || function_mask {
            vector.pending = true;
            return false;
        }
        let Some(eventfd) = vector.eventfd.clone() else {
            return false;
        };
        drop(state);
        signal(&eventfd);
        true
    }

    /// Gives vectors from `start` on their eventfds; `None` takes one away.
    ///
    /// # Errors
    /// EINVAL if there are not as many vectors, or a descriptor is no eventfd; no vector is changed then.
    pub(crate) fn set_eventfds(
        &self,
        start: u32,
        eventfds: Vec<Option<OwnedFd>>,
    ) -> Result<(), Errno> {
        let start = usize::try_from(start).map_err(|_| Errno::INVAL)?;
        for fd in eventfds.iter().flatten() {
            // An anonymous inode has no type. This keeps out pipes, sockets and files, whose writes could block.
            let mode = fstat(fd)?.st_mode;
            if !matches!(FileType::from_raw_mode(mode), FileType::Unknown) {
                return Err(Errno::INVAL);
            }
            fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?;
        }
        let mut state = self.state.lock();
        let places = start
            .checked_add(eventfds.len())
            .and_then(|end| state.vectors.get_mut(start..end))
            .ok_or(Errno::INVAL)?;
        for (place, eventfd) in places.iter_mut().zip(eventfds) {
            place.masked = eventfd.is_none();
            place.eventfd = eventfd.map(Arc::new);
        }
        self.release(state);
        Ok(())
    }

    /// Takes all eventfds away and forgets what is pending.
    pub(crate) fn disable(&self) {
        let mut state = self.state.lock();
        for vector in &mut state.vectors {
            *vector = Vector {
                masked: true,
                ..Vector::default()
            };
        }
    }

    /// Masks or unmasks the vector, if there is one.
    pub(crate) fn set_masked(&self, vector: u32, masked: bool) {
        let mut state = self.state.lock();
        if let Some(vector) = usize::try_from(vector)
            .ok()
            .and_then(|at| state.vectors.get_mut(at))
        {
            vector.masked = masked;
        }
        self.release(state);
    }

    /// Masks or unmasks all vectors at once, whatever their own masks.
    pub(crate) fn set_function_mask(&self, on: bool) {
        let mut state = self.state.lock();
        state.function_mask = on;
        self.release(state);
    }

    /// After a reset of the function: nothing pending, messages zero. Eventfds stay, and with them their vectors
    /// stay unmasked: they belong to the client, and a kernel restores them after a reset too.
    pub(crate) fn reset(&self) {
        let mut state = self.state.lock();
        state.function_mask = false;
        for vector in &mut state.vectors {
            vector.message = [0; 3];
            vector.pending = false;
            vector.masked = vector.eventfd.is_none();
        }
    }

    /// The 32-bit word of BAR2 at `offset`, a multiple of 4.
    pub(crate) fn read_word(&self, offset: usize) -> u32 {
        let state = self.state.lock();
        match offset {
            TABLE_START..TABLE_END => {
                let (index, word) = place(offset);
                let Some(vector) = state.vectors.get(index) else {
                    return 0;
                };
                match vector.message.get(word) {
                    Some(part) => *part,
                    None => u32::from(vector.masked),
                }
            }
            PENDING_START..PENDING_END => {
                let first = (offset - PENDING_START) * 8;
                state
                    .vectors
                    .iter()
                    .skip(first)
                    .take(32)
                    .enumerate()
                    .fold(0, |bits, (n, vector)| bits | u32::from(vector.pending) << n)
            }
            _ => 0,
        }
    }

    /// Writes the 32-bit word of BAR2 at `offset`, a multiple of 4. The pending bits cannot be written.
    pub(crate) fn write_word(&self, offset: usize, value: u32) {
        if !(TABLE_START..TABLE_END).contains(&offset) {
            return;
        }
        let mut state = self.state.lock();
        let (index, word) = place(offset);
        if let Some(vector) = state.vectors.get_mut(index) {
            match vector.message.get_mut(word) {
                Some(part) => *part = value,
                None => vector.masked = value & 1 != 0,
            }
        }
        self.release(state);
    }

    /// Signals what is pending and no longer masked, after the lock is let go.
    fn release(&self, mut state: parking_lot::MutexGuard<'_, State>) {
        let function_mask = state.function_mask;
        let due: Vec<Arc<OwnedFd>> = state
            .vectors
            .iter_mut()
            .filter(|vector| vector.pending && !vector.masked && !function_mask)
            .filter_map(|vector| {
                vector.pending = false;
                vector.eventfd.clone()
            })
            .collect();
        drop(state);
        for eventfd in due {
            signal(&eventfd);
        }
    }
}

fn place(offset: usize) -> (usize, usize) {
    let within = offset - TABLE_START;
    let word = within % ENTRY_BYTES / 4;
    debug_assert!(word <= CONTROL_WORD);
    (within / ENTRY_BYTES, word)
}

/// Adds 1 to the eventfd's counter. One whose counter is full has not been read for 2^64 interrupts: it is left alone.
/// Its write would fail rather than block; looking first keeps this so even if the client takes the flag away again.
fn signal(eventfd: &OwnedFd) {
    let mut ready = [PollFd::from_borrowed_fd(eventfd.as_fd(), PollFlags::OUT)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    if matches!(poll(&mut ready, Some(&now)), Ok(1))
        && let Err(errno) = rustix::io::write(eventfd, &1u64.to_ne_bytes())
    {
        tracing::debug!(%errno, "an eventfd could not be signalled");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, eventfd};

    fn listen(msix: &Msix, vector: u32) -> OwnedFd {
        let ours = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        msix.set_eventfds(vector, vec![Some(ours.try_clone().unwrap())])
            .unwrap();
        ours
    }

    fn count(fd: &OwnedFd) -> u64 {
        let mut bytes = [0; 8];
        rustix::io::read(fd, &mut bytes).map_or(0, |_| u64::from_ne_bytes(bytes))
    }

    #[test]
    fn a_masked_vector_is_pending_and_signalled_once_when_unmasked() {
        let msix = Msix::new();
        let fd = listen(&msix, 3);
        assert!(msix.raise(3));
        assert_eq!(count(&fd), 1);
        msix.write_word(3 * 16 + 12, 1);
        assert!(!msix.raise(3) && !msix.raise(3));
        assert_eq!(count(&fd), 0);
        assert_eq!(msix.read_word(PENDING_START), 1 << 3);
        msix.write_word(3 * 16 + 12, 0);
        assert_eq!(count(&fd), 1);
        assert_eq!(msix.read_word(PENDING_START), 0);
    }

    #[test]
    fn the_function_mask_holds_all_vectors() {
        let msix = Msix::new();
        let fds = [listen(&msix, 0), listen(&msix, 16)];
        msix.set_function_mask(true);
        msix.raise(0);
        msix.raise(16);
        assert_eq!(msix.read_word(PENDING_START), 1 | 1 << 16);
        assert_eq!(fds.each_ref().map(count), [0, 0]);
        msix.set_function_mask(false);
        assert_eq!(fds.each_ref().map(count), [1, 1]);
    }

    #[test]
    fn only_eventfds_within_the_table_are_taken() {
        let msix = Msix::new();
        let (pipe, _other) = rustix::pipe::pipe().unwrap();
        assert_eq!(msix.set_eventfds(0, vec![Some(pipe)]), Err(Errno::INVAL));
        assert_eq!(msix.set_eventfds(17, vec![None]), Err(Errno::INVAL));
        assert_eq!(msix.set_eventfds(u32::MAX, vec![None]), Err(Errno::INVAL));
    }

    #[test]
    fn an_eventfd_that_came_as_blocking_does_not_block() {
        let msix = Msix::new();
        let fd = eventfd(0, EventfdFlags::empty()).unwrap();
        msix.set_eventfds(0, vec![Some(fd.try_clone().unwrap())])
            .unwrap();
        assert!(fcntl_getfl(&fd).unwrap().contains(OFlags::NONBLOCK));
        rustix::io::write(&fd, &(u64::MAX - 2).to_ne_bytes()).unwrap();
        for _ in 0..3 {
            assert!(msix.raise(0));
        }
        assert_eq!(count(&fd), u64::MAX - 1, "one fitted, two were left out");
    }

    #[test]
    fn a_full_eventfd_does_not_block() {
        let msix = Msix::new();
        let fd = listen(&msix, 0);
        rustix::io::write(&fd, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        msix.raise(0);
        assert_eq!(count(&fd), u64::MAX - 1);
    }
}
