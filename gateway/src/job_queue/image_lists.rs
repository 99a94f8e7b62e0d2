//! Allow-lists of images, as the scheduler tells them apart: what a function is able to do for whom.
//!
//! Owns the meaning of [`Abilities`]: a bit for each kernel that a function serves, and for each list and kernel one that says
//! that the function serves it *from images of that list alone*. Why alone: a card gives a job to whichever of its slots serves
//! it. A list's bits are unset before another image may begin to serve, and set only once none can. Invariants: tenants with
//! the same list share a place, at most [`IMAGE_LISTS_MAX`] lists have one at a time, and a place is another list's only when
//! no tenant and no job has the former one any more; a tenant whose list found no place is served by no card. It knows no
//! tenant, and holds nothing of one but the list.

use std::sync::{Arc, Weak};

use faam_hwif::Serves;
use faam_hwif::slot::KERNEL_UUID_BYTES;
use faam_sched::Abilities;

use super::kernel_waits::KERNELS;
use crate::allowed_images::AllowedImages;

/// Different lists of images in use at once.
pub const IMAGE_LISTS_MAX: usize = 20;
/// Kinds of what is asked for: each kernel by whoever has no list, and each by each list; numbered as their bits are.
pub(crate) const KINDS: usize = KERNELS + IMAGE_LISTS_MAX * KERNELS;
/// The bit after the last list's, which no function has: of a list without a place.
const NOWHERE: usize = KINDS;

const _: () = assert!(NOWHERE < u64::BITS as usize, "a bit for each");

/// What a slot holds and serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotKernel {
    /// What for.
    pub(crate) serves: Serves,
    /// Its kernel's id.
    pub(crate) kernel_uuid: [u8; KERNEL_UUID_BYTES],
}

/// What a function serves from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// Not from slots: from no image.
    Fixed(Serves),
    /// From slots.
    Slots {
        /// Those that serve.
        active: Vec<SlotKernel>,
        /// What a slot held that is being changed, and what it is to hold: it may still serve, or serve already.
        changing: Vec<SlotKernel>,
    },
}

impl Default for Served {
    fn default() -> Self {
        Self::Fixed(Serves::ALL)
    }
}

/// A list in use. Whoever holds it keeps its place.
#[derive(Debug)]
pub(crate) struct ImageList {
    images: AllowedImages,
    kernels: Arc<[[u8; KERNEL_UUID_BYTES]]>,
    /// `None`: there was none.
    place: Option<usize>,
}

impl ImageList {
    fn new(images: &AllowedImages, place: Option<usize>) -> Arc<Self> {
        Arc::new(Self {
            kernels: images.kernels().collect(),
            images: images.clone(),
            place,
        })
    }

    /// What a card has to be able to do for a job that needs these kernels of it.
    pub(super) fn needs(&self, kernels: Abilities) -> Abilities {
        let bits = kernels.bits().map(|kernel| match self.place {
            Some(place) if kernel < KERNELS => bit(list_bit(place, kernel)),
            _ => bit(NOWHERE),
        });
        bits.fold(kernels, Abilities::with)
    }

    /// What it lists.
    pub(super) const fn images(&self) -> &AllowedImages {
        &self.images
    }

    /// The kinds of what its tenants ask for.
    pub(super) fn kinds(&self) -> Abilities {
        let place = self.place.into_iter();
        let all = place.flat_map(|place| (0..KERNELS).map(move |kernel| list_bit(place, kernel)));
        all.map(bit).fold(Abilities::default(), Abilities::with)
    }

    /// Whether it has no place, and could do with one.
    pub(super) fn waits_for_a_place(&self) -> bool {
        self.place.is_none() && !self.images.is_empty()
    }

    fn allows(&self, slot: &SlotKernel) -> bool {
        self.kernels.contains(&slot.kernel_uuid)
    }
}

/// A list with a place, as whoever loads kernels knows it.
#[derive(Clone, Debug)]
pub(crate) struct PlacedList {
    /// Its place.
    pub(crate) place: usize,
    /// The kernels of its images.
    pub(crate) kernels: Arc<[[u8; KERNEL_UUID_BYTES]]>,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct ImageLists([Weak<ImageList>; IMAGE_LISTS_MAX]);

impl ImageLists {
    /// The list of these images, and whether it is a new one, so that functions have to be looked at.
    pub(super) fn of(&mut self, images: &AllowedImages) -> (Arc<ImageList>, bool) {
        if images.is_empty() {
            // There is nothing to tell apart: no card serves it.
            return (ImageList::new(images, None), false);
        }
        if let Some(known) = self.known(images) {
            return (known, false);
        }
        let mut places = self.0.iter_mut().enumerate();
        match places.find(|(_, list)| list.strong_count() == 0) {
            Some((place, list)) => {
                let new = ImageList::new(images, Some(place));
                *list = Arc::downgrade(&new);
                (new, true)
            }
            None => (ImageList::new(images, None), false),
        }
    }

    /// Whether a tenant with this list would be told apart.
    pub(super) fn has_room_for(&self, images: &AllowedImages) -> bool {
        images.is_empty()
            || self.known(images).is_some()
            || self.0.iter().any(|list| list.strong_count() == 0)
    }

    /// Those that have a place.
    pub(super) fn placed(&self) -> Vec<PlacedList> {
        let lists = self.0.iter().filter_map(Weak::upgrade);
        let placed = lists.filter_map(|list| {
            Some(PlacedList {
                place: list.place?,
                kernels: Arc::clone(&list.kernels),
            })
        });
        placed.collect()
    }

    fn known(&self, images: &AllowedImages) -> Option<Arc<ImageList>> {
        let mut lists = self.0.iter().filter_map(Weak::upgrade);
        lists.find(|list| list.images == *images)
    }

    /// What a function is able to do.
    pub(super) fn abilities(&self, served: &Served) -> Abilities {
        let (active, changing) = match served {
            Served::Fixed(serves) => return of_kernels(*serves),
            Served::Slots { active, changing } => (active, changing),
        };
        let all = active
            .iter()
            .fold(Serves::NONE, |all, slot| all.with(slot.serves));
        let mut abilities = of_kernels(all);
        for list in self.0.iter().filter_map(Weak::upgrade) {
            let Some(place) = list.place else { continue };
            for kernel in of_kernels(all).bits() {
                let serving = active.iter().chain(changing);
                let mut serving = serving.filter(|slot| of_kernels(slot.serves).has(bit(kernel)));
                if serving.all(|slot| list.allows(slot)) {
                    abilities = abilities.with(bit(list_bit(place, kernel)));
                }
            }
        }
        abilities
    }
}

/// The bits of kernels.
pub(super) fn of_kernels(serves: Serves) -> Abilities {
    Abilities(u64::from(serves.0))
}

/// The kernels among all that a function is able to do.
pub(super) fn kernels_of(abilities: Abilities) -> Serves {
    let bits = abilities.bits().filter(|bit| *bit < KERNELS);
    Serves(bits.fold(0, |all, bit| all | 1 << bit))
}

/// What a function is not able to do any more that lacks a kernel of these: whoever's job it is.
pub(super) fn without_kernels(abilities: Abilities, needs: Abilities) -> Abilities {
    let lacks = |at: usize| match at {
        NOWHERE => false,
        at if at < KERNELS => needs.has(bit(at)),
        at => needs.has(bit((at - KERNELS) % KERNELS)),
    };
    let lost = abilities.bits().filter(|at| lacks(*at)).map(bit);
    lost.fold(abilities, Abilities::without)
}

/// The bits of lists among them: those that a job with a list is counted by.
pub(super) fn of_lists(abilities: Abilities) -> impl Iterator<Item = usize> {
    abilities
        .bits()
        .filter(|bit| (KERNELS..NOWHERE).contains(bit))
}

/// The kinds that a job counts as which needs this of a card: of its list where it has one; of none where that has no place.
pub(super) fn kinds_of(needs: Abilities) -> impl Iterator<Item = usize> {
    let kinds = match needs.bits().any(|bit| bit >= KERNELS) {
        true => KERNELS..KINDS,
        false => 0..KERNELS,
    };
    needs.bits().filter(move |bit| kinds.contains(bit))
}

/// The number of what a list in a place asks for with a kernel: its bit.
pub(crate) const fn list_bit(place: usize, kernel: usize) -> usize {
    KERNELS + place * KERNELS + kernel
}

/// A bit by its number.
pub(super) fn bit(at: usize) -> Abilities {
    let at = u32::try_from(at).unwrap_or(u32::MAX);
    Abilities(1u64.checked_shl(at).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(serves: Serves, name: &str) -> SlotKernel {
        SlotKernel {
            serves,
            kernel_uuid: *faam_image::kernel_uuid(name).as_bytes(),
        }
    }

    fn images(names: &[&str]) -> AllowedImages {
        AllowedImages::new(names.iter().copied()).expect("names")
    }

    fn slots(active: &[SlotKernel], changing: &[SlotKernel]) -> Served {
        Served::Slots {
            active: active.to_vec(),
            changing: changing.to_vec(),
        }
    }

    #[test]
    fn a_kernel_is_a_lists_where_nothing_else_can_serve_it() {
        let mut lists = ImageLists::default();
        let (list, is_new) = lists.of(&images(&["good", "inflate"]));
        assert!(is_new);
        let needs = |serves| list.needs(of_kernels(serves));
        let good = slot(Serves::FAST, "good");
        let other = slot(Serves::FAST, "other");
        let tables = slot(Serves::TABLES, "tables");
        for (served, fast) in [
            (slots(&[good], &[]), true),
            (slots(&[good, tables], &[]), true),
            (slots(&[good, good], &[]), true),
            (slots(&[other], &[]), false),
            (slots(&[good, other], &[]), false),
            // It may serve already, or still.
            (slots(&[good], &[other]), false),
            (slots(&[good], &[good]), true),
            (slots(&[], &[good]), false),
            (Served::Fixed(Serves::ALL), false),
        ] {
            let able = lists.abilities(&served);
            assert_eq!(able.has(needs(Serves::FAST)), fast, "{served:?}");
            assert!(!able.has(needs(Serves::TABLES)), "{served:?}");
            // Who has no list is served by what is active.
            let is_active = !matches!(&served, Served::Slots { active, .. } if active.is_empty());
            assert_eq!(able.has(of_kernels(Serves::FAST)), is_active, "{served:?}");
        }
    }

    #[test]
    fn a_list_has_its_place_while_somebody_has_it() {
        let mut lists = ImageLists::default();
        let name = |n: usize| images(&[format!("k{n}").as_str()]);
        let held: Vec<_> = (0..IMAGE_LISTS_MAX).map(|n| lists.of(&name(n)).0).collect();
        assert!(held.iter().all(|list| !list.waits_for_a_place()));
        assert!(Arc::ptr_eq(
            &lists.of(&name(7)).0,
            held.get(7).expect("held")
        ));
        assert!(lists.has_room_for(&name(7)) && !lists.has_room_for(&name(99)));
        let (beyond, is_new) = lists.of(&name(99));
        assert!(beyond.waits_for_a_place() && !is_new);
        // No card has what it needs, whatever its slots hold.
        let there = slots(&[slot(Serves::FAST, "k99")], &[]);
        let needs = beyond.needs(of_kernels(Serves::FAST));
        assert!(!lists.abilities(&there).has(needs));
        assert!(!lists.abilities(&Served::Fixed(Serves::ALL)).has(needs));
        // A list without images takes none.
        assert!(lists.has_room_for(&images(&[])) && !lists.of(&images(&[])).1);
        drop(held);
        let (placed, is_new) = lists.of(&name(99));
        assert!(!placed.waits_for_a_place() && is_new);
        let needs = placed.needs(of_kernels(Serves::FAST));
        assert!(lists.abilities(&there).has(needs));
    }

    #[test]
    fn a_kernel_that_is_lacking_is_lacking_for_every_list() {
        let mut lists = ImageLists::default();
        let (list, _) = lists.of(&images(&["good"]));
        let both = slots(&[slot(Serves::FAST.with(Serves::TABLES), "good")], &[]);
        let able = lists.abilities(&both);
        let left = without_kernels(able, of_kernels(Serves::FAST));
        assert_eq!(kernels_of(left), Serves::TABLES);
        assert!(!left.has(list.needs(of_kernels(Serves::FAST))));
        assert!(left.has(list.needs(of_kernels(Serves::TABLES))));
        assert_eq!(of_lists(left).count(), 1);
    }

    #[test]
    fn every_bit_has_one_meaning() {
        let mut lists = ImageLists::default();
        let held: Vec<_> = (0..IMAGE_LISTS_MAX)
            .map(|n| lists.of(&images(&[format!("k{n}").as_str()])).0)
            .collect();
        let mut seen = of_kernels(Serves::ALL);
        for list in &held {
            let own = list
                .needs(of_kernels(Serves::ALL))
                .without(of_kernels(Serves::ALL));
            assert_eq!(own.bits().count(), KERNELS);
            assert_eq!(seen.without(own), seen, "shared with another");
            seen = seen.with(own);
        }
        assert_eq!(seen.bits().count(), NOWHERE);
        let beyond = lists.of(&images(&["beyond"])).0;
        for list in held.iter().chain([&beyond]) {
            let needs = list.needs(of_kernels(Serves::FAST));
            let kinds: Vec<_> = kinds_of(needs).collect();
            let own: Vec<_> = list.kinds().bits().take(1).collect();
            assert_eq!(kinds, own, "{list:?}");
        }
        assert_eq!(kinds_of(of_kernels(Serves::ALL)).count(), KERNELS);
        assert_eq!(lists.placed().len(), IMAGE_LISTS_MAX);
    }
}
