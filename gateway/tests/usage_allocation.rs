//! What counting a request's usage allocates: nothing, once its tenant has a sum of its kind; and what an idle tenant's account takes.

use std::sync::Arc;

use faam_gateway::auth::Principal;
use faam_gateway::credentials::scopes::Scopes;
use faam_gateway::metrics::Metrics;
use faam_gateway::tenants::{Tenant, TenantId, TenantLimits};
use faam_gateway::usage::Usage;
use faam_gateway::usage::tab::{Closing, Tab};
use faam_store::Store;

/// Tenants whose accounts are opened.
const TENANTS: usize = 10_000;
/// Bytes that an idle tenant's account may take, its place in the table included.
const IDLE_BYTES_MAX: u64 = 512;

fn principal(name: &str) -> Arc<Principal> {
    Arc::new(Principal {
        credential: "k".into(),
        tenant: Arc::new(Tenant {
            id: TenantId::new(name),
            limits: TenantLimits::default(),
        }),
        namespace: Some("prod".into()),
        scopes: Scopes::ALL,
    })
}

/// A request from its admission to its permit's end, as far as usage goes.
fn request(usage: &Usage, principal: &Arc<Principal>) {
    let tab = Tab::default();
    let account = usage.account(&principal.tenant.id);
    tab.open(account, Arc::clone(principal), "compress");
    tab.close(Closing {
        backend: "cpu",
        outcome: "ok",
        bytes_in: 1024,
        bytes_out: 400,
    });
}

#[test]
fn a_request_allocates_nothing_and_an_idle_tenant_little() {
    let directory = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let store = runtime
        .block_on(Store::open(&directory.path().join("faam.db")))
        .expect("a store");
    let usage = Usage::new(store, Arc::new(Metrics::new()));
    let busy = principal("busy");
    request(&usage, &busy);
    let counted = allocation_counter::measure(|| (0..100).for_each(|_| request(&usage, &busy)));
    assert_eq!(counted.count_total, 0, "a hundred requests allocate");

    let names: Vec<_> = (0..TENANTS)
        .map(|number| TenantId::new(&format!("tenant-{number}")))
        .collect();
    let counted = allocation_counter::measure(|| {
        for name in &names {
            drop(usage.account(name));
        }
    });
    assert_eq!(usage.accounts(), TENANTS + 1);
    let kept = u64::try_from(counted.bytes_current).expect("kept") / TENANTS as u64;
    println!("{kept} bytes an idle tenant's account, of {TENANTS}");
    assert!(kept <= IDLE_BYTES_MAX, "{kept}");
}
