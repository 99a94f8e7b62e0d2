//! The devices that failed while they had a block of a request in hand: which, how, and who did the block instead.
//!
//! Owns a request's list of them. Invariant: it is bounded ([`FAULTS_MET_MAX`]), and a request that meets none allocates
//! nothing. What a fault is, and what it costs, is known elsewhere.

use parking_lot::Mutex;
use serde::Serialize;

use crate::job::EngineId;

/// Faults of one request that are told apart; more are counted with the last.
pub const FAULTS_MET_MAX: usize = 8;
/// Characters of what is said of one.
pub const FAULT_CHARS_MAX: usize = 256;
/// Engines that are named as having done its blocks instead.
const INSTEAD_MAX: usize = 4;

/// A device that failed with blocks of a request in hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FaultMet {
    /// The device, as in `Faam-Backend`.
    pub device: String,
    /// What its fault was, in a word.
    #[schema(value_type = String)]
    pub kind: &'static str,
    /// The same in a sentence.
    pub why: String,
    /// Blocks that it had in hand, or whose result was wrong.
    pub blocks: u32,
    /// Who has done blocks of these instead, so far.
    pub instead: Vec<String>,
}

/// Which fault of which device: what a block that comes back remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FailedOn {
    pub(crate) engine: EngineId,
    pub(crate) kind: &'static str,
}

/// All that one request met.
#[derive(Debug, Default)]
pub(crate) struct FaultsMet(Mutex<Vec<FaultMet>>);

impl FaultsMet {
    /// A device failed with one more block.
    pub(crate) fn met(&self, on: FailedOn, why: &str) {
        let device = on.engine.to_string();
        let mut faults = self.0.lock();
        let is_full = faults.len() >= FAULTS_MET_MAX;
        let known = faults
            .iter()
            .position(|fault| fault.device == device && fault.kind == on.kind)
            .or_else(|| is_full.then(|| faults.len().saturating_sub(1)));
        match known.and_then(|at| faults.get_mut(at)) {
            Some(fault) => fault.blocks = fault.blocks.saturating_add(1),
            None => faults.push(FaultMet {
                device,
                kind: on.kind,
                why: why.chars().take(FAULT_CHARS_MAX).collect(),
                blocks: 1,
                instead: Vec::new(),
            }),
        }
    }

    /// A block that came back from there was done by `by`.
    pub(crate) fn done_instead(&self, on: FailedOn, by: EngineId) {
        let (device, by) = (on.engine.to_string(), by.to_string());
        let mut faults = self.0.lock();
        let fault = faults
            .iter_mut()
            .find(|fault| fault.device == device && fault.kind == on.kind);
        if let Some(fault) = fault
            && !fault.instead.contains(&by)
            && fault.instead.len() < INSTEAD_MAX
        {
            fault.instead.push(by);
        }
    }

    /// What it has come to.
    pub(crate) fn list(&self) -> Vec<FaultMet> {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(function: u8, kind: &'static str) -> FailedOn {
        FailedOn {
            engine: EngineId::Card {
                card: 0,
                function,
                simulated: true,
            },
            kind,
        }
    }

    #[test]
    fn blocks_of_one_fault_are_told_together_with_who_did_them() {
        let faults = FaultsMet::default();
        for _ in 0..3 {
            faults.met(on(1, "hang"), "it hangs");
        }
        faults.met(on(0, "verify"), &"x".repeat(1000));
        for by in [EngineId::Cpu, EngineId::Cpu, on(0, "").engine] {
            faults.done_instead(on(1, "hang"), by);
        }
        let list = faults.list();
        assert_eq!(list.len(), 2);
        assert_eq!((list[0].device.as_str(), list[0].blocks), ("fpga0.1", 3));
        assert_eq!(list[0].instead, ["cpu", "fpga0.0"]);
        assert_eq!(list[1].why.len(), FAULT_CHARS_MAX);
        assert!(list[1].instead.is_empty());
    }

    #[test]
    fn however_many_there_are_the_list_is_bounded() {
        let faults = FaultsMet::default();
        for function in 0..=u8::MAX {
            faults.met(on(function, "hang"), "");
            faults.done_instead(on(0, "hang"), on(function, "").engine);
        }
        let list = faults.list();
        assert_eq!(list.len(), FAULTS_MET_MAX);
        assert_eq!(list.iter().map(|fault| fault.blocks).sum::<u32>(), 256);
        assert_eq!(list[0].instead.len(), INSTEAD_MAX);
    }
}
