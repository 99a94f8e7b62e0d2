//! What functions serve, and for whom: told by their supervisors, asked by whoever queues a job.
//!
//! Owns what becomes of a change: the scheduler is told, and who keeps kernels in slots is woken where jobs wait for what no card
//! serves. Invariants: a tenant's list of images holds from the call that sets it on, for what is queued from then on; a list that
//! found no place is given the first that comes free. It does not know how a slot is loaded.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use faam_sched::{Abilities, Nanos, Placement, TargetIndex, TargetSet};

use super::image_lists::{IMAGE_LISTS_MAX, ImageList, Served, kernels_of, of_kernels};
use super::places::Wake;
use super::{Core, JobQueue};
use crate::allowed_images::AllowedImages;
use crate::job::{BackendPolicy, FallbackReason, JobSpec};
use crate::tenants::{Tenant, TenantId};

impl Core {
    /// What the cards in service serve has changed. Whether jobs wait now for what none serves.
    pub(super) fn note_served(&mut self, all_cards: TargetSet, now: Instant) -> bool {
        let scheduler = &self.scheduler;
        self.kernels.note(now, |needs| {
            let on_cards = Placement::any_of(all_cards).needing(needs);
            !scheduler.effective(on_cards).is_empty()
        });
        self.kernels.note_waiting(now)
    }

    /// Tells the scheduler what every function is able to do.
    fn tell_abilities(&mut self, now: Nanos) {
        for place in self.functions.iter_mut() {
            let abilities = self.lists.abilities(&place.served);
            self.scheduler.set_abilities(place.target, abilities, now);
        }
    }

    /// The list of these images; whether functions have to be looked at for it.
    fn list(&mut self, tenant: &TenantId, images: &AllowedImages) -> (Arc<ImageList>, bool) {
        let (list, is_new) = self.lists.of(images);
        if is_new {
            self.kernels.begin_anew(list.kinds());
        }
        if list.waits_for_a_place() {
            tracing::error!(
                tenant = tenant.as_str(),
                "{IMAGE_LISTS_MAX} different lists of images are in use, and this tenant's is another: no card serves it until one \
                 of them is not used any more; give it the list of another tenant, or none"
            );
        }
        (list, is_new)
    }
}

impl JobQueue {
    /// A tenant's list of images, once it has let go of the one that it had.
    pub(super) fn list_of(&self, core: &mut Core, tenant: &Tenant) -> Option<Arc<ImageList>> {
        let images = tenant.limits.images.as_ref();
        if let Some(place) = core.tenants.get_mut(&tenant.id)
            && place.images.as_ref().map(|list| list.images()) != images
        {
            place.images = None;
        }
        let listed = images.map(|images| core.list(&tenant.id, images));
        let is_new = listed.as_ref().is_some_and(|(_, is_new)| *is_new);
        self.place_lists(core, is_new);
        core.any_list_waits |= listed
            .as_ref()
            .is_some_and(|(list, _)| list.waits_for_a_place());
        listed.map(|(list, _)| list)
    }

    /// Gives the lists of tenants that found no place one that came free, and has functions looked at where some list is new.
    pub(super) fn place_lists(&self, core: &mut Core, is_new: bool) {
        let (mut any_new, mut any_waits) = (is_new, false);
        let Core {
            lists,
            tenants,
            kernels,
            ..
        } = &mut *core;
        tenants.change_lists(|list| {
            if !list.waits_for_a_place() {
                return None;
            }
            if !lists.has_room_for(list.images()) {
                any_waits = true;
                return None;
            }
            let (placed, is_new) = lists.of(list.images());
            if is_new {
                kernels.begin_anew(placed.kinds());
            }
            any_new |= is_new;
            Some(placed)
        });
        core.any_list_waits = any_waits;
        if any_new {
            core.tell_abilities(self.now());
            if core.note_served(self.all_cards, Instant::now()) {
                self.tell_keeper();
            }
        }
    }

    /// Now and then: a list that waits for a place is given one that came free with the last job of another list.
    pub(crate) fn look_after_lists(&self) {
        let mut core = self.core.lock();
        if core.any_list_waits {
            self.place_lists(&mut core, false);
        }
    }

    /// Whether a tenant with this list would be told apart: there is a place for it, or the tenant's own comes free with it.
    pub(crate) fn has_room_for(&self, tenant: &TenantId, images: &AllowedImages) -> bool {
        let core = self.core.lock();
        let own = core.tenants.get(tenant);
        let own = own.and_then(|place| place.images.as_ref());
        core.lists.has_room_for(images)
            || own.is_some_and(|list| {
                list.images() == images || !list.waits_for_a_place() && Arc::strong_count(list) == 1
            })
    }

    /// What a function serves, and from what, from now on.
    pub(crate) fn set_served(&self, card: u8, function: u8, served: Served) {
        let mut core = self.core.lock();
        let Core {
            functions, lists, ..
        } = &mut *core;
        let Some(place) = functions.of_mut(card, function) else {
            return;
        };
        let abilities = lists.abilities(&served);
        place.served = served;
        let (target, now) = (place.target, self.now());
        if core.scheduler.abilities(target) == abilities {
            return;
        }
        core.scheduler.set_abilities(target, abilities, now);
        if core.note_served(self.all_cards, Instant::now()) {
            self.tell_keeper();
        }
        // Jobs that had no card may have one now, and those that had may now be the CPU's.
        self.wake_all(&core);
    }

    /// Whether a function is taken to serve just this.
    pub(crate) fn is_served(&self, card: u8, function: u8, served: &Served) -> bool {
        let core = self.core.lock();
        let place = core.functions.of(card, function);
        place.is_none_or(|place| {
            place.served == *served
                && core.scheduler.abilities(place.target) == core.lists.abilities(served)
        })
    }

    /// Whether a function holds a job that it would not be given any more, for another image may serve it now than its tenant
    /// is allowed.
    pub(crate) fn holds_beyond_lists(&self, card: u8, function: u8) -> bool {
        let core = self.core.lock();
        let place = core.functions.of(card, function);
        place.is_some_and(|place| place.holds_beyond(core.scheduler.abilities(place.target)))
    }

    /// Whether a function in service holds the kernel that a job needs.
    pub(crate) fn any_card_serves(&self, needs: Abilities) -> bool {
        let on_cards = Placement::any_of(self.all_cards).needing(needs);
        !self.core.lock().scheduler.effective(on_cards).is_empty()
    }

    /// The same of an image that the job's tenant may not use.
    pub(crate) fn any_image_serves(&self, needs: Abilities) -> bool {
        self.any_card_serves(of_kernels(kernels_of(needs)))
    }

    /// Whether a job that was placed so waits for a kernel to be loaded: there is a card for it, and none with the kernel.
    pub(super) fn waits_for_a_kernel(&self, core: &Core, placement: Placement) -> bool {
        core.scheduler.effective(placement).is_empty()
            && !placement.effective(core.scheduler.in_service()).is_empty()
    }

    /// The same, whatever the images that the job's tenant may use.
    pub(super) fn waits_for_any_image(&self, core: &Core, placement: Placement) -> bool {
        let needs = of_kernels(kernels_of(placement.needs));
        self.waits_for_a_kernel(core, placement.needing(needs))
    }

    /// Whether any card is in service.
    pub(crate) fn any_card_in_service(&self) -> bool {
        !self
            .core
            .lock()
            .scheduler
            .in_service()
            .intersection(self.all_cards)
            .is_empty()
    }

    /// Whether there are cards, and an operator has all their functions drained.
    pub(crate) fn cards_are_drained(&self) -> bool {
        self.cards_drained.load(Ordering::Acquire)
    }

    /// Note that an operator has a function drained, or no longer.
    pub(crate) fn note_drained(&self, card: u8, function: u8, on: bool) {
        let mut core = self.core.lock();
        if let Some(place) = core.functions.of_mut(card, function) {
            place.drained = on;
        }
        let drained = core.functions.are_drained();
        self.cards_drained.store(drained, Ordering::Release);
    }

    /// Why the CPU has a job that a card might have had as well, where an operator is the reason.
    pub(crate) fn drained_reason(&self, spec: &JobSpec) -> Option<FallbackReason> {
        let drained = spec.policy != BackendPolicy::Cpu && self.cards_are_drained();
        let for_cards = drained
            && self
                .placement(spec, None)
                .is_ok_and(|placement| !placement.allowed.intersection(self.all_cards).is_empty());
        for_cards.then_some(FallbackReason::Drained)
    }

    /// The scheduler's target for a function.
    pub(crate) fn target_of(&self, card: u8, function: u8) -> Option<TargetIndex> {
        let core = self.core.lock();
        Some(core.functions.of(card, function)?.target)
    }

    /// Jobs that a function holds.
    pub(crate) fn in_flight(&self, card: u8, function: u8) -> usize {
        let core = self.core.lock();
        let place = core.functions.of(card, function);
        place.map_or(0, |place| place.busy.jobs())
    }

    /// Put a function into service with what wakes its worker, or take it out.
    pub(crate) fn set_in_service(&self, card: u8, function: u8, wake: Option<Wake>) {
        let mut core = self.core.lock();
        let Some(place) = core.functions.of_mut(card, function) else {
            return;
        };
        let target = place.target;
        let on = wake.is_some();
        place.wake = wake;
        core.scheduler.set_in_service(target, on, self.now());
        if core.note_served(self.all_cards, Instant::now()) {
            self.tell_keeper();
        }
        // Jobs that preferred a card may now be the CPU's.
        self.wake_all(&core);
    }
}
