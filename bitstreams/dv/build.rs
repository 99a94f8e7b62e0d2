//! Verilates the gateware and compiles it with the benches of `shim/`: under the feature `farm` the farm alone, under `verilator` all
//! of it.
//!
//! Each model is a top with its parameters, under a prefix of its own (`build/models.rs`). What a model's C++ compiles to is kept with
//! a hash of that C++, so a change of the RTL costs the models that it touches. `FAAM_DV_MODELS=match,engine_13x4` builds only models
//! whose names begin so: for whoever works on one of them.

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

#[path = "build/models.rs"]
mod models;
#[path = "build/mutants.rs"]
mod mutants;
#[path = "build/verilate.rs"]
mod verilate;

use models::{Bench, Model};

/// The cfg that says that the farm of two engines was built.
const PAIR: &str = "rtl_pair";

fn main() -> ExitCode {
    for bench in Bench::ALL {
        println!("cargo::rustc-check-cfg=cfg({})", bench.cfg());
    }
    println!("cargo::rustc-check-cfg=cfg({PAIR})");
    if env::var_os("CARGO_FEATURE_FARM").is_none() {
        println!("cargo::rerun-if-changed=build.rs");
        return ExitCode::SUCCESS;
    }
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("faam-dv: {error}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=FAAM_DV_MODELS");
    for path in [
        "build.rs",
        "build",
        "lint.vlt",
        "mutants.txt",
        "rtl",
        "shim",
        "../rtl",
    ] {
        println!("cargo::rerun-if-changed={path}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo set no OUT_DIR")?);
    let root =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo set no CARGO_MANIFEST_DIR")?);
    let rtl = root.join("../rtl").canonicalize()?;
    let wanted = env::var("FAAM_DV_MODELS").unwrap_or_default();
    let has_all = env::var_os("CARGO_FEATURE_VERILATOR").is_some();
    let is_wanted = |model: &Model| {
        let is_named = wanted.is_empty()
            || wanted
                .split(',')
                .any(|prefix| model.name.starts_with(prefix));
        is_named && (has_all || model.bench == Bench::Farm && !model.is_mutant)
    };

    let verilator = verilate::Verilator::find(env::var_os("CARGO_FEATURE_TRACE").is_some())?;
    let chosen: Vec<Model> = models::all().into_iter().filter(is_wanted).collect();
    // Rust's and C++'s lists of models are written from one, so that an index means the same to both.
    let broken = mutants::read(&root.join("mutants.txt"))?;
    models::write_lists(&chosen, &broken, &out)?;
    let mut includes = vec![out.clone(), root.join("shim")];
    for model in &chosen {
        let mut of = rtl.clone();
        if model.is_mutant {
            let is_farm = model.bench == Bench::Farm;
            of = out.join(if is_farm {
                "mutants_farm"
            } else {
                "mutants_engine"
            });
            let its: Vec<_> = broken
                .iter()
                .filter(|it| it.is_farms() == is_farm)
                .collect();
            mutants::write(&its, &rtl, &of)?;
            if is_farm {
                println!("cargo::rustc-cfg={PAIR}");
            }
        }
        includes.push(verilator.model(model, &of, &root, &out)?);
    }
    for bench in Bench::ALL {
        if chosen.iter().any(|model| model.bench == bench) {
            verilator.shim(&root.join("shim").join(bench.shim()), &includes, &out)?;
            println!("cargo::rustc-cfg={}", bench.cfg());
        }
    }
    verilator.shim(&root.join("shim/bench.cpp"), &[], &out)?;
    verilator.runtime(&out)?;
    println!("cargo::rustc-link-search=native={}", out.display());
    println!("cargo::rustc-link-lib=stdc++");
    Ok(())
}
