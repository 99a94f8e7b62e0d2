//! What went wrong since reset: the ERROR block's registers and the error log page.
//!
//! Invariant: bounded, newest first, and the first error is never displaced.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use faam_hwif::QueueId;
use faam_hwif::admin::{ERROR_LOG_ENTRIES, ErrorLogEntry};
use faam_hwif::error::ErrorCode;
use parking_lot::Mutex;

use crate::faults::Fault;
use crate::function_faults::Faults;

/// The log of one function. Lock order: a leaf.
pub(crate) struct ErrorLog {
    state: Mutex<State>,
    power_on: Instant,
    faults: Arc<Faults>,
}

#[derive(Default)]
struct State {
    first: ErrorLogEntry,
    count: u32,
    newest: VecDeque<ErrorLogEntry>,
}

impl ErrorLog {
    /// An empty log; times are counted from `power_on`.
    pub(crate) fn new(power_on: Instant, faults: Arc<Faults>) -> Self {
        Self {
            state: Mutex::default(),
            power_on,
            faults,
        }
    }

    /// Notes an error.
    pub(crate) fn note(&self, code: ErrorCode, queue: QueueId, info: u64) {
        if self.faults.on(Fault::NotesNoErrors) {
            return;
        }
        tracing::debug!(?code, %queue, info = format_args!("{info:#x}"), "error");
        let mut state = self.state.lock();
        // All-ones would read as a function that is gone.
        state.count = state.count.saturating_add(1).min(u32::MAX - 1);
        let entry = ErrorLogEntry {
            count: state.count,
            code: code as u16,
            queue: queue.0,
            info,
            uptime_ms: u64::try_from(self.power_on.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        if state.count == 1 {
            state.first = entry;
        }
        state.newest.truncate(ERROR_LOG_ENTRIES - 1);
        state.newest.push_front(entry);
    }

    /// The first error since reset, all zero if there was none, and how many there were.
    pub(crate) fn first(&self) -> (ErrorLogEntry, u32) {
        let state = self.state.lock();
        (state.first, state.count)
    }

    /// The log page.
    pub(crate) fn page(&self) -> Vec<u8> {
        let state = self.state.lock();
        state
            .newest
            .iter()
            .flat_map(ErrorLogEntry::to_bytes)
            .collect()
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        *self.state.lock() = State::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_first_and_the_newest() {
        let log = ErrorLog::new(Instant::now(), Arc::default());
        for n in 0..20 {
            log.note(ErrorCode::DataRead, QueueId(3), n);
        }
        let (first, count) = log.first();
        assert_eq!((first.info, first.count, count), (0, 1, 20));
        let page = log.page();
        assert_eq!(page.len(), ERROR_LOG_ENTRIES * 24);
        let newest = ErrorLogEntry::from_bytes(page[..24].try_into().unwrap());
        assert_eq!((newest.info, newest.count, newest.queue), (19, 20, 3));
        log.clear();
        assert_eq!(log.first().1, 0);
        assert!(log.page().is_empty());
    }
}
