//! What a tenant costs in memory that has nothing to do: a gateway has thousands of them.

use faam_sched::{
    Config, JobRequest, JobShape, KernelClass, Measured, Nanos, Placement, Priority, Scheduler,
    TargetSet, TenantConfig,
};

const TENANTS: u32 = 10_000;
/// Bytes of an idle tenant at the most.
const IDLE_BYTES_MAX: u64 = 1024;

#[test]
fn an_idle_tenant_takes_less_than_a_kibibyte_also_after_it_was_busy() {
    let mut scheduler: Scheduler<u64> = Scheduler::new(Config::default());
    let cpu = scheduler.add_target(1, true).unwrap();
    let card = scheduler.add_target(1, false).unwrap();
    scheduler.set_in_service(cpu, true, Nanos(0));
    scheduler.set_in_service(card, true, Nanos(0));
    let mut tenants = Vec::new();
    let never_used = allocation_counter::measure(|| {
        for _ in 0..TENANTS {
            tenants.push(scheduler.add_tenant(TenantConfig {
                cir_us_per_s: 10,
                pir_us_per_s: Some(1_000_000),
                ..TenantConfig::default()
            }));
        }
    });
    // Each has had jobs of three placements and two priorities, all at once.
    let both = TargetSet::of(cpu).union(TargetSet::of(card));
    let placements = [TargetSet::of(cpu), TargetSet::of(card), both].map(Placement::any_of);
    let used = allocation_counter::measure(|| {
        for tenant in &tenants {
            for placement in placements {
                for number in [0, 7] {
                    let request = JobRequest {
                        shape: JobShape {
                            kernel: KernelClass(0),
                            bytes: 4096,
                        },
                        placement,
                        priority: Priority::new(number).unwrap(),
                    };
                    scheduler.push(*tenant, 0, request, Nanos(0)).unwrap();
                }
            }
            while scheduler.queued(*tenant) > 0 {
                for target in [cpu, card] {
                    if let Some(taken) = scheduler.next(target, Nanos(u64::MAX / 2)) {
                        let measured = Measured {
                            took: Nanos(50_000),
                            ..Measured::default()
                        };
                        scheduler.finish(taken.receipt, measured);
                    }
                }
            }
        }
    });
    let each = |bytes: i64| u64::try_from(bytes).unwrap_or(0) / u64::from(TENANTS);
    let (never_used, used) = (
        each(never_used.bytes_current),
        each(never_used.bytes_current + used.bytes_current),
    );
    println!(
        "bytes an idle tenant: {never_used}, and {used} once it has been busy in three places"
    );
    assert!(used <= IDLE_BYTES_MAX, "{used}");
    assert!(never_used <= used);
}
