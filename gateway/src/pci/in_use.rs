//! What of a running system stands on a function: disks, network interfaces, the screen, processes that hold it.
//!
//! Invariant: a function that the system needs is named as such with what needs it; where something cannot be looked at, the
//! list is no shorter for it than the kernel shows to this user. It changes nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::PciFunction;
use crate::machine;

/// Flag of an interface that is up (linux/if.h, IFF_UP).
const INTERFACE_UP: u64 = 1;
/// Processes that are looked at for open devices.
const PROCESSES_MAX: usize = 65_536;

impl PciFunction<'_> {
    /// What stands on it, in words; empty if the system would not miss it.
    pub(crate) fn uses(&self) -> Vec<String> {
        let mut uses = self.disks();
        uses.extend(self.interfaces());
        if self.number("boot_vga") == Some(1) {
            uses.push("the machine's screen".to_owned());
        }
        uses.extend(self.holders());
        uses
    }

    /// Block devices on it that are mounted, swapped to, or part of another.
    fn disks(&self) -> Vec<String> {
        let machine = self.machine();
        let mounts = machine.text("proc/self/mountinfo").unwrap_or_default();
        let swaps = machine.text("proc/swaps").unwrap_or_default();
        let mut uses = Vec::new();
        for name in self.block_devices() {
            let dir = machine.path("sys/class/block").join(&name);
            let number = machine::text(&dir.join("dev")).unwrap_or_default();
            let device = format!("/dev/{name}");
            // proc_pid_mountinfo(5): the third field is the device's number, the fifth where it is mounted, the second after
            // the hyphen the source: a file system of several devices has a number of its own.
            let mounted = mounts.lines().find_map(|line| {
                let mut fields = line.split(' ');
                let of = fields.nth(2)?;
                let place = fields.nth(1)?;
                let source = fields.skip_while(|field| *field != "-").nth(2);
                (of == number || source == Some(device.as_str())).then(|| place.to_owned())
            });
            if let Some(place) = mounted {
                uses.push(format!("disk {name}, mounted on {place}"));
            }
            if swaps
                .lines()
                .any(|line| line.split_whitespace().next() == Some(device.as_str()))
            {
                uses.push(format!("disk {name}, swapped to"));
            }
            let holders = machine::names(&dir.join("holders"));
            if !holders.is_empty() {
                uses.push(format!("disk {name}, part of {}", holders.join(", ")));
            }
            if !uses
                .iter()
                .any(|of| of.starts_with(&format!("disk {name},")))
                && machine.block_device_is_claimed(&name)
            {
                uses.push(format!(
                    "disk {name}, which the kernel holds (a pool, a file system of several disks, a mount that is not seen here)"
                ));
            }
        }
        uses
    }

    /// Block devices on it, and those that it is one path of several to.
    fn block_devices(&self) -> BTreeSet<String> {
        let mut names: BTreeSet<_> = self.class("block").into_iter().collect();
        let dir = self.dir().join("nvme");
        let paths = machine::names(&dir).into_iter().flat_map(|controller| {
            let heads = machine::names(&dir.join(controller)).into_iter();
            heads.filter_map(|name| nvme_head(&name))
        });
        let heads: BTreeSet<_> = paths
            .chain(names.iter().filter_map(|name| nvme_head(name)))
            .collect();
        let all = self.machine().names("sys/class/block");
        for head in heads {
            let partition = format!("{head}p");
            let parts = all.iter().filter(|name| name.starts_with(&partition));
            names.extend(parts.cloned());
            names.insert(head);
        }
        names
    }

    /// Network interfaces on it that are up.
    fn interfaces(&self) -> Vec<String> {
        let up = |name: &String| {
            let flags = format!("sys/class/net/{name}/flags");
            let flags = self.machine().number(&flags);
            flags.is_none_or(|flags| flags & INTERFACE_UP != 0)
        };
        let names = self.class("net").into_iter().filter(up);
        names
            .map(|name| format!("network interface {name}, which is up"))
            .collect()
    }

    /// Processes that have its group open, or itself by its own file (vfio's devices since Linux 6.6).
    fn holders(&self) -> Vec<String> {
        let machine = self.machine();
        let own = machine::names(&self.dir().join("vfio-dev"));
        let mut nodes: Vec<_> = own
            .iter()
            .map(|name| PathBuf::from(format!("/dev/vfio/devices/{name}")))
            .collect();
        nodes.extend(
            self.group()
                .map(|group| PathBuf::from(format!("/dev/vfio/{group}"))),
        );
        if nodes.is_empty() {
            return Vec::new();
        }
        let processes = machine.names("proc").into_iter();
        let processes = processes
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
            .take(PROCESSES_MAX);
        let holds = |process: &String| {
            let fds = machine.path("proc").join(process).join("fd");
            let mut names = machine::names(&fds).into_iter();
            names.any(|fd| {
                let target = fds.join(fd).read_link();
                target.is_ok_and(|target| nodes.contains(&target))
            })
        };
        let holding = processes.filter(holds).map(|process| {
            let name = machine.text(&format!("proc/{process}/comm"));
            format!(
                "process {process} ({}), which has it or its group open",
                name.as_deref().unwrap_or("?")
            )
        });
        holding.collect()
    }

    /// Members of a device class that are on it.
    fn class(&self, class: &str) -> Vec<String> {
        let machine = self.machine();
        let dir = format!("sys/class/{class}");
        let address = self.address.to_string();
        let mut names = machine.names(&dir);
        names.retain(|name| {
            let device = machine.path(&dir).join(name).canonicalize();
            device.is_ok_and(|device| device.iter().any(|part| part == address.as_str()))
        });
        names
    }
}

/// The device that all paths to an NVMe name space are one of: `nvme0n1` of `nvme0c1n1` (Linux, drivers/nvme/host/multipath.c).
/// It lies below no PCI function.
fn nvme_head(path: &str) -> Option<String> {
    let (subsystem, rest) = path.strip_prefix("nvme")?.split_once('c')?;
    let (controller, space) = rest.split_once('n')?;
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let whole = number(subsystem) && number(controller) && number(space);
    whole.then(|| format!("nvme{subsystem}n{space}"))
}
