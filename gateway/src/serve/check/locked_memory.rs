//! Memory that cards behind the kernel's VFIO have locked: computed, and compared with the limit, before any is.

use faam_driver::{FunctionConfig, MemoryLock};
use faam_gateway::cards::CardSource;
use faam_gateway::config::GatewayConfig;

use super::Finding;
use crate::quantity;

/// Whether this process may lock what its PCI functions need; nothing where it has none.
pub(super) fn locked_memory(config: &GatewayConfig, lock: MemoryLock) -> Option<Finding> {
    let functions = config.dispatch.cards.iter().map(|card| match card {
        CardSource::Pci { functions } => functions.len(),
        CardSource::OwnSimulated { .. } | CardSource::VfioUser { .. } => 0,
    });
    let functions: usize = functions.sum();
    if functions == 0 {
        return None;
    }
    let arena = config.dispatch.arena_bytes;
    let needed = MemoryLock::needed(arena, functions, &FunctionConfig::default());
    let what = format!(
        "arena_bytes: {functions} functions lock {} (the arena and the queues, once each)",
        quantity::show_bytes(needed)
    );
    let Some(most) = lock.bytes_max.filter(|_| !lock.has_room_for(needed)) else {
        return Some(Finding::ok(what));
    };
    Some(Finding::failed(
        format!(
            "{what}, and this process may lock {}",
            quantity::show_bytes(most)
        ),
        format!(
            "ulimit -l {} in a root shell, LimitMEMLOCK={} in a unit of systemd, or a smaller arena_bytes",
            needed.div_ceil(1 << 10),
            needed
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::check::Verdict;

    #[test]
    fn what_functions_lock_is_computed_before_it_fails() {
        let mut config = GatewayConfig::default();
        let lock = |bytes_max| MemoryLock {
            bytes_max,
            bytes_locked: 0,
        };
        let none = locked_memory(&config, lock(Some(0)));
        assert!(none.is_none(), "a simulated card locks nothing");
        let address = |text: &str| text.parse().expect("an address");
        config.dispatch.cards = vec![CardSource::Pci {
            functions: vec![address("0000:03:00.0"), address("0000:03:00.1")],
        }];
        config.dispatch.arena_bytes = 24 << 20;
        let found = |most| locked_memory(&config, lock(most)).expect("something");
        assert_eq!(found(None).verdict, Verdict::Ok);
        assert_eq!(found(Some(64 << 20)).verdict, Verdict::Ok);
        // Debian's default: enough for no arena, and 48 MiB is the arenas' alone.
        for most in [8 << 20, 48 << 20] {
            let short = found(Some(most));
            assert_eq!(short.verdict, Verdict::Failed, "{short:?}");
            assert!(
                short.mend.contains("ulimit -l 49") && short.mend.contains("LimitMEMLOCK="),
                "{short:?}"
            );
        }
    }
}
