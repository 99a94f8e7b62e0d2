//! Tenants and credentials: written, read, removed.

use faam_store::{CredentialKind, CredentialRecord, Millis, StoreError, TenantRecord, UsageQuery};
use serde_json::json;

use super::{Opens, credential, open, tenant, usage};

pub(crate) async fn a_tenant_is_changed_by_whoever_read_its_last_revision<O: Opens>() {
    let opens = O::new();
    let store = open(&opens).await;
    let first = store.put_tenant(&tenant("a")).await.expect("new");
    assert_eq!(first.revision, 1);
    assert_eq!(store.tenants().await.expect("read"), vec![first.clone()]);

    let again = store.put_tenant(&tenant("a")).await.expect_err("it exists");
    assert!(
        matches!(
            again,
            StoreError::Changed {
                expected: 0,
                found: Some(1),
                ..
            }
        ),
        "{again}"
    );
    let changed = TenantRecord {
        limits: json!({"weight": 4}),
        created: Millis(77),
        changed: Millis(99),
        ..first.clone()
    };
    let second = store.put_tenant(&changed).await.expect("the last revision");
    assert_eq!((second.revision, second.created), (2, Millis(1)));
    let late = store
        .put_tenant(&changed)
        .await
        .expect_err("an old revision");
    assert!(
        matches!(
            late,
            StoreError::Changed {
                expected: 1,
                found: Some(2),
                ..
            }
        ),
        "{late}"
    );
    assert_eq!(store.tenants().await.expect("read"), [second]);

    let gone = TenantRecord {
        revision: 4,
        ..tenant("b")
    };
    let gone = store.put_tenant(&gone).await.expect_err("there is none");
    assert!(
        matches!(gone, StoreError::Changed { found: None, .. }),
        "{gone}"
    );
    let nameless = store.put_tenant(&tenant("")).await.expect_err("no name");
    assert!(
        matches!(nameless, StoreError::Constraint { .. }),
        "{nameless}"
    );
    assert!(!nameless.may_pass());
}

pub(crate) async fn a_tenant_takes_its_credentials_along_and_leaves_its_usage<O: Opens>() {
    let opens = O::new();
    let store = open(&opens).await;
    for name in ["a", "b"] {
        store.put_tenant(&tenant(name)).await.expect("new");
        let id = format!("key of {name}");
        store
            .put_credential(&credential(&id, name))
            .await
            .expect("new");
        store
            .add_usage(
                u128::from(name.as_bytes()[0]),
                vec![usage(name, 1, "ok", 1)],
            )
            .await
            .expect("added");
    }
    assert!(store.remove_tenant("a").await.expect("removed"));
    assert!(!store.remove_tenant("a").await.expect("it is gone"));
    let left = store.credentials().await.expect("read");
    assert_eq!(left, [credential("key of b", "b")]);
    let of_a = UsageQuery {
        tenant: Some("a".to_owned()),
        ..UsageQuery::default()
    };
    assert_eq!(
        store.usage(&of_a).await.expect("read").rows,
        [usage("a", 1, "ok", 1)]
    );
    assert!(store.remove_credential("key of b").await.expect("removed"));
    assert!(
        !store
            .remove_credential("key of b")
            .await
            .expect("it is gone")
    );
}

pub(crate) async fn who_was_removed_is_known_until_made_again<O: Opens>() {
    let opens = O::new();
    let store = open(&opens).await;
    let is_removed = async |name| store.is_removed(name).await.expect("read");
    assert!(!store.remove_tenant("a").await.expect("answered"));
    assert!(!is_removed("a").await, "there never was one");
    for _ in 0..2 {
        store.put_tenant(&tenant("a")).await.expect("new");
        assert!(!is_removed("a").await);
        assert!(store.remove_tenant("a").await.expect("removed"));
        assert!(is_removed("a").await && !is_removed("b").await);
    }
    store.close().await.expect("closed");
    let store = open(&opens).await;
    assert!(store.is_removed("a").await.expect("read"));
}

pub(crate) async fn credentials_come_back_as_they_were_written<O: Opens>() {
    let opens = O::new();
    let store = open(&opens).await;
    store.put_tenant(&tenant("a")).await.expect("new");
    let kinds = [
        CredentialKind::Api,
        CredentialKind::OpenWhisk,
        CredentialKind::SigV4,
    ];
    let written: Vec<_> = kinds
        .into_iter()
        .zip(["1", "2", "3"])
        .map(|(kind, id)| CredentialRecord {
            kind,
            namespace: Some("one".to_owned()),
            verifier: if kind == CredentialKind::SigV4 {
                Vec::new()
            } else {
                vec![7; 32]
            },
            scopes: vec!["invoke".to_owned(), "usage".to_owned()],
            version: 3,
            expires: Some(Millis(10)),
            revoked: Some(Millis(-4)),
            successor: Some("2".to_owned()),
            ..credential(id, "a")
        })
        .collect();
    for record in written.iter().rev() {
        store.put_credential(record).await.expect("new");
    }
    assert_eq!(store.credentials().await.expect("read"), written);
    let plain = credential("1", "a");
    store.put_credential(&plain).await.expect("in its place");
    assert_eq!(
        store.credentials().await.expect("read").first(),
        Some(&plain)
    );
}

pub(crate) async fn several_credentials_are_written_or_none<O: Opens>() {
    let opens = O::new();
    let store = open(&opens).await;
    store.put_tenant(&tenant("a")).await.expect("new");
    let written = vec![credential("1", "a"), credential("2", "nobody")];
    let refused = store
        .put_credentials(written)
        .await
        .expect_err("there is no such tenant");
    assert!(
        matches!(&refused, StoreError::Constraint { rule } if rule.contains("nobody")),
        "{refused}"
    );
    assert_eq!(store.credentials().await.expect("read"), []);
    let written = vec![credential("1", "a"), credential("2", "a")];
    store.put_credentials(written.clone()).await.expect("both");
    assert_eq!(store.credentials().await.expect("read"), written);
}

pub(crate) async fn an_id_never_moves_to_another_tenant<O: Opens>() {
    let opens = O::new();
    let store = open(&opens).await;
    store.put_tenant(&tenant("a")).await.expect("new");
    store.put_tenant(&tenant("b")).await.expect("new");
    store
        .put_credential(&credential("1", "a"))
        .await
        .expect("new");
    let refused = store
        .put_credential(&credential("1", "b"))
        .await
        .expect_err("it is a's");
    assert!(
        matches!(refused, StoreError::Constraint { .. }),
        "{refused}"
    );
    assert_eq!(
        store.credentials().await.expect("read"),
        [credential("1", "a")]
    );
}
