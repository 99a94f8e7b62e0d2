//! A closed loop: so many callers, each with one request at a time.
//!
//! Owns a window: connect, warm up, then measure from an idle server to an idle server. Requests begin until the
//! window's end and are all awaited, so that CPU time, bytes and latencies are of the same requests: left out, those that
//! are under way at the end would be the slow ones. Rates are of what was answered within the window. Invariant: everything ends within the limits of [`Plan`]. It knows no contender's
//! name: only where to send, what to send, and which processes to count.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::connection::{Answer, Connection};
use crate::pool::Pool;
use crate::process::{cpu_time_of, pin_thread, thread_cpu_time};

/// Pause of a caller that was refused.
const REFUSED_PAUSE: Duration = Duration::from_millis(5);
/// Requests that may fail before a window is given up.
const FAILURES_MAX: u64 = 20;
/// Engines that are told apart in a window.
const ENGINES_MAX: usize = 16;
/// Latencies of a window at most, reserved at once: 8 MB.
const LATENCIES_MAX: usize = 1 << 20;

/// Set when the run is to end at once.
pub(crate) type Stop = Arc<AtomicBool>;

/// Where requests go and what they look like.
#[derive(Clone, Debug)]
pub(crate) struct Aim {
    /// The server.
    pub(crate) address: SocketAddr,
    /// Path and query.
    pub(crate) path: String,
    /// Header lines, each with its line end.
    pub(crate) headers: String,
    /// Whether every answer must be gzip; else it must be the body itself.
    pub(crate) gzip: bool,
}

impl Aim {
    fn head(&self, body_bytes: usize) -> Vec<u8> {
        format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/octet-stream\r\n{}Content-Length: {body_bytes}\r\n\r\n",
            self.path, self.address, self.headers
        )
        .into_bytes()
    }
}

/// How a window goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Callers.
    pub(crate) concurrency: usize,
    /// Load before the window that is not counted.
    pub(crate) warm_up: Duration,
    /// Requests begin for so long.
    pub(crate) window: Duration,
    /// One request may take so long.
    pub(crate) request_max: Duration,
    /// Pause of each caller between its requests.
    pub(crate) think: Duration,
    /// Answers that are kept to be decoded and compared afterwards.
    pub(crate) samples_max: usize,
    /// Processor of the load generator.
    pub(crate) cpu: usize,
}

/// What a window gave.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Requests that were answered with 200, the ones that ended after the window included.
    pub(crate) requests: u64,
    /// Bytes of their bodies.
    pub(crate) bytes_in: u64,
    /// Bytes of their answers.
    pub(crate) bytes_out: u64,
    /// CPU time from the first request to the last answer, by the groups of processes that were named.
    pub(crate) cpu: Vec<Duration>,
    /// The load generator's own.
    pub(crate) load_cpu: Duration,
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
    /// What `answered` and `answered_bytes` are of: the window, or all of `elapsed` where it was shorter than two
    /// requests a caller.
    pub(crate) counted: Duration,
    /// Requests answered in `counted`.
    pub(crate) answered: usize,
    /// Bytes of their bodies.
    pub(crate) answered_bytes: u64,
    /// Of all requests: from the first byte sent to the last one received, ns, sorted.
    pub(crate) latencies: Vec<u64>,
    /// 429 and 503.
    pub(crate) refused: u64,
    /// Broken connections, and answers that are none.
    pub(crate) failed: u64,
    /// The first of those.
    pub(crate) first_failure: Option<String>,
    /// Answers that each engine of `Faam-Backend` had a part in.
    pub(crate) engines: BTreeMap<String, u64>,
    /// `Server-Timing` of the last answers, if there was one.
    pub(crate) server_timing: Option<String>,
    /// Numbers of blocks and their answers.
    pub(crate) samples: Vec<(usize, Vec<u8>)>,
}

/// Runs a window on a thread of its own, bound to `plan.cpu`. `groups` are the processes to count.
///
/// # Errors
/// The server could not be reached, a process to count is gone, or too many requests failed.
pub(crate) fn run(
    aim: &Aim,
    pool: &Arc<Pool>,
    plan: Plan,
    groups: &[Vec<u32>],
    stop: &Stop,
) -> anyhow::Result<Window> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            pin_thread(plan.cpu).context("cannot bind the load generator to its processor")?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            tokio::task::LocalSet::new().block_on(&runtime, window(aim, pool, plan, groups, stop))
        });
        thread
            .join()
            .unwrap_or_else(|_| Err(anyhow::anyhow!("the load generator panicked")))
    })
}

/// One after the other from idle, so that no request of the warm-up costs in the window.
async fn window(
    aim: &Aim,
    pool: &Arc<Pool>,
    plan: Plan,
    groups: &[Vec<u32>],
    stop: &Stop,
) -> anyhow::Result<Window> {
    let mut callers = Vec::with_capacity(plan.concurrency);
    for _ in 0..plan.concurrency {
        let connection = Connection::open(aim.address)
            .await
            .with_context(|| format!("cannot connect to {}", aim.address))?;
        callers.push(Caller {
            connection: Some(connection),
        });
    }
    let head: Rc<[u8]> = aim.head(pool.block(0).len()).into();
    let phase = |lasts: Duration, samples_max: usize| {
        let began = Instant::now();
        Rc::new(Phase {
            aim: aim.clone(),
            pool: Arc::clone(pool),
            plan,
            head: Rc::clone(&head),
            began,
            until: began + lasts,
            stop: Arc::clone(stop),
            samples_max,
            next_block: Cell::new(0),
            gathered: RefCell::new(Gathered::default()),
        })
    };
    if !plan.warm_up.is_zero() {
        let warm = phase(plan.warm_up, 0);
        callers = run_all(&warm, callers).await?;
        warm.window()?;
    }
    let cpu_before = cpu_of(groups)?;
    let load_before = thread_cpu_time();
    let counted = phase(plan.window, plan.samples_max);
    run_all(&counted, callers).await?;
    let elapsed = counted.began.elapsed();
    let cpu_after = cpu_of(groups)?;
    let load_cpu = thread_cpu_time().saturating_sub(load_before);
    let mut window = counted.window()?;
    let spent = cpu_after.iter().zip(&cpu_before);
    window.cpu = spent
        .map(|(after, before)| after.saturating_sub(*before))
        .collect();
    window.load_cpu = load_cpu;
    window.elapsed = elapsed;
    Ok(window)
}

fn cpu_of(groups: &[Vec<u32>]) -> anyhow::Result<Vec<Duration>> {
    let times = groups.iter().map(|group| cpu_time_of(group));
    times
        .collect::<io::Result<_>>()
        .context("a server ended during its window")
}

/// One caller.
struct Caller {
    connection: Option<Connection>,
}

/// Lets every caller run to its end.
async fn run_all(phase: &Rc<Phase>, callers: Vec<Caller>) -> anyhow::Result<Vec<Caller>> {
    let tasks: Vec<_> = callers
        .into_iter()
        .map(|caller| {
            let phase = Rc::clone(phase);
            tokio::task::spawn_local(async move { phase.call(caller).await })
        })
        .collect();
    let mut done = Vec::with_capacity(tasks.len());
    for task in tasks {
        done.push(task.await.context("a caller panicked")?);
    }
    Ok(done)
}

/// What the callers of one phase share; all on one thread.
struct Phase {
    aim: Aim,
    pool: Arc<Pool>,
    plan: Plan,
    head: Rc<[u8]>,
    began: Instant,
    until: Instant,
    stop: Stop,
    samples_max: usize,
    next_block: Cell<usize>,
    gathered: RefCell<Gathered>,
}

#[derive(Default)]
struct Gathered {
    window: Window,
    /// Latency, and when it ended.
    answers: Vec<(u64, Instant)>,
}

impl Phase {
    async fn call(&self, mut caller: Caller) -> Caller {
        let mut first = true;
        while (first || Instant::now() < self.until) && !self.given_up() {
            first = false;
            self.one(&mut caller).await;
            if !self.plan.think.is_zero() {
                tokio::time::sleep(self.plan.think).await;
            }
        }
        caller
    }

    fn given_up(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.gathered.borrow().window.failed >= FAILURES_MAX
    }

    /// One request.
    async fn one(&self, caller: &mut Caller) {
        let mut connection = match caller.connection.take() {
            Some(connection) if connection.is_usable() => connection,
            _ => match Connection::open(self.aim.address).await {
                Ok(connection) => connection,
                Err(error) => return self.failed(&error.to_string()),
            },
        };
        let number = self.next_block.replace(self.next_block.get() + 1);
        let body = self.pool.block(number);
        // Samples are spread over the blocks: early ones, each further one twice as far.
        let keep = self.gathered.borrow().window.samples.len() < self.samples_max
            && (number + 1).is_power_of_two();
        let began = Instant::now();
        let exchange = connection.exchange(&self.head, body, keep);
        let answer = match tokio::time::timeout(self.plan.request_max, exchange).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return self.failed(&error.to_string()),
            Err(_) => {
                return self.failed(&format!(
                    "no whole answer within {:?}",
                    self.plan.request_max
                ));
            }
        };
        let ended = Instant::now();
        caller.connection = Some(connection);
        match answer.status {
            200 => self.answered(number, body.len(), answer, began, ended),
            429 | 503 => {
                self.gathered.borrow_mut().window.refused += 1;
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
            status => self.failed(&format!("status {status}")),
        }
    }

    fn answered(
        &self,
        number: usize,
        bytes_in: usize,
        answer: Answer,
        began: Instant,
        ended: Instant,
    ) {
        let right = if self.aim.gzip {
            answer.gzip && answer.magic == [0x1f, 0x8b]
        } else {
            answer.body_bytes == bytes_in as u64
        };
        if !right {
            return self.failed(if self.aim.gzip {
                "an answer is not gzip"
            } else {
                "an echo has another length"
            });
        }
        let gathered = &mut *self.gathered.borrow_mut();
        let nanos = u64::try_from((ended - began).as_nanos()).unwrap_or(u64::MAX);
        if gathered.answers.len() < LATENCIES_MAX {
            gathered.answers.push((nanos, ended));
        }
        let window = &mut gathered.window;
        window.requests += 1;
        window.bytes_in += bytes_in as u64;
        window.bytes_out += answer.body_bytes;
        if let Some(kept) = answer.kept {
            window.samples.push((number, kept));
        }
        for engine in answer.backend.iter().flat_map(|backend| engines(backend)) {
            let room = window.engines.len() < ENGINES_MAX;
            if let Some(count) = window.engines.get_mut(engine.as_str()) {
                *count += 1;
            } else if room {
                window.engines.insert(engine, 1);
            }
        }
        window.server_timing = answer.server_timing.or(window.server_timing.take());
    }

    fn failed(&self, why: &str) {
        let window = &mut self.gathered.borrow_mut().window;
        window.failed += 1;
        window.first_failure.get_or_insert_with(|| why.to_owned());
    }

    /// What was gathered; taken out.
    fn window(&self) -> anyhow::Result<Window> {
        let Gathered {
            mut window,
            answers,
        } = self.gathered.take();
        anyhow::ensure!(
            window.failed < FAILURES_MAX,
            "{} requests failed, the first so: {}",
            window.failed,
            window.first_failure.unwrap_or_default()
        );
        let within = answers.iter().filter(|(_, ended)| *ended <= self.until);
        let within = within.count();
        let body_bytes = self.pool.block(0).len() as u64;
        (window.answered, window.counted) = if within >= 2 * self.plan.concurrency {
            (within, self.until - self.began)
        } else {
            let last = answers.iter().map(|(_, ended)| *ended).max();
            let counted = last.map_or(Duration::ZERO, |last| last - self.began);
            (answers.len(), counted)
        };
        window.answered_bytes = window.answered as u64 * body_bytes;
        window.latencies = answers.into_iter().map(|(nanos, _)| nanos).collect();
        window.latencies.sort_unstable();
        Ok(window)
    }
}

/// `fpga0.1;simulated;blocks=2, cpu;blocks=1` are `fpga0.1;simulated` and `cpu`.
fn engines(backend: &str) -> impl Iterator<Item = String> {
    backend.split(',').map(|engine| {
        let words = engine.trim().split(';');
        let words: Vec<_> = words.filter(|word| !word.starts_with("blocks=")).collect();
        words.join(";")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_told_apart_without_their_shares() {
        let of = |backend| engines(backend).collect::<Vec<_>>();
        assert_eq!(of("cpu"), ["cpu"]);
        assert_eq!(
            of("fpga0.1;simulated;blocks=12, cpu;blocks=3"),
            ["fpga0.1;simulated", "cpu"]
        );
    }
}
