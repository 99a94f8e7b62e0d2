//! The card as a process: start, say so, wait for the end, clean up.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGINT, SIGTERM};
use thiserror::Error;

use crate::card::{Card, StartError};
use crate::options::Options;

/// Why the process did not run, or not to its proper end.
#[derive(Debug, Error)]
pub enum RunError {
    /// The card did not start.
    #[error("the card did not start")]
    Start(#[from] StartError),
    /// Signals could not be caught.
    #[error("SIGTERM and SIGINT cannot be caught, so the card could not clean up")]
    Signals(#[source] std::io::Error),
    /// The wait failed.
    #[error("waiting for a signal failed")]
    Wait(#[source] std::io::Error),
}

/// Runs a card until SIGTERM, SIGINT, or the end of standard input if that was asked for. Prints one line,
/// `ready DIR`, to standard output when its sockets accept.
///
/// # Errors
/// [`RunError`].
pub fn run(options: Options) -> Result<(), RunError> {
    // Before the card starts: a signal from here on is not lost.
    let (signalled, in_handler) = UnixStream::pair().map_err(RunError::Signals)?;
    for signal in [SIGTERM, SIGINT] {
        let end = in_handler.try_clone().map_err(RunError::Signals)?;
        signal_hook::low_level::pipe::register(signal, end).map_err(RunError::Signals)?;
    }
    let card = Card::start_in(&options, true)?;
    tracing::info!(
        dir = %options.dir.display(),
        engines = options.engines,
        pace_mhz = options.pace_mhz,
        "the simulated card is ready"
    );
    // Nobody need be listening for this.
    let mut out = std::io::stdout();
    let _ = writeln!(out, "ready {}", options.dir.display()).and_then(|()| out.flush());
    let reason = wait(&signalled, options.exit_on_stdin_eof)?;
    tracing::info!(reason, "the simulated card stops");
    card.stop();
    Ok(())
}

/// Waits for a signal or, if `watch_stdin`, for the end of standard input. What is read from it means nothing.
fn wait(signalled: &UnixStream, watch_stdin: bool) -> Result<&'static str, RunError> {
    let stdin = std::io::stdin();
    loop {
        let mut fds = vec![PollFd::from_borrowed_fd(signalled.as_fd(), PollFlags::IN)];
        if watch_stdin {
            fds.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN));
        }
        // No time-out: both ends are what ends the process.
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(RunError::Wait(errno.into())),
        }
        if fds.first().is_some_and(|fd| !fd.revents().is_empty()) {
            return Ok("signal");
        }
        if fds.get(1).is_some_and(|fd| !fd.revents().is_empty()) {
            let mut ignored = [0; 256];
            match rustix::io::read(&stdin, &mut ignored) {
                Ok(0) | Err(Errno::IO | Errno::BADF) => return Ok("end of standard input"),
                Ok(_) | Err(Errno::INTR | Errno::AGAIN) => {}
                Err(errno) => return Err(RunError::Wait(errno.into())),
            }
        }
    }
}
