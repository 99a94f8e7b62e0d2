//! An image that goes into a slot of the gateway's card, as an operator has it loaded.
//!
//! Owns the key, the image and the slot. Invariant: nobody but these tests loads anything, for the slot policy is off.

use std::io::Write;
use std::process::{Command, Output};

use faam_image::{Description, Ingredients, SigningKey, build};

use crate::gateway_process::GatewayProcess;

/// The image, and the name of its description.
const IMAGE: &str = "deflate-fast";

fn key() -> SigningKey {
    SigningKey::from_seed([7; 32]).expect("a key")
}

/// A configuration that trusts the key.
pub(crate) fn config() -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new()
        .suffix(".toml")
        .tempfile()
        .expect("a temporary file");
    let text = format!(
        "[images]\ntrust = [\"{}\"]\n[slots]\npolicy = false\n",
        key().public()
    );
    file.write_all(text.as_bytes()).expect("written");
    file
}

fn faam(gateway: &GatewayProcess, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_faam"));
    command.args(words);
    command.env("FAAM_DATA_DIR", gateway.served.data.path());
    command.output().expect("faam runs")
}

/// Hands the image to the gateway.
#[track_caller]
pub(crate) fn add(gateway: &GatewayProcess) {
    let descriptions =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../bitstreams/images");
    let text = std::fs::read_to_string(descriptions.join(IMAGE).with_extension("toml"));
    let description = Description::from_toml(&text.expect("ours")).expect("ours");
    let package = build(&description, &Ingredients::default(), &key()).expect("builds");
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(&package).expect("written");
    let path = file.path().to_str().expect("UTF-8");
    let added = faam(gateway, &["image", "add", path]);
    assert!(added.status.success(), "image add: {added:?}");
}

/// Has it loaded into slot 1 of the function that rules are for.
pub(crate) fn load(gateway: &GatewayProcess) -> Output {
    faam(
        gateway,
        &["image", "load", IMAGE, "--device", "fpga0.0", "--slot", "1"],
    )
}
