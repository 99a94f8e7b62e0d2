//! Bringing a card into service: its process, its functions, their workers.
//!
//! Owns the steps from a process that is started to a function that has jobs, and what is told of it. Invariants: a function
//! serves only after its self-test; one that does not come up keeps no other from being tried; nothing is given to a worker
//! before its function's slots are known. What a failure costs, and when it is tried again, is `ladder`'s and `damping`'s.

use std::sync::Arc;
use std::time::Instant;

use faam_driver::{
    Function, FunctionIdentity, ModelKind, SelfTest, Worker, WorkerConfig, WorkerExit,
};
use serde_json::json;

use super::ladder::NotUp;
use super::place::{FunctionPlace, Live, Next};
use super::{Card, function_config, millis};
use crate::card_process::CardProcess;
use crate::card_recovery::FunctionState;
use crate::card_worker::{CardQueue, RTL_LIMIT_FACTOR};
use crate::cards::{CardEvent, WorkerEnd};
use crate::events::{GATEWAY, event, kind as happened};
use crate::job::EngineId;

impl Card {
    /// Start the process, if it is ours, and every function that is to serve. `Err`: there is no card to be had, or
    /// something of it is unfenced. A function that does not come up keeps no other from being tried.
    pub(super) fn bring_up(&mut self) -> Result<(), String> {
        if let Some(command) = &self.command {
            let process = CardProcess::start(command)
                .map_err(|error| format!("{:#}", anyhow::anyhow!(error)))?;
            let mut status = self.post.status.lock();
            status.restarts += u32::from(status.serial.is_some());
            status.pid = Some(process.pid());
            drop(status);
            self.process = Some(process);
        }
        self.reach
            .check(&self.arena, &function_config())
            .map_err(|error| format!("{:#}", anyhow::anyhow!(error)))?;
        let (mut any_reached, mut unreachable) = (false, Vec::new());
        for number in 0..self.function_count() {
            if !self.is_due(number) {
                continue;
            }
            match self.bring_up_function(number) {
                Ok(_) => any_reached = true,
                Err(NotUp::Function(why)) => {
                    any_reached = true;
                    self.did_not_come_up(number, &why);
                }
                Err(NotUp::Unreachable(why)) => unreachable.push((number, why)),
                Err(NotUp::Unfenced(why)) => {
                    self.is_unfenced(number, &why);
                    return Err(why);
                }
            }
        }
        match unreachable.first() {
            // None of its functions is: the card is not there, or not yet.
            Some((number, why)) if !any_reached => {
                return Err(format!("{}: {why}", self.name(*number)));
            }
            Some((number, why)) => self.process_lives(*number, why)?,
            None => {}
        }
        for (number, why) in unreachable {
            self.did_not_come_up(number, &why);
        }
        Ok(())
    }

    /// Connect, bring up, test, and put into service.
    pub(super) fn bring_up_function(&mut self, number: u8) -> Result<SelfTest, NotUp> {
        let transport = self
            .reach
            .open(number)
            .map_err(|error| NotUp::Unreachable(format!("it cannot be reached: {error:#}")))?;
        let arena = Arc::clone(&self.arena);
        let function = match Function::bring_up(transport, arena, function_config()) {
            Ok(function) => Arc::new(function),
            Err(error) => {
                let of_the_way = error.is_of_the_way();
                let why = format!("bring-up failed: {:#}", anyhow::anyhow!(error));
                return Err(match of_the_way {
                    true => NotUp::Unreachable(why),
                    false => NotUp::Function(why),
                });
            }
        };
        let passed = function
            .self_test()
            .map_err(anyhow::Error::from)
            .and_then(|passed| {
                self.put_to_work(number, &function)?;
                Ok(passed)
            });
        match passed {
            Ok(passed) => {
                if let Some(place) = self.place(number) {
                    place.self_test = Some(passed);
                }
                Ok(passed)
            }
            Err(error) => Err(self.fence_untested(number, &function, &format!("{error:#}"))),
        }
    }

    /// A new queue pair of a function that passed its self-test, with a worker, in service.
    pub(super) fn put_to_work(
        &mut self,
        number: u8,
        function: &Arc<Function>,
    ) -> anyhow::Result<()> {
        let heartbeat = (function.heartbeat()?, Instant::now());
        let queue_pair = function.create_queue_pair()?;
        let identity = function.identity().clone();
        // Our own card is simulated whatever it says of itself.
        let simulated = self.command.is_some() || identity.model != ModelKind::Hardware;
        let engine = EngineId::Card {
            card: self.number,
            function: number,
            simulated,
        };
        let target = self.jobs.target_of(self.number, number).ok_or_else(|| {
            anyhow::anyhow!("function {number} of card {} has no target", self.number)
        })?;
        self.lives += 1;
        let life = self.lives;
        let events = self.post.sender.clone();
        let worker = Worker::spawn(
            &engine.to_string(),
            queue_pair,
            CardQueue {
                jobs: Arc::clone(&self.jobs),
                target,
                engine,
                life,
                clock_khz: identity.clock_khz,
                limit_factor: match identity.model {
                    ModelKind::Hardware | ModelKind::FunctionalModel => 1,
                    ModelKind::Rtl => RTL_LIMIT_FACTOR,
                },
            },
            WorkerConfig::default(),
            move |exit| {
                // Where the channel is full the supervisor finds out by asking the worker.
                let _ = events.try_send(CardEvent::WorkerEnded {
                    function: number,
                    life,
                    end: worker_end(&exit),
                });
            },
        )?;
        let waker = worker.waker();
        // Before it gets a job.
        self.note_slots(number, function);
        if !self.is_drained(number) {
            self.jobs
                .set_in_service(self.number, number, Some(Box::new(move || waker.wake())));
        }
        let now = Instant::now();
        self.came_up = true;
        if !std::mem::replace(&mut self.has_served, true) {
            // Until now it was being started: that is no fault.
            let tried = |place: &&mut FunctionPlace| place.next != Next::Never;
            for place in self.functions.iter_mut().filter(tried) {
                place.damping.forgive();
            }
        }
        if let Some(place) = self.place(number) {
            let earlier = place.live.take();
            let mut same = earlier.filter(|live| Arc::ptr_eq(&live.function, function));
            let slot_work = same.as_mut().and_then(|live| live.slot_work.take());
            place.live = Some(Live {
                function: Arc::clone(function),
                worker,
                life,
                life_first: same.map_or(life, |live| live.life_first),
                heartbeat,
                slot_work,
                kernels_absent: 0,
            });
            place.next = Next::Start;
            place.damping.serves(now);
        }
        self.damping.serves(now);
        self.note_in_service(number, &identity, simulated);
        Ok(())
    }

    fn note_in_service(&mut self, number: u8, identity: &FunctionIdentity, simulated: bool) {
        let name = self.name(number);
        let down_since = self.place(number).and_then(|place| place.down_since.take());
        let after = down_since.map(|since| since.elapsed());
        let after_ms = after.map(millis);
        self.stand(number, FunctionState::InService, None, None);
        let mut status = self.post.status.lock();
        status.simulated = simulated;
        status.serial = Some(identity.serial.clone());
        status.recovery.reason = None;
        status.recovery.next_attempt = None;
        if let Some(function) = status.functions.get_mut(usize::from(number)) {
            function.engines = Some(identity.engines);
            function.clock_khz = Some(identity.clock_khz);
        }
        if after_ms.is_some() {
            status.last_readmission_ms = after_ms;
        }
        drop(status);
        let detail =
            json!({ "simulated": simulated, "serial": identity.serial, "after_ms": after_ms });
        self.log
            .record(event(happened::CARD_UP, GATEWAY, &name, detail));
        match after {
            Some(after) => {
                self.jobs.metrics.readmission(&name, after.as_secs_f64());
                tracing::info!(function = %name, after_ms, "re-admitted after its self-test");
            }
            None => tracing::info!(function = %name, simulated, "in service"),
        }
    }
}

fn worker_end(exit: &WorkerExit) -> WorkerEnd {
    match exit {
        WorkerExit::Stopped { .. } => WorkerEnd {
            kind: "stopped",
            why: "its worker stopped".to_owned(),
            queue: None,
        },
        WorkerExit::Fault { fault, queue, .. } => WorkerEnd {
            kind: fault.kind(),
            why: fault.to_string(),
            queue: fault.is_of_the_queue().then_some(*queue),
        },
        WorkerExit::Panicked { .. } => WorkerEnd {
            kind: "worker-panic",
            why: "its worker panicked".to_owned(),
            queue: None,
        },
    }
}
