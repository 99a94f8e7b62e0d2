//! Callers of every policy who compress and decompress without end, and a probe of readiness beside them.
//!
//! Owns what came of their requests. Invariants: an answer counts as served only if its bytes are those that it had to be;
//! whatever else came is kept in words; the callers end with the test, also with one that fails.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use flate2::read::{GzDecoder, GzEncoder};

use crate::gateway_process::{Client, GatewayProcess, POLICIES};

/// Callers at once: of each policy, one who compresses and one who decompresses.
pub(crate) const CALLERS: usize = 2 * POLICIES.len();
/// Body sizes: within a block, and a block and a byte.
const SIZES: [usize; 4] = [1 << 10, 20 << 10, (128 << 10) + 1, 7 << 10];
/// What a caller gives a request that only a card may serve.
const DEADLINE_MS: &str = "50000";
/// How long the requests that are waited for may take.
const SERVED_LIMIT: Duration = Duration::from_secs(60);
/// Requests of one caller at most: an end for a load whose fault never comes.
const REQUESTS_MAX: usize = 20_000;
/// Pause between two probes.
const PROBE_EVERY: Duration = Duration::from_millis(20);

/// A load that runs until it is told to stop.
#[derive(Default)]
pub(crate) struct Load {
    tally: Mutex<Tally>,
    more: Condvar,
    stop: AtomicBool,
}

#[derive(Default)]
struct Tally {
    served: usize,
    /// When the last request of each caller began that has ended.
    began: [Option<Instant>; CALLERS],
    slowest: Duration,
    failed: Vec<String>,
}

/// A body, and what it is compressed.
struct Source {
    plain: Vec<u8>,
    packed: Vec<u8>,
}

/// Stops the callers also when a test's own steps fail.
struct StopOnDrop<'a>(&'a Load);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
        self.0.more.notify_all();
    }
}

impl Load {
    /// Runs `steps` while all callers send; everything that they sent must have ended right.
    pub(crate) fn under(gateway: &GatewayProcess, steps: impl FnOnce(&Self)) {
        let sources: Vec<_> = SIZES.iter().zip(1..).map(source).collect();
        let load = Self::default();
        std::thread::scope(|scope| {
            for caller in 0..CALLERS {
                let (client, load, sources) = (gateway.client().clone(), &load, &sources);
                scope.spawn(move || load.call(&client, caller, sources));
            }
            let (client, probed) = (gateway.client().clone(), &load);
            let url = format!("http://{}/readyz", gateway.served.admin);
            scope.spawn(move || probed.probe(&client, &url));
            let stop = StopOnDrop(&load);
            steps(&load);
            drop(stop);
        });
        // Those that were under way when the load stopped have ended too.
        load.check();
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn served(&self) -> usize {
        self.tally().served
    }

    /// The slowest since [`Self::begin`].
    pub(crate) fn slowest(&self) -> Duration {
        self.tally().slowest
    }

    /// From here on the slowest is looked for anew.
    pub(crate) fn begin(&self) {
        self.tally().slowest = Duration::ZERO;
    }

    /// Fails if anything was lost, wrong or refused, or the gateway was not ready.
    #[track_caller]
    pub(crate) fn check(&self) {
        let tally = self.tally();
        let (served, failed) = (tally.served, tally.failed.clone());
        drop(tally);
        assert!(
            failed.is_empty(),
            "{} failed, beside {served} served:\n{}",
            failed.len(),
            failed.join("\n")
        );
    }

    /// Waits until `count` requests in all have been served; one that failed ends the test at once.
    #[track_caller]
    pub(crate) fn wait_served(&self, count: usize) {
        let wait = |tally: &mut Tally| tally.served < count && tally.failed.is_empty();
        let waited = self
            .more
            .wait_timeout_while(self.tally(), SERVED_LIMIT, wait);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.check();
        let served = self.served();
        assert!(
            served >= count,
            "{served} of {count} requests served within {SERVED_LIMIT:?}"
        );
    }

    /// Waits until every caller has ended a request that it begins from here on: what was under way before has ended too.
    #[track_caller]
    pub(crate) fn wait_each(&self) {
        let since = Instant::now();
        let is_behind = |began: &Option<Instant>| began.is_none_or(|began| began < since);
        let wait = |tally: &mut Tally| tally.began.iter().any(is_behind) && tally.failed.is_empty();
        let waited = self
            .more
            .wait_timeout_while(self.tally(), SERVED_LIMIT, wait);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.check();
        let behind = self
            .tally()
            .began
            .iter()
            .filter(|began| is_behind(began))
            .count();
        assert!(
            behind == 0,
            "{behind} of {CALLERS} callers had no request from begin to end within {SERVED_LIMIT:?}"
        );
    }

    fn call(&self, client: &Client, caller: usize, sources: &[Source]) {
        let policy = POLICIES[caller % POLICIES.len()];
        let compresses = caller < POLICIES.len();
        for round in 0..REQUESTS_MAX {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let source = &sources[(caller + round) % sources.len()];
            let began = Instant::now();
            let result = request(client, policy, source, compresses);
            let mut tally = self.tally();
            tally.began[caller] = Some(began);
            match result {
                Ok(()) => {
                    tally.served += 1;
                    tally.slowest = tally.slowest.max(began.elapsed());
                }
                Err(error) => tally.failed.push(error),
            }
            drop(tally);
            self.more.notify_all();
        }
    }

    fn probe(&self, client: &Client, url: &str) {
        while !self.stop.load(Ordering::Relaxed) {
            let ready = client.get(url);
            let mut tally = self.tally();
            if ready.status != 200 {
                let words = String::from_utf8_lossy(&ready.body).into_owned();
                tally
                    .failed
                    .push(format!("/readyz: {}: {words}", ready.status));
            }
            // Woken by each request that ends, and by the load's end.
            drop(self.more.wait_timeout(tally, PROBE_EVERY));
        }
    }
}

/// One request, checked byte for byte.
fn request(client: &Client, policy: &str, source: &Source, compresses: bool) -> Result<(), String> {
    let mut headers = vec![("Faam-Backend", policy)];
    if policy == "require-hw" {
        headers.push(("Faam-Deadline-Ms", DEADLINE_MS));
    }
    let (path, body) = match compresses {
        true => ("/v1/compress", &source.plain),
        false => ("/v1/decompress", &source.packed),
    };
    let case = || format!("{path} of {} bytes by {policy}", body.len());
    let answer = client
        .post(path, &headers, body)
        .map_err(|error| format!("{}: lost: {error}", case()))?;
    answer
        .check_served(policy)
        .map_err(|error| format!("{}: {error}", case()))?;
    let plain = match compresses {
        true => {
            let mut plain = Vec::with_capacity(source.plain.len());
            GzDecoder::new(&answer.body[..])
                .read_to_end(&mut plain)
                .map_err(|error| format!("{}: not gzip: {error}", case()))?;
            plain
        }
        false => answer.body,
    };
    match plain == source.plain {
        true => Ok(()),
        false => Err(format!("{}: WRONG BYTES", case())),
    }
}

/// Words in an order that differs by `seed`, so that no two sources have the same bytes.
fn source((&size, seed): (&usize, u32)) -> Source {
    const WORDS: [&str; 8] = [
        "queue ",
        "doorbell ",
        "fence ",
        "epoch ",
        "arena ",
        "\n",
        "completion ",
        "0123456789 ",
    ];
    let mut state = seed;
    let mut plain = Vec::with_capacity(size + 16);
    while plain.len() < size {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        plain.extend_from_slice(WORDS[(state >> 29) as usize].as_bytes());
        plain.push(b'a' + ((state >> 16) % 26) as u8);
    }
    plain.truncate(size);
    let mut packed = Vec::new();
    GzEncoder::new(&plain[..], flate2::Compression::new(6))
        .read_to_end(&mut packed)
        .expect("memory is read and written");
    Source { plain, packed }
}
