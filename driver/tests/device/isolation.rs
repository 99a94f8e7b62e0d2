//! One function's memory is not another's, and a function has one owner.

use faam_driver::transport::DmaAccess;
use faam_driver::{Function, Kernel, TransportError, Unavailable};
use faam_hwif::{CardLevel, Iova, Status, SubmissionEntry, WireFormat};
use faam_sim::Fault;

use crate::behaviour::{Behaviour, Mutation};
use crate::carrier::{Bench, Carrier};
use crate::data::{inflate, text};
use crate::feeder::{Feeder, Work};
use crate::host::{ASIDE, Host, Memory, PAGE, SRC, status};

pub(crate) const BEHAVIOURS: &[Behaviour] = &[
    Behaviour {
        name: "isolation::two_arenas_cannot_reach_each_other",
        holds: "What is mapped for one function is no address of the other's, for reading or writing, though both serve at once.",
        needs: &[],
        show: two_arenas_cannot_reach_each_other,
        mutation: Mutation {
            faults: &[Fault::SharesMaps],
            says: "the other function's memory",
        },
    },
    Behaviour {
        name: "isolation::the_same_address_is_each_functions_own",
        holds: "Two functions with different memory at the same address each read and write their own.",
        needs: &[],
        show: the_same_address_is_each_functions_own,
        mutation: Mutation {
            faults: &[Fault::ConfusesMaps],
            says: "a completion",
        },
    },
    Behaviour {
        name: "isolation::two_functions_share_one_arena",
        holds: "Two functions that are given the same arena both work in it at once, each on its own jobs.",
        needs: &[],
        show: two_functions_share_one_arena,
        mutation: Mutation {
            faults: &[Fault::FlipsABit],
            says: "a job of a shared arena",
        },
    },
    Behaviour {
        name: "isolation::a_second_opener_is_refused",
        holds: "A function that is open cannot be opened by another; it goes on undisturbed, and can be opened once it is let go.",
        needs: &[],
        show: a_second_opener_is_refused,
        mutation: Mutation {
            faults: &[Fault::ServesTwoClients],
            says: "opened a second time",
        },
    },
];

fn two_arenas_cannot_reach_each_other(bench: &Bench) {
    let mut hosts = [Host::on(bench, 0), Host::on(bench, 1)];
    let mut rings = hosts.each_mut().map(|host| host.create(1, 4, false, None));
    // An arena each, at addresses of their own.
    let arenas = [
        Memory::new(4 * PAGE, ASIDE),
        Memory::new(4 * PAGE, Iova(ASIDE.0 + 64 * PAGE)),
    ];
    for ((host, arena), byte) in hosts.iter().zip(&arenas).zip([b'x', b'y']) {
        arena.map(&host.transport, DmaAccess::ReadWrite);
        arena.write(0, &vec![byte; 4 * PAGE as usize]);
    }
    for own in 0..2 {
        let (host, ring) = (&hosts[own], &mut rings[own]);
        let (mine, other) = (&arenas[own], &arenas[1 - own]);
        let before = other.all();
        let mut job = |src: u64, dst: u64| {
            let entry = SubmissionEntry {
                src,
                dst,
                dst_cap: PAGE as u32,
                ..host.compress(1, 1000)
            };
            status(&host.run(ring, &entry))
        };
        assert_eq!(
            job(other.at(0), mine.at(PAGE)),
            Status::DmaReadFault,
            "reading the other function's memory"
        );
        assert_eq!(
            job(mine.at(0), other.at(PAGE)),
            Status::DmaWriteFault,
            "writing the other function's memory"
        );
        assert!(
            other.all() == before,
            "the other function's memory was written"
        );
        assert_eq!(job(mine.at(0), mine.at(PAGE)), Status::Success);
    }
}

fn the_same_address_is_each_functions_own(bench: &Bench) {
    // Both hosts' memory lies at the same address.
    let mut hosts = [Host::on(bench, 0), Host::on(bench, 1)];
    let mut rings = hosts.each_mut().map(|host| host.create(1, 4, false, None));
    let inputs = [text(6000), text(12_000)[6000..].to_vec()];
    for (host, input) in hosts.iter().zip(&inputs) {
        host.memory.write(SRC, input);
    }
    for own in [0, 1, 0, 1] {
        let (host, ring) = (&hosts[own], &mut rings[own]);
        let done = host.run(ring, &host.compress(1, 6000));
        assert_eq!(status(&done), Status::Success);
        let output = host.memory.read(crate::host::DST, done.out_len as usize);
        let whole = inflate(WireFormat::Raw, &output);
        assert!(
            whole.as_ref() == Some(&inputs[own]),
            "a function's own data"
        );
    }
}

fn two_functions_share_one_arena(bench: &Bench) {
    let arena = bench.arena();
    let functions = [bench.function_on(0, &arena), bench.function_on(1, &arena)];
    let workers = functions
        .each_ref()
        .map(|function: &Function| Feeder::start(bench, function));
    let kernel = Kernel::Compress {
        level: CardLevel::Balanced,
        format: WireFormat::Zlib,
        last: true,
    };
    let count = match bench.carrier().is_slow() {
        false => 20,
        true => 6,
    };
    let inputs: Vec<_> = (0..count).map(|n| text(10_000 + n * 777)).collect();
    // All are queued on both before the first result is taken.
    let pending = workers.each_ref().map(|worker| {
        let submit = |input: &Vec<u8>| worker.submit(Work::new(kernel, input));
        inputs.iter().map(submit).collect::<Vec<_>>()
    });
    for (worker, pending) in workers.iter().zip(&pending) {
        for (outcome, input) in pending.iter().zip(&inputs) {
            let output = worker.take(outcome).done().output;
            let whole = inflate(WireFormat::Zlib, &output);
            assert!(whole.as_ref() == Some(input), "a job of a shared arena");
        }
    }
}

fn a_second_opener_is_refused(bench: &Bench) {
    let function = bench.function(0);
    let second = bench.try_open(0);
    match (bench.carrier(), second) {
        (_, Ok(_)) => panic!("a function was opened a second time"),
        // Refused by the kernel, for what it is.
        (Carrier::KernelVfio, Err(error)) => assert!(
            matches!(
                error,
                TransportError::Unavailable {
                    reason: Unavailable::InUse,
                    ..
                }
            ),
            "{error:?}"
        ),
        (Carrier::VfioUser | Carrier::Rtl, Err(_)) => {}
    }
    function.self_test().unwrap();
    drop(function);
    let again = bench.function(0);
    again.self_test().unwrap();
}
