//! The socket `faults` beside those of the functions: where a tester tells a running card to misbehave.
//!
//! Owns the commands and their answers. It is there only if the card was started with `allow_faults`. Invariant: a line
//! is bounded, each line has one answer, and nothing that it says can harm the card in another way than it asks for.
//!
//! A request is a line `NUMBER COMMAND`, its answer `NUMBER ok`, with a value behind it where one was asked for, or `NUMBER error: WHY`; the number is the client's own,
//! so that it knows its answers from those to a client before it (a virtual machine's serial port keeps them).
//!
//! | command | does |
//! |---|---|
//! | `fault RULE` | adds a rule (`fault_plan` has the notation): without a condition the fault is on from now on |
//! | `rules` | the rules that are on, a space between |
//! | `struck` | how often each fault broke its rule since the card started: `NAME=TIMES`, a space between |
//! | `seed N` | sets what chances are drawn from; the rules that there are begin again |
//! | `clear` | no rule is left, no fault is on, no engine hangs |
//! | `hang FUNCTION:JOBS` | the rule `engine-hangs,function=FUNCTION,after=JOBS`, which goes with the function's next reset or `resume` |
//! | `resume FUNCTION` | its engines go on where they hang |
//! | `find FUNCTION HEX` | asks what the function's engines hold of a pattern: `nothing`, or `PLACE:TIMES ...`, where `sets` are those of the hash tables that hold anything, whatever it is |
//! | `maps FUNCTION` | asks for the number of DMA maps that the function has |
//! | `kill` | ends the card's process by SIGKILL, if the card has one of its own |
//!
//! One client at a time; what it set stays when it goes.

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};

use crate::fault_plan::{self, FaultRule, RuleError};
use crate::faults::Fault;
use crate::function::Function;
use crate::function_faults::Strike;
use crate::options::Model;
use crate::search::Found;

/// Name of the socket in the card's directory.
pub(crate) const SOCKET: &str = "faults";
/// Longest line, bytes.
const LINE_BYTES_MAX: usize = 256;

/// What the commands act on.
pub(crate) struct FaultControl {
    pub(crate) functions: Vec<Arc<Function>>,
    /// The process is the card's own, and may be stopped and killed.
    pub(crate) own_process: bool,
    /// What is inside the card.
    pub(crate) model: Model,
}

/// Serves clients until `stop` becomes readable.
pub(crate) fn serve(listener: &UnixListener, control: &FaultControl, stop: &OwnedFd) {
    while let Ok(Ready::Yes) = wait(listener, stop) {
        if let Ok((stream, _)) = listener.accept()
            && let Err(errno) = converse(&stream, control, stop)
        {
            tracing::debug!(%errno, "the client of the fault socket is gone");
        }
    }
}

fn converse(stream: &UnixStream, control: &FaultControl, stop: &OwnedFd) -> Result<(), Errno> {
    let mut line = Vec::with_capacity(LINE_BYTES_MAX);
    let mut chunk = [0; LINE_BYTES_MAX];
    while let Ready::Yes = wait(stream, stop)? {
        let read = match rustix::io::read(stream, &mut chunk) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(Errno::INTR | Errno::AGAIN) => continue,
            Err(errno) => return Err(errno),
        };
        for byte in chunk.iter().take(read) {
            match byte {
                b'\n' => {
                    let (answer, stop) = answer(control, &String::from_utf8_lossy(&line));
                    line.clear();
                    // A client that does not read is no reason to wait: a full socket ends its conversation.
                    rustix::net::send(stream, answer.as_bytes(), send_flags())?;
                    // A process that stands still answers nobody.
                    if let Some((function, strike)) = stop {
                        function.befall(strike);
                    }
                }
                byte if line.len() < LINE_BYTES_MAX => line.push(*byte),
                _ => return Err(Errno::MSGSIZE),
            }
        }
    }
    Ok(())
}

fn send_flags() -> rustix::net::SendFlags {
    rustix::net::SendFlags::NOSIGNAL | rustix::net::SendFlags::DONTWAIT
}

/// The answer, and what happens after it is sent.
fn answer(control: &FaultControl, line: &str) -> (String, Option<AtOnce>) {
    let (number, command) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    match control.run(command) {
        Ok(Done::Silent) => (format!("{number} ok\n"), None),
        Ok(Done::Value(value)) if value.is_empty() => (format!("{number} ok\n"), None),
        Ok(Done::Value(value)) => (format!("{number} ok {value}\n"), None),
        Ok(Done::Stops(stop)) => (format!("{number} ok\n"), Some(stop)),
        Err(why) => (format!("{number} error: {why}\n"), None),
    }
}

/// What happens to a function at once.
pub(crate) type AtOnce = (Arc<Function>, Strike);

/// What a command came to.
enum Done {
    Silent,
    Value(String),
    /// The process is to stop, once that has been answered.
    Stops(AtOnce),
}

impl From<Option<AtOnce>> for Done {
    fn from(stop: Option<AtOnce>) -> Self {
        stop.map_or(Self::Silent, Self::Stops)
    }
}

impl FaultControl {
    /// Adds a rule to the functions that it concerns; what happens at once has happened when this returns, but for a stop
    /// of the process, which is returned.
    ///
    /// # Errors
    /// The card cannot follow it, or has as many rules as it can.
    pub(crate) fn add(&self, rule: &FaultRule) -> Result<Option<AtOnce>, RuleError> {
        self.keep(rule, false)
    }

    fn keep(&self, rule: &FaultRule, until_reset: bool) -> Result<Option<AtOnce>, RuleError> {
        fault_plan::check(rule, self.own_process, self.model)?;
        let mut rule = rule.clone();
        if rule.fault() == Fault::EngineHangs
            && rule.function().is_some()
            && self.on(Fault::HangsAllFunctions)
        {
            rule = rule.of_all_functions();
        }
        let mut at_once = Vec::new();
        for function in &self.functions {
            if rule
                .function()
                .is_none_or(|index| index == function.index())
            {
                let added = function.faults.add(&rule, until_reset);
                at_once.extend(added?.map(|event| (Arc::clone(function), event)));
                function.bell.ring();
            }
        }
        // The process stops once, however many functions it has.
        if rule.fault() == Fault::Stops {
            return Ok(at_once.pop());
        }
        for (function, event) in at_once {
            function.befall(event);
        }
        Ok(None)
    }

    /// Whether a fault of the whole card is on.
    fn on(&self, fault: Fault) -> bool {
        self.functions
            .iter()
            .any(|function| function.faults.on(fault))
    }

    fn run(&self, command: &str) -> Result<Done, String> {
        match command.split_once(' ').unwrap_or((command, "")) {
            ("maps", function) => {
                let maps = self.named(function)?.memory.map_count();
                Ok(Done::Value(maps.to_string()))
            }
            ("find", question) => Ok(Done::Value(self.find(question)?.to_string())),
            ("rules", "") => Ok(Done::Value(self.rules())),
            ("struck", "") => Ok(Done::Value(self.struck())),
            _ => self.act(command),
        }
    }

    fn rules(&self) -> String {
        let mut rules: Vec<String> = Vec::new();
        for function in &self.functions {
            for rule in function.faults.rules() {
                let rule = rule.to_string();
                if !rules.contains(&rule) {
                    rules.push(rule);
                }
            }
        }
        rules.join(" ")
    }

    fn struck(&self) -> String {
        let times = |fault: &Fault| -> u64 {
            let each = self.functions.iter();
            each.map(|function| function.faults.struck(*fault)).sum()
        };
        let struck: Vec<String> = Fault::ALL
            .iter()
            .map(|fault| (fault.name(), times(fault)))
            .filter(|(_, times)| *times > 0)
            .map(|(name, times)| format!("{name}={times}"))
            .collect();
        struck.join(" ")
    }

    fn act(&self, command: &str) -> Result<Done, String> {
        tracing::info!(command, "fault socket");
        match command.split_once(' ').unwrap_or((command, "")) {
            ("clear", "") => {
                for function in &self.functions {
                    function.faults.clear();
                    function.removal.put_back();
                    function.pool.resume();
                    function.slots.resume();
                }
                Ok(Done::Silent)
            }
            ("fault", rule) => {
                let rule = rule.parse().map_err(|error: RuleError| error.to_string())?;
                let stop = self.add(&rule).map_err(|error| error.to_string())?;
                Ok(stop.into())
            }
            ("seed", seed) => {
                let seed = seed
                    .parse()
                    .map_err(|_| format!("expected a number for a seed, got {seed:?}"))?;
                for function in &self.functions {
                    function.faults.seed(seed);
                }
                Ok(Done::Silent)
            }
            ("hang", plan) => self.hang(plan),
            ("resume", function) => {
                let function = self.named(function)?;
                function.faults.end_hangs();
                function.pool.resume();
                Ok(Done::Silent)
            }
            ("kill", "") if self.on(Fault::SurvivesKill) => Ok(Done::Silent),
            ("kill", "") if self.own_process => kill_process(getpid(), Signal::KILL)
                .map(|()| Done::Silent)
                .map_err(|errno| format!("the process could not be killed: {errno}")),
            ("kill", "") => Err("this card has no process of its own".to_owned()),
            _ => Err(format!(
                "expected fault RULE, rules, struck, seed N, clear, hang FUNCTION:JOBS, resume FUNCTION, find FUNCTION HEX, maps FUNCTION or kill, got {command:?}"
            )),
        }
    }

    fn find(&self, question: &str) -> Result<Found, String> {
        let (function, pattern) = question.split_once(' ').unwrap_or((question, ""));
        let function = self.named(function)?;
        if function.inside.is_some() {
            return Err(
                "gateware cannot be searched: run a card with --model functional".to_owned(),
            );
        }
        function
            .pool
            .find(pattern.parse()?, function.identity.engines)
    }

    fn hang(&self, plan: &str) -> Result<Done, String> {
        let parsed = plan
            .split_once(':')
            .and_then(|(function, jobs)| Some((function.parse().ok()?, jobs.parse().ok()?)));
        let (function, jobs) =
            parsed.ok_or_else(|| format!("expected FUNCTION:JOBS, such as 1:100, got {plan:?}"))?;
        self.function(function)?;
        let rule = FaultRule::new(Fault::EngineHangs)
            .of_function(function)
            .after_jobs(jobs);
        let kept = self.keep(&rule, true).map_err(|error| error.to_string())?;
        Ok(kept.into())
    }

    fn named(&self, function: &str) -> Result<&Arc<Function>, String> {
        self.function(function.parse().map_err(|_| "expected a function")?)
    }

    fn function(&self, index: u8) -> Result<&Arc<Function>, String> {
        self.functions
            .get(usize::from(index))
            .ok_or_else(|| format!("there is no function {index}"))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ready {
    Yes,
    Stopping,
}

/// Waits until `fd` can be read, or the card stops. No time-out: a tester takes its time.
fn wait(fd: &impl std::os::fd::AsFd, stop: &OwnedFd) -> Result<Ready, Errno> {
    loop {
        let mut ready = [
            PollFd::new(stop, PollFlags::IN),
            PollFd::new(fd, PollFlags::IN),
        ];
        match poll(&mut ready, None) {
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
            Ok(_) => {}
        }
        let [stopping, client] = ready;
        if !stopping.revents().is_empty() {
            return Ok(Ready::Stopping);
        }
        if !client.revents().is_empty() {
            return Ok(Ready::Yes);
        }
    }
}
