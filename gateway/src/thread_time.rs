//! What a piece of work took: on the wall's clock, and of its thread's own time.
//!
//! A tenant is charged its thread's time, so that it does not pay for what the machine did in between. Asking for that is a
//! system call, twice 425 ns where it was measured; below [`ASKED_FROM`] it would be a good part of the work, and the
//! wall's clock has to do. It does not know what is done meanwhile.

use std::time::{Duration, Instant};

use faam_sched::Nanos;
use rustix::time::{ClockId, clock_gettime};

/// Predicted time from which on a thread's own time is asked for: the asking is less than a hundredth of it.
const ASKED_FROM: Nanos = Nanos(100_000);

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
            thread: (predicted >= ASKED_FROM).then(thread_time),
            begun: Instant::now(),
        }
    }

    /// What has passed.
    pub(crate) fn read(&self) -> Took {
        let wall = self.begun.elapsed();
        let thread = self
            .thread
            .map_or(wall, |begun| thread_time().saturating_sub(begun).min(wall));
        Took { wall, thread }
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

    #[test]
    fn waiting_is_not_the_threads_time() {
        let long = Stopwatch::start(ASKED_FROM);
        let short = Stopwatch::start(Nanos(0));
        let (mark, wait) = (Instant::now(), Duration::from_millis(5));
        while mark.elapsed() < wait {
            std::thread::park_timeout(wait);
        }
        let (long, short) = (long.read(), short.read());
        assert!(long.wall >= wait && long.thread < long.wall, "{long:?}");
        assert_eq!(short.thread, short.wall, "nobody asked");
    }
}
