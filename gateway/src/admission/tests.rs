use super::clock::{DAY_SECONDS, SetClock};
use super::*;
use crate::meter::Spent;
use crate::tenants::TenantLimits;

fn tenant(in_flight_max: usize) -> Tenant {
    Tenant::demo(TenantLimits {
        in_flight_max,
        ..TenantLimits::default()
    })
}

fn with_memory(body_memory_bytes_max: usize) -> Admission {
    Admission::new(AdmissionLimits {
        body_memory_bytes_max,
        ..AdmissionLimits::default()
    })
}

#[test]
fn disk_is_bounded_for_a_request_a_tenant_and_the_process() {
    let admission = Admission::new(AdmissionLimits {
        spill_bytes_max: 250,
        spill_tenant_bytes_max: 200,
        spill_request_bytes_max: 100,
        ..AdmissionLimits::default()
    });
    let other = Tenant {
        id: TenantId::new("other"),
        ..tenant(9)
    };
    let admit = |tenant: &Tenant| admission.admit(tenant, 0).expect("room");
    let (first, second, third) = (admit(&tenant(9)), admit(&tenant(9)), admit(&tenant(9)));
    assert!(first.take_spill(100) && !first.take_spill(1), "request");
    assert!(second.take_spill(90) && !third.take_spill(11), "tenant");
    let foreign = admit(&other);
    assert!(foreign.take_spill(60) && !foreign.take_spill(1), "process");
    assert_eq!(admission.spill_bytes(), 250);
    first.give_back_spill(1000);
    assert_eq!(admission.spill_bytes(), 150);
    assert!(third.take_spill(11), "room again");
    drop((first, second, third, foreign));
    assert_eq!(admission.spill_bytes(), 0);
}

#[tokio::test]
async fn one_tenant_cannot_have_all_files() {
    let admission = Admission::new(AdmissionLimits {
        spill_files_max: 3,
        spill_tenant_files_max: 2,
        ..AdmissionLimits::default()
    });
    let other = Tenant {
        id: TenantId::new("other"),
        ..tenant(9)
    };
    let greedy = [(); 3].map(|()| admission.admit(&tenant(9), 0).expect("room"));
    let foreign = [(); 2].map(|()| admission.admit(&other, 0).expect("room"));
    let mut places: Vec<_> = greedy
        .iter()
        .filter_map(AdmissionPermit::try_spill_file)
        .collect();
    assert_eq!(places.len(), 2, "its share");
    // Whoever waits for one of its own tenant's holds nothing meanwhile.
    let mut waits = Box::pin(greedy[2].spill_file());
    assert!(poll(waits.as_mut()).await.is_none());
    let place = foreign[0].try_spill_file().expect("the other's");
    assert!(
        foreign[1].try_spill_file().is_none(),
        "the process has three"
    );
    drop(places.pop());
    let waited = poll(waits.as_mut()).await.expect("one is free");
    drop((waited, places, place));
    assert_eq!(
        foreign
            .iter()
            .filter_map(AdmissionPermit::try_spill_file)
            .count(),
        2,
        "all are back"
    );
}

/// One poll, and the result if it is there.
async fn poll<T>(mut future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        std::task::Poll::Ready(value) => std::task::Poll::Ready(Some(value)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

#[test]
fn a_permit_returns_when_its_last_holder_ends() {
    let admission = with_memory(1000);
    let permit = Arc::new(admission.admit(&tenant(1), 600).expect("room"));
    let job = Arc::clone(&permit);
    drop(permit);
    assert_eq!((admission.in_flight(), admission.memory_bytes()), (1, 600));
    assert_eq!(
        admission
            .admit(&tenant(1), 1)
            .expect_err("one is in flight"),
        Refusal::TooManyInFlight {
            in_flight: 1,
            max: 1
        }
    );
    drop(job);
    assert_eq!((admission.in_flight(), admission.memory_bytes()), (0, 0));
}

#[test]
fn a_refusal_for_memory_holds_nothing() {
    let admission = with_memory(1000);
    let first = admission.admit(&tenant(9), 900).expect("room");
    assert_eq!(
        admission.admit(&tenant(9), 101).expect_err("100 are free"),
        Refusal::Saturated {
            asked: 101,
            free: 100,
            max: 1000
        }
    );
    assert_eq!((admission.in_flight(), admission.memory_bytes()), (1, 900));
    assert!(first.grow(usize::MAX).is_err());
    first.grow(100).expect("100 are free");
    first.shrink(5000);
    assert_eq!((first.bytes(), admission.memory_bytes()), (0, 0));
    drop(first);
    assert_eq!((admission.in_flight(), admission.memory_bytes()), (0, 0));
}

#[test]
fn draining_refuses_everyone() {
    let admission = with_memory(1000);
    admission.leave();
    assert!(admission.is_leaving() && !admission.is_draining());
    assert!(admission.admit(&tenant(1), 0).is_ok(), "still served");
    admission.drain(Duration::from_secs(9));
    let refusal = admission.admit(&tenant(1), 0).expect_err("draining");
    let Refusal::Draining { left } = refusal else {
        panic!("{refusal:?}");
    };
    assert!(left > Duration::ZERO && left <= Duration::from_secs(9));
}

#[test]
fn who_began_before_the_drain_is_let_in_until_that_is_over() {
    let (admission, clock, tenant) = set_clock(TenantLimits::default());
    clock.pass(Duration::from_secs(1), 1);
    admission.drain(Duration::from_secs(9));
    clock.pass(Duration::from_millis(10), 0);
    let admit = |age_ms| {
        let ask = Ask {
            age: Duration::from_millis(age_ms),
            ..Ask::default()
        };
        admission.admit(&tenant, ask)
    };
    assert!(admit(11).is_ok(), "its head was there before");
    for age_ms in [0, 9, 10] {
        let refusal = admit(age_ms).expect_err("it began within the drain");
        assert!(matches!(refusal, Refusal::Draining { .. }), "{refusal:?}");
    }
    clock.pass(Duration::from_secs(9), 9);
    assert!(admit(60_000).is_err(), "the drain is over");
}

fn set_clock(limits: TenantLimits) -> (Admission, Arc<SetClock>, Tenant) {
    let clock = SetClock::at(DAY_SECONDS * 20_000);
    let by = Clock::set(Arc::clone(&clock));
    let admission = Admission::with_clock(AdmissionLimits::default(), by);
    (admission, clock, Tenant::demo(limits))
}

#[test]
fn who_hangs_up_has_paid_and_what_ran_is_charged() {
    let (admission, clock, tenant) = set_clock(TenantLimits {
        requests_per_s: Some(1),
        reference_us_per_day: Some(1000),
        ..TenantLimits::default()
    });
    let permit = Arc::new(admission.admit(&tenant, 0).expect("a token"));
    let job = Arc::clone(&permit);
    // The caller goes at once; the job, which an engine has, ends later.
    drop(permit);
    let refusal = admission.admit(&tenant, 0).expect_err("the token is gone");
    let Refusal::OverRate { wait, .. } = refusal else {
        panic!("{refusal:?}");
    };
    assert_eq!(wait, Duration::from_secs(1));
    job.meter().add(Spent {
        reference: Duration::from_millis(1),
        ..Spent::default()
    });
    assert_eq!(admission.day_use(&tenant.id).reference, Duration::ZERO);
    drop(job);
    assert_eq!(
        admission.day_use(&tenant.id).reference,
        Duration::from_millis(1)
    );
    clock.pass(wait, 1);
    let refusal = admission.admit(&tenant, 0).expect_err("the day's is used");
    assert!(
        matches!(
            refusal,
            Refusal::OverQuota {
                quota: Quota::Reference,
                ..
            }
        ),
        "{refusal:?}"
    );
    // A request that is refused for another reason has not lost its token.
    clock.pass(Duration::from_secs(1), DAY_SECONDS);
    assert!(admission.admit(&tenant, 0).is_ok(), "another day");
}

#[test]
fn an_idle_tenant_costs_little() {
    // One shared set of bounds, two rates and a day: no buffer, no map, no task of its own.
    assert!(size_of::<TenantUse>() <= 384, "{}", size_of::<TenantUse>());
}
