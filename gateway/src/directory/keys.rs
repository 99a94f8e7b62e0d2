//! Credentials made, listed, rotated and revoked.
//!
//! Invariants: a secret is in the answer that made it, and nowhere else; a rotated credential and its successor are written
//! together; what was revoked is refused from the next request on. Credentials that have ended stay listed, until their
//! tenant goes or has [`KEYS_MAX`] of them: then the one that ended first makes room.

use faam_store::{CredentialKind, CredentialRecord, Millis};
use serde::Serialize;
use serde_json::{Value, json};

use super::TenantDirectory;
use super::book::Book;
use super::error::DirectoryError;
use super::snapshot::ended;
use super::tenants::{PAGE_MAX, Page, missing};
use crate::credentials::{self, Issued};
use crate::events::tenant_event;

/// Credentials of one tenant, ended ones too.
pub const KEYS_MAX: usize = 1000;
/// Longest time for which a rotated credential goes on, milliseconds: ninety days.
pub const OVERLAP_MS_MAX: u64 = 90 * 24 * 3600 * 1000;
/// Tries for a name that nobody has: two are alike once in 2^62.
const NAMES_TRIED: usize = 4;

/// A credential that is to be.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Whose.
    pub tenant: String,
    /// Its kind.
    pub kind: CredentialKind,
    /// The one namespace that it is for; `None`: all of the tenant's.
    pub namespace: Option<String>,
    /// What it may be used for; none is everything.
    pub scopes: Vec<String>,
    /// From when on it is no longer taken.
    pub expires: Option<Millis>,
}

/// A credential as an operator sees it: never its secret, nor what recognises it.
#[derive(Clone, Debug, Serialize)]
pub struct KeyView {
    /// Its public name.
    pub id: String,
    /// Its kind.
    pub kind: CredentialKind,
    /// Whose it is.
    pub tenant: String,
    /// The one namespace that it is for.
    pub namespace: Option<String>,
    /// What it may be used for; none is everything.
    pub scopes: Vec<String>,
    /// `live`, `rotated` (live until it expires, its successor is there), `expired`, `revoked`, or `unreadable` where the
    /// pepper or root key that it was made with is gone.
    pub state: &'static str,
    /// When it was made.
    pub created: String,
    /// From when on it is no longer taken.
    pub expires: Option<String>,
    /// When it was revoked.
    pub revoked: Option<String>,
    /// What takes its place.
    pub successor: Option<String>,
    /// Name of the pepper or root key that it was made with.
    pub root: String,
}

/// What its holder keeps, and the only time that it is said.
#[must_use]
pub fn handed_over(kind: CredentialKind, issued: &Issued) -> Value {
    match kind {
        CredentialKind::SigV4 => json!({
            "id": issued.id,
            "kind": kind,
            "access_key_id": issued.id,
            "secret_access_key": issued.secret,
        }),
        CredentialKind::Api | CredentialKind::OpenWhisk => json!({
            "id": issued.id,
            "kind": kind,
            "key": issued.secret,
        }),
    }
}

impl TenantDirectory {
    /// Credentials, of one tenant or of all, after this name.
    pub async fn keys(
        &self,
        tenant: Option<&str>,
        after: Option<&str>,
        now: Millis,
    ) -> Result<Page<KeyView>, DirectoryError> {
        let book = self.book().await?;
        if let Some(tenant) = tenant
            && !book.tenants.contains_key(tenant)
        {
            return Err(missing(tenant));
        }
        let bound = match after {
            Some(id) => std::ops::Bound::Excluded(id),
            None => std::ops::Bound::Unbounded,
        };
        let mut records = book
            .credentials
            .range::<str, _>((bound, std::ops::Bound::Unbounded))
            .filter(|(_, record)| tenant.is_none_or(|tenant| record.tenant == tenant));
        let items: Vec<_> = records
            .by_ref()
            .take(PAGE_MAX)
            .map(|(_, record)| self.key_view(record, now))
            .collect();
        let more = records.next().is_some();
        Ok(Page {
            next: items.last().filter(|_| more).map(|last| last.id.clone()),
            items,
        })
    }

    /// One credential.
    pub async fn key_shown(&self, id: &str, now: Millis) -> Result<KeyView, DirectoryError> {
        let book = self.book().await?;
        let record = book.credentials.get(id).ok_or_else(|| no_key(id))?;
        Ok(self.key_view(record, now))
    }

    /// Makes a credential. The answer is for whoever shall have it.
    ///
    /// # Errors
    /// [`DirectoryError`]
    pub async fn add_key(
        &self,
        new: NewKey,
        actor: &str,
        now: Millis,
    ) -> Result<Value, DirectoryError> {
        for scope in &new.scopes {
            scope.parse::<credentials::scopes::Scope>()?;
        }
        if new.expires.is_some_and(|expires| expires <= now) {
            return Err(DirectoryError::Invalid(
                "expires lies in the past: expected a time to come; choose another".to_owned(),
            ));
        }
        let mut book = self.book().await?;
        let tenant = book
            .tenants
            .get(&new.tenant)
            .ok_or_else(|| missing(&new.tenant))?;
        if let Some(namespace) = &new.namespace
            && !tenant.namespaces.contains(namespace)
        {
            return Err(DirectoryError::Missing {
                what: "namespace",
                name: namespace.chars().take(64).collect(),
                mend: "`faam tenant set TENANT --add-namespace NAME` makes one",
            });
        }
        self.make_room(&mut book, &new.tenant, now).await?;
        let issued = self.issue(&book, new.kind)?;
        let record = CredentialRecord {
            id: issued.id.clone(),
            tenant: new.tenant,
            namespace: new.namespace,
            kind: new.kind,
            verifier: issued.verifier.clone(),
            root: issued.root.clone(),
            version: issued.version,
            scopes: new.scopes,
            created: now,
            expires: new.expires,
            revoked: None,
            successor: None,
        };
        self.put_keys(&mut book, vec![record.clone()]).await?;
        self.record_key("key.added", actor, &record, json!({}))
            .await;
        Ok(handed_over(record.kind, &issued))
    }

    /// Makes a credential in the place of another, which is taken for `overlap_ms` more.
    ///
    /// # Errors
    /// [`DirectoryError`]
    pub async fn rotate_key(
        &self,
        id: &str,
        overlap_ms: u64,
        actor: &str,
        now: Millis,
    ) -> Result<Value, DirectoryError> {
        if overlap_ms > OVERLAP_MS_MAX {
            return Err(DirectoryError::Invalid(format!(
                "overlap_ms is {overlap_ms}: expected at most {OVERLAP_MS_MAX}, ninety days; choose a shorter one"
            )));
        }
        let mut book = self.book().await?;
        let old = book
            .credentials
            .get(id)
            .cloned()
            .ok_or_else(|| no_key(id))?;
        if let Some(successor) = &old.successor {
            return Err(DirectoryError::State(format!(
                "key {id} was rotated already: rotate its successor, {successor}"
            )));
        }
        if ended(&old).is_some_and(|end| end <= now) {
            return Err(DirectoryError::State(format!(
                "key {id} has ended: expected one that is taken; make a new one with `faam key add`"
            )));
        }
        self.make_room(&mut book, &old.tenant, now).await?;
        let issued = self.issue(&book, old.kind)?;
        let overlap_ms = i64::try_from(overlap_ms).unwrap_or(i64::MAX);
        let end = Millis(now.0.saturating_add(overlap_ms));
        // As long as its predecessor was to be taken, from now on.
        let lifetime = old
            .expires
            .map(|expires| expires.0.saturating_sub(old.created.0));
        let successor = CredentialRecord {
            id: issued.id.clone(),
            verifier: issued.verifier.clone(),
            root: issued.root.clone(),
            version: issued.version,
            created: now,
            expires: lifetime.map(|lifetime| Millis(now.0.saturating_add(lifetime))),
            revoked: None,
            successor: None,
            ..old.clone()
        };
        let old = CredentialRecord {
            expires: Some(old.expires.map_or(end, |expires| expires.min(end))),
            successor: Some(issued.id.clone()),
            ..old
        };
        self.put_keys(&mut book, vec![old.clone(), successor])
            .await?;
        let detail = json!({ "successor": issued.id, "overlap_ms": overlap_ms });
        self.record_key("key.rotated", actor, &old, detail).await;
        Ok(handed_over(old.kind, &issued))
    }

    /// Has a credential refused from the next request on. Of one that has ended already nothing is changed.
    ///
    /// # Errors
    /// [`DirectoryError`]
    pub async fn revoke_key(
        &self,
        id: &str,
        actor: &str,
        now: Millis,
    ) -> Result<KeyView, DirectoryError> {
        let mut book = self.book().await?;
        let old = book
            .credentials
            .get(id)
            .cloned()
            .ok_or_else(|| no_key(id))?;
        if old.revoked.is_some() {
            return Ok(self.key_view(&old, now));
        }
        let record = CredentialRecord {
            revoked: Some(now),
            ..old
        };
        self.put_keys(&mut book, vec![record.clone()]).await?;
        self.record_key("key.revoked", actor, &record, json!({}))
            .await;
        Ok(self.key_view(&record, now))
    }

    /// A secret under a name that nobody has.
    fn issue(&self, book: &Book, kind: CredentialKind) -> Result<Issued, DirectoryError> {
        for _ in 0..NAMES_TRIED {
            let issued = credentials::of(kind).issue(&self.0.keyring)?;
            if !book.credentials.contains_key(&issued.id) {
                return Ok(issued);
            }
        }
        Err(DirectoryError::State(
            "every name that was drawn is taken already; ask again".to_owned(),
        ))
    }

    /// Room for one more credential of a tenant.
    async fn make_room(
        &self,
        book: &mut Book,
        tenant: &str,
        now: Millis,
    ) -> Result<(), DirectoryError> {
        if book.credentials_of(tenant).count() < KEYS_MAX {
            return Ok(());
        }
        let ended_first = book
            .credentials_of(tenant)
            .filter_map(|record| Some((ended(record).filter(|end| *end <= now)?, &record.id)))
            .min();
        let Some((_, id)) = ended_first else {
            return Err(DirectoryError::TooMany {
                what: "keys of a tenant that are taken",
                max: KEYS_MAX,
            });
        };
        let id = id.clone();
        let removed = self.0.store().remove_credential(&id).await;
        book.stale = removed.is_err();
        removed?;
        book.credentials.remove(&id);
        Ok(())
    }

    async fn put_keys(
        &self,
        book: &mut Book,
        records: Vec<CredentialRecord>,
    ) -> Result<(), DirectoryError> {
        let stored = self.0.store().put_credentials(records.clone()).await;
        book.stale = stored.is_err();
        stored?;
        for record in records {
            book.credentials.insert(record.id.clone(), record);
        }
        self.0.publish(book);
        Ok(())
    }

    async fn record_key(&self, what: &str, actor: &str, record: &CredentialRecord, more: Value) {
        let mut detail = json!({
            "kind": record.kind,
            "namespace": record.namespace,
            "scopes": record.scopes,
            "expires": record.expires.map(super::shown),
        });
        if let (Some(detail), Some(more)) = (detail.as_object_mut(), more.as_object()) {
            detail.extend(more.clone());
        }
        let event = tenant_event(what, actor, &record.tenant, &record.id, detail);
        self.record(event).await;
    }

    fn key_view(&self, record: &CredentialRecord, now: Millis) -> KeyView {
        let over = |end: Option<Millis>| end.is_some_and(|end| end <= now);
        let roots = match record.kind {
            CredentialKind::SigV4 => &self.0.keyring.roots,
            CredentialKind::Api | CredentialKind::OpenWhisk => &self.0.keyring.peppers,
        };
        let state = match record {
            _ if record.revoked.is_some() => "revoked",
            _ if over(record.expires) => "expired",
            _ if roots.find(&record.root).is_none() => "unreadable",
            _ if record.successor.is_some() => "rotated",
            _ => "live",
        };
        KeyView {
            id: record.id.clone(),
            kind: record.kind,
            tenant: record.tenant.clone(),
            namespace: record.namespace.clone(),
            scopes: record.scopes.clone(),
            state,
            created: super::shown(record.created),
            expires: record.expires.map(super::shown),
            revoked: record.revoked.map(super::shown),
            successor: record.successor.clone(),
            root: record.root.clone(),
        }
    }
}

fn no_key(id: &str) -> DirectoryError {
    DirectoryError::Missing {
        what: "key",
        // Whoever names a whole key by mistake does not read it again in a log.
        name: id.chars().take(18).collect(),
        mend: "`faam key ls` lists those that there are",
    }
}
