//! A quiet point: the load stands still, no fault is on, and what requests held must be back.
//!
//! Owns the measures of a gateway at rest. Invariants: everything is compared within one life; descriptors and threads with its
//! beginning, memory with its first quiet point, when caches and pools are warm. It does not know what happened before.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::life::{Life, Lives, card_processes};

/// How long cards may take to come back once nothing disturbs them: an outage may have raised their supervisor's pauses.
const CARDS_LIMIT: Duration = Duration::from_secs(60);
/// How long what requests held may outlive them.
const REST_LIMIT: Duration = Duration::from_secs(20);
/// What a life may hold more at a quiet point than it held at its beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Descriptors.
    pub(crate) descriptors: usize,
    /// Threads of the runtime: those for work that blocks end by themselves when idle.
    pub(crate) runtime_threads: usize,
    /// Threads of functions' self-tests: cards that lie on are tested for ever.
    pub(crate) self_tests: usize,
    /// Threads of another name, of each.
    pub(crate) named_threads: usize,
    /// Resident memory, KiB, more than at the life's first quiet point.
    pub(crate) resident_kib: u64,
}

/// What allocators keep between loads, KiB: up to what 32 bodies of 3 MiB held at once, in pieces, and what is remembered of
/// requests that ended.
const ALLOCATORS_KEEP_KIB: u64 = (32 * 3 + 48) << 10;

/// With sound cards: connections to its store that a pool keeps.
pub(crate) const SOUND: Bounds = Bounds {
    descriptors: 8,
    runtime_threads: 64,
    self_tests: 0,
    named_threads: 0,
    resident_kib: ALLOCATORS_KEEP_KIB,
};
/// With three foreign cards that may each be down at the life's beginning and up at a quiet point, or the other way round: two functions'
/// sockets, eventfds and queues, and a thread each; and five arenas of 24 MiB of each, which may have to be abandoned.
pub(crate) const HOSTILE: Bounds = Bounds {
    descriptors: 8 + 3 * (2 * 24 + 5),
    runtime_threads: 64,
    self_tests: 3 * 2,
    named_threads: 1,
    resident_kib: ALLOCATORS_KEEP_KIB + ((3 * 5 * 24) << 10),
};
/// What those are called.
const RUNTIME_THREADS: &str = "tokio";
const SELF_TEST_THREADS: &str = "faam-self-test";
/// Gauges that must be 0 when nothing is under way.
const GAUGES: [&str; 4] = [
    "faam_inflight",
    "faam_body_memory_bytes",
    "faam_queue_depth",
    "faam_spill_bytes",
];
/// The same of callers' connections, those of the public listener.
const CONNECTIONS: &str = "faam_connections";

/// What a process holds.
#[derive(Clone, Debug)]
struct Held {
    descriptors: usize,
    /// Threads by name; those of one kind and another number are one kind.
    threads: BTreeMap<String, usize>,
    resident_kib: u64,
}

/// One life's measures.
#[derive(Clone, Debug)]
pub(crate) struct Rest {
    bounds: Bounds,
    beginning: Held,
    /// At the first quiet point after a load.
    first: Option<Held>,
    worst: Held,
    /// Resident memory at each quiet point, KiB.
    resident_kib: Vec<u64>,
    pub(crate) points: u64,
}

/// What a quiet point found in quarantine, and had to have fenced.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quarantine {
    /// Of the function with the most of them.
    pub(crate) bytes: u64,
    /// Functions that were reset by hand for it.
    pub(crate) functions_reset: u64,
    /// Functions that had failed too often to be tried again, and that an operator brought back.
    pub(crate) functions_brought_back: u64,
}

/// Most that was held at quiet points, over all lives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leaks {
    pub(crate) points: u64,
    pub(crate) descriptors_more_max: usize,
    pub(crate) runtime_threads_more_max: usize,
    pub(crate) resident_kib_max: u64,
    pub(crate) resident_kib_more_max: u64,
    /// Points of the life with the most of them.
    pub(crate) points_of_one_life_max: u64,
    /// Resident memory at that life's points in turn, KiB.
    pub(crate) resident_kib_of_that_life: Vec<u64>,
    /// Points at which DMA memory was free only after functions were reset by hand, and how many were.
    pub(crate) points_in_quarantine: u64,
    pub(crate) functions_reset_at_points: u64,
    pub(crate) functions_brought_back: u64,
    pub(crate) quarantined_bytes_max: u64,
}

impl Rest {
    /// At a life's beginning.
    pub(crate) fn begin(life: &Life, bounds: Bounds) -> Result<Self, String> {
        let held = life.wait_until("each function's worker runs", REST_LIMIT, || named(life))?;
        Ok(Self {
            bounds,
            beginning: held.clone(),
            first: None,
            worst: held,
            resident_kib: Vec::new(),
            points: 0,
        })
    }

    /// With sound cards: every one serves, all DMA memory is free, each has one process. What was in quarantine until then.
    pub(crate) fn check_cards(
        lives: &Lives,
        life: &Life,
        cards: usize,
    ) -> Result<Quarantine, String> {
        let functions_brought_back = bring_back(lives, life)?;
        let mut found = Quarantine {
            functions_brought_back,
            bytes: life.wait_until("all DMA memory is accounted for", REST_LIMIT, || {
                arenas(lives)
            })?,
            functions_reset: 0,
        };
        if found.bytes > 0 {
            found.functions_reset = fence(lives)?;
            life.wait_until("all DMA memory is free", REST_LIMIT, || {
                match arenas(lives)? {
                    0 => Ok(()),
                    held => Err(format!(
                        "LEAK: {held} bytes are in quarantine, behind each function's fence"
                    )),
                }
            })?;
        }
        let processes = card_processes(lives.data());
        match processes.len() == cards {
            true => Ok(found),
            false => Err(format!("{cards} cards have the processes {processes:?}")),
        }
    }

    /// Everything that requests held is back; else what is not.
    pub(crate) fn check(&mut self, lives: &Lives, life: &Life) -> Result<(), String> {
        life.wait_until("gauges are back at 0", REST_LIMIT, || gauges(life))?;
        let held = life.wait_until("descriptors and threads as before", REST_LIMIT, || {
            let held = Held::of(life.pid)?;
            self.compare(&held)?;
            Ok(held)
        })?;
        stray_files(lives.data())?;
        let first = self.first.get_or_insert_with(|| held.clone());
        let more_max = self.bounds.resident_kib;
        if held.resident_kib > first.resident_kib + more_max {
            return Err(format!(
                "LEAK: {} KiB are resident, {} KiB at this life's first quiet point, {} points ago; at most {more_max} KiB more \
                 are expected",
                held.resident_kib, first.resident_kib, self.points
            ));
        }
        self.points += 1;
        self.resident_kib.push(held.resident_kib);
        self.worst.descriptors = self.worst.descriptors.max(held.descriptors);
        self.worst.resident_kib = self.worst.resident_kib.max(held.resident_kib);
        for (name, count) in held.threads {
            let worst = self.worst.threads.entry(name).or_default();
            *worst = count.max(*worst);
        }
        Ok(())
    }

    fn compare(&self, held: &Held) -> Result<(), String> {
        if held.descriptors > self.beginning.descriptors + self.bounds.descriptors {
            return Err(format!(
                "LEAK: {} descriptors are open, {} were at this life's beginning, at most {} more are expected",
                held.descriptors, self.beginning.descriptors, self.bounds.descriptors
            ));
        }
        for (name, count) in &held.threads {
            let before = self.beginning.threads.get(name).copied().unwrap_or(0);
            let more_max = match name.as_str() {
                name if name.starts_with(RUNTIME_THREADS) => self.bounds.runtime_threads,
                SELF_TEST_THREADS => self.bounds.self_tests,
                _ => self.bounds.named_threads,
            };
            if *count > before + more_max {
                return Err(format!(
                    "LEAK: {count} threads are called {name:?}, {before} were at this life's beginning"
                ));
            }
        }
        Ok(())
    }
}

impl Leaks {
    /// With what a quiet point found in quarantine.
    pub(crate) fn add_quarantine(&mut self, found: Quarantine) {
        self.points_in_quarantine += u64::from(found.bytes > 0);
        self.functions_reset_at_points += found.functions_reset;
        self.functions_brought_back += found.functions_brought_back;
        self.quarantined_bytes_max = self.quarantined_bytes_max.max(found.bytes);
    }

    /// With a life's measures.
    pub(crate) fn add(&mut self, rest: &Rest) {
        let runtime = |held: &Held| {
            let named = held.threads.iter();
            let runtime = named.filter(|(name, _)| name.starts_with(RUNTIME_THREADS));
            runtime.map(|(_, count)| count).sum::<usize>()
        };
        let first = rest.first.as_ref().unwrap_or(&rest.beginning);
        let more = |worst: usize, before: usize| worst.saturating_sub(before);
        self.points += rest.points;
        if rest.points > self.points_of_one_life_max {
            self.points_of_one_life_max = rest.points;
            self.resident_kib_of_that_life
                .clone_from(&rest.resident_kib);
        }
        self.descriptors_more_max = self
            .descriptors_more_max
            .max(more(rest.worst.descriptors, rest.beginning.descriptors));
        self.runtime_threads_more_max = self
            .runtime_threads_more_max
            .max(more(runtime(&rest.worst), runtime(&rest.beginning)));
        self.resident_kib_max = self.resident_kib_max.max(rest.worst.resident_kib);
        if rest.first.is_some() {
            let more = rest.worst.resident_kib.saturating_sub(first.resident_kib);
            self.resident_kib_more_max = self.resident_kib_more_max.max(more);
        }
    }
}

impl Held {
    fn of(pid: u32) -> Result<Self, String> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let failed = |error: std::io::Error| format!("{}: {error}", process.display());
        let descriptors = std::fs::read_dir(process.join("fd"))
            .map_err(failed)?
            .count();
        let mut threads = BTreeMap::new();
        for task in std::fs::read_dir(process.join("task"))
            .map_err(failed)?
            .flatten()
        {
            // One that has just ended has no name any more.
            if let Ok(name) = std::fs::read_to_string(task.path().join("comm")) {
                *threads.entry(name.trim().to_owned()).or_default() += 1;
            }
        }
        let status = std::fs::read_to_string(process.join("status")).map_err(failed)?;
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        Ok(Self {
            descriptors,
            threads,
            resident_kib: resident.ok_or("no VmRSS")?,
        })
    }
}

/// What is held, once the worker of each function that serves has begun: a thread has its name from then on, and its maker's
/// before.
fn named(life: &Life) -> Result<Held, String> {
    let (_, cards) = life.ready()?;
    let held = Held::of(life.pid)?;
    let functions = cards.iter().filter_map(|card| card["functions"].as_array());
    for function in functions.flatten() {
        let name = function["name"].as_str().unwrap_or_default();
        if function["in_service"] == true && !held.threads.contains_key(name) {
            return Err(format!("no thread is called {name:?}"));
        }
    }
    Ok(held)
}

/// Every function of every card serves, and the gateway says that it is ready.
pub(crate) fn wait_for_cards(life: &Life) -> Result<Duration, String> {
    let began = Instant::now();
    life.wait_until("every card is in service", CARDS_LIMIT, || {
        let (ready, cards) = life.ready()?;
        let out = cards.iter().find(|card| card["state"] != "in-service");
        match out {
            _ if !ready => Err("/readyz says that it is not ready".to_owned()),
            Some(card) => Err(card.to_string()),
            None => Ok(()),
        }
    })?;
    Ok(began.elapsed())
}

/// As [`wait_for_cards`], once the cards are sound: what went out of service for failing too often comes back as an operator
/// brings it back. How many did.
fn bring_back(lives: &Lives, life: &Life) -> Result<u64, String> {
    let mut count = 0;
    life.wait_until("what is out of service comes back", CARDS_LIMIT, || {
        let (_, cards) = life.ready()?;
        let functions = cards.iter().filter_map(|card| card["functions"].as_array());
        for function in functions.flatten() {
            if function["state"] == "out-of-service" {
                lives.faam(&["device", "reset", function["name"].as_str().unwrap_or("")])?;
                count += 1;
            }
        }
        Ok(())
    })?;
    wait_for_cards(life)?;
    Ok(count)
}

fn gauges(life: &Life) -> Result<(), String> {
    let (_, body) = life.get("/metrics")?;
    let text = String::from_utf8_lossy(&body);
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let name = series.split('{').next().unwrap_or("");
        let public = name == CONNECTIONS && series.contains("\"public\"");
        if GAUGES.contains(&name) || public {
            seen.insert(name);
        }
        if (GAUGES.contains(&name) || public) && value.parse::<f64>() != Ok(0.0) {
            return Err(format!("LEAK: {series} is {value}"));
        }
    }
    match GAUGES
        .iter()
        .chain([&CONNECTIONS])
        .find(|name| !seen.contains(*name))
    {
        Some(name) => Err(format!("the metrics have no {name}: was it renamed?")),
        None => Ok(()),
    }
}

/// By each function's word the arena is free but for what is in quarantine: how many bytes that are.
fn arenas(lives: &Lives) -> Result<u64, String> {
    let devices = lives.faam_json(&["device", "ls"])?;
    let mut held_max = 0;
    for device in devices["devices"].as_array().ok_or("no devices")? {
        let name = device["name"].as_str().ok_or("a device without a name")?;
        let shown = lives.faam_json(&["device", "show", name])?;
        let arena = shown
            .pointer("/devices/0/detail/arena")
            .ok_or_else(|| format!("{name} shows no arena: {shown}"))?;
        let bytes = |member: &str| arena[member].as_u64().ok_or("an arena without bytes");
        let held = bytes("quarantined_bytes")?;
        if bytes("free_bytes")? + held != bytes("bytes")? {
            return Err(format!("LEAK: {name} has {arena}"));
        }
        if device["in_flight"] != 0 {
            return Err(format!("LEAK: {name} holds {} jobs", device["in_flight"]));
        }
        held_max = held.max(held_max);
    }
    Ok(held_max)
}

/// What a retired queue pair holds in quarantine is free once its function was fenced: an operator has each one's fence. How
/// many there are.
fn fence(lives: &Lives) -> Result<u64, String> {
    let devices = lives.faam_json(&["device", "ls"])?;
    let mut count = 0;
    for device in devices["devices"].as_array().ok_or("no devices")? {
        lives.faam(&["device", "reset", device["name"].as_str().unwrap_or("")])?;
        count += 1;
    }
    Ok(count)
}

/// In the data directory is nothing but what belongs there.
fn stray_files(data: &Path) -> Result<(), String> {
    let belongs = |name: &str| {
        [
            "faam.db", "card", "demo.key", "admin.", "pepper", "root", "gateway", "keys", "lock",
        ]
        .iter()
        .any(|known| name.starts_with(known))
    };
    let names = std::fs::read_dir(data).map_err(|error| error.to_string())?;
    for name in names.flatten() {
        let name = name.file_name().to_string_lossy().into_owned();
        if !belongs(&name) {
            return Err(format!("LEAK: {name:?} is left in the data directory"));
        }
    }
    Ok(())
}
