//! A host of one thread: memory that the card may reach, rings in it, and the card's own turns.
//!
//! The memory is one file of 64 KiB. The card sees the first half with all rights, an eighth that it may only read, an
//! eighth that it may only write, and does not see the last quarter. Rings lie in the first 8 KiB, data behind them.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use faam_hwif::doorbell::{SHADOW_BYTES, SHADOW_CQ_HEAD, SHADOW_SQ_TAIL};
use faam_hwif::regs::{CardRegister, DOORBELL_CQ_HEAD, DOORBELL_SQ_TAIL, Register, doorbells};
use faam_hwif::{CompletionEntry, Iova, QueueEntries, QueueEpoch, QueueId, SubmissionEntry};
use rustix::fs::{MemfdFlags, SealFlags};

use crate::dispatcher::{self, Lanes};
use crate::engine::Worker;
use crate::function::{Function, Identity, Region};
use crate::memory::Rights;

/// Where the file is mapped.
pub(super) const BASE: u64 = 0x3_4000_0000;
/// Bytes of the file.
pub(super) const FILE_BYTES: usize = 0x1_0000;
/// Where data begins.
pub(super) const DATA: usize = 0x2000;
/// Where what may not be written begins and ends.
pub(super) const READ_ONLY: std::ops::Range<usize> = 0x8000..0xA000;
/// What may not be read.
pub(super) const WRITE_ONLY: std::ops::Range<usize> = 0xA000..0xC000;
/// What is not mapped.
pub(super) const UNSEEN: std::ops::Range<usize> = 0xC000..FILE_BYTES;
/// Entries of a ring: 16.
const ENTRIES_LOG2: u8 = 4;
/// Bytes that are compared at once.
const CHUNK_BYTES: usize = 256;
/// Turns after which every job that is known must have ended.
const TURNS_MAX: usize = 128;
/// Configuration space: COMMAND, with memory space and bus mastering.
const COMMAND: usize = 4;
const MEMORY: u8 = 0b010;
const BUS_MASTER: u8 = 0b100;
/// Power management's control: zeros are the only state in which the function does anything.
const POWER: usize = 0x44;

/// A queue pair as its host sees it.
pub(super) struct Ring {
    pub(super) id: QueueId,
    pub(super) entries: QueueEntries,
    pub(super) sq: usize,
    pub(super) cq: usize,
    pub(super) shadow: Option<usize>,
    pub(super) epoch: QueueEpoch,
    /// It exists.
    pub(super) lives: bool,
    tail: u32,
    head: u32,
    /// Entries submitted and not yet completed.
    pub(super) outstanding: Vec<SubmissionEntry>,
}

impl Ring {
    fn new(id: u16, sq: usize, shadow: Option<usize>) -> Self {
        Self {
            id: QueueId(id),
            entries: QueueEntries::from_log2(ENTRIES_LOG2).expect("a size that there is"),
            sq,
            cq: sq + 0x400,
            shadow,
            epoch: QueueEpoch(0xA500 | id),
            lives: false,
            tail: 0,
            head: 0,
            outstanding: Vec::new(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.outstanding.len() >= self.entries.in_use_max() as usize
    }
}

/// The host and the card's function.
pub(super) struct Host {
    pub(super) function: Arc<Function>,
    worker: Worker,
    lanes: Lanes,
    file: OwnedFd,
    /// The file as it is for a new client.
    fresh: Vec<u8>,
    /// The file as it was when [`Host::remember`] was called.
    before: Vec<u8>,
    now: Vec<u8>,
}

impl Host {
    pub(super) fn new() -> Self {
        let identity = Identity {
            index: 0,
            serial: 1,
            engines: 1,
            clock_khz: 250_000,
            paced: false,
        };
        let function = Arc::new(Function::with(identity, 1, 64, Arc::default()));
        let file =
            rustix::fs::memfd_create("fuzz", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
                .expect("a file in memory");
        rustix::fs::ftruncate(&file, FILE_BYTES as u64).expect("room");
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW).expect("sealed");
        // Text, so that there is something to compress; another pattern where the card has no business.
        let text = b"a card reads and writes ".iter().cycle();
        let mut fresh: Vec<u8> = text.copied().take(FILE_BYTES).collect();
        fresh[..DATA].fill(0);
        fresh[UNSEEN].fill(0x5A);
        Self {
            worker: Worker::new(Arc::clone(&function)),
            function,
            lanes: Lanes::default(),
            file,
            fresh,
            before: vec![0; FILE_BYTES],
            now: vec![0; FILE_BYTES],
        }
    }

    /// As for a client that has just connected and mapped its memory. Three rings are described, none exists.
    pub(super) fn begin(&mut self) -> [Ring; 3] {
        self.function.detach().expect("nothing is in flight");
        self.function.slots.restore();
        self.lanes = Lanes::default();
        self.write(0, &self.fresh);
        self.map();
        [
            Ring::new(0, 0, None),
            Ring::new(1, 0x800, Some(0x1800)),
            Ring::new(2, 0x1000, None),
        ]
    }

    /// Maps the memory, as far as it is not.
    pub(super) fn map(&self) {
        let rights = |read, write| Rights { read, write };
        for (range, rights) in [
            (0..READ_ONLY.start, rights(true, true)),
            (READ_ONLY, rights(true, false)),
            (WRITE_ONLY, rights(false, true)),
        ] {
            let file = self.file.try_clone().expect("a descriptor");
            let (at, bytes) = (range.start as u64, range.len() as u64);
            let _ = self
                .function
                .memory
                .map(BASE + at, bytes, rights, Some((file, at)));
        }
    }

    pub(super) fn unmap(&self) {
        let _ = self.function.memory.unmap(BASE, FILE_BYTES as u64);
    }

    pub(super) fn write(&self, at: usize, bytes: &[u8]) {
        let written = rustix::io::pwrite(&self.file, bytes, at as u64);
        assert_eq!(written, Ok(bytes.len()), "the host's own memory");
    }

    pub(super) fn read(&self, at: usize, into: &mut [u8]) {
        let read = rustix::io::pread(&self.file, &mut *into, at as u64);
        assert_eq!(read, Ok(into.len()), "the host's own memory");
    }

    pub(super) fn set(&self, register: CardRegister, value: u32) {
        let offset = register.offset() as usize;
        self.function
            .region_write(Region::Registers, offset, &value.to_le_bytes());
    }

    pub(super) fn get(&self, register: CardRegister) -> u32 {
        let mut bytes = [0; 4];
        let offset = register.offset() as usize;
        self.function
            .region_read(Region::Registers, offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// Whether the function may access memory.
    pub(super) fn bus_master(&self) -> bool {
        self.config(COMMAND) & BUS_MASTER != 0 && self.config(POWER) & 0b11 == 0
    }

    /// Whether the function answers to memory accesses.
    pub(super) fn memory_space(&self) -> bool {
        self.config(COMMAND) & MEMORY != 0 && self.config(POWER) & 0b11 == 0
    }

    fn config(&self, at: usize) -> u8 {
        let mut byte = [0];
        self.function.region_read(Region::Config, at, &mut byte);
        byte[0]
    }

    /// Memory space and bus mastering on, the admin queue described, the function enabled.
    pub(super) fn enable(&self, admin: &mut Ring) {
        self.function.region_write(Region::Config, POWER, &[0]);
        self.function
            .region_write(Region::Config, COMMAND, &[MEMORY | BUS_MASTER]);
        self.restart(admin);
        let [sq, cq] = [admin.sq, admin.cq].map(|at| BASE + at as u64);
        for (register, value) in [
            (CardRegister::QueueControlAdminSqLo, low(sq)),
            (CardRegister::QueueControlAdminSqHi, low(sq >> 32)),
            (CardRegister::QueueControlAdminCqLo, low(cq)),
            (CardRegister::QueueControlAdminCqHi, low(cq >> 32)),
            (
                CardRegister::QueueControlAdminQueue,
                u32::from(admin.epoch.0) << 16 | 0xFF00 | u32::from(ENTRIES_LOG2),
            ),
            (CardRegister::ControlControl, 1),
        ] {
            self.set(register, value);
        }
    }

    /// A ring as for a queue that is created anew.
    pub(super) fn restart(&self, ring: &mut Ring) {
        ring.epoch = ring.epoch.next();
        ring.tail = 0;
        ring.head = 0;
        ring.outstanding.clear();
        ring.lives = true;
        self.write(ring.cq, &[0; 16 * 32]);
        if let Some(page) = ring.shadow {
            self.write(page, &[0; SHADOW_BYTES as usize]);
        }
    }

    /// Writes an entry and shows it to the card.
    pub(super) fn submit(&self, ring: &mut Ring, entry: &SubmissionEntry) {
        let slot = ring.entries.slot(ring.tail) as usize;
        self.write(ring.sq + slot * 64, &entry.to_bytes());
        ring.tail = ring.tail.wrapping_add(1);
        ring.outstanding.push(*entry);
        if let Some(page) = ring.shadow {
            self.write(page + SHADOW_SQ_TAIL as usize, &ring.tail.to_le_bytes());
        }
        self.ring_bell(ring.id, DOORBELL_SQ_TAIL, ring.tail);
    }

    pub(super) fn ring_bell(&self, queue: QueueId, which: u32, value: u32) {
        let page = doorbells::Base::RESET + u32::from(queue.0) * doorbells::Stride::RESET;
        self.function.region_write(
            Region::Registers,
            (page + which) as usize,
            &value.to_le_bytes(),
        );
    }

    /// The next completion, if it is there: its phase is this lap's.
    pub(super) fn reap(&self, ring: &mut Ring) -> Option<CompletionEntry> {
        let mut bytes = [0; 32];
        let slot = ring.entries.slot(ring.head) as usize;
        self.read(ring.cq + slot * 32, &mut bytes);
        let entry = CompletionEntry::from_bytes(&bytes);
        if entry.phase() != ring.entries.phase(ring.head) {
            return None;
        }
        ring.head = ring.head.wrapping_add(1);
        if let Some(page) = ring.shadow {
            self.write(page + SHADOW_CQ_HEAD as usize, &ring.head.to_le_bytes());
        } else {
            self.ring_bell(ring.id, DOORBELL_CQ_HEAD, ring.head);
        }
        Some(entry)
    }

    /// A turn of the dispatcher at every queue; the engine does nothing.
    pub(super) fn turn(&mut self) {
        dispatcher::turn(&self.function, &mut self.lanes);
    }

    /// Turns of dispatcher and engine until there is nothing left to do.
    pub(super) fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            let found = dispatcher::turn(&self.function, &mut self.lanes);
            let acted = self.function.slots.act_waiting(&self.function);
            if !self.worker.execute_waiting() && !found && !acted {
                return;
            }
        }
    }

    /// Keeps the file as it is.
    pub(super) fn remember(&mut self) {
        let mut before = std::mem::take(&mut self.before);
        self.read(0, &mut before);
        self.before = before;
    }

    /// The file as it was remembered.
    pub(super) fn remembered(&self) -> &[u8] {
        &self.before
    }

    /// Where the file differs from what was remembered.
    pub(super) fn changed(&mut self) -> impl Iterator<Item = usize> + '_ {
        let mut now = std::mem::take(&mut self.now);
        self.read(0, &mut now);
        self.now = now;
        let chunks = self
            .before
            .chunks(CHUNK_BYTES)
            .zip(self.now.chunks(CHUNK_BYTES));
        chunks
            .enumerate()
            .filter(|(_, (before, now))| before != now)
            .flat_map(|(n, (before, now))| {
                let pairs = before.iter().zip(now).enumerate();
                pairs.filter_map(move |(at, (before, now))| {
                    (before != now).then_some(n * CHUNK_BYTES + at)
                })
            })
    }
}

/// Where an address lies in the file, if it lies there.
pub(super) fn place_of(at: Iova) -> Option<usize> {
    let place = usize::try_from(at.0.checked_sub(BASE)?).ok()?;
    (place < FILE_BYTES).then_some(place)
}

fn low(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
