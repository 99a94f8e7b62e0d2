//! Random jobs of every kind, back to back in one engine of each configuration.

use std::collections::BTreeMap;
use std::thread;

use faam_dv::{Configuration, Ended, Engine, Outcome};
use fastrand::Rng;

use crate::case::{Case, Flow, Kind, Room};
use crate::check::{self, Model};
use crate::jobs::data::Bytes;
use crate::jobs::seed;
use crate::shrink;

/// Random jobs of each configuration, unless the environment says otherwise.
const JOBS: usize = 1000;
/// Jobs before a failing one that may have a part in it.
const BEFORE_MAX: usize = 40;
/// One job in so many may be long.
const LONG_ONE_IN: usize = 8;
/// Most bytes of a job that may not.
const SHORT_BYTES_MAX: usize = 6000;
const LONG_BYTES_MAX: usize = 140_000;

/// How often what was reached.
#[derive(Default)]
struct Reached(BTreeMap<&'static str, usize>);

impl Reached {
    fn note(&mut self, what: &'static str, is_so: bool) {
        *self.0.entry(what).or_default() += usize::from(is_so);
    }

    fn job(&mut self, case: &Case, ended: Ended, outcome: &Outcome) {
        self.note("jobs", true);
        self.note("ok", ended == Ended::Ok);
        self.note("bad table", ended == Ended::BadTable);
        self.note("table miss", ended == Ended::TableMiss);
        self.note("output full", ended == Ended::OutputFull);
        self.note("stored", outcome.report.stored);
        self.note("rewound", outcome.rewinds != 0);
        self.note("empty", case.source.0.is_empty());
        self.note("history", !case.history.0.is_empty());
        self.note("scrubbed", case.scrub);
        self.note("stalled", case.flow != Flow::FREE);
        self.note(
            "room to the byte",
            ended == Ended::Ok && case.room == Room::Exact,
        );
        self.note(
            "beyond one stored block",
            outcome.report.stored && case.source.0.len() > 65535,
        );
        match &case.kind {
            Kind::Count => self.note("counted", true),
            Kind::Compress {
                format,
                last,
                table,
                ..
            } => {
                self.note("raw", *format == 0);
                self.note("zlib", *format == 1);
                self.note("gzip", *format == 2);
                self.note("final", *last);
                self.note("sync", !*last);
                self.note("loaded table", table.is_some());
            }
        }
    }
}

#[test]
fn random_jobs_come_to_what_the_model_says() {
    let seed = seed::of_run();
    let jobs = seed::number("FAAM_DV_JOBS", JOBS);
    let bytes = Bytes::new();
    let results: Vec<(Configuration, Result<Reached, String>)> = thread::scope(|scope| {
        let running: Vec<_> = Engine::configurations()
            .iter()
            .enumerate()
            .map(|(index, configuration)| {
                let bytes = &bytes;
                let seed = seed.wrapping_add(index as u64);
                scope.spawn(move || (*configuration, run(*configuration, bytes, seed, jobs)))
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(
        !results.is_empty(),
        "no engine was built: see FAAM_DV_MODELS"
    );
    let mut all = Reached::default();
    let mut mismatches = 0;
    for (configuration, result) in results {
        match result {
            Ok(reached) => {
                println!(
                    "engine {configuration}: {} jobs compared, 0 mismatches",
                    reached.0["jobs"]
                );
                for (what, count) in reached.0 {
                    *all.0.entry(what).or_default() += count;
                }
            }
            Err(report) => {
                mismatches += 1;
                println!("MISMATCH\n{report}");
            }
        }
    }
    assert_eq!(
        mismatches, 0,
        "engines that differ from the model: see above"
    );
    println!("reached: {:?}", all.0);
    // A run that reaches less than this compares less than it says.
    if jobs >= JOBS {
        for (what, count) in &all.0 {
            assert!(*count > 0, "no job of the run was one of: {what}");
        }
    }
}

fn run(
    configuration: Configuration,
    bytes: &Bytes,
    seed: u64,
    jobs: usize,
) -> Result<Reached, String> {
    let mut rng = Rng::with_seed(seed);
    let mut engine = Engine::new(configuration, seed).ok_or("the engine was not built")?;
    let mut model = Model::new();
    let mut reached = Reached::default();
    let mut before: Vec<Case> = Vec::new();
    for number in 0..jobs {
        let most = if number % LONG_ONE_IN == 0 {
            LONG_BYTES_MAX
        } else {
            SHORT_BYTES_MAX
        };
        let case = Case::draw(&mut rng, bytes, configuration, most);
        match check::run(&mut engine, &mut model, &case, configuration) {
            Ok(outcome) => reached.job(&case, outcome.report.ended, &outcome),
            Err(what) => {
                let what = format!("job {number} of seed {seed}: {what}");
                return Err(shrink::report(configuration, seed, &before, &case, &what));
            }
        }
        before.push(case);
        if before.len() > BEFORE_MAX {
            before.remove(0);
        }
    }
    Ok(reached)
}

/// The most that a job may have, of both: 2^20 bytes behind 2^15.
#[test]
fn the_longest_job_comes_to_what_the_model_says() {
    let configuration = Engine::configurations()[0];
    let mut source: Vec<u8> = Vec::new();
    let sample = crate::jobs::data::sample();
    while source.len() < 1 << 20 {
        for (_, file) in &sample {
            source.extend(file);
        }
    }
    let mut case = Case::plain(&source[..1 << 20], configuration);
    case.history.0 = source[5000..5000 + (1 << 15)].to_vec();
    let mut engine = Engine::new(configuration, 1).unwrap();
    let outcome = check::run(&mut engine, &mut Model::new(), &case, configuration).unwrap();
    println!(
        "engine {configuration}: 2^20 + 2^15 bytes in {} cycles",
        outcome.cycles
    );
    // And stored, which reads them twice: noise.
    let mut rng = Rng::with_seed(7);
    let noise: Vec<u8> = (0..1 << 20).map(|_| rng.u8(..)).collect();
    let case = Case::plain(&noise, configuration);
    let outcome = check::run(&mut engine, &mut Model::new(), &case, configuration).unwrap();
    assert!(outcome.report.stored);
}
