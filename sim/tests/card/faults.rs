//! What goes wrong: memory that is not there, work that is cut off, clients that die.

use std::time::{Duration, Instant};

use faam_hwif::admin::{AdminCommand, ERROR_LOG_ENTRY_BYTES, ErrorLogEntry, LogPage};
use faam_hwif::regs::CardRegister;
use faam_hwif::{CommandId, Iova, QueueId, Status};
use rustix::io::Errno;

use crate::client::{BAR0, CONFIG, Client, DEVICE_RESET, MAP_READ, MAP_WRITE};
use crate::fault_socket::Tester;
use crate::host::{
    ARENA, ARENA_BYTES, Arena, Bench, DST, Host, Ring, SCRATCH, SRC, compress, eventually, nop,
    status, text,
};

/// An address that nothing is mapped at.
const NOWHERE: u64 = 0x7_0000_0000;
/// A map of its own beside the arena.
const ASIDE: u64 = 0x5_0000_0000;

fn newest_error(host: &mut Host) -> ErrorLogEntry {
    let done = host.admin(&AdminCommand::GetLogPage {
        page: LogPage::Errors,
        dst: Iova(ARENA + SCRATCH),
        dst_cap: 4096,
    });
    assert!(done.out_len as usize >= ERROR_LOG_ENTRY_BYTES, "empty log");
    let bytes = host.arena.read(SCRATCH, ERROR_LOG_ENTRY_BYTES);
    ErrorLogEntry::from_bytes(&bytes.try_into().unwrap())
}

#[test]
fn data_that_cannot_be_reached_fails_its_job_alone() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let mut ring = host.create(1, 4, true, None);
    let data = text(10_000);
    host.arena.write(SRC, &data);
    let aside = Arena::new(0x10_000, true);
    host.client
        .map(ASIDE, 0x10_000, MAP_READ, Some((&aside.fd, 0)))
        .unwrap();
    let good = compress(1, 10_000, 1 << 20);
    for (src, dst, expected, code, at) in [
        (NOWHERE, good.dst, Status::DmaReadFault, 5, NOWHERE),
        // The last byte of the source is the first beyond the arena.
        (
            ARENA + ARENA_BYTES - 9_999,
            good.dst,
            Status::DmaReadFault,
            5,
            ARENA + ARENA_BYTES,
        ),
        (good.src, NOWHERE, Status::DmaWriteFault, 6, NOWHERE),
        // Read-only memory is read, and never written.
        (good.src, ASIDE, Status::DmaWriteFault, 6, ASIDE),
        (
            u64::MAX - 5,
            good.dst,
            Status::DmaReadFault,
            5,
            u64::MAX - 5,
        ),
    ] {
        let mut entry = good;
        (entry.src, entry.dst) = (src, dst);
        let done = host.run(&mut ring, &entry);
        assert_eq!(status(&done), expected, "{src:#x} -> {dst:#x}");
        let error = newest_error(&mut host);
        assert_eq!((error.code, error.queue, error.info), (code, 1, at));
    }
    assert_eq!(aside.read(0, 0x10_000), vec![0; 0x10_000]);
    assert_eq!(status(&host.run(&mut ring, &good)), Status::Success);
}

#[test]
fn memory_may_be_write_only_and_without_a_file() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let mut ring = host.create(1, 4, true, None);
    host.client
        .map(ASIDE, 0x1000, MAP_READ | MAP_WRITE, None)
        .unwrap();
    let mut entry = compress(1, 10, 1000);
    entry.src = ASIDE;
    assert_eq!(status(&host.run(&mut ring, &entry)), Status::DmaReadFault);

    host.client.unmap(ASIDE, 0x1000, 0).unwrap();
    let aside = Arena::new(0x1000, true);
    host.client
        .map(ASIDE, 0x1000, MAP_WRITE, Some((&aside.fd, 0)))
        .unwrap();
    assert_eq!(status(&host.run(&mut ring, &entry)), Status::DmaReadFault);
    let mut entry = compress(1, 10, 1000);
    entry.dst = ASIDE;
    assert_eq!(status(&host.run(&mut ring, &entry)), Status::Success);
    assert_eq!(aside.read(0, 2), [0x1F, 0x8B]);
}

#[test]
fn a_buffer_may_straddle_maps_of_any_order() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let mut ring = host.create(1, 4, true, None);
    // What a vIOMMU makes of one buffer: pages in another order than in the file.
    let aside = Arena::new(64 * 4096, true);
    let data = text(64 * 4096);
    for page in 0..64u64 {
        let place = (page * 29 + 5) % 64;
        aside.write(place * 4096, &data[page as usize * 4096..][..4096]);
        host.client
            .map(
                ASIDE + page * 4096,
                4096,
                MAP_READ | MAP_WRITE,
                Some((&aside.fd, place * 4096)),
            )
            .unwrap();
    }
    let mut entry = compress(1, 63 * 4096, 1 << 20);
    entry.src = ASIDE + 2048;
    let done = host.run(&mut ring, &entry);
    assert_eq!(status(&done), Status::Success);
    assert_eq!(done.crc32, crc32fast::hash(&data[2048..][..63 * 4096]));
    // And written the same way: stored data, so that the output is as long as the input.
    let noise: Vec<u8> = (0..100_000u64)
        .map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
        .collect();
    host.arena.write(SRC, &noise);
    let mut entry = compress(2, 100_000, 1 << 20);
    entry.format = 0;
    let plain = host.run(&mut ring, &entry);
    let expected = host.arena.read(DST, plain.out_len as usize);
    entry.dst = ASIDE + 100;
    let done = host.run(&mut ring, &entry);
    assert_eq!(
        (status(&done), done.out_len),
        (Status::Success, plain.out_len)
    );
    let mut got = Vec::new();
    for page in 0..64u64 {
        got.extend_from_slice(&aside.read((page * 29 + 5) % 64 * 4096, 4096));
    }
    assert_eq!(&got[100..][..expected.len()], expected);
    // One unmap covers them all.
    host.client.unmap(ASIDE, 64 * 4096, 0).unwrap();
    assert_eq!(status(&host.run(&mut ring, &entry)), Status::DmaWriteFault);
}

#[test]
fn maps_are_checked() {
    let bench = Bench::new();
    let mut client = Client::open(bench.card.socket(0).unwrap());
    let arena = Arena::new(0x4000, true);
    let both = MAP_READ | MAP_WRITE;
    let file = Some((&arena.fd, 0));
    let errno = |errno: Errno| Err(errno.raw_os_error());
    assert_eq!(client.map(0x1000, 0, both, file), errno(Errno::INVAL));
    assert_eq!(client.map(0x1001, 0x1000, both, file), errno(Errno::INVAL));
    assert_eq!(client.map(0x1000, 0x1001, both, file), errno(Errno::INVAL));
    assert_eq!(client.map(0x1000, 0x1000, 0, file), errno(Errno::INVAL));
    assert_eq!(client.map(0x1000, 0x1000, 8, file), errno(Errno::INVAL));
    assert_eq!(client.map(0x1000, 0x5000, both, file), errno(Errno::INVAL));
    assert_eq!(
        client.map(u64::MAX - 0xFFF, 0x2000, both, None),
        errno(Errno::INVAL)
    );
    assert_eq!(
        client.map(0x1000, 0x1000, both, Some((&arena.fd, u64::MAX - 0xFFF))),
        errno(Errno::INVAL)
    );
    client.map(u64::MAX - 0xFFF, 0x1000, both, file).unwrap();
    client.map(0x1000, 0x2000, both, file).unwrap();
    for iova in [0, 0x1000, 0x2000] {
        assert_eq!(client.map(iova, 0x2000, both, file), errno(Errno::EXIST));
    }
    assert_eq!(client.unmap(0x2000, 0x1000, 0), errno(Errno::INVAL));
    assert_eq!(client.unmap(0x1000, 0x1000, 0), errno(Errno::INVAL));
    assert_eq!(client.unmap(0x1000, 0, 0), errno(Errno::INVAL));
    assert_eq!(client.unmap(0x1000, 0x1000, 2), errno(Errno::INVAL));
    client.unmap(0, 0x10_0000, 0).unwrap();
    client.map(0, 0x2000, both, file).unwrap();
    client.unmap(0, 0, 2).unwrap();
    client.map(0x1000, 0x2000, both, file).unwrap();

    // A file that cannot be written is not mapped for writing, one that is no memory not at all.
    let readable = std::fs::File::open("/proc/self/exe").unwrap().into();
    assert!(
        client
            .map(0x10_0000, 0x1000, MAP_READ, Some((&readable, 0)))
            .is_err()
    );
    let path = format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&arena.fd)
    );
    let read_only = std::fs::File::open(path).unwrap().into();
    assert_eq!(
        client.map(0x10_0000, 0x1000, both, Some((&read_only, 0))),
        errno(Errno::ACCESS)
    );
    client
        .map(0x10_0000, 0x1000, MAP_READ, Some((&read_only, 0)))
        .unwrap();
}

#[test]
fn a_file_that_shrinks_does_not_kill_the_card() {
    let bench = Bench::new();
    let client = Client::open(bench.card.socket(0).unwrap());
    // Everything in unsealed memory: rings, shadow page, data.
    let mut host = Host::attach_arena(client, Arena::new(ARENA_BYTES, false));
    host.enable();
    let mut ring = host.create(1, 4, true, None);
    let data = text(50_000);
    host.arena.write(SRC, &data);
    let good = compress(1, 50_000, 1 << 20);
    let done = host.run(&mut ring, &good);
    assert_eq!(
        (status(&done), done.crc32),
        (Status::Success, crc32fast::hash(&data))
    );
    // The destination goes, then the source, then the rings.
    rustix::fs::ftruncate(&host.arena.fd, DST).unwrap();
    assert_eq!(status(&host.run(&mut ring, &good)), Status::DmaWriteFault);
    rustix::fs::ftruncate(&host.arena.fd, SRC + 4096).unwrap();
    assert_eq!(status(&host.run(&mut ring, &good)), Status::DmaReadFault);
    rustix::fs::ftruncate(&host.arena.fd, 0).unwrap();
    ring.kick(&mut host.client);
    eventually(|| host.register(CardRegister::ErrorFirst) & 0xFFFF != 0);
    // The card is as good as new for the next client.
    drop(host);
    let mut host = bench.host(0);
    let mut ring = host.create(1, 4, true, None);
    assert_eq!(status(&host.run(&mut ring, &nop(1))), Status::Success);
}

#[test]
fn without_bus_mastering_nothing_is_touched() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let mut ring = host.create(1, 4, false, None);
    host.client.command(2);
    let before = host.arena.read(0, 0x2_0000);
    ring.push(&host.arena, &nop(1));
    let pushed = host.arena.read(0, 0x2_0000);
    assert_ne!(before, pushed);
    ring.kick(&mut host.client);
    eventually(|| host.register(CardRegister::ErrorFirst) == 4 | 1 << 16);
    assert_eq!(host.arena.read(0, 0x2_0000), pushed);
    // The queue is done for; a reset and bus mastering bring the function back.
    host.client.command(6);
    host.reset_register();
    host.enable();
    let mut ring = host.create(1, 4, false, None);
    assert_eq!(status(&host.run(&mut ring, &nop(1))), Status::Success);
}

/// Everything that must end DMA at once, tried in the middle of a stream of jobs.
fn check_cut(cut: impl Fn(&mut Host)) {
    let bench = Bench::with(|options| options.engines = 2);
    for round in 0..20u32 {
        let mut host = bench.host(0);
        let mut ring = host.create(1, 6, true, None);
        host.arena.write(SRC, &text(1 << 18));
        for id in 0..40 {
            ring.submit(
                &host.arena,
                &mut host.client,
                &compress(id, 1 << 18, 1 << 20),
            );
        }
        // Cut at another moment each time.
        for _ in 0..round % 5 {
            ring.next(&host.arena);
        }
        for _ in 0..round * 1000 {
            std::hint::spin_loop();
        }
        cut(&mut host);
        host.arena.write(0, &vec![0x5A; ARENA_BYTES as usize]);
        let end = Instant::now() + Duration::from_millis(15);
        while Instant::now() < end {
            std::thread::yield_now();
        }
        let after = host.arena.read(0, ARENA_BYTES as usize);
        assert!(
            after.iter().all(|byte| *byte == 0x5A),
            "the card wrote after it was cut off, round {round}"
        );
    }
}

#[test]
fn a_reset_register_ends_dma() {
    check_cut(|host| {
        host.reset_register();
        assert_eq!(host.register(CardRegister::ControlStatus), 0b100);
    });
}

#[test]
fn a_function_level_reset_ends_dma() {
    check_cut(|host| {
        host.client
            .write(CONFIG, 0x68, &0xA810u16.to_le_bytes())
            .unwrap();
    });
}

#[test]
fn a_device_reset_ends_dma() {
    check_cut(|host| {
        host.client.request(DEVICE_RESET, &[], &[]).unwrap();
    });
}

#[test]
fn an_unmap_ends_dma() {
    check_cut(|host| {
        host.client.unmap(ARENA, ARENA_BYTES, 0).unwrap();
    });
}

#[test]
fn bus_master_off_ends_dma() {
    check_cut(|host| host.client.command(2));
}

#[test]
fn disabling_ends_dma() {
    check_cut(|host| host.set(CardRegister::ControlControl, 0));
}

#[test]
fn deleting_a_queue_ends_its_dma_and_no_others() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    for _ in 0..20 {
        let mut busy = host.create(1, 6, true, None);
        let mut other = host.create(2, 4, true, None);
        host.arena.write(SRC, &text(1 << 18));
        for id in 0..20 {
            busy.submit(
                &host.arena,
                &mut host.client,
                &compress(id, 1 << 18, 1 << 20),
            );
        }
        busy.next(&host.arena);
        assert_eq!(host.delete(1), Status::Success);
        host.arena.write(busy.cq, &[0x5A; 64 * 32]);
        host.arena.write(DST, &[0x5A; 1 << 18]);
        // The other queue's job goes through the same engine, after whatever that was at.
        let mut entry = compress(9, 1000, 1 << 20);
        entry.dst = ARENA + DST + (1 << 19);
        assert_eq!(status(&host.run(&mut other, &entry)), Status::Success);
        assert!(host.arena.read(busy.cq, 64 * 32).iter().all(|b| *b == 0x5A));
        assert!(host.arena.read(DST, 1 << 18).iter().all(|b| *b == 0x5A));
        assert_eq!(host.delete(2), Status::Success);
    }
}

#[test]
fn a_hung_function_answers_registers_and_a_reset_mends_it() {
    let bench = Bench::with(|options| {
        options.allow_faults = true;
        let hang = "engine-hangs,function=0,after=3,times=1".parse().unwrap();
        options.faults.push(hang).unwrap();
    });
    let mut host = bench.host(0);
    let mut ring = host.create(1, 4, true, None);
    for id in 0..3 {
        assert_eq!(
            status(&host.run(&mut ring, &compress(id, 100, 1000))),
            Status::Success
        );
    }
    ring.submit(&host.arena, &mut host.client, &compress(3, 100, 1000));
    // An engine may be yet to take it: reset before that, the next life's first job would hang in its place.
    let mut tester = Tester::of(&bench);
    eventually(|| tester.ask("1 struck\n") == "1 ok engine-hangs=1");
    // The other function works, and so do this one's processor and registers, as long as one likes.
    let mut other = bench.host(1);
    let mut other_ring = other.create(1, 4, true, None);
    for id in 0..10 {
        let done = other.run(&mut other_ring, &compress(id, 100, 1000));
        assert_eq!(status(&done), Status::Success);
    }
    assert_eq!(ring.peek(&host.arena), None);
    assert_eq!(host.register(CardRegister::ControlStatus), 1);
    host.reset_register();
    assert_eq!(host.register(CardRegister::ControlStatus), 0b100);
    host.enable();
    let mut ring = host.create(1, 4, true, None);
    for id in 0..10 {
        assert_eq!(
            status(&host.run(&mut ring, &compress(id, 100, 1000))),
            Status::Success
        );
    }
}

#[test]
fn a_waiting_command_is_aborted_and_a_finished_one_is_not_found() {
    let bench = Bench::with(|options| {
        options.allow_faults = true;
        let hang = "engine-hangs,function=0".parse().unwrap();
        options.faults.push(hang).unwrap();
    });
    let mut host = bench.host(0);
    let mut ring = host.create(1, 4, true, None);
    // One hangs in the engine, one waits for it, one is held by the dispatcher, one is still in the ring.
    for id in 0..4 {
        ring.submit(&host.arena, &mut host.client, &compress(id, 100, 1000));
    }
    eventually(|| host.client.read32(BAR0, 0x2000 + 0x40) == 3);
    let abort = |host: &mut Host, id: u16| {
        let done = host.admin(&AdminCommand::Abort {
            queue: QueueId(1),
            command: CommandId(id),
        });
        assert_eq!(status(&done), Status::Success);
        done.out_len
    };
    for (id, found) in [(0, 0), (1, 1), (2, 1), (77, 0), (1, 0)] {
        assert_eq!(abort(&mut host, id), found, "command {id}");
        if found == 1 {
            let done = ring.next(&host.arena);
            assert_eq!((done.cid, status(&done)), (id, Status::Aborted));
        }
    }
}

#[test]
fn a_job_that_takes_too_long_is_given_up() {
    // At 1 MHz, 100,000 bytes take a tenth of a second.
    let bench = Bench::with(|options| options.pace_mhz = Some(1));
    let mut host = bench.host(0);
    let mut ring = host.create(1, 4, true, None);
    host.arena.write(SRC, &text(100_000));
    host.arena.write(DST, &[0x5A; 64]);
    let mut entry = compress(1, 100_000, 1 << 20);
    entry.timeout_us = 20_000;
    let begin = Instant::now();
    let done = host.run(&mut ring, &entry);
    assert_eq!(status(&done), Status::TimedOut);
    assert!(begin.elapsed() >= Duration::from_millis(20));
    assert_eq!(host.arena.read(DST, 64), [0x5A; 64]);
    entry.timeout_us = 10_000_000;
    assert_eq!(status(&host.run(&mut ring, &entry)), Status::Success);
}

#[test]
fn completions_are_paced_by_modelled_cycles() {
    let bench = Bench::with(|options| options.pace_mhz = Some(2));
    let mut host = bench.host(0);
    let mut ring = host.create(1, 5, true, None);
    host.arena.write(SRC, &text(20_000));
    let begin = Instant::now();
    for id in 0..10 {
        ring.submit(
            &host.arena,
            &mut host.client,
            &compress(id, 20_000, 1 << 20),
        );
    }
    let mut cycles = 0u64;
    for _ in 0..10 {
        cycles += u64::from(ring.next(&host.arena).cycles);
        // Never early: one engine, so the cycles add up.
        assert!(begin.elapsed() >= Duration::from_micros(cycles / 2));
    }
    // And not late either: oversleeping does not add up. The bound allows for a machine ten times busier.
    assert!(begin.elapsed() < Duration::from_micros(cycles / 2 * 10));
}

#[test]
fn the_next_client_finds_nothing_of_the_last() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let epoch = host.register(CardRegister::ControlResetEpoch);
    let mut ring = host.create(1, 4, true, Some(1));
    let fd = host.listen(1);
    host.arena.write(SRC, &text(1 << 20));
    for id in 0..8 {
        ring.submit(
            &host.arena,
            &mut host.client,
            &compress(id, 1 << 20, 2 << 20),
        );
    }
    // A second client waits while this one is there.
    let mut second = Client::connect(bench.card.socket(0).unwrap());
    let Host { client, arena, .. } = host;
    drop(client);
    second.version().unwrap();
    // The first one's memory is left alone from here on, and nobody holds its eventfd.
    arena.write(DST, &vec![0x5A; 1 << 20]);
    second.command(6);
    let status_register = CardRegister::ControlStatus.offset();
    assert_eq!(second.read32(BAR0, status_register), 0b100);
    assert_ne!(
        second.read32(BAR0, CardRegister::ControlResetEpoch.offset()),
        epoch
    );
    // What came for jobs that were done before its end.
    crate::host::interrupts_now(&fd);
    second.set_irqs(0x21, 1, 1, &[], &[]).unwrap();
    assert_eq!(crate::host::interrupts_now(&fd), 0);
    let mut host = Host::attach(second);
    host.enable();
    let mut ring = host.create(1, 4, true, None);
    assert_eq!(status(&host.run(&mut ring, &nop(1))), Status::Success);
    assert!(arena.read(DST, 1 << 20).iter().all(|byte| *byte == 0x5A));
}

#[test]
fn a_client_that_disappears_in_the_middle_of_anything_is_survived() {
    let bench = Bench::new();
    for n in 0..30usize {
        let mut host = bench.host(0);
        let mut ring: Ring = host.create(1, 6, true, None);
        host.arena.write(SRC, &text(1 << 16));
        for id in 0..20 {
            ring.submit(
                &host.arena,
                &mut host.client,
                &compress(id, 1 << 16, 1 << 20),
            );
        }
        // Part of a frame, or none.
        let frame = crate::client::frame(1, 9, 0, &[0; 16]);
        host.client.send(&frame[..n], &[]);
    }
    bench.host(0);
}
