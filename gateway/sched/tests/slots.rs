//! The slot policy on traces of demand, next to least recently used and to who knows the future; and the page that says so.
//!
//! `FAAM_BLESS=1 cargo test -p faam-sched --test slots` writes the figures of SLOTS.md anew; without it they must agree.

use std::fmt::Write as _;
use std::path::Path;

use faam_sched::Nanos;
use faam_sched::slots::SlotConfig;
use faam_sched::slots::trace::{
    KERNELS, LOAD, LOAD_WORK, Outcome, REQUESTS, SLOTS, Shape, by_oracle, by_policy, by_recency,
    trace,
};

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
    text
}
