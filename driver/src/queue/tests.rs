//! A queue against a scripted card: one that keeps the rules, and many that do not.

use super::*;
use crate::dma::{QueueMemoryLayout, SharedMemory};
use crate::transport::{ConfigWidth, DmaAccess, IovaRange, TransportKind};
use faam_hwif::doorbell::{SHADOW_CQ_HEAD, SHADOW_SQ_EVENT, SHADOW_SQ_TAIL};
use faam_hwif::{Iova, Opcode, QueueEntries};
use parking_lot::Mutex;
use proptest::prelude::*;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

const EPOCH: QueueEpoch = QueueEpoch(0x1234);

/// Takes doorbell writes down, and has nothing else.
#[derive(Debug, Default)]
struct Kicks(Mutex<Vec<(u32, u32)>>);

const NONE: TransportError = TransportError::Refused {
    command: "nothing",
    errno: 0,
};

impl Transport for Kicks {
    fn post_doorbell(&self, offset: BarOffset, value: u32) -> Result<(), TransportError> {
        self.0.lock().push((offset.0, value));
        Ok(())
    }
    fn read_register(&self, _: BarOffset) -> Result<u32, TransportError> {
        Err(NONE)
    }
    fn write_register(&self, _: BarOffset, _: u32) -> Result<(), TransportError> {
        Err(NONE)
    }
    fn map_dma(&self, _: &SharedMemory, _: Iova, _: DmaAccess) -> Result<(), TransportError> {
        Err(NONE)
    }
    fn unmap_dma(&self, _: Iova, _: u64) -> Result<(), TransportError> {
        Err(NONE)
    }
    fn set_interrupts(&self, _: u16, _: &[BorrowedFd<'_>]) -> Result<(), TransportError> {
        Err(NONE)
    }
    fn config_read(&self, _: u16, _: ConfigWidth) -> Result<u32, TransportError> {
        Err(NONE)
    }
    fn config_write(&self, _: u16, _: ConfigWidth, _: u32) -> Result<(), TransportError> {
        Err(NONE)
    }
    fn function_level_reset(&self) -> Result<(), TransportError> {
        Err(NONE)
    }
    fn iova_ranges(&self) -> Vec<IovaRange> {
        Vec::new()
    }
    fn kind(&self) -> TransportKind {
        TransportKind::VfioUser
    }
    fn serving_process(&self) -> Option<u32> {
        None
    }
}

/// A queue and the card's view of its memory.
struct Bench {
    queue: Queue,
    kicks: Arc<Kicks>,
    /// Completions that the card has written.
    written: u32,
    /// Submissions that the card has fetched.
    fetched: u32,
}

impl Bench {
    fn new(log2: u8, doorbells: Doorbells) -> Self {
        let layout = QueueMemoryLayout::new(QueueEntries::from_log2(log2).unwrap());
        let memory = QueueMemory::new(layout, Iova(1 << 32)).unwrap();
        let kicks = Arc::new(Kicks::default());
        let queue = Queue::new(
            QueueId(1),
            EPOCH,
            memory,
            kicks.clone(),
            BarOffset(0x1_1000),
            doorbells,
        );
        Self {
            queue,
            kicks,
            written: 0,
            fetched: 0,
        }
    }

    fn submit(&mut self, token: u16) -> CommandId {
        let limits = Limits {
            src_len: 10,
            dst_cap: 10,
        };
        let entry = SubmissionEntry {
            op: Opcode::Nop as u8,
            ..SubmissionEntry::default()
        };
        self.queue.submit(entry, limits, Token(token)).unwrap()
    }

    /// The card fetches everything that was published.
    fn fetch(&mut self) -> Vec<SubmissionEntry> {
        let tail = self
            .queue
            .memory()
            .shadow_cell(SHADOW_SQ_TAIL)
            .load(Ordering::Acquire);
        let mut entries = Vec::new();
        while self.fetched != tail {
            let bytes = self.queue.memory().read_submission(self.fetched);
            entries.push(SubmissionEntry::from_bytes(&bytes));
            self.fetched = self.fetched.wrapping_add(1);
        }
        entries
    }

    fn good(&self, id: CommandId) -> CompletionEntry {
        let [low, high, ..] = self.fetched.to_le_bytes();
        let phase = self.queue.memory().entries().phase(self.written);
        let entry = CompletionEntry {
            cid: id.0,
            sq_head: u16::from_le_bytes([low, high]),
            ..CompletionEntry::default()
        };
        entry.sealed(Status::Success, phase, EPOCH)
    }

    fn write(&mut self, entry: &CompletionEntry) {
        self.queue
            .memory()
            .write_completion(self.written, &entry.to_bytes());
        self.written = self.written.wrapping_add(1);
    }
}

#[test]
fn entries_arrive_with_their_ids_and_completions_with_their_tokens() {
    let mut bench = Bench::new(3, Doorbells::Shadow);
    let ids = [bench.submit(7), bench.submit(8)];
    assert!(bench.fetch().is_empty(), "not yet published");
    bench.queue.ring().unwrap();
    let fetched: Vec<_> = bench
        .fetch()
        .iter()
        .map(SubmissionEntry::command_id)
        .collect();
    assert_eq!(fetched, ids);
    for (id, token) in [(ids[1], 8), (ids[0], 7)] {
        let entry = bench.good(id);
        bench.write(&entry);
        assert!(bench.queue.has_completion());
        let reaped = bench.queue.reap().unwrap().unwrap();
        assert_eq!(reaped.token, Token(token));
    }
    assert!(bench.queue.reap().unwrap().is_none());
    bench.queue.publish_head().unwrap();
    let head = bench.queue.memory().shadow_cell(SHADOW_CQ_HEAD);
    assert_eq!(head.load(Ordering::Acquire), 2);
}

#[test]
fn a_kick_is_sent_when_the_event_index_is_passed_and_only_then() {
    let mut bench = Bench::new(4, Doorbells::Shadow);
    let event = |bench: &Bench, value| {
        let cell = bench.queue.memory().shadow_cell(SHADOW_SQ_EVENT);
        cell.store(value, Ordering::Release);
    };
    event(&bench, 1);
    bench.submit(0);
    bench.queue.ring().unwrap();
    assert!(bench.kicks.0.lock().is_empty(), "the event lies ahead");
    bench.submit(1);
    bench.submit(2);
    bench.queue.ring().unwrap();
    assert_eq!(*bench.kicks.0.lock(), [(0x1_1000, 3)], "one for both");
    bench.submit(3);
    bench.queue.ring().unwrap();
    assert_eq!(bench.kicks.0.lock().len(), 1, "it was told before");
    bench.queue.ring().unwrap();
    assert_eq!(bench.queue.kicks(), 1, "nothing new");
}

#[test]
fn without_a_shadow_page_every_batch_is_rung() {
    let mut bench = Bench::new(4, Doorbells::Mmio);
    bench.submit(0);
    bench.submit(1);
    bench.queue.ring().unwrap();
    bench.submit(2);
    bench.queue.ring().unwrap();
    assert_eq!(*bench.kicks.0.lock(), [(0x1_1000, 2), (0x1_1000, 3)]);
}

#[test]
fn a_full_queue_refuses_and_one_completion_makes_room_for_one() {
    let mut bench = Bench::new(2, Doorbells::Shadow);
    let ids: Vec<_> = (0..3).map(|n| bench.submit(n)).collect();
    let entry = SubmissionEntry::default();
    let refused = bench.queue.submit(entry, Limits::default(), Token(9));
    assert_eq!(refused, Err(QueueFull { in_use_max: 3 }));
    bench.queue.ring().unwrap();
    bench.fetch();
    let done = bench.good(ids[0]);
    bench.write(&done);
    bench.queue.reap().unwrap().unwrap();
    bench.submit(9);
    let refused = bench.queue.submit(entry, Limits::default(), Token(9));
    assert!(refused.is_err());
}

/// Submits `outstanding` commands, lets the card write what `lie` makes of a good completion, and expects a fault.
fn expect_fault(
    lie: impl Fn(&Bench, CommandId, CompletionEntry) -> CompletionEntry,
) -> DeviceFault {
    let mut bench = Bench::new(4, Doorbells::Shadow);
    let first = bench.submit(0);
    bench.submit(1);
    bench.queue.ring().unwrap();
    bench.fetch();
    let entry = lie(&bench, first, bench.good(first));
    bench.write(&entry);
    let fault = bench.queue.reap().unwrap_err();
    assert_eq!(bench.queue.outstanding(), 2, "nothing was retired");
    fault
}

fn resealed(bench: &Bench, entry: CompletionEntry) -> CompletionEntry {
    let phase = bench.queue.memory().entries().phase(bench.written);
    entry.sealed(Status::Success, phase, EPOCH)
}

#[test]
fn a_hostile_card_gets_nothing_retired() {
    let torn = expect_fault(|_, _, good| CompletionEntry { crc32: 9, ..good });
    assert!(matches!(torn, DeviceFault::BadCheck { .. }), "{torn}");

    let of_an_older_queue =
        expect_fault(|_, _, good| good.sealed(Status::Success, true, QueueEpoch(EPOCH.0 - 1)));
    assert!(matches!(of_an_older_queue, DeviceFault::BadCheck { .. }));

    let never_sent = expect_fault(|bench, _, good| {
        let entry = CompletionEntry {
            cid: CommandId::new(5, 0).0,
            ..good
        };
        resealed(bench, entry)
    });
    assert!(matches!(never_sent, DeviceFault::UnknownCommand { .. }));

    let stale = expect_fault(|bench, first, good| {
        let entry = CompletionEntry {
            cid: CommandId::new(first.slot(), first.generation() + 63).0,
            ..good
        };
        resealed(bench, entry)
    });
    assert!(matches!(stale, DeviceFault::StaleCommand { .. }));

    let too_long = expect_fault(|bench, _, good| {
        let entry = CompletionEntry {
            out_len: 11,
            ..good
        };
        resealed(bench, entry)
    });
    assert!(matches!(too_long, DeviceFault::LengthBeyondLimit { .. }));

    // Head 0: neither command fetched, yet one completed.
    let impossible_head = expect_fault(|bench, _, good| {
        let entry = CompletionEntry { sq_head: 0, ..good };
        resealed(bench, entry)
    });
    assert_eq!(
        impossible_head,
        DeviceFault::BadSubmissionHead { sq_head: 0 }
    );
    // Head beyond the tail.
    let ahead = expect_fault(|bench, _, good| {
        let entry = CompletionEntry { sq_head: 3, ..good };
        resealed(bench, entry)
    });
    assert_eq!(ahead, DeviceFault::BadSubmissionHead { sq_head: 3 });
}

#[test]
fn a_duplicate_is_a_fault_and_retires_nobody_else() {
    let mut bench = Bench::new(4, Doorbells::Shadow);
    let first = bench.submit(0);
    bench.submit(1);
    bench.queue.ring().unwrap();
    bench.fetch();
    for _ in 0..2 {
        let entry = bench.good(first);
        bench.write(&entry);
    }
    assert!(bench.queue.reap().unwrap().is_some());
    let fault = bench.queue.reap().unwrap_err();
    assert!(matches!(fault, DeviceFault::StaleCommand { .. }), "{fault}");
    assert_eq!(bench.queue.outstanding(), 1);
}

#[test]
fn an_entry_of_the_last_lap_is_not_a_completion() {
    let mut bench = Bench::new(1, Doorbells::Shadow);
    for lap in 0..10 {
        let id = bench.submit(lap);
        bench.queue.ring().unwrap();
        bench.fetch();
        assert!(bench.queue.reap().unwrap().is_none(), "lap {lap}");
        let entry = bench.good(id);
        bench.write(&entry);
        assert_eq!(bench.queue.reap().unwrap().unwrap().token, Token(lap));
    }
}

proptest! {
    /// Whatever 32 bytes a card writes, and however often: no panic, and nothing retired but by an intact entry of an
    /// outstanding command.
    #[test]
    fn random_completions_retire_nothing(entries in proptest::collection::vec(any::<[u8; 32]>(), 1..16)) {
        let mut bench = Bench::new(4, Doorbells::Shadow);
        for n in 0..15 {
            bench.submit(n);
        }
        bench.queue.ring().unwrap();
        bench.fetch();
        for bytes in entries {
            let entry = CompletionEntry::from_bytes(&bytes);
            prop_assume!(!entry.is_intact(EPOCH));
            let phase = bench.queue.memory().entries().phase(bench.written);
            bench.write(&entry);
            match bench.queue.reap() {
                Ok(None) => prop_assert_ne!(entry.phase(), phase),
                Ok(Some(reaped)) => prop_assert!(false, "retired {:?}", reaped),
                Err(_) => {}
            }
            prop_assert_eq!(bench.queue.outstanding(), 15);
            if entry.phase() != phase {
                // Not taken: the next is written in its place.
                bench.written = bench.written.wrapping_sub(1);
            }
        }
    }
}
