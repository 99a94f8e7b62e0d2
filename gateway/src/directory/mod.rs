//! The tenants and credentials of a gateway: who is let in, and within which limits.
//!
//! Owns the one place where credentials are looked up. Invariants: a request takes no lock and asks no store, but reads a
//! snapshot; every change is on disk before it acts, and acts on the next request, on connections that are open as well. It
//! does not know how secrets are compared, nor how fairly tenants are served.
//!
//! | module | owns |
//! |---|---|
//! | `snapshot` | who is let in, as of one moment |
//! | `book` | the records, as the store has them |
//! | `tenants`, `keys` | changes: tenants and credentials made, shown, changed, ended |
//! | `names`, `limits` | what a tenant may be called; its limits as an object of names and values |
//! | `error` | why a change was not made |

mod book;
pub mod error;
pub mod keys;
pub mod limits;
pub mod names;
mod snapshot;
pub mod tenants;

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use faam_store::{EventRecord, Millis, Store, StoreError, TenantRecord};
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

use self::book::Book;
use self::error::DirectoryError;
use self::snapshot::{Revised, Snapshot};
use crate::admission::Admission;
use crate::auth::{AuthError, Authenticated, Authenticator, authorization, behind};
use crate::credentials::keyring::{Keyring, MAC_BYTES};
use crate::credentials::sigv4::{self, SigV4Error, is_presigned};
use crate::credentials::{KINDS, Presented};
use crate::dispatch::Dispatcher;
use crate::events::Events;
use crate::tenants::{DEMO_TENANT, Tenant, TenantId, TenantLimits};

/// See the module's head. Cheap to clone.
#[derive(Clone)]
pub struct TenantDirectory(Arc<Parts>);

struct Parts {
    store: Store,
    keyring: Keyring,
    /// Limits of whoever's record does not say otherwise.
    defaults: TenantLimits,
    /// What recognises the demo tenant's own key under each pepper, where it is served.
    demo: Option<Vec<[u8; MAC_BYTES]>>,
    /// Taken for as long as a change takes: one after the other.
    book: Mutex<Book>,
    snapshot: ArcSwap<Snapshot>,
    /// Serves the tenants, where a gateway runs.
    dispatcher: OnceLock<Dispatcher>,
    /// Counts what their requests hold and use, where a gateway runs.
    admission: OnceLock<Admission>,
    /// Keeps what happens, where a gateway runs; else it goes straight into the store.
    events: Option<Events>,
}

/// What a directory is opened with.
pub struct DirectoryOptions<'o> {
    /// Peppers and root keys.
    pub keyring: Keyring,
    /// Limits of whoever's record does not say otherwise.
    pub defaults: TenantLimits,
    /// The demo tenant's own key; without it that tenant is not served.
    pub demo_key: Option<&'o str>,
    /// Keeps what happens, where a gateway runs.
    pub events: Option<Events>,
}

impl TenantDirectory {
    /// With what the store says.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn open(store: Store, options: DirectoryOptions<'_>) -> Result<Self, StoreError> {
        let DirectoryOptions {
            keyring,
            defaults,
            demo_key,
            events,
        } = options;
        let book = Book::read(&store).await?;
        let demo = demo_key.map(|key| keyring.peppers.macs(&[key.as_bytes()]));
        let parts = Parts {
            store,
            snapshot: ArcSwap::from_pointee(Snapshot::nobody()),
            keyring,
            defaults,
            demo,
            book: Mutex::default(),
            dispatcher: OnceLock::new(),
            admission: OnceLock::new(),
            events,
        };
        parts.publish(&book);
        *parts.book.lock().await = book;
        Ok(Self(Arc::new(parts)))
    }

    /// Makes the tenant of a fresh installation, where its key is there and it is not.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn make_demo_tenant(&self, now: Millis) -> Result<(), StoreError> {
        let mut book = self.0.book.lock().await;
        if self.0.demo.is_none() || book.tenants.contains_key(DEMO_TENANT) {
            return Ok(());
        }
        let record = TenantRecord {
            name: DEMO_TENANT.to_owned(),
            namespaces: Vec::new(),
            limits: json!({}),
            revision: 0,
            created: now,
            changed: now,
        };
        let stored = self.0.store.put_tenant(&record).await?;
        book.tenants.insert(stored.name.clone(), stored);
        self.0.publish(&book);
        Ok(())
    }

    /// Has `dispatcher` serve the tenants, from now on and as they change, and `admission` forget those that go.
    pub fn serve_by(&self, dispatcher: &Dispatcher, admission: &Admission) {
        let mut promised = 0u64;
        for tenant in self.served() {
            promised = promised.saturating_add(tenant.limits.cir_us_per_s);
            dispatcher.set_tenant(&tenant);
        }
        let capacity = dispatcher.capacity().full_us_per_s;
        if promised > tenants::promisable(capacity) {
            tracing::warn!(
                promised_us_per_s = promised,
                capacity_us_per_s = capacity,
                "guaranteed rates add up to more than 80 % of what the engines give: they are scaled down while these are \
                 all; lower some with `faam tenant set`, or add engines"
            );
        }
        // Whoever comes second serves nobody: there is one gateway a directory.
        let _ = self.0.dispatcher.set(dispatcher.clone());
        let _ = self.0.admission.set(admission.clone());
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

    /// The records, for a change or a look; read anew where the store may say something else.
    async fn book(&self) -> Result<MutexGuard<'_, Book>, DirectoryError> {
        let mut book = self.0.book.lock().await;
        if book.stale {
            let read = Book::read(&self.0.store).await?;
            let before = std::mem::replace(&mut *book, read);
            if let Some(dispatcher) = self.0.dispatcher.get() {
                for record in book
                    .tenants
                    .values()
                    .filter(|record| self.0.serves(&record.name))
                {
                    dispatcher.set_tenant(&self.0.tenant(record));
                }
            }
            self.0.publish(&book);
            // A removal whose answer was lost: nothing of such a tenant is to be found by the next one of its name.
            let gone = before.tenants.keys();
            let gone: Vec<_> = gone
                .filter(|name| !book.tenants.contains_key(*name))
                .collect();
            if let Some(dispatcher) = self.0.dispatcher.get() {
                for name in &gone {
                    dispatcher.remove_tenant(&TenantId::new(name));
                }
            }
            if let Some(admission) = self.0.admission.get().filter(|_| !gone.is_empty()) {
                admission.retain_tenants(|tenant| self.tenant(tenant.as_str()).is_some());
            }
        }
        Ok(book)
    }

    /// Keeps what was done. What is done is done: that it cannot be kept is logged.
    async fn record(&self, event: EventRecord) {
        if let Some(events) = &self.0.events {
            events.record(event);
            return;
        }
        let batch = Uuid::now_v7().as_u128();
        if let Err(error) = self.0.store.append_events(batch, vec![event]).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the change is made, but not in the log of events"
            );
        }
    }
}

impl Parts {
    fn store(&self) -> &Store {
        &self.store
    }

    /// Whether a tenant of this name is served.
    fn serves(&self, name: &str) -> bool {
        name != DEMO_TENANT || self.demo.is_some()
    }

    /// Has these act from the next request on.
    fn publish(&self, book: &Book) {
        let old = self.snapshot.load();
        let tenants = book
            .tenants
            .values()
            .filter(|record| self.serves(&record.name))
            .map(|record| {
                // A name that was given up and taken again was not there in between.
                let known = old.revised(&record.name, record.revision);
                known.unwrap_or_else(|| Revised {
                    revision: record.revision,
                    tenant: Arc::new(self.tenant(record)),
                })
            });
        let mut snapshot = Snapshot::new(tenants, book.credentials.values(), &self.keyring);
        if let Some(under_each) = &self.demo {
            snapshot = snapshot.with_demo_key(DEMO_TENANT, under_each);
        }
        self.snapshot.store(Arc::new(snapshot));
    }
}

/// A moment for people and programs (RFC 3339).
fn shown(at: Millis) -> String {
    Timestamp::from_millisecond(at.0).map_or_else(|_| at.0.to_string(), |at| at.to_string())
}

impl TenantDirectory {
    /// Judges of a signed request what can be judged before its body is read: [`sigv4::check_unread`].
    ///
    /// # Errors
    /// [`AuthError`]
    pub fn check_unread(&self, presented: &Presented<'_>) -> Result<(), AuthError> {
        sigv4::check_unread(presented, &**self.0.snapshot.load())
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
                    chunks: judged.chunks,
                })
            }
            _ => Err(AuthError::Invalid(kind.scheme())),
        }
    }
}

#[cfg(test)]
mod tests;
