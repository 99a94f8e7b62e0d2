//! A host by hand: memory that a card may reach, and rings in it, driven by the contract's rules over any transport.
//!
//! What the driver would never do (a doorbell too far, memory that is not mapped, an entry that is none) is done here.
//! Invariant: memory is reached by system calls alone, so that no pointer into it is needed.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use faam_driver::dma::SharedMemory;
use faam_driver::transport::DmaAccess;
use faam_driver::{PageSize, Transport};
use faam_hwif::admin::{AdminCommand, LogPage};
use faam_hwif::doorbell::{
    SHADOW_CQ_HEAD, SHADOW_CQ_WANT, SHADOW_SQ_EVENT, SHADOW_SQ_TAIL, kick_needed,
};
use faam_hwif::regs::{
    CardRegister, DOORBELL_CQ_HEAD, DOORBELL_SQ_TAIL, QueueCounter, Register, control, doorbells,
    error, queue_counters,
};
use faam_hwif::{
    BarOffset, CommandId, CompletionEntry, Flags, Iova, Opcode, QueueEntries, QueueEpoch, QueueId,
    Status, SubmissionEntry, WireFormat,
};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::carrier::{Bench, until};

/// Where the host's memory is mapped.
const MEMORY: u64 = 0x1_4000_0000;
/// Where more memory can be mapped, clear of the host's own.
pub(crate) const ASIDE: Iova = Iova(0x1_8000_0000);
/// Bytes of a page.
pub(crate) const PAGE: u64 = 4096;
/// Bytes from one queue's rings to the next one's.
const QUEUE_STRIDE: u64 = 3 * PAGE;
/// Where admin commands' data goes.
pub(crate) const SCRATCH: u64 = 0x1_0000;
/// Source of jobs, and room there.
pub(crate) const SRC: u64 = 0x2_0000;
/// Destination of jobs, and room there.
pub(crate) const DST: u64 = 0x3_0000;
/// History, tables and histograms.
pub(crate) const AUX: u64 = 0x4_0000;
/// Bytes from one of these to the next.
pub(crate) const ROOM: u64 = 0x1_0000;
const BYTES: u64 = 0x5_0000;

/// Memory of the host's.
pub(crate) struct Memory {
    pub(crate) shared: SharedMemory,
    pub(crate) iova: Iova,
}

impl Memory {
    /// Memory of whole 4 KiB pages, meant for this address.
    pub(crate) fn new(bytes: u64, iova: Iova) -> Self {
        let bytes = usize::try_from(bytes).unwrap();
        // Huge pages cannot be written by system calls.
        let shared = SharedMemory::on_pages("faam-test", bytes, PageSize::Base).unwrap();
        Self { shared, iova }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.shared.len() as u64
    }

    /// Address of a byte.
    pub(crate) fn at(&self, offset: u64) -> u64 {
        self.iova.0 + offset
    }

    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        let wrote = rustix::io::pwrite(self.shared.as_fd(), bytes, at).unwrap();
        assert_eq!(wrote, bytes.len());
    }

    pub(crate) fn read(&self, at: u64, bytes: usize) -> Vec<u8> {
        let mut out = vec![0; bytes];
        let read = rustix::io::pread(self.shared.as_fd(), &mut out, at).unwrap();
        assert_eq!(read, bytes);
        out
    }

    /// All of it.
    pub(crate) fn all(&self) -> Vec<u8> {
        self.read(0, self.shared.len())
    }

    fn read32(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.read(at, 4).try_into().unwrap())
    }

    fn write32(&self, at: u64, value: u32) {
        self.write(at, &value.to_le_bytes());
    }

    pub(crate) fn map(&self, transport: &Arc<dyn Transport>, access: DmaAccess) {
        transport.map_dma(&self.shared, self.iova, access).unwrap();
    }
}

/// A host with an open function, memory, and an admin queue.
pub(crate) struct Host {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) memory: Memory,
    patience: Duration,
    admin: Ring,
    generation: u8,
}

/// A queue pair as the host sees it. Offsets are from the start of the host's memory.
#[derive(Clone)]
pub(crate) struct Ring {
    pub(crate) id: QueueId,
    pub(crate) entries: QueueEntries,
    pub(crate) sq: u64,
    pub(crate) cq: u64,
    pub(crate) shadow: Option<u64>,
    pub(crate) epoch: QueueEpoch,
    pub(crate) tail: u32,
    pub(crate) head: u32,
}

impl Host {
    /// Opens a function, maps the host's memory, turns memory space and bus mastering on, and enables the function.
    pub(crate) fn on(bench: &Bench, function: u8) -> Self {
        let mut host = Self::attach(bench, function);
        host.enable();
        host
    }

    /// The same, but for enabling.
    pub(crate) fn attach(bench: &Bench, function: u8) -> Self {
        let transport = bench.open(function);
        let memory = Memory::new(BYTES, Iova(MEMORY));
        memory.map(&transport, DmaAccess::ReadWrite);
        assert!(transport.set_bus_master(true).unwrap());
        Self {
            transport,
            memory,
            patience: bench.patience(),
            admin: Ring::at(0, 4, false),
            generation: 0,
        }
    }

    pub(crate) fn register(&self, register: CardRegister) -> u32 {
        let at = BarOffset(register.offset());
        self.transport.read_register(at).unwrap()
    }

    pub(crate) fn set(&self, register: CardRegister, value: u32) {
        let at = BarOffset(register.offset());
        self.transport.write_register(at, value).unwrap();
    }

    pub(crate) fn status(&self) -> control::Status {
        control::Status(self.register(CardRegister::ControlStatus))
    }

    /// First error since reset, by its code, and how many there were.
    pub(crate) fn errors(&self) -> (u32, u32) {
        let first = error::First(self.register(CardRegister::ErrorFirst));
        (first.code(), self.register(CardRegister::ErrorCount))
    }

    /// Low half of a queue's counter.
    pub(crate) fn counter(&self, queue: QueueId, counter: QueueCounter) -> u32 {
        let at = queue_counters::Base::RESET
            + u32::from(queue.0) * queue_counters::Stride::RESET
            + counter as u32 * 8;
        self.transport.read_register(BarOffset(at)).unwrap()
    }

    /// Sets the admin queue up and enables the function.
    pub(crate) fn enable(&mut self) {
        self.admin = Ring::at(0, 4, false);
        self.clear(&self.admin.clone());
        let halves = |at: u64| (at as u32, (at >> 32) as u32);
        let (sq_lo, sq_hi) = halves(self.memory.at(self.admin.sq));
        let (cq_lo, cq_hi) = halves(self.memory.at(self.admin.cq));
        self.set(CardRegister::QueueControlAdminSqLo, sq_lo);
        self.set(CardRegister::QueueControlAdminSqHi, sq_hi);
        self.set(CardRegister::QueueControlAdminCqLo, cq_lo);
        self.set(CardRegister::QueueControlAdminCqHi, cq_hi);
        // Vector 0xFF is none; the other fields are entries and epoch.
        let shape = u32::from(self.admin.epoch.0) << 16 | 0xFF00 | 4;
        self.set(CardRegister::QueueControlAdminQueue, shape);
        self.set(CardRegister::ControlControl, 1);
        until(self.patience, "the function is ready", || {
            self.status().ready()
        });
    }

    /// Runs one admin command to its completion.
    pub(crate) fn admin(&mut self, command: &AdminCommand) -> CompletionEntry {
        let id = CommandId::new(3, self.generation);
        self.generation = self.generation.wrapping_add(1);
        let mut ring = self.admin.clone();
        self.submit(&mut ring, &command.encode(id));
        let completion = self.next(&mut ring);
        assert_eq!(completion.command_id(), id, "id of an admin completion");
        self.retire(&ring);
        self.admin = ring;
        completion
    }

    /// Has the card go through all queues: what it was told before, it has looked at when this returns. It serves its
    /// queues in turn, so that between two admin commands each other queue had its turn.
    pub(crate) fn round(&mut self) {
        for _ in 0..2 {
            self.health_page();
        }
    }

    /// The health page, as bytes.
    pub(crate) fn health_page(&mut self) -> Vec<u8> {
        self.log_page(LogPage::Health)
    }

    pub(crate) fn log_page(&mut self, page: LogPage) -> Vec<u8> {
        let done = self.admin(&AdminCommand::GetLogPage {
            page,
            dst: Iova(self.memory.at(SCRATCH)),
            dst_cap: 4096,
        });
        assert_eq!(status(&done), Status::Success);
        self.memory.read(SCRATCH, done.out_len as usize)
    }

    /// Creates an I/O queue pair with 2^log2 entries.
    pub(crate) fn create(&mut self, id: u16, log2: u8, shadow: bool, vector: Option<u16>) -> Ring {
        let ring = Ring::at(id, log2, shadow);
        self.clear(&ring);
        let command = self.creation(&ring, vector);
        let completion = self.admin(&command);
        assert_eq!(status(&completion), Status::Success, "queue {id} is made");
        ring
    }

    /// The command that creates a ring.
    pub(crate) fn creation(&self, ring: &Ring, vector: Option<u16>) -> AdminCommand {
        AdminCommand::CreateQueue {
            queue: ring.id,
            entries: ring.entries,
            sq: Iova(self.memory.at(ring.sq)),
            cq: Iova(self.memory.at(ring.cq)),
            shadow: ring.shadow.map(|at| Iova(self.memory.at(at))),
            vector,
            epoch: ring.epoch,
        }
    }

    fn clear(&self, ring: &Ring) {
        let bytes = ring.entries.count() as usize * 32;
        self.memory.write(ring.cq, &vec![0; bytes]);
        if let Some(page) = ring.shadow {
            self.memory.write(page, &[0; 256]);
            // No interrupt is wanted: zeros would ask for one at completion 0.
            self.want(ring, u32::MAX);
        }
    }

    /// Writes an entry and tells the card as the contract has it.
    pub(crate) fn submit(&self, ring: &mut Ring, entry: &SubmissionEntry) {
        let old = ring.tail;
        self.push(ring, entry);
        let kick = match ring.shadow {
            None => true,
            Some(page) => {
                let tail = page + u64::from(SHADOW_SQ_TAIL);
                self.memory.write32(tail, ring.tail);
                fence(Ordering::SeqCst);
                let event = self.memory.read32(page + u64::from(SHADOW_SQ_EVENT));
                kick_needed(event, ring.tail, old)
            }
        };
        if kick {
            self.doorbell(ring.id, DOORBELL_SQ_TAIL, ring.tail);
        }
    }

    /// Writes an entry into the ring, without a word to the card.
    pub(crate) fn push(&self, ring: &mut Ring, entry: &SubmissionEntry) {
        let slot = u64::from(ring.entries.slot(ring.tail));
        self.memory.write(ring.sq + slot * 64, &entry.to_bytes());
        ring.tail = ring.tail.wrapping_add(1);
    }

    /// Writes a doorbell register.
    pub(crate) fn doorbell(&self, queue: QueueId, register: u32, value: u32) {
        let page = doorbells::Base::RESET + u32::from(queue.0) * doorbells::Stride::RESET;
        self.transport
            .post_doorbell(BarOffset(page + register), value)
            .unwrap();
    }

    /// The completion at the head, if it is there.
    pub(crate) fn peek(&self, ring: &Ring) -> Option<CompletionEntry> {
        let at = ring.cq + u64::from(ring.entries.slot(ring.head)) * 32;
        let word = self.memory.read32(at + 0x1C);
        if CompletionEntry::phase_of_word(word) != ring.entries.phase(ring.head) {
            return None;
        }
        let bytes: [u8; 32] = self.memory.read(at, 32).try_into().unwrap();
        let entry = CompletionEntry::from_bytes(&bytes);
        assert!(entry.is_intact(ring.epoch), "check field of {entry:?}");
        Some(entry)
    }

    /// Waits for the completion at the head, and takes it.
    pub(crate) fn next(&self, ring: &mut Ring) -> CompletionEntry {
        let mut found = None;
        until(self.patience, "a completion", || {
            found = self.peek(ring);
            found.is_some()
        });
        ring.head = ring.head.wrapping_add(1);
        found.unwrap()
    }

    /// Tells the card how far completions have been taken.
    pub(crate) fn retire(&self, ring: &Ring) {
        match ring.shadow {
            Some(page) => {
                let head = page + u64::from(SHADOW_CQ_HEAD);
                self.memory.write32(head, ring.head);
            }
            None => self.doorbell(ring.id, DOORBELL_CQ_HEAD, ring.head),
        }
    }

    /// Submits one entry and waits for its completion.
    pub(crate) fn run(&self, ring: &mut Ring, entry: &SubmissionEntry) -> CompletionEntry {
        self.submit(ring, entry);
        let completion = self.next(ring);
        self.retire(ring);
        completion
    }

    /// Asks for an interrupt at the completion with this index.
    pub(crate) fn want(&self, ring: &Ring, index: u32) {
        let page = ring.shadow.unwrap();
        self.memory.write32(page + u64::from(SHADOW_CQ_WANT), index);
        fence(Ordering::SeqCst);
    }

    /// Eventfds on the vectors 0 to `count - 1`.
    pub(crate) fn listen(&self, count: usize) -> Vec<OwnedFd> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let fds: Vec<_> = (0..count).map(|_| eventfd(0, flags).unwrap()).collect();
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        self.transport.set_interrupts(0, &borrowed).unwrap();
        fds
    }

    /// Waits for an eventfd, and takes its count.
    pub(crate) fn interrupts(&self, fd: &OwnedFd) -> u64 {
        let limit = Timespec::try_from(self.patience).unwrap();
        let mut fds = [PollFd::new(fd, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&limit)), Ok(1), "no interrupt came");
        interrupts_now(fd)
    }

    /// Compresses the first `len` bytes at SRC into DST, as one raw stream of the fast level.
    pub(crate) fn compress(&self, id: u16, len: usize) -> SubmissionEntry {
        SubmissionEntry {
            op: Opcode::Compress as u8,
            flags: Flags::FINAL.0,
            cid: id,
            context: 1,
            src: self.memory.at(SRC),
            src_len: u32::try_from(len).unwrap(),
            dst: self.memory.at(DST),
            dst_cap: ROOM as u32,
            format: WireFormat::Raw as u8,
            ..SubmissionEntry::default()
        }
    }
}

impl Ring {
    /// The pair's place in the host's memory: submissions, completions and shadow page have a page each.
    pub(crate) fn at(id: u16, log2: u8, shadow: bool) -> Self {
        let base = u64::from(id) * QUEUE_STRIDE;
        assert!(log2 <= 6 && base + QUEUE_STRIDE <= SCRATCH);
        Self {
            id: QueueId(id),
            entries: QueueEntries::from_log2(log2).unwrap(),
            sq: base,
            cq: base + PAGE,
            shadow: shadow.then_some(base + 2 * PAGE),
            epoch: QueueEpoch(0xA500 | id),
            tail: 0,
            head: 0,
        }
    }
}

pub(crate) fn status(entry: &CompletionEntry) -> Status {
    Status::from_bits(entry.status_bits()).unwrap()
}

pub(crate) fn nop(id: u16) -> SubmissionEntry {
    SubmissionEntry {
        op: Opcode::Nop as u8,
        cid: id,
        ..SubmissionEntry::default()
    }
}

/// The eventfd's count as it is, taken.
pub(crate) fn interrupts_now(fd: &OwnedFd) -> u64 {
    let mut bytes = [0; 8];
    match rustix::io::read(fd, &mut bytes) {
        Ok(_) => u64::from_ne_bytes(bytes),
        Err(_) => 0,
    }
}
