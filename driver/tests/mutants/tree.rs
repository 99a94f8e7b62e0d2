//! A copy of the tree that mutants are made in, and its tests.
//!
//! Owns the copy, in target/mutants, and the one change that it has at a time. Invariant: dropping the change puts the
//! file back. It does not know which changes there are.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::mutant::Mutant;

/// Longest that a mutant's tests may take, seconds: several times what they take as they are.
pub(crate) const TESTS_SECONDS_MAX: u32 = 400;
/// Names of failed tests that are told of a mutant at most.
const NAMES_MAX: usize = 3;
/// Exit status of timeout(1) when the time has passed.
const TIMED_OUT: i32 = 124;

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let driver = Path::new(env!("CARGO_MANIFEST_DIR"));
    driver.parent().unwrap().to_owned()
}

/// How tests ended.
#[derive(Debug)]
pub(crate) enum Ran {
    Passed,
    /// With the names of those that failed first.
    Failed(Vec<String>),
    /// A test program ended by a signal or a panic, without a list of failures: with the line that says so.
    Broke(String),
    /// They did not end in time.
    Hung,
    /// They did not pass, and it is not seen why: a full disk may be, or a library that is missing. With their words.
    Unclear(String),
    /// With the compiler's words.
    DoesNotBuild(String),
}

/// The copy.
pub(crate) struct Tree {
    root: PathBuf,
    target: PathBuf,
}

/// A change, until dropped.
pub(crate) struct Change {
    file: PathBuf,
    before: String,
}

impl Drop for Change {
    fn drop(&mut self) {
        std::fs::write(&self.file, &self.before).unwrap();
    }
}

impl Tree {
    /// Copies what git knows of the tree, as it is now.
    pub(crate) fn copy() -> Self {
        let place = root().join("target/mutants");
        let copy = place.join("tree");
        if copy.exists() {
            std::fs::remove_dir_all(&copy).unwrap();
        }
        std::fs::create_dir_all(&copy).unwrap();
        // All is as new: cargo must not take what was built of the last run's last mutant for what is there now.
        let status = Command::new("bash")
            .args(["-euo", "pipefail", "-c"])
            .arg(
                "git ls-files -z --cached --others --exclude-standard \
                 | tar --null --files-from=- --create | tar --extract --touch --directory \"$1\"",
            )
            .arg("copy")
            .arg(&copy)
            .current_dir(root())
            .status()
            .unwrap();
        assert!(status.success(), "the tree could not be copied");
        Self {
            root: copy,
            target: place.join("target"),
        }
    }

    /// Makes a mutant of it.
    pub(crate) fn change(&self, mutant: &Mutant) -> Change {
        let file = self.root.join(mutant.file);
        let before = std::fs::read_to_string(&file).unwrap();
        assert_eq!(before.matches(mutant.from).count(), 1, "{}", mutant.name);
        std::fs::write(&file, before.replace(mutant.from, mutant.to)).unwrap();
        Change { file, before }
    }

    /// Builds and runs tests, up to the first test program that fails.
    pub(crate) fn test(&self, tests: &[&str]) -> Ran {
        let built = self.cargo("cargo", &["test", "--no-run"], tests);
        if !built.status.success() {
            return Ran::DoesNotBuild(String::from_utf8_lossy(&built.stderr).into_owned());
        }
        let limit = TESTS_SECONDS_MAX.to_string();
        let ran = self.cargo(
            "timeout",
            &["--kill-after=5", &limit, "cargo", "test"],
            tests,
        );
        match ran.status.code() {
            Some(0) => Ran::Passed,
            Some(TIMED_OUT) => Ran::Hung,
            _ => ended(
                &String::from_utf8_lossy(&ran.stdout),
                &String::from_utf8_lossy(&ran.stderr),
            ),
        }
    }

    fn cargo(&self, program: &str, args: &[&str], tests: &[&str]) -> std::process::Output {
        Command::new(program)
            .args(args)
            .args(["--quiet", "--locked"])
            .args(tests)
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target)
            .env_remove("FAAM_TEST_RESULTS")
            .output()
            .unwrap()
    }
}

/// What is made of tests that did not pass.
fn ended(output: &str, errors: &str) -> Ran {
    let names = failed(output);
    if !names.is_empty() {
        return Ran::Failed(names);
    }
    // Cargo's words for a program that a signal ended, a panic's where it starts, and those of one within another.
    let broke = |line: &&str| {
        line.contains("(signal: ")
            || line.contains("' panicked at ")
            || line.contains("' (") && line.contains(") panicked at ")
            || line.contains("thread caused non-unwinding panic. aborting.")
            || line.starts_with("fatal runtime error: ")
    };
    let found = errors.lines().chain(output.lines()).find(broke);
    match found {
        Some(line) => Ran::Broke(line.trim().to_owned()),
        None => Ran::Unclear(format!("{errors}\n{output}")),
    }
}

/// The tests that a runner's output says failed: its lists of failures name one a line, indented.
fn failed(output: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut listing = false;
    for line in output.lines() {
        match line.strip_prefix("    ") {
            Some(name) if listing && !name.starts_with(' ') => {
                let name = name.trim().to_owned();
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            _ => listing = line == "failures:" || listing && line.is_empty(),
        }
    }
    let more = names.len().saturating_sub(NAMES_MAX);
    names.truncate(NAMES_MAX);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names
}

#[test]
fn failures_are_read_from_both_runners() {
    let libtest = "failures:\n\n---- a::b stdout ----\n    at here\n\nfailures:\n    a::b\n    a::c\n\ntest result: FAILED";
    assert_eq!(failed(libtest), ["a::b", "a::c"]);
    let mimic =
        "failures:\n\n---- x::y ----\nwords\n\n\nfailures:\n    x::y\n\n\ntest result: FAILED";
    assert_eq!(failed(mimic), ["x::y"]);
    assert!(failed("killed").is_empty());
}

#[test]
fn a_program_that_ends_without_a_list_has_to_say_why() {
    let signal =
        "  process didn't exit successfully: `device` (signal: 6, SIGABRT: process abort signal)";
    assert!(matches!(ended("running 3 tests\n", signal), Ran::Broke(_)));
    let panic = "thread 'main' (77) panicked at driver/src/queue.rs:9:5:\nno";
    assert!(matches!(ended("", panic), Ran::Broke(_)));
    for other in [
        "error: No space left on device (os error 28)",
        "device: error while loading shared libraries: libx.so.1: cannot open shared object file",
        "",
    ] {
        assert!(matches!(ended("", other), Ran::Unclear(_)), "{other}");
    }
    let list = "failures:\n    a::b\n\ntest result: FAILED";
    assert!(matches!(ended(list, signal), Ran::Failed(_)));
}
