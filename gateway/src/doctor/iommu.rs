//! Whether an IOMMU stands before the cards, and what it lets them reach.

use faam_driver::IovaPlan;
use faam_driver::transport::IovaRange;
use faam_hwif::Iova;

use super::check::Finding;
use super::subject::Subject;
use crate::machine::{self, Machine};
use crate::pci::PciFunction;

/// Bits of address that an IOMMU translates where it does not say: four levels of tables.
const ADDRESS_BITS_USUAL: u32 = 48;
/// What the kernel calls a group that no IOMMU stands before.
const NOIOMMU_GROUP: &str = "vfio-noiommu";
const NOIOMMU_MODE: &str = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
const UNSAFE_INTERRUPTS: &str = "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts";

/// Whether it is on.
pub(super) fn iommu(subject: &Subject) -> Finding {
    let machine = &subject.machine;
    let groups = machine.names("sys/kernel/iommu_groups").len();
    let units = machine.names("sys/class/iommu");
    if groups > 0 && !units.is_empty() {
        return Finding::ok(format!("{groups} groups behind {}", units.join(", ")));
    }
    let firmware = match is_amd(machine) {
        true => "AMD-Vi (IOMMU)",
        false => "VT-d",
    };
    // AMD's is on unless it was switched off; Intel's is off unless it was switched on.
    let change = match is_amd(machine) {
        true => r"s/ *\<(amd_iommu|iommu)=off\>//g",
        false => {
            r#"s/ *\<(intel_iommu|iommu)=off\>//g; s/^GRUB_CMDLINE_LINUX="/&intel_iommu=on iommu=pt /"#
        }
    };
    let kernel_line =
        format!("sudo sed -i -E '{change}' /etc/default/grub && sudo update-grub && sudo reboot");
    let described = ["DMAR", "IVRS"]
        .iter()
        .any(|table| machine.has(&format!("sys/firmware/acpi/tables/{table}")));
    match (described, groups) {
        (true, _) => Finding::missing(
            subject,
            format!(
                "the firmware describes an IOMMU, and the kernel does not use it: no unit, {groups} groups"
            ),
            kernel_line,
        ),
        (false, _) => Finding::missing(
            subject,
            "no IOMMU: without one a card could reach all memory",
            format!("{kernel_line}  # first switch {firmware} on in the firmware's setup"),
        ),
    }
}

/// Whether a card can send no interrupt but its own.
pub(super) fn interrupt_remapping(subject: &Subject) -> Finding {
    let machine = &subject.machine;
    let Some(interrupts) = machine
        .text("proc/interrupts")
        .filter(|text| !text.is_empty())
    else {
        return Finding::warn(
            "whether interrupts are remapped is not to be seen: /proc/interrupts cannot be read, or is empty",
            "sudo faam doctor  # on the machine itself, not in a container",
        );
    };
    // The kernel puts IR- before the name of a controller whose interrupts are remapped.
    let remapped = interrupts
        .lines()
        .flat_map(str::split_whitespace)
        .any(|word| word.starts_with("IR-"));
    if remapped {
        return Finding::ok("interrupts are remapped (IR- in /proc/interrupts)");
    }
    let line = machine.text("proc/cmdline").unwrap_or_default();
    let told_off = line
        .split_whitespace()
        .any(|word| matches!(word, "intremap=off" | "nointremap"));
    let mend = match told_off {
        true => {
            r"sudo sed -i -E 's/ *\<(intremap=off|nointremap)\>//g' /etc/default/grub && sudo update-grub && sudo reboot"
        }
        false => {
            "# switch interrupt remapping (x2APIC) on in the firmware's setup; sudo dmesg | grep -i -E 'remap|x2apic' says what the kernel found"
        }
    };
    if is_on(machine.text(UNSAFE_INTERRUPTS).as_deref()) {
        return Finding::warn(
            "interrupts are not remapped, and vfio was told to do without (allow_unsafe_interrupts): a card could send any \
             interrupt",
            mend,
        );
    }
    Finding::missing(
        subject,
        "interrupts are not remapped: vfio opens no device so",
        mend,
    )
}

/// That nobody told vfio to do without an IOMMU.
pub(super) fn noiommu(subject: &Subject) -> Finding {
    let machine = &subject.machine;
    let off = "echo N | sudo tee /sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
    if is_on(machine.text(NOIOMMU_MODE).as_deref()) {
        return Finding::fail(
            "vfio's noiommu mode is on: devices get all of memory, and any process that opens one the kernel's; FaaM refuses it",
            off,
        );
    }
    let groups = machine.names("sys/kernel/iommu_groups");
    let named = groups.iter().any(|group| {
        let name = machine.text(&format!("sys/kernel/iommu_groups/{group}/name"));
        name.as_deref() == Some(NOIOMMU_GROUP)
    });
    if named {
        return Finding::fail(
            "a device is bound in vfio's noiommu mode; FaaM refuses it",
            format!("{off} && sudo faam device unbind ADDRESS && sudo faam device bind ADDRESS"),
        );
    }
    for file in machine.names("etc/modprobe.d") {
        let text = machine.text(&format!("etc/modprobe.d/{file}"));
        let line = text.as_deref().and_then(|text| {
            let mut lines = text.lines();
            lines.find(|line| {
                !line.trim_start().starts_with('#') && line.contains("enable_unsafe_noiommu_mode")
            })
        });
        if line.is_some_and(|line| !line.ends_with("=0") && !line.ends_with("=N")) {
            return Finding::warn(
                format!(
                    "vfio's noiommu mode is off, but /etc/modprobe.d/{file} switches it on at the next start"
                ),
                format!("sudo sed -i '/enable_unsafe_noiommu_mode/d' /etc/modprobe.d/{file}"),
            );
        }
    }
    Finding::ok("vfio's noiommu mode is off")
}

/// Whether the arena and the queues can go where every function is to see them.
pub(super) fn iova_ranges(subject: &Subject, function: &PciFunction<'_>) -> Finding {
    let Some(group) = function.group() else {
        return Finding::fail(
            "it has no IOMMU group, so that no address can be mapped for it",
            "faam doctor  # see the check iommu",
        );
    };
    let bits = address_bits(function);
    let regions = format!("sys/kernel/iommu_groups/{group}/reserved_regions");
    let Some(regions) = subject.machine.text(&regions) else {
        return Finding::warn(
            format!("the kernel does not say what group {group} may not map"),
            "sudo apt-get install linux-image-amd64 && sudo reboot  # reserved_regions is there from Linux 4.11 on",
        );
    };
    let reserved: Vec<_> = regions.lines().filter_map(reserved).collect();
    let shown: Vec<_> = reserved
        .iter()
        .map(|(first, last, kind)| format!("{first:#x} to {last:#x} {kind}"))
        .collect();
    let shown = match shown.is_empty() {
        true => "nothing".to_owned(),
        false => shown.join(", "),
    };
    let arena = subject.arena_bytes as u64;
    let free = free_ranges(bits.unwrap_or(ADDRESS_BITS_USUAL), &reserved);
    match IovaPlan::within(&free, arena, None) {
        Ok(plan) => Finding::ok(format!(
            "arena and queues fit, at {:#x} and {:#x}; reserved: {shown}",
            plan.arena.0, plan.queues.0
        )),
        Err(no_place) => Finding::fail(
            format!(
                "no place for {} bytes of arena or queues: its IOMMU translates {} bits of address, and {shown} is reserved",
                no_place.bytes,
                bits.unwrap_or(ADDRESS_BITS_USUAL)
            ),
            "faam serve --check  # lower arena_bytes, or move the card to a slot below another IOMMU",
        ),
    }
}

/// What is left of so many bits of address. Regions that vfio itself leaves to be mapped (direct-relaxable) still hold
/// firmware's own pages.
fn free_ranges(bits: u32, reserved: &[(u64, u64, &str)]) -> Vec<IovaRange> {
    let end = 1u64.checked_shl(bits).map_or(u64::MAX, |size| size - 1);
    let mut taken: Vec<_> = reserved
        .iter()
        .map(|(first, last, _)| (*first, *last))
        .collect();
    taken.sort_unstable();
    let mut free = Vec::new();
    let mut next = Some(0);
    for (first, last) in taken {
        let Some(from) = next.filter(|from| *from <= end) else {
            break;
        };
        if let Some(before) = first.checked_sub(1).filter(|before| *before >= from) {
            free.push(IovaRange {
                first: Iova(from),
                last: Iova(before.min(end)),
            });
        }
        next = last.checked_add(1).map(|after| after.max(from));
    }
    if let Some(from) = next.filter(|from| *from <= end) {
        free.push(IovaRange {
            first: Iova(from),
            last: Iova(end),
        });
    }
    free
}

/// A line of `reserved_regions`: `0x... 0x... kind`.
fn reserved(line: &str) -> Option<(u64, u64, &str)> {
    let mut fields = line.split_whitespace();
    let (first, end) = (fields.next()?, fields.next()?);
    Some((
        machine::number(first)?,
        machine::number(end)?,
        fields.next()?,
    ))
}

/// Bits of address that a function's VT-d unit translates (VT-d 4.1, 11.4.2: capability register, MGAW).
fn address_bits(function: &PciFunction<'_>) -> Option<u32> {
    let cap = function.text("iommu/intel-iommu/cap")?;
    let cap = u64::from_str_radix(&cap, 16).ok()?;
    u32::try_from((cap >> 16) & 0x3F).ok()?.checked_add(1)
}

fn is_amd(machine: &Machine) -> bool {
    machine
        .text("proc/cpuinfo")
        .is_some_and(|text| text.contains("AuthenticAMD"))
}

/// A module parameter that is a boolean.
pub(super) fn is_on(parameter: Option<&str>) -> bool {
    matches!(parameter, Some("Y" | "y" | "1"))
}
