//! One function of the card: everything that its registers, its queues and its reset concern.
//!
//! Owns the function's life: power-on, enable, reset, and the end of a client. Invariant: when a reset has returned
//! `Ok`, no access to the client's memory is in flight, none will start until CONTROL.enable is set, and RESET_EPOCH
//! differs from before. That does not wait for engines: their right to the memory is taken, not asked back, so a
//! hung engine delays nobody.
//!
//! Lock order: `control`, then `config`, then the locks of `queues`, `msix`, `errors`, the engine pool, the slots and the
//! memory.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use faam_hwif::admin::Health;
use parking_lot::Mutex;

use crate::bell::Bell;
use crate::config_space::{ConfigChange, ConfigSpace};
use crate::engine_pool::EnginePool;
use crate::error_log::ErrorLog;
use crate::faults::Fault;
use crate::function_faults::{Faults, Strike};
use crate::inside::Inside;
#[cfg(test)]
use crate::memory::MAPS_MAX;
use crate::memory::{Memory, StillInFlight};
use crate::msix::Msix;
use crate::queues::QueueTable;
use crate::registers::Control;
use crate::removal::Removal;
use crate::slots::Slots;
use crate::stop::stop_process;

/// What a function is, fixed for the card's life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) index: u8,
    pub(crate) serial: u64,
    pub(crate) engines: u8,
    pub(crate) clock_khz: u32,
    pub(crate) paced: bool,
}

/// A region of the device that messages read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Region {
    /// BAR0.
    Registers,
    /// BAR2.
    Msix,
    /// Configuration space.
    Config,
}

/// Counters since power-on.
#[derive(Default)]
pub(crate) struct HealthCounters {
    pub(crate) jobs: AtomicU64,
    pub(crate) jobs_failed: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) busy_cycles: AtomicU64,
    pub(crate) scrub_cycles: AtomicU64,
    pub(crate) dma_faults: AtomicU64,
}

/// A function.
pub(crate) struct Function {
    pub(crate) identity: Identity,
    pub(crate) memory: Arc<Memory>,
    pub(crate) msix: Arc<Msix>,
    config: Mutex<ConfigSpace>,
    /// The registers that software writes. Only the socket's thread does.
    pub(crate) control: Mutex<Control>,
    pub(crate) queues: QueueTable,
    /// Wakes the dispatcher.
    pub(crate) bell: Bell,
    pub(crate) pool: EnginePool,
    pub(crate) slots: Slots,
    pub(crate) errors: ErrorLog,
    pub(crate) health: HealthCounters,
    pub(crate) reset_epoch: AtomicU32,
    pub(crate) heartbeat: AtomicU32,
    /// All DMA of deleted queues has ended.
    settled: AtomicBool,
    pub(crate) faults: Arc<Faults>,
    /// For a fault: a reset that was asked for does not end.
    stuck: AtomicBool,
    /// For a fault: whether it is in its slot.
    pub(crate) removal: Removal,
    /// The other function's memory, for a fault.
    pub(crate) neighbour: OnceLock<Weak<Memory>>,
    power_on: Instant,
    /// What answers in place of the functional model; `None` = the functional model does.
    pub(crate) inside: Option<Arc<dyn Inside>>,
}

impl Function {
    /// A function as after power-on, with a reset epoch of `epoch`, and no faults.
    #[cfg(test)]
    pub(crate) fn new(identity: Identity, epoch: u32) -> Self {
        Self::with(identity, epoch, MAPS_MAX, Arc::default())
    }

    /// A function as after power-on, with a reset epoch of `epoch` and these faults.
    pub(crate) fn with(
        identity: Identity,
        epoch: u32,
        maps_max: usize,
        faults: Arc<Faults>,
    ) -> Self {
        let power_on = Instant::now();
        Self {
            identity,
            memory: Arc::new(Memory::new(maps_max, Arc::clone(&faults))),
            msix: Arc::new(Msix::new()),
            config: Mutex::new(ConfigSpace::new()),
            control: Mutex::new(Control::default()),
            queues: QueueTable::new(),
            bell: Bell::default(),
            pool: EnginePool::new(identity.engines),
            slots: Slots::factory(),
            errors: ErrorLog::new(power_on, Arc::clone(&faults)),
            health: HealthCounters::default(),
            reset_epoch: AtomicU32::new(not_all_ones(epoch)),
            heartbeat: AtomicU32::new(0),
            settled: AtomicBool::new(true),
            faults,
            stuck: AtomicBool::new(false),
            removal: Removal::default(),
            neighbour: OnceLock::new(),
            power_on,
            inside: None,
        }
    }

    pub(crate) fn index(&self) -> u8 {
        self.identity.index
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(crate) fn msix(&self) -> &Msix {
        &self.msix
    }

    /// Reads from a region; the range lies in it.
    pub(crate) fn region_read(&self, region: Region, offset: usize, into: &mut [u8]) {
        if region == Region::Config {
            self.config.lock().read(offset, into);
            if self.faults.on(Fault::NoFlrCapability) {
                ConfigSpace::hide_function_level_reset(offset, into);
            }
            return;
        }
        if self.faults.on(Fault::Gone) {
            let zero = self.faults.on(Fault::GoneReadsAsZero);
            return into.fill(if zero { 0 } else { 0xFF });
        }
        if !self.config.lock().memory_space() {
            // Nobody answers the request: the root complex makes all-ones of it.
            return into.fill(0xFF);
        }
        let mut at = offset;
        let mut rest = into;
        while !rest.is_empty() {
            let word = match region {
                Region::Registers => match &self.inside {
                    Some(inside) => inside.read(at & !3),
                    None => self.read_register(at & !3),
                },
                Region::Msix => self.msix.read_word(at & !3),
                Region::Config => 0,
            };
            let bytes = word.to_le_bytes();
            let from = bytes.get(at % 4..).unwrap_or_default();
            let take = from.len().min(rest.len());
            let (piece, after) = rest.split_at_mut(take);
            piece.copy_from_slice(from.get(..take).unwrap_or_default());
            rest = after;
            at += take;
        }
    }

    /// Writes to a region; the range lies in it. Registers take whole aligned 32-bit words alone; a write of anything
    /// else is dropped, as the bytes of a register cannot be told apart.
    pub(crate) fn region_write(&self, region: Region, offset: usize, from: &[u8]) {
        if region == Region::Config {
            return self.config_write(offset, from);
        }
        if !self.config.lock().memory_space() {
            return;
        }
        let (words, odd) = from.as_chunks::<4>();
        if !offset.is_multiple_of(4) || !odd.is_empty() {
            tracing::debug!(
                ?region,
                offset,
                bytes = from.len(),
                "dropped a write that is not of whole words"
            );
            return;
        }
        for (n, word) in words.iter().enumerate() {
            let (at, value) = (offset + n * 4, u32::from_le_bytes(*word));
            match region {
                Region::Registers => match &self.inside {
                    Some(inside) => inside.write(at, value),
                    None => self.write_register(at, value),
                },
                Region::Msix => self.msix.write_word(at, value),
                Region::Config => {}
            }
        }
    }

    fn config_write(&self, offset: usize, from: &[u8]) {
        let mut change = ConfigChange::default();
        // A write has no answer but what is read back afterwards, and that is the truth whatever became of it.
        let _ = self.set_config(|config| change = config.write(offset, from));
        if change.function_level_reset {
            // The client has no way to learn of a time-out here but STATUS, which keeps saying so.
            let _ = self.asked_reset();
            self.msix.reset();
            let _ = self.set_config(ConfigSpace::reset);
        }
    }

    /// Changes configuration space, and brings memory and interrupts in line with it. If memory has not taken a change
    /// of bus mastering, the bits that ask for it keep their old value: COMMAND never says that bus mastering is off
    /// while an access may be in flight.
    fn set_config(&self, change: impl FnOnce(&mut ConfigSpace)) -> Result<(), StillInFlight> {
        let mut config = self.config.lock();
        let mut next = config.clone();
        change(&mut next);
        if config.bus_master() && self.faults.on(Fault::BusMasterSticks) {
            next.keep_command_bus_master();
        }
        // Who is inside is told of an end first and of a beginning last, so that it asks for nothing that is refused for it.
        if let Some(inside) = self.inside.as_ref().filter(|_| !next.bus_master()) {
            inside.set_bus_master(false);
        }
        let taken = self.memory.set_bus_master(next.bus_master());
        if let Err(still) = &taken {
            tracing::error!(%still, "bus mastering was not changed");
            next.keep_bus_master_of(&config);
        }
        if let Some(inside) = self.inside.as_ref().filter(|_| next.bus_master()) {
            inside.set_bus_master(true);
        }
        *config = next;
        let mask = config.msix_function_mask();
        drop(config);
        self.msix.set_function_mask(mask);
        taken
    }

    /// A reset that the client asks for.
    pub(crate) fn asked_reset(&self) -> Result<(), StillInFlight> {
        let ended = self.reset();
        if self.faults.on(Fault::ResetSticks) {
            self.stuck.store(true, Ordering::Release);
            return Err(StillInFlight);
        }
        ended
    }

    /// What happens to the function because a fault of it says so.
    pub(crate) fn befall(&self, event: Strike) {
        self.faults.count(event.fault);
        tracing::warn!(
            function = self.identity.index,
            fault = event.fault.name(),
            "strikes"
        );
        let time = event.time().unwrap_or_default();
        match event.fault {
            Fault::ResetsItself => {
                // STATUS says so if it did not end.
                let _ = self.reset();
            }
            Fault::SurpriseRemoval => self.removal.pull(time),
            Fault::Stops => stop_process(time),
            _ => {}
        }
    }

    /// Resets the function: queues, engines' work, errors. PCI configuration stays.
    pub(crate) fn reset(&self) -> Result<(), StillInFlight> {
        if let Some(inside) = &self.inside {
            self.faults.reset();
            return inside.reset();
        }
        let mut control = self.control.lock();
        *control = Control::default();
        let ended = self.delete_queues();
        self.errors.clear();
        self.faults.reset();
        self.pool.reset();
        // What they hold stays: a region is not configured anew by a reset of the function.
        self.slots.reset();
        let epoch = self.reset_epoch.load(Ordering::Relaxed);
        let step = u32::from(!self.faults.on(Fault::ResetKeepsEpoch));
        self.reset_epoch
            .store(not_all_ones(epoch.wrapping_add(step)), Ordering::Release);
        drop(control);
        self.bell.ring();
        ended
    }

    /// VFIO_USER_DEVICE_RESET: a function-level reset with configuration saved and restored around it, which is what
    /// VFIO_DEVICE_RESET does.
    pub(crate) fn device_reset(&self) -> Result<(), StillInFlight> {
        let ended = self.asked_reset();
        self.msix.reset();
        ended.and(self.set_config(|_| {}))
    }

    /// The client is gone: reset, and forget its memory and eventfds.
    ///
    /// # Errors
    /// [`StillInFlight`]: an access to its memory has not ended, and some of its maps may be left. To be called again
    /// before there is another client.
    pub(crate) fn detach(&self) -> Result<(), StillInFlight> {
        self.msix.disable();
        self.reset()?;
        self.set_config(ConfigSpace::reset)?;
        self.memory.unmap_all()
    }

    /// Deletes all queues. Their DMA has ended when this returns `Ok`.
    pub(crate) fn delete_queues(&self) -> Result<(), StillInFlight> {
        let ended = self.queues.clear(&self.memory);
        self.settled.store(ended.is_ok(), Ordering::Release);
        self.pool.drop_revoked();
        ended
    }

    /// Whether the DMA of all queues that were deleted by reset or disable has ended.
    pub(crate) fn is_settled(&self) -> bool {
        if self.stuck.load(Ordering::Acquire) {
            if self.faults.is_on(Fault::ResetSticks) {
                return false;
            }
            self.stuck.store(false, Ordering::Release);
        }
        if !self.settled.load(Ordering::Acquire) && self.memory.barrier().is_ok() {
            self.settled.store(true, Ordering::Release);
        }
        self.settled.load(Ordering::Acquire)
    }

    /// Milliseconds since power-on.
    pub(crate) fn uptime_ms(&self) -> u64 {
        u64::try_from(self.power_on.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Counts a job that ended without an engine, and not well.
    pub(crate) fn count_failed_job(&self) {
        self.health.jobs.fetch_add(1, Ordering::Relaxed);
        self.health.jobs_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// The health log page.
    pub(crate) fn health(&self) -> Health {
        if self.faults.on(Fault::HealthIsZero) {
            return Health::default();
        }
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Health {
            uptime_ms: self.uptime_ms(),
            jobs: get(&self.health.jobs),
            jobs_failed: get(&self.health.jobs_failed),
            bytes_in: get(&self.health.bytes_in),
            bytes_out: get(&self.health.bytes_out),
            busy_cycles: get(&self.health.busy_cycles),
            scrub_cycles: get(&self.health.scrub_cycles),
            dma_faults: get(&self.health.dma_faults),
        }
    }
}

/// Epochs and heartbeats are never all-ones, which would read as a function that is gone.
pub(crate) fn not_all_ones(value: u32) -> u32 {
    if value == u32::MAX { 0 } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMAND: usize = 4;
    const MEMORY_AND_BUS_MASTER: u8 = 0b110;

    fn function() -> Function {
        let identity = Identity {
            index: 0,
            serial: 1,
            engines: 1,
            clock_khz: 1,
            paced: false,
        };
        Function::new(identity, 1)
    }

    fn command(function: &Function) -> u8 {
        let mut byte = [0];
        function.region_read(Region::Config, COMMAND, &mut byte);
        byte[0]
    }

    #[test]
    fn command_does_not_say_off_while_an_access_is_in_flight() {
        let function = function();
        let set = |value: u8| function.region_write(Region::Config, COMMAND, &[value]);
        set(MEMORY_AND_BUS_MASTER);
        let lease = function.memory.lease();
        let access = lease.access().unwrap();
        set(0);
        assert_eq!(command(&function), 0b100, "the rest of the write is taken");
        drop(access);
        set(0);
        assert_eq!(command(&function), 0);
    }

    #[test]
    fn a_client_is_not_gone_before_its_last_access_has_ended() {
        let function = function();
        function.region_write(Region::Config, COMMAND, &[MEMORY_AND_BUS_MASTER]);
        function
            .memory
            .map(
                0,
                4096,
                crate::memory::Rights {
                    read: true,
                    write: true,
                },
                None,
            )
            .unwrap();
        let lease = function.memory.lease();
        let access = lease.access().unwrap();
        assert_eq!(function.detach(), Err(StillInFlight));
        drop(access);
        assert_eq!(function.detach(), Ok(()));
        assert_eq!(command(&function), 0);
        assert!(function.is_settled());
    }
}
