//! The cards of a configuration: their programs, sockets and PCI functions, looked at and not connected to.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use faam_driver::PciAddress;
use faam_gateway::cards::CardSource;
use faam_gateway::config::GatewayConfig;
use rustix::fs::{Access, access};

use super::Finding;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use super::{iommu_groups, locked_memory};

/// Whether its cards can be reached: programs and sockets that are there, functions that may be opened.
pub(super) fn cards(config: &GatewayConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    let sources = &config.dispatch.cards;
    if sources.is_empty() {
        findings.push(Finding::ok("devices: none; the CPU engines serve"));
    }
    if !sources.is_empty() && !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        findings.push(Finding::failed(
            "devices: cards need x86-64 Linux",
            "use devices = [\"none\"]",
        ));
    }
    let own = sources
        .iter()
        .filter(|source| matches!(source, CardSource::OwnSimulated { .. }))
        .count();
    if own > 0 {
        let program = &config.dispatch.sim_program;
        findings.push(match access(program, Access::EXEC_OK) {
            Ok(()) => Finding::ok(format!(
                "devices: {own} simulated, run by {}",
                program.display()
            )),
            Err(error) => Finding::failed(
                format!("sim_program: cannot run {}: {error}", program.display()),
                "set sim_program to a faam binary, or use devices = [\"none\"]",
            ),
        });
    }
    for source in sources {
        match source {
            CardSource::VfioUser { dir } => findings.push(card_sockets(dir)),
            CardSource::Pci { functions } => findings.extend(functions.iter().map(pci_function)),
            CardSource::OwnSimulated { .. } => {}
        }
    }
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    findings.extend(iommu_groups::iommu_groups(&config.dispatch.cards));
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    findings.extend(locked_memory::locked_memory(
        config,
        faam_driver::MemoryLock::of_this_process(),
    ));
    findings
}

/// Whether its group's file can be opened. Opening it would take it away from a gateway that runs.
fn pci_function(address: &PciAddress) -> Finding {
    let group = std::fs::read_link(address.sysfs().join("iommu_group"));
    let Some(group) = group
        .ok()
        .and_then(|link| Some(link.file_name()?.to_owned()))
    else {
        return Finding::failed(
            format!("devices: no PCI function with an IOMMU at {address}"),
            "compare with lspci -D, and switch the IOMMU on in the firmware and on the kernel's command line",
        );
    };
    let file = Path::new("/dev/vfio").join(group);
    match access(&file, Access::READ_OK | Access::WRITE_OK) {
        Ok(()) => Finding::ok(format!("devices: pci:{address} is {}", file.display())),
        Err(error) => Finding::failed(
            format!(
                "devices: {}, for {address}, cannot be opened: {error}",
                file.display()
            ),
            format!(
                "bind the function to vfio-pci, and give {} a group of which this user is a member",
                file.display()
            ),
        ),
    }
}

/// A card's socket takes one client: connecting would take it away from the gateway.
fn card_sockets(dir: &Path) -> Finding {
    let missing: Vec<_> = (0..faam_hwif::FUNCTIONS)
        .map(|function| dir.join(format!("fn{function}")))
        .filter(|path| {
            !std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
        })
        .map(|path| path.display().to_string())
        .collect();
    if missing.is_empty() {
        return Finding::ok(format!(
            "devices: vfio-user:{} has its sockets",
            dir.display()
        ));
    }
    Finding::failed(
        format!("devices: no socket at {}", missing.join(", ")),
        format!(
            "start `faam sim --dir {}`, or correct devices",
            dir.display()
        ),
    )
}
