//! The images of `bitstreams/images`: each builds, fits what it is for, and its self-test is what the card's functional model
//! comes to.

use std::path::Path;

use faam_image::{
    Description, DeviceFacts, GoldenJob, ImageKind, Ingredients, Package, Serves, build,
    kernel_uuid,
};
use faam_sim::model::{Engine, Format, Job, Params, Tables};
use sha2::{Digest, Sha256};

use crate::sample::{key, trusting};

fn descriptions() -> Vec<(String, Description)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("part of the sources") {
        let path = entry.expect("readable").path();
        if path.extension().is_none_or(|end| end != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("readable");
        let name = path.file_stem().expect("a name").to_string_lossy();
        let description = Description::from_toml(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for source in &description.sources {
            let source = path.with_file_name(source);
            assert!(source.exists(), "{}", source.display());
        }
        found.push((name.into_owned(), description));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

#[test]
fn each_builds_and_the_simulated_ones_fit_the_simulated_card() {
    let mut served = 0;
    for (name, description) in descriptions() {
        let ingredients = Ingredients {
            bitstream: (description.kind != ImageKind::Sim).then(|| vec![0xff; 64]),
            ..Ingredients::default()
        };
        let bytes = build(&description, &ingredients, &key()).expect("builds");
        let trust = trusting(&[&key()]);
        let image = Package::read(&bytes, &trust).expect("good");
        let manifest = image.manifest();
        assert_eq!(manifest.name, name);
        let fits = DeviceFacts::simulated().check(manifest);
        if manifest.kind == ImageKind::Sim {
            fits.expect("fits");
            assert_eq!(manifest.kernel, kernel_uuid(&name));
            served |= manifest.serves_bits();
            assert!(manifest.notes[0].starts_with("simulated"), "{name}");
        } else {
            assert_eq!(fits.expect_err("no slot's").code(), "wrong-kind");
            let said = manifest.notes.join("; ");
            for word in ["placed and routed", "unconstrained", "not run on hardware"] {
                assert!(said.contains(word), "{name} does not say: {word}");
            }
        }
    }
    let all = Serves::ALL.iter().fold(0, |bits, job| bits | job.bit());
    assert_eq!(served, all, "every job has its image");
}

#[test]
fn self_tests_are_what_the_model_comes_to() {
    let mut engine = Engine::new();
    for (name, description) in descriptions() {
        let golden = &description.golden;
        let input = golden.input_bytes();
        let params = Params {
            hash_bits: 13,
            ways: usize::from(golden.ways.unwrap_or(1)),
            lazy: true,
        };
        let output = match golden.job {
            GoldenJob::Compress => {
                let mut output = vec![0; input.len() * 2 + 100];
                let job = Job {
                    src: &input,
                    history: &[],
                    params,
                    format: Format::Gzip,
                    last: true,
                    sync: false,
                    tables: Tables::Fixed,
                };
                let report = engine.compress(&job, &mut output).expect("good");
                assert!(!report.stored, "{name}: a self-test that tests the matcher");
                output.truncate(report.out_len);
                output
            }
            GoldenJob::Count => {
                let (histogram, _) = engine.count(&input, &[], params).expect("good");
                histogram.to_bytes().to_vec()
            }
            GoldenJob::Decompress => {
                let mut output = Vec::new();
                let mut decoder = flate2::read::GzDecoder::new(input.as_slice());
                std::io::Read::read_to_end(&mut decoder, &mut output).expect("gzip");
                output
            }
        };
        let sum: String = Sha256::digest(&output)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(golden.output_sha256, sum, "{name}");
    }
}
