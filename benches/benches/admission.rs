//! What it costs to let a request in and out again: its permit, and the rates and quotas of its tenant.
//!
//! Nothing else is measured: no connection, no body, no engine. `limited` has every limit that can be used up.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use faam_gateway::admission::{Admission, AdmissionLimits, Ask};
use faam_gateway::meter::Spent;
use faam_gateway::tenants::{Tenant, TenantId, TenantLimits};

/// Tenants that have sent something, beside the one that is measured.
const OTHERS: usize = 10_000;

fn admission(c: &mut Criterion) {
    let plenty = Some(u64::MAX / 4);
    let limited = TenantLimits {
        requests_per_s: plenty,
        bytes_per_s: plenty,
        bytes_per_day: plenty,
        reference_us_per_day: plenty,
        memory_bytes_max: Some(usize::MAX / 4),
        ..TenantLimits::default()
    };
    let ask = Ask {
        memory_bytes: 64 << 10,
        body_bytes: Some(1024),
        ..Ask::default()
    };
    let admission = Admission::new(AdmissionLimits::default());
    for number in 0..OTHERS {
        let other = Tenant {
            id: TenantId::new(&format!("tenant{number}")),
            limits: limited.clone(),
        };
        drop(admission.admit(&other, ask));
    }
    let cost = Spent {
        reference: Duration::from_micros(20),
        ..Spent::default()
    };
    let mut group = c.benchmark_group("admission");
    for (name, limits) in [("unlimited", TenantLimits::default()), ("limited", limited)] {
        let tenant = Tenant {
            id: TenantId::new(name),
            limits,
        };
        group.bench_function(name, |b| {
            b.iter(|| {
                let permit = admission.admit(black_box(&tenant), ask).map(Arc::new);
                if let Ok(permit) = &permit {
                    black_box(permit.arrived(1024));
                    permit.meter().add(cost);
                }
                permit.is_ok()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, admission);
criterion_main!(benches);
