//! Maps and leases, against a memfd of the test's own.

#![expect(clippy::cast_possible_truncation, reason = "page numbers below 32")]

use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use rustix::fs::{MemfdFlags, SealFlags};

use super::*;

const BOTH: Rights = Rights {
    read: true,
    write: true,
};

fn memfd(bytes: u64, sealed: bool) -> OwnedFd {
    let fd = rustix::fs::memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING);
    let fd = fd.unwrap();
    rustix::fs::ftruncate(&fd, bytes).unwrap();
    if sealed {
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK).unwrap();
    }
    fd
}

fn ready() -> Arc<Memory> {
    let memory = Arc::new(Memory::default());
    memory.set_bus_master(true).unwrap();
    memory
}

#[test]
fn one_mapping_serves_all_maps_of_a_file() {
    let memory = ready();
    let fd = memfd(16 * PAGE_BYTES, true);
    for page in 0..16 {
        let file = Some((fd.try_clone().unwrap(), page * PAGE_BYTES));
        memory
            .map(page * PAGE_BYTES * 2, PAGE_BYTES, BOTH, file)
            .unwrap();
    }
    let state = memory.state.read();
    let mut backings: Vec<_> = state
        .maps
        .values()
        .map(|map| Arc::as_ptr(&map.backing.as_ref().unwrap().0))
        .collect();
    backings.dedup();
    assert_eq!(backings.len(), 1);
}

#[test]
fn a_file_that_shrinks_before_its_seal_is_not_mapped_beyond_its_end() {
    let fd = memfd(2 * PAGE_BYTES, false);
    let (key, len) = Backing::identify(&fd, true).unwrap();
    rustix::fs::ftruncate(&fd, PAGE_BYTES).unwrap();
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK).unwrap();
    let late = fd.try_clone().unwrap();
    assert_eq!(Backing::open(late, key, len).err(), Some(Errno::INVAL));
    Backing::open(fd, key, PAGE_BYTES).unwrap();
}

#[test]
fn a_file_that_has_grown_is_mapped_anew() {
    let memory = ready();
    let fd = memfd(PAGE_BYTES, true);
    let file = |offset| Some((fd.try_clone().unwrap(), offset));
    memory.map(0, PAGE_BYTES, BOTH, file(0)).unwrap();
    rustix::fs::ftruncate(&fd, 2 * PAGE_BYTES).unwrap();
    memory
        .map(PAGE_BYTES, PAGE_BYTES, BOTH, file(PAGE_BYTES))
        .unwrap();
    let lease = memory.lease();
    lease.write(Iova(PAGE_BYTES - 2), &[1, 2, 3, 4]).unwrap();
    let mut back = [0; 4];
    rustix::io::pread(&fd, &mut back, PAGE_BYTES - 2).unwrap();
    assert_eq!(back, [1, 2, 3, 4]);
}

#[test]
fn maps_are_limited_in_number_and_in_bytes() {
    let memory = ready();
    for n in 0..MAPS_MAX as u64 {
        memory.map(n * PAGE_BYTES, PAGE_BYTES, BOTH, None).unwrap();
    }
    let top = 1 << 62;
    assert_eq!(memory.map(top, PAGE_BYTES, BOTH, None), Err(Errno::NOSPC));
    memory.unmap(0, PAGE_BYTES).unwrap();
    memory.map(top, PAGE_BYTES, BOTH, None).unwrap();
    memory.unmap_all().unwrap();
    memory.map(top, MAPPED_BYTES_MAX, BOTH, None).unwrap();
    assert_eq!(memory.map(0, PAGE_BYTES, BOTH, None), Err(Errno::NOSPC));
    memory.unmap(top, MAPPED_BYTES_MAX).unwrap();
    memory.map(0, PAGE_BYTES, BOTH, None).unwrap();
}

#[test]
fn a_revoked_lease_is_refused_and_others_are_not() {
    let memory = ready();
    let file = Some((memfd(PAGE_BYTES, true), 0));
    memory.map(0, PAGE_BYTES, BOTH, file).unwrap();
    let (gone, stays) = (memory.lease(), memory.lease());
    let copy = gone.clone();
    gone.revoke().unwrap();
    assert_eq!(copy.write(Iova(0), &[1]), Err(DmaFault::Revoked));
    stays.write(Iova(0), &[1]).unwrap();
}

#[test]
fn cells_are_aligned_and_within_one_map() {
    let memory = ready();
    for sealed in [true, false] {
        let base = if sealed { 0 } else { PAGE_BYTES };
        let file = Some((memfd(PAGE_BYTES, sealed), 0));
        memory.map(base, PAGE_BYTES, BOTH, file).unwrap();
    }
    let lease = memory.lease();
    let access = lease.access().unwrap();
    for base in [0, PAGE_BYTES] {
        access.store_u32(Iova(base + 8), 0x1234_5678).unwrap();
        assert_eq!(access.load_u32(Iova(base + 8)), Ok(0x1234_5678));
        let mut bytes = [0; 4];
        access.read(Iova(base + 8), &mut bytes).unwrap();
        assert_eq!(bytes, [0x78, 0x56, 0x34, 0x12]);
    }
    assert!(access.load_u32(Iova(2)).is_err());
    assert!(access.load_u32(Iova(PAGE_BYTES - 2)).is_err());
}

/// The promise that everything else rests on: a revocation, an unmap and bus mastering off return only when no access
/// is under way. A writer that never stops would be seen writing afterwards.
#[test]
fn taking_away_waits_for_accesses_in_flight() {
    let fd = memfd(64 * PAGE_BYTES, true);
    for round in 0..60u8 {
        let memory = ready();
        let bytes = 64 * PAGE_BYTES;
        let file = Some((fd.try_clone().unwrap(), 0));
        memory.map(0, bytes, BOTH, file).unwrap();
        let lease = memory.lease();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let ones = vec![0xFF; 64 * 4096];
                    while !stop.load(Ordering::Relaxed) {
                        let _ = lease.write(Iova(0), &ones);
                    }
                });
            }
            match round % 3 {
                0 => lease.revoke().unwrap(),
                1 => memory.unmap(0, bytes).unwrap(),
                _ => memory.set_bus_master(false).unwrap(),
            }
            let zeros = vec![0; 64 * 4096];
            rustix::io::pwrite(&fd, &zeros, 0).unwrap();
            for _ in 0..3 {
                let mut now = vec![1; 64 * 4096];
                rustix::io::pread(&fd, &mut now, 0).unwrap();
                assert!(
                    now == zeros,
                    "written after it was taken away, round {round}"
                );
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}

proptest! {
    /// Against a model: for each page, the page of the file behind it and its rights.
    #[test]
    fn accesses_agree_with_a_page_table(
        maps in proptest::collection::vec((0u64..24, 1u64..6, 0u64..16, 0u8..4), 0..24),
        unmaps in proptest::collection::vec((0u64..24, 1u64..12), 0..6),
        accesses in proptest::collection::vec((0u64..28 * 4096, 1usize..9000, any::<bool>()), 1..24),
        sealed: bool,
    ) {
        let memory = ready();
        let fd = memfd(16 * PAGE_BYTES, sealed);
        let mut pages: [Option<(u64, Rights)>; 32] = [None; 32];
        // Maps as the model has them, for the rule that none is cut in two.
        let mut spans: Vec<(u64, u64)> = Vec::new();
        for (at, count, file_page, rights) in maps {
            let rights = Rights { read: rights & 1 != 0, write: rights & 2 != 0 };
            let file = Some((fd.try_clone().unwrap(), file_page * PAGE_BYTES));
            let fits = file_page + count <= 16 && (rights.read || rights.write);
            let free = (at..at + count).all(|page| pages[page as usize].is_none());
            let result = memory.map(at * PAGE_BYTES, count * PAGE_BYTES, rights, file);
            prop_assert_eq!(result.is_ok(), fits && free);
            if result.is_ok() {
                spans.push((at, at + count));
                for n in 0..count {
                    pages[(at + n) as usize] = Some((file_page + n, rights));
                }
            }
        }
        for (at, count) in unmaps {
            let end = at + count;
            let cuts = spans.iter().any(|(from, to)| {
                (*from < at && at < *to) || (*from < end && end < *to)
            });
            let result = memory.unmap(at * PAGE_BYTES, count * PAGE_BYTES);
            prop_assert_eq!(result.is_ok(), !cuts);
            if result.is_ok() {
                spans.retain(|(from, _)| !(at..end).contains(from));
                pages[at as usize..end.min(32) as usize].fill(None);
            }
        }
        let lease = memory.lease();
        for (n, (at, len, write)) in accesses.into_iter().enumerate() {
            let wanted = (at / 4096)..=((at + len as u64 - 1) / 4096);
            let allowed = wanted.clone().all(|page| {
                pages.get(page as usize).copied().flatten().is_some_and(|(_, rights)| {
                    if write { rights.write } else { rights.read }
                })
            });
            let place = |at: u64| pages[(at / 4096) as usize].unwrap().0 * 4096 + at % 4096;
            if write {
                let byte = n as u8 + 1;
                let result = lease.write(Iova(at), &vec![byte; len]);
                prop_assert_eq!(result.is_ok(), allowed);
            } else {
                let mut got = vec![0; len];
                let result = lease.read(Iova(at), &mut got);
                prop_assert_eq!(result.is_ok(), allowed);
                if allowed {
                    for (n, byte) in got.iter().enumerate().step_by(97) {
                        let mut file = [0];
                        rustix::io::pread(&fd, &mut file, place(at + n as u64)).unwrap();
                        prop_assert_eq!(*byte, file[0]);
                    }
                }
            }
        }
    }
}
