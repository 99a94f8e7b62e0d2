//! Whether a function's IOMMU group is its own, and what isolates it.
//!
//! A group is what the IOMMU can tell apart; all of it is handed to one process, or none (Linux,
//! Documentation/driver-api/vfio.rst).

use super::check::Finding;
use super::subject::Subject;
use crate::pci::config_space::Feature;
use crate::pci::{PciFunction, VFIO_PCI};

/// That every member of the group is vfio's, or a bridge, and no other of them is to be served.
pub(super) fn viability(subject: &Subject, function: &PciFunction<'_>) -> Finding {
    let Some(group) = function.group() else {
        return Finding::fail(
            "it has no IOMMU group",
            "faam doctor  # see the check iommu",
        );
    };
    let members = function.group_members();
    let shown: Vec<_> = members.iter().map(PciFunction::shown).collect();
    let shown = format!("group {group}: {}", shown.join(", "));
    let strangers = function.group_strangers();
    if !strangers.is_empty() {
        return Finding::fail(
            format!(
                "{shown}; with {}: others are used by drivers of the kernel, so that nothing of it can be opened",
                strangers.join(", ")
            ),
            "# move the card to a slot of its own",
        );
    }
    let rivals = function.group_rivals();
    let force = match rivals.iter().all(PciFunction::is_faam) {
        true => "",
        false => "--force ",
    };
    let bind: Vec<_> = rivals
        .iter()
        .map(|rival| rival.address.to_string())
        .collect();
    let bind = format!(
        "sudo faam device bind {force}{} {}",
        function.address,
        bind.join(" ")
    );
    if rivals.iter().any(|rival| rival.driver().is_some()) {
        return Finding::fail(
            format!(
                "{shown}: others are used by drivers of the kernel, so that nothing of it can be opened"
            ),
            format!(
                "{bind}  # if the system can do without the others; else move the card to a slot of its own"
            ),
        );
    }
    if !rivals.is_empty() {
        return Finding::warn(
            format!("{shown}: others have no driver, and may get one at any time"),
            bind,
        );
    }
    // A group's file opens once, and the gateway opens it for each function.
    let together: Vec<_> = members
        .iter()
        .map(|member| member.address)
        .filter(|member| *member != function.address && subject.functions.contains(member))
        .map(|member| member.to_string())
        .collect();
    if !together.is_empty() {
        return Finding::fail(
            format!(
                "{shown}: a group opens once, so that {} cannot be served beside {}",
                function.address,
                together.join(", ")
            ),
            format!(
                "sudo lspci -s {} -vvv | grep -A 2 'Access Control'  # switch ACS on in the firmware's setup, move the card to a slot that \
                 has it, or name one of them in devices only",
                function.address
            ),
        );
    }
    Finding::ok(shown)
}

/// That the ports above keep the function's neighbours out of its group for a reason.
pub(super) fn acs(subject: &Subject, function: &PciFunction<'_>) -> Finding {
    let line = subject.machine.text("proc/cmdline").unwrap_or_default();
    if line
        .split_whitespace()
        .any(|word| word.starts_with("pcie_acs_override"))
    {
        return Finding::fail(
            "the kernel was told to call devices isolated that are not (pcie_acs_override): they can reach each other past the \
             IOMMU",
            "sudo sed -i 's/ *pcie_acs_override=[^ \"]*//' /etc/default/grub && sudo update-grub && sudo reboot",
        );
    }
    if function.group().is_none() {
        return Finding::fail(
            "it has no IOMMU group",
            "faam doctor  # see the check iommu",
        );
    }
    let members = function.group_members();
    let endpoints: Vec<_> = members
        .iter()
        .filter(|member| member.address != function.address && !member.is_bridge())
        .collect();
    let ports = function.ports_above();
    if endpoints.is_empty() {
        let how = match ports.len() {
            0 => "it sits at the root complex".to_owned(),
            count => format!("{count} ports above it"),
        };
        return Finding::ok(format!("no other endpoint in its group; {how}"));
    }
    let open: Vec<_> = ports
        .iter()
        .map(|port| (port, port.config_space()))
        .collect();
    if open.iter().any(|(_, space)| space.is_cut()) {
        return Finding::warn(
            "the ports above it can be looked at by root alone",
            format!("sudo faam doctor --devices pci:{}", function.address),
        );
    }
    let without: Vec<_> = open
        .iter()
        .filter(|(_, space)| space.acs() != Feature::On)
        .map(|(port, _)| port.address.to_string())
        .collect();
    let all_vfio = endpoints
        .iter()
        .all(|member| member.driver().as_deref() == Some(VFIO_PCI));
    let which = match without.is_empty() {
        true => "functions of one device have no ACS between them".to_owned(),
        false => format!("no ACS on {}", without.join(", ")),
    };
    let others: Vec<_> = endpoints
        .iter()
        .map(|member| member.address.to_string())
        .collect();
    let found = format!(
        "{which}: it shares its group with {}, which it can reach past the IOMMU",
        others.join(", ")
    );
    let first = without
        .first()
        .cloned()
        .unwrap_or_else(|| function.address.to_string());
    let mend = format!(
        "sudo lspci -s {first} -vvv | grep -A 2 'Access Control'  # switch ACS on in the firmware's setup, or move the card to a slot \
         of its own"
    );
    match all_vfio {
        true => Finding::warn(found, mend),
        false => Finding::fail(found, mend),
    }
}
