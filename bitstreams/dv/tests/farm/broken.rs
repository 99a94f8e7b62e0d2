//! Rules of the farm broken on purpose, one at a time: what holds of the farm no longer holds, so its test would say so.

use faam_dv::farm::{Farm, Timing};
use faam_hwif::Status;

use crate::bring_up::{SCRUB_CYCLES, after_a_bad_table};
use crate::host::{Host, LOOK_CYCLES};
use crate::jobs::Job;
use crate::pair::aborted;

/// A job that its table ends leaves the scrub of its context to the next one.
fn keeps_the_scrub(mutant: u32) -> bool {
    let mut host = Host::pair(Timing::smooth(7), mutant);
    let mut ring = host.create(1, 3, None);
    let mut job = Job::plain(3000);
    job.entry.context = 1;
    job.place(&mut host);
    let mut took = 0;
    // The first one scrubs; the second says what is taken without.
    for _ in 0..2 {
        let begun = host.farm.cycles();
        host.run(&mut ring, &job.entry);
        took = host.farm.cycles() - begun;
    }
    let then = after_a_bad_table(&mut host, &mut ring, &job.entry, 2);
    then >= took + SCRUB_CYCLES - u64::from(LOOK_CYCLES)
}

/// An abort ends the command that it names alone.
fn aborts_one(mutant: u32) -> bool {
    let mut host = Host::pair(Timing::smooth(8), mutant);
    let mut ring = host.create(1, 3, None);
    aborted(&mut host, &mut ring, 1) == [Status::Success, Status::Aborted]
}

/// Another context than the engine's last one comes with a scrub.
fn scrubs_for_another_context(mutant: u32) -> bool {
    let mut host = Host::pair(Timing::smooth(9), mutant);
    let mut ring = host.create(1, 3, None);
    let mut job = Job::plain(500);
    job.place(&mut host);
    let took = [1, 1, 2].map(|context| {
        job.entry.context = context;
        let begun = host.farm.cycles();
        host.run(&mut ring, &job.entry);
        host.farm.cycles() - begun
    });
    took[2] >= took[1] + SCRUB_CYCLES - u64::from(LOOK_CYCLES)
}

#[test]
fn every_broken_rule_of_the_farm_is_noticed() {
    // In the order of mutants.txt.
    let holds: [fn(u32) -> bool; 3] = [scrubs_for_another_context, keeps_the_scrub, aborts_one];
    let mutants = Farm::mutants();
    assert_eq!(mutants.len(), holds.len(), "{mutants:?}");
    for (number, (name, holds)) in (1..).zip(mutants.iter().zip(holds)) {
        assert!(holds(0), "does not hold of the farm as it is: {name}");
        assert!(!holds(number), "broken, and nobody noticed: {name}");
    }
    println!("{} rules of the farm broken, all noticed", mutants.len());
}
