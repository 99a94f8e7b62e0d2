//! Which directories tell a build script that a library has come or gone.
//!
//! Cargo runs a build script again when a path that it named has changed. A path that does not exist counts as changed
//! at every build, so that a library's own file cannot be named before it is there; the directory that it will be in can:
//! a package that is installed or removed changes it.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// The directories that exist of those in which pkg-config looks for descriptions of libraries. Without pkg-config, those
/// in which programs are looked for: it may come.
pub(crate) fn directories() -> Vec<PathBuf> {
    let program = env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    let asked = Command::new(program)
        .args(["--variable", "pc_path", "pkg-config"])
        .output();
    let told = match asked {
        Ok(answer) => String::from_utf8_lossy(&answer.stdout).trim().to_owned(),
        Err(_) => env::var("PATH").unwrap_or_default(),
    };
    let named = ["PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR"]
        .into_iter()
        .filter_map(env::var_os)
        .flat_map(|paths| env::split_paths(&paths).collect::<Vec<_>>());
    let mut directories: Vec<PathBuf> = env::split_paths(&told)
        .chain(named)
        .filter(|path| path.is_dir())
        .collect();
    directories.sort();
    directories.dedup();
    directories
}
