//! The store's handle.
//!
//! Owns the thread that the writer lives on, and every caller's time-out. Invariants: a write that was answered with `Ok`
//! is on disk; no call waits for ever; a caller that goes away undoes nothing. It works in any tokio runtime, of whatever
//! kind, and blocks none. It does not know which database is behind it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::change::{Applied, Change, EVENTS_A_CHANGE_MAX, USAGE_RECORDS_A_CHANGE_MAX};
use crate::engine::Engine;
use crate::error::StoreError;
use crate::query::{EventQuery, UsageQuery, UsageRows};
use crate::record::{CredentialRecord, EventRecord, TenantRecord, UsageRecord};
use crate::sqlite::{AnnexFile, Restored, SqliteEngine, SqliteOptions};
use crate::writer::{self, CHANGES_WAITING_MAX, Counters, Request, WriterCounts};

/// How long a write may take with its turn in the queue, milliseconds: longer than the database itself waits for a lock.
pub const WRITE_MS_MAX: u64 = 15_000;
/// How long a read may take, milliseconds.
pub const READ_MS_MAX: u64 = 15_000;
/// How long a copy of everything may take, milliseconds.
const BACKUP_MS_MAX: u64 = 600_000;

/// A store that is open. Cheap to clone; the last one's drop ends it, [`Store::close`] ends it now.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    engine: Arc<dyn Engine>,
    requests: mpsc::Sender<Request>,
    counters: Arc<Counters>,
    /// Its sender goes when the writer's thread ends.
    ended: watch::Receiver<()>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.counts()).finish()
    }
}

impl Store {
    /// Opens the SQLite database `path`, for its owner alone (0600), and brings its schema up to date; makes it where there is none.
    ///
    /// # Errors
    /// [`StoreError`]; among others [`StoreError::NewerSchema`], [`StoreError::NotAStore`].
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_sqlite(SqliteOptions::new(path)).await
    }

    /// The same, with options.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn open_sqlite(options: SqliteOptions) -> Result<Self, StoreError> {
        let path = options.path().to_owned();
        Self::start(path, async move {
            let engine = SqliteEngine::open(options).await?;
            Ok(Arc::new(engine) as Arc<dyn Engine>)
        })
        .await
    }

    /// With the database that `open` opens, on a thread of the store's own: so it works on while the caller's runtime is busy, and
    /// when that has ended. `path` is for messages.
    ///
    /// # Errors
    /// What `open` says, and a thread that the system does not give.
    pub async fn start(
        path: PathBuf,
        open: impl Future<Output = Result<Arc<dyn Engine>, StoreError>> + Send + 'static,
    ) -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| StoreError::io("open", &path, error))?;
        let (opened, opening) = oneshot::channel();
        let (requests, receiver) = mpsc::channel(CHANGES_WAITING_MAX);
        let (ends, ended) = watch::channel(());
        let counters = Arc::new(Counters::default());
        let counting = Arc::clone(&counters);
        let work = move || {
            let _ends = ends;
            runtime.block_on(async move {
                let engine = match open.await {
                    Ok(engine) => engine,
                    Err(error) => {
                        let _ = opened.send(Err(error));
                        return;
                    }
                };
                if opened.send(Ok(Arc::clone(&engine))).is_ok() {
                    writer::run(Arc::clone(&engine), receiver, counting).await;
                }
                if let Err(error) = engine.close().await {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the store did not close in order; nothing that was acknowledged is lost"
                    );
                }
            });
        };
        std::thread::Builder::new()
            .name("faam-store".to_owned())
            .spawn(work)
            .map_err(|error| StoreError::io("open", &path, error))?;
        let engine = opening.await.map_err(|_| StoreError::Closed)??;
        Ok(Self(Arc::new(Inner {
            engine,
            requests,
            counters,
            ended,
        })))
    }

    /// All tenants, by name.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn tenants(&self) -> Result<Vec<TenantRecord>, StoreError> {
        read(self.0.engine.tenants()).await
    }

    /// Writes a tenant where `record.revision` is the stored one; 0 makes a new one. Answers with what is stored now, whose revision is
    /// one more and which was made when it was first made.
    ///
    /// # Errors
    /// [`StoreError::Changed`] where it is not; others.
    pub async fn put_tenant(&self, record: &TenantRecord) -> Result<TenantRecord, StoreError> {
        match self.write(Change::PutTenant(record.clone())).await? {
            Applied::Tenant(record) => Ok(record),
            Applied::Done(_) => Ok(record.clone()),
        }
    }

    /// Removes a tenant and its credentials; `false` where there is none. Its usage and its events stay.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn remove_tenant(&self, name: &str) -> Result<bool, StoreError> {
        self.done(Change::RemoveTenant(name.to_owned())).await
    }

    /// Whether there was a tenant of this name that was removed, and not made again. The last
    /// [`crate::sqlite::REMOVED_TENANTS_KEPT`] are known.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn is_removed(&self, name: &str) -> Result<bool, StoreError> {
        read(self.0.engine.is_removed(name)).await
    }

    /// All credentials, by id.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn credentials(&self) -> Result<Vec<CredentialRecord>, StoreError> {
        read(self.0.engine.credentials()).await
    }

    /// Writes a credential, in the place of the one with its id if there is one.
    ///
    /// # Errors
    /// [`StoreError::Constraint`] where there is no such tenant, or the id is another tenant's; others.
    pub async fn put_credential(&self, record: &CredentialRecord) -> Result<(), StoreError> {
        self.put_credentials(vec![record.clone()]).await
    }

    /// Writes several, all or none: a rotated one and its successor.
    ///
    /// # Errors
    /// As [`Store::put_credential`].
    pub async fn put_credentials(&self, records: Vec<CredentialRecord>) -> Result<(), StoreError> {
        self.write(Change::PutCredentials(records))
            .await
            .map(|_| ())
    }

    /// Removes a credential; `false` where there is none.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn remove_credential(&self, id: &str) -> Result<bool, StoreError> {
        self.done(Change::RemoveCredential(id.to_owned())).await
    }

    /// Adds usage once for each `batch`, however often it is tried; `false` where it had been added before. The ids of the last
    /// [`crate::sqlite::USAGE_BATCHES_KEPT`] batches are known: whoever tries again does so before that many others.
    ///
    /// # Errors
    /// [`StoreError`]; after [`StoreError::TimedOut`] and other passing ones, try again with the same id.
    pub async fn add_usage(
        &self,
        batch: u128,
        records: Vec<UsageRecord>,
    ) -> Result<bool, StoreError> {
        within("usage records", records.len(), USAGE_RECORDS_A_CHANGE_MAX)?;
        self.done(Change::AddUsage { batch, records }).await
    }

    /// Sums that match.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn usage(&self, query: &UsageQuery) -> Result<UsageRows, StoreError> {
        read(self.0.engine.usage(query)).await
    }

    /// Appends events once for each `batch`, however often it is tried; `false` where they had been appended before. The
    /// newest [`crate::sqlite::EVENTS_KEPT`] are kept, and the ids of the last [`crate::sqlite::EVENT_BATCHES_KEPT`] batches
    /// are known.
    ///
    /// # Errors
    /// [`StoreError`]; after [`StoreError::TimedOut`] and other passing ones, try again with the same id.
    pub async fn append_events(
        &self,
        batch: u128,
        events: Vec<EventRecord>,
    ) -> Result<bool, StoreError> {
        within("events", events.len(), EVENTS_A_CHANGE_MAX)?;
        self.done(Change::AppendEvents { batch, events }).await
    }

    /// The newest events that match, oldest first.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn events(&self, query: &EventQuery) -> Result<Vec<EventRecord>, StoreError> {
        read(self.0.engine.events(query)).await
    }

    /// Writes a copy of everything, as of one moment and checked, to `to`, which must not exist: 0600, and never half a file. Others read and
    /// write meanwhile.
    ///
    /// # Errors
    /// [`StoreError`]; then there is no file.
    pub async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        self.backup_with(to, &[]).await
    }

    /// The same with files in it that are not the store's own, read after the moment that the copy is of. Which of them it was made
    /// without, [`crate::sqlite::left_out`] says.
    ///
    /// # Errors
    /// [`StoreError`]; then there is no file.
    pub async fn backup_with(&self, to: &Path, annex: &[AnnexFile]) -> Result<(), StoreError> {
        limited(self.0.engine.backup(to, annex), BACKUP_MS_MAX).await
    }

    /// Puts the backup `from` in the place of the database `to`, which nobody may have open.
    ///
    /// # Errors
    /// [`StoreError`]; what was there is still there then.
    pub async fn restore(from: &Path, to: &Path) -> Result<Restored, StoreError> {
        limited(crate::sqlite::restore(from, to), BACKUP_MS_MAX).await
    }

    /// What the writer has done so far.
    #[must_use]
    pub fn counts(&self) -> WriterCounts {
        self.0.counters.read()
    }

    /// Finishes what was asked for before, and ends. Whatever is asked later is refused with [`StoreError::Closed`].
    ///
    /// # Errors
    /// [`StoreError::TimedOut`]: it ends later.
    pub async fn close(&self) -> Result<(), StoreError> {
        let mut ended = self.0.ended.clone();
        limited(
            async move {
                // Where it is closed already there is nothing to say.
                let _ = self.0.requests.send(Request::Close).await;
                // Its sender never sends.
                let _ = ended.changed().await;
                Ok(())
            },
            WRITE_MS_MAX,
        )
        .await
    }

    async fn done(&self, change: Change) -> Result<bool, StoreError> {
        match self.write(change).await? {
            Applied::Done(done) => Ok(done),
            Applied::Tenant(_) => Ok(true),
        }
    }

    /// Queues a change and waits for its answer. Dropping this future does not take the change back.
    async fn write(&self, change: Change) -> Result<Applied, StoreError> {
        let (answer, answered) = oneshot::channel();
        match self.0.requests.try_send(Request::Change(change, answer)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                return Err(StoreError::Overloaded {
                    waiting_max: CHANGES_WAITING_MAX,
                });
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(StoreError::Closed),
        }
        let wait = async move { answered.await.unwrap_or(Err(StoreError::Closed)) };
        limited(wait, WRITE_MS_MAX).await
    }
}

fn within(what: &str, count: usize, max: usize) -> Result<(), StoreError> {
    if count <= max {
        return Ok(());
    }
    Err(StoreError::Constraint {
        rule: format!("{count} {what} in one change, expected {max} at most; send several"),
    })
}

async fn read<T>(reading: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    limited(reading, READ_MS_MAX).await
}

pub(crate) async fn limited<T>(
    work: impl Future<Output = Result<T, StoreError>>,
    limit_ms: u64,
) -> Result<T, StoreError> {
    timeout(Duration::from_millis(limit_ms), work)
        .await
        .unwrap_or(Err(StoreError::TimedOut { limit_ms }))
}
