//! A body that is here as a whole: its members decoded one after another, each by whichever engine suits.
//!
//! Invariants: a member whose output is long, or for whose output there is no memory, is left to flow; cards are asked for
//! no more than [`MEMBERS_ON_CARD_MAX`] members of a body.

use std::sync::Arc;

use bytes::Bytes;
use faam_codec::{DecompressError, Format, Limits, MEMBERS_MAX};

use super::Decompression;
use crate::error::Problem;
use crate::http::delivery::Stop;
use crate::job::{BackendPolicy, BlockOutcome, FallbackReason, JobError, JobSpec, Kernel};

/// Least memory for the output of a whole member: as much as a card can give, so that a limit of ours is never what
/// sends a job of a card's size back.
const WHOLE_OUTPUT_BYTES_MIN: usize = faam_hwif::JOB_BYTES_MAX as usize;
/// Most memory for the output of a whole member. A longer one flows.
const WHOLE_OUTPUT_BYTES_MAX: usize = 4 << 20;
/// Expansion assumed where the body does not tell.
const FIRST_RATIO: usize = 4;
/// DEFLATE expands no further: 258 bytes from 2 bits.
const EXPANSION_MAX: usize = 1032;
/// Members of one body that cards may be given. A card is handed all that is left of the body, for nobody knows where
/// a member ends: a body of many small ones would be copied over and over, for next to no work each. The CPU decodes
/// all that is left in one job.
const MEMBERS_ON_CARD_MAX: usize = 16;
/// Bytes of padding looked at before other tasks get their turn.
const PADDING_STEP_BYTES: usize = 128 << 10;

impl Decompression {
    /// Decodes a body that is here as a whole, one member after another, until one is found to be long.
    pub(super) async fn members(&mut self, body: Bytes, format: Format) -> Result<Rest, Stop> {
        let body_bytes = body.len();
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
            let Some(mut outcome) = self.decode(&member, produced).await? else {
                return Ok(Rest::Long { rest, produced });
            };
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
            let made = outcome.output.len();
            produced = produced.saturating_add(made);
            self.push(outcome.output).await?;
            self.permit.shrink(made);
            rest = rest.split_off(outcome.consumed);
            let offset = body_bytes.saturating_sub(rest.len());
            if rest.is_empty() || (format == Format::Gzip && is_padding(&rest).await) {
                return Ok(Rest::Nothing);
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

    /// One member, if its output is not long. `produced` bytes came before it.
    async fn decode(
        &mut self,
        member: &Member<'_>,
        produced: usize,
    ) -> Result<Option<BlockOutcome>, Stop> {
        let &Member {
            input,
            base,
            format,
            policy,
        } = member;
        let limits = &self.tenant.limits;
        let left = limits.output_bytes_max.saturating_sub(produced);
        let taken = first_output_bytes(input, format).min(left);
        if let Err(refusal) = self.permit.grow(taken) {
            // A card gives its output in one piece; the CPU can do with less.
            return match policy {
                BackendPolicy::RequireHardware => Err(refusal.into()),
                _ => Ok(None),
            };
        }
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
            priority: self.options.service.priority,
            deadline: self.options.service.deadline,
            permit: Arc::clone(&self.permit),
        };
        let result = match self.app.dispatcher.submit_small(spec).await {
            Ok(mut ticket) => ticket.outcome().await,
            Err(error) => Err(error),
        };
        match result {
            Ok(outcome) => {
                self.permit
                    .shrink(taken.saturating_sub(outcome.output.len()));
                Ok(Some(outcome))
            }
            Err(JobError::Input(DecompressError::TooLarge { .. })) if taken < left => {
                self.permit.shrink(taken);
                Ok(None)
            }
            Err(JobError::Input(DecompressError::TooLarge { .. })) => {
                Err(self.too_large(limits.output_bytes_max).into())
            }
            Err(error) => Err(Problem::job(error, &mut self.progress.lock(), base).into()),
        }
    }
}

/// What is left of a body once its short members are decoded.
pub(super) enum Rest {
    Nothing,
    /// A member whose output does not fit the memory of a whole one begins `rest`.
    Long {
        rest: Bytes,
        produced: usize,
    },
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
        .clamp(WHOLE_OUTPUT_BYTES_MIN, WHOLE_OUTPUT_BYTES_MAX)
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
    use crate::error::ProblemKind;
    use crate::http::answer::Progress;

    #[test]
    fn a_gzip_trailer_tells_the_output_unless_it_cannot_be_true() {
        let mut body = vec![0; 1 << 19];
        let at = body.len() - 4;
        body[at..].copy_from_slice(&(3u32 << 20).to_le_bytes());
        assert_eq!(first_output_bytes(&body, Format::Gzip), 3 << 20);
        assert_eq!(first_output_bytes(&body, Format::Zlib), FIRST_RATIO << 19);
        body[at..].copy_from_slice(&7u32.to_le_bytes());
        assert_eq!(first_output_bytes(&body, Format::Gzip), FIRST_RATIO << 19);
        body[at..].copy_from_slice(&(100u32 << 20).to_le_bytes());
        assert_eq!(
            first_output_bytes(&body, Format::Gzip),
            WHOLE_OUTPUT_BYTES_MAX
        );
        assert_eq!(
            first_output_bytes(b"", Format::Gzip),
            WHOLE_OUTPUT_BYTES_MIN
        );
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
}
