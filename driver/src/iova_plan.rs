//! Where a function sees memory: the arena, and its queues.
//!
//! Owns the choice. Invariants: both lie within ranges that the transport says may be mapped (the kernel
//! leaves the window of MSIs out of them), apart from each other; alike ranges give alike places. The arena is at one place
//! for all functions, because a job may move from one to another: the first function's ranges decide, the others must
//! have the same place or are not brought up.
//! It maps nothing.

use faam_hwif::Iova;

use crate::dma::{ARENA_IOVA, Arena};
use crate::transport::IovaRange;

/// Where the queues go if nothing is in the way: 64 GiB above the arena, within the 39 bits that every IOMMU has.
const QUEUES_IOVA: Iova = Iova((1 << 32) + (1 << 36));
/// Bytes from one queue's memory to the next: the largest takes 392 KiB.
pub(crate) const QUEUE_IOVA_STRIDE: u64 = 1 << 20;
/// Bytes that the queues of a function take at most.
const QUEUES_BYTES: u64 = faam_hwif::QUEUES_MAX as u64 * QUEUE_IOVA_STRIDE;
/// Places begin on such a boundary, that of a huge page.
const ALIGNMENT: u64 = 2 << 20;
/// Nothing is placed below: an address near 0 is more likely a mistake than a map.
const LOWEST: u64 = 1 << 20;

/// The places for one function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IovaPlan {
    /// The arena's first byte.
    pub arena: Iova,
    /// The first queue's first byte.
    pub queues: Iova,
}

/// There is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPlace {
    /// Where it would have gone with nothing in the way.
    pub iova: Iova,
    /// Bytes wanted.
    pub bytes: u64,
}

impl IovaPlan {
    /// Places in `ranges` for an arena of `arena_bytes`, which stays where it is if it has a place already.
    ///
    /// # Errors
    /// [`NoPlace`].
    pub fn within(
        ranges: &[IovaRange],
        arena_bytes: u64,
        placed: Option<Iova>,
    ) -> Result<Self, NoPlace> {
        let holds = |at, bytes| ranges.iter().any(|range| range.holds(at, bytes));
        let no_place = |iova, bytes| NoPlace { iova, bytes };
        let arena = match placed {
            Some(at) => holds(at, arena_bytes).then_some(at),
            None => {
                let mut starts = std::iter::once(ARENA_IOVA).chain(starts(ranges));
                starts.find(|at| holds(*at, arena_bytes))
            }
        };
        let arena = arena.ok_or(no_place(placed.unwrap_or(ARENA_IOVA), arena_bytes))?;
        let end = align(arena.0.saturating_add(arena_bytes));
        let apart = |at: Iova| {
            at.0 >= arena.0.saturating_add(arena_bytes)
                || at.0.saturating_add(QUEUES_BYTES) <= arena.0
        };
        let mut starts = [QUEUES_IOVA, Iova(end)].into_iter().chain(starts(ranges));
        let queues = starts.find(|at| apart(*at) && holds(*at, QUEUES_BYTES));
        Ok(Self {
            arena,
            queues: queues.ok_or(no_place(QUEUES_IOVA, QUEUES_BYTES))?,
        })
    }

    /// Places in `ranges` for `arena`, which has its place from here on.
    pub(crate) fn settle(ranges: &[IovaRange], arena: &Arena) -> Result<Self, NoPlace> {
        let bytes = arena.bytes() as u64;
        let plan = Self::within(ranges, bytes, arena.placed())?;
        match arena.place(plan.arena) {
            at if at == plan.arena => Ok(plan),
            // Another function was first.
            at => Self::within(ranges, bytes, Some(at)),
        }
    }

    /// The last byte that is mapped at most.
    #[must_use]
    pub fn last(&self, arena_bytes: u64) -> Iova {
        let arena = self.arena.0.saturating_add(arena_bytes);
        let queues = self.queues.0.saturating_add(QUEUES_BYTES);
        Iova(arena.max(queues).saturating_sub(1))
    }
}

/// The first place of each range.
fn starts(ranges: &[IovaRange]) -> impl Iterator<Item = Iova> {
    ranges
        .iter()
        .map(|range| Iova(align(range.first.0.max(LOWEST))))
}

/// The next boundary; near the end of the address space there is none, and nothing fits there either.
fn align(at: u64) -> u64 {
    at.checked_next_multiple_of(ALIGNMENT).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;
    const ARENA: u64 = 24 * MIB;

    fn range(first: u64, last: u64) -> IovaRange {
        IovaRange {
            first: Iova(first),
            last: Iova(last),
        }
    }

    fn within(ranges: &[IovaRange]) -> Result<IovaPlan, NoPlace> {
        IovaPlan::within(ranges, ARENA, None)
    }

    #[test]
    fn usual_ranges_give_the_usual_places() {
        let usual = [range(0, 0xFEDF_FFFF), range(0xFEF0_0000, (1 << 39) - 1)];
        let plan = IovaPlan {
            arena: ARENA_IOVA,
            queues: QUEUES_IOVA,
        };
        assert_eq!(within(&usual), Ok(plan));
    }

    #[test]
    fn what_is_in_the_way_is_gone_round() {
        // 32 bits of address, with the window of MSIs left out.
        let narrow = within(&[range(0, 0xFEDF_FFFF), range(0xFEF0_0000, 0xFFFF_FFFF)]);
        let plan = IovaPlan {
            arena: Iova(2 * MIB),
            queues: Iova(26 * MIB),
        };
        assert_eq!(narrow, Ok(plan));
        // Something reserved where the arena would go.
        let reserved = [range(0, 0xFFFF_FFFF), range(0x1_0010_0000, (1 << 48) - 1)];
        let plan = within(&reserved).unwrap();
        assert_eq!((plan.arena, plan.queues), (Iova(2 * MIB), QUEUES_IOVA));
    }

    #[test]
    fn an_arena_stays_where_it_is() {
        let wide = [range(0, (1 << 48) - 1)];
        let at = Iova(5 << 32);
        let plan = IovaPlan::within(&wide, ARENA, Some(at)).unwrap();
        assert_eq!(plan.arena, at);
        let narrow = [range(0, 0xFFFF_FFFF)];
        let refused = IovaPlan::within(&narrow, ARENA, Some(at));
        assert_eq!(
            refused,
            Err(NoPlace {
                iova: at,
                bytes: ARENA
            })
        );
        let arena = Arena::new(1 << 20).unwrap();
        let first = IovaPlan::settle(&narrow, &arena).unwrap();
        let second = IovaPlan::settle(&wide, &arena).unwrap();
        assert_eq!(first.arena, second.arena);
        assert_eq!(arena.alloc(4096, 0).unwrap().iova(), first.arena);
    }

    #[test]
    fn too_little_room_is_told() {
        assert!(within(&[]).is_err());
        assert!(within(&[range(0, ARENA - 1)]).is_err(), "not below 1 MiB");
        let arena_alone = [range(2 * MIB, 2 * MIB + ARENA - 1)];
        let queues = NoPlace {
            iova: QUEUES_IOVA,
            bytes: QUEUES_BYTES,
        };
        assert_eq!(within(&arena_alone), Err(queues));
    }

    proptest! {
        #[test]
        fn places_are_within_ranges_and_apart(
            cuts in prop::collection::btree_set(0u64..1 << 40, 0..12),
            arena_mib in 1u64..64,
        ) {
            let cuts: Vec<_> = cuts.into_iter().collect();
            let ranges: Vec<_> = cuts.chunks_exact(2).map(|pair| range(pair[0], pair[1])).collect();
            let bytes = arena_mib * MIB;
            if let Ok(plan) = IovaPlan::within(&ranges, bytes, None) {
                let holds = |at, bytes| ranges.iter().any(|range| range.holds(at, bytes));
                prop_assert!(holds(plan.arena, bytes) && holds(plan.queues, QUEUES_BYTES));
                let apart = plan.queues.0 >= plan.arena.0 + bytes
                    || plan.queues.0 + QUEUES_BYTES <= plan.arena.0;
                prop_assert!(apart, "{plan:?}");
            }
        }
    }
}
