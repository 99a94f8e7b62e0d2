//! The comparison itself: each thing that it compares is noticed when it is wrong.

use std::thread;

use faam_dv::{Configuration, Ended, Engine, Outcome};
use fastrand::Rng;

use crate::case::{Case, Hex, Kind, Room};
use crate::check::{self, Expected, Model};
use crate::jobs::data::Bytes;
use crate::jobs::seed;

/// What is made wrong, and how.
type Spoil = (&'static str, fn(&mut Outcome));

/// Right answers, one of which a test then makes wrong.
fn answers() -> Vec<(Case, Expected, Outcome)> {
    let configuration = Engine::configurations()[0];
    let mut engine = Engine::new(configuration, 5).unwrap();
    let mut model = Model::new();
    let text = b"a text that says a text that says a text, over and over and over and over again"
        .repeat(3);
    let plain = Case::plain(&text, configuration);
    let noise: Vec<u8> = (0..600u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let mut cases = vec![plain.clone(), Case::plain(&noise, configuration)];
    if configuration.tables {
        cases.push(Case {
            kind: Kind::Count,
            ..plain.clone()
        });
        cases.push(Case {
            kind: Kind::Compress {
                format: 2,
                last: true,
                sync: false,
                table: Some(Hex(crate::case::host_table(&text, &[]))),
            },
            room: Room::Exact,
            ..plain
        });
    }
    cases
        .into_iter()
        .map(|case| {
            let expected = model.expect(&case, configuration);
            let outcome = engine
                .run(&case.job(expected.dst_cap), &case.flow.stalls())
                .unwrap();
            (case, expected, outcome)
        })
        .collect()
}

#[test]
fn every_wrong_answer_is_noticed() {
    let configuration = Engine::configurations()[0];
    let spoil: [Spoil; 11] = [
        ("ended", |outcome| outcome.report.ended = Ended::TableMiss),
        ("rule", |outcome| outcome.report.rule ^= 1),
        ("stored", |outcome| outcome.report.stored ^= true),
        ("out_len", |outcome| outcome.report.out_len += 1),
        ("in_len", |outcome| outcome.report.in_len ^= 1),
        ("crc32", |outcome| outcome.report.crc32 ^= 1 << 31),
        ("adler32", |outcome| outcome.report.adler32 ^= 1),
        ("cycles", |outcome| outcome.report.cycles += 1),
        ("a bit of the output", |outcome| {
            if let Some(byte) = outcome.out.last_mut() {
                *byte ^= 1;
            }
        }),
        ("a byte too few", |outcome| {
            outcome.out.pop();
        }),
        ("a fetch too many", |outcome| outcome.source_fetches += 1),
    ];
    let mut noticed = 0;
    for (case, expected, right) in answers() {
        check::compare(&Ok(right.clone()), &expected, &case, configuration).unwrap();
        for (what, spoil) in &spoil {
            let mut wrong = right.clone();
            spoil(&mut wrong);
            let said = check::compare(&Ok(wrong), &expected, &case, configuration);
            assert!(
                said.is_err(),
                "{what} was wrong in {case:?}, and nobody noticed"
            );
            noticed += 1;
        }
    }
    println!("{noticed} wrong answers, {noticed} noticed");
}

/// A difference is told with its byte, its cycle and its token.
#[test]
fn a_difference_says_where_it_is() {
    let configuration = Engine::configurations()[0];
    let (case, expected, mut outcome) = answers().remove(0);
    let middle = outcome.out.len() / 2;
    outcome.out[middle] ^= 1;
    let said = check::compare(&Ok(outcome), &expected, &case, configuration).unwrap_err();
    assert!(
        said.contains(&format!("first difference in byte {middle} (cycle Some(")),
        "{said}"
    );
    assert!(said.contains("; token "), "{said}");
}

/// Random jobs that a broken rule is given to show itself in.
const MUTANT_JOBS_MAX: usize = 3000;
/// Most bytes of each: long enough for the farthest match, and for a stored block and a little.
const MUTANT_BYTES_MAX: usize = 68_000;

/// Rules of the RTL broken on purpose, one at a time: the random jobs notice each.
#[test]
fn every_broken_rule_is_noticed() {
    let seed = seed::of_run();
    let (mutants, configuration) = Engine::mutants();
    let configuration = configuration.expect("the broken rules were built: see FAAM_DV_MODELS");
    let bytes = Bytes::new();
    // Without any, the copy is the engine.
    assert_eq!(noticed_after(0, 200, configuration, &bytes, seed), None);
    let survivors: Vec<&str> = thread::scope(|scope| {
        let running: Vec<_> = mutants
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let bytes = &bytes;
                let run =
                    move || noticed_after(index + 1, MUTANT_JOBS_MAX, configuration, bytes, seed);
                (name, scope.spawn(run))
            })
            .collect();
        let mut survivors = Vec::new();
        for (name, thread) in running {
            match thread.join().unwrap() {
                Some((jobs, how)) => println!("noticed after {jobs} jobs: {name}: {how}"),
                None => survivors.push(*name),
            }
        }
        survivors
    });
    println!(
        "{} broken rules, {} unnoticed",
        mutants.len(),
        survivors.len()
    );
    assert!(
        survivors.is_empty(),
        "unnoticed in {MUTANT_JOBS_MAX} jobs, seed {seed}: {survivors:?}"
    );
}

/// The number of the job at which a mutant differs from the model, and the beginning of what is said.
fn noticed_after(
    mutant: usize,
    jobs: usize,
    configuration: Configuration,
    bytes: &Bytes,
    seed: u64,
) -> Option<(usize, String)> {
    let mut rng = Rng::with_seed(seed);
    let mut engine = Engine::mutant(mutant, seed).expect("the model was built");
    let mut model = Model::new();
    (1..=jobs).find_map(|number| {
        let most = if number % 12 == 0 {
            MUTANT_BYTES_MAX
        } else {
            3000
        };
        let case = Case::draw(&mut rng, bytes, configuration, most);
        let said = check::run(&mut engine, &mut model, &case, configuration).err()?;
        Some((number, said.chars().take(70).collect()))
    })
}
