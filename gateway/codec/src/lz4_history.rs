//! The data before an lz4 block that its matches may reach back into, where blocks are linked.
//!
//! Invariant: however small the blocks, keeping the history moves each byte once at the most, on average.

/// How far back a match may reach: its offset has 16 bits.
const REACH_BYTES: usize = 64 << 10;
/// History is cut back to its reach only once it is as long as this.
const KEPT_BYTES_MAX: usize = 2 * REACH_BYTES;

/// The end of a frame's data so far.
#[derive(Default)]
pub(crate) struct Lz4History {
    data: Vec<u8>,
    /// Bytes that were moved to the front.
    #[cfg(test)]
    moved: usize,
}

impl Lz4History {
    /// The last 64 KiB at the most.
    pub(crate) fn bytes(&self) -> &[u8] {
        let from = self.data.len().saturating_sub(REACH_BYTES);
        self.data.get(from..).unwrap_or_default()
    }

    /// Appends a block's data.
    pub(crate) fn push(&mut self, block: &[u8]) {
        let from = block.len().saturating_sub(REACH_BYTES);
        let reached = block.get(from..).unwrap_or_default();
        if self.data.len() + reached.len() > KEPT_BYTES_MAX {
            let kept = REACH_BYTES - reached.len();
            let dropped = self.data.len().saturating_sub(kept);
            self.data.drain(..dropped);
            #[cfg(test)]
            {
                self.moved += self.data.len();
            }
        } else if self.data.capacity() == 0 {
            self.data.reserve_exact(KEPT_BYTES_MAX);
        }
        self.data.extend_from_slice(reached);
    }

    pub(crate) fn clear(&mut self) {
        self.data.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_end_of_all_data_and_moves_no_more_than_came() {
        for len in [1, 2, 255, 4_096, 40_000, 65_535, 65_536, 65_537, 300_000] {
            let mut history = Lz4History::default();
            let mut all = Vec::new();
            let blocks = (200_000usize).div_ceil(len).max(3);
            for number in 0..blocks {
                let byte = u8::try_from(number % 251).expect("a byte");
                let block = vec![byte; len];
                history.push(&block);
                all.extend_from_slice(&block);
                if number % 997 == 0 || len > 1_000 {
                    let from = all.len().saturating_sub(REACH_BYTES);
                    assert!(history.bytes() == &all[from..], "{number} blocks of {len}");
                }
            }
            assert!(
                history.moved <= all.len(),
                "{} bytes moved for {} of data in blocks of {len}",
                history.moved,
                all.len()
            );
            assert!(history.data.capacity() <= KEPT_BYTES_MAX);
        }
    }
}
