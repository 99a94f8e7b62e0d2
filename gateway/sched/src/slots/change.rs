//! What a load gains and loses: which kernels are served before it, and which after.
//!
//! Owns what the slots of a group serve together: all that any of them serves, but for what one of them bars. Invariant: a change
//! is one load into one slot that may change, so that none is ever half done. It does not know what a kernel is worth.

use super::{ImageView, KernelSet, LoadReason, SlotDecision, SlotView};

/// Changes that are looked at for one decision: what is beyond is not looked at while those before it stand. Far more than there are
/// with dozens of functions and a store of images, for what does the same is looked at once.
pub(super) const OFFERS_MAX: usize = 8_192;

/// An image is loaded into a slot, in place of what that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// The slot.
    pub(super) slot: usize,
    /// The image.
    pub(super) image: usize,
    /// Whether the slot serves something until then.
    pub(super) replaces: bool,
    /// What is served after it and is not now.
    pub(super) gained: KernelSet,
    /// What is served now and is not after it.
    pub(super) lost: KernelSet,
}

impl Change {
    /// To be done, for what of its gain somebody wants.
    pub(super) const fn decision(&self, reason: LoadReason, wanted: KernelSet) -> SlotDecision {
        SlotDecision::Load {
            slot: self.slot,
            image: self.image,
            reason,
            gains: self.gained.intersection(wanted),
        }
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
            .map(|group| standing.together(group, None))
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

    /// The changes that gain a kernel which is `wanted`, of slots that may go and images that can be loaded; where several do the
    /// same, the first; [`OFFERS_MAX`] at most.
    pub(super) fn changes(
        &self,
        images: &[ImageView],
        can_load: impl Fn(&ImageView) -> bool,
        wanted: KernelSet,
        may_go: impl Fn(&SlotView) -> bool,
        mut each: impl FnMut(Change),
    ) {
        let served = self.served();
        let missing = wanted.without(served);
        let mut loadable: Vec<(usize, &ImageView)> = Vec::new();
        for (number, image) in images.iter().enumerate() {
            let does = |it: &ImageView| (it.serves, it.bars, it.load);
            let is_known = |(_, other): &(usize, &ImageView)| does(other) == does(image);
            if !image.serves.intersection(missing).is_empty()
                && can_load(image)
                && !loadable.iter().any(is_known)
            {
                loadable.push((number, image));
            }
        }
        if loadable.is_empty() {
            return;
        }
        let mut offers = 0;
        for group in &self.groups {
            let mut tried: Vec<(KernelSet, KernelSet)> = Vec::new();
            for (slot, view) in self.of_group(group) {
                let does = (view.serves, view.bars);
                if !view.can_change || !may_go(view) || tried.contains(&does) {
                    continue;
                }
                tried.push(does);
                for (image, loaded) in &loadable {
                    if offers == OFFERS_MAX {
                        return;
                    }
                    offers += 1;
                    let after = self.together(group, Some((slot, loaded)));
                    let after = after.union(group.elsewhere);
                    let gained = after.without(served);
                    if !gained.intersection(wanted).is_empty() {
                        each(Change {
                            slot,
                            image: *image,
                            replaces: !view.serves.is_empty(),
                            gained,
                            lost: served.without(after),
                        });
                    }
                }
            }
        }
    }

    fn of_group<'s>(
        &'s self,
        group: &'s Group,
    ) -> impl Iterator<Item = (usize, &'v SlotView)> + 's {
        let slots = group.slots.iter();
        slots.filter_map(|slot| Some((*slot, self.slots.get(*slot)?)))
    }

    /// What the slots of a group serve, with an image in one of them in place of what that holds.
    fn together(&self, group: &Group, load: Option<(usize, &ImageView)>) -> KernelSet {
        let replaced = load.map(|(slot, _)| slot);
        let stay = self
            .of_group(group)
            .filter(|(slot, _)| Some(*slot) != replaced)
            .map(|(_, view)| (view.serves, view.bars));
        let both = stay.chain(load.map(|(_, image)| (image.serves, image.bars)));
        let (serves, bars) = both.fold(
            (KernelSet::EMPTY, KernelSet::EMPTY),
            |(serves, bars), (more, barred)| (serves.union(more), bars.union(barred)),
        );
        serves.without(bars)
    }
}
