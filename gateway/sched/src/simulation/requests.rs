//! Requests in flight, each in a place of its own until its last block has ended.
//!
//! Owns the places. Invariant: a request that has ended is not reached by the name that it had. It does not know what
//! requests wait for.

use crate::Nanos;

/// A request's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestId {
    place: u32,
    generation: u32,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) tenant: u32,
    pub(super) bytes: u64,
    pub(super) arrived: Nanos,
    pub(super) memory: u64,
    /// Blocks of the body.
    pub(super) blocks: u64,
    /// Blocks that were begun, of which so many are not done.
    pub(super) begun: u64,
    pub(super) under_way: u64,
    /// Of those, in the queue.
    pub(super) queued: u32,
    /// It has its outcome; what is still under way is for nobody.
    pub(super) ended: bool,
    /// When one of its blocks waited last for room in the queue, and since when.
    pub(super) waits_since: Option<Nanos>,
}

#[derive(Debug, Default)]
struct Place {
    generation: u32,
    request: Option<Request>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Requests {
    places: Vec<Place>,
    free: Vec<u32>,
}

impl Requests {
    /// `None` where there are more than names.
    pub(super) fn begin(&mut self, request: Request) -> Option<RequestId> {
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.places.push(Place::default());
                u32::try_from(self.places.len() - 1).ok()?
            }
        };
        let there = self.places.get_mut(place as usize)?;
        there.request = Some(request);
        Some(RequestId {
            place,
            generation: there.generation,
        })
    }

    pub(super) fn get(&mut self, id: RequestId) -> Option<&mut Request> {
        let place = self.places.get_mut(id.place as usize)?;
        (place.generation == id.generation)
            .then_some(place.request.as_mut())
            .flatten()
    }

    pub(super) fn end(&mut self, id: RequestId) -> Option<Request> {
        let place = self.places.get_mut(id.place as usize)?;
        if place.generation != id.generation {
            return None;
        }
        place.generation = place.generation.wrapping_add(1);
        self.free.push(id.place);
        place.request.take()
    }

    /// Requests that have not ended.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}
