//! A body that is announced to be short: one block, and an answer that is whole.
//!
//! At a kilobyte the way of a long body (a window, somebody who looks on, work that may go on as a task of its own) costs
//! as much as compressing it. Nothing of that can happen to an answer that is shorter than the window. Invariants: those of
//! `super::delivery`; a body that comes in one piece is not copied. It knows no engines.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Response, Version};
use bytes::{Bytes, BytesMut};
use faam_codec::{HEADER_BYTES_MAX, Position, TRAILER_BYTES_MAX, write_header, write_trailer};
use tokio::time::timeout_at;

use super::answer::{COALESCE_BYTES_MAX, whole};
use super::body::PIECE_BYTES_MAX;
use super::chunked_body::ChunkedBody;
use super::delivery::Stop;
use super::digest::{Algorithm, REPR_DIGEST, ReprDigest};
use super::intake::Intake;
use super::kept_answer::Kept;
use super::options::CompressOptions;
use super::request_record::RequestRecord;
use crate::admission::AdmissionPermit;
use crate::error::Problem;
use crate::job::{BLOCK_BYTES, BlockOutcome, JobError, JobSpec, Kernel};

/// One request whose body is one block.
pub(super) struct ShortBody {
    pub(super) record: RequestRecord,
    pub(super) options: CompressOptions,
    pub(super) permit: Arc<AdmissionPermit>,
    /// Headers of the answer.
    pub(super) headers: HeaderMap,
}

impl ShortBody {
    /// Whether a request is one of these. An answer of HTTP/2 may be granted no window, and a caller of HTTP/1.0 sees no
    /// break: both have somebody who looks on.
    pub(super) fn suits(options: &CompressOptions, version: Version) -> bool {
        let length = options.service.content_length;
        version == Version::HTTP_11
            && options.format.is_deflate()
            && length.is_some_and(|length| length <= BLOCK_BYTES as u64)
    }

    /// Compresses the body of `request`.
    pub(super) async fn answer(self, request: Request) -> Result<Response<Body>, Problem> {
        let digest = Algorithm::wanted(request.headers()).map(ReprDigest::new);
        let kept = Kept::of(&request);
        let limits = self.record.app.intake_limits(&self.record.tenant);
        let mut intake = Intake::new(request.into_body(), limits, Arc::clone(&self.permit));
        let made = self.make(&mut intake);
        let made = match self.options.service.deadline {
            None => made.await,
            Some(deadline) => match timeout_at(deadline.into(), made).await {
                Ok(made) => made,
                Err(_) => Err(Problem::deadline(&self.record.progress.lock().spent).into()),
            },
        };
        drop(intake);
        match made {
            Ok(chunks) => self.whole(chunks, digest, kept),
            Err(stop) => Err(self.record.refuse(stop)),
        }
    }

    /// The answer's bytes.
    async fn make(&self, intake: &mut Intake) -> Result<Vec<Bytes>, Stop> {
        let input = self.receive(intake).await?;
        let length = input.len();
        let (format, level) = (self.options.format, self.options.level);
        let spec = JobSpec {
            tenant: self.record.tenant.id.clone(),
            kernel: Kernel::Compress {
                format,
                level,
                position: Position::Last,
            },
            input,
            policy: self.options.service.policy,
            priority: self.options.service.priority,
            deadline: self.options.service.deadline,
            permit: Arc::clone(&self.permit),
        };
        let outcome = self.run(spec).await;
        let outcome = {
            let mut progress = self.record.progress.lock();
            let outcome = outcome.map_err(|error| Problem::job(error, &mut progress, 0))?;
            progress.count(&outcome);
            outcome
        };
        if outcome.consumed != length || outcome.checksum.format() != format {
            return Err(Problem::internal("an outcome does not stand for its block").into());
        }
        let mut head = Vec::with_capacity(
            HEADER_BYTES_MAX + TRAILER_BYTES_MAX + COALESCE_BYTES_MAX.min(outcome.output.len()),
        );
        write_header(format, level, &mut head);
        if outcome.output.len() <= COALESCE_BYTES_MAX {
            head.extend_from_slice(&outcome.output);
            write_trailer(&outcome.checksum, &mut head);
            return Ok(vec![head.into()]);
        }
        let mut trailer = Vec::with_capacity(TRAILER_BYTES_MAX);
        write_trailer(&outcome.checksum, &mut trailer);
        Ok(vec![head.into(), outcome.output, trailer.into()])
    }

    async fn run(&self, spec: JobSpec) -> Result<BlockOutcome, JobError> {
        let mut ticket = self.record.app.dispatcher.submit_small(spec).await?;
        ticket.outcome().await
    }

    /// The whole body. HTTP/1.1 gives no more bytes than were announced, and no fewer.
    async fn receive(&self, intake: &mut Intake) -> Result<Bytes, Stop> {
        let first = self.next(intake).await?.unwrap_or_default();
        let Some(second) = self.next(intake).await? else {
            return Ok(first);
        };
        let announced = self.options.service.content_length.unwrap_or_default();
        let announced = usize::try_from(announced).unwrap_or(BLOCK_BYTES);
        let mut body = BytesMut::with_capacity(announced.min(BLOCK_BYTES));
        body.extend_from_slice(&first);
        body.extend_from_slice(&second);
        drop((first, second));
        while let Some(data) = self.next(intake).await? {
            if body.len().saturating_add(data.len()) > BLOCK_BYTES {
                return Err(Problem::internal("a body is longer than its Content-Length").into());
            }
            body.extend_from_slice(&data);
        }
        Ok(body.freeze())
    }

    async fn next(&self, intake: &mut Intake) -> Result<Option<Bytes>, Stop> {
        let received = intake.next().await;
        let mut progress = self.record.progress.lock();
        progress.spent.receive = intake.waited();
        progress.spent.received = intake.last_waited();
        progress.spent.paced = intake.paced();
        progress.bytes_in = intake.received();
        Ok(received?)
    }

    fn whole(
        self,
        chunks: Vec<Bytes>,
        digest: Option<ReprDigest>,
        kept: Option<Kept>,
    ) -> Result<Response<Body>, Problem> {
        let Self {
            record,
            options,
            permit,
            mut headers,
        } = self;
        let length = chunks.iter().map(Bytes::len).sum();
        if let Some(kept) = kept.filter(|kept| length > kept.bytes_max) {
            return Err(record.refuse(kept.too_long().into()));
        }
        {
            let mut progress = record.progress.lock();
            progress.bytes_out = length as u64;
            progress.answered = Some(Instant::now());
            let began = record.invocation.began;
            progress.tell(record.app.verify.done(), began, &mut headers);
        }
        if let Some(mut digest) = digest {
            chunks.iter().for_each(|chunk| digest.update(chunk));
            headers.extend(digest.finish().map(|digest| (REPR_DIGEST, digest)));
        }
        if let Some(kept) = kept {
            return kept.answer(record, permit, headers, chunks);
        }
        permit.shrink_to(permit.bytes().min(length));
        let sent = move |sent| record.sent(sent);
        let deadline = options.service.deadline;
        let body = ChunkedBody::new(chunks, PIECE_BYTES_MAX, deadline, permit, sent);
        Ok(whole(
            headers,
            HeaderMap::new(),
            length as u64,
            Body::new(body),
        ))
    }
}
