//! How long a card may take for a command before it counts as hung.
//!
//! Owns the rule: what the job and what is ahead of it on its target are predicted to take, times [`COMMAND_LIMIT_FACTOR`],
//! within [`COMMAND_LIMIT_MIN`] and [`COMMAND_LIMIT_MAX`]. What was never measured is not predicted, and has the longest
//! limit; so has a decompression, which is predicted by its input, and whose output may be a thousand times as long. It
//! knows no clock and no card.

use std::time::Duration;

use crate::job::Kernel;

/// A command has at least so long, however short its job: a simulated card shares the machine with the gateway, and on two
/// busy cores its process may have to wait for its turn that long. A false hang costs a reset.
pub(crate) const COMMAND_LIMIT_MIN: Duration = Duration::from_millis(750);
/// And at most so long, however long its job: within it a stopped card is noticed before its callers give up.
pub(crate) const COMMAND_LIMIT_MAX: Duration = Duration::from_millis(1500);
/// How many times its prediction a command may take. A slow engine is not a hung one: four times is served.
pub(crate) const COMMAND_LIMIT_FACTOR: u32 = 32;

/// The limit of each command of a job. `predicted`: until it ends, with what is ahead of it; `None` where no such job was
/// measured.
pub(crate) fn command_limit(kernel: &Kernel, predicted: Option<Duration>) -> Duration {
    match (kernel, predicted) {
        (Kernel::Decompress { .. } | Kernel::DecompressPart { .. }, _) | (_, None) => {
            COMMAND_LIMIT_MAX
        }
        (Kernel::Compress { .. } | Kernel::CompressPart { .. }, Some(predicted)) => predicted
            .saturating_mul(COMMAND_LIMIT_FACTOR)
            .clamp(COMMAND_LIMIT_MIN, COMMAND_LIMIT_MAX),
    }
}

#[cfg(test)]
mod tests {
    use faam_codec::{Format, Level, Limits, Position};
    use proptest::prelude::*;

    use super::*;

    fn compression() -> Kernel {
        Kernel::Compress {
            format: Format::Gzip,
            level: Level::new(1).unwrap(),
            position: Position::Last,
        }
    }

    #[test]
    fn a_decompression_always_has_the_longest() {
        let kernel = Kernel::Decompress {
            format: Format::Gzip,
            limits: Limits {
                output_bytes_max: 1 << 20,
                ratio_max: 1032,
            },
        };
        for predicted in [None, Some(Duration::ZERO), Some(Duration::MAX)] {
            assert_eq!(command_limit(&kernel, predicted), COMMAND_LIMIT_MAX);
        }
    }

    #[test]
    fn it_is_a_multiple_of_the_prediction_between_two_bounds() {
        let ms = Duration::from_millis;
        for (predicted, limit) in [
            (None, COMMAND_LIMIT_MAX),
            (Some(Duration::ZERO), COMMAND_LIMIT_MIN),
            (Some(ms(2)), COMMAND_LIMIT_MIN),
            (Some(ms(30)), ms(960)),
            (Some(ms(47)), COMMAND_LIMIT_MAX),
            (Some(Duration::MAX), COMMAND_LIMIT_MAX),
        ] {
            assert_eq!(
                command_limit(&compression(), predicted),
                limit,
                "{predicted:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_takes_longer_has_no_shorter_limit(a in 0u64..10_000_000_000, b in 0u64..10_000_000_000) {
            let limit = |ns| command_limit(&compression(), Some(Duration::from_nanos(ns)));
            let (less, more) = (a.min(b), a.max(b));
            prop_assert!(limit(less) <= limit(more));
            prop_assert!((COMMAND_LIMIT_MIN..=COMMAND_LIMIT_MAX).contains(&limit(more)));
            // Never a hang within what was predicted, where that fits at all.
            prop_assert!(limit(more) >= Duration::from_nanos(more).min(COMMAND_LIMIT_MAX));
        }
    }
}
