//! One paced card, through the gateway and straight to the driver: what the gateway leaves of it.
//!
//! Two cards of one kind, in processes of their own, that complete jobs at the modelled cycles of a slow clock, so that
//! the model does not compete with what is measured. One is a gateway's, the other is driven from here: a worker a
//! function on the same queue of jobs, users that each wait for their body, decode it with libdeflate and compare.
//! Windows of the two alternate, and each begins with idle users and an idle card.
//!
//! Both loops are closed and do the same with a body: a user has one out at a time, it is compressed by the card, decoded
//! by another implementation, compared, and only then is the next one begun. What one side has and the other has not is
//! what is measured: two crossings of a socket, HTTP, admission, the scheduler, and on the gateway's side verification on
//! the servers' processor instead of the user's own. With one user nothing overlaps with anything, so that the ratio says
//! how long a body is under way beside its time on the card, which depends on the card's clock: therefore the added time is
//! told in microseconds as well. From a few users on the card is always busy, and the ratio says what the gateway costs it.

use std::sync::Arc;
use std::time::Duration;

use crate::contender::Row;
use crate::load::{self, Plan, Stop};
use crate::pool::{Corpus, Data};
use crate::results::{PacedPoint, WindowFigures};
use crate::server::{Programs, Server};

/// Clock of the cards: both functions' engines together then do 40 MB/s at a byte a cycle, half of what the model does
/// on one processor.
pub(crate) const PACE_MHZ: &str = "20";
/// Engines a function.
pub(crate) const ENGINES: &str = "1";
/// Bodies.
const BODY_BYTES: usize = 64 << 10;
/// A window, and load before it that is not counted.
const WINDOW: Duration = Duration::from_millis(900);
const WARM_UP: Duration = Duration::from_millis(150);
/// Longest that one body may take.
const REQUEST_MAX: Duration = Duration::from_secs(20);

/// Measures with each number of users.
///
/// # Errors
/// A card or the gateway does not work.
pub(crate) fn measure(
    programs: &Programs,
    corpus: &Corpus,
    data: Data,
    (users, rounds): (&[usize], usize),
    stop: &Stop,
) -> anyhow::Result<Vec<PacedPoint>> {
    let pool = Arc::new(corpus.pool(data, BODY_BYTES));
    let card = ["--devices", "sim", "--engines", ENGINES, "--pace", PACE_MHZ];
    let gateway = Server::start(programs, Row::CARD_3, BODY_BYTES, &card)?;
    let straight = direct::Straight::start(programs)?;
    let mut points = Vec::new();
    for &users in users {
        let mut point = PacedPoint {
            body_bytes: BODY_BYTES,
            users,
            gateway_mb_per_s: Vec::new(),
            driver_mb_per_s: Vec::new(),
        };
        for round in 0..rounds {
            if stop.load(std::sync::atomic::Ordering::Relaxed) {
                return Ok(points);
            }
            let plan = Plan {
                concurrency: users,
                warm_up: WARM_UP,
                window: WINDOW,
                request_max: REQUEST_MAX,
                think: Duration::ZERO,
                samples_max: 0,
                cpu: programs.load_cpu,
            };
            let aim = gateway.aim(Row::CARD_3);
            let window = load::run(&aim, &pool, plan, &gateway.groups(), stop)?;
            anyhow::ensure!(
                window.failed + window.refused == 0,
                "the gateway failed or refused requests: {:?}",
                window.first_failure
            );
            point
                .gateway_mb_per_s
                .push(WindowFigures::of(round, &window).mb_per_s);
            point.driver_mb_per_s.push(straight.window(&pool, plan)?);
        }
        eprintln!(
            "    {users:>2} users: gateway {:>6.2}, driver {:>6.2} MB/s",
            point.gateway_mb_per_s.last().unwrap_or(&f64::NAN),
            point.driver_mb_per_s.last().unwrap_or(&f64::NAN)
        );
        points.push(point);
    }
    Ok(points)
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
mod direct {
    //! There is no driver here.

    use super::{Arc, Plan, Programs};

    pub(super) struct Straight;

    impl Straight {
        pub(super) fn start(_: &Programs) -> anyhow::Result<Self> {
            anyhow::bail!("the driver needs x86-64 Linux")
        }

        pub(super) fn window(&self, _: &Arc<crate::pool::Pool>, _: Plan) -> anyhow::Result<f64> {
            anyhow::bail!("the driver needs x86-64 Linux")
        }
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod direct {
    //! The card without a gateway.

    use std::collections::VecDeque;
    use std::process::{Child, Stdio};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{SyncSender, sync_channel};
    use std::sync::{Barrier, Mutex, PoisonError};
    use std::time::Instant;

    use anyhow::Context;
    use faam_driver::{
        Arena, Function, FunctionConfig, Job, JobSource, Kernel, Outcome, Request, VfioUser, Waker,
        Worker, WorkerConfig, WorkerHandle,
    };
    use faam_hwif::{CardLevel, FUNCTIONS, WireFormat};
    use libdeflater::Decompressor;

    use super::{Arc, Duration, Plan, Programs, REQUEST_MAX};
    use crate::pool::Pool;
    use crate::process::{allow_cpus, allowed_cpus, pin_thread};
    use crate::results::as_f64;
    use crate::server::{bound, spawn_on};

    /// The gateway's own default.
    const ARENA_BYTES: usize = 24 << 20;
    /// How long the card's process may take to make its sockets.
    const READY_LIMIT: Duration = Duration::from_secs(20);
    /// Room for a block that does not compress: an eighth more, and headers.
    const fn room(bytes: usize) -> usize {
        bytes + bytes / 8 + 256
    }

    struct OneJob {
        input: bytes::Bytes,
        reply: SyncSender<Outcome>,
    }

    impl Job for OneJob {
        fn request(&self) -> Request<'_> {
            Request {
                kernel: Kernel::Compress {
                    level: CardLevel::Balanced,
                    format: WireFormat::Raw,
                    last: true,
                },
                input: &self.input,
                output_bytes_max: room(self.input.len()),
                context: 1,
                timeout: REQUEST_MAX,
            }
        }

        fn complete(self, outcome: Outcome) {
            // A user that has given up wants no answer.
            let _ = self.reply.try_send(outcome);
        }
    }

    #[derive(Clone, Default)]
    struct Queue(Arc<Mutex<VecDeque<OneJob>>>);

    impl JobSource for Queue {
        type Job = OneJob;

        fn next(&mut self) -> Option<OneJob> {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front()
        }
    }

    /// A card's process and a worker a function.
    pub(super) struct Straight {
        queue: Queue,
        wakers: Vec<Waker>,
        workers: Vec<WorkerHandle>,
        _functions: Vec<Function>,
        child: Child,
        _dir: tempfile::TempDir,
    }

    impl Straight {
        pub(super) fn start(programs: &Programs) -> anyhow::Result<Self> {
            let dir = tempfile::tempdir()?;
            let sockets = dir.path().join("card");
            let mut command = bound(&programs.faam.to_string_lossy());
            command
                .arg("sim")
                .arg("--dir")
                .arg(&sockets)
                .args(["--engines", super::ENGINES, "--pace", super::PACE_MHZ])
                .args(["--exit-on-stdin-eof"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let child = spawn_on(&mut command, programs.server_cpu)?;
            let mut straight = Self {
                queue: Queue::default(),
                wakers: Vec::new(),
                workers: Vec::new(),
                _functions: Vec::new(),
                child,
                _dir: dir,
            };
            let before = allowed_cpus()?;
            // As the gateway's, the workers run where the card does.
            pin_thread(programs.server_cpu)?;
            let connected = straight.connect(&sockets);
            allow_cpus(&before)?;
            connected.context("the card could not be driven")?;
            Ok(straight)
        }

        fn connect(&mut self, sockets: &std::path::Path) -> anyhow::Result<()> {
            let arena = Arena::new(ARENA_BYTES)?;
            for number in 0..FUNCTIONS {
                let path = sockets.join(format!("fn{number}"));
                let until = Instant::now() + READY_LIMIT;
                let transport = loop {
                    match VfioUser::connect(&path) {
                        Ok(transport) => break transport,
                        Err(error) if Instant::now() > until => return Err(error.into()),
                        Err(_) => std::thread::sleep(Duration::from_millis(10)),
                    }
                };
                let function = Function::bring_up(
                    Arc::new(transport),
                    Arc::clone(&arena),
                    FunctionConfig::default(),
                )?;
                let pair = function.create_queue_pair()?;
                let worker = Worker::spawn(
                    &format!("straight-{number}"),
                    pair,
                    self.queue.clone(),
                    WorkerConfig::default(),
                    |_| {},
                )?;
                self.wakers.push(worker.waker());
                self.workers.push(worker);
                self._functions.push(function);
            }
            Ok(())
        }

        /// MB/s that `plan.concurrency` users get together, from idle, after a warm-up.
        pub(super) fn window(&self, pool: &Arc<Pool>, plan: Plan) -> anyhow::Result<f64> {
            self.phase(pool, plan, plan.warm_up)?;
            self.phase(pool, plan, plan.window)
        }

        fn phase(&self, pool: &Arc<Pool>, plan: Plan, lasts: Duration) -> anyhow::Result<f64> {
            let next = AtomicUsize::new(0);
            let users = Users {
                queue: &self.queue,
                wakers: &self.wakers,
                pool,
                cpu: plan.cpu,
                next: &next,
                lasts,
                ready: Barrier::new(plan.concurrency),
            };
            let bytes = std::thread::scope(|scope| {
                let users: Vec<_> = (0..plan.concurrency)
                    .map(|_| scope.spawn(|| users.one()))
                    .collect();
                let mut bytes = 0;
                for user in users {
                    bytes += user
                        .join()
                        .unwrap_or_else(|_| Err(anyhow::anyhow!("a user panicked")))?;
                }
                anyhow::Ok(bytes)
            })?;
            Ok(as_f64(bytes) / 1e6 / lasts.as_secs_f64())
        }
    }

    /// What the users of one window share.
    struct Users<'a> {
        queue: &'a Queue,
        wakers: &'a [Waker],
        pool: &'a Pool,
        cpu: usize,
        next: &'a AtomicUsize,
        lasts: Duration,
        /// All begin at once, as those of the load generator do.
        ready: Barrier,
    }

    impl Users<'_> {
        /// One user; bytes of the bodies that it had done within the window.
        fn one(&self) -> anyhow::Result<u64> {
            let pinned = pin_thread(self.cpu);
            self.ready.wait();
            pinned?;
            let until = Instant::now() + self.lasts;
            let mut decompressor = Decompressor::new();
            let mut decoded = Vec::new();
            let mut bytes = 0;
            while Instant::now() < until {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let input = self.pool.block(number).clone();
                let (reply, outcome) = sync_channel(1);
                let job = OneJob {
                    input: input.clone(),
                    reply,
                };
                self.queue
                    .0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push_back(job);
                for waker in self.wakers {
                    waker.wake();
                }
                let outcome = outcome
                    .recv_timeout(REQUEST_MAX)
                    .context("a job was not answered")?;
                let Outcome::Done(done) = outcome else {
                    anyhow::bail!("the card did not do a job: {outcome:?}");
                };
                decoded.resize(input.len(), 0);
                let length = decompressor.deflate_decompress(&done.output, &mut decoded)?;
                anyhow::ensure!(
                    decoded.get(..length) == Some(input.as_ref()),
                    "a card's block decodes to other bytes"
                );
                if Instant::now() < until {
                    bytes += input.len() as u64;
                }
            }
            Ok(bytes)
        }
    }

    impl Drop for Straight {
        fn drop(&mut self) {
            for worker in &self.workers {
                worker.stop();
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
