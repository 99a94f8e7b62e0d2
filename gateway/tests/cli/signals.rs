//! A signal in the middle: no half-made file, the source as it was.

use std::os::unix::process::ExitStatusExt;

use rustix::process::{Pid, Signal, kill_process};

use crate::faam::{SOON, faam, names, noise, wait_until};
use crate::peer::{Part, Peer};

#[test]
fn a_signal_leaves_no_part_and_the_source_untouched() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let peer = Peer::start(vec![Part::Hold]);
        let dir = tempfile::tempdir().expect("a directory");
        let original = noise(1_000_000);
        std::fs::write(dir.path().join("x"), &original).expect("written");
        let mut child = faam(dir.path(), &peer.url, &["compress", "x"])
            .spawn()
            .expect("starts");
        peer.heads
            .recv_timeout(SOON)
            .expect("the request has begun");
        let begun = names(dir.path());
        assert_eq!(begun.len(), 2, "{begun:?}");
        assert!(
            begun.iter().any(|name| name.ends_with(".part")),
            "{begun:?}"
        );

        kill_process(Pid::from_child(&child), signal).expect("it runs");
        let status = wait_until("it ends", || child.try_wait().expect("our child"));
        assert_eq!(status.signal(), Some(signal.as_raw()), "as a shell expects");
        assert_eq!(names(dir.path()), ["x"]);
        assert!(std::fs::read(dir.path().join("x")).expect("there") == original);
    }
}

#[test]
fn a_signal_ends_it_while_it_waits_for_its_own_input() {
    let peer = Peer::start(vec![Part::Hold]);
    let dir = tempfile::tempdir().expect("a directory");
    let mut child = faam(dir.path(), &peer.url, &["compress"])
        .spawn()
        .expect("starts");
    peer.heads
        .recv_timeout(SOON)
        .expect("the request has begun");
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
    let status = wait_until("it ends", || child.try_wait().expect("our child"));
    assert_eq!(status.signal(), Some(Signal::INT.as_raw()));
}
