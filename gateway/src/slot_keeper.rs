//! Who keeps kernels in slots: looks at the demand and at what slots hold, and has them loaded and evicted.
//!
//! Owns one thread, which asks the policy (`faam_sched::slots`) and tells supervisors. What is asked for by tenants who may use
//! some images only counts for these images alone: see `lists`. Invariants: without images, or with
//! cards that have no slots, it does nothing; into a slot goes what fits its device alone, also where cards differ; a kernel that
//! could not be loaded again is never evicted; an image that failed is left alone for a while; at most one load or eviction a
//! function is under way. It does not know how a slot is loaded, and makes no request wait.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use faam_hwif::slot::KERNEL_UUID_BYTES;
use faam_hwif::{Serves, SlotState};
use faam_sched::Nanos;
use faam_sched::slots::{
    ImageView, KERNELS_MAX, KernelSet, LoadReason, SlotConfig, SlotDecision, SlotPolicy, SlotView,
};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::card_slots::{LoadCause, SlotDone, SlotFailed, SlotRequest, SlotStatus};
use crate::cards::{CardEvent, CardStatus};
use crate::events::GATEWAY;
use crate::job_queue::{JobQueue, KINDS, KernelDemand};
use crate::slot_image::{ImageEntry, ImageSource, SlotDevice, kernel_text};

mod lists;

use self::lists::{Lists, of_lists_alone};

/// How often it looks when nobody wakes it.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often the store is asked which images there are.
const LIST_EVERY: Duration = Duration::from_secs(2);
/// What a load is taken to cost before one was measured: the modelled reconfiguration, a download and a self-test.
const LOAD_TIME_FIRST: Duration = Duration::from_millis(40);
/// For how long an image is left alone that failed: doubled each time, between these.
const RETRY_PAUSE_MIN: Duration = Duration::from_secs(1);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(60);
/// For how long a function is left alone that could not begin.
const BUSY_PAUSE: Duration = Duration::from_millis(200);
/// Images that are looked at: all that are kept.
const IMAGES_MAX: usize = crate::images::IMAGES_MAX;
/// Kinds of devices that images are listed for.
const DEVICES_MAX: usize = 64;

const _: () = assert!(KINDS <= KERNELS_MAX, "a number for each");

/// What an operator decides of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotSettings {
    /// Whether kernels are loaded and evicted by demand; without it an operator alone does.
    pub policy: bool,
    /// How long a kernel stays that nobody wants; zero: for good.
    pub idle: Duration,
    /// Whether slots that hold nothing are loaded before anybody waits.
    pub prewarm: bool,
}

impl Default for SlotSettings {
    fn default() -> Self {
        Self {
            policy: true,
            idle: Duration::from_secs(600),
            prewarm: true,
        }
    }
}

impl SlotSettings {
    fn config(&self) -> SlotConfig {
        SlotConfig {
            idle: (!self.idle.is_zero()).then(|| nanos(self.idle)),
            prewarm: self.prewarm,
            ..SlotConfig::default()
        }
    }
}

/// A card, as the keeper reaches it.
pub(crate) struct KeptCard {
    pub(crate) events: Sender<CardEvent>,
    pub(crate) status: Arc<Mutex<CardStatus>>,
}

/// The thread. It ends when this is stopped.
pub(crate) struct SlotKeeper {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl SlotKeeper {
    /// Starts it; `None` where an operator alone loads slots, or there are no cards.
    pub(crate) fn start(
        settings: &SlotSettings,
        jobs: &Arc<JobQueue>,
        images: &Arc<dyn ImageSource>,
        cards: Vec<KeptCard>,
    ) -> std::io::Result<Option<Self>> {
        if !settings.policy || cards.is_empty() {
            return Ok(None);
        }
        let (stop, stopped) = bounded(1);
        let (wake, woken) = bounded(1);
        jobs.wake_for_kernels(wake);
        let mut keeper = Keeper {
            jobs: Arc::clone(jobs),
            images: Arc::clone(images),
            cards,
            policy: SlotPolicy::new(settings.config()),
            origin: Instant::now(),
            counted: [KernelDemand::default(); KINDS],
            lists: Lists::default(),
            seen: Vec::new(),
            listed: Vec::new(),
            listed_at: None,
            listed_for: Vec::new(),
            works: Vec::new(),
            load_time: LOAD_TIME_FIRST,
        };
        let thread = std::thread::Builder::new()
            .name("slots".to_owned())
            .spawn(move || keeper.run(&stopped, &woken))?;
        Ok(Some(Self { stop, thread }))
    }

    /// Ends it, and waits for that.
    pub(crate) fn stop(self) {
        // Disconnecting is enough.
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread that keeps kernels in slots panicked");
        }
    }
}

/// A slot by its place, and since when it has held what it holds.
struct Seen {
    place: (usize, u8, u8),
    kernel: Option<String>,
    since: Nanos,
}

/// A slot: card, function, number, and what images for it have to fit.
struct Place {
    at: (usize, u8, u8),
    device: SlotDevice,
}

/// An image for a device, and when it may be tried again.
struct Listed {
    device: SlotDevice,
    entry: ImageEntry,
    not_before: Nanos,
    pause: Duration,
}

/// A load or an eviction that was asked for.
struct Work {
    card: usize,
    function: u8,
    slot: u8,
    device: SlotDevice,
    image: Option<String>,
    answer: oneshot::Receiver<Result<SlotDone, SlotFailed>>,
    /// After an answer that could not begin: not before this.
    idle_until: Option<Nanos>,
}

impl Work {
    const fn place(&self) -> (usize, u8, u8) {
        (self.card, self.function, self.slot)
    }
}

struct Keeper {
    jobs: Arc<JobQueue>,
    images: Arc<dyn ImageSource>,
    cards: Vec<KeptCard>,
    policy: SlotPolicy,
    origin: Instant,
    counted: [KernelDemand; KINDS],
    lists: Lists,
    seen: Vec<Seen>,
    listed: Vec<Listed>,
    listed_at: Option<Instant>,
    /// The devices that it was asked for: those that ever had a slot in service here.
    listed_for: Vec<SlotDevice>,
    works: Vec<Work>,
    /// What the last load took.
    load_time: Duration,
}

impl Keeper {
    fn run(&mut self, stopped: &Receiver<()>, woken: &Receiver<()>) {
        loop {
            crossbeam::channel::select! {
                recv(stopped) -> _ => return,
                recv(woken) -> woken => {
                    if woken.is_err() {
                        return;
                    }
                }
                default(LOOK_EVERY) => {
                    if stopped.try_recv() == Err(crossbeam::channel::TryRecvError::Disconnected) {
                        return;
                    }
                }
            }
            self.look();
        }
    }

    fn now(&self) -> Nanos {
        nanos(self.origin.elapsed())
    }

    fn look(&mut self) {
        let required = self.note_demand();
        self.end_works();
        let (places, views) = self.slots();
        let mut devices: Vec<SlotDevice> = Vec::new();
        for place in &places {
            if !devices.contains(&place.device) {
                devices.push(place.device);
            }
        }
        if devices.is_empty() {
            return;
        }
        self.list_images(&devices);
        // One at a time: the next look sees what came of it.
        for device in devices {
            if self.decide(&device, &places, &views, required) {
                return;
            }
        }
    }

    /// What is to be done at the slots of one device, by all that all slots serve; whether anything is.
    fn decide(
        &mut self,
        device: &SlotDevice,
        places: &[Place],
        views: &[SlotView],
        required: KernelSet,
    ) -> bool {
        let fitting = self.listed.iter().filter(|it| it.device == *device);
        let (load, fitting) = (nanos(self.load_time), fitting.collect::<Vec<_>>());
        if fitting.is_empty() {
            return false;
        }
        let images: Vec<_> = fitting
            .iter()
            .map(|listed| {
                let entry = &listed.entry;
                let (serves, bars) = self.lists.meaning(kernels(entry.serves), entry.kernel_uuid);
                ImageView {
                    serves,
                    bars,
                    load,
                    not_before: listed.not_before,
                }
            })
            .collect();
        let of_device = |(place, view): (&Place, &SlotView)| SlotView {
            can_change: view.can_change && place.device == *device,
            ..*view
        };
        let views: Vec<_> = places.iter().zip(views).map(of_device).collect();
        let now = self.now();
        match self.policy.decide(&views, &images, required, now) {
            None => false,
            Some(SlotDecision::Unload { slot }) => {
                if let Some(place) = places.get(slot) {
                    let (_, _, slot) = place.at;
                    let actor = GATEWAY;
                    self.ask(place, None, SlotRequest::Evict { slot, actor });
                }
                true
            }
            Some(SlotDecision::Load {
                slot,
                image,
                reason,
                gains,
            }) => {
                let name = fitting.get(image).map(|it| it.entry.name.clone());
                if let (Some(place), Some(name)) = (places.get(slot), name) {
                    self.load(place, &name, cause_of(reason, gains));
                }
                true
            }
        }
    }

    /// What was asked for since the last look. Kernels that somebody waits for who takes nothing else.
    fn note_demand(&mut self) -> KernelSet {
        let now = self.now();
        let (demand, lists) = self.jobs.kernel_demand();
        let gone = self.lists.told(lists);
        self.policy.forget(gone, now);
        let limit = self.jobs.hw_wait();
        let mut required = KernelSet::EMPTY;
        for (kernel, (new, old)) in demand.iter().zip(&self.counted).enumerate() {
            let jobs = u32::try_from(new.jobs.saturating_sub(old.jobs)).unwrap_or(u32::MAX);
            let cost = new.cost_ns.saturating_sub(old.cost_ns);
            // What came since for a list that is gone, or for the one in its place, cannot be told apart.
            if jobs > 0 && !gone.contains(kernel) {
                let each = Nanos(cost / u64::from(jobs));
                self.policy.demanded(kernel, jobs, each, now);
            }
            if new.required_at.is_some_and(|at| at.elapsed() < limit) {
                required = required.union(KernelSet::of(kernel));
            }
        }
        self.counted = demand;
        required
    }

    /// The slots of functions that serve, and what the policy is shown of them.
    fn slots(&mut self) -> (Vec<Place>, Vec<SlotView>) {
        let now = self.now();
        let known: Vec<_> = self
            .listed
            .iter()
            .map(|listed| (listed.device, kernel_text(listed.entry.kernel_uuid)))
            .collect();
        // What is being loaded is not asked for a second time.
        let loading = |place| {
            let mut works = self.works.iter();
            let work = works.find(|work| work.idle_until.is_none() && work.place() == place)?;
            let image = work.image.as_ref()?;
            let is_it = |it: &&Listed| it.device == work.device && it.entry.name == *image;
            let listed = self.listed.iter().find(is_it)?;
            let entry = &listed.entry;
            Some((kernels(entry.serves), entry.kernel_uuid))
        };
        let mut places = Vec::new();
        let mut views = Vec::new();
        let mut group = 0;
        for (card, kept) in self.cards.iter().enumerate() {
            let functions = kept.status.lock().functions.clone();
            for (function, status) in (0u8..).zip(&functions) {
                let Some(device) = status.slot_device else {
                    continue;
                };
                if !status.in_service || status.drained {
                    continue;
                }
                let busy = self
                    .works
                    .iter()
                    .any(|work| (work.card, work.function) == (card, function));
                for slot in &status.slots {
                    let place = (card, function, slot.slot);
                    let since = since(&mut self.seen, place, slot, now);
                    // What serves and could not be loaded again stays.
                    let is_known = slot.state != SlotState::Active.name()
                        || slot
                            .kernel
                            .as_ref()
                            .is_none_or(|kernel| known.contains(&(device, kernel.clone())));
                    // Whoever asked for that: the keeper, or an operator.
                    let in_hand = matches!(slot.state, "loading" | "evicting");
                    places.push(Place { at: place, device });
                    let (serves, kernel) =
                        loading(place).unwrap_or_else(|| (serves_of(slot), kernel_of(slot)));
                    let (serves, bars) = self.lists.meaning(serves, kernel);
                    views.push(SlotView {
                        serves,
                        bars,
                        group,
                        since,
                        can_change: !busy && !in_hand && is_known,
                    });
                }
                group += 1;
            }
        }
        (places, views)
    }

    fn list_images(&mut self, devices: &[SlotDevice]) {
        let mut is_due = self.listed_at.is_none_or(|at| at.elapsed() >= LIST_EVERY);
        for device in devices {
            // One that is out of service for a while keeps its place: so do the pauses of what failed there.
            if !self.listed_for.contains(device) && self.listed_for.len() < DEVICES_MAX {
                self.listed_for.push(*device);
                is_due = true;
            }
        }
        if !is_due {
            return;
        }
        self.listed_at = Some(Instant::now());
        let mut listed = Vec::new();
        for device in &self.listed_for {
            for entry in self.images.list(device).into_iter().take(IMAGES_MAX) {
                let is_it = |it: &&Listed| it.device == *device && it.entry == entry;
                let before = self.listed.iter().find(is_it);
                listed.push(Listed {
                    not_before: before.map_or(Nanos(0), |it| it.not_before),
                    pause: before.map_or(RETRY_PAUSE_MIN, |it| it.pause),
                    device: *device,
                    entry,
                });
            }
        }
        self.listed = listed;
    }

    fn load(&mut self, place: &Place, name: &str, cause: LoadCause) {
        let (_, _, slot) = place.at;
        match self.images.verified(name, &place.device) {
            Ok(image) => {
                let slot = Some(slot);
                let request = SlotRequest::Load { image, slot, cause };
                self.ask(place, Some(name.to_owned()), request);
            }
            Err(why) => {
                tracing::warn!(image = name, %why, "an image is not loaded");
                self.failed(&place.device, name);
            }
        }
    }

    fn ask(&mut self, place: &Place, image: Option<String>, request: SlotRequest) {
        let (card, function, slot) = place.at;
        let Some(kept) = self.cards.get(card) else {
            return;
        };
        let (reply, answer) = oneshot::channel();
        let event = CardEvent::Slot {
            function,
            request,
            reply,
        };
        // A full channel: the supervisor has more to do than this, and the next look asks again.
        if kept.events.try_send(event).is_ok() {
            self.works.push(Work {
                card,
                function,
                slot,
                device: place.device,
                image,
                answer,
                idle_until: None,
            });
        }
    }

    /// Takes the answers that have come.
    fn end_works(&mut self) {
        let now = self.now();
        let mut works = std::mem::take(&mut self.works);
        works.retain_mut(|work| {
            if let Some(until) = work.idle_until {
                return now < until;
            }
            let ended = match work.answer.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => return true,
                Err(oneshot::error::TryRecvError::Closed) => return false,
                Ok(ended) => ended,
            };
            match (ended, &work.image) {
                (Ok(done), Some(image)) => {
                    self.load_time = Duration::from_secs_f64(done.worked_ms().max(0.0) / 1e3);
                    if let Some(listed) = self.listed_mut(&work.device, image) {
                        listed.pause = RETRY_PAUSE_MIN;
                    }
                }
                (Ok(_), None) => {}
                (Err(failed), image) => {
                    let of_the_image = !matches!(failed.kind, "busy" | "down" | "ended");
                    if let Some(image) = image.clone().filter(|_| of_the_image) {
                        self.failed(&work.device, &image);
                    }
                    work.idle_until = Some(now.plus(nanos(BUSY_PAUSE)));
                    return true;
                }
            }
            false
        });
        self.works.append(&mut works);
    }

    fn listed_mut(&mut self, device: &SlotDevice, image: &str) -> Option<&mut Listed> {
        let mut listed = self.listed.iter_mut();
        listed.find(|it| it.device == *device && it.entry.name == image)
    }

    fn failed(&mut self, device: &SlotDevice, image: &str) {
        let now = self.now();
        if let Some(listed) = self.listed_mut(device, image) {
            listed.not_before = now.plus(nanos(listed.pause));
            listed.pause = (listed.pause * 2).min(RETRY_PAUSE_MAX);
        }
    }
}

/// Why an image is loaded, for the record: by these jobs' demand.
fn cause_of(reason: LoadReason, gains: KernelSet) -> LoadCause {
    match reason {
        LoadReason::Prewarm => LoadCause::Prewarm,
        LoadReason::Required | LoadReason::Demand if of_lists_alone(gains) => LoadCause::Listed,
        LoadReason::Required | LoadReason::Demand => LoadCause::Cold,
    }
}

/// Since when a slot has held what it holds.
fn since(seen: &mut Vec<Seen>, place: (usize, u8, u8), slot: &SlotStatus, now: Nanos) -> Nanos {
    match seen.iter_mut().find(|seen| seen.place == place) {
        Some(seen) if seen.kernel == slot.kernel => seen.since,
        Some(seen) => {
            seen.kernel.clone_from(&slot.kernel);
            seen.since = now;
            now
        }
        None => {
            seen.push(Seen {
                place,
                kernel: slot.kernel.clone(),
                since: now,
            });
            now
        }
    }
}

/// What a slot serves. One that was programmed and never made active holds a kernel, and serves nothing.
fn serves_of(slot: &SlotStatus) -> KernelSet {
    if slot.state != SlotState::Active.name() {
        return KernelSet::EMPTY;
    }
    let of = |(kernel, name): (usize, &str)| match slot.serves.contains(&name) {
        true => KernelSet::of(kernel),
        false => KernelSet::EMPTY,
    };
    ["fast", "tables", "inflate"]
        .into_iter()
        .enumerate()
        .map(of)
        .fold(KernelSet::EMPTY, KernelSet::union)
}

/// The kernel that a slot holds; of none, an id that no kernel has.
fn kernel_of(slot: &SlotStatus) -> [u8; KERNEL_UUID_BYTES] {
    let kernel = slot.kernel.as_deref().map(uuid::Uuid::parse_str);
    kernel.and_then(Result::ok).unwrap_or_default().into_bytes()
}

/// The kernels of a bit set, by their bits.
fn kernels(serves: Serves) -> KernelSet {
    KernelSet(u64::from(serves.0))
}

fn nanos(time: Duration) -> Nanos {
    Nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_serves_while_it_is_active_and_not_while_it_only_holds_a_kernel() {
        let of_cards = SlotState::ALL.map(SlotState::name);
        for state in of_cards.into_iter().chain(["loading", "evicting"]) {
            let slot = SlotStatus {
                slot: 0,
                state,
                serves: vec!["fast"],
                kernel: Some(kernel_text([1; 16])),
                image: None,
                fault: None,
                loads: 0,
            };
            assert_eq!(!serves_of(&slot).is_empty(), state == "active", "{state}");
        }
    }
}
