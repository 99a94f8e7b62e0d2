//! Tenants who may use some images only, and the slot policy: their images come into slots by their demand, without an operator.
//!
//! All of it is on a simulated card of two functions with two slots each, whose reconfiguration takes its modelled time.

use std::time::Duration;

use faam_hwif::Serves;

use crate::faam::{Place, wait_until};
use crate::slots::{Answer, Images, ask, compress, compress_for, faam, place_with, slot};
use crate::tenants::{json, key, operator};

/// Nobody here waits as long for a load.
const HW_WAIT: Duration = Duration::from_secs(30);
/// The level whose kernel all images have.
const LEVEL: u8 = 6;
const FIRST: &str = "deflate-tables";
const LAB: &str = "deflate-tables-lab";

/// An image that serves nothing of that.
const FAST: &str = "deflate-fast";

/// Two images that serve the same, the first of which is loaded for whoever takes either, and another.
fn place() -> Place {
    place_with(true, HW_WAIT, |config| {
        let images = [
            (FIRST, Serves::TABLES),
            (LAB, Serves::TABLES),
            (FAST, Serves::FAST),
        ];
        config.dispatch.images = Some(Images::of(&images));
    })
}

/// A tenant with this list: who calls as it.
fn listed(place: &Place, name: &str, images: &str) -> String {
    let words = ["tenant", "add", name, "--images", images, "--json"];
    json(operator(place, &words));
    key(place, &["--tenant", name, "--kind", "api"]).1
}

/// Served by a card; by which function.
#[track_caller]
fn on_card(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    let function = answer.backend.strip_suffix(";simulated");
    function.expect("a card").to_owned()
}

/// The images of all slots, by function.
fn held(place: &Place) -> Vec<Vec<String>> {
    let image = |function: &str, number| {
        let slot = slot(place, function, number);
        let active = slot["state"] == "active";
        active.then(|| slot["image"].as_str().unwrap_or_default().to_owned())
    };
    let function = |name| (0..2).filter_map(|number| image(name, number)).collect();
    vec![function("fpga0.0"), function("fpga0.1")]
}

/// Has an operator load these, by function and slot.
#[track_caller]
fn load(place: &Place, images: &[[&str; 2]; 2]) {
    for (function, slots) in images.iter().enumerate() {
        for (slot, image) in slots.iter().enumerate() {
            let load = format!("fpga0.{function}/slots/load?image={image}&slot={slot}");
            let (status, done) = ask(place, &load);
            assert_eq!(status, 200, "{done}");
        }
    }
}

fn count(held: &[Vec<String>], image: &str) -> usize {
    held.iter().flatten().filter(|it| *it == image).count()
}

#[test]
fn the_demand_of_a_tenant_with_a_list_brings_its_image_and_others_are_served_on() {
    let place = place();
    // Whoever has no list has the first.
    let free = || compress(&place, LEVEL, "require-hw", None);
    on_card(&free());
    let strict = listed(&place, "strict", LAB);
    let mut by_cpu = 0;
    wait_until("the list's image is loaded", || {
        // Nobody waits for it meanwhile.
        let served = compress_for(&strict, &place, LEVEL, "prefer-hw", None);
        assert_eq!((served.status, served.phase("load")), (200, None));
        by_cpu += u32::from(served.backend == "cpu");
        on_card(&free());
        (served.backend != "cpu").then_some(())
    });
    assert!(by_cpu > 0, "it was there before anybody asked for it");
    let warm = compress_for(&strict, &place, LEVEL, "require-hw", None);
    let function = on_card(&warm);
    assert_eq!(warm.phase("load"), None, "{}", warm.timing);
    // Each in a function of its own, once.
    let held = held(&place);
    println!("simulated: {held:?}, {by_cpu} requests were the CPU's before");
    assert_eq!((count(&held, FIRST), count(&held, LAB)), (1, 1));
    let own = usize::from(function == "fpga0.1");
    assert_eq!(held[own], [LAB]);
    // A second tenant of that list, and whoever has none, are served by what is there.
    let second = listed(&place, "second", LAB);
    let warm = compress_for(&second, &place, LEVEL, "require-hw", None);
    assert_eq!((on_card(&warm), warm.phase("load")), (function, None));
    on_card(&free());
    // Another list, of what is there: nothing has to be loaded for it.
    let words = ["tenant", "set", "second", "--images", FIRST, "--json"];
    json(operator(&place, &words));
    let warm = compress_for(&second, &place, LEVEL, "require-hw", None);
    let other = if own == 0 { "fpga0.1" } else { "fpga0.0" };
    assert_eq!((on_card(&warm).as_str(), warm.phase("load")), (other, None));
}

#[test]
fn who_requires_an_image_of_its_list_waits_for_its_load_also_where_others_are_in_every_slot() {
    let place = place();
    load(&place, &[[FAST, FIRST], [FAST, FIRST]]);
    let strict = listed(&place, "strict", LAB);
    let cold = compress_for(&strict, &place, LEVEL, "require-hw", None);
    let function = on_card(&cold);
    let load = cold.phase("load").expect("it waited for a load");
    assert!(load > 0.0, "{}", cold.timing);
    let held = held(&place);
    println!("simulated: {held:?}, load {load:.1} ms");
    assert_eq!(held[usize::from(function == "fpga0.1")], [FAST, LAB]);
    let other = usize::from(function != "fpga0.1");
    assert_eq!(held[other], [FAST, FIRST], "the other function's stay");
    let events = faam(&place, &["events", "--json", "--kind", "slot.loaded"]);
    let events = events["events"].as_array().expect("events").clone();
    let event = events.iter().find(|event| event["detail"]["image"] == LAB);
    let event = event.expect("it is on record");
    assert_eq!(event["detail"]["cause"], "listed", "{event}");
    on_card(&compress(&place, LEVEL, "require-hw", None));
}

#[test]
fn no_slot_is_emptied_for_a_list_that_one_load_would_not_serve() {
    let place = place();
    load(&place, &[[FIRST; 2]; 2]);
    let strict = listed(&place, "strict", LAB);
    for _ in 0..20 {
        let served = compress_for(&strict, &place, LEVEL, "prefer-hw", None);
        assert_eq!((served.status, served.backend.as_str()), (200, "cpu"));
        on_card(&compress(&place, LEVEL, "require-hw", None));
    }
    let told = compress_for(&strict, &place, LEVEL, "require-hw", Some(200));
    assert_eq!(told.status, 504, "{told:?}");
    assert_eq!(held(&place), [[FIRST; 2]; 2]);
    // An operator evicts one of two: the other then makes room by itself.
    let (status, done) = ask(&place, "fpga0.1/slots/evict?slot=0");
    assert_eq!(status, 200, "{done}");
    let cold = compress_for(&strict, &place, LEVEL, "require-hw", None);
    assert_eq!(on_card(&cold), "fpga0.1");
    let held = held(&place);
    assert_eq!(held[0], [FIRST; 2]);
    assert_eq!(held[1], [LAB]);
}

#[test]
fn a_list_that_no_image_is_of_loads_nothing() {
    let place = place();
    let strict = listed(&place, "strict", "deflate-of-nobody");
    for _ in 0..20 {
        let served = compress_for(&strict, &place, LEVEL, "prefer-hw", None);
        assert_eq!((served.status, served.backend.as_str()), (200, "cpu"));
        assert_eq!(served.phase("load"), None, "{}", served.timing);
    }
    let told = compress_for(&strict, &place, LEVEL, "require-hw", Some(200));
    assert_eq!(told.status, 504, "{told:?}");
    assert_eq!(held(&place), [[""; 0]; 2]);
    // What another then asks for is loaded for that one, and serves nobody else.
    on_card(&compress(&place, LEVEL, "require-hw", None));
    let held = held(&place);
    assert_eq!((count(&held, FIRST), held.iter().flatten().count()), (1, 1));
    let served = compress_for(&strict, &place, LEVEL, "prefer-hw", None);
    assert_eq!(served.backend, "cpu", "{served:?}");
}
