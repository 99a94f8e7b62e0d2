//! What is decided of a request before its body is polled: kernel, engines, announced length, room, rates and quotas.
//!
//! Invariants: what costs nothing is looked at first, and what is paid last, so that a refused request has paid nothing;
//! each refusal of a tenant's own limits says what is left of them. It knows no bodies and no engines.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use faam_codec::{Format, Level};

use super::app::App;
use super::intake::too_large;
use super::limits::HttpLimits;
use super::options::ServiceOptions;
use super::rate_limit;
use crate::admission::{AdmissionPermit, Ask, CalledKernel, NotAllowed, engines};
use crate::card_kernel::CardKernel;
use crate::error::{Problem, ProblemKind};
use crate::job::{AnnouncedCompression, BackendPolicy, FallbackReason};
use crate::tenants::Tenant;

/// Memory of a request beyond its body: buffers of its connection, header and trailer, growth of stored blocks.
const REQUEST_OVERHEAD_BYTES: usize = 64 << 10;

/// One request at the door.
pub(super) struct Entry<'a> {
    pub(super) kernel: CalledKernel,
    /// When its head was complete.
    pub(super) began: Instant,
    /// Its wish for engines is narrowed to what its tenant may have.
    pub(super) service: &'a mut ServiceOptions,
    /// What no card does for it, if anything.
    pub(super) beyond_cards: Option<&'static str>,
    /// Memory by the length of its body: twice its length, once in and once out, but never more than the end, which is
    /// enough for a body of any length, nor less than the beginning, which any takes.
    pub(super) working_bytes: RangeInclusive<usize>,
    /// Memory of any length.
    pub(super) fixed_bytes: usize,
    /// Format and level of a compression, whose time can be told before. What a body decompresses to cannot.
    pub(super) compression: Option<(Format, Level)>,
}

/// What is known of a request's work before its body.
struct Ahead<'a> {
    tenant: &'a Tenant,
    service: &'a ServiceOptions,
    compression: Option<(Format, Level)>,
    length: u64,
}

/// The kernel that a card would serve a request with, if one does.
fn card_kernel(called: CalledKernel, compression: Option<(Format, Level)>) -> Option<CardKernel> {
    match (called, compression) {
        (CalledKernel::Decompress, _) => Some(CardKernel::Inflate),
        (CalledKernel::Compress, Some((format, level))) if format.is_deflate() => {
            CardKernel::of_level(level)
        }
        (CalledKernel::Compress, _) => None,
    }
}

impl App {
    /// Lets a request begin.
    pub(super) fn admit(
        &self,
        tenant: &Tenant,
        entry: Entry<'_>,
    ) -> Result<Arc<AdmissionPermit>, Problem> {
        let Entry {
            kernel,
            began,
            service,
            beyond_cards,
            working_bytes,
            fixed_bytes,
            compression,
        } = entry;
        let limits = &tenant.limits;
        kernel.check(limits.kernels)?;
        let asked = service.policy;
        let card_kernel = card_kernel(kernel, compression);
        service.policy = engines(limits, card_kernel, asked)?;
        if service.policy != asked {
            match (service.policy, beyond_cards) {
                (BackendPolicy::RequireHardware, Some(what)) => {
                    return Err(NotAllowed::BeyondCards(what).into());
                }
                // It would rather have had a card, and is told why there was none.
                (BackendPolicy::Cpu, _) if asked == BackendPolicy::PreferHardware => {
                    service.fallback = Some(FallbackReason::NotAllowed);
                }
                _ => {}
            }
        }
        let body_bytes_max = self.body_bytes_max(tenant);
        let working = match service.content_length {
            Some(length) if length > body_bytes_max => {
                return Err(too_large(body_bytes_max, Some(length)));
            }
            Some(length) => usize::try_from(length)
                .unwrap_or(usize::MAX)
                .saturating_mul(2)
                .clamp(*working_bytes.start(), *working_bytes.end()),
            None => *working_bytes.end(),
        };
        if let Some((deadline, length)) = service.deadline.zip(service.content_length) {
            let ahead = Ahead {
                tenant,
                service,
                compression,
                length,
            };
            self.check_deadline(&ahead, deadline)?;
        }
        let ask = Ask {
            memory_bytes: working
                .saturating_add(fixed_bytes)
                .saturating_add(REQUEST_OVERHEAD_BYTES),
            body_bytes: service.content_length,
            age: began.elapsed(),
        };
        Ok(Arc::new(self.admission.admit(tenant, ask)?))
    }

    /// Refuses what is predicted to miss its deadline before it costs its caller a body and its tenant an engine. Where
    /// nothing like it was measured nothing is predicted, and it is let in.
    fn check_deadline(&self, ahead: &Ahead<'_>, deadline: Instant) -> Result<(), Problem> {
        let &Ahead {
            tenant,
            service,
            compression,
            length,
        } = ahead;
        let left = deadline.saturating_duration_since(Instant::now());
        let paced = paced(tenant, length);
        let Some(forecast) = compression.and_then(|(format, level)| {
            self.dispatcher.forecast(&AnnouncedCompression {
                tenant: &tenant.id,
                format,
                level,
                bytes: length,
                policy: service.policy,
                priority: service.priority,
            })
        }) else {
            return if paced > left {
                Err(Problem::deadline_ahead(left, Duration::ZERO, paced))
            } else {
                Ok(())
            };
        };
        let queue = Duration::from_nanos(forecast.queue.0);
        // It is worked on while it arrives.
        let service = Duration::from_nanos(forecast.service.0).max(paced);
        if queue.saturating_add(service) > left {
            Err(Problem::deadline_ahead(left, queue, service))
        } else {
            Ok(())
        }
    }

    /// Bytes of the largest body that a tenant may send.
    pub(super) fn body_bytes_max(&self, tenant: &Tenant) -> u64 {
        let own = tenant.limits.body_bytes_max.unwrap_or(u64::MAX);
        own.min(self.limits.body_bytes_max)
    }

    /// Limits of a tenant's bodies on their way in.
    pub(super) fn intake_limits(&self, tenant: &Tenant) -> HttpLimits {
        HttpLimits {
            body_bytes_max: self.body_bytes_max(tenant),
            ..self.limits
        }
    }

    /// A refusal of a tenant's request with all that helps it to come back: what is left of its limits, and when.
    pub(super) fn advised(&self, tenant: &Tenant, problem: Problem) -> Problem {
        let problem = match problem.kind() {
            ProblemKind::OverRate | ProblemKind::OverQuota | ProblemKind::TooManyInFlight => {
                problem.with_headers(rate_limit::of_refused(&self.admission, tenant))
            }
            _ => {
                let mut headers = axum::http::HeaderMap::new();
                rate_limit::tell(&self.admission, tenant, &mut headers);
                if headers.is_empty() {
                    problem
                } else {
                    problem.with_headers(headers)
                }
            }
        };
        if problem.lacks_come_back() {
            let wait = self.come_back_after(tenant, problem.kind());
            problem.come_back_after(wait)
        } else {
            problem
        }
    }

    /// When it is worth another try where no limit says so by itself.
    fn come_back_after(&self, tenant: &Tenant, kind: ProblemKind) -> Duration {
        match kind {
            // As long as a job waits for a card.
            ProblemKind::NoEngine => self.dispatcher.hw_wait(),
            ProblemKind::Draining => self.admission.drain_left(),
            // Room comes as the work ends that holds it.
            _ => self.dispatcher.backlog(&tenant.id),
        }
    }
}

/// For how long at least a body of this length is slowed down to its tenant's rate: what a second gives is there at once.
fn paced(tenant: &Tenant, length: u64) -> Duration {
    let Some(per_s) = tenant.limits.bytes_per_s.filter(|per_s| *per_s > 0) else {
        return Duration::ZERO;
    };
    let beyond = u128::from(length.saturating_sub(per_s));
    let ns = beyond * 1_000_000_000 / u128::from(per_s);
    Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
}
