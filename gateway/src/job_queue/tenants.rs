//! Tenants' queues: made, changed, and taken away.
//!
//! Invariants: what is queued keeps what it was queued with; what a removed tenant had queued is answered. It does not know what a
//! tenant may do, only what it was promised.

use super::places::promised;
use super::{Core, JobQueue, TenantPlace};
use crate::job::JobError;
use crate::tenants::{Tenant, TenantId};

impl JobQueue {
    /// Gives a tenant its queue, or changes what it was promised.
    pub(crate) fn set_tenant(&self, tenant: &Tenant) {
        let most = self.queue_blocks_max.max(1);
        let room = tenant
            .limits
            .queued_blocks_max
            .unwrap_or(most)
            .clamp(1, most);
        let config = promised(tenant, room);
        let mut core = self.core.lock();
        let images = self.list_of(&mut core, tenant);
        let Core {
            tenants, scheduler, ..
        } = &mut *core;
        if let Some(place) = tenants.get_mut(&tenant.id) {
            // What is queued keeps the list that it was queued with.
            place.images = images;
            place.room.resize(room);
            scheduler.set_tenant(place.index, config);
            // What its old peak rate kept may go on.
            self.wake_all(&core);
        } else if tenants
            .add(tenant, room, images, || scheduler.add_tenant(config))
            .is_none()
        {
            tracing::error!(
                tenant = tenant.id.as_str(),
                "as many tenants were made as there are scrub domains; restart the gateway to serve this one"
            );
        }
    }

    /// Takes a tenant's queue away. What it had queued is answered; what runs ends and is charged to its requests.
    pub(crate) fn remove_tenant(&self, tenant: &TenantId) {
        let queued = {
            let mut core = self.core.lock();
            let Some(place) = core.tenants.remove(tenant) else {
                return;
            };
            core.scheduler.remove_tenant(place.index)
        };
        for job in queued {
            job.answer(Err(JobError::TenantRemoved));
        }
        self.look_after_lists();
    }

    /// Jobs that a tenant has queued.
    pub(crate) fn queued(&self, tenant: &TenantId) -> usize {
        let core = self.core.lock();
        let place = core.tenants.get(tenant);
        place.map_or(0, |place| core.scheduler.queued(place.index))
    }

    /// A tenant's place.
    pub(crate) fn tenant(&self, tenant: &TenantId) -> Option<TenantPlace> {
        self.core.lock().tenants.get(tenant).cloned()
    }
}
