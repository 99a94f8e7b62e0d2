//! How much memory this process may lock, and how much of that is taken.
//!
//! Owns the comparison. The kernel pins what is mapped for a device and counts it against the
//! process's RLIMIT_MEMLOCK, anew for each function it is mapped for, unless the process has
//! CAP_IPC_LOCK (Linux, drivers/vfio/vfio_iommu_type1.c). Invariant: the capability counts only where it is one of the
//! whole machine; in a user namespace the kernel does not take it. It does not map anything.

use rustix::process::{Resource, getrlimit};

use crate::dma::PAGE_BYTES;
use crate::function::FunctionConfig;

/// CAP_IPC_LOCK (linux/capability.h).
const CAP_IPC_LOCK: u32 = 14;

/// Ids of a process outside of any user namespace: all of them, as they are (user_namespaces(7)).
const UID_MAP_OF_ALL: [&str; 3] = ["0", "0", "4294967295"];

/// What a process may lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLock {
    /// Most bytes; `None` = not limited.
    pub bytes_max: Option<u64>,
    /// Bytes locked now.
    pub bytes_locked: u64,
}

impl MemoryLock {
    /// Of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        // Without user namespaces there is no such file.
        let uid_map = std::fs::read_to_string("/proc/self/uid_map").ok();
        let limit = getrlimit(Resource::Memlock).current;
        Self::from_status(&status, uid_map.as_deref(), limit)
    }

    /// What the kernel went by when it refused a map for want of memory to lock: the limit, if there is one, whatever the
    /// process was thought to be capable of.
    pub(super) fn as_enforced() -> Self {
        Self {
            bytes_max: getrlimit(Resource::Memlock).current,
            ..Self::of_this_process()
        }
    }

    fn from_status(status: &str, uid_map: Option<&str>, limit: Option<u64>) -> Self {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()
        };
        let capable = field("CapEff:")
            .and_then(|hex| u64::from_str_radix(hex, 16).ok())
            .is_some_and(|set| set & (1 << CAP_IPC_LOCK) != 0)
            && uid_map.is_none_or(|map| map.split_whitespace().eq(UID_MAP_OF_ALL));
        let locked_kib = field("VmLck:").and_then(|kib| kib.parse::<u64>().ok());
        Self {
            bytes_max: limit.filter(|_| !capable),
            bytes_locked: locked_kib.unwrap_or(0).saturating_mul(1024),
        }
    }

    /// Bytes that mapping an arena of `arena_bytes` for `functions` functions locks, queues included: it is counted once
    /// a function.
    #[must_use]
    pub fn needed(arena_bytes: usize, functions: usize, config: &FunctionConfig) -> u64 {
        let arena = arena_bytes.next_multiple_of(PAGE_BYTES) as u64;
        let queues = config.queue_bytes_max();
        (arena + queues).saturating_mul(functions as u64)
    }

    /// Whether so many more bytes can be locked.
    #[must_use]
    pub fn has_room_for(&self, bytes: u64) -> bool {
        self.bytes_max
            .is_none_or(|most| self.bytes_locked.saturating_add(bytes) <= most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "         0          0 4294967295\n";
    const STATUS: &str =
        "Name:\tfaam\nVmLck:\t      8 kB\nCapEff:\t0000000000003000\nThreads:\t1\n";

    #[test]
    fn a_limit_counts_what_is_locked_already() {
        let lock = MemoryLock::from_status(STATUS, Some(ALL), Some(24 << 10));
        assert_eq!(lock.bytes_locked, 8 << 10);
        assert!(lock.has_room_for(16 << 10));
        assert!(!lock.has_room_for((16 << 10) + 1));
        assert!(MemoryLock::from_status(STATUS, Some(ALL), None).has_room_for(u64::MAX));
    }

    #[test]
    fn the_capability_lifts_the_limit() {
        let capable = STATUS.replace("3000", "7000");
        for uid_map in [Some(ALL), None] {
            let lock = MemoryLock::from_status(&capable, uid_map, Some(0));
            assert_eq!(lock.bytes_max, None, "CAP_IPC_LOCK is bit 14");
        }
    }

    #[test]
    fn in_a_user_namespace_it_does_not() {
        let capable = STATUS.replace("3000", "7000");
        for uid_map in [
            "         0       1000          1\n",
            "         0     100000      65536\n",
            "0 0 4294967295\n1 1 1\n",
            "",
        ] {
            let lock = MemoryLock::from_status(&capable, Some(uid_map), Some(0));
            assert_eq!(lock.bytes_max, Some(0), "{uid_map:?}");
        }
    }

    #[test]
    fn each_function_is_counted() {
        let config = FunctionConfig::default();
        let one = MemoryLock::needed(24 << 20, 1, &config);
        assert!(one > 24 << 20, "queues count as well");
        assert_eq!(MemoryLock::needed(24 << 20, 2, &config), 2 * one);
    }

    #[test]
    fn this_process_has_a_status() {
        assert!(MemoryLock::of_this_process().has_room_for(0));
    }
}
