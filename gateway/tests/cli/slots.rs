//! Kernels in the slots of a simulated card: loaded by hand and by demand, evicted, and loads that go wrong.
//!
//! Every time that is printed is of a simulated card, whose reconfiguration takes its modelled time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use faam_gateway::cards::{CardSource, SimulatedFaults, SimulatedSlots};
use faam_gateway::config::GatewayConfig;
use faam_gateway::images::ImageError;
use faam_gateway::slot_image::{ImageEntry, ImageSource, SlotDevice, SlotImage};
use faam_hwif::{Serves, SlotPayload};
use faam_image::{Description, Ingredients, SigningKey, build};
use serde_json::Value;

use crate::faam::{KEY, Place, run, wait_until};

const ADMIN_KEY: &str = "faam_an-operators-key-for-these-tests-only";
/// How long who requires a kernel waits for it where nobody loads it; one that is there takes a job in a hundredth of that.
const HW_WAIT: Duration = Duration::from_secs(2);
/// What the simulated card says of itself.
const IDCODE: u32 = 0x4111_3043;
const SHELL: u32 = 0x0001_0000;

/// Images as a store hands them out that has verified them.
#[derive(Debug)]
pub(crate) struct Images(Vec<SlotImage>);

impl Images {
    fn all() -> Arc<dyn ImageSource> {
        Self::of(&[
            ("deflate-fast", Serves::FAST),
            ("deflate-tables", Serves::TABLES),
            ("inflate", Serves::INFLATE),
        ])
    }

    pub(crate) fn of(images: &[(&str, Serves)]) -> Arc<dyn ImageSource> {
        let image = |&(name, serves): &(&str, Serves)| {
            let kernel_uuid = *faam_image::kernel_uuid(name).as_bytes();
            SlotImage {
                name: name.to_owned(),
                kernel_uuid,
                serves,
                payload: payload(serves, kernel_uuid).into(),
                golden: None,
            }
        };
        Arc::new(Self(images.iter().map(image).collect()))
    }
}

impl ImageSource for Images {
    fn list(&self, _: &SlotDevice) -> Vec<ImageEntry> {
        let entry = |image: &SlotImage| ImageEntry {
            name: image.name.clone(),
            kernel_uuid: image.kernel_uuid,
            serves: image.serves,
        };
        self.0.iter().map(entry).collect()
    }

    fn name_of(&self, _: &str) -> Option<String> {
        None
    }

    fn verified(&self, name: &str, device: &SlotDevice) -> Result<SlotImage, ImageError> {
        assert_eq!((device.idcode, device.shell), (IDCODE, SHELL));
        assert!(device.simulated);
        let found = self.0.iter().find(|image| image.name == name);
        found.cloned().ok_or_else(|| ImageError::Unnamed {
            name: name.to_owned(),
        })
    }
}

fn payload(serves: Serves, kernel_uuid: [u8; 16]) -> Vec<u8> {
    let bitstream = vec![0x5A; 300_000];
    let mut head = SlotPayload {
        serves,
        idcode: IDCODE,
        shell: SHELL,
        bitstream_bytes: 300_000,
        kernel_uuid,
        crc32: 0,
    };
    let mut sum = crc32fast::Hasher::new();
    sum.update(&head.head()[..SlotPayload::CHECKED_BYTES]);
    sum.update(&bitstream);
    head.crc32 = sum.finalize();
    [&head.head()[..], &bitstream].concat()
}

/// A gateway with one simulated card in service, whose slots hold nothing.
fn place(policy: bool, hw_wait: Duration) -> Place {
    place_with(policy, hw_wait, |config| {
        config.dispatch.images = Some(Images::all());
    })
}

pub(crate) fn place_with(
    policy: bool,
    hw_wait: Duration,
    change: impl FnOnce(&mut GatewayConfig),
) -> Place {
    let place = Place::with(|config| {
        change(config);
        config.admin_key = Some(ADMIN_KEY.to_owned());
        config.dispatch.hw_wait = hw_wait;
        config.dispatch.sim_program = env!("CARGO_BIN_EXE_faam").into();
        config.dispatch.slots.policy = policy;
        config.dispatch.cards = vec![CardSource::OwnSimulated {
            model: faam_sim::Model::Functional,
            engines: 1,
            pace_mhz: None,
            slots: SimulatedSlots::Empty,
            faults: SimulatedFaults {
                allowed: true,
                ..SimulatedFaults::default()
            },
        }];
    });
    wait_until("both functions are in service", || {
        let devices = show(&place, "fpga0");
        let up = |device: &Value| device["state"] == "in-service";
        (devices.len() == 2 && devices.iter().all(up)).then_some(())
    });
    place
}

pub(crate) fn faam(place: &Place, words: &[&str]) -> Value {
    let mut command = place.faam(words);
    command.env("FAAM_DATA_DIR", place.data.path());
    let ended = run(command, b"").check(0, &[]);
    serde_json::from_slice(&ended.stdout).expect("JSON")
}

fn show(place: &Place, name: &str) -> Vec<Value> {
    let answer = faam(place, &["device", "show", name, "--json"]);
    answer["devices"].as_array().expect("devices").clone()
}

/// A slot of a function, as `faam device show` has it.
pub(crate) fn slot(place: &Place, name: &str, slot: usize) -> Value {
    show(place, name)[0]["slots"][slot].clone()
}

/// What an operator asks of slots: status and answer.
pub(crate) fn ask(place: &Place, what: &str) -> (u16, Value) {
    let url = format!(
        "http://{}/admin/v1/devices/{what}",
        place.gateway.admin_address()
    );
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let answer = agent
        .post(&url)
        .header("Authorization", format!("Bearer {ADMIN_KEY}"))
        .send_empty()
        .expect("an answer");
    let status = answer.status().as_u16();
    let bytes = answer.into_body().read_to_vec().expect("whole");
    (status, serde_json::from_slice(&bytes).expect("JSON"))
}

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) backend: String,
    pub(crate) timing: String,
    pub(crate) took: Duration,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A phase of `Server-Timing`, milliseconds.
    pub(crate) fn phase(&self, name: &str) -> Option<f64> {
        let mut phases = self.timing.split(", ");
        let told = phases.find_map(|phase| phase.strip_prefix(name)?.strip_prefix(";dur="));
        told.map(|ms| ms.parse().expect("a number"))
    }
}

pub(crate) fn compress(place: &Place, level: u8, policy: &str, deadline_ms: Option<u32>) -> Answer {
    let bearer = format!("Bearer {KEY}");
    compress_for(&bearer, place, level, policy, deadline_ms)
}

/// The same for whoever has this key.
pub(crate) fn compress_for(
    bearer: &str,
    place: &Place,
    level: u8,
    policy: &str,
    deadline_ms: Option<u32>,
) -> Answer {
    let input: Vec<u8> = b"a kernel that is there, and one that is not. "
        .iter()
        .copied()
        .cycle()
        .take(40_000)
        .collect();
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let mut request = agent
        .post(format!("{}/v1/compress?level={level}", place.url()))
        .header("Authorization", bearer)
        .header("Faam-Backend", policy);
    if let Some(ms) = deadline_ms {
        request = request.header("Faam-Deadline-Ms", ms.to_string());
    }
    let began = Instant::now();
    let answer = request.send(&input[..]).expect("an answer");
    let header = |name| {
        let value = answer.headers().get(name).map(|value| value.to_str());
        value.and_then(Result::ok).unwrap_or_default().to_owned()
    };
    let (status, backend, timing) = (
        answer.status().as_u16(),
        header("faam-backend"),
        header("server-timing"),
    );
    let body = answer.into_body().read_to_vec().expect("whole");
    let took = began.elapsed();
    if status == 200 {
        let mut back = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&body[..]), &mut back)
            .expect("gzip");
        assert!(back == input, "another input came back");
    }
    Answer {
        status,
        backend,
        timing,
        took,
        body,
    }
}

#[test]
fn a_kernel_that_an_operator_loads_serves_until_it_is_evicted() {
    let place = place(false, HW_WAIT);
    // Nobody loads it: who requires it waits as long as was said, everybody else has the CPU at once.
    let none = compress(&place, 1, "require-hw", None);
    let told = String::from_utf8_lossy(&none.body).into_owned();
    assert_eq!(none.status, 503, "{told}");
    assert!(told.contains("faam image load"), "{told}");
    assert_eq!(compress(&place, 1, "require-hw", Some(100)).status, 504);
    for policy in ["auto", "prefer-hw"] {
        let served = compress(&place, 1, policy, None);
        assert_eq!((served.status, served.backend.as_str()), (200, "cpu"));
        assert_eq!(served.phase("load"), None, "{}", served.timing);
    }

    let (status, done) = ask(&place, "fpga0.0/slots/load?image=deflate-fast");
    assert_eq!(status, 200, "{done}");
    println!("loaded by hand (modelled): {}", done["devices"][0]);
    let there = slot(&place, "fpga0.0", 0);
    assert_eq!(there["state"], "active", "{there}");
    assert_eq!(there["image"], "deflate-fast", "{there}");
    assert_eq!(there["serves"], serde_json::json!(["fast"]), "{there}");
    for _ in 0..4 {
        let served = compress(&place, 1, "require-hw", None);
        assert_eq!(
            (served.status, served.backend.as_str()),
            (200, "fpga0.0;simulated")
        );
    }
    // Its kernel, and no other.
    assert_eq!(compress(&place, 6, "prefer-hw", None).backend, "cpu");

    let (status, done) = ask(&place, "fpga0.0/slots/evict?slot=0");
    assert_eq!(status, 200, "{done}");
    assert_eq!(slot(&place, "fpga0.0", 0)["state"], "empty");
    assert_eq!(compress(&place, 1, "prefer-hw", None).backend, "cpu");
    for (what, word) in [
        ("fpga0.0/slots/load?image=no-such", "no-such"),
        ("fpga0.0/slots/load?image=inflate&slot=7", "slots 0 to 1"),
        ("fpga0.0/slots/evict", "slot=NUMBER"),
        ("fpga9/slots/evict?slot=0", "fpga9"),
    ] {
        let (status, problem) = ask(&place, what);
        assert!((400..500).contains(&status), "{what}: {status}");
        assert!(problem["detail"].to_string().contains(word), "{problem}");
    }
}

#[test]
fn kernels_come_by_demand_and_nobody_waits_for_one_whom_the_cpu_serves() {
    let place = place(true, Duration::from_secs(30));
    let cold = compress(&place, 1, "require-hw", None);
    assert_eq!(cold.status, 200, "{cold:?}");
    assert!(cold.backend.starts_with("fpga0."), "{cold:?}");
    let load = cold.phase("load").expect("it waited for a load");
    assert!(load > 0.0, "{}", cold.timing);
    let mut warm: Vec<_> = (0..9)
        .map(|_| {
            let warm = compress(&place, 1, "require-hw", None);
            assert_eq!((warm.status, warm.phase("load")), (200, None));
            warm.took
        })
        .collect();
    warm.sort_unstable();

    // Served by the CPU meanwhile, until enough has come for it to pay, or to be expected again.
    let mut by_cpu = 0;
    wait_until("the other kernel is loaded", || {
        let served = compress(&place, 6, "prefer-hw", None);
        assert_eq!((served.status, served.phase("load")), (200, None));
        by_cpu += u32::from(served.backend == "cpu");
        (served.backend != "cpu").then_some(())
    });
    assert!(by_cpu > 0);
    let prewarmed = compress(&place, 6, "require-hw", None);
    assert_eq!((prewarmed.status, prewarmed.phase("load")), (200, None));
    println!(
        "first request of a kernel, {} KB (simulated card, modelled reconfiguration): cold {:.1} ms, of which load {load:.1} ms; \
         warm, median of 9, {:.1} ms; pre-warmed {:.1} ms ({by_cpu} requests were the CPU's before)",
        40,
        cold.took.as_secs_f64() * 1e3,
        warm[4].as_secs_f64() * 1e3,
        prewarmed.took.as_secs_f64() * 1e3,
    );
    let events = faam(&place, &["events", "--json", "--kind", "slot.loaded"]);
    assert!(events.to_string().contains("deflate-fast"), "{events}");
}

/// Loads with this fault while callers require the kernel in the other slot: each of them is served. How many were meanwhile.
fn others_serve(fault: &str, says: &str) -> usize {
    let place = place(false, Duration::from_secs(10));
    let (status, done) = ask(&place, "fpga0.0/slots/load?image=deflate-fast&slot=0");
    assert_eq!(status, 200, "{done}");
    let mut command = place.faam(&["device", "fault", "fpga0.0", &format!("{fault},times=1")]);
    command.env("FAAM_DATA_DIR", place.data.path());
    run(command, b"").check(0, &[]);
    let (ended, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (status, problem, meanwhile) = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    // One more once the load has ended: however short that was, each caller is served beside it or behind it.
                    let is_last = ended.load(Ordering::Relaxed);
                    let answer = compress(&place, 1, "require-hw", None);
                    assert_eq!(answer.status, 200, "{answer:?}");
                    assert_eq!(answer.backend, "fpga0.0;simulated");
                    served.fetch_add(1, Ordering::Relaxed);
                    if is_last {
                        return;
                    }
                }
            });
        }
        wait_until("callers are served", || {
            (served.load(Ordering::Relaxed) > 0).then_some(())
        });
        let before = served.load(Ordering::Relaxed);
        let (status, problem) = ask(&place, "fpga0.0/slots/load?image=inflate&slot=1");
        let meanwhile = served.load(Ordering::Relaxed) - before;
        ended.store(true, Ordering::Relaxed);
        (status, problem, meanwhile)
    });
    println!(
        "{fault}: {meanwhile} requests were served meanwhile, 0 lost, 0 wrong: {}",
        problem["detail"]
    );
    assert!((400..500).contains(&status), "{status} {problem}");
    assert!(problem["detail"].to_string().contains(says), "{problem}");
    let device = show(&place, "fpga0.0")[0].clone();
    assert_eq!(device["state"], "in-service", "{device}");
    assert_eq!(device["faults"], 0, "{device}");
    assert_ne!(device["slots"][1]["state"], "active", "{device}");
    let (status, done) = ask(&place, "fpga0.0/slots/load?image=inflate&slot=1");
    assert_eq!(status, 200, "{done}");
    meanwhile
}

#[test]
fn a_load_that_hangs_leaves_the_other_slot_serving() {
    let meanwhile = others_serve("load-hangs", "was not programmed within");
    // It takes until its limit, hundreds of times what a request takes.
    assert!(meanwhile > 0);
}

#[test]
fn a_kernel_that_computes_wrong_leaves_the_other_slot_serving() {
    others_serve("load-garbage", "self-test");
}

#[test]
fn a_signed_image_goes_from_the_store_into_a_slot_and_not_once_it_was_tampered_with() {
    let key = SigningKey::from_seed([7; 32]).expect("a key");
    let trusted = vec![key.public()];
    let place = place_with(false, Duration::from_secs(10), |config| {
        config.images.trusted = trusted;
    });
    let manifests = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../bitstreams/images");
    let mut ids = Vec::new();
    for name in ["deflate-fast", "inflate"] {
        let text = std::fs::read_to_string(manifests.join(name).with_extension("toml"));
        let description = Description::from_toml(&text.expect("ours")).expect("ours");
        let package = build(&description, &Ingredients::default(), &key).expect("builds");
        let file = format!("{name}.fgi");
        place.write(&file, package);
        let added = faam(&place, &["image", "add", &file, "--json"]);
        ids.push(added["image"].as_str().expect("an id").to_owned());
    }
    let load = ["image", "load", "deflate-fast", "--device", "fpga0.1"];
    let mut command = place.faam(&load);
    command.env("FAAM_DATA_DIR", place.data.path());
    let said = String::from_utf8(run(command, b"").check(0, &[]).stdout).expect("UTF-8");
    println!("{said}");
    assert!(
        said.contains("fpga0.1 slot 0: deflate-fast serves fast"),
        "{said}"
    );
    assert!(said.contains("modelled"), "{said}");
    let served = compress(&place, 2, "require-hw", None);
    assert_eq!(
        (served.status, served.backend.as_str()),
        (200, "fpga0.1;simulated")
    );

    // Between its arrival and its load somebody changes a byte of the other one.
    let before = slot(&place, "fpga0.1", 1);
    let stored = stored(place.data.path(), &ids[1]);
    let mut bytes = std::fs::read(&stored).expect("kept");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&stored, bytes).expect("written");
    let mut command = place.faam(&["image", "load", "inflate", "--device", "fpga0.1"]);
    command.env("FAAM_DATA_DIR", place.data.path());
    let refused = run(command, b"").check(1, &[]);
    println!("{}", refused.stderr);
    let (_, problem) = ask(&place, "fpga0.1/slots/load?image=inflate");
    assert!(problem["reason"].is_string(), "{problem}");
    assert_eq!(slot(&place, "fpga0.1", 1), before, "nothing was programmed");
    assert_eq!(compress(&place, 2, "require-hw", None).status, 200);

    let evict = [
        "image", "evict", "--device", "fpga0.1", "--slot", "0", "--json",
    ];
    let done = faam(&place, &evict);
    assert_eq!(done["devices"][0]["slot"]["state"], "empty", "{done}");
}

#[test]
fn what_was_done_at_one_function_is_told_where_the_next_one_fails() {
    let place = place(false, Duration::from_secs(10));
    let mut command = place.faam(&["device", "fault", "fpga0.1", "load-garbage,times=1"]);
    command.env("FAAM_DATA_DIR", place.data.path());
    run(command, b"").check(0, &[]);
    let (status, problem) = ask(&place, "fpga0/slots/load?image=deflate-fast&slot=1");
    assert!((400..500).contains(&status), "{status} {problem}");
    assert_eq!(problem["failed"], "fpga0.1", "{problem}");
    assert_eq!(problem["done"].as_array().map(Vec::len), Some(1));
    assert_eq!(problem["done"][0]["name"], "fpga0.0", "{problem}");
    assert_eq!(problem["done"][0]["slot"]["state"], "active", "{problem}");
    assert_eq!(slot(&place, "fpga0.0", 1)["state"], "active");
    assert_eq!(slot(&place, "fpga0.1", 1)["state"], "empty");
}

#[test]
fn an_image_whose_golden_output_is_not_what_its_kernel_makes_never_serves() {
    let key = SigningKey::from_seed([7; 32]).expect("a key");
    let trusted = vec![key.public()];
    let place = place_with(false, Duration::from_secs(10), |config| {
        config.images.trusted = trusted;
    });
    let manifests = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../bitstreams/images");
    let add = |name: &str, change: &dyn Fn(&mut Description)| {
        let text = std::fs::read_to_string(manifests.join(name).with_extension("toml"));
        let mut description = Description::from_toml(&text.expect("ours")).expect("ours");
        change(&mut description);
        let package = build(&description, &Ingredients::default(), &key).expect("builds");
        let file = format!("{name}.fgi");
        place.write(&file, package);
        faam(&place, &["image", "add", &file, "--json"]);
    };
    add("deflate-fast", &|_| {});
    let (status, done) = ask(&place, "fpga0.0/slots/load?image=deflate-fast&slot=0");
    assert_eq!(status, 200, "{done}");
    // Right by signature and by device, and it says of its kernel what that does not do.
    for name in ["deflate-fast", "inflate"] {
        add(name, &|description| {
            description.security_version += 1;
            description.golden.output_sha256 = "5a".repeat(32);
        });
        let load = format!("fpga0.0/slots/load?image={name}&slot=1");
        let (status, problem) = ask(&place, &load);
        println!("{}", problem["detail"]);
        assert!((400..500).contains(&status), "{status} {problem}");
        let told = problem["detail"].to_string();
        for word in ["golden job", "manifest", "evicted before it served"] {
            assert!(told.contains(word), "{word}: {told}");
        }
        assert_eq!(slot(&place, "fpga0.0", 1)["state"], "empty");
        let served = compress(&place, 1, "require-hw", None);
        assert_eq!(
            (served.status, served.backend.as_str()),
            (200, "fpga0.0;simulated")
        );
    }
    assert_eq!(show(&place, "fpga0.0")[0]["faults"], 0);
    // What it ought to say is taken.
    add("inflate", &|description| description.security_version += 2);
    let (status, done) = ask(&place, "fpga0.0/slots/load?image=inflate&slot=1");
    assert_eq!(status, 200, "{done}");
}

/// The file of an image in a data directory.
fn stored(dir: &std::path::Path, id: &str) -> std::path::PathBuf {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("listed").flatten() {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.to_string_lossy().contains(id) {
                found.push(path);
            }
        }
    }
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}
