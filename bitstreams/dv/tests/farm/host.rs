//! A host for one farm: registers, an admin queue, rings, by the contract's rules.
//!
//! It is a reading of the contract of its own, as small as can be. Waits are of the farm's cycles, and have a bound.

use faam_dv::farm::{Farm, MODEL_RTL, Straps, Timing};
use faam_hwif::admin::{AdminCommand, HEALTH_BYTES, Health, LogPage};
use faam_hwif::regs::{
    CardRegister, DOORBELL_CQ_HEAD, DOORBELL_SQ_TAIL, INTERFACE_UUID, QueueCounter, RESET_KEY,
    Register, control, doorbells, queue_counters,
};
use faam_hwif::{
    CommandId, CompletionEntry, Iova, QueueEntries, QueueEpoch, QueueId, Status, SubmissionEntry,
};

use crate::memory::{BASE, Memory};

/// Longest wait for anything, cycles: a job of 2^20 bytes that is stored takes a little over twice as many, and stalls
/// half as many again.
pub(crate) const CYCLES_MAX: u64 = 6_000_000;
/// Cycles between two looks.
pub(crate) const LOOK_CYCLES: u32 = 64;
/// Serial number of the card.
pub(crate) const SERIAL: u64 = 0x0123_4567_89AB_CDEF;
/// Start of RESET_EPOCH.
pub(crate) const EPOCH: u32 = 0x5EED;
/// The clock that the farm is told of, kHz; and the slowest by which it keeps time, a microsecond a cycle.
pub(crate) const CLOCK_KHZ: u32 = 120_000;
pub(crate) const SLOW_CLOCK_KHZ: u32 = 1_000;
/// What a farm is told before power-on.
const STRAPS: Straps = Straps {
    function: 1,
    functions: 2,
    serial: SERIAL,
    clock_khz: CLOCK_KHZ,
    model: MODEL_RTL,
    epoch: EPOCH,
};
/// Bytes from one queue's rings to the next one's, and from submissions to completions.
const QUEUE_STRIDE: u64 = 0x2000;
/// Where admin commands' data go.
const SCRATCH: u64 = BASE + 0x8000;
/// Where jobs' data begin: everything before is the queues'.
pub(crate) const DATA: u64 = BASE + 0x1_0000;

/// A queue pair as the host sees it.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    pub(crate) id: QueueId,
    pub(crate) entries: QueueEntries,
    pub(crate) sq: u64,
    pub(crate) cq: u64,
    pub(crate) epoch: QueueEpoch,
    pub(crate) tail: u32,
    pub(crate) head: u32,
}

impl Ring {
    fn at(id: u16, log2: u8) -> Self {
        let sq = BASE + u64::from(id) * QUEUE_STRIDE;
        Self {
            id: QueueId(id),
            entries: QueueEntries::from_log2(log2).expect("a size"),
            sq,
            cq: sq + QUEUE_STRIDE / 2,
            epoch: QueueEpoch(0xA500 | id),
            tail: 0,
            head: 0,
        }
    }

    /// Where the completion of this index lies.
    pub(crate) fn completion(&self, index: u32) -> u64 {
        self.cq + u64::from(self.entries.slot(index)) * 32
    }
}

/// A farm, its memory, and the admin queue.
pub(crate) struct Host {
    pub(crate) farm: Farm,
    pub(crate) memory: Memory,
    admin: Ring,
    generation: u8,
}

impl Host {
    /// A farm as after power-on, with bus mastering on.
    pub(crate) fn new(timing: Timing) -> Self {
        Self::of(Farm::new(STRAPS, timing))
    }

    /// One that is up, and for which a cycle is a microsecond.
    pub(crate) fn slow(timing: Timing) -> Self {
        let straps = Straps {
            clock_khz: SLOW_CLOCK_KHZ,
            ..STRAPS
        };
        let mut host = Self::of(Farm::new(straps, timing));
        host.enable();
        host
    }

    /// One with two engines, that is up, with this rule of mutants.txt broken (0: none).
    #[cfg(rtl_pair)]
    pub(crate) fn pair(timing: Timing, mutant: u32) -> Self {
        let mut farm = Farm::of_engines(2, STRAPS, timing).expect("it was built: `rtl_pair`");
        farm.mutant(mutant);
        let mut host = Self::of(farm);
        host.enable();
        host
    }

    fn of(mut farm: Farm) -> Self {
        farm.set_bus_master(true);
        Self {
            farm,
            memory: Memory::new(),
            admin: Ring::at(0, 4),
            generation: 0,
        }
    }

    /// One that is up.
    pub(crate) fn up(timing: Timing) -> Self {
        let mut host = Self::new(timing);
        host.enable();
        host
    }

    pub(crate) fn register(&mut self, register: CardRegister) -> u32 {
        self.read(register.offset())
    }

    pub(crate) fn read(&mut self, offset: u32) -> u32 {
        self.farm.read(offset, &mut self.memory).expect("an answer")
    }

    pub(crate) fn set(&mut self, register: CardRegister, value: u32) {
        self.write(register.offset(), value);
    }

    pub(crate) fn write(&mut self, offset: u32, value: u32) {
        let written = self.farm.write(offset, value, &mut self.memory);
        written.expect("an answer");
    }

    pub(crate) fn status(&mut self) -> control::Status {
        control::Status(self.register(CardRegister::ControlStatus))
    }

    pub(crate) fn step(&mut self, cycles: u32) {
        self.farm.step(cycles, u64::MAX, &mut self.memory);
    }

    /// Lets time go on until `reached`.
    pub(crate) fn until(&mut self, what: &str, mut reached: impl FnMut(&mut Self) -> bool) {
        let end = self.farm.cycles() + CYCLES_MAX;
        while !reached(self) {
            assert!(
                self.farm.cycles() < end,
                "not within {CYCLES_MAX} cycles: {what}"
            );
            self.step(LOOK_CYCLES);
        }
    }

    /// Enables the function as a driver does.
    pub(crate) fn enable(&mut self) {
        let uuid = [
            CardRegister::IdentityInterfaceUuid0,
            CardRegister::IdentityInterfaceUuid1,
            CardRegister::IdentityInterfaceUuid2,
            CardRegister::IdentityInterfaceUuid3,
        ]
        .map(|register| self.register(register));
        assert_eq!(uuid, INTERFACE_UUID);
        let magic = CardRegister::IdentityMagic;
        assert_eq!(self.register(magic), magic.reset());
        self.admin = Ring::at(0, 4);
        self.admin.epoch = QueueEpoch(0xADA0);
        let zeros = vec![0; self.admin.entries.count() as usize * 32];
        self.memory.put(self.admin.cq, &zeros);
        let half = |value: u64, high: u32| (value >> (32 * high) & u64::from(u32::MAX)) as u32;
        let (sq, cq) = (self.admin.sq, self.admin.cq);
        self.set(CardRegister::QueueControlAdminSqLo, half(sq, 0));
        self.set(CardRegister::QueueControlAdminSqHi, half(sq, 1));
        self.set(CardRegister::QueueControlAdminCqLo, half(cq, 0));
        self.set(CardRegister::QueueControlAdminCqHi, half(cq, 1));
        let shape = u32::from(self.admin.epoch.0) << 16 | 0xFF00 | 4;
        self.set(CardRegister::QueueControlAdminQueue, shape);
        self.set(CardRegister::ControlControl, 1);
        self.until("the function is ready", |host| host.status().ready());
    }

    /// Resets by the register, and waits until the memory is free.
    pub(crate) fn reset(&mut self) {
        self.set(CardRegister::ControlReset, RESET_KEY);
        self.until_idle();
    }

    /// Waits until the reset is over and DMA is idle.
    pub(crate) fn until_idle(&mut self) {
        self.until("DMA is idle", |host| {
            let status = host.status();
            status.dma_idle() && !status.resetting()
        });
    }

    /// Writes an entry, without a word to the farm.
    pub(crate) fn push(&mut self, ring: &mut Ring, entry: &SubmissionEntry) {
        let at = ring.sq + u64::from(ring.entries.slot(ring.tail)) * 64;
        self.memory.put(at, &entry.to_bytes());
        ring.tail = ring.tail.wrapping_add(1);
    }

    pub(crate) fn doorbell(&mut self, queue: QueueId, register: u32, value: u32) {
        let page = doorbells::Base::RESET + u32::from(queue.0) * doorbells::Stride::RESET;
        self.write(page + register, value);
    }

    /// Tells the farm of all that was pushed.
    #[cfg(rtl_pair)]
    pub(crate) fn ring(&mut self, ring: &Ring) {
        self.doorbell(ring.id, DOORBELL_SQ_TAIL, ring.tail);
    }

    pub(crate) fn submit(&mut self, ring: &mut Ring, entry: &SubmissionEntry) {
        self.push(ring, entry);
        self.doorbell(ring.id, DOORBELL_SQ_TAIL, ring.tail);
    }

    /// The completion at the head, if it is there.
    pub(crate) fn peek(&self, ring: &Ring) -> Option<CompletionEntry> {
        let bytes = self.memory.get(ring.completion(ring.head), 32);
        let bytes: &[u8; 32] = bytes.try_into().expect("32 bytes");
        let entry = CompletionEntry::from_bytes(bytes);
        if CompletionEntry::phase_of_word(entry.phase_word()) != ring.entries.phase(ring.head) {
            return None;
        }
        assert!(entry.is_intact(ring.epoch), "check field of {entry:?}");
        Some(entry)
    }

    /// Waits for the completion at the head, takes it and says so.
    pub(crate) fn next(&mut self, ring: &mut Ring) -> CompletionEntry {
        let mut found = None;
        self.until("a completion", |host| {
            found = host.peek(ring);
            found.is_some()
        });
        ring.head = ring.head.wrapping_add(1);
        self.doorbell(ring.id, DOORBELL_CQ_HEAD, ring.head);
        found.expect("found")
    }

    pub(crate) fn run(&mut self, ring: &mut Ring, entry: &SubmissionEntry) -> CompletionEntry {
        self.submit(ring, entry);
        let done = self.next(ring);
        assert_eq!(done.cid, entry.cid, "id of a completion");
        done
    }

    pub(crate) fn admin(&mut self, command: &AdminCommand) -> CompletionEntry {
        let id = CommandId::new(2, self.generation);
        self.generation = self.generation.wrapping_add(1);
        let mut ring = self.admin.clone();
        let done = self.run(&mut ring, &command.encode(id));
        self.admin = ring;
        done
    }

    /// Runs an entry on the admin queue, whatever it is.
    pub(crate) fn admin_entry(&mut self, entry: &SubmissionEntry) -> CompletionEntry {
        let mut ring = self.admin.clone();
        let done = self.run(&mut ring, entry);
        self.admin = ring;
        done
    }

    /// Creates an I/O queue pair, 1 to 3.
    pub(crate) fn create(&mut self, id: u16, log2: u8, vector: Option<u16>) -> Ring {
        assert!((1..=3).contains(&id) && log2 <= 6);
        let ring = Ring::at(id, log2);
        let zeros = vec![0; ring.entries.count() as usize * 32];
        self.memory.put(ring.cq, &zeros);
        let done = self.admin(&AdminCommand::CreateQueue {
            queue: ring.id,
            entries: ring.entries,
            sq: Iova(ring.sq),
            cq: Iova(ring.cq),
            shadow: None,
            vector,
            epoch: ring.epoch,
        });
        assert_eq!(status(&done), Status::Success, "queue {id} is made");
        ring
    }

    pub(crate) fn health(&mut self) -> Health {
        let done = self.admin(&AdminCommand::GetLogPage {
            page: LogPage::Health,
            dst: Iova(SCRATCH),
            dst_cap: 4096,
        });
        assert_eq!(
            (status(&done), done.out_len),
            (Status::Success, HEALTH_BYTES as u32)
        );
        let bytes = self.memory.get(SCRATCH, HEALTH_BYTES);
        Health::from_bytes(bytes.try_into().expect("its size"))
    }

    pub(crate) fn counter(&mut self, queue: QueueId, counter: QueueCounter) -> u64 {
        let at = queue_counters::Base::RESET
            + u32::from(queue.0) * queue_counters::Stride::RESET
            + counter as u32 * 8;
        u64::from(self.read(at)) | u64::from(self.read(at + 4)) << 32
    }

    /// Code and number of the errors since reset.
    pub(crate) fn errors(&mut self) -> (u32, u32) {
        let first = self.register(CardRegister::ErrorFirst);
        (first & 0xFFFF, self.register(CardRegister::ErrorCount))
    }

    /// Fails if the farm broke a rule of its bus.
    pub(crate) fn check_bus(&self) {
        if let Some(broken) = self.farm.broken() {
            panic!("the farm breaks a rule of the bus: {broken}");
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check_bus();
        }
    }
}

pub(crate) fn status(entry: &CompletionEntry) -> Status {
    let bits = entry.status_bits();
    Status::from_bits(bits).unwrap_or_else(|| panic!("no status has the bits {bits:#x}"))
}
