//! The tests' host: memory that a card may reach, and rings in it, driven by the contract's rules.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use faam_hwif::admin::AdminCommand;
use faam_hwif::doorbell::{
    SHADOW_CQ_HEAD, SHADOW_CQ_WANT, SHADOW_SQ_EVENT, SHADOW_SQ_TAIL, kick_needed,
};
use faam_hwif::regs::{CardRegister, RESET_KEY};
use faam_hwif::{
    CommandId, CompletionEntry, Flags, Iova, Opcode, QueueEntries, QueueEpoch, QueueId, Status,
    SubmissionEntry, WireFormat,
};
use faam_sim::{Card, Options};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{MemfdFlags, SealFlags};

use crate::client::{BAR0, Client, MAP_READ, MAP_WRITE, WAIT_S_MAX};

/// Where the arena is mapped: not where it lies in its file, and not below 4 GiB.
pub(crate) const ARENA: u64 = 0x3_4000_0000;
pub(crate) const ARENA_BYTES: u64 = 16 << 20;
/// Source and destination of jobs, from the start of the arena.
pub(crate) const SRC: u64 = 0x40_0000;
pub(crate) const DST: u64 = 0x80_0000;
pub(crate) const AUX: u64 = 0xC0_0000;
/// Where admin commands' data goes.
pub(crate) const SCRATCH: u64 = 0x2000;

/// A card in a directory of its own.
pub(crate) struct Bench {
    pub(crate) card: Card,
    /// Removed when the bench ends.
    _dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(dir.path());
        options.seed = Some(7);
        change(&mut options);
        let card = Card::start(&options).unwrap();
        Self { card, _dir: dir }
    }

    /// A host on this function, brought up as far as the admin queue.
    pub(crate) fn host(&self, function: u8) -> Host {
        let mut host = Host::attach(Client::open(self.card.socket(function).unwrap()));
        host.enable();
        host
    }
}

/// Memory of the host's that cards map: reached by system calls here, so that no pointer into it is needed.
pub(crate) struct Arena {
    pub(crate) fd: OwnedFd,
}

impl Arena {
    pub(crate) fn new(bytes: u64, sealed: bool) -> Self {
        let fd = rustix::fs::memfd_create("arena", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .unwrap();
        rustix::fs::ftruncate(&fd, bytes).unwrap();
        if sealed {
            rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW).unwrap();
        }
        Self { fd }
    }

    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        assert_eq!(
            rustix::io::pwrite(&self.fd, bytes, at).unwrap(),
            bytes.len()
        );
    }

    pub(crate) fn read(&self, at: u64, bytes: usize) -> Vec<u8> {
        let mut out = vec![0; bytes];
        assert_eq!(rustix::io::pread(&self.fd, &mut out, at).unwrap(), bytes);
        out
    }

    pub(crate) fn read32(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.read(at, 4).try_into().unwrap())
    }

    pub(crate) fn write32(&self, at: u64, value: u32) {
        self.write(at, &value.to_le_bytes());
    }
}

/// A queue pair as the host sees it. Addresses are from the start of the arena.
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

/// A host with a client, an arena and an admin queue.
pub(crate) struct Host {
    pub(crate) client: Client,
    pub(crate) arena: Arena,
    pub(crate) admin: Ring,
    generation: u8,
}

impl Host {
    /// Maps an arena and turns memory space and bus mastering on.
    pub(crate) fn attach(client: Client) -> Self {
        Self::attach_arena(client, Arena::new(ARENA_BYTES, true))
    }

    pub(crate) fn attach_arena(mut client: Client, arena: Arena) -> Self {
        client
            .map(
                ARENA,
                ARENA_BYTES,
                MAP_READ | MAP_WRITE,
                Some((&arena.fd, 0)),
            )
            .unwrap();
        client.command(0x0006);
        Self {
            client,
            arena,
            admin: Ring::at(0, 6, false),
            generation: 0,
        }
    }

    pub(crate) fn register(&mut self, register: CardRegister) -> u32 {
        self.client.read32(BAR0, register.offset())
    }

    pub(crate) fn set(&mut self, register: CardRegister, value: u32) {
        self.client.write32(BAR0, register.offset(), value);
    }

    /// Sets the admin queue up and enables the function.
    pub(crate) fn enable(&mut self) {
        self.admin = Ring::at(0, 6, false);
        self.admin.clear(&self.arena);
        let (sq, cq) = (ARENA + self.admin.sq, ARENA + self.admin.cq);
        self.set(CardRegister::QueueControlAdminSqLo, sq as u32);
        self.set(CardRegister::QueueControlAdminSqHi, (sq >> 32) as u32);
        self.set(CardRegister::QueueControlAdminCqLo, cq as u32);
        self.set(CardRegister::QueueControlAdminCqHi, (cq >> 32) as u32);
        let epoch = u32::from(self.admin.epoch.0) << 16;
        self.set(CardRegister::QueueControlAdminQueue, epoch | 0xFF00 | 6);
        self.set(CardRegister::ControlControl, 1);
        assert_eq!(self.register(CardRegister::ControlStatus), 1, "ready");
    }

    /// Runs one admin command to its completion.
    pub(crate) fn admin(&mut self, command: &AdminCommand) -> CompletionEntry {
        let id = CommandId::new(3, self.generation);
        self.generation += 1;
        let mut ring = self.admin.clone();
        ring.push(&self.arena, &command.encode(id));
        ring.kick(&mut self.client);
        let completion = ring.next(&self.arena);
        assert_eq!(completion.command_id(), id);
        ring.retire(&self.arena, &mut self.client);
        self.admin = ring;
        completion
    }

    /// Creates an I/O queue pair with 2^log2 entries.
    pub(crate) fn create(&mut self, id: u16, log2: u8, shadow: bool, vector: Option<u16>) -> Ring {
        let ring = Ring::at(id, log2, shadow);
        ring.clear(&self.arena);
        let completion = self.admin(&ring.creation(vector));
        assert_eq!(status(&completion), Status::Success);
        ring
    }

    pub(crate) fn delete(&mut self, id: u16) -> Status {
        status(&self.admin(&AdminCommand::DeleteQueue { queue: QueueId(id) }))
    }

    /// Submits one entry and waits for its completion.
    pub(crate) fn run(&mut self, ring: &mut Ring, entry: &SubmissionEntry) -> CompletionEntry {
        ring.submit(&self.arena, &mut self.client, entry);
        let completion = ring.next(&self.arena);
        ring.retire(&self.arena, &mut self.client);
        completion
    }

    /// An eventfd on a vector.
    pub(crate) fn listen(&mut self, vector: u32) -> OwnedFd {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        self.client
            .set_irqs(0x24, vector, 1, &[], &[fd.as_fd()])
            .unwrap();
        fd
    }

    pub(crate) fn reset_register(&mut self) {
        self.set(CardRegister::ControlReset, RESET_KEY);
    }
}

impl Ring {
    /// The pair's place in the arena.
    pub(crate) fn at(id: u16, log2: u8, shadow: bool) -> Self {
        let base = u64::from(id) * 0x1_0000;
        let (sq, cq) = if id == 0 {
            (0, 0x1000)
        } else {
            (base, base + 0x8000)
        };
        Self {
            id: QueueId(id),
            entries: QueueEntries::from_log2(log2).unwrap(),
            sq,
            cq,
            shadow: shadow.then_some(base + 0xC000),
            epoch: QueueEpoch(0xA500 | id),
            tail: 0,
            head: 0,
        }
    }

    pub(crate) fn creation(&self, vector: Option<u16>) -> AdminCommand {
        AdminCommand::CreateQueue {
            queue: self.id,
            entries: self.entries,
            sq: Iova(ARENA + self.sq),
            cq: Iova(ARENA + self.cq),
            shadow: self.shadow.map(|at| Iova(ARENA + at)),
            vector,
            epoch: self.epoch,
        }
    }

    pub(crate) fn clear(&self, arena: &Arena) {
        arena.write(self.cq, &vec![0; self.entries.count() as usize * 32]);
        if let Some(page) = self.shadow {
            arena.write(page, &[0; 256]);
        }
    }

    /// Writes an entry into the ring, without a word to the card.
    pub(crate) fn push(&mut self, arena: &Arena, entry: &SubmissionEntry) {
        let slot = u64::from(self.entries.slot(self.tail));
        arena.write(self.sq + slot * 64, &entry.to_bytes());
        self.tail = self.tail.wrapping_add(1);
    }

    /// Rings the doorbell register.
    pub(crate) fn kick(&self, client: &mut Client) {
        client.post32(BAR0, doorbell(self.id), self.tail);
    }

    /// Pushes an entry and tells the card as the contract has it. Whether that took a kick.
    pub(crate) fn submit(
        &mut self,
        arena: &Arena,
        client: &mut Client,
        entry: &SubmissionEntry,
    ) -> bool {
        let old = self.tail;
        self.push(arena, entry);
        let kick = match self.shadow {
            None => true,
            Some(page) => {
                arena.write32(page + u64::from(SHADOW_SQ_TAIL), self.tail);
                fence(Ordering::SeqCst);
                let event = arena.read32(page + u64::from(SHADOW_SQ_EVENT));
                kick_needed(event, self.tail, old)
            }
        };
        if kick {
            self.kick(client);
        }
        kick
    }

    /// The completion at the head, if it is there.
    pub(crate) fn peek(&self, arena: &Arena) -> Option<CompletionEntry> {
        let slot = u64::from(self.entries.slot(self.head));
        let at = self.cq + slot * 32;
        let word = arena.read32(at + 0x1C);
        if CompletionEntry::phase_of_word(word) != self.entries.phase(self.head) {
            return None;
        }
        let bytes: [u8; 32] = arena.read(at, 32).try_into().unwrap();
        let entry = CompletionEntry::from_bytes(&bytes);
        assert!(entry.is_intact(self.epoch), "check field of {entry:?}");
        Some(entry)
    }

    /// Waits for the completion at the head, and takes it.
    pub(crate) fn next(&mut self, arena: &Arena) -> CompletionEntry {
        let mut found = None;
        eventually(|| {
            found = self.peek(arena);
            found.is_some()
        });
        self.head = self.head.wrapping_add(1);
        found.unwrap()
    }

    /// Tells the card how far completions have been taken.
    pub(crate) fn retire(&self, arena: &Arena, client: &mut Client) {
        match self.shadow {
            Some(page) => arena.write32(page + u64::from(SHADOW_CQ_HEAD), self.head),
            None => client.post32(BAR0, doorbell(self.id) + 4, self.head),
        }
    }

    /// Asks for an interrupt at the completion with this index.
    pub(crate) fn want(&self, arena: &Arena, index: u32) {
        let page = self.shadow.unwrap();
        arena.write32(page + u64::from(SHADOW_CQ_WANT), index);
        fence(Ordering::SeqCst);
    }
}

pub(crate) fn doorbell(id: QueueId) -> u32 {
    0x1_0000 + u32::from(id.0) * 0x1000
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

/// Compresses the first `len` bytes at SRC into DST, as one gzip member.
pub(crate) fn compress(id: u16, len: u32, cap: u32) -> SubmissionEntry {
    SubmissionEntry {
        op: Opcode::Compress as u8,
        flags: Flags::FINAL.0,
        cid: id,
        context: 1,
        src: ARENA + SRC,
        src_len: len,
        dst: ARENA + DST,
        dst_cap: cap,
        format: WireFormat::Gzip as u8,
        ..SubmissionEntry::default()
    }
}

/// Text that compresses well and does not repeat as a whole.
pub(crate) fn text(len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 64);
    let mut n = 0u64;
    while out.len() < len {
        let word = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 52;
        out.extend_from_slice(format!("{{\"n\":{n},\"word\":\"w{word}\"}}\n").as_bytes());
        n += 1;
    }
    out.truncate(len);
    out
}

/// Waits until it holds.
pub(crate) fn eventually(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(WAIT_S_MAX);
    while !holds() {
        assert!(Instant::now() < deadline, "it never came about");
        std::thread::yield_now();
    }
}

/// Waits for an eventfd, and takes its count.
pub(crate) fn interrupts(fd: &OwnedFd) -> u64 {
    let limit = Timespec {
        tv_sec: WAIT_S_MAX as i64,
        tv_nsec: 0,
    };
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    assert_eq!(poll(&mut fds, Some(&limit)), Ok(1), "no interrupt came");
    interrupts_now(fd)
}

/// The eventfd's count as it is, taken.
pub(crate) fn interrupts_now(fd: &OwnedFd) -> u64 {
    let mut bytes = [0; 8];
    rustix::io::read(fd, &mut bytes).map_or(0, |_| u64::from_ne_bytes(bytes))
}
