//! A soak: a gateway with simulated cards that fail in every way, callers of every kind, kills and restarts, and a history in
//! which nothing may be lost, wrong or left behind.
//!
//! `make soak` runs it, for SOAK_SECONDS (30) with SOAK_SEED (drawn); `make hostile` the same callers beside cards that lie. The chaos, and
//! the chances that the cards' faults have, are functions of the seed and of counts of requests and jobs; how they fall together
//! is the machine's.
//!
//! | module | is |
//! |---|---|
//! | `life` | the gateway, killed and started again on its data directory |
//! | `load` | the callers' gate and tally |
//! | `caller`, `wire`, `samples` | requests, how they are sent, what of |
//! | `chaos`, `card_faults` | what goes wrong |
//! | `hostile`, `hostile_run` | a card that lies, and a gateway that has to live with it |
//! | `quiet` | what must be back when nothing is under way |
//! | `accounts` | usage against the callers' own counts |
//! | `report` | what it came to |

#![expect(
    clippy::panic,
    reason = "what these tests share fails by panicking, as they do"
)]

mod accounts;
mod caller;
mod card_faults;
mod chaos;
#[path = "../decoders/mod.rs"]
mod decoders;
mod dice;
mod hostile;
mod hostile_run;
mod life;
mod load;
#[path = "../process_log/mod.rs"]
mod process_log;
mod quiet;
mod report;
mod samples;
#[path = "../served/mod.rs"]
mod served;
mod wire;

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use accounts::{Accounts, TENANTS};
use caller::Scene;
use chaos::Chaos;
use life::{EndKind, Life, Lives};
use load::{Load, Phase};
use quiet::{Leaks, Rest, SOUND, wait_for_cards};
use report::{Recoveries, Report};
use samples::Samples;

/// Callers at once, by tenant.
const CALLERS_OF: [usize; 4] = [14, 8, 4, 6];
/// Simulated cards.
const CARDS: u64 = 2;
/// How long it takes unless said otherwise.
const SECONDS_DEFAULT: u64 = 30;
/// And beside a card that lies.
const HOSTILE_SECONDS_DEFAULT: u64 = 10;
/// A run that is at least so long has longer cycles.
const LONG_SECONDS: u64 = 300;
/// How long requests may take to end once no more begin: longer than any of them may last.
const CLOSE_LIMIT: Duration = Duration::from_secs(120);
/// How long a calm phase's requests may take.
const CALM_LIMIT: Duration = Duration::from_secs(180);
/// Lines of a gateway's log that are shown with a failure.
const LOG_LINES_SHOWN: usize = 120;

/// One at a time: each measures what is its own.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn nothing_is_lost_wrong_or_left_behind() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let seconds = number("SOAK_SECONDS").unwrap_or(SECONDS_DEFAULT);
    let seed = number("SOAK_SEED").unwrap_or_else(drawn_seed);
    println!("soak of {seconds} s; again with: make soak SOAK_SECONDS={seconds} SOAK_SEED={seed}");
    let Soaked { report, story } = soak(seconds, seed);
    if let Some(report) = report {
        report.print();
        match report.write() {
            Ok(path) => println!("written to {}", path.display()),
            Err(error) => panic!("the report could not be written: {error}"),
        }
    }
    if let Some(story) = story {
        panic!("SOAK_SEED={seed}\n{story}");
    }
}

#[test]
fn a_card_that_lies_harms_nothing() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let seconds = number("HOSTILE_SECONDS").unwrap_or(HOSTILE_SECONDS_DEFAULT);
    let seed = number("HOSTILE_SEED").unwrap_or_else(drawn_seed);
    println!(
        "{seconds} s beside a card that lies; again with HOSTILE_SECONDS={seconds} HOSTILE_SEED={seed}"
    );
    if let Err(story) = hostile_run::run(seconds, seed) {
        panic!("HOSTILE_SEED={seed}\n{story}");
    }
}

/// A variable's number, if it is set.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => panic!("{name} is {text:?}, expected a number"),
    }
}

fn drawn_seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(1, |since| u64::from(since.subsec_nanos()) ^ since.as_secs())
}

/// What a soak came to.
struct Soaked {
    /// Also of one that failed, once it had begun.
    report: Option<Report>,
    /// What went wrong, with what led to it.
    story: Option<String>,
}

/// A plan of faults with a seed and no fault yet: each process of a card draws from it, the later ones too.
fn seeded_plan(seed: u64) -> tempfile::NamedTempFile {
    let mut plan = tempfile::NamedTempFile::with_prefix("faam-soak-").expect("a temporary file");
    // Numbers of TOML have a sign, which takes a bit.
    writeln!(plan, "seed = {}", seed & (u64::MAX >> 1)).expect("written");
    plan
}

/// Everything.
fn soak(seconds: u64, seed: u64) -> Soaked {
    let cards = format!("sim:{CARDS}");
    let plan = seeded_plan(seed);
    let plan_path = plan.path().to_string_lossy();
    let flags = [
        "--devices",
        &cards,
        "--allow-faults",
        "--sim-faults",
        &plan_path,
    ];
    let lives = Lives::begin(&flags, &[]);
    let load = Load::new();
    let mut report = None;
    let outcome = keys(&lives).and_then(|keys| {
        let samples = Samples::make(seed);
        let accounts = Accounts::default();
        let scene = Scene {
            load: &load,
            lives: &lives,
            samples: &samples,
            accounts: &accounts,
            keys: &keys,
            cards_are_own: true,
        };
        std::thread::scope(|scope| {
            let scene = &scene;
            for (number, tenant) in callers().enumerate() {
                scope.spawn(move || caller::call(scene, number, tenant, seed));
            }
            let conducted = Conductor::new(scene, seconds, seed).and_then(|mut conductor| {
                let ran = conductor.run();
                if let Err(why) = &ran {
                    load.fail_unless_known(why);
                }
                report = Some(conductor.report());
                ran
            });
            load.finish();
            conducted
        })
    });
    Soaked {
        report,
        story: outcome.err().map(|why| story(&lives, &load, &why)),
    }
}

/// The tenant of each caller.
fn callers() -> impl Iterator<Item = usize> {
    let tenants = CALLERS_OF.iter().enumerate();
    tenants.flat_map(|(tenant, count)| std::iter::repeat_n(tenant, *count))
}

/// What went wrong, with what led to it.
fn story(lives: &Lives, load: &Load, why: &str) -> String {
    let (failures, notes) = load.story();
    let log = lives.now().log.text();
    let lines: Vec<_> = log.lines().collect();
    let last = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
    format!(
        "{why}\n--- failures ---\n{}\n--- what happened last ---\n{}\n--- the gateway's last lines ---\n{}",
        failures.join("\n"),
        notes.join("\n"),
        last.join("\n")
    )
}

/// What a life holds at its beginning, its cards being in service.
fn begin_rest(life: &Life) -> Result<Rest, String> {
    wait_for_cards(life)?;
    Rest::begin(life, SOUND)
}

/// Tenants and a key each.
fn keys(lives: &Lives) -> Result<Vec<String>, String> {
    let key = |(name, in_flight_max): &(&str, Option<u32>)| {
        let in_flight_max = in_flight_max.map(|max| max.to_string());
        let mut words = vec!["tenant", "add", name];
        if let Some(max) = &in_flight_max {
            words.extend(["--in-flight-max", max]);
        }
        if *name == TENANTS[0].0 {
            return Ok(lives.demo_key.clone());
        }
        lives.faam_json(&words)?;
        let made = lives.faam_json(&["key", "add", "--tenant", name, "--kind", "api"])?;
        let key = made["key"].as_str().ok_or("a key without a key")?;
        Ok(key.to_owned())
    };
    TENANTS.iter().map(key).collect()
}

/// Who opens and closes the gate, has things go wrong, and looks at what is left.
struct Conductor<'a> {
    scene: &'a Scene<'a>,
    chaos: Chaos<'a>,
    seed: u64,
    began: Instant,
    seconds: Duration,
    /// Requests of a calm phase, steps of a chaos.
    calm_requests: u64,
    steps: u64,
    rest: Rest,
    leaks: Leaks,
    recoveries: Recoveries,
    killed: u64,
    stopped: u64,
}

impl<'a> Conductor<'a> {
    fn new(scene: &'a Scene<'a>, seconds: u64, seed: u64) -> Result<Self, String> {
        let long = seconds >= LONG_SECONDS;
        Ok(Self {
            scene,
            chaos: Chaos::new(scene.load, scene.lives, CARDS, seed),
            seed,
            began: Instant::now(),
            seconds: Duration::from_secs(seconds),
            calm_requests: if long { 2_000 } else { 250 },
            steps: if long { 14 } else { 9 },
            rest: begin_rest(&scene.lives.now())?,
            leaks: Leaks::default(),
            recoveries: Recoveries::default(),
            killed: 0,
            stopped: 0,
        })
    }

    fn run(&mut self) -> Result<(), String> {
        // Each kind of end comes, however short the soak is.
        let mut ends = vec![EndKind::Stopped, EndKind::Killed];
        while !ends.is_empty() || self.began.elapsed() < self.seconds {
            let cycles = match ends.is_empty() {
                false => 1,
                true if self.seconds.as_secs() < LONG_SECONDS => self.chaos.draw(1, 2),
                // One life in four is long, for memory to be seen to be flat.
                true => match self.chaos.draw(0, 3) {
                    0 => self.chaos.draw(8, 16),
                    _ => self.chaos.draw(1, 4),
                },
            };
            for _ in 0..cycles {
                self.cycle()?;
                if ends.is_empty() && self.began.elapsed() >= self.seconds {
                    return self.finish();
                }
            }
            let end = match ends.pop() {
                Some(end) => end,
                None if self.chaos.draw(0, 2) == 0 => EndKind::Stopped,
                None => EndKind::Killed,
            };
            self.end_life(end)?;
        }
        self.finish()
    }

    /// Calm, chaos, and a quiet point.
    fn cycle(&mut self) -> Result<(), String> {
        let load = self.scene.load;
        load.open(Phase::Calm);
        if !load.wait_ended(self.calm_requests, CALM_LIMIT)? {
            let limit_s = CALM_LIMIT.as_secs();
            return Err(format!(
                "HANG: without any fault {} requests did not end within {limit_s} s",
                self.calm_requests
            ));
        }
        load.open(Phase::Chaos);
        for _ in 0..self.steps {
            self.chaos.step()?;
        }
        self.quiet()
    }

    fn quiet(&mut self) -> Result<(), String> {
        self.close()?;
        self.chaos.calm_down()?;
        let life = self.scene.lives.now();
        let cards = usize::try_from(CARDS).unwrap_or(usize::MAX);
        let quarantine = Rest::check_cards(self.scene.lives, &life, cards)?;
        self.leaks.add_quarantine(quarantine);
        self.rest.check(self.scene.lives, &life)?;
        self.scene.accounts.settle(self.scene.lives, &life, None)?;
        self.scene.load.note("quiet point".to_owned());
        Ok(())
    }

    fn close(&self) -> Result<(), String> {
        let callers = CALLERS_OF.iter().sum();
        self.scene.load.close(callers, CLOSE_LIMIT)
    }

    /// The gateway ends in the middle of load and chaos, and another one takes over.
    fn end_life(&mut self, kind: EndKind) -> Result<(), String> {
        let lives = self.scene.lives;
        self.scene.load.open(Phase::Chaos);
        for _ in 0..self.chaos.draw(1, 4) {
            self.chaos.step()?;
        }
        self.chaos.count_struck();
        let life = lives.now();
        self.scene.load.note(format!("the gateway ends: {kind:?}"));
        lives.end(kind)?;
        self.remember(&life);
        match kind {
            EndKind::Killed => self.killed += 1,
            EndKind::Stopped => self.stopped += 1,
        }
        let killed = match kind {
            EndKind::Killed => life.end().map(|end| end.at),
            EndKind::Stopped => None,
        };
        let next = lives.begin_next();
        self.scene.load.note("the next gateway listens".to_owned());
        self.close()?;
        self.chaos.calm_down()?;
        self.rest = begin_rest(&next)?;
        self.scene.accounts.settle(lives, &next, killed)
    }

    /// What is known of a life that has ended.
    fn remember(&mut self, life: &Arc<Life>) {
        self.leaks.add(&self.rest);
        self.recoveries.add(&life.log);
    }

    fn finish(&mut self) -> Result<(), String> {
        let life = self.scene.lives.now();
        self.scene.lives.end(EndKind::Stopped)?;
        self.remember(&life);
        self.stopped += 1;
        self.check_floor()
    }

    /// Something did go wrong, and cards did serve: else it shows nothing.
    fn check_floor(&self) -> Result<(), String> {
        let done = self.chaos.done();
        let tally = self.scene.load.tally();
        let by_cards = tally.by_backend.iter();
        let by_cards = by_cards.filter(|(backend, _)| backend.starts_with(caller::BY_CARD));
        let counts = [
            ("faults struck", done.faults_struck.values().sum::<u64>()),
            (
                "card processes were killed or stopped",
                done.cards_killed + done.cards_stopped,
            ),
            (
                "right answers came from a card",
                by_cards.map(|(_, count)| count).sum(),
            ),
        ];
        match counts.iter().find(|(_, count)| *count == 0) {
            Some((what, _)) => Err(format!(
                "this shows nothing: no {what}; {} commands to fault sockets were not answered",
                done.faults_unheard
            )),
            None => Ok(()),
        }
    }

    /// What it came to so far.
    fn report(self) -> Report {
        Report {
            seed: self.seed,
            took: self.began.elapsed(),
            callers: CALLERS_OF.iter().sum(),
            cards: CARDS,
            tally: self.scene.load.tally(),
            failed: self.scene.load.failed(),
            done: self.chaos.done(),
            leaks: self.leaks,
            checks: self.scene.accounts.checks(),
            usage: self.scene.accounts.total(),
            gateways_killed: self.killed,
            gateways_stopped: self.stopped,
            recoveries: self.recoveries,
        }
    }
}
