//! What the policy does in small cases.

use super::*;

const S: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;

fn slot(serves: KernelSet, since: u64) -> SlotView {
    SlotView {
        serves,
        since: Nanos(since),
        can_change: true,
    }
}

fn images(count: usize) -> Vec<ImageView> {
    (0..count)
        .map(|kernel| ImageView {
            serves: KernelSet::of(kernel),
            load: Nanos(20 * MS),
            not_before: Nanos(0),
        })
        .collect()
}

fn policy() -> SlotPolicy {
    SlotPolicy::new(SlotConfig {
        prewarm: false,
        ..SlotConfig::default()
    })
}

#[test]
fn what_was_saved_fades_by_half_in_a_half_life() {
    let mut policy = policy();
    policy.demanded(3, 4, Nanos(MS), Nanos(0));
    let worth = |at| policy.worth(3, Nanos(at));
    assert_eq!((worth(0), worth(10 * S), worth(20 * S)), (4e6, 2e6, 1e6));
    assert!(worth(5 * S) > 2e6 && worth(5 * S) < 4e6);
    assert_eq!(worth(u64::MAX), 0.0);
    assert_eq!(policy.worth(99, Nanos(0)), 0.0);
}

#[test]
fn a_kernel_is_loaded_once_it_would_have_paid_and_not_before() {
    let mut policy = policy();
    let slots = [slot(KernelSet::EMPTY, 0)];
    let decide =
        |policy: &SlotPolicy| policy.decide(&slots, &images(1), KernelSet::EMPTY, Nanos(S));
    policy.demanded(0, 19, Nanos(MS), Nanos(S));
    assert_eq!(decide(&policy), None);
    policy.demanded(0, 1, Nanos(MS), Nanos(S));
    assert_eq!(
        decide(&policy),
        Some(SlotDecision::Load {
            slot: 0,
            image: 0,
            reason: LoadReason::Demand
        })
    );
}

#[test]
fn nothing_is_evicted_for_what_is_worth_little_more() {
    let mut policy = policy();
    let slots = [slot(KernelSet::of(0), 0), slot(KernelSet::of(1), 0)];
    let now = Nanos(5 * S);
    policy.demanded(0, 200, Nanos(MS), now);
    policy.demanded(1, 100, Nanos(MS), now);
    policy.demanded(2, 149, Nanos(MS), now);
    let decide =
        |policy: &SlotPolicy, now| policy.decide(&slots, &images(3), KernelSet::EMPTY, now);
    assert_eq!(decide(&policy, now), None);
    policy.demanded(2, 2, Nanos(MS), now);
    let load = SlotDecision::Load {
        slot: 1,
        image: 2,
        reason: LoadReason::Demand,
    };
    assert_eq!(decide(&policy, now), Some(load));
    // Not while both have just come.
    let young = [slot(KernelSet::of(0), 5 * S), slot(KernelSet::of(1), 5 * S)];
    assert_eq!(
        policy.decide(&young, &images(3), KernelSet::EMPTY, now),
        None
    );
}

#[test]
fn a_second_copy_is_worth_nothing_and_the_first_to_go() {
    let mut policy = policy();
    let slots = [
        slot(KernelSet::of(0), 0),
        slot(KernelSet::of(0), 0),
        slot(KernelSet::of(1), 0),
    ];
    let now = Nanos(5 * S);
    policy.demanded(0, 1000, Nanos(MS), now);
    policy.demanded(1, 500, Nanos(MS), now);
    policy.demanded(2, 30, Nanos(MS), now);
    let Some(SlotDecision::Load { slot, image, .. }) =
        policy.decide(&slots, &images(3), KernelSet::EMPTY, now)
    else {
        panic!("a copy makes room");
    };
    assert_eq!((slot, image), (0, 2));
}

#[test]
fn who_requires_a_kernel_has_it_loaded_in_place_of_what_is_worth_least_and_of_nobody_who_waits() {
    let mut policy = policy();
    let now = Nanos(S);
    policy.demanded(0, 100, Nanos(MS), now);
    policy.demanded(1, 10, Nanos(MS), now);
    let slots = [slot(KernelSet::of(0), S), slot(KernelSet::of(1), S)];
    let load = |slot| {
        Some(SlotDecision::Load {
            slot,
            image: 2,
            reason: LoadReason::Required,
        })
    };
    let decide = |required| policy.decide(&slots, &images(3), required, now);
    assert_eq!(decide(KernelSet::of(2)), load(1));
    assert_eq!(decide(KernelSet::of(2).union(KernelSet::of(1))), load(0));
    assert_eq!(decide(KernelSet::of(1)), None, "it is there");
    let mut failed = images(3);
    failed[2].not_before = Nanos(2 * S);
    assert_eq!(policy.decide(&slots, &failed, KernelSet::of(2), now), None);
}

#[test]
fn what_nobody_wants_is_unloaded_and_what_somebody_wants_is_not() {
    let mut policy = SlotPolicy::new(SlotConfig {
        idle: Some(Nanos(60 * S)),
        prewarm: false,
        ..SlotConfig::default()
    });
    policy.demanded(0, 1, Nanos(MS), Nanos(30 * S));
    let slots = [slot(KernelSet::of(0), 0), slot(KernelSet::of(1), 0)];
    let decide = |at: u64, required| policy.decide(&slots, &[], required, Nanos(at));
    assert_eq!(decide(59 * S, KernelSet::EMPTY), None);
    let unload = |slot| Some(SlotDecision::Unload { slot });
    assert_eq!(decide(60 * S, KernelSet::EMPTY), unload(1));
    assert_eq!(decide(90 * S, KernelSet::EMPTY), unload(0));
    assert_eq!(decide(60 * S, KernelSet::of(1)), None);
}

#[test]
fn an_empty_slot_is_loaded_ahead_of_what_is_expected() {
    let mut policy = SlotPolicy::new(SlotConfig::default());
    let slots = [slot(KernelSet::of(0), 0), slot(KernelSet::EMPTY, 0)];
    let now = Nanos(S);
    policy.demanded(1, 1, Nanos(MS), now);
    let decide = |policy: &SlotPolicy| policy.decide(&slots, &images(2), KernelSet::EMPTY, now);
    assert_eq!(decide(&policy), None, "one job is not to be expected again");
    policy.demanded(1, 1, Nanos(MS), now);
    assert_eq!(
        decide(&policy),
        Some(SlotDecision::Load {
            slot: 1,
            image: 1,
            reason: LoadReason::Prewarm
        })
    );
}
