//! The client's memory as the card sees it: maps by I/O virtual address, and leases to use them.
//!
//! Owns which address leads where, with which rights, and for whom. Invariants:
//! - an access happens under the lock's read side; a map, a lease or bus mastering is taken away under its write side.
//!   So when [`Memory::unmap`], [`Memory::revoke`] or [`Memory::set_bus_master`] has returned, no access that it
//!   forbids is in flight, and none will start;
//! - a map without the write right is never written;
//! - a buffer may straddle any number of maps.
//!
//! It deliberately does not know queues, jobs or messages.
//!
//! Lock order: this lock is a leaf. Nothing is locked, and nothing waits, while it is held.

mod backing;

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use faam_hwif::Iova;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use rustix::io::Errno;
use thiserror::Error;

use backing::{Backing, FileKey};

use crate::faults::Fault;
use crate::function_faults::Faults;

/// Most maps of a function: the protocol's default for `max_dma_maps`.
pub const MAPS_MAX: usize = 65_535;
/// Most bytes mapped in all, bytes.
pub(crate) const MAPPED_BYTES_MAX: u64 = 1 << 40;
/// Alignment of maps, bytes: the smallest page size that is announced.
pub(crate) const PAGE_BYTES: u64 = 4096;
/// Where a write is an interrupt message rather than memory (Intel SDM volume 3, section 11.11.1): a root complex never
/// lets a map lie there, so this card does not either.
const MSI_WINDOW: std::ops::RangeInclusive<u64> = 0xFEE0_0000..=0xFEEF_FFFF;
/// Longest wait for accesses in flight to end, milliseconds. The longest access is a copy of a mebibyte.
const ACCESS_END_MS_MAX: u64 = 2_000;
/// Keys of files kept before dead ones are swept out.
const FILES_BEFORE_SWEEP: usize = 64;

/// A refused or failed access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum DmaFault {
    /// The lease was revoked: whoever asked for the access is gone.
    #[error("the lease on the memory was revoked")]
    Revoked,
    /// Nothing there, not with this right, or bus mastering is off.
    #[error("no access to {at}: map it with the right that is needed, and set bus master")]
    Refused {
        /// First address that could not be reached.
        at: Iova,
    },
}

/// Accesses did not end in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("accesses in flight did not end within {ACCESS_END_MS_MAX} ms")]
pub(crate) struct StillInFlight;

/// Rights of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rights {
    /// The card may read.
    pub(crate) read: bool,
    /// The card may write.
    pub(crate) write: bool,
}

struct Map {
    /// Last address of the map, inclusive, so that a map may end at the top of the address space.
    last: u64,
    rights: Rights,
    /// The file and the offset in it; `None` for memory that cannot be reached (a ROM, another device's BAR).
    backing: Option<(Arc<Backing>, u64)>,
}

#[derive(Default)]
struct State {
    maps: BTreeMap<u64, Map>,
    files: HashMap<FileKey, Weak<Backing>>,
    mapped_bytes: u64,
    bus_master: bool,
}

/// The memory of one function's client.
pub(crate) struct Memory {
    state: RwLock<State>,
    maps_max: usize,
    faults: Arc<Faults>,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(MAPS_MAX, Arc::default())
    }
}

impl Memory {
    /// Memory with no maps, and room for so many.
    pub(crate) fn new(maps_max: usize, faults: Arc<Faults>) -> Self {
        Self {
            state: RwLock::default(),
            maps_max,
            faults,
        }
    }

    /// Most maps that it takes.
    pub(crate) fn maps_max(&self) -> usize {
        self.maps_max
    }

    /// Maps that it has now.
    pub(crate) fn map_count(&self) -> usize {
        self.state.read().maps.len()
    }

    /// Adds a map.
    ///
    /// # Errors
    /// An errno for the client: EINVAL (shape), EEXIST (overlap), ENOSPC (limits), EACCES (rights of the file),
    /// EOPNOTSUPP (kind of file), ENOMEM (it cannot be mapped).
    pub(crate) fn map(
        &self,
        iova: u64,
        size: u64,
        rights: Rights,
        file: Option<(OwnedFd, u64)>,
    ) -> Result<(), Errno> {
        let last = last_address(iova, size)?;
        let rights = Rights {
            write: rights.write || self.faults.on(Fault::WritesReadOnlyMaps),
            ..rights
        };
        let aligned = iova.is_multiple_of(PAGE_BYTES) || self.faults.on(Fault::MapsMisaligned);
        if !aligned || !size.is_multiple_of(PAGE_BYTES) || !(rights.read || rights.write) {
            return Err(Errno::INVAL);
        }
        if *MSI_WINDOW.start() <= last
            && iova <= *MSI_WINDOW.end()
            && !self.faults.on(Fault::MapsMsiWindow)
        {
            return Err(Errno::INVAL);
        }
        let backing = match file {
            None => None,
            Some((fd, offset)) => {
                if !offset.is_multiple_of(PAGE_BYTES) {
                    return Err(Errno::INVAL);
                }
                let end = offset.checked_add(size).ok_or(Errno::INVAL)?;
                Some((self.backing(fd, end, rights.write)?, offset))
            }
        };
        let mut state = self.state.write();
        let full =
            state.maps.len() >= self.maps_max && !self.faults.on(Fault::TakesAnyNumberOfMaps);
        if full || state.mapped_bytes.saturating_add(size) > MAPPED_BYTES_MAX {
            return Err(Errno::NOSPC);
        }
        let overlaps = state
            .maps
            .range(..=last)
            .next_back()
            .is_some_and(|(_, map)| map.last >= iova);
        if overlaps && !self.faults.on(Fault::MapsOverlap) {
            return Err(Errno::EXIST);
        }
        if let Some((backing, _)) = &backing {
            if state.files.len() >= FILES_BEFORE_SWEEP {
                state.files.retain(|_, file| file.strong_count() > 0);
            }
            state.files.insert(backing.key(), Arc::downgrade(backing));
        }
        state.mapped_bytes += size;
        state.maps.insert(
            iova,
            Map {
                last,
                rights,
                backing,
            },
        );
        Ok(())
    }

    /// One backing a file: a new one only for a file not seen yet, or one that has grown since.
    fn backing(&self, fd: OwnedFd, end: u64, writable: bool) -> Result<Arc<Backing>, Errno> {
        let (key, len) = Backing::identify(&fd, writable)?;
        if end > len {
            return Err(Errno::INVAL);
        }
        let known = self.state.read().files.get(&key).and_then(Weak::upgrade);
        match known {
            Some(backing) if end <= backing.len() => Ok(backing),
            _ => Backing::open(fd, key, len).map(Arc::new),
        }
    }

    /// Removes every map that lies in the range, and returns when no access to them is in flight.
    ///
    /// # Errors
    /// EINVAL if a map straddles an end of the range, EBUSY if accesses did not end in time; nothing is removed then.
    pub(crate) fn unmap(&self, iova: u64, size: u64) -> Result<(), Errno> {
        let last = last_address(iova, size)?;
        if self.faults.on(Fault::KeepsUnmapped) {
            return Ok(());
        }
        let mut state = self.exclusive().map_err(|_| Errno::BUSY)?;
        let straddles = |at: u64| {
            at > 0
                && state
                    .maps
                    .range(..at)
                    .next_back()
                    .is_some_and(|(_, map)| map.last >= at)
        };
        if straddles(iova) || last.checked_add(1).is_some_and(straddles) {
            return Err(Errno::INVAL);
        }
        let keys: Vec<u64> = state.maps.range(iova..=last).map(|(key, _)| *key).collect();
        let removed: Vec<Map> = keys
            .iter()
            .filter_map(|key| {
                let map = state.maps.remove(key)?;
                state.mapped_bytes = state.mapped_bytes.saturating_sub(map.last - key + 1);
                Some(map)
            })
            .collect();
        drop(state);
        // Unmapping pages of a large file takes long enough to keep it out of the lock.
        drop(removed);
        Ok(())
    }

    /// Removes all maps.
    ///
    /// # Errors
    /// [`StillInFlight`]: nothing was removed.
    pub(crate) fn unmap_all(&self) -> Result<(), StillInFlight> {
        let mut state = self.exclusive()?;
        let maps = std::mem::take(&mut state.maps);
        state.files.clear();
        state.mapped_bytes = 0;
        drop(state);
        drop(maps);
        Ok(())
    }

    /// Allows or forbids all access. When this has forbidden it, none is in flight.
    ///
    /// # Errors
    /// [`StillInFlight`]: nothing was changed.
    pub(crate) fn set_bus_master(&self, on: bool) -> Result<(), StillInFlight> {
        self.exclusive()?.bus_master = on || self.faults.on(Fault::IgnoresBusMaster);
        Ok(())
    }

    /// Revokes leases. When this returns `Ok`, no access under them is in flight; in any case none will start.
    ///
    /// # Errors
    /// [`StillInFlight`]: revoked, but an access that began before has not ended.
    pub(crate) fn revoke<'a>(
        &self,
        leases: impl IntoIterator<Item = &'a DmaLease>,
    ) -> Result<(), StillInFlight> {
        for lease in leases {
            lease.revoked.store(true, Ordering::SeqCst);
        }
        self.barrier()
    }

    /// Waits until all accesses that were in flight have ended.
    ///
    /// # Errors
    /// [`StillInFlight`].
    pub(crate) fn barrier(&self) -> Result<(), StillInFlight> {
        self.exclusive().map(drop)
    }

    fn exclusive(&self) -> Result<RwLockWriteGuard<'_, State>, StillInFlight> {
        self.state
            .try_write_for(Duration::from_millis(ACCESS_END_MS_MAX))
            .ok_or(StillInFlight)
    }

    /// A new lease on the memory.
    pub(crate) fn lease(self: &Arc<Self>) -> DmaLease {
        DmaLease {
            memory: Arc::clone(self),
            revoked: Arc::new(AtomicBool::new(false)),
        }
    }
}

/// The right of one queue, and of the jobs that came by it, to use the memory. It ends for all holders at once.
#[derive(Clone)]
pub(crate) struct DmaLease {
    memory: Arc<Memory>,
    revoked: Arc<AtomicBool>,
}

impl DmaLease {
    /// The function's faults.
    pub(crate) fn faults(&self) -> &Faults {
        &self.memory.faults
    }

    /// Whether it has been revoked.
    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::SeqCst)
    }

    /// Revokes this lease alone; see [`Memory::revoke`].
    ///
    /// # Errors
    /// [`StillInFlight`].
    pub(crate) fn revoke(&self) -> Result<(), StillInFlight> {
        self.memory.revoke([self])
    }

    /// Begins an access. Keep it short: unmapping waits for its end.
    pub(crate) fn access(&self) -> Result<DmaAccess<'_>, DmaFault> {
        let state = self.memory.state.read();
        // Read under the guard: a revocation that this misses has its barrier still before it.
        if self.is_revoked() && !self.faults().on(Fault::WorksThroughReset) {
            return Err(DmaFault::Revoked);
        }
        Ok(DmaAccess {
            state,
            faults: self.faults(),
        })
    }

    /// Reads `into.len()` bytes at `iova`.
    pub(crate) fn read(&self, iova: Iova, into: &mut [u8]) -> Result<(), DmaFault> {
        self.access()?.read(iova, into)
    }

    /// Writes `from` at `iova`.
    pub(crate) fn write(&self, iova: Iova, from: &[u8]) -> Result<(), DmaFault> {
        self.access()?.write(iova, from)
    }
}

/// An access in flight.
pub(crate) struct DmaAccess<'a> {
    state: RwLockReadGuard<'a, State>,
    faults: &'a Faults,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Read,
    Write,
}

impl DmaAccess<'_> {
    /// Reads `into.len()` bytes at `iova`, across as many maps as it takes.
    pub(crate) fn read(&self, iova: Iova, into: &mut [u8]) -> Result<(), DmaFault> {
        let mut rest = into;
        let mut at = iova;
        while !rest.is_empty() {
            let (backing, offset, room) = self.find(at, Need::Read)?;
            let take = rest.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            let (piece, after) = std::mem::take(&mut rest).split_at_mut(take);
            backing
                .read(offset, piece)
                .map_err(|_| DmaFault::Refused { at })?;
            rest = after;
            if self.faults.on(Fault::ReadsOnePage) {
                let first = usize::try_from(PAGE_BYTES - at.0 % PAGE_BYTES).unwrap_or(0);
                piece.get_mut(first..).unwrap_or_default().fill(0);
                rest.fill(0);
                return Ok(());
            }
            at = step(at, take, rest.is_empty())?;
        }
        Ok(())
    }

    /// Writes `from` at `iova`, across as many maps as it takes.
    pub(crate) fn write(&self, iova: Iova, from: &[u8]) -> Result<(), DmaFault> {
        let mut rest = from;
        let mut at = iova;
        while !rest.is_empty() {
            let (backing, offset, room) = self.find(at, Need::Write)?;
            let take = rest.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            let (piece, after) = rest.split_at(take);
            backing
                .write(offset, piece)
                .map_err(|_| DmaFault::Refused { at })?;
            rest = after;
            at = step(at, take, rest.is_empty())?;
        }
        Ok(())
    }

    /// Loads the aligned `u32` at `iova` with Acquire.
    pub(crate) fn load_u32(&self, iova: Iova) -> Result<u32, DmaFault> {
        let fault = DmaFault::Refused { at: iova };
        let (backing, offset, room) = self.find(iova, Need::Read)?;
        if room < 4 {
            return Err(fault);
        }
        backing.load_u32(offset).map_err(|_| fault)
    }

    /// Stores the aligned `u32` at `iova` with Release.
    pub(crate) fn store_u32(&self, iova: Iova, value: u32) -> Result<(), DmaFault> {
        let fault = DmaFault::Refused { at: iova };
        let (backing, offset, room) = self.find(iova, Need::Write)?;
        if room < 4 {
            return Err(fault);
        }
        backing.store_u32(offset, value).map_err(|_| fault)
    }

    /// Where `at` lies: backing, offset in it, and bytes from there to the end of its map.
    fn find(&self, at: Iova, need: Need) -> Result<(&Backing, u64, u64), DmaFault> {
        let fault = DmaFault::Refused { at };
        if !self.state.bus_master {
            return Err(fault);
        }
        let (start, map) = self
            .state
            .maps
            .range(..=at.0)
            .next_back()
            .filter(|(_, map)| map.last >= at.0)
            .ok_or(fault)?;
        let allowed = match need {
            Need::Read => map.rights.read,
            Need::Write => map.rights.write,
        };
        let (backing, base) = map.backing.as_ref().filter(|_| allowed).ok_or(fault)?;
        let within = at.0 - start;
        let offset = base.checked_add(within).ok_or(fault)?;
        Ok((backing, offset, (map.last - at.0).saturating_add(1)))
    }
}

fn step(at: Iova, taken: usize, done: bool) -> Result<Iova, DmaFault> {
    if done {
        return Ok(at);
    }
    at.checked_add(taken as u64).ok_or(DmaFault::Refused { at })
}

fn last_address(iova: u64, size: u64) -> Result<u64, Errno> {
    size.checked_sub(1)
        .and_then(|most| iova.checked_add(most))
        .ok_or(Errno::INVAL)
}

#[cfg(test)]
mod tests;
