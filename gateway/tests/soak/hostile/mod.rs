//! A card that lies: a vfio-user peer of the right form, with anything in it.
//!
//! Owns a sound simulated card and, for each of its functions, whoever stands before it. Invariant: a gateway can tell it from a
//! card only by what it says.
//!
//! | module | is |
//! |---|---|
//! | `frames` | messages as bytes and descriptors |
//! | `lies` | which are told on a connection, and how often |
//! | `function` | a function's socket: messages passed on, or not |
//! | `queues` | completions passed on, or others; memory scribbled on |

mod frames;
mod function;
mod lies;
mod queues;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::function::Stage;
pub(crate) use self::lies::LIES;
use self::lies::Told;

/// Functions of a card.
const FUNCTIONS: u64 = 2;
/// How long its sockets may take to be there.
const SOCKETS_LIMIT: Duration = Duration::from_secs(20);

/// A hostile card.
pub(crate) struct HostileCard {
    dir: tempfile::TempDir,
    told: Arc<Told>,
    over: Arc<AtomicBool>,
    functions: Vec<JoinHandle<()>>,
    _sound: faam_sim::Card,
}

impl HostileCard {
    pub(crate) fn start(seed: u64) -> Self {
        let dir = tempfile::TempDir::with_prefix("faam-hostile-").expect("a directory");
        let sound_dir = dir.path().join("sound");
        let sound = faam_sim::Card::start(&faam_sim::Options::new(&sound_dir)).expect("a card");
        let (told, over) = (Arc::<Told>::default(), Arc::<AtomicBool>::default());
        let functions = (0..FUNCTIONS).map(|number| {
            let (told, over) = (Arc::clone(&told), Arc::clone(&over));
            let name = format!("fn{number}");
            let (socket, sound) = (dir.path().join(&name), sound_dir.join(&name));
            std::thread::spawn(move || {
                let stage = Stage {
                    told: &told,
                    over: &over,
                    seed,
                };
                function::serve(&stage, number, &socket, &sound);
            })
        });
        let functions = functions.collect();
        let card = Self {
            dir,
            told,
            over,
            functions,
            _sound: sound,
        };
        card.wait_for_sockets();
        card
    }

    /// Where its sockets are.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What was said, by kind.
    pub(crate) fn told(&self) -> BTreeMap<String, u64> {
        self.told.all()
    }

    fn wait_for_sockets(&self) {
        let path = |number| -> PathBuf { self.dir.path().join(format!("fn{number}")) };
        let until = Instant::now() + SOCKETS_LIMIT;
        while !(0..FUNCTIONS).all(|number| path(number).exists()) {
            assert!(
                Instant::now() < until && !self.functions.iter().any(JoinHandle::is_finished),
                "a hostile card's sockets are not in {} within {SOCKETS_LIMIT:?}",
                self.dir.path().display()
            );
            std::thread::yield_now();
        }
    }
}

impl Drop for HostileCard {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for function in self.functions.drain(..) {
            let ended = function.join();
            // Beside another failure it has said so itself.
            assert!(
                ended.is_ok() || std::thread::panicking(),
                "a liar panicked: what it told after that is missing"
            );
        }
    }
}
