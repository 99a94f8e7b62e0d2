//! The places in the queue: a tenant's with its room and scrub domain, a function's with what wakes it.
//!
//! Invariant: a scrub domain is given out once, for what a card remembers of one tenant must never be another's. It does
//! not know in which order anything is served.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Instant;

use faam_sched::{Abilities, TargetIndex, TargetSet, TenantConfig, TenantIndex};

use super::image_lists::{ImageList, Served, of_lists};
use crate::busy::Busy;
use crate::queue_room::QueueRoom;
use crate::tenants::{Tenant, TenantId};

/// Jobs that one function holds at most, as the driver's workers have it.
const FUNCTION_JOBS_MAX: usize = 512;

/// Makes a sleeping queue-pair worker look for jobs.
pub(crate) type Wake = Box<dyn Fn() + Send + Sync>;

/// A tenant's queue.
#[derive(Clone)]
pub(crate) struct TenantPlace {
    pub(crate) index: TenantIndex,
    /// Its scrub domain on a card.
    pub(crate) context: u32,
    /// As many permits as the queue has places.
    pub(crate) room: Arc<QueueRoom>,
    /// The images that may serve it, where not every one may.
    pub(crate) images: Option<Arc<ImageList>>,
    /// Where it stands in the order of all.
    at: usize,
}

/// Every tenant's.
#[derive(Default)]
pub(super) struct TenantPlaces {
    tenants: HashMap<TenantId, TenantPlace>,
    /// The same in an order that stays, for whoever looks at some and goes on later; with gaps where tenants were removed.
    order: Vec<Option<(TenantId, TenantIndex)>>,
    gaps: Vec<usize>,
    /// Scrub domains given out so far, to tenants that were removed as well.
    contexts: u32,
}

impl TenantPlaces {
    pub(super) fn get(&self, tenant: &TenantId) -> Option<&TenantPlace> {
        self.tenants.get(tenant)
    }

    pub(super) fn get_mut(&mut self, tenant: &TenantId) -> Option<&mut TenantPlace> {
        self.tenants.get_mut(tenant)
    }

    /// Changes the lists of tenants that have one, where there is another for it.
    pub(super) fn change_lists(
        &mut self,
        mut other: impl FnMut(&ImageList) -> Option<Arc<ImageList>>,
    ) {
        // Most have none, or one with a place: this is a look at each, as any change of what targets do is.
        for place in self.tenants.values_mut() {
            if let Some(list) = &mut place.images
                && let Some(other) = other(list)
            {
                *list = other;
            }
        }
    }

    /// The places from `from` on in the order of all, at most `max` of them; none beyond the last.
    pub(super) fn some(&self, from: usize, max: usize) -> &[Option<(TenantId, TenantIndex)>] {
        let rest = self.order.get(from..).unwrap_or_default();
        rest.get(..max).unwrap_or(rest)
    }

    /// A place for a tenant that has none, with so much room. `None` once there are no more scrub domains.
    pub(super) fn add(
        &mut self,
        tenant: &Tenant,
        room: usize,
        images: Option<Arc<ImageList>>,
        index: impl FnOnce() -> TenantIndex,
    ) -> Option<()> {
        self.contexts = self.contexts.checked_add(1)?;
        let at = self.gaps.pop().unwrap_or_else(|| {
            self.order.push(None);
            self.order.len() - 1
        });
        let place = TenantPlace {
            index: index(),
            context: self.contexts,
            room: QueueRoom::new(room),
            images,
            at,
        };
        if let Some(entry) = self.order.get_mut(at) {
            *entry = Some((tenant.id.clone(), place.index));
        }
        self.tenants.insert(tenant.id.clone(), place);
        Some(())
    }

    /// Takes a tenant's place away; whoever waits for room in it waits no longer.
    pub(super) fn remove(&mut self, tenant: &TenantId) -> Option<TenantPlace> {
        let place = self.tenants.remove(tenant)?;
        place.room.close();
        if let Some(entry) = self.order.get_mut(place.at) {
            *entry = None;
            self.gaps.push(place.at);
        }
        Some(place)
    }
}

/// What the scheduler is told of a tenant with so much room in its queue.
pub(super) fn promised(tenant: &Tenant, room: usize) -> TenantConfig {
    let limits = &tenant.limits;
    TenantConfig {
        weight: limits.weight,
        cir_us_per_s: limits.cir_us_per_s,
        pir_us_per_s: limits.pir_us_per_s,
        pir_burst: faam_sched::Nanos(limits.pir_burst_us.saturating_mul(1_000)),
        // The permits are the bound; jobs that come back for a replay hold none and have room on top: as many as all functions
        // may hold, or a tenant of few places would be refused a place that it has.
        queued_max: room.saturating_add(faam_sched::TARGETS_MAX * FUNCTION_JOBS_MAX),
    }
}

/// A function of a card.
pub(super) struct FunctionPlace {
    pub(super) card: u8,
    pub(super) function: u8,
    pub(super) target: TargetIndex,
    pub(super) wake: Option<Wake>,
    /// An operator has it get no more jobs.
    pub(super) drained: bool,
    pub(super) busy: Busy,
    /// What it serves from, as its supervisor said.
    pub(super) served: Served,
    /// Jobs with a list of images that it holds, by the ability that they need.
    listed: HashMap<usize, usize>,
}

impl FunctionPlace {
    /// Whether it holds a job of whoever's list it would not be given now.
    pub(super) fn holds_beyond(&self, abilities: Abilities) -> bool {
        let has = |bit: usize| abilities.bits().any(|other| other == bit);
        self.listed.keys().any(|bit| !has(*bit))
    }
}

/// Every function of every card.
#[derive(Default)]
pub(super) struct FunctionPlaces(Vec<FunctionPlace>);

impl FunctionPlaces {
    pub(super) fn add(&mut self, card: u8, function: u8, target: TargetIndex) {
        self.0.push(FunctionPlace {
            card,
            function,
            target,
            wake: None,
            drained: false,
            busy: Busy::default(),
            served: Served::default(),
            listed: HashMap::new(),
        });
    }

    pub(super) fn of(&self, card: u8, function: u8) -> Option<&FunctionPlace> {
        let mut places = self.0.iter();
        places.find(|place| (place.card, place.function) == (card, function))
    }

    pub(super) fn of_mut(&mut self, card: u8, function: u8) -> Option<&mut FunctionPlace> {
        let mut places = self.0.iter_mut();
        places.find(|place| (place.card, place.function) == (card, function))
    }

    fn at(&mut self, target: TargetIndex) -> Option<&mut FunctionPlace> {
        self.0.iter_mut().find(|place| place.target == target)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut FunctionPlace> {
        self.0.iter_mut()
    }

    /// A function has a job in its hands that needs this of it.
    pub(super) fn begin(&mut self, target: TargetIndex, needs: Abilities) {
        if let Some(place) = self.at(target) {
            place.busy.begin(Instant::now());
            for bit in of_lists(needs) {
                *place.listed.entry(bit).or_default() += 1;
            }
        }
    }

    /// It has it no longer.
    pub(super) fn end(&mut self, target: TargetIndex, needs: Abilities) {
        if let Some(place) = self.at(target) {
            place.busy.end(Instant::now());
            for bit in of_lists(needs) {
                if let Entry::Occupied(mut held) = place.listed.entry(bit) {
                    *held.get_mut() = held.get().saturating_sub(1);
                    if *held.get() == 0 {
                        held.remove();
                    }
                }
            }
        }
    }

    /// Whether there are any, and an operator has all of them drained.
    pub(super) fn are_drained(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|place| place.drained)
    }

    /// Have the workers of these functions look for jobs.
    pub(super) fn wake(&self, targets: TargetSet) {
        for place in &self.0 {
            if let Some(wake) = place
                .wake
                .as_ref()
                .filter(|_| targets.contains(place.target))
            {
                wake();
            }
        }
    }
}
