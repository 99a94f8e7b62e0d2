//! Whether the kernel's VFIO is there, has the functions, and lets the gateway's user open them.

use std::os::unix::fs::MetadataExt;

use super::check::Finding;
use super::iommu::is_on;
use super::subject::Subject;
use crate::machine::Machine;
use crate::pci::{PciFunction, VFIO_PCI};

const DRIVER: &str = "sys/bus/pci/drivers/vfio-pci";
const CONTAINER: &str = "dev/vfio/vfio";
const IDLE_D3: &str = "sys/module/vfio_pci/parameters/disable_idle_d3";
const DISABLE_DENYLIST: &str = "sys/module/vfio_pci/parameters/disable_denylist";
/// Intel functions that vfio-pci itself refuses unless told otherwise (Linux, drivers/vfio/pci/vfio_pci.c,
/// vfio_pci_dev_in_denylist): QuickAssist of three generations, DSA and IAX of one.
const DENIED: [(u64, u64); 8] = [
    (0x8086, 0x0435),
    (0x8086, 0x0443),
    (0x8086, 0x19e2),
    (0x8086, 0x19e3),
    (0x8086, 0x37c8),
    (0x8086, 0x37c9),
    (0x8086, 0x0b25),
    (0x8086, 0x0cfe),
];
const OPTIONS: &str = "echo 'options vfio-pci disable_idle_d3=1' | sudo tee /etc/modprobe.d/faam.conf && sudo modprobe -r \
                       vfio-pci && sudo modprobe vfio-pci";
const UDEV_RULE: &str = "echo 'SUBSYSTEM==\"vfio\", GROUP=\"faam\", MODE=\"0660\"' | sudo tee /etc/udev/rules.d/60-faam.rules && \
                         sudo udevadm control --reload && sudo udevadm trigger --subsystem-match=vfio";

/// That its modules are loaded, and will be.
pub(super) fn modules(subject: &Subject) -> Finding {
    let machine = &subject.machine;
    let type1 = machine.has("sys/module/vfio_iommu_type1");
    let missing: Vec<_> = [
        ("vfio-pci", machine.has(DRIVER)),
        ("vfio_iommu_type1", type1),
    ]
    .into_iter()
    .filter_map(|(name, there)| (!there).then_some(name))
    .collect();
    let keep = "printf 'vfio-pci\\nvfio_iommu_type1\\n' | sudo tee /etc/modules-load.d/faam.conf";
    if !missing.is_empty() {
        return Finding::missing(
            subject,
            format!("not loaded: {}", missing.join(", ")),
            format!("sudo modprobe -a vfio-pci vfio_iommu_type1 && {keep}"),
        );
    }
    // Only what was loaded has a state; what is built in stays.
    let loaded = machine.has("sys/module/vfio_pci/initstate");
    let listed = ["etc/modules-load.d", "usr/lib/modules-load.d"]
        .iter()
        .flat_map(|dir| {
            machine
                .names(dir)
                .into_iter()
                .map(move |name| format!("{dir}/{name}"))
        })
        .chain(["etc/modules".to_owned()])
        .filter_map(|file| machine.text(&file))
        .any(|text| {
            text.lines()
                .any(|line| matches!(line.trim(), "vfio-pci" | "vfio_pci"))
        });
    if loaded && !listed {
        return Finding::warn(
            "vfio-pci and vfio_iommu_type1 are loaded, but nothing loads them at the next start",
            keep,
        );
    }
    Finding::ok("vfio-pci and vfio_iommu_type1 are there")
}

/// That the gateway's user may open vfio's container.
pub(super) fn container(subject: &Subject) -> Finding {
    let path = subject.machine.path(CONTAINER);
    let Ok(metadata) = path.metadata() else {
        return Finding::missing(subject, "/dev/vfio/vfio is not there", "sudo modprobe vfio");
    };
    let (user, mode) = (&subject.user, metadata.mode() & 0o777);
    match may_open(subject, &metadata) {
        true => Finding::ok(format!(
            "{} may open /dev/vfio/vfio (mode {mode:04o})",
            user.name
        )),
        // It gives nothing by itself: rights come with a group.
        false => Finding::missing(
            subject,
            format!(
                "{} may not open /dev/vfio/vfio (mode {mode:04o})",
                user.name
            ),
            "sudo chmod 0666 /dev/vfio/vfio",
        ),
    }
}

/// That nothing keeps vfio-pci from loading or from taking a function.
pub(super) fn denylist(subject: &Subject) -> Finding {
    let machine = &subject.machine;
    if let Some((place, mend)) = denied_module(machine) {
        return Finding::missing(
            subject,
            format!("vfio-pci may not be loaded: {place}"),
            mend,
        );
    }
    let disabled = is_on(machine.text(DISABLE_DENYLIST).as_deref());
    let denied = subject.functions.iter().find(|address| {
        let id = PciFunction::at(machine, **address).id();
        id.is_some_and(|id| DENIED.contains(&id))
    });
    match (denied, disabled) {
        (Some(address), false) => Finding::fail(
            format!("{address} is on vfio-pci's own denylist: unsafe in the hands of a process"),
            "echo 'options vfio-pci disable_denylist=1' | sudo tee -a /etc/modprobe.d/faam.conf && sudo modprobe -r vfio-pci && sudo \
             modprobe vfio-pci  # only if you know its erratum; else choose another card",
        ),
        (_, true) => Finding::warn(
            "vfio-pci's denylist is switched off: functions with known errata can be handed to processes",
            "sudo sed -i 's/disable_denylist=1//' /etc/modprobe.d/*.conf && sudo modprobe -r vfio-pci && sudo modprobe vfio-pci",
        ),
        (None, false) => Finding::ok("no denylist names vfio-pci or a card"),
    }
}

/// That a function nobody has open is not put to sleep.
pub(super) fn idle_d3(subject: &Subject) -> Finding {
    match subject.machine.text(IDLE_D3) {
        Some(text) if is_on(Some(&text)) => {
            Finding::ok("functions that nobody has open stay awake (disable_idle_d3=Y)")
        }
        Some(_) => Finding::warn(
            "vfio-pci puts a function that nobody has open into D3hot; an FPGA may lose its state there, or not come back",
            OPTIONS,
        ),
        None => Finding::warn(
            "vfio-pci is not loaded; once it is, it puts functions that nobody has open into D3hot unless told otherwise",
            "echo 'options vfio-pci disable_idle_d3=1' | sudo tee /etc/modprobe.d/faam.conf",
        ),
    }
}

/// That vfio-pci has the function.
pub(super) fn driver(_: &Subject, function: &PciFunction<'_>) -> Finding {
    let bind = format!("sudo faam device bind {}", function.address);
    match function.driver().as_deref() {
        Some(VFIO_PCI) => Finding::ok("bound to vfio-pci"),
        Some(other) => Finding::fail(format!("bound to {other}"), bind),
        None if !function.exists() => Finding::fail(
            "there is no such function",
            format!(
                "lspci -D -d {:04x}:{:04x}",
                faam_hwif::pci::VENDOR_ID,
                faam_hwif::pci::DEVICE_ID
            ),
        ),
        None => Finding::fail("bound to no driver", bind),
    }
}

/// That the gateway's user may open the function's group, and not everybody.
pub(super) fn device_node(subject: &Subject, function: &PciFunction<'_>) -> Finding {
    let Some(group) = function.group() else {
        return Finding::fail(
            "it has no IOMMU group, so no file in /dev/vfio",
            "faam doctor  # see the check iommu",
        );
    };
    let path = format!("/dev/vfio/{group}");
    let Ok(metadata) = subject
        .machine
        .path(&format!("dev/vfio/{group}"))
        .metadata()
    else {
        return Finding::fail(
            format!("{path} is not there: no driver of vfio has the function"),
            format!("sudo faam device bind {}", function.address),
        );
    };
    let (user, mode) = (&subject.user, metadata.mode() & 0o777);
    if !may_open(subject, &metadata) {
        return Finding::fail(
            format!(
                "{} may not open {path} (mode {mode:04o}, owner {}, group {})",
                user.name,
                metadata.uid(),
                metadata.gid()
            ),
            UDEV_RULE,
        );
    }
    if mode & 0o006 != 0 {
        return Finding::warn(
            format!("anybody may open {path} (mode {mode:04o}), and with it the card"),
            format!("sudo chmod 0660 {path} && {UDEV_RULE}"),
        );
    }
    if user.is_root() && mode & 0o060 != 0o060 {
        return Finding::warn(
            format!(
                "only root may open {path} (mode {mode:04o}); the gateway need not run as root"
            ),
            format!("{UDEV_RULE} && sudo faam doctor --user faam"),
        );
    }
    Finding::ok(format!("{} may open {path} (mode {mode:04o})", user.name))
}

/// What keeps the module itself out, and the mend.
fn denied_module(machine: &Machine) -> Option<(String, String)> {
    let names = |text: &str| matches!(text, "vfio" | "vfio-pci" | "vfio_pci" | "vfio_iommu_type1");
    for file in machine.names("etc/modprobe.d") {
        let text = machine
            .text(&format!("etc/modprobe.d/{file}"))
            .unwrap_or_default();
        let denies = text.lines().any(|line| {
            let mut words = line.split_whitespace();
            let verb = words.next();
            let named = words.next().is_some_and(names);
            let nothing = words
                .next()
                .is_some_and(|word| word.ends_with("/false") || word.ends_with("/true"));
            named && (verb == Some("blacklist") || verb == Some("install") && nothing)
        });
        if denies {
            return Some((
                format!("/etc/modprobe.d/{file} denies it"),
                format!(
                    "sudo sed -i -E '/^(blacklist|install) +vfio/d' /etc/modprobe.d/{file} && sudo modprobe vfio-pci"
                ),
            ));
        }
    }
    let line = machine.text("proc/cmdline")?;
    let word = line.split_whitespace().find(|word| {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        matches!(key, "modprobe.blacklist" | "module_blacklist") && value.split(',').any(names)
    })?;
    Some((
        format!("the kernel's command line has {word}"),
        format!("sudo sed -i 's/ *{word}//' /etc/default/grub && sudo update-grub && sudo reboot"),
    ))
}

/// Whether the gateway's user may read and write a file, by its mode.
fn may_open(subject: &Subject, metadata: &std::fs::Metadata) -> bool {
    let user = &subject.user;
    let mode = metadata.mode();
    let bits = match () {
        () if user.is_root() => return true,
        () if metadata.uid() == user.uid => mode >> 6,
        () if user.gids.contains(&metadata.gid()) => mode >> 3,
        () => mode,
    };
    bits & 0o6 == 0o6
}
