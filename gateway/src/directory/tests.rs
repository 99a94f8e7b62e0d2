//! What is let in, and at which cost.

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue, Method, Uri};
use faam_store::{CredentialKind, Millis};
use serde_json::json;

use faam_store::{CredentialRecord, UsageKey, UsageRecord, UsageSums};

use super::*;
use crate::auth::Principal;
use crate::credentials::keyring::work;
use crate::credentials::{self, Issued};

const NOW: Millis = Millis(1_800_000_000_000);
const DEMO_KEY: &str = "faam_a-key-of-the-operators-choice";

fn keyring() -> Keyring {
    let dir = tempfile::tempdir().expect("a directory");
    Keyring::open(dir.path(), None).expect("made")
}

/// A directory over a store of its own, with these records in it.
fn directory(
    keyring: Keyring,
    demo_key: Option<&str>,
    tenants: &[TenantRecord],
    credentials: &[CredentialRecord],
) -> TenantDirectory {
    let dir = tempfile::tempdir().expect("a directory");
    runtime().block_on(async {
        let store = Store::open(&dir.path().join("faam.db"))
            .await
            .expect("opens");
        for tenant in tenants {
            store.put_tenant(tenant).await.expect("kept");
        }
        for records in credentials.chunks(500) {
            store.put_credentials(records.to_vec()).await.expect("kept");
        }
        let options = DirectoryOptions {
            keyring,
            defaults: TenantLimits::default(),
            demo_key,
            events: None,
        };
        TenantDirectory::open(store, options).await.expect("opens")
    })
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

fn tenant(name: &str) -> TenantRecord {
    TenantRecord {
        name: name.to_owned(),
        namespaces: Vec::new(),
        limits: json!({}),
        revision: 0,
        created: NOW,
        changed: NOW,
    }
}

fn record(issued: &Issued, kind: CredentialKind, tenant: &str) -> CredentialRecord {
    CredentialRecord {
        id: issued.id.clone(),
        tenant: tenant.to_owned(),
        namespace: None,
        kind,
        verifier: issued.verifier.clone(),
        root: issued.root.clone(),
        version: issued.version,
        scopes: Vec::new(),
        created: NOW,
        expires: None,
        revoked: None,
        successor: None,
    }
}

fn ask(
    directory: &TenantDirectory,
    authorization: &[u8],
    now: Millis,
) -> Result<Arc<Principal>, AuthError> {
    let mut headers = HeaderMap::new();
    headers.insert(
        AUTHORIZATION,
        HeaderValue::from_bytes(authorization).expect("a header"),
    );
    let presented = Presented {
        method: &Method::GET,
        uri: &Uri::from_static("/v1/kernels"),
        headers: &headers,
        now,
        body_sha256: None,
        takes_chunks: false,
    };
    directory
        .authenticate(&presented)
        .map(|caller| caller.principal)
}

fn bearer(
    directory: &TenantDirectory,
    key: &str,
    now: Millis,
) -> Result<Arc<Principal>, AuthError> {
    ask(directory, format!("Bearer {key}").as_bytes(), now)
}

const INVALID: Result<(), AuthError> = Err(AuthError::Invalid("Bearer"));

#[test]
fn a_key_is_let_in_until_it_ends_and_refused_in_one_way_after() {
    let keyring = keyring();
    let api = credentials::of(CredentialKind::Api);
    let issue = || api.issue(&keyring).expect("random");
    let (good, expiring, revoked, foreign) = (issue(), issue(), issue(), issue());
    let of = |issued| record(issued, CredentialKind::Api, "acme");
    let records = [
        of(&good),
        CredentialRecord {
            expires: Some(NOW),
            ..of(&expiring)
        },
        CredentialRecord {
            expires: Some(Millis(i64::MAX)),
            revoked: Some(NOW),
            ..of(&revoked)
        },
    ];
    let directory = directory(keyring, None, &[tenant("acme")], &records);
    let before = Millis(NOW.0 - 1);
    for issued in [&good, &expiring] {
        let principal = bearer(&directory, &issued.secret, before).expect("let in");
        assert_eq!(principal.tenant.id.as_str(), "acme");
        assert_eq!(*principal.credential, *issued.id);
    }
    // A clock that is set back brings nothing back that was revoked.
    assert_eq!(
        bearer(&directory, &revoked.secret, before).map(drop),
        INVALID
    );
    assert!(bearer(&directory, &good.secret, NOW).is_ok());
    for issued in [&expiring, &revoked, &foreign] {
        assert_eq!(bearer(&directory, &issued.secret, NOW).map(drop), INVALID);
    }
    // Another's secret behind a known name, a changed checksum, another case.
    let (name, _) = good.secret.rsplit_once('_').expect("three parts");
    let (_, secret) = revoked.secret.rsplit_once('_').expect("three parts");
    for wrong in [
        format!("{name}_{secret}"),
        format!("{}0", good.secret),
        good.secret.to_uppercase(),
    ] {
        assert_eq!(
            bearer(&directory, &wrong, before).map(drop),
            INVALID,
            "{wrong}"
        );
    }
}

#[test]
fn every_refusal_takes_the_work_of_every_other() {
    let keyring = keyring();
    let api = credentials::of(CredentialKind::Api);
    let issue = || api.issue(&keyring).expect("random");
    let (good, expired, revoked) = (issue(), issue(), issue());
    let of = |issued| record(issued, CredentialKind::Api, "acme");
    let records = [
        of(&good),
        CredentialRecord {
            expires: Some(NOW),
            ..of(&expired)
        },
        CredentialRecord {
            revoked: Some(NOW),
            ..of(&revoked)
        },
    ];
    let unknown = issue();
    let directory = directory(
        keyring,
        Some(DEMO_KEY),
        &[tenant("acme"), tenant("demo")],
        &records,
    );
    let wrong = format!("{}x", good.secret);
    for (key, lets_in) in [
        (good.secret.as_str(), true),
        (DEMO_KEY, true),
        (&wrong, false),
        (&expired.secret, false),
        (&revoked.secret, false),
        (&unknown.secret, false),
        ("faam_another-key-of-somebodys-choice", false),
        ("", false),
    ] {
        let (answer, macs) = work::of(|| bearer(&directory, key, NOW));
        assert_eq!(answer.is_ok(), lets_in, "{key}");
        assert_eq!(macs, 1, "{key}");
    }
}

#[test]
fn keys_of_an_older_pepper_are_known_until_it_is_taken_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let old = Keyring::open(dir.path(), None).expect("made");
    let issued = credentials::of(CredentialKind::Api)
        .issue(&old)
        .expect("random");
    let signer = credentials::of(CredentialKind::SigV4)
        .issue(&old)
        .expect("random");
    let records = [
        record(&issued, CredentialKind::Api, "acme"),
        record(&signer, CredentialKind::SigV4, "acme"),
    ];
    let path = dir.path().join(credentials::keyring::PEPPER_FILE);
    let line = std::fs::read_to_string(&path).expect("a line");
    let newer = format!("two {}\n", "ab".repeat(32));
    let open = || {
        let keyring = Keyring::open(dir.path(), None).expect("read");
        directory(
            keyring,
            Some(DEMO_KEY),
            &[tenant("acme"), tenant("demo")],
            &records,
        )
    };
    std::fs::write(&path, format!("{line}{newer}")).expect("written");
    let directory = open();
    assert!(bearer(&directory, &issued.secret, NOW).is_ok());
    // One HMAC, whichever pepper it is under; the chosen key is recognised under each.
    assert_eq!(
        work::of(|| bearer(&directory, DEMO_KEY, NOW).is_ok()),
        (true, 1)
    );
    let named_like = format!("{}x", issued.secret);
    assert_eq!(
        work::of(|| bearer(&directory, &named_like, NOW).is_ok()),
        (false, 1)
    );
    std::fs::write(&path, newer).expect("written");
    let directory = open();
    assert_eq!(bearer(&directory, &issued.secret, NOW).map(drop), INVALID);
    assert!(bearer(&directory, DEMO_KEY, NOW).is_ok());
}

#[test]
fn a_chosen_key_that_looks_like_a_made_one_is_known() {
    let keyring = keyring();
    let issued = credentials::of(CredentialKind::Api)
        .issue(&keyring)
        .expect("random");
    let records = [record(&issued, CredentialKind::Api, "acme")];
    // The same public name as acme's.
    let chosen = format!("faam_{}_chosen", issued.id);
    let directory = directory(
        keyring,
        Some(&chosen),
        &[tenant("acme"), tenant("demo")],
        &records,
    );
    let who = |key: &str| bearer(&directory, key, NOW).map(|who| who.tenant.id.as_str().to_owned());
    assert_eq!(who(&chosen).as_deref(), Ok("demo"));
    assert_eq!(who(&issued.secret).as_deref(), Ok("acme"));
}

#[test]
fn openwhisks_uuid_and_key_are_a_credential() {
    use ::base64::Engine as _;
    let keyring = keyring();
    let kind = credentials::of(CredentialKind::OpenWhisk);
    let (issued, other) = (
        kind.issue(&keyring).expect("random"),
        kind.issue(&keyring).expect("random"),
    );
    let (uuid, key) = issued.secret.split_once(':').expect("a pair");
    assert_eq!((uuid, key.len()), (issued.id.as_str(), 64));
    assert!(Uuid::parse_str(uuid).is_ok());
    let records = [record(&issued, CredentialKind::OpenWhisk, "acme")];
    let directory = directory(keyring, None, &[tenant("acme")], &records);
    let basic = |pair: &str| {
        let encoded = ::base64::engine::general_purpose::STANDARD.encode(pair);
        work::of(|| ask(&directory, format!("basic {encoded}").as_bytes(), NOW))
    };
    assert!(matches!(basic(&issued.secret), (Ok(_), 1)));
    for wrong in [
        &other.secret,
        &format!("{}x", issued.secret),
        &format!("{uuid}:"),
        &format!("{uuid}:{}", "a".repeat(64)),
    ] {
        assert_eq!(
            basic(wrong),
            (Err(AuthError::Invalid("Basic")), 1),
            "{wrong}"
        );
    }
    for no_pair in ["Basic", "Basic ", "Basic !!!", "Basic YWJj"] {
        assert!(
            ask(&directory, no_pair.as_bytes(), NOW).is_err(),
            "{no_pair}"
        );
    }
    // Its verifier is of no use as an API key's.
    assert_eq!(bearer(&directory, &issued.secret, NOW).map(drop), INVALID);
}

#[test]
fn ten_thousand_tenants_are_loaded_and_found() {
    let keyring = keyring();
    let api = credentials::of(CredentialKind::Api);
    let rows: Vec<_> = (0..10_000)
        .map(|number| tenant(&format!("tenant-{number}")))
        .collect();
    let issued: Vec<_> = rows
        .iter()
        .map(|_| api.issue(&keyring).expect("random"))
        .collect();
    let records: Vec<_> = issued
        .iter()
        .zip(&rows)
        .map(|(issued, tenant)| record(issued, CredentialKind::Api, &tenant.name))
        .collect();
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = runtime();
    let store = runtime.block_on(async {
        let store = Store::open(&dir.path().join("faam.db"))
            .await
            .expect("opens");
        // Many at once, as the store takes them.
        for some in rows.chunks(500) {
            let mut puts = tokio::task::JoinSet::new();
            for tenant in some {
                let (store, tenant) = (store.clone(), tenant.clone());
                puts.spawn(async move { store.put_tenant(&tenant).await });
            }
            for put in puts.join_all().await {
                put.expect("kept");
            }
        }
        for some in records.chunks(500) {
            store.put_credentials(some.to_vec()).await.expect("kept");
        }
        store
    });
    let options = DirectoryOptions {
        keyring,
        defaults: TenantLimits::default(),
        demo_key: None,
        events: None,
    };
    let began = std::time::Instant::now();
    let directory = runtime
        .block_on(TenantDirectory::open(store, options))
        .expect("opens");
    let loaded = began.elapsed();
    let began = std::time::Instant::now();
    for (issued, tenant) in issued.iter().zip(&rows) {
        let who = bearer(&directory, &issued.secret, NOW).expect("let in");
        assert_eq!(who.tenant.id.as_str(), tenant.name);
    }
    let looked_up = began.elapsed();
    let began = std::time::Instant::now();
    let change = tenants::TenantChange {
        limits: json!({ "weight": 7 })
            .as_object()
            .expect("an object")
            .clone(),
        ..tenants::TenantChange::default()
    };
    let changed = directory.change_tenant("tenant-5000", change, "operator", NOW);
    let changed = runtime.block_on(changed).expect("changed");
    assert_eq!(changed.limits["weight"], 7);
    let weight = |name: &str| directory.tenant(name).expect("served").limits.weight;
    assert_eq!((weight("tenant-5000"), weight("tenant-5001")), (7, 100));
    println!(
        "10,000 tenants with a key each: loaded in {} ms, one changed in {} ms, looked up in {} ns each (this build)",
        loaded.as_millis(),
        began.elapsed().as_millis(),
        looked_up.as_nanos() / 10_000
    );
    // As many HMACs as with one tenant.
    assert_eq!(
        work::of(|| bearer(&directory, "faam_nobody-has-this-key", NOW).is_ok()),
        (false, 1)
    );
}

proptest::proptest! {
    #[test]
    fn no_header_breaks_it(bytes: Vec<u8>, scheme in "(Bearer|Basic|AWS4-HMAC-SHA256|Digest)? ?", text in "[ -~]{0,300}") {
        static DIRECTORY: std::sync::LazyLock<TenantDirectory> =
            std::sync::LazyLock::new(|| directory(keyring(), Some(DEMO_KEY), &[tenant("demo")], &[]));
        for value in [bytes.clone(), [scheme.as_bytes(), &bytes].concat(), format!("{scheme}{text}").into_bytes()] {
            if HeaderValue::from_bytes(&value).is_ok() {
                proptest::prop_assert!(ask(&DIRECTORY, &value, NOW).is_err());
            }
        }
    }
}

/// A store in a directory that lives as long as it.
async fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(&dir.path().join("faam.db"))
        .await
        .expect("opens");
    (dir, store)
}

async fn open(dir: &tempfile::TempDir, store: &Store) -> TenantDirectory {
    let options = DirectoryOptions {
        keyring: Keyring::open(dir.path(), None).expect("read"),
        defaults: TenantLimits::default(),
        demo_key: None,
        events: None,
    };
    TenantDirectory::open(store.clone(), options)
        .await
        .expect("opens")
}

fn new_tenant(name: &str) -> tenants::NewTenant {
    serde_json::from_value(json!({ "name": name, "namespaces": ["prod"] })).expect("a tenant")
}

fn new_key(expires: Option<Millis>) -> keys::NewKey {
    keys::NewKey {
        tenant: "acme".to_owned(),
        kind: CredentialKind::Api,
        namespace: Some("prod".to_owned()),
        scopes: vec!["compress".to_owned()],
        expires,
    }
}

fn text(value: &serde_json::Value, name: &str) -> String {
    value[name].as_str().expect("text").to_owned()
}

#[test]
fn a_rotated_key_overlaps_its_successor_to_the_millisecond_also_after_a_restart() {
    runtime().block_on(async {
        let (dir, store) = store().await;
        let directory = open(&dir, &store).await;
        let at = |ms: i64| Millis(NOW.0 + ms);
        directory
            .add_tenant(new_tenant("acme"), "operator", NOW)
            .await
            .expect("made");
        let made = directory
            .add_key(new_key(Some(at(10_000))), "operator", NOW)
            .await
            .expect("made");
        let (id, old) = (text(&made, "id"), text(&made, "key"));
        let next = directory
            .rotate_key(&id, 1000, "operator", at(4000))
            .await
            .expect("rotated");
        let new = text(&next, "key");
        for directory in [directory, open(&dir, &store).await] {
            for (ms, old_is_taken, new_is_taken) in [
                (4000, true, true),
                (4999, true, true),
                (5000, false, true),
                // As long as its predecessor was to be taken, from its own beginning on.
                (13_999, false, true),
                (14_000, false, false),
            ] {
                let taken = |key: &str| bearer(&directory, key, at(ms)).is_ok();
                assert_eq!(
                    (taken(&old), taken(&new)),
                    (old_is_taken, new_is_taken),
                    "{ms}"
                );
            }
            let who = bearer(&directory, &new, at(4000)).expect("let in");
            assert_eq!(who.namespace.as_deref(), Some("prod"));
            assert!(who.allow(credentials::scopes::Scope::Compress).is_ok());
            assert!(who.allow(credentials::scopes::Scope::UsageRead).is_err());
            let state = |key: keys::KeyView| key.state;
            let shown = directory.key_shown(&id, at(4500)).await.map(state);
            assert_eq!(shown.expect("listed"), "rotated");
            let shown = directory.key_shown(&id, at(5000)).await.map(state);
            assert_eq!(shown.expect("listed"), "expired");
            let again = directory.rotate_key(&id, 0, "operator", at(4500)).await;
            assert!(matches!(again, Err(DirectoryError::State(_))), "{again:?}");
        }
    });
}

#[test]
fn a_tenant_has_so_many_keys_and_those_that_ended_first_make_room() {
    runtime().block_on(async {
        let (dir, store) = store().await;
        let directory = open(&dir, &store).await;
        directory
            .add_tenant(new_tenant("acme"), "operator", NOW)
            .await
            .expect("made");
        let records = |ended: usize| {
            (0..keys::KEYS_MAX).map(move |number| {
                let revoked = (number < ended)
                    .then(|| Millis(NOW.0 - 1000 + i64::try_from(number).expect("small")));
                CredentialRecord {
                    id: format!("key-{number:04}"),
                    tenant: "acme".to_owned(),
                    namespace: None,
                    kind: CredentialKind::Api,
                    verifier: vec![0; MAC_BYTES],
                    root: "1.00000000".to_owned(),
                    version: 1,
                    scopes: Vec::new(),
                    created: NOW,
                    expires: None,
                    revoked,
                    successor: None,
                }
            })
        };
        for chunk in records(2).collect::<Vec<_>>().chunks(500) {
            store.put_credentials(chunk.to_vec()).await.expect("kept");
        }
        let directory = open(&dir, &store).await;
        let add = async || directory.add_key(new_key(None), "operator", NOW).await;
        assert!(add().await.is_ok());
        let gone = directory.key_shown("key-0000", NOW).await;
        assert!(
            matches!(gone, Err(DirectoryError::Missing { .. })),
            "{gone:?}"
        );
        assert!(directory.key_shown("key-0001", NOW).await.is_ok());
        assert!(add().await.is_ok());
        let refused = add().await;
        assert!(
            matches!(refused, Err(DirectoryError::TooMany { .. })),
            "{refused:?}"
        );
        assert_eq!(
            store.credentials().await.expect("read").len(),
            keys::KEYS_MAX
        );
        // Whose pepper is gone is said so.
        let shown = directory.key_shown("key-0002", NOW).await.expect("listed");
        assert_eq!(shown.state, "unreadable");
        // All of them, page by page.
        let first = directory
            .keys(Some("acme"), None, NOW)
            .await
            .expect("listed");
        assert_eq!((first.items.len(), first.next), (tenants::PAGE_MAX, None));
    });
}

#[test]
fn a_name_with_usage_is_nobody_elses() {
    runtime().block_on(async {
        let (dir, store) = store().await;
        let directory = open(&dir, &store).await;
        let add = |name| directory.add_tenant(new_tenant(name), "operator", NOW);
        add("acme").await.expect("made");
        let removed = directory.remove_tenant("acme", "operator").await;
        removed.expect("removed");
        // It has used nothing.
        add("acme").await.expect("made again");
        let usage = UsageRecord {
            key: UsageKey {
                hour: Millis(0),
                tenant: "acme".to_owned(),
                namespace: String::new(),
                kernel: "compress".to_owned(),
                backend: "cpu".to_owned(),
                outcome: "ok".to_owned(),
                billable: true,
            },
            sums: UsageSums {
                requests: 1,
                ..UsageSums::default()
            },
        };
        store.add_usage(1, vec![usage]).await.expect("written");
        let removed = directory.remove_tenant("acme", "operator").await;
        removed.expect("removed");
        let again = add("acme").await;
        assert!(matches!(again, Err(DirectoryError::State(_))), "{again:?}");
        assert!(directory.tenant("acme").is_none());
        add("acme-2").await.expect("made");
    });
}

#[test]
fn what_is_not_on_disk_does_not_act() {
    runtime().block_on(async {
        let (dir, store) = store().await;
        let directory = open(&dir, &store).await;
        directory
            .add_tenant(new_tenant("acme"), "operator", NOW)
            .await
            .expect("made");
        let made = directory
            .add_key(new_key(None), "operator", NOW)
            .await
            .expect("made");
        store.close().await.expect("closed");
        let id = text(&made, "id");
        assert!(directory.revoke_key(&id, "operator", NOW).await.is_err());
        assert!(
            directory
                .add_tenant(new_tenant("b"), "operator", NOW)
                .await
                .is_err()
        );
        // Requests ask no store.
        assert!(bearer(&directory, &text(&made, "key"), NOW).is_ok());
        assert!(directory.tenant("b").is_none());
        // The next process finds what was acknowledged.
        let store = Store::open(&dir.path().join("faam.db"))
            .await
            .expect("opens");
        let directory = open(&dir, &store).await;
        assert!(bearer(&directory, &text(&made, "key"), NOW).is_ok());
        assert!(directory.tenant("b").is_none());
    });
}

#[test]
fn a_tenant_changed_elsewhere_meanwhile_is_told_so() {
    runtime().block_on(async {
        let (dir, store) = store().await;
        let directory = open(&dir, &store).await;
        let made = directory
            .add_tenant(new_tenant("acme"), "operator", NOW)
            .await
            .expect("made");
        let change = |revision| tenants::TenantChange {
            limits: json!({ "weight": 7 })
                .as_object()
                .expect("an object")
                .clone(),
            revision: Some(revision),
            ..tenants::TenantChange::default()
        };
        let changed = directory
            .change_tenant("acme", change(made.revision), "operator", NOW)
            .await
            .expect("changed");
        assert_eq!(
            (changed.revision, &changed.limits["weight"]),
            (made.revision + 1, &json!(7))
        );
        let late = directory
            .change_tenant("acme", change(made.revision), "operator", NOW)
            .await;
        assert!(matches!(late, Err(DirectoryError::State(_))), "{late:?}");
        let (_, page) = (
            directory.served(),
            directory.tenants(None, NOW).await.expect("listed"),
        );
        assert_eq!(page.items.len(), 1);
    });
}
