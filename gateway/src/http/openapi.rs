//! The OpenAPI document: what every route takes and gives, made from the same tables that the handlers use.
//!
//! Owns parameters, headers and problems as documentation. Invariant: formats, levels, deadlines and problems are read
//! from where they are enforced, so that the document cannot say otherwise; a test compares the committed copy, and
//! another sends the gateway whatever the document allows. It decides nothing.

use std::collections::BTreeMap;

use faam_codec::{Format, Level};
use serde_json::{Value, json};
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{AllOfBuilder, KnownFormat, ObjectBuilder, SchemaFormat};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    Content, Header, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Response,
    Schema, Type,
};
use utoipa::{IntoParams, IntoResponses, PartialSchema, ToSchema};

use super::options::DEADLINE_MS_MAX;
use crate::error::{PROBLEM_JSON, ProblemKind};
use crate::job::Priority;

/// Name of the security scheme.
const KEY: &str = "key";
/// An invocation's name in examples.
const EXAMPLE_ID: &str = "0199c5a4-7d3e-7c1a-9b1f-3f2a6f0f9c11";

/// As draft-ietf-httpapi-ratelimit-headers-11 has them.
const RATELIMIT_POLICY_ABOUT: &str = "Of a tenant with a rate or a quota, and with a refusal by one: its limits, as \
    `\"requests_per_s\";q=5;w=1, \"bytes_per_s\";q=1000000;qu=\"content-bytes\";w=1` \
    (draft-ietf-httpapi-ratelimit-headers-11).";
const RATELIMIT_ABOUT: &str = "The same limits: what is left (`r`), and for how many seconds no more than that (`t`), as \
    `\"requests_per_s\";r=4;t=1`.";

const DESCRIPTION: &str = "\
Compression and decompression as a service, on accelerator cards where there are some and on CPU engines everywhere.

Bodies go both ways at once: an answer may begin while the request's body is still being sent. An answer that fits \
256 KiB comes whole, with `Content-Length` and every fact in its headers. A longer one is streamed: its headers carry \
the plan, and its final facts (`Faam-Backend`, `Faam-Verify`, `Server-Timing`, `Repr-Digest`) come as trailers where the request \
says `TE: trailers`, and stay at `GET /v1/invocations/{id}` for ten minutes. A streamed answer that fails breaks off: \
HTTP/1.1 without its last chunk, HTTP/2 with a reset stream.

Everything that is refused is an `application/problem+json` (RFC 9457) whose `type` is documented at `/problems/{name}`. \
A request with a `Content-Encoding` other than `identity` is refused as `unknown-format`, and one that names no host, or \
two, as `invalid-option` (RFC 9112, 3.2; HTTP/1.0 may leave it out).

Probes and metrics (`/healthz`, `/readyz`, `/metrics`) are on the admin listener.";

/// The document with what routes cannot say of themselves: a body may be missing where nothing at all is compressed as well,
/// and where a function gets no event, which is its own to dislike.
pub(super) fn completed(mut document: OpenApi) -> OpenApi {
    for path in [super::compress::PATH, super::lambda::PATH] {
        let post = document.paths.paths.get_mut(path);
        let post = post.and_then(|path| path.post.as_mut());
        if let Some(RefOr::T(body)) = post.and_then(|post| post.request_body.as_mut()) {
            body.required = Some(utoipa::openapi::Required::False);
        }
    }
    document
}

/// The document's frame; routes add themselves.
pub(super) fn frame() -> OpenApi {
    let license = LicenseBuilder::new()
        .name("Apache-2.0 OR MIT")
        .identifier(Some("Apache-2.0 OR MIT"))
        .build();
    let info = InfoBuilder::new()
        .title("FaaM")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(license))
        .build();
    let tag = |name: &str, about: &str| {
        TagBuilder::new()
            .name(name)
            .description(Some(about))
            .build()
    };
    let tags = [
        tag("kernels", "What the gateway computes"),
        tag("fronts", "The same kernels in other platforms' words"),
        tag("catalogue", "What there is, and how it stands"),
    ];
    let mut document = OpenApiBuilder::new().info(info).tags(Some(tags)).build();
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("faam_...")
        .description(Some(
            "A tenant's key: `faam serve` prints the demo tenant's, `faam key add --kind api` makes others. Instead of it the gateway \
             takes `Authorization: Basic` with the uuid and key of `--kind openwhisk`, and requests signed with AWS Signature Version \
             4 (`--kind sigv4`; any region and service, `x-amz-content-sha256` as a hash or `UNSIGNED-PAYLOAD`).",
        ))
        .build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(KEY, SecurityScheme::Http(scheme));
    components.schemas.insert(
        ProblemDetails::name().into_owned(),
        ProblemDetails::schema(),
    );
    document
}

/// A refusal (RFC 9457), with extension members of its kind.
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "it documents what crate::error renders")]
struct ProblemDetails {
    /// `/problems/{name}`, which documents it.
    #[schema(rename = "type", pattern = "^/problems/[a-z-]+$")]
    kind: String,
    /// The same for every problem of the kind.
    title: String,
    /// The status that came with it.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What was expected, what came and what to do.
    detail: String,
    /// The invocation, as in `Faam-Invocation-Id`.
    #[schema(pattern = "^urn:uuid:[0-9a-f-]{36}$")]
    instance: String,
    /// Of `corrupt-input`: where in the body, in bytes.
    offset: Option<u64>,
    /// Of `too-large`: the limit, in bytes.
    body_bytes_max: Option<u64>,
    /// Of `too-large`: the most that a decompression may give, in bytes.
    output_bytes_max: Option<u64>,
    /// Of `invalid-option`: the names that are accepted.
    accepted: Option<Vec<String>>,
    /// Of `unknown-format`: the formats that are served.
    served: Option<Vec<String>>,
    /// Of `deadline`: milliseconds by phase until then.
    spent_ms: Option<BTreeMap<String, f64>>,
    /// Of a deadline that is predicted to be missed: what it leaves, milliseconds.
    deadline_left_ms: Option<f64>,
    /// The same: how long the request would wait.
    predicted_queue_ms: Option<f64>,
    /// The same: how long its work would take.
    predicted_service_ms: Option<f64>,
    /// Of a refusal by a limit: the limit's name.
    limit: Option<String>,
    /// Of a refusal by a limit: the limit's value.
    limit_value: Option<u64>,
    /// Of a refusal by a limit: what came, in the same unit.
    came: Option<u64>,
    /// Of a refusal that may be another answer later: as in `Retry-After`.
    retry_after_s: Option<u64>,
}

/// Bytes as they are.
pub(super) struct Binary;

impl PartialSchema for Binary {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::Binary);
        let bytes = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(format));
        RefOr::T(bytes.build().into())
    }
}

impl ToSchema for Binary {}

/// What both kernels take as headers.
fn kernel_headers() -> Vec<Parameter> {
    let integer = |min: u64, max: u64| {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(utoipa::Number::UInt(
                usize::try_from(min).unwrap_or(0),
            )))
            .maximum(Some(utoipa::Number::UInt(
                usize::try_from(max).unwrap_or(usize::MAX),
            )))
    };
    vec![
        parameter(
            "Faam-Backend",
            ParameterIn::Header,
            "Which engines may serve: any, only a card, a card if one serves, or only the CPU.",
            words(&["auto", "require-hw", "prefer-hw", "cpu"]).default(Some(json!("auto"))),
        ),
        parameter(
            "Faam-Deadline-Ms",
            ParameterIn::Header,
            "How long the caller waits, from the end of the headers to the last byte, in milliseconds.",
            integer(1, DEADLINE_MS_MAX),
        ),
        parameter(
            "Faam-Priority",
            ParameterIn::Header,
            "How urgent the request is among the caller's own: 0 is the most urgent. It goes before no other tenant's.",
            integer(0, Priority::LAST.get().into()).default(Some(json!(Priority::default().get()))),
        ),
        parameter(
            "Content-Digest",
            ParameterIn::Header,
            "Digest of the body (RFC 9530; sha-256 and sha-512 are checked, others are passed over). A body that \
             differs is refused, or breaks its streamed answer off.",
            text(),
        ),
        parameter(
            "Want-Repr-Digest",
            ParameterIn::Header,
            "Which digests of the answer are wanted (RFC 9530), as in `sha-256=10`.",
            text(),
        ),
        parameter(
            "traceparent",
            ParameterIn::Header,
            "The caller's span (W3C Trace Context); the gateway's is its child.",
            text(),
        ),
    ]
}

/// Options of `POST /v1/compress`.
pub(super) struct CompressParams;

impl IntoParams for CompressParams {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let level = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(utoipa::Number::UInt(usize::from(Level::MIN.get()))))
            .maximum(Some(utoipa::Number::UInt(usize::from(Level::MAX.get()))))
            .default(Some(json!(Level::DEFAULT.get())));
        let mut parameters = vec![
            parameter(
                "format",
                ParameterIn::Query,
                "Format of the answer.",
                words(&Format::ALL.map(Format::name)).default(Some(json!(Format::Gzip.name()))),
            ),
            parameter(
                "level",
                ParameterIn::Query,
                "Effort: a larger one is smaller and slower. Cards serve levels up to 9.",
                level,
            ),
            parameter(
                "as",
                ParameterIn::Query,
                "`content-encoding`: the answer keeps the request's media type and says in `Content-Encoding` how it is \
                 compressed. HTTP has no coding for raw DEFLATE and LZ4.",
                words(&["content-encoding"]),
            ),
        ];
        parameters.extend(kernel_headers());
        parameters
    }
}

/// Options of `POST /v1/decompress`.
pub(super) struct DecompressParams;

impl IntoParams for DecompressParams {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let formats: Vec<_> = ["auto"]
            .into_iter()
            .chain(Format::ALL.map(Format::name))
            .collect();
        let mut parameters = vec![parameter(
            "format",
            ParameterIn::Query,
            "Format of the body; `auto` tells those with a signature apart.",
            words(&formats).default(Some(json!("auto"))),
        )];
        parameters.extend(kernel_headers());
        parameters
    }
}

pub(super) fn parameter(
    name: &str,
    place: ParameterIn,
    description: &str,
    schema: ObjectBuilder,
) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(utoipa::openapi::Required::False)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}

pub(super) fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

pub(super) fn words(words: &[&str]) -> ObjectBuilder {
    text().enum_values(Some(words.iter().copied()))
}

/// Answers of `POST /v1/compress`.
pub(super) struct CompressResponses;

impl IntoResponses for CompressResponses {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let types = [
            "application/gzip",
            "application/zlib",
            "application/zstd",
            "application/x-lz4",
            "application/octet-stream",
            // as=content-encoding keeps the caller's.
            "*/*",
        ];
        let headers = [
            (
                "Faam-Level",
                header("The level that served.", Type::Integer),
            ),
            (
                "Content-Encoding",
                header(
                    "With `as=content-encoding`: how the answer is compressed.",
                    Type::String,
                ),
            ),
            (
                "Vary",
                header(
                    "With `as=content-encoding`: `Accept-Encoding`.",
                    Type::String,
                ),
            ),
        ];
        let ok = kernel_answer(
            "The compressed body: one member, verified by another implementation than the one that made it.",
            &types,
        );
        let ok = headers
            .into_iter()
            .fold(ok, |ok, (name, header)| ok.header(name, header));
        let mut responses = problems(&kernel_problems(&[ProblemKind::UnknownFormat]));
        responses.insert("200".to_owned(), ok.build().into());
        responses
    }
}

/// Answers of `POST /v1/decompress`.
pub(super) struct DecompressResponses;

impl IntoResponses for DecompressResponses {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let ok = kernel_answer(
            "What the body held: all members of it, one after another.",
            &["application/octet-stream"],
        );
        let mut responses = problems(&kernel_problems(&[
            ProblemKind::UnknownFormat,
            ProblemKind::CorruptInput,
            ProblemKind::RatioExceeded,
        ]));
        responses.insert("200".to_owned(), ok.build().into());
        responses
    }
}

/// Problems that any request with a body may meet, and `others`.
fn kernel_problems(others: &[ProblemKind]) -> Vec<ProblemKind> {
    let mut kinds = vec![
        ProblemKind::InvalidOption,
        ProblemKind::DigestMismatch,
        ProblemKind::TooSlow,
        ProblemKind::TooLarge,
        ProblemKind::NoCredential,
        ProblemKind::TooManyFailures,
        ProblemKind::NotAllowed,
        ProblemKind::OverRate,
        ProblemKind::OverQuota,
        ProblemKind::TooManyInFlight,
        ProblemKind::Saturated,
        ProblemKind::Draining,
        ProblemKind::NoEngine,
        ProblemKind::Deadline,
        ProblemKind::Headers,
        ProblemKind::Version,
        ProblemKind::Internal,
    ];
    kinds.extend(others);
    kinds
}

/// Problems that any request may meet.
pub(super) struct AnyProblems;

impl IntoResponses for AnyProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            ProblemKind::InvalidOption,
            ProblemKind::Headers,
            ProblemKind::Internal,
        ])
    }
}

/// Problems of whoever needs a key.
pub(super) struct TenantProblems;

impl IntoResponses for TenantProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            ProblemKind::InvalidOption,
            ProblemKind::NoCredential,
            ProblemKind::TooManyFailures,
            ProblemKind::Headers,
            ProblemKind::Internal,
        ])
    }
}

/// Problems of what not every credential is for.
pub(super) struct ForbiddenProblems;

impl IntoResponses for ForbiddenProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[ProblemKind::NotAllowed])
    }
}

/// Problems of a resource that may not be there.
pub(super) struct NotFoundProblems;

impl IntoResponses for NotFoundProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[ProblemKind::NotFound])
    }
}

fn kernel_answer(description: &str, media_types: &[&str]) -> ResponseBuilder {
    let headers = [
        (
            "Faam-Backend",
            "The engines that served: `cpu`, `fpga0.1` (card and function), `;simulated` where it is no hardware; of \
             several each with its blocks.",
        ),
        (
            "Faam-Backend-Reason",
            "Why blocks ran elsewhere than the policy prefers.",
        ),
        (
            "Faam-Verify",
            "`ok`: verified; `on`: the result follows in a trailer; `sampled` or `off` where the operator chose so.",
        ),
        (
            "Server-Timing",
            "Where the time went, in milliseconds; blocks that ran in parallel add up.",
        ),
        (
            "Repr-Digest",
            "With `Want-Repr-Digest`: the answer's digest.",
        ),
        ("Trailer", "The trailers of a streamed answer."),
        ("RateLimit-Policy", RATELIMIT_POLICY_ABOUT),
        ("RateLimit", RATELIMIT_ABOUT),
        (
            "traceparent",
            "The gateway's span, where the request named its own.",
        ),
    ];
    let answer = ResponseBuilder::new()
        .description(description)
        .header("Faam-Invocation-Id", invocation_id());
    let answer = headers.into_iter().fold(answer, |answer, (name, about)| {
        answer.header(name, header(about, Type::String))
    });
    media_types.iter().fold(answer, |answer, media_type| {
        answer.content(*media_type, Content::new(Some(Binary::schema())))
    })
}

pub(super) fn header(description: &str, kind: Type) -> Header {
    HeaderBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(kind)))
        .description(Some(description))
        .build()
}

fn invocation_id() -> Header {
    let id = text().format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)));
    HeaderBuilder::new()
        .schema(Some(id))
        .description(Some("The request's name, in logs, problems and traces."))
        .build()
}

/// `kinds` by their status: one response each, with the types that it may have.
fn problems(kinds: &[ProblemKind]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for kind in kinds {
        // Every kind is described.
        if let Some(described) = ProblemKind::describe(kind.name()) {
            let status = described.get("status").map(Value::to_string);
            by_status
                .entry(status.unwrap_or_default())
                .or_default()
                .push(described);
        }
    }
    by_status
        .into_iter()
        .map(|(status, kinds)| {
            let response = problem_response(&status, &kinds);
            (status, RefOr::T(response))
        })
        .collect()
}

fn problem_response(status: &str, kinds: &[Value]) -> Response {
    let member = |kind: &Value, name: &str| kind.get(name).cloned().unwrap_or_default();
    let word = |kind: &Value, name: &str| {
        kind.get(name)
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned()
    };
    let lines: Vec<_> = kinds
        .iter()
        .map(|kind| {
            format!(
                "`{}`: {}. {}",
                word(kind, "type"),
                word(kind, "title"),
                word(kind, "mend")
            )
        })
        .collect();
    let kind = words(&[]).enum_values(Some(kinds.iter().map(|kind| word(kind, "type"))));
    let narrowed = ObjectBuilder::new().property("type", kind).required("type");
    let schema = AllOfBuilder::new()
        .item(Ref::from_schema_name(ProblemDetails::name()))
        .item(narrowed)
        .build();
    let examples = kinds.iter().map(|kind| {
        let value = json!({
            "type": member(kind, "type"),
            "title": member(kind, "title"),
            "status": member(kind, "status"),
            "detail": "what was expected, what came and what to do",
            "instance": format!("urn:uuid:{EXAMPLE_ID}"),
        });
        let name = word(kind, "type")
            .trim_start_matches("/problems/")
            .to_owned();
        (name, ExampleBuilder::new().value(Some(value)).build())
    });
    let content = ContentBuilder::new()
        .schema(Some(Schema::AllOf(schema)))
        .examples_from_iter(examples)
        .build();
    let response = ResponseBuilder::new()
        .description(lines.join("\n\n"))
        .header("Faam-Invocation-Id", invocation_id())
        .content(PROBLEM_JSON, content);
    let response = match status {
        "429" | "503" => response.header(
            "Retry-After",
            header(
                "Seconds until it is worth another try: from the bucket, the end of the UTC day, the drain or the predicted \
                 backlog.",
                Type::Integer,
            ),
        ),
        "401" => response.header("WWW-Authenticate", header(
                "`Bearer realm=\"faam\"`; with `error=\"invalid_token\"` where a key came and is not valid.",
                Type::String,
            ),
        ),
        _ => response,
    };
    let response = match status {
        "429" => response
            .header(
                "RateLimit-Policy",
                header(RATELIMIT_POLICY_ABOUT, Type::String),
            )
            .header("RateLimit", header(RATELIMIT_ABOUT, Type::String)),
        _ => response,
    };
    response.build()
}
