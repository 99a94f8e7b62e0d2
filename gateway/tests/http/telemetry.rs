//! Trace context in and out, and spans at a collector of the test's own that decodes what comes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;

use crate::samples::text;
use crate::server::{SOON, Server, check_problem};
use crate::wire::request;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// Takes spans over OTLP/HTTP, and hands each message on as it was decoded.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    pub(crate) messages: Receiver<ExportTraceServiceRequest>,
}

impl Collector {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let (sender, messages) = channel();
        // Ends with the test's process; each connection is the gateway's alone.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let sender = sender.clone();
                std::thread::spawn(move || {
                    while let Some(message) = take(&stream) {
                        if sender.send(message).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, messages }
    }

    /// Waits for a server's span with this trace id.
    #[track_caller]
    fn span_of(&self, trace: &str) -> (Span, ExportTraceServiceRequest) {
        let until = Instant::now() + SOON;
        loop {
            let rest = until.saturating_duration_since(Instant::now());
            let message = self
                .messages
                .recv_timeout(rest)
                .expect("a span of the trace");
            let spans = message
                .resource_spans
                .iter()
                .flat_map(|spans| &spans.scope_spans);
            let found = spans
                .flat_map(|spans| &spans.spans)
                .find(|span| hex(&span.trace_id) == trace && span.kind() == SpanKind::Server);
            if let Some(span) = found.cloned() {
                return (span, message);
            }
        }
    }
}

/// One request of OTLP/HTTP in protobuf, answered; `None` at the connection's end.
fn take(stream: &TcpStream) -> Option<ExportTraceServiceRequest> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    assert!(line.starts_with("POST /v1/traces HTTP/1.1"), "{line:?}");
    let (mut length, mut is_protobuf) = (0, false);
    loop {
        line.clear();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().expect("a length"),
            "content-type" => is_protobuf = value == "application/x-protobuf",
            _ => {}
        }
    }
    assert!(is_protobuf, "OTLP in protobuf");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut writer = stream;
    writer
        .write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n",
        )
        .ok()?;
    Some(ExportTraceServiceRequest::decode(&body[..]).expect("what the protocol prescribes"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let attribute = span
        .attributes
        .iter()
        .find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

fn start(collector: &Collector) -> Server {
    Server::start_with(|config| {
        config.otlp_endpoint = Some(format!("http://{}", collector.address));
    })
}

#[test]
fn a_span_of_ours_is_the_callers_child_and_reaches_the_collector() {
    let collector = Collector::start();
    let server = start(&collector);
    let traceparent = format!("00-{TRACE}-{CALLER}-01");
    let answer = server.post(
        "/v1/compress?level=1",
        &[
            ("traceparent", &traceparent),
            ("tracestate", "vendor=1,other=2"),
        ],
        &text(100_000),
    );
    assert_eq!(answer.status, 200);
    let ours = answer.header("traceparent").expect("ours").to_owned();
    let parts: Vec<_> = ours.split('-').collect();
    assert_eq!((parts[0], parts[1], parts[3]), ("00", TRACE, "01"));
    assert_ne!(parts[2], CALLER);
    let (span, message) = collector.span_of(TRACE);
    assert_eq!(
        (hex(&span.span_id), hex(&span.parent_span_id)),
        (parts[2].to_owned(), CALLER.to_owned())
    );
    assert_eq!(span.trace_state, "vendor=1,other=2");
    assert_eq!(span.name, "POST /v1/compress");
    assert!(span.end_time_unix_nano > span.start_time_unix_nano);
    let id = answer.header("faam-invocation-id").map(str::to_owned);
    assert_eq!(attribute(&span, "faam.invocation_id"), id);
    assert_eq!(
        attribute(&span, "http.response.status_code").as_deref(),
        Some("200")
    );
    assert_eq!(attribute(&span, "faam.backend").as_deref(), Some("cpu"));
    assert_eq!(
        attribute(&span, "network.protocol.version").as_deref(),
        Some("1.1")
    );
    let resource = message.resource_spans[0]
        .resource
        .as_ref()
        .expect("a resource");
    assert!(
        resource
            .attributes
            .iter()
            .any(|attribute| attribute.key == "service.name")
    );
}

#[test]
fn a_method_of_a_callers_invention_names_no_span() {
    let collector = Collector::start();
    let server = start(&collector);
    let traceparent = format!("00-{TRACE}-{CALLER}-01");
    let headers = [("traceparent", traceparent.as_str())];
    let answer = request(server.address(), "INVENTED", "/nothing", &headers, b"");
    check_problem(&answer, 404, "not-found", &[]);
    let (span, _) = collector.span_of(TRACE);
    assert_eq!(span.name, "HTTP");
    for (key, value) in [
        ("http.request.method", "_OTHER"),
        ("http.request.method_original", "INVENTED"),
    ] {
        assert_eq!(attribute(&span, key).as_deref(), Some(value));
    }
}

#[test]
fn the_environment_names_the_service() {
    for (set, expected) in [
        (&[][..], "faam"),
        (&[("OTEL_SERVICE_NAME", "edge")], "edge"),
        (
            &[("OTEL_RESOURCE_ATTRIBUTES", "service.name=edge,a=b")],
            "edge",
        ),
    ] {
        let collector = Collector::start();
        let data = tempfile::tempdir().expect("a directory");
        let any = "127.0.0.1:0";
        let mut child = Command::new(env!("CARGO_BIN_EXE_faam"))
            .args([
                "serve",
                "--devices",
                "none",
                "--listen",
                any,
                "--admin-listen",
                any,
            ])
            .args(["--otlp-endpoint", &format!("http://{}", collector.address)])
            .arg("--data-dir")
            .arg(data.path())
            .env_remove("OTEL_SERVICE_NAME")
            .env_remove("OTEL_RESOURCE_ATTRIBUTES")
            .envs(set.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let first = lines.next().expect("a line").expect("UTF-8");
        let address = first.strip_prefix("listening on http://").expect(&first);
        let traceparent = format!("00-{TRACE}-{CALLER}-01");
        let headers = [("traceparent", traceparent.as_str())];
        let address = address.parse().expect("an address");
        assert_eq!(
            request(address, "GET", "/healthz", &headers, b"").status,
            200
        );
        let (_, message) = collector.span_of(TRACE);
        child.kill().expect("it runs");
        child.wait().expect("our child");
        let resource = message.resource_spans[0].resource.as_ref();
        let names = resource.expect("a resource").attributes.iter();
        let names: Vec<_> = names
            .filter(|attribute| attribute.key == "service.name")
            .map(|attribute| {
                attribute
                    .value
                    .as_ref()
                    .and_then(|value| value.value.clone())
            })
            .collect();
        assert_eq!(
            names,
            [Some(Value::StringValue(expected.to_owned()))],
            "{set:?}"
        );
    }
}

#[test]
fn a_refusal_is_in_its_span_and_all_spans_are_sent_before_the_end() {
    let collector = Collector::start();
    let server = start(&collector);
    let traceparent = format!("00-{TRACE}-{CALLER}-01");
    let answer = server.post(
        "/v1/compress?level=99",
        &[("traceparent", &traceparent)],
        b"x",
    );
    check_problem(&answer, 400, "invalid-option", &[]);
    // Without a caller's there is a trace of ours.
    let own = server.post("/v1/compress", &[], b"hello");
    let own = own
        .header("traceparent")
        .expect("a trace of ours")
        .to_owned();
    server.gateway.stop();
    // Nothing is sent any more: all of it is here, or on its way through the connection.
    let (span, message) = collector.span_of(TRACE);
    assert_eq!(
        attribute(&span, "error.type").as_deref(),
        Some("invalid-option")
    );
    let trace = own.split('-').nth(1).expect("its id").to_owned();
    let spans = message
        .resource_spans
        .iter()
        .flat_map(|spans| &spans.scope_spans);
    let here = spans
        .flat_map(|spans| &spans.spans)
        .any(|span| hex(&span.trace_id) == trace);
    if !here {
        collector.span_of(&trace);
    }
}

#[test]
fn what_the_caller_does_not_record_is_not_sent() {
    let collector = Collector::start();
    let server = start(&collector);
    let unrecorded = format!("00-{}-{CALLER}-00", TRACE.replace("0af7", "1111"));
    let answer = server.post("/v1/compress", &[("traceparent", &unrecorded)], b"hello");
    let ours = answer.header("traceparent").expect("ours");
    assert!(ours.ends_with("-00"), "{ours}");
    let recorded = format!("00-{TRACE}-{CALLER}-01");
    server.post("/v1/compress", &[("traceparent", &recorded)], b"hello");
    let (_, message) = collector.span_of(TRACE);
    let spans = message
        .resource_spans
        .iter()
        .flat_map(|spans| &spans.scope_spans)
        .flat_map(|spans| &spans.spans);
    let traces: Vec<_> = spans.map(|span| hex(&span.trace_id)).collect();
    assert!(traces.iter().all(|trace| trace == TRACE), "{traces:?}");
}

#[test]
fn a_collector_that_never_answers_holds_nobody() {
    // It takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = Server::start_with(|config| {
        let address = silent.local_addr().expect("bound");
        config.otlp_endpoint = Some(format!("http://{address}"));
    });
    for _ in 0..50 {
        assert_eq!(server.post("/v1/compress", &[], b"hello").status, 200);
    }
    let began = Instant::now();
    server.gateway.stop();
    let limit = faam_gateway::telemetry::FLUSH_MAX + Duration::from_secs(10);
    assert!(began.elapsed() < limit, "{:?}", began.elapsed());
}

#[test]
fn without_a_collector_the_callers_trace_is_continued_and_no_other_begun() {
    let server = Server::start();
    let traceparent = format!("00-{TRACE}-{CALLER}-01");
    let answer = server.post("/v1/compress", &[("traceparent", &traceparent)], b"hello");
    let ours = answer.header("traceparent").expect("ours");
    assert!(
        ours.starts_with(&format!("00-{TRACE}-")) && !ours.contains(CALLER),
        "{ours}"
    );
    for bad in ["", "00-1-2-01", &traceparent.to_uppercase()] {
        let answer = server.post("/v1/compress", &[("traceparent", bad)], b"hello");
        assert_eq!(
            (answer.status, answer.header("traceparent")),
            (200, None),
            "{bad:?}"
        );
    }
}

#[test]
fn a_phases_bucket_names_the_trace_of_a_request() {
    let server = Server::start();
    let traceparent = format!("00-{TRACE}-{CALLER}-01");
    server.post("/v1/compress", &[("traceparent", &traceparent)], b"hello");
    // One that its caller does not record is nowhere to be looked up.
    let unrecorded = TRACE.replace("0af7", "1111");
    let traceparent = format!("00-{unrecorded}-{CALLER}-00");
    server.post("/v1/compress", &[("traceparent", &traceparent)], b"hello");
    server.wait_for_in_flight(0);
    let text = server.admin("/metrics").text();
    let exemplar = format!(" # {{trace_id=\"{TRACE}\"}} ");
    for phase in faam_gateway::metrics::PHASES {
        let label = format!("phase=\"{phase}\"");
        let mut buckets = text.lines().filter(|line| {
            line.starts_with("faam_request_seconds_bucket{") && line.contains(&label)
        });
        assert!(
            buckets.any(|line| line.contains(&exemplar)),
            "{phase}: {text}"
        );
    }
    assert!(!text.contains(&unrecorded), "{text}");
}

#[test]
fn each_phase_is_a_span_below_its_requests() {
    let collector = Collector::start();
    let server = start(&collector);
    let traceparent = format!("00-{TRACE}-{CALLER}-01");
    let headers = [("traceparent", traceparent.as_str())];
    // Several blocks side by side: with queueing.
    let began = Instant::now();
    let answer = server.post("/v1/compress?level=6", &headers, &text(3_000_000));
    assert_eq!(answer.status, 200);
    let id = answer
        .header("faam-invocation-id")
        .expect("an id")
        .to_owned();
    let parent = answer.header("traceparent").expect("ours").to_owned();
    let parent = parent.split('-').nth(2).expect("its span");
    server.wait_for_in_flight(0);
    let took = began.elapsed().as_nanos();
    server.gateway.stop();
    let mut spans = Vec::new();
    while let Ok(message) = collector.messages.try_recv() {
        let scopes = message
            .resource_spans
            .iter()
            .flat_map(|spans| &spans.scope_spans);
        spans.extend(scopes.flat_map(|scope| scope.spans.clone()));
    }
    let server_span = spans
        .iter()
        .find(|span| span.kind() == SpanKind::Server)
        .expect("the request's");
    let phases: Vec<_> = spans
        .iter()
        .filter(|span| span.kind() == SpanKind::Internal)
        .collect();
    let mut names: Vec<_> = phases.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["admit", "device", "queue", "receive", "send", "verify"]
    );
    // Milliseconds are rounded in the clock of a trace, and each of two clocks is read once: a thread that has to wait for a
    // processor between the two moves all phases by as much.
    let slack = Duration::from_secs(2).as_nanos();
    for span in phases {
        assert_eq!(hex(&span.trace_id), TRACE);
        assert_eq!(hex(&span.parent_span_id), parent);
        assert_eq!(
            attribute(span, "faam.invocation_id").as_deref(),
            Some(id.as_str())
        );
        let (from, to) = (
            u128::from(span.start_time_unix_nano),
            u128::from(span.end_time_unix_nano),
        );
        // How long each takes is of one clock, and no longer than what was waited for all of them.
        assert!(from <= to && to - from <= took, "{took} ns: {span:?}");
        let within = u128::from(server_span.start_time_unix_nano).saturating_sub(slack)
            ..=u128::from(server_span.end_time_unix_nano) + slack;
        assert!(within.contains(&from) && within.contains(&to), "{span:?}");
    }
}
