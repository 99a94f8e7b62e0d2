//! Which image a slot gets and shows: of several of one name the one that fits.

use std::path::Path;
use std::time::Duration;

use faam_image::{Description, Ingredients, SigningKey, build};
use serde_json::json;

use crate::faam::Place;
use crate::slots::{compress, faam, place_with};

fn key() -> SigningKey {
    SigningKey::from_seed([7; 32]).expect("a key")
}

/// Has the gateway keep one of the project's images, changed.
fn add(place: &Place, name: &str, change: impl FnOnce(&mut Description)) {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bitstreams/images");
    let text = std::fs::read_to_string(manifests.join(name).with_extension("toml"));
    let mut description = Description::from_toml(&text.expect("ours")).expect("ours");
    description.simulated_bytes = Some(4096);
    change(&mut description);
    let package = build(&description, &Ingredients::default(), &key()).expect("builds");
    place.write("it.fgi", package);
    faam(place, &["image", "add", "it.fgi", "--json"]);
}

#[test]
fn of_several_images_of_one_name_a_slot_gets_the_one_that_fits_its_device() {
    let place = place_with(true, Duration::from_secs(20), |config| {
        config.images.trusted = vec![key().public()];
    });
    // Newer by its version, and for another region.
    for name in ["inflate", "deflate-fast"] {
        add(&place, name, |_| {});
        add(&place, name, |description| {
            description.version = "99.0.0".to_owned();
            description.shell.id = 7;
        });
    }
    // By demand, and by hand.
    let served = compress(&place, 1, "require-hw", None);
    assert_eq!(served.status, 200, "{served:?}");
    let load = [
        "image", "load", "inflate", "--device", "fpga0.1", "--slot", "1", "--json",
    ];
    let done = faam(&place, &load);
    assert_eq!(done["devices"][0]["slot"]["image"], "inflate", "{done}");
    let refused = faam(&place, &["events", "--json", "--kind", "image.refused"]);
    assert_eq!(
        refused["events"],
        json!([]),
        "none was tried that does not fit"
    );
}
