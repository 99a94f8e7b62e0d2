//! What it costs to observe one request at its end: its count and its phases in the metrics, and its place among what is
//! remembered.
//!
//! One thread and four at once: whoever waits for another is seen in the difference. A time is of one request.

#![expect(clippy::unwrap_used, reason = "a bench stops where it cannot go on")]

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use faam_gateway::http::answer::{EngineUse, Spent};
use faam_gateway::http::ended::{ENDED_KEPT_MAX, Ended, NOTABLE_KEPT_MAX};
use faam_gateway::http::invocations::Invocations;
use faam_gateway::limit_met::LimitsMet;
use faam_gateway::meter;
use faam_gateway::metrics::{Metrics, PHASES, RequestEnd, TENANT_LABELS_MAX, TraceName};
use faam_gateway::tenants::TenantId;
use uuid::Uuid;

const THREADS: u64 = 4;

fn end(tenant: &str) -> RequestEnd<'_> {
    RequestEnd {
        tenant,
        kernel: "compress",
        backend: "cpu",
        outcome: "ok",
    }
}

fn ended(tenant: &TenantId) -> Ended {
    Ended {
        id: Uuid::now_v7(),
        tenant: Some(tenant.clone()),
        kernel: "compress",
        front: None,
        outcome: Some("ok"),
        detail: None,
        verify: "ok",
        bytes_in: 1024,
        bytes_out: 512,
        engines: EngineUse::default(),
        spent: Spent::default(),
        began: Instant::now(),
        answered: None,
        total: Duration::from_micros(50),
        cost: meter::Spent::default(),
        limits: LimitsMet::default(),
        faults: Vec::new(),
        trace: None,
    }
}

/// Time of `times` calls on each of so many threads at once, of the slowest.
fn at_once(times: u64, one: &(impl Fn() + Sync)) -> Duration {
    let barrier = Barrier::new(usize::try_from(THREADS).unwrap());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    let began = Instant::now();
                    (0..times).for_each(|_| one());
                    began.elapsed()
                })
            })
            .collect();
        let times = threads.into_iter().map(|thread| thread.join().unwrap());
        times.max().unwrap()
    })
}

fn observe(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("observe");
    let metrics = Metrics::new();
    let labelled: Vec<_> = (0..TENANT_LABELS_MAX)
        .map(|number| format!("tenant-{number}"))
        .collect();
    labelled
        .iter()
        .for_each(|tenant| metrics.request_end(end(tenant)));
    let times = [Duration::from_micros(20); PHASES.len()];
    let trace = Some(TraceName(7));
    let tenant = TenantId::new("tenant-1");
    let invocations = Invocations::default();
    (0..2 * (ENDED_KEPT_MAX + NOTABLE_KEPT_MAX)).for_each(|_| invocations.ended(ended(&tenant)));
    let count = || metrics.request_end(black_box(end("tenant-1")));
    let count_other = || metrics.request_end(black_box(end("somebody-else")));
    let phases = || metrics.request_phases(black_box(times), None);
    let traced = || metrics.request_phases(black_box(times), black_box(trace));
    let make = || drop(black_box(ended(&tenant)));
    let keep = || invocations.ended(black_box(ended(&tenant)));
    let cases: [(&str, &(dyn Fn() + Sync)); 6] = [
        ("count, a label of its own", &count),
        ("count, among all others", &count_other),
        ("phases", &phases),
        ("phases, in a trace", &traced),
        ("a record made, not kept", &make),
        ("a record made and kept", &keep),
    ];
    for (name, one) in cases {
        group.bench_function(name, |bencher| bencher.iter(one));
        group.bench_function(format!("{name}, {THREADS} threads"), |bencher| {
            bencher.iter_custom(|times| at_once(times, &one));
        });
    }
    group.finish();
}

criterion_group!(benches, observe);
criterion_main!(benches);
