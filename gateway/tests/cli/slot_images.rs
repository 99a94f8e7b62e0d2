//! Which image a slot gets and shows: of several of one name the one that fits, and after a restart the name of its kernel.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use faam_gateway::cards::CardSource;
use faam_image::{Description, Ingredients, SigningKey, build};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::faam::{Place, faam as command, wait_until};
use crate::slots::{compress, faam, place_with, slot};

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

/// A simulated card in a process of its own, which no gateway ends.
struct Card {
    child: Child,
    dir: TempDir,
}

impl Card {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut sim = command(
            dir.path(),
            "",
            &["sim", "--dir", "card", "--slots", "empty"],
        );
        let child = sim.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self {
            child: child.expect("faam starts"),
            dir,
        }
    }

    fn sockets(&self) -> PathBuf {
        self.dir.path().join("card")
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A gateway of this data directory that uses the card.
fn gateway(data: TempDir, card: &Card) -> Place {
    let place = Place::with_data(data, |config| {
        config.images.trusted = vec![key().public()];
        config.dispatch.slots.policy = false;
        config.dispatch.cards = vec![CardSource::VfioUser {
            dir: card.sockets(),
        }];
    });
    wait_until("the first function is in service", || {
        let shown = faam(&place, &["device", "show", "fpga0.0", "--json"]);
        (shown["devices"][0]["state"] == "in-service").then_some(())
    });
    place
}

#[test]
fn a_kernel_from_before_a_restart_is_shown_with_the_name_of_an_image_of_it() {
    let card = Card::start();
    let place = gateway(tempfile::tempdir().expect("a directory"), &card);
    add(&place, "inflate", |_| {});
    let load = [
        "image", "load", "inflate", "--device", "fpga0.0", "--slot", "1", "--json",
    ];
    faam(&place, &load);
    let before = slot(&place, "fpga0.0", 1);
    assert_eq!(before["image"], "inflate", "{before}");
    let (data, _) = place.stop();

    let place = gateway(data, &card);
    let shown = |image: Value| {
        let after = slot(&place, "fpga0.0", 1);
        assert_eq!(after["state"], "active", "{after}");
        assert_eq!(after["kernel"], before["kernel"]);
        assert_eq!((&after["loads"], &after["image"]), (&json!(0), &image));
    };
    shown(json!("inflate"));
    assert_eq!(slot(&place, "fpga0.0", 0)["image"], Value::Null);
    // No image of it is kept any more, and then there is one again: nothing was loaded meanwhile.
    faam(&place, &["image", "rm", "inflate", "--json"]);
    shown(Value::Null);
    add(&place, "inflate", |_| {});
    shown(json!("inflate"));
}
