//! A machine as its kernel shows it in files: sysfs, procfs, device nodes, configuration.
//!
//! Owns where those files are, so that all that reads them can be tried on a tree made for it. Invariants: what is read is
//! bounded, and whatever cannot be read is `None`, never a guess. It does not know what is in the files.

#[cfg(test)]
pub(crate) mod tree;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// Bytes of a file that are read: /proc/interrupts of a large machine has some hundred thousand.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Entries of a directory that are looked at.
const ENTRIES_MAX: usize = 65_536;

/// A machine, by the directory in which its `sys`, `proc`, `dev` and `etc` are.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    root: PathBuf,
    /// Opens a block device as its only user; a tree of files has none.
    open_alone: fn(&Path) -> io::Result<()>,
}

impl Machine {
    /// The one whose root directory this is; `/` is this one.
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            open_alone,
        }
    }

    /// The same, whose block devices `open_alone` stands for.
    #[cfg(test)]
    pub(crate) fn with_block_devices(mut self, open_alone: fn(&Path) -> io::Result<()>) -> Self {
        self.open_alone = open_alone;
        self
    }

    /// Whether the kernel holds the block device of this name for something: a mount in whatever namespace, a pool, another
    /// device on top. `false` also where this user may not open it.
    pub(crate) fn block_device_is_claimed(&self, name: &str) -> bool {
        // In sysfs a name's slashes are exclamation marks.
        let node = self.path("dev").join(name.replace('!', "/"));
        let opened = (self.open_alone)(&node);
        opened.is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy)
    }

    /// Whether it is the machine that we run on.
    pub(crate) fn is_this_one(&self) -> bool {
        self.root == Path::new("/")
    }

    /// A path of it, as in `sys/class/iommu`.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The text of a file, without blanks around it.
    pub(crate) fn text(&self, relative: &str) -> Option<String> {
        text(&self.path(relative))
    }

    /// A file's whole number, decimal or in hex with `0x`.
    pub(crate) fn number(&self, relative: &str) -> Option<u64> {
        number(&self.text(relative)?)
    }

    /// Whether something is there.
    pub(crate) fn has(&self, relative: &str) -> bool {
        self.path(relative).exists()
    }

    /// Names in a directory, sorted; none where there is no such directory.
    pub(crate) fn names(&self, relative: &str) -> Vec<String> {
        names(&self.path(relative))
    }
}

/// open(2): without O_CREAT, O_EXCL on a block device fails with EBUSY if it is in use by the system.
fn open_alone(node: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    if !fs::metadata(node)?.file_type().is_block_device() {
        return Ok(());
    }
    let flags = OFlags::EXCL | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(node);
    opened.map(drop)
}

/// The text of a file, without blanks around it.
pub(crate) fn text(path: &Path) -> Option<String> {
    let bytes = bytes(path)?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// The bytes of a file.
pub(crate) fn bytes(path: &Path) -> Option<Vec<u8>> {
    // A pipe in its place would never end.
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// A whole number, decimal or in hex with `0x`.
pub(crate) fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Names in a directory, sorted.
pub(crate) fn names(path: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(path) else {
        return Vec::new();
    };
    let names = entries
        .take(ENTRIES_MAX)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// The last part of what a symbolic link points to.
pub(crate) fn link_name(path: &Path) -> Option<String> {
    let target = path.read_link().ok()?;
    Some(target.file_name()?.to_str()?.to_owned())
}
