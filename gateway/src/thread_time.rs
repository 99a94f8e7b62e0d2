//! What a piece of work took: on the wall's clock, and of its thread's own time.
//!
//! A tenant is charged its thread's time, so that it does not pay for what the machine did in between. Asking for that is a
//! system call, twice 425 ns where it was measured; below [`ASKED_FROM`] it would be a good part of the work, and the
//! wall's clock has to do: but once so much has been taken by the wall's clock, the thread's own is asked, and whose turn it
//! is is told no more than what the others have left of it. So somebody whom the machine interrupted for milliseconds is
//! not told of these. It does not know what is done meanwhile.

use std::cell::Cell;
use std::time::{Duration, Instant};

use faam_sched::Nanos;
use rustix::time::{ClockId, clock_gettime};

/// Predicted time from which on a thread's own time is asked for: the asking is less than a hundredth of it.
const ASKED_FROM: Nanos = Nanos(100_000);

thread_local! {
    /// When this thread was last asked for its own time; `None` before the first time.
    static ASKED: Cell<Option<Asked>> = const { Cell::new(None) };
}

/// What a thread's own time was when it was asked for, and what was taken by the wall's clock since.
#[derive(Clone, Copy, Debug)]
struct Asked {
    thread: Duration,
    taken: Duration,
}

impl Asked {
    /// Asks now.
    fn now() -> Self {
        let asked = Self {
            thread: thread_time(),
            taken: Duration::ZERO,
        };
        ASKED.set(Some(asked));
        asked
    }
}

/// A measurement under way.
pub(crate) struct Stopwatch {
    begun: Instant,
    /// Where the thread's own time stood.
    thread: Option<Duration>,
}

/// What it showed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Took {
    /// From beginning to end.
    pub(crate) wall: Duration,
    /// The thread's own part of it.
    pub(crate) thread: Duration,
}

impl Stopwatch {
    /// Begins, for work that is predicted to take so long.
    pub(crate) fn start(predicted: Nanos) -> Self {
        Self {
            thread: (predicted >= ASKED_FROM || ASKED.get().is_none()).then(|| Asked::now().thread),
            begun: Instant::now(),
        }
    }

    /// What has passed.
    pub(crate) fn read(&self) -> Took {
        let wall = self.begun.elapsed();
        let most = match (self.thread, ASKED.get()) {
            (Some(begun), _) => Asked::now().thread.saturating_sub(begun),
            (None, Some(asked)) if asked.taken + wall < Duration::from_nanos(ASKED_FROM.0) => {
                let taken = asked.taken + wall;
                ASKED.set(Some(Asked { taken, ..asked }));
                wall
            }
            (None, Some(before)) => {
                let since = Asked::now().thread.saturating_sub(before.thread);
                since.saturating_sub(before.taken)
            }
            (None, None) => wall,
        };
        Took {
            wall,
            thread: most.min(wall),
        }
    }
}

fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Works, or sleeps, for this long by the wall's clock.
    fn pass(span: Duration, sleeps: bool) {
        let mark = Instant::now();
        while mark.elapsed() < span {
            if sleeps {
                std::thread::park_timeout(span);
            }
        }
    }

    #[test]
    fn waiting_is_not_the_threads_time() {
        let wait = Duration::from_millis(5);
        // Whether it is predicted to be long, or to be short and is not, on a thread that has just begun or does such work all the time.
        for (predicted, short_ones) in [(ASKED_FROM, 0), (Nanos(0), 0), (Nanos(0), 100)] {
            let measured = std::thread::spawn(move || {
                for _ in 0..short_ones {
                    let short = Stopwatch::start(Nanos(0));
                    pass(Duration::from_micros(20), false);
                    short.read();
                }
                let long = Stopwatch::start(predicted);
                pass(wait, true);
                long.read()
            });
            let took = measured.join().expect("no panic");
            assert!(
                took.wall >= wait && took.thread < wait / 2,
                "predicted {predicted:?}, after {short_ones} short ones: {took:?}"
            );
        }
    }

    #[test]
    fn short_work_is_of_the_walls_clock_and_asks_seldom() {
        let first = Stopwatch::start(Nanos(0));
        assert!(first.thread.is_some(), "the thread's first");
        first.read();
        let asked = || ASKED.get().expect("it was asked").thread;
        let (mut asks, mut last, mut walls) = (0, asked(), Duration::ZERO);
        for _ in 0..1000 {
            let short = Stopwatch::start(Nanos(ASKED_FROM.0 - 1));
            let took = short.read();
            walls += took.wall;
            if asked() == last {
                assert_eq!(took.thread, took.wall, "nobody asked");
            } else {
                (asks, last) = (asks + 1, asked());
            }
        }
        let most = walls.as_nanos() / u128::from(ASKED_FROM.0) + 1;
        assert!(asks <= most, "asked {asks} times in {walls:?}");
    }
}
