//! The queues of a function, as its hostile card sees them: the host's memory on one side, a sound card's on the other.
//!
//! Owns a copy of each queue's memory, which the sound card works on. Invariant: nothing that the sound card writes to a queue
//! reaches the host but by [`Queues::look`], where lies are told. The arena is the host's own, and is scribbled on in place.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use faam_hwif::admin::AdminCommand;
use faam_hwif::completion::{COMPLETION_BYTES, PHASE_WORD_OFFSET};
use faam_hwif::doorbell::{SHADOW_CQ_HEAD, SHADOW_SQ_EVENT, SHADOW_SQ_TAIL};
use faam_hwif::submission::SUBMISSION_BYTES;
use faam_hwif::{
    CommandId, CompletionEntry, Iova, QueueEntries, QueueEpoch, Status, SubmissionEntry,
};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use super::lies::{Character, Told};
use crate::dice::Dice;

/// A map that is no longer is a queue's, a longer one is the arena.
const QUEUE_BYTES_MAX: u64 = 2 << 20;
/// Commands of which is remembered where their results go.
const COMMANDS_MAX: usize = 4096;
/// Bytes of a shadow page's line.
const LINE_BYTES: usize = 128;
/// Interrupts of a flood.
const FLOOD_INTERRUPTS: u64 = 5_000;
/// Completions of one look.
const LOOK_COMPLETIONS_MAX: u32 = 64;

/// Memory that the host mapped.
struct Map {
    iova: u64,
    bytes: u64,
    host: File,
    host_offset: u64,
    /// The sound card's copy, of a queue's memory.
    copy: Option<File>,
}

/// A queue pair.
struct Queue {
    sq: u64,
    cq: u64,
    shadow: Option<u64>,
    entries: QueueEntries,
    epoch: QueueEpoch,
    vector: usize,
    /// Submissions copied, completions taken from the sound card, completions given to the host.
    tail: u32,
    taken: u32,
    given: u32,
    /// A completion that is held back until after the next one.
    held: Option<CompletionEntry>,
    /// The last one that was given.
    last: CompletionEntry,
}

/// See the module's head.
#[derive(Default)]
pub(super) struct Queues {
    maps: Vec<Map>,
    queues: BTreeMap<u16, Queue>,
    interrupts: Vec<OwnedFd>,
    /// Where results of commands go, by queue and id.
    results: BTreeMap<(u16, u16), (u64, u32)>,
    admin_sq: u64,
    admin_cq: u64,
}

impl Queues {
    /// The host maps memory: what the sound card is given in its place.
    pub(super) fn map(
        &mut self,
        iova: u64,
        bytes: u64,
        offset: u64,
        fd: OwnedFd,
    ) -> (OwnedFd, u64) {
        let host = File::from(fd);
        let given = |file: &File| file.as_fd().try_clone_to_owned();
        let copy = (bytes <= QUEUE_BYTES_MAX)
            .then(|| new_memory(bytes))
            .flatten();
        let for_card = match &copy {
            Some(copy) => given(copy).map(|fd| (fd, 0)),
            None => given(&host).map(|fd| (fd, offset)),
        };
        self.maps.push(Map {
            iova,
            bytes,
            host,
            host_offset: offset,
            copy,
        });
        for_card.expect("a descriptor to spare")
    }

    pub(super) fn unmap(&mut self, iova: u64) {
        self.maps.retain(|map| map.iova != iova);
        let gone = |queue: &Queue| queue.sq == iova;
        self.queues.retain(|_, queue| !gone(queue));
    }

    /// The host gives eventfds: those that the sound card is given in their place, which nobody waits for.
    pub(super) fn set_interrupts(&mut self, fds: Vec<OwnedFd>) -> Vec<OwnedFd> {
        let others = fds
            .iter()
            .map(|_| eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC));
        let others = others
            .collect::<Result<_, _>>()
            .expect("descriptors to spare");
        self.interrupts = fds;
        others
    }

    /// The host wrote a register.
    pub(super) fn note_write(&mut self, offset: u64, value: u32) {
        use faam_hwif::regs::queue_control;
        match offset {
            0x308 => self.admin_sq = u64::from(value),
            0x30C => self.admin_sq |= u64::from(value) << 32,
            0x310 => self.admin_cq = u64::from(value),
            0x314 => self.admin_cq |= u64::from(value) << 32,
            0x318 => {
                let shape = queue_control::AdminQueue(value);
                let log2 = u8::try_from(shape.entries_log2()).unwrap_or(0);
                let epoch = u16::try_from(shape.epoch()).unwrap_or(0);
                if let Some(entries) = QueueEntries::from_log2(log2) {
                    let queue = Queue::new(self.admin_sq, self.admin_cq, None, entries, epoch, 0);
                    self.queues.insert(0, queue);
                }
            }
            _ => {}
        }
    }

    /// Copies what the host has written to its queues since. Whether there was anything.
    pub(super) fn take_submissions(&mut self) -> bool {
        let mut created = Vec::new();
        let mut any = false;
        for (number, queue) in &mut self.queues {
            // Without a shadow page the host's tail is not known: the whole ring is looked at.
            let tail = match queue.shadow {
                Some(shadow) => match word(&self.maps, shadow + u64::from(SHADOW_SQ_TAIL)) {
                    Some(tail) => tail,
                    None => continue,
                },
                None => queue.tail.wrapping_add(queue.entries.count()),
            };
            let count = tail.wrapping_sub(queue.tail).min(queue.entries.count());
            for n in 0..count {
                let slot = u64::from(queue.entries.slot(queue.tail.wrapping_add(n)));
                let at = queue.sq + slot * SUBMISSION_BYTES as u64;
                let Some(bytes) = read::<SUBMISSION_BYTES>(&self.maps, at) else {
                    continue;
                };
                write_copy(&self.maps, at, &bytes);
                let entry = SubmissionEntry::from_bytes(&bytes);
                if *number == 0
                    && let Ok(AdminCommand::CreateQueue {
                        queue,
                        entries,
                        sq,
                        cq,
                        shadow,
                        vector,
                        epoch,
                    }) = AdminCommand::decode(&entry)
                {
                    let shadow = shadow.map(|Iova(shadow)| shadow);
                    let vector = usize::from(vector.unwrap_or(0));
                    created.push((
                        queue.0,
                        Queue::new(sq.0, cq.0, shadow, entries, epoch.0, vector),
                    ));
                }
                // A place of the ring that was never written is no command.
                if entry.dst == 0 {
                    continue;
                }
                if self.results.len() >= COMMANDS_MAX {
                    self.results.pop_first();
                }
                self.results
                    .insert((*number, entry.cid), (entry.dst, entry.dst_cap));
            }
            if let Some(shadow) = queue.shadow {
                any |= count > 0;
                queue.tail = tail;
                // The host's line, behind the entries that it announces.
                if let Some(line) = read::<LINE_BYTES>(&self.maps, shadow) {
                    let mut line = line;
                    // The sound card's completions that were swallowed or doubled are its own business.
                    let head = SHADOW_CQ_HEAD as usize;
                    line[head..head + 4].copy_from_slice(&queue.taken.to_le_bytes());
                    write_copy(&self.maps, shadow, &line);
                }
            }
        }
        for (number, queue) in created {
            // The command stays in the ring and is seen again: the queue is made once.
            let known = self.queues.get(&number);
            if known.is_none_or(|known| known.sq != queue.sq || known.epoch != queue.epoch) {
                self.queues.insert(number, queue);
            }
        }
        any
    }

    /// Gives the host what the sound card has completed, as this character does; how many completions that were.
    pub(super) fn look(&mut self, character: &Character, dice: &mut Dice, told: &Told) -> u64 {
        let lies = |dice: &mut Dice, per_mille: u64| dice.below(1000) < per_mille;
        let mut given = 0;
        for (number, queue) in &mut self.queues {
            if let Some(shadow) = queue.shadow {
                let at = shadow + u64::from(SHADOW_SQ_EVENT);
                if let Some(event) = word_of_copy(&self.maps, at) {
                    write(&self.maps, at, &event.to_le_bytes());
                }
            }
            for _ in 0..LOOK_COMPLETIONS_MAX {
                let slot = u64::from(queue.entries.slot(queue.taken));
                let at = queue.cq + slot * COMPLETION_BYTES as u64;
                let phase_at = at + PHASE_WORD_OFFSET as u64;
                let due = queue.entries.phase(queue.taken);
                match word_of_copy(&self.maps, phase_at) {
                    Some(word) if CompletionEntry::phase_of_word(word) == due => {}
                    _ => break,
                }
                let Some(bytes) = read_copy::<COMPLETION_BYTES>(&self.maps, at) else {
                    break;
                };
                queue.taken = queue.taken.wrapping_add(1);
                given += 1;
                let entry = CompletionEntry::from_bytes(&bytes);
                let result = self.results.get(&(*number, entry.cid)).copied();
                if let Some((dst, room)) = result {
                    pass_on(&self.maps, dst, room.min(entry.out_len));
                }
                let forge = |dice: &mut Dice| {
                    if let Some((dst, room)) = result {
                        scribble(
                            &self.maps,
                            dice,
                            dst,
                            u64::from(room).min(entry.out_len.into()),
                        );
                    }
                };
                let forges = lies(dice, character.results);
                if forges && dice.percent(50) {
                    told.lie("result changed before its completion");
                    forge(dice);
                }
                queue.complete(&self.maps, &entry, character, dice, told);
                if let Some(interrupt) = self.interrupts.get(queue.vector) {
                    // A full counter is as good as one more.
                    let _ = rustix::io::write(interrupt, &1u64.to_ne_bytes());
                }
                if forges {
                    told.lie("result changed after its completion");
                    forge(dice);
                }
            }
        }
        if lies(dice, character.scribbles) && !self.maps.is_empty() {
            told.lie("scribbled on memory");
            let map = dice.pick(&self.maps);
            scribble(&self.maps, dice, map.iova, map.bytes);
        }
        if lies(dice, character.floods) && !self.interrupts.is_empty() {
            told.lie("flood of interrupts");
            let interrupt = dice.pick(&self.interrupts);
            for _ in 0..FLOOD_INTERRUPTS {
                let _ = rustix::io::write(interrupt, &1u64.to_ne_bytes());
            }
        }
        given
    }
}

impl Queue {
    fn new(
        sq: u64,
        cq: u64,
        shadow: Option<u64>,
        entries: QueueEntries,
        epoch: u16,
        vector: usize,
    ) -> Self {
        Self {
            sq,
            cq,
            shadow,
            entries,
            epoch: QueueEpoch(epoch),
            vector,
            tail: 0,
            taken: 0,
            given: 0,
            held: None,
            last: CompletionEntry::default(),
        }
    }

    /// Gives the host a completion, or something else in its place.
    fn complete(
        &mut self,
        maps: &[Map],
        entry: &CompletionEntry,
        character: &Character,
        dice: &mut Dice,
        told: &Told,
    ) {
        if dice.below(1000) < character.garbage {
            match dice.below(5) {
                0 => told.lie("completion swallowed"),
                1 => {
                    told.lie("completion of random bytes");
                    let mut bytes = [0; COMPLETION_BYTES];
                    bytes.fill_with(|| dice.next().to_le_bytes()[0]);
                    let phase = u8::from(self.entries.phase(self.given));
                    bytes[PHASE_WORD_OFFSET + 2] = bytes[PHASE_WORD_OFFSET + 2] & !1 | phase;
                    self.write(maps, &bytes, false);
                }
                2 => {
                    told.lie("completion torn");
                    let bytes = self.sealed(*entry).to_bytes();
                    self.write(maps, &bytes, true);
                }
                3 => {
                    told.lie("completion twice");
                    self.give(maps, *entry);
                    self.give(maps, *entry);
                }
                _ => {
                    told.lie("completion held back");
                    self.held = Some(*entry);
                }
            }
            return;
        }
        let mut entry = *entry;
        if dice.below(1000) < character.completions {
            let random = u32::try_from(dice.next() >> 32).unwrap_or(0);
            match dice.below(10) {
                0 => {
                    told.lie("completion: another output length");
                    entry.out_len = match dice.below(4) {
                        0 => 0,
                        1 => entry.out_len.wrapping_sub(1),
                        2 => entry.out_len.wrapping_add(1),
                        _ => random,
                    };
                }
                1 => {
                    told.lie("completion: another input length");
                    entry.in_len = if dice.percent(50) {
                        random
                    } else {
                        entry.in_len / 2
                    };
                }
                2 => {
                    told.lie("completion: another checksum");
                    entry.crc32 ^= random;
                    entry.adler32 = random;
                }
                3 => {
                    told.lie("completion: other cycles");
                    entry.cycles = if dice.percent(50) { u32::MAX } else { random };
                }
                4 => {
                    told.lie("completion: other info");
                    entry.info = random;
                }
                5 => {
                    told.lie("completion: another head");
                    entry.sq_head = random.to_le_bytes()[..2]
                        .try_into()
                        .map_or(0, u16::from_le_bytes);
                }
                6 => {
                    told.lie("completion: another slot");
                    entry.cid = random.to_le_bytes()[..2]
                        .try_into()
                        .map_or(0, u16::from_le_bytes);
                }
                7 => {
                    told.lie("completion: another generation");
                    let id = CommandId(entry.cid);
                    entry.cid = CommandId::new(id.slot(), id.generation().wrapping_add(63)).0;
                }
                8 => {
                    told.lie("completion: the one before");
                    entry = self.last;
                }
                _ => {
                    told.lie("completion: another status");
                    let status = *dice.pick(&Status::ALL);
                    entry.status_phase = status.bits() << 1;
                    if dice.percent(20) {
                        entry.status_phase = random.to_le_bytes()[..2]
                            .try_into()
                            .map_or(0, u16::from_le_bytes);
                    }
                }
            }
        }
        self.give(maps, entry);
        if let Some(held) = self.held.take() {
            self.give(maps, held);
        }
    }

    /// With the phase that is due, and the check field that makes it look true.
    fn sealed(&self, mut entry: CompletionEntry) -> CompletionEntry {
        let phase = u16::from(self.entries.phase(self.given));
        entry.status_phase = entry.status_phase & !1 | phase;
        entry.check = entry.expected_check(self.epoch);
        entry
    }

    fn give(&mut self, maps: &[Map], entry: CompletionEntry) {
        let entry = self.sealed(entry);
        self.last = entry;
        self.write(maps, &entry.to_bytes(), false);
    }

    fn write(&mut self, maps: &[Map], bytes: &[u8; COMPLETION_BYTES], phase_first: bool) {
        let slot = u64::from(self.entries.slot(self.given));
        let at = self.cq + slot * COMPLETION_BYTES as u64;
        let (body, phase) = bytes.split_at(PHASE_WORD_OFFSET);
        let phase_at = at + PHASE_WORD_OFFSET as u64;
        if phase_first {
            write(maps, phase_at, phase);
            std::thread::yield_now();
        }
        write(maps, at, body);
        write(maps, phase_at, phase);
        self.given = self.given.wrapping_add(1);
    }
}

fn new_memory(bytes: u64) -> Option<File> {
    let fd = memfd_create("hostile-queue", MemfdFlags::CLOEXEC).ok()?;
    ftruncate(&fd, bytes).ok()?;
    Some(File::from(fd))
}

/// The map that has these bytes, and where in it they are.
fn find(maps: &[Map], at: u64, bytes: usize) -> Option<(&Map, u64)> {
    let map = maps.iter().find(|map| {
        let offset = at.checked_sub(map.iova);
        let end = offset.and_then(|offset| offset.checked_add(bytes as u64));
        end.is_some_and(|end| end <= map.bytes)
    })?;
    Some((map, at - map.iova))
}

fn read<const N: usize>(maps: &[Map], at: u64) -> Option<[u8; N]> {
    let (map, offset) = find(maps, at, N)?;
    let mut bytes = [0; N];
    let read = map.host.read_exact_at(&mut bytes, map.host_offset + offset);
    read.ok().map(|()| bytes)
}

fn read_copy<const N: usize>(maps: &[Map], at: u64) -> Option<[u8; N]> {
    let (map, offset) = find(maps, at, N)?;
    let mut bytes = [0; N];
    map.copy.as_ref()?.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

fn word(maps: &[Map], at: u64) -> Option<u32> {
    read(maps, at).map(u32::from_le_bytes)
}

fn word_of_copy(maps: &[Map], at: u64) -> Option<u32> {
    read_copy(maps, at).map(u32::from_le_bytes)
}

/// Memory that has gone is no reason to stop.
fn write(maps: &[Map], at: u64, bytes: &[u8]) {
    if let Some((map, offset)) = find(maps, at, bytes.len()) {
        let _ = map.host.write_all_at(bytes, map.host_offset + offset);
    }
}

fn write_copy(maps: &[Map], at: u64, bytes: &[u8]) {
    if let Some((map, offset)) = find(maps, at, bytes.len())
        && let Some(copy) = &map.copy
    {
        let _ = copy.write_all_at(bytes, offset);
    }
}

/// What the sound card wrote to a queue's memory beside the rings: structures that admin commands ask for.
fn pass_on(maps: &[Map], at: u64, bytes: u32) {
    let mut structure = vec![0; usize::try_from(bytes).unwrap_or(0)];
    if let Some((map, offset)) = find(maps, at, structure.len())
        && let Some(copy) = &map.copy
        && copy.read_exact_at(&mut structure, offset).is_ok()
    {
        write(maps, at, &structure);
    }
}

/// Writes some random bytes somewhere in this range.
fn scribble(maps: &[Map], dice: &mut Dice, at: u64, bytes: u64) {
    if bytes == 0 {
        return;
    }
    for _ in 0..dice.between(1, 4) {
        let mut noise = [0; 8];
        noise.fill_with(|| dice.next().to_le_bytes()[0]);
        let count = usize::try_from(dice.between(1, 8).min(bytes)).unwrap_or(1);
        let start = at + dice.below(bytes - count as u64 + 1);
        write(maps, start, &noise[..count]);
    }
}
