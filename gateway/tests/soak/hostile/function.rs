//! A function of a hostile card: between a gateway and a sound simulated card, it passes on what each says, or lies.
//!
//! Owns one socket and the connections to it, one at a time. Invariants: every message is of the protocol's form, every lie is
//! drawn from the seed; it ends when it is told to, whatever it waits for.

use std::io::Result;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::frames::{
    DMA_MAP, DMA_UNMAP, HEADER_BYTES, Message, REGION_READ, REGION_WRITE, SET_IRQS,
};
use super::lies::{Character, Told};
use super::queues::Queues;
use crate::dice::Dice;

/// Pause between two looks at queues with nothing in them.
const LOOK: Duration = Duration::from_micros(200);
/// How long nothing is done, where that is the lie: more than the gateway's limits, which are about a second.
const STALL: Duration = Duration::from_millis(1_600);
/// How late an answer is, where that is the lie.
const LATE: [Duration; 3] = [
    Duration::from_millis(5),
    Duration::from_millis(200),
    Duration::from_millis(1_200),
];
/// BAR0, and where its doorbells begin at the earliest.
const BAR0: u32 = 0;
const DOORBELLS_FROM: u64 = 0x1000;
/// How often a wait looks whether all is over.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// What all functions share.
pub(super) struct Stage<'a> {
    pub(super) told: &'a Told,
    pub(super) over: &'a AtomicBool,
    pub(super) seed: u64,
}

/// One connection.
struct Session<'a> {
    stage: &'a Stage<'a>,
    character: Character,
    queues: Mutex<Queues>,
    messages: AtomicU64,
    completions: AtomicU64,
    /// Where the host last rang.
    bell: AtomicU64,
    ended: AtomicBool,
}

/// Serves `socket` before the sound function at `sound`, until all is over.
pub(super) fn serve(stage: &Stage<'_>, number: u64, socket: &Path, sound: &Path) {
    let listener = UnixListener::bind(socket).expect("a socket of its own");
    let sound = PathBuf::from(sound);
    for connection in 0u64.. {
        let waiting = || !stage.over.load(Ordering::Relaxed);
        while waiting() && !readable(&listener) {}
        if !waiting() {
            return;
        }
        let (Ok((host, _)), Ok(card)) = (listener.accept(), UnixStream::connect(&sound)) else {
            continue;
        };
        let mut dice = Dice::new(stage.seed, connection * 2 + number);
        let session = Session {
            stage,
            character: Character::draw(&mut dice),
            queues: Mutex::default(),
            messages: AtomicU64::new(0),
            completions: AtomicU64::new(0),
            bell: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        };
        stage.told.note("connections");
        stage
            .told
            .note(&format!("connections: {}", session.character.name));
        std::thread::scope(|scope| {
            let pump_dice = Dice::new(stage.seed, (1 << 40) + connection * 2 + number);
            scope.spawn(|| session.pump(&card, pump_dice));
            // However it ended: the host sees it end.
            let _ = session.converse(&host, &card, &mut dice);
            session.ended.store(true, Ordering::Relaxed);
            drop(host);
        });
    }
}

fn readable(listener: &UnixListener) -> bool {
    let mut ready = [PollFd::new(listener, PollFlags::IN)];
    poll(&mut ready, Some(&TICK)).is_ok() && !ready[0].revents().is_empty()
}

impl Session<'_> {
    fn is_over(&self) -> bool {
        self.ended.load(Ordering::Relaxed) || self.stage.over.load(Ordering::Relaxed)
    }

    /// Whether the sound part of this connection is behind it.
    fn lies(&self) -> bool {
        let done = |count: &AtomicU64, sound: u64| count.load(Ordering::Relaxed) >= sound;
        done(&self.messages, self.character.sound_messages)
            || done(&self.completions, self.character.sound_completions)
    }

    /// Gives the host its completions.
    fn pump(&self, card: &UnixStream, mut dice: Dice) {
        let sound = Character::default();
        while !self.is_over() {
            let lies = self.lies();
            let character = if lies { &self.character } else { &sound };
            if dice.below(1000) < character.stalls {
                self.stage.told.lie("nothing for a while");
                self.pause(STALL);
            }
            let (taken, given) = {
                let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
                let taken = queues.take_submissions();
                let given = queues.look(character, &mut dice, self.stage.told);
                (taken, given)
            };
            if taken && self.bell.load(Ordering::Relaxed) > 0 {
                // The sound card may sleep: it is rung once more, in case the host's own ring came before the copy.
                let bell = self.bell.load(Ordering::Relaxed);
                let _ = Message::poke(BAR0, bell, 0).send(card, usize::MAX);
            }
            self.completions.fetch_add(given, Ordering::Relaxed);
            if !taken && given == 0 {
                std::thread::park_timeout(LOOK);
            }
        }
    }

    fn pause(&self, limit: Duration) {
        let until = std::time::Instant::now() + limit;
        while !self.is_over() && std::time::Instant::now() < until {
            std::thread::park_timeout(LOOK.max(Duration::from_millis(5)));
        }
    }

    fn converse(&self, host: &UnixStream, card: &UnixStream, dice: &mut Dice) -> Result<()> {
        let over = || self.is_over();
        loop {
            let mut message = Message::receive(host, &over)?;
            self.messages.fetch_add(1, Ordering::Relaxed);
            self.stage.told.note("messages");
            let lies = self.lies();
            let told = self.stage.told;
            if lies && dice.below(1000) < self.character.hang_ups {
                told.lie("hung up before an answer");
                return Ok(());
            }
            self.pass_in(&mut message);
            message.send(card, usize::MAX)?;
            if !message.wants_reply() {
                continue;
            }
            let mut reply = Message::receive(card, &over)?;
            if lies {
                self.lie_in(&message, &mut reply, dice);
            }
            if !lies || dice.below(1000) >= self.character.replies {
                reply.send(host, usize::MAX)?;
            } else if !self.lie_by(&mut reply, host, dice)? {
                return Ok(());
            }
            if lies && dice.below(1000) < self.character.hang_ups {
                told.lie("hung up after an answer");
                return Ok(());
            }
        }
    }

    /// What the host says, as the sound card gets it.
    fn pass_in(&self, message: &mut Message) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        match message.command() {
            DMA_MAP => {
                // argsz u32, flags u32, offset u64, address u64, size u64
                let (offset, iova, bytes) = (message.u64(24), message.u64(32), message.u64(40));
                if let Some(fd) = message.fds.pop() {
                    let (fd, offset) = queues.map(iova, bytes, offset, fd);
                    message.fds.push(fd);
                    let [low, high] = [offset, offset >> 32]
                        .map(|half| u32::try_from(half & u64::from(u32::MAX)).unwrap_or(0));
                    message.set_u32(24, low);
                    message.set_u32(28, high);
                }
            }
            DMA_UNMAP => queues.unmap(message.u64(24)),
            SET_IRQS if !message.fds.is_empty() => {
                let fds = std::mem::take(&mut message.fds);
                message.fds = queues.set_interrupts(fds);
            }
            REGION_WRITE if message.u32(24) == BAR0 => {
                // offset u64, region u32, count u32, data
                let (offset, value) = (message.u64(16), message.u32(32));
                queues.note_write(offset, value);
                queues.take_submissions();
                if offset > DOORBELLS_FROM {
                    self.bell.fetch_max(offset, Ordering::Relaxed);
                }
            }
            _ => {}
        }
    }

    /// Other contents in a reply of the right form.
    fn lie_in(&self, message: &Message, reply: &mut Message, dice: &mut Dice) {
        if message.command() != REGION_READ || dice.below(1000) >= self.character.registers {
            return;
        }
        let value = match dice.below(5) {
            0 => u32::MAX,
            1 => 0,
            2 => reply.u32(32).wrapping_add(1),
            3 => reply.u32(32) ^ 1 << dice.below(32),
            _ => u32::try_from(dice.next() >> 32).unwrap_or(0),
        };
        self.stage.told.lie("register read as another value");
        reply.set_u32(32, value);
    }

    /// A reply that is another than the one that is due, or none; `false`: the connection ends.
    fn lie_by(&self, reply: &mut Message, host: &UnixStream, dice: &mut Dice) -> Result<bool> {
        let told = self.stage.told;
        let random = u32::try_from(dice.next() >> 32).unwrap_or(0);
        match dice.below(11) {
            0 => {
                told.lie("answer with another id");
                reply.set_u32(0, reply.u32(0) ^ 1 << dice.below(16));
            }
            1 => {
                told.lie("answer to another command");
                reply.set_u32(0, reply.u32(0) ^ 1 << dice.between(16, 31));
            }
            2 => {
                told.lie("error for an answer");
                reply.set_u32(8, 1 | 1 << 5);
                reply.set_u32(12, random % 200);
            }
            3 => {
                told.lie("answer of another type");
                reply.set_u32(8, random);
            }
            4 => {
                told.lie("answer that claims to be longer");
                reply.set_u32(4, reply.u32(4).saturating_add(random % 10_000));
            }
            5 => {
                told.lie("answer too long");
                let more = usize::try_from(dice.below(200_000)).unwrap_or(0);
                reply.bytes.resize(reply.bytes.len() + more, 0xA5);
                reply.set_u32(4, u32::try_from(reply.bytes.len()).unwrap_or(u32::MAX));
            }
            6 => {
                told.lie("answer twice");
                reply.send(host, usize::MAX)?;
            }
            7 => {
                told.lie("answer late");
                self.pause(*dice.pick(&LATE));
            }
            8 => {
                told.lie("no answer");
                return Ok(true);
            }
            9 => {
                told.lie("hung up in the middle of an answer");
                let part = usize::try_from(dice.below(HEADER_BYTES as u64 + 16)).unwrap_or(0);
                reply.send(host, part)?;
                return Ok(false);
            }
            _ => {
                told.lie("answer with descriptors and other contents");
                for _ in 0..dice.between(1, 8) {
                    reply.fds.extend(host.try_clone().map(Into::into));
                }
                for at in HEADER_BYTES..reply.bytes.len() {
                    if dice.percent(20) {
                        reply.bytes[at] = dice.next().to_le_bytes()[0];
                    }
                }
            }
        }
        reply.send(host, usize::MAX)?;
        Ok(true)
    }
}
