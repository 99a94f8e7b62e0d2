//! A token bucket: so many tokens a second, and so many at once.
//!
//! Owns what one rate limit has given out and not earned back. Invariants: over any span of time no more is granted than
//! the rate gives in it, and the burst on top; a wait that is told is exact: a nanosecond earlier the same take is refused,
//! then it is granted. All arithmetic is in whole numbers (billionths of a token), so nothing drifts. It does not know
//! what a token stands for: a request, a byte, a microsecond of an engine.
//!
//! Why not one atomic moment (the generic cell rate algorithm's theoretical arrival time): a token of a fast rate is a
//! fraction of a nanosecond, so each take would be rounded; and a change of the rate would have to restate the moment
//! while others read it. Whoever shares a bucket keeps it under a lock of its own, for the few nanoseconds of a take.

use crate::Nanos;

/// Billionths: of a token as of a second.
const BILLION: u128 = 1_000_000_000;

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenRate {
    /// Tokens a second; at 0 nothing comes back.
    pub per_s: u64,
    /// Most tokens at once: what a bucket holds that was left alone.
    pub burst: u64,
}

/// When so many tokens can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// At once.
    Now,
    /// After this span, if nobody else takes any; never zero.
    After(Nanos),
    /// Not at this rate: it is more than the burst, or nothing comes back.
    Never,
}

/// One bucket. It starts full.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    rate: TokenRate,
    /// Billionths of tokens that were given out by `at` and not earned back; above the burst only by
    /// [`TokenBucket::debit`] or a lowered burst.
    owed: u128,
    at: Nanos,
}

impl TokenBucket {
    /// A full one.
    #[must_use]
    pub const fn new(rate: TokenRate) -> Self {
        Self {
            rate,
            owed: 0,
            at: Nanos(0),
        }
    }

    /// At which rate it fills.
    #[must_use]
    pub const fn rate(&self) -> TokenRate {
        self.rate
    }

    /// From `now` on it fills at `rate`. What was given out stays given out.
    pub fn set_rate(&mut self, rate: TokenRate, now: Nanos) {
        self.settle(now);
        self.rate = rate;
    }

    /// Tokens that can be taken at once.
    #[must_use]
    pub fn available(&self, now: Nanos) -> u64 {
        let free = self.held_max().saturating_sub(self.owed_by(now));
        u64::try_from(free / BILLION).unwrap_or(u64::MAX)
    }

    /// When `tokens` can be taken.
    #[must_use]
    pub fn when_available(&self, tokens: u64, now: Nanos) -> Availability {
        let taken = self.owed_by(now) + billionths(tokens);
        let excess = taken.saturating_sub(self.held_max());
        if excess == 0 {
            return Availability::Now;
        }
        if tokens > self.rate.burst || self.rate.per_s == 0 {
            return Availability::Never;
        }
        Availability::After(self.span(excess))
    }

    /// Takes `tokens`, all of them or none.
    ///
    /// # Errors
    /// When they will be there; nothing is taken then.
    pub fn take(&mut self, tokens: u64, now: Nanos) -> Result<(), Availability> {
        self.settle(now);
        match self.when_available(tokens, now) {
            Availability::Now => {
                self.owed += billionths(tokens);
                Ok(())
            }
            later => Err(later),
        }
    }

    /// Takes `tokens` that were used already, also where they are not there: whoever comes next waits for them.
    pub fn debit(&mut self, tokens: u64, now: Nanos) {
        self.settle(now);
        self.owed = self.owed.saturating_add(billionths(tokens));
    }

    /// Gives back `tokens` that were taken and not used. It never holds more than its burst.
    pub fn refund(&mut self, tokens: u64, now: Nanos) {
        self.settle(now);
        self.owed = self.owed.saturating_sub(billionths(tokens));
    }

    /// After which span it is full again, if nobody takes any; `None` where nothing comes back.
    #[must_use]
    pub fn full_after(&self, now: Nanos) -> Option<Nanos> {
        match self.owed_by(now) {
            0 => Some(Nanos(0)),
            _ if self.rate.per_s == 0 => None,
            owed => Some(self.span(owed)),
        }
    }

    fn held_max(&self) -> u128 {
        billionths(self.rate.burst)
    }

    /// What is owed at `now`: a moment before the last one counts as that one.
    fn owed_by(&self, now: Nanos) -> u128 {
        // Tokens a second times nanoseconds are billionths of tokens.
        let earned = u128::from(self.rate.per_s) * u128::from(now.since(self.at).0);
        self.owed.saturating_sub(earned)
    }

    fn settle(&mut self, now: Nanos) {
        self.owed = self.owed_by(now);
        self.at = self.at.max(now);
    }

    /// In which so many billionths of tokens are earned.
    fn span(&self, owed: u128) -> Nanos {
        let per_s = u128::from(self.rate.per_s.max(1));
        Nanos(u64::try_from(owed.div_ceil(per_s)).unwrap_or(u64::MAX))
    }
}

fn billionths(tokens: u64) -> u128 {
    u128::from(tokens) * BILLION
}
