//! What a gateway remembers when it ends: tenants, credentials, usage, events.
//!
//! Owns the records and where they are kept. Invariants: no secret is in it, only what
//! recognises one; what was acknowledged is on disk. It knows no HTTP, no limits'
//! meaning, and no clock: every moment comes from the caller.

#![forbid(unsafe_code)]

mod record;

pub use record::{
    CredentialKind, CredentialRecord, EventRecord, Millis, TenantRecord, UsageKey, UsageRecord,
    UsageSums,
};
