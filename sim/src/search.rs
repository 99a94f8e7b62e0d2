//! A search of all that a function's engines hold: how a tester learns whether anything of a tenant is left in them.
//!
//! Owns the question and the engines' answers. Invariant: one question at a time, asked of each engine between two of its
//! jobs and answered by it once; who asks waits a bounded time, for an engine that hangs answers nothing.
//!
//! It does not know what an engine holds, nor whose that is.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Fewest bytes of a pattern: what is shorter is found by chance.
const PATTERN_BYTES_MIN: usize = 4;
/// Most bytes of a pattern: its line has to fit.
const PATTERN_BYTES_MAX: usize = 48;
/// Longest wait for the engines, seconds.
const ANSWER_SECONDS_MAX: u64 = 10;

/// Bytes to look for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<u8>);

impl Pattern {
    /// How often it is there.
    pub(crate) fn occurrences(&self, bytes: &[u8]) -> usize {
        let Some(first) = self.0.first() else {
            return 0;
        };
        let (mut count, mut rest) = (0, bytes);
        while let Some(at) = rest.iter().position(|byte| byte == first) {
            rest = rest.get(at..).unwrap_or_default();
            count += usize::from(rest.starts_with(&self.0));
            rest = rest.get(1..).unwrap_or_default();
        }
        count
    }
}

impl std::str::FromStr for Pattern {
    type Err = String;

    /// Hexadecimal digits, two a byte.
    fn from_str(text: &str) -> Result<Self, String> {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok();
        let (pairs, odd) = text.as_bytes().as_chunks::<2>();
        let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
        match bytes {
            Some(bytes)
                if odd.is_empty()
                    && (PATTERN_BYTES_MIN..=PATTERN_BYTES_MAX).contains(&bytes.len()) =>
            {
                Ok(Self(bytes))
            }
            _ => Err(format!(
                "expected {PATTERN_BYTES_MIN} to {PATTERN_BYTES_MAX} bytes as hexadecimal digits, got {text:?}"
            )),
        }
    }
}

/// Where it was found, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found(BTreeMap<&'static str, usize>);

impl Found {
    /// Adds what was found in one place.
    pub(crate) fn add(&mut self, place: &'static str, count: usize) {
        if count > 0 {
            *self.0.entry(place).or_default() += count;
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        for (n, (place, count)) in self.0.iter().enumerate() {
            let space = if n == 0 { "" } else { " " };
            write!(f, "{space}{place}:{count}")?;
        }
        Ok(())
    }
}

/// The question that is open. Lock order: a leaf.
#[derive(Default)]
pub(crate) struct Search {
    number: AtomicU64,
    state: Mutex<State>,
    answered: Condvar,
}

#[derive(Default)]
struct State {
    pattern: Pattern,
    /// Engines that have answered.
    answers: usize,
    found: Found,
}

impl Search {
    /// Whether there is a question after `seen`, which an engine has answered last.
    pub(crate) fn is_after(&self, seen: u64) -> bool {
        self.number.load(Ordering::Acquire) != seen
    }

    /// The question and its number.
    pub(crate) fn question(&self) -> (u64, Pattern) {
        let state = self.state.lock();
        (self.number.load(Ordering::Acquire), state.pattern.clone())
    }

    /// An engine's answer to the question with this number.
    pub(crate) fn answer(&self, number: u64, found: Found) {
        let mut state = self.state.lock();
        if self.number.load(Ordering::Acquire) != number {
            return;
        }
        state.answers += 1;
        for (place, count) in found.0 {
            state.found.add(place, count);
        }
        drop(state);
        self.answered.notify_all();
    }

    /// Asks so many engines, which `wake` wakes, and waits for them.
    ///
    /// # Errors
    /// Not all have answered in time.
    pub(crate) fn ask(
        &self,
        pattern: Pattern,
        engines: usize,
        wake: impl FnOnce(),
    ) -> Result<Found, String> {
        let deadline = Instant::now() + Duration::from_secs(ANSWER_SECONDS_MAX);
        let mut state = self.state.lock();
        *state = State {
            pattern,
            ..State::default()
        };
        self.number.fetch_add(1, Ordering::Release);
        drop(state);
        wake();
        let mut state = self.state.lock();
        while state.answers < engines {
            if self.answered.wait_until(&mut state, deadline).timed_out() && state.answers < engines
            {
                return Err(format!(
                    "{} of {engines} engines have answered within {ANSWER_SECONDS_MAX} s: the others hang, or work",
                    state.answers
                ));
            }
        }
        Ok(state.found.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_bounded_and_counted_wherever_they_lie() {
        let pattern: Pattern = "6161616162".parse().unwrap();
        assert_eq!(pattern, Pattern(b"aaaab".to_vec()));
        assert_eq!(pattern.occurrences(b"aaaaaab..aaaab"), 2);
        assert_eq!(pattern.occurrences(b"aaaa"), 0);
        for bad in [
            "",
            "616161",
            "6161616",
            "61616161zz",
            "+1616161",
            &"61".repeat(49),
        ] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_answer_counts_once_and_only_for_its_own_question() {
        let search = Search::default();
        let found = |place, count| {
            let mut found = Found::default();
            found.add(place, count);
            found
        };
        let pattern: Pattern = "61616161".parse().unwrap();
        assert!(!search.is_after(0));
        let got = search.ask(pattern.clone(), 2, || {
            let (number, asked) = search.question();
            assert!(search.is_after(0) && asked == pattern);
            search.answer(number, found("src", 2));
            search.answer(number - 1, found("src", 50));
            search.answer(number, found("src", 1));
        });
        assert_eq!(got.unwrap().to_string(), "src:3");
        let got = search.ask(pattern, 0, || {});
        assert_eq!(got.unwrap().to_string(), "nothing");
    }
}
