//! What processes cost: CPU time to the nanosecond, peak memory.
//!
//! CPU time is the kernel's process clock (`clock_getcpuclockid(3)`): all threads, those that have ended included,
//! user and system. `/proc/PID/stat` counts the same in ticks of 10 ms, a hundredth of a window. Memory is `VmHWM` and
//! `HugetlbPages` of `/proc/PID/status` (proc_pid_status(5)). Knows no servers.

use std::io;
use std::time::Duration;

use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};

/// CPU time that a process has used so far.
///
/// # Errors
/// There is no such process.
pub(crate) fn cpu_time(pid: u32) -> io::Result<Duration> {
    let pid = i32::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    let clock = clock_getcpuclockid(Pid::from_raw(pid))?;
    Ok(Duration::from(clock.now()?))
}

/// CPU time of several processes together.
///
/// # Errors
/// One of them is gone.
pub(crate) fn cpu_time_of(pids: &[u32]) -> io::Result<Duration> {
    pids.iter().map(|&pid| cpu_time(pid)).sum()
}

/// CPU time of the calling thread.
pub(crate) fn thread_cpu_time() -> Duration {
    let now = ClockId::CLOCK_THREAD_CPUTIME_ID.now();
    now.map(Duration::from).unwrap_or_default()
}

/// Most memory that a process has held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// `VmHWM`: most resident bytes so far.
    pub(crate) resident_peak_bytes: u64,
    /// `HugetlbPages`: bytes of huge pages now, which no resident figure counts.
    pub(crate) huge_bytes: u64,
}

impl Memory {
    /// Both.
    pub(crate) const fn bytes(self) -> u64 {
        self.resident_peak_bytes + self.huge_bytes
    }

    /// Of a process.
    ///
    /// # Errors
    /// There is no such process.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        Ok(Self::parse(&std::fs::read_to_string(format!(
            "/proc/{pid}/status"
        ))?))
    }

    fn parse(status: &str) -> Self {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kib = line.trim_start_matches(':').trim().strip_suffix("kB")?;
            kib.trim().parse::<u64>().ok().map(|kib| kib << 10)
        };
        Self {
            resident_peak_bytes: field("VmHWM").unwrap_or(0),
            huge_bytes: field("HugetlbPages").unwrap_or(0),
        }
    }
}

/// The processes that `pid` has started and that still run, and theirs.
pub(crate) fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut open = vec![pid];
    while let Some(parent) = open.pop() {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{parent}/task")) else {
            continue;
        };
        for thread in threads.flatten() {
            let children =
                std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            let children = children
                .split_whitespace()
                .filter_map(|child| child.parse().ok());
            for child in children {
                found.push(child);
                open.push(child);
            }
        }
    }
    found
}

/// Bind the calling thread, and what it starts from now on, to one processor.
///
/// # Errors
/// There is no such processor, or it is not ours.
pub(crate) fn pin_thread(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

/// Let the calling thread run on these processors.
///
/// # Errors
/// None of them is ours.
pub(crate) fn allow_cpus(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for &cpu in cpus {
        set.set(cpu);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// Processors that the calling thread may run on.
///
/// # Errors
/// The kernel's.
pub(crate) fn allowed_cpus() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|&cpu| set.is_set(cpu))
        .collect())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use super::*;

    /// Burns CPU time of this thread until it has used `time`.
    fn burn(time: Duration) {
        let until = thread_cpu_time() + time;
        while thread_cpu_time() < until {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn a_process_clock_counts_threads_that_run_and_threads_that_have_ended() {
        let spent = Duration::from_millis(30);
        let before = cpu_time(std::process::id()).expect("our own clock");
        burn(spent);
        std::thread::spawn(move || burn(spent))
            .join()
            .expect("ends");
        let after = cpu_time(std::process::id()).expect("our own clock");
        assert!(after - before >= 2 * spent, "{:?}", after - before);
    }

    #[test]
    fn another_process_that_sleeps_costs_nothing_and_one_that_has_gone_is_an_error() {
        let mut child = Command::new("sleep").arg("30").spawn().expect("sleep");
        let pid = child.id();
        let first = cpu_time(pid).expect("its clock");
        burn(Duration::from_millis(20));
        let second = cpu_time(pid).expect("its clock");
        child.kill().expect("killed");
        child.wait().expect("reaped");
        assert!(
            second - first < Duration::from_millis(20),
            "{:?}",
            second - first
        );
        assert!(cpu_time(pid).is_err());
        assert!(cpu_time_of(&[std::process::id(), pid]).is_err());
    }

    #[test]
    fn peak_memory_is_read_and_huge_pages_are_added() {
        let status =
            "Name:\tfaam\nVmPeak:\t  999 kB\nVmHWM:\t   71680 kB\nHugetlbPages:\t    24576 kB\n";
        let memory = Memory::parse(status);
        assert_eq!(memory.resident_peak_bytes, 70 << 20);
        assert_eq!(memory.bytes(), 94 << 20);
        assert_eq!(Memory::parse("State: Z (zombie)"), Memory::default());
        let before = Memory::of(std::process::id()).expect("our own");
        let touched = vec![1u8; 64 << 20];
        let after = Memory::of(std::process::id()).expect("our own");
        assert!(
            after.bytes() > before.bytes() / 2 && after.bytes() >= touched.len() as u64,
            "{after:?}"
        );
    }

    #[test]
    fn grandchildren_are_descendants() {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 30 & wait"])
            .stdin(Stdio::null())
            .spawn()
            .expect("sh");
        let us = std::process::id();
        let until = Instant::now() + Duration::from_secs(10);
        let grandchildren = loop {
            let grandchildren = descendants(child.id());
            if !grandchildren.is_empty() {
                break grandchildren;
            }
            assert!(Instant::now() < until, "sh starts sleep");
            std::thread::yield_now();
        };
        let ours = descendants(us);
        assert!(ours.contains(&child.id()) && grandchildren.iter().all(|pid| ours.contains(pid)));
        for pid in grandchildren {
            let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a pid");
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        child.wait().expect("sh ends with its child");
    }
}
