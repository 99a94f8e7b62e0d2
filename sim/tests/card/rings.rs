//! Rings: laps, fullness, shadow doorbells, interrupts.

use std::os::fd::AsFd;

use faam_hwif::Status;
use faam_hwif::doorbell::SHADOW_SQ_EVENT;
use faam_hwif::regs::{CardRegister, QueueCounter};

use crate::client::{BAR0, BAR2};
use crate::host::{Bench, Host, Ring, eventually, interrupts, interrupts_now, nop, status};

fn counter(host: &mut Host, ring: &Ring, counter: QueueCounter) -> u32 {
    let at = 0x2000 + u32::from(ring.id.0) * 0x40 + counter as u32 * 8;
    host.client.read32(BAR0, at)
}

fn check_laps(shadow: bool) {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let mut ring = host.create(1, 3, shadow, None);
    // Bursts of every size that fits, over many laps, so that each slot is the first, middle and last of one.
    let mut id = 0u16;
    for burst in (1..=7).cycle().take(400) {
        for n in 0..burst {
            ring.submit(&host.arena, &mut host.client, &nop(id.wrapping_add(n)));
        }
        for n in 0..burst {
            let done = ring.next(&host.arena);
            assert_eq!(done.cid, id.wrapping_add(n), "in order");
            assert_eq!(status(&done), Status::Success);
        }
        ring.retire(&host.arena, &mut host.client);
        id = id.wrapping_add(burst);
    }
    assert_eq!(ring.peek(&host.arena), None, "not one more than asked for");
    assert_eq!(
        counter(&mut host, &ring, QueueCounter::Completed),
        u32::from(id)
    );
    assert_eq!(host.register(CardRegister::ErrorCount), 0);
}

#[test]
fn nops_over_many_laps_with_shadow_doorbells() {
    check_laps(true);
}

#[test]
fn nops_over_many_laps_with_doorbell_registers() {
    check_laps(false);
}

#[test]
fn a_completion_queue_that_is_full_holds_entries_back() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let mut ring = host.create(1, 2, true, None);
    for id in 0..3 {
        ring.submit(&host.arena, &mut host.client, &nop(id));
    }
    for _ in 0..3 {
        ring.next(&host.arena);
    }
    // Three completions lie untaken as far as the card knows. It must not write over them.
    for id in 3..6 {
        ring.submit(&host.arena, &mut host.client, &nop(id));
    }
    // Being full for long is an error, and another queue is not held up by it.
    let mut other = host.create(2, 2, true, None);
    eventually(|| host.register(CardRegister::ErrorCount) == 1);
    assert_eq!(host.register(CardRegister::ErrorFirst), 7 | 1 << 16);
    assert_eq!(counter(&mut host, &ring, QueueCounter::Fetched), 3);
    host.run(&mut other, &nop(9));
    ring.retire(&host.arena, &mut host.client);
    for id in 3..6 {
        assert_eq!(ring.next(&host.arena).cid, id);
    }
}

#[test]
fn a_tail_beyond_the_queue_is_refused() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    for shadow in [false, true] {
        let mut ring = host.create(1, 3, shadow, None);
        let errors = host.register(CardRegister::ErrorCount);
        let good = ring.tail;
        ring.tail = ring.tail.wrapping_add(8);
        if let Some(page) = ring.shadow {
            host.arena.write32(page, ring.tail);
        }
        ring.kick(&mut host.client);
        eventually(|| host.register(CardRegister::ErrorCount) == errors + 1);
        assert_eq!(host.register(CardRegister::ErrorFirst) & 0xFFFF, 1);
        assert_eq!(counter(&mut host, &ring, QueueCounter::Fetched), 0);
        // The queue goes on with the next good tail.
        ring.tail = good;
        assert_eq!(status(&host.run(&mut ring, &nop(4))), Status::Success);
        assert_eq!(host.delete(1), Status::Success);
    }
}

#[test]
fn a_doorbell_without_a_queue_is_an_error() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    host.client.write32(BAR0, 0x1_0000 + 5 * 0x1000, 1);
    assert_eq!(host.register(CardRegister::ErrorFirst), 2 | 5 << 16);
}

#[test]
fn the_first_entry_needs_a_kick_and_a_sleeping_card_asks_for_the_next() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let mut ring = host.create(1, 4, true, None);
    let page = ring.shadow.unwrap();
    for id in 0..20 {
        // Asleep: the event index is where the next entry goes.
        eventually(|| host.arena.read32(page + u64::from(SHADOW_SQ_EVENT)) == ring.tail);
        assert!(ring.submit(&host.arena, &mut host.client, &nop(id)));
        ring.next(&host.arena);
        ring.retire(&host.arena, &mut host.client);
    }
    assert_eq!(counter(&mut host, &ring, QueueCounter::Kicks), 20);
}

#[test]
fn no_submission_is_lost_between_sleep_and_kick() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let mut ring = host.create(1, 4, true, None);
    // Submitting right after each completion runs into the card's every state between busy and asleep.
    for id in 0..20_000u16 {
        let done = host.run(&mut ring, &nop(id));
        assert_eq!(done.cid, id);
        for _ in 0..(u32::from(id) * 37 % 4000) {
            std::hint::spin_loop();
        }
    }
}

#[test]
fn an_armed_interrupt_comes_once() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let fd = host.listen(5);
    let mut ring = host.create(1, 4, true, Some(5));
    // CQ_WANT = 2: the third completion interrupts, no other does.
    ring.want(&host.arena, 2);
    for id in 0..8 {
        host.run(&mut ring, &nop(id));
    }
    assert_eq!(interrupts(&fd), 1);
    assert_eq!(counter(&mut host, &ring, QueueCounter::Interrupts), 1);
    // CQ_HEAD - 1 arms nothing.
    ring.want(&host.arena, ring.head.wrapping_sub(1));
    host.run(&mut ring, &nop(1));
    ring.want(&host.arena, ring.head);
    host.run(&mut ring, &nop(2));
    assert_eq!(interrupts(&fd), 1);
    assert_eq!(counter(&mut host, &ring, QueueCounter::Interrupts), 2);
}

#[test]
fn without_a_shadow_page_each_batch_interrupts() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let fd = host.listen(1);
    let mut ring = host.create(1, 4, false, Some(1));
    for id in 0..5 {
        host.run(&mut ring, &nop(id));
        assert_eq!(interrupts(&fd), 1);
    }
}

#[test]
fn a_masked_vector_stays_pending() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let fd = host.listen(1);
    let mut ring = host.create(1, 4, false, Some(1));
    host.client.write32(BAR2, 16 + 12, 1);
    host.run(&mut ring, &nop(0));
    eventually(|| host.client.read32(BAR2, 0x1000) == 1 << 1);
    assert_eq!(interrupts_now(&fd), 0);
    host.client.write32(BAR2, 16 + 12, 0);
    assert_eq!(interrupts(&fd), 1);
    assert_eq!(host.client.read32(BAR2, 0x1000), 0);
}

#[test]
fn irqs_can_be_triggered_masked_and_taken_away() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let fds = [host.listen(0), host.listen(1)];
    // DATA_NONE | TRIGGER on both, then DATA_BOOL | TRIGGER on the second.
    host.client.set_irqs(0x21, 0, 2, &[], &[]).unwrap();
    assert_eq!(fds.each_ref().map(interrupts), [1, 1]);
    host.client.set_irqs(0x22, 0, 2, &[0, 1], &[]).unwrap();
    assert_eq!(fds.each_ref().map(interrupts_now), [0, 1]);
    // MASK, trigger, UNMASK.
    host.client.set_irqs(0x09, 0, 1, &[], &[]).unwrap();
    host.client.set_irqs(0x21, 0, 1, &[], &[]).unwrap();
    assert_eq!(interrupts_now(&fds[0]), 0);
    host.client.set_irqs(0x11, 0, 1, &[], &[]).unwrap();
    assert_eq!(interrupts(&fds[0]), 1);
    // DATA_EVENTFD without descriptors takes one away; DATA_NONE with count 0 takes all.
    host.client.set_irqs(0x24, 0, 1, &[], &[]).unwrap();
    host.client.set_irqs(0x21, 0, 2, &[], &[]).unwrap();
    assert_eq!(fds.each_ref().map(interrupts_now), [0, 1]);
    host.client.set_irqs(0x21, 0, 0, &[], &[]).unwrap();
    host.client.set_irqs(0x21, 1, 1, &[], &[]).unwrap();
    assert_eq!(fds.each_ref().map(interrupts_now), [0, 0]);
    // More vectors than there are, and descriptors that do not match the count.
    assert!(host.client.set_irqs(0x21, 16, 2, &[], &[]).is_err());
    assert!(
        host.client
            .set_irqs(0x24, 0, 2, &[], &[fds[0].as_fd()])
            .is_err()
    );
}
