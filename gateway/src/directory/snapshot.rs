//! Who is let in, as of one moment.
//!
//! Invariant: it never changes, so that whoever reads it takes no lock; a new one takes its place as a whole. Of
//! credentials that have ended it knows that they were: they cost a caller the same work as any other.

use std::collections::HashMap;
use std::sync::Arc;

use faam_store::{CredentialKind, CredentialRecord, Millis};

use crate::auth::Principal;
use crate::credentials::keyring::{Keyring, MAC_BYTES};
use crate::credentials::scopes::Scopes;
use crate::credentials::{Grant, Known};
use crate::tenants::Tenant;

/// See the module's head.
pub(super) struct Snapshot {
    tenants: HashMap<Box<str>, Revised>,
    grants: HashMap<Box<str>, Grant>,
    demo: Option<Demo>,
}

/// A tenant as one revision of its record has it.
#[derive(Clone)]
pub(super) struct Revised {
    pub(super) revision: i64,
    pub(super) tenant: Arc<Tenant>,
}

/// The demo tenant's own key.
struct Demo {
    grant: Grant,
    /// What recognises it under each pepper.
    under_each: Vec<[u8; MAC_BYTES]>,
}

impl Snapshot {
    /// Of nobody.
    pub(super) fn nobody() -> Self {
        Self {
            tenants: HashMap::new(),
            grants: HashMap::new(),
            demo: None,
        }
    }

    /// Of these tenants and of those credentials that are one of theirs.
    pub(super) fn new<'r>(
        tenants: impl Iterator<Item = Revised>,
        credentials: impl Iterator<Item = &'r CredentialRecord>,
        keyring: &Keyring,
    ) -> Self {
        let tenants: HashMap<Box<str>, _> = tenants
            .map(|revised| (revised.tenant.id.as_str().into(), revised))
            .collect();
        let grants = credentials
            .filter_map(|record| {
                let tenant = &tenants.get(record.tenant.as_str())?.tenant;
                Some((record.id.as_str().into(), grant(record, tenant, keyring)))
            })
            .collect();
        Self {
            tenants,
            grants,
            demo: None,
        }
    }

    /// With this key for the tenant of that name, if it is there.
    pub(super) fn with_demo_key(mut self, tenant: &str, under_each: &[[u8; MAC_BYTES]]) -> Self {
        self.demo = self.tenants.get(tenant).map(|Revised { tenant, .. }| Demo {
            grant: Grant {
                principal: Arc::new(Principal {
                    credential: Principal::DEMO_KEY.into(),
                    tenant: Arc::clone(tenant),
                    namespace: None,
                    scopes: Scopes::ALL,
                }),
                kind: CredentialKind::Api,
                verifier: [0; MAC_BYTES],
                root: None,
                version: 1,
                not_after: None,
            },
            under_each: under_each.to_vec(),
        });
        self
    }

    /// The tenant of this name.
    pub(super) fn tenant(&self, name: &str) -> Option<&Arc<Tenant>> {
        self.tenants.get(name).map(|revised| &revised.tenant)
    }

    /// The same, if it is of this revision: its limits need not be read again.
    pub(super) fn revised(&self, name: &str, revision: i64) -> Option<Revised> {
        let revised = self.tenants.get(name)?;
        (revised.revision == revision).then(|| revised.clone())
    }

    /// All of them, in no order.
    pub(super) fn tenants(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.tenants.values().map(|revised| &revised.tenant)
    }
}

impl Known for Snapshot {
    fn find(&self, kind: CredentialKind, id: &str) -> Option<&Grant> {
        self.grants.get(id).filter(|grant| grant.kind == kind)
    }

    fn nameless(&self) -> Option<(&Grant, &[[u8; MAC_BYTES]])> {
        let demo = self.demo.as_ref()?;
        Some((&demo.grant, &demo.under_each))
    }
}

fn grant(record: &CredentialRecord, tenant: &Arc<Tenant>, keyring: &Keyring) -> Grant {
    let roots = match record.kind {
        CredentialKind::Api | CredentialKind::OpenWhisk => &keyring.peppers,
        CredentialKind::SigV4 => &keyring.roots,
    };
    // A verifier of another length recognises nothing.
    let verifier = <[u8; MAC_BYTES]>::try_from(record.verifier.as_slice());
    let derived = record.kind == CredentialKind::SigV4;
    let root = roots
        .find(&record.root)
        .filter(|_| derived || verifier.is_ok());
    Grant {
        principal: Arc::new(Principal {
            credential: record.id.as_str().into(),
            tenant: Arc::clone(tenant),
            namespace: record.namespace.as_deref().map(Into::into),
            scopes: Scopes::of(&record.scopes),
        }),
        kind: record.kind,
        verifier: verifier.unwrap_or_default(),
        root,
        version: record.version,
        // What was revoked stays so, also where the clock is set back.
        not_after: match record.revoked {
            Some(_) => Some(Millis(i64::MIN)),
            None => record.expires,
        },
    }
}

/// From when on a credential is no longer taken.
pub(super) fn ended(record: &CredentialRecord) -> Option<Millis> {
    record.expires.into_iter().chain(record.revoked).min()
}
