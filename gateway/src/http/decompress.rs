//! `POST /v1/decompress`: a body detected and decoded within the tenant's limits, as it arrives.
//!
//! A short body whose members are short is decoded member by member, whole, by whichever
//! engine suits: cards take whole members only. Everything else flows through one decoder
//! on the CPU, part by part. Invariants: memory is taken from the budget before it is
//! used; the members of a body are decoded in order, each confirmed. It knows no engines.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, Response};
use bytes::{Bytes, BytesMut};
use faam_codec::{DecompressError, Format, Limits, StreamDecompressor, StreamState};

use self::members::Rest;
use super::app::App;
use super::delivery::{Caller, Delivery, Stop};
use super::digest::checked;
use super::entry::Entry;
use super::intake::Intake;
use super::invocation::Invocation;
use super::openapi::{Binary, DecompressParams, DecompressResponses};
use super::options::DecompressOptions;
use super::outflow::{Outflow, WINDOW_BYTES};
use super::request_record::{RequestRecord, SharedProgress};
use crate::admission::{AdmissionPermit, CalledKernel};
use crate::auth::Principal;
use crate::credentials::scopes::Scope;
use crate::error::{Problem, ProblemKind};
use crate::job::{
    BLOCK_BYTES, BackendPolicy, JobError, JobSpec, Kernel, Part, Stage, beyond_card_text,
};
use crate::tenants::Tenant;

mod members;

/// Where it is.
pub(super) const PATH: &str = "/v1/decompress";
/// A body up to this size is decoded whole, where its members' output is short as well: all that a card takes.
const WHOLE_BODY_BYTES_MAX: usize = faam_hwif::JOB_BYTES_MAX as usize;
/// Input that is gathered for one part of a stream.
const PART_INPUT_BYTES: usize = 128 << 10;
/// Most output of one part of a stream: an engine is held for less than a millisecond.
const PART_OUTPUT_BYTES: usize = 512 << 10;
/// Memory that a body of any length may need, for nobody knows what it expands to: a part's output, and the window of
/// its answer.
const WORKING_BYTES_MIN: usize = PART_OUTPUT_BYTES + WINDOW_BYTES;
/// Memory without which a request could come to a stop: that, and its body's beginning or a part of it. A whole member's
/// output and a stream's decoder are taken on top.
const WORKING_BYTES_MAX: usize = WHOLE_BODY_BYTES_MAX + WORKING_BYTES_MIN;

/// Decompress a body
///
/// All members of the body, one after another. What expands beyond the tenant's limits is stopped.
#[utoipa::path(
    post, path = PATH, tag = "kernels", security(("key" = [])),
    params(DecompressParams),
    request_body(content = Binary, content_type = "application/octet-stream"),
    responses(DecompressResponses)
)]
pub(super) async fn decompress(
    State(app): State<App>,
    Extension(invocation): Extension<Invocation>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let caller = app.caller(invocation, &request)?;
    let request = checked(request, caller.body_sha256)?;
    decompress_for(app, invocation, caller.principal, request, 0).await
}

/// The same for whose credential was judged before; `held_bytes` is memory that is held for the request elsewhere.
pub(super) async fn decompress_for(
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
        Scope::Decompress,
        |app, tenant| begin(app, invocation, tenant, &request, held_bytes),
    )?;
    let mut headers = HeaderMap::new();
    record.admitted(&options.service, &mut headers);
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
    let delivered = Box::pin(delivery.run(move |outflow| {
        let decompression = Decompression {
            app,
            tenant,
            options,
            permit,
            progress,
            outflow,
            intake,
            arrived: false,
        };
        decompression.run()
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
) -> Result<(DecompressOptions, Arc<AdmissionPermit>), Problem> {
    let mut options = DecompressOptions::parse(request.uri(), request.headers(), invocation.began)?;
    let entry = Entry {
        kernel: CalledKernel::Decompress,
        began: invocation.began,
        service: &mut options.service,
        // What a body holds is not known yet.
        beyond_cards: None,
        working_bytes: WORKING_BYTES_MIN..=WORKING_BYTES_MAX,
        fixed_bytes: held_bytes,
        compression: None,
    };
    let permit = app.admit(tenant, entry)?;
    Ok((options, permit))
}

/// One request's body, on its way through the decoders.
struct Decompression {
    app: App,
    tenant: Arc<Tenant>,
    options: DecompressOptions,
    permit: Arc<AdmissionPermit>,
    progress: SharedProgress,
    outflow: Arc<Outflow>,
    intake: Intake,
    /// Whether the body has ended.
    arrived: bool,
}

impl Decompression {
    async fn run(mut self) -> Result<(), Stop> {
        let head = self.receive(WHOLE_BODY_BYTES_MAX).await?;
        let format = self.format(&head)?;
        // Only what a card may be given is decoded member by member; all else flows.
        let (rest, produced) = if self.arrived && format.is_deflate() {
            match self.members(head, format).await? {
                Rest::Nothing => return Ok(()),
                Rest::Long { rest, produced } => (rest, produced),
            }
        } else {
            (head, 0)
        };
        if self.options.service.policy == BackendPolicy::RequireHardware {
            return Err(Problem::job(
                JobError::BeyondCard(beyond_card_text()),
                &mut self.progress.lock(),
                0,
            )
            .into());
        }
        self.stream(rest, format, produced).await
    }

    /// The body's next bytes: `least` of them, or all that is left.
    async fn receive(&mut self, least: usize) -> Result<Bytes, Stop> {
        let mut gathered = BytesMut::new();
        while !self.arrived && gathered.len() < least {
            let received = self.intake.next().await;
            let mut progress = self.progress.lock();
            progress.spent.receive = self.intake.waited();
            progress.spent.received = self.intake.last_waited();
            progress.spent.paced = self.intake.paced();
            progress.bytes_in = self.intake.received();
            drop(progress);
            match received? {
                Some(data) => gathered.extend_from_slice(&data),
                None => {
                    self.arrived = true;
                    self.outflow.body_arrived();
                }
            }
        }
        Ok(gathered.freeze())
    }

    fn format(&self, head: &[u8]) -> Result<Format, Problem> {
        if head.is_empty() {
            return Err(Problem::new(
                ProblemKind::CorruptInput,
                "the body is empty: expected at least one member of gzip, zlib, deflate, zstd or lz4; check what was sent",
            )
            .with("offset", 0));
        }
        if let Some(format) = self.options.format {
            return Ok(format);
        }
        if let Some(name) = foreign_format(head) {
            return Err(Problem::unknown_format(
                name,
                "gzip, zlib, zstd or lz4 data (raw deflate with format=deflate)",
            ));
        }
        match Format::detect(head) {
            Some(format) => Ok(format),
            None if head == [0x1f] => Ok(Format::Gzip),
            None => Err(Problem::decompress(&DecompressError::UnknownFormat, 0)),
        }
    }

    /// Decodes what is left of the body as it arrives. `produced` bytes came before it.
    async fn stream(
        &mut self,
        mut input: Bytes,
        format: Format,
        produced: usize,
    ) -> Result<(), Stop> {
        self.permit
            .grow(StreamDecompressor::memory_bytes_max(format))?;
        let base = usize::try_from(self.intake.received())
            .unwrap_or(usize::MAX)
            .saturating_sub(input.len());
        let output_bytes_max = self.tenant.limits.output_bytes_max;
        let limits = Limits {
            output_bytes_max: output_bytes_max.saturating_sub(produced) as u64,
            ratio_max: self.tenant.limits.ratio_max,
        };
        let mut stage = Stage(Box::new(StreamDecompressor::new(Some(format), limits)));
        loop {
            let spec = JobSpec {
                tenant: self.tenant.id.clone(),
                kernel: Kernel::DecompressPart {
                    stage: Some(stage),
                    last: self.arrived,
                    room: PART_OUTPUT_BYTES,
                },
                input: input.clone(),
                policy: self.options.service.policy,
                priority: self.options.service.priority,
                deadline: self.options.service.deadline,
                permit: Arc::clone(&self.permit),
            };
            let result = match self.app.dispatcher.submit(spec).await {
                Ok(mut ticket) => ticket.outcome().await,
                Err(error) => Err(error),
            };
            let outcome = match result {
                Ok(outcome) => outcome,
                Err(JobError::Input(DecompressError::TooLarge { .. })) => {
                    return Err(self.too_large(output_bytes_max).into());
                }
                Err(error) => {
                    return Err(Problem::job(error, &mut self.progress.lock(), base).into());
                }
            };
            self.progress.lock().count(&outcome);
            if outcome.consumed > input.len() {
                return Err(Problem::internal("a part consumed more than there was").into());
            }
            input = input.split_off(outcome.consumed);
            let moved = outcome.consumed > 0 || !outcome.output.is_empty();
            self.push(outcome.output).await?;
            let Some(Part::Decompressed(next, state)) = outcome.part else {
                return Err(Problem::internal("a part left no state behind").into());
            };
            stage = next;
            match state {
                StreamState::Ended => return Ok(()),
                StreamState::NeedsRoom if moved => {}
                StreamState::NeedsInput if !self.arrived => {
                    let more = self.receive(PART_INPUT_BYTES).await?;
                    input = if input.is_empty() {
                        more
                    } else {
                        [&input[..], &more[..]].concat().into()
                    };
                }
                StreamState::NeedsRoom | StreamState::NeedsInput => {
                    return Err(Problem::internal("a decoder came to a stop").into());
                }
            }
        }
    }

    /// Passes `output` on in pieces of the window's grain.
    async fn push(&mut self, mut output: Bytes) -> Result<(), Stop> {
        while !output.is_empty() {
            let piece = output.len().min(BLOCK_BYTES);
            self.outflow.push(output.split_to(piece)).await?;
        }
        Ok(())
    }

    fn too_large(&self, output_bytes_max: usize) -> Problem {
        let error = DecompressError::TooLarge {
            output_bytes_max: output_bytes_max as u64,
        };
        Problem::decompress(&error, 0).with("output_bytes_max", output_bytes_max)
    }
}

/// Formats that callers send by mistake, by their first bytes.
fn foreign_format(body: &[u8]) -> Option<&'static str> {
    const FOREIGN: [(&[u8], &str); 4] = [
        (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz"),
        (b"BZh", "bzip2"),
        (b"PK\x03\x04", "zip"),
        (&[b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c], "7z"),
    ];
    FOREIGN
        .iter()
        .find(|(magic, _)| body.starts_with(magic))
        .map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_formats_are_named() {
        assert_eq!(foreign_format(b"BZh91AY"), Some("bzip2"));
        assert_eq!(foreign_format(b"PK\x03\x04"), Some("zip"));
        assert_eq!(foreign_format(&[0x1f, 0x8b]), None);
    }
}
