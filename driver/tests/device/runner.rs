//! Trials from the list of behaviours, their results as lines, and an end to those that hang.
//!
//! Owns what a result is. Invariant: each behaviour that was begun has exactly one result line; a mutation passes only if
//! its behaviour failed, and with the words that the mutation is known by.

use std::cell::Cell;
use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use faam_sim::Fault;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::behaviour::{Behaviour, Need, all};
use crate::carrier::{Bench, Carrier};
use crate::{faults, host_alone, host_lies, retired};

/// A trial that takes longer is hung: the process ends, and says which.
const TRIAL_SECONDS_MAX: u64 = 240;

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed,
    Skipped(String),
    /// A mutation made its behaviour fail.
    Red,
    /// It did not.
    Survived,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Failed => f.write_str("failed"),
            Self::Skipped(why) => write!(f, "skipped: {why}"),
            Self::Red => f.write_str("red"),
            Self::Survived => f.write_str("survived"),
        }
    }
}

thread_local! {
    /// This thread's panics are wanted: nobody need read them.
    static PANICS_ARE_WANTED: Cell<bool> = const { Cell::new(false) };
}

/// Runs the trials that the command line names.
pub(crate) fn run() -> ExitCode {
    let carrier = Carrier::chosen();
    let mut arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = Vec::new();
    match carrier {
        Carrier::VfioUser => {
            trials.extend(all().map(mutation_trial));
            trials.extend(host_alone::trials());
            trials.extend(host_lies::trials());
            trials.extend(retired::trials());
            trials.extend(faults::trials(carrier));
            trials.extend(all().map(|behaviour| behaviour_trial(behaviour, carrier)));
        }
        // A card each, one at a time: two of them would share what two cores simulate. That the behaviours can fail was
        // shown with the functional model, whose faults gateware does not have.
        Carrier::Rtl => {
            arguments.test_threads = Some(1);
            trials.extend(all().map(|behaviour| behaviour_trial(behaviour, carrier)));
        }
        // One card for all, one at a time. Mutations only where vfio-user cannot show them: the rest is the same twice.
        Carrier::KernelVfio => {
            arguments.test_threads = Some(1);
            let alone = |behaviour: &&Behaviour| {
                let needs = [Need::HugePages, Need::EnforcedMaps];
                needs.iter().any(|need| behaviour.needs.contains(need))
            };
            trials.extend(all().filter(alone).map(mutation_trial));
            trials.extend(faults::trials(carrier));
            trials.extend(all().map(|behaviour| behaviour_trial(behaviour, carrier)));
        }
    }
    hush_wanted_panics();
    std::thread::spawn(end_hung_trials);
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn behaviour_trial(behaviour: &'static Behaviour, carrier: Carrier) -> Trial {
    Trial::ignorable_test(behaviour.name, move || {
        let _running = Running::begin(behaviour.name);
        let (verdict, told) = match show(behaviour, carrier, &[], false) {
            Shown::Holds => (Verdict::Passed, Ok(Completion::Completed)),
            Shown::Lacks(need) => (
                Verdict::Skipped(need.to_string()),
                Ok(Completion::ignored_with(need)),
            ),
            Shown::Fails(why) => (Verdict::Failed, Err(Failed::from(why))),
        };
        report("behaviour", behaviour.name, carrier, &verdict);
        told
    })
}

fn mutation_trial(behaviour: &'static Behaviour) -> Trial {
    let name = format!("mutation::{}", behaviour.name);
    Trial::ignorable_test(name, move || {
        let carrier = Carrier::chosen();
        let _running = Running::begin(behaviour.name);
        PANICS_ARE_WANTED.set(true);
        let says = behaviour.mutation.says;
        let again = |is_hasty| show(behaviour, carrier, behaviour.mutation.faults, is_hasty);
        let shown = match again(true) {
            // On a busy machine something else may take so long: once more, with all the time there is.
            Shown::Fails(why) if !why.contains(says) => again(false),
            shown => shown,
        };
        PANICS_ARE_WANTED.set(false);
        let (verdict, told) = match shown {
            Shown::Fails(why) if why.contains(says) => (Verdict::Red, Ok(Completion::Completed)),
            Shown::Lacks(need) => (
                Verdict::Skipped(need.to_string()),
                Ok(Completion::ignored_with(need)),
            ),
            Shown::Fails(why) => (
                Verdict::Survived,
                Err(format!("expected a failure that says {says:?}, got {why:?}").into()),
            ),
            Shown::Holds => (
                Verdict::Survived,
                Err("the behaviour holds with a card that breaks it".into()),
            ),
        };
        report("mutation", behaviour.name, carrier, &verdict);
        told
    })
}

enum Shown {
    Holds,
    Fails(String),
    Lacks(Need),
}

fn show(behaviour: &Behaviour, carrier: Carrier, faults: &[Fault], is_hasty: bool) -> Shown {
    let outcome = shown(|| {
        let mut bench = Bench::start(carrier, behaviour.needs, faults)?;
        if is_hasty {
            bench.hasten();
        }
        (behaviour.show)(&bench);
        Ok(())
    });
    match outcome {
        Ok(Ok(())) => Shown::Holds,
        Ok(Err(need)) => Shown::Lacks(need),
        Err(why) => Shown::Fails(why),
    }
}

/// What `show` comes to, or the words of its panic.
pub(crate) fn shown<T>(show: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(show)).map_err(|payload| {
        let text = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or(payload.downcast_ref::<&str>().copied());
        text.unwrap_or("a panic without words").to_owned()
    })
}

/// Says a result on standard output, and in the file that the environment names.
fn report(kind: &str, name: &str, carrier: Carrier, verdict: &Verdict) {
    say(kind, name, carrier, &verdict.to_string());
}

/// The same of a result in words.
pub(crate) fn say(kind: &str, name: &str, carrier: Carrier, result: &str) {
    let line = format!("{kind}: {name}: {}: {result}\n", carrier.name());
    // In one piece, and on a line of its own: the runner may stand in the middle of one.
    let _ = std::io::stdout().write_all(format!("\n{line}").as_bytes());
    if let Some(path) = std::env::var_os("FAAM_TEST_RESULTS") {
        // One write: processes of several trials append to the same file.
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.unwrap().write_all(line.as_bytes()).unwrap();
    }
}

fn hush_wanted_panics() {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !PANICS_ARE_WANTED.get() {
            say(panic);
        }
    }));
}

/// Trials that run, and since when.
static RUNNING: Mutex<Vec<(String, Instant)>> = Mutex::new(Vec::new());

/// Notes that a trial runs, until dropped.
pub(crate) struct Running(String);

impl Running {
    pub(crate) fn begin(name: &str) -> Self {
        let entry = (name.to_owned(), Instant::now());
        RUNNING.lock().unwrap().push(entry);
        Self(name.to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.lock().unwrap().retain(|(name, _)| *name != self.0);
    }
}

/// libtest-mimic has no time limit of its own.
fn end_hung_trials() {
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let limit = Duration::from_secs(TRIAL_SECONDS_MAX);
        let running = RUNNING.lock().unwrap();
        if let Some((name, _)) = running.iter().find(|(_, since)| since.elapsed() > limit) {
            report("behaviour", name, Carrier::chosen(), &Verdict::Failed);
            println!("{name} has not ended within {TRIAL_SECONDS_MAX} s");
            std::process::exit(101);
        }
    }
}
