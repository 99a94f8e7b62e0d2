//! Random jobs, compared with the functional model.

use std::time::Instant;

use faam_dv::farm::Timing;

use crate::host::Host;
use crate::jobs::Job;
use crate::random;

/// Runs so many jobs of up to so many bytes.
fn compared(purpose: &str, timing: fn(u64) -> Timing, jobs: usize, bytes_max: usize) {
    let (mut random, seed) = random(purpose);
    let mut host = Host::up(timing(seed));
    let mut ring = host.create(1, 3, Some(1));
    let (begun, first) = (Instant::now(), host.farm.cycles());
    let mut bytes = 0;
    for _ in 0..jobs {
        let job = Job::random(&mut random, bytes_max);
        bytes += job.src.len();
        job.check(&mut host, &mut ring);
        host.memory.log.clear();
    }
    let (cycles, seconds) = (host.farm.cycles() - first, begun.elapsed().as_secs_f64());
    println!(
        "{purpose}: {jobs} jobs, {bytes} bytes, 0 mismatches; {cycles} cycles in {seconds:.1} s, {:.1} million a second",
        cycles as f64 / seconds / 1e6
    );
}

#[test]
fn short_jobs_on_smooth_memory_are_the_models() {
    compared("short jobs, smooth", Timing::smooth, 300, 2_000);
}

#[test]
fn short_jobs_on_rough_memory_are_the_models() {
    compared("short jobs, rough", Timing::rough, 300, 2_000);
}

#[test]
fn longer_jobs_on_smooth_memory_are_the_models() {
    compared("longer jobs, smooth", Timing::smooth, 30, 70_000);
}

#[test]
fn longer_jobs_on_rough_memory_are_the_models() {
    compared("longer jobs, rough", Timing::rough, 20, 70_000);
}
