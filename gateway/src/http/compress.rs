//! `POST /v1/compress`: a body cut into blocks that run in parallel, joined into one member
//! that leaves while the body still arrives.
//!
//! Invariants: a body byte is copied once, into the block that carries it; at most
//! [`REQUEST_BLOCKS_IN_FLIGHT_MAX`] blocks are outstanding; exactly one block is
//! [`Position::Last`], whatever the body's length. It knows no engines.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue, Response};
use bytes::{Bytes, BytesMut};
use faam_codec::{
    BlockChecksum, Format, HEADER_BYTES_MAX, Level, Position, StreamCompressor, TRAILER_BYTES_MAX,
    write_header, write_trailer,
};

use super::answer::{self, FAAM_LEVEL};
use super::app::App;
use super::delivery::{Caller, Delivery, Stop};
use super::digest::checked;
use super::entry::Entry;
use super::intake::Intake;
use super::invocation::Invocation;
use super::openapi::{Binary, CompressParams, CompressResponses};
use super::options::CompressOptions;
use super::outflow::{Outflow, WINDOW_BYTES};
use super::request_record::{RequestRecord, SharedProgress};
use super::short_body::ShortBody;
use crate::admission::{AdmissionPermit, CalledKernel};
use crate::auth::Principal;
use crate::credentials::scopes::Scope;
use crate::dispatch::Ticket;
use crate::error::Problem;
use crate::job::{BLOCK_BYTES, BlockOutcome, JobSpec, Kernel, Part, Stage};
use crate::limit_met::LimitMet;
use crate::tenants::Tenant;

/// Blocks of one request that are queued or on engines at once, while few requests are: enough for every engine of a
/// small host to have one and the next.
const REQUEST_BLOCKS_IN_FLIGHT_MAX: usize = 16;
/// The same, however many requests there are: one on an engine while the next one fills.
const REQUEST_BLOCKS_IN_FLIGHT_MIN: usize = 1;
/// Blocks of all requests together, shared evenly: enough that no engine waits. What is not taken in stays with the
/// callers, so that memory does not grow with the bodies that happen to be sent at once.
const ALL_BLOCKS_IN_FLIGHT: usize = 96;
/// Memory of a block in flight: its input, and its output, which is hardly larger.
const BLOCK_WORKING_BYTES: usize = 2 * BLOCK_BYTES;
/// Memory without which a request of any length could come to a stop: the least number of blocks in flight, the one
/// that fills, and the window of its answer.
const WORKING_BYTES_MAX: usize =
    REQUEST_BLOCKS_IN_FLIGHT_MIN * BLOCK_WORKING_BYTES + BLOCK_BYTES + WINDOW_BYTES;
/// Where it is.
pub(super) const PATH: &str = "/v1/compress";

/// Compress a body
///
/// The body is taken as it is, whatever its `Content-Type`. Blocks of it are compressed in parallel and joined into one
/// member.
#[utoipa::path(
    post, path = PATH, tag = "kernels", security(("key" = [])),
    params(CompressParams),
    request_body(content = Binary, content_type = "application/octet-stream"),
    responses(CompressResponses)
)]
pub(super) async fn compress(
    State(app): State<App>,
    Extension(invocation): Extension<Invocation>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let caller = app.caller(invocation, &request)?;
    let request = checked(request, caller.body_sha256)?;
    compress_for(app, invocation, caller.principal, request, 0).await
}

/// The same for whose credential was judged before; `held_bytes` is memory that is held for the request elsewhere.
pub(super) async fn compress_for(
    app: App,
    invocation: Invocation,
    principal: Arc<Principal>,
    request: Request,
    held_bytes: usize,
) -> Result<Response<Body>, Problem> {
    let (record, (options, permit)) = RequestRecord::begin(
        app,
        invocation,
        principal,
        Scope::Compress,
        |app, tenant| begin(app, invocation, tenant, &request, held_bytes),
    )?;
    let mut headers = answer_headers(&options, request.headers());
    record.admitted(&options.service, &mut headers);
    if ShortBody::suits(&options, request.version()) {
        let short = ShortBody {
            record,
            options,
            permit,
            headers,
        };
        return short.answer(request).await;
    }
    let (app, tenant) = (record.app.clone(), Arc::clone(&record.tenant));
    let progress = Arc::clone(&record.progress);
    let delivery = Delivery {
        record,
        permit: Arc::clone(&permit),
        deadline: options.service.deadline,
        headers,
        caller: Caller::of(&request),
    };
    let intake = Intake::new(
        request.into_body(),
        app.intake_limits(&tenant),
        Arc::clone(&permit),
    );
    // Apart from the short way's, whose place in its connection stays small.
    let delivered = Box::pin(delivery.run(move |outflow| {
        let blocks = Blocks {
            checksum: BlockChecksum::empty(options.format),
            outstanding: VecDeque::new(),
            charged: 0,
            stage: None,
            app,
            tenant,
            options,
            permit,
            progress,
            outflow,
        };
        blocks.run(intake)
    }));
    delivered.await
}

/// Everything that is decided before the body is polled.
fn begin(
    app: &App,
    invocation: Invocation,
    tenant: &Tenant,
    request: &Request,
    held_bytes: usize,
) -> Result<(CompressOptions, Arc<AdmissionPermit>), Problem> {
    let mut options = CompressOptions::parse(request.uri(), request.headers(), invocation.began)?;
    let entry = Entry {
        kernel: CalledKernel::Compress,
        began: invocation.began,
        beyond_cards: options.beyond_cards(),
        working_bytes: 0..=WORKING_BYTES_MAX,
        fixed_bytes: compressor_bytes(options.format, options.level).saturating_add(held_bytes),
        compression: Some((options.format, options.level)),
        service: &mut options.service,
    };
    let permit = app.admit(tenant, entry)?;
    Ok((options, permit))
}

/// The blocks of one request.
struct Blocks {
    app: App,
    tenant: Arc<Tenant>,
    options: CompressOptions,
    permit: Arc<AdmissionPermit>,
    progress: SharedProgress,
    outflow: Arc<Outflow>,
    /// In the order of the data; each with its input's length.
    outstanding: VecDeque<(Ticket, usize)>,
    /// Blocks in flight for which memory was taken beyond what admission took.
    charged: usize,
    checksum: BlockChecksum,
    /// What the last part left behind, of a format whose blocks follow from each other.
    stage: Option<Stage<StreamCompressor>>,
}

impl Blocks {
    async fn run(mut self, mut intake: Intake) -> Result<(), Stop> {
        let mut header = Vec::with_capacity(HEADER_BYTES_MAX);
        write_header(self.options.format, self.options.level, &mut header);
        self.outflow.push(Bytes::from(header)).await?;

        let first = self
            .options
            .service
            .content_length
            .map_or(BLOCK_BYTES, |length| {
                usize::try_from(length)
                    .unwrap_or(BLOCK_BYTES)
                    .min(BLOCK_BYTES)
            });
        let mut block = BytesMut::with_capacity(first);
        while let Some(mut data) = self.receive(&mut intake).await? {
            while !data.is_empty() {
                // A full block is held back until a byte follows it: only then it is not the last.
                if block.len() == BLOCK_BYTES {
                    self.submit(block.split().freeze(), Position::Middle)
                        .await?;
                    block = BytesMut::with_capacity(BLOCK_BYTES);
                }
                let room = BLOCK_BYTES.saturating_sub(block.len());
                let part = data.split_to(room.min(data.len()));
                block.extend_from_slice(&part);
            }
        }
        self.outflow.body_arrived();
        self.submit(block.freeze(), Position::Last).await?;
        while !self.outstanding.is_empty() {
            self.retire().await?;
        }
        let mut trailer = Vec::with_capacity(TRAILER_BYTES_MAX);
        write_trailer(&self.checksum, &mut trailer);
        self.outflow.push(Bytes::from(trailer)).await?;
        Ok(())
    }

    /// The body's next bytes. Blocks that end meanwhile are passed on.
    async fn receive(&mut self, intake: &mut Intake) -> Result<Option<Bytes>, Stop> {
        loop {
            let received = match self.outstanding.front_mut() {
                None => Some(intake.next().await),
                Some((ticket, _)) => tokio::select! {
                    biased;
                    received = intake.next() => Some(received),
                    () = ticket.ended() => None,
                },
            };
            let Some(received) = received else {
                self.retire().await?;
                continue;
            };
            let mut progress = self.progress.lock();
            progress.spent.receive = intake.waited();
            progress.spent.received = intake.last_waited();
            progress.spent.paced = intake.paced();
            progress.bytes_in = intake.received();
            return Ok(received?);
        }
    }

    async fn submit(&mut self, input: Bytes, position: Position) -> Result<(), Stop> {
        let format = self.options.format;
        let in_flight_max = if format.is_deflate() {
            blocks_in_flight_max(self.app.admission.in_flight())
        } else {
            // Each part needs what the one before it left behind.
            1
        };
        while self.outstanding.len() >= in_flight_max {
            self.retire().await?;
        }
        // Beyond the least number of blocks each takes memory of its own; where there is none one has to end first.
        while self.outstanding.len() >= REQUEST_BLOCKS_IN_FLIGHT_MIN {
            if self.permit.grow(BLOCK_WORKING_BYTES).is_ok() {
                self.charged += 1;
                break;
            }
            self.permit.meter().met(LimitMet::BodyMemory);
            self.retire().await?;
        }
        let length = input.len();
        let alone = position == Position::Last && self.progress.lock().bytes_in == length as u64;
        let spec = JobSpec {
            tenant: self.tenant.id.clone(),
            kernel: if format.is_deflate() {
                Kernel::Compress {
                    format,
                    level: self.options.level,
                    position,
                }
            } else {
                Kernel::CompressPart {
                    format,
                    level: self.options.level,
                    position,
                    stage: self.stage.take(),
                }
            },
            input,
            policy: self.options.service.policy,
            priority: self.options.service.priority,
            deadline: self.options.service.deadline,
            permit: Arc::clone(&self.permit),
        };
        let submitted = if alone {
            self.app.dispatcher.submit_small(spec).await
        } else {
            self.app.dispatcher.submit(spec).await
        };
        let ticket =
            submitted.map_err(|error| Problem::job(error, &mut self.progress.lock(), 0))?;
        self.outstanding.push_back((ticket, length));
        Ok(())
    }

    /// Takes over the oldest outstanding block's outcome, and passes its bytes on.
    async fn retire(&mut self) -> Result<(), Stop> {
        let Some((mut ticket, length)) = self.outstanding.pop_front() else {
            return Ok(());
        };
        let outcome: BlockOutcome = ticket
            .outcome()
            .await
            .map_err(|error| Problem::job(error, &mut self.progress.lock(), 0))?;
        self.progress.lock().count(&outcome);
        if outcome.consumed != length || outcome.checksum.format() != self.options.format {
            return Err(Problem::internal("an outcome does not stand for its block").into());
        }
        if let Some(Part::Compressed(stage)) = outcome.part {
            self.stage = stage;
        }
        self.checksum = self.checksum.combine(outcome.checksum);
        self.outflow.push(outcome.output).await?;
        if self.charged > 0 {
            self.charged -= 1;
            self.permit.shrink(BLOCK_WORKING_BYTES);
        }
        Ok(())
    }
}

/// Memory of a stream's compressor and of the decoder that verifies it; block engines are their workers'.
const fn compressor_bytes(format: Format, level: Level) -> usize {
    match (format, level.get()) {
        (Format::Gzip | Format::Zlib | Format::Deflate, _) => 0,
        (Format::Lz4, _) => 1 << 20,
        (Format::Zstd, ..=10) => 12 << 20,
        (Format::Zstd, _) => 44 << 20,
    }
}

/// A request's share of the blocks in flight while there are `requests`.
fn blocks_in_flight_max(requests: usize) -> usize {
    (ALL_BLOCKS_IN_FLIGHT / requests.max(1))
        .clamp(REQUEST_BLOCKS_IN_FLIGHT_MIN, REQUEST_BLOCKS_IN_FLIGHT_MAX)
}

fn answer_headers(options: &CompressOptions, request: &HeaderMap) -> HeaderMap {
    let mut headers = answer::headers();
    headers.insert(
        FAAM_LEVEL,
        HeaderValue::from(u16::from(options.level.get())),
    );
    if options.as_content_encoding {
        let coding = match options.format {
            Format::Zlib => "deflate",
            Format::Zstd => "zstd",
            // The options refuse the two that HTTP has no coding for.
            Format::Gzip | Format::Deflate | Format::Lz4 => "gzip",
        };
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        headers.insert(
            CACHE_CONTROL,
            HeaderValue::from_static("no-store, no-transform"),
        );
        // curl's --data-binary says "form" of anything.
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        if let Some(media_type) = request
            .get(CONTENT_TYPE)
            .filter(|&media_type| media_type != form)
        {
            headers.insert(CONTENT_TYPE, media_type.clone());
        }
    } else {
        let media_type = match options.format {
            Format::Gzip => "application/gzip",
            Format::Zlib => "application/zlib",
            Format::Deflate => "application/octet-stream",
            // RFC 8878, 7.1. lz4 has no registered type.
            Format::Zstd => "application/zstd",
            Format::Lz4 => "application/x-lz4",
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_in_flight_are_shared_by_the_requests() {
        assert_eq!(blocks_in_flight_max(0), REQUEST_BLOCKS_IN_FLIGHT_MAX);
        assert_eq!(blocks_in_flight_max(1), REQUEST_BLOCKS_IN_FLIGHT_MAX);
        assert_eq!(blocks_in_flight_max(12), 8);
        assert_eq!(blocks_in_flight_max(64), REQUEST_BLOCKS_IN_FLIGHT_MIN);
        assert_eq!(blocks_in_flight_max(10_000), REQUEST_BLOCKS_IN_FLIGHT_MIN);
    }
}
