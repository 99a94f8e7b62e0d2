//! The places of a listener's connections: who has one, who waits in it, and who ends first when all are taken.
//!
//! Invariants: at most `connections_max` connections are open, and the one that has been longest without a complete
//! request head (silent, between requests, in its TLS handshake or in slow headers) ends in favour of a new one. A
//! connection that is being answered, or that still takes bytes, never ends that way, but only with all others. Every step
//! costs O(log n), and has those few look again that wait. It knows no sockets and no HTTP.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Bits of an IPv6 address that one peer holds: a host is given a /64 at least (RFC 6177).
const PEER_BITS_IPV6: u32 = 64;
/// How long a connection of a peer that has as many as it may waits for one of them to end: a peer that opens one after another
/// has closed its last a moment before that is seen here.
const PEER_PLACE_MAX: Duration = Duration::from_millis(500);
/// Connections that wait so at once, of all peers and of each: each is a descriptor without a place, of those that are reserved.
const PEERS_WAITING_MAX: usize = 64;
const PEER_WAITING_MAX: usize = 4;

/// The places of one listener.
#[derive(Debug)]
pub(super) struct Connections {
    connections_max: usize,
    peer_connections_max: Option<usize>,
    state: Mutex<State>,
    /// A place became free, or its connection idle.
    changed: Notify,
    /// The parent of each place's: cancelled when all have to end.
    all_end: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    open: usize,
    /// Connections that were told to end for another, and have not yet.
    evicting: usize,
    /// Accepted connections without a place.
    wanting: usize,
    next: u64,
    /// In the order in which they began to wait for a request head.
    waiting: BTreeMap<u64, CancellationToken>,
    /// Only where a bound a peer is set; as large as the open connections at most.
    peers: HashMap<IpAddr, usize>,
    /// Connections that wait for a place among their peer's, of [`PEERS_WAITING_MAX`].
    peer_waits: HashMap<IpAddr, usize>,
}

/// One open connection's place; it is free again once this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    connections: Arc<Connections>,
    peer: Option<IpAddr>,
    /// Locked before the table's state.
    activity: Mutex<Activity>,
    /// Cancelled when the connection has to end: in favour of another, or with all.
    ends: CancellationToken,
    /// Whether its peer may still be sending when it ends.
    lingers: AtomicBool,
    /// Whether it ended because its peer took too little.
    too_slow: AtomicBool,
}

#[derive(Debug, Default)]
struct Activity {
    /// Requests whose head is complete and whose answer has not been handed to the connection whole.
    requests: usize,
    /// The peer has not taken yet what was written.
    writing: bool,
    /// Its key among those that wait.
    waiting_as: Option<u64>,
}

/// A request that is being served on a connection.
#[derive(Debug)]
pub(super) struct ActiveRequest(Arc<Place>);

impl Connections {
    pub(super) fn new(connections_max: usize, peer_connections_max: Option<usize>) -> Arc<Self> {
        Arc::new(Self {
            connections_max: connections_max.max(1),
            peer_connections_max,
            state: Mutex::default(),
            changed: Notify::new(),
            all_end: CancellationToken::new(),
        })
    }

    /// Has every connection end, whatever it does.
    pub(super) fn end_all(&self) {
        self.all_end.cancel();
    }

    /// A place for an accepted connection, once there is one; `None` if its peer has as many as it may.
    pub(super) async fn take(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Arc<Place>> {
        let peer = peer
            .map(peer_key)
            .filter(|_| self.peer_connections_max.is_some());
        let mut wanting = None;
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let mut state = self.state.lock();
                if let (Some(peer), Some(max)) = (peer, self.peer_connections_max)
                    && state.peers.get(&peer).is_some_and(|open| *open >= max)
                {
                    return None;
                }
                if state.open < self.connections_max {
                    state.open += 1;
                    if let Some(peer) = peer {
                        *state.peers.entry(peer).or_default() += 1;
                    }
                    drop(state);
                    return Some(self.place(peer));
                }
                if wanting.is_none() {
                    state.wanting += 1;
                    wanting = Some(Wanting(self));
                }
                // One ends for each that wants a place, and no more.
                if state.evicting < state.wanting
                    && let Some((_, oldest)) = state.waiting.pop_first()
                {
                    state.evicting += 1;
                    oldest.cancel();
                }
            }
            changed.await;
        }
    }

    /// What a connection waits in whose peer has as many as it may; `None` where too many wait already.
    pub(super) fn wait_for_peer(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<PeerWait> {
        let peer = peer.map(peer_key)?;
        let waits = &mut self.state.lock().peer_waits;
        let all: usize = waits.values().sum();
        let own = waits.get(&peer).copied().unwrap_or_default();
        if all >= PEERS_WAITING_MAX || own >= PEER_WAITING_MAX {
            return None;
        }
        waits.insert(peer, own + 1);
        Some(PeerWait {
            connections: Arc::clone(self),
            peer,
        })
    }

    fn place(self: &Arc<Self>, peer: Option<IpAddr>) -> Arc<Place> {
        let place = Place {
            connections: Arc::clone(self),
            peer,
            activity: Mutex::default(),
            ends: self.all_end.child_token(),
            lingers: AtomicBool::new(false),
            too_slow: AtomicBool::new(false),
        };
        place.settle(|_| {});
        Arc::new(place)
    }

    /// Connections that are open.
    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.state.lock().open
    }
}

/// An accepted connection whose peer has as many as it may.
#[derive(Debug)]
pub(super) struct PeerWait {
    connections: Arc<Connections>,
    peer: IpAddr,
}

impl Drop for PeerWait {
    fn drop(&mut self) {
        let waits = &mut self.connections.state.lock().peer_waits;
        if let Some(own) = waits.get_mut(&self.peer) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                waits.remove(&self.peer);
            }
        }
    }
}

impl PeerWait {
    /// Its place, once one of its peer's has ended; `None` if none does within [`PEER_PLACE_MAX`].
    pub(super) async fn place(self) -> Option<Arc<Place>> {
        let place = async {
            loop {
                let mut changed = pin!(self.connections.changed.notified());
                changed.as_mut().enable();
                if let Some(place) = self.connections.take(Some(self.peer)).await {
                    return place;
                }
                changed.await;
            }
        };
        timeout(PEER_PLACE_MAX, place).await.ok()
    }
}

/// An accepted connection without a place, counted while it waits.
struct Wanting<'a>(&'a Connections);

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.wanting = state.wanting.saturating_sub(1);
    }
}

impl Place {
    /// A request's head is complete.
    pub(super) fn begin(self: &Arc<Self>) -> ActiveRequest {
        self.settle(|activity| activity.requests += 1);
        ActiveRequest(Arc::clone(self))
    }

    /// Whether written bytes wait for the peer to take them.
    pub(super) fn writing(&self, writing: bool) {
        self.settle(|activity| activity.writing = writing);
    }

    /// A request was answered whose body was not read: its peer may go on sending for a while.
    pub(super) fn linger(&self) {
        self.lingers.store(true, Ordering::Release);
    }

    /// Whether [`Place::linger`] was called.
    pub(super) fn lingers(&self) -> bool {
        self.lingers.load(Ordering::Acquire)
    }

    /// The connection ends because its peer takes too little.
    pub(super) fn too_slow(&self) {
        self.too_slow.store(true, Ordering::Release);
    }

    /// Whether [`Place::too_slow`] was called.
    pub(super) fn was_too_slow(&self) -> bool {
        self.too_slow.load(Ordering::Acquire)
    }

    /// Ready when the connection has to end: in favour of another, or with all.
    pub(super) async fn ended(&self) {
        self.ends.cancelled().await;
    }

    /// Which of them, as it is counted.
    pub(super) fn why_ended(&self) -> &'static str {
        match self.connections.all_end.is_cancelled() {
            true => "drained",
            false => "evicted",
        }
    }

    /// Changes the activity, and puts the connection among those that wait or takes it out.
    fn settle(&self, change: impl FnOnce(&mut Activity)) {
        let mut activity = self.activity.lock();
        change(&mut activity);
        let waits = activity.requests == 0 && !activity.writing && !self.ends.is_cancelled();
        match (activity.waiting_as, waits) {
            (None, true) => {
                let mut state = self.connections.state.lock();
                let key = state.next;
                state.next += 1;
                state.waiting.insert(key, self.ends.clone());
                activity.waiting_as = Some(key);
                if state.wanting > 0 {
                    self.connections.changed.notify_waiters();
                }
            }
            (Some(key), false) => {
                self.connections.state.lock().waiting.remove(&key);
                activity.waiting_as = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.connections.state.lock();
        if let Some(key) = self.activity.get_mut().waiting_as {
            state.waiting.remove(&key);
        }
        state.open = state.open.saturating_sub(1);
        if self.ends.is_cancelled() {
            state.evicting = state.evicting.saturating_sub(1);
        }
        if let Some(peer) = self.peer
            && let Some(open) = state.peers.get_mut(&peer)
        {
            *open = open.saturating_sub(1);
            if *open == 0 {
                state.peers.remove(&peer);
            }
        }
        drop(state);
        self.connections.changed.notify_waiters();
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0
            .settle(|activity| activity.requests = activity.requests.saturating_sub(1));
    }
}

/// What counts as one peer: an IPv4 address, or the network that an IPv6 host is given.
pub(crate) fn peer_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mask = u128::MAX << (Ipv6Addr::BITS - PEER_BITS_IPV6);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long something may take that must happen.
    const SOON: Duration = Duration::from_secs(20);

    async fn take(connections: &Arc<Connections>) -> Arc<Place> {
        timeout(SOON, connections.take(None))
            .await
            .expect("in time")
            .expect("no bound a peer")
    }

    fn is_evicted(place: &Place) -> bool {
        place.ends.is_cancelled()
    }

    #[tokio::test]
    async fn the_longest_without_a_request_ends_for_a_new_one() {
        let connections = Connections::new(3, None);
        let first = take(&connections).await;
        let second = take(&connections).await;
        let third = take(&connections).await;
        // The first has asked since, so that the second has waited longest.
        drop(first.begin());
        let serving = third.begin();
        let wanted = tokio::spawn({
            let connections = Arc::clone(&connections);
            async move { connections.take(None).await }
        });
        timeout(SOON, second.ended()).await.expect("told to end");
        assert!(!is_evicted(&first) && !is_evicted(&third));
        assert!(!wanted.is_finished(), "its place is not free yet");
        drop(second);
        let fourth = wanted.await.expect("no panic").expect("a place");
        assert_eq!(connections.open(), 3);
        drop((first, third, serving, fourth));
        assert_eq!(connections.open(), 0);
        let state = connections.state.lock();
        assert_eq!(
            (state.waiting.len(), state.evicting, state.wanting),
            (0, 0, 0)
        );
    }

    #[tokio::test]
    async fn who_is_served_or_still_takes_bytes_never_ends_for_another() {
        let connections = Connections::new(2, None);
        let (served, reading) = (take(&connections).await, take(&connections).await);
        let request = served.begin();
        drop(reading.begin());
        reading.writing(true);
        let mut wanted = pin!(connections.take(None));
        assert!(futures_poll(wanted.as_mut()).await.is_none());
        assert!(!is_evicted(&served) && !is_evicted(&reading));
        // It has taken all: from here on it waits like any other.
        reading.writing(false);
        assert!(futures_poll(wanted.as_mut()).await.is_none());
        assert!(is_evicted(&reading) && !is_evicted(&served));
        drop(reading);
        assert!(timeout(SOON, wanted).await.expect("in time").is_some());
        drop(request);
    }

    #[tokio::test]
    async fn one_ends_for_each_new_one_and_no_more() {
        let connections = Connections::new(4, None);
        let mut places = Vec::new();
        for _ in 0..4 {
            places.push(take(&connections).await);
        }
        let mut wanted = pin!(connections.take(None));
        for _ in 0..3 {
            assert!(futures_poll(wanted.as_mut()).await.is_none());
            // Something changes, and still only one has to end.
            drop(places[3].begin());
        }
        assert_eq!(places.iter().filter(|place| is_evicted(place)).count(), 1);
    }

    #[tokio::test]
    async fn a_peer_has_its_own_bound() {
        let connections = Connections::new(10, Some(1));
        let one = "2001:db8::1".parse().ok();
        let same_network = "2001:db8::2".parse().ok();
        let other = "2001:db8:0:1::1".parse().ok();
        let mapped = "::ffff:192.0.2.1".parse().ok();
        let place = connections.take(one).await.expect("its first");
        assert!(connections.take(same_network).await.is_none());
        assert!(connections.take(other).await.is_some());
        let _mapped = connections.take(mapped).await.expect("its first");
        assert!(connections.take("192.0.2.1".parse().ok()).await.is_none());
        assert!(
            connections.take(None).await.is_some(),
            "no address, no bound"
        );
        drop(place);
        assert!(connections.take(same_network).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_opens_one_after_another_has_its_place_once_the_last_is_seen_to_have_ended()
    {
        let connections = Connections::new(10, Some(1));
        let peer = "192.0.2.1".parse().ok();
        let last = connections.take(peer).await.expect("its first");
        // It has closed that, which nobody has seen yet.
        assert!(connections.take(peer).await.is_none());
        let wait = || connections.wait_for_peer(peer);
        let mut next = pin!(wait().expect("few wait").place());
        assert!(futures_poll(next.as_mut()).await.is_none());
        // What another's does is not its.
        drop(connections.take("192.0.2.2".parse().ok()).await);
        assert!(futures_poll(next.as_mut()).await.is_none());
        drop(last);
        let next = futures_poll(next.as_mut()).await;
        let next = next.expect("its last has ended").expect("a place");
        // One that lives on is not waited for.
        assert!(wait().expect("few wait").place().await.is_none());
        let waiting: Vec<_> = std::iter::from_fn(wait)
            .take(1 + PEER_WAITING_MAX)
            .collect();
        assert_eq!(waiting.len(), PEER_WAITING_MAX);
        // Another's is not in their way, until all together are too many.
        let others: Vec<_> = (0..PEERS_WAITING_MAX)
            .map(|other| connections.wait_for_peer(format!("2001:db8:0:{other:x}::1").parse().ok()))
            .collect();
        let count = others.iter().flatten().count();
        assert_eq!(count, PEERS_WAITING_MAX - PEER_WAITING_MAX);
        drop((next, waiting, others));
        assert!(wait().is_some());
        assert!(connections.state.lock().peer_waits.is_empty());
        assert_eq!(connections.open(), 0);
    }

    /// One poll, and the result if it is there.
    async fn futures_poll<T>(mut future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            std::task::Poll::Ready(value) => std::task::Poll::Ready(Some(value)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }
}
