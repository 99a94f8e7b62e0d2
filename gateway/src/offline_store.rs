//! The store of a data directory in which no gateway runs, for a command.
//!
//! Invariant: the directory is locked for as long as the store is open, so that no gateway starts meanwhile and none runs. It
//! makes nothing: where there is no store it says so.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, bail};
use faam_gateway::gateway::{STORE_FILE, lock_data_dir};
use faam_store::Store;
use tokio::runtime::{Builder, Runtime};

/// See the module.
pub(crate) struct OfflineStore {
    store: Store,
    runtime: Runtime,
    _lock: File,
}

impl OfflineStore {
    /// Opens the one in `data_dir`.
    ///
    /// # Errors
    /// There is none, a gateway runs, or it cannot be opened.
    pub(crate) fn open(data_dir: &Path) -> anyhow::Result<Self> {
        let path = data_dir.join(STORE_FILE);
        if !path.exists() {
            bail!(
                "no gateway answers on the data directory {}, and there is no store in it: name the directory of a gateway with \
                 --data-dir",
                data_dir.display()
            );
        }
        let lock = lock_data_dir(data_dir)?;
        let runtime = runtime()?;
        let store = runtime.block_on(Store::open(&path))?;
        Ok(Self {
            store,
            runtime,
            _lock: lock,
        })
    }

    /// Has it do something, and closes it.
    ///
    /// # Errors
    /// What `work` says, and a store that does not close.
    pub(crate) fn run<T>(
        self,
        work: impl AsyncFnOnce(&Store) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        self.runtime.block_on(async {
            let done = work(&self.store).await?;
            self.store.close().await?;
            Ok(done)
        })
    }
}

/// For a command's own waits.
///
/// # Errors
/// The system gives none.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")
}
