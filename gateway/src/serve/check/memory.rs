//! Memory: what bodies and the arena may take, compared with what there is.

use faam_gateway::config::GatewayConfig;

use super::Finding;
use crate::quantity;

/// Share of the memory that bodies and the arena may be planned to take, in percent.
const MEMORY_PERCENT_MAX: u64 = 80;

/// Whether what is planned for bodies and the arena fits it.
pub(super) fn memory(config: &GatewayConfig) -> Finding {
    let bytes = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    let planned = bytes(config.admission.body_memory_bytes_max)
        .saturating_add(bytes(config.dispatch.arena_bytes));
    let shown = quantity::show_bytes;
    let Some((there, of)) = memory_bytes() else {
        return Finding::warning(
            "body_memory_bytes_max: cannot tell how much memory there is",
            "see that it fits",
        );
    };
    let allowed = there / 100 * MEMORY_PERCENT_MAX;
    if planned > allowed {
        return Finding::failed(
            format!(
                "body_memory_bytes_max and arena_bytes are {} together; {of} is {} MiB",
                shown(planned),
                there >> 20
            ),
            format!(
                "lower body_memory_bytes_max to at most {} ({MEMORY_PERCENT_MAX} % less the arena)",
                shown(allowed.saturating_sub(bytes(config.dispatch.arena_bytes)) >> 20 << 20)
            ),
        );
    }
    Finding::ok(format!(
        "memory: {} planned for bodies and arena, {of} is {} MiB",
        shown(planned),
        there >> 20
    ))
}

/// Bytes of memory, and whose limit that is: the control group's where it is lower than the machine's.
fn memory_bytes() -> Option<(u64, &'static str)> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    let machine = kib.saturating_mul(1024);
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .filter(|limit| *limit < machine);
    Some(group.map_or((machine, "the machine's memory"), |limit| {
        (limit, "the control group's limit")
    }))
}
