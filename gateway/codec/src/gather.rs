//! Bytes collected until a field or a block is whole.

use crate::limits::Budget;

/// The bytes of one field, as far as they have come.
///
/// Memory grows with what came, by doubling, and never beyond what was asked for.
#[derive(Default)]
pub(crate) struct Gather {
    bytes: Vec<u8>,
}

impl Gather {
    /// Takes from `input` what is missing to `wanted` bytes; whether they are all there.
    pub(crate) fn fill(&mut self, wanted: usize, input: &mut &[u8], budget: &mut Budget) -> bool {
        let missing = wanted.saturating_sub(self.bytes.len());
        let taken = missing.min(input.len());
        if self.bytes.capacity() - self.bytes.len() < taken {
            let grown = taken.max(self.bytes.len()).min(missing);
            self.bytes.reserve_exact(grown);
        }
        self.bytes
            .extend_from_slice(input.get(..taken).unwrap_or_default());
        budget.advance(input, taken);
        self.bytes.len() >= wanted
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The `N` bytes from `at` on, little-endian fields being cut from them; zeros where there are none.
    pub(crate) fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        self.bytes
            .get(at..)
            .and_then(|rest| rest.first_chunk::<N>())
            .copied()
            .unwrap_or([0; N])
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }
}
