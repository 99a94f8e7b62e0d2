//! When a tenant's requests begin, and how large they are.
//!
//! Owns the kinds of load and each tenant's place in its own. Invariant: a tenant's requests depend on the seed and its
//! number alone, not on what others send or how they are served, but for closed loops; so one tenant alone and the same
//! one beside a flood send the same. It does not know who serves.

use crate::Nanos;

use super::random::Random;
use super::scenario::{BODY_BYTES_MAX, Trace, Unfit, real};

/// Seconds of a day's hour.
const HOUR_NS: f64 = 3600e9;
/// Hours that one gap may span before it counts as for ever: a year of them.
const HOURS_MAX: u32 = 24 * 366;
/// Most requests a second of one tenant.
const PER_S_MAX: f64 = 1e6;

/// When requests begin.
#[derive(Clone, Debug)]
pub enum Arrivals {
    /// Independently of each other.
    Poisson {
        /// Requests a second.
        per_s: f64,
    },
    /// Several at once, the groups independently of each other.
    Bursts {
        /// Groups a second.
        per_s: f64,
        /// Requests of a group.
        requests: u32,
    },
    /// Independently of each other, at a rate that follows the time of day.
    Diurnal {
        /// Requests a second, the mean of a day.
        per_s: f64,
        /// How the 24 hours compare with each other, in any unit.
        hours: Box<[f64; 24]>,
    },
    /// A flood that comes and goes.
    OnOff {
        /// Requests a second while it lasts.
        per_s: f64,
        /// From when on.
        from: Nanos,
        /// How long it lasts.
        on: Nanos,
        /// How long it then stays away.
        off: Nanos,
    },
    /// Callers of which each begins its next request when the one before has ended, and it has thought.
    Closed {
        /// Callers of one tenant.
        callers: u32,
        /// From an answer to the next request, the mean.
        think: Nanos,
    },
    /// As once seen, again and again.
    Trace(Trace),
}

impl Arrivals {
    pub(super) fn check(&self, what: &str) -> Result<(), Unfit> {
        let rate = |per_s: f64| real(&format!("{what}, requests a second"), per_s, 0.0, PER_S_MAX);
        let unfit = |expected: &str, got: String| {
            Err(Unfit {
                what: what.to_owned(),
                expected: expected.to_owned(),
                got,
            })
        };
        match self {
            Self::Poisson { per_s } => rate(*per_s),
            Self::Bursts { per_s, requests } => {
                rate(*per_s)?;
                match requests {
                    1..=1_000_000 => Ok(()),
                    other => unfit("1 to 1000000 requests of a group", other.to_string()),
                }
            }
            Self::Diurnal { per_s, hours } => {
                rate(*per_s)?;
                let sum: f64 = hours.iter().sum();
                for hour in hours.iter() {
                    real(&format!("{what}, an hour's part"), *hour, 0.0, 1e9)?;
                }
                real(&format!("{what}, the hours' sum"), sum, 1e-9, 24e9)
            }
            Self::OnOff { per_s, on, off, .. } => {
                rate(*per_s)?;
                if on.0 == 0 || on.0.checked_add(off.0).is_none() {
                    return unfit("a time that the flood lasts", format!("{} ns", on.0));
                }
                Ok(())
            }
            Self::Closed { callers, .. } => match callers {
                1..=65_536 => Ok(()),
                other => unfit("1 to 65536 callers", other.to_string()),
            },
            Self::Trace(trace) => {
                let sorted = trace.is_sorted_by_key(|entry| entry.at);
                let fits = trace.iter().all(|entry| entry.bytes <= BODY_BYTES_MAX);
                if trace.is_empty() || !sorted || !fits {
                    return unfit(
                        "at least one request, in the order of their moments, none over 1 TiB",
                        format!("{} requests", trace.len()),
                    );
                }
                Ok(())
            }
        }
    }
}

/// Bytes of bodies.
#[derive(Clone, Debug)]
pub enum Sizes {
    /// All the same.
    Fixed(u64),
    /// Log-normal.
    LogNormal {
        /// Half are smaller.
        median: u64,
        /// The logarithm's deviation.
        sigma: f64,
        /// None is larger.
        max: u64,
    },
    /// Some, by how often each comes.
    Listed(Vec<(u64, u32)>),
}

impl Sizes {
    pub(super) fn check(&self, what: &str) -> Result<(), Unfit> {
        let fits = |bytes: u64| {
            if bytes <= BODY_BYTES_MAX {
                return Ok(());
            }
            Err(Unfit {
                what: what.to_owned(),
                expected: format!("at most {BODY_BYTES_MAX} bytes"),
                got: bytes.to_string(),
            })
        };
        match self {
            Self::Fixed(bytes) => fits(*bytes),
            Self::LogNormal { median, sigma, max } => {
                fits(*median)?;
                fits(*max)?;
                real(&format!("{what}, sigma"), *sigma, 0.0, 5.0)
            }
            Self::Listed(listed) => {
                listed.iter().try_for_each(|(bytes, _)| fits(*bytes))?;
                let weights = listed.iter().map(|(_, weight)| u64::from(*weight));
                if weights.sum::<u64>() > 0 {
                    return Ok(());
                }
                Err(Unfit {
                    what: what.to_owned(),
                    expected: "sizes of which at least one comes".to_owned(),
                    got: format!("{} sizes", listed.len()),
                })
            }
        }
    }

    fn draw(&self, random: &mut Random) -> u64 {
        match self {
            Self::Fixed(bytes) => *bytes,
            Self::LogNormal { median, sigma, max } => {
                let drawn = *median as f64 * random.log_normal(*sigma);
                whole(drawn).clamp(1, (*max).max(1))
            }
            Self::Listed(listed) => {
                let total = listed.iter().map(|(_, weight)| u64::from(*weight)).sum();
                let mut left = random.below(total);
                for (bytes, weight) in listed {
                    match left.checked_sub(u64::from(*weight)) {
                        Some(rest) => left = rest,
                        None => return *bytes,
                    }
                }
                0
            }
        }
    }
}

/// One tenant's source of requests.
#[derive(Clone, Debug)]
pub(super) struct Source {
    random: Random,
    /// Of the present group, those still to come; or the place in a trace.
    place: u32,
    /// Whether a trace was gone through, and how often.
    round: u32,
}

/// A request to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) at: Nanos,
    pub(super) bytes: u64,
}

impl Source {
    pub(super) const fn new(seed: u64, tenant: u64) -> Self {
        Self {
            random: Random::stream(seed, tenant),
            place: 0,
            round: 0,
        }
    }

    /// The request after one that began at `now`, or the first after 0; `None`: there is none. In a closed loop, what a
    /// caller begins whose last request ended at `now`.
    pub(super) fn next(&mut self, arrivals: &Arrivals, sizes: &Sizes, now: Nanos) -> Option<Next> {
        let gap = |random: &mut Random, per_s: f64| {
            (per_s > 0.0).then(|| whole(random.exponential() / per_s * 1e9))
        };
        let at = match arrivals {
            Arrivals::Poisson { per_s } => now.0.checked_add(gap(&mut self.random, *per_s)?)?,
            Arrivals::Bursts { per_s, requests } => {
                if self.place > 0 {
                    self.place -= 1;
                    now.0
                } else {
                    self.place = requests.saturating_sub(1);
                    now.0.checked_add(gap(&mut self.random, *per_s)?)?
                }
            }
            Arrivals::Diurnal { per_s, hours } => self.diurnal(*per_s, hours, now)?,
            Arrivals::OnOff {
                per_s,
                from,
                on,
                off,
            } => {
                let begun = now.since(*from).0;
                let period = on.0.checked_add(off.0)?;
                let lasted = begun / period * on.0 + (begun % period).min(on.0);
                let lasted = lasted.checked_add(gap(&mut self.random, *per_s)?)?;
                // A period's last moment belongs to the next one's first.
                (lasted / on.0)
                    .checked_mul(period)?
                    .checked_add(lasted % on.0)?
                    .checked_add(from.0)?
            }
            Arrivals::Closed { think, .. } => {
                let think = self.random.exponential() * think.0 as f64;
                now.0.checked_add(whole(think))?
            }
            Arrivals::Trace(trace) => return self.traced(trace),
        };
        Some(Next {
            at: Nanos(at),
            bytes: sizes.draw(&mut self.random),
        })
    }

    /// Spends an exponential gap along the day's curve.
    fn diurnal(&mut self, per_s: f64, hours: &[f64; 24], now: Nanos) -> Option<u64> {
        let mean = hours.iter().sum::<f64>() / 24.0;
        let mut left = self.random.exponential();
        let mut at = now.0 as f64;
        for _ in 0..HOURS_MAX {
            let hour = (at / HOUR_NS).floor();
            let of_day = hour - (hour / 24.0).floor() * 24.0;
            let place = usize::try_from(whole(of_day)).unwrap_or(0).min(23);
            let per_ns = per_s * hours.get(place)? / mean / 1e9;
            let end = (hour + 1.0) * HOUR_NS;
            let within = per_ns * (end - at);
            if within > left {
                return Some(whole(at + left / per_ns).max(now.0));
            }
            left -= within;
            at = end;
        }
        None
    }

    fn traced(&mut self, trace: &Trace) -> Option<Next> {
        let entry = trace.get(self.place as usize).copied().or_else(|| {
            (self.place, self.round) = (0, self.round.checked_add(1)?);
            trace.first().copied()
        })?;
        self.place += 1;
        // The pause between the last request and the next round's first is the mean one.
        let last = trace.last()?.at.0;
        let round = last.checked_add((last / trace.len() as u64).max(1))?;
        let at = round
            .checked_mul(self.round.into())?
            .checked_add(entry.at.0)?;
        Some(Next {
            at: Nanos(at),
            bytes: entry.bytes,
        })
    }
}

/// The whole part of a number that is not negative.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and makes zero of what is no number"
)]
pub(super) fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::super::scenario::TraceEntry;
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn moments(arrivals: &Arrivals, until: u64) -> Vec<u64> {
        let mut source = Source::new(5, 1);
        let mut now = Nanos(0);
        let mut out = Vec::new();
        while let Some(next) = source.next(arrivals, &Sizes::Fixed(1), now) {
            assert!(next.at >= now, "time does not go back");
            if next.at.0 >= until {
                break;
            }
            out.push(next.at.0);
            now = next.at;
        }
        out
    }

    #[test]
    fn rates_are_what_was_asked_for() {
        let hours: Vec<_> = (0..24u32).map(f64::from).collect();
        let hours: [f64; 24] = hours.try_into().expect("24 hours");
        let hours = Box::new(hours);
        let kinds = [
            Arrivals::Poisson { per_s: 10.0 },
            Arrivals::Bursts {
                per_s: 0.5,
                requests: 20,
            },
            Arrivals::Diurnal { per_s: 10.0, hours },
            Arrivals::OnOff {
                per_s: 40.0,
                from: Nanos(0),
                on: Nanos(5 * SECOND),
                off: Nanos(15 * SECOND),
            },
        ];
        for arrivals in kinds {
            let day = moments(&arrivals, 24 * 3600 * SECOND).len();
            assert!((850_000..878_000).contains(&day), "{arrivals:?}: {day}");
        }
    }

    #[test]
    fn a_day_has_its_curve_and_a_flood_its_pauses() {
        let mut hours = [0.0; 24];
        hours[3] = 1.0;
        hours[4] = 3.0;
        let curve = Arrivals::Diurnal {
            per_s: 1.0,
            hours: Box::new(hours),
        };
        let hour = 3600 * SECOND;
        let drawn = moments(&curve, 48 * hour);
        let of = |hour_of_day: u64| {
            let hits = drawn.iter().filter(|at| *at / hour % 24 == hour_of_day);
            hits.count()
        };
        assert_eq!(of(3) + of(4), drawn.len());
        assert!((2.8..3.2).contains(&(of(4) as f64 / of(3) as f64)));
        let flood = Arrivals::OnOff {
            per_s: 100.0,
            from: Nanos(2 * SECOND),
            on: Nanos(SECOND),
            off: Nanos(3 * SECOND),
        };
        let drawn = moments(&flood, 100 * SECOND);
        assert!(
            drawn
                .iter()
                .all(|at| (at - 2 * SECOND) % (4 * SECOND) < SECOND)
        );
    }

    #[test]
    fn a_trace_is_replayed() {
        let entries = [(0, 7), (SECOND, 8), (3 * SECOND, 9)];
        let trace: Trace = entries
            .map(|(at, bytes)| TraceEntry {
                at: Nanos(at),
                bytes,
            })
            .into();
        let drawn = moments(&Arrivals::Trace(trace), 9 * SECOND);
        assert_eq!(
            drawn,
            [0, 1, 3, 4, 5, 7, 8].map(|second: u64| second * SECOND)
        );
    }

    #[test]
    fn sizes_are_of_their_kind() {
        let mut random = Random::new(9);
        let listed = Sizes::Listed(vec![(10, 1), (20, 0), (30, 3)]);
        let log_normal = Sizes::LogNormal {
            median: 1000,
            sigma: 2.0,
            max: 50_000,
        };
        let (mut tens, mut below) = (0, 0);
        for _ in 0..10_000 {
            match listed.draw(&mut random) {
                10 => tens += 1,
                30 => {}
                other => unreachable!("{other}"),
            }
            let size = log_normal.draw(&mut random);
            assert!((1..=50_000).contains(&size));
            below += u32::from(size < 1000);
        }
        assert!((2300..2700).contains(&tens), "{tens}");
        assert!((4800..5200).contains(&below), "{below}");
    }

    #[test]
    fn what_cannot_be_is_told() {
        let bad = [
            Arrivals::Poisson { per_s: f64::NAN },
            Arrivals::Poisson { per_s: -1.0 },
            Arrivals::Bursts {
                per_s: 1.0,
                requests: 0,
            },
            Arrivals::Diurnal {
                per_s: 1.0,
                hours: Box::new([0.0; 24]),
            },
            Arrivals::OnOff {
                per_s: 1.0,
                from: Nanos(0),
                on: Nanos(0),
                off: Nanos(1),
            },
            Arrivals::Closed {
                callers: 0,
                think: Nanos(1),
            },
            Arrivals::Trace(Trace::from([])),
        ];
        for arrivals in bad {
            assert!(arrivals.check("x").is_err(), "{arrivals:?}");
        }
        assert!(Sizes::Listed(vec![(1, 0)]).check("x").is_err());
        assert!(Sizes::Fixed(u64::MAX).check("x").is_err());
    }
}
