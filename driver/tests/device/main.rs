//! The suite of device behaviours: what a card and the way to it must do, whatever carries the way.
//!
//! One source, two carriers, and two models over the first. Over vfio-user each behaviour has a card of its own in this
//! process; over the kernel's VFIO all have one long-lived card, in a virtual machine or in a slot. What is different lies in
//! `carrier`, and nowhere else.
//!
//! Each behaviour names a fault of the simulated card that breaks it. As the trial `mutation::NAME` it is run again with
//! that fault and has to fail, with the words that tell of it: so no behaviour is unable to fail.
//!
//! Environment:
//! - `FAAM_TEST_CARRIER`: `vfio-user` (the default) or `kernel-vfio`;
//! - `FAAM_TEST_MODEL`: over vfio-user, what is inside the cards: `functional` (the default), or `rtl`, the simulated
//!   gateware, in builds with the feature `rtl`;
//! - `FAAM_TEST_FUNCTIONS`: for kernel VFIO, the PCI addresses of the card's functions, in order, separated by commas;
//! - `FAAM_TEST_CARD_ADMIN`: for kernel VFIO, the way to the simulated card's fault socket: a UNIX socket, or a character
//!   device that leads to one. Without it what needs faults is skipped;
//! - `FAAM_TEST_SEED`: of what is random, which is printed where it is drawn;
//! - `FAAM_TEST_RESULTS`: a file that the lines below are appended to.
//!
//! Each result is one line on standard output: `behaviour: NAME: CARRIER: passed`, or `failed`, or `skipped: WHY`; and
//! for mutations `mutation: NAME: CARRIER: red`, `survived` or `skipped: WHY`. What comes of a card's faults is a line
//! `fault: NAME: CARRIER: OUTCOME; TIMES`. `device page write|check FILE...` makes driver/BEHAVIOURS.md and driver/FAULTS.md
//! of such lines, or compares them.
//!
//! Why libtest-mimic: trials come from a table, in its order (the one that kills the card is the last), with twins for
//! their mutations, and may find out at run time that they have to be skipped; filters, lists and nextest work as usual.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "constants and lengths of this suite, all of them small"
)]

mod behaviour;
mod card_faults;
mod card_process;
mod carrier;
mod data;
mod faults;
mod feeder;
mod host;
mod host_alone;
mod host_lies;
mod page;
mod runner;

mod bring_up;
mod commands;
mod contexts;
mod end;
mod interrupts;
mod isolation;
mod jobs;
mod maps;
mod queues;
mod reset;
mod retired;
mod slots;

use std::process::ExitCode;

fn main() -> ExitCode {
    if card_process::serve_if_told_to() {
        return ExitCode::SUCCESS;
    }
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("page") => page::run(args),
        _ => runner::run(),
    }
}
