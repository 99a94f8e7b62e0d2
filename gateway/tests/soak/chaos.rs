//! What goes wrong, drawn from the seed: faults of cards, signals to their processes, an operator's hand.
//!
//! Owns the schedule and its undoing. Invariants: what is drawn next depends on the seed and on how much was drawn, and comes
//! after so many requests, not after a time; whatever is done is undone before a quiet point. It does not know whether
//! requests survive it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::card_faults::{CardFaults, NoAnswer};
use crate::dice::Dice;
use crate::life::{Lives, card_processes};
use crate::load::Load;

/// Functions of a card.
const FUNCTIONS: u64 = 2;
/// Requests between two steps.
const GAP_REQUESTS: (u64, u64) = (10, 60);
/// Longest gap: where all wait for a card, it goes on all the same.
const GAP_LIMIT: Duration = Duration::from_secs(4);

/// How much of a fault there is.
#[derive(Clone, Copy, Debug)]
enum Measure {
    /// On until cleared.
    On,
    /// It strikes so many jobs at most.
    Times(u64),
    /// It strikes each job with a chance of so many in a hundred at most.
    Chance(u64),
}

/// A fault, how much of it, and magnitudes that may be given: milliseconds at most, factors.
struct Kind(&'static str, Measure, Option<u64>, &'static [u64]);

/// The faults that are drawn: those that a card in the field has.
const FAULTS: &[Kind] = &[
    Kind("engine-hangs", Measure::Times(2), None, &[]),
    Kind("withholds-completions", Measure::Times(3), None, &[]),
    Kind("completes-twice", Measure::Chance(50), None, &[]),
    Kind("late-completion", Measure::Chance(50), Some(300), &[]),
    Kind("out-of-order", Measure::Chance(80), None, &[]),
    Kind("stale-generation", Measure::Times(3), None, &[]),
    Kind("unknown-command", Measure::Times(3), None, &[]),
    Kind("wrong-command-id", Measure::Times(3), None, &[]),
    Kind("short-length", Measure::Times(3), None, &[]),
    Kind("length-beyond-room", Measure::Times(3), None, &[]),
    Kind("wrong-checksum", Measure::Chance(30), None, &[]),
    Kind("flips-a-bit", Measure::Chance(30), None, &[]),
    Kind("torn-completion", Measure::Times(3), Some(20), &[]),
    Kind("random-completion", Measure::Times(3), None, &[]),
    Kind("loses-doorbells", Measure::On, None, &[]),
    Kind("loses-interrupts", Measure::On, None, &[]),
    Kind("interrupts-unasked", Measure::On, None, &[]),
    Kind("interrupt-storm", Measure::On, None, &[]),
    Kind("dma-faults", Measure::Times(3), None, &[]),
    Kind("slow-engine", Measure::Chance(100), None, &[4, 100]),
    Kind("gone", Measure::On, None, &[]),
    Kind("heartbeat-stands", Measure::On, None, &[]),
    Kind("reset-sticks", Measure::On, None, &[]),
    Kind("never-idle", Measure::On, None, &[]),
    Kind("surprise-removal", Measure::Times(1), Some(1500), &[]),
    Kind("stops", Measure::Times(1), Some(3000), &[]),
    Kind("resets-itself", Measure::Times(1), None, &[]),
    Kind("misses-table", Measure::Chance(100), None, &[]),
    Kind("lies-about-head", Measure::Times(3), None, &[]),
    Kind("lies-about-depth", Measure::On, None, &[]),
];

/// A step.
#[derive(Clone, Debug)]
enum Step {
    Fault(u64, String),
    Clear(u64),
    KillCard(u64),
    StopCard(u64),
    Reset(u64, u64),
    Drain(u64, u64),
}

/// What is to be undone after the gap.
enum Undo {
    Continue(std::os::fd::OwnedFd),
    Undrain(String),
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    /// Rules that cards took, by fault.
    pub(crate) faults_set: BTreeMap<&'static str, u64>,
    /// Times that faults struck, by fault, as the cards count them. Those of a process that ended unasked are not known.
    pub(crate) faults_struck: BTreeMap<String, u64>,
    /// Commands that a card did not answer: it was dead or stopped.
    pub(crate) faults_unheard: u64,
    pub(crate) cards_killed: u64,
    pub(crate) cards_stopped: u64,
    pub(crate) resets: u64,
    /// Resets that were refused: the function was down, or went down.
    pub(crate) resets_refused: u64,
    pub(crate) drains: u64,
}

/// See the module's head.
pub(crate) struct Chaos<'a> {
    load: &'a Load,
    lives: &'a Lives,
    cards: u64,
    dice: Dice,
    /// What comes first, however short the soak is: the death of a card in service.
    due: Option<Step>,
    undo: Vec<Undo>,
    /// Struck so far, by card process and fault: counts of a process only grow.
    struck: BTreeMap<(u32, String), u64>,
    done: Done,
}

impl<'a> Chaos<'a> {
    pub(crate) fn new(load: &'a Load, lives: &'a Lives, cards: u64, seed: u64) -> Self {
        let mut dice = Dice::new(seed, 1 << 32);
        let due = Some(Step::KillCard(dice.below(cards)));
        Self {
            load,
            lives,
            cards,
            dice,
            due,
            undo: Vec::new(),
            struck: BTreeMap::new(),
            done: Done::default(),
        }
    }

    /// Which of `count` is drawn, by the same seed.
    pub(crate) fn draw(&mut self, low: u64, high: u64) -> u64 {
        self.dice.between(low, high)
    }

    /// One step, the gap after it, and its undoing.
    pub(crate) fn step(&mut self) -> Result<(), String> {
        let step = match self.due.take() {
            Some(step) => step,
            None => self.draw_step(),
        };
        let gap = self.dice.between(GAP_REQUESTS.0, GAP_REQUESTS.1);
        let came = self.take(&step)?;
        self.load.note(format!("{step:?}: {came}"));
        self.load.wait_ended(gap, GAP_LIMIT)?;
        self.check_ready()?;
        self.undo()
    }

    /// No fault is on, no process is stopped, nothing is drained.
    pub(crate) fn calm_down(&mut self) -> Result<(), String> {
        self.undo()?;
        self.count_struck();
        for card in 0..self.cards {
            // One that does not answer is dead, and its successor has no faults.
            let _ = self.say(card, "clear");
        }
        Ok(())
    }

    /// What was done so far.
    pub(crate) fn done(&self) -> Done {
        let mut done = self.done.clone();
        for ((_, fault), count) in &self.struck {
            *done.faults_struck.entry(fault.clone()).or_default() += count;
        }
        done
    }

    fn draw_step(&mut self) -> Step {
        let card = self.dice.below(self.cards);
        let function = self.dice.below(FUNCTIONS);
        match self.dice.below(100) {
            0..60 => Step::Fault(card, self.draw_rule()),
            60..72 => Step::Clear(card),
            72..79 => Step::KillCard(card),
            79..86 => Step::StopCard(card),
            86..94 => Step::Reset(card, function),
            _ => Step::Drain(card, function),
        }
    }

    fn draw_rule(&mut self) -> String {
        let Kind(name, measure, ms_max, factors) = self.dice.pick(FAULTS);
        let mut rule = (*name).to_owned();
        if self.dice.percent(60) {
            let _ = write!(rule, ",function={}", self.dice.below(FUNCTIONS));
        }
        match measure {
            Measure::On => {}
            Measure::Times(max) => {
                let after = self.dice.below(20);
                let _ = write!(rule, ",after={after},times={}", self.dice.between(1, *max));
            }
            Measure::Chance(max) => {
                let percent = self.dice.between(1, *max);
                let _ = write!(rule, ",chance={}.{:02}", percent / 100, percent % 100);
            }
        }
        if let Some(max) = ms_max {
            let _ = write!(rule, ",ms={}", self.dice.between(1, *max));
        }
        if !factors.is_empty() {
            let _ = write!(rule, ",factor={}", self.dice.pick(factors));
        }
        rule
    }

    fn take(&mut self, step: &Step) -> Result<String, String> {
        match step {
            Step::Fault(card, rule) => {
                let taken = self.say(*card, &format!("fault {rule}"))?;
                let name = rule.split(',').next().unwrap_or("");
                let known = FAULTS.iter().find(|kind| kind.0 == name);
                if let (Some(_), Some(Kind(name, ..))) = (&taken, known) {
                    *self.done.faults_set.entry(name).or_default() += 1;
                }
                Ok(said(taken))
            }
            Step::Clear(card) => {
                self.count_struck();
                Ok(said(self.say(*card, "clear")?))
            }
            Step::KillCard(card) => {
                self.count_struck();
                let Some((pid, process)) = self.process(*card)? else {
                    return Ok("it has no process".to_owned());
                };
                let killed = pidfd_send_signal(&process, Signal::KILL).is_ok();
                self.done.cards_killed += u64::from(killed);
                Ok(format!("process {pid}"))
            }
            Step::StopCard(card) => {
                let Some((pid, process)) = self.process(*card)? else {
                    return Ok("it has no process".to_owned());
                };
                let stopped = pidfd_send_signal(&process, Signal::STOP).is_ok();
                self.done.cards_stopped += u64::from(stopped);
                self.undo.push(Undo::Continue(process));
                Ok(format!("process {pid}"))
            }
            Step::Reset(card, function) => {
                let name = format!("fpga{card}.{function}");
                match self.lives.faam(&["device", "reset", &name]) {
                    Ok(_) => {
                        self.done.resets += 1;
                        Ok("done".to_owned())
                    }
                    Err(why) => {
                        self.done.resets_refused += 1;
                        Ok(why)
                    }
                }
            }
            Step::Drain(card, function) => {
                let name = format!("fpga{card}.{function}");
                self.undo.push(Undo::Undrain(name.clone()));
                self.done.drains += 1;
                // Whether it became idle in time or not: jobs that hang keep it from that.
                let drained = self
                    .lives
                    .faam(&["device", "drain", &name, "--timeout-ms", "300"]);
                Ok(drained.map_or_else(|why| why, |_| "done".to_owned()))
            }
        }
    }

    fn undo(&mut self) -> Result<(), String> {
        for undo in std::mem::take(&mut self.undo) {
            match undo {
                Undo::Continue(process) => match pidfd_send_signal(&process, Signal::CONT) {
                    // It was ended while it was stopped, as it had to be.
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(errno) => return Err(format!("SIGCONT: {errno}")),
                },
                Undo::Undrain(name) => {
                    self.lives.faam(&["device", "drain", &name, "--undo"])?;
                }
            }
        }
        Ok(())
    }

    /// Whatever happens to cards, a gateway whose CPU serves is ready.
    fn check_ready(&self) -> Result<(), String> {
        match self.lives.now().ready()? {
            (true, _) => Ok(()),
            (false, cards) => Err(format!("/readyz says that it is not ready: {cards:?}")),
        }
    }

    fn process(&self, card: u64) -> Result<Option<(u32, std::os::fd::OwnedFd)>, String> {
        let (_, cards) = self.lives.now().ready()?;
        let card = usize::try_from(card).ok().and_then(|card| cards.get(card));
        let pid = card.and_then(|card| card["pid"].as_u64());
        let Some(pid) = pid.and_then(|pid| u32::try_from(pid).ok()) else {
            return Ok(None);
        };
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let process = raw.and_then(|raw| pidfd_open(raw, PidfdFlags::empty()).ok());
        // Looked at after it is held: it is a card of this gateway, and no other process that got its number.
        let is_card = card_processes(self.lives.data()).contains(&pid);
        Ok(process.filter(|_| is_card).map(|process| (pid, process)))
    }

    /// A command for a card's fault socket: its value; `None` if it does not answer.
    fn say(&mut self, card: u64, command: &str) -> Result<Option<String>, String> {
        let path = self.lives.data().join(format!("card{card}")).join("faults");
        match CardFaults::open(&path).and_then(|mut faults| faults.ask(command)) {
            Ok(value) => Ok(Some(value)),
            Err(NoAnswer::Refused(why)) => Err(format!("card {card} refuses {command:?}: {why}")),
            Err(NoAnswer::Gone) => {
                self.done.faults_unheard += 1;
                Ok(None)
            }
        }
    }

    /// Takes in how often faults have struck, before a card forgets it.
    pub(crate) fn count_struck(&mut self) {
        let Ok((_, cards)) = self.lives.now().ready() else {
            return;
        };
        for (number, card) in (0..).zip(cards) {
            let pid = card["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
            let (Some(pid), Ok(Some(struck))) = (pid, self.say(number, "struck")) else {
                continue;
            };
            for word in struck.split_whitespace() {
                let Some((fault, count)) = word.split_once('=') else {
                    continue;
                };
                let count = count.parse().unwrap_or(0);
                let known = self.struck.entry((pid, fault.to_owned())).or_default();
                *known = count.max(*known);
            }
        }
    }
}

fn said(answer: Option<String>) -> String {
    answer.map_or_else(
        || "no answer".to_owned(),
        |value| format!("ok {value}").trim_end().to_owned(),
    )
}
