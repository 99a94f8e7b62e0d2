//! Whether something serves, or could: the gateway, a card that speaks our contract, a simulated one, the CPU engines.

use faam_driver::FunctionIdentity;
use faam_gateway::card_operation::interface_uuid;
use faam_gateway::engines;
use faam_hwif::pci::{DEVICE_ID, VENDOR_ID};
use serde_json::Value;

use super::check::{Checked, Finding, Status};
use super::subject::{NoGateway, NoIdentity, Subject};
use crate::pci::{self, PciFunction, VFIO_PCI};

/// The kernel from which on vfio lists the addresses that may be mapped.
const KERNEL_MIN: (u32, u32) = (5, 4);

/// That the kernel is new enough.
pub(super) fn kernel(subject: &Subject) -> Finding {
    let release = subject.machine.text("proc/sys/kernel/osrelease");
    let release = release.unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    let version = match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    };
    let (major, minor) = KERNEL_MIN;
    match version {
        Some(version) if version >= KERNEL_MIN => Finding::ok(format!("Linux {release}")),
        Some(_) => Finding::missing(
            subject,
            format!(
                "Linux {release}: before {major}.{minor} vfio does not say which addresses may be mapped"
            ),
            "sudo apt-get install linux-image-amd64 && sudo reboot",
        ),
        None => Finding::warn(
            format!("the kernel's release is not to be read: {release:?}"),
            "uname -r",
        ),
    }
}

/// That there is a card.
pub(super) fn card(subject: &Subject) -> Finding {
    let machine = &subject.machine;
    let id = format!("{VENDOR_ID:04x}:{DEVICE_ID:04x}");
    let missing: Vec<_> = subject
        .functions
        .iter()
        .filter(|address| !PciFunction::at(machine, **address).exists())
        .map(ToString::to_string)
        .collect();
    if !missing.is_empty() {
        return Finding::fail(
            format!("not on the PCI bus: {}", missing.join(", ")),
            "echo 1 | sudo tee /sys/bus/pci/rescan; lspci -D -nn",
        );
    }
    let others: Vec<_> = subject
        .functions
        .iter()
        .map(|address| PciFunction::at(machine, *address))
        .filter(|function| !function.is_faam())
        .map(|function| function.shown())
        .collect();
    if !others.is_empty() {
        return Finding::warn(
            format!("not by its id ({id}) a FaaM card: {}", others.join(", ")),
            "lspci -D -nn",
        );
    }
    if subject.functions.is_empty() {
        let all = pci::functions(machine).count();
        let vfio: Vec<_> = pci::functions(machine)
            .filter(|function| function.driver().as_deref() == Some(VFIO_PCI))
            .map(|function| function.shown())
            .collect();
        let besides = match vfio.is_empty() {
            true => String::new(),
            false => format!("; bound to vfio-pci, but no FaaM card: {}", vfio.join(", ")),
        };
        return Finding::warn(
            format!(
                "none of {all} PCI functions is a FaaM card's ({id}){besides}: what concerns a function is left out"
            ),
            "faam doctor --devices pci:ADDRESS  # see lspci -D -nn; a simulated card needs none: faam serve --devices sim",
        );
    }
    let shown: Vec<_> = subject
        .functions
        .iter()
        .map(|address| PciFunction::at(machine, *address).shown())
        .collect();
    Finding::ok(shown.join(", "))
}

/// That a gateway runs, and all its functions serve.
pub(super) fn gateway(subject: &Subject) -> Finding {
    let gateway = match &subject.gateway {
        Ok(gateway) => gateway,
        Err(NoGateway::NotRunning(why)) => {
            return Finding::ok(format!("none runs: {why}"));
        }
        Err(NoGateway::Unreachable(why)) => {
            return Finding::warn(why.clone(), "sudo faam doctor --data-dir DIR");
        }
    };
    let text = |value: &Value, member: &str| {
        let text = value.get(member).and_then(Value::as_str);
        text.unwrap_or("-").to_owned()
    };
    let version = text(&gateway.about, "version");
    let down = gateway.devices.iter().find(|device| {
        matches!(
            text(device, "state").as_str(),
            "down" | "waiting" | "out-of-service"
        )
    });
    if let Some(device) = down {
        let name = text(device, "name");
        let reason = device.pointer("/recovery/reason").and_then(Value::as_str);
        let why = reason.map_or_else(|| text(device, "last_fault"), str::to_owned);
        return Finding::fail(
            format!("{name} is {}: {why}", text(device, "state")),
            format!("faam device reset {name}; journalctl -u faam"),
        );
    }
    let states: Vec<_> = gateway
        .devices
        .iter()
        .map(|device| format!("{} {}", text(device, "name"), text(device, "state")))
        .collect();
    let states = match states.is_empty() {
        true => "no cards".to_owned(),
        false => states.join(", "),
    };
    let found = format!("version {version}: {states}");
    if version != env!("CARGO_PKG_VERSION") {
        return Finding::warn(
            format!("{found}; this is version {}", env!("CARGO_PKG_VERSION")),
            "sudo systemctl restart faam",
        );
    }
    let drained = gateway
        .devices
        .iter()
        .find(|device| text(device, "state") != "in-service");
    match drained {
        Some(device) => {
            let name = text(device, "name");
            // Of the card as a whole: fpga0 of fpga0.1.
            let card = name.split_once('.').map_or(name.as_str(), |(card, _)| card);
            let dir = gateway.about.get("data_dir").and_then(Value::as_str);
            let dir = dir.map_or_else(String::new, |dir| format!(" --data-dir {dir}"));
            Finding::warn(found, format!("sudo faam device drain {card} --undo{dir}"))
        }
        None => Finding::ok(found),
    }
}

/// That a function speaks the contract that this driver was built for.
pub(super) fn interface(subject: &Subject, function: &PciFunction<'_>) -> Finding {
    let address = format!("pci:{}", function.address);
    if let Ok(gateway) = &subject.gateway {
        let served = gateway
            .devices
            .iter()
            .find(|device| device.get("address").and_then(Value::as_str) == Some(address.as_str()));
        let member = |name: &str| {
            let identity = served?.pointer("/detail/identity")?;
            identity.get(name)?.as_str()
        };
        if let (Some(abi), Some(uuid)) = (member("abi_version"), member("interface_uuid")) {
            let serial = member("serial").unwrap_or("-");
            return Finding::ok(format!(
                "in the gateway's service: contract {abi}, interface {uuid}, serial {serial}"
            ));
        }
    }
    let answer = (subject.identify)(function.address);
    // What keeps it from being opened stands above, with its mend.
    let mend = match &answer {
        Err(NoIdentity::Unavailable(_) | NoIdentity::Unusable(_)) => {
            format!("sudo faam doctor --devices {address}  # once nothing above fails for it")
        }
        _ => "faam --version  # use an image of this release".to_owned(),
    };
    told(answer, &mend)
}

/// That a simulated card can be had: the one that was named, or one of our own.
pub(super) fn simulated_card(subject: &Subject) -> Finding {
    let serving = subject.gateway.as_ref().ok().and_then(|gateway| {
        gateway.devices.iter().find(|device| {
            device.get("simulated") == Some(&Value::Bool(true))
                && device.get("state").and_then(Value::as_str) == Some("in-service")
        })
    });
    if let Some(device) = serving {
        let address = device.get("address").and_then(Value::as_str).unwrap_or("-");
        return Finding::ok(format!("the gateway serves with one: {address}"));
    }
    let mend = "faam sim --dir /tmp/faam-card  # its log says why it does not start";
    if subject.sockets.is_empty() {
        let finding = told((subject.identify_simulated)(None), mend);
        return Finding {
            found: format!("one was started and asked: {}", finding.found),
            ..finding
        };
    }
    let mut found = Vec::new();
    for dir in &subject.sockets {
        let finding = told((subject.identify_simulated)(Some(dir)), mend);
        let text = format!("{}: {}", dir.display(), finding.found);
        if finding.status != Status::Ok {
            return Finding {
                found: text,
                ..finding
            };
        }
        found.push(text);
    }
    Finding::ok(found.join("; "))
}

fn told(answer: Result<FunctionIdentity, NoIdentity>, mend: &str) -> Finding {
    match answer {
        Ok(identity) => {
            let (major, minor) = identity.abi;
            let uuid = interface_uuid();
            let kind = match identity.model.is_simulated() {
                true => "simulated",
                false => "hardware",
            };
            Finding::ok(format!(
                "contract {major}.{minor}, interface {uuid}, serial number {:016X}, {} engines, {kind}",
                identity.serial_number, identity.engines
            ))
        }
        Err(NoIdentity::Unavailable(why)) => Finding::warn(why, mend),
        Err(NoIdentity::Unusable(why) | NoIdentity::Wrong(why)) => Finding::fail(why, mend),
    }
}

/// That the CPU engines are the fast ones.
pub(super) fn cpu_engines(subject: &Subject) -> Finding {
    let found = subject.cpu_engines.join(", ");
    let isal = |name: &&str| name.starts_with("isa-l");
    match subject.cpu_engines.iter().any(isal) {
        true => Finding::ok(found),
        false => Finding::warn(
            format!("{found}; without ISA-L levels 1 and 2 run at half the speed"),
            "sudo apt-get install libisal2  # where this binary was built without it: libisal-dev before the build",
        ),
    }
}

/// The CPU engines of this binary, here.
pub(super) fn engines() -> Vec<&'static str> {
    let mut names: Vec<_> = engines::served()
        .iter()
        .map(|served| served.engine.engine)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What the checks before come to: which ways there are to serve.
pub(super) fn ways(subject: &Subject, checked: &[Checked]) -> Checked {
    let mut failed: Vec<_> = checked
        .iter()
        .filter(|checked| {
            let about_card = !matches!(checked.name, "gateway" | "simulated-card" | "cpu-engines");
            about_card && checked.status == Status::Fail
        })
        .map(|checked| checked.name)
        .collect();
    failed.dedup();
    let simulated = checked
        .iter()
        .any(|checked| checked.name == "simulated-card" && checked.status == Status::Ok);
    let shown = checked
        .iter()
        .filter(|checked| checked.name == "interface")
        .all(|checked| checked.status == Status::Ok);
    let card = match (subject.functions.is_empty(), failed.is_empty()) {
        (true, _) => "no, there is none".to_owned(),
        (false, true) if shown => "yes".to_owned(),
        (false, true) => "not shown (no function of it was asked: interface)".to_owned(),
        (false, false) => format!("no ({})", failed.join(", ")),
    };
    let simulated_words = match simulated {
        true => "yes, labelled simulated",
        false => "no",
    };
    let found = format!(
        "a card through the kernel's VFIO: {card}; a simulated card: {simulated_words}; the CPU engines: yes"
    );
    let finding = match (failed.is_empty(), subject.functions.is_empty(), simulated) {
        (true, false, _) if shown => Finding::ok(found),
        (true, false, _) => Finding::warn(
            found,
            "sudo faam doctor  # as one who may open the function, while nobody has it",
        ),
        (false, ..) => Finding::fail(
            found,
            "faam doctor  # once what failed above is mended, from the top",
        ),
        (true, true, true) => Finding::warn(found, "faam serve --devices sim"),
        (true, true, false) => Finding::warn(found, "faam serve --devices none"),
    };
    Checked {
        name: "ways",
        status: finding.status,
        found: finding.found,
        mend: finding.mend,
    }
}
