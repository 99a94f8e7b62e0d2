//! What each tenant's requests hold now.
//!
//! Invariants: no lock is shared by all tenants; what a tenant holds stays countable as long as a permit of it lives, also
//! when the tenant is gone. Bounded by the number of tenants that have sent a request and still are tenants.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;

use super::budget::Budget;
use super::ledger::Ledger;
use super::places::Places;
use crate::tenants::TenantId;

/// Parts of the table, each with a lock of its own that a request only ever shares.
const SHARDS: usize = 64;

/// What one tenant's requests hold.
#[derive(Debug)]
pub(super) struct TenantUse {
    pub(super) places: Places,
    pub(super) memory: Budget,
    pub(super) spill: Budget,
    pub(super) spill_files: Arc<Semaphore>,
    pub(super) ledger: Mutex<Ledger>,
}

/// All tenants'.
#[derive(Debug)]
pub(super) struct TenantTable {
    shards: [RwLock<HashMap<TenantId, Arc<TenantUse>>>; SHARDS],
    spill_files_max: usize,
}

impl TenantTable {
    pub(super) fn new(spill_files_max: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| RwLock::default()),
            spill_files_max,
        }
    }

    /// A tenant's, from its first request on.
    pub(super) fn of(&self, tenant: &TenantId) -> Arc<TenantUse> {
        let shard = self.shard(tenant);
        if let Some(known) = shard.read().get(tenant) {
            return Arc::clone(known);
        }
        let mut shard = shard.write();
        let made = shard.entry(tenant.clone()).or_insert_with(|| {
            Arc::new(TenantUse {
                places: Places::default(),
                memory: Budget::default(),
                spill: Budget::default(),
                spill_files: file_places(self.spill_files_max),
                ledger: Mutex::default(),
            })
        });
        Arc::clone(made)
    }

    /// Forgets all tenants but these. A permit that is still out keeps its own.
    pub(super) fn retain(&self, known: impl Fn(&TenantId) -> bool) {
        for shard in &self.shards {
            shard.write().retain(|tenant, _| known(tenant));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    fn shard(&self, tenant: &TenantId) -> &RwLock<HashMap<TenantId, Arc<TenantUse>>> {
        // FNV-1a: whoever chooses names to fall together shares a lock that nobody holds for long.
        let hash = tenant
            .as_str()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let index = usize::try_from(hash % SHARDS as u64).unwrap_or_default();
        &self.shards[index.min(SHARDS - 1)]
    }
}

pub(super) fn file_places(max: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)))
}
