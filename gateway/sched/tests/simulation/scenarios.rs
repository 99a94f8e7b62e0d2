//! Machines and tenants that the tests have in common, and scenarios drawn at random.

use faam_sched::simulation::{
    Arrivals, Backend, Card, Cost, Cycles, Fault, FaultKind, Kernel, Machine, Random, Scenario,
    Sizes, TenantClass,
};
use faam_sched::{Nanos, Priority};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1000 * MS;
pub(crate) const DAY: u64 = 24 * 3600 * SECOND;

/// Cores and cards as the gateway has them; a card's engine is as fast as two cores.
pub(crate) fn machine(cores: u32, cards: usize) -> Machine {
    let card = Card {
        functions: 2,
        engines: 1,
        depth: None,
        clock_khz: 700_000,
        transfer: Cost {
            fixed_ns: 20_000,
            ps_per_byte: 100,
        },
        scrub_cycles: 8192,
    };
    Machine {
        cores,
        http: Cost {
            fixed_ns: 15_000,
            ps_per_byte: 600,
        },
        hand_off_busy: Nanos(2_000),
        hand_off_idle: Nanos(100_000),
        cards: vec![card; cards],
        verify: true,
        queue_blocks_max: 2048,
        memory_bytes_max: 512 << 20,
        queue_wait: Nanos(60 * SECOND),
    }
}

/// Level 3 or so: 5.5 ns a byte on a core, 2 cycles a byte on a card.
pub(crate) fn kernel() -> Kernel {
    Kernel {
        name: "compress".to_owned(),
        cpu: Cost {
            fixed_ns: 5_000,
            ps_per_byte: 5_500,
        },
        verify: Cost {
            fixed_ns: 2_000,
            ps_per_byte: 1_000,
        },
        jitter: 0.1,
        card: Some(Cycles {
            fixed: 800,
            milli_per_byte: 2_000,
            counted_bytes_max: 0,
        }),
    }
}

pub(crate) fn scenario(machine: Machine, seconds: u64, classes: Vec<TenantClass>) -> Scenario {
    Scenario {
        seed: 1,
        duration: Nanos(seconds * SECOND),
        warm_up: Nanos(SECOND.min(seconds * SECOND / 10)),
        window: Nanos(SECOND),
        machine,
        kernels: vec![kernel()],
        classes,
        faults: Vec::new(),
    }
}

pub(crate) fn class(name: &str, count: u32, arrivals: Arrivals, bytes: u64) -> TenantClass {
    TenantClass {
        name: name.to_owned(),
        count,
        weight: 100,
        cir_us_per_s: 0,
        pir_us_per_s: None,
        pir_burst_us: 100_000,
        requests_per_s: None,
        bytes_per_s: None,
        bytes_per_day: None,
        in_flight_max: 256,
        queued_blocks_max: None,
        backend: Backend::Auto,
        priority: Priority::default(),
        kernel: 0,
        deadline: None,
        hang_up: None,
        arrivals,
        sizes: Sizes::Fixed(bytes),
    }
}

/// Callers that always have a request under way: queues never run empty.
pub(crate) const fn busy(callers: u32) -> Arrivals {
    Arrivals::Closed {
        callers,
        think: Nanos(0),
    }
}

/// Any scenario that may be run, of about so many events.
pub(crate) fn random(seed: u64, events: u64) -> Scenario {
    let mut random = Random::new(seed);
    let mut draw = |low: u64, high: u64| low + random.below(high - low + 1);
    let cores = draw(1, 8);
    let cards = if draw(0, 3) == 0 { 0 } else { draw(1, 4) };
    let mut machine = machine(
        u32::try_from(cores).expect("small"),
        usize::try_from(cards).expect("small"),
    );
    machine.verify = draw(0, 3) > 0;
    machine.queue_blocks_max = usize::try_from(draw(1, 64)).expect("small");
    machine.memory_bytes_max = draw(4, 512) << 20;
    let long_wait = if draw(0, 1) == 0 { 100 } else { 60_000 };
    machine.queue_wait = Nanos(draw(10, long_wait) * MS);
    for card in &mut machine.cards {
        card.functions = u32::try_from(draw(1, 3)).expect("small");
        card.engines = u32::try_from(draw(1, 4)).expect("small");
        card.clock_khz = draw(20_000, 1_000_000);
        card.depth = (draw(0, 2) == 0).then_some(1 + u32::try_from(draw(0, 7)).expect("small"));
    }
    let has_cards = !machine.cards.is_empty();
    let kernels = vec![
        kernel(),
        Kernel {
            name: "slow".to_owned(),
            cpu: Cost {
                fixed_ns: 8_000,
                ps_per_byte: draw(1_000, 60_000),
            },
            card: None,
            jitter: 0.4,
            ..kernel()
        },
    ];
    let mut classes = Vec::new();
    for number in 0..draw(1, 5) {
        let arrivals = match draw(0, 3) {
            0 => Arrivals::Poisson {
                per_s: draw(1, 200) as f64,
            },
            1 => Arrivals::Bursts {
                per_s: draw(1, 20) as f64 / 4.0,
                requests: u32::try_from(draw(1, 100)).expect("small"),
            },
            2 => Arrivals::OnOff {
                per_s: draw(10, 2000) as f64,
                from: Nanos(draw(0, 1000) * MS),
                on: Nanos(draw(1, 500) * MS),
                off: Nanos(draw(0, 500) * MS),
            },
            _ => Arrivals::Closed {
                callers: u32::try_from(draw(1, 24)).expect("small"),
                think: Nanos(draw(0, 20) * MS),
            },
        };
        let mut drawn = class(&format!("class-{number}"), 1, arrivals, 0);
        drawn.count = u32::try_from(draw(1, 12)).expect("small");
        drawn.sizes = match draw(0, 2) {
            0 => Sizes::Fixed(draw(0, 2 << 20)),
            1 => Sizes::LogNormal {
                median: draw(100, 300_000),
                sigma: draw(0, 20) as f64 / 10.0,
                max: 8 << 20,
            },
            _ => Sizes::Listed(vec![(draw(1, 5000), 9), (draw(0, 1 << 20), 1)]),
        };
        drawn.weight = u32::try_from(draw(1, 400)).expect("small");
        drawn.in_flight_max = usize::try_from(draw(1, 64)).expect("small");
        let limit = |chosen: bool, value: u64| chosen.then_some(value);
        drawn.requests_per_s = limit(draw(0, 3) == 0, draw(1, 500));
        drawn.bytes_per_s = limit(draw(0, 3) == 0, draw(1000, 50 << 20));
        drawn.bytes_per_day = limit(draw(0, 5) == 0, draw(1 << 20, 1 << 30));
        drawn.pir_us_per_s = limit(draw(0, 3) == 0, draw(10_000, 900_000));
        drawn.pir_burst_us = draw(1_000, 200_000);
        drawn.deadline = limit(draw(0, 3) == 0, draw(1, 500) * MS).map(Nanos);
        drawn.hang_up = limit(draw(0, 5) == 0, draw(1, 500) * MS).map(Nanos);
        drawn.kernel = usize::from(draw(0, 3) == 0);
        drawn.backend = match draw(0, 5) {
            0 if has_cards && drawn.kernel == 0 => Backend::RequireCard,
            1 => Backend::PreferCard,
            2 => Backend::Cpu,
            _ => Backend::Auto,
        };
        // Guarantees together stay below 80 % of a single core: within what is left when all cards are gone.
        if draw(0, 2) == 0 {
            let cir = draw(1_000, 800_000) / 5 / u64::from(drawn.count);
            drawn.cir_us_per_s = drawn.pir_us_per_s.map_or(cir, |pir| cir.min(pir));
        }
        classes.push(drawn);
    }
    // A class of so many requests a second makes about ten times as many events.
    let per_s: f64 = classes
        .iter()
        .map(|class| {
            let of_one = match class.arrivals {
                Arrivals::Poisson { per_s } | Arrivals::OnOff { per_s, .. } => per_s,
                Arrivals::Bursts { per_s, requests } => per_s * f64::from(requests),
                _ => 2000.0,
            };
            of_one * f64::from(class.count)
        })
        .sum();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to what fits"
    )]
    let duration_ms = (events as f64 / (10.0 * per_s) * 1000.0).clamp(200.0, 5000.0) as u64;
    let mut faults = Vec::new();
    for card in 0..machine.cards.len() {
        if draw(0, 2) > 0 {
            continue;
        }
        let at = draw(0, duration_ms) * MS;
        faults.push(Fault {
            card,
            at: Nanos(at),
            until: (draw(0, 4) > 0).then(|| Nanos(at + draw(1, 2 * duration_ms) * MS)),
            kind: match draw(0, 2) {
                0 => FaultKind::Gone,
                1 => FaultKind::Hung,
                _ => FaultKind::Slow(draw(2, 40) as f64),
            },
        });
    }
    let mut scenario = scenario(machine, 1, classes);
    scenario.seed = seed;
    scenario.duration = Nanos(duration_ms * MS);
    scenario.warm_up = Nanos(duration_ms * MS / 10);
    scenario.window = Nanos(100 * MS);
    scenario.kernels = kernels;
    scenario.faults = faults;
    scenario
}
