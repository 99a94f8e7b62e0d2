//! A host that does its worst: entries, doorbells, registers and memory at random. The farm answers everything, in time.

use std::ops::Range;

use faam_dv::farm::Timing;
use faam_hwif::regs::{BAR0_BYTES, CardRegister, DOORBELL_SQ_TAIL};
use faam_hwif::{Opcode, Status, SubmissionEntry};
use fastrand::Rng;

use crate::bring_up::nop;
use crate::host::{Host, Ring, status};
use crate::jobs::{Job, SRC};
use crate::memory::{BASE, Touch};
use crate::random;

/// An address: somewhere in memory, at an edge of it, or anywhere.
fn address(random: &mut Rng) -> u64 {
    match random.u8(..5) {
        0 => random.u64(..),
        1 => u64::MAX - random.u64(..5000),
        2 => BASE + (4 << 20) - random.u64(..5000),
        _ => SRC + random.u64(..0x30_0000),
    }
}

fn size(random: &mut Rng) -> u32 {
    match random.u8(..5) {
        0 => random.u32(..),
        1 => (1 << 20) + random.u32(..3),
        _ => random.u32(..3000),
    }
}

/// An entry of any bytes, or one that is almost good.
fn entry(random: &mut Rng) -> SubmissionEntry {
    let mut bytes = [0; 64];
    bytes.fill_with(|| random.u8(..));
    let any = SubmissionEntry::from_bytes(&bytes);
    if random.u8(..4) == 0 {
        return any;
    }
    // The byte that is zero, nearly always.
    bytes[0x3B] = u8::from(random.u8(..10) == 0);
    SubmissionEntry {
        op: 0x80 + random.u8(..5),
        flags: random.u8(..16),
        src: address(random),
        dst: address(random),
        hist: address(random),
        aux: address(random),
        src_len: size(random),
        dst_cap: size(random),
        hist_len: size(random) >> random.u32(..20),
        aux_len: [1024, 1280, size(random)][random.usize(..3)],
        format: random.u8(..4),
        level: random.u8(..4),
        table_mode: random.u8(..3),
        timeout_us: [0, random.u32(..)][random.usize(..2)],
        ..SubmissionEntry::from_bytes(&bytes)
    }
}

/// The farm's writes since the log was cleared: each lies in the room of one of `entries`, or among the completions of a ring.
fn check_writes(host: &Host, entries: &[SubmissionEntry], completions: &[Range<u64>]) {
    let is_in = |at: &Range<u64>, first: u64, bytes: u64| {
        let end = u128::from(first) + u128::from(bytes);
        first <= at.start && u128::from(at.end) <= end
    };
    for touch in &host.memory.log {
        let Touch::Write { at, .. } = touch else {
            continue;
        };
        let is_result = entries.iter().any(|entry| {
            let counts = entry.op == Opcode::Count as u8;
            is_in(at, entry.dst, entry.dst_cap.into())
                || counts && is_in(at, entry.aux, entry.aux_len.into())
        });
        let is_completion = completions
            .iter()
            .any(|ring| ring.start <= at.start && at.end <= ring.end);
        assert!(
            is_result || is_completion,
            "bytes outside of any room: {at:x?}, of {entries:?}"
        );
    }
}

/// Where a ring's completions lie.
fn completions(ring: &Ring) -> Range<u64> {
    ring.cq..ring.completion(ring.entries.count() - 1) + 32
}

#[test]
fn any_entry_is_answered_once_and_in_time() {
    const ROUNDS: usize = 4_000;
    let (mut random, seed) = random("hostile entries");
    let mut host = Host::up(Timing::rough(seed));
    let mut ring = host.create(1, 4, Some(1));
    host.memory.log.clear();
    let mut by_class = std::collections::BTreeMap::new();
    for _ in 0..ROUNDS {
        let entry = entry(&mut random);
        let done = host.run(&mut ring, &entry);
        *by_class
            .entry(format!("{:?}", status(&done)))
            .or_insert(0u32) += 1;
        assert!(
            status(&done) != Status::Success || done.out_len <= entry.dst_cap,
            "more output than room: {entry:?}, {done:?}"
        );
        check_writes(&host, &[entry], &[completions(&ring)]);
        host.memory.log.clear();
    }
    println!("{ROUNDS} hostile entries: {by_class:?}");
    assert!(by_class.len() >= 5, "too much alike: {by_class:?}");
    Job::random(&mut random, 5000).check(&mut host, &mut ring);
    assert_eq!(host.health().jobs, ROUNDS as u64 + 1);
}

#[test]
fn any_admin_entry_is_answered_and_any_register_takes_any_value() {
    let (mut random, seed) = random("hostile admin");
    let mut host = Host::up(Timing::rough(seed));
    for _ in 0..400 {
        // Queues made by chance have rings anywhere: their refusals are theirs alone, but the admin queue's own place is
        // spared, as a host that writes there has itself to blame.
        let mut command = entry(&mut random);
        command.op = random.u8(..12);
        command.flags = u8::from(random.u8(..8) == 0);
        command.src_len = random.u32(..20);
        command.dst_cap = [random.u32(..16), size(&mut random)][random.usize(..2)];
        command.dst = SRC + (command.dst & 0xF_FFC0);
        let done = host.admin_entry(&command);
        status(&done);
        host.memory.log.clear();
    }
    // Doorbells and counters of any queue, with any value; and every other word but those that end the function's life.
    for _ in 0..3_000 {
        let offset = random.u32(..BAR0_BYTES / 4) * 4;
        let spared = [
            CardRegister::ControlControl.offset(),
            CardRegister::ControlReset.offset(),
            // The admin queue's own doorbells.
            0x1_0000,
            0x1_0004,
        ];
        if spared.contains(&offset) {
            continue;
        }
        match random.bool() {
            true => host.write(offset, random.u32(..)),
            false => drop(host.read(offset)),
        }
    }
    host.reset();
    host.enable();
    let mut ring = host.create(1, 3, None);
    assert_eq!(status(&host.run(&mut ring, &nop(1))), Status::Success);
    Job::random(&mut random, 5000).check(&mut host, &mut ring);
}

#[test]
fn entries_behind_tails_at_random_write_to_their_rooms_alone() {
    let (mut random, seed) = random("doorbells at random");
    for round in 0..20u64 {
        let mut host = Host::up(Timing::rough(seed ^ round));
        let mut ring = host.create(1, 3, None);
        host.memory.log.clear();
        let mut pushed = Vec::new();
        for _ in 0..60 {
            let entry = entry(&mut random);
            pushed.push(entry);
            host.push(&mut ring, &entry);
            let tail = ring.head.wrapping_add(random.u32(..12));
            host.doorbell(ring.id, DOORBELL_SQ_TAIL, tail);
            host.step(random.u32(..600));
            while host.peek(&ring).is_some() {
                host.next(&mut ring);
            }
        }
        host.reset();
        check_writes(&host, &pushed, &[completions(&ring)]);
        host.enable();
        let mut ring = host.create(2, 3, None);
        assert_eq!(status(&host.run(&mut ring, &nop(1))), Status::Success);
    }
}
