//! Who a function says it is, and how it comes up.

use std::sync::Arc;

use faam_driver::transport::ConfigWidth;
use faam_driver::{Function, ModelKind};
use faam_hwif::admin::{AdminCommand, Feature};
use faam_hwif::regs::{CardRegister, capabilities};
use faam_hwif::{IO_PAIRS_MAX, Status, pci};
use faam_sim::Fault;

use crate::behaviour::{Behaviour, Mutation};
use crate::carrier::{Bench, Carrier, until};
use crate::host::{Host, status};

pub(crate) const BEHAVIOURS: &[Behaviour] = &[
    Behaviour {
        name: "bring_up::both_functions_are_identified",
        holds: "Both functions come up, say which they are, and have their card's serial number.",
        needs: &[],
        show: both_functions_are_identified,
        mutation: Mutation {
            faults: &[Fault::WrongFunctionIndex],
            says: "the second function's number",
        },
    },
    Behaviour {
        name: "bring_up::ready_follows_enable",
        holds: "STATUS.ready comes with CONTROL.enable and goes with it; DMA is idle whenever it is not there.",
        needs: &[],
        show: ready_follows_enable,
        mutation: Mutation {
            faults: &[Fault::NeverReady],
            says: "the function is ready",
        },
    },
    Behaviour {
        name: "bring_up::a_function_left_enabled_is_reset_first",
        holds: "A function that an earlier driver left enabled is reset before it is brought up again.",
        needs: &[],
        show: a_function_left_enabled_is_reset_first,
        mutation: Mutation {
            faults: &[Fault::ResetKeepsEpoch],
            says: "a reset came first",
        },
    },
    Behaviour {
        name: "bring_up::configuration_space_is_an_endpoints",
        holds: "Configuration space has the card's ids, MSI-X with a vector a queue, and an Express capability with function-level reset.",
        needs: &[],
        show: configuration_space_is_an_endpoints,
        mutation: Mutation {
            faults: &[Fault::NoFlrCapability],
            says: "function-level reset",
        },
    },
    Behaviour {
        name: "bring_up::feature_bits_are_the_contracts",
        holds: "FEATURES has no bit that the contract does not define, and the bits that the driver relies on.",
        needs: &[],
        show: feature_bits_are_the_contracts,
        mutation: Mutation {
            faults: &[Fault::UndefinedFeature],
            says: "undefined feature bits",
        },
    },
    Behaviour {
        name: "bring_up::set_features_grants_queue_pairs",
        holds: "Set Features grants the queue pairs that are asked for, at least one and at most what there is.",
        needs: &[],
        show: set_features_grants_queue_pairs,
        mutation: Mutation {
            faults: &[Fault::GrantsNoQueuePairs],
            says: "queue pairs granted",
        },
    },
    Behaviour {
        name: "bring_up::the_heartbeat_advances",
        holds: "HEARTBEAT advances while the function's processor runs.",
        needs: &[],
        show: the_heartbeat_advances,
        mutation: Mutation {
            faults: &[Fault::HeartbeatStands],
            says: "the heartbeat advances",
        },
    },
    Behaviour {
        name: "bring_up::the_self_test_passes_and_leaves_nothing",
        holds: "The self-test's known streams and sums come out right, and it leaves neither memory nor queues behind.",
        needs: &[],
        show: the_self_test_passes,
        mutation: Mutation {
            faults: &[Fault::WrongChecksum],
            says: "the self-test",
        },
    },
];

fn both_functions_are_identified(bench: &Bench) {
    let functions = [bench.function(0), bench.function(1)];
    let [first, second] = functions.each_ref().map(Function::identity);
    for identity in [first, second] {
        let inside = match bench.carrier() {
            Carrier::VfioUser | Carrier::KernelVfio => ModelKind::FunctionalModel,
            Carrier::Rtl => ModelKind::Rtl,
        };
        assert_eq!(identity.model, inside);
        assert!(identity.model.is_simulated());
        assert!(identity.engines >= 1);
        assert!(!identity.serial.is_empty());
    }
    assert_eq!(first.function_index, 0, "the first function's number");
    assert_eq!(second.function_index, 1, "the second function's number");
    assert_eq!(first.serial_number, second.serial_number);
}

fn ready_follows_enable(bench: &Bench) {
    let mut host = Host::attach(bench, 0);
    let before = host.status();
    assert!(!before.ready() && before.dma_idle(), "{before:?}");
    host.enable();
    let enabled = host.status();
    assert!(enabled.ready() && !enabled.dma_idle(), "{enabled:?}");
    host.set(CardRegister::ControlControl, 0);
    let after = host.status();
    assert!(!after.ready() && after.dma_idle(), "{after:?}");
}

fn a_function_left_enabled_is_reset_first(bench: &Bench) {
    let host = Host::on(bench, 0);
    let epoch = host.register(CardRegister::ControlResetEpoch);
    let transport = Arc::clone(&host.transport);
    let function = Function::bring_up(transport, bench.arena(), bench.config()).unwrap();
    let after = host.register(CardRegister::ControlResetEpoch);
    assert_ne!(epoch, after, "a reset came first");
    function.health().unwrap();
}

fn configuration_space_is_an_endpoints(bench: &Bench) {
    const CAPABILITIES_POINTER: u16 = 0x34;
    const MSIX: u32 = 0x11;
    const EXPRESS: u32 = 0x10;
    const CAPABILITIES_MAX: usize = 48;
    let transport = bench.open(0);
    let read = |at, width| transport.config_read(at, width).unwrap();
    assert_eq!(read(0x00, ConfigWidth::U16), u32::from(pci::VENDOR_ID));
    assert_eq!(read(0x02, ConfigWidth::U16), u32::from(pci::DEVICE_ID));
    let mut at = read(CAPABILITIES_POINTER, ConfigWidth::U8) as u16;
    let (mut vectors, mut resets) = (None, false);
    for _ in 0..CAPABILITIES_MAX {
        if at == 0 {
            break;
        }
        match read(at, ConfigWidth::U8) {
            // PCI 3.0, section 6.8.2.3: bits 10:0 of message control are the table's size less one.
            MSIX => vectors = Some((read(at + 2, ConfigWidth::U16) & 0x7FF) + 1),
            // PCIe 4.0, section 7.5.3.3: bit 28 of device capabilities.
            EXPRESS => resets = read(at + 4, ConfigWidth::U32) >> 28 & 1 != 0,
            _ => {}
        }
        at = read(at + 1, ConfigWidth::U8) as u16;
    }
    assert_eq!(vectors, Some(u32::from(pci::MSIX_VECTORS)), "MSI-X vectors");
    assert!(resets, "the function says that it has function-level reset");
}

fn feature_bits_are_the_contracts(bench: &Bench) {
    let host = Host::attach(bench, 0);
    let bits = host.register(CardRegister::CapabilitiesFeatures);
    let defined = capabilities::Features::default()
        .with_shadow_doorbells(true)
        .with_loaded_tables(true)
        .with_history(true)
        .with_decompress(true)
        .with_abort(true)
        .with_context_scrub(true)
        .with_paced(true);
    assert_eq!(bits & !defined.0, 0, "undefined feature bits");
    let features = capabilities::Features(bits);
    assert!(features.loaded_tables() && features.abort() && features.context_scrub());
    // Without these the driver writes its doorbells, and the CPU decompresses: gateware has neither.
    let spared = bench.carrier() == Carrier::Rtl;
    assert!(spared || features.shadow_doorbells() && features.decompress());
    let formats = host.register(CardRegister::CapabilitiesFormats);
    let levels = host.register(CardRegister::CapabilitiesLevels);
    assert_eq!((formats, levels), (0b111, 0b111), "formats and levels");
}

fn set_features_grants_queue_pairs(bench: &Bench) {
    let mut host = Host::on(bench, 0);
    let most = u32::from(IO_PAIRS_MAX);
    for (wanted, granted) in [(3, 3), (0, 1), (most, most), (10_000, most)] {
        let done = host.admin(&AdminCommand::SetFeatures {
            feature: Feature::QueuePairs,
            value: wanted,
        });
        assert_eq!(status(&done), Status::Success);
        assert_eq!(done.out_len, granted, "queue pairs granted of {wanted}");
    }
}

fn the_heartbeat_advances(bench: &Bench) {
    let function = bench.function(0);
    let first = function.heartbeat().unwrap();
    until(bench.patience(), "the heartbeat advances", || {
        function.heartbeat().unwrap() != first
    });
}

fn the_self_test_passes(bench: &Bench) {
    let function = bench.function(0);
    let report = match function.self_test() {
        Ok(report) => report,
        Err(error) => panic!("the self-test: {error}"),
    };
    assert!(report.jobs > 10, "{report:?}");
    assert_eq!(function.arena().free_bytes(), function.arena().bytes());
    // Its queue pair was deleted: both can be created.
    let _pairs = [
        function.create_queue_pair().unwrap(),
        function.create_queue_pair().unwrap(),
    ];
}
