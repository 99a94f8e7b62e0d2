//! Nothing of a job reaches a later one: not its bytes, not its cycles; whether it ended or was reset.

use faam_dv::{Configuration, Engine, Outcome};
use fastrand::Rng;

use crate::case::{Case, Flow, Hex};
use crate::check::{self, Model};
use crate::jobs::data::Bytes;
use crate::jobs::seed;

/// Jobs after which every 8-bit epoch has come around twice.
const WRAP_JOBS: usize = 600;
/// Jobs between two clearings where none asks for one: an epoch each, and none is 0.
const EPOCHS: usize = 255;
/// Predecessors of the probe.
const ROUNDS: usize = 60;
const RESETS: usize = 150;
/// Patterns of stalls that a job runs under.
const PATTERNS: usize = 40;

/// A job that would show what is left: bytes that the others have as well, some of them in their history.
fn probe(bytes: &Bytes, configuration: Configuration) -> Case {
    let mut rng = Rng::with_seed(11);
    let mut source = Vec::new();
    while source.len() < 3000 {
        source.extend(bytes.draw(&mut rng, 900).1);
    }
    Case::plain(&source, configuration)
}

/// A job whose traces the probe would find: its own bytes, or pieces of them, and anything else.
fn predecessor(rng: &mut Rng, bytes: &Bytes, probe: &Case, configuration: Configuration) -> Case {
    let mut case = Case::draw(rng, bytes, configuration, 5000);
    if rng.bool() {
        let from = rng.usize(0..probe.source.0.len() - 8);
        case.source = Hex(probe.source.0[from..].to_vec());
        case.scrub = false;
    }
    case
}

/// What must be the same, whatever was before. The bench's own clock is not: clearing is in it.
fn same(a: &Outcome, b: &Outcome) -> bool {
    (&a.out, a.report, a.source_fetches) == (&b.out, b.report, b.source_fetches)
}

#[test]
fn a_job_comes_to_the_same_whatever_ran_before() {
    let seed = seed::of_run();
    let bytes = Bytes::new();
    for configuration in Engine::configurations() {
        let mut rng = Rng::with_seed(seed);
        let mut model = Model::new();
        let probe = probe(&bytes, *configuration);
        let mut engine = Engine::new(*configuration, seed).unwrap();
        let first = check::run(&mut engine, &mut model, &probe, *configuration).unwrap();
        for round in 0..ROUNDS {
            let before = predecessor(&mut rng, &bytes, &probe, *configuration);
            check::run(&mut engine, &mut model, &before, *configuration)
                .unwrap_or_else(|what| panic!("seed {seed}, round {round}: {what}\n{before:?}"));
            let again = check::run(&mut engine, &mut model, &probe, *configuration).unwrap();
            assert!(
                same(&again, &first),
                "seed {seed}, engine {configuration}: after {before:?} the probe came to {:?}, before to {:?}",
                again.report,
                first.report,
            );
        }
        println!(
            "engine {configuration}: {ROUNDS} probes after other jobs, each the same to the byte and the cycle"
        );
    }
}

#[test]
fn epochs_that_come_around_show_nothing() {
    let seed = seed::of_run();
    let bytes = Bytes::new();
    for configuration in Engine::configurations() {
        let mut rng = Rng::with_seed(seed);
        let mut model = Model::new();
        let mut engine = Engine::new(*configuration, seed).unwrap();
        // Each differs from the one before by little, so that stale entries have bytes that fit.
        let mut source: Vec<u8> = bytes.draw(&mut rng, 300).1;
        source.resize(200, b'x');
        let mut cleared = 0;
        for number in 0..WRAP_JOBS {
            let case = Case::plain(&source, *configuration);
            let outcome = check::run(&mut engine, &mut model, &case, *configuration)
                .unwrap_or_else(|what| panic!("seed {seed}, job {number}: {what}"));
            let at = rng.usize(0..source.len());
            source.rotate_left(1);
            source[at] = rng.u8(b'a'..=b'c');
            // Where epochs ran out, the next job waits for the clearing: when it is taken, or in it, and never in its report.
            let waited = outcome.cycles_offered + outcome.cycles;
            // A job of 200 bytes takes some hundreds.
            cleared += usize::from(number > 0 && waited > 2000);
        }
        assert_eq!(
            cleared,
            (WRAP_JOBS - 1) / EPOCHS,
            "seed {seed}, engine {configuration}: jobs that waited for a clearing"
        );
        println!(
            "engine {configuration}: {WRAP_JOBS} jobs without a reset, {cleared} of which waited for a clearing"
        );
    }
}

#[test]
fn a_reset_in_the_middle_leaves_nothing() {
    let seed = seed::of_run();
    let bytes = Bytes::new();
    for configuration in Engine::configurations() {
        let mut rng = Rng::with_seed(seed);
        let mut model = Model::new();
        let probe = probe(&bytes, *configuration);
        let mut engine = Engine::new(*configuration, seed).unwrap();
        let first = check::run(&mut engine, &mut model, &probe, *configuration).unwrap();
        let mut cut = 0;
        for round in 0..RESETS {
            let case = predecessor(&mut rng, &bytes, &probe, *configuration);
            let expected = model.expect(&case, *configuration);
            let length = (case.source.0.len() * 2 + case.history.0.len() + 1500) as u64;
            let at = rng.u64(0..length);
            cut += usize::from(
                engine
                    .run_and_reset(&case.job(expected.dst_cap), &case.flow.stalls(), at)
                    .unwrap_or_else(|error| {
                        panic!("seed {seed}, round {round}: {error}\n{case:?}")
                    }),
            );
            let again = check::run(&mut engine, &mut model, &probe, *configuration).unwrap_or_else(
                |what| panic!("seed {seed}, after a reset in cycle {at} of {case:?}: {what}"),
            );
            assert!(
                same(&again, &first),
                "seed {seed}, engine {configuration}: another outcome after a reset in cycle {at} of {case:?}"
            );
        }
        println!(
            "engine {configuration}: {cut} jobs of {RESETS} reset in their middle, nothing left of them"
        );
        assert!(
            cut > RESETS / 4,
            "most jobs ended before their reset: the test tests little"
        );
    }
}

/// Stalls move the moment of a byte, never a byte.
#[test]
fn stalls_change_nothing_that_is_reported() {
    let seed = seed::of_run();
    let bytes = Bytes::new();
    for configuration in Engine::configurations() {
        let mut rng = Rng::with_seed(seed);
        let mut model = Model::new();
        let mut engine = Engine::new(*configuration, seed).unwrap();
        let mut case = probe(&bytes, *configuration);
        let first = check::run(&mut engine, &mut model, &case, *configuration).unwrap();
        for _ in 0..PATTERNS {
            case.flow = Flow {
                seed: rng.u64(..),
                streams: [0; 4].map(|_| (rng.u16(0..256), rng.u16(0..40), rng.bool())),
                short_of_256: rng.u16(0..=256),
            };
            let outcome = check::run(&mut engine, &mut model, &case, *configuration)
                .unwrap_or_else(|what| panic!("seed {seed}: {what}\n{:?}", case.flow));
            assert!(
                same(&outcome, &first),
                "seed {seed}, engine {configuration}: under {:?} came {:?}, without stalls {:?}",
                case.flow,
                outcome.report,
                first.report
            );
        }
        println!(
            "engine {configuration}: {PATTERNS} patterns of stalls, the same to the byte and the reported cycle"
        );
    }
}
