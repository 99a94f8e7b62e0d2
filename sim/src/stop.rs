//! Stop and continue: the card's own process stands still for a while.
//!
//! Invariant: whoever stops goes on again: a timer of the kernel's is set before, whose signal continues the process. No
//! child is needed for that, and none is left behind.

use std::time::Duration;

use nix::sys::signal::{SigEvent, SigevNotify, Signal};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use rustix::process::{getpid, kill_process};

/// Stops the process, which has to be the card's own, for so long. All its threads stop.
pub(crate) fn stop_process(time: Duration) {
    let event = SigEvent::new(SigevNotify::SigevSignal {
        signal: Signal::SIGCONT,
        si_value: 0,
    });
    let mut timer = match Timer::new(ClockId::CLOCK_MONOTONIC, event) {
        Ok(timer) => timer,
        Err(errno) => {
            tracing::error!(%errno, "no timer to go on by: the process does not stop");
            return;
        }
    };
    if let Err(errno) = timer.set(Expiration::OneShot(time.into()), TimerSetTimeFlags::empty()) {
        tracing::error!(%errno, "the timer to go on by was not set: the process does not stop");
        return;
    }
    tracing::warn!(ms = time.as_millis(), "the process stops, as planned");
    if let Err(errno) = kill_process(getpid(), rustix::process::Signal::STOP) {
        tracing::error!(%errno, "the process does not stop");
    }
    // The stop may reach this thread late, and dropping the timer before its end would take the signal away.
    std::thread::sleep(time);
}
