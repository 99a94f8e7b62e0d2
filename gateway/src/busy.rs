//! How much of the time a function has work: the union of its jobs' times, not their sum.
//! It knows no clock: moments are given.

use std::time::{Duration, Instant};

/// How much of the time a function has had work.
#[derive(Default)]
pub(crate) struct Busy {
    /// Jobs that it holds.
    jobs: usize,
    /// Since when it has held some without a break.
    since: Option<Instant>,
    /// Busy time since the gauge was last read, but for what runs now.
    total: Duration,
}

impl Busy {
    /// It got a job.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.jobs += 1;
        self.since.get_or_insert(now);
    }

    /// It has one job less.
    pub(crate) fn end(&mut self, now: Instant) {
        self.jobs = self.jobs.saturating_sub(1);
        if self.jobs == 0
            && let Some(since) = self.since.take()
        {
            self.total += now.saturating_duration_since(since);
        }
    }

    /// Jobs that it holds.
    pub(crate) const fn jobs(&self) -> usize {
        self.jobs
    }

    /// Busy time since the last call.
    pub(crate) fn read(&mut self, now: Instant) -> Duration {
        if let Some(since) = &mut self.since {
            self.total += now.saturating_duration_since(*since);
            *since = now;
        }
        std::mem::take(&mut self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_time_is_the_union_of_the_jobs_times() {
        let at = |ms| Instant::now() + Duration::from_millis(ms);
        let (t0, t1, t2, t3) = (at(0), at(10), at(30), at(40));
        let mut busy = Busy::default();
        busy.begin(t0);
        busy.begin(t1);
        busy.end(t1);
        assert_eq!(busy.jobs(), 1);
        assert_eq!(busy.read(t1), t1 - t0, "what runs is counted so far");
        busy.end(t2);
        assert_eq!(busy.read(t3), t2 - t1);
        assert_eq!(busy.read(t3), Duration::ZERO);
    }
}
