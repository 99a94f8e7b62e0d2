//! What is changed in the machine of files, and what has to come of it.

use serde_json::{Value, json};

use super::super::check::Status::{self, Fail, Ok as Fine, Warn};
use super::super::subject::{NoGateway, NoIdentity, RunningGateway, Subject};
use crate::machine::tree::{CARD, NEIGHBOUR, PORT, Tree};

pub(super) struct Case {
    pub(super) check: &'static str,
    pub(super) change: fn(&Tree, &mut Subject),
    pub(super) status: Status,
    /// Part of what is found.
    pub(super) found: &'static str,
    /// Part of the mend.
    pub(super) mend: &'static str,
}

macro_rules! case {
    ($check:literal, $change:expr, $status:ident, $found:expr, $mend:literal) => {
        Case {
            check: $check,
            change: $change,
            status: $status,
            found: $found,
            mend: $mend,
        }
    };
}

fn gateway(device: Value) -> Result<RunningGateway, NoGateway> {
    Ok(RunningGateway {
        about: json!({ "version": env!("CARGO_PKG_VERSION"), "pid": 77, "arena_bytes": 24 << 20, "data_dir": "/var/lib/faam" }),
        pid: Some(77),
        devices: vec![device],
    })
}

/// A gateway that says this of the memory that it may lock.
fn locking(memory: Value) -> Result<RunningGateway, NoGateway> {
    let mut running = gateway(json!({}))?;
    running.about["memlock_bytes"] = memory["bytes"].clone();
    running.about["locks_without_limit"] = memory["all"].clone();
    Ok(running)
}

fn no_card(subject: &mut Subject) {
    subject.functions.clear();
}

/// A file that keeps vfio-pci out, which is not there.
fn denied(tree: &Tree, file: &str, text: &str) {
    tree.file(file, text);
    tree.remove("sys/bus/pci/drivers/vfio-pci");
}

const NOIOMMU: &str = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
const HUGE: &str = "sys/kernel/mm/hugepages/hugepages-2048kB";

pub(super) fn all() -> Vec<Case> {
    let mut cases = of_machine();
    cases.extend(of_function());
    cases.extend(of_memory());
    cases.extend(of_serving());
    cases
}

#[rustfmt::skip]
fn of_machine() -> Vec<Case> {
    vec![
        case!("kernel", |tree, _| tree.file("proc/sys/kernel/osrelease", "5.3.0"), Fail, "5.4", "linux-image"),
        case!("kernel", |tree, _| tree.file("proc/sys/kernel/osrelease", "x"), Warn, "not to be read", "uname"),
        case!("iommu", |tree, _| tree.remove("sys/class/iommu"), Fail, "does not use it", "intel_iommu=on"),
        case!("iommu", |tree, _| { tree.remove("sys/class/iommu"); tree.remove("sys/firmware"); tree.file("proc/cpuinfo", "AuthenticAMD"); }, Fail, "no IOMMU", "AMD-Vi"),
        case!("iommu", |tree, subject| { tree.remove("sys/class/iommu"); no_card(subject); }, Warn, "does not use it", "update-grub"),
        case!("interrupt-remapping", |tree, _| tree.file("proc/interrupts", "25: 1 PCI-MSIX-0000:03:00.0\n26: 1 PCI-MSI-0000:00:00.2 0-edge AMD-Vi\n"), Fail, "not remapped", "firmware's setup"),
        case!("interrupt-remapping", |tree, _| { tree.file("proc/interrupts", "25: 1 PCI-MSIX\n"); tree.file("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y"); }, Warn, "allow_unsafe_interrupts", "firmware"),
        case!("interrupt-remapping", |tree, _| tree.remove("proc/interrupts"), Warn, "not to be seen", "sudo faam doctor"),
        case!("interrupt-remapping", |tree, _| { tree.file("proc/interrupts", "25: 1 PCI-MSIX\n"); tree.file("proc/cmdline", "quiet intremap=off"); }, Fail, "not remapped", "update-grub"),
        case!("iommu", |tree, _| { tree.remove("sys/class/iommu"); tree.file("proc/cpuinfo", "AuthenticAMD"); }, Fail, "does not use it", "(amd_iommu|iommu)=off"),
        case!("noiommu", |tree, _| tree.file(NOIOMMU, "Y\n"), Fail, "noiommu mode is on", "echo N"),
        case!("noiommu", |tree, _| tree.file("sys/kernel/iommu_groups/0/name", "vfio-noiommu"), Fail, "bound in", "unbind"),
        case!("noiommu", |tree, _| tree.file("etc/modprobe.d/x.conf", "options vfio enable_unsafe_noiommu_mode=1"), Warn, "x.conf", "sed -i"),
        case!("vfio-modules", |tree, _| tree.remove("sys/bus/pci/drivers/vfio-pci"), Fail, "not loaded: vfio-pci", "modprobe -a"),
        case!("vfio-modules", |tree, _| tree.remove("sys/module/vfio_iommu_type1"), Fail, "vfio_iommu_type1", "modprobe -a"),
        case!("vfio-modules", |tree, _| tree.remove("etc/modules-load.d"), Warn, "next start", "modules-load.d"),
        case!("vfio-modules", |tree, _| { tree.remove("etc/modules-load.d"); tree.remove("sys/module/vfio_pci/initstate"); }, Fine, "are there", ""),
        case!("vfio-denylist", |tree, _| denied(tree, "etc/modprobe.d/no.conf", "# x\n\tblacklist\t vfio-pci\nblacklist vfio_mdev\n"), Fail, "no.conf", r"'/^\s*blacklist\s+vfio-pci(\s|$)/d'"),
        case!("vfio-denylist", |tree, _| denied(tree, "etc/modprobe.d/no.conf", "install vfio_pci /bin/false\n"), Fail, "no.conf", "modprobe vfio-pci"),
        case!("vfio-denylist", |tree, _| denied(tree, "usr/lib/modprobe.d/no.conf", "blacklist vfio\n"), Fail, "/usr/lib/modprobe.d/no.conf", "sudo cp /usr/lib/modprobe.d/no.conf /etc/modprobe.d/"),
        case!("vfio-denylist", |tree, _| { denied(tree, "lib/modprobe.d/no.conf", "blacklist vfio\n"); tree.file("etc/modprobe.d/no.conf", "# stands in for it\n"); }, Fine, "no denylist", ""),
        case!("vfio-denylist", |tree, _| denied(tree, "etc/modprobe.d/no.conf.old", "blacklist vfio-pci\n"), Fine, "no denylist", ""),
        case!("vfio-denylist", |tree, _| denied(tree, "proc/cmdline", "quiet modprobe.blacklist=nouveau,vfio_pci"), Fail, "command line", "s/modprobe.blacklist=nouveau,vfio_pci/modprobe.blacklist=nouveau/"),
        case!("vfio-denylist", |tree, _| tree.file("etc/modprobe.d/no.conf", "blacklist vfio-pci\n"), Warn, "vfio-pci is there, but", "sed -i"),
        case!("vfio-denylist", |tree, _| { tree.card("vendor", "0x8086"); tree.card("device", "0x37c8"); }, Fail, "own denylist", "disable_denylist=1"),
        case!("vfio-denylist", |tree, _| tree.file("sys/module/vfio_pci/parameters/disable_denylist", "Y"), Warn, "switched off", "modprobe -r"),
        case!("vfio-idle-d3", |tree, _| tree.file("sys/module/vfio_pci/parameters/disable_idle_d3", "N"), Warn, "D3hot", "disable_idle_d3=1"),
        case!("vfio-idle-d3", |tree, _| tree.remove("sys/module/vfio_pci"), Warn, "not loaded", "modprobe.d"),
        case!("vfio-container", |tree, _| tree.remove("dev/vfio/vfio"), Fail, "not there", "modprobe vfio"),
        case!("vfio-container", |tree, _| tree.mode("dev/vfio/vfio", 0o600), Fail, "faam may not open", "chmod 0666"),
        case!("vfio-container", |tree, subject| { tree.remove("dev/vfio/vfio"); no_card(subject); }, Warn, "not there", "modprobe vfio"),
        case!("vfio-container", |tree, subject| { tree.mode("dev/vfio/vfio", 0o600); subject.user.uid = 0; }, Fine, "may open", ""),
        case!("card", |_, subject| subject.functions.push("0000:99:00.0".parse().expect("an address")), Fail, "not on the PCI bus: 0000:99:00.0", "rescan"),
        case!("card", |tree, _| tree.card("device", "0x0001"), Warn, "not by its id", "lspci"),
        case!("card", |tree, subject| { tree.card("device", "0x0001"); no_card(subject); }, Warn, "bound to vfio-pci, but no FaaM card: 0000:03:00.0", "--devices"),
    ]
}

#[rustfmt::skip]
fn of_function() -> Vec<Case> {
    vec![
        case!("bars", |tree, _| tree.card("resource", "0x0 0x0 0x0\n"), Fail, "BAR0", "pci=realloc"),
        case!("bars", |tree, _| tree.card("resource", "0x0 0x3ffff 0x20040200\n0x0 0x0 0x0\n0xfe040000 0xfe041fff 0x40200\n"), Fail, "no address", "pci=realloc"),
        case!("bars", |tree, _| tree.card("resource", "0xfe000000 0xfe000fff 0x40200\n"), Fail, "0x1000 bytes", "lspci"),
        case!("bars", |tree, _| tree.card("resource", "0xfe000000 0xfe03ffff 0x40200\n0x0 0x0 0x0\n0xfe040000 0xfe04ffff 0x40200\n"), Warn, "larger", "faam --version"),
        case!("link", |tree, _| tree.card("current_link_width", "4"), Warn, "x4 at 16.0 GT/s PCIe, of x8", "LnkSta"),
        case!("link", |tree, _| tree.card("current_link_speed", "8.0 GT/s PCIe"), Warn, "slower", "LnkSta"),
        case!("link", |tree, _| tree.card("current_link_width", "0"), Fail, "link is down", "seat the card"),
        case!("link", |tree, _| tree.without_card_file("max_link_width"), Fine, "no PCIe link", ""),
        case!("aer", |tree, _| tree.card("aer_dev_correctable", "RxErr 3\nTOTAL_ERR_COR 3\n"), Warn, "3 correctable", "journalctl"),
        case!("aer", |tree, _| tree.card("aer_dev_fatal", "DLP 1\nTOTAL_ERR_FATAL 1\n"), Fail, "1 fatal", "journalctl"),
        case!("ats-pasid", |tree, _| tree.config(CARD, 0x0F, 1 << 15), Fail, "ATS on", "pci=noats"),
        case!("ats-pasid", |tree, _| tree.config(CARD, 0x1B, 1), Fail, "PASID on", "pci=noats"),
        case!("ats-pasid", |tree, _| tree.card("config", "64 bytes for somebody else"), Warn, "root alone", "sudo faam doctor"),
        case!("reset", |tree, _| tree.card("reset_method", "pm bus"), Warn, "no FLR", "image"),
        case!("reset", |tree, _| tree.card("reset_method", "bus flr"), Warn, "comes before FLR", "echo flr"),
        case!("reset", |tree, _| tree.card("reset_method", "device_specific flr bus"), Fine, "flr", ""),
        case!("reset", |tree, _| tree.without_card_file("reset_method"), Fail, "no way to reset", "FLReset"),
        case!("acs", |tree, _| tree.file("proc/cmdline", "pcie_acs_override=downstream"), Fail, "not", "pcie_acs_override"),
        case!("acs", |tree, _| { tree.neighbour(Some("igb")); tree.config(PORT, 0x0D, 0); }, Fail, "no ACS on 0000:00:1c.0", "lspci -s 0000:00:1c.0"),
        case!("acs", |tree, _| tree.neighbour(Some("vfio-pci")), Warn, "one device", "slot of its own"),
        case!("acs", |tree, _| { tree.neighbour(Some("igb")); tree.file(&format!("sys/bus/pci/devices/{PORT}/config"), "64 bytes"); }, Warn, "root alone", "sudo faam doctor"),
        case!("group", |tree, _| tree.neighbour(Some("igb")), Fail, "0000:03:00.1 (8086:1533, igb)", "slot of its own"),
        case!("group", |tree, _| tree.neighbour(None), Warn, "no driver", "faam device bind --force 0000:03:00.0 0000:03:00.1"),
        case!("group", |tree, _| tree.group_stranger("INTC1006:00", "platform-dma"), Fail, "INTC1006:00 (no PCI function, platform-dma)", "slot of its own"),
        case!("acs", |tree, _| tree.without_card_file("iommu_group"), Fail, "it has no IOMMU group", "iommu"),
        case!("reset", |tree, _| { tree.without_card_file("reset_method"); tree.card("reset", ""); tree.without_card_file("config"); }, Warn, "not to be seen", "sudo faam doctor"),
        case!("reset", |tree, _| { tree.without_card_file("reset_method"); tree.card("reset", ""); tree.express(CARD, false); }, Warn, "no FLR", "image"),
        case!("reset", |tree, _| { tree.without_card_file("reset_method"); tree.card("reset", ""); tree.express(CARD, true); }, Fine, "has FLR", ""),
        case!("ats-pasid", |tree, _| tree.card("config", &"x".repeat(256)), Fine, "ATS not there, PASID not there", ""),
        case!("aer", |tree, _| tree.without_card_file("aer_dev_fatal"), Warn, "no AER counters", "dmesg"),
        case!("group", |tree, _| tree.neighbour(Some("vfio-pci")), Fine, NEIGHBOUR_SHOWN, ""),
        case!("group", |tree, subject| { tree.neighbour(Some("vfio-pci")); subject.functions.push(NEIGHBOUR.parse().expect("an address")); }, Fail, "cannot be served beside 0000:03:00.1", "ACS"),
        case!("driver", |tree, _| tree.driver(CARD, "other"), Fail, "bound to other", "faam device bind 0000:03:00.0"),
        case!("driver", |tree, _| tree.without_driver(CARD), Fail, "no driver", "faam device bind 0000:03:00.0"),
        case!("device-node", |tree, _| tree.remove("dev/vfio/7"), Fail, "/dev/vfio/7 is not there", "faam device bind"),
        case!("device-node", |tree, _| tree.mode("dev/vfio/7", 0o600), Fail, "faam may not open /dev/vfio/7", "KERNEL==\"7\", GROUP="),
        case!("device-node", |tree, subject| { tree.mode("dev/vfio/7", 0o600); subject.user.gids = vec![0, 970]; }, Fail, "may not open", "GROUP=\"cards\""),
        case!("device-node", |tree, _| tree.mode("dev/vfio/7", 0o666), Warn, "anybody", "chmod 0660"),
        case!("device-node", |tree, subject| { tree.mode("dev/vfio/7", 0o600); subject.user.uid = 0; }, Warn, "only root", "--user faam"),
        case!("iova-ranges", |tree, _| tree.file("sys/kernel/iommu_groups/7/reserved_regions", "0x0000000000000000 0x0000ffffffffffff reserved\n"), Fail, "0xffffffffffff reserved is reserved", "arena_bytes"),
        case!("iova-ranges", |tree, _| tree.card("iommu/intel-iommu/cap", "130000"), Fail, "20 bits", "another"),
        case!("iova-ranges", |tree, _| tree.remove("sys/kernel/iommu_groups/7/reserved_regions"), Warn, "group 7", "linux-image"),
    ]
}

/// As the list of a group's members shows it.
const NEIGHBOUR_SHOWN: &str = "0000:03:00.1 (8086:1533, vfio-pci)";

#[rustfmt::skip]
fn of_memory() -> Vec<Case> {
    vec![
        case!("memlock", |tree, _| tree.locked("8388608"), Warn, "25 MiB are locked for 1 functions (the arena of 24 MiB and the queues, once each); this shell may lock 8 MiB", "LimitMEMLOCK=512M"),
        case!("memlock", |_, subject| { subject.arena_bytes = 600 << 20; subject.gateway = locking(json!({ "bytes": 512 << 20, "all": false })); }, Fail, "the gateway may lock 512 MiB", "LimitMEMLOCK=601M"),
        case!("memlock", |tree, subject| { tree.locked("8388608"); subject.gateway = locking(json!({ "bytes": null, "all": false })); }, Fine, "the gateway may lock all", ""),
        case!("memlock", |tree, subject| { tree.locked("8388608"); subject.gateway = locking(json!({ "bytes": 8 << 20, "all": true })); }, Fine, "CAP_IPC_LOCK", ""),
        case!("memlock", |tree, _| { tree.second_card(); tree.locked("8388608"); }, Warn, "49 MiB are locked for 2 functions", "LimitMEMLOCK=512M"),
        case!("memlock", |tree, _| tree.locked("unlimited"), Fine, "may lock all", ""),
        case!("memlock", |tree, subject| { tree.card("device", "0x0001"); tree.locked("8388608"); no_card(subject); }, Warn, "for 2 functions", "ulimit -l"),
        case!("memlock", |tree, subject| { tree.locked("8388608"); tree.file("proc/self/status", "CapEff:\t0000000000004000\n"); subject.user.uid = 0; }, Warn, "as another user than root", "LimitMEMLOCK"),
        case!("memlock", |_, subject| subject.gateway = gateway(json!({})), Warn, "nothing shows the limit of the gateway", "sudo"),
        case!("huge-pages", |tree, _| tree.file(&format!("{HUGE}/free_hugepages"), "11"), Warn, "11 of 16", "vm.nr_hugepages=17"),
        case!("huge-pages", |tree, _| tree.file(&format!("{HUGE}/resv_hugepages"), "6"), Warn, "10 of 16", "sysctl -w vm.nr_hugepages=18"),
        case!("huge-pages", |tree, _| { tree.file(&format!("{HUGE}/nr_hugepages"), "1024"); tree.file(&format!("{HUGE}/free_hugepages"), "3"); }, Warn, "3 of 1024", "vm.nr_hugepages=1033"),
        case!("numa", |tree, _| { tree.dir("sys/devices/system/node/node1"); tree.card("numa_node", "1"); for (name, count) in [("nr", "100"), ("free", "3")] { tree.file(&format!("sys/devices/system/node/node1/hugepages/hugepages-2048kB/{name}_hugepages"), count); } }, Warn, "3 huge pages free", "echo 109 | sudo tee"),
        case!("huge-pages", |tree, subject| { tree.file(&format!("{HUGE}/free_hugepages"), "4"); tree.file("proc/77/status", "HugetlbPages:\t24576 kB\n"); subject.gateway = gateway(json!({})).map(|gateway| RunningGateway { pid: None, ..gateway }); }, Warn, "4 of 16", "sysctl"),
        case!("huge-pages", |tree, _| tree.remove(HUGE), Warn, "no huge pages", "CONFIG_HUGETLBFS"),
        case!("huge-pages", |tree, subject| { tree.file(&format!("{HUGE}/free_hugepages"), "4"); tree.file("proc/77/status", "HugetlbPages:\t24576 kB\n"); subject.gateway = gateway(json!({})); }, Fine, "gateway's arena lies", ""),
        case!("numa", |tree, _| { tree.dir("sys/devices/system/node/node1"); tree.card("numa_node", "1"); }, Warn, "node 1, which has 0 huge pages", "node1/hugepages"),
        case!("numa", |tree, _| { tree.dir("sys/devices/system/node/node1"); tree.card("numa_node", "-1"); }, Warn, "does not say", "numa_node"),
        case!("numa", |tree, subject| { tree.dir("sys/devices/system/node/node1"); tree.card("numa_node", "1"); tree.file("proc/77/numa_maps", "7f00 default file=/memfd:faam-arena N0=12 kernelpagesize_kB=2048\n"); subject.gateway = gateway(json!({})); }, Warn, "12 of 12 pages", "numactl --cpunodebind=1"),
        case!("numa", |tree, subject| { tree.dir("sys/devices/system/node/node1"); tree.card("numa_node", "1"); tree.file("proc/77/numa_maps", "7f00 default file=/memfd:faam-arena N0=2 N1=10\n"); subject.gateway = gateway(json!({})); }, Fine, "10 of 12", ""),
    ]
}

#[rustfmt::skip]
fn of_serving() -> Vec<Case> {
    vec![
        case!("interface", |_, subject| subject.identify = Box::new(|_| Err(NoIdentity::Wrong("the card speaks contract version 2.0".to_owned()))), Fail, "contract version 2.0", "image of this release"),
        case!("interface", |_, subject| subject.identify = Box::new(|_| Err(NoIdentity::Unavailable("another process has it open".to_owned()))), Warn, "another process", "once nothing above fails"),
        case!("interface", |_, subject| subject.identify = Box::new(|_| Err(NoIdentity::Unusable("its BARs are not those of a FaaM card".to_owned()))), Fail, "its BARs", "once nothing above fails"),
        case!("ways", |_, subject| subject.identify = Box::new(|_| Err(NoIdentity::Unavailable("in use".to_owned()))), Warn, "kernel's VFIO: not shown", "while nobody has it"),
        case!("ways", |_, subject| subject.identify = Box::new(|_| Err(NoIdentity::Unusable("no".to_owned()))), Fail, "kernel's VFIO: no (interface)", "faam doctor"),
        case!("interface", |_, subject| {
            subject.identify = Box::new(|_| Err(NoIdentity::Unavailable("open".to_owned())));
            subject.gateway = gateway(json!({ "address": "pci:0000:03:00.0", "state": "in-service", "detail": { "identity": { "abi_version": "1.0", "interface_uuid": "u", "serial": "S1" } } }));
        }, Fine, "in the gateway's service: contract 1.0, interface u, serial S1", ""),
        case!("simulated-card", |_, subject| subject.identify_simulated = |_| Err(NoIdentity::Wrong("not ready".to_owned())), Fail, "not ready", "faam sim"),
        case!("simulated-card", |_, subject| { subject.sockets.push("/run/card".into()); subject.identify_simulated = |dir| { assert!(dir.is_some()); Err(NoIdentity::Unavailable("nobody listens".to_owned())) }; }, Warn, "/run/card: nobody listens", "faam sim"),
        case!("simulated-card", |_, subject| subject.sockets.push("/run/card".into()), Fine, "/run/card: contract 1.0", ""),
        case!("simulated-card", |_, subject| subject.gateway = gateway(json!({ "simulated": true, "state": "in-service", "address": "vfio-user:/d/fn0" })), Fine, "the gateway serves with one: vfio-user:/d/fn0", ""),
        case!("cpu-engines", |_, subject| subject.cpu_engines = vec!["libdeflate"], Warn, "without ISA-L", "libisal2"),
        case!("gateway", |_, subject| subject.gateway = gateway(json!({ "name": "fpga0.1", "state": "down", "last_fault": "no heartbeat" })), Fail, "fpga0.1 is down: no heartbeat", "faam device reset fpga0.1"),
        case!("gateway", |_, subject| subject.gateway = gateway(json!({ "name": "fpga0.1", "state": "out-of-service", "last_fault": "-", "recovery": { "reason": "quarantined 7 times" } })), Fail, "fpga0.1 is out-of-service: quarantined 7 times", "faam device reset fpga0.1"),
        case!("gateway", |_, subject| subject.gateway = gateway(json!({ "name": "fpga0.1", "state": "drained" })), Warn, "fpga0.1 drained", "sudo faam device drain fpga0 --undo --data-dir /var/lib/faam"),
        case!("gateway", |_, subject| subject.gateway = gateway(json!({ "name": "fpga0.1", "state": "in-service" })), Fine, "fpga0.1 in-service", ""),
        case!("gateway", |_, subject| subject.gateway = Err(NoGateway::Unreachable("its owner alone".to_owned())), Warn, "owner alone", "sudo faam doctor"),
        case!("gateway", |_, subject| { let mut running = gateway(json!({})).expect("one"); running.about = json!({ "version": "0.0.1" }); running.devices.clear(); subject.gateway = Ok(running); }, Warn, "this is version", "restart"),
        case!("ways", |tree, _| tree.driver(CARD, "other"), Fail, "no (driver)", "faam doctor"),
        case!("ways", |_, subject| { no_card(subject); subject.identify_simulated = |_| Err(NoIdentity::Wrong("x".to_owned())); }, Warn, "a simulated card: no", "--devices none"),
    ]
}
