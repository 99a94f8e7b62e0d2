//! Calls through the seam of fronts against a gateway with the CPU engines: what they come to, how they are counted, and what
//! they hold.

use std::io::{Read, Write};
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue, Method, Uri};
use bytes::Bytes;
use faam_codec::Format;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::auth::Authenticator;
use crate::config::GatewayConfig;
use crate::credentials::Presented;
use crate::error::ProblemKind;
use crate::events::now;
use crate::fronts::front_name::FrontName;
use crate::gateway::Gateway;
use crate::http::app::Surface;
use crate::http::listener::Peer;

const KEY: &str = "faam_a-key-for-these-tests-only";
/// How long a condition may take to come true: a failure, not a measure.
const SOON: Duration = Duration::from_secs(20);
const GZIP: Function = Function::Compress(Format::Gzip);
const GUNZIP: Function = Function::Decompress(Some(Format::Gzip));

struct Bench {
    gateway: Gateway,
    surface: Surface,
    principal: Arc<Principal>,
    runtime: tokio::runtime::Runtime,
    _data: TempDir,
}

impl Bench {
    fn new(change: impl FnOnce(&mut GatewayConfig)) -> Self {
        let data = TempDir::with_prefix("faam-invoke-").expect("a temporary directory");
        let mut config = GatewayConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            admin_listen: ([127, 0, 0, 1], 0).into(),
            data_dir: data.path().to_owned(),
            bootstrap_key: Some(KEY.to_owned()),
            ..GatewayConfig::default()
        };
        config.dispatch.cards = Vec::new();
        config.dispatch.hw_wait = Duration::from_millis(1);
        change(&mut config);
        let gateway = Gateway::start(config).expect("a gateway");
        let surface = gateway.surface();
        let mut headers = HeaderMap::new();
        let key = HeaderValue::from_str(&format!("Bearer {KEY}")).expect("ASCII");
        headers.insert(AUTHORIZATION, key);
        let presented = Presented {
            method: &Method::POST,
            uri: &Uri::from_static("/"),
            headers: &headers,
            now: now(),
            body_sha256: None,
            takes_chunks: false,
        };
        let caller = surface.app().directory.authenticate(&presented);
        let principal = caller.expect("the demo tenant").principal;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        Self {
            gateway,
            surface,
            principal,
            runtime,
            _data: data,
        }
    }

    fn call(&self, call: Call) -> Result<Answer, Problem> {
        self.runtime.block_on(self.begin(invocation(), call))
    }

    async fn begin(&self, invocation: Invocation, call: Call) -> Result<Answer, Problem> {
        let principal = Arc::clone(&self.principal);
        self.surface.app().invoke(invocation, principal, call).await
    }

    #[track_caller]
    fn refused(&self, call: Call, kind: ProblemKind) -> Problem {
        let problem = self.call(call).expect_err("refused");
        assert_eq!(problem.kind(), kind, "{}", problem.detail());
        assert!(
            !problem.detail().contains("HTTP/1.0"),
            "{}",
            problem.detail()
        );
        self.check_at_rest();
        problem
    }

    /// How often requests of a kernel have ended so.
    fn ended(&self, kernel: &str, outcome: &str) -> u64 {
        let metrics = self.surface.app().metrics.render();
        let of_kernel = format!(r#"kernel="{kernel}""#);
        let outcome = format!(r#"outcome="{outcome}"}}"#);
        let counts = metrics.lines().filter(|line| {
            line.starts_with("faam_requests_total{")
                && line.contains(&of_kernel)
                && line.contains(&outcome)
        });
        let value = |line: &str| line.rsplit(' ').next()?.parse::<u64>().ok();
        counts.filter_map(value).sum()
    }

    #[track_caller]
    fn check_at_rest(&self) {
        let admission = self.gateway.admission();
        self.wait_for_in_flight(0);
        assert_eq!(admission.memory_bytes(), 0, "memory");
        assert_eq!(admission.spill_bytes(), 0, "disk");
    }

    /// Waits until no more permits are out: a job's may come back after its answer.
    #[track_caller]
    fn wait_for_in_flight(&self, count: usize) {
        let in_flight = || self.gateway.admission().in_flight();
        let until = Instant::now() + SOON;
        while in_flight() > count {
            assert!(
                Instant::now() < until,
                "{} in flight, not {count}",
                in_flight()
            );
            std::thread::yield_now();
        }
    }
}

fn invocation() -> Invocation {
    Invocation {
        id: Uuid::now_v7(),
        began: Instant::now(),
        peer: Peer(None),
        front: Some(FrontName::Lambda),
        trace: None,
    }
}

fn call(function: Function, input: impl Into<Bytes>) -> Call {
    Call {
        function,
        options: CallOptions::default(),
        input: input.into(),
        output_bytes_max: 6 << 20,
        held_bytes: 0,
        base64_copies: 0,
    }
}

fn with(options: CallOptions) -> Call {
    Call {
        options,
        ..call(GZIP, b"hello hello hello".as_slice())
    }
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut noise: Vec<u8> = (0..bytes.div_ceil(8)).flat_map(|_| next()).collect();
    noise.truncate(bytes);
    noise
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("into memory");
    encoder.finish().expect("into memory")
}

fn gunzipped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    MultiGzDecoder::new(bytes)
        .read_to_end(&mut out)
        .expect("gzip");
    out
}

#[test]
fn answers_are_kept_in_memory_and_charged_until_they_have_left() {
    let bench = Bench::new(|_| {});
    // A short body, one of several blocks whose answer is short, and answers far beyond the window, both ways.
    for input in [noise(1000), vec![7; 3 << 20], noise(5 << 20)] {
        let answer = bench.call(Call {
            held_bytes: 1 << 20,
            base64_copies: 2,
            ..call(GZIP, input.clone())
        });
        let answer = answer.expect("served");
        assert_eq!(gunzipped(&answer.output), input);
        assert_eq!(answer.bytes_in, input.len() as u64);
        assert_eq!(
            (answer.backend(), answer.verify(), answer.media_type()),
            ("cpu", "ok", "application/gzip")
        );
        let held = bench.gateway.admission().memory_bytes();
        let left = answer.output.len() + 2 * answer.output.len().div_ceil(3) * 4;
        assert!(
            held >= left + (1 << 20),
            "{held} bytes charged for {}",
            answer.output.len()
        );
        assert!(
            held <= left + (2 << 20),
            "{held} bytes charged for {}",
            answer.output.len()
        );
        assert_eq!(bench.gateway.admission().spill_bytes(), 0);
        let body = answer.body_of(answer.output.clone());
        drop(answer);
        assert_eq!(bench.gateway.admission().in_flight(), 1, "it has not left");
        drop(body);
        bench.check_at_rest();
        let back = bench.call(call(GUNZIP, gzipped(&input))).expect("served");
        assert!(back.output == input);
        drop(back);
        bench.check_at_rest();
    }
    assert_eq!(
        (
            bench.ended("compress", "ok"),
            bench.ended("decompress", "ok")
        ),
        (3, 3)
    );
}

#[test]
fn whoever_has_an_answer_is_not_in_its_own_way() {
    let bench = Bench::new(|config| config.tenant_limits.in_flight_max = 1);
    let ask = || bench.call(call(GZIP, b"hello".as_slice()));
    // What an answer holds may come back later than its caller does.
    let first = ask().expect("served");
    let second = ask().expect("its place is free: its last answer is leaving");
    // As many leave beside those in flight as may be in flight, and no more.
    let third = ask().expect_err("refused");
    assert_eq!(third.kind(), ProblemKind::TooManyInFlight);
    drop(first);
    bench.wait_for_in_flight(1);
    let third = ask().expect("served");
    drop((second, third));
    bench.check_at_rest();
    // A refusal leaves as well.
    bench.refused(call(GUNZIP, b"".as_slice()), ProblemKind::CorruptInput);
    assert!(ask().is_ok());
}

#[test]
fn what_its_caller_got_wrong_is_refused_as_over_http_and_counted_once() {
    let bench = Bench::new(|_| {});
    let some = |text: &str| Some(text.into());
    for options in [
        CallOptions {
            level: some("13"),
            ..CallOptions::default()
        },
        CallOptions {
            level: some("six"),
            ..CallOptions::default()
        },
        CallOptions {
            level: Some("9".repeat(100_000).into()),
            ..CallOptions::default()
        },
        CallOptions {
            level: some("6&as=content-encoding"),
            ..CallOptions::default()
        },
        CallOptions {
            level: some("\u{1F600}"),
            ..CallOptions::default()
        },
        CallOptions {
            backend: some("gpu"),
            ..CallOptions::default()
        },
        CallOptions {
            backend: some("cpu\r\nHost: x"),
            ..CallOptions::default()
        },
        CallOptions {
            backend: some("c\u{e4}"),
            ..CallOptions::default()
        },
        CallOptions {
            deadline_ms: some("0"),
            ..CallOptions::default()
        },
        CallOptions {
            deadline_ms: some("1e3"),
            ..CallOptions::default()
        },
        CallOptions {
            priority: some("8"),
            ..CallOptions::default()
        },
    ] {
        let problem = bench.refused(with(options), ProblemKind::InvalidOption);
        assert!(
            problem.detail().chars().count() < 1000,
            "{}",
            problem.detail()
        );
    }
    let unwound = Call {
        options: CallOptions {
            level: some("6"),
            ..CallOptions::default()
        },
        ..call(GUNZIP, gzipped(b"hello"))
    };
    bench.refused(unwound, ProblemKind::InvalidOption);
    let mut torn = gzipped(&noise(100_000));
    torn.truncate(50_000);
    bench.refused(call(GUNZIP, torn.clone()), ProblemKind::CorruptInput);
    torn.truncate(5);
    bench.refused(call(GUNZIP, torn), ProblemKind::CorruptInput);
    bench.refused(call(GUNZIP, b"".as_slice()), ProblemKind::CorruptInput);
    bench.refused(
        call(Function::Decompress(None), b"no format".as_slice()),
        ProblemKind::UnknownFormat,
    );
    assert_eq!(bench.ended("decompress", "corrupt-input"), 3);
    assert_eq!(bench.ended("decompress", "unknown-format"), 1);
    bench.refused(
        with(CallOptions {
            backend: some("require-hw"),
            ..CallOptions::default()
        }),
        ProblemKind::NoEngine,
    );
    assert_eq!(bench.ended("compress", "no-engine"), 1);
    assert_eq!(bench.ended("compress", "internal"), 0);
}

#[test]
fn more_than_a_front_carries_is_too_large_whichever_way_it_takes() {
    let bench = Bench::new(|_| {});
    let at_most = |output_bytes_max: usize, function, input: Vec<u8>| Call {
        output_bytes_max,
        ..call(function, input)
    };
    // One block; several; decoded; decoded beyond the window.
    bench.refused(at_most(999, GZIP, noise(1000)), ProblemKind::TooLarge);
    bench.refused(
        at_most(1 << 20, GZIP, noise(1 << 20)),
        ProblemKind::TooLarge,
    );
    bench.refused(
        at_most(9_999, GUNZIP, gzipped(&[7; 10_000])),
        ProblemKind::TooLarge,
    );
    bench.refused(
        at_most(1 << 20, GUNZIP, gzipped(&vec![7; 8 << 20])),
        ProblemKind::TooLarge,
    );
    assert_eq!(bench.ended("compress", "too-large"), 2);
    assert_eq!(bench.ended("decompress", "too-large"), 2);
    for kernel in ["compress", "decompress"] {
        assert_eq!(
            bench.ended(kernel, "ok") + bench.ended(kernel, "cancelled"),
            0
        );
    }
    let just = bench.call(at_most(10_000, GUNZIP, gzipped(&[7; 10_000])));
    assert_eq!(just.expect("what it carries").output.len(), 10_000);
}

#[test]
fn a_bomb_is_stopped_and_so_is_an_answer_without_memory() {
    let bench = Bench::new(|config| {
        config.tenant_limits.output_bytes_max = 4 << 20;
        config.admission.body_memory_bytes_max = 8 << 20;
    });
    let bomb = gzipped(&vec![0; 64 << 20]);
    let front = Call {
        output_bytes_max: usize::MAX,
        ..call(GUNZIP, bomb)
    };
    let problem = bench.call(front).expect_err("stopped");
    assert!(
        matches!(
            problem.kind(),
            ProblemKind::TooLarge | ProblemKind::RatioExceeded
        ),
        "{}",
        problem.detail()
    );
    bench.check_at_rest();
    // Room to begin, none for all of the answer.
    let answer = Call {
        output_bytes_max: usize::MAX,
        ..call(GZIP, noise(12 << 20))
    };
    let problem = bench.refused(answer, ProblemKind::Saturated);
    assert!(problem.retry_after().is_some());
    let front = Call {
        held_bytes: 9 << 20,
        ..call(GZIP, noise(1000))
    };
    bench.refused(front, ProblemKind::Saturated);
    // Room for all of the answer, none for what the front makes of it; and no result is charged as one that was had.
    let front = Call {
        base64_copies: 3,
        ..call(GUNZIP, gzipped(&vec![7; 3 << 20]))
    };
    bench.refused(front, ProblemKind::Saturated);
    assert_eq!(bench.ended("decompress", "ok"), 0);
    let plain = bench.call(call(GUNZIP, gzipped(&vec![7; 3 << 20])));
    assert_eq!(plain.expect("room without it").output.len(), 3 << 20);
    bench.check_at_rest();
}

#[test]
fn a_deadline_that_passes_is_told_with_where_the_time_went() {
    let bench = Bench::new(|_| {});
    let late = Call {
        function: Function::Compress(Format::Zstd),
        options: CallOptions {
            level: Some("12".into()),
            deadline_ms: Some("1".into()),
            ..CallOptions::default()
        },
        output_bytes_max: usize::MAX,
        ..call(GZIP, noise(4 << 20))
    };
    let problem = bench.refused(late, ProblemKind::Deadline);
    assert!(
        problem.detail().contains("deadline"),
        "{}",
        problem.detail()
    );
    assert_eq!(bench.ended("compress", "deadline"), 1);
}

#[test]
fn who_hangs_up_is_cancelled_once_and_explained_with_its_front() {
    let bench = Bench::new(|_| {});
    for (function, input) in [(GZIP, noise(4 << 20)), (GUNZIP, gzipped(&noise(4 << 20)))] {
        let invocation = invocation();
        bench.runtime.block_on(async {
            let mut begun = pin!(bench.begin(invocation, call(function, input)));
            let mut cx = Context::from_waker(Waker::noop());
            assert!(begun.as_mut().poll(&mut cx).is_pending());
        });
        bench.check_at_rest();
        let invocations = &bench.surface.app().invocations;
        let explained = invocations.explain(invocation.id, Instant::now());
        let facts = explained.expect("it is known").facts;
        assert_eq!(
            (facts.problem, facts.front),
            (Some("cancelled"), Some("lambda"))
        );
    }
    for kernel in ["compress", "decompress"] {
        assert_eq!(
            (bench.ended(kernel, "cancelled"), bench.ended(kernel, "ok")),
            (1, 0)
        );
    }
}
