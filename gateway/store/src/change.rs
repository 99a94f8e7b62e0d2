//! What can be written.
//!
//! Invariant: a change is all or nothing, whatever it consists of, and independent of the others that
//! are committed with it.

use crate::record::{CredentialRecord, EventRecord, TenantRecord, UsageRecord};

/// Usage records in one change.
pub const USAGE_RECORDS_A_CHANGE_MAX: usize = 4096;
/// Events in one change.
pub const EVENTS_A_CHANGE_MAX: usize = 1024;

/// A change.
#[derive(Clone, Debug)]
pub enum Change {
    /// Writes a tenant, where its revision is the stored one (0: there is none yet).
    PutTenant(TenantRecord),
    /// Removes a tenant and its credentials; its usage and its events stay, and its name is known as one that was removed.
    RemoveTenant(String),
    /// Writes credentials, all or none. An id never moves to another tenant.
    PutCredentials(Vec<CredentialRecord>),
    /// Removes a credential.
    RemoveCredential(String),
    /// Adds to the sums, once for each batch id.
    AddUsage {
        /// Chosen by the caller, the same whenever it tries again.
        batch: u128,
        /// What is added.
        records: Vec<UsageRecord>,
    },
    /// Appends events, once for each batch id.
    AppendEvents {
        /// Chosen by the caller, the same whenever it tries again.
        batch: u128,
        /// What is appended.
        events: Vec<EventRecord>,
    },
}

/// What a change did.
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    /// The tenant as it is stored now.
    Tenant(TenantRecord),
    /// Whether there was anything to do: something to remove, a batch that had not been counted or appended.
    Done(bool),
}
