//! Whether there is memory for the arena: lockable, on huge pages, near the card.

use faam_driver::{FunctionConfig, MemoryLock, PageSize};
use serde_json::Value;

use super::check::Finding;
use super::subject::Subject;
use crate::machine::Machine;
use crate::pci::PciFunction;

const HUGE_PAGES: &str = "hugepages/hugepages-2048kB";
/// CAP_IPC_LOCK (linux/capability.h): whoever has it locks what they like.
const CAP_IPC_LOCK: u32 = 14;
const MIB: u64 = 1 << 20;
/// What gateway/deploy/card.conf lets the unit lock, MiB.
const UNIT_MEMLOCK_MIB: u64 = 512;
/// Name of the arena's memory file, as the kernel shows it.
const ARENA_FILE: &str = "/memfd:faam-arena";

/// That the gateway may lock the arena once for each function.
pub(super) fn memlock(subject: &Subject) -> Finding {
    let functions = subject.functions_served();
    let needed = MemoryLock::needed(subject.arena_bytes, functions, &FunctionConfig::default());
    let has_gateway = subject.gateway.is_ok();
    let whose = match has_gateway {
        true => "the gateway",
        false => "this shell",
    };
    let what = format!(
        "{} MiB are locked for {functions} functions (the arena of {} MiB and the queues, once each)",
        needed.div_ceil(MIB),
        subject.arena_bytes as u64 / MIB
    );
    // Never below what the shipped drop-in gives: this one is read after it.
    let mend = format!(
        "sudo mkdir -p /etc/systemd/system/faam.service.d && printf '[Service]\\nLimitMEMLOCK={}M\\n' | sudo tee \
         /etc/systemd/system/faam.service.d/memlock.conf && sudo systemctl daemon-reload && sudo systemctl restart faam  # in a \
         root shell: ulimit -l {}",
        needed.div_ceil(MIB).max(UNIT_MEMLOCK_MIB),
        needed.div_ceil(1024)
    );
    // A gateway says it itself: its number in /proc may be another process's here.
    let (capable, limit) = match &subject.gateway {
        Ok(gateway) => (
            gateway.about.get("locks_without_limit") == Some(&Value::Bool(true)),
            match gateway.about.get("memlock_bytes") {
                Some(Value::Null) => Some(None),
                Some(bytes) => bytes.as_u64().map(Some),
                None => None,
            },
        ),
        Err(_) => limit_of_shell(&subject.machine),
    };
    if capable && has_gateway {
        return Finding::ok(format!("{what}; {whose} has CAP_IPC_LOCK: no limit counts"));
    }
    match limit {
        None => Finding::warn(format!("{what}; nothing shows the limit of {whose}"), mend),
        Some(None) => Finding::ok(format!("{what}; {whose} may lock all")),
        Some(Some(limit)) if limit >= needed => {
            Finding::ok(format!("{what}; {whose} may lock {} MiB", limit / MIB))
        }
        Some(Some(limit)) if has_gateway => Finding::missing(
            subject,
            format!("{what}; {whose} may lock {} MiB", limit / MIB),
            mend,
        ),
        // A service has a limit of its own, which is not to be seen before it runs.
        Some(Some(limit)) => Finding::warn(
            format!(
                "{what}; {whose} may lock {} MiB, and with it a gateway that is started from here{}; a unit's own limit counts for \
                 a service (systemctl show -p LimitMEMLOCK faam)",
                limit / MIB,
                if capable {
                    " as another user than root"
                } else {
                    ""
                }
            ),
            mend,
        ),
    }
}

/// Whether whoever asks has CAP_IPC_LOCK; and what they may lock, bytes: `Some(None)` is all.
fn limit_of_shell(machine: &Machine) -> (bool, Option<Option<u64>>) {
    let status = machine.text("proc/self/status").unwrap_or_default();
    let limits = machine.text("proc/self/limits").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next().map(str::to_owned)
    };
    let capable = field("CapEff:")
        .and_then(|hex| u64::from_str_radix(&hex, 16).ok())
        .is_some_and(|set| set & (1 << CAP_IPC_LOCK) != 0);
    // "Max locked memory  8388608  8388608  bytes": the soft limit.
    let limit = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"))
        .and_then(|line| line.split_whitespace().next());
    let limit = match limit {
        Some("unlimited") => Some(None),
        Some(bytes) => bytes.parse().ok().map(Some),
        None => None,
    };
    (capable, limit)
}

/// That the arena lies, or will lie, on huge pages.
pub(super) fn huge_pages(subject: &Subject) -> Finding {
    let machine = &subject.machine;
    let page = PageSize::Huge.bytes();
    let needed = subject.arena_bytes.div_ceil(page) as u64;
    let kernel = format!("sys/kernel/mm/{HUGE_PAGES}");
    let Some(total) = machine.number(&format!("{kernel}/nr_hugepages")) else {
        return Finding::warn(
            "this kernel has no huge pages of 2 MiB: each map for a card takes 4 KiB steps",
            "sudo apt-get install linux-image-amd64 && sudo reboot  # or another kernel with CONFIG_HUGETLBFS",
        );
    };
    if let Some(pid) = subject.gateway_pid() {
        let status = machine
            .text(&format!("proc/{pid}/status"))
            .unwrap_or_default();
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("HugetlbPages:"))
            .and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        if kib.is_some_and(|kib| kib * 1024 >= subject.arena_bytes as u64) {
            return Finding::ok(format!(
                "the gateway's arena lies on {needed} of {total} huge pages"
            ));
        }
    }
    let free = machine
        .number(&format!("{kernel}/free_hugepages"))
        .unwrap_or(0);
    let reserved = machine
        .number(&format!("{kernel}/resv_hugepages"))
        .unwrap_or(0);
    let free = free.saturating_sub(reserved);
    // Others have theirs of the same pool: it only grows.
    let wanted = (total + needed).saturating_sub(free);
    let mend = format!(
        "sudo sysctl -w vm.nr_hugepages={wanted} && echo vm.nr_hugepages={wanted} | sudo tee /etc/sysctl.d/80-faam.conf && sudo \
         systemctl restart faam"
    );
    match free >= needed {
        true => Finding::ok(format!(
            "{free} huge pages are free, the arena takes {needed}"
        )),
        false => Finding::warn(
            format!(
                "{free} of {total} huge pages are free, the arena would take {needed}: it will lie on 4 KiB pages, each mapped by \
                 itself"
            ),
            mend,
        ),
    }
}

/// That the arena lies on the memory next to the function.
pub(super) fn numa(subject: &Subject, function: &PciFunction<'_>) -> Finding {
    let machine = &subject.machine;
    let nodes = machine.names("sys/devices/system/node");
    let nodes = nodes
        .iter()
        .filter(|name| {
            name.strip_prefix("node")
                .is_some_and(|number| number.parse::<u32>().is_ok())
        })
        .count();
    // -1: the firmware does not say.
    let Some(node) = function.number("numa_node") else {
        return match nodes {
            0 | 1 => Finding::ok("the machine has one node"),
            _ => Finding::warn(
                format!("the firmware does not say on which of {nodes} nodes it is"),
                format!(
                    "echo NODE | sudo tee /sys/bus/pci/devices/{}/numa_node  # the node of its slot's socket",
                    function.address
                ),
            ),
        };
    };
    if nodes <= 1 {
        return Finding::ok("the machine has one node");
    }
    let page = PageSize::Huge.bytes();
    let needed = subject.arena_bytes.div_ceil(page) as u64;
    if let Some(pid) = subject.gateway_pid()
        && let Some(pages) = arena_pages(machine, pid)
    {
        let total: u64 = pages.iter().map(|(_, pages)| pages).sum();
        let near: u64 = pages
            .iter()
            .filter(|(on, _)| *on == node)
            .map(|(_, pages)| pages)
            .sum();
        return match near * 2 >= total {
            true => Finding::ok(format!(
                "it is on node {node}, as {near} of {total} pages of the arena are"
            )),
            false => Finding::warn(
                format!(
                    "it is on node {node}, and {} of {total} pages of the arena are elsewhere",
                    total - near
                ),
                format!("numactl --cpunodebind={node} --preferred={node} faam serve"),
            ),
        };
    }
    let pages = |which: &str| {
        let file = format!("sys/devices/system/node/node{node}/{HUGE_PAGES}/{which}");
        machine.number(&file).unwrap_or(0)
    };
    let free = pages("free_hugepages");
    let wanted = (pages("nr_hugepages") + needed).saturating_sub(free);
    match free >= needed {
        true => Finding::ok(format!(
            "it is on node {node}, which has {free} huge pages free; start the gateway there: numactl \
                                     --cpunodebind={node} --preferred={node} faam serve"
        )),
        false => Finding::warn(
            format!(
                "it is on node {node}, which has {free} huge pages free, and the arena takes {needed}"
            ),
            format!(
                "echo {wanted} | sudo tee /sys/devices/system/node/node{node}/{HUGE_PAGES}/nr_hugepages && numactl \
                 --cpunodebind={node} --preferred={node} faam serve"
            ),
        ),
    }
}

/// Pages of a gateway's arena, by node (proc_pid_numa_maps(5)).
fn arena_pages(machine: &Machine, pid: u32) -> Option<Vec<(u64, u64)>> {
    let maps = machine.text(&format!("proc/{pid}/numa_maps"))?;
    let line = maps.lines().find(|line| line.contains(ARENA_FILE))?;
    let pages = line.split_whitespace().filter_map(|field| {
        let (node, pages) = field.strip_prefix('N')?.split_once('=')?;
        Some((node.parse().ok()?, pages.parse().ok()?))
    });
    Some(pages.collect())
}
