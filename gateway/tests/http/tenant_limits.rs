//! A tenant's limits on the wire: each met, named, and told when to come back; what is slowed down arrives whole.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use faam_gateway::admission::DayUse;
use faam_gateway::tenants::{AllowedBackends, AllowedKernels, DEMO_TENANT, TenantId, TenantLimits};

use crate::samples::{decode_one_member, noise, text};
use crate::server::{Server, check_problem};
use crate::wire::Answer;

fn server(limits: TenantLimits) -> Server {
    Server::start_with(|config| config.tenant_limits = limits)
}

/// A refusal for now: its limit by name and value, and when to come back, in the header as in the problem.
#[track_caller]
fn check_for_now(answer: &Answer, status: u16, name: &str, limit: &str, value: u64) -> u64 {
    let problem = check_problem(answer, status, name, &[]);
    assert_eq!(problem["limit"], limit, "{problem}");
    assert_eq!(problem["limit_value"], value, "{problem}");
    assert!(problem["came"].is_u64(), "{problem}");
    let seconds = answer.header("retry-after").expect("when to come back");
    let seconds: u64 = seconds.parse().expect("whole seconds");
    assert_eq!(problem["retry_after_s"], seconds);
    assert!((1..=86_400).contains(&seconds), "{seconds}");
    seconds
}

#[test]
fn requests_beyond_the_rate_are_told_when_to_come_back_and_what_is_left() {
    let server = server(TenantLimits {
        requests_per_s: Some(1),
        ..TenantLimits::default()
    });
    let until = Instant::now() + Duration::from_secs(20);
    // Two of them within one second: a slow machine may need several tries.
    let refused = loop {
        assert!(
            Instant::now() < until,
            "a rate of one a second refuses nothing"
        );
        let answer = server.post("/v1/compress", &[], b"hello");
        if answer.status == 200 {
            let policy = answer.header("ratelimit-policy").expect("a policy");
            assert!(policy.contains("\"requests_per_s\";q=1;w=1"), "{policy}");
            let left = answer.header("ratelimit").expect("what is left");
            assert!(left.contains("\"requests_per_s\";r=0;t=1"), "{left}");
            continue;
        }
        break answer;
    };
    let seconds = check_for_now(&refused, 429, "over-rate", "requests_per_s", 1);
    assert_eq!(seconds, 1, "a token a second");
    assert!(
        refused
            .header("ratelimit")
            .expect("a refusal says it")
            .contains("r=0;t=1")
    );
    server.check_at_rest();
}

#[test]
fn bytes_beyond_the_rate_are_refused_at_the_door_and_slowed_down_behind_it() {
    let rate = 64 << 10;
    let server = server(TenantLimits {
        bytes_per_s: Some(rate),
        ..TenantLimits::default()
    });
    // Three seconds' worth, of which one is there.
    let body = noise(usize::try_from(3 * rate).expect("small"));
    let began = Instant::now();
    let answer = server.post("/v1/compress", &[], &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(decode_one_member("gzip", &answer.body), body);
    // Never faster than the rate; how much slower is the machine's affair.
    assert!(
        began.elapsed() >= Duration::from_millis(1990),
        "{:?}",
        began.elapsed()
    );
    let left = answer.header("ratelimit").map(str::to_owned);
    assert!(left.is_none_or(|left| left.contains("\"bytes_per_s\";r=")));
    // All that it had is gone: 64 KiB come back in a second.
    let refused = server.post("/v1/compress", &[], &body);
    let seconds = check_for_now(&refused, 429, "over-rate", "bytes_per_s", rate);
    assert_eq!(seconds, 1);
    server.check_at_rest();
}

#[test]
fn a_body_of_unknown_length_is_slowed_down_and_comes_back_whole() {
    let rate: usize = 64 << 10;
    let server = server(TenantLimits {
        bytes_per_s: Some(64 << 10),
        ..TenantLimits::default()
    });
    let body = noise(2 * rate);
    let began = Instant::now();
    let mut wire = server.begin("/v1/compress", &[], &body[..1]);
    for piece in body[1..].chunks(10_000) {
        wire.chunk(piece).expect("taken");
    }
    wire.chunk(b"").expect("taken");
    let answer = wire.answer();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(decode_one_member("gzip", &answer.body), body);
    assert!(
        began.elapsed() >= Duration::from_millis(990),
        "{:?}",
        began.elapsed()
    );
    // The operator, and the caller, see where the time went.
    let timing = answer.header("server-timing").expect("timing");
    let admit = timing
        .split(", ")
        .find_map(|phase| phase.strip_prefix("admit;dur="));
    let admit: f64 = admit.and_then(|ms| ms.parse().ok()).expect("admit");
    assert!(admit >= 900.0, "{timing}");
    server.check_at_rest();
}

#[test]
fn a_body_that_would_take_hours_at_the_rate_is_not_begun() {
    let server = server(TenantLimits {
        bytes_per_s: Some(1000),
        ..TenantLimits::default()
    });
    let headers = [("Content-Length", "3601001")];
    let mut wire = crate::wire::Wire::connect(server.address());
    let key = format!("Bearer {}", crate::server::KEY);
    let mut all = vec![("Authorization", key.as_str())];
    all.extend_from_slice(&headers);
    wire.head("POST", "/v1/compress", &all);
    let answer = wire.answer();
    check_problem(&answer, 429, "over-rate", &["3601 s", "bytes_per_s"]);
    server.check_at_rest();
}

#[test]
fn a_days_bytes_are_counted_and_end_at_midnight() {
    let server = server(TenantLimits {
        bytes_per_day: Some(1000),
        ..TenantLimits::default()
    });
    let demo = TenantId::new(DEMO_TENANT);
    let day = || server.gateway.admission().day_use(&demo);
    assert_eq!(server.post("/v1/compress", &[], &[7; 600]).status, 200);
    server.wait_for_in_flight(0);
    assert_eq!(day().bytes, 600);
    // As much as is left fits, a byte more does not.
    let refused = server.post("/v1/compress", &[], &[7; 401]);
    let seconds = check_for_now(&refused, 429, "over-quota", "bytes_per_day", 1000);
    let problem = refused.json();
    assert_eq!(problem["came"], 401);
    // To the end of the day (UTC), which is close only for those who run this just before it.
    let since_1970 = std::time::UNIX_EPOCH
        .elapsed()
        .expect("after 1970")
        .as_secs();
    let left = 86_400 - since_1970 % 86_400;
    assert!(
        left.abs_diff(seconds) <= 60 || left < 60,
        "{seconds} of {left}"
    );
    let left = refused.header("ratelimit").expect("what is left");
    assert!(left.contains("\"bytes_per_day\";r=400;t="), "{left}");
    assert_eq!(server.post("/v1/compress", &[], &[7; 400]).status, 200);
    // Bytes that nobody announced count as well; the next request is refused, whatever it brings.
    let refused = server.post("/v1/compress", &[], b"x");
    check_for_now(&refused, 429, "over-quota", "bytes_per_day", 1000);
    assert_eq!(
        server.post("/v1/compress", &[], b"").status,
        200,
        "nothing costs nothing"
    );
    // A body that broke off is counted as far as it came.
    server.check_at_rest();
    assert_eq!(day().bytes, 1000);
}

#[test]
fn a_body_that_hangs_up_has_used_what_came_of_it() {
    let server = server(TenantLimits {
        bytes_per_day: Some(1 << 30),
        ..TenantLimits::default()
    });
    let mut wire = crate::wire::Wire::connect(server.address());
    let key = format!("Bearer {}", crate::server::KEY);
    wire.head(
        "POST",
        "/v1/compress",
        &[
            ("Authorization", key.as_str()),
            ("Content-Length", "1000000"),
        ],
    );
    wire.send(&[7; 1000]).expect("sent");
    server.wait_for_in_flight(1);
    let demo = TenantId::new(DEMO_TENANT);
    let day = || server.gateway.admission().day_use(&demo).bytes;
    assert_eq!(day(), 1_000_000, "as announced");
    drop(wire);
    server.wait_for_in_flight(0);
    assert!(day() <= 1000, "{}", day());
}

#[test]
fn a_days_reference_time_is_what_the_scheduler_charged_and_outlives_a_restart() {
    let server = server(TenantLimits {
        reference_us_per_day: Some(100),
        ..TenantLimits::default()
    });
    let demo = TenantId::new(DEMO_TENANT);
    let day = || server.gateway.admission().day_use(&demo);
    let body = text(1 << 20);
    assert_eq!(server.post("/v1/compress", &[], &body).status, 200);
    server.wait_for_in_flight(0);
    let used = day().reference;
    assert!(used > Duration::from_micros(100), "a megabyte in {used:?}?");
    let refused = server.post("/v1/compress", &[], b"x");
    check_for_now(&refused, 429, "over-quota", "reference_us_per_day", 100);
    // What was used before this process counted is added.
    let before = DayUse {
        day: day().day,
        bytes: 5,
        reference: Duration::from_secs(1),
    };
    server.gateway.admission().add_day_use(&demo, before);
    assert_eq!(day().reference, used + Duration::from_secs(1));
}

#[test]
fn memory_of_one_tenant_is_bounded_by_its_own_limit() {
    let server = server(TenantLimits {
        memory_bytes_max: Some(3 << 20),
        ..TenantLimits::default()
    });
    // Each of unknown length takes what any length needs.
    let mut held = Vec::new();
    let refused = loop {
        assert!(held.len() < 64, "3 MiB are not endless");
        let mut wire = server.begin("/v1/compress", &[], b"begun");
        let in_flight = held.len() + 1;
        let until = Instant::now() + Duration::from_secs(20);
        let taken = loop {
            if server.gateway.admission().in_flight() == in_flight {
                break true;
            }
            if wire.is_answered() {
                break false;
            }
            assert!(Instant::now() < until, "neither admitted nor refused");
        };
        if !taken {
            break wire.answer();
        }
        held.push(wire);
    };
    assert!(held.len() >= 2, "{}", held.len());
    check_for_now(
        &refused,
        429,
        "too-many-in-flight",
        "memory_bytes_max",
        3 << 20,
    );
    drop(held);
    server.check_at_rest();
    // What fits nobody, however alone, is not for this tenant.
    let beyond = server.post("/v1/compress?format=zstd&level=12", &[], b"hello");
    check_problem(&beyond, 403, "not-allowed", &["memory", "lower level"]);
    server.check_at_rest();
}

#[test]
fn bodies_and_outputs_have_the_tenants_limits() {
    let server = server(TenantLimits {
        body_bytes_max: Some(10_000),
        output_bytes_max: 300_000,
        ratio_max: 30,
        ..TenantLimits::default()
    });
    let refused = server.post("/v1/compress", &[], &noise(10_001));
    let problem = check_problem(&refused, 413, "too-large", &["10000", "10001"]);
    assert_eq!(problem["body_bytes_max"], 10_000);
    // Of unknown length: found out as it arrives.
    let mut wire = server.begin("/v1/compress", &[], &noise(10_001));
    check_problem(&wire.answer(), 413, "too-large", &["10000"]);
    assert_eq!(server.post("/v1/compress", &[], &noise(10_000)).status, 200);
    let member = |body: &[u8]| server.post("/v1/compress?level=1", &[], body).body;
    let half = noise(5_000);
    let honest = [half.clone(), half].concat();
    let answer = server.post("/v1/decompress", &[], &member(&honest));
    assert_eq!(answer.status, 200, "{}", answer.text());
    // Ten thousand zeros are as good as nothing, and 26 times that more than 30 to one.
    let zeros = member(&[0; 10_000]);
    assert!(zeros.len() < 100, "{}", zeros.len());
    let refused = server.post("/v1/decompress", &[], &zeros.repeat(26));
    check_problem(&refused, 413, "ratio-exceeded", &["30"]);
    server.check_at_rest();
}

#[test]
fn the_output_of_a_decompression_is_bounded() {
    let server = server(TenantLimits {
        output_bytes_max: 100_000,
        ..TenantLimits::default()
    });
    let member = server.post("/v1/compress", &[], &text(100_001)).body;
    let refused = server.post("/v1/decompress", &[], &member);
    let problem = check_problem(&refused, 413, "too-large", &["100000"]);
    assert_eq!(problem["output_bytes_max"], 100_000);
    let member = server.post("/v1/compress", &[], &text(100_000)).body;
    assert_eq!(server.post("/v1/decompress", &[], &member).status, 200);
    server.check_at_rest();
}

#[test]
fn kernels_that_are_not_allowed_are_refused() {
    let server = server(TenantLimits {
        kernels: AllowedKernels {
            compress: true,
            decompress: false,
        },
        ..TenantLimits::default()
    });
    let answer = server.post("/v1/compress", &[], b"hello");
    assert_eq!(answer.status, 200);
    let refused = server.post("/v1/decompress", &[], &answer.body);
    check_problem(&refused, 403, "not-allowed", &["decompress"]);
    server.check_at_rest();
}

#[test]
fn who_may_not_use_cards_is_served_by_the_cpu() {
    let server = server(TenantLimits {
        backends: AllowedBackends {
            cpu: true,
            cards: false,
        },
        ..TenantLimits::default()
    });
    let post = |backend| server.post("/v1/compress", &[("Faam-Backend", backend)], b"hello");
    for backend in ["auto", "cpu", "prefer-hw"] {
        let answer = post(backend);
        assert_eq!(answer.status, 200, "{backend}: {}", answer.text());
        assert_eq!(answer.header("faam-backend"), Some("cpu"));
        let reason = (backend == "prefer-hw").then_some("not-allowed");
        assert_eq!(answer.header("faam-backend-reason"), reason, "{backend}");
    }
    check_problem(&post("require-hw"), 403, "not-allowed", &["cards", "auto"]);
    server.check_at_rest();
}

#[test]
fn who_may_not_use_a_card_kernel_is_served_by_the_cpu() {
    let mut limits = TenantLimits::default();
    limits.card_kernels.deflate_tables = false;
    limits.card_kernels.inflate = false;
    let server = server(limits);
    let post = |target: &str, backend| server.post(target, &[("Faam-Backend", backend)], b"hello");
    for backend in ["auto", "cpu", "prefer-hw"] {
        let answer = post("/v1/compress?level=6", backend);
        assert_eq!(answer.status, 200, "{backend}: {}", answer.text());
        assert_eq!(answer.header("faam-backend"), Some("cpu"));
        let reason = (backend == "prefer-hw").then_some("not-allowed");
        assert_eq!(answer.header("faam-backend-reason"), reason, "{backend}");
    }
    let refused = post("/v1/compress?level=6", "require-hw");
    check_problem(
        &refused,
        403,
        "not-allowed",
        &["deflate-tables", "another level"],
    );
    let refused = post("/v1/decompress", "require-hw");
    check_problem(&refused, 403, "not-allowed", &["inflate"]);
    // Another kernel's level: it waits for a card, of which there is none here.
    let headers = [("Faam-Backend", "require-hw"), ("Faam-Deadline-Ms", "200")];
    let answer = server.post("/v1/compress?level=1", &headers, b"hello");
    assert!([503, 504].contains(&answer.status), "{}", answer.text());
    server.check_at_rest();
}

#[test]
fn who_may_use_cards_only_gets_no_cpu() {
    let server = server(TenantLimits {
        backends: AllowedBackends {
            cpu: false,
            cards: true,
        },
        ..TenantLimits::default()
    });
    let refused = server.post("/v1/compress", &[("Faam-Backend", "cpu")], b"hello");
    check_problem(&refused, 403, "not-allowed", &["cards only"]);
    for target in ["/v1/compress?format=zstd", "/v1/compress?level=11"] {
        check_problem(
            &server.post(target, &[], b"hello"),
            403,
            "not-allowed",
            &["no card"],
        );
    }
    // There is no card here: it waits for one, and never runs elsewhere.
    let headers = [("Faam-Deadline-Ms", "200")];
    let answer = server.post("/v1/compress", &headers, b"hello");
    assert!([503, 504].contains(&answer.status), "{}", answer.text());
    server.check_at_rest();
}

/// Sends a head alone, which asks whether to go on: the answer comes before a byte of the body.
fn refused_at_the_door(server: &Server, length: u64, deadline_ms: &str) -> Answer {
    let mut wire = crate::wire::Wire::connect(server.address());
    let key = format!("Bearer {}", crate::server::KEY);
    let length = length.to_string();
    wire.head(
        "POST",
        "/v1/compress?level=9",
        &[
            ("Authorization", key.as_str()),
            ("Content-Length", &length),
            ("Expect", "100-continue"),
            ("Faam-Deadline-Ms", deadline_ms),
        ],
    );
    wire.answer()
}

#[test]
fn a_deadline_that_the_work_alone_would_miss_is_refused_at_the_door_once_that_is_known() {
    let server = Server::start();
    // Nothing like it was measured: it is let in, and told to go on.
    let asked = refused_at_the_door(&server, 64 << 20, "1000");
    assert_eq!(asked.status, 100, "{}", asked.text());
    server.wait_for_in_flight(0);
    let learned = server.post("/v1/compress?level=9", &[], &text(2 << 20));
    assert_eq!(learned.status, 200);
    server.wait_for_in_flight(0);
    let answer = refused_at_the_door(&server, 64 << 20, "5");
    let problem = check_problem(&answer, 504, "deadline", &["predicted", "Faam-Deadline-Ms"]);
    let service_ms = problem["predicted_service_ms"]
        .as_f64()
        .expect("a prediction");
    assert!(service_ms > 5.0, "{problem}");
    assert!(
        problem["deadline_left_ms"]
            .as_f64()
            .is_some_and(|left| left <= 5.0)
    );
    assert_eq!(
        answer.header("retry-after"),
        None,
        "coming back would not help"
    );
    // One that can be met is.
    let headers = [("Faam-Deadline-Ms", "60000")];
    assert_eq!(
        server
            .post("/v1/compress?level=9", &headers, b"hello")
            .status,
        200
    );
    server.check_at_rest();
}

/// Ends a flood also where the test has failed: its callers would go on for ever.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A compression with a deadline; `None` where that passed when the answer had begun, which then broke off.
fn compress_within(server: &Server, deadline_ms: &str, body: &[u8]) -> Option<Answer> {
    let mut wire = crate::wire::Wire::connect(server.address());
    let key = format!("Bearer {}", crate::server::KEY);
    let length = body.len().to_string();
    wire.head(
        "POST",
        "/v1/compress?level=9",
        &[
            ("Authorization", key.as_str()),
            ("Content-Length", &length),
            ("Faam-Deadline-Ms", deadline_ms),
        ],
    );
    // A refusal may come, and the connection end, while the body is still being sent.
    let _ = wire.send(body);
    let mut answer = wire.try_answer(true).expect("a head");
    let length = answer.header("content-length").expect("a length");
    answer.body.resize(length.parse().expect("a number"), 0);
    match wire.read_exact(&mut answer.body) {
        Ok(()) => Some(answer),
        Err(error) => {
            assert_eq!(answer.status, 200, "a refusal that breaks off: {error}");
            None
        }
    }
}

#[test]
fn a_deadline_that_the_queue_would_miss_is_told_when_the_queue_is_shorter() {
    let server = Server::start_with(|config| config.dispatch.cpu_workers = 1);
    let (block, flood) = (text(128 << 10), text(4 << 20));
    let stop = AtomicBool::new(false);
    let refused = std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(server.post("/v1/compress?level=9", &[], &flood).status, 200);
                }
            });
        }
        let _stop = StopOnDrop(&stop);
        let until = Instant::now() + 2 * crate::server::SOON;
        // Longer than a block takes, and shorter than a hundred of them: how long that is, is the machine's affair.
        let mut deadlines_ms = ["150", "500", "1500", "5000"].iter().cycle();
        while Instant::now() < until {
            let deadline_ms = deadlines_ms.next()?;
            match compress_within(&server, deadline_ms, &block) {
                Some(answer) if answer.status == 503 => return Some(answer),
                Some(answer) => {
                    assert!([200, 504].contains(&answer.status), "{}", answer.text());
                }
                None => {}
            }
        }
        None
    });
    let answer = refused.expect("a queue of a hundred blocks is too long");
    let problem = check_problem(&answer, 503, "saturated", &["predicted", "in the queue"]);
    let ms = |name: &str| {
        problem[name]
            .as_f64()
            .unwrap_or_else(|| panic!("{name}: {problem}"))
    };
    assert!(ms("predicted_queue_ms") + ms("predicted_service_ms") > ms("deadline_left_ms"));
    assert!(ms("predicted_service_ms") <= ms("deadline_left_ms"));
    assert!(answer.header("retry-after").is_some());
    server.check_at_rest();
}

#[test]
fn a_deadline_that_the_tenants_rate_would_miss_is_refused_at_the_door() {
    let server = server(TenantLimits {
        bytes_per_s: Some(1 << 20),
        ..TenantLimits::default()
    });
    let answer = refused_at_the_door(&server, 4 << 20, "2000");
    let problem = check_problem(&answer, 504, "deadline", &["predicted"]);
    assert_eq!(problem["predicted_service_ms"], 3000.0);
    server.check_at_rest();
}

/// Asks the admin listener, as an operator.
fn operate(server: &Server, method: &str, body: &str) -> Answer {
    let key = format!("Bearer {}", server.gateway.admin_key().key);
    let target = format!("/admin/v1/tenants/{DEMO_TENANT}");
    let mut headers = vec![("Authorization", key.as_str())];
    if !body.is_empty() {
        headers.push(("Content-Type", "application/json"));
    }
    let length = body.len().to_string();
    if !body.is_empty() {
        headers.push(("Content-Length", &length));
    }
    let mut wire = crate::wire::Wire::connect(server.gateway.admin_address());
    wire.head(method, &target, &headers);
    wire.send(body.as_bytes()).expect("sent");
    wire.answer()
}

#[test]
fn a_changed_limit_acts_on_the_next_request_and_a_removed_tenant_is_forgotten() {
    let server = Server::start();
    let ok = || {
        let answer = server.post("/v1/compress", &[], b"hello");
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    (0..5).for_each(|_| ok());
    let changed = operate(&server, "PATCH", r#"{"limits":{"bytes_per_day":3}}"#);
    assert_eq!(changed.status, 200, "{}", changed.text());
    // What was used before it was limited counts.
    let refused = server.post("/v1/compress", &[], b"x");
    check_for_now(&refused, 429, "over-quota", "bytes_per_day", 3);
    assert!(
        refused.text().contains("25 were used"),
        "{}",
        refused.text()
    );
    let changed = operate(&server, "PATCH", r#"{"limits":{"bytes_per_day":null}}"#);
    assert_eq!(changed.status, 200, "{}", changed.text());
    ok();
    assert_eq!(server.gateway.admission().tenants(), 1);
    let removed = operate(&server, "DELETE", "");
    assert!([200, 204].contains(&removed.status), "{}", removed.text());
    assert_eq!(
        server.gateway.admission().tenants(),
        0,
        "nothing is kept of it"
    );
    check_problem(
        &server.post("/v1/compress", &[], b"x"),
        401,
        "no-credential",
        &[],
    );
    server.check_at_rest();
}

#[test]
fn a_queue_of_one_block_slows_a_tenant_down_and_loses_nothing() {
    let server = server(TenantLimits {
        queued_blocks_max: Some(1),
        ..TenantLimits::default()
    });
    let body = text(3 << 20);
    let answer = server.post("/v1/compress", &[], &body);
    assert_eq!(answer.status, 200);
    assert_eq!(decode_one_member("gzip", &answer.body), body);
    server.check_at_rest();
}

#[test]
fn a_tenants_disk_is_bounded_by_its_own_limit() {
    const SPILL_BYTES_MAX: usize = 1 << 20;
    let server = Server::start_with(|config| {
        config.tenant_limits.spill_bytes_max = Some(SPILL_BYTES_MAX);
        config.limits.spill_after = Duration::ZERO;
    });
    let body = noise(16 << 20);
    let (first, rest) = body.split_at(1 << 20);
    let wire = server.begin("/v1/compress?level=1", &[], first);
    let (mut reader, mut writer) = wire.split();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for piece in rest.chunks(1 << 20) {
                writer.chunk(piece).expect("taken");
            }
            writer.chunk(b"").expect("taken");
        });
        // It begins to read once no block more can be spilled, although the process has room.
        let until = Instant::now() + crate::server::SOON;
        loop {
            let spilled = server.gateway.admission().spill_bytes();
            assert!(spilled <= SPILL_BYTES_MAX, "{spilled}");
            if spilled + (256 << 10) > SPILL_BYTES_MAX {
                break;
            }
            assert!(Instant::now() < until, "{spilled} bytes were spilled");
            std::thread::yield_now();
        }
        let answer = reader.answer();
        assert!(decode_one_member("gzip", &answer.body) == body);
    });
    server.check_at_rest();
}
