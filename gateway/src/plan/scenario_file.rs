//! A scenario as it stands in a file.
//!
//! Owns the keys and what they mean; defaults are `defaults`'. Invariant: what is read can be run, or is an error that
//! names the line. It does not know how it is run.

use std::path::Path;

use faam_sched::simulation::{
    Arrivals, Backend, CORES_MAX, Card, Cost, Cycles, ENGINES_MAX, Fault, FaultKind, Kernel,
    Machine, Scenario, Sizes, TENANTS_MAX, TenantClass, Trace, TraceEntry,
};
use faam_sched::{Nanos, Priority};

use super::defaults;
use super::fleet::{Balance, CardFaults, Fleet};
use super::goal::Goal;
use super::section::{ScenarioError, Section, Source};
use super::sweep::Sweep;
use crate::quantity;

/// Largest scenario file, and largest trace.
pub(super) const FILE_BYTES_MAX: u64 = 64 << 20;
/// Most requests of a trace.
const TRACE_MAX: usize = 1_000_000;

/// All that a file says.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) title: String,
    pub(super) scenario: Scenario,
    pub(super) fleet: Fleet,
    pub(super) sweep: Option<Sweep>,
    pub(super) goal: Goal,
}

impl Plan {
    /// Reads a file's text.
    ///
    /// # Errors
    /// [`ScenarioError`]
    pub(super) fn read(path: &Path, text: &str) -> Result<Self, ScenarioError> {
        let source = Source { path, text };
        let document = source.parse()?;
        let mut root = Section::of(source, document.get_ref());
        let title = root.text("title")?.unwrap_or_else(|| {
            let name = path.file_stem().unwrap_or(path.as_os_str());
            name.to_string_lossy().into_owned()
        });
        let mut machine = machine(root.section("machine")?)?;
        machine.cards = cards(root.section("cards")?)?;
        let kernels = kernels(root.sections("kernel")?)?;
        let (seed, duration, warm_up, window) = run(root.section("run")?)?;
        let mut classes = Vec::new();
        for section in root.sections("tenants")? {
            classes.push(class(section, &kernels, path)?);
        }
        if classes.is_empty() {
            return Err(root.wrong(
                "tenants",
                "expected at least one [[tenants]]: who sends what",
            ));
        }
        let names: Vec<_> = classes.iter().map(|class| class.name.clone()).collect();
        let mut faults = Vec::new();
        for section in root.sections("fault")? {
            faults.push(fault(section, machine.cards.len())?);
        }
        let fleet = fleet(root.section("fleet")?, root.section("card_faults")?)?;
        let goal = Goal::read(root.section("goal")?, &names)?;
        let sweep = match root.text("sweep")? {
            None => None,
            Some(text) => Some(
                text.parse()
                    .map_err(|what: String| root.wrong("sweep", &what))?,
            ),
        };
        let scenario = Scenario {
            seed,
            duration,
            warm_up,
            window,
            machine,
            kernels,
            classes,
            faults,
        };
        // What each key does not show alone: how they go together.
        scenario
            .check()
            .map_err(|unfit| root.wrong("tenants", &unfit.to_string()))?;
        root.end()?;
        Ok(Self {
            title,
            scenario,
            fleet,
            sweep,
            goal,
        })
    }
}

fn run(section: Option<Section<'_>>) -> Result<(u64, Nanos, Nanos, Nanos), ScenarioError> {
    let minute = Nanos(60_000_000_000);
    let second = Nanos(1_000_000_000);
    let Some(mut section) = section else {
        return Ok((1, minute, second, second));
    };
    let seed = section.whole("seed", 0, u64::MAX)?.unwrap_or(1);
    let duration = section.time("duration")?.unwrap_or(minute);
    let warm_up = section.time("warm_up")?;
    let warm_up = warm_up.unwrap_or(Nanos(second.0.min(duration.0 / 10)));
    let window = section.time("window")?.unwrap_or(second);
    if warm_up >= duration {
        return Err(section.wrong("warm_up", "expected less than the duration"));
    }
    section.end()?;
    Ok((seed, duration, warm_up, window))
}

fn machine(section: Option<Section<'_>>) -> Result<Machine, ScenarioError> {
    let mut machine = Machine {
        cores: defaults::CORES,
        http: defaults::HTTP,
        hand_off_busy: defaults::HAND_OFF_BUSY,
        hand_off_idle: defaults::HAND_OFF_IDLE,
        cards: Vec::new(),
        verify: true,
        queue_blocks_max: 2048,
        memory_bytes_max: 512 << 20,
        queue_wait: Nanos(60_000_000_000),
    };
    let Some(mut section) = section else {
        return Ok(machine);
    };
    if let Some(cores) = section.whole("cores", 1, CORES_MAX.into())? {
        machine.cores = u32::try_from(cores).unwrap_or(CORES_MAX);
    }
    machine.http = cost(&mut section, ["http_us", "http_ns_per_byte"], machine.http)?;
    if let Some(us) = section.real("hand_off_busy_us", 0.0, 1e6)? {
        machine.hand_off_busy = Nanos(thousands(us));
    }
    if let Some(us) = section.real("hand_off_idle_us", 0.0, 1e6)? {
        machine.hand_off_idle = Nanos(thousands(us));
    }
    if let Some(verify) = section.flag("verify")? {
        machine.verify = verify;
    }
    if let Some(blocks) = section.whole("queue_blocks_max", 1, 1 << 32)? {
        machine.queue_blocks_max = usize::try_from(blocks).unwrap_or(usize::MAX);
    }
    if let Some(bytes) = section.bytes("memory")? {
        machine.memory_bytes_max = bytes;
    }
    if let Some(wait) = section.time("queue_wait")? {
        machine.queue_wait = wait;
    }
    section.end()?;
    Ok(machine)
}

fn cards(section: Option<Section<'_>>) -> Result<Vec<Card>, ScenarioError> {
    let Some(mut section) = section else {
        return Ok(Vec::new());
    };
    let functions_max = faam_sched::TARGETS_MAX as u64 - 1;
    let mut card = defaults::CARD;
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let count = section.whole("count", 0, functions_max)?.unwrap_or(1);
    if let Some(functions) = section.whole("functions", 1, functions_max)? {
        card.functions = narrow(functions);
    }
    if count * u64::from(card.functions) > functions_max {
        let what = format!(
            "{count} cards of {} functions are more than the {functions_max} functions of one machine; use [fleet] machines for more",
            card.functions
        );
        return Err(section.wrong("count", &what));
    }
    if let Some(engines) = section.whole("engines", 1, ENGINES_MAX.into())? {
        card.engines = narrow(engines);
    }
    card.depth = section.whole("depth", 1, 4096)?.map(narrow);
    if let Some(mhz) = section.real("clock_mhz", 0.001, 10_000.0)? {
        card.clock_khz = thousands(mhz);
    }
    card.transfer = cost(
        &mut section,
        ["transfer_us", "transfer_ns_per_byte"],
        card.transfer,
    )?;
    if let Some(cycles) = section.whole("scrub_cycles", 0, 1 << 32)? {
        card.scrub_cycles = cycles;
    }
    section.end()?;
    Ok(vec![card; usize::try_from(count).unwrap_or(0)])
}

/// The kernels of the defaults, with what the file says of them, and the file's own.
fn kernels(sections: Vec<Section<'_>>) -> Result<Vec<Kernel>, ScenarioError> {
    let mut kernels = defaults::kernels().to_vec();
    for mut section in sections {
        let Some(name) = section.text("name")? else {
            return Err(section.wrong("name", "expected a name"));
        };
        let known = kernels.iter().position(|kernel| kernel.name == name);
        let mut kernel = known
            .and_then(|place| kernels.get(place))
            .cloned()
            .unwrap_or_else(|| Kernel {
                name,
                cpu: Cost::default(),
                verify: Cost::default(),
                jitter: 0.0,
                card: None,
            });
        if known.is_none() && !(section.has("cpu_us") || section.has("cpu_ns_per_byte")) {
            let known: Vec<_> = kernels.iter().map(|kernel| kernel.name.as_str()).collect();
            let what = format!(
                "expected what a kernel of its own costs (cpu_us, cpu_ns_per_byte), or the name of a known one: {}",
                known.join(", ")
            );
            return Err(section.wrong("name", &what));
        }
        kernel.cpu = cost(&mut section, ["cpu_us", "cpu_ns_per_byte"], kernel.cpu)?;
        let keys = ["verify_us", "verify_ns_per_byte"];
        kernel.verify = cost(&mut section, keys, kernel.verify)?;
        if let Some(jitter) = section.real("jitter", 0.0, 2.0)? {
            kernel.jitter = jitter;
        }
        let cycles = section.whole("card_cycles", 0, 1 << 40)?;
        let per_byte = section.real("card_cycles_per_byte", 0.0, 1e6)?;
        let counted = section.bytes("card_counted_bytes")?;
        if cycles.is_some() || per_byte.is_some() || counted.is_some() {
            let before = kernel.card.unwrap_or(Cycles {
                fixed: 0,
                milli_per_byte: 0,
                counted_bytes_max: 0,
            });
            kernel.card = Some(Cycles {
                fixed: cycles.unwrap_or(before.fixed),
                milli_per_byte: per_byte.map_or(before.milli_per_byte, thousands),
                counted_bytes_max: counted.unwrap_or(before.counted_bytes_max),
            });
        }
        section.end()?;
        match known.and_then(|place| kernels.get_mut(place)) {
            Some(there) => *there = kernel,
            None => kernels.push(kernel),
        }
    }
    Ok(kernels)
}

fn class(
    mut section: Section<'_>,
    kernels: &[Kernel],
    path: &Path,
) -> Result<TenantClass, ScenarioError> {
    let Some(name) = section.text("name")? else {
        return Err(section.wrong("name", "expected a name"));
    };
    let count = section.whole("count", 1, TENANTS_MAX.into())?.unwrap_or(1);
    let rate_max = 1_000_000_000_000;
    let kernel = match section.text("kernel")? {
        None => Some(1),
        Some(name) => kernels.iter().position(|kernel| kernel.name == name),
    };
    let Some(kernel) = kernel else {
        let known: Vec<_> = kernels.iter().map(|kernel| kernel.name.as_str()).collect();
        let what = format!("expected the name of a kernel: {}", known.join(", "));
        return Err(section.wrong("kernel", &what));
    };
    let backends = [
        ("auto", Backend::Auto),
        ("require-hw", Backend::RequireCard),
        ("prefer-hw", Backend::PreferCard),
        ("cpu", Backend::Cpu),
    ];
    let Some(arrivals) = section.section("arrivals")? else {
        let what = "expected when requests come: arrivals = { kind = \"poisson\", per_s = 5 }";
        return Err(section.wrong("arrivals", what));
    };
    let arrivals = self::arrivals(arrivals, path)?;
    let sizes = match (&arrivals, section.has("size")) {
        (Arrivals::Trace(_), false) => Sizes::Fixed(0),
        (Arrivals::Trace(_), true) => {
            return Err(section.wrong("size", "a trace has sizes of its own; leave it out"));
        }
        (_, false) => {
            let what = "expected how large bodies are: size = \"64KiB\"";
            return Err(section.wrong("size", what));
        }
        (_, true) if !section.is_table("size") => Sizes::Fixed(section.bytes("size")?.unwrap_or(0)),
        (_, true) => match section.section("size")? {
            Some(size) => sizes(size)?,
            None => Sizes::Fixed(0),
        },
    };
    let class = TenantClass {
        name,
        count: u32::try_from(count).unwrap_or(TENANTS_MAX),
        weight: narrow(section.whole("weight", 1, 1_000_000)?.unwrap_or(100)),
        cir_us_per_s: section.whole("cir_us_per_s", 0, rate_max)?.unwrap_or(0),
        pir_us_per_s: section.whole("pir_us_per_s", 1, rate_max)?,
        pir_burst_us: section
            .whole("pir_burst_us", 0, rate_max)?
            .unwrap_or(100_000),
        requests_per_s: section.whole("requests_per_s", 1, rate_max)?,
        bytes_per_s: section.bytes("bytes_per_s")?,
        bytes_per_day: section.bytes("bytes_per_day")?,
        in_flight_max: section
            .whole("in_flight_max", 1, 1 << 32)?
            .map_or(256, |max| usize::try_from(max).unwrap_or(usize::MAX)),
        queued_blocks_max: section
            .whole("queued_blocks_max", 1, 1 << 32)?
            .and_then(|max| usize::try_from(max).ok()),
        priority: section
            .whole("priority", 0, Priority::LAST.get().into())?
            .and_then(|number| Priority::new(u8::try_from(number).ok()?))
            .unwrap_or_default(),
        backend: section.word("backend", &backends)?.unwrap_or_default(),
        kernel,
        deadline: section.time("deadline")?,
        hang_up: section.time("hang_up")?,
        arrivals,
        sizes,
    };
    section.end()?;
    Ok(class)
}

fn arrivals(mut section: Section<'_>, path: &Path) -> Result<Arrivals, ScenarioError> {
    #[derive(Clone, Copy)]
    enum Kind {
        Poisson,
        Bursts,
        Diurnal,
        OnOff,
        Closed,
        Trace,
    }
    let kinds = [
        ("poisson", Kind::Poisson),
        ("bursts", Kind::Bursts),
        ("diurnal", Kind::Diurnal),
        ("on-off", Kind::OnOff),
        ("closed", Kind::Closed),
        ("trace", Kind::Trace),
    ];
    let Some(kind) = section.word("kind", &kinds)? else {
        let what = "expected poisson, bursts, diurnal, on-off, closed or trace";
        return Err(section.wrong("kind", what));
    };
    let per_s = |section: &mut Section<'_>| {
        let rate = section.real("per_s", 0.0, 1e6)?;
        rate.ok_or_else(|| section.wrong("per_s", "expected a number a second, of one tenant"))
    };
    let arrivals = match kind {
        Kind::Poisson => Arrivals::Poisson {
            per_s: per_s(&mut section)?,
        },
        Kind::Bursts => Arrivals::Bursts {
            per_s: per_s(&mut section)?,
            requests: narrow(section.whole("requests", 1, 1_000_000)?.unwrap_or(10)),
        },
        Kind::Diurnal => {
            let per_s = per_s(&mut section)?;
            let hours = match section.reals("hours", 0.0, 1e9)? {
                None => HOURS,
                Some(hours) => <[f64; 24]>::try_from(hours.as_slice()).map_err(|_| {
                    let what = format!("expected 24 numbers, got {}", hours.len());
                    section.wrong("hours", &what)
                })?,
            };
            if hours.iter().sum::<f64>() <= 0.0 {
                return Err(section.wrong("hours", "expected an hour that is not 0"));
            }
            Arrivals::Diurnal {
                per_s,
                hours: Box::new(hours),
            }
        }
        Kind::OnOff => {
            let on = section.time("on")?.filter(|on| on.0 > 0);
            Arrivals::OnOff {
                per_s: per_s(&mut section)?,
                from: section.time("from")?.unwrap_or_default(),
                on: on.ok_or_else(|| section.wrong("on", "expected how long it lasts: \"10s\""))?,
                off: section.time("off")?.unwrap_or_default(),
            }
        }
        Kind::Closed => Arrivals::Closed {
            callers: narrow(section.whole("callers", 1, 65_536)?.unwrap_or(1)),
            think: section.time("think")?.unwrap_or_default(),
        },
        Kind::Trace => {
            let Some(file) = section.text("file")? else {
                let what = "expected a file of lines `MILLISECONDS,BYTES`, in the order of time";
                return Err(section.wrong("file", what));
            };
            let file = path.parent().unwrap_or(Path::new("")).join(file);
            trace(&file)
                .map_err(|what| section.wrong("file", &format!("{}: {what}", file.display())))?
        }
    };
    section.end()?;
    Ok(arrivals)
}

/// A working day in one time zone: the parts of its 24 hours.
const HOURS: [f64; 24] = [
    2.0, 1.5, 1.2, 1.0, 1.0, 1.3, 2.5, 4.5, 7.0, 8.5, 9.0, 9.2, 8.8, 9.0, 9.4, 9.5, 9.0, 8.2, 7.0,
    6.2, 5.5, 4.8, 3.8, 2.8,
];

fn trace(file: &Path) -> Result<Arrivals, String> {
    let text = super::read_file(file).map_err(|error| format!("{error:#}"))?;
    let mut entries: Vec<TraceEntry> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fields = line.split_once(',').and_then(|(at, bytes)| {
            let ms: f64 = at.trim().parse().ok()?;
            let in_time = (0.0..1e12).contains(&ms);
            let bytes = quantity::parse_bytes(bytes.trim()).ok()?;
            in_time.then(|| TraceEntry {
                at: Nanos(thousands(ms * 1e3)),
                bytes,
            })
        });
        let number = number + 1;
        let Some(entry) = fields else {
            return Err(format!(
                "line {number}: expected MILLISECONDS,BYTES as in `12.5,65536`, got {line:?}"
            ));
        };
        if entries.last().is_some_and(|last| last.at > entry.at) {
            return Err(format!(
                "line {number}: expected a moment no earlier than the line's before"
            ));
        }
        if entries.len() == TRACE_MAX {
            return Err(format!("expected at most {TRACE_MAX} requests"));
        }
        entries.push(entry);
    }
    if entries.is_empty() {
        return Err("expected at least one line MILLISECONDS,BYTES".to_owned());
    }
    Ok(Arrivals::Trace(Trace::from(entries)))
}

fn sizes(mut section: Section<'_>) -> Result<Sizes, ScenarioError> {
    let fixed = section.bytes("fixed")?;
    let median = section.bytes("median")?;
    let listed = section.weighted_bytes("list")?;
    let sizes = match (fixed, median, listed) {
        (Some(bytes), None, None) => Sizes::Fixed(bytes),
        (None, Some(median), None) => Sizes::LogNormal {
            median,
            sigma: section.real("sigma", 0.0, 5.0)?.unwrap_or(1.0),
            max: section.bytes("max")?.unwrap_or(64 << 20),
        },
        (None, None, Some(listed)) => Sizes::Listed(listed),
        _ => {
            let what = "expected one of fixed = \"64KiB\", median = \"16KiB\" (with sigma and max), list = [[\"4KiB\", 9], [\"1MiB\", 1]]";
            return Err(section.wrong("fixed", what));
        }
    };
    section.end()?;
    Ok(sizes)
}

fn fault(mut section: Section<'_>, cards: usize) -> Result<Fault, ScenarioError> {
    let card = section.whole("card", 0, u64::MAX)?.unwrap_or(0);
    let card = usize::try_from(card).unwrap_or(usize::MAX);
    if card >= cards {
        let what = format!("expected the number of one of {cards} cards, from 0");
        return Err(section.wrong("card", &what));
    }
    let Some(at) = section.time("at")? else {
        return Err(section.wrong("at", "expected when: \"30s\""));
    };
    let until = section.time("until")?;
    if until.is_some_and(|until| until <= at) {
        return Err(section.wrong("until", "expected a moment after at"));
    }
    let factor = section.real("factor", 0.01, 1e6)?;
    let kinds = [
        ("gone", FaultKind::Gone),
        ("hung", FaultKind::Hung),
        ("slow", FaultKind::Slow(factor.unwrap_or(10.0))),
    ];
    let kind = section.word("kind", &kinds)?.unwrap_or(FaultKind::Gone);
    section.end()?;
    Ok(Fault {
        card,
        at,
        until,
        kind,
    })
}

fn fleet(
    section: Option<Section<'_>>,
    faults: Option<Section<'_>>,
) -> Result<Fleet, ScenarioError> {
    let mut fleet = Fleet::default();
    if let Some(mut section) = section {
        fleet.machines = section.whole("machines", 1, 1_000_000)?.unwrap_or(1);
        let balances = [("spread", Balance::Spread), ("sticky", Balance::Sticky)];
        fleet.balance = section
            .word("balance", &balances)?
            .unwrap_or(Balance::Spread);
        fleet.sample = section.whole("sample", 1, 1024)?.unwrap_or(fleet.sample);
        let counts = [("in-all", false), ("per-machine", true)];
        fleet.per_machine = section.word("tenants", &counts)?.unwrap_or(false);
        section.end()?;
    }
    if let Some(mut section) = faults {
        let (Some(between), Some(repair)) =
            (section.time("mean_between")?, section.time("repair")?)
        else {
            let what = "expected mean_between, of one card, and repair: \"720h\", \"30m\"";
            return Err(section.wrong("mean_between", what));
        };
        if between.0 == 0 || repair.0 == 0 {
            return Err(section.wrong("mean_between", "expected times that are not 0"));
        }
        section.end()?;
        fleet.card_faults = Some(CardFaults { between, repair });
    }
    Ok(fleet)
}

fn cost(
    section: &mut Section<'_>,
    [fixed_us, ns_per_byte]: [&'static str; 2],
    default: Cost,
) -> Result<Cost, ScenarioError> {
    let fixed = section.real(fixed_us, 0.0, 1e9)?;
    let per_byte = section.real(ns_per_byte, 0.0, 1e9)?;
    Ok(Cost {
        fixed_ns: fixed.map_or(default.fixed_ns, thousands),
        ps_per_byte: per_byte.map_or(default.ps_per_byte, thousands),
    })
}

/// A number in the next smaller unit, whole.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative, and bounded by whoever read it; `as` saturates"
)]
fn thousands(number: f64) -> u64 {
    (number * 1e3).round() as u64
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
