//! The function as a PCI device: its BARs, its resets, its link, its errors, and what it may translate by itself.

use faam_hwif::pci::{BAR_MSIX, BAR_MSIX_BYTES, BAR_REGISTERS};
use faam_hwif::regs::BAR0_BYTES;

use super::check::Finding;
use super::subject::Subject;
use crate::machine;
use crate::pci::PciFunction;
use crate::pci::config_space::Feature;

/// A resource that is memory, and one that has no address yet (linux/ioport.h).
const MEMORY: u64 = 0x200;
const UNSET: u64 = 0x2000_0000;

/// That the BARs are there, and as the contract has them.
pub(super) fn bars(_: &Subject, function: &PciFunction<'_>) -> Finding {
    let resource = function.text("resource").unwrap_or_default();
    let bar = |index: u8| {
        let line = resource.lines().nth(usize::from(index))?;
        let mut fields = line.split_whitespace().map(machine::number);
        let (first, last, flags) = (fields.next()??, fields.next()??, fields.next()??);
        Some((first, last.checked_sub(first)?.checked_add(1)?, flags))
    };
    let mut shown = Vec::new();
    let mut larger = false;
    for (index, bytes_min) in [(BAR_REGISTERS, BAR0_BYTES), (BAR_MSIX, BAR_MSIX_BYTES)] {
        let bytes_min = u64::from(bytes_min);
        let realloc = "sudo sed -i 's/^GRUB_CMDLINE_LINUX=\"/&pci=realloc /' /etc/default/grub && sudo update-grub && sudo reboot";
        match bar(index) {
            Some((first, bytes, flags)) if flags & MEMORY != 0 && bytes >= bytes_min => {
                if first == 0 || flags & UNSET != 0 {
                    return Finding::fail(
                        format!("BAR{index} of {bytes:#x} bytes got no address from the firmware"),
                        realloc,
                    );
                }
                larger |= bytes > bytes_min;
                shown.push(format!("BAR{index} {bytes:#x} bytes at {first:#x}"));
            }
            Some((0, 1, 0)) | None => {
                return Finding::fail(
                    format!(
                        "BAR{index} is not there, or got no address: expected {bytes_min:#x} bytes of memory"
                    ),
                    realloc,
                );
            }
            Some((_, bytes, _)) => {
                return Finding::fail(
                    format!(
                        "BAR{index} has {bytes:#x} bytes, expected at least {bytes_min:#x} of memory: no FaaM card, or another release's image"
                    ),
                    format!("lspci -s {} -nnv", function.address),
                );
            }
        }
    }
    let shown = shown.join(", ");
    match larger {
        true => Finding::warn(
            format!(
                "{shown}: larger than this release's contract says ({BAR0_BYTES:#x}, {BAR_MSIX_BYTES:#x})"
            ),
            format!("faam --version; lspci -s {} -nnv", function.address),
        ),
        false => Finding::ok(shown),
    }
}

/// That it can be reset by itself: the fence rests on it where its own reset register does not answer.
pub(super) fn reset(_: &Subject, function: &PciFunction<'_>) -> Finding {
    let address = function.address;
    let prefer = format!("echo flr | sudo tee /sys/bus/pci/devices/{address}/reset_method");
    let methods = function.text("reset_method").unwrap_or_default();
    let methods: Vec<_> = methods.split_whitespace().collect();
    match methods
        .iter()
        .position(|method| *method == "flr" || *method == "af_flr")
    {
        Some(0) => Finding::ok(format!("resets: {}", methods.join(", "))),
        // What stands before it concerns this function alone, too.
        Some(at)
            if !methods
                .iter()
                .take(at)
                .any(|method| matches!(*method, "bus" | "cxl_bus" | "pm")) =>
        {
            Finding::ok(format!("resets: {}", methods.join(", ")))
        }
        Some(_) => Finding::warn(
            format!(
                "resets are tried in the order {}: one that hits others, or loses state, comes before FLR",
                methods.join(", ")
            ),
            prefer,
        ),
        // Before Linux 5.15 the kernel does not say how it would.
        None if methods.is_empty() && function.dir().join("reset").exists() => {
            match function.config_space().can_reset_itself() {
                Some(true) => Finding::ok(
                    "it can be reset, and has FLR (this kernel does not list its resets)",
                ),
                Some(false) => Finding::warn(
                    "it can be reset, but has no FLR; what is done instead may hit the card's other functions",
                    format!(
                        "sudo lspci -s {address} -vvv | grep FLReset  # load an image whose PCIe block has FLR"
                    ),
                ),
                None => Finding::warn(
                    "it can be reset; whether by FLR is not to be seen from here",
                    format!("sudo faam doctor --devices pci:{address}"),
                ),
            }
        }
        None if methods.is_empty() => Finding::fail(
            "the kernel knows no way to reset it: after a fault only a restart of the machine helps",
            match function.config_space().can_reset_itself() {
                Some(true) => prefer,
                _ => format!(
                    "sudo lspci -s {address} -vvv | grep FLReset  # load an image whose PCIe block has FLR"
                ),
            },
        ),
        None => Finding::warn(
            format!(
                "no FLR; it is reset by {}, which may hit the card's other functions",
                methods.join(", ")
            ),
            match function.config_space().can_reset_itself() {
                Some(true) => prefer,
                _ => format!(
                    "sudo lspci -s {address} -vvv | grep FLReset  # load an image whose PCIe block has FLR"
                ),
            },
        ),
    }
}

/// That its link runs as wide and as fast as it could.
pub(super) fn link(_: &Subject, function: &PciFunction<'_>) -> Finding {
    let text = |attribute: &str| function.text(attribute);
    let (Some(width), Some(width_max)) = (
        function.number("current_link_width"),
        function.number("max_link_width"),
    ) else {
        return Finding::ok("no PCIe link of its own (part of the root complex, or emulated)");
    };
    let speed = text("current_link_speed").unwrap_or_default();
    let speed_max = text("max_link_speed").unwrap_or_default();
    if width_max == 0 || speed_of(&speed_max).is_none() {
        return Finding::ok("no PCIe link of its own (part of the root complex, or emulated)");
    }
    let found = format!("x{width} at {speed}, of x{width_max} at {speed_max}");
    let look = format!(
        "sudo lspci -s {} -vv | grep -E 'LnkCap|LnkSta'  # with the machine off, seat the card and its riser anew, or take a slot of \
         that width and speed",
        function.address
    );
    if width == 0 {
        return Finding::fail(format!("the link is down: {found}"), look);
    }
    let slower = match (speed_of(&speed), speed_of(&speed_max)) {
        (Some(now), Some(most)) => now < most,
        _ => true,
    };
    match width < width_max || slower {
        true => Finding::warn(
            format!("the link is narrower or slower than it could be: {found}"),
            look,
        ),
        false => Finding::ok(found),
    }
}

/// GT/s of a link's speed: `16.0 GT/s PCIe`.
fn speed_of(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

/// That its link and its port counted no errors.
pub(super) fn aer(_: &Subject, function: &PciFunction<'_>) -> Finding {
    let total = |kind: &str, name: &str| {
        let text = function.text(kind)?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse::<u64>().ok()
    };
    let (Some(fatal), Some(nonfatal), Some(correctable)) = (
        total("aer_dev_fatal", "TOTAL_ERR_FATAL"),
        total("aer_dev_nonfatal", "TOTAL_ERR_NONFATAL"),
        total("aer_dev_correctable", "TOTAL_ERR_COR"),
    ) else {
        return Finding::warn(
            "no AER counters: errors on its link are not counted, for the function, its port, the firmware or the kernel has none",
            format!(
                "sudo dmesg | grep -i -E 'aer|_OSC'; sudo lspci -s {} -vvv | grep 'Advanced Error'",
                function.address
            ),
        );
    };
    let found = format!(
        "{fatal} fatal, {nonfatal} nonfatal, {correctable} correctable errors since it was found"
    );
    let look = format!(
        "sudo journalctl -k -g '{}.*AER|AER.*{0}'  # seat the card and its cable anew",
        function.address
    );
    match (fatal, nonfatal, correctable) {
        (0, 0, 0) => Finding::ok(found),
        (0, _, _) => Finding::warn(found, look),
        _ => Finding::fail(found, look),
    }
}

/// That it does not bring translations of its own: an address that it calls translated would pass the IOMMU unseen.
pub(super) fn ats_pasid(_: &Subject, function: &PciFunction<'_>) -> Finding {
    let space = function.config_space();
    if space.is_cut() {
        return Finding::warn(
            "ATS and PASID can be looked at by root alone, in a PCIe function's extended configuration space",
            format!("sudo faam doctor --devices pci:{}", function.address),
        );
    }
    let word = |feature| match feature {
        Feature::Absent => "not there",
        Feature::Off => "off",
        Feature::On => "on",
    };
    let (ats, pasid) = (space.ats(), space.pasid());
    let found = format!("ATS {}, PASID {}", word(ats), word(pasid));
    match ats == Feature::On || pasid == Feature::On {
        true => Finding::fail(
            format!("{found}: the function could reach memory past the IOMMU's tables"),
            "sudo sed -i 's/^GRUB_CMDLINE_LINUX=\"/&pci=noats /' /etc/default/grub && sudo update-grub && sudo reboot",
        ),
        false => Finding::ok(found),
    }
}
