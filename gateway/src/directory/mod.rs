//! The tenants and credentials of a gateway: who is let in, and within which limits.
//!
//! Owns the one place where credentials are looked up. Invariants: a request takes no lock and asks no store, but reads a
//! snapshot; every change is on disk before it acts, and acts on the next request, on connections that are open as well. It
//! does not know how secrets are compared, nor how fairly tenants are served.
//!
//! | module | owns |
//! |---|---|
//! | `snapshot` | who is let in, as of one moment |
//! | `names` | what a tenant may be called |
//! | `limits` | limits as an object of names and values |

pub mod limits;
pub mod names;
mod snapshot;

use std::sync::Arc;

use arc_swap::ArcSwap;
use faam_store::{CredentialRecord, TenantRecord};

use self::snapshot::Snapshot;
use crate::auth::{AuthError, Authenticated, Authenticator, authorization, behind};
use crate::credentials::keyring::{Keyring, MAC_BYTES};
use crate::credentials::sigv4::{SigV4Error, is_presigned};
use crate::credentials::{KINDS, Presented};
use crate::tenants::{DEMO_TENANT, Tenant, TenantId, TenantLimits};

/// See the module's head. Cheap to clone.
#[derive(Clone)]
pub struct TenantDirectory(Arc<Parts>);

struct Parts {
    keyring: Keyring,
    /// Limits of whoever's record does not say otherwise.
    defaults: TenantLimits,
    /// What recognises the demo tenant's own key under each pepper, where it is served.
    demo: Option<Vec<[u8; MAC_BYTES]>>,
    snapshot: ArcSwap<Snapshot>,
}

impl TenantDirectory {
    /// With these tenants and credentials; `demo_key` is the demo tenant's, who is served only with it.
    #[must_use]
    pub fn new(
        keyring: Keyring,
        defaults: TenantLimits,
        demo_key: Option<&str>,
        tenants: &[TenantRecord],
        credentials: &[CredentialRecord],
    ) -> Self {
        let demo = demo_key.map(|key| keyring.peppers.macs(&[key.as_bytes()]));
        let parts = Parts {
            snapshot: ArcSwap::from_pointee(Snapshot::new(
                std::iter::empty(),
                std::iter::empty(),
                &keyring,
            )),
            keyring,
            defaults,
            demo,
        };
        parts.publish(tenants.iter(), credentials.iter());
        Self(Arc::new(parts))
    }

    /// The tenant of this name, as it is now.
    #[must_use]
    pub fn tenant(&self, name: &str) -> Option<Arc<Tenant>> {
        self.0.snapshot.load().tenant(name).cloned()
    }

    /// All tenants that are served, in no order.
    #[must_use]
    pub fn served(&self) -> Vec<Arc<Tenant>> {
        self.0.snapshot.load().tenants().cloned().collect()
    }
}

impl Parts {
    /// Has these act from the next request on.
    fn publish<'r>(
        &self,
        tenants: impl Iterator<Item = &'r TenantRecord>,
        credentials: impl Iterator<Item = &'r CredentialRecord>,
    ) {
        let tenants = tenants
            .filter(|record| record.name != DEMO_TENANT || self.demo.is_some())
            .map(|record| Arc::new(self.tenant(record)));
        let mut snapshot = Snapshot::new(tenants, credentials, &self.keyring);
        if let Some(under_each) = &self.demo {
            snapshot = snapshot.with_demo_key(DEMO_TENANT, under_each);
        }
        self.snapshot.store(Arc::new(snapshot));
    }

    /// A tenant as its record has it. Limits that cannot be read are the defaults: they were checked when they were set, so
    /// that another version wrote them, or the defaults have changed under them.
    fn tenant(&self, record: &TenantRecord) -> Tenant {
        let limits = limits::read(&self.defaults, &record.limits).unwrap_or_else(|error| {
            tracing::error!(
                tenant = record.name,
                %error,
                "a tenant's limits cannot be read, the defaults count; set them again with `faam tenant set`"
            );
            self.defaults
        });
        Tenant {
            id: TenantId::new(&record.name),
            limits,
        }
    }
}

impl Authenticator for TenantDirectory {
    fn authenticate(&self, presented: &Presented<'_>) -> Result<Authenticated, AuthError> {
        let value = match authorization(presented.headers) {
            Err(AuthError::Missing) if is_presigned(presented.uri) => {
                return Err(SigV4Error::Presigned.into());
            }
            value => value?,
        };
        let claimed = KINDS
            .iter()
            .find_map(|kind| Some((kind, behind(kind.scheme(), value)?)));
        let (kind, value) = claimed.ok_or(AuthError::Missing)?;
        let snapshot = self.0.snapshot.load();
        let judged = kind.judge(value, presented, &**snapshot, &self.0.keyring)?;
        // Whether it is still taken is asked last: what has ended costs what is wrong costs.
        match judged.grant {
            Some(grant) if bool::from(judged.holds) && grant.is_live(presented.now) => {
                Ok(Authenticated {
                    principal: Arc::clone(&grant.principal),
                    body_sha256: judged.body_sha256,
                })
            }
            _ => Err(AuthError::Invalid(kind.scheme())),
        }
    }
}

#[cfg(test)]
mod tests;
