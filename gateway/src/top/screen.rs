//! A terminal that is drawn on: entered, drawn, left as it was found, also after an error or a panic.
//!
//! Plain control sequences (ECMA-48, and xterm's alternate screen, private mode 1049): they are all that is needed. It does
//! not know what is drawn.

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::stdio::{stdin, stdout};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Alternate screen on, cursor off.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// Cursor on, alternate screen off.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// To the first line.
const HOME: &str = "\x1b[H";
/// The rest of the line, the rest of the screen.
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
/// What a terminal that does not tell its size is taken to have.
const SIZE_DEFAULT: (usize, usize) = (80, 24);
/// Ctrl-C and Ctrl-D, where they come as keys.
const END_OF_TEXT: u8 = 0x03;
const END_OF_TRANSMISSION: u8 = 0x04;

/// What somebody pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Nothing in time.
    None,
    /// To be left alone.
    Quit,
    /// Something else.
    Other,
}

/// See the module's head.
pub(super) struct Screen {
    /// As it was found; `None` where keys do not come from a terminal.
    found: Option<Termios>,
}

impl Screen {
    /// Keys come one by one and are not shown.
    pub(super) fn open() -> io::Result<Self> {
        let found = match io::stdin().is_terminal() {
            true => Some(tcgetattr(stdin())?),
            false => None,
        };
        if let Some(found) = &found {
            let mut keys = found.clone();
            // Ctrl-C is a key as well, so that the terminal is left in order.
            keys.local_modes
                .remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
            tcsetattr(stdin(), OptionalActions::Now, &keys)?;
        }
        let screen = Self { found };
        write(ENTER)?;
        Ok(screen)
    }

    /// Columns and lines.
    pub(super) fn size(&self) -> (usize, usize) {
        match tcgetwinsize(stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                (usize::from(size.ws_col), usize::from(size.ws_row))
            }
            _ => SIZE_DEFAULT,
        }
    }

    /// Draws lines from the top, in one write, so that nothing flickers.
    pub(super) fn show(&self, lines: &[String]) -> io::Result<()> {
        let lines = lines.join(&format!("{CLEAR_LINE}\r\n"));
        write(&format!("{HOME}{lines}{CLEAR_LINE}{CLEAR_BELOW}"))
    }

    /// Waits for a key, until `until`.
    pub(super) fn key(&self, until: Instant) -> io::Result<Key> {
        let rest = until.saturating_duration_since(Instant::now());
        let limit = Timespec {
            tv_sec: i64::try_from(rest.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(rest.subsec_nanos()),
        };
        if self.found.is_none() {
            // Nobody types: only time passes.
            std::thread::sleep(rest);
            return Ok(Key::None);
        }
        let input = stdin();
        let mut waited = [PollFd::new(&input, PollFlags::IN)];
        match poll(&mut waited, Some(&limit)) {
            Ok(0) => return Ok(Key::None),
            Ok(_) => {}
            // Its window has another size.
            Err(Errno::INTR) => return Ok(Key::Other),
            Err(error) => return Err(error.into()),
        }
        let mut keys = [0; 64];
        let read = match rustix::io::read(input, &mut keys) {
            // The terminal has gone.
            Ok(0) => return Ok(Key::Quit),
            Ok(read) => read,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(Key::Other),
            Err(_) => return Ok(Key::Quit),
        };
        let quits = |key: &u8| matches!(key, b'q' | b'Q' | &END_OF_TEXT | &END_OF_TRANSMISSION);
        let pressed = keys.get(..read).unwrap_or_default();
        Ok(match pressed.iter().any(quits) {
            true => Key::Quit,
            false => Key::Other,
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = write(LEAVE);
        if let Some(found) = &self.found {
            let _ = tcsetattr(stdin(), OptionalActions::Now, found);
        }
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
