//! What is published of each tenant, for the busiest of them.
//!
//! Owns which tenants have a label of their own: the first [`TENANT_LABELS_MAX`] that come, and later those of them that
//! do most; all others share [`OTHER`]. Invariants: the number of series has a bound, whatever the number of tenants; no
//! counter that is published goes backwards: a tenant that gets a label begins to be counted under it and stays counted
//! under [`OTHER`] for what it did before, and one that loses its label goes on from where it was if it gets one again
//! (of the last [`SERIES_RETIRED_MAX`]); a request of a tenant with a label takes no lock here, and one of any other
//! waits for none.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;

use super::OTHER;
use super::snapshot::TenantSnapshot;
use crate::meter::Spent;

/// Tenants with a label of their own.
pub const TENANT_LABELS_MAX: usize = 64;
/// Tenants without one of whom it is known how much they do.
const CANDIDATES_MAX: usize = 256;
/// How often it is looked who is busiest.
const REVIEW_EVERY: Duration = Duration::from_secs(30);
/// Labels that change hands at one review, so that no scrape sees everything new.
const REPLACED_MAX: usize = 8;
/// How much busier than who has a label whoever gets it must be, so that two alike do not take turns.
const BUSIER_FACTOR: u64 = 2;
/// Tenants that had a label whose counts are kept.
const SERIES_RETIRED_MAX: usize = 1024;

/// How a request ended, beside its tenant.
#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
pub(super) struct End {
    pub(super) kernel: &'static str,
    pub(super) backend: &'static str,
    pub(super) outcome: &'static str,
}

/// What is used, as labels have it.
const RESOURCES: [&str; 4] = ["device", "queue", "cpu", "reference"];

/// What is published of one tenant, or of all others.
#[derive(Debug)]
struct Series {
    tenant: Arc<str>,
    /// By how they ended: words of ours, so that there are not many.
    requests: ArcSwap<HashMap<End, Arc<AtomicU64>>>,
    used_ns: [AtomicU64; RESOURCES.len()],
    queue_depth: AtomicI64,
    /// How much it did of late: a request, and a microsecond of the reference engine, are one each. Halved at each review.
    recent: AtomicU64,
}

impl Series {
    fn new(tenant: Arc<str>) -> Self {
        Self {
            tenant,
            requests: ArcSwap::default(),
            used_ns: Default::default(),
            queue_depth: AtomicI64::new(0),
            recent: AtomicU64::new(0),
        }
    }

    fn count(&self, end: &End) {
        if let Some(count) = self.requests.load().get(end) {
            count.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let new = Arc::new(AtomicU64::new(0));
        self.requests.rcu(|known| {
            let mut with = HashMap::clone(known);
            // Whoever was first stays.
            with.entry(end.clone()).or_insert_with(|| Arc::clone(&new));
            with
        });
        if let Some(count) = self.requests.load().get(end) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many ended how, in an order that stays.
    fn ends(&self) -> Vec<(End, u64)> {
        let requests = self.requests.load();
        let ends = requests.iter();
        let mut ends: Vec<_> = ends
            .map(|(end, count)| (end.clone(), count.load(Ordering::Relaxed)))
            .collect();
        ends.sort();
        ends
    }
}

/// See the module's head.
pub(super) struct TenantSeries {
    labelled: ArcSwap<HashMap<Arc<str>, Arc<Series>>>,
    other: Series,
    others: Mutex<Others>,
}

impl fmt::Debug for TenantSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TenantSeries")
    }
}

#[derive(Debug)]
struct Others {
    /// How much they did of late: Misra and Gries' frequent items (1982), in a table of [`CANDIDATES_MAX`].
    recent: HashMap<Arc<str>, u64>,
    /// Those that had a label, the one that lost it last at the end.
    retired: VecDeque<Arc<Series>>,
    reviewed: Option<Instant>,
}

impl Others {
    /// A tenant without a label did so much. Amortised: what is taken away here was added before.
    fn count(&mut self, tenant: &str, work: u64) {
        if let Some(recent) = self.recent.get_mut(tenant) {
            *recent = recent.saturating_add(work);
            return;
        }
        if self.recent.len() < CANDIDATES_MAX {
            self.recent.insert(tenant.into(), work);
            return;
        }
        let least = self.recent.values().min().copied().unwrap_or_default();
        let taken = least.min(work);
        self.recent.retain(|_, recent| {
            *recent -= taken;
            *recent > 0
        });
        if work > taken && self.recent.len() < CANDIDATES_MAX {
            self.recent.insert(tenant.into(), work - taken);
        }
    }

    fn series(&mut self, tenant: &Arc<str>) -> Arc<Series> {
        self.recent.remove(tenant);
        let known = self.retired.iter().position(|one| one.tenant == *tenant);
        let known = known.and_then(|at| self.retired.remove(at));
        known.unwrap_or_else(|| Arc::new(Series::new(Arc::clone(tenant))))
    }
}

impl Default for TenantSeries {
    fn default() -> Self {
        Self {
            labelled: ArcSwap::default(),
            other: Series::new(OTHER.into()),
            others: Mutex::new(Others {
                recent: HashMap::new(),
                retired: VecDeque::new(),
                reviewed: None,
            }),
        }
    }
}

impl TenantSeries {
    /// A request of a tenant's ended so.
    pub(super) fn request_end(&self, tenant: &str, end: &End) {
        self.of(tenant, 1, |series| {
            series.count(end);
        });
    }

    /// What a request of a tenant's has cost.
    pub(super) fn used(&self, tenant: &str, spent: Spent) {
        let micros = u64::try_from(spent.reference.as_micros()).unwrap_or(u64::MAX);
        let times = [spent.device, spent.queue, spent.cpu, spent.reference];
        self.of(tenant, micros, |series| {
            for (used, time) in series.used_ns.iter().zip(times) {
                let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
                used.fetch_add(ns, Ordering::Relaxed);
            }
        });
    }

    /// Blocks that wait now, of each tenant that has some.
    pub(super) fn queue_depths<'t>(&self, depths: impl Iterator<Item = (&'t str, usize)>) {
        let labelled = self.labelled.load();
        for series in labelled.values() {
            series.queue_depth.store(0, Ordering::Relaxed);
        }
        let mut others = 0_i64;
        for (tenant, blocks) in depths {
            let blocks = i64::try_from(blocks).unwrap_or(i64::MAX);
            match labelled.get(tenant) {
                Some(series) => series.queue_depth.store(blocks, Ordering::Relaxed),
                None => {
                    let series = self.let_in(tenant, &mut self.others.lock());
                    match series {
                        Some(series) => series.queue_depth.store(blocks, Ordering::Relaxed),
                        None => others = others.saturating_add(blocks),
                    }
                }
            }
        }
        self.other.queue_depth.store(others, Ordering::Relaxed);
    }

    /// Adds to what is known of a tenant that just did `work`.
    fn of(&self, tenant: &str, work: u64, add: impl Fn(&Series)) {
        let labelled = self.labelled.load();
        if let Some(series) = labelled.get(tenant) {
            series.recent.fetch_add(work, Ordering::Relaxed);
            return add(series);
        }
        // A tenant of that name is not told apart from all others.
        if tenant == OTHER {
            return add(&self.other);
        }
        // Nobody waits but the first of the first tenants.
        let others = match labelled.len() < TENANT_LABELS_MAX {
            true => Some(self.others.lock()),
            false => self.others.try_lock(),
        };
        if let Some(mut others) = others {
            if let Some(series) = self.let_in(tenant, &mut others) {
                drop(others);
                series.recent.fetch_add(work, Ordering::Relaxed);
                return add(&series);
            }
            others.count(tenant, work);
        }
        add(&self.other);
    }

    /// The label of a tenant that had none a moment ago, if there is one for it.
    fn let_in(&self, tenant: &str, others: &mut Others) -> Option<Arc<Series>> {
        let labelled = self.labelled.load();
        // Whoever came before us on the lock may have let it in, a review as well: counted among the others once more, it would
        // get a second series in place of the first, whose counts would be gone.
        if let Some(series) = labelled.get(tenant) {
            return Some(Arc::clone(series));
        }
        if tenant == OTHER || labelled.len() >= TENANT_LABELS_MAX {
            return None;
        }
        let name: Arc<str> = tenant.into();
        let series = others.series(&name);
        let mut with = HashMap::clone(&labelled);
        with.insert(name, Arc::clone(&series));
        self.labelled.store(Arc::new(with));
        Some(series)
    }

    /// Gives labels to whoever is much busier than the least busy that have one, if it is time.
    pub(super) fn review(&self, now: Instant) {
        let mut others = self.others.lock();
        match others.reviewed {
            Some(last) if now.saturating_duration_since(last) < REVIEW_EVERY => return,
            Some(_) => {}
            // Nobody has had the time to do much.
            None => {
                others.reviewed = Some(now);
                return;
            }
        }
        others.reviewed = Some(now);
        let mut labelled = HashMap::clone(&self.labelled.load());
        let mut quiet: Vec<_> = labelled.values().cloned().collect();
        // By one reading of each: requests go on meanwhile, and sorting by what changes under it is no order (it panics).
        quiet.sort_by_cached_key(|series| series.recent.load(Ordering::Relaxed));
        let mut busy: Vec<_> = others.recent.iter().map(|(t, n)| (*n, t.clone())).collect();
        busy.sort();
        for (series, (recent, tenant)) in
            quiet.iter().zip(busy.into_iter().rev()).take(REPLACED_MAX)
        {
            let held = series.recent.load(Ordering::Relaxed).max(1);
            if recent < held.saturating_mul(BUSIER_FACTOR) {
                break;
            }
            labelled.remove(&series.tenant);
            let new = others.series(&tenant);
            new.recent.store(recent, Ordering::Relaxed);
            labelled.insert(tenant, new);
            if others.retired.len() >= SERIES_RETIRED_MAX {
                others.retired.pop_front();
            }
            others.retired.push_back(Arc::clone(series));
        }
        for series in labelled.values() {
            let half = series.recent.load(Ordering::Relaxed) / 2;
            series.recent.store(half, Ordering::Relaxed);
        }
        others.recent.retain(|_, recent| {
            *recent /= 2;
            *recent > 0
        });
        self.labelled.store(Arc::new(labelled));
    }

    /// Those with a label in the order of their names, then the others.
    fn published(&self) -> Vec<Arc<Series>> {
        let mut all: Vec<_> = self.labelled.load().values().cloned().collect();
        all.sort_by(|one, other| one.tenant.cmp(&other.tenant));
        all
    }
}

impl TenantSeries {
    /// What `faam top` shows of them.
    pub(super) fn snapshot(&self) -> Vec<TenantSnapshot> {
        let labelled = self.published();
        let all = labelled.iter().map(Arc::as_ref).chain([&self.other]);
        let shown = all.map(|series| {
            let seconds = series
                .used_ns
                .each_ref()
                .map(|ns| Duration::from_nanos(ns.load(Ordering::Relaxed)).as_secs_f64());
            let [device_s, queue_s, cpu_s, reference_s] = seconds;
            let (mut requests, mut failed) = (0, 0);
            for (end, count) in series.ends() {
                requests += count;
                failed += if end.outcome == "ok" { 0 } else { count };
            }
            TenantSnapshot {
                tenant: series.tenant.to_string(),
                requests,
                failed,
                queue_depth: series.queue_depth.load(Ordering::Relaxed),
                device_s,
                queue_s,
                cpu_s,
                reference_s,
            }
        });
        shown.collect()
    }
}

const NO_EXEMPLAR: Option<&Exemplar<NoLabelSet, f64>> = None;

impl Collector for TenantSeries {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let labelled = self.published();
        let all = || labelled.iter().map(Arc::as_ref).chain([&self.other]);
        let name = |series: &Series| ("tenant", Arc::clone(&series.tenant));
        let help = "Requests that have ended";
        let mut requests =
            encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
        for series in all() {
            let label = [name(series)];
            for (end, count) in series.ends() {
                let labels = (&label[..], end);
                let mut of = requests.encode_family(&labels)?;
                of.encode_counter(&count, NO_EXEMPLAR)?;
            }
        }
        let help = "Blocks waiting for an engine";
        let mut depths = encoder.encode_descriptor("queue_depth", help, None, MetricType::Gauge)?;
        for series in all() {
            let label = [name(series)];
            let label = &label[..];
            let mut of = depths.encode_family(&label)?;
            of.encode_gauge(&series.queue_depth.load(Ordering::Relaxed))?;
        }
        let help =
            "Time that requests have used: on cards, in queues, on the CPU, and as it is charged";
        let mut used =
            encoder.encode_descriptor("usage_seconds", help, None, MetricType::Counter)?;
        for series in all() {
            for (resource, ns) in RESOURCES.into_iter().zip(&series.used_ns) {
                let labels = [name(series), ("resource", resource.into())];
                let labels = &labels[..];
                let mut of = used.encode_family(&labels)?;
                let time = Duration::from_nanos(ns.load(Ordering::Relaxed));
                of.encode_counter(&time.as_secs_f64(), NO_EXEMPLAR)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
