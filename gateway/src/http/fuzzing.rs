//! A door for fuzzing: any request against the whole public surface of a gateway without cards.
//!
//! Owns what the target of `gateway/fuzz` holds the surface to. Requests reach it as they do from a connection, behind
//! hyper's own parser; nothing listens for them. Compiled for tests, which replay the committed corpus, and for fuzzing;
//! no build that is used has it.

#![expect(clippy::panic, reason = "a panic is how a target says what it found")]

use std::io::{Read, Write};
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use faam_codec::{Decompressor, Format, Level, Limits, Position, StreamCompressor};
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http_body::Frame;
use http_body_util::BodyExt;
use tempfile::TempDir;

use super::app::Surface;
use super::listener::{Answers, Peer, Scheme};
use super::options::{CompressOptions, DecompressOptions};
use super::{compress, decompress};
use crate::config::GatewayConfig;
use crate::gateway::Gateway;

/// The key of the one tenant.
const KEY: &str = "faam_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// Bytes of a body at most: answers of more than a block are streamed.
const BODY_BYTES_MAX: usize = 600 << 10;
/// Time for one answer: no input may take as long.
const ANSWER_MAX: Duration = Duration::from_secs(8);
/// Headers of one request.
const HEADERS_MAX: u8 = 12;

const NAMES: [&str; 32] = [
    "faam-backend",
    "faam-deadline-ms",
    "faam-priority",
    "faam-invocation-id",
    "content-digest",
    "want-repr-digest",
    "repr-digest",
    "te",
    "prefer",
    "traceparent",
    "tracestate",
    "accept-encoding",
    "accept",
    "authorization",
    "content-encoding",
    "content-type",
    "content-length",
    "transfer-encoding",
    "expect",
    "host",
    "trailer",
    "x-amz-date",
    "x-amz-content-sha256",
    "x-amz-security-token",
    "idempotency-key",
    "cookie",
    "connection",
    "range",
    "if-none-match",
    "origin",
    "forwarded",
    "x-request-id",
];

const VALUES: [&str; 24] = [
    "cpu",
    "prefer-hw",
    "require-hw",
    "auto",
    "1",
    "7",
    "3600000",
    "trailers",
    "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
    "sha-256=1, sha-512=3",
    "sha-512=:AA==:",
    "unixsum=:AA==:, sha-256=:AA==:",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
    "gzip;q=0.5, zstd, *;q=0",
    "identity",
    "respond-async, wait=10",
    "Bearer faam_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB",
    "Basic ZGVtbzpmYWFtX0FB",
    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/faam/aws4_request, SignedHeaders=host;x-amz-date, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
    "20150830T123600Z",
    "100-continue",
    "chunked",
    "",
];

const OPTIONS: [&str; 20] = [
    "format=gzip",
    "format=zlib",
    "format=deflate",
    "format=zstd",
    "format=lz4",
    "format=auto",
    "format=",
    "level=1",
    "level=6",
    "level=9",
    "level=12",
    "level=0",
    "as=content-encoding",
    "as=",
    "format=%67zip",
    "level=%31",
    "x",
    "=",
    "level=3",
    "format=brotli",
];

/// Panics if a request is answered by a 500, without an id, by a refusal that is no problem document, or by a 200 whose
/// body is not what another decoder makes of it.
///
/// A byte each for the method and path, the options and the headers, these, then the body and how it is cut.
pub fn http(bytes: &[u8]) {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    BENCH.get_or_init(Bench::new).check(bytes);
}

/// A gateway, and the door to its surface.
pub(crate) struct Bench {
    gateway: Gateway,
    surface: Surface,
    _dir: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = TempDir::with_prefix("faam-fuzz-").expect("a temporary directory");
        let mut config = GatewayConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            admin_listen: ([127, 0, 0, 1], 0).into(),
            data_dir: dir.path().to_owned(),
            bootstrap_key: Some(KEY.to_owned()),
            ..GatewayConfig::default()
        };
        config.dispatch.cards = Vec::new();
        config.dispatch.cpu_workers = 1;
        config.dispatch.hw_wait = Duration::from_millis(1);
        // Bodies that unpack without end are cut off early: what more of them would do, less does.
        config.tenant_limits.output_bytes_max = 4 << 20;
        let gateway = Gateway::start(config).expect("a gateway");
        Self {
            surface: gateway.surface(),
            gateway,
            _dir: dir,
        }
    }

    /// Its orderly end.
    #[cfg(test)]
    pub(crate) fn stop(self) {
        drop(self.surface);
        self.gateway.stop();
    }

    pub(crate) fn check(&self, bytes: &[u8]) {
        let Some(request) = Wanted::parse(bytes) else {
            return;
        };
        let answer = async {
            let answer = self
                .surface
                .clone()
                .answer(Scheme("http"), Peer(None), request.request());
            let (head, body) = answer.await.into_parts();
            (head, body.collect().await)
        };
        let answer = self
            .gateway
            .block_on(async { tokio::time::timeout(ANSWER_MAX, answer).await });
        let (head, body) = answer.expect("an answer in time");
        let body = body.map(http_body_util::Collected::to_bytes);
        let status = head.status.as_u16();
        assert_ne!(status, 500, "{request:?}: {body:?}");
        assert!(
            head.headers.contains_key("faam-invocation-id"),
            "{request:?} got {status} without an id"
        );
        match (status, body) {
            (200, body) => request.check_success(body),
            (400.., Ok(body)) => {
                let of_head = request.method == Method::HEAD;
                assert!(
                    of_head || is_problem(&head.headers, status, &body),
                    "{request:?} got {status}: {body:?}"
                );
            }
            (_, Err(error)) => panic!("{request:?} got {status}, torn: {error}"),
            _ => {}
        }
    }
}

fn is_problem(headers: &HeaderMap, status: u16, body: &[u8]) -> bool {
    let kind = headers.get(CONTENT_TYPE);
    let document: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    kind.is_some_and(|kind| kind == "application/problem+json")
        && document
            .is_some_and(|document| document["status"] == status && document["type"].is_string())
}

/// What an input asks for.
#[derive(Debug)]
struct Wanted {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    version: Version,
    /// The body.
    body: Bytes,
    /// What it unpacks to, if it was packed here.
    plain: Option<Bytes>,
    /// Bytes of one frame.
    piece: usize,
    /// How it ends.
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With its length announced.
    Announced,
    /// Without.
    Whole,
    /// With trailers.
    Trailers,
    /// It breaks off.
    Torn,
}

/// An input, read from its front; zeros once it is used up.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn u8(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (piece, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        piece
    }

    fn piece(&mut self) -> &'a [u8] {
        let count = usize::from(self.u8());
        self.take(count)
    }
}

impl Wanted {
    /// `None` of what hyper would not hand over: a target that is none.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        let (what, options) = (input.u8(), input.u8());
        let method = match what >> 4 {
            0..=10 => Method::POST,
            11 => Method::GET,
            12 => Method::HEAD,
            13 => Method::OPTIONS,
            14 => Method::PUT,
            _ => Method::from_bytes(input.piece()).ok()?,
        };
        let path = match what & 0xF {
            0..=5 => compress::PATH.to_owned(),
            6..=11 => decompress::PATH.to_owned(),
            12 => "/v1/kernels".to_owned(),
            13 => "/v1/invocations/0".to_owned(),
            14 => "/v1/usage".to_owned(),
            _ => String::from_utf8_lossy(input.piece()).into_owned(),
        };
        let mut query = Vec::new();
        for _ in 0..options & 3 {
            let which = usize::from(input.u8());
            query.push(match OPTIONS.get(which % 24) {
                Some(option) => (*option).to_owned(),
                None => String::from_utf8_lossy(input.piece()).into_owned(),
            });
        }
        let target = match query.is_empty() {
            true => path,
            false => format!("{path}?{}", query.join("&")),
        };
        let mut wanted = Self {
            method,
            uri: target.parse().ok()?,
            headers: HeaderMap::new(),
            version: if options & 4 == 0 {
                Version::HTTP_11
            } else {
                Version::HTTP_2
            },
            body: Bytes::new(),
            plain: None,
            piece: 0,
            end: End::Whole,
        };
        if options & 8 == 0 {
            wanted
                .headers
                .insert(HOST, HeaderValue::from_static("faam.test"));
        }
        if options & 0x30 != 0x30 {
            let key = HeaderValue::try_from(format!("Bearer {KEY}")).ok()?;
            wanted.headers.insert(AUTHORIZATION, key);
        }
        for _ in 0..input.u8() % HEADERS_MAX {
            let (name, value) = (input.u8(), input.u8());
            let name = match NAMES.get(usize::from(name) % 40) {
                Some(name) => HeaderName::from_static(name),
                None => match HeaderName::from_bytes(input.piece()) {
                    Ok(name) => name,
                    Err(_) => continue,
                },
            };
            let value = match VALUES.get(usize::from(value) % 40) {
                Some(value) => HeaderValue::from_static(value),
                None => match HeaderValue::from_bytes(input.piece()) {
                    Ok(value) => value,
                    Err(_) => continue,
                },
            };
            // A length that is not the body's does not come out of hyper.
            if name != CONTENT_LENGTH {
                wanted.headers.append(name, value);
            }
        }
        wanted.take_body(&mut input);
        Some(wanted)
    }

    fn take_body(&mut self, input: &mut Input<'_>) {
        let (shape, times) = (input.u8(), input.u8());
        self.piece = 1 + usize::from(input.u8()) * 257;
        self.end = match shape & 3 {
            0 => End::Announced,
            1 => End::Whole,
            2 => End::Trailers,
            _ => End::Torn,
        };
        let seed = input.0;
        let repeats = if shape & 4 == 0 {
            1
        } else {
            usize::from(times) * 16 + 1
        };
        let bytes = (seed.len() * repeats).min(BODY_BYTES_MAX);
        let plain: Vec<u8> = seed.iter().copied().cycle().take(bytes).collect();
        let format = Format::ALL[usize::from(shape >> 4) % Format::ALL.len()];
        self.body = match shape & 8 {
            0 => plain.into(),
            _ => {
                let packed = packed(&plain, format);
                self.plain = Some(plain.into());
                packed.into()
            }
        };
        if self.end == End::Announced {
            self.headers.insert(CONTENT_LENGTH, self.body.len().into());
        }
    }

    fn request(&self) -> Request<Body> {
        let body = if self.end == End::Announced && self.piece >= self.body.len() {
            Body::from(self.body.clone())
        } else {
            let mut frames: Vec<Result<Frame<Bytes>, std::io::Error>> = Vec::new();
            let mut rest = self.body.clone();
            while !rest.is_empty() {
                frames.push(Ok(Frame::data(rest.split_to(self.piece.min(rest.len())))));
            }
            match self.end {
                End::Announced | End::Whole => {}
                End::Trailers => {
                    let mut trailers = HeaderMap::new();
                    trailers.insert("faam-x", HeaderValue::from_static("1"));
                    frames.push(Ok(Frame::trailers(trailers)));
                }
                End::Torn => frames.push(Err(std::io::ErrorKind::ConnectionReset.into())),
            }
            Body::new(Frames(frames.into_iter()))
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers.clone();
        request
    }

    fn check_success(&self, body: Result<Bytes, axum::Error>) {
        let now = Instant::now();
        if self.method != Method::POST {
            assert!(body.is_ok(), "{self:?}: torn");
            return;
        }
        match self.uri.path() {
            compress::PATH => {
                assert!(
                    self.end != End::Torn || body.is_err(),
                    "{self:?}: a whole answer to half a body"
                );
                let Ok(body) = body else {
                    let may_end_early = self.end == End::Torn
                        || self.headers.contains_key("faam-deadline-ms")
                        || self.headers.contains_key("content-digest");
                    assert!(may_end_early, "{self:?}: torn");
                    return;
                };
                let options = CompressOptions::parse(&self.uri, &self.headers, now);
                let format = options.expect("it was answered").format;
                let back = unpacked(&body, format);
                assert!(back == Some(self.body.to_vec()), "{self:?}: another body");
            }
            decompress::PATH => {
                let Ok(body) = body else { return };
                assert!(
                    self.end != End::Torn,
                    "{self:?}: a whole answer to half a body"
                );
                let options = DecompressOptions::parse(&self.uri, &self.headers, now);
                let format = options.expect("it was answered").format;
                let format = format.or_else(|| Format::detect(&self.body));
                let back = format.and_then(|format| unpacked(&self.body, format));
                assert!(back == Some(body.to_vec()), "{self:?}: unpacked otherwise");
            }
            _ => {}
        }
    }
}

/// Frames, one after the other, each at once.
struct Frames(std::vec::IntoIter<Result<Frame<Bytes>, std::io::Error>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        Poll::Ready(self.0.next())
    }
}

fn packed(plain: &[u8], format: Format) -> Vec<u8> {
    let level = flate2::Compression::fast();
    let done: Result<Vec<u8>, std::io::Error> = match format {
        Format::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(plain).and_then(|()| encoder.finish())
        }
        Format::Zlib => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(plain).and_then(|()| encoder.finish())
        }
        Format::Deflate => {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
            encoder.write_all(plain).and_then(|()| encoder.finish())
        }
        Format::Zstd | Format::Lz4 => {
            let mut out = Vec::new();
            let mut compressor =
                StreamCompressor::new(format, Level::DEFAULT).expect("a format that is streamed");
            compressor
                .compress(plain, Position::Last, &mut out)
                .expect("packed");
            Ok(out)
        }
    };
    done.expect("in memory")
}

/// By zlib-rs, which packs nothing here; of zstd and lz4, by the codec's own decoders.
fn unpacked(body: &[u8], format: Format) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let read = match format {
        Format::Gzip => MultiGzDecoder::new(body).read_to_end(&mut out),
        Format::Zlib => ZlibDecoder::new(body).read_to_end(&mut out),
        Format::Deflate => DeflateDecoder::new(body).read_to_end(&mut out),
        Format::Zstd | Format::Lz4 => {
            let limits = Limits {
                output_bytes_max: 8 << 20,
                ratio_max: u32::MAX,
            };
            let done = Decompressor::new().decompress(body, Some(format), limits);
            return done.ok().map(|done| done.data);
        }
    };
    read.is_ok().then_some(out)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Bench;

    #[test]
    fn every_request_of_the_corpus_is_answered() {
        let bench = Bench::new();
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/http");
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpus).expect("part of the sources") {
            let path = entry.expect("readable").path();
            // The input's name, should it panic.
            println!("{}", path.display());
            bench.check(&std::fs::read(&path).expect("readable"));
            inputs += 1;
        }
        assert!(inputs >= 20, "http has a corpus of {inputs}");
        bench.stop();
    }
}
