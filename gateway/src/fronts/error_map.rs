//! From our problems to a platform's errors: one table a front.
//!
//! Invariant: a front answers each kind of problem as its table says, and as nothing else says; the page is written from the
//! tables. It knows no platform.

use crate::error::ProblemKind;

/// What a platform's client is told of a kind of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The platform's HTTP status.
    pub status: u16,
    /// The platform's name for it: an exception's, a header's value; empty where it has none.
    pub name: &'static str,
    /// How the platform takes it, in a few words: retried by its client, the function's own error, ...
    pub taken: &'static str,
}

/// One front's table.
pub trait ErrorMap {
    /// The platform, as the page names it.
    const PLATFORM: &'static str;

    /// What becomes of one kind of problem.
    fn map(kind: ProblemKind) -> Mapped;
}
