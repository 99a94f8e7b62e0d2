//! The records of tenants and credentials, beside the store that keeps them: what changes are checked against.
//!
//! Invariant: it says what the store says, for whoever changes the store changes it in the same breath; where the store's
//! answer did not come, it is read anew before the next change.

use std::collections::BTreeMap;

use faam_store::{CredentialRecord, Store, StoreError, TenantRecord};

/// See the module's head.
#[derive(Default)]
pub(super) struct Book {
    pub(super) tenants: BTreeMap<String, TenantRecord>,
    pub(super) credentials: BTreeMap<String, CredentialRecord>,
    /// Whether the store may say something else.
    pub(super) stale: bool,
}

impl Book {
    /// What the store says now.
    pub(super) async fn read(store: &Store) -> Result<Self, StoreError> {
        let tenants = store.tenants().await?;
        let credentials = store.credentials().await?;
        Ok(Self {
            tenants: tenants
                .into_iter()
                .map(|record| (record.name.clone(), record))
                .collect(),
            credentials: credentials
                .into_iter()
                .map(|record| (record.id.clone(), record))
                .collect(),
            stale: false,
        })
    }

    /// A tenant's credentials.
    pub(super) fn credentials_of<'b>(
        &'b self,
        tenant: &'b str,
    ) -> impl Iterator<Item = &'b CredentialRecord> {
        let all = self.credentials.values();
        all.filter(move |record| record.tenant == tenant)
    }

    /// A tenant has gone, and its credentials with it.
    pub(super) fn remove_tenant(&mut self, name: &str) {
        self.tenants.remove(name);
        self.credentials.retain(|_, record| record.tenant != name);
    }
}
