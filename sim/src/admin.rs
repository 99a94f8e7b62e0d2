//! The admin queue's commands.
//!
//! Owns what each of them does to the function. Invariant: each ends with exactly one completion, and at once: deleting
//! a queue takes its right to memory away rather than waiting for its jobs. Programming and evicting a slot alone take
//! their time: the loader completes them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use faam_hwif::admin::{AdminCommand, Feature, Identify, LogPage, field};
use faam_hwif::error::ErrorCode;
use faam_hwif::{
    CommandId, CompletionEntry, HISTORY_BYTES_MAX, IO_PAIRS_MAX, Iova, QueueId, Status,
    SubmissionEntry, pci,
};

use crate::dispatcher::Lanes;
use crate::faults::Fault;
use crate::function::Function;
use crate::function_faults::Strikes;
use crate::job::Refusal;
use crate::memory::DmaFault;
use crate::queues::{CreateRefused, Queue, QueueShape};

/// Model name that identify returns.
const MODEL_NAME: &str = "FaaM simulated card";

/// Status, `out_len` and `info` of the completion.
struct Answer {
    status: Status,
    out_len: u32,
    info: u32,
}

impl Answer {
    fn done(out_len: u32) -> Self {
        Self {
            status: Status::Success,
            out_len,
            info: 0,
        }
    }

    fn refused(status: Status, info: u32) -> Self {
        Self {
            status,
            out_len: 0,
            info,
        }
    }
}

/// Executes an admin command and posts its completion.
pub(crate) fn execute(
    function: &Function,
    admin: &Arc<Queue>,
    lanes: &mut Lanes,
    entry: &SubmissionEntry,
) {
    let slots = &function.slots;
    let id = entry.command_id();
    let later = |accepted: Result<(), Refusal>| match accepted {
        Ok(()) => None,
        Err((status, info)) => Some(Answer::refused(status, info)),
    };
    let answer = match AdminCommand::decode(entry) {
        Ok(AdminCommand::ProgramSlot { slot, bytes }) => {
            later(slots.program(admin, id, slot, bytes))
        }
        Ok(AdminCommand::EvictSlot { slot }) => later(slots.evict(admin, id, slot)),
        Ok(command) => Some(answer(function, admin, lanes, command)),
        Err(refusal) => Some(Answer::refused(refusal.status, refusal.info)),
    };
    let Some(answer) = answer else {
        return;
    };
    let completion = CompletionEntry {
        cid: entry.cid,
        out_len: answer.out_len,
        info: answer.info,
        ..CompletionEntry::default()
    };
    // A fault is the end of the admin queue, and has been noted there.
    let _ = admin.post(
        completion,
        answer.status,
        &Strikes::default(),
        &function.errors,
    );
}

fn answer(function: &Function, admin: &Queue, lanes: &mut Lanes, command: AdminCommand) -> Answer {
    match command {
        AdminCommand::Identify { dst, dst_cap } => write(
            function,
            admin,
            dst,
            dst_cap,
            &identify(function).to_bytes(),
        ),
        AdminCommand::CreateQueue {
            queue,
            entries,
            sq,
            cq,
            shadow,
            vector,
            epoch,
        } => {
            if queue == QueueId::ADMIN || queue.0 > IO_PAIRS_MAX {
                return Answer::refused(Status::InvalidQueue, field::SRC_LEN);
            }
            let vectors = pci::MSIX_VECTORS;
            if vector.is_some_and(|vector| vector >= vectors)
                && !function.faults.on(Fault::TakesAnyVector)
            {
                return Answer::refused(Status::InvalidField, field::AUX_LEN);
            }
            let shape = QueueShape {
                id: queue,
                entries,
                sq,
                cq,
                shadow,
                vector,
                epoch,
            };
            create(function, admin, shape)
        }
        AdminCommand::DeleteQueue { queue } => delete(function, queue),
        AdminCommand::SetFeatures { feature, value } => match feature {
            Feature::QueuePairs if function.faults.on(Fault::GrantsNoQueuePairs) => Answer::done(0),
            Feature::QueuePairs => Answer::done(value.clamp(1, u32::from(IO_PAIRS_MAX))),
            // Each completion is judged by itself: CQ_WANT is what a host coalesces with.
            Feature::InterruptCoalescing => Answer::done(1),
        },
        AdminCommand::Abort { queue, command } => abort(function, lanes, queue, command),
        AdminCommand::GetLogPage { page, dst, dst_cap } => {
            let bytes = match page {
                LogPage::Errors => function.errors.page(),
                LogPage::Health => function.health().to_bytes().to_vec(),
            };
            // A shorter buffer gets the front of the page: the newest errors, the first counters.
            let room = usize::try_from(dst_cap).unwrap_or(usize::MAX);
            let front = bytes.get(..room).unwrap_or(&bytes);
            write(function, admin, dst, dst_cap, front)
        }
        AdminCommand::DownloadImage { src, bytes, offset } => {
            download(function, admin, src, bytes, offset)
        }
        AdminCommand::ActivateSlot { slot } => match function.slots.activate(slot) {
            Ok(()) => Answer::done(0),
            Err((status, info)) => Answer::refused(status, info),
        },
        // Accepted before: these complete later.
        AdminCommand::ProgramSlot { .. } | AdminCommand::EvictSlot { .. } => {
            Answer::refused(Status::EngineFault, 0)
        }
    }
}

/// One piece of an image.
fn download(function: &Function, admin: &Queue, src: Iova, bytes: u32, offset: u32) -> Answer {
    if let Err((status, info)) = function.slots.check_piece(offset, bytes) {
        return Answer::refused(status, info);
    }
    let mut piece = vec![0; usize::try_from(bytes).unwrap_or(0)];
    match admin.lease().read(src, &mut piece) {
        Ok(()) => {
            function.slots.stage(offset, &piece);
            Answer::done(bytes)
        }
        Err(DmaFault::Revoked) => Answer::refused(Status::QueueDeleted, 0),
        Err(DmaFault::Refused { at }) => {
            function.health.dma_faults.fetch_add(1, Ordering::Relaxed);
            function.errors.note(ErrorCode::DataRead, admin.id(), at.0);
            Answer::refused(Status::DmaReadFault, 0)
        }
    }
}

fn create(function: &Function, admin: &Queue, shape: QueueShape) -> Answer {
    let queue = Arc::new(Queue::new(shape, function.memory.lease()));
    match function.queues.create(Arc::clone(&queue), admin.lease()) {
        Ok(()) => {}
        Err(CreateRefused::Exists) => return Answer::refused(Status::QueueExists, 0),
        Err(CreateRefused::OutOfRange) => {
            return Answer::refused(Status::InvalidQueue, field::SRC_LEN);
        }
        // Its completion will not be written either.
        Err(CreateRefused::NoAdmin) => return Answer::refused(Status::QueueDeleted, 0),
    }
    // Ask for a kick at the first entry, and learn now whether the shadow page can be reached. This writes to the
    // client's memory, so not before the lease is in the table, where a reset finds it.
    match queue.arm() {
        Ok(_) => Answer::done(0),
        Err(fault) => {
            function.queues.remove(&queue);
            fault_answer(function, shape.id, ErrorCode::RingAccess, fault)
        }
    }
}

fn delete(function: &Function, queue: QueueId) -> Answer {
    if queue == QueueId::ADMIN {
        return Answer::refused(Status::InvalidQueue, field::SRC_LEN);
    }
    if function.faults.on(Fault::DeletesNothing) {
        return Answer::done(0);
    }
    match function.queues.delete(queue) {
        None => Answer::refused(Status::InvalidQueue, field::SRC_LEN),
        Some(Ok(_)) => {
            function.pool.drop_revoked();
            Answer::done(0)
        }
        // Not a fence, and says so: the host has to reset.
        Some(Err(still)) => {
            tracing::error!(%queue, %still, "deleted");
            Answer::refused(Status::EngineFault, 0)
        }
    }
}

/// Best effort: a command that waits is ended, one that an engine has begun is not.
fn abort(function: &Function, lanes: &mut Lanes, queue: QueueId, command: CommandId) -> Answer {
    if queue == QueueId::ADMIN || function.queues.get(queue).is_none() {
        return Answer::refused(Status::InvalidQueue, field::SRC_LEN);
    }
    if function.faults.on(Fault::AbortLies) {
        return Answer::done(1);
    }
    let job = lanes
        .take_held(queue, command)
        .or_else(|| function.pool.take_back(queue, command));
    let Some(job) = job else {
        return Answer::done(0);
    };
    let completion = CompletionEntry {
        cid: job.id.0,
        ..CompletionEntry::default()
    };
    function.count_failed_job();
    if job
        .queue
        .post(completion, Status::Aborted, &job.strikes, &function.errors)
        .is_ok()
    {
        job.queue.announce(&function.msix, &function.errors);
    }
    Answer::done(1)
}

fn write(function: &Function, admin: &Queue, dst: Iova, dst_cap: u32, bytes: &[u8]) -> Answer {
    let Ok(len) = u32::try_from(bytes.len()) else {
        return Answer::refused(Status::EngineFault, 0);
    };
    if len > dst_cap {
        return Answer::refused(Status::InvalidLength, field::DST_CAP);
    }
    match admin.lease().write(dst, bytes) {
        Ok(()) => Answer::done(len),
        Err(fault) => fault_answer(function, admin.id(), ErrorCode::DataWrite, fault),
    }
}

fn fault_answer(function: &Function, queue: QueueId, code: ErrorCode, fault: DmaFault) -> Answer {
    let DmaFault::Refused { at } = fault else {
        return Answer::refused(Status::QueueDeleted, 0);
    };
    function.health.dma_faults.fetch_add(1, Ordering::Relaxed);
    function.errors.note(code, queue, at.0);
    Answer::refused(Status::DmaWriteFault, 0)
}

fn identify(function: &Function) -> Identify {
    let identity = &function.identity;
    Identify {
        serial: text(&format!("{:016X}", identity.serial)),
        model: text(MODEL_NAME),
        firmware: text(env!("CARGO_PKG_VERSION")),
        engines: u32::from(identity.engines),
        job_bytes_max: function.shown_job_bytes_max(),
        history_bytes_max: HISTORY_BYTES_MAX,
        clock_khz: identity.clock_khz,
        io_pairs_max: IO_PAIRS_MAX,
        entries_log2_max: function.shown_entries_log2_max(),
        function: function.shown_index(),
    }
}

/// ASCII, padded with spaces, cut if it is too long.
fn text<const N: usize>(from: &str) -> [u8; N] {
    let mut out = [b' '; N];
    for (place, byte) in out.iter_mut().zip(from.bytes()) {
        *place = byte;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::Identity;
    use crate::memory::Rights;
    use faam_hwif::doorbell::SHADOW_SQ_EVENT;
    use faam_hwif::{QueueEntries, QueueEpoch};
    use rustix::fs::MemfdFlags;

    const BYTES: u64 = 1 << 16;
    const MARK: u32 = 0xA5A5_A5A5;

    fn shape(id: u16, shadow: u64) -> QueueShape {
        QueueShape {
            id: QueueId(id),
            entries: QueueEntries::from_log2(2).unwrap(),
            sq: Iova(0),
            cq: Iova(0x1000),
            shadow: Some(Iova(shadow)),
            vector: None,
            epoch: QueueEpoch(1),
        }
    }

    fn function() -> Function {
        let identity = Identity {
            index: 0,
            serial: 1,
            engines: 1,
            clock_khz: 1,
            paced: false,
        };
        let function = Function::new(identity, 1);
        let fd = rustix::fs::memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&fd, BYTES).unwrap();
        let rights = Rights {
            read: true,
            write: true,
        };
        function
            .memory
            .map(0, BYTES, rights, Some((fd, 0)))
            .unwrap();
        function.memory.set_bus_master(true).unwrap();
        function
    }

    #[test]
    fn a_queue_that_is_not_created_writes_nothing() {
        let function = function();
        let admin = Queue::new(shape(0, 0x3000), function.memory.lease());
        let event = Iova(0x2000 + u64::from(SHADOW_SQ_EVENT));
        let probe = function.memory.lease();
        let mark = || probe.access().unwrap().store_u32(event, MARK).unwrap();
        let marked = || probe.access().unwrap().load_u32(event).unwrap() == MARK;

        mark();
        let created = create(&function, &admin, shape(1, 0x2000));
        assert_eq!(created.status, Status::Success);
        assert!(!marked(), "a queue that is created asks for a kick");
        mark();
        let again = create(&function, &admin, shape(1, 0x2000));
        assert_eq!(again.status, Status::QueueExists);
        assert!(marked());
        // As if a reset had come between the command's fetch and its execution.
        admin.lease().revoke().unwrap();
        let late = create(&function, &admin, shape(2, 0x2000));
        assert_eq!(late.status, Status::QueueDeleted);
        assert!(marked());
    }

    #[test]
    fn a_queue_whose_shadow_page_is_not_there_does_not_stay_in_the_table() {
        let function = function();
        let admin = Queue::new(shape(0, 0x3000), function.memory.lease());
        let refused = create(&function, &admin, shape(1, BYTES));
        assert_eq!(refused.status, Status::DmaWriteFault);
        assert!(function.queues.get(QueueId(1)).is_none());
    }
}
