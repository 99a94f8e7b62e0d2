//! Which lies a card tells on one connection.
//!
//! Owns the choice and the tally. Invariant: a connection's character is drawn when it begins, so that some are sound long
//! enough to come into service, and some are not for a moment. It does not know how a lie is told.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::dice::Dice;

/// Lies of so many in a thousand.
#[derive(Clone, Debug, Default)]
pub(super) struct Character {
    pub(super) name: &'static str,
    /// Messages that are answered soundly first.
    pub(super) sound_messages: u64,
    /// Completions that are given soundly first: what comes earlier ends it.
    pub(super) sound_completions: u64,
    /// Of replies: another id, command, size, an error, twice, late, never, too long, cut, with descriptors.
    pub(super) replies: u64,
    /// Of registers read: another value.
    pub(super) registers: u64,
    /// Of messages: the connection ends before, in the middle of, or behind the answer.
    pub(super) hang_ups: u64,
    /// Of completions: other contents, sealed as if they were true.
    pub(super) completions: u64,
    /// Of completions: bytes that nobody sealed, or in another order.
    pub(super) garbage: u64,
    /// Of results: other bytes in the output, before or after its completion.
    pub(super) results: u64,
    /// Of looks at the queues: writes anywhere in the memory that was given.
    pub(super) scribbles: u64,
    /// Of looks at the queues: interrupts by the thousand.
    pub(super) floods: u64,
    /// Of looks at the queues: nothing is done for a while.
    pub(super) stalls: u64,
}

impl Character {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        let mut drawn = match dice.below(9) {
            0 => Self {
                name: "liar by message",
                replies: 20,
                registers: 20,
                ..Self::default()
            },
            1 => Self {
                name: "liar by register",
                registers: 300,
                ..Self::default()
            },
            2 => Self {
                name: "hangs up",
                hang_ups: 30,
                ..Self::default()
            },
            3 => Self {
                name: "liar by completion",
                completions: 300,
                ..Self::default()
            },
            4 => Self {
                name: "babbler",
                garbage: 200,
                ..Self::default()
            },
            5 => Self {
                name: "forger of results",
                results: 500,
                ..Self::default()
            },
            6 => Self {
                name: "scribbler",
                scribbles: 50,
                results: 50,
                ..Self::default()
            },
            7 => Self {
                name: "storm",
                floods: 5,
                stalls: 2,
                ..Self::default()
            },
            _ => Self {
                name: "all of them",
                replies: 5,
                registers: 10,
                hang_ups: 3,
                completions: 50,
                garbage: 20,
                results: 100,
                scribbles: 5,
                floods: 2,
                stalls: 1,
                ..Self::default()
            },
        };
        // Nothing at all before it lies; or identity, bring-up and self-test; or some load too.
        (drawn.sound_messages, drawn.sound_completions) = match dice.below(4) {
            0 => (0, 0),
            1 => (dice.below(300), u64::MAX),
            _ => (u64::MAX, dice.between(5, 120)),
        };
        drawn
    }
}

/// Under which name all lies are counted together.
pub(crate) const LIES: &str = "lies in all";

/// How often each lie was told, and what else happened.
#[derive(Default)]
pub(super) struct Told(Mutex<BTreeMap<String, u64>>);

impl Told {
    /// Something that a sound card does too.
    pub(super) fn note(&self, what: &str) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match told.get_mut(what) {
            Some(count) => *count += 1,
            None => {
                told.insert(what.to_owned(), 1);
            }
        }
    }

    /// A lie.
    pub(super) fn lie(&self, what: &str) {
        self.note(what);
        self.note(LIES);
    }

    pub(super) fn all(&self) -> BTreeMap<String, u64> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
