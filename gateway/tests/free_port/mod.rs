//! A port that nobody listens on, for a process that has to be told one, or for nobody at all.
//!
//! Owns the choice. Invariants: it is none of those that the system gives out by itself (from 32768 on), so that nobody who
//! asks for any port gets it meanwhile, and who connects to it while nobody listens does not meet himself; processes side by
//! side begin at different ones, and none gives the same one twice. It does not know who will listen.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// The first of the ports, and how many there are.
const FIRST: u32 = 20_000;
const PORTS: u32 = 10_000;
/// Ports that are tried: others may listen on some.
const TRIES_MAX: u32 = 100;
/// Sets the beginnings of processes with neighbouring numbers apart: prime, and no divisor of the ports' number.
const STRIDE: u32 = 7_919;

static TURN: AtomicU32 = AtomicU32::new(0);

#[track_caller]
pub(crate) fn free_port() -> u16 {
    let begin = std::process::id().wrapping_mul(STRIDE);
    let mut ports = (0..TRIES_MAX).filter_map(|_| {
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + begin.wrapping_add(turn) % PORTS).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        Some(port)
    });
    ports.next().expect("a port that nobody listens on")
}
