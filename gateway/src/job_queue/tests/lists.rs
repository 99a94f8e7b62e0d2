//! Tenants who may be served by some images only.

use super::*;
use crate::allowed_images::AllowedImages;

/// A slot with the kernel of the jobs that a rig pushes, from an image of this name.
fn tables_of(name: &str) -> SlotKernel {
    SlotKernel {
        serves: Serves::TABLES,
        kernel_uuid: *faam_image::kernel_uuid(name).as_bytes(),
    }
}

fn slots(active: &[&str], changing: &[&str]) -> Served {
    let of = |names: &[&str]| names.iter().map(|name| tables_of(name)).collect();
    Served::Slots {
        active: of(active),
        changing: of(changing),
    }
}

fn listed(name: &str, images: &[&str]) -> Tenant {
    let images = AllowedImages::new(images.iter().copied()).unwrap();
    Tenant {
        id: TenantId::new(name),
        limits: TenantLimits {
            images: Some(images),
            ..TenantLimits::default()
        },
    }
}

#[test]
fn a_tenant_with_a_list_is_served_by_its_images_alone() {
    let rig = Rig::new();
    let strict = listed("strict", &["good"]);
    rig.queue.set_tenant(&strict);
    let next_is = |tenant: &Tenant| {
        let running = rig.take(0)?;
        assert_eq!(running.job.spec.tenant, tenant.id);
        rig.claim(running);
        Some(())
    };
    // A card without slots serves from no image.
    let mut answer = rig.push_of(&strict, BackendPolicy::RequireHardware);
    for served in [
        Served::Fixed(Serves::ALL),
        slots(&["other"], &[]),
        slots(&["good", "other"], &[]),
        slots(&["good"], &["other"]),
        slots(&[], &["good"]),
    ] {
        rig.queue.set_served(0, 0, served.clone());
        assert!(rig.take(0).is_none(), "{served:?}");
        let _free = rig.push(BackendPolicy::RequireHardware);
        let is_served = served != slots(&[], &["good"]);
        assert_eq!(next_is(&rig.tenant).is_some(), is_served, "{served:?}");
    }
    assert!(answer.try_recv().is_err(), "it waits");
    rig.queue.set_served(0, 0, slots(&["good"], &[]));
    next_is(&strict).unwrap();
    assert!(rig.take(0).is_none(), "nobody waits for the others");

    // Who would rather have a card is told that it was not allowed.
    rig.queue.set_served(0, 0, slots(&["other"], &[]));
    let _answer = rig.push_of(&strict, BackendPolicy::PreferHardware);
    let fallback = || loop {
        match rig.queue.next_at_once(None).unwrap() {
            CpuWork::Run(running) => return running.job.fallback,
            CpuWork::Verify(_) => {}
            CpuWork::Stop => panic!("not yet"),
        }
    };
    assert_eq!(fallback(), Some(FallbackReason::NotAllowed));
    rig.queue.set_served(0, 0, slots(&[], &[]));
    let _answer = rig.push_of(&strict, BackendPolicy::PreferHardware);
    assert_eq!(fallback(), Some(FallbackReason::KernelAbsent));
}

#[test]
fn no_slot_is_changed_under_a_job_whose_tenant_may_not_use_what_comes() {
    let rig = Rig::new();
    let strict = listed("strict", &["good"]);
    rig.queue.set_tenant(&strict);
    rig.queue.set_served(0, 0, slots(&["good"], &[]));
    let _answers = [
        rig.push_of(&strict, BackendPolicy::RequireHardware),
        rig.push(BackendPolicy::RequireHardware),
    ];
    let held = [rig.take(0).unwrap(), rig.take(0).unwrap()];
    assert!(!rig.queue.holds_beyond_lists(0, 0));
    // Another one of the same image is nothing to wait for.
    rig.queue.set_served(0, 0, slots(&["good"], &["good"]));
    assert!(!rig.queue.holds_beyond_lists(0, 0));
    rig.queue.set_served(0, 0, slots(&["good"], &["other"]));
    let is_strict = |running: &RunningJob| running.job.spec.tenant == strict.id;
    let (strict_jobs, others): (Vec<_>, Vec<_>) = held.into_iter().partition(is_strict);
    for running in others {
        assert!(rig.queue.holds_beyond_lists(0, 0));
        rig.claim(running);
    }
    for running in strict_jobs {
        assert!(rig.queue.holds_beyond_lists(0, 0));
        // Its function lost it: it is on no card now, and comes back to none with the other image.
        rig.queue.card_failed(running, "hang", "a fault");
    }
    assert!(!rig.queue.holds_beyond_lists(0, 0));
    assert!(rig.take(0).is_none());
}

#[test]
fn a_list_that_changes_holds_for_what_comes_after() {
    let rig = Rig::new();
    rig.queue.set_tenant(&listed("strict", &["good"]));
    rig.queue.set_served(0, 0, slots(&["other"], &[]));
    let before = listed("strict", &["good"]);
    let _waits = rig.push_of(&before, BackendPolicy::RequireHardware);
    let after = listed("strict", &["other"]);
    rig.queue.set_tenant(&after);
    assert!(rig.take(0).is_none(), "queued with the old one");
    let _comes = rig.push_of(&after, BackendPolicy::RequireHardware);
    // First come, first served among its own; but the first may not be, and holds nobody up.
    let running = rig.take(0).unwrap();
    rig.claim(running);
    assert!(rig.take(0).is_none());
    rig.queue.set_served(0, 0, slots(&["good"], &[]));
    rig.take(0).unwrap();
    // As many lists as can be told apart, that one among them.
    for number in 1..IMAGE_LISTS_MAX {
        let name = format!("k{number}");
        rig.queue.set_tenant(&listed(&name, &[&name]));
    }
    let one_more = listed("beyond", &["good", "better"]);
    let images = one_more.limits.images.clone().unwrap();
    assert!(!rig.queue.has_room_for(&one_more.id, &images));
    // Whose own comes free with the change may have another.
    assert!(rig.queue.has_room_for(&TenantId::new("k2"), &images));
    rig.queue.set_tenant(&one_more);
    rig.queue.set_served(0, 0, slots(&["good"], &[]));
    let (wake, woken) = crossbeam::channel::bounded(1);
    rig.queue.wake_for_kernels(wake);
    let _answer = rig.push_of(&one_more, BackendPolicy::RequireHardware);
    assert!(rig.take(0).is_none(), "told apart from nobody: no card");
    assert!(woken.is_empty(), "nothing could be loaded for it");
    let _answer = rig.push_of(&listed("k3", &["k3"]), BackendPolicy::RequireHardware);
    assert!(woken.try_recv().is_ok());
    // The first place that comes free is its own, for what comes from then on: also one that a job held the longest.
    let mut last = rig.push_of(&listed("k1", &["k1"]), BackendPolicy::RequireHardware);
    rig.queue.remove_tenant(&TenantId::new("k1"));
    assert!(matches!(
        last.try_recv().unwrap(),
        Err(JobError::TenantRemoved)
    ));
    let _answer = rig.push_of(&one_more, BackendPolicy::RequireHardware);
    assert_eq!(rig.take(0).unwrap().job.spec.tenant, one_more.id);
    assert!(rig.take(0).is_none());
}
