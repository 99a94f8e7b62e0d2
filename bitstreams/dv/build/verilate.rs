//! Running Verilator, and compiling what it writes.
//!
//! Invariant: an archive that is linked was compiled from the C++ whose hash stands beside it, with the same options.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::models::Model;

/// Changes whenever archives of an earlier build are no longer to be used.
const ARCHIVES: u32 = 1;
/// Bytes of C++ a file at which Verilator begins the next: the compiler's time and memory grow faster than a file.
const SPLIT: &str = "20000";

/// A Verilator that was found.
pub(crate) struct Verilator {
    include: PathBuf,
    traces: bool,
}

impl Verilator {
    /// Finds the one on the path.
    pub(crate) fn find(traces: bool) -> Result<Self, String> {
        let output = Command::new("verilator")
            .args(["--getenv", "VERILATOR_ROOT"])
            .output()
            .map_err(|error| {
                format!(
                    "the feature `verilator` needs Verilator 5.006 or later on the path, which did not start: {error}. To install it: .ci/install rtl"
                )
            })?;
        let root = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let include = Path::new(&root).join("include");
        if !include.join("verilated.cpp").is_file() {
            return Err(format!(
                "expected Verilator's C++ in {}, and there is no verilated.cpp: install the whole package",
                include.display()
            ));
        }
        Ok(Self { include, traces })
    }

    /// Verilates and compiles a model; the directory of its headers.
    pub(crate) fn model(
        &self,
        model: &Model,
        rtl: &Path,
        root: &Path,
        out: &Path,
    ) -> Result<PathBuf, String> {
        let directory = out.join(&model.name);
        let fresh = out.join(format!("{}.new", model.name));
        let _ = fs::remove_dir_all(&fresh);
        let mut command = Command::new("verilator");
        command
            .args([
                "--cc",
                "-O3",
                "--x-assign",
                "unique",
                "--x-initial",
                "unique",
                "-Wno-fatal",
            ])
            .args([
                "--output-split",
                SPLIT,
                "--prefix",
                &model.prefix,
                "--top-module",
                model.top,
            ])
            .arg("-Mdir")
            .arg(&fresh);
        if self.traces {
            command.arg("--trace");
        }
        for (name, value) in &model.parameters {
            command.arg(format!("-G{name}={value}"));
        }
        command.arg(root.join("lint.vlt"));
        command.arg("-y").arg(rtl).arg("-y").arg(root.join("rtl"));
        for package in files(rtl, |name| name.ends_with("_pkg.sv"))? {
            command.arg(package);
        }
        command.arg(format!("{}.sv", model.top));
        let output = command
            .output()
            .map_err(|error| format!("verilator did not start: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(format!("verilator refused {}:\n{said}", model.name));
        }
        for line in said.lines().filter(|line| line.starts_with("%Warning")) {
            println!("cargo::warning={}: {line}", model.name);
        }

        let sources = files(&fresh, |name| name.ends_with(".cpp"))?;
        let headers = files(&fresh, |name| name.ends_with(".h"))?;
        let mut hasher = DefaultHasher::new();
        (ARCHIVES, self.traces, env::var("TARGET").ok()).hash(&mut hasher);
        for file in sources.iter().chain(&headers) {
            file.file_name().hash(&mut hasher);
            read(file)?.hash(&mut hasher);
        }
        let hash = format!("{:016x}", hasher.finish());
        let stamp = out.join(format!("{}.hash", model.name));
        let is_slow =
            |file: &PathBuf| name_of(file).contains("__Slow") || name_of(file).contains("__Syms");
        let (slow, fast): (Vec<PathBuf>, Vec<PathBuf>) = sources.into_iter().partition(is_slow);
        let slow_name = format!("{}_slow", model.name);
        let is_built = [&model.name, &slow_name]
            .iter()
            .all(|name| out.join(format!("lib{name}.a")).is_file());
        if !is_built || fs::read_to_string(&stamp).ok().as_deref() != Some(hash.as_str()) {
            let _ = fs::remove_file(&stamp);
            let _ = fs::remove_dir_all(&directory);
            fs::rename(&fresh, &directory)
                .map_err(|error| format!("{} cannot be renamed: {error}", fresh.display()))?;
            let moved = |files: Vec<PathBuf>| -> Vec<PathBuf> {
                files
                    .iter()
                    .filter_map(|file| file.file_name().map(|name| directory.join(name)))
                    .collect()
            };
            // What runs once needs no optimising: it is half of the compiler's work.
            self.compile(
                &model.name,
                &moved(fast),
                std::slice::from_ref(&directory),
                2,
                out,
            )?;
            self.compile(
                &slow_name,
                &moved(slow),
                std::slice::from_ref(&directory),
                0,
                out,
            )?;
            fs::write(&stamp, hash).map_err(|error| format!("{}: {error}", stamp.display()))?;
        }
        let _ = fs::remove_dir_all(&fresh);
        for name in [&model.name, &slow_name] {
            println!("cargo::rustc-link-lib=static={name}");
        }
        Ok(directory)
    }

    /// Compiles a bench.
    pub(crate) fn shim(&self, file: &Path, includes: &[PathBuf], out: &Path) -> Result<(), String> {
        let name = format!("faam_dv_{}", name_of(file).trim_end_matches(".cpp"));
        self.compile(&name, &[file.to_owned()], includes, 2, out)?;
        println!("cargo::rustc-link-lib=static={name}");
        Ok(())
    }

    /// Compiles what every model uses of Verilator's own.
    pub(crate) fn runtime(&self, out: &Path) -> Result<(), String> {
        let mut sources = vec!["verilated.cpp", "verilated_threads.cpp"];
        if self.traces {
            sources.push("verilated_vcd_c.cpp");
        }
        let sources: Vec<PathBuf> = sources.iter().map(|name| self.include.join(name)).collect();
        self.compile("faam_dv_verilated", &sources, &[], 2, out)?;
        println!("cargo::rustc-link-lib=static=faam_dv_verilated");
        Ok(())
    }

    fn compile(
        &self,
        name: &str,
        sources: &[PathBuf],
        includes: &[PathBuf],
        optimise: u32,
        out: &Path,
    ) -> Result<(), String> {
        let trace = if self.traces { "1" } else { "0" };
        cc::Build::new()
            .cpp(true)
            .std("c++17")
            .opt_level(optimise)
            .debug(false)
            .warnings(false)
            .cargo_metadata(false)
            .out_dir(out)
            .include(&self.include)
            .include(self.include.join("vltstd"))
            .includes(includes)
            .define("VM_TRACE", trace)
            .define("VM_TRACE_VCD", trace)
            .define("VM_TRACE_FST", "0")
            .define("VM_COVERAGE", "0")
            .define("VM_SC", "0")
            .define("VL_IGNORE_UNKNOWN_ARCH", None)
            .files(sources)
            .try_compile(name)
            .map_err(|error| format!("{name} does not compile: {error}"))
    }
}

/// The files of a directory with such a name, in the order of their names.
fn files(directory: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, String> {
    let entries =
        fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| is_wanted(&name_of(path)))
        .collect();
    found.sort();
    Ok(found)
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .map(OsStr::to_string_lossy)
        .unwrap_or_default()
        .into_owned()
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}
