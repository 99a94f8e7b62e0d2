//! What a change of slots gains and loses: which kernels are served before it, and which after.
//!
//! Owns what the slots of a group serve together: all that any of them serves, but for what one of them bars. Invariant: a change
//! is within one group, touches only slots that may change, and its gain and loss are those of all of its steps. It does not
//! know what a kernel is worth.

use super::{ImageView, KernelSet, LoadReason, SlotDecision, SlotView};

/// What makes room for a change; the better one first where they cost the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Room {
    /// Nothing is loaded: what is in the way goes.
    Way,
    /// A slot that holds nothing.
    Empty,
    /// Slots that hold something.
    Held,
}

/// Some slots of a group are emptied, and one may be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// Emptied first: they bar what is wanted.
    pub(super) emptied: Vec<usize>,
    /// Loaded at last: a slot, and the image that it is loaded with.
    pub(super) load: Option<(usize, usize)>,
    /// What is served after it and is not now.
    pub(super) gained: KernelSet,
    /// What is served now and is not after it.
    pub(super) lost: KernelSet,
}

impl Change {
    /// What is done first; what is left of it is then worth doing all the more.
    pub(super) fn first_step(&self, reason: LoadReason) -> Option<SlotDecision> {
        if let Some(&slot) = self.emptied.first() {
            return Some(SlotDecision::Unload { slot });
        }
        self.load.map(|(slot, image)| SlotDecision::Load {
            slot,
            image,
            reason,
            gains: self.gained,
        })
    }
}

/// A group's slots.
#[derive(Debug, Default)]
struct Group {
    number: usize,
    slots: Vec<usize>,
    /// What they serve.
    served: KernelSet,
    /// What other groups serve.
    elsewhere: KernelSet,
}

/// All slots as they stand.
#[derive(Debug)]
pub(super) struct Standing<'v> {
    slots: &'v [SlotView],
    groups: Vec<Group>,
}

impl<'v> Standing<'v> {
    pub(super) fn of(slots: &'v [SlotView]) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        for (number, slot) in slots.iter().enumerate() {
            match groups.iter_mut().find(|group| group.number == slot.group) {
                Some(group) => group.slots.push(number),
                None => groups.push(Group {
                    number: slot.group,
                    slots: vec![number],
                    ..Group::default()
                }),
            }
        }
        let mut standing = Self { slots, groups };
        let served: Vec<_> = standing
            .groups
            .iter()
            .map(|group| standing.together(group, |_| true, None))
            .collect();
        for (at, group) in standing.groups.iter_mut().enumerate() {
            group.served = served.get(at).copied().unwrap_or_default();
            let others = served.iter().enumerate().filter(|(other, _)| *other != at);
            group.elsewhere = others.fold(KernelSet::EMPTY, |all, (_, set)| all.union(*set));
        }
        standing
    }

    /// What is served now.
    pub(super) fn served(&self) -> KernelSet {
        let mut groups = self.groups.iter();
        groups.next().map_or(KernelSet::EMPTY, |first| {
            first.served.union(first.elsewhere)
        })
    }

    /// Where a change has its room from.
    pub(super) fn room_of(&self, change: &Change) -> Room {
        match change.load.and_then(|(slot, _)| self.slots.get(slot)) {
            None => Room::Way,
            Some(slot) if slot.serves.is_empty() && change.emptied.is_empty() => Room::Empty,
            Some(_) => Room::Held,
        }
    }

    /// Every change of slots that may go which gains a kernel that is `wanted`: each image that can be loaded in each slot, by itself
    /// and with all emptied that bars such a kernel; and that alone, where a slot is there that serves it.
    pub(super) fn changes(
        &self,
        images: &[ImageView],
        can_load: impl Fn(&ImageView) -> bool,
        wanted: KernelSet,
        may_go: impl Fn(&SlotView) -> bool,
        mut each: impl FnMut(Change),
    ) {
        let may_go = |slot: usize| {
            let slot = self.slots.get(slot);
            slot.is_some_and(|slot| slot.can_change && may_go(slot))
        };
        let served = self.served();
        for group in &self.groups {
            let mut offer = |emptied: Vec<usize>, load: Option<(usize, usize)>| {
                let loaded = load.map(|(slot, _)| slot);
                let goes = |slot| emptied.contains(&slot) || loaded == Some(slot);
                let image = load.and_then(|(_, image)| images.get(image));
                let after = self.together(group, |slot| !goes(slot), image);
                let after = after.union(group.elsewhere);
                let gained = after.without(served);
                if !gained.is_empty() {
                    each(Change {
                        emptied,
                        load,
                        gained,
                        lost: served.without(after),
                    });
                }
            };
            for kernel in wanted.without(served).iter() {
                let serves = |slot: &usize| {
                    let slot = self.slots.get(*slot);
                    slot.is_some_and(|slot| slot.serves.contains(kernel))
                };
                let barring = self.barring(group, kernel, None);
                if group.slots.iter().any(serves) && barring.iter().all(|slot| may_go(*slot)) {
                    offer(barring, None);
                }
            }
            for slot in group.slots.iter().copied().filter(|slot| may_go(*slot)) {
                for (number, image) in images.iter().enumerate() {
                    // What is gained besides is had without a load.
                    let new = image.serves.intersection(wanted).without(served);
                    if new.is_empty() || !can_load(image) {
                        continue;
                    }
                    offer(Vec::new(), Some((slot, number)));
                    for kernel in new.iter() {
                        let barring = self.barring(group, kernel, Some(slot));
                        if !barring.is_empty() && barring.iter().all(|slot| may_go(*slot)) {
                            offer(barring, Some((slot, number)));
                        }
                    }
                }
            }
        }
    }

    /// The slots of a group but one that bar a kernel.
    fn barring(&self, group: &Group, kernel: usize, but: Option<usize>) -> Vec<usize> {
        let bars = |slot: &usize| {
            let view = self.slots.get(*slot);
            Some(*slot) != but && view.is_some_and(|view| view.bars.contains(kernel))
        };
        group.slots.iter().copied().filter(bars).collect()
    }

    /// What the slots of a group that stay serve, with an image in one of the others.
    fn together(
        &self,
        group: &Group,
        stays: impl Fn(usize) -> bool,
        image: Option<&ImageView>,
    ) -> KernelSet {
        let staying = group.slots.iter().filter(|slot| stays(**slot));
        let staying = staying.filter_map(|slot| self.slots.get(*slot));
        let both = staying
            .map(|slot| (slot.serves, slot.bars))
            .chain(image.map(|image| (image.serves, image.bars)));
        let (serves, bars) = both.fold(
            (KernelSet::EMPTY, KernelSet::EMPTY),
            |(serves, bars), (more, barred)| (serves.union(more), bars.union(barred)),
        );
        serves.without(bars)
    }
}
