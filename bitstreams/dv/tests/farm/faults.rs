//! Memory that refuses: each kind of access, told as the contract has it, and nothing else harmed.

use std::ops::Range;

use faam_dv::farm::Timing;
use faam_hwif::admin::AdminCommand;
use faam_hwif::error::ErrorCode;
use faam_hwif::regs::{CardRegister, QueueCounter};
use faam_hwif::{Iova, QueueId, Status, SubmissionEntry};

use crate::bring_up::nop;
use crate::host::{DATA, Host, status};
use crate::jobs::Job;
use crate::random;

const PAGE: u64 = 4096;

fn page_of(at: u64) -> Range<u64> {
    let first = at & !(PAGE - 1);
    first..first + PAGE
}

fn info(host: &mut Host) -> u64 {
    u64::from(host.register(CardRegister::ErrorInfoLo))
        | u64::from(host.register(CardRegister::ErrorInfoHi)) << 32
}

/// What a job names that can be refused, first address and whether it is read.
fn parts(entry: &SubmissionEntry) -> Vec<(u64, u32, bool)> {
    let compresses = entry.op == 0x81;
    let mut parts = vec![
        (entry.src, entry.src_len, true),
        (entry.hist, entry.hist_len, true),
    ];
    if compresses {
        parts.push((entry.aux, entry.aux_len, true));
    } else {
        parts.push((entry.aux, entry.aux_len, false));
    }
    parts.retain(|(_, bytes, _)| *bytes > 0);
    parts
}

#[test]
fn memory_that_refuses_ends_its_job_alone() {
    let (mut random, seed) = random("memory that refuses");
    for round in 0..60 {
        let timing = [Timing::smooth(seed ^ round), Timing::rough(seed ^ round)];
        let mut host = Host::up(timing[round as usize % 2]);
        let mut ring = host.create(1, 3, None);
        let job = Job::random(&mut random, 20_000);
        job.place(&mut host);
        let parts = parts(&job.entry);
        let Some((at, bytes, is_read)) = parts.get(random.usize(..parts.len().max(1))).copied()
        else {
            continue;
        };
        // Any page of it.
        let refused = page_of(at + random.u64(..u64::from(bytes)));
        let first = refused.start.max(at);
        let (expected, code) = match is_read {
            true => {
                host.memory.unreadable.push(refused);
                (Status::DmaReadFault, ErrorCode::DataRead)
            }
            false => {
                host.memory.unwritable.push(refused);
                (Status::DmaWriteFault, ErrorCode::DataWrite)
            }
        };
        let done = host.run(&mut ring, &job.entry);
        let about = format!("round {round}: {:?}, refused at {first:#x}", job.entry);
        // A table or the room may be at fault before the refused page is reached.
        if matches!(
            status(&done),
            Status::BadTable | Status::TableMiss | Status::OutputFull
        ) {
            continue;
        }
        assert_eq!(status(&done), expected, "{about}");
        assert_eq!((done.out_len, done.crc32), (0, 0), "{about}");
        assert_eq!(host.errors(), (code as u32, 1), "{about}");
        assert_eq!(info(&mut host) & !7, first & !7, "{about}");
        host.memory.unreadable.clear();
        host.memory.unwritable.clear();
        let health = host.health();
        assert_eq!(
            (health.jobs, health.jobs_failed, health.dma_faults),
            (1, 1, 1),
            "{about}"
        );
        // The next job finds nothing of it.
        Job::random(&mut random, 3000).check(&mut host, &mut ring);
    }
}

#[test]
fn a_destination_that_refuses_is_a_write_fault() {
    let (mut random, seed) = random("a destination that refuses");
    for round in 0..30u64 {
        let mut host = Host::up(Timing::rough(seed ^ round));
        let mut ring = host.create(1, 3, None);
        let mut job = Job::random(&mut random, 30_000);
        while job.entry.op != 0x81 || job.entry.table_mode != 0 || job.src.len() < 2000 {
            job = Job::random(&mut random, 30_000);
        }
        job.entry.dst_cap = 70_000;
        job.place(&mut host);
        host.memory.unwritable.push(page_of(job.entry.dst));
        let done = host.run(&mut ring, &job.entry);
        assert_eq!(status(&done), Status::DmaWriteFault, "{:?}", job.entry);
        assert_eq!(host.errors(), (ErrorCode::DataWrite as u32, 1));
        host.memory.unwritable.clear();
        job.check(&mut host, &mut ring);
    }
}

#[test]
fn a_ring_that_refuses_breaks_its_queue_alone() {
    for (what, submissions) in [("submissions", true), ("completions", false)] {
        let mut host = Host::up(Timing::smooth(11));
        let mut broken = host.create(1, 3, None);
        let mut other = host.create(2, 3, None);
        match submissions {
            true => host.memory.unreadable.push(page_of(broken.sq)),
            false => host.memory.unwritable.push(page_of(broken.cq)),
        }
        host.submit(&mut broken, &nop(1));
        host.until("the refusal is noted", |host| host.errors().1 > 0);
        assert_eq!(host.errors(), (ErrorCode::RingAccess as u32, 1), "{what}");
        assert_eq!(host.register(CardRegister::ErrorFirst) >> 16, 1, "{what}");
        for n in 0..20 {
            assert_eq!(
                status(&host.run(&mut other, &nop(n))),
                Status::Success,
                "{what}"
            );
        }
        // Nothing more comes of it, whatever memory says now, until it is made again.
        host.memory.unreadable.clear();
        host.memory.unwritable.clear();
        host.submit(&mut broken, &nop(2));
        host.step(20_000);
        assert!(host.peek(&broken).is_none(), "{what}");
        let delete = AdminCommand::DeleteQueue { queue: QueueId(1) };
        assert_eq!(status(&host.admin(&delete)), Status::Success, "{what}");
        let mut again = host.create(1, 3, None);
        assert_eq!(
            status(&host.run(&mut again, &nop(3))),
            Status::Success,
            "{what}"
        );
    }
}

#[test]
fn with_bus_mastering_off_nothing_is_asked_of_memory() {
    let mut host = Host::up(Timing::smooth(13));
    let mut ring = host.create(1, 3, None);
    assert_eq!(status(&host.run(&mut ring, &nop(1))), Status::Success);
    host.farm.set_bus_master(false);
    host.step(1000);
    host.memory.is_closed = true;
    host.submit(&mut ring, &nop(2));
    host.until("the refusal is noted", |host| host.errors().1 > 0);
    assert_eq!(host.errors().0, ErrorCode::RingAccess as u32);
    host.step(20_000);
    assert!(
        host.memory.breaches.is_empty(),
        "{:?}",
        host.memory.breaches
    );
    assert_eq!(host.counter(QueueId(1), QueueCounter::Completed), 1);
    host.memory.is_closed = false;
    host.farm.function_level_reset();
    host.until_idle();
    host.farm.set_bus_master(true);
    host.enable();
    let mut ring = host.create(1, 3, None);
    assert_eq!(status(&host.run(&mut ring, &nop(3))), Status::Success);
}

#[test]
fn an_admin_commands_data_that_are_refused_fail_it_alone() {
    let mut host = Host::up(Timing::smooth(17));
    host.memory.unwritable.push(DATA..DATA + PAGE);
    let identify = |dst| AdminCommand::Identify {
        dst: Iova(dst),
        dst_cap: 4096,
    };
    let done = host.admin(&identify(DATA));
    assert_eq!(status(&done), Status::DmaWriteFault);
    assert_eq!(host.errors(), (ErrorCode::DataWrite as u32, 1));
    assert_eq!(status(&host.admin(&identify(DATA + PAGE))), Status::Success);
    let short = AdminCommand::Identify {
        dst: Iova(DATA + PAGE),
        dst_cap: 255,
    };
    assert_eq!(status(&host.admin(&short)), Status::InvalidLength);
}
