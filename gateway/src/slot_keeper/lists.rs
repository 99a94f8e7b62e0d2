//! What a kernel from an image means to the policy: for whom it serves, and for whom nothing serves beside it.
//!
//! Owns the numbers that the policy calls kernels by, which are the queue's kinds: a kernel for whoever has no list of images, and
//! one for each list. Invariant: a function's slots serve a list what the queue gives it to do there: the image of a list serves
//! it, and one that the list has not bars it from the whole function. It does not know who has which list.

use faam_hwif::slot::KERNEL_UUID_BYTES;
use faam_sched::slots::KernelSet;

use crate::job_queue::{KERNELS, PlacedList, list_bit};

/// The lists in use, as they were told last.
#[derive(Debug, Default)]
pub(super) struct Lists(Vec<PlacedList>);

impl Lists {
    /// These are in use now. What is another list's since the last time, or nobody's.
    pub(super) fn told(&mut self, now: Vec<PlacedList>) -> KernelSet {
        let stays = |before: &PlacedList| {
            let mut now = now.iter();
            now.any(|list| list.place == before.place && list.kernels == before.kernels)
        };
        let gone = self.0.iter().filter(|before| !stays(before));
        let gone = gone.flat_map(|list| (0..KERNELS).map(|kernel| of_list(list, kernel)));
        let gone = gone.fold(KernelSet::EMPTY, KernelSet::union);
        self.0 = now;
        gone
    }

    /// What an image serves whose kernel this is, and what it bars, that does `serves`.
    pub(super) fn meaning(
        &self,
        serves: KernelSet,
        kernel: [u8; KERNEL_UUID_BYTES],
    ) -> (KernelSet, KernelSet) {
        let (mut all, mut bars) = (serves, KernelSet::EMPTY);
        for list in &self.0 {
            let of = serves.iter().map(|kernel| of_list(list, kernel));
            let of = of.fold(KernelSet::EMPTY, KernelSet::union);
            match list.kernels.contains(&kernel) {
                true => all = all.union(of),
                false => bars = bars.union(of),
            }
        }
        (all, bars)
    }
}

/// Kernels that lists alone ask for.
pub(super) fn of_lists_alone(kernels: KernelSet) -> bool {
    let mut unlisted = 0..KERNELS;
    !kernels.is_empty() && !unlisted.any(|kernel| kernels.contains(kernel))
}

fn of_list(list: &PlacedList, kernel: usize) -> KernelSet {
    match kernel < KERNELS {
        true => KernelSet::of(list_bit(list.place, kernel)),
        false => KernelSet::EMPTY,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use faam_hwif::Serves;
    use faam_sched::Abilities;

    use super::*;
    use crate::allowed_images::AllowedImages;
    use crate::job_queue::{JobQueue, KINDS, Served, SlotKernel};
    use crate::tenants::{Tenant, TenantId, TenantLimits};

    fn list(place: usize, names: &[&str]) -> PlacedList {
        let kernels = names
            .iter()
            .map(|name| *faam_image::kernel_uuid(name).as_bytes());
        PlacedList {
            place,
            kernels: Arc::from_iter(kernels),
        }
    }

    fn kinds(of: &[(usize, usize)]) -> KernelSet {
        of.iter()
            .map(|(place, kernel)| KernelSet::of(list_bit(*place, *kernel)))
            .fold(KernelSet::EMPTY, KernelSet::union)
    }

    #[test]
    fn an_image_serves_its_lists_and_bars_the_others() {
        let mut lists = Lists::default();
        let told = vec![
            list(0, &["good"]),
            list(1, &["other", "good"]),
            list(19, &["other"]),
        ];
        assert_eq!(lists.told(told), KernelSet::EMPTY);
        let both = KernelSet::of(0).union(KernelSet::of(2));
        let good = *faam_image::kernel_uuid("good").as_bytes();
        let (serves, bars) = lists.meaning(both, good);
        let own = kinds(&[(0, 0), (0, 2), (1, 0), (1, 2)]);
        assert_eq!(serves, both.union(own));
        assert_eq!(bars, kinds(&[(19, 0), (19, 2)]));
        assert!(of_lists_alone(own) && !of_lists_alone(serves));
        assert!(!of_lists_alone(KernelSet::EMPTY));
    }

    #[test]
    fn what_came_of_a_list_is_gone_once_its_place_is_anothers() {
        let mut lists = Lists::default();
        lists.told(vec![list(0, &["good"]), list(1, &["other"])]);
        assert_eq!(
            lists.told(vec![list(0, &["good"]), list(1, &["new"])]),
            kinds(&[(1, 0), (1, 1), (1, 2)])
        );
        assert_eq!(
            lists.told(vec![list(1, &["new"])]),
            kinds(&[(0, 0), (0, 1), (0, 2)])
        );
        assert_eq!(lists.told(vec![list(1, &["new"])]), KernelSet::EMPTY);
    }

    /// What the policy takes a function to serve is what the queue gives it, whatever lists and slots are.
    #[test]
    fn the_policy_and_the_queue_agree_on_what_slots_serve_for_whom() {
        const SEED: u64 = 20_261_130;
        const NAMES: [&str; 4] = ["a", "b", "c", "d"];
        println!("seed {SEED}");
        let mut random = faam_sched::simulation::Random::new(SEED);
        let mut below = |bound: u64| usize::try_from(random.below(bound)).expect("small");
        let (mut barred, mut served) = (0, 0);
        for round in 0..200 {
            let queue = JobQueue::with_one_card();
            for tenant in 0..3 {
                let names = NAMES.iter().filter(|_| below(2) == 0).copied();
                let limits = TenantLimits {
                    images: Some(AllowedImages::new(names).expect("names")),
                    ..TenantLimits::default()
                };
                let id = TenantId::new(&format!("t{tenant}"));
                queue.set_tenant(&Tenant { id, limits });
            }
            let mut lists = Lists::default();
            lists.told(queue.kernel_demand().1);
            let active: Vec<_> = (0..below(4))
                .map(|_| SlotKernel {
                    serves: Serves(u8::try_from(below(8)).expect("three bits")),
                    kernel_uuid: *faam_image::kernel_uuid(NAMES[below(4)]).as_bytes(),
                })
                .collect();
            let (mut all, mut bars) = (KernelSet::EMPTY, KernelSet::EMPTY);
            for slot in &active {
                let (more, bar) =
                    lists.meaning(super::super::kernels(slot.serves), slot.kernel_uuid);
                all = all.union(more);
                bars = bars.union(bar);
            }
            queue.set_served(
                0,
                0,
                Served::Slots {
                    active,
                    changing: Vec::new(),
                },
            );
            for kind in 0..KINDS {
                let needs = Abilities(KernelSet::of(kind).0);
                let is_served = queue.any_card_serves(needs);
                let is_taken_to_be = all.without(bars).contains(kind);
                assert_eq!(is_served, is_taken_to_be, "round {round}, kind {kind}");
                barred += usize::from(all.intersection(bars).contains(kind));
                served += usize::from(is_served);
            }
        }
        assert!(barred > 0 && served > 0, "{barred} {served}");
    }
}
