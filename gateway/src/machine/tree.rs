//! A machine made of files, for tests: with a card that has nothing to complain about, until a test changes something.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use tempfile::TempDir;

use super::Machine;

/// The card's function.
pub(crate) const CARD: &str = "0000:03:00.0";
/// The port above it.
pub(crate) const PORT: &str = "0000:00:1c.0";
/// Another function in the card's slot, once [`Tree::neighbour`] was called.
pub(crate) const NEIGHBOUR: &str = "0000:03:00.1";
/// A disk in a group of its own, once [`Tree::disk`] was called.
pub(crate) const DISK: &str = "0000:00:05.0";
const CARD_DIR: &str = "sys/devices/pci0000:00/0000:00:1c.0/0000:03:00.0";
const GROUP: &str = "7";

pub(crate) struct Tree(TempDir);

impl Tree {
    /// A machine with one card, all as it should be.
    pub(crate) fn new() -> Self {
        // In memory where there is such a place: tests make thousands of files.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let tree = Self(directory.expect("a directory"));
        tree.file("proc/sys/kernel/osrelease", "6.12.0-1-amd64\n");
        tree.file("proc/cpuinfo", "vendor_id : GenuineIntel\n");
        tree.file("proc/cmdline", "root=/dev/sda1 intel_iommu=on iommu=pt\n");
        tree.file(
            "proc/interrupts",
            " 25:  0  1  IR-PCI-MSIX-0000:03:00.0  0-edge vfio-msix[0]\n",
        );
        tree.file("proc/swaps", "Filename Type Size Used Priority\n");
        tree.file("proc/self/mountinfo", "");
        tree.file("proc/self/status", "CapEff:\t0000000000000000\n");
        tree.locked("67108864");
        tree.file(
            "etc/passwd",
            "root:x:0:0::/root:/bin/sh\nfaam:x:990:980::/:/bin/false\n",
        );
        tree.file(
            "etc/group",
            "root:x:0:\nfaam:x:980:\ncards:x:970:other,faam\n",
        );
        tree.file("etc/modules-load.d/faam.conf", "vfio-pci\n");
        tree.file("sys/firmware/acpi/tables/DMAR", "");
        tree.dir("sys/class/iommu/dmar0");
        tree.file(
            "sys/module/vfio/parameters/enable_unsafe_noiommu_mode",
            "N\n",
        );
        tree.file(
            "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
            "N\n",
        );
        tree.file("sys/module/vfio_pci/initstate", "live\n");
        tree.file("sys/module/vfio_pci/parameters/disable_idle_d3", "Y\n");
        tree.file("sys/module/vfio_pci/parameters/disable_denylist", "N\n");
        tree.dir("sys/bus/pci/drivers/vfio-pci");
        tree.file("dev/vfio/vfio", "");
        tree.mode("dev/vfio/vfio", 0o666);
        tree.file("dev/vfio/7", "");
        tree.mode("dev/vfio/7", 0o660);
        tree.file(
            "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
            "16\n",
        );
        tree.file(
            "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages",
            "16\n",
        );
        tree.file(
            "sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages",
            "0\n",
        );
        tree.dir("sys/devices/system/node/node0");
        tree.function(
            PORT,
            &format!("sys/devices/pci0000:00/{PORT}"),
            "0x8086",
            "0x1234",
            "0x060400",
            "3",
        );
        tree.driver(PORT, "pcieport");
        tree.config(PORT, 0x0D, 0b1_1101);
        tree.function(CARD, CARD_DIR, "0x1234", "0xfa0a", "0x120000", GROUP);
        tree.driver(CARD, "vfio-pci");
        tree.config(CARD, 0x0F, 0);
        tree.file("sys/kernel/iommu_groups/7/type", "DMA\n");
        tree.file(
            "sys/kernel/iommu_groups/7/reserved_regions",
            "0x00000000fee00000 0x00000000feefffff msi\n",
        );
        for (name, text) in [
            (
                "resource",
                "0x00000000fe000000 0x00000000fe03ffff 0x0000000000040200\n0x0 0x0 0x0\n\
                 0x00000000fe040000 0x00000000fe041fff 0x0000000000040200\n",
            ),
            ("reset_method", "flr bus\n"),
            ("current_link_width", "8\n"),
            ("max_link_width", "8\n"),
            ("current_link_speed", "16.0 GT/s PCIe\n"),
            ("max_link_speed", "16.0 GT/s PCIe\n"),
            ("aer_dev_fatal", "Undefined 0\nTOTAL_ERR_FATAL 0\n"),
            ("aer_dev_nonfatal", "Undefined 0\nTOTAL_ERR_NONFATAL 0\n"),
            ("aer_dev_correctable", "RxErr 0\nTOTAL_ERR_COR 0\n"),
            ("numa_node", "0\n"),
            ("iommu/intel-iommu/cap", "d2008c222f0686\n"),
        ] {
            tree.card(name, text);
        }
        tree
    }

    pub(crate) fn machine(&self) -> Machine {
        Machine::new(self.0.path())
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.0.path().join(relative)
    }

    pub(crate) fn dir(&self, relative: &str) {
        fs::create_dir_all(self.path(relative)).expect("made");
    }

    pub(crate) fn file(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, text).expect("written");
    }

    /// A file of the card's function.
    pub(crate) fn card(&self, name: &str, text: &str) {
        self.file(&format!("{CARD_DIR}/{name}"), text);
    }

    pub(crate) fn without_card_file(&self, name: &str) {
        self.remove(&format!("{CARD_DIR}/{name}"));
    }

    pub(crate) fn mode(&self, relative: &str, mode: u32) {
        fs::set_permissions(self.path(relative), Permissions::from_mode(mode)).expect("changed");
    }

    pub(crate) fn remove(&self, relative: &str) {
        let path = self.path(relative);
        match path.is_dir() && !path.is_symlink() {
            true => fs::remove_dir_all(path),
            false => fs::remove_file(path),
        }
        .expect("removed");
    }

    /// What this process may lock: bytes, or a word.
    pub(crate) fn locked(&self, most: &str) {
        self.file(
            "proc/self/limits",
            &format!("Limit                     Soft Limit           Hard Limit           Units\nMax locked memory         {most}             {most}             bytes\n"),
        );
    }

    /// A second function in the card's group.
    pub(crate) fn neighbour(&self, driver: Option<&str>) {
        let dir = format!("sys/devices/pci0000:00/{PORT}/{NEIGHBOUR}");
        self.function(NEIGHBOUR, &dir, "0x8086", "0x1533", "0x020000", GROUP);
        if let Some(driver) = driver {
            self.driver(NEIGHBOUR, driver);
        }
    }

    /// Another function of a card, in a slot and a group of its own.
    pub(crate) fn second_card(&self) {
        let dir = "sys/devices/pci0000:00/0000:00:06.0";
        self.function("0000:00:06.0", dir, "0x1234", "0xfa0a", "0x120000", "6");
    }

    /// Configuration space with the PCI Express capability, which says whether there is FLR.
    pub(crate) fn express(&self, address: &str, flr: bool) {
        let mut bytes = vec![0; 256];
        bytes[0x34] = 0x40;
        bytes[0x40] = 0x10;
        bytes[0x47] = u8::from(flr) << 4;
        let path = self.path(&format!("sys/bus/pci/devices/{address}/config"));
        fs::write(path, bytes).expect("written");
    }

    /// A disk `sdx` with a driver, in group 5, of which something is used as `mountinfo` and `swaps` say.
    pub(crate) fn disk(&self, mountinfo: &str, swaps: &str) {
        let dir = format!("sys/devices/pci0000:00/{DISK}");
        self.function(DISK, &dir, "0x1af4", "0x1042", "0x010000", "5");
        self.driver(DISK, "virtio-pci");
        self.file(&format!("{dir}/virtio0/block/sdx/sdx1/dev"), "8:161\n");
        self.dir("sys/class/block");
        symlink(
            format!("../../devices/pci0000:00/{DISK}/virtio0/block/sdx/sdx1"),
            self.path("sys/class/block/sdx1"),
        )
        .expect("linked");
        self.file("proc/self/mountinfo", mountinfo);
        self.file("proc/swaps", swaps);
    }

    /// A disk behind [`DISK`] to which it is one of several paths: the block device itself lies below no PCI function.
    pub(crate) fn nvme_multipath(&self) {
        let dir = format!("sys/devices/pci0000:00/{DISK}");
        self.function(DISK, &dir, "0x144d", "0xa808", "0x010802", "5");
        self.driver(DISK, "nvme");
        self.dir(&format!("{dir}/nvme/nvme0/nvme0c0n1"));
        let head = "sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1";
        self.file(&format!("{head}/dev"), "259:0\n");
        self.file(&format!("{head}/nvme0n1p2/dev"), "259:2\n");
        self.dir("sys/class/block");
        for (name, target) in [
            ("nvme0n1", head.to_owned()),
            ("nvme0n1p2", format!("{head}/nvme0n1p2")),
        ] {
            let link = self.path(&format!("sys/class/block/{name}"));
            symlink(self.path(&target), link).expect("linked");
        }
    }

    /// A member of the card's group that is no PCI function.
    pub(crate) fn group_stranger(&self, name: &str, driver: &str) {
        let dir = format!("sys/devices/platform/{name}");
        self.dir(&dir);
        symlink(
            format!("/sys/bus/platform/drivers/{driver}"),
            self.path(&format!("{dir}/driver")),
        )
        .expect("linked");
        let link = format!("sys/kernel/iommu_groups/{GROUP}/devices/{name}");
        symlink(self.path(&dir), self.path(&link)).expect("linked");
    }

    /// A process that has a file open.
    pub(crate) fn holder(&self, pid: u32, name: &str, file: &str) {
        self.file(&format!("proc/{pid}/comm"), name);
        self.dir(&format!("proc/{pid}/fd"));
        symlink(file, self.path(&format!("proc/{pid}/fd/9"))).expect("linked");
    }

    pub(crate) fn driver(&self, address: &str, driver: &str) {
        self.dir(&format!("sys/bus/pci/drivers/{driver}"));
        let link = self.path(&format!("sys/bus/pci/devices/{address}/driver"));
        let _ = fs::remove_file(&link);
        symlink(self.path(&format!("sys/bus/pci/drivers/{driver}")), link).expect("linked");
    }

    pub(crate) fn without_driver(&self, address: &str) {
        self.remove(&format!("sys/bus/pci/devices/{address}/driver"));
    }

    /// Configuration space with one extended capability and its control register.
    pub(crate) fn config(&self, address: &str, capability: u8, control: u16) {
        let mut bytes = vec![0; 4096];
        bytes[0x100..0x104].copy_from_slice(&[capability, 0, 1, 0]);
        bytes[0x106..0x108].copy_from_slice(&control.to_le_bytes());
        let path = self.path(&format!("sys/bus/pci/devices/{address}/config"));
        fs::write(path, bytes).expect("written");
    }

    fn function(
        &self,
        address: &str,
        dir: &str,
        vendor: &str,
        device: &str,
        class: &str,
        group: &str,
    ) {
        for (name, text) in [
            ("vendor", vendor),
            ("device", device),
            ("class", class),
            ("driver_override", "(null)"),
        ] {
            self.file(&format!("{dir}/{name}"), &format!("{text}\n"));
        }
        self.dir("sys/bus/pci/devices");
        let up = dir.matches('/').count();
        // As sysfs has it: relative to bus/pci/devices.
        let target = dir.strip_prefix("sys/").expect("in sysfs");
        symlink(
            format!("../../../{target}"),
            self.path(&format!("sys/bus/pci/devices/{address}")),
        )
        .expect("linked");
        self.dir(&format!(
            "sys/kernel/iommu_groups/{group}/devices/{address}"
        ));
        symlink(
            format!("{}sys/kernel/iommu_groups/{group}", "../".repeat(up + 1)),
            self.path(&format!("{dir}/iommu_group")),
        )
        .expect("linked");
    }
}
