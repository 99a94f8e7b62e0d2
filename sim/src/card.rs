//! The card: its functions, their threads and their sockets, from start to stop.
//!
//! Threads: for each function one for its socket, and a dispatcher, one that programs its slots and its engines, or the gateware's
//! clock. Invariant: when [`Card::stop`] has returned, all of them have ended and the sockets are gone from the file system.

use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use faam_hwif::FUNCTIONS;
use rustix::event::{EventfdFlags, eventfd};
use thiserror::Error;

use crate::dispatcher;
use crate::engine::Worker;
use crate::fault_plan::RuleError;
use crate::fault_socket::{self, FaultControl};
use crate::function::{Function, Identity};
use crate::function_faults::Faults;
#[cfg(feature = "rtl")]
use crate::gateware::Gateware;
use crate::inside::Inside;
use crate::memory::MAPS_MAX;
use crate::options::{
    CLOCK_MHZ_DEFAULT, CLOCK_MHZ_MAX, ENGINES_MAX, InSlots, Model, Options, RTL_CLOCK_MHZ,
    RTL_ENGINES,
};
use crate::protocol::server;

/// Mode of the sockets' directory: whoever can connect can have the card read and write what it maps.
const DIR_MODE: u32 = 0o700;

/// Why a card did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An option is out of range.
    #[error("{option} must be {expected}, got {got}")]
    Option {
        /// Which.
        option: &'static str,
        /// What it can be.
        expected: String,
        /// What it was.
        got: String,
    },
    /// A fault was asked for without leave.
    #[error(
        "rules of faults need allow_faults (--allow-faults): they make a card that fails on purpose"
    )]
    FaultsNotAllowed,
    /// A rule that this card cannot follow.
    #[error("this card cannot follow the rule {rule:?}")]
    Rule {
        /// Which.
        rule: String,
        /// Why.
        #[source]
        source: RuleError,
    },
    /// The model is not in this build.
    #[error(
        "--model {model}: this build has no gateware inside; build one that has: cargo build --features rtl (needs verilator)"
    )]
    NotBuiltIn {
        /// Which.
        model: Model,
    },
    /// The directory could not be made.
    #[error("cannot make the directory {dir}: give one that can be written")]
    Dir {
        /// Which.
        dir: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another card listens there.
    #[error("{path} is in use by a card that runs: stop it, or give another directory")]
    InUse {
        /// Its socket.
        path: PathBuf,
    },
    /// A socket could not be made.
    #[error("cannot listen on {path}")]
    Listen {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No descriptor or thread was to be had.
    #[error("the system gave no descriptor or thread: raise the limits (ulimit -n, -u)")]
    Resources(#[source] std::io::Error),
}

/// A card that runs. Dropping it stops it.
pub struct Card {
    functions: Vec<Arc<Function>>,
    stopped: Arc<AtomicBool>,
    stop: Arc<OwnedFd>,
    threads: Vec<JoinHandle<()>>,
    sockets: Vec<PathBuf>,
}

impl Card {
    /// Starts a card. When this returns, its sockets accept.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running or lying about then.
    pub fn start(options: &Options) -> Result<Self, StartError> {
        Self::start_in(options, false)
    }

    /// Starts a card in a process that is its own, if `own_process`: one that a tester may have killed.
    pub(crate) fn start_in(options: &Options, own_process: bool) -> Result<Self, StartError> {
        options.check()?;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(DIR_MODE)
            .create(&options.dir)
            .map_err(|source| StartError::Dir {
                dir: options.dir.clone(),
                source,
            })?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| StartError::Resources(errno.into()))?;
        // From here on dropping `card` undoes what was done.
        let mut card = Self {
            functions: Vec::new(),
            stopped: Arc::new(AtomicBool::new(false)),
            stop: Arc::new(stop),
            threads: Vec::new(),
            sockets: Vec::new(),
        };
        let serial = options.seed.map_or_else(|| random(b"serial"), serial_of);
        let seed = options.faults.seed().unwrap_or_else(|| random(b"faults"));
        for index in 0..FUNCTIONS {
            let faults = Arc::new(Faults::new(index, seed));
            card.start_function(options, index, serial, faults)?;
        }
        for (n, function) in card.functions.iter().enumerate() {
            if let Some(other) = card.functions.get(n ^ 1) {
                let _ = function.neighbour.set(Arc::downgrade(&other.memory));
            }
        }
        if options.allow_faults {
            tracing::info!(seed, "faults are allowed; chances are drawn from this seed");
            card.start_fault_socket(options, own_process)?;
        }
        Ok(card)
    }

    fn start_function(
        &mut self,
        options: &Options,
        index: u8,
        serial: u64,
        faults: Arc<Faults>,
    ) -> Result<(), StartError> {
        let path = options.dir.join(format!("fn{index}"));
        let listener = listen(&path)?;
        self.sockets.push(path);
        let clock_mhz = match options.model {
            Model::Functional => CLOCK_MHZ_DEFAULT,
            Model::Rtl => RTL_CLOCK_MHZ,
        };
        let identity = Identity {
            index,
            serial,
            engines: options.engines,
            clock_khz: options.pace_mhz.unwrap_or(clock_mhz) * 1000,
            paced: options.pace_mhz.is_some(),
        };
        // Never from the seed: a driver tells a new process from the old one by this.
        let [a, b, c, d, ..] = random(b"epoch").to_le_bytes();
        let epoch = u32::from_le_bytes([a, b, c, d]);
        let mut function = Function::with(identity, epoch, options.dma_maps_max, faults);
        function.inside = inside(options.model, &function, epoch)?;
        if options.slots == InSlots::Empty {
            function.slots.empty();
        }
        let function = Arc::new(function);
        self.functions.push(Arc::clone(&function));
        match function.inside.clone() {
            None => self.start_model(&function)?,
            Some(inside) => {
                let stopped = Arc::clone(&self.stopped);
                self.spawn(format!("fn{index}-clock"), move || {
                    inside.run(&|| stopped.load(Ordering::Relaxed));
                })?;
            }
        }
        let stop = Arc::clone(&self.stop);
        self.spawn(format!("fn{index}-socket"), move || {
            server::serve(&listener, &function, &stop);
        })
    }

    /// Starts the functional model's engines and dispatcher.
    fn start_model(&mut self, function: &Arc<Function>) -> Result<(), StartError> {
        let Identity { index, engines, .. } = function.identity;
        let loader = Arc::clone(function);
        self.spawn(format!("fn{index}-slots"), move || {
            loader.slots.run(&loader);
        })?;
        for engine in 0..engines {
            let worker = Worker::new(Arc::clone(function));
            self.spawn(format!("fn{index}-engine{engine}"), move || worker.run())?;
        }
        let (served, stopped) = (Arc::clone(function), Arc::clone(&self.stopped));
        self.spawn(format!("fn{index}-dispatch"), move || {
            dispatcher::run(&served, &|| stopped.load(Ordering::Relaxed));
        })
    }

    fn start_fault_socket(
        &mut self,
        options: &Options,
        own_process: bool,
    ) -> Result<(), StartError> {
        let path = options.dir.join(fault_socket::SOCKET);
        let listener = listen(&path)?;
        self.sockets.push(path);
        let control = FaultControl {
            functions: self.functions.clone(),
            own_process,
            model: options.model,
        };
        for rule in options.faults.rules() {
            let stop = control.add(rule).map_err(|source| StartError::Rule {
                rule: rule.to_string(),
                source,
            })?;
            if let Some((function, strike)) = stop {
                function.befall(strike);
            }
        }
        let stop = Arc::clone(&self.stop);
        self.spawn("faults-socket".to_owned(), move || {
            fault_socket::serve(&listener, &control, &stop);
        })
    }

    fn spawn(
        &mut self,
        name: String,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<(), StartError> {
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(body)
            .map_err(StartError::Resources)?;
        self.threads.push(thread);
        Ok(())
    }

    /// Path of a function's socket.
    #[must_use]
    pub fn socket(&self, function: u8) -> Option<&Path> {
        self.sockets
            .get(usize::from(function))
            .map(PathBuf::as_path)
    }

    /// Stops the card: its clients are cut off, its threads end, its sockets are removed.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // The counter of an eventfd that nobody reads stays readable for every poller.
        if let Err(errno) = rustix::io::write(&*self.stop, &1u64.to_ne_bytes()) {
            tracing::error!(%errno, "the sockets' threads could not be told to stop");
        }
        for function in &self.functions {
            function.pool.stop();
            function.slots.stop();
            function.bell.ring();
            if let Some(inside) = &function.inside {
                inside.wake();
            }
        }
        for thread in self.threads.drain(..) {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if thread.join().is_err() {
                tracing::error!(name, "a thread of the card had panicked");
            }
        }
        for path in &self.sockets {
            // Gone already is as good.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Whether these options are in range, and in this build.
pub(crate) fn check(options: &Options) -> Result<(), StartError> {
    if !options.model.is_built_in() {
        return Err(StartError::NotBuiltIn {
            model: options.model,
        });
    }
    if options.model == Model::Rtl {
        check_gateware(options)?;
    }
    let out_of_range = |option, most: u32, got: u32| StartError::Option {
        option,
        expected: format!("from 1 to {most}"),
        got: got.to_string(),
    };
    if options.engines == 0 || options.engines > ENGINES_MAX {
        return Err(out_of_range(
            "engines",
            ENGINES_MAX.into(),
            options.engines.into(),
        ));
    }
    if let Some(mhz) = options.pace_mhz
        && !(1..=CLOCK_MHZ_MAX).contains(&mhz)
    {
        return Err(out_of_range("pace_mhz", CLOCK_MHZ_MAX, mhz));
    }
    if !(1..=MAPS_MAX).contains(&options.dma_maps_max) {
        return Err(StartError::Option {
            option: "dma_maps_max",
            expected: format!("from 1 to {MAPS_MAX}"),
            got: options.dma_maps_max.to_string(),
        });
    }
    if !options.faults.is_empty() && !options.allow_faults {
        return Err(StartError::FaultsNotAllowed);
    }
    Ok(())
}

/// What stands in place of the functional model.
#[cfg(feature = "rtl")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature it fails")]
fn inside(
    model: Model,
    function: &Function,
    epoch: u32,
) -> Result<Option<Arc<dyn Inside>>, StartError> {
    Ok(match model {
        Model::Functional => None,
        Model::Rtl => Some(Arc::new(Gateware::new(
            function.identity,
            epoch,
            &function.memory,
            &function.msix,
            &function.faults,
        ))),
    })
}

/// What stands in place of the functional model: nothing does in this build.
#[cfg(not(feature = "rtl"))]
fn inside(model: Model, _: &Function, _: u32) -> Result<Option<Arc<dyn Inside>>, StartError> {
    match model {
        Model::Functional => Ok(None),
        Model::Rtl => Err(StartError::NotBuiltIn { model }),
    }
}

/// What gateware is built with, no option changes.
fn check_gateware(options: &Options) -> Result<(), StartError> {
    if options.engines != RTL_ENGINES {
        return Err(StartError::Option {
            option: "engines",
            expected: format!("{RTL_ENGINES}, which the gateware is built with"),
            got: options.engines.to_string(),
        });
    }
    if options.slots != InSlots::Factory {
        return Err(StartError::Option {
            option: "slots",
            expected: "left out: gateware has no slots, it is itself what a slot would hold"
                .to_owned(),
            got: "empty".to_owned(),
        });
    }
    match options.pace_mhz {
        None => Ok(()),
        Some(mhz) => Err(StartError::Option {
            option: "pace_mhz",
            expected: "left out: simulated gateware is slower than any clock".to_owned(),
            got: mhz.to_string(),
        }),
    }
}

/// Listens on `path`, in place of a socket that a card left behind; never of one that still listens, or of another file.
fn listen(path: &Path) -> Result<UnixListener, StartError> {
    let failed = |source| StartError::Listen {
        path: path.to_owned(),
        source,
    };
    match UnixStream::connect(path) {
        Ok(_) => {
            return Err(StartError::InUse {
                path: path.to_owned(),
            });
        }
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            // A file that is no socket refuses connections too.
            let kind = std::fs::symlink_metadata(path).map_err(failed)?.file_type();
            if !kind.is_socket() {
                return Err(failed(ErrorKind::AlreadyExists.into()));
            }
            std::fs::remove_file(path).map_err(failed)?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// A random number: the standard library seeds its hashers from the kernel.
fn random(purpose: &[u8]) -> u64 {
    RandomState::new().hash_one(purpose)
}

/// Spreads a seed over the serial number's bits (SplitMix64's finaliser), so that seeds 1 and 2 do not look alike.
fn serial_of(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateware_refuses_what_it_cannot_be_given() {
        let good = || Options {
            model: Model::Rtl,
            ..Options::new("unused")
        };
        check_gateware(&good()).unwrap();
        let wrong = [
            Options {
                engines: 2,
                ..good()
            },
            Options {
                slots: InSlots::Empty,
                ..good()
            },
            Options {
                pace_mhz: Some(250),
                ..good()
            },
        ];
        for (options, named) in wrong.iter().zip(["engines", "slots", "pace_mhz"]) {
            let error = check_gateware(options).unwrap_err();
            assert!(
                matches!(&error, StartError::Option { option, .. } if *option == named),
                "{named}: {error}"
            );
        }
    }
}
