//! A failure made small: fewer jobs, fewer bytes, plainer flags, while it still fails.

use std::path::PathBuf;

use faam_dv::{Configuration, Engine};

use crate::case::{Case, Flow, Kept, Kind, Room};
use crate::check::{self, Model};

/// Runs of an engine that making a failure small may take.
const RUNS_MAX: usize = 400;

/// Makes a failure small, keeps it in a file, and says how to run it again.
pub(crate) fn report(
    configuration: Configuration,
    seed: u64,
    before: &[Case],
    failing: &Case,
    what: &str,
) -> String {
    let mut shrinker = Shrinker {
        configuration,
        seed,
        model: Model::new(),
        runs: 0,
    };
    let mut jobs = vec![failing.clone()];
    let mut said = shrinker.fails(&jobs);
    if said.is_none() {
        // What came before has a part in it.
        jobs = before.to_vec();
        jobs.push(failing.clone());
        said = shrinker.fails(&jobs);
    }
    let Some(mut said) = said else {
        return format!(
            "{what}\nNeither the job alone nor the jobs of its run again do it: {failing:?}"
        );
    };
    shrinker.jobs(&mut jobs, &mut said);
    shrinker.last(&mut jobs, &mut said);

    let kept = Kept::new(configuration, said.clone(), jobs.clone());
    let name = format!(
        "{:016x}.json",
        seed ^ jobs.len() as u64 ^ (failing.source.0.len() as u64) << 20
    );
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join("failures")
        .join(name);
    kept.write(&path);
    format!(
        "engine {configuration}: {said}\nfirst seen as: {what}\n{} jobs, the last one: {:?}\nsource {}\nhistory {}\n\
         run it again: FAAM_DV_CASE={} cargo test -p faam-dv --features verilator --test engine kept -- --nocapture\n\
         with waveforms: FAAM_DV_TRACE=DIRECTORY and --features trace",
        jobs.len(),
        jobs.last(),
        shown(jobs.last().map_or(&[], |job| &job.source.0)),
        shown(jobs.last().map_or(&[], |job| &job.history.0)),
        path.display(),
    )
}

fn shown(bytes: &[u8]) -> String {
    let start: String = bytes
        .iter()
        .take(64)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(
        "({}) {start}{}",
        bytes.len(),
        if bytes.len() > 64 { "..." } else { "" }
    )
}

struct Shrinker {
    configuration: Configuration,
    seed: u64,
    model: Model,
    runs: usize,
}

impl Shrinker {
    /// What the last of these jobs fails with, in an engine that has just been switched on.
    fn fails(&mut self, jobs: &[Case]) -> Option<String> {
        self.runs += jobs.len();
        let mut engine = Engine::new(self.configuration, self.seed)?;
        let (last, before) = jobs.split_last()?;
        for job in before {
            let _ = check::run(&mut engine, &mut self.model, job, self.configuration);
        }
        check::run(&mut engine, &mut self.model, last, self.configuration).err()
    }

    fn try_jobs(&mut self, jobs: &mut Vec<Case>, candidate: Vec<Case>, said: &mut String) -> bool {
        if self.runs > RUNS_MAX || candidate == *jobs {
            return false;
        }
        let Some(now) = self.fails(&candidate) else {
            return false;
        };
        *jobs = candidate;
        *said = now;
        true
    }

    fn jobs(&mut self, jobs: &mut Vec<Case>, said: &mut String) {
        let mut step = jobs.len() / 2;
        while step > 0 {
            let mut at = 0;
            while at + step < jobs.len() {
                let mut candidate = jobs.clone();
                candidate.drain(at..at + step);
                if !self.try_jobs(jobs, candidate, said) {
                    at += step;
                }
            }
            step /= 2;
        }
    }

    /// Makes the last job plainer, then shorter.
    fn last(&mut self, jobs: &mut Vec<Case>, said: &mut String) {
        let plainer: [fn(&mut Case); 8] = [
            |case| case.flow = Flow::FREE,
            |case| case.room = Room::Ample,
            |case| case.scrub = false,
            |case| case.history.0.clear(),
            |case| case.ways = 1,
            |case| case.lazy = false,
            |case| {
                if let Kind::Compress { table, .. } = &mut case.kind {
                    *table = None;
                }
            },
            |case| {
                if let Kind::Compress { format, last, .. } = &mut case.kind {
                    (*format, *last) = (0, true);
                }
            },
        ];
        for make in plainer {
            self.change(jobs, said, make);
        }
        for of in [
            |case: &mut Case| &mut case.source.0,
            |case: &mut Case| &mut case.history.0,
        ] as [fn(&mut Case) -> &mut Vec<u8>; 2]
        {
            let mut step = jobs.last_mut().map_or(0, |case| of(case).len());
            while step > 0 {
                let mut at = 0;
                while jobs.last_mut().is_some_and(|case| at < of(case).len()) {
                    let cut = |case: &mut Case| {
                        let bytes = of(case);
                        let to = (at + step).min(bytes.len());
                        bytes.drain(at..to);
                    };
                    if !self.change(jobs, said, cut) {
                        at += step;
                    }
                    if self.runs > RUNS_MAX {
                        return;
                    }
                }
                step /= 2;
            }
        }
    }

    fn change(
        &mut self,
        jobs: &mut Vec<Case>,
        said: &mut String,
        make: impl FnOnce(&mut Case),
    ) -> bool {
        let mut candidate = jobs.clone();
        let Some(last) = candidate.last_mut() else {
            return false;
        };
        make(last);
        self.try_jobs(jobs, candidate, said)
    }
}
