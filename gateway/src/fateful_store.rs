//! For tests: a store over a real database, whose failures are injected at its seam.
//!
//! Invariant: one write fails as it is told to, those before and after it are the database's own affair.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use faam_store::sqlite::{AnnexFile, SqliteEngine, SqliteOptions};
use faam_store::{
    Answering, Applied, Change, CredentialRecord, Engine, EventQuery, EventRecord, Store,
    StoreError, TenantRecord, UsageQuery, UsageRows,
};

/// A store whose next write has a fate.
pub(crate) struct FatefulStore {
    pub(crate) store: Store,
    fate: Arc<AtomicU8>,
}

impl FatefulStore {
    /// Over the SQLite database `path`.
    pub(crate) async fn open(path: &Path) -> Self {
        let fate = Arc::new(AtomicU8::new(Fate::Written as u8));
        let (options, set) = (SqliteOptions::new(path), Arc::clone(&fate));
        let store = Store::start(path.to_owned(), async move {
            let inner = SqliteEngine::open(options).await?;
            Ok(Arc::new(Fateful { inner, fate: set }) as Arc<dyn Engine>)
        });
        let store = store.await.expect("a store");
        Self { store, fate }
    }

    /// What becomes of the next write.
    pub(crate) fn next(&self, fate: Fate) {
        self.fate.store(fate as u8, Ordering::Release);
    }

    /// Whether a fate that was set has come.
    pub(crate) fn has_come(&self) -> bool {
        self.fate.load(Ordering::Acquire) == Fate::Written as u8
    }
}

/// What becomes of the next write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// As it should be.
    Written,
    /// Nothing of it is written.
    Refused,
    /// It is written, and its answer is lost.
    Unanswered,
}

/// A database whose next write has a fate.
struct Fateful {
    inner: SqliteEngine,
    fate: Arc<AtomicU8>,
}

impl Engine for Fateful {
    fn apply<'a>(
        &'a self,
        changes: &'a [Change],
    ) -> Answering<'a, Vec<Result<Applied, StoreError>>> {
        Box::pin(async move {
            match self.fate.swap(0, Ordering::AcqRel) {
                0 => Engine::apply(&self.inner, changes).await,
                1 => Err(StoreError::Full),
                _ => {
                    Engine::apply(&self.inner, changes).await?;
                    Err(StoreError::TimedOut { limit_ms: 0 })
                }
            }
        })
    }

    fn tenants(&self) -> Answering<'_, Vec<TenantRecord>> {
        self.inner.tenants()
    }

    fn is_removed<'a>(&'a self, name: &'a str) -> Answering<'a, bool> {
        self.inner.is_removed(name)
    }

    fn credentials(&self) -> Answering<'_, Vec<CredentialRecord>> {
        self.inner.credentials()
    }

    fn usage<'a>(&'a self, query: &'a UsageQuery) -> Answering<'a, UsageRows> {
        self.inner.usage(query)
    }

    fn events<'a>(&'a self, query: &'a EventQuery) -> Answering<'a, Vec<EventRecord>> {
        self.inner.events(query)
    }

    fn backup<'a>(&'a self, to: &'a Path, annex: &'a [AnnexFile]) -> Answering<'a, ()> {
        self.inner.backup(to, annex)
    }

    fn close(&self) -> Answering<'_, ()> {
        self.inner.close()
    }
}
