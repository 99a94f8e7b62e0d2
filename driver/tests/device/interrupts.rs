//! Interrupts: when they come, when they do not, where they go, and what is lost with a lost one.

use std::time::Duration;

use faam_driver::{Kernel, WorkerConfig};
use faam_hwif::regs::QueueCounter;
use faam_hwif::{CardLevel, QueueId, WireFormat};
use faam_sim::Fault;

use crate::behaviour::{Behaviour, Mutation, Need};
use crate::carrier::{Bench, Carrier};
use crate::data::text;
use crate::feeder::{Feeder, Work};
use crate::host::{Host, interrupts_now, nop};

/// Jobs until a worker sleeps over one.
const JOBS_MAX: usize = 64;

pub(crate) const BEHAVIOURS: &[Behaviour] = &[
    Behaviour {
        name: "interrupts::an_armed_one_comes_once",
        holds: "With shadow doorbells an interrupt comes once for each time that it was asked for, and never unasked.",
        needs: &[Need::ShadowDoorbells],
        show: an_armed_one_comes_once,
        mutation: Mutation {
            faults: &[Fault::InterruptsUnasked],
            says: "interrupts raised unasked",
        },
    },
    Behaviour {
        name: "interrupts::each_queue_has_its_vector",
        holds: "A queue's interrupt goes to the vector that it was made with, and to no other.",
        needs: &[],
        show: each_queue_has_its_vector,
        mutation: Mutation {
            faults: &[Fault::WrongVector],
            says: "no interrupt came",
        },
    },
    Behaviour {
        name: "interrupts::a_sleeping_worker_is_woken",
        holds: "A worker that sleeps, with no time-out of its own, is woken by a job and by that job's completion.",
        needs: &[Need::ShadowDoorbells],
        show: a_sleeping_worker_is_woken,
        mutation: Mutation {
            faults: &[Fault::LosesInterrupts],
            says: "a job has no outcome",
        },
    },
    Behaviour {
        name: "interrupts::a_lost_one_costs_time_and_no_work",
        holds: "A job whose interrupt is lost is found done long before its limit, by a worker that looks for it now and then, and is no fault.",
        needs: &[Need::Faults],
        show: a_lost_one_costs_time,
        mutation: Mutation {
            faults: &[Fault::WithholdsCompletions],
            says: "a job has no outcome",
        },
    },
];

fn an_armed_one_comes_once(bench: &Bench) {
    let mut host = Host::on(bench, 0);
    let fds = host.listen(2);
    let mut ring = host.create(1, 4, true, Some(1));
    for round in 0..3 {
        host.run(&mut ring, &nop(1));
        host.run(&mut ring, &nop(2));
        host.round();
        let raised = host.counter(ring.id, QueueCounter::Interrupts);
        assert_eq!(raised, round, "interrupts raised unasked");
        assert_eq!(interrupts_now(&fds[1]), 0);
        host.want(&ring, ring.head);
        host.run(&mut ring, &nop(3));
        assert_eq!(
            host.interrupts(&fds[1]),
            1,
            "interrupts for one that was asked for"
        );
    }
    assert_eq!(
        interrupts_now(&fds[0]),
        0,
        "the admin queue has no vector here"
    );
}

fn each_queue_has_its_vector(bench: &Bench) {
    let mut host = Host::on(bench, 0);
    let fds = host.listen(4);
    let mut rings = [
        host.create(1, 3, false, Some(2)),
        host.create(2, 3, false, Some(1)),
    ];
    // Without a shadow page each completion interrupts.
    for (ring, vector) in rings.iter_mut().zip([2, 1]) {
        host.run(ring, &nop(1));
        assert_eq!(host.interrupts(&fds[vector]), 1);
        host.round();
        assert!(
            fds.iter().all(|fd| interrupts_now(fd) == 0),
            "another vector's"
        );
    }
}

fn a_sleeping_worker_is_woken(bench: &Bench) {
    let function = bench.function(0);
    // Nothing but a wake ends a sleep within the test's limit: neither the worker's own looks nor a job's time-out.
    let never = bench.patience() * 10;
    let config = WorkerConfig {
        idle_look_again: Some(never),
        look_first: Some(never),
        ..WorkerConfig::default()
    };
    let worker = Feeder::start_with(bench, &function, config);
    let kernel = Kernel::Compress {
        level: CardLevel::Dense,
        format: WireFormat::Raw,
        last: true,
    };
    let work = Work::new(kernel, &text(300_000)).timeout(never);
    let times = match bench.carrier().is_slow() {
        false => 20,
        true => 4,
    };
    for _ in 0..times {
        worker.until_asleep();
        worker.run(work.clone()).done();
    }
    let interrupts = function.counter(QueueId(1), QueueCounter::Interrupts);
    let interrupts = interrupts.unwrap();
    assert!(interrupts > 0, "the card's interrupts ended the waits");
}

fn a_lost_one_costs_time(bench: &Bench) {
    bench.faults().set(Fault::LosesInterrupts);
    let function = bench.function(0);
    let config = WorkerConfig {
        spin: Some(Duration::ZERO),
        ..WorkerConfig::default()
    };
    let worker = Feeder::start_with(bench, &function, config);
    let kernel = Kernel::Compress {
        level: CardLevel::Dense,
        format: WireFormat::Raw,
        last: true,
    };
    // Long enough for the worker to sleep over it.
    let bytes = match bench.carrier() {
        Carrier::VfioUser | Carrier::KernelVfio => 300_000,
        Carrier::Rtl => 8_000,
    };
    // At its limit it would be found as well: that is beyond anybody's patience.
    let never = bench.patience() * 10;
    let work = Work::new(kernel, &text(bytes)).timeout(never);
    let found = || worker.counters().found_by_looking.get();
    // A virtual machine may be so slow that it finds a job done before it sleeps over it.
    for _ in 0..JOBS_MAX {
        worker.run(work.clone()).done();
        if found() > 0 {
            return;
        }
    }
    panic!("in {JOBS_MAX} jobs the worker never slept over one, and looked");
}
