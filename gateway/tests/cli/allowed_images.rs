//! Tenants who may use some images only: what serves them on a simulated card, while images come and go.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use faam_hwif::Serves;

use crate::faam::{Place, wait_until};
use crate::slots::{Answer, Images, ask, compress, place_with, slot};
use crate::tenants::{json, operator};

/// How long who requires a card waits; one that may serve takes a job in a hundredth of that.
const HW_WAIT: Duration = Duration::from_secs(1);
/// The level whose kernel both images have.
const LEVEL: u8 = 6;

/// Images that serve the same.
fn place() -> Place {
    place_with(false, HW_WAIT, |config| {
        let images = [
            ("deflate-tables", Serves::TABLES),
            ("deflate-tables-lab", Serves::TABLES),
        ];
        config.dispatch.images = Some(Images::of(&images));
    })
}

#[track_caller]
fn change(place: &Place, what: &str) {
    let (status, done) = ask(place, what);
    assert_eq!(status, 200, "{what}: {done}");
}

fn fault(place: &Place, rule: &str) {
    let words = ["device", "fault", "fpga0.0", rule];
    operator(place, &words).check(0, &[]);
}

fn allow(place: &Place, images: &str) {
    let words = ["tenant", "set", "demo", "--images", images, "--json"];
    json(operator(place, &words));
}

fn require(place: &Place) -> Answer {
    compress(place, LEVEL, "require-hw", None)
}

#[track_caller]
fn check_served(answer: &Answer) {
    let told = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, 200, "{told}");
    assert_eq!(answer.backend, "fpga0.0;simulated");
}

#[track_caller]
fn check_refused(answer: &Answer) {
    let told = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, 503, "{told}");
    for word in ["an image that this tenant may use alone", "--images"] {
        assert!(told.contains(word), "{told}");
    }
}

#[test]
fn a_tenant_is_served_by_the_images_of_its_list_alone() {
    let place = place();
    change(&place, "fpga0.0/slots/load?image=deflate-tables-lab&slot=0");
    check_served(&require(&place));
    allow(&place, "deflate-tables");
    let shown = operator(&place, &["tenant", "show", "demo"]).check(0, &[]);
    let shown = String::from_utf8(shown.stdout).expect("UTF-8");
    let line = shown
        .lines()
        .find(|line| line.trim_start().starts_with("images"));
    assert!(
        line.is_some_and(|line| line.contains("deflate-tables")),
        "{shown}"
    );
    check_refused(&require(&place));
    for policy in ["auto", "prefer-hw"] {
        let served = compress(&place, LEVEL, policy, None);
        assert_eq!((served.status, served.backend.as_str()), (200, "cpu"));
    }
    // Beside the other one: the card chooses between the two.
    change(&place, "fpga0.0/slots/load?image=deflate-tables&slot=1");
    check_refused(&require(&place));
    change(&place, "fpga0.0/slots/evict?slot=0");
    check_served(&require(&place));
    // No list, and a list without images.
    allow(&place, "none");
    check_served(&require(&place));
    allow(&place, "");
    let told = require(&place);
    assert_eq!(told.status, 403, "{told:?}");
    allow(&place, "default");
    check_served(&require(&place));
    operator(&place, &["tenant", "set", "demo", "--images", "../x"])
        .check(1, &["images", "names of images"]);
}

#[test]
fn an_image_that_comes_serves_nobody_whose_list_has_it_not() {
    let place = place();
    change(&place, "fpga0.0/slots/load?image=deflate-tables&slot=0");
    allow(&place, "deflate-tables");
    // Odd: the other image serves beside it; else it is told to come or to go, or is gone.
    let (ended, turn) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (served, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    let before = turn.load(Ordering::SeqCst);
                    let answer = require(&place);
                    let is_beside = before % 2 == 1 && turn.load(Ordering::SeqCst) == before;
                    match answer.status {
                        200 => {
                            assert!(!is_beside, "served while the other image was there");
                            check_served(&answer);
                            served.fetch_add(1, Ordering::Relaxed)
                        }
                        _ => {
                            check_refused(&answer);
                            refused.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            });
        }
        let more = |count: &AtomicUsize, what: &str| {
            let before = count.load(Ordering::Relaxed);
            wait_until(what, || {
                (count.load(Ordering::Relaxed) > before + 3).then_some(())
            });
        };
        for _ in 0..3 {
            more(&served, "the allowed image serves");
            change(&place, "fpga0.0/slots/load?image=deflate-tables-lab&slot=1");
            turn.fetch_add(1, Ordering::SeqCst);
            more(&refused, "the other one is there");
            turn.fetch_add(1, Ordering::SeqCst);
            change(&place, "fpga0.0/slots/evict?slot=1");
        }
        more(&served, "it serves alone again");
        ended.store(true, Ordering::Relaxed);
    });
    println!(
        "simulated: {} served by the allowed image, {} refused while the other was there",
        served.into_inner(),
        refused.into_inner()
    );
}

/// Queue pairs that were lost so far.
fn pairs_lost(place: &Place) -> usize {
    let events = json(operator(place, &["events", "--kind", "card", "--json"]));
    let events = events["events"].as_array().expect("events").iter();
    events
        .filter(|event| event["kind"] == "card.queue-quarantined")
        .count()
}

#[test]
fn a_list_holds_where_a_queue_pair_is_lost_while_a_slot_is_loaded() {
    // A busy machine may take longer for it than the load takes to its limit, 3.5 s.
    const TRIES: usize = 2;
    let place = place();
    change(&place, "fpga0.0/slots/load?image=deflate-tables&slot=0");
    let was_under_way = (0..TRIES).any(|_| {
        allow(&place, "none");
        fault(&place, "load-hangs,times=1");
        std::thread::scope(|scope| {
            let what = "fpga0.0/slots/load?image=deflate-tables-lab&slot=1";
            let load = scope.spawn(|| ask(&place, what));
            wait_until("the load is under way", || {
                (slot(&place, "fpga0.0", 1)["state"] == "loading").then_some(())
            });
            let before = pairs_lost(&place);
            fault(&place, "torn-completion,function=0,times=1,ms=2000");
            wait_until("a queue pair is lost, and its function serves on", || {
                let answer = require(&place);
                (pairs_lost(&place) > before && answer.status == 200).then_some(())
            });
            allow(&place, "deflate-tables");
            let answer = require(&place);
            let was_under_way = !load.is_finished();
            if was_under_way {
                check_refused(&answer);
            }
            let (status, told) = load.join().expect("no panic");
            assert!(status >= 400, "a load that hangs: {told}");
            was_under_way
        })
    });
    assert!(was_under_way, "no pair was lost in time");
    // What did not come is not in the way.
    wait_until("the allowed image serves alone", || {
        (require(&place).status == 200).then_some(())
    });
}
