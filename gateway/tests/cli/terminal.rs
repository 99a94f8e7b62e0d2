//! What a person sees: on a pseudo-terminal of 100 columns.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::faam::{KEY, Place, finish, run, text, wait_until};
use crate::peer::{Part, Peer};

/// A terminal: what is written to it, and the end that a process gets.
pub(crate) struct Terminal {
    user: Arc<Mutex<String>>,
    pub(crate) end: OwnedFd,
    pub(crate) master: File,
}

impl Terminal {
    pub(crate) fn open() -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let name = ptsname(&master, Vec::new())
            .expect("a name")
            .into_string()
            .expect("UTF-8");
        let size = Winsize {
            ws_row: 24,
            ws_col: 100,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).expect("sized");
        let flags =
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
        let end = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).expect("its other end");
        let master = File::from(master);
        let user = Arc::new(Mutex::new(String::new()));
        let (seen, mut reader) = (Arc::clone(&user), master.try_clone().expect("a clone"));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A terminal whose other end is closed reads as an error.
            while let Ok(bytes @ 1..) = reader.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..bytes]).into_owned();
                seen.lock().expect("the text").push_str(&text);
            }
        });
        Self { user, end, master }
    }

    pub(crate) fn end(&self) -> Stdio {
        Stdio::from(self.end.try_clone().expect("a clone"))
    }

    pub(crate) fn text(&self) -> String {
        self.user.lock().expect("the text").clone()
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, word: &str) -> String {
        wait_until(word, || {
            let text = self.text();
            text.contains(word).then_some(text)
        })
    }
}

#[test]
fn a_terminal_gets_a_line_at_the_end_and_a_pipe_does_not() {
    let place = Place::new();
    place.write("x.txt", text(500_000));
    let terminal = Terminal::open();
    let mut command = place.faam(&["compress", "-k", "x.txt"]);
    command.stderr(terminal.end());
    run(command, b"").check(0, &[]);
    let seen = terminal.wait_for("verified");
    let line = seen.trim();
    assert!(
        line.starts_with("x.txt: ") && line.ends_with(", cpu, verified"),
        "{line:?}"
    );
    assert!(line.contains("x, ") && line.contains("MB/s"), "{line:?}");

    let quiet = Terminal::open();
    let mut command = place.faam(&["compress", "-kfq", "x.txt"]);
    command.stderr(quiet.end());
    run(command, b"").check(0, &[]);
    assert_eq!(quiet.text(), "");
    place
        .run(&["compress", "-kf", "x.txt"])
        .check(0, &[])
        .silent();
}

#[test]
fn a_terminal_gets_a_bar_while_it_lasts() {
    for part in [Part::Hold, Part::Drip] {
        bar_against(part);
    }
}

#[track_caller]
fn bar_against(part: Part) {
    let peer = Peer::start(vec![part]);
    let dir = tempfile::tempdir().expect("a directory");
    let file = File::create(dir.path().join("a-file.bin")).expect("made");
    file.set_len(60_000_000).expect("sized");
    let terminal = Terminal::open();
    let mut child = crate::faam::faam(dir.path(), &peer.url, &["compress", "a-file.bin"])
        .stderr(terminal.end())
        .spawn()
        .expect("starts");
    // The peer reads only the head: the bar stands where the socket's buffers are full.
    let seen = terminal.wait_for(" left");
    assert!(
        seen.contains("a-file.bin") && seen.contains(" %") && seen.contains("B/s"),
        "{seen:?}"
    );
    child.kill().expect("it runs");
    child.wait().expect("our child");
}

#[test]
fn compressed_data_is_kept_from_terminals() {
    let place = Place::new();
    place.write("x", text(100));
    let terminal = Terminal::open();
    for words in [&["compress"][..], &["compress", "-c", "x"]] {
        let mut command = place.faam(words);
        command.stdout(terminal.end());
        run(command, b"").check(1, &["not written to a terminal", "-f"]);
    }
    let mut command = place.faam(&["decompress"]);
    command.stdin(terminal.end());
    finish(command.spawn().expect("starts")).check(1, &["not read from a terminal"]);
    assert_eq!(terminal.text(), "");
}

#[test]
fn somebody_who_can_be_asked_is_asked_before_a_file_goes() {
    use std::io::Write;
    let place = Place::new();
    place.write("x", text(100));
    for (answer, code) in [("n\n", 2), ("y\n", 0)] {
        place.write("x.gz", "before");
        let mut terminal = Terminal::open();
        let mut command: Command = place.faam(&["compress", "-k", "x"]);
        command
            .stdin(terminal.end())
            .stderr(terminal.end())
            .env("FAAM_KEY", KEY);
        let child = command.spawn().expect("starts");
        terminal.wait_for("x.gz already exists; overwrite (y or n)?");
        terminal.master.write_all(answer.as_bytes()).expect("typed");
        finish(child).check(code, &[]);
        assert_eq!(place.read("x.gz") == b"before", code == 2);
    }
}
