//! What is published of slots: loads by image, cause and result, how long they took, and how each slot stands.
//!
//! Invariant: images' labels are bounded as devices' are; causes, results and states are words of ours.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{Count, LabelSet, Metrics, register};
use crate::card_slots::LoadCause;

/// States that a slot can be in.
const STATES: [&str; 6] = [
    "empty",
    "draining",
    "programming",
    "programmed",
    "active",
    "failed",
];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Load {
    image: Arc<str>,
    cause: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LoadTime {
    image: Arc<str>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct State {
    device: Arc<str>,
    slot: u32,
    state: &'static str,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct SlotSeries {
    images: LabelSet,
    loads: Family<Load, Counter>,
    load_seconds: Family<LoadTime, Counter<f64, std::sync::atomic::AtomicU64>>,
    state: Family<State, Count>,
    absent: Counter,
}

impl SlotSeries {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self {
            images: LabelSet::default(),
            loads: register(
                registry,
                "slot_loads",
                "Kernels that were loaded into a slot, or were to be",
            ),
            load_seconds: register(
                registry,
                "slot_load_seconds",
                "Time that loads took, from the request to a kernel that serves; modelled where a card is simulated",
            ),
            state: register(
                registry,
                "slot_state",
                "1 for the state that a slot is in, 0 for the others",
            ),
            absent: register(
                registry,
                "kernel_absent",
                "Jobs that a function had in its hands when no slot of it held their kernel",
            ),
        }
    }
}

impl Metrics {
    /// A load has ended so.
    pub(crate) fn slot_load(
        &self,
        image: &str,
        cause: LoadCause,
        result: &'static str,
        took: Duration,
    ) {
        let image = self.slots.images.bounded(image);
        let load = Load {
            image: Arc::clone(&image),
            cause: cause.name(),
            result,
        };
        self.slots.loads.get_or_create(&load).inc();
        self.slots
            .load_seconds
            .get_or_create(&LoadTime { image })
            .inc_by(took.as_secs_f64());
    }

    /// A slot is in this state from now on.
    pub(crate) fn slot_state(&self, device: &str, slot: u8, is: &str) {
        let device = self.devices.bounded(device);
        for state in STATES {
            let label = State {
                device: Arc::clone(&device),
                slot: u32::from(slot),
                state,
            };
            let gauge = self.slots.state.get_or_create(&label);
            gauge.set(i64::from(state == is));
        }
    }

    /// A job met a function without its kernel.
    pub(crate) fn kernel_absent(&self) {
        self.slots.absent.inc();
    }
}
