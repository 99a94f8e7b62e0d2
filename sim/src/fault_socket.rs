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
//! | `clear` | no fault is on, no engine hangs or is to hang |
//! | `fault NAME` | turns the fault on |
//! | `hang FUNCTION:JOBS` | the function's engines stop after so many more jobs |
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

use crate::faults::{Fault, Faults};
use crate::function::Function;
use crate::options::HangPlan;
use crate::search::Found;

/// Name of the socket in the card's directory.
pub(crate) const SOCKET: &str = "faults";
/// Longest line, bytes.
const LINE_BYTES_MAX: usize = 128;

/// What the commands act on.
pub(crate) struct FaultControl {
    pub(crate) functions: Vec<Arc<Function>>,
    pub(crate) faults: Arc<Faults>,
    /// The process is the card's own, and may be killed.
    pub(crate) may_kill: bool,
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
                    let answer = answer(control, &String::from_utf8_lossy(&line));
                    line.clear();
                    // A client that does not read is no reason to wait: a full socket ends its conversation.
                    rustix::net::send(stream, answer.as_bytes(), send_flags())?;
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

fn answer(control: &FaultControl, line: &str) -> String {
    let (number, command) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    match control.run(command) {
        Ok(None) => format!("{number} ok\n"),
        Ok(Some(value)) => format!("{number} ok {value}\n"),
        Err(why) => format!("{number} error: {why}\n"),
    }
}

impl FaultControl {
    fn run(&self, command: &str) -> Result<Option<String>, String> {
        if let Some(question) = command.strip_prefix("find ") {
            return self.find(question).map(|found| Some(found.to_string()));
        }
        if let Some(function) = command.strip_prefix("maps ") {
            let function = function.parse().map_err(|_| "expected a function")?;
            let count = self.function(function)?.memory.map_count();
            return Ok(Some(count.to_string()));
        }
        self.act(command).map(|()| None)
    }

    fn act(&self, command: &str) -> Result<(), String> {
        tracing::info!(command, "fault socket");
        match command.split_once(' ').unwrap_or((command, "")) {
            ("clear", "") => {
                self.faults.clear();
                for function in &self.functions {
                    function.pool.resume();
                }
                Ok(())
            }
            ("fault", name) => {
                self.faults.set(name.parse()?);
                Ok(())
            }
            ("hang", plan) => self.hang(plan.parse()?),
            ("resume", function) => {
                self.function(function.parse().map_err(|_| "expected a function")?)?
                    .pool
                    .resume();
                Ok(())
            }
            ("kill", "") if self.faults.on(Fault::SurvivesKill) => Ok(()),
            ("kill", "") if self.may_kill => kill_process(getpid(), Signal::KILL)
                .map_err(|errno| format!("the process could not be killed: {errno}")),
            ("kill", "") => Err("this card has no process of its own".to_owned()),
            _ => Err(format!(
                "expected clear, fault NAME, hang FUNCTION:JOBS, resume FUNCTION, find FUNCTION HEX, maps FUNCTION or kill, got {command:?}"
            )),
        }
    }

    fn find(&self, question: &str) -> Result<Found, String> {
        let (function, pattern) = question.split_once(' ').unwrap_or((question, ""));
        let function = function.parse().map_err(|_| "expected a function")?;
        let function = self.function(function)?;
        function
            .pool
            .find(pattern.parse()?, function.identity.engines)
    }

    fn hang(&self, plan: HangPlan) -> Result<(), String> {
        let chosen = self.function(plan.function)?;
        for function in &self.functions {
            if Arc::ptr_eq(function, chosen) || self.faults.on(Fault::HangsAllFunctions) {
                function.pool.hang_after(plan.after_jobs);
            }
        }
        Ok(())
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
