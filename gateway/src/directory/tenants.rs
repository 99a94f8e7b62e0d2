//! Tenants made, shown, changed and removed.
//!
//! Invariants: a change is checked as a whole before any of it is written, is on disk before it acts, and acts on the
//! scheduler before a request can meet it; guaranteed rates never add up to more than [`CIR_PERCENT_MAX`] of what the
//! engines in service give.

use faam_store::{Millis, TenantRecord, UsageQuery};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::book::Book;
use super::error::DirectoryError;
use super::names::check_name;
use super::{Parts, TenantDirectory, limits};
use crate::dispatch::IMAGE_LISTS_MAX;
use crate::events::tenant_event;
use crate::tenants::{Tenant, TenantId};

/// Tenants of one gateway.
pub const TENANTS_MAX: usize = 100_000;
/// Namespaces of one tenant.
pub const NAMESPACES_MAX: usize = 256;
/// How much of the healthy capacity may be guaranteed, percent: the rest is for whoever waits, and for what measuring misses.
pub const CIR_PERCENT_MAX: u64 = 80;
/// Records of one page.
pub const PAGE_MAX: usize = 1000;

/// A tenant that is to be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTenant {
    /// Its name.
    pub name: String,
    /// Its namespaces.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Limits that are not the default.
    #[serde(default)]
    pub limits: Map<String, Value>,
}

/// What is to be changed of a tenant; what is left out stays.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantChange {
    /// Limits and their new values.
    #[serde(default)]
    pub limits: Map<String, Value>,
    /// Limits that are to be the default again.
    #[serde(default)]
    pub defaults: Vec<String>,
    /// Namespaces that it gets.
    #[serde(default)]
    pub namespaces_add: Vec<String>,
    /// Namespaces that it loses.
    #[serde(default)]
    pub namespaces_remove: Vec<String>,
    /// The revision that the change was made from; without, whichever there is.
    #[serde(default)]
    pub revision: Option<i64>,
}

/// A tenant as an operator sees it.
#[derive(Clone, Debug, Serialize)]
pub struct TenantView {
    /// Its name.
    pub name: String,
    /// Its namespaces.
    pub namespaces: Vec<String>,
    /// Whether it is served: the demo tenant may not be.
    pub served: bool,
    /// Its keys that are taken now.
    pub keys: usize,
    /// Its limits.
    pub limits: Value,
    /// Those of them that are not the default, as they were set.
    pub set: Value,
    /// Counts its changes.
    pub revision: i64,
    /// When it was made.
    pub created: String,
    /// When it was last changed.
    pub changed: String,
}

/// Some of a list, and where the rest begins.
#[derive(Clone, Debug, Serialize)]
pub struct Page<T> {
    /// In the order of their names.
    pub items: Vec<T>,
    /// The last name of these, where there are more: ask for what comes after it.
    pub next: Option<String>,
}

impl TenantDirectory {
    /// Tenants after this name, [`PAGE_MAX`] at most.
    pub async fn tenants(
        &self,
        after: Option<&str>,
        now: Millis,
    ) -> Result<Page<TenantView>, DirectoryError> {
        let book = self.book().await?;
        // One pass over the keys, not one a tenant.
        let mut keys: std::collections::HashMap<&str, usize> = std::collections::HashMap::new();
        for record in book.credentials.values() {
            if super::snapshot::ended(record).is_none_or(|end| now < end) {
                *keys.entry(record.tenant.as_str()).or_default() += 1;
            }
        }
        let bound = match after {
            Some(name) => std::ops::Bound::Excluded(name),
            None => std::ops::Bound::Unbounded,
        };
        let mut records = book
            .tenants
            .range::<str, _>((bound, std::ops::Bound::Unbounded));
        let items: Vec<_> = records
            .by_ref()
            .take(PAGE_MAX)
            .map(|(name, record)| {
                let keys = keys.get(name.as_str()).copied().unwrap_or_default();
                self.0.view(record, keys)
            })
            .collect();
        let more = records.next().is_some();
        Ok(Page {
            next: items.last().filter(|_| more).map(|last| last.name.clone()),
            items,
        })
    }

    /// One tenant.
    pub async fn tenant_shown(
        &self,
        name: &str,
        now: Millis,
    ) -> Result<TenantView, DirectoryError> {
        let book = self.book().await?;
        let record = book.tenants.get(name).ok_or_else(|| missing(name))?;
        Ok(self.0.view(record, live_keys(&book, name, now)))
    }

    /// Makes a tenant.
    ///
    /// # Errors
    /// [`DirectoryError`]
    pub async fn add_tenant(
        &self,
        new: NewTenant,
        actor: &str,
        now: Millis,
    ) -> Result<TenantView, DirectoryError> {
        check_name("tenant", &new.name)?;
        let namespaces = with_namespaces(Vec::new(), new.namespaces)?;
        let set = limits::change(&json!({}), &new.limits, &[])?;
        let mut book = self.book().await?;
        if book.tenants.contains_key(&new.name) {
            return Err(DirectoryError::Exists(new.name));
        }
        if book.tenants.len() >= TENANTS_MAX {
            return Err(DirectoryError::TooMany {
                what: "tenants",
                max: TENANTS_MAX,
            });
        }
        // Usage is kept by name, and what one tenant has used is none of another's business.
        let used = UsageQuery {
            tenant: Some(new.name.clone()),
            rows_max: 1,
            ..UsageQuery::default()
        };
        if !self.0.store().usage(&used).await?.rows.is_empty() {
            return Err(DirectoryError::State(format!(
                "there was a tenant {:?} before, whose usage is kept and would be the new one's; choose another name",
                new.name
            )));
        }
        let record = TenantRecord {
            name: new.name,
            namespaces,
            limits: set,
            revision: 0,
            created: now,
            changed: now,
        };
        self.check_limits(&book, &record)?;
        let stored = self.put(&mut book, &record).await?;
        let view = self.0.view(&stored, 0);
        self.record(tenant_event(
            "tenant.added",
            actor,
            &stored.name,
            &stored.name,
            json!({ "limits": stored.limits, "namespaces": stored.namespaces }),
        ))
        .await;
        Ok(view)
    }

    /// Changes a tenant.
    ///
    /// # Errors
    /// [`DirectoryError`]
    pub async fn change_tenant(
        &self,
        name: &str,
        change: TenantChange,
        actor: &str,
        now: Millis,
    ) -> Result<TenantView, DirectoryError> {
        let mut book = self.book().await?;
        let old = book.tenants.get(name).ok_or_else(|| missing(name))?;
        if let Some(revision) = change.revision
            && revision != old.revision
        {
            return Err(DirectoryError::State(format!(
                "tenant {name:?} is at revision {}, the change was made from {revision}; look at it again, and repeat the \
                 change",
                old.revision
            )));
        }
        let mut namespaces = old.namespaces.clone();
        for gone in &change.namespaces_remove {
            self.check_unused(&book, name, gone, now)?;
            namespaces.retain(|namespace| namespace != gone);
        }
        let record = TenantRecord {
            namespaces: with_namespaces(namespaces, change.namespaces_add)?,
            limits: limits::change(&old.limits, &change.limits, &change.defaults)?,
            changed: now,
            ..old.clone()
        };
        self.check_limits(&book, &record)?;
        let before = old.limits.clone();
        let stored = self.put(&mut book, &record).await?;
        let view = self.0.view(&stored, live_keys(&book, name, now));
        self.record(tenant_event(
            "tenant.changed",
            actor,
            name,
            name,
            json!({ "before": before, "limits": stored.limits, "namespaces": stored.namespaces }),
        ))
        .await;
        Ok(view)
    }

    /// Removes a tenant and its keys. What it has in flight ends; its usage and its events stay.
    ///
    /// # Errors
    /// [`DirectoryError`]
    pub async fn remove_tenant(&self, name: &str, actor: &str) -> Result<(), DirectoryError> {
        let mut book = self.book().await?;
        if !book.tenants.contains_key(name) {
            return Err(missing(name));
        }
        let keys = book.credentials_of(name).count();
        let removed = self.0.store().remove_tenant(name).await;
        book.stale = removed.is_err();
        removed?;
        book.remove_tenant(name);
        self.0.publish(&book);
        if let Some(dispatcher) = self.0.dispatcher.get() {
            dispatcher.remove_tenant(&TenantId::new(name));
        }
        if let Some(admission) = self.0.admission.get() {
            admission.retain_tenants(|tenant| self.tenant(tenant.as_str()).is_some());
        }
        self.record(tenant_event(
            "tenant.removed",
            actor,
            name,
            name,
            json!({ "keys": keys }),
        ))
        .await;
        Ok(())
    }

    /// Writes a tenant, and has it act.
    async fn put(
        &self,
        book: &mut Book,
        record: &TenantRecord,
    ) -> Result<TenantRecord, DirectoryError> {
        let stored = self.0.store().put_tenant(record).await;
        book.stale = stored.is_err();
        let stored = stored?;
        book.tenants.insert(stored.name.clone(), stored.clone());
        // Its queue first: a request that is let in finds one.
        if let Some(dispatcher) = self.0.dispatcher.get() {
            dispatcher.set_tenant(&self.0.tenant(&stored));
        }
        self.0.publish(book);
        Ok(stored)
    }

    /// Whether guaranteed rates still hold with this record in the place of the one that is there, and its images can be told
    /// apart.
    fn check_limits(&self, book: &Book, record: &TenantRecord) -> Result<(), DirectoryError> {
        let limits = limits::read(&self.0.defaults, &record.limits)?;
        let cir = limits.cir_us_per_s;
        let Some(dispatcher) = self.0.dispatcher.get() else {
            // Without a gateway there are no engines to ask: its start says so, if it promises too much.
            return Ok(());
        };
        let id = TenantId::new(&record.name);
        if let Some(images) = &limits.images
            && !dispatcher.has_room_for(&id, images)
        {
            return Err(DirectoryError::TooMany {
                what: "different lists of images that tenants are allowed",
                max: IMAGE_LISTS_MAX,
            });
        }
        let old = book.tenants.get(&record.name);
        let old = old.map_or(0, |old| self.0.tenant(old).limits.cir_us_per_s);
        if cir <= old {
            // What was promised may become less at any time.
            return Ok(());
        }
        let others = book
            .tenants
            .values()
            .filter(|other| other.name != record.name);
        let sum = others
            .map(|other| self.0.tenant(other).limits.cir_us_per_s)
            .fold(cir, u64::saturating_add);
        let capacity = dispatcher.capacity().healthy_us_per_s;
        let max = promisable(capacity);
        if sum > max {
            return Err(DirectoryError::Overcommitted { sum, max, capacity });
        }
        Ok(())
    }

    fn check_unused(
        &self,
        book: &Book,
        tenant: &str,
        namespace: &str,
        now: Millis,
    ) -> Result<(), DirectoryError> {
        let there = book.tenants.get(tenant);
        if !there.is_some_and(|record| record.namespaces.iter().any(|name| name == namespace)) {
            return Err(DirectoryError::Missing {
                what: "namespace",
                name: namespace.chars().take(64).collect(),
                mend: "`faam tenant show` lists those that there are",
            });
        }
        let user = book.credentials_of(tenant).find(|record| {
            record.namespace.as_deref() == Some(namespace)
                && super::snapshot::ended(record).is_none_or(|end| now < end)
        });
        match user {
            None => Ok(()),
            Some(record) => Err(DirectoryError::State(format!(
                "namespace {namespace:?} is that of key {}; revoke it first: `faam key revoke {}`",
                record.id, record.id
            ))),
        }
    }
}

/// How much of a capacity may be guaranteed.
#[must_use]
pub fn promisable(capacity_us_per_s: u64) -> u64 {
    capacity_us_per_s / 100 * CIR_PERCENT_MAX + capacity_us_per_s % 100 * CIR_PERCENT_MAX / 100
}

fn live_keys(book: &Book, tenant: &str, now: Millis) -> usize {
    let live = book
        .credentials_of(tenant)
        .filter(|record| super::snapshot::ended(record).is_none_or(|end| now < end));
    live.count()
}

pub(super) fn missing(name: &str) -> DirectoryError {
    DirectoryError::Missing {
        what: "tenant",
        name: name.chars().take(64).collect(),
        mend: "`faam tenant ls` lists those that there are",
    }
}

/// `namespaces` with others that are not among them yet.
fn with_namespaces(
    mut namespaces: Vec<String>,
    others: Vec<String>,
) -> Result<Vec<String>, DirectoryError> {
    for name in others {
        check_name("namespace", &name)?;
        if !namespaces.contains(&name) {
            namespaces.push(name);
        }
    }
    match namespaces.len() > NAMESPACES_MAX {
        true => Err(DirectoryError::TooMany {
            what: "namespaces of a tenant",
            max: NAMESPACES_MAX,
        }),
        false => Ok(namespaces),
    }
}

impl Parts {
    /// A tenant as its record has it. A limit that cannot be read is the default, the others count: they were checked when
    /// they were set, so that another version wrote them, or the defaults have changed under them.
    pub(super) fn tenant(&self, record: &TenantRecord) -> Tenant {
        let limits = limits::read(&self.defaults, &record.limits).unwrap_or_else(|error| {
            tracing::error!(
                tenant = record.name,
                %error,
                "some of a tenant's limits cannot be read, the others count; set them again with `faam tenant set`"
            );
            limits::read_what_can_be(&self.defaults, &record.limits)
        });
        Tenant {
            id: TenantId::new(&record.name),
            limits,
        }
    }

    fn view(&self, record: &TenantRecord, keys: usize) -> TenantView {
        TenantView {
            name: record.name.clone(),
            namespaces: record.namespaces.clone(),
            served: self.serves(&record.name),
            keys,
            limits: limits::show(&self.tenant(record).limits),
            set: record.limits.clone(),
            revision: record.revision,
            created: super::shown(record.created),
            changed: super::shown(record.changed),
        }
    }
}
