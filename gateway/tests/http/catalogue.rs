//! What a tenant is told that there is: as much as it may use, and what it uses of that.

use faam_gateway::allowed_images::AllowedImages;
use serde_json::{Value, json};

use crate::samples::text;
use crate::server::Server;

#[test]
fn kernels_are_those_that_the_tenant_may_call() {
    let server = Server::start_with(|config| {
        config.tenant_limits.kernels.decompress = false;
        config.tenant_limits.backends.cards = false;
        config.tenant_limits.body_bytes_max = Some(5000);
    });
    let kernels = server.get("/v1/kernels").json();
    let kernels = kernels["kernels"].as_array().expect("kernels");
    assert_eq!(kernels.len(), 1, "{kernels:?}");
    assert_eq!(kernels[0]["name"], "compress");
    assert_eq!(kernels[0]["body_bytes_max"], 5000);
    assert!(kernels[0].get("card_level_max").is_none(), "{kernels:?}");
    assert_eq!(kernels[0]["formats"].as_array().map(Vec::len), Some(5));
    // And that is how it is.
    assert_eq!(server.post("/v1/compress", &[], &text(5000)).status, 200);
    assert_eq!(server.post("/v1/compress", &[], &text(5001)).status, 413);
    assert_eq!(server.post("/v1/decompress", &[], b"x").status, 403);

    let server = Server::start_with(|config| config.tenant_limits.backends.cpu = false);
    let kernels = server.get("/v1/kernels").json();
    let compress = &kernels["kernels"][0];
    assert_eq!(compress["formats"], json!(["gzip", "zlib", "deflate"]));
    assert_eq!(compress["level_max"], compress["card_level_max"]);
    assert!(compress.get("cpu_engines").is_none());
    assert_eq!(kernels["kernels"][1]["formats"], compress["formats"]);
}

#[test]
fn images_are_those_of_the_kernels_that_the_tenant_may_use() {
    let key = faam_image::SigningKey::from_seed([1; 32]).expect("a key");
    let images = |change: fn(&mut faam_gateway::tenants::TenantLimits)| {
        let server = Server::start_with(|config| {
            config.images.trusted = vec![key.public()];
            let store = faam_gateway::images::ImageStore::open(
                &config.data_dir,
                &config.images,
                faam_gateway::events::Events::default(),
                std::sync::Arc::new(faam_gateway::metrics::Metrics::new()),
            );
            let store = store.expect("opens");
            let inflate = include_str!("../../../bitstreams/images/inflate.toml");
            // The first of two is superseded, and shown to nobody.
            for (text, version) in [
                (
                    include_str!("../../../bitstreams/images/deflate-fast.toml"),
                    1,
                ),
                (inflate, 1),
                (inflate, 2),
            ] {
                let mut description = faam_image::Description::from_toml(text).expect("ours");
                description.simulated_bytes = Some(64);
                description.security_version = version;
                let ingredients = faam_image::Ingredients::default();
                let package = faam_image::build(&description, &ingredients, &key);
                store
                    .accept(&package.expect("builds"), "operator")
                    .expect("good");
            }
            change(&mut config.tenant_limits);
        });
        server.get("/v1/images").json()["images"].clone()
    };
    let names = |images: &Value| {
        let images = images.as_array().expect("images").iter();
        let mut names: Vec<_> = images.map(|image| image["name"].clone()).collect();
        names.sort_by_key(ToString::to_string);
        names
    };
    let all = images(|_| {});
    assert_eq!(names(&all), ["deflate-fast", "inflate"]);
    for image in all.as_array().expect("images") {
        assert_eq!(image["simulated"], true, "{image}");
        assert!(
            image.get("signer").is_none(),
            "that is the operator's: {image}"
        );
    }
    let some = images(|limits| limits.card_kernels.deflate_fast = false);
    assert_eq!(names(&some), ["inflate"]);
    let listed = images(|limits| {
        let list = AllowedImages::new(["deflate-fast", "another"]);
        limits.images = Some(list.expect("names"));
    });
    assert_eq!(names(&listed), ["deflate-fast"]);
    assert_eq!(images(|limits| limits.backends.cards = false), json!([]));
}

#[test]
fn a_tenant_is_told_its_limits_and_what_it_uses_of_them() {
    let server = Server::start_with(|config| {
        config.tenant_limits.weight = 7;
        config.tenant_limits.requests_per_s = Some(1000);
        config.tenant_limits.bytes_per_day = Some(1 << 30);
    });
    let told = server.get("/v1/tenants/self").json();
    assert_eq!(told["id"], "demo");
    let limits = &told["limits"];
    assert_eq!(
        (&limits["weight"], &limits["requests_per_s"]),
        (&7.into(), &1000.into())
    );
    assert_eq!(limits["bytes_per_day"], 1 << 30);
    assert!(limits.get("bytes_per_s").is_none(), "it has none");
    assert_eq!(
        (&limits["kernels"], &limits["backends"]),
        (&json!(["compress", "decompress"]), &json!(["cpu", "cards"]))
    );
    let kernels = json!(["deflate-fast", "deflate-tables", "inflate"]);
    assert_eq!(limits["card_kernels"], kernels);
    let nothing = json!({"in_flight": 0, "memory_bytes": 0, "spill_bytes": 0, "bytes_today": 0, "reference_us_today": 0});
    assert_eq!(told["usage"], nothing);

    let using = |server: &Server| server.get("/v1/tenants/self").json()["usage"].clone();
    let wire = server.begin("/v1/compress", &[], &text(3000));
    server.wait_for_in_flight(1);
    let used: Value = using(&server);
    assert_eq!(used["in_flight"], 1);
    assert!(used["memory_bytes"].as_u64() > Some(0), "{used}");
    drop(wire);
    server.check_at_rest();
    assert_eq!(server.post("/v1/compress", &[], &text(70_000)).status, 200);
    server.check_at_rest();
    let used = using(&server);
    assert_eq!(
        (&used["in_flight"], &used["memory_bytes"]),
        (&0.into(), &0.into())
    );
    assert!(used["bytes_today"].as_u64() >= Some(70_000), "{used}");
    assert!(used["reference_us_today"].as_u64() > Some(0), "{used}");
}
