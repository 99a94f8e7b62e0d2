//! Safety checks that are taken out, one at a time: the tests must notice each.
//!
//! Owns the list of mutants (`mutant.rs`), the run and the page `driver/MUTANTS.md`. Invariant: a mutant is one change of
//! one place, in a copy of the tree; the tree itself is never touched. A mutant that does not compile shows nothing and
//! fails the run, and so do tests that end for no reason that can be seen; one that hangs its tests is caught, for their runner has a time limit.
//!
//! The ordinary tests check that each mutant still has its place and the page its rows. `make mutants` runs the mutants
//! and writes the page: a quarter of an hour on two cores.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod mutant;
mod page;
mod tree;

use std::time::Instant;

use crate::mutant::MUTANTS;
use crate::tree::{Ran, Tree, root};

#[test]
fn each_mutant_still_has_its_place() {
    for mutant in MUTANTS {
        let source = std::fs::read_to_string(root().join(mutant.file)).unwrap();
        let places = source.matches(mutant.from).count();
        assert_eq!(
            places, 1,
            "{}: {} has {places} places that read {:?}; mend the mutant",
            mutant.name, mutant.file, mutant.from
        );
        assert_ne!(mutant.from, mutant.to, "{}", mutant.name);
    }
}

#[test]
fn the_page_has_a_row_for_each_that_was_caught() {
    let page = std::fs::read_to_string(page::path()).unwrap();
    let rows = page::rows(&page);
    let names: Vec<_> = MUTANTS.iter().map(|mutant| mutant.name).collect();
    let told: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(told, names, "driver/MUTANTS.md is stale: make mutants");
    for (row, mutant) in rows.iter().zip(MUTANTS) {
        assert_eq!(
            row.check, mutant.check,
            "driver/MUTANTS.md is stale: make mutants"
        );
        assert!(
            !row.caught_by.is_empty() && row.caught_by != page::SURVIVED,
            "{} was not caught",
            row.name
        );
    }
}

/// `MUTANT=name` runs that one alone, and leaves the page as it is.
#[test]
#[ignore = "builds and tests a copy of the tree once for each mutant: make mutants"]
fn the_tests_notice_each() {
    let only = std::env::var("MUTANT").ok();
    let chosen: Vec<_> = MUTANTS
        .iter()
        .filter(|mutant| only.as_deref().is_none_or(|name| name == mutant.name))
        .collect();
    assert!(!chosen.is_empty(), "there is no mutant {only:?}");
    let tree = Tree::copy();
    let mut commands: Vec<_> = chosen.iter().map(|mutant| mutant.tests).collect();
    commands.sort_unstable();
    commands.dedup();
    for tests in commands {
        match tree.test(tests) {
            Ran::Passed => println!("unchanged: cargo test {}: passes", tests.join(" ")),
            ran => panic!("unchanged: cargo test {}: {ran:?}", tests.join(" ")),
        }
    }
    let mut rows = Vec::new();
    let mut survived = Vec::new();
    for mutant in chosen {
        let began = Instant::now();
        let undo = tree.change(mutant);
        let ran = tree.test(mutant.tests);
        drop(undo);
        let caught_by = match ran {
            Ran::Failed(names) => names.join(", "),
            Ran::Broke(why) => {
                println!("{}: {why}", mutant.name);
                "the end of the test program".to_owned()
            }
            Ran::Hung => format!("the time limit of {} s", tree::TESTS_SECONDS_MAX),
            Ran::Passed => page::SURVIVED.to_owned(),
            Ran::Unclear(why) => panic!(
                "{}: its tests did not pass, and do not say why:\n{why}",
                mutant.name
            ),
            Ran::DoesNotBuild(why) => panic!("{}: does not build:\n{why}", mutant.name),
        };
        println!(
            "{}: {caught_by} ({} s)",
            mutant.name,
            began.elapsed().as_secs()
        );
        if caught_by == page::SURVIVED {
            survived.push(mutant.name);
        }
        rows.push(page::Row::of(mutant, caught_by));
    }
    if only.is_none() {
        std::fs::write(page::path(), page::write(&rows)).unwrap();
    }
    assert!(survived.is_empty(), "not noticed: {}", survived.join(", "));
}
