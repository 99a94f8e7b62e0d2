//! Finds ISA-L's headers and compiles the C shim of `src/isal`; sets `cfg(isal)` where that worked.
//!
//! Without them (no libisal-dev, another architecture, `FAAM_NO_ISAL=1`, or the feature `isal` off) levels 1 and 2 are served by
//! libdeflate. The library itself is opened at run time, so nothing is linked here. Where they are installed or removed
//! later, the next build finds out: see `build/watched.rs`.

use std::env;

#[path = "build/watched.rs"]
mod watched;

/// Debian 12's; older ones are untried.
const VERSION_MIN: &str = "2.30";

fn main() {
    println!("cargo::rustc-check-cfg=cfg(isal)");
    println!("cargo::rerun-if-env-changed=FAAM_NO_ISAL");
    for variable in ["PKG_CONFIG", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    for path in ["build.rs", "build/watched.rs", "src/isal/shim.c"] {
        println!("cargo::rerun-if-changed={path}");
    }
    for directory in watched::directories() {
        println!("cargo::rerun-if-changed={}", directory.display());
    }
    if env::var_os("CARGO_FEATURE_ISAL").is_none() {
        return;
    }
    match build() {
        Ok(()) => println!("cargo::rustc-cfg=isal"),
        Err(why) => println!(
            "cargo::warning=without ISA-L ({why}): levels 1 and 2 are served by libdeflate, at half the speed. To have it: \
             sudo apt-get install libisal-dev pkg-config"
        ),
    }
}

fn build() -> Result<(), String> {
    if env::var_os("FAAM_NO_ISAL").is_some_and(|value| value == "1") {
        return Err("FAAM_NO_ISAL=1".to_owned());
    }
    if env::var("HOST") != env::var("TARGET") {
        return Err(
            "pkg-config knows this machine's libraries, and the target is another".to_owned(),
        );
    }
    let library = pkg_config::Config::new()
        .atleast_version(VERSION_MIN)
        .cargo_metadata(false)
        .probe("libisal")
        .map_err(|_| format!("pkg-config finds no libisal {VERSION_MIN} or later"))?;
    cc::Build::new()
        .file("src/isal/shim.c")
        .includes(&library.include_paths)
        .warnings(true)
        .extra_warnings(true)
        .try_compile("faam_isal_shim")
        .map_err(|error| error.to_string())
}
