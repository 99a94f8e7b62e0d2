//! An independent witness that the IOMMU stands between a device and memory: QEMU's `edu` device.
//!
//! The simulated card keeps its own table of maps, so what it refuses says nothing of the IOMMU. `edu`
//! is QEMU's own, knows no maps, and copies wherever it is told to: what does not arrive, the IOMMU held
//! back. It is reached by the driver's own transport. Only in the guest of `make test-vfio`, which says where it
//! is: `FAAM_TEST_WITNESS=0000:00:05.0`.
//!
//! The device: QEMU, docs/specs/edu.rst.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use faam_driver::dma::PAGE_BYTES;
use faam_driver::transport::DmaAccess;
use faam_driver::{Arena, DmaBuffer, KernelVfio, PageSize, Transport};
use faam_hwif::{BarOffset, Iova};

/// Registers of `edu`: where a copy begins, where it goes, how long it is, and its start.
const SOURCE: u32 = 0x80;
const DESTINATION: u32 = 0x88;
const COUNT: u32 = 0x90;
const COMMAND: u32 = 0x98;
const START: u32 = 1 << 0;
const TO_MEMORY: u32 = 1 << 1;
/// Its own memory, in its own addresses.
const INSIDE: u32 = 0x4_0000;
/// Below the 256 MiB that it can address.
const MAPPED: Iova = Iova(1 << 20);
const NOT_MAPPED: Iova = Iova(2 << 20);
const READ_ONLY: Iova = Iova(3 << 20);

const LIMIT: Duration = Duration::from_secs(20);

/// A page of memory of its own.
struct Page {
    arena: Arc<Arena>,
    buffer: DmaBuffer,
}

impl Page {
    fn new(fill: u8) -> Self {
        let arena = Arena::on_pages(PAGE_BYTES, PageSize::Base).unwrap();
        let buffer = arena.alloc(PAGE_BYTES, 0).unwrap();
        buffer.write_at(0, &[fill; PAGE_BYTES]).unwrap();
        Self { arena, buffer }
    }

    fn filled_with(&self) -> Option<u8> {
        let mut bytes = [0; PAGE_BYTES];
        self.buffer.read_into(0, &mut bytes).unwrap();
        let first = bytes[0];
        bytes.iter().all(|byte| *byte == first).then_some(first)
    }
}

struct Edu(KernelVfio);

impl Edu {
    fn copy(&self, from: u32, to: u32, command: u32) {
        let write = |offset, value| self.0.write_register(BarOffset(offset), value).unwrap();
        write(SOURCE, from);
        write(DESTINATION, to);
        write(COUNT, u32::try_from(PAGE_BYTES).unwrap());
        write(COMMAND, START | command);
        let deadline = Instant::now() + LIMIT;
        while self.0.read_register(BarOffset(COMMAND)).unwrap() & START != 0 {
            assert!(Instant::now() < deadline, "the copy does not end");
            std::thread::yield_now();
        }
    }

    fn read_memory(&self, at: Iova) {
        self.copy(u32::try_from(at.0).unwrap(), INSIDE, 0);
    }

    fn write_memory(&self, at: Iova) {
        self.copy(INSIDE, u32::try_from(at.0).unwrap(), TO_MEMORY);
    }
}

/// The kernel's log from here on.
struct KernelLog(std::fs::File);

impl KernelLog {
    fn open() -> Self {
        let mut options = std::fs::OpenOptions::new();
        options.read(true);
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
        let mut log = Self(options.open("/dev/kmsg").unwrap());
        while log.next().is_some() {}
        log
    }

    /// The next record, if there is one; a read gives one.
    fn next(&mut self) -> Option<String> {
        let mut record = [0; 8192];
        loop {
            match self.0.read(&mut record) {
                Ok(count) => return Some(String::from_utf8_lossy(&record[..count]).into_owned()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                // Records were overwritten before they were read.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Waits for the report of a fault at `at`.
    fn fault_at(&mut self, at: Iova) -> String {
        let wanted = format!("fault addr {:#x} ", at.0);
        let deadline = Instant::now() + LIMIT;
        loop {
            match self.next() {
                Some(record) if record.contains("DMAR") && record.contains(&wanted) => {
                    return record.lines().next().unwrap_or_default().to_owned();
                }
                Some(_) => {}
                None => {
                    assert!(Instant::now() < deadline, "no report of a {wanted}");
                    std::thread::yield_now();
                }
            }
        }
    }
}

#[test]
fn the_iommu_lets_a_device_reach_what_is_mapped_and_nothing_else() {
    let Ok(address) = std::env::var("FAAM_TEST_WITNESS") else {
        println!("skipped: no witness; make test-vfio has one");
        return;
    };
    let edu = Edu(KernelVfio::open(address.parse().unwrap()).unwrap());
    let mut log = KernelLog::open();
    assert!(edu.0.set_bus_master(true).unwrap());
    let (mapped, other, read_only) = (Page::new(0xA5), Page::new(0x11), Page::new(0x22));
    let map = |page: &Page, at, access| edu.0.map_dma(page.arena.memory(), at, access).unwrap();

    map(&mapped, MAPPED, DmaAccess::ReadWrite);
    map(&read_only, READ_ONLY, DmaAccess::Read);
    edu.read_memory(MAPPED);
    // Nothing is mapped there, neither for reading nor for writing.
    edu.write_memory(NOT_MAPPED);
    println!("{}", log.fault_at(NOT_MAPPED));
    assert_eq!(other.filled_with(), Some(0x11));
    // Mapped for reading alone.
    edu.write_memory(READ_ONLY);
    println!("{}", log.fault_at(READ_ONLY));
    assert_eq!(read_only.filled_with(), Some(0x22));

    // The very same copy arrives once there is a map, and no more once it was taken back.
    map(&other, NOT_MAPPED, DmaAccess::ReadWrite);
    edu.write_memory(NOT_MAPPED);
    assert_eq!(other.filled_with(), Some(0xA5));
    other.buffer.write_at(0, &[0x33; PAGE_BYTES]).unwrap();
    edu.0.unmap_dma(NOT_MAPPED, PAGE_BYTES as u64).unwrap();
    edu.write_memory(NOT_MAPPED);
    println!("{}", log.fault_at(NOT_MAPPED));
    assert_eq!(other.filled_with(), Some(0x33));

    // Nor without bus mastering, map or no map.
    edu.read_memory(READ_ONLY);
    assert!(!edu.0.set_bus_master(false).unwrap());
    edu.write_memory(MAPPED);
    assert_eq!(mapped.filled_with(), Some(0xA5));
    assert!(edu.0.set_bus_master(true).unwrap());
    edu.write_memory(MAPPED);
    assert_eq!(mapped.filled_with(), Some(0x22));
}
