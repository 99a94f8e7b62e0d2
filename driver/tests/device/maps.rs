//! Maps of memory: which are refused, and what a card can reach through those that are not.

use faam_driver::transport::DmaAccess;
use faam_driver::{Arena, Kernel, PageSize};
use faam_hwif::admin::{ERROR_LOG_ENTRY_BYTES, ErrorLogEntry, LogPage};
use faam_hwif::error::ErrorCode;
use faam_hwif::{CardLevel, Iova, Status, SubmissionEntry, WireFormat};
use faam_sim::Fault;

use crate::behaviour::{Behaviour, Mutation, Need};
use crate::carrier::{ARENA_BYTES, Bench, MAPS_MAX};
use crate::data::{inflate, noise, text};
use crate::feeder::{Feeder, Work};
use crate::host::{ASIDE, DST, Host, Memory, PAGE, Ring, SRC, status};

pub(crate) const BEHAVIOURS: &[Behaviour] = &[
    Behaviour {
        name: "maps::overlapping_ones_are_refused",
        holds: "A map that overlaps another, at an end, inside or around it, is refused; the first one stays as it is.",
        needs: &[],
        show: overlapping_ones_are_refused,
        mutation: Mutation {
            faults: &[Fault::MapsOverlap],
            says: "a map over another",
        },
    },
    Behaviour {
        name: "maps::misaligned_ones_are_refused",
        holds: "A map that does not begin on a page is refused.",
        needs: &[],
        show: misaligned_ones_are_refused,
        mutation: Mutation {
            faults: &[Fault::MapsMisaligned],
            says: "a map off a page",
        },
    },
    Behaviour {
        name: "maps::the_msi_window_is_refused",
        holds: "A map that reaches into 0xFEE00000 to 0xFEEFFFFF, where interrupt messages go, is refused.",
        needs: &[],
        show: the_msi_window_is_refused,
        mutation: Mutation {
            faults: &[Fault::MapsMsiWindow],
            says: "a map in the MSI window",
        },
    },
    Behaviour {
        name: "maps::their_number_is_limited",
        holds: "The map beyond the limit is refused, those below it stay, and an unmap makes room for one.",
        needs: &[Need::MapLimit],
        show: their_number_is_limited,
        mutation: Mutation {
            faults: &[Fault::TakesAnyNumberOfMaps],
            says: "maps made",
        },
    },
    Behaviour {
        name: "maps::pages_of_4_kib",
        holds: "On 4 KiB pages a job's data lies across many of them, and arrives whole.",
        needs: &[],
        show: pages_of_4_kib,
        mutation: Mutation {
            faults: &[Fault::ReadsOnePage],
            says: "data on small pages",
        },
    },
    Behaviour {
        name: "maps::huge_pages",
        holds: "On 2 MiB pages the same holds, for the largest job.",
        needs: &[Need::HugePages],
        show: huge_pages,
        mutation: Mutation {
            faults: &[Fault::ReadsOnePage],
            says: "data on huge pages",
        },
    },
    Behaviour {
        name: "maps::dma_outside_a_map_is_a_fault",
        holds: "A source or destination that is not mapped, or only in part, ends its job alone as a DMA fault, with the address on the error log.",
        needs: &[],
        show: dma_outside_a_map_is_a_fault,
        mutation: Mutation {
            faults: &[Fault::HidesDmaFaults],
            says: "a source that is not mapped",
        },
    },
    Behaviour {
        name: "maps::a_read_only_map_is_not_written",
        holds: "Memory mapped for reading is read, and a job that would write it is a fault that leaves it as it was.",
        needs: &[],
        show: a_read_only_map_is_not_written,
        mutation: Mutation {
            faults: &[Fault::WritesReadOnlyMaps],
            says: "a write to a read-only map",
        },
    },
    Behaviour {
        name: "maps::unmapped_memory_is_not_reached",
        holds: "Once an unmap has returned, a job that names the memory is a fault, and another map may take its place.",
        needs: &[],
        show: unmapped_memory_is_not_reached,
        mutation: Mutation {
            faults: &[Fault::KeepsUnmapped],
            says: "a source that was unmapped",
        },
    },
];

/// Whether `memory` could be mapped at `iova`; it is not mapped when this returns.
fn can_be_mapped(host: &Host, memory: &Memory, iova: Iova) -> bool {
    let transport = &host.transport;
    let mapped = transport.map_dma(&memory.shared, iova, DmaAccess::ReadWrite);
    if mapped.is_ok() {
        let _ = transport.unmap_dma(iova, memory.bytes());
    }
    mapped.is_ok()
}

/// Compresses 1000 bytes at `src` to `dst`, and says how that ended.
fn job(host: &Host, ring: &mut Ring, src: u64, dst: u64) -> Status {
    let entry = SubmissionEntry {
        src,
        dst,
        ..host.compress(1, 1000)
    };
    status(&host.run(ring, &entry))
}

fn overlapping_ones_are_refused(bench: &Bench) {
    let mut host = Host::on(bench, 0);
    let mut ring = host.create(1, 4, false, None);
    let middle = Memory::new(4 * PAGE, Iova(ASIDE.0 + 4 * PAGE));
    middle.map(&host.transport, DmaAccess::ReadWrite);
    middle.write(0, &text(1000));
    let (one, four, twelve) = (
        Memory::new(PAGE, ASIDE),
        Memory::new(4 * PAGE, ASIDE),
        Memory::new(12 * PAGE, ASIDE),
    );
    let at = |page: u64| Iova(ASIDE.0 + page * PAGE);
    for (memory, page, over) in [
        (&four, 4, "all of it"),
        (&four, 1, "its first page"),
        (&four, 7, "its last page"),
        (&one, 5, "a page inside it"),
        (&twelve, 0, "all of it and more"),
    ] {
        let mapped = can_be_mapped(&host, memory, at(page));
        assert!(!mapped, "a map over another: {over}");
    }
    // Right beside it there is room, on both sides.
    assert!(can_be_mapped(&host, &four, at(0)) && can_be_mapped(&host, &four, at(8)));
    let dst = host.memory.at(DST);
    assert_eq!(job(&host, &mut ring, middle.at(0), dst), Status::Success);
}

fn misaligned_ones_are_refused(bench: &Bench) {
    let host = Host::on(bench, 0);
    let memory = Memory::new(PAGE, ASIDE);
    for off in [1, 64, 512, 2048, 4095] {
        let mapped = can_be_mapped(&host, &memory, Iova(ASIDE.0 + off));
        assert!(!mapped, "a map off a page by {off} bytes");
    }
    assert!(can_be_mapped(&host, &memory, ASIDE));
}

fn the_msi_window_is_refused(bench: &Bench) {
    const WINDOW: u64 = 0xFEE0_0000;
    const WINDOW_BYTES: u64 = 1 << 20;
    let host = Host::on(bench, 0);
    let (one, two) = (Memory::new(PAGE, ASIDE), Memory::new(2 * PAGE, ASIDE));
    for (memory, at) in [
        (&one, WINDOW),
        (&one, WINDOW + WINDOW_BYTES / 2),
        (&one, WINDOW + WINDOW_BYTES - PAGE),
        (&two, WINDOW - PAGE),
        (&two, WINDOW + WINDOW_BYTES - PAGE),
    ] {
        let mapped = can_be_mapped(&host, memory, Iova(at));
        assert!(!mapped, "a map in the MSI window, at {at:#x}");
    }
    // None of the addresses that the driver takes is there.
    for range in host.transport.iova_ranges() {
        assert!(
            range.last.0 < WINDOW || range.first.0 >= WINDOW + WINDOW_BYTES,
            "{range:?}"
        );
    }
}

fn their_number_is_limited(bench: &Bench) {
    let mut host = Host::on(bench, 0);
    let mut ring = host.create(1, 4, false, None);
    let page = Memory::new(PAGE, ASIDE);
    page.write(0, &text(1000));
    // Every other page, so that no two of them can be taken for one.
    let at = |n: usize| Iova(ASIDE.0 + 2 * PAGE * n as u64);
    let map = |n| {
        host.transport
            .map_dma(&page.shared, at(n), DmaAccess::ReadWrite)
            .is_ok()
    };
    let made = (0..2 * MAPS_MAX).take_while(|n| map(*n)).count();
    // The host's own memory is one.
    assert_eq!(made, MAPS_MAX - 1, "maps made of {MAPS_MAX}");
    let dst = host.memory.at(DST);
    for n in [0, made / 2, made - 1] {
        assert_eq!(job(&host, &mut ring, at(n).0, dst), Status::Success);
    }
    host.transport.unmap_dma(at(0), PAGE).unwrap();
    assert!(map(made), "room for one that was unmapped");
    assert!(!map(made + 1), "and for no other");
}

fn whole_job(bench: &Bench, arena: &std::sync::Arc<Arena>, bytes: usize, what: &str) {
    let function = bench.function_on(0, arena);
    let worker = Feeder::start(bench, &function);
    let kernel = Kernel::Compress {
        level: CardLevel::Fast,
        format: WireFormat::Raw,
        last: true,
    };
    // Half of it does not compress, so that the result lies across pages too.
    let input = [text(bytes / 2), noise(bytes - bytes / 2)].concat();
    let output = worker.run(Work::new(kernel, &input)).done().output;
    let whole = inflate(WireFormat::Raw, &output);
    assert!(whole == Some(input), "{what} did not arrive whole");
}

fn pages_of_4_kib(bench: &Bench) {
    let arena = Arena::on_pages(ARENA_BYTES, PageSize::Base).unwrap();
    whole_job(bench, &arena, 200_000, "data on small pages");
}

fn huge_pages(bench: &Bench) {
    let arena = Arena::on_pages(ARENA_BYTES, PageSize::Huge).unwrap();
    whole_job(bench, &arena, 1 << 20, "data on huge pages");
}

fn newest_error(host: &mut Host) -> (u16, u16, u64) {
    let page = host.log_page(LogPage::Errors);
    let entry = page.first_chunk::<ERROR_LOG_ENTRY_BYTES>();
    let entry = ErrorLogEntry::from_bytes(entry.expect("the error log has an entry"));
    (entry.code, entry.queue, entry.info)
}

fn dma_outside_a_map_is_a_fault(bench: &Bench) {
    let mut host = Host::on(bench, 0);
    let mut ring = host.create(1, 4, false, None);
    let aside = Memory::new(2 * PAGE, ASIDE);
    aside.map(&host.transport, DmaAccess::ReadWrite);
    host.memory.write(SRC, &noise(1000));
    aside.write(0, &vec![0xA5; 2 * PAGE as usize]);
    let (src, dst) = (host.memory.at(SRC), host.memory.at(DST));
    let end = aside.at(2 * PAGE);
    let (read, write) = (Status::DmaReadFault, Status::DmaWriteFault);
    let (data_read, data_write) = (ErrorCode::DataRead as u16, ErrorCode::DataWrite as u16);
    for (what, src, dst, expected, code, at) in [
        (
            "a source that is not mapped",
            end + PAGE,
            dst,
            read,
            data_read,
            end + PAGE,
        ),
        (
            "a source that ends beyond its map",
            end - 999,
            dst,
            read,
            data_read,
            end,
        ),
        (
            "a source at the end of all addresses",
            u64::MAX - 5,
            dst,
            read,
            data_read,
            u64::MAX - 5,
        ),
        (
            "a destination that is not mapped",
            src,
            end + PAGE,
            write,
            data_write,
            end + PAGE,
        ),
    ] {
        assert_eq!(job(&host, &mut ring, src, dst), expected, "{what}");
        assert_eq!(newest_error(&mut host), (code, 1, at), "{what}");
    }
    // A result that would end beyond its map: no more of it than the map's own bytes may be there.
    let status = job(&host, &mut ring, src, end - 100);
    assert_eq!(status, write, "a destination that ends beyond its map");
    let before = aside.read(0, 2 * PAGE as usize - 100);
    assert!(before.iter().all(|byte| *byte == 0xA5));
    assert_eq!(job(&host, &mut ring, src, dst), Status::Success);
}

fn a_read_only_map_is_not_written(bench: &Bench) {
    let mut host = Host::on(bench, 0);
    let mut ring = host.create(1, 4, false, None);
    let aside = Memory::new(2 * PAGE, ASIDE);
    aside.map(&host.transport, DmaAccess::Read);
    aside.write(0, &text(2 * PAGE as usize));
    host.memory.write(SRC, &text(1000));
    let before = aside.all();
    let (src, dst) = (host.memory.at(SRC), host.memory.at(DST));
    assert_eq!(job(&host, &mut ring, aside.at(0), dst), Status::Success);
    assert_eq!(
        job(&host, &mut ring, src, aside.at(0)),
        Status::DmaWriteFault,
        "a write to a read-only map"
    );
    assert_eq!(
        newest_error(&mut host),
        (ErrorCode::DataWrite as u16, 1, aside.at(0))
    );
    assert!(aside.all() == before, "a read-only map was written");
}

fn unmapped_memory_is_not_reached(bench: &Bench) {
    let mut host = Host::on(bench, 0);
    let mut ring = host.create(1, 4, false, None);
    let aside = Memory::new(PAGE, ASIDE);
    aside.map(&host.transport, DmaAccess::ReadWrite);
    aside.write(0, &text(1000));
    let dst = host.memory.at(DST);
    assert_eq!(job(&host, &mut ring, aside.at(0), dst), Status::Success);
    host.transport.unmap_dma(ASIDE, PAGE).unwrap();
    assert_eq!(
        job(&host, &mut ring, aside.at(0), dst),
        Status::DmaReadFault,
        "a source that was unmapped"
    );
    let other = Memory::new(PAGE, ASIDE);
    other.map(&host.transport, DmaAccess::ReadWrite);
    assert_eq!(job(&host, &mut ring, other.at(0), dst), Status::Success);
}
