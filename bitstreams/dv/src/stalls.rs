//! How the far side of each stream behaves: when it stalls, and how short its beats are.
//!
//! Invariant: with the same seed the same cycles stall, whatever the engine does in them.

/// How one stream stalls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Stall {
    /// Chance, of 256, that a stall begins in a cycle without one.
    pub begins_of_256: u16,
    /// A stall lasts from one to this many cycles.
    pub cycles_max: u16,
    /// A ready that comes only once valid was seen: who waits for ready with its valid hangs.
    pub after_valid: u8,
    reserved: [u8; 3],
}

impl Stall {
    /// A stream that never stalls.
    pub const NONE: Self = Self::new(0, 0, false);

    /// A stall in this form.
    #[must_use]
    pub const fn new(begins_of_256: u16, cycles_max: u16, after_valid: bool) -> Self {
        Self {
            begins_of_256,
            cycles_max,
            after_valid: after_valid as u8,
            reserved: [0; 3],
        }
    }
}

/// How all of a job's streams stall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stalls {
    /// What all chances are drawn from.
    pub seed: u64,
    /// Bytes into the engine.
    pub input: Stall,
    /// Bytes, or tokens, out of it.
    pub output: Stall,
    /// Its requests for spans.
    pub fetch: Stall,
    /// Its report.
    pub done: Stall,
    /// Chance, of 256, that a beat into the engine has fewer bytes than it could.
    pub short_of_256: u16,
}

impl Stalls {
    /// Streams that flow freely: memory that never makes the engine wait.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            seed: 0,
            input: Stall::NONE,
            output: Stall::NONE,
            fetch: Stall::NONE,
            done: Stall::NONE,
            short_of_256: 0,
        }
    }
}
