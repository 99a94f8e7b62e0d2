//! A build script that watches what ours does runs again when a library is installed after it, and not otherwise.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Builds the package there; how often its build script has run so far.
fn runs(package: &Path) -> usize {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--offline", "--quiet"])
        .current_dir(package)
        .env("PKG_CONFIG_PATH", package.join("pkgconfig"))
        .env("CARGO_TARGET_DIR", package.join("target"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{output:?}");
    let log = fs::read_to_string(package.join("runs.log")).expect("the script's log");
    log.lines().count()
}

#[test]
fn a_library_that_is_installed_later_is_found_by_the_next_build() {
    let package = std::env::temp_dir().join(format!("faam-build-script-{}", std::process::id()));
    let _ = fs::remove_dir_all(&package);
    fs::create_dir_all(package.join("src")).expect("a directory");
    fs::create_dir(package.join("pkgconfig")).expect("a directory");
    let write = |path: &str, text: &str| fs::write(package.join(path), text).expect("a file");
    write(
        "Cargo.toml",
        "[package]\nname = \"watching\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n",
    );
    write("src/lib.rs", "");
    let watched = concat!(env!("CARGO_MANIFEST_DIR"), "/build/watched.rs");
    let script = format!(
        "use std::io::Write as _;\n#[path = {watched:?}]\nmod watched;\nfn main() {{\n\
         for directory in watched::directories() {{ println!(\"cargo::rerun-if-changed={{}}\", directory.display()); }}\n\
         let mut log = std::fs::OpenOptions::new().create(true).append(true).open(\"runs.log\").unwrap();\n\
         writeln!(log, \"run\").unwrap();\n}}\n"
    );
    write("build.rs", &script);
    assert_eq!(runs(&package), 1, "the first build");
    assert_eq!(runs(&package), 1, "nothing has changed");
    write("pkgconfig/libisal.pc", "Name: libisal\n");
    assert_eq!(runs(&package), 2, "a library was installed");
    assert_eq!(runs(&package), 2, "nothing has changed since");
    fs::remove_file(package.join("pkgconfig/libisal.pc")).expect("the file");
    assert_eq!(runs(&package), 3, "it was removed");
    fs::remove_dir_all(&package).expect("the directory");
}
