//! File descriptors: how many the process may have, and how they are shared out.
//!
//! Invariant: however many callers connect, [`DESCRIPTORS_RESERVED`] are left for everything else: the admin listener
//! and its connections, cards, files that bodies spill to, the log. It knows no sockets.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that public connections never take: one a spilled answer, of which there are
/// [`SPILL_FILES_MAX`](crate::admission::SPILL_FILES_MAX), 64 admin connections, some 32 a card, and what libraries open.
pub const DESCRIPTORS_RESERVED: usize = 1024;

/// Raises the soft limit to the hard one, and tells the limit in force.
///
/// A process that cannot have more goes on with what it has: the bound on connections follows.
pub fn raise_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit on open files stays where it is");
        }
    }
    // None is no limit.
    let current = getrlimit(Resource::Nofile).current;
    current.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

/// How many public connections fit where `wanted` are configured and `limit` descriptors may be open.
#[must_use]
pub fn connections_max(wanted: usize, limit: usize) -> usize {
    // Where the reserve would take more than half, half stays.
    let left = limit.saturating_sub(DESCRIPTORS_RESERVED).max(limit / 2);
    let fit = wanted.min(left).max(1);
    if fit < wanted {
        tracing::warn!(
            wanted,
            fit,
            limit,
            "fewer connections than configured: the limit on open files (ulimit -Hn, LimitNOFILE=) allows no more"
        );
    }
    fit
}

/// How many spilled answers fit beside `connections` where `wanted` are configured and `limit` descriptors may be open:
/// at most half of what is left.
#[must_use]
pub fn spill_files_max(wanted: usize, connections: usize, limit: usize) -> usize {
    let fit = wanted.min(limit.saturating_sub(connections) / 2).max(1);
    if fit < wanted {
        tracing::warn!(
            wanted,
            fit,
            limit,
            "fewer answers can be spilled at once than configured: the limit on open files (ulimit -Hn, LimitNOFILE=) \
             allows no more"
        );
    }
    fit
}

/// How many of them one tenant may have, who may have `wanted` of `of`, where only `fit` fit: the same share, and one at
/// least.
#[must_use]
pub fn spill_tenant_files_max(wanted: usize, of: usize, fit: usize) -> usize {
    if fit >= of {
        return wanted;
    }
    (wanted.saturating_mul(fit) / of.max(1)).clamp(1, fit.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_the_reserve() {
        assert_eq!(connections_max(10_000, 20_000), 10_000);
        assert_eq!(connections_max(10_000, 4096), 4096 - DESCRIPTORS_RESERVED);
        assert_eq!(connections_max(10_000, 1024), 512);
        assert_eq!(connections_max(10_000, usize::MAX), 10_000);
        assert_eq!(connections_max(0, 10), 1);
    }

    #[test]
    fn spilled_answers_leave_half_of_the_reserve() {
        for (wanted, limit, fit) in [
            (512, usize::MAX, 512),
            (512, 10_000 + DESCRIPTORS_RESERVED, DESCRIPTORS_RESERVED / 2),
            (512, 1024, 256),
            (4096, 4096, DESCRIPTORS_RESERVED / 2),
            (0, 10, 1),
        ] {
            let connections = connections_max(10_000, limit);
            assert_eq!(spill_files_max(wanted, connections, limit), fit, "{limit}");
        }
    }

    #[test]
    fn a_tenants_share_shrinks_with_the_whole() {
        for (wanted, of, fit, share) in [
            (256, 512, 512, 256),
            (256, 512, 100, 50),
            (256, 512, 1, 1),
            (512, 512, 100, 100),
            (1, 512, 100, 1),
            (usize::MAX, 2, 1, 1),
            (0, 0, 0, 0),
        ] {
            assert_eq!(
                spill_tenant_files_max(wanted, of, fit),
                share,
                "{wanted} of {of}, {fit}"
            );
        }
    }

    #[test]
    fn the_limit_is_raised_to_the_hard_one() {
        let limit = raise_limit();
        let hard = getrlimit(Resource::Nofile).maximum;
        assert_eq!(limit as u64, hard.unwrap_or(u64::MAX));
    }
}
