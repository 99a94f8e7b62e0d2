//! Queue pairs: made, deleted, filled, wrapped around, and their doorbells.

use faam_driver::FunctionConfig;
use faam_hwif::admin::{AdminCommand, field};
use faam_hwif::error::ErrorCode;
use faam_hwif::regs::{CardRegister, DOORBELL_SQ_TAIL, QueueCounter};
use faam_hwif::{CommandId, IO_PAIRS_MAX, QueueId, Status, pci};
use faam_sim::Fault;

use crate::behaviour::{Behaviour, Mutation, Need};
use crate::carrier::Bench;
use crate::host::{Host, Ring, nop, status};

pub(crate) const BEHAVIOURS: &[Behaviour] = &[
    Behaviour {
        name: "queues::pairs_are_made_deleted_and_bounded",
        holds: "Queue pairs are made up to the number asked for, deleted, and made again under the same number.",
        needs: &[],
        show: pairs_are_made_deleted_and_bounded,
        mutation: Mutation {
            faults: &[Fault::DeletesNothing],
            says: "the number is free again",
        },
    },
    Behaviour {
        name: "queues::creation_and_deletion_are_checked",
        holds: "Numbers, vectors and alignments that cannot be are refused by field, as are a number in use and the deletion of none.",
        needs: &[],
        show: creation_and_deletion_are_checked,
        mutation: Mutation {
            faults: &[Fault::TakesAnyVector],
            says: "a vector that is not there",
        },
    },
    Behaviour {
        name: "queues::rings_wrap_with_mmio_doorbells",
        holds: "A ring of eight entries, always as full as it may be, goes round more than a hundred times by doorbell writes.",
        needs: &[],
        show: rings_wrap_with_mmio_doorbells,
        mutation: Mutation {
            faults: &[Fault::LosesItsPlace],
            says: "laps of the ring",
        },
    },
    Behaviour {
        name: "queues::phases_hold_over_many_laps",
        holds: "The same by shadow doorbells: each lap's phase tells its completions from the lap's before.",
        needs: &[Need::ShadowDoorbells],
        show: phases_hold_over_many_laps,
        mutation: Mutation {
            faults: &[Fault::PhaseStuck],
            says: "laps of the ring",
        },
    },
    Behaviour {
        name: "queues::a_full_queue_waits",
        holds: "A card fetches no entry for whose completion there is no room, and goes on once there is.",
        needs: &[],
        show: a_full_queue_waits,
        mutation: Mutation {
            faults: &[Fault::OverrunsCompletions],
            says: "entries fetched without room",
        },
    },
    Behaviour {
        name: "queues::each_command_completes_once",
        holds: "Each command has one completion, with its own id and an intact check field.",
        needs: &[],
        show: each_command_completes_once,
        mutation: Mutation {
            faults: &[Fault::CompletesTwice],
            says: "completions of six commands",
        },
    },
    Behaviour {
        name: "queues::a_doorbell_too_far_is_ignored",
        holds: "A tail that claims more entries than the ring holds is noted as an error and ignored; the queue lives.",
        needs: &[],
        show: a_doorbell_too_far_is_ignored,
        mutation: Mutation {
            faults: &[Fault::TakesAnyTail],
            says: "entries fetched for a tail too far",
        },
    },
    Behaviour {
        name: "queues::a_doorbell_of_no_queue_is_noted",
        holds: "A doorbell of a queue that does not exist is noted as an error, and harms nothing.",
        needs: &[],
        show: a_doorbell_of_no_queue_is_noted,
        mutation: Mutation {
            faults: &[Fault::NotesNoErrors],
            says: "the first error's code",
        },
    },
];

fn pairs_are_made_deleted_and_bounded(bench: &Bench) {
    let function = bench.function(0);
    let one = function.create_queue_pair().unwrap();
    let two = function.create_queue_pair().unwrap();
    assert_ne!(one.id(), two.id());
    assert!(function.create_queue_pair().is_err(), "two were asked for");
    function.delete_queue_pair(one).unwrap();
    match function.create_queue_pair() {
        Ok(again) => assert_eq!(again.id(), QueueId(1)),
        Err(error) => panic!("the number is free again: {error:?}"),
    }
}

fn creation_and_deletion_are_checked(bench: &Bench) {
    let mut host = Host::on(bench, 0);
    let good = Ring::at(1, 3, false);
    let mut refused = |what: &str, command: AdminCommand, expected: (Status, u32)| {
        let done = host.admin(&command);
        assert_eq!((status(&done), done.info), expected, "{what}");
    };
    let creation =
        |id: u16, vector: Option<u16>, sq_offset: u64, cq_offset: u64| AdminCommand::CreateQueue {
            queue: QueueId(id),
            entries: good.entries,
            sq: faam_hwif::Iova(0x1_4000_0000 + good.sq + sq_offset),
            cq: faam_hwif::Iova(0x1_4000_0000 + good.cq + cq_offset),
            shadow: None,
            vector,
            epoch: good.epoch,
        };
    let bad_number = (Status::InvalidQueue, field::SRC_LEN);
    refused("the admin queue", creation(0, None, 0, 0), bad_number);
    refused(
        "a number too high",
        creation(IO_PAIRS_MAX + 1, None, 0, 0),
        bad_number,
    );
    let vector = Some(pci::MSIX_VECTORS);
    refused(
        "a vector that is not there",
        creation(1, vector, 0, 0),
        (Status::InvalidField, field::AUX_LEN),
    );
    let misaligned = (Status::InvalidField, field::SRC);
    refused(
        "submissions off a line",
        creation(1, None, 8, 0),
        misaligned,
    );
    let misaligned = (Status::InvalidField, field::DST);
    refused(
        "completions off a line",
        creation(1, None, 0, 32),
        misaligned,
    );
    let none = AdminCommand::DeleteQueue { queue: QueueId(1) };
    refused("deleting none", none, bad_number);
    let admin = AdminCommand::DeleteQueue { queue: QueueId(0) };
    refused("deleting the admin queue", admin, bad_number);
    refused(
        "one that is good",
        creation(1, None, 0, 0),
        (Status::Success, 0),
    );
    refused(
        "one that is there",
        creation(1, None, 0, 0),
        (Status::QueueExists, 0),
    );
    assert_eq!(host.register(CardRegister::QueueControlQueueCount), 1);
}

/// Round trips of a ring of eight entries: some laps of it.
fn many_laps(bench: &Bench, shadow_doorbells: bool) {
    let config = FunctionConfig {
        queue_entries_log2: 3,
        shadow_doorbells,
        ..bench.config()
    };
    let function = bench.function_with(0, config);
    let mut pair = function.create_queue_pair().unwrap();
    assert_eq!(pair.capacity(), 7);
    let count = match bench.carrier().is_slow() {
        false => 1000,
        true => 840,
    };
    let gone_round = pair.round_trip(count, bench.patience());
    assert_eq!(gone_round, Ok(()), "laps of the ring");
    assert_eq!(pair.outstanding(), 0);
    let completed = function.counter(pair.id(), QueueCounter::Completed);
    assert_eq!(completed.unwrap(), u64::from(count));
}

fn rings_wrap_with_mmio_doorbells(bench: &Bench) {
    many_laps(bench, false);
}

fn phases_hold_over_many_laps(bench: &Bench) {
    many_laps(bench, true);
}

fn a_full_queue_waits(bench: &Bench) {
    let mut host = Host::on(bench, 0);
    let mut ring = host.create(1, 3, false, None);
    let fill = |host: &Host, ring: &mut Ring| (0..7).for_each(|n| host.submit(ring, &nop(n)));
    let take = |host: &Host, ring: &mut Ring| {
        for _ in 0..7 {
            host.next(ring);
        }
    };
    fill(&host, &mut ring);
    let mut taken = ring.clone();
    take(&host, &mut taken);
    // Seven completions lie there untaken: one place is always free, so there is no room for an eighth.
    fill(&host, &mut ring);
    host.round();
    let fetched = host.counter(ring.id, QueueCounter::Fetched);
    assert_eq!(fetched, 7, "entries fetched without room");
    host.retire(&taken);
    take(&host, &mut taken);
    assert_eq!(host.counter(ring.id, QueueCounter::Completed), 14);
}

fn each_command_completes_once(bench: &Bench) {
    let mut host = Host::on(bench, 0);
    let mut ring = host.create(1, 4, false, None);
    for n in 0..6 {
        host.submit(&mut ring, &nop(CommandId::new(100 + n, 5).0));
    }
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(host.next(&mut ring).command_id());
    }
    host.round();
    ids.extend(host.peek(&ring).map(|more| more.command_id()));
    let expected: Vec<_> = (0..6).map(|n| CommandId::new(100 + n, 5)).collect();
    assert_eq!(ids, expected, "completions of six commands");
}

fn a_doorbell_too_far_is_ignored(bench: &Bench) {
    let mut host = Host::on(bench, 0);
    let mut ring = host.create(1, 3, false, None);
    for tail in [8, 1000, u32::MAX] {
        host.doorbell(ring.id, DOORBELL_SQ_TAIL, tail);
    }
    host.round();
    let fetched = host.counter(ring.id, QueueCounter::Fetched);
    assert_eq!(fetched, 0, "entries fetched for a tail too far");
    assert_eq!(host.errors(), (ErrorCode::DoorbellRange as u32, 3));
    let done = host.run(&mut ring, &nop(1));
    assert_eq!(status(&done), Status::Success);
}

fn a_doorbell_of_no_queue_is_noted(bench: &Bench) {
    let mut host = Host::on(bench, 0);
    host.doorbell(QueueId(4), DOORBELL_SQ_TAIL, 1);
    host.round();
    let (code, count) = host.errors();
    assert_eq!(
        code,
        ErrorCode::DoorbellQueue as u32,
        "the first error's code"
    );
    assert_eq!(count, 1);
    let mut ring = host.create(4, 3, false, None);
    let done = host.run(&mut ring, &nop(1));
    assert_eq!(status(&done), Status::Success);
}
