//! The seam to a database: what an implementation does, and what it need not care about.
//!
//! Above it: queue, batching, time-outs, retries. Below it: one transaction at a time, and reads.

use std::path::Path;
use std::pin::Pin;

use crate::change::{Applied, Change};
use crate::error::StoreError;
use crate::query::{EventQuery, UsageQuery, UsageRows};
use crate::record::{CredentialRecord, EventRecord, TenantRecord};
use crate::sqlite::AnnexFile;

/// An answer to come.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A database that keeps records.
pub trait Engine: Send + Sync + 'static {
    /// Applies each change or refuses it, in order, and answers once what was applied survives the loss of power; one answer
    /// a change. A change that fails leaves nothing behind and does not fail its neighbours. Only the store's one writer calls it.
    fn apply<'a>(
        &'a self,
        changes: &'a [Change],
    ) -> Answering<'a, Vec<Result<Applied, StoreError>>>;

    /// All tenants, by name.
    fn tenants(&self) -> Answering<'_, Vec<TenantRecord>>;

    /// Whether a tenant of this name was removed, and not made again.
    fn is_removed<'a>(&'a self, name: &'a str) -> Answering<'a, bool>;

    /// All credentials, by id. One whose kind this program does not know (a newer one made it) is left out: it is recognised by nobody.
    fn credentials(&self) -> Answering<'_, Vec<CredentialRecord>>;

    /// Sums that match, by key.
    fn usage<'a>(&'a self, query: &'a UsageQuery) -> Answering<'a, UsageRows>;

    /// The newest events that match, oldest first.
    fn events<'a>(&'a self, query: &'a EventQuery) -> Answering<'a, Vec<EventRecord>>;

    /// Writes a checked copy of everything, as of one moment, to `to`, which must not exist; never half a file. With it go these
    /// files, which are not the store's own.
    fn backup<'a>(&'a self, to: &'a Path, annex: &'a [AnnexFile]) -> Answering<'a, ()>;

    /// Ends: nothing is called after it.
    fn close(&self) -> Answering<'_, ()>;
}
