//! The shadow doorbell page of a queue, and when a kick or an interrupt is owed.
//!
//! Owns layout and arithmetic. The memory orderings that make the arithmetic sound
//! belong to whoever touches the page (see [`kick_needed`]).
//!
//! Page: a host line of 128 bytes, written by the host only, and a card line of
//! 128 bytes, written by the card only; 128 so that neither adjacent-line prefetch
//! nor false sharing couples the two writers. All cells are aligned `u32`,
//! free-running indices.

/// Size of a shadow page, bytes; it is aligned to its size.
pub const SHADOW_BYTES: u32 = 256;
/// Host line: submission queue tail, the index after the last entry written.
pub const SHADOW_SQ_TAIL: u32 = 0x00;
/// Host line: completion queue head, the index of the first entry not yet taken.
pub const SHADOW_CQ_HEAD: u32 = 0x04;
/// Host line: the completion index at whose writing an interrupt is wanted. `CQ_HEAD - 1` arms nothing.
pub const SHADOW_CQ_WANT: u32 = 0x08;
/// Card line: the submission index at whose writing a kick is wanted.
pub const SHADOW_SQ_EVENT: u32 = 0x80;

/// Whether moving an index from `old` to `new` passed `event`, so that the other side must be told.
///
/// Serves both ways: a kick is owed when the submission tail passes SQ_EVENT, an
/// interrupt when the completion tail passes CQ_WANT. In wrapping `u32`: true iff
/// `event` lies in `old .. new` (NVMe Base 2.0, Annex B.5 has the same test).
///
/// Submitting: write the entry; Release-store the tail; `fence(SeqCst)`; load the
/// event. The fence's partner is the card's, between storing its event and
/// re-reading the tail: with either missing, both sides can read the other's old
/// value, and a kick that was needed is lost.
#[must_use]
pub const fn kick_needed(event: u32, new: u32, old: u32) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn examples() {
        assert!(
            kick_needed(5, 6, 5),
            "the entry at the event index was written"
        );
        assert!(!kick_needed(6, 6, 5), "the event lies ahead");
        assert!(!kick_needed(4, 6, 5), "the event was passed before");
        assert!(!kick_needed(5, 5, 5), "nothing moved");
        assert!(kick_needed(u32::MAX, 1, u32::MAX - 1), "across the wrap");
    }

    proptest! {
        #[test]
        fn holds_iff_event_lies_in_the_step(old: u32, step in 0u32..4096, ahead in 0u32..8192) {
            let event = old.wrapping_sub(2048).wrapping_add(ahead);
            let within = event.wrapping_sub(old) < step;
            prop_assert_eq!(kick_needed(event, old.wrapping_add(step), old), within);
        }
    }
}
