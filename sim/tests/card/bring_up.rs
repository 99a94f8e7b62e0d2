//! From the socket to a ready function: protocol, configuration space, registers, admin queue.

use faam_hwif::admin::{AdminCommand, Feature, Health, IDENTIFY_BYTES, Identify, LogPage};
use faam_hwif::regs::{Access, BAR0_BYTES, CardRegister, INTERFACE_UUID};
use faam_hwif::{FUNCTIONS, IO_PAIRS_MAX, Iova, JOB_BYTES_MAX, QueueEntries, QueueId, Status, pci};

use crate::client::{
    BAR0, BAR2, CONFIG, Client, DEVICE_GET_INFO, DEVICE_GET_IRQ_INFO, DEVICE_GET_REGION_INFO,
    DEVICE_GET_REGION_IO_FDS, DEVICE_RESET,
};
use crate::host::{ARENA, Bench, Host, SCRATCH, status};

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes
        .chunks_exact(4)
        .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
        .collect()
}

fn payload(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn the_device_is_a_pci_device_with_three_regions_and_msix() {
    let bench = Bench::new();
    let mut client = Client::open(bench.card.socket(0).unwrap());
    let info = client
        .request(DEVICE_GET_INFO, &payload(&[16, 0, 0, 0]), &[])
        .unwrap();
    assert_eq!(words(&info), [16, 0b11, 9, 5]);
    for index in 0..9 {
        let info = client
            .request(
                DEVICE_GET_REGION_INFO,
                &payload(&[32, 0, index, 0, 0, 0, 0, 0]),
                &[],
            )
            .unwrap();
        let size = match index {
            0 => BAR0_BYTES,
            2 => pci::BAR_MSIX_BYTES,
            7 => 4096,
            _ => 0,
        };
        let flags = if size == 0 { 0 } else { 3 };
        assert_eq!(words(&info), [32, flags, index, 0, size, 0, 0, 0]);
    }
    for (index, count) in [(0, 0), (1, 0), (2, 17), (3, 0), (4, 0)] {
        let info = client
            .request(DEVICE_GET_IRQ_INFO, &payload(&[16, 0, index, 0]), &[])
            .unwrap();
        let flags = if count == 0 { 0 } else { 3 };
        assert_eq!(words(&info), [16, flags, index, count]);
    }
    let fds = client.request(DEVICE_GET_REGION_IO_FDS, &payload(&[16, 0, 0, 0]), &[]);
    assert_eq!(fds, Err(rustix::io::Errno::OPNOTSUPP.raw_os_error()));
}

#[test]
fn configuration_space_names_the_card_and_sizes_its_bars() {
    let bench = Bench::new();
    let mut client = Client::open(bench.card.socket(1).unwrap());
    assert_eq!(
        client.read32(CONFIG, 0),
        u32::from(pci::VENDOR_ID) | u32::from(pci::DEVICE_ID) << 16
    );
    assert_eq!(client.read32(CONFIG, 8) >> 8, pci::CLASS_CODE);
    for (bar, size) in [(0, BAR0_BYTES), (2, pci::BAR_MSIX_BYTES)] {
        client.write32(CONFIG, 0x10 + bar * 4, u32::MAX);
        let read = client.read32(CONFIG, 0x10 + bar * 4);
        assert_eq!((read & !0xF).wrapping_neg(), size);
    }
    client.write32(CONFIG, 0, 0);
    assert_eq!(
        client.read32(CONFIG, 0) & 0xFFFF,
        u32::from(pci::VENDOR_ID),
        "ids are read-only"
    );
}

#[test]
fn registers_answer_only_with_memory_space_on() {
    let bench = Bench::new();
    let mut client = Client::open(bench.card.socket(0).unwrap());
    assert_eq!(client.read32(BAR0, 8), u32::MAX);
    assert_eq!(client.read32(BAR2, 12), u32::MAX);
    client.command(2);
    assert_eq!(client.read32(BAR0, 8), 0x4D61_6146);
    assert_eq!(client.read32(BAR2, 12), 1, "vectors are masked after reset");
}

#[test]
fn every_register_has_its_value_and_read_only_ones_keep_it() {
    let bench = Bench::new();
    let mut client = Client::open(bench.card.socket(1).unwrap());
    client.command(2);
    let all = |client: &mut Client| -> Vec<u32> {
        CardRegister::ALL
            .iter()
            .filter(|register| **register != CardRegister::ControlHeartbeat)
            .map(|register| client.read32(BAR0, register.offset()))
            .collect()
    };
    let before = all(&mut client);
    assert!(before.iter().all(|value| *value != u32::MAX));
    for register in CardRegister::ALL {
        if register.reset() != 0 {
            assert_eq!(client.read32(BAR0, register.offset()), register.reset());
        }
        if register.access() != Access::ReadWrite {
            client.write32(BAR0, register.offset(), 0x1234_5678);
        }
    }
    assert_eq!(all(&mut client), before);

    let mut read = |register: CardRegister| client.read32(BAR0, register.offset());
    let uuid = [
        CardRegister::IdentityInterfaceUuid0,
        CardRegister::IdentityInterfaceUuid1,
        CardRegister::IdentityInterfaceUuid2,
        CardRegister::IdentityInterfaceUuid3,
    ]
    .map(&mut read);
    assert_eq!(uuid, INTERFACE_UUID);
    assert_eq!(
        read(CardRegister::IdentityFunction),
        1 | u32::from(FUNCTIONS) << 8
    );
    assert_eq!(read(CardRegister::IdentityModel), 1);
    assert_eq!(read(CardRegister::CapabilitiesClockKhz), 250_000);
    assert_eq!(read(CardRegister::CapabilitiesEngines), 1 | 2 << 8);
    assert_eq!(read(CardRegister::ControlStatus), 0b100, "dma_idle alone");
}

#[test]
fn odd_sizes_and_offsets_read_the_same_bytes() {
    let bench = Bench::new();
    let mut client = Client::open(bench.card.socket(0).unwrap());
    client.command(2);
    let whole = client.read(BAR0, 0, 0x30).unwrap();
    for (offset, count) in [(0, 1), (1, 1), (3, 2), (8, 8), (5, 8), (0x2E, 2)] {
        let part = client.read(BAR0, offset, count).unwrap();
        assert_eq!(part, whole[offset as usize..][..count as usize]);
    }
    // A write that is not of whole words changes nothing.
    let at = u64::from(CardRegister::QueueControlAdminSqLo.offset());
    client.write(BAR0, at, &[1, 2]).unwrap();
    client.write(BAR0, at + 1, &[1, 2, 3, 4]).unwrap();
    assert_eq!(client.read(BAR0, at, 8).unwrap(), [0; 8]);
    client.write(BAR0, at, &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    assert_eq!(client.read(BAR0, at, 8).unwrap(), [1, 2, 3, 4, 5, 6, 7, 8]);
    // The whole BAR at once, and not a byte more.
    assert_eq!(
        client.read(BAR0, 0, BAR0_BYTES).unwrap().len(),
        BAR0_BYTES as usize
    );
    assert!(client.read(BAR0, 4, BAR0_BYTES).is_err());
    assert!(client.read(BAR0, u64::MAX - 1, 4).is_err());
    assert!(client.read(1, 0, 4).is_err());
}

#[test]
fn identify_agrees_with_the_capability_block() {
    let bench = Bench::new();
    let mut serials = Vec::new();
    for function in 0..FUNCTIONS {
        let mut host = bench.host(function);
        let done = host.admin(&AdminCommand::Identify {
            dst: Iova(ARENA + SCRATCH),
            dst_cap: IDENTIFY_BYTES as u32,
        });
        assert_eq!(status(&done), Status::Success);
        assert_eq!(done.out_len as usize, IDENTIFY_BYTES);
        let bytes = host.arena.read(SCRATCH, IDENTIFY_BYTES);
        let identify = Identify::from_bytes(&bytes.try_into().unwrap());
        assert_eq!(identify.function, function);
        assert_eq!(identify.engines, 1);
        assert_eq!(identify.job_bytes_max, JOB_BYTES_MAX);
        assert_eq!(identify.io_pairs_max, IO_PAIRS_MAX);
        assert_eq!(identify.clock_khz, 250_000);
        serials.push(identify.serial);
        let lo = host.register(CardRegister::IdentitySerialLo);
        let hi = host.register(CardRegister::IdentitySerialHi);
        let number = format!("{:016X}", u64::from(lo) | u64::from(hi) << 32);
        assert!(identify.serial.starts_with(number.as_bytes()));
    }
    assert_eq!(serials[0], serials[1], "one card, one serial");
}

#[test]
fn an_identify_that_does_not_fit_writes_nothing() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let done = host.admin(&AdminCommand::Identify {
        dst: Iova(ARENA + SCRATCH),
        dst_cap: IDENTIFY_BYTES as u32 - 1,
    });
    assert_eq!(status(&done), Status::InvalidLength);
    assert_eq!(host.arena.read(SCRATCH, 256), [0; 256]);
}

#[test]
fn queues_are_created_once_and_deleted_once() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    for id in 1..=IO_PAIRS_MAX {
        host.create(id, 4, id % 2 == 0, None);
    }
    assert_eq!(
        host.register(CardRegister::QueueControlQueueCount),
        u32::from(IO_PAIRS_MAX)
    );
    let again = crate::host::Ring::at(3, 4, false).creation(None);
    assert_eq!(status(&host.admin(&again)), Status::QueueExists);
    let beyond = AdminCommand::CreateQueue {
        queue: QueueId(17),
        entries: QueueEntries::from_log2(4).unwrap(),
        sq: Iova(ARENA),
        cq: Iova(ARENA),
        shadow: None,
        vector: None,
        epoch: faam_hwif::QueueEpoch(1),
    };
    assert_eq!(status(&host.admin(&beyond)), Status::InvalidQueue);
    for id in 1..=IO_PAIRS_MAX {
        assert_eq!(host.delete(id), Status::Success);
        assert_eq!(host.delete(id), Status::InvalidQueue);
    }
    assert_eq!(host.delete(0), Status::InvalidQueue);
    assert_eq!(host.register(CardRegister::QueueControlQueueCount), 0);
}

#[test]
fn a_queue_whose_shadow_page_cannot_be_reached_is_not_created() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let mut ring = crate::host::Ring::at(1, 4, true);
    ring.shadow = Some(0x7000_0000);
    let done = host.admin(&ring.creation(None));
    assert_eq!(status(&done), Status::DmaWriteFault);
    assert_eq!(host.register(CardRegister::QueueControlQueueCount), 0);
    assert_eq!(host.register(CardRegister::ErrorFirst) & 0xFFFF, 4);
}

#[test]
fn features_are_granted_within_limits() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    for (value, granted) in [(4, 4), (0, 1), (99, 16)] {
        let done = host.admin(&AdminCommand::SetFeatures {
            feature: Feature::QueuePairs,
            value,
        });
        assert_eq!(done.out_len, granted);
    }
}

#[test]
fn health_counts_from_power_on() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let mut ring = host.create(1, 4, true, None);
    for id in 0..5 {
        host.run(&mut ring, &crate::host::nop(id));
    }
    let done = host.admin(&AdminCommand::GetLogPage {
        page: LogPage::Health,
        dst: Iova(ARENA + SCRATCH),
        dst_cap: 64,
    });
    assert_eq!(done.out_len, 64);
    let health = Health::from_bytes(&host.arena.read(SCRATCH, 64).try_into().unwrap());
    assert_eq!((health.jobs, health.jobs_failed), (5, 0));
}

#[test]
fn a_bad_admin_queue_is_fatal_until_reset() {
    let bench = Bench::new();
    let mut host = Host::attach(Client::open(bench.card.socket(0).unwrap()));
    host.set(CardRegister::QueueControlAdminQueue, 13);
    host.set(CardRegister::ControlControl, 1);
    assert_eq!(host.register(CardRegister::ControlStatus), 0b110);
    assert_eq!(host.register(CardRegister::ErrorFirst), 3);
    host.reset_register();
    assert_eq!(host.register(CardRegister::ErrorFirst), 0);
    host.enable();
}

#[test]
fn disabling_deletes_queues_and_leaves_dma_idle() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let epoch = host.register(CardRegister::ControlResetEpoch);
    host.create(1, 4, true, None);
    host.set(CardRegister::ControlControl, 0);
    assert_eq!(host.register(CardRegister::ControlStatus), 0b100);
    assert_eq!(host.register(CardRegister::QueueControlQueueCount), 0);
    assert_eq!(host.register(CardRegister::ControlResetEpoch), epoch);
    host.enable();
}

#[test]
fn the_heartbeat_advances_idle_and_busy() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let before = host.register(CardRegister::ControlHeartbeat);
    crate::host::eventually(|| host.register(CardRegister::ControlHeartbeat) != before);
    let mut ring = host.create(1, 6, true, None);
    let before = host.register(CardRegister::ControlHeartbeat);
    crate::host::eventually(|| {
        // Never a moment without an entry to fetch.
        for id in 0..32 {
            ring.submit(&host.arena, &mut host.client, &crate::host::nop(id));
        }
        for _ in 0..32 {
            ring.next(&host.arena);
        }
        ring.retire(&host.arena, &mut host.client);
        host.register(CardRegister::ControlHeartbeat) != before
    });
}

#[test]
fn three_resets_one_meaning() {
    let bench = Bench::new();
    let mut host = bench.host(0);
    let mut epochs = vec![host.register(CardRegister::ControlResetEpoch)];
    host.create(1, 4, true, None);

    host.reset_register();
    epochs.push(host.register(CardRegister::ControlResetEpoch));
    assert_eq!(host.register(CardRegister::ControlStatus), 0b100);
    assert_eq!(host.client.read32(CONFIG, 4) & 0xFFFF, 0x0006);

    host.enable();
    host.create(1, 4, true, None);
    host.client.request(DEVICE_RESET, &[], &[]).unwrap();
    assert_eq!(
        host.client.read32(CONFIG, 4) & 0xFFFF,
        0x0006,
        "restored, as the kernel does"
    );
    epochs.push(host.register(CardRegister::ControlResetEpoch));
    assert_eq!(host.register(CardRegister::ControlStatus), 0b100);

    host.enable();
    host.create(1, 4, true, None);
    // Initiate FLR: device control, bit 15, of the PCI Express capability at 0x60.
    host.client
        .write(CONFIG, 0x68, &0xA810u16.to_le_bytes())
        .unwrap();
    assert_eq!(
        host.client.read32(CONFIG, 4) & 0xFFFF,
        0,
        "command is reset"
    );
    host.client.command(6);
    epochs.push(host.register(CardRegister::ControlResetEpoch));
    assert_eq!(host.register(CardRegister::ControlStatus), 0b100);
    assert_eq!(host.register(CardRegister::QueueControlAdminQueue), 0xFF00);

    epochs.dedup();
    assert_eq!(epochs.len(), 4, "{epochs:?}");
    host.enable();
}

#[test]
fn a_card_started_again_with_the_same_seed_has_another_epoch_and_the_same_serial() {
    let read = || {
        let bench = Bench::new();
        let mut client = Client::open(bench.card.socket(0).unwrap());
        client.command(2);
        [
            client.read32(BAR0, CardRegister::ControlResetEpoch.offset()),
            client.read32(BAR0, CardRegister::IdentitySerialLo.offset()),
        ]
    };
    let (one, two) = (read(), read());
    assert_ne!(one[0], two[0]);
    assert_eq!(one[1], two[1]);
}
