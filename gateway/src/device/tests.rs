//! Binding on a machine of files, whose kernel is a thread: it reads what is written to `unbind` and `drivers_probe`, and moves
//! the function from driver to driver as sysfs would show it.

use std::fs;
use std::io;
use std::path::Path;
use std::thread::JoinHandle;

use faam_driver::PciAddress;
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::io::Errno;

use super::binding::{BindError, bind, unbind};
use super::bus::cards;
use crate::machine::Machine;
use crate::machine::tree::{CARD, DISK, NEIGHBOUR, PORT, Tree};
use crate::pci::VFIO_PCI;

fn addresses(texts: &[&str]) -> Vec<PciAddress> {
    texts
        .iter()
        .map(|text| text.parse().expect("an address"))
        .collect()
}

/// Makes a file of sysfs one that can be listened to.
fn listen(tree: &Tree, relative: &str) {
    let path = tree.path(relative);
    fs::create_dir_all(path.parent().expect("a parent")).expect("made");
    mkfifoat(CWD, &path, Mode::from_raw_mode(0o600)).expect("made");
}

/// Whether a driver has a device.
fn has(device: &Path, driver: &str) -> bool {
    let link = device.join("driver").read_link();
    link.is_ok_and(|target| target.ends_with(driver))
}

/// The kernel's part: each of `steps` is a file, and what it does with the address that is written there.
fn kernel(tree: &Tree, steps: Vec<(String, Option<&'static str>)>) -> JoinHandle<Vec<String>> {
    for (file, _) in &steps {
        if !tree.path(file).exists() {
            listen(tree, file);
        }
    }
    let root = tree.path("");
    std::thread::spawn(move || {
        let mut written = Vec::new();
        for (file, driver) in steps {
            // Until whoever writes closes it.
            let text = fs::read_to_string(root.join(&file)).expect("written");
            let device = root.join("sys/bus/pci/devices").join(&text);
            if driver.is_some_and(|driver| has(&device, driver)) {
                written.push(text);
                continue;
            }
            let _ = fs::remove_file(device.join("driver"));
            if let Some(driver) = driver {
                let target = root.join("sys/bus/pci/drivers").join(driver);
                std::os::unix::fs::symlink(target, device.join("driver")).expect("linked");
            }
            written.push(text);
        }
        written
    })
}

#[test]
fn a_function_goes_to_vfio_and_back() {
    let tree = Tree::new();
    tree.driver(CARD, "other");
    let unbind_file = "sys/bus/pci/drivers/other/unbind".to_owned();
    let probe = "sys/bus/pci/drivers_probe".to_owned();
    let steps = vec![(unbind_file, None), (probe.clone(), Some(VFIO_PCI))];
    let thread = kernel(&tree, steps);
    let bound = bind(&tree.machine(), &addresses(&[CARD]), false).expect("bound");
    assert_eq!(thread.join().expect("done"), [CARD, CARD]);
    assert_eq!(bound[0].was.as_deref(), Some("other"));
    assert_eq!(bound[0].driver.as_deref(), Some(VFIO_PCI));
    assert_eq!(bound[0].node.as_deref(), Some("/dev/vfio/7"));
    let wish = tree.path(&format!("sys/bus/pci/devices/{CARD}/driver_override"));
    assert!(
        fs::read_to_string(&wish)
            .expect("there")
            .starts_with(VFIO_PCI)
    );
    // A second time changes nothing: nobody listens any more.
    bind(&tree.machine(), &addresses(&[CARD]), false).expect("bound already");

    let steps = vec![
        ("sys/bus/pci/drivers/vfio-pci/unbind".to_owned(), None),
        (probe, Some("other")),
    ];
    let thread = kernel(&tree, steps);
    let unbound = unbind(&tree.machine(), &addresses(&[CARD])).expect("unbound");
    assert_eq!(thread.join().expect("done"), [CARD, CARD]);
    assert!(fs::read_to_string(wish).expect("there").starts_with('\n'));
    assert_eq!(unbound[0].was.as_deref(), Some(VFIO_PCI));
    let error = unbind(&tree.machine(), &addresses(&[CARD])).expect_err("it is not vfio's");
    assert!(matches!(error, BindError::NotOurs { .. }), "{error}");
}

#[test]
fn a_function_that_vfio_does_not_take_is_left_as_it_was() {
    let tree = Tree::new();
    tree.without_driver(CARD);
    let probe = "sys/bus/pci/drivers_probe".to_owned();
    let thread = kernel(&tree, vec![(probe.clone(), None), (probe, Some("other"))]);
    let error = bind(&tree.machine(), &addresses(&[CARD]), false).expect_err("not taken");
    assert!(error.to_string().contains("dmesg"), "{error}");
    assert_eq!(thread.join().expect("done"), [CARD, CARD]);
    let wish = tree.path(&format!("sys/bus/pci/devices/{CARD}/driver_override"));
    assert!(fs::read_to_string(wish).expect("there").starts_with('\n'));
}

/// What refuses changes nothing: a pipe that nobody reads would hang whoever writes, and no file is another afterwards.
#[track_caller]
fn refused(tree: &Tree, which: &[&str], words: &[&str]) {
    refused_on(tree, tree.machine(), which, true, words);
}

#[track_caller]
fn refused_on(tree: &Tree, machine: Machine, which: &[&str], force: bool, words: &[&str]) {
    let wishes = |tree: &Tree| {
        let read = |address: &str| {
            fs::read_to_string(tree.path(&format!("sys/bus/pci/devices/{address}/driver_override")))
        };
        which
            .iter()
            .map(|address| read(address).ok())
            .collect::<Vec<_>>()
    };
    let before = wishes(tree);
    let error = bind(&machine, &addresses(which), force)
        .expect_err("refused")
        .to_string();
    for word in words {
        assert!(error.contains(word), "{word:?} is not in {error:?}");
    }
    assert_eq!(wishes(tree), before);
}

#[test]
fn what_the_system_stands_on_is_refused_with_what_that_is() {
    let mounted = "29 1 8:161 / /srv rw,relatime shared:1 - ext4 /dev/sdx1 rw\n";
    let several = "29 1 0:41 / /data rw - btrfs /dev/sdx1 rw\n";
    for (mountinfo, swaps, words) in [
        (mounted, "", "disk sdx1, mounted on /srv"),
        (several, "", "disk sdx1, mounted on /data"),
        (
            "",
            "Filename\n/dev/sdx1 partition 1 0 -2\n",
            "disk sdx1, swapped to",
        ),
    ] {
        let tree = Tree::new();
        tree.disk(mountinfo, swaps);
        refused(&tree, &[DISK], &["in use", words]);
    }
    let tree = Tree::new();
    tree.disk("", "");
    tree.file(
        "sys/devices/pci0000:00/0000:00:05.0/virtio0/block/sdx/sdx1/holders/dm-0",
        "",
    );
    refused(&tree, &[DISK], &["part of dm-0"]);
    // Not used by anything: only vfio-pci is missing now.
    tree.remove("sys/devices/pci0000:00/0000:00:05.0/virtio0/block/sdx/sdx1/holders");
    tree.remove("sys/bus/pci/drivers/vfio-pci");
    refused(&tree, &[DISK], &["modprobe vfio-pci"]);

    let tree = Tree::new();
    tree.neighbour(Some("igb"));
    let net = format!("sys/devices/pci0000:00/{PORT}/{NEIGHBOUR}/net/eth7");
    tree.file(&format!("{net}/flags"), "0x1003\n");
    tree.dir("sys/class/net");
    std::os::unix::fs::symlink(tree.path(&net), tree.path("sys/class/net/eth7")).expect("linked");
    refused(
        &tree,
        &[NEIGHBOUR],
        &["network interface eth7, which is up"],
    );
    tree.driver(CARD, "other");
    tree.card("boot_vga", "1");
    refused(&tree, &[CARD], &["screen"]);
}

/// EBUSY for one of the tree's disks, as open(2) says it of a claimed one.
fn nvme_is_claimed(node: &Path) -> io::Result<()> {
    match node.ends_with("dev/nvme0n1p2") {
        true => Err(Errno::BUSY.into()),
        false => Ok(()),
    }
}

#[test]
fn a_disk_that_the_kernel_holds_is_in_use_by_whatever_path_it_is_reached() {
    let tree = Tree::new();
    tree.nvme_multipath();
    let words = ["in use", "disk nvme0n1p2, which the kernel holds"];
    let machine = tree.machine().with_block_devices(nvme_is_claimed);
    refused_on(&tree, machine, &[DISK], true, &words);
    tree.file(
        "proc/self/mountinfo",
        "29 1 259:2 / / rw - ext4 /dev/nvme0n1p2 rw\n",
    );
    refused(&tree, &[DISK], &["disk nvme0n1p2, mounted on /"]);
}

#[test]
fn what_is_no_card_of_ours_is_bound_with_force_alone() {
    let tree = Tree::new();
    tree.disk("", "");
    let words = ["0000:00:05.0 (1af4:1042)", "bind --force 0000:00:05.0"];
    refused_on(&tree, tree.machine(), &[DISK], false, &words);
}

#[test]
fn a_group_with_a_member_that_is_no_pci_function_is_refused() {
    let tree = Tree::new();
    tree.driver(CARD, "other");
    tree.group_stranger("INTC1006:00", "platform-dma");
    refused(
        &tree,
        &[CARD],
        &[
            "IOMMU group 7",
            "INTC1006:00 (no PCI function, platform-dma)",
        ],
    );
}

#[test]
fn what_is_bound_already_may_be_in_service() {
    let tree = Tree::new();
    tree.holder(4711, "faam", "/dev/vfio/7");
    let bound = bind(&tree.machine(), &addresses(&[CARD]), false).expect("bound already");
    assert_eq!(bound[0].driver.as_deref(), Some(VFIO_PCI));
}

#[test]
fn a_function_that_vfio_takes_back_is_not_called_unbound() {
    let tree = Tree::new();
    let steps = vec![
        // It keeps it throughout, as seen by whoever looks after the writes.
        (
            "sys/bus/pci/drivers/vfio-pci/unbind".to_owned(),
            Some(VFIO_PCI),
        ),
        ("sys/bus/pci/drivers_probe".to_owned(), Some(VFIO_PCI)),
    ];
    let thread = kernel(&tree, steps);
    let error = unbind(&tree.machine(), &addresses(&[CARD])).expect_err("still vfio's");
    thread.join().expect("done");
    assert!(matches!(error, BindError::StillVfio { .. }), "{error}");
    assert!(error.to_string().contains("ids="), "{error}");
}

#[test]
fn a_function_that_is_open_by_its_own_file_stays() {
    let tree = Tree::new();
    tree.card("vfio-dev/vfio3/dev", "511:3\n");
    tree.holder(4711, "faam", "/dev/vfio/devices/vfio3");
    let error = unbind(&tree.machine(), &addresses(&[CARD])).expect_err("it is open");
    assert!(error.to_string().contains("process 4711 (faam)"), "{error}");
}

#[test]
fn a_shared_group_is_refused_with_the_list_of_who_shares_it() {
    let tree = Tree::new();
    tree.driver(CARD, "other");
    tree.neighbour(Some("igb"));
    refused(
        &tree,
        &[CARD],
        &[
            "IOMMU group 7",
            "0000:03:00.1 (8086:1533, igb)",
            "device bind --force 0000:03:00.0 0000:03:00.1",
        ],
    );
    let card = &cards(&tree.machine())[0];
    assert_eq!(card["address"], CARD);
    assert_eq!(card["shared_with"][0], "0000:03:00.1 (8086:1533, igb)");
    // Together they may go: then the whole group is vfio's.
    let probe = "sys/bus/pci/drivers_probe".to_owned();
    let steps = vec![
        ("sys/bus/pci/drivers/other/unbind".to_owned(), None),
        (probe.clone(), Some(VFIO_PCI)),
        ("sys/bus/pci/drivers/igb/unbind".to_owned(), None),
        (probe, Some(VFIO_PCI)),
    ];
    let thread = kernel(&tree, steps);
    let bound = bind(&tree.machine(), &addresses(&[CARD, NEIGHBOUR]), true).expect("bound");
    assert_eq!(
        thread.join().expect("done"),
        [CARD, CARD, NEIGHBOUR, NEIGHBOUR]
    );
    assert_eq!(bound.len(), 2);
}

#[test]
fn bridges_strangers_and_functions_without_a_group_are_refused() {
    let tree = Tree::new();
    refused(&tree, &[PORT], &["is a bridge"]);
    refused(&tree, &["0000:99:00.0"], &["there is no PCI function"]);
    tree.without_card_file("iommu_group");
    refused(&tree, &[CARD], &["no IOMMU group", "faam doctor"]);
}

#[test]
fn a_function_that_a_process_has_open_stays() {
    let tree = Tree::new();
    tree.holder(4711, "faam", "/dev/vfio/7");
    let error = unbind(&tree.machine(), &addresses(&[CARD])).expect_err("it is open");
    let words = error.to_string();
    assert!(words.contains("process 4711 (faam)"), "{words}");
}

#[test]
fn without_the_right_to_it_says_who_has_it() {
    if rustix::process::geteuid().is_root() {
        // Root writes what it likes: a path that cannot be written for anybody stands in for it.
        let tree = Tree::new();
        tree.without_driver(CARD);
        tree.dir("sys/bus/pci/drivers_probe");
        let error =
            bind(&tree.machine(), &addresses(&[CARD]), false).expect_err("it is a directory");
        assert!(
            error
                .to_string()
                .contains("drivers_probe cannot be written"),
            "{error}"
        );
        return;
    }
    let tree = Tree::new();
    tree.without_driver(CARD);
    tree.file("sys/bus/pci/drivers_probe", "");
    tree.mode("sys/bus/pci/drivers_probe", 0o400);
    let error = bind(&tree.machine(), &addresses(&[CARD]), false).expect_err("not allowed");
    assert!(error.to_string().contains("sudo"), "{error}");
}
