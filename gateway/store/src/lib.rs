//! What a gateway remembers when it ends: tenants, credentials, usage, events.
//!
//! Owns the records and where they are kept. Invariants: no secret is in it, only what
//! recognises one; what was acknowledged is on disk. It knows no HTTP, no limits'
//! meaning, and no clock: every moment comes from the caller.
//!
//! | file | owns |
//! |---|---|
//! | `record.rs`, `query.rs` | the words that callers use |
//! | `change.rs` | what can be written: each kind of change, all or nothing |
//! | `store.rs` | [`Store`]: the handle, its time-outs |
//! | `writer.rs` | the one writer: a bounded queue, many callers' changes in one transaction |
//! | `engine.rs` | [`Engine`]: the seam to a database |
//! | `sqlite` | SQLite behind it |
//!
//! # A second database
//!
//! PostgreSQL becomes an implementation of [`Engine`] beside `sqlite`, and a schema in its own words: a batch of
//! [`Change`]s applied in one transaction with a savepoint each, five reads, a backup (or the answer that its own tools make
//! one). Queue, group commit, time-outs and retries are above the seam and stay. What every implementation must do is one
//! suite, `tests/store/behaviour`, generic over how a store is opened: implement its `Opens` and name it in
//! `tests/store/main.rs`.

#![forbid(unsafe_code)]

mod change;
mod engine;
mod error;
mod query;
mod record;
pub mod sqlite;
mod store;
mod writer;

pub use change::{Applied, Change, EVENTS_A_CHANGE_MAX, USAGE_RECORDS_A_CHANGE_MAX};
pub use engine::{Answering, Engine};
pub use error::StoreError;
pub use query::{
    EVENTS_MAX, EventQuery, Period, USAGE_ROWS_MAX, UsageColumns, UsageQuery, UsageRows,
};
pub use record::{
    CredentialKind, CredentialRecord, EventRecord, Millis, TenantRecord, UsageKey, UsageRecord,
    UsageSums,
};
pub use store::{READ_MS_MAX, Store, WRITE_MS_MAX};
pub use writer::{CHANGES_A_TRANSACTION_MAX, CHANGES_WAITING_MAX, WriterCounts};
