//! Whether the kernel's VFIO is there, has the functions, and lets the gateway's user open them.

use std::collections::BTreeSet;
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
const OPTIONS: &str = "echo 'options vfio-pci disable_idle_d3=1' | sudo tee /etc/modprobe.d/faam-idle-d3.conf && sudo modprobe -r \
                       vfio-pci && sudo modprobe vfio-pci";
/// Where modprobe looks, the strongest first: of two files with one name that one alone counts (modprobe.d(5)).
const MODPROBE_DIRS: [&str; 4] = [
    "etc/modprobe.d",
    "run/modprobe.d",
    "usr/lib/modprobe.d",
    "lib/modprobe.d",
];

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
        // It is there all the same: built in, or loaded by name, which a blacklist does not hinder.
        if machine.has(DRIVER) {
            return Finding::warn(
                format!("vfio-pci is there, but may not be loaded again: {place}"),
                mend,
            );
        }
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
            "echo 'options vfio-pci disable_denylist=1' | sudo tee /etc/modprobe.d/faam-denylist.conf && sudo modprobe -r vfio-pci && \
             sudo modprobe vfio-pci  # only if you know its erratum; else choose another card",
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
            "echo 'options vfio-pci disable_idle_d3=1' | sudo tee /etc/modprobe.d/faam-idle-d3.conf",
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
    let rule = udev_rule(subject, group);
    if !may_open(subject, &metadata) {
        return Finding::fail(
            format!(
                "{} may not open {path} (mode {mode:04o}, owner {}, group {})",
                user.name,
                metadata.uid(),
                metadata.gid()
            ),
            rule,
        );
    }
    if mode & 0o006 != 0 {
        return Finding::warn(
            format!("anybody may open {path} (mode {mode:04o}), and with it the card"),
            format!("sudo chmod 0660 {path} && {rule}"),
        );
    }
    if user.is_root() && mode & 0o060 != 0o060 {
        return Finding::warn(
            format!(
                "only root may open {path} (mode {mode:04o}); the gateway need not run as root"
            ),
            format!("{rule} && sudo faam doctor --user faam"),
        );
    }
    Finding::ok(format!("{} may open {path} (mode {mode:04o})", user.name))
}

/// Gives an IOMMU group's file to the user's own group, and no other file of vfio's.
fn udev_rule(subject: &Subject, group: u32) -> String {
    let user = &subject.user;
    // The last is the user's own. For root it is the one that the gateway is to have.
    let owner = match user.gids.last() {
        Some(gid) if !user.is_root() => {
            group_name(&subject.machine, *gid).unwrap_or_else(|| gid.to_string())
        }
        _ => "faam".to_owned(),
    };
    format!(
        "echo 'SUBSYSTEM==\"vfio\", KERNEL==\"{group}\", GROUP=\"{owner}\", MODE=\"0660\"' | sudo tee -a \
         /etc/udev/rules.d/60-faam.rules && sudo udevadm control --reload && sudo udevadm trigger --subsystem-match=vfio"
    )
}

/// group(5): name, password, gid, members.
fn group_name(machine: &Machine, gid: u32) -> Option<String> {
    let groups = machine.text("etc/group")?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number = fields.nth(1)?.parse::<u32>().ok()?;
        (number == gid).then(|| name.to_owned())
    })
}

/// What keeps the module itself out, and the mend.
fn denied_module(machine: &Machine) -> Option<(String, String)> {
    let names = |text: &str| matches!(text, "vfio" | "vfio-pci" | "vfio_pci" | "vfio_iommu_type1");
    let mut seen = BTreeSet::new();
    let files = MODPROBE_DIRS.iter().flat_map(|dir| {
        let names = machine.names(dir).into_iter();
        names.map(move |name| (*dir, name))
    });
    for (dir, file) in files.filter(|(_, name)| name.ends_with(".conf")) {
        if !seen.insert(file.clone()) {
            continue;
        }
        let text = machine.text(&format!("{dir}/{file}")).unwrap_or_default();
        let denied = text.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let verb = words.next()?;
            let name = words.next().filter(|name| names(name))?;
            let nothing = words
                .next()
                .is_some_and(|word| word.ends_with("/false") || word.ends_with("/true"));
            (verb == "blacklist" || verb == "install" && nothing).then_some((verb, name))
        });
        if let Some((verb, name)) = denied {
            // A package's file is not changed but stood in for.
            let copy = match dir.starts_with("etc/") {
                true => String::new(),
                false => format!("sudo cp /{dir}/{file} /etc/modprobe.d/ && "),
            };
            return Some((
                format!("/{dir}/{file} denies it"),
                format!(
                    "{copy}sudo sed -i -E '/^\\s*{verb}\\s+{name}(\\s|$)/d' /etc/modprobe.d/{file} && sudo modprobe vfio-pci"
                ),
            ));
        }
    }
    let line = machine.text("proc/cmdline")?;
    let word = line.split_whitespace().find(|word| {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        matches!(key, "modprobe.blacklist" | "module_blacklist") && value.split(',').any(names)
    })?;
    let (key, value) = word.split_once('=')?;
    let others: Vec<_> = value.split(',').filter(|name| !names(name)).collect();
    // Others that are listed stay listed.
    let without = match others.is_empty() {
        true => String::new(),
        false => format!("{key}={}", others.join(",")),
    };
    Some((
        format!("the kernel's command line has {word}"),
        format!(
            "sudo sed -i 's/{word}/{without}/' /etc/default/grub && sudo update-grub && sudo reboot"
        ),
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
