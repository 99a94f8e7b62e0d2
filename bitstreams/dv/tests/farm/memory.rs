//! Memory for the farm, with a spy in it.
//!
//! Owns what lies at an address, who may touch it, and the order in which it was touched. Invariant: nothing is written but
//! through [`Port`] and by the test itself, and each access of the farm's is in the log.

use std::ops::Range;

use faam_dv::farm::{Port, Refused};

/// Where the memory begins.
pub(crate) const BASE: u64 = 0x1_4000_0000;
/// Bytes of it.
pub(crate) const BYTES: u64 = 4 << 20;

/// One access of the farm's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Touch {
    Read(Range<u64>),
    Write { at: Range<u64>, unanswered: u32 },
    Refused(u64),
    Interrupt(u16),
}

/// The memory.
pub(crate) struct Memory {
    bytes: Vec<u8>,
    /// Not to be read, not to be written.
    pub(crate) unreadable: Vec<Range<u64>>,
    pub(crate) unwritable: Vec<Range<u64>>,
    /// Nothing may be touched: an access is a fault of the farm's.
    pub(crate) is_closed: bool,
    pub(crate) log: Vec<Touch>,
    /// Accesses while it was closed.
    pub(crate) breaches: Vec<Touch>,
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; BYTES as usize],
            unreadable: Vec::new(),
            unwritable: Vec::new(),
            is_closed: false,
            log: Vec::new(),
            breaches: Vec::new(),
        }
    }

    fn place(at: u64, bytes: usize) -> Option<Range<usize>> {
        let first = usize::try_from(at.checked_sub(BASE)?).ok()?;
        let end = first.checked_add(bytes)?;
        (end <= BYTES as usize).then_some(first..end)
    }

    /// What lies there.
    pub(crate) fn get(&self, at: u64, bytes: usize) -> &[u8] {
        &self.bytes[Self::place(at, bytes).expect("the test's own memory")]
    }

    /// Puts bytes there.
    pub(crate) fn put(&mut self, at: u64, from: &[u8]) {
        let place = Self::place(at, from.len()).expect("the test's own memory");
        self.bytes[place].copy_from_slice(from);
    }

    fn note(&mut self, touch: Touch) {
        if self.is_closed {
            self.breaches.push(touch.clone());
        }
        self.log.push(touch);
    }
}

impl Port for Memory {
    fn read(&mut self, iova: u64, into: &mut [u8]) -> Result<(), Refused> {
        let at = iova..iova.wrapping_add(into.len() as u64);
        let place = Self::place(iova, into.len())
            .filter(|_| !self.unreadable.iter().any(|range| overlap(range, &at)));
        let Some(place) = place else {
            self.note(Touch::Refused(iova));
            return Err(Refused);
        };
        into.copy_from_slice(&self.bytes[place]);
        self.note(Touch::Read(at));
        Ok(())
    }

    fn write(&mut self, iova: u64, from: &[u8], unanswered: u32) -> Result<(), Refused> {
        let at = iova..iova.wrapping_add(from.len() as u64);
        let place = Self::place(iova, from.len())
            .filter(|_| !self.unwritable.iter().any(|range| overlap(range, &at)));
        let Some(place) = place else {
            self.note(Touch::Refused(iova));
            return Err(Refused);
        };
        self.bytes[place].copy_from_slice(from);
        self.note(Touch::Write { at, unanswered });
        Ok(())
    }

    fn interrupt(&mut self, vector: u16) {
        self.note(Touch::Interrupt(vector));
    }
}
