//! The slot policy on traces of demand, next to least recently used and to who knows the future; and the page that says so.
//!
//! `FAAM_BLESS=1 cargo test -p faam-sched --test slots` writes the figures of SLOTS.md anew; without it they must agree.

use std::fmt::Write as _;
use std::path::Path;

use faam_sched::Nanos;
use faam_sched::slots::trace::{
    KERNELS, LOAD, LOAD_WORK, Outcome, REQUESTS, SLOTS, Shape, by_oracle, by_policy, by_recency,
    trace,
};
use faam_sched::slots::{SlotConfig, listed_trace};

const SEED: u64 = 20_261_130;
const BEGIN: &str = "<!-- figures: begin -->\n";
const END: &str = "<!-- figures: end -->\n";

/// Without loading ahead: a trace is of what was asked for, and all its slots are empty once.
fn config() -> SlotConfig {
    SlotConfig::default()
}

fn of(shape: Shape) -> [Outcome; 4] {
    let trace = trace(shape, SEED);
    [
        by_policy(&trace, config()),
        by_recency(&trace, LOAD),
        by_recency(&trace, Nanos(0)),
        by_oracle(&trace),
    ]
}

#[test]
fn the_policy_is_near_the_oracle_and_no_loop_makes_it_thrash() {
    for shape in Shape::ALL {
        let [policy, recency, _, oracle] = of(shape);
        println!("{shape:?}: policy {policy:?}, recency {recency:?}, oracle {oracle:?}");
        let name = shape.name();
        assert_eq!(policy.requests, REQUESTS as u64);
        assert!(
            policy.net_saved() <= oracle.net_saved(),
            "{name}: an upper bound"
        );
        assert!(policy.net_saved() >= 0.8 * oracle.net_saved(), "{name}");
        assert!(policy.net_saved() > recency.net_saved(), "{name}");
        assert!(policy.loads * 10 <= recency.loads, "{name}: it thrashes");
    }
    let [policy, recency, instant, _] = of(Shape::Loop);
    // One kernel is left out, rather than each in its turn.
    assert!(policy.hit_rate() > 0.75);
    assert!(recency.hit_rate() < 0.1 && instant.hit_rate() < 0.1);
}

#[test]
fn the_same_seed_gives_the_same_and_another_one_other_figures() {
    let outcome = |seed| by_policy(&trace(Shape::Bursts, seed), config());
    assert_eq!(outcome(1), outcome(1));
    assert_ne!(outcome(1), outcome(2));
}

#[test]
fn the_page_has_these_figures() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("SLOTS.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let fresh = format!("{before}{BEGIN}{}{END}{after}", figures());
    if std::env::var_os("FAAM_BLESS").is_some() {
        std::fs::write(&path, &fresh).unwrap();
        return;
    }
    assert_eq!(
        page, fresh,
        "SLOTS.md: FAAM_BLESS=1 writes its figures anew"
    );
}

/// The simulated card: two functions of two slots.
const CARD: listed_trace::Card = listed_trace::Card {
    functions: 2,
    slots: 2,
};
/// A card where two lists cannot both be served.
const NARROW: listed_trace::Card = listed_trace::Card {
    functions: 1,
    slots: 2,
};

/// Under the policy, under one that knows no lists, and with the best that never changes.
fn listed(shape: listed_trace::Shape, card: listed_trace::Card) -> [listed_trace::Outcome; 3] {
    let trace = listed_trace::trace(shape, SEED);
    [
        listed_trace::by_policy(&trace, card, config(), true),
        listed_trace::by_policy(&trace, card, config(), false),
        listed_trace::best_fixed(&trace, card),
    ]
}

#[test]
fn tenants_with_lists_are_served_from_slots_as_others_are() {
    use listed_trace::Shape::{Drift, Steady};
    let [policy, blind, best] = listed(Steady, CARD);
    println!("steady: policy {policy:?}, without lists {blind:?}, best {best:?}");
    assert!(policy.hit_rate() >= 0.9 * best.hit_rate());
    assert!(policy.hit_rate() > blind.hit_rate());
    // The list of the make that is not first is served by nobody who knows no lists.
    assert_eq!(blind.hits[2], 0);
    assert!(policy.hits[2] > 0);
    let [policy, blind, best] = listed(Drift, CARD);
    println!("drift: policy {policy:?}, without lists {blind:?}, best {best:?}");
    assert!(policy.hit_rate() >= 0.9 * best.hit_rate());
    assert!(policy.hit_rate() > blind.hit_rate());
    for outcome in [policy, blind] {
        // 100 s in all.
        assert!(outcome.loads + outcome.unloads <= 40, "it thrashes");
    }
}

#[test]
fn two_lists_that_want_a_kernel_of_different_images_do_not_throw_each_other_out() {
    use listed_trace::Shape::Turns;
    let ms = |ms: u64| Nanos(ms * 1_000_000);
    // Far shorter than what fades by half: one of them is left to the CPU, rather than each in its turn.
    let [policy, ..] = listed(Turns(ms(100)), NARROW);
    println!("turns of 100 ms: {policy:?}");
    assert!(policy.loads <= 2 && policy.unloads == 0, "{policy:?}");
    assert!(policy.hit_rate() > 0.45);
    // Longer: at most one change a turn, of five and of three.
    let [policy, ..] = listed(Turns(ms(20_000)), NARROW);
    println!("turns of 20 s: {policy:?}");
    assert!(policy.loads <= 5 && policy.unloads == 0, "{policy:?}");
    let [policy, _, best] = listed(Turns(ms(40_000)), NARROW);
    println!("turns of 40 s: {policy:?}, best {best:?}");
    assert!(policy.loads <= 3 && policy.unloads == 0, "{policy:?}");
    assert!(policy.hit_rate() > best.hit_rate());
    let residence = config().residence_min;
    assert!(policy.change_min.is_none_or(|span| span >= residence));
    // Each in a function of its own.
    let [policy, ..] = listed(Turns(ms(100)), CARD);
    assert!(policy.hit_rate() > 0.95 && policy.loads == 2, "{policy:?}");
}

#[test]
fn full_slots_make_room_for_a_list_by_one_load_and_are_never_emptied_for_it() {
    let trace = listed_trace::trace(listed_trace::Shape::Turns(Nanos(100_000_000)), SEED);
    for requires in [false, true] {
        let from = |held: &[(usize, usize)]| {
            listed_trace::by_policy_from(held, &trace, CARD, config(), requires)
        };
        // Two slots of each function bar the second list: no one load serves it, and the first is served on from all of them.
        let barred = from(&[(0, 0); 4]);
        println!("barred, requires: {requires}: {barred:?}");
        assert_eq!((barred.loads, barred.unloads), (0, 0));
        assert_eq!(barred.hits, [0, barred.requests[1], 0]);
        // One of each function: the copy in one of them makes room, once.
        let copies = from(&[(0, 0), (1, 0), (0, 0), (1, 0)]);
        println!("copies, requires: {requires}: {copies:?}");
        assert_eq!((copies.loads, copies.unloads), (1, 0));
        assert_eq!(copies.hits[1], copies.requests[1]);
        assert!(copies.hit_rate() > 0.99);
    }
}

fn figures() -> String {
    let mut text = format!(
        "Seed {SEED}; {REQUESTS} requests for {KERNELS} kernels, {SLOTS} slots; a load takes {} ms (modelled), of which the host \
         works {} ms.\n\n\
         | trace | hit rate: policy | LRU | LRU at once | oracle | CPU time saved, net: policy | LRU | LRU at once | oracle | loads: policy | LRU | LRU at once | oracle |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        LOAD.0 / 1_000_000,
        LOAD_WORK.0 / 1_000_000
    );
    for shape in Shape::ALL {
        let all = of(shape);
        let [hits, saved] = [Outcome::hit_rate, Outcome::net_saved].map(|figure| {
            all.each_ref()
                .map(|outcome| format!("{:.3}", figure(outcome)))
                .join(" | ")
        });
        let loads = all
            .each_ref()
            .map(|outcome| outcome.loads.to_string())
            .join(" | ");
        let _ = writeln!(text, "| {} | {hits} | {saved} | {loads} |", shape.name());
    }
    text + &listed_figures()
}

fn listed_figures() -> String {
    use listed_trace::Shape::{Drift, Steady, Turns};
    let mut text = format!(
        "\nTenants with lists: {} requests for {} kernels of {} makes each; who asks has no list, the list of the one make, or that of \
         the other. `Without lists` is the policy that is told the kernel alone.\n\n\
         | who asks | card | hit rate: policy (no list, one list, the other) | without lists | best fixed | loads and evictions: policy |\n\
         |---|---|---|---|---|---|\n",
        listed_trace::REQUESTS,
        listed_trace::KERNELS,
        listed_trace::MAKES,
    );
    let turns = |ms: u64| Turns(Nanos(ms * 1_000_000));
    for (name, shape, card) in [
        ("all three, by rank", Steady, CARD),
        ("all three, ranks drift", Drift, CARD),
        (
            "two lists, one kernel, in turns of 100 ms",
            turns(100),
            CARD,
        ),
        (
            "two lists, one kernel, in turns of 100 ms",
            turns(100),
            NARROW,
        ),
        (
            "two lists, one kernel, in turns of 40 s",
            turns(40_000),
            NARROW,
        ),
    ] {
        let [policy, blind, best] = listed(shape, card);
        let of: Vec<_> = (0..listed_trace::TENANTS)
            .map(|tenant| match policy.requests[tenant] {
                0 => "-".to_owned(),
                _ => format!("{:.3}", policy.hit_rate_of(tenant)),
            })
            .collect();
        let _ = writeln!(
            text,
            "| {name} | {} x {} | {:.3} ({}) | {:.3} | {:.3} | {}, {} |",
            card.functions,
            card.slots,
            policy.hit_rate(),
            of.join(", "),
            blind.hit_rate(),
            best.hit_rate(),
            policy.loads,
            policy.unloads,
        );
    }
    text
}
