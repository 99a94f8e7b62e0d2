//! A farm of two engines: jobs on both at once, each as the model has it, told in the order in which they end; abort, deletion and resets
//! with both at work.

use std::ops::Range;

use faam_dv::farm::Timing;
use faam_hwif::admin::AdminCommand;
use faam_hwif::regs::{CardRegister, QueueCounter, capabilities};
use faam_hwif::{CommandId, CompletionEntry, QueueId, Status, SubmissionEntry};

use crate::host::{Host, Ring, status};
use crate::jobs::{Job, PLACES};
use crate::memory::Touch;
use crate::random;

/// Rounds of jobs on each kind of memory, and the most bytes of each of their jobs.
const ROUNDS: usize = 10;
const BYTES_MAX: usize = 8_000;
/// Resets, and the cycles for which memory is watched after each.
const RESETS: usize = 12;
const WATCH_CYCLES: u32 = 10_000;

/// Where in the log a job's source was read, first and last.
fn reads(log: &[Touch], entry: &SubmissionEntry) -> Option<Range<usize>> {
    let source = entry.src..entry.src + u64::from(entry.src_len);
    let mut at = log.iter().enumerate().filter_map(|(n, touch)| match touch {
        Touch::Read(read) if read.start < source.end && source.start < read.end => Some(n),
        _ => None,
    });
    let first = at.next()?;
    Some(first..at.next_back().unwrap_or(first) + 1)
}

/// Whether two jobs were under way at once: each read its source between reads of the other's.
fn overlap(log: &[Touch], one: &Job, other: &Job) -> bool {
    match (reads(log, &one.entry), reads(log, &other.entry)) {
        (Some(one), Some(other)) => one.start < other.end && other.start < one.end,
        _ => false,
    }
}

fn compared(purpose: &str, timing: fn(u64) -> Timing) {
    let (mut random, seed) = random(purpose);
    let mut host = Host::pair(timing(seed), 0);
    let engines = capabilities::Engines(host.register(CardRegister::CapabilitiesEngines));
    assert_eq!(engines.count(), 2);
    let mut rings = [host.create(1, 4, Some(1)), host.create(2, 4, None)];
    let (mut count, mut bytes, mut at_once) = (0, 0, 0);
    for _ in 0..ROUNDS {
        host.memory.log.clear();
        let jobs: Vec<Job> = (0..PLACES)
            .map(|place| {
                let mut job = Job::random(&mut random, BYTES_MAX).in_place(place);
                job.entry.cid = place as u16;
                job
            })
            .collect();
        for (n, job) in jobs.iter().enumerate() {
            job.place(&mut host);
            host.push(&mut rings[n % 2], &job.entry);
        }
        for ring in &rings {
            host.ring(ring);
        }
        let mut seen = vec![false; jobs.len()];
        for ring in &mut rings {
            for _ in 0..jobs.len() / 2 {
                let done = host.next(ring);
                let job = &jobs[usize::from(done.cid)];
                job.judge(&host, &done);
                assert!(!seen[usize::from(done.cid)], "told twice: {done:?}");
                seen[usize::from(done.cid)] = true;
            }
        }
        for (n, one) in jobs.iter().enumerate() {
            let others = &jobs[n + 1..];
            at_once += others
                .iter()
                .filter(|it| overlap(&host.memory.log, one, it))
                .count();
            bytes += one.src.len();
        }
        count += jobs.len();
    }
    println!(
        "{purpose}: {count} jobs, {bytes} bytes, 0 mismatches; {at_once} pairs under way at once"
    );
    assert!(
        at_once >= ROUNDS,
        "{at_once} pairs of jobs were under way at once in {ROUNDS} rounds"
    );
}

#[test]
fn jobs_on_two_engines_and_smooth_memory_are_the_models() {
    compared("two engines, smooth", Timing::smooth);
}

#[test]
fn jobs_on_two_engines_and_rough_memory_are_the_models() {
    compared("two engines, rough", Timing::rough);
}

/// Two long jobs, submitted and both at work.
fn both_busy(host: &mut Host, ring: &mut Ring) -> [Job; 2] {
    let jobs = [0, 1].map(|place| {
        let mut job = Job::plain(40_000).in_place(place);
        job.entry.cid = CommandId::new(place as u16, 1).0;
        job
    });
    for job in &jobs {
        job.place(host);
        host.submit(ring, &job.entry);
    }
    host.until("both are at work", |host| {
        jobs.iter()
            .all(|job| reads(&host.memory.log, &job.entry).is_some())
    });
    jobs
}

/// What becomes of the two where the one of this number is aborted.
pub(crate) fn aborted(host: &mut Host, ring: &mut Ring, number: usize) -> [Status; 2] {
    let jobs = both_busy(host, ring);
    let done = host.admin(&AdminCommand::Abort {
        queue: ring.id,
        command: CommandId(jobs[number].entry.cid),
    });
    assert_eq!((status(&done), done.out_len), (Status::Success, 1));
    let ended: [CompletionEntry; 2] = [host.next(ring), host.next(ring)];
    jobs.map(|job| {
        let mut its = ended.iter().filter(|done| done.cid == job.entry.cid);
        let (Some(done), None) = (its.next(), its.next()) else {
            panic!("told not once: {ended:?}")
        };
        if status(done) == Status::Success {
            job.judge(host, done);
        }
        status(done)
    })
}

#[test]
fn an_abort_ends_one_of_two_at_work() {
    for number in 0..2 {
        let (mut random, seed) = random("abort of one of two");
        let mut host = Host::pair(Timing::rough(seed), 0);
        let mut ring = host.create(1, 3, None);
        let mut expected = [Status::Success; 2];
        expected[number] = Status::Aborted;
        assert_eq!(aborted(&mut host, &mut ring, number), expected);
        // Both engines are as good as new.
        for _ in 0..4 {
            Job::random(&mut random, 2_000).check(&mut host, &mut ring);
        }
    }
}

#[test]
fn a_short_job_is_told_before_the_long_one_that_was_there_first() {
    let mut host = Host::pair(Timing::smooth(2), 0);
    let mut ring = host.create(1, 3, None);
    let mut long = Job::plain(30_000).in_place(0);
    let mut short = Job::plain(100).in_place(1);
    (long.entry.cid, short.entry.cid) = (1, 2);
    for job in [&long, &short] {
        job.place(&mut host);
        host.submit(&mut ring, &job.entry);
    }
    for job in [&short, &long] {
        let completion = ring.completion(ring.head);
        let done = host.next(&mut ring);
        assert_eq!(done.cid, job.entry.cid);
        job.judge(&host, &done);
        // Its results were answered before its completion was written, whatever the other engine wrote meanwhile.
        let (at, room) = job.room();
        let written = |from: u64, to: u64| {
            host.memory.log.iter().rposition(
                |it| matches!(it, Touch::Write { at, .. } if at.start >= from && at.end <= to),
            )
        };
        let result = written(at, at + room as u64);
        assert!(result.is_some() && result < written(completion, completion + 28));
    }
}

#[test]
fn deleting_a_queue_ends_both_of_its_jobs() {
    let mut host = Host::pair(Timing::rough(5), 0);
    let mut ring = host.create(1, 3, None);
    let mut other = host.create(2, 3, None);
    both_busy(&mut host, &mut ring);
    let done = host.admin(&AdminCommand::DeleteQueue { queue: QueueId(1) });
    assert_eq!(status(&done), Status::Success);
    // Nothing of theirs is under way any more; the other queue is served.
    host.memory.is_closed = true;
    host.step(WATCH_CYCLES);
    assert!(
        host.memory.breaches.is_empty(),
        "{:?}",
        host.memory.breaches
    );
    host.memory.is_closed = false;
    for _ in 0..2 {
        Job::plain(500).check(&mut host, &mut other);
    }
    assert_eq!(host.counter(QueueId(2), QueueCounter::Completed), 2);
}

#[test]
fn after_a_reset_with_both_at_work_no_memory_is_touched() {
    let (mut random, seed) = random("resets of two engines");
    let mut host = Host::pair(Timing::rough(seed), 0);
    for round in 0..RESETS {
        let mut ring = host.create(1, 4, Some(1));
        host.memory.log.clear();
        both_busy(&mut host, &mut ring);
        host.step(random.u32(..10_000));
        match round % 3 {
            0 => host.reset(),
            1 => {
                host.farm.function_level_reset();
                host.until_idle();
            }
            _ => {
                host.set(CardRegister::ControlControl, 0);
                host.until_idle();
            }
        }
        host.memory.is_closed = true;
        host.step(WATCH_CYCLES);
        assert!(
            host.memory.breaches.is_empty(),
            "round {round}, memory was touched after DMA was idle: {:?}",
            host.memory.breaches
        );
        host.memory.is_closed = false;
        host.memory.log.clear();
        host.enable();
        let mut ring = host.create(3, 3, None);
        Job::random(&mut random, 1_000).check(&mut host, &mut ring);
        host.reset();
        host.enable();
    }
}
