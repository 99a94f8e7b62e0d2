//! `faam backup` and `faam restore`: the store and the images as one file, and back.
//!
//! Invariants: a backup is of one moment, checked, 0600, and whole or not there, whether a gateway runs or not; a restore needs that none
//! runs, checks the file first, and keeps what it replaces; it never takes back which security versions of images were accepted, and
//! has that on the disk before anything else; an image that cannot be taken along, or finds no room, is named, and nothing else
//! fails by it. Secrets are in neither: keys are recognised by what is stored, and what recognises them (pepper, root key) is in
//! files of its own.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use faam_gateway::gateway::{STORE_FILE, lock_data_dir};
use faam_gateway::images::{BackupPart, PackageBack, ReturningImages, backup_files};
use faam_store::sqlite::{AnnexEntry, Arriving, LeftOut, Restored, Restoring, annexed, left_out};
use serde_json::{Value, json};

use crate::admin_client::{AdminClient, AdminError, OperatorFlags};
use crate::columns::printable;
use crate::offline_store::{OfflineStore, runtime};
use crate::quantity::show_bytes;

/// How long a gateway may work on a copy of everything, and send it.
const BACKUP_WAIT: Duration = Duration::from_secs(600);
/// How long a restore may take.
const RESTORE_WAIT: Duration = Duration::from_secs(600);

const BACKUP_EXAMPLES: &str = "\
Examples:
  faam backup faam-2026-01-31.db
      of the gateway whose data directory is ./data, while it serves
  faam backup --data-dir /var/lib/faam --force /backup/faam.db
      in the place of the last one, once the new one is whole
  faam backup \"$(date +%F).db\" --json
      for a program";

/// Copy the store (tenants, credentials, usage, events) and the images into one file, while the gateway serves
#[derive(Debug, Args)]
#[command(after_help = BACKUP_EXAMPLES)]
pub(crate) struct Backup {
    /// The file to make; 0600, whole or not there
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// In the place of a file that is there
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    operator: OperatorFlags,
    /// As JSON
    #[arg(long)]
    json: bool,
}

const RESTORE_EXAMPLES: &str = "\
Examples:
  faam restore faam-2026-01-31.db
      into the data directory ./data, in which no gateway may run
  faam restore /backup/faam.db --data-dir /var/lib/faam --json
      for a program; what was there is kept beside it

Images that are not there, or are damaged there, come back as well; one that finds no room is named. The highest security
version of each kernel counts, the backup's or the directory's: what was superseded is not taken again. Whom to trust and
what is revoked is the configuration's, which no backup has: keep that as well.";

/// Put a backup in the place of the store, and its images beside it; no gateway may run
#[derive(Debug, Args)]
#[command(after_help = RESTORE_EXAMPLES)]
pub(crate) struct Restore {
    /// A file that `faam backup` made
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    #[command(flatten)]
    operator: OperatorFlags,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Backup {
    /// Makes it.
    ///
    /// # Errors
    /// The file is there, nothing to copy, no room.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        if !self.force && self.file.symlink_metadata().is_ok() {
            anyhow::bail!(
                "{} exists; name another file, or replace it with --force",
                self.file.display()
            );
        }
        // With --force the old one stays until the new one is whole, under a name beside it.
        let new = match self.force {
            true => beside(&self.file),
            false => self.file.clone(),
        };
        let from = self.copy(&new)?;
        if new != self.file {
            std::fs::rename(&new, &self.file)?;
        }
        let bytes = self.file.metadata()?.len();
        let (entries, left_out) = runtime()?.block_on(async {
            anyhow::Ok((annexed(&self.file).await?, left_out(&self.file).await?))
        })?;
        let images = entries
            .iter()
            .filter_map(|entry| BackupPart::of(&entry.name));
        let images = images.filter(|part| matches!(part, BackupPart::Package(_)));
        let images = images.count();
        let file = self.file.display();
        let mut out = io::stdout().lock();
        if self.json {
            let answer = json!({
                "file": self.file, "bytes": bytes, "from": from, "images": images,
                "left_out": reasons(&left_out),
            });
            serde_json::to_writer_pretty(&mut out, &answer)?;
            writeln!(out)?;
        } else {
            writeln!(
                out,
                "{file}: {}, checked; from the {from}; images: {images}",
                show_bytes(bytes)
            )?;
            for file in &left_out {
                say(&mut out, "left out", &file.name, &file.why)?;
            }
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }

    /// Makes `to`; says where it is from.
    fn copy(&self, to: &Path) -> anyhow::Result<&'static str> {
        let data_dir = &self.operator.data_dir;
        let mut arriving = Arriving::new(to)?;
        let client = AdminClient::new(data_dir);
        match client.download("/admin/v1/backup", BACKUP_WAIT, arriving.file()) {
            Ok(_) => {
                runtime()?.block_on(arriving.keep())?;
                Ok("running gateway")
            }
            Err(AdminError::NoGateway { .. }) => {
                drop(arriving);
                let store = OfflineStore::open(data_dir)?;
                let images = backup_files(data_dir)?;
                store.run(async |store| Ok(store.backup_with(to, &images).await?))?;
                Ok("data directory")
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Restore {
    /// Puts it there.
    ///
    /// # Errors
    /// A gateway runs; no backup, a damaged one, or one of a newer schema.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let data_dir = &self.operator.data_dir;
        let _lock = lock_data_dir(data_dir)?;
        let to = data_dir.join(STORE_FILE);
        let work = restore(&self.file, &to, data_dir);
        let work = async { tokio::time::timeout(RESTORE_WAIT, work).await };
        let (restored, images) = runtime()?.block_on(work).with_context(|| {
            format!(
                "not restored within {} s: see how the disk of {} does",
                RESTORE_WAIT.as_secs(),
                data_dir.display()
            )
        })??;
        let mut out = io::stdout().lock();
        if self.json {
            let answer = json!({
                "store": to, "schema": restored.schema, "replaced": restored.replaced,
                "images": {
                    "restored": images.restored, "kept": images.kept, "mended": images.mended,
                    "versions_raised": images.versions_raised, "not_known": images.not_known,
                    "differ": reasons(&images.differ), "left_out": reasons(&images.left_out),
                    "not_in_backup": reasons(&images.not_in_backup),
                },
            });
            serde_json::to_writer_pretty(&mut out, &answer)?;
            writeln!(out)?;
        } else {
            write!(
                out,
                "{}: restored from {}",
                to.display(),
                self.file.display()
            )?;
            match &restored.replaced {
                Some(kept) => writeln!(out, "; what was there is {}", kept.display())?,
                None => writeln!(out)?,
            }
            writeln!(
                out,
                "images: {} restored, {} kept that were there; security versions: {} raised, none lowered",
                images.restored, images.kept, images.versions_raised
            )?;
            for name in &images.mended {
                let name = printable(name);
                writeln!(
                    out,
                    "mended: {name}, which was damaged here; it is the backup's now"
                )?;
            }
            for (what, files) in [
                ("left as it is", &images.differ),
                ("left out", &images.left_out),
                ("not in the backup", &images.not_in_backup),
            ] {
                for file in files {
                    say(&mut out, what, &file.name, &file.why)?;
                }
            }
            for name in &images.not_known {
                writeln!(
                    out,
                    "left out: {}, which this faam does not know",
                    printable(name)
                )?;
            }
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Files of a backup with what there is to say of each.
fn reasons(files: &[LeftOut]) -> Vec<Value> {
    let reason = |file: &LeftOut| json!({ "name": file.name, "why": file.why });
    files.iter().map(reason).collect()
}

fn say(out: &mut impl Write, what: &str, name: &str, why: &str) -> io::Result<()> {
    writeln!(out, "{what}: {}: {}", printable(name), printable(why))
}

/// What came of the images in a backup.
#[derive(Debug, Default)]
struct ImagesBack {
    /// That were not there.
    restored: usize,
    /// That were there, and are as they were.
    kept: usize,
    /// That were damaged there, by their names in the backup.
    mended: Vec<String>,
    /// That are there otherwise than in the backup, and as they were.
    differ: Vec<LeftOut>,
    /// That could not be taken out of the backup, or found no room.
    left_out: Vec<LeftOut>,
    /// That could not be read when it was made.
    not_in_backup: Vec<LeftOut>,
    /// Kernels of which the backup remembers a higher security version.
    versions_raised: usize,
    /// Files of a later faam's.
    not_known: Vec<String>,
}

impl ImagesBack {
    /// What became of a package: without it there is a store still, and who is told its name can add it.
    fn note(&mut self, name: String, brought: anyhow::Result<PackageBack>) {
        match brought {
            Ok(PackageBack::Restored) => self.restored += 1,
            Ok(PackageBack::Kept) => self.kept += 1,
            Ok(PackageBack::Mended) => self.mended.push(name),
            Ok(PackageBack::Differs(difference)) => self.differ.push(LeftOut {
                name,
                why: difference.what().to_owned(),
            }),
            Err(error) => self.left_out.push(LeftOut {
                name,
                why: format!("{error:#}"),
            }),
        }
    }
}

/// Images first, and of them the security versions: a store that is there without them would be a gateway that takes what was
/// superseded.
async fn restore(
    from: &Path,
    to: &Path,
    data_dir: &Path,
) -> anyhow::Result<(Restored, ImagesBack)> {
    let restoring = Restoring::new(from, to).await?;
    let mut back = ImagesBack {
        not_in_backup: restoring.left_out().await?,
        ..ImagesBack::default()
    };
    let (mut versions, mut packages) = (Vec::new(), Vec::new());
    for entry in restoring.annex().await? {
        match BackupPart::of(&entry.name) {
            Some(part @ BackupPart::Floors) => versions.push((part, entry)),
            Some(part @ BackupPart::Package(_)) => packages.push((part, entry)),
            None => back.not_known.push(entry.name),
        }
    }
    let mut images = ReturningImages::open(data_dir)?;
    for (part, entry) in versions.into_iter().chain(packages) {
        match part {
            BackupPart::Floors => {
                let bytes = annexed_bytes(&restoring, part, &entry).await?;
                back.versions_raised += images.floors(&bytes)?;
            }
            BackupPart::Package(image) => {
                let brought = match annexed_bytes(&restoring, part, &entry).await {
                    Ok(bytes) => images.package(image, &bytes).map_err(anyhow::Error::from),
                    Err(error) => Err(error),
                };
                back.note(entry.name, brought);
            }
        }
    }
    Ok((restoring.keep().await?, back))
}

/// A file of a backup, of at most as many bytes as it may have.
async fn annexed_bytes(
    restoring: &Restoring,
    part: BackupPart,
    entry: &AnnexEntry,
) -> anyhow::Result<Vec<u8>> {
    let bytes_max = part.bytes_max();
    if entry.bytes > bytes_max as u64 {
        anyhow::bail!(
            "{:?} in the backup has {} bytes: expected {bytes_max} at most; was the file changed?",
            entry.name,
            entry.bytes
        );
    }
    let mut bytes = Vec::new();
    restoring.annexed(entry, &mut bytes).await?;
    Ok(bytes)
}

/// A name beside `file` that only this process uses.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    PathBuf::from(name)
}
