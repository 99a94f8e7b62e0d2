//! What a caller's own thread runs, in place of a worker of the pool.

use super::*;
use crate::small_job::{HERE_DECODED_BYTES_MAX, HERE_OUTPUT_BYTES_MAX};

/// Whether a job may run on its caller's thread.
fn runs_here(rig: &Rig, kernel: Kernel, input: &[u8]) -> bool {
    let spec = spec_for_cpu(rig, kernel, input);
    let placement = rig.queue.placement(&spec, None).unwrap();
    let receipt = rig.queue.take_now(&spec, placement);
    let taken = receipt.is_some();
    if let Some(receipt) = receipt {
        rig.queue.settle(receipt, Ended::Unbegun);
    }
    taken
}

/// Has a worker of the pool take such a job, and be done with it after this time.
fn measure(rig: &Rig, kernel: Kernel, input: &[u8], took: Duration) {
    let spec = spec_for_cpu(rig, kernel, input);
    let placement = rig.queue.placement(&spec, None).unwrap();
    let place = rig.queue.tenant(&rig.tenant.id).unwrap();
    let (reply, _answer) = oneshot::channel();
    let room = Arc::clone(&place.room).try_acquire().unwrap();
    let job = PendingJob::new(spec, &place, reply, room, Duration::ZERO);
    rig.queue.push(place.index, job, placement).unwrap();
    let CpuWork::Run(running) = rig.queue.next_for_cpu() else {
        panic!("a job to run");
    };
    let (wall, thread) = (took, took);
    let ended = Ended::OnCpu(Took { wall, thread });
    rig.queue.settle(running.receipt, ended);
}

fn spec_for_cpu(rig: &Rig, kernel: Kernel, input: &[u8]) -> JobSpec {
    JobSpec {
        tenant: rig.tenant.id.clone(),
        kernel,
        input: Bytes::copy_from_slice(input),
        policy: BackendPolicy::Cpu,
        priority: Priority::default(),
        deadline: None,
        permit: Arc::new(rig.admission.admit(&rig.tenant, 5).unwrap()),
    }
}

fn compression(format: Format, level: u8) -> Kernel {
    let (level, position) = (Level::new(level).unwrap(), Position::Last);
    if format.is_deflate() {
        Kernel::Compress {
            format,
            level,
            position,
        }
    } else {
        Kernel::CompressPart {
            format,
            level,
            position,
            stage: None,
        }
    }
}

fn decompression(format: Format) -> Kernel {
    let limits = faam_codec::Limits {
        output_bytes_max: 1 << 20,
        ratio_max: 1_000,
    };
    Kernel::Decompress { format, limits }
}

#[test]
fn a_callers_thread_runs_only_what_was_measured_and_is_short() {
    let rig = Rig::new();
    let short = Duration::from_micros(HERE_MICROS_MAX / 10);
    for (format, level) in [(Format::Gzip, 1), (Format::Zlib, 9), (Format::Lz4, 12)] {
        let kernel = || compression(format, level);
        for bytes in [700, 70_000] {
            let input = vec![0; bytes];
            assert!(
                !runs_here(&rig, kernel(), &input),
                "{format} {level} {bytes}"
            );
            measure(&rig, kernel(), &input, short);
            assert!(
                runs_here(&rig, kernel(), &input),
                "{format} {level} {bytes}"
            );
        }
        // One that took long keeps the next ones off, for as long as the average does.
        measure(&rig, kernel(), &[0; 70_000], 20 * HERE_LONG);
        assert!(!runs_here(&rig, kernel(), &[0; 70_000]));
        assert!(
            runs_here(&rig, kernel(), &[0; 700]),
            "small ones are not it"
        );
    }
}

/// Just beyond what a caller's thread is held for.
const HERE_LONG: Duration = Duration::from_micros(HERE_MICROS_MAX + 1);

#[test]
fn a_callers_thread_makes_no_large_compressor() {
    let rig = Rig::new();
    for (format, levels) in [(Format::Gzip, 10..=12), (Format::Zstd, 1..=12)] {
        for level in levels {
            let kernel = || compression(format, level);
            measure(&rig, kernel(), b"input", Duration::from_micros(1));
            assert!(!runs_here(&rig, kernel(), b"input"), "{format} {level}");
        }
    }
}

#[test]
fn a_callers_thread_decodes_only_what_cannot_become_much() {
    let rig = Rig::new();
    let kernel = || decompression(Format::Gzip);
    measure(&rig, kernel(), &[0; 100_000], Duration::from_micros(1));
    let body = |len: usize, told: u64| {
        let mut body = vec![0; len];
        body[len - 4..].copy_from_slice(&u32::try_from(told).unwrap().to_le_bytes());
        body
    };
    assert!(runs_here(
        &rig,
        kernel(),
        &body(1_000, HERE_OUTPUT_BYTES_MAX)
    ));
    assert!(!runs_here(
        &rig,
        kernel(),
        &body(1_000, HERE_OUTPUT_BYTES_MAX + 1)
    ));
    assert!(runs_here(
        &rig,
        kernel(),
        &body(HERE_DECODED_BYTES_MAX, 1_000)
    ));
    assert!(!runs_here(
        &rig,
        kernel(),
        &body(HERE_DECODED_BYTES_MAX + 1, 1_000)
    ));
}
