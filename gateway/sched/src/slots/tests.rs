//! What the policy does in small cases.

use super::*;

const S: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;

fn slot(serves: KernelSet, since: u64) -> SlotView {
    SlotView {
        serves,
        bars: KernelSet::EMPTY,
        group: 0,
        since: Nanos(since),
        can_change: true,
    }
}

fn images(count: usize) -> Vec<ImageView> {
    (0..count)
        .map(|kernel| ImageView {
            serves: KernelSet::of(kernel),
            bars: KernelSet::EMPTY,
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
            reason: LoadReason::Demand,
            gains: KernelSet::of(0),
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
        gains: KernelSet::of(2),
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
            gains: KernelSet::of(2),
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
            reason: LoadReason::Prewarm,
            gains: KernelSet::of(1),
        })
    );
}

/// A kernel for whoever has no list, for the list of the one make of it, and for that of the other.
const ANYBODY: usize = 0;
const LIST: [usize; 2] = [1, 2];

/// The image of a make: no other one serves that list's jobs beside it.
fn of_make(make: usize) -> (KernelSet, KernelSet) {
    let serves = KernelSet::of(ANYBODY).union(KernelSet::of(LIST[make]));
    (serves, KernelSet::of(LIST[1 - make]))
}

fn made(make: usize) -> ImageView {
    let (serves, bars) = of_make(make);
    ImageView {
        serves,
        bars,
        load: Nanos(20 * MS),
        not_before: Nanos(0),
    }
}

fn holding(make: usize, group: usize) -> SlotView {
    let (serves, bars) = of_make(make);
    SlotView {
        serves,
        bars,
        group,
        since: Nanos(0),
        can_change: true,
    }
}

fn empty(group: usize) -> SlotView {
    SlotView {
        group,
        ..slot(KernelSet::EMPTY, 0)
    }
}

const NOW: Nanos = Nanos(5 * S);

fn wanted(by: &[(usize, u32)]) -> SlotPolicy {
    let mut policy = policy();
    for (kernel, jobs) in by {
        policy.demanded(*kernel, *jobs, Nanos(MS), NOW);
    }
    policy
}

#[test]
fn a_lists_image_is_loaded_where_no_other_one_serves_beside_it() {
    let policy = wanted(&[(ANYBODY, 100), (LIST[1], 30)]);
    let decide =
        |slots: &[SlotView]| policy.decide(slots, &[made(0), made(1)], KernelSet::EMPTY, NOW);
    let load = |slot| {
        Some(SlotDecision::Load {
            slot,
            image: 1,
            reason: LoadReason::Demand,
            gains: KernelSet::of(LIST[1]),
        })
    };
    // Beside the other make it would serve nobody more; in another group it does, and in place of the other one.
    assert_eq!(decide(&[holding(0, 0), empty(0), empty(1)]), load(2));
    assert_eq!(decide(&[holding(0, 0), empty(0)]), load(0));
    // Who has no list is served by it as well: no other make is loaded for them.
    assert_eq!(decide(&[holding(1, 0), empty(0), empty(1)]), None);
    let first = wanted(&[(ANYBODY, 100), (LIST[1], 30), (LIST[0], 1)]);
    let slots = [empty(0)];
    let Some(SlotDecision::Load { image, .. }) =
        first.decide(&slots, &[made(0), made(1)], KernelSet::EMPTY, NOW)
    else {
        panic!("something is loaded");
    };
    assert_eq!(image, 1, "the one that serves more of them");
}

#[test]
fn a_lists_image_comes_by_one_load_or_not_at_all() {
    let images = [made(0), made(1)];
    let policy = wanted(&[(LIST[1], 1000)]);
    let decide = |slots: &[SlotView], required| policy.decide(slots, &images, required, NOW);
    // Two that bar it in each group: neither demand nor who waits has any of them emptied.
    let two = [holding(0, 0), holding(0, 0), holding(0, 1), holding(0, 1)];
    for required in [KernelSet::EMPTY, KernelSet::of(LIST[1])] {
        assert_eq!(decide(&two, required), None);
        // One in the second group: it makes room, and nothing of the first.
        let mut one = two;
        one[3] = empty(1);
        let Some(SlotDecision::Load { slot, image, .. }) = decide(&one, required) else {
            panic!("the list's image comes");
        };
        assert_eq!((slot, image), (2, 1));
        // While it is under way, which counts as done, nothing is begun anywhere else.
        one[2] = SlotView {
            can_change: false,
            ..holding(1, 1)
        };
        one[3].can_change = false;
        assert_eq!(decide(&one, required), None);
        // It is loaded and another beside it bars it: that one is replaced, with what it costs.
        let both = [holding(0, 0), holding(1, 0)];
        assert!(matches!(
            decide(&both, required),
            Some(SlotDecision::Load {
                slot: 0,
                image: 1,
                ..
            })
        ));
    }
    let beside = [holding(0, 0), holding(1, 0)];
    let decide = |policy: &SlotPolicy| policy.decide(&beside, &images, KernelSet::EMPTY, NOW);
    assert_eq!(decide(&wanted(&[(LIST[1], 19)])), None);
    assert_eq!(decide(&wanted(&[(ANYBODY, 100)])), None);
    // Nothing that has just come, and nothing that cannot be loaded again.
    let one = [holding(0, 0)];
    let stays = one.map(|slot| SlotView {
        can_change: false,
        ..slot
    });
    let young = one.map(|slot| SlotView { since: NOW, ..slot });
    for slots in [stays, young] {
        assert_eq!(policy.decide(&slots, &images, KernelSet::EMPTY, NOW), None);
    }
}

#[test]
fn two_lists_change_places_for_half_as_much_again_alone() {
    let slots = [holding(0, 0)];
    let decide = |jobs| {
        wanted(&[(LIST[0], 100), (LIST[1], jobs)]).decide(
            &slots,
            &[made(0), made(1)],
            KernelSet::EMPTY,
            NOW,
        )
    };
    assert_eq!(decide(150), None);
    assert!(matches!(
        decide(151),
        Some(SlotDecision::Load { image: 1, .. })
    ));
}

#[test]
fn who_requires_an_image_of_a_list_has_it_and_nobody_who_waits_loses_another() {
    let policy = wanted(&[(ANYBODY, 100)]);
    let images = [made(0), made(1)];
    let decide = |slots: &[SlotView], required| policy.decide(slots, &images, required, NOW);
    let [first, second] = LIST.map(KernelSet::of);
    let load = |slot| {
        Some(SlotDecision::Load {
            slot,
            image: 1,
            reason: LoadReason::Required,
            gains: second,
        })
    };
    assert_eq!(decide(&[holding(0, 0)], second), load(0));
    assert_eq!(decide(&[holding(0, 0)], second.union(first)), None);
    let beside = [holding(0, 0), empty(1)];
    assert_eq!(decide(&beside, second.union(first)), load(1));
    // Whoever has no list is served on by what comes.
    let anybody = KernelSet::of(ANYBODY);
    assert_eq!(decide(&[holding(0, 0)], second.union(anybody)), load(0));
    // What no image serves is waited for in vain.
    assert_eq!(decide(&[holding(0, 0)], KernelSet::of(9)), None);
}

#[test]
fn who_requires_a_kernel_has_that_image_of_it_which_others_want_most() {
    let policy = wanted(&[(ANYBODY, 1), (LIST[1], 100)]);
    let anybody = KernelSet::of(ANYBODY);
    let Some(SlotDecision::Load { image, .. }) =
        policy.decide(&[empty(0)], &[made(0), made(1)], anybody, NOW)
    else {
        panic!("somebody waits");
    };
    assert_eq!(image, 1);
}

#[test]
fn a_load_gains_what_somebody_asked_for() {
    let decide = |policy: &SlotPolicy, required| {
        policy.decide(&[empty(0)], &[made(0), made(1)], required, NOW)
    };
    let gains = |decision| match decision {
        Some(SlotDecision::Load { gains, .. }) => gains,
        other => panic!("a load: {other:?}"),
    };
    let list = KernelSet::of(LIST[1]);
    assert_eq!(
        gains(decide(&wanted(&[(LIST[1], 30)]), KernelSet::EMPTY)),
        list
    );
    assert_eq!(gains(decide(&wanted(&[]), list)), list);
    let both = KernelSet::of(ANYBODY).union(list);
    assert_eq!(gains(decide(&wanted(&[(ANYBODY, 1)]), list)), both);
}

#[test]
fn what_does_the_same_is_looked_at_once_and_of_the_rest_so_many() {
    let offers = |slots: &[SlotView], images: &[ImageView]| {
        let mut offers = Vec::new();
        Standing::of(slots).changes(
            images,
            |_| true,
            KernelSet(u64::MAX),
            |_| true,
            |change| offers.push((change.slot, change.image)),
        );
        offers
    };
    // Two that hold nothing, and two that hold the same.
    let slots = [empty(0), empty(0), holding(0, 1), holding(0, 1), empty(1)];
    let images = [made(1), made(1), made(0), made(1)];
    assert_eq!(
        offers(&slots, &images),
        [(0, 0)],
        "once a group, and once an image"
    );
    // As many as differ in 64 groups of 8, and 64 images.
    let slots: Vec<_> = (0..512).map(slot_of).collect();
    let images: Vec<_> = (0..64u64)
        .map(|number| ImageView {
            load: Nanos(number),
            ..made(1)
        })
        .collect();
    assert_eq!(offers(&slots, &images).len(), change::OFFERS_MAX);
}

/// A slot of eight in its group, each of which serves something else.
fn slot_of(number: usize) -> SlotView {
    SlotView {
        group: number / 8,
        ..slot(KernelSet::of(10 + number % 8), 0)
    }
}

#[test]
fn what_came_is_forgotten_of_a_kernel_that_is_anothers_and_its_slot_is_not_idle_for_that() {
    let mut policy = wanted(&[(LIST[0], 100), (LIST[1], 100)]);
    let now = Nanos(2_000 * S);
    policy.demanded(LIST[0], 100, Nanos(MS), now);
    policy.forget(KernelSet::of(LIST[0]), now);
    assert_eq!(policy.worth(LIST[0], now), 0.0);
    assert_eq!(policy.worth(LIST[1], NOW), 1e8);
    assert_eq!(policy.expected_jobs(LIST[0], now), 0.0);
    let decide = |now| policy.decide(&[holding(0, 0)], &[], KernelSet::EMPTY, now);
    assert_eq!(decide(now), None);
    let idle = SlotConfig::default().idle.unwrap();
    assert_eq!(
        decide(now.plus(idle)),
        Some(SlotDecision::Unload { slot: 0 })
    );
}

/// Whatever is wanted, and whatever slots hold: changes come to an end, and what is served is worth more after each.
#[test]
fn changes_come_to_an_end_and_gain() {
    let seed = 20_261_130;
    println!("seed {seed}");
    let mut random = crate::simulation::Random::new(seed);
    let config = SlotConfig {
        residence_min: Nanos(0),
        idle: None,
        ..SlotConfig::default()
    };
    let mut changed = 0;
    for round in 0..2_000 {
        let mut below = |bound: u64| usize::try_from(random.below(bound)).unwrap();
        // Kernels with two makes each, as the gateway numbers them: three kinds of jobs a kernel.
        let image = |kernel: usize, make: usize| {
            let (serves, bars) = of_make(make);
            let at = |set: KernelSet| KernelSet(set.0 << (3 * kernel));
            (at(serves), at(bars))
        };
        let mut images: Vec<_> = (0..3)
            .flat_map(|kernel| [image(kernel, 0), image(kernel, 1)])
            .collect();
        // And one that serves two kernels.
        let (serves, bars) = images[0];
        images.push((serves.union(images[2].0), bars.union(images[2].1)));
        let of = |number: usize| images.get(number).copied().unwrap_or_default();
        let mut slots: Vec<_> = (0..4)
            .map(|number| {
                let (serves, bars) = of(below(8));
                SlotView {
                    serves,
                    bars,
                    group: number / 2,
                    since: Nanos(0),
                    can_change: true,
                }
            })
            .collect();
        let views: Vec<_> = images
            .iter()
            .map(|(serves, bars)| ImageView {
                serves: *serves,
                bars: *bars,
                load: Nanos(20 * MS),
                not_before: Nanos(0),
            })
            .collect();
        let mut policy = SlotPolicy::new(config);
        for kernel in 0..9 {
            let jobs = u32::try_from(below(100)).unwrap();
            if below(3) > 0 {
                policy.demanded(kernel, jobs, Nanos(MS), NOW);
            }
        }
        let worth = |slots: &[SlotView]| {
            let served = Standing::of(slots).served();
            policy.worths(NOW).of(served)
        };
        let mut steps = 0;
        while let Some(decision) = policy.decide(&slots, &views, KernelSet::EMPTY, NOW) {
            steps += 1;
            assert!(steps <= 20, "round {round}: it goes on and on");
            let before = worth(&slots);
            let SlotDecision::Load {
                slot: at, image, ..
            } = decision
            else {
                panic!("round {round}: nothing is idle");
            };
            let (serves, bars) = of(image);
            slots[at] = SlotView {
                serves,
                bars,
                ..slots[at]
            };
            assert!(worth(&slots) > before, "round {round}");
        }
        changed += usize::from(steps > 0);
    }
    assert!(changed > 1_000, "{changed}");
}
