//! `POST /v1/compress`: a body cut into blocks that run in parallel, joined into one member.
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
    BlockChecksum, Format, HEADER_BYTES_MAX, Position, TRAILER_BYTES_MAX, write_header,
    write_trailer,
};

use super::answer::{Answer, FAAM_LEVEL, Progress};
use super::app::{App, within};
use super::body::Intake;
use super::invocation::Invocation;
use super::options::CompressOptions;
use crate::admission::AdmissionPermit;
use crate::dispatch::Ticket;
use crate::error::Problem;
use crate::job::{BLOCK_BYTES, BlockOutcome, JobSpec, Kernel};
use crate::tenants::Tenant;

/// Blocks of one request that are queued or on engines at once, while few requests are: enough for every engine of a
/// small host to have one and the next.
const REQUEST_BLOCKS_IN_FLIGHT_MAX: usize = 16;
/// The same, however many requests there are: one on an engine while the next arrives.
const REQUEST_BLOCKS_IN_FLIGHT_MIN: usize = 2;
/// Blocks of all requests together, shared evenly: enough that no engine waits. What is not taken in stays with the
/// callers, so that memory does not grow with the bodies that happen to be sent at once.
const ALL_BLOCKS_IN_FLIGHT: usize = 96;

/// The handler.
pub(super) async fn compress(
    State(app): State<App>,
    Extension(invocation): Extension<Invocation>,
    Extension(tenant): Extension<Arc<Tenant>>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let mut progress = Progress::default();
    let count = app.count(&tenant, "compress");
    let result = begin(&app, &invocation, &tenant, request, &mut progress).await;
    count.end(&progress, &result);
    let answer = result?;
    Ok(answer.into_response(&progress, invocation.began))
}

/// Everything that is decided before the body is polled, and then the work within the deadline.
async fn begin(
    app: &App,
    invocation: &Invocation,
    tenant: &Tenant,
    request: Request,
    progress: &mut Progress,
) -> Result<Answer, Problem> {
    let options = CompressOptions::parse(request.uri(), request.headers(), invocation.began)?;
    let permit = app.admit(tenant, &options.service, BLOCK_BYTES)?;
    progress.spent.admit = invocation.began.elapsed();
    let headers = answer_headers(&options, request.headers());
    let intake = Intake::new(request.into_body(), app.limits);
    let blocks = Blocks {
        app,
        tenant,
        options: &options,
        permit: &permit,
        announced: options.service.content_length.is_some(),
        outstanding: VecDeque::new(),
        output: Vec::new(),
        checksum: BlockChecksum::empty(options.format),
    };
    let chunks = within(options.service.deadline, blocks.run(intake, progress)).await;
    let chunks = chunks.unwrap_or_else(|| Err(Problem::deadline(&progress.spent)))?;
    progress.bytes_out = chunks.iter().map(|chunk| chunk.len() as u64).sum();
    Ok(Answer {
        chunks,
        headers,
        deadline: options.service.deadline,
        permit,
    })
}

/// The blocks of one request.
struct Blocks<'a> {
    app: &'a App,
    tenant: &'a Tenant,
    options: &'a CompressOptions,
    permit: &'a Arc<AdmissionPermit>,
    /// Whether memory for the whole body was taken at admission; else it is taken block by block.
    announced: bool,
    /// In the order of the data; each with its input's length.
    outstanding: VecDeque<(Ticket, usize)>,
    output: Vec<Bytes>,
    checksum: BlockChecksum,
}

impl Blocks<'_> {
    async fn run(
        mut self,
        mut intake: Intake,
        progress: &mut Progress,
    ) -> Result<Vec<Bytes>, Problem> {
        let mut header = Vec::with_capacity(HEADER_BYTES_MAX);
        write_header(self.options.format, self.options.level, &mut header);
        self.output.push(Bytes::from(header));

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
        loop {
            let received = intake.next().await;
            progress.spent.receive = intake.waited();
            progress.bytes_in = intake.received();
            let Some(mut data) = received? else { break };
            while !data.is_empty() {
                // A full block is held back until a byte follows it: only then it is not the last.
                if block.len() == BLOCK_BYTES {
                    self.submit(block.split().freeze(), Position::Middle, progress)
                        .await?;
                    if !self.announced {
                        self.permit.grow(BLOCK_BYTES)?;
                    }
                    block = BytesMut::with_capacity(BLOCK_BYTES);
                }
                let room = BLOCK_BYTES.saturating_sub(block.len());
                let part = data.split_to(room.min(data.len()));
                block.extend_from_slice(&part);
            }
        }
        self.submit(block.freeze(), Position::Last, progress)
            .await?;
        while !self.outstanding.is_empty() {
            self.retire(progress).await?;
        }
        let mut trailer = Vec::with_capacity(TRAILER_BYTES_MAX);
        write_trailer(&self.checksum, &mut trailer);
        self.output.push(Bytes::from(trailer));
        Ok(self.output)
    }

    async fn submit(
        &mut self,
        input: Bytes,
        position: Position,
        progress: &mut Progress,
    ) -> Result<(), Problem> {
        while self.outstanding.len() >= blocks_in_flight_max(self.app.admission.in_flight()) {
            self.retire(progress).await?;
        }
        let length = input.len();
        let spec = JobSpec {
            tenant: self.tenant.id.clone(),
            kernel: Kernel::Compress {
                format: self.options.format,
                level: self.options.level,
                position,
            },
            input,
            policy: self.options.service.policy,
            deadline: self.options.service.deadline,
            permit: Arc::clone(self.permit),
        };
        let ticket = self
            .app
            .dispatcher
            .submit(spec)
            .await
            .map_err(|error| Problem::job(error, progress, 0))?;
        self.outstanding.push_back((ticket, length));
        Ok(())
    }

    /// Takes over the oldest outstanding block's outcome.
    async fn retire(&mut self, progress: &mut Progress) -> Result<(), Problem> {
        let Some((ticket, length)) = self.outstanding.pop_front() else {
            return Ok(());
        };
        let outcome: BlockOutcome = ticket
            .outcome()
            .await
            .map_err(|error| Problem::job(error, progress, 0))?;
        progress.count(&outcome);
        if outcome.consumed != length || outcome.checksum.format() != self.options.format {
            return Err(Problem::internal("an outcome does not stand for its block"));
        }
        self.checksum = self.checksum.combine(outcome.checksum);
        self.permit
            .shrink(length.saturating_sub(outcome.output.len()));
        self.output.push(outcome.output);
        Ok(())
    }
}

/// A request's share of the blocks in flight while there are `requests`.
fn blocks_in_flight_max(requests: usize) -> usize {
    (ALL_BLOCKS_IN_FLIGHT / requests.max(1))
        .clamp(REQUEST_BLOCKS_IN_FLIGHT_MIN, REQUEST_BLOCKS_IN_FLIGHT_MAX)
}

fn answer_headers(options: &CompressOptions, request: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
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
        assert_eq!(blocks_in_flight_max(10_000), REQUEST_BLOCKS_IN_FLIGHT_MIN);
    }
}
