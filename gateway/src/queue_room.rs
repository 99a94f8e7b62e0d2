//! Room in a tenant's queue: as many permits as the queue has places, also when the bound changes.
//!
//! Invariant: permits in hands and permits free are together no more than the bound, once
//! those that were handed out under a larger bound have come back. It does not know what
//! holds a permit, nor for how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// See the module's head.
#[derive(Debug)]
pub(crate) struct QueueRoom {
    permits: Arc<Semaphore>,
    /// The bound. Changed by one caller at a time: [`QueueRoom::resize`] is called with the queue's lock held.
    places: AtomicUsize,
    /// Permits in hands that are not to come back.
    surplus: AtomicUsize,
}

/// The tenant has no queue any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// A place in a queue.
#[derive(Debug)]
pub(crate) struct RoomPermit {
    permit: Option<OwnedSemaphorePermit>,
    room: Arc<QueueRoom>,
}

impl QueueRoom {
    /// So many places, all of them free.
    pub(crate) fn new(places: usize) -> Arc<Self> {
        let places = places.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(places)),
            places: AtomicUsize::new(places),
            surplus: AtomicUsize::new(0),
        })
    }

    /// Waits for a place.
    pub(crate) async fn acquire(self: Arc<Self>) -> Result<RoomPermit, Closed> {
        let acquired = Arc::clone(&self.permits).acquire_owned().await;
        acquired.map(|permit| self.held(permit)).map_err(|_| Closed)
    }

    /// A place, if one is free and nobody waits for it.
    pub(crate) fn try_acquire(self: Arc<Self>) -> Option<RoomPermit> {
        let acquired = Arc::clone(&self.permits).try_acquire_owned();
        acquired.map(|permit| self.held(permit)).ok()
    }

    fn held(self: Arc<Self>, permit: OwnedSemaphorePermit) -> RoomPermit {
        RoomPermit {
            permit: Some(permit),
            room: self,
        }
    }

    /// Changes the bound. Whoever has a place keeps it.
    pub(crate) fn resize(&self, places: usize) {
        let places = places.min(Semaphore::MAX_PERMITS);
        let before = self.places.swap(places, Ordering::AcqRel);
        if let Some(more) = places.checked_sub(before) {
            let kept = self.take_surplus(more);
            self.permits.add_permits(more - kept);
        } else {
            let fewer = before - places;
            let forgotten = self.permits.forget_permits(fewer);
            self.surplus.fetch_add(fewer - forgotten, Ordering::AcqRel);
        }
    }

    /// Whoever waits, waits no longer, and nobody gets a place again.
    pub(crate) fn close(&self) {
        self.permits.close();
    }

    /// Takes at most so many off the surplus; how many it took.
    fn take_surplus(&self, most: usize) -> usize {
        let took = self
            .surplus
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |surplus| {
                Some(surplus - surplus.min(most))
            });
        took.map_or(0, |before| before.min(most))
    }
}

impl Drop for RoomPermit {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take()
            && self.room.take_surplus(1) == 1
        {
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(room: &Arc<QueueRoom>) -> usize {
        let held: Vec<_> = std::iter::from_fn(|| Arc::clone(room).try_acquire()).collect();
        held.len()
    }

    #[test]
    fn the_bound_changes_under_those_who_hold_places() {
        let room = QueueRoom::new(4);
        let held: Vec<_> = (0..3)
            .map(|_| Arc::clone(&room).try_acquire().expect("room"))
            .collect();
        room.resize(2);
        assert_eq!(free(&room), 0, "three are out, two may be");
        room.resize(3);
        assert_eq!(free(&room), 0, "the third is allowed again");
        room.resize(1);
        drop(held);
        assert_eq!(free(&room), 1, "what came back was kept to the bound");
        room.resize(5);
        assert_eq!(free(&room), 5);
    }

    #[tokio::test]
    async fn a_closed_room_lets_those_who_wait_go() {
        let room = QueueRoom::new(0);
        let waiting = tokio::spawn(Arc::clone(&room).acquire());
        room.close();
        assert!(waiting.await.expect("ends").is_err());
    }
}
