//! Registers, configuration space and the interrupt table, in any order, with commands in between.

use faam_hwif::regs::{CardRegister, DOORBELL_SQ_TAIL, INTERFACE_UUID, RESET_KEY, control};
use faam_hwif::{QueueId, SubmissionEntry};

use super::host::{Host, READ_ONLY, Ring, UNSEEN};
use super::input::Input;
use crate::config_space::CONFIG_BYTES;
use crate::function::Region;

/// Steps of one input.
const STEPS_MAX: usize = 96;
/// Bytes of one access at most.
const ACCESS_BYTES_MAX: usize = 16;

thread_local! {
    /// One card for all inputs: making one takes longer than most inputs do.
    static HOST: std::cell::RefCell<Host> = std::cell::RefCell::new(Host::new());
}

/// Panics if a reset leaves a queue or an access, if memory changes while bus mastering is off or where the card has no
/// right, if a fixed register changes, or if the end of the client leaves anything behind.
pub fn registers(bytes: &[u8]) {
    HOST.with_borrow_mut(|host| run(host, Input::new(bytes)));
}

fn run(host: &mut Host, mut input: Input<'_>) {
    let mut rings = host.begin();
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        step(host, &mut rings, &mut input);
    }
    settle(host);
    host.function.detach().expect("nothing is in flight");
    assert_eq!(host.function.memory.map_count(), 0, "maps are left");
    check_reset(host);
}

fn step(host: &mut Host, rings: &mut [Ring; 3], input: &mut Input<'_>) {
    let what = input.u8();
    match what % 16 {
        0 | 1 => {
            let all = CardRegister::ALL;
            let register = all[usize::from(input.u8()) % all.len()];
            let value = input.u32();
            write_register(host, register, value);
        }
        2 => access(host, Region::Registers, 0x4_0000, input),
        3 | 4 => access(host, Region::Config, CONFIG_BYTES, input),
        5 => access(host, Region::Msix, 0x2000, input),
        6 => {
            // The header, where most that acts lies: COMMAND, capabilities.
            let at = usize::from(input.u8());
            let bytes = input.array::<2>();
            host.function.region_write(Region::Config, at, &bytes);
        }
        7 => {
            let epoch = reset_epoch(host);
            host.function.device_reset().expect("nothing is in flight");
            check_reset(host);
            assert_ne!(reset_epoch(host), epoch, "the epoch stands");
        }
        8 => write_register(host, CardRegister::ControlReset, RESET_KEY),
        9 => host.unmap(),
        10 => host.map(),
        11 | 12 => {
            for ring in rings.iter_mut() {
                ring.lives = false;
            }
            host.enable(&mut rings[0]);
            check_fixed(host);
        }
        13 => {
            let queue = usize::from(input.u8()) % rings.len();
            let entry = SubmissionEntry::from_bytes(&input.array());
            if rings[queue].is_full() {
                rings[queue].outstanding.clear();
            }
            host.submit(&mut rings[queue], &entry);
        }
        14 => {
            let queue = QueueId(u16::from(input.u8() & 0x1F));
            let value = input.u32();
            host.ring_bell(
                queue,
                u32::from(what >> 4 & 3) * 4 + DOORBELL_SQ_TAIL,
                value,
            );
        }
        _ => settle(host),
    }
}

fn write_register(host: &mut Host, register: CardRegister, value: u32) {
    let (epoch, memory_space) = (reset_epoch(host), host.memory_space());
    host.set(register, value);
    if register == CardRegister::ControlReset && value == RESET_KEY && memory_space {
        check_reset(host);
        assert_ne!(reset_epoch(host), epoch, "the epoch stands");
    }
    if register == CardRegister::ControlControl && !control::Control(value).enable() && memory_space
    {
        assert_eq!(host.function.queues.all().len(), 0, "disabled, with queues");
    }
}

/// A read, or a write, of any length at any place of a region.
fn access(host: &mut Host, region: Region, region_bytes: usize, input: &mut Input<'_>) {
    let shape = input.u8();
    let count = 1 + usize::from(shape >> 1) % ACCESS_BYTES_MAX;
    let mut at = usize::try_from(input.u32()).unwrap_or(0) % (region_bytes - count + 1);
    if shape & 0x40 != 0 {
        at &= !3;
    }
    if shape & 1 == 0 {
        let mut into = [0; ACCESS_BYTES_MAX];
        let into = into.get_mut(..count).expect("at most so many");
        host.function.region_read(region, at, into);
        let config = region == Region::Config;
        assert!(
            config || host.memory_space() || into.iter().all(|byte| *byte == 0xFF),
            "an answer without memory space"
        );
    } else {
        let bytes: [u8; ACCESS_BYTES_MAX] = input.array();
        let from = bytes.get(..count).expect("at most so many");
        host.function.region_write(region, at, from);
    }
}

/// Everything runs to its end.
fn settle(host: &mut Host) {
    let may_write = host.bus_master();
    host.remember();
    host.settle();
    for at in host.changed() {
        assert!(may_write, "{at:#x} was written with bus mastering off");
        assert!(
            !READ_ONLY.contains(&at) && !UNSEEN.contains(&at),
            "{at:#x} was written without the right"
        );
    }
}

fn check_reset(host: &Host) {
    let function = &host.function;
    assert_eq!(function.queues.all().len(), 0, "queues are left");
    assert!(function.is_settled(), "an access is left");
    if host.memory_space() {
        let status = control::Status(host.get(CardRegister::ControlStatus));
        assert!(!status.ready() && status.dma_idle(), "{status:?}");
    }
}

fn check_fixed(host: &Host) {
    assert_eq!(
        host.get(CardRegister::IdentityInterfaceUuid0),
        INTERFACE_UUID[0]
    );
    assert_eq!(
        host.get(CardRegister::IdentityMagic),
        CardRegister::IdentityMagic.reset()
    );
    // These never do, so that a function that is gone is known by them.
    for register in [
        CardRegister::ControlStatus,
        CardRegister::ControlResetEpoch,
        CardRegister::ControlHeartbeat,
        CardRegister::ErrorCount,
    ] {
        assert_ne!(host.get(register), u32::MAX, "{register:?} reads as gone");
    }
}

fn reset_epoch(host: &Host) -> u32 {
    host.function
        .reset_epoch
        .load(std::sync::atomic::Ordering::Acquire)
}
