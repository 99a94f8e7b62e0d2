//! The Verilated matcher alone: one stream a call, tokens out.
//!
//! Invariant: as the engine's.
//!
// UNSAFETY: the C functions of shim/match.cpp, which get pointers into slices that this module holds for the call, and a handle that
// it owns. Every block states what the shim asks.
#![expect(unsafe_code, reason = "a Verilated model is C++")]

use std::ffi::{CStr, c_void};

use crate::bench::{Bench, Failure, fits};
use crate::models::{Configuration, MATCHERS};
use crate::outcome::RunError;
use crate::stalls::{Stall, Stalls};

/// Largest value of the port that carries the stream's length.
const STREAM_BYTES_MAX: usize = (1 << 21) - 1;
const HISTORY_BYTES_MAX: usize = (1 << 16) - 1;
/// As for the engine.
const IDLE_CYCLES_MAX: u64 = 300_000;
const JOB_CYCLES_MAX: u64 = 1_000_000;
const BYTE_CYCLES_MAX: u64 = 2000;
const STREAMS: &[&str] = &["start", "in", "tok"];

/// One stream for the matcher.
#[derive(Debug, Clone, Copy)]
pub struct Stream<'a> {
    /// History, then source.
    pub bytes: &'a [u8],
    /// How many of them are history.
    pub history_len: usize,
    /// Ways to look up.
    pub ways: u8,
    /// Whether a longer match a byte later is waited for.
    pub lazy: bool,
    /// Clear everything before.
    pub scrub: bool,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A byte.
    Literal(u8),
    /// Length and distance.
    Match(u16, u16),
    /// None of these, by its number.
    Unknown(u8),
}

/// A token and when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// What.
    pub kind: TokenKind,
    /// Cycles since the stream was offered.
    pub cycle: u32,
}

/// What a stream came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The tokens, without the end.
    pub tokens: Vec<Token>,
    /// Cycles from the stream's taking to its last token.
    pub cycles: u64,
    /// Cycles from its offer to its taking.
    pub cycles_offered: u64,
}

#[derive(Clone, Copy, Default)]
#[repr(C)]
struct RawToken {
    cycle: u32,
    distance: u16,
    length: u16,
    kind: u8,
    literal: u8,
    reserved: [u8; 2],
}

#[repr(C)]
struct RawStream {
    bytes: *const u8,
    tokens: *mut RawToken,
    seed: u64,
    cycles_max: u64,
    idle_max: u64,
    len: u32,
    history_len: u32,
    tokens_max: u32,
    reserved: u32,
    input: Stall,
    output: Stall,
    ways: u8,
    lazy: u8,
    scrub: u8,
    reserved_too: [u8; 5],
}

#[derive(Default)]
#[repr(C)]
struct RawEnd {
    cycle: u64,
    accepted: u64,
    status: u32,
    tokens: u32,
    taken: u32,
    signals: u32,
}

const _: () = assert!(
    size_of::<RawToken>() == 12 && size_of::<RawStream>() == 80 && size_of::<RawEnd>() == 32
);

const STATUS_DONE: u32 = 0;
const KIND_LITERAL: u8 = 0;
const KIND_MATCH: u8 = 1;

#[rustfmt::skip]
unsafe extern "C" {
    fn faam_dv_match_new(index: u32, seed: u64) -> *mut c_void;
    fn faam_dv_match_run(bench: *mut c_void, stream: *const RawStream, end: *mut RawEnd);
}

/// One Verilated matcher and its bench.
pub struct Matcher {
    bench: Bench,
    is_spoilt: bool,
}

impl Matcher {
    /// The configurations that were built; the first is the largest.
    #[must_use]
    pub fn configurations() -> &'static [Configuration] {
        MATCHERS
    }

    /// A model of this configuration, its registers at random from `seed`, then reset. None where it was not built.
    #[must_use]
    pub fn new(configuration: Configuration, seed: u64) -> Option<Self> {
        let index = MATCHERS.iter().position(|built| *built == configuration)?;
        let index = u32::try_from(index).ok()?;
        // SAFETY: any index and seed may be given.
        let new = unsafe { faam_dv_match_new(index, seed) };
        // SAFETY: it is null, or a bench that is nobody else's.
        let bench = unsafe { Bench::owning(new) }?;
        let mut matcher = Self {
            bench,
            is_spoilt: false,
        };
        matcher.reset();
        Some(matcher)
    }

    /// Writes waveforms to a VCD file from now on. False where the build has none (feature `trace`) or the file cannot be written.
    pub fn trace(&mut self, path: &CStr) -> bool {
        self.bench.trace(path)
    }

    /// Resets the matcher.
    pub fn reset(&mut self) {
        self.bench.reset();
        self.is_spoilt = false;
    }

    /// Runs a stream to its end.
    ///
    /// # Errors
    /// [`RunError`]: a rule of the seam that was broken, no end, or a stream that does not fit the ports.
    pub fn run(&mut self, stream: &Stream<'_>, stalls: &Stalls) -> Result<Parsed, RunError> {
        if self.is_spoilt {
            self.reset();
        }
        let len = fits("start_len", stream.bytes.len(), STREAM_BYTES_MAX)?;
        let history_len = fits("start_hist", stream.history_len, HISTORY_BYTES_MAX)?;
        let tokens_max = len + 1;
        let mut tokens = vec![RawToken::default(); tokens_max as usize];
        let raw_stream = RawStream {
            bytes: stream.bytes.as_ptr(),
            tokens: tokens.as_mut_ptr(),
            seed: stalls.seed,
            cycles_max: JOB_CYCLES_MAX + u64::from(len) * BYTE_CYCLES_MAX,
            idle_max: IDLE_CYCLES_MAX,
            len,
            history_len,
            tokens_max,
            reserved: 0,
            input: stalls.input,
            output: stalls.output,
            ways: stream.ways,
            lazy: u8::from(stream.lazy),
            scrub: u8::from(stream.scrub),
            reserved_too: [0; 5],
        };
        let mut raw = RawEnd::default();
        // SAFETY: `bench` is ours, and nobody else calls it during `&mut self`. The structures are laid out as the shim's
        // (repr(C), the same fields in the same order). `bytes` has `len` bytes and `tokens` `tokens_max` places, beyond which the shim does not
        // write. Both outlive the call, and the shim keeps neither.
        unsafe { faam_dv_match_run(self.bench.handle(), &raw const raw_stream, &raw mut raw) };
        if raw.status != STATUS_DONE {
            self.is_spoilt = true;
            return Err(failure(&raw));
        }
        // The last one is the end.
        tokens.truncate((raw.tokens as usize).saturating_sub(1));
        Ok(Parsed {
            tokens: tokens.iter().map(token).collect(),
            cycles: raw.cycle.saturating_sub(raw.accepted),
            cycles_offered: raw.accepted,
        })
    }
}

fn token(raw: &RawToken) -> Token {
    let kind = match raw.kind {
        KIND_LITERAL => TokenKind::Literal(raw.literal),
        KIND_MATCH => TokenKind::Match(raw.length, raw.distance),
        unknown => TokenKind::Unknown(unknown),
    };
    Token {
        kind,
        cycle: raw.cycle,
    }
}

fn failure(raw: &RawEnd) -> RunError {
    Failure {
        status: raw.status,
        cycle: raw.cycle,
        taken: u64::from(raw.taken),
        given: u64::from(raw.tokens),
        signals: raw.signals,
        names: STREAMS,
    }
    .told()
}
