//! Where a request's time went: how much of it in each phase, and from when to when.
//!
//! Invariant: sums are of what was measured; blocks that ran in parallel add up in them, and not in the windows. It knows
//! neither kernels nor engines.

use std::time::{Duration, Instant};

use crate::job::Phases;
use crate::metrics::PHASES;

/// Room for `Server-Timing` of a request that takes less than a minute.
const SERVER_TIMING_BYTES: usize = 160;
/// Decimal digits of the largest number of microseconds.
const MICROS_DIGITS_MAX: usize = 20;
/// Phases of a block, one after the other.
const BLOCK_PHASES: [&str; 5] = ["load", "queue", "transfer", "device", "verify"];

/// From when to when.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: Instant,
    to: Instant,
}

/// A phase of a request, from its beginning on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseTime {
    /// One of [`PHASES`].
    pub phase: &'static str,
    /// When it began.
    pub from: Duration,
    /// When it had ended.
    pub to: Duration,
    /// All of it: more than there is in between where blocks ran side by side, less where it came with pauses.
    pub sum: Duration,
}

/// Where a request's time went. Blocks that ran in parallel add up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// From the end of the headers to admission.
    pub admit: Duration,
    /// Waiting for the tenant's rate while the body arrived.
    pub paced: Duration,
    /// Waiting for the caller's body.
    pub receive: Duration,
    /// The blocks'.
    pub phases: Phases,
    /// From when the answer was whole to its last byte's having been taken.
    pub send: Duration,
    /// When the body was last waited for.
    pub received: Option<Instant>,
    /// From when to when blocks were in each of [`BLOCK_PHASES`], the first to begin and the last to end.
    windows: [Option<Window>; BLOCK_PHASES.len()],
}

impl Spent {
    /// Adds a block's.
    pub fn add(&mut self, phases: &Phases) {
        self.phases.load += phases.load;
        self.phases.queue += phases.queue;
        self.phases.transfer += phases.transfer;
        self.phases.device += phases.device;
        self.phases.verify += phases.verify;
        let Some(mut at) = phases.since else {
            return;
        };
        let Phases {
            load,
            queue,
            transfer,
            device,
            verify,
            ..
        } = *phases;
        let times = [load, queue, transfer, device, verify];
        for (window, time) in self.windows.iter_mut().zip(times) {
            if time.is_zero() {
                continue;
            }
            let from = at;
            at += time;
            *window = Some(match *window {
                None => Window { from, to: at },
                Some(known) => Window {
                    from: known.from.min(from),
                    to: known.to.max(at),
                },
            });
        }
    }

    /// What happened when, of a request that began at `began` and whose answer was whole at `answered`. Phases without
    /// any time are left out.
    #[must_use]
    pub fn timeline(&self, began: Instant, answered: Option<Instant>) -> Vec<PhaseTime> {
        let admitted = began + self.admit;
        let received = self.received.unwrap_or(admitted + self.receive);
        let sent = answered.map(|from| Window {
            from,
            to: from + self.send,
        });
        let [load, queue, transfer, device, verify] = self.windows;
        let windows = [
            Some(Window {
                from: began,
                to: admitted,
            }),
            Some(Window {
                from: admitted,
                to: received.max(admitted),
            }),
            load,
            queue,
            transfer,
            device,
            verify,
            sent,
        ];
        let sums = self.observed(Duration::ZERO);
        let phases = PHASES.into_iter().zip(windows).zip(sums);
        let known = phases.filter_map(|((phase, window), sum)| {
            let Window { from, to } = window.filter(|_| !sum.is_zero())?;
            Some(PhaseTime {
                phase,
                from: from.saturating_duration_since(began),
                to: to.saturating_duration_since(began),
                sum,
            })
        });
        known.collect()
    }

    /// Each phase and its time.
    #[must_use]
    pub fn by_phase(&self) -> [(&'static str, Duration); 7] {
        let Phases {
            load,
            queue,
            transfer,
            device,
            verify,
            ..
        } = self.phases;
        [
            ("admit", self.admit.saturating_add(self.paced)),
            ("receive", self.receive),
            ("load", load),
            ("queue", queue),
            ("transfer", transfer),
            ("device", device),
            ("verify", verify),
        ]
    }

    /// What the metrics count, in the order of [`PHASES`].
    #[must_use]
    pub fn observed(&self, total: Duration) -> [Duration; PHASES.len()] {
        let [admit, receive, load, queue, transfer, device, verify] =
            self.by_phase().map(|(_, time)| time);
        [
            admit, receive, load, queue, transfer, device, verify, self.send, total,
        ]
    }

    /// `Server-Timing`.
    #[must_use]
    pub fn header(&self, total: Duration) -> String {
        // Made of ASCII alone.
        String::from_utf8(self.header_bytes(total)).unwrap_or_default()
    }

    pub(super) fn header_bytes(&self, total: Duration) -> Vec<u8> {
        let mut text = Vec::with_capacity(SERVER_TIMING_BYTES);
        // Next to no request waits for a load.
        let told = |(phase, time): &(&str, Duration)| *phase != "load" || !time.is_zero();
        for (phase, time) in self.by_phase().into_iter().filter(told) {
            push_phase(&mut text, phase, time);
            text.extend_from_slice(b", ");
        }
        push_phase(&mut text, "total", total);
        text
    }
}

/// A metric of Server-Timing, in milliseconds with three decimals. Digit by digit: this is printed seven times a request,
/// and formatting costs several times as much.
fn push_phase(text: &mut Vec<u8>, phase: &str, time: Duration) {
    text.extend_from_slice(phase.as_bytes());
    text.extend_from_slice(b";dur=");
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let mut digits = [b'0'; MICROS_DIGITS_MAX];
    let mut rest = micros;
    let mut from = digits.len();
    while rest > 0 || digits.len() - from < 4 {
        let Some(digit) = from.checked_sub(1).and_then(|at| digits.get_mut(at)) else {
            break;
        };
        *digit = b"0123456789"[usize::try_from(rest % 10).unwrap_or_default()];
        rest /= 10;
        from -= 1;
    }
    let whole = digits.len() - 3;
    text.extend_from_slice(&digits[from..whole]);
    text.push(b'.');
    text.extend_from_slice(&digits[whole..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_milliseconds_with_three_decimals() {
        for (time, text) in [
            (Duration::ZERO, "x;dur=0.000"),
            (Duration::from_nanos(999), "x;dur=0.000"),
            (Duration::from_micros(7), "x;dur=0.007"),
            (Duration::from_micros(1_000), "x;dur=1.000"),
            (Duration::from_micros(12_345_678), "x;dur=12345.678"),
            (Duration::MAX, "x;dur=18446744073709551.615"),
        ] {
            let mut got = Vec::new();
            push_phase(&mut got, "x", time);
            assert_eq!(String::from_utf8(got).as_deref(), Ok(text));
        }
    }

    #[test]
    fn blocks_side_by_side_have_one_window_and_all_of_their_time() {
        let ms = Duration::from_millis;
        let began = Instant::now();
        let mut spent = Spent {
            admit: ms(1),
            receive: ms(2),
            received: Some(began + ms(5)),
            send: ms(10),
            ..Spent::default()
        };
        for (at, queue, device) in [(5, 10, 20), (6, 14, 30)] {
            spent.add(&Phases {
                since: Some(began + ms(at)),
                queue: ms(queue),
                device: ms(device),
                ..Phases::default()
            });
        }
        let phase = |phase, from, to, sum| PhaseTime {
            phase,
            from: ms(from),
            to: ms(to),
            sum: ms(sum),
        };
        assert_eq!(
            spent.timeline(began, Some(began + ms(50))),
            [
                phase("admit", 0, 1, 1),
                phase("receive", 1, 5, 2),
                phase("queue", 5, 20, 24),
                phase("device", 15, 50, 50),
                phase("send", 50, 60, 10),
            ]
        );
        assert_eq!(Spent::default().timeline(began, None), []);
    }
}
