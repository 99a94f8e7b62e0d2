//! Each fault that a card can have, in a gateway under load: nothing lost, nothing wrong, and the card comes back.
//!
//! Owns the list of what a gateway makes of each. Callers of every policy compress and decompress before, during and
//! after; a probe asks all the while whether the gateway is ready. Each fault is set in the card itself, by its fault
//! socket, and must be named by the metrics and the events. The result lines go where `FAAM_TEST_RESULTS` says, as
//! `fault: NAME: gateway: OUTCOME; TIMES`, for driver/FAULTS.md, whose rows have the same names.

#![expect(
    clippy::panic,
    reason = "what these tests share fails by panicking, as they do"
)]

#[path = "card_faults/fault_port.rs"]
mod fault_port;
mod gateway_process;
#[path = "card_faults/image.rs"]
mod image;
#[path = "card_faults/load.rs"]
mod load;
mod process_log;
mod served;

use std::fs::OpenOptions;
use std::io::Write;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use gateway_process::GatewayProcess;
use load::{CALLERS, Load};

use crate::fault_port::FaultPort;

/// Requests that are served before a fault, during one that nobody notices, and after each.
const REQUESTS_AROUND: usize = 2 * CALLERS;
/// How long a fault may take to be noticed, or to strike.
const NOTICED_LIMIT: Duration = Duration::from_secs(20);
/// How long the card may take to serve again.
const BACK_LIMIT: Duration = Duration::from_secs(30);

/// As what a result is noticed that verification finds wrong.
const WRONG: &[&str] = &["verify"];

/// A fault, and what the gateway must make of it.
struct Row {
    /// As in the page of faults.
    name: &'static str,
    strike: Strike,
    comes: Comes,
}

/// How it comes about.
#[derive(Clone, Copy)]
enum Strike {
    /// By rules of the card's fault plan.
    Rules(&'static [&'static str]),
    /// By a rule that strikes the next load of a slot, which an operator begins.
    Load(&'static str),
    /// By a rule, once the function is brought up anew for an operator.
    Renewed(&'static str),
    /// The card's process is killed.
    Killed,
    /// An operator has the function reset.
    HostResets,
}

enum Comes {
    /// The card serves on.
    Served,
    /// A slot is left empty, and its load is told to have had this fault; the function serves on, and the slot takes the next
    /// load.
    Slot(&'static str),
    /// A queue pair of the function is taken out as having one of these faults, for good; the function serves by another.
    Queue(&'static [&'static str]),
    /// The function is taken out as having one of these faults, reset, and put back.
    Function(&'static [&'static str]),
    /// The same, and then the card's process is replaced.
    Card(&'static [&'static str]),
    /// The card as a whole is taken out, and its process replaced.
    Process(&'static [&'static str]),
}

impl Comes {
    /// For the page.
    const fn words(&self) -> &'static str {
        match self {
            Self::Served => "nothing",
            Self::Slot(_) => "the slot",
            Self::Queue(_) => "a queue pair",
            Self::Function(_) => "the function",
            Self::Card(_) => "the function, then the card",
            Self::Process(_) => "the card",
        }
    }
}

const LOST_AND_DOUBLED: &[Row] = &[
    Row {
        name: "engine-hangs",
        strike: Strike::Rules(&["engine-hangs,function=0,after=2,times=1"]),
        comes: Comes::Function(&["hang"]),
    },
    Row {
        name: "withholds-completions",
        strike: Strike::Rules(&["withholds-completions,function=0,after=2,times=1"]),
        comes: Comes::Function(&["hang"]),
    },
    Row {
        name: "completes-twice",
        strike: Strike::Rules(&["completes-twice,function=0,after=2,times=1"]),
        comes: Comes::Queue(&["stale-command", "unknown-command", "bad-submission-head"]),
    },
    Row {
        name: "late-completion,ms=20",
        strike: Strike::Rules(&["late-completion,function=0,after=2,times=3,ms=20"]),
        comes: Comes::Served,
    },
    Row {
        name: "late-completion,ms=4000",
        strike: Strike::Rules(&["late-completion,function=0,after=2,times=1,ms=4000"]),
        comes: Comes::Function(&["hang"]),
    },
    Row {
        name: "out-of-order",
        strike: Strike::Rules(&["out-of-order,function=0"]),
        comes: Comes::Served,
    },
];

const NAMED_WRONG: &[Row] = &[
    Row {
        name: "stale-generation",
        strike: Strike::Rules(&["stale-generation,function=0,after=2,times=1"]),
        comes: Comes::Queue(&["stale-command"]),
    },
    Row {
        name: "unknown-command",
        strike: Strike::Rules(&["unknown-command,function=0,after=2,times=1"]),
        comes: Comes::Queue(&["unknown-command"]),
    },
    Row {
        name: "wrong-command-id",
        strike: Strike::Rules(&["wrong-command-id,function=0,after=2,times=1"]),
        comes: Comes::Queue(&["stale-command", "unknown-command"]),
    },
    Row {
        name: "length-beyond-room",
        strike: Strike::Rules(&["length-beyond-room,function=0,after=2,times=1"]),
        comes: Comes::Queue(&["length-beyond-limit"]),
    },
    Row {
        name: "torn-completion",
        strike: Strike::Rules(&["torn-completion,function=0,after=2,times=1"]),
        comes: Comes::Queue(&["bad-check"]),
    },
    Row {
        name: "random-completion",
        strike: Strike::Rules(&["random-completion,function=0,after=2,times=1"]),
        comes: Comes::Queue(&["bad-check"]),
    },
    Row {
        name: "lies-about-head",
        strike: Strike::Rules(&["lies-about-head,function=0,after=2,times=1"]),
        comes: Comes::Queue(&["bad-submission-head"]),
    },
];

const WRONG_DATA: &[Row] = &[
    Row {
        name: "short-length",
        strike: Strike::Rules(&["short-length,function=0,times=1"]),
        comes: Comes::Function(WRONG),
    },
    Row {
        name: "wrong-checksum",
        strike: Strike::Rules(&["wrong-checksum,function=0,times=1"]),
        comes: Comes::Function(WRONG),
    },
    Row {
        name: "flips-a-bit",
        strike: Strike::Rules(&["flips-a-bit,function=0,times=1"]),
        comes: Comes::Function(WRONG),
    },
    Row {
        name: "dma-faults",
        strike: Strike::Rules(&["dma-faults,function=0,after=2,times=1"]),
        comes: Comes::Function(&["command-failed"]),
    },
    Row {
        name: "misses-table",
        strike: Strike::Rules(&["misses-table,function=0"]),
        comes: Comes::Served,
    },
    Row {
        name: "slow-engine,factor=4",
        strike: Strike::Rules(&["slow-engine,function=0,factor=4"]),
        comes: Comes::Served,
    },
    Row {
        name: "slow-engine,factor=100",
        strike: Strike::Rules(&["slow-engine,function=0,factor=100"]),
        comes: Comes::Served,
    },
];

const SIGNALS: &[Row] = &[
    Row {
        name: "loses-doorbells",
        strike: Strike::Rules(&["loses-doorbells,function=0"]),
        comes: Comes::Card(&["hang"]),
    },
    Row {
        name: "loses-interrupts",
        strike: Strike::Rules(&["loses-interrupts,function=0"]),
        comes: Comes::Served,
    },
    Row {
        name: "interrupts-unasked",
        strike: Strike::Rules(&["interrupts-unasked,function=0"]),
        comes: Comes::Served,
    },
    Row {
        name: "interrupt-storm",
        strike: Strike::Rules(&["interrupt-storm,function=0"]),
        comes: Comes::Served,
    },
    Row {
        name: "stops,ms=300",
        strike: Strike::Rules(&["stops,ms=300"]),
        comes: Comes::Served,
    },
    Row {
        name: "lies-about-depth",
        strike: Strike::Renewed("lies-about-depth,function=0"),
        comes: Comes::Process(&["lost"]),
    },
];

const ENDS: &[Row] = &[
    Row {
        name: "gone",
        strike: Strike::Rules(&["gone,function=0"]),
        comes: Comes::Card(&["gone", "transport"]),
    },
    Row {
        name: "engine-hangs+reset-sticks",
        strike: Strike::Rules(&[
            "engine-hangs,function=0,after=2,times=1",
            "reset-sticks,function=0",
        ]),
        comes: Comes::Card(&["hang"]),
    },
    Row {
        name: "engine-hangs+never-idle",
        strike: Strike::Rules(&[
            "engine-hangs,function=0,after=2,times=1",
            "never-idle,function=0",
        ]),
        comes: Comes::Card(&["hang"]),
    },
    Row {
        name: "surprise-removal",
        strike: Strike::Rules(&["surprise-removal,function=0,ms=1000"]),
        comes: Comes::Card(&["transport", "gone"]),
    },
    Row {
        name: "stops,ms=5000",
        strike: Strike::Rules(&["stops,ms=5000"]),
        comes: Comes::Card(&["hang", "transport"]),
    },
    Row {
        name: "killed",
        strike: Strike::Killed,
        comes: Comes::Process(&["lost"]),
    },
    Row {
        name: "host-resets",
        strike: Strike::HostResets,
        comes: Comes::Served,
    },
    Row {
        name: "resets-itself",
        strike: Strike::Rules(&["resets-itself,function=0,after=2,times=1"]),
        comes: Comes::Function(&["hang", "heartbeat"]),
    },
];

const LOADS: &[Row] = &[
    Row {
        name: "load-fails",
        strike: Strike::Load("load-fails,function=0,times=1"),
        comes: Comes::Slot("failed"),
    },
    Row {
        name: "load-hangs",
        strike: Strike::Load("load-hangs,function=0,times=1"),
        comes: Comes::Slot("hang"),
    },
    Row {
        name: "load-garbage",
        strike: Strike::Load("load-garbage,function=0,times=1"),
        comes: Comes::Slot("self-test"),
    },
];

#[test]
fn completions_that_are_lost_late_or_doubled_cost_no_request() {
    hold(LOST_AND_DOUBLED);
}

#[test]
fn completions_that_say_what_is_not_so_cost_no_request() {
    hold(NAMED_WRONG);
}

#[test]
fn results_that_are_wrong_or_slow_cost_no_request() {
    hold(WRONG_DATA);
}

#[test]
fn signals_that_are_lost_or_too_many_cost_no_request() {
    hold(SIGNALS);
}

#[test]
fn functions_that_are_gone_stuck_or_pulled_out_cost_no_request() {
    hold(ENDS);
}

#[test]
fn loads_that_go_wrong_cost_no_request() {
    let config = image::config();
    let path = config.path().to_str().expect("UTF-8");
    let gateway = GatewayProcess::start(&["--devices", "sim", "--allow-faults", "--config", path]);
    image::add(&gateway);
    hold_in(&gateway, LOADS);
}

/// Has a gateway bear these faults, one after the other.
#[track_caller]
fn hold(rows: &[Row]) {
    let gateway = GatewayProcess::start(&["--devices", "sim", "--allow-faults"]);
    hold_in(&gateway, rows);
}

#[track_caller]
fn hold_in(gateway: &GatewayProcess, rows: &[Row]) {
    let (before_kib, _) = gateway.memory_kib_max();
    Load::under(gateway, |load| {
        load.wait_served(REQUESTS_AROUND);
        for row in rows {
            let words = bear(gateway, load, row);
            load.check();
            say(
                row.name,
                &format!("{}; {words}; lost 0; wrong 0", row.comes.words()),
            );
        }
    });
    let (after_kib, _) = gateway.memory_kib_max();
    println!("peak memory of the gateway: {before_kib} KiB before, {after_kib} KiB after");
    let no_arena_left = "an own card's arena was abandoned";
    assert!(!gateway.log.text().contains("fence (e)"), "{no_arena_left}");
    let wrong = |row: &Row| matches!(row.comes, Comes::Function(kinds) if kinds == WRONG);
    match rows.iter().any(wrong) {
        true => gateway.check_given_back(),
        false => gateway.check_at_rest(),
    }
}

/// One fault, from its strike to a card that serves as before; the times.
#[track_caller]
fn bear(gateway: &GatewayProcess, load: &Load, row: &Row) -> String {
    let name = row.name;
    if let (Strike::Load(rule), Comes::Slot(kind)) = (row.strike, &row.comes) {
        return bear_load(gateway, load, rule, kind);
    }
    let before = Told::of(gateway);
    let struck_at = Instant::now();
    load.begin();
    strike(gateway, row.strike);
    let (kinds, replaced) = match row.comes {
        Comes::Served | Comes::Slot(_) => (&[][..], false),
        Comes::Queue(kinds) | Comes::Function(kinds) => (kinds, false),
        Comes::Card(kinds) | Comes::Process(kinds) => (kinds, true),
    };
    let words = match kinds {
        [] => {
            until_struck(gateway, load, row);
            let now = Told::of(gateway);
            assert_eq!(now.faults(), before.faults(), "{name}: a fault was noticed");
            format!("slowest {} ms", load.slowest().as_millis())
        }
        kinds => {
            let what = format!("{name} is noticed as {}", kinds.join(" or "));
            let mut again = Again::after(row, load);
            let (kind, noticed) = gateway.wait_until(&what, NOTICED_LIMIT, |gateway| {
                let now = Told::of(gateway);
                let is_told = |kind: &&&str| now.count(kind) > before.count(kind);
                let found = kinds.iter().find(is_told);
                if found.is_none() {
                    again.strike_if_spent(gateway, load);
                }
                found.map(|kind| (*kind, struck_at.elapsed()))
            });
            check_event(gateway, row, kind);
            until_back(gateway, row, &before);
            let back = struck_at.elapsed().saturating_sub(noticed);
            let (noticed, back) = (noticed.as_millis(), back.as_millis());
            format!("noticed {noticed} ms; back {back} ms")
        }
    };
    let now = Told::of(gateway);
    let is_another = now.restarts > before.restarts;
    assert_eq!(is_another, replaced, "{name}: the process is another");
    if !replaced {
        let other = (before.other_faults, now.other_faults);
        assert_eq!(other.0, other.1, "{name}: the other function was disturbed");
    }
    if !replaced && matches!(row.strike, Strike::Rules(_)) {
        FaultPort::of(gateway).ask("clear");
    }
    load.wait_served(load.served() + REQUESTS_AROUND);
    // What was held against it is forgiven: the next fault is to be met as the first.
    let ended = reset_function(gateway);
    assert!(ended.status.success(), "device reset: {ended:?}");
    words
}

/// One fault of a load, from its strike to a slot that took the next one; the times.
#[track_caller]
fn bear_load(gateway: &GatewayProcess, load: &Load, rule: &str, kind: &str) -> String {
    let before = Told::of(gateway);
    let struck = FaultPort::of(gateway).struck(rule);
    FaultPort::of(gateway).ask(&format!("fault {rule}"));
    let began = Instant::now();
    let ended = image::load(gateway);
    let noticed = began.elapsed();
    assert!(!ended.status.success(), "{rule}: image load: {ended:?}");
    assert_eq!(FaultPort::of(gateway).struck(rule), struck + 1, "{rule}");
    let what = format!("{rule}: an event slot.failed, and {kind} as its kind");
    gateway.wait_until(&what, NOTICED_LIMIT, |gateway| {
        let log = gateway.log.text();
        let named = |line: &str| line.contains("load failed") && line.contains(kind);
        (log.contains("slot.failed") && log.lines().any(named)).then_some(())
    });
    let at = Instant::now();
    let again = image::load(gateway);
    assert!(again.status.success(), "{rule}: the next load: {again:?}");
    load.wait_each();
    load.wait_served(load.served() + REQUESTS_AROUND);
    let back = at.elapsed();
    let now = Told::of(gateway);
    assert_eq!(
        now.faults(),
        before.faults(),
        "{rule}: the function's fault"
    );
    assert_eq!(now.readmissions, before.readmissions, "{rule}");
    assert_eq!(now.restarts, before.restarts, "{rule}");
    format!(
        "noticed {} ms; back {} ms",
        noticed.as_millis(),
        back.as_millis()
    )
}

/// Strikes again where a strike was spent on a job that has nothing which such a fault makes wrong.
struct Again<'a> {
    row: &'a Row,
    /// Requests served after which it is looked at.
    look_at: usize,
    /// The strike was spent when it was last looked at.
    is_spent: bool,
}

impl<'a> Again<'a> {
    fn after(row: &'a Row, load: &Load) -> Self {
        Self {
            row,
            look_at: load.served() + REQUESTS_AROUND,
            is_spent: false,
        }
    }

    /// Twice seen to be spent with many requests between: a fault that harms would have been noticed.
    fn strike_if_spent(&mut self, gateway: &GatewayProcess, load: &Load) {
        let harms_all = match self.row.comes {
            Comes::Queue(_) => false,
            Comes::Function(kinds) => kinds != WRONG,
            Comes::Served | Comes::Slot(_) | Comes::Card(_) | Comes::Process(_) => true,
        };
        if harms_all || load.served() < self.look_at {
            return;
        }
        self.look_at = load.served() + REQUESTS_AROUND;
        let was_spent = self.is_spent;
        self.is_spent = FaultPort::of(gateway).ask("rules").is_empty();
        if was_spent && self.is_spent {
            self.is_spent = false;
            strike(gateway, self.row.strike);
        }
    }
}

fn strike(gateway: &GatewayProcess, strike: Strike) {
    match strike {
        Strike::Rules(rules) => {
            let port = FaultPort::of(gateway);
            for rule in rules {
                port.ask(&format!("fault {rule}"));
            }
        }
        // A load's strike goes with its load.
        Strike::Load(_) => {}
        Strike::Killed => FaultPort::of(gateway).tell("kill"),
        Strike::HostResets => {
            let ended = reset_function(gateway);
            assert!(ended.status.success(), "device reset: {ended:?}");
        }
        Strike::Renewed(rule) => {
            FaultPort::of(gateway).ask(&format!("fault {rule}"));
            let ended = reset_function(gateway);
            assert!(!ended.status.success(), "device reset: {ended:?}");
        }
    }
}

/// As an operator does it.
fn reset_function(gateway: &GatewayProcess) -> Output {
    let mut reset = Command::new(env!("CARGO_BIN_EXE_faam"));
    reset.args(["device", "reset", "fpga0.0"]);
    reset.env("FAAM_DATA_DIR", gateway.served.data.path());
    reset.output().expect("faam runs")
}

/// Waits until the fault has struck, for the requests that it struck, and for more after that.
#[track_caller]
fn until_struck(gateway: &GatewayProcess, load: &Load, row: &Row) {
    let until = Instant::now() + NOTICED_LIMIT;
    if !matches!(row.strike, Strike::HostResets) {
        while FaultPort::of(gateway).struck(row.name) == 0 {
            let name = row.name;
            assert!(Instant::now() < until, "{name} has not struck");
            load.wait_served(load.served() + 1);
        }
    }
    load.wait_each();
    load.wait_served(load.served() + REQUESTS_AROUND);
}

/// The event of what was noticed names it: it is told after it is counted.
#[track_caller]
fn check_event(gateway: &GatewayProcess, row: &Row, fault: &str) {
    let kind = match row.comes {
        Comes::Process(_) => "card.lost",
        Comes::Queue(_) => "card.queue-quarantined",
        _ => "card.quarantined",
    };
    let named = |line: &str| line.contains(kind) && (kind == "card.lost" || line.contains(fault));
    let what = format!("{}: an event {kind} names {fault}", row.name);
    gateway.wait_until(&what, NOTICED_LIMIT, |gateway| {
        gateway.log.text().lines().any(named).then_some(())
    });
}

#[track_caller]
fn until_back(gateway: &GatewayProcess, row: &Row, before: &Told) {
    let what = format!("{}: every function serves again", row.name);
    let replaced = matches!(row.comes, Comes::Card(_) | Comes::Process(_));
    gateway.wait_until(&what, BACK_LIMIT, |gateway| {
        let now = Told::of(gateway);
        let is_another_life = match replaced {
            true => now.restarts > before.restarts,
            false => now.readmissions > before.readmissions,
        };
        (is_another_life && gateway.all_in_service()).then_some(())
    });
}

/// What the metrics tell of faults.
struct Told {
    /// Kind and count.
    kinds: Vec<(String, f64)>,
    readmissions: f64,
    restarts: Option<u64>,
    /// Of the function that no rule is for.
    other_faults: Option<u64>,
}

impl Told {
    fn of(gateway: &GatewayProcess) -> Self {
        let url = format!("http://{}/metrics", gateway.served.admin);
        let text = gateway.client().get(&url).body;
        let text = String::from_utf8(text).expect("OpenMetrics is UTF-8");
        let kinds = text.lines().filter_map(|line| {
            let labels = line.strip_prefix("faam_device_faults_total{")?;
            let (labels, count) = labels.rsplit_once("} ")?;
            let (_, kind) = labels.split_once("kind=\"")?;
            let kind = kind.split('"').next()?;
            Some((kind.to_owned(), count.parse().ok()?))
        });
        let card = gateway.card();
        Self {
            kinds: kinds.collect(),
            readmissions: gateway.metric("faam_device_readmissions_total"),
            restarts: card["restarts"].as_u64(),
            other_faults: card["functions"][1]["faults"].as_u64(),
        }
    }

    fn count(&self, kind: &str) -> f64 {
        let same = self.kinds.iter().filter(|(of, _)| of == kind);
        same.map(|(_, count)| count).sum()
    }

    fn faults(&self) -> f64 {
        self.kinds.iter().map(|(_, count)| count).sum()
    }
}

/// Says a result on standard output, and in the file that the environment names.
fn say(name: &str, result: &str) {
    let line = format!("fault: {name}: gateway: {result}\n");
    print!("{line}");
    if let Some(path) = std::env::var_os("FAAM_TEST_RESULTS") {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let wrote = file.and_then(|mut file| file.write_all(line.as_bytes()));
        wrote.expect("the file of results can be written");
    }
}
