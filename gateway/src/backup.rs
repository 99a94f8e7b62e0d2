//! `faam backup` and `faam restore`: the store as one file, and back.
//!
//! Invariants: a backup is of one moment, checked, 0600, and whole or not there, whether a gateway runs or not; a restore needs that none
//! runs, checks the file first, and keeps what it replaces. Secrets are in neither: keys are recognised by what is stored, and what
//! recognises them (pepper, root key) is in files of its own.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use faam_gateway::gateway::{STORE_FILE, lock_data_dir};
use faam_store::Store;
use faam_store::sqlite::Arriving;
use serde_json::json;

use crate::admin_client::{AdminClient, AdminError, OperatorFlags};
use crate::offline_store::{OfflineStore, runtime};
use crate::quantity::show_bytes;

/// How long a gateway may work on a copy of everything, and send it.
const BACKUP_WAIT: Duration = Duration::from_secs(600);

const BACKUP_EXAMPLES: &str = "\
Examples:
  faam backup faam-2026-01-31.db
      of the gateway whose data directory is ./data, while it serves
  faam backup --data-dir /var/lib/faam --force /backup/faam.db
      in the place of the last one, once the new one is whole
  faam backup \"$(date +%F).db\" --json
      for a program";

/// Copy the store (tenants, credentials, usage, events) into one file, while the gateway serves
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
      for a program; what was there is kept beside it";

/// Put a backup in the place of the store; no gateway may run
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
        let file = self.file.display();
        let mut out = io::stdout().lock();
        if self.json {
            let answer = json!({"file": self.file, "bytes": bytes, "from": from});
            serde_json::to_writer_pretty(&mut out, &answer)?;
            writeln!(out)?;
        } else {
            writeln!(
                out,
                "{file}: {}, checked; from the {from}",
                show_bytes(bytes)
            )?;
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
                store.run(async |store| Ok(store.backup(to).await?))?;
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
        let restored = runtime()?.block_on(Store::restore(&self.file, &to))?;
        let mut out = io::stdout().lock();
        if self.json {
            let answer =
                json!({"store": to, "schema": restored.schema, "replaced": restored.replaced});
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
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A name beside `file` that only this process uses.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    PathBuf::from(name)
}
