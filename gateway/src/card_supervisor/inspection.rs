//! What a function says of itself, read for an operator.
//!
//! Invariant: nothing that cannot be read keeps the rest from being shown, and nothing here judges: a card that answers
//! nonsense is its supervisor's business, by the heartbeat. It knows no schedule.

use std::collections::BTreeMap;
use std::fmt::Display;

use faam_driver::{Function, FunctionIdentity, ModelKind, WorkerHandle};
use faam_hwif::QueueId;
use faam_hwif::error::ErrorCode;
use faam_hwif::regs::QueueCounter;

use crate::card_operation::{
    ArenaDetail, ErrorDetail, FunctionDetail, HealthDetail, IdentityDetail, QueuePairDetail,
    interface_uuid,
};

/// Reads it all: some ten admin commands and register reads, each with the driver's own limit.
pub(super) fn inspect(function: &Function, worker: &WorkerHandle) -> FunctionDetail {
    let mut unreadable = Vec::new();
    let heartbeat = note(&mut unreadable, "heartbeat", function.heartbeat());
    let health = note(&mut unreadable, "health page", function.health());
    let errors = note(&mut unreadable, "error log", function.error_log());
    let pairs = function.queue_pairs();
    let retired = function.retired_queue_pairs();
    let queue_pairs = pairs
        .into_iter()
        .map(|(queue, in_use)| QueuePairDetail {
            queue: queue.0,
            in_use,
            retired: retired.contains(&queue),
            // The card has none of a pair that it was told to delete.
            counters: counters(
                &mut unreadable,
                function,
                queue,
                in_use && !retired.contains(&queue),
            ),
        })
        .collect();
    let arena = function.arena();
    FunctionDetail {
        identity: identity(function.identity()),
        heartbeat,
        health: health.map(|health| HealthDetail {
            uptime_ms: health.uptime_ms,
            jobs: health.jobs,
            jobs_failed: health.jobs_failed,
            bytes_in: health.bytes_in,
            bytes_out: health.bytes_out,
            busy_cycles: health.busy_cycles,
            scrub_cycles: health.scrub_cycles,
            dma_faults: health.dma_faults,
        }),
        errors: errors
            .unwrap_or_default()
            .into_iter()
            .map(|entry| ErrorDetail {
                count: entry.count,
                code: ErrorCode::from_bits(entry.code).map_or_else(
                    || format!("{:#06x}", entry.code),
                    |code| format!("{code:?}"),
                ),
                queue: entry.queue,
                info: format!("{:#x}", entry.info),
                uptime_ms: entry.uptime_ms,
            })
            .collect(),
        queue_pairs,
        worker: of_worker(worker),
        arena: ArenaDetail {
            bytes: arena.bytes(),
            free_bytes: arena.free_bytes(),
            quarantined_bytes: arena.quarantine().held_bytes(),
        },
        unreadable,
    }
}

/// The value, or a line that says why there is none.
fn note<T>(unreadable: &mut Vec<String>, what: &str, read: Result<T, impl Display>) -> Option<T> {
    match read {
        Ok(value) => Some(value),
        Err(error) => {
            unreadable.push(format!("{what}: {error}"));
            None
        }
    }
}

fn counters(
    unreadable: &mut Vec<String>,
    function: &Function,
    queue: QueueId,
    in_use: bool,
) -> BTreeMap<&'static str, u64> {
    let mut counters = BTreeMap::new();
    if !in_use {
        return counters;
    }
    for counter in QueueCounter::ALL {
        let name = match counter {
            QueueCounter::Fetched => "fetched",
            QueueCounter::Completed => "completed",
            QueueCounter::Failed => "failed",
            QueueCounter::BytesIn => "bytes_in",
            QueueCounter::BytesOut => "bytes_out",
            QueueCounter::Cycles => "cycles",
            QueueCounter::Kicks => "kicks",
            QueueCounter::Interrupts => "interrupts",
        };
        let what = format!("counters of queue {} from {name} on", queue.0);
        match note(unreadable, &what, function.counter(queue, counter)) {
            Some(value) => counters.insert(name, value),
            // Where one cannot be read, waiting for the others in turn would only take the supervisor's time.
            None => break,
        };
    }
    counters
}

fn of_worker(worker: &WorkerHandle) -> BTreeMap<&'static str, u64> {
    let counters = worker.counters();
    BTreeMap::from([
        ("jobs", counters.jobs.get()),
        ("commands", counters.commands.get()),
        ("batches", counters.batches.get()),
        ("sleeps", counters.sleeps.get()),
        ("refused", counters.refused.get()),
        ("table_fallbacks", counters.table_fallbacks.get()),
        ("found_by_looking", counters.found_by_looking.get()),
        ("arena_waits", counters.arena_waits.get()),
    ])
}

fn identity(identity: &FunctionIdentity) -> IdentityDetail {
    let (features, formats, levels) = (identity.features, identity.formats, identity.levels);
    IdentityDetail {
        serial: identity.serial.clone(),
        serial_number: format!("{:#018x}", identity.serial_number),
        model: identity.model_name.clone(),
        model_kind: match identity.model {
            ModelKind::Hardware => "hardware",
            ModelKind::FunctionalModel => "functional model (simulated)",
            ModelKind::Rtl => "simulated gateware (simulated)",
        },
        firmware: identity.firmware.clone(),
        function: identity.function_index,
        functions: identity.functions,
        abi_version: format!("{}.{}", identity.abi.0, identity.abi.1),
        interface_uuid: interface_uuid(),
        transport: format!("{:?}", identity.transport),
        engines: identity.engines,
        jobs_each_max: identity.jobs_each_max,
        clock_khz: identity.clock_khz,
        job_bytes_max: identity.job_bytes_max,
        history_bytes_max: identity.history_bytes_max,
        queue_pairs_max: identity.io_pairs_max,
        queue_entries_max: 1u32
            .checked_shl(identity.entries_log2_max.into())
            .unwrap_or(0),
        vectors: identity.vectors,
        features: set([
            (features.shadow_doorbells(), "shadow-doorbells"),
            (features.loaded_tables(), "loaded-tables"),
            (features.history(), "history"),
            (features.decompress(), "decompress"),
            (features.abort(), "abort"),
            (features.context_scrub(), "context-scrub"),
            (features.paced(), "paced"),
        ]),
        formats: set([
            (formats.raw(), "deflate"),
            (formats.zlib(), "zlib"),
            (formats.gzip(), "gzip"),
        ]),
        levels: set([
            (levels.fast(), "fast"),
            (levels.balanced(), "balanced"),
            (levels.dense(), "dense"),
        ]),
    }
}

fn set<const N: usize>(bits: [(bool, &'static str); N]) -> Vec<&'static str> {
    let on = bits.into_iter().filter(|(on, _)| *on);
    on.map(|(_, name)| name).collect()
}
