//! Placement classes: jobs that may run in the same places, and whose flow is next among them.
//!
//! Why a class a placement: a target finds the flows that it may serve in the order of their tags without looking at any
//! other, however many there are; and a share tag is compared only where the same targets are shared, so that one that
//! moves fast because a card serves it holds nobody up who waits for the CPU. Invariants: a flow stands in its class's sets
//! exactly while it has jobs and its tenant is not limited; every operation is logarithmic in the flows of a class. There
//! are as many classes as kinds of placement are in use at once: a handful, and one for each set of targets that a job came
//! back from.

use std::collections::BTreeSet;

use crate::tags::ShareTag;
use crate::target::{Placement, Serving, TargetIndex, TargetSet};

/// One class, and which of its successive meanings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClassKey {
    pub(crate) index: u16,
    epoch: u32,
}

#[derive(Debug)]
struct Class {
    placement: Placement,
    /// Where its jobs may run as things are.
    effective: TargetSet,
    epoch: u32,
    /// Jobs of it that wait, also of limited tenants.
    queued: usize,
    /// Flows that may be served, by share tag and tenant.
    shares: BTreeSet<(ShareTag, u32)>,
    /// Those with a guarantee, by when they are due.
    due: BTreeSet<(u64, u32)>,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    classes: Vec<Class>,
}

/// A flow on its turn: its key in its order, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn<K> {
    pub(crate) key: K,
    pub(crate) place: u32,
    pub(crate) class: u16,
}

impl Classes {
    /// The class of a placement; one that nobody uses is made into it where there is none.
    pub(crate) fn of(&mut self, placement: Placement, serving: &Serving) -> ClassKey {
        let known = |class: &Class| class.placement == placement;
        let at = match self.classes.iter().position(known) {
            Some(at) => at,
            None => {
                let new = Class {
                    placement,
                    effective: serving.effective(placement),
                    epoch: 0,
                    queued: 0,
                    shares: BTreeSet::new(),
                    due: BTreeSet::new(),
                };
                // The common placements come first and stay: the one used up last is made into the new one.
                match self.classes.iter().rposition(|class| class.queued == 0) {
                    Some(at) if self.classes.len() >= CLASSES_KEPT_MAX => {
                        let epoch = self.classes[at].epoch.wrapping_add(1);
                        self.classes[at] = Class { epoch, ..new };
                        at
                    }
                    _ => {
                        self.classes.push(new);
                        self.classes.len() - 1
                    }
                }
            }
        };
        self.key(at)
    }

    fn key(&self, at: usize) -> ClassKey {
        ClassKey {
            index: u16::try_from(at).unwrap_or(u16::MAX),
            epoch: self.classes.get(at).map_or(0, |class| class.epoch),
        }
    }

    /// The present key of a class by its number.
    pub(crate) fn key_of(&self, index: u16) -> ClassKey {
        self.key(usize::from(index))
    }

    /// Where jobs of a class may run as things are; nowhere for a key of something else by now.
    pub(crate) fn effective(&self, key: ClassKey) -> TargetSet {
        self.live(key)
            .map_or(TargetSet::EMPTY, |class| class.effective)
    }

    /// All where jobs of a class may ever run.
    pub(crate) fn allowed(&self, key: ClassKey) -> TargetSet {
        self.live(key)
            .map_or(TargetSet::EMPTY, |class| class.placement.allowed)
    }

    fn live(&self, key: ClassKey) -> Option<&Class> {
        let class = self.classes.get(usize::from(key.index))?;
        (class.epoch == key.epoch).then_some(class)
    }

    fn live_mut(&mut self, key: ClassKey) -> Option<&mut Class> {
        let class = self.classes.get_mut(usize::from(key.index))?;
        (class.epoch == key.epoch).then_some(class)
    }

    /// Tenants with jobs that may be served now, at most so many; one comes once for each class that it has jobs of.
    pub(crate) fn standing(&self, max: usize) -> impl Iterator<Item = u32> {
        let shares = self.classes.iter().flat_map(|class| &class.shares);
        shares.map(|(_, place)| *place).take(max)
    }

    /// A job more waits, or one less.
    pub(crate) fn count(&mut self, key: ClassKey, more: bool) {
        if let Some(class) = self.live_mut(key) {
            class.queued = match more {
                true => class.queued.saturating_add(1),
                false => class.queued.saturating_sub(1),
            };
        }
    }

    /// A flow may be served.
    pub(crate) fn enter(&mut self, key: ClassKey, share: ShareTag, due: Option<u64>, place: u32) {
        if let Some(class) = self.live_mut(key) {
            class.shares.insert((share, place));
            if let Some(due) = due {
                class.due.insert((due, place));
            }
        }
    }

    /// A flow that was entered with these tags may not be served any more.
    pub(crate) fn leave(&mut self, key: ClassKey, share: ShareTag, due: Option<u64>, place: u32) {
        if let Some(class) = self.live_mut(key) {
            class.shares.remove(&(share, place));
            if let Some(due) = due {
                class.due.remove(&(due, place));
            }
        }
    }

    fn for_target(&self, target: TargetIndex) -> impl Iterator<Item = (u16, &Class)> {
        (0u16..)
            .zip(&self.classes)
            .filter(move |(_, class)| class.effective.contains(target))
    }

    /// The flow of the least share tag at a target, after `last`.
    pub(crate) fn next_share(
        &self,
        target: TargetIndex,
        last: Option<Turn<ShareTag>>,
    ) -> Option<Turn<ShareTag>> {
        let classes = self.for_target(target);
        classes
            .filter_map(|(class, of)| after(&of.shares, last, class))
            .min()
    }

    /// The flow at a target that has been due longest by `now`, after `last`.
    pub(crate) fn next_due(
        &self,
        target: TargetIndex,
        last: Option<Turn<u64>>,
        now: u64,
    ) -> Option<Turn<u64>> {
        let classes = self.for_target(target);
        classes
            .filter_map(|(class, of)| after(&of.due, last, class))
            .min()
            .filter(|turn| turn.key <= now)
    }

    /// Applies who is in service, and able to do what. What changes for a class gives it a new epoch, with its flows out of its sets: each key
    /// before, and where its jobs could run then.
    pub(crate) fn set_serving(&mut self, serving: &Serving) -> Vec<(ClassKey, TargetSet)> {
        let mut changed = Vec::new();
        for at in 0..self.classes.len() {
            let key = self.key(at);
            let class = &mut self.classes[at];
            let effective = serving.effective(class.placement);
            if effective != class.effective {
                changed.push((key, class.effective));
                class.effective = effective;
                class.epoch = class.epoch.wrapping_add(1);
                class.shares.clear();
                class.due.clear();
            }
        }
        changed
    }
}

/// Classes beyond which one that nobody uses is made into another.
const CLASSES_KEPT_MAX: usize = 16;

/// A set's first turn that comes after `last` in the order over all classes.
fn after<K: Copy + Ord>(
    set: &BTreeSet<(K, u32)>,
    last: Option<Turn<K>>,
    class: u16,
) -> Option<Turn<K>> {
    let turn = |&(key, place): &(K, u32)| Turn { key, place, class };
    let Some(last) = last else {
        return set.first().map(turn);
    };
    let from = (last.key, last.place);
    set.range(from..).map(turn).find(|turn| *turn > last)
}
