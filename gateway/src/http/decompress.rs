//! `POST /v1/decompress`: a whole body, detected, decoded within the tenant's limits.
//!
//! Invariants: output memory is taken from the budget before it is used: a decode runs
//! with what was taken as its limit, and one that outgrows it runs again with more; the
//! members of a body are decoded in order, each verified; cards are asked for no more than
//! [`MEMBERS_ON_CARD_MAX`] of them. It knows no engines.
//!
//! Why run again instead of asking for the tenant's whole limit: four requests would
//! fill the process's budget, while most bodies expand by less than ten. A run costs at
//! most a third more in all, for each limit is [`REGROW`] times the last.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, Response};
use bytes::{Bytes, BytesMut};
use faam_codec::{DecompressError, Format, Limits, MEMBERS_MAX};

use super::app::App;
use super::body::Intake;
use super::delivery::{Caller, Delivery, SharedProgress, Stop};
use super::invocation::Invocation;
use super::options::DecompressOptions;
use super::outflow::Outflow;
use crate::admission::AdmissionPermit;
use crate::error::{Problem, ProblemKind};
use crate::job::{
    BLOCK_BYTES, BackendPolicy, BlockOutcome, FallbackReason, JobError, JobSpec, Kernel,
};
use crate::tenants::Tenant;

/// The kernel's name in metrics.
const KERNEL: &str = "decompress";
/// Memory taken at first for a body whose length is not announced.
const FIRST_BODY_BYTES: usize = 64 << 10;
/// Least memory taken at first for the output: as much as a card can give, so that a limit of ours is never what
/// sends a job of a card's size back.
const FIRST_OUTPUT_BYTES: usize = faam_hwif::JOB_BYTES_MAX as usize;
/// Expansion assumed where the body does not tell.
const FIRST_RATIO: usize = 4;
/// DEFLATE expands no further: 258 bytes from 2 bits.
const EXPANSION_MAX: usize = 1032;
/// How much more is taken for the next run.
const REGROW: usize = 4;
/// Members of one body that cards may be given. A card is handed all that is left of the body, for nobody knows where
/// a member ends: a body of many small ones would be copied over and over, for next to no work each. The CPU decodes
/// all that is left in one job.
const MEMBERS_ON_CARD_MAX: usize = 16;
/// Bytes of padding looked at before other tasks get their turn.
const PADDING_STEP_BYTES: usize = 128 << 10;

/// The handler.
pub(super) async fn decompress(
    State(app): State<App>,
    Extension(invocation): Extension<Invocation>,
    Extension(tenant): Extension<Arc<Tenant>>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let mut count = app.count(&tenant, KERNEL);
    let begun = begin(&app, invocation, &tenant, &request);
    let (options, permit) = begun.inspect_err(|problem| count.refused(problem))?;
    let progress = SharedProgress::default();
    progress.lock().spent.admit = invocation.began.elapsed();
    let delivery = Delivery {
        deadline: options.service.deadline,
        headers: HeaderMap::new(),
        caller: Caller::of(&request),
        permit: Arc::clone(&permit),
        progress: Arc::clone(&progress),
        tenant: Arc::clone(&tenant),
        app: app.clone(),
        kernel: KERNEL,
        invocation,
        count,
    };
    let intake = Intake::new(request.into_body(), app.limits);
    delivery
        .run(move |outflow| {
            let members = Members {
                app,
                tenant,
                options,
                permit,
                progress,
                outflow,
            };
            members.run(intake)
        })
        .await
}

/// Everything that is decided before the body is polled.
fn begin(
    app: &App,
    invocation: Invocation,
    tenant: &Tenant,
    request: &Request,
) -> Result<(DecompressOptions, Arc<AdmissionPermit>), Problem> {
    let options = DecompressOptions::parse(request.uri(), request.headers(), invocation.began)?;
    let permit = app.admit(tenant, &options.service, FIRST_BODY_BYTES)?;
    Ok((options, permit))
}

/// The members of one request.
struct Members {
    app: App,
    tenant: Arc<Tenant>,
    options: DecompressOptions,
    permit: Arc<AdmissionPermit>,
    progress: SharedProgress,
    outflow: Arc<Outflow>,
}

impl Members {
    async fn run(self, intake: Intake) -> Result<(), Stop> {
        let body = self.collect(intake).await?;
        self.outflow.body_arrived();
        let body_bytes = body.len();
        let format = self.format(&body)?;
        let mut rest = body;
        let mut produced = 0usize;
        for number in 0..MEMBERS_MAX {
            let base = body_bytes.saturating_sub(rest.len());
            let asked = self.options.service.policy;
            let policy = member_policy(asked, number)
                .map_err(|error| Problem::job(error, &mut self.progress.lock(), base))?;
            let member = Member {
                input: &rest,
                base,
                format,
                policy,
            };
            let mut outcome = self.decode(&member, produced).await?;
            // Who would rather have a card is told why there was none.
            if asked == BackendPolicy::PreferHardware && policy != asked {
                outcome.fallback = outcome.fallback.or(Some(FallbackReason::BeyondCard));
            }
            self.progress.lock().count(&outcome);
            if outcome.consumed == 0 || outcome.consumed > rest.len() {
                return Err(Problem::internal(
                    "an outcome consumed nothing, or more than there was",
                )
                .into());
            }
            produced = produced.saturating_add(outcome.output.len());
            let made = outcome.output.len();
            while !outcome.output.is_empty() {
                let piece = outcome.output.len().min(BLOCK_BYTES);
                self.outflow.push(outcome.output.split_to(piece)).await?;
            }
            self.permit.shrink(made);
            rest = rest.split_off(outcome.consumed);
            let offset = body_bytes.saturating_sub(rest.len());
            if rest.is_empty() || (format == Format::Gzip && is_padding(&rest).await) {
                return Ok(());
            }
            // Only gzip's standard has members follow each other (RFC 1952, 2.2).
            if format != Format::Gzip || Format::detect(&rest) != Some(Format::Gzip) {
                return Err(Problem::decompress(
                    &DecompressError::TrailingGarbage { offset, format },
                    0,
                )
                .into());
            }
        }
        Err(Problem::decompress(&DecompressError::TooManyMembers, 0).into())
    }

    /// The whole body. Memory is taken from the budget before it is used.
    async fn collect(&self, mut intake: Intake) -> Result<Bytes, Problem> {
        let announced = self
            .options
            .service
            .content_length
            .and_then(|length| usize::try_from(length).ok());
        let mut taken = announced.unwrap_or(FIRST_BODY_BYTES);
        let mut body = BytesMut::with_capacity(taken);
        loop {
            let received = intake.next().await;
            let mut progress = self.progress.lock();
            progress.spent.receive = intake.waited();
            progress.bytes_in = intake.received();
            drop(progress);
            let Some(data) = received? else { break };
            let needed = body.len().saturating_add(data.len());
            if needed > taken {
                let larger = needed.max(taken.saturating_mul(2));
                self.permit.grow(larger - taken)?;
                body.reserve(larger - body.len());
                taken = larger;
            }
            body.extend_from_slice(&data);
        }
        self.permit.shrink(taken.saturating_sub(body.len()));
        Ok(body.freeze())
    }

    fn format(&self, body: &[u8]) -> Result<Format, Problem> {
        if body.is_empty() {
            return Err(Problem::new(
                ProblemKind::CorruptInput,
                "the body is empty: expected at least one gzip, zlib or deflate member; check what was sent",
            )
            .with("offset", 0));
        }
        if let Some(format) = self.options.format {
            return Ok(format);
        }
        if let Some(name) = foreign_format(body) {
            return Err(Problem::unknown_format(
                name,
                "gzip or zlib data (raw deflate with format=deflate)",
            ));
        }
        match Format::detect(body) {
            Some(format) => Ok(format),
            None if body == [0x1f] => Ok(Format::Gzip),
            None => Err(Problem::decompress(&DecompressError::UnknownFormat, 0)),
        }
    }

    /// One member, with as much memory as it takes and the limits allow after `produced` bytes.
    async fn decode(&self, member: &Member<'_>, produced: usize) -> Result<BlockOutcome, Problem> {
        let &Member {
            input,
            base,
            format,
            policy,
        } = member;
        let limits = self.tenant.limits;
        let left = limits.output_bytes_max.saturating_sub(produced);
        let mut taken = first_output_bytes(input, format).min(left);
        self.permit.grow(taken)?;
        loop {
            let spec = JobSpec {
                tenant: self.tenant.id.clone(),
                kernel: Kernel::Decompress {
                    format,
                    limits: Limits {
                        output_bytes_max: taken as u64,
                        ratio_max: limits.ratio_max,
                    },
                },
                input: input.clone(),
                policy,
                deadline: self.options.service.deadline,
                permit: Arc::clone(&self.permit),
            };
            let result = match self.app.dispatcher.submit(spec).await {
                Ok(mut ticket) => ticket.outcome().await,
                Err(error) => Err(error),
            };
            match result {
                Ok(outcome) => {
                    self.permit
                        .shrink(taken.saturating_sub(outcome.output.len()));
                    return Ok(outcome);
                }
                Err(JobError::Input(DecompressError::TooLarge { .. })) if taken < left => {
                    let larger = taken.saturating_mul(REGROW).min(left);
                    self.permit.grow(larger - taken)?;
                    taken = larger;
                }
                Err(JobError::Input(DecompressError::TooLarge { .. })) => {
                    let output_bytes_max = limits.output_bytes_max as u64;
                    return Err(Problem::decompress(
                        &DecompressError::TooLarge { output_bytes_max },
                        0,
                    )
                    .with("output_bytes_max", output_bytes_max));
                }
                Err(error) => {
                    return Err(Problem::job(error, &mut self.progress.lock(), base));
                }
            }
        }
    }
}

/// One member of a body.
struct Member<'a> {
    /// All that is left of the body; the member is its beginning.
    input: &'a Bytes,
    /// Where in the body it begins.
    base: usize,
    format: Format,
    policy: BackendPolicy,
}

/// Where member `number` of a body, counted from 0, may run.
///
/// # Errors
/// [`JobError::BeyondCard`] where only a card is allowed, and cards have had their share of the body.
fn member_policy(asked: BackendPolicy, number: usize) -> Result<BackendPolicy, JobError> {
    match asked {
        _ if number < MEMBERS_ON_CARD_MAX => Ok(asked),
        BackendPolicy::RequireHardware => Err(JobError::BeyondCard(format!(
            "a body of more than {MEMBERS_ON_CARD_MAX} gzip members: cards decompress at most {MEMBERS_ON_CARD_MAX} \
             members of a body; send bodies of at most {MEMBERS_ON_CARD_MAX} members, or let the CPU serve the rest \
             (Faam-Backend: prefer-hw)"
        ))),
        BackendPolicy::Auto | BackendPolicy::PreferHardware | BackendPolicy::Cpu => {
            Ok(BackendPolicy::Cpu)
        }
    }
}

/// How much output to expect: what a gzip trailer says, where it can be true, else a multiple of the body.
fn first_output_bytes(input: &[u8], format: Format) -> usize {
    let by_ratio = input.len().saturating_mul(FIRST_RATIO);
    let told = match (format, input.last_chunk::<4>()) {
        (Format::Gzip, Some(length)) => usize::try_from(u32::from_le_bytes(*length)).ok(),
        _ => None,
    };
    // A trailer of the last of many members says less than the body has; a lie costs a run, or a refusal.
    let possible = input.len() / 2..=input.len().saturating_mul(EXPANSION_MAX);
    told.filter(|told| possible.contains(told))
        .unwrap_or(by_ratio)
        .max(FIRST_OUTPUT_BYTES)
}

/// Formats that callers send by mistake, by their first bytes.
fn foreign_format(body: &[u8]) -> Option<&'static str> {
    const FOREIGN: [(&[u8], &str); 6] = [
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
        (&[0x04, 0x22, 0x4d, 0x18], "lz4"),
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

/// Whether all bytes are zero: tapes and block devices pad so.
async fn is_padding(rest: &[u8]) -> bool {
    for step in rest.chunks(PADDING_STEP_BYTES) {
        if step.iter().any(|&byte| byte != 0) {
            return false;
        }
        tokio::task::yield_now().await;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::answer::Progress;

    #[test]
    fn a_gzip_trailer_tells_the_output_unless_it_cannot_be_true() {
        let mut body = vec![0; 1 << 20];
        let at = body.len() - 4;
        body[at..].copy_from_slice(&(3u32 << 20).to_le_bytes());
        assert_eq!(first_output_bytes(&body, Format::Gzip), 3 << 20);
        assert_eq!(first_output_bytes(&body, Format::Zlib), FIRST_RATIO << 20);
        body[at..].copy_from_slice(&7u32.to_le_bytes());
        assert_eq!(first_output_bytes(&body, Format::Gzip), FIRST_RATIO << 20);
        assert_eq!(first_output_bytes(b"", Format::Gzip), FIRST_OUTPUT_BYTES);
    }

    #[test]
    fn cards_get_the_first_members_and_require_hw_ends_there() {
        let policies = [
            BackendPolicy::Auto,
            BackendPolicy::PreferHardware,
            BackendPolicy::RequireHardware,
            BackendPolicy::Cpu,
        ];
        for policy in policies {
            for number in [0, MEMBERS_ON_CARD_MAX - 1] {
                assert_eq!(member_policy(policy, number).expect("served"), policy);
            }
            for number in [MEMBERS_ON_CARD_MAX, MEMBERS_MAX - 1] {
                let served = member_policy(policy, number);
                if policy != BackendPolicy::RequireHardware {
                    assert_eq!(served.expect("served"), BackendPolicy::Cpu);
                    continue;
                }
                let error = served.expect_err("no card takes it");
                let problem = Problem::job(error, &mut Progress::default(), 320);
                assert_eq!(problem.kind(), ProblemKind::NoEngine);
                for word in [
                    "more than 16",
                    "at most 16 members",
                    "Faam-Backend: prefer-hw",
                ] {
                    assert!(problem.detail().contains(word), "{}", problem.detail());
                }
            }
        }
    }

    #[test]
    fn foreign_formats_are_named() {
        assert_eq!(foreign_format(&[0x28, 0xb5, 0x2f, 0xfd, 0]), Some("zstd"));
        assert_eq!(foreign_format(b"PK\x03\x04"), Some("zip"));
        assert_eq!(foreign_format(&[0x1f, 0x8b]), None);
    }
}
