//! What is published of devices that fail: quarantines by rung and kind, and how each device stands.
//!
//! Invariant: devices' labels are bounded with all others'; rungs, kinds and states are words of ours.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{Count, Device, Metrics, Ratio, register};
use crate::card_recovery::{FunctionState, Rung};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Quarantine {
    device: Arc<str>,
    rung: &'static str,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DeviceState {
    device: Arc<str>,
    state: &'static str,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct RecoverySeries {
    quarantines: Family<Quarantine, Counter>,
    state: Family<DeviceState, Count>,
    penalty: Family<Device, Ratio>,
    next_attempt: Family<Device, Count>,
}

impl RecoverySeries {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self {
            quarantines: register(
                registry,
                "device_quarantines",
                "Times that a queue, a function or a card was taken out for a fault",
            ),
            state: register(
                registry,
                "device_state",
                "1 for the state that a function is in, 0 for the others",
            ),
            penalty: register(
                registry,
                "device_penalty",
                "What is held against a device: a quarantine adds to it, time in service halves it",
            ),
            next_attempt: register(
                registry,
                "device_next_attempt_seconds",
                "When a device that waits is tried again, since 1970; 0 where none waits",
            ),
        }
    }
}

impl Metrics {
    /// Part of a device was taken out of service for a fault.
    pub fn device_quarantine(&self, device: &str, rung: Rung, kind: &'static str) {
        let quarantine = Quarantine {
            device: self.devices.bounded(device),
            rung: rung.name(),
            kind,
        };
        self.recovery.quarantines.get_or_create(&quarantine).inc();
    }

    /// A function is in this state from now on.
    pub fn device_state(&self, device: &str, is: FunctionState) {
        let device = self.devices.bounded(device);
        for state in FunctionState::ALL {
            let label = DeviceState {
                device: Arc::clone(&device),
                state: state.name(),
            };
            let gauge = self.recovery.state.get_or_create(&label);
            gauge.set(i64::from(state == is));
        }
    }

    /// What is held against `device` now.
    pub fn device_penalty(&self, device: &str, penalty: f64) {
        let device = self.devices.bounded(device);
        let gauge = self
            .recovery
            .penalty
            .get_or_create_owned(&Device { device });
        gauge.set(penalty);
    }

    /// `device` is tried again at this second since 1970; `None` where it does not wait.
    pub fn device_next_attempt(&self, device: &str, at: Option<i64>) {
        let device = self.devices.bounded(device);
        let gauge = self
            .recovery
            .next_attempt
            .get_or_create_owned(&Device { device });
        gauge.set(at.unwrap_or(0));
    }
}
