//! One round: what a hostile driver does on one connection after another, as its seed has it.
//!
//! Owns the steps. Invariant: nothing waits for ever, and a step that the card refuses, or ends the connection for, is as
//! good as any other.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use faam_hwif::QueueId;
use faam_hwif::regs::{CardRegister, DOORBELL_CQ_HEAD, DOORBELL_SQ_TAIL, Register, doorbells};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{
    FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags, fallocate, fcntl_add_seals, ftruncate,
    memfd_create, open,
};

use crate::card::Card;
use crate::entries::{
    self, COMPLETIONS, DATA, ENTRIES_LOG2, MEMORY, MEMORY_BYTES, QUEUES, RING_STRIDE, SHADOW,
};
use crate::peer::{self, BAR0, BAR2, CONFIG, Peer, Reply, frame};
use crate::random::Random;

/// Steps of a round at most, and the time after which it begins no more.
const STEPS_MAX: u64 = 400;
const ROUND_LIMIT: Duration = Duration::from_secs(3);
/// Bytes of BAR0 and BAR2.
const BAR_BYTES: u64 = 0x4_0000;
/// COMMAND: memory space and bus mastering.
const COMMAND_ON: u16 = 6;
/// Offsets in configuration space: COMMAND, and Device Control of the Express capability, found by walking its list.
const CONFIG_COMMAND: u64 = 4;
const CONFIG_CAPABILITIES: u64 = 0x34;
const CAPABILITY_EXPRESS: u8 = 0x10;
const DEVICE_CONTROL: u64 = 8;
const START_FLR: u16 = 1 << 15;

/// What was done to the card, over all rounds.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    connections: u64,
    steps: u64,
    maps: u64,
    refused: u64,
    hung_up: u64,
    entries: u64,
    completions: u64,
    resets: u64,
    unmaps: u64,
    shrunk: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections, {} steps, {} maps, {} unmaps, {} messages refused, {} connections ended by the card, \
             {} entries written, {} completions seen, {} resets, {} files shrunk",
            self.connections,
            self.steps,
            self.maps,
            self.unmaps,
            self.refused,
            self.hung_up,
            self.entries,
            self.completions,
            self.resets,
            self.shrunk,
        )
    }
}

impl Tally {
    /// A round that reaches nothing shows nothing: each kind of step did what it is for.
    pub(crate) fn check(&self) {
        for (what, count) in [
            ("maps", self.maps),
            ("unmaps", self.unmaps),
            ("refused messages", self.refused),
            ("connections ended by the card", self.hung_up),
            ("completions", self.completions),
            ("resets", self.resets),
            ("files shrunk", self.shrunk),
        ] {
            assert!(count > 0, "no {what} in all rounds: {self}");
        }
    }
}

/// A round under way.
pub(crate) struct Attack<'a> {
    card: &'a Card,
    random: Random,
    tally: &'a mut Tally,
    function: u8,
    /// The memory that its rings and data are in.
    memory: OwnedFd,
    /// Everything else that was sent.
    sent: Vec<OwnedFd>,
    tails: [u32; QUEUES as usize],
    /// Connections beside the one that is used.
    aside: Vec<Peer>,
}

impl<'a> Attack<'a> {
    pub(crate) fn new(card: &'a Card, mut random: Random, tally: &'a mut Tally) -> Self {
        let sealed = random.one_in(2);
        Self {
            card,
            function: random.below(2) as u8,
            memory: memory(MEMORY_BYTES, sealed),
            random,
            tally,
            sent: Vec::new(),
            tails: [0; QUEUES as usize],
            aside: Vec::new(),
        }
    }

    /// Plays it. When this returns, no connection is left.
    pub(crate) fn run(mut self) {
        let end = Instant::now() + ROUND_LIMIT;
        let mut steps = 20 + self.random.below(STEPS_MAX);
        while steps > 0 && Instant::now() < end {
            let Some(mut peer) = self.begin() else {
                return;
            };
            while steps > 0 && Instant::now() < end {
                steps -= 1;
                self.tally.steps += 1;
                if !self.step(&mut peer) {
                    break;
                }
            }
            self.count_completions();
        }
    }

    /// A new connection, mostly with everything set up for work.
    fn begin(&mut self) -> Option<Peer> {
        // Whoever is there would be waited behind.
        self.aside.clear();
        self.tails = [0; QUEUES as usize];
        let mut peer = Peer::connect(&self.card.socket(self.function))?;
        self.tally.connections += 1;
        if self.random.one_in(12) {
            return Some(peer);
        }
        peer.version();
        if self.random.one_in(12) {
            return Some(peer);
        }
        self.mapped(&peer.map(3, [0, MEMORY, MEMORY_BYTES], &[self.memory.as_fd()]));
        peer.write(CONFIG, CONFIG_COMMAND, &COMMAND_ON.to_le_bytes());
        self.enable(&mut peer);
        if self.random.one_in(2) {
            let eventfds: Vec<_> = (0..4).map(|_| full_eventfd(&mut self.random)).collect();
            let borrowed: Vec<_> = eventfds.iter().map(AsFd::as_fd).collect();
            peer.set_irqs([0x24, 2, 0, 4], &borrowed);
            self.sent.extend(eventfds);
        }
        for queue in 1..QUEUES as u16 {
            let command = entries::create(&mut self.random, QueueId(queue));
            let id = faam_hwif::CommandId::new(queue, 0);
            self.submit(&mut peer, 0, &command.encode(id).to_bytes());
        }
        Some(peer)
    }

    /// Sets the admin queue up, over whatever there is, and enables the function.
    fn enable(&mut self, peer: &mut Peer) {
        self.write(COMPLETIONS, &[0; 0x800]);
        self.tails = [0; QUEUES as usize];
        let [sq, cq] = [MEMORY, MEMORY + COMPLETIONS];
        let shape = 0xA5A5_FF00 | u32::from(ENTRIES_LOG2);
        for (register, value) in [
            (CardRegister::ControlControl, 0),
            (CardRegister::QueueControlAdminSqLo, sq as u32),
            (CardRegister::QueueControlAdminSqHi, (sq >> 32) as u32),
            (CardRegister::QueueControlAdminCqLo, cq as u32),
            (CardRegister::QueueControlAdminCqHi, (cq >> 32) as u32),
            (CardRegister::QueueControlAdminQueue, shape),
            (CardRegister::ControlControl, 1),
        ] {
            peer.write(BAR0, u64::from(register.offset()), &value.to_le_bytes());
        }
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        // A file that was shrunk, or sealed against writing, takes less.
        let _ = rustix::io::pwrite(&self.memory, bytes, at);
    }

    fn submit(&mut self, peer: &mut Peer, queue: usize, entry: &[u8]) {
        let slot = u64::from(self.tails[queue]) % (1 << ENTRIES_LOG2);
        self.write(queue as u64 * RING_STRIDE + slot * 64, entry);
        self.tails[queue] = self.tails[queue].wrapping_add(1);
        self.tally.entries += 1;
        self.ring(peer, queue);
    }

    /// Tells the card of a queue's tail, in both ways, and that all completions were taken.
    fn ring(&mut self, peer: &mut Peer, queue: usize) {
        let tail = self.tails[queue];
        let shadow = queue as u64 * RING_STRIDE + SHADOW;
        self.write(shadow, &tail.to_le_bytes());
        self.write(shadow + 4, &tail.wrapping_sub(1).to_le_bytes());
        let page = doorbells::Base::RESET + queue as u32 * doorbells::Stride::RESET;
        peer.post_register(page + DOORBELL_CQ_HEAD, tail.wrapping_sub(1));
        peer.post_register(page + DOORBELL_SQ_TAIL, tail);
    }

    /// Completions that lie in the rings: those that are not all zeros.
    fn count_completions(&mut self) {
        for queue in 0..QUEUES {
            let mut ring = vec![0; 32 << ENTRIES_LOG2];
            let at = queue * RING_STRIDE + COMPLETIONS;
            let read = rustix::io::pread(&self.memory, &mut ring, at).unwrap_or(0);
            let written = ring[..read]
                .chunks(32)
                .filter(|entry| entry.iter().any(|byte| *byte != 0));
            self.tally.completions += written.count() as u64;
        }
    }

    /// Whether the connection is still there.
    fn goes_on(&mut self, reply: &Reply) -> bool {
        self.tally.refused += u64::from(*reply == Reply::Refused);
        self.tally.hung_up += u64::from(*reply == Reply::Gone);
        *reply != Reply::Gone
    }

    /// The same, of a map.
    fn mapped(&mut self, reply: &Reply) -> bool {
        self.tally.maps += u64::from(matches!(reply, Reply::Done(_)));
        self.goes_on(reply)
    }

    /// One step. Whether the connection is still there.
    fn step(&mut self, peer: &mut Peer) -> bool {
        match self.random.below(100) {
            0..34 => self.work(peer),
            34..40 => {
                let entry = entries::admin(&mut self.random);
                self.submit(peer, 0, &entry);
                true
            }
            40..46 => self.doorbell(peer),
            46..52 => self.register(peer),
            52..58 => {
                let (at, count) = (self.random.below(MEMORY_BYTES), self.random.below(300));
                let bytes = self.random.bytes(count as usize);
                // Rings and shadow pages as well as data.
                let at = if self.random.one_in(2) { at % DATA } else { at };
                self.write(at, &bytes);
                true
            }
            58..66 => self.map(peer),
            66..71 => self.unmap(peer),
            71..75 => self.file(),
            75..80 => self.interrupts(peer),
            80..84 => self.config(peer),
            84..88 => self.reset(peer),
            88..92 => self.read(peer),
            92..95 => self.message(peer),
            95..97 => {
                // Opened twice, with a word or without.
                if let Some(mut second) = Peer::connect(&self.card.socket(self.function)) {
                    self.tally.connections += 1;
                    if self.random.one_in(2) {
                        let payload = self.random.bytes(8);
                        second.send(&frame(1, peer::VERSION, 0, &payload), &[]);
                    }
                    self.aside.truncate(3);
                    self.aside.push(second);
                }
                true
            }
            97 => {
                self.function ^= 1;
                false
            }
            98 => {
                self.enable(peer);
                true
            }
            // Hangs up in the midst of whatever there is.
            _ => false,
        }
    }

    fn work(&mut self, peer: &mut Peer) -> bool {
        if self.random.one_in(3) {
            let data = entries::data(&mut self.random);
            let at = DATA + self.random.below(MEMORY_BYTES - DATA);
            self.write(at, &data[..data.len().min((MEMORY_BYTES - at) as usize)]);
        }
        let queue = 1 + self.random.below(QUEUES - 1) as usize;
        for _ in 0..=self.random.below(8) {
            let entry = entries::io(&mut self.random);
            self.submit(peer, queue, &entry);
        }
        true
    }

    fn doorbell(&mut self, peer: &mut Peer) -> bool {
        let queue = self.random.below(20) as u32;
        let tail = self.tails.get(queue as usize).copied().unwrap_or(0);
        let value = match self.random.below(4) {
            0 => tail.wrapping_add(self.random.below(80) as u32),
            1 => tail.wrapping_sub(self.random.below(80) as u32),
            _ => self.random.edge() as u32,
        };
        let register = self.random.pick(&[DOORBELL_SQ_TAIL, DOORBELL_CQ_HEAD]);
        let page = doorbells::Base::RESET + queue * doorbells::Stride::RESET;
        peer.post_register(page + register, value)
    }

    fn register(&mut self, peer: &mut Peer) -> bool {
        let offset = match self.random.below(4) {
            0 => self.random.below(BAR_BYTES),
            1 => self.random.edge(),
            _ => self.random.below(0x200) * 4,
        };
        let value = self.random.edge().to_le_bytes();
        let region = self
            .random
            .pick(&[BAR0, BAR0, BAR0, BAR2, CONFIG, 1, 8, 77]);
        let count = self.random.pick(&[4usize, 4, 4, 4, 1, 2, 8]);
        let reply = peer.write(region, offset, &value[..count]);
        self.goes_on(&reply)
    }

    fn map(&mut self, peer: &mut Peer) -> bool {
        let place = 0x2_0000_0000 + self.random.below(64) * 0x10_0000;
        let size = self.random.pick(&[0x1000, 0x2000, 0x10_0000, 0x10_0000]);
        let mut words = [0, place, size];
        let mut flags = self.random.pick(&[1u32, 2, 3, 3, 3]);
        if self.random.one_in(4) {
            let which = self.random.below(3) as usize;
            words[which] = self.random.edge();
        }
        if self.random.one_in(12) {
            flags = self.random.edge() as u32;
        }
        let count = self.random.pick(&[1usize, 1, 1, 1, 1, 1, 0, 2, 16]);
        let fds: Vec<_> = (0..count).map(|_| self.any_file()).collect();
        let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        let reply = peer.map(flags, words, &borrowed);
        self.sent.extend(fds);
        self.sent.truncate(32);
        self.mapped(&reply)
    }

    /// Memory mostly; else what is none, or cannot be had.
    fn any_file(&mut self) -> OwnedFd {
        match self.random.below(12) {
            0 => eventfd(0, EventfdFlags::CLOEXEC).unwrap(),
            1 => rustix::pipe::pipe().unwrap().0,
            2 => open("/dev/zero", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).unwrap(),
            3 => open("/", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap(),
            4 => open(
                "/proc/self/maps",
                OFlags::RDONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .unwrap(),
            5 => memory(
                self.random.pick(&[0, 1, 4095, 1 << 37]),
                self.random.one_in(2),
            ),
            n => memory(0x10_0000, n % 2 == 0),
        }
    }

    fn unmap(&mut self, peer: &mut Peer) -> bool {
        let reply = match self.random.below(6) {
            // Under what is at work.
            0 => peer.unmap(0, MEMORY, MEMORY_BYTES),
            1 => peer.unmap(2, 0, 0),
            2 => peer.unmap(
                self.random.edge() as u32,
                self.random.edge(),
                self.random.edge(),
            ),
            _ => {
                let place = 0x2_0000_0000 + self.random.below(64) * 0x10_0000;
                peer.unmap(0, place, self.random.pick(&[0x1000, 0x10_0000, 0x20_0000]))
            }
        };
        self.tally.unmaps += u64::from(matches!(reply, Reply::Done(_)));
        let there = self.goes_on(&reply);
        // Mostly it comes back: there is more to break with memory than without.
        if there && self.random.one_in(2) {
            let again = peer.map(3, [0, MEMORY, MEMORY_BYTES], &[self.memory.as_fd()]);
            return again != Reply::Gone;
        }
        there
    }

    /// Does something to a file that the card may have mapped.
    fn file(&mut self) -> bool {
        let other = match self.sent.is_empty() {
            true => 0,
            false => self.random.below(self.sent.len() as u64) as usize,
        };
        let file = match self.random.one_in(2) {
            true => &self.memory,
            false => self.sent.get(other).unwrap_or(&self.memory),
        };
        match self.random.below(4) {
            // What is sealed refuses.
            0 => {
                let shrunk = ftruncate(file, self.random.below(0x4000)).is_ok();
                self.tally.shrunk += u64::from(shrunk);
            }
            1 => {
                let _ = ftruncate(file, MEMORY_BYTES);
            }
            2 => {
                let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                let _ = fallocate(file, hole, 0, 0x4_0000);
            }
            _ => {
                let _ = fcntl_add_seals(file, SealFlags::SHRINK);
            }
        }
        true
    }

    fn interrupts(&mut self, peer: &mut Peer) -> bool {
        let count = self.random.below(6);
        let fds: Vec<_> = (0..count)
            .map(|_| match self.random.one_in(3) {
                true => self.any_file(),
                false => full_eventfd(&mut self.random),
            })
            .collect();
        let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        let reply = match self.random.one_in(2) {
            true => peer.set_irqs([0x24, 2, 0, count as u32], &borrowed),
            false => {
                let flags = self
                    .random
                    .pick(&[0x21, 0x22, 0x24, 0x09, 0x11, 0x0A, 0xFFFF]);
                let index = self.random.pick(&[2, 2, 2, 0, 1, 4, 9]);
                let start = self.random.pick(&[0, 1, 16, 17, u32::MAX]);
                peer.set_irqs([flags, index, start, count as u32], &borrowed)
            }
        };
        self.sent.extend(fds);
        self.sent.truncate(32);
        self.goes_on(&reply)
    }

    fn config(&mut self, peer: &mut Peer) -> bool {
        let reply = match self.random.below(3) {
            0 => {
                let command = self.random.pick(&[0u16, 2, 4, 6, 0x406, 0xFFFF]);
                peer.write(CONFIG, CONFIG_COMMAND, &command.to_le_bytes())
            }
            1 => peer.write(CONFIG, CONFIG_COMMAND, &COMMAND_ON.to_le_bytes()),
            _ => {
                let value = self.random.edge().to_le_bytes();
                let count = self.random.pick(&[1usize, 2, 4, 8]);
                peer.write(CONFIG, self.random.below(4200), &value[..count])
            }
        };
        self.goes_on(&reply)
    }

    fn reset(&mut self, peer: &mut Peer) -> bool {
        let reply = match self.random.below(3) {
            0 => peer.request(peer::DEVICE_RESET, &[], &[]),
            1 => {
                let register = CardRegister::ControlReset.offset();
                peer.write(BAR0, u64::from(register), &1u32.to_le_bytes())
            }
            _ => match express(peer) {
                Some(at) => peer.write(CONFIG, at + DEVICE_CONTROL, &START_FLR.to_le_bytes()),
                None => Reply::Refused,
            },
        };
        self.tally.resets += u64::from(matches!(reply, Reply::Done(_)));
        if self.random.one_in(2) {
            peer.write(CONFIG, CONFIG_COMMAND, &COMMAND_ON.to_le_bytes());
            self.enable(peer);
        }
        self.goes_on(&reply)
    }

    fn read(&mut self, peer: &mut Peer) -> bool {
        let region = self.random.pick(&[BAR0, BAR2, CONFIG, 3, 99]);
        let offset = match self.random.one_in(3) {
            true => self.random.edge(),
            false => self.random.below(BAR_BYTES),
        };
        let count = self.random.pick(&[4, 4, 1, 3, 0, 4096, 1 << 20, u32::MAX]);
        let reply = peer.read(region, offset, count);
        self.goes_on(&reply)
    }

    /// A message that is any: known numbers and lengths that fit, mostly.
    fn message(&mut self, peer: &mut Peer) -> bool {
        let command = self
            .random
            .pick(&[1u16, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 16, 40]);
        let count = self.random.below(80) as usize;
        let payload = self.random.bytes(count);
        if self.random.one_in(3) {
            // As bytes, perhaps less than it says, and then it is over: the rest would be waited for.
            let flags = self.random.edge() as u32;
            let mut bytes = frame(self.random.next() as u16, command, flags, &payload);
            if self.random.one_in(2) {
                bytes[4..8].copy_from_slice(&(self.random.edge() as u32).to_le_bytes());
            }
            let keep = 1 + self.random.below(bytes.len() as u64) as usize;
            peer.send(&bytes[..keep], &[]);
            return false;
        }
        let reply = peer.request(command, &payload, &[]);
        self.goes_on(&reply)
    }
}

/// Where the Express capability is, if there is a list that leads to one.
fn express(peer: &mut Peer) -> Option<u64> {
    let mut byte = |at: u64| match peer.read(CONFIG, at, 1) {
        Reply::Done(reply) => reply.get(16).copied(),
        Reply::Refused | Reply::Gone => None,
    };
    let mut at = byte(CONFIG_CAPABILITIES)?;
    for _ in 0..48 {
        match (at, byte(u64::from(at))?) {
            (0, _) => return None,
            (_, CAPABILITY_EXPRESS) => return Some(u64::from(at)),
            _ => at = byte(u64::from(at) + 1)?,
        }
    }
    None
}

/// Memory of so many bytes; sealed against shrinking, or not.
fn memory(bytes: u64, sealed: bool) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = memfd_create("hostile", flags).unwrap();
    ftruncate(&fd, bytes).unwrap();
    if sealed {
        fcntl_add_seals(&fd, SealFlags::SHRINK).unwrap();
    }
    fd
}

/// An eventfd, with room for counts or without: then a write blocks, unless it was asked not to.
fn full_eventfd(random: &mut Random) -> OwnedFd {
    let fd = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    if random.one_in(2) {
        let _ = rustix::io::write(&fd, &(u64::MAX - 1).to_ne_bytes());
    }
    fd
}
