//! The carriers: how the suite reaches a card, and everything in which one carrier differs from the other.
//!
//! Owns the card that a behaviour is shown on. Invariant: what a behaviour opens is as after a function-level reset, with
//! no faults on but those that were asked for; a card that outlives the behaviour is left without faults.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use faam_driver::{
    Arena, FenceProof, Function, FunctionConfig, KernelVfio, PageSize, PciAddress, Transport,
    TransportError, VfioUser,
};
use faam_hwif::BarOffset;
use faam_hwif::regs::{CardRegister, capabilities};
use faam_sim::Fault;

use crate::behaviour::Need;
use crate::card_faults::CardFaults;
use crate::card_process::CardProcess;

/// Bytes of the arenas: small enough for several in a virtual machine of 512 MiB.
pub(crate) const ARENA_BYTES: usize = 8 << 20;
/// Maps that a function takes where the limit is to be reached.
pub(crate) const MAPS_MAX: usize = 64;
/// Bytes of a huge page.
const HUGE_PAGE_BYTES: usize = 2 << 20;
/// Longest wait for anything that does happen.
const PATIENCE_VFIO_USER: Duration = Duration::from_secs(20);
/// The same where a virtual machine is slower than its host by a factor of 20 to 36.
const PATIENCE_KERNEL_VFIO: Duration = Duration::from_secs(60);
/// The same where each clock is simulated: half a million of them a second of a core, which others use too.
const PATIENCE_RTL: Duration = Duration::from_secs(60);
/// The same where it may well not happen, as a fault is on.
const PATIENCE_MUTATED: Duration = Duration::from_secs(2);

/// What carries the way to the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// vfio-user, to a card in this process or in a child.
    VfioUser,
    /// The kernel's VFIO, to a card in a slot.
    KernelVfio,
    /// vfio-user, to a card with simulated gateware inside.
    Rtl,
}

impl Carrier {
    pub(crate) const ALL: [Self; 3] = [Self::VfioUser, Self::KernelVfio, Self::Rtl];

    /// As the environment says.
    pub(crate) fn chosen() -> Self {
        let carrier = match std::env::var("FAAM_TEST_CARRIER").as_deref() {
            Err(_) | Ok("vfio-user") => Self::VfioUser,
            Ok("kernel-vfio") => Self::KernelVfio,
            Ok(name) => {
                panic!("FAAM_TEST_CARRIER: expected vfio-user or kernel-vfio, got {name:?}")
            }
        };
        match (std::env::var("FAAM_TEST_MODEL").as_deref(), carrier) {
            (Err(_) | Ok("functional"), carrier) => carrier,
            (Ok("rtl"), Self::VfioUser) => Self::Rtl,
            (Ok(name), _) => {
                panic!("FAAM_TEST_MODEL: expected functional, or over vfio-user rtl, got {name:?}")
            }
        }
    }

    /// What is inside the simulated cards of this process and of its children.
    pub(crate) const fn model(self) -> faam_sim::Model {
        match self {
            Self::VfioUser | Self::KernelVfio => faam_sim::Model::Functional,
            Self::Rtl => faam_sim::Model::Rtl,
        }
    }

    /// Whether jobs take so much longer that a behaviour does with fewer or smaller ones: in a virtual machine, and where
    /// each clock of the gateware is simulated.
    pub(crate) const fn is_slow(self) -> bool {
        matches!(self, Self::KernelVfio | Self::Rtl)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::VfioUser => "vfio-user",
            Self::KernelVfio => "kernel-vfio",
            Self::Rtl => "rtl",
        }
    }
}

enum Card {
    /// In this process.
    Here {
        dir: tempfile::TempDir,
        _card: faam_sim::Card,
    },
    /// In a child.
    Process(CardProcess),
    /// In slots, a function each.
    Slots(Vec<PciAddress>),
}

/// A card, and the way to it.
pub(crate) struct Bench {
    carrier: Carrier,
    card: Card,
    faults: Option<CardFaults>,
    patience: Duration,
    _map_limit: Option<KernelMapLimit>,
}

impl Bench {
    /// A card that has what is needed, and `faults`.
    ///
    /// # Errors
    /// The first need that cannot be met.
    pub(crate) fn start(carrier: Carrier, needs: &[Need], faults: &[Fault]) -> Result<Self, Need> {
        let bench = match carrier {
            Carrier::VfioUser | Carrier::Rtl => Self::over_vfio_user(carrier, needs),
            Carrier::KernelVfio => Self::over_kernel_vfio(needs)?,
        };
        for need in needs {
            if !bench.meets(*need) {
                return Err(*need);
            }
        }
        if let Some(set) = &bench.faults {
            set.clear();
            faults.iter().for_each(|fault| set.set(*fault));
        } else if !faults.is_empty() {
            return Err(Need::Faults);
        }
        Ok(bench)
    }

    /// What is waited for is not expected to come: it is not waited for long.
    pub(crate) fn hasten(&mut self) {
        self.patience = PATIENCE_MUTATED;
    }

    fn over_vfio_user(carrier: Carrier, needs: &[Need]) -> Self {
        let card = match needs.contains(&Need::Kill) {
            true => Card::Process(CardProcess::start()),
            false => {
                let dir = tempfile::tempdir().unwrap();
                let mut options = faam_sim::Options::new(dir.path());
                options.model = carrier.model();
                options.seed = Some(1);
                options.allow_faults = true;
                if needs.contains(&Need::MapLimit) {
                    options.dma_maps_max = MAPS_MAX;
                }
                let card = faam_sim::Card::start(&options).unwrap();
                Card::Here { dir, _card: card }
            }
        };
        let mut bench = Self {
            carrier,
            card,
            faults: None,
            patience: match carrier {
                Carrier::Rtl => PATIENCE_RTL,
                Carrier::VfioUser | Carrier::KernelVfio => PATIENCE_VFIO_USER,
            },
            _map_limit: None,
        };
        bench.faults = bench.socket("faults").map(|path| CardFaults::open(&path));
        bench
    }

    fn over_kernel_vfio(needs: &[Need]) -> Result<Self, Need> {
        let functions = std::env::var("FAAM_TEST_FUNCTIONS").unwrap_or_else(|_| {
            panic!("FAAM_TEST_FUNCTIONS: expected PCI addresses, such as 0000:00:06.0,0000:00:07.0")
        });
        let limit = needs.contains(&Need::MapLimit);
        let map_limit = match limit {
            true => Some(KernelMapLimit::set(MAPS_MAX).ok_or(Need::MapLimit)?),
            false => None,
        };
        Ok(Self {
            carrier: Carrier::KernelVfio,
            card: Card::Slots(
                functions
                    .split(',')
                    .map(|address| address.parse().unwrap())
                    .collect(),
            ),
            faults: std::env::var_os("FAAM_TEST_CARD_ADMIN")
                .map(|path| CardFaults::open(&PathBuf::from(path))),
            patience: PATIENCE_KERNEL_VFIO,
            _map_limit: map_limit,
        })
    }

    /// Whether a behaviour can have this of its card. To be asked before function 0 is opened, which it may take a look at.
    pub(crate) fn meets(&self, need: Need) -> bool {
        match need {
            Need::Faults => self.faults.is_some(),
            Need::EngineFaults => {
                self.faults.is_some() && self.carrier.model() == faam_sim::Model::Functional
            }
            Need::Kill => self.faults.is_some() && !matches!(self.card, Card::Here { .. }),
            // Seen to above.
            Need::MapLimit => true,
            Need::HugePages => Arena::on_pages(HUGE_PAGE_BYTES, PageSize::Huge).is_ok(),
            Need::EnforcedMaps => self.open(0).maps_are_enforced(),
            Need::ShadowDoorbells => self.features().shadow_doorbells(),
            Need::LoadedTables => self.features().loaded_tables(),
            Need::History => self.features().history(),
            Need::Decompress => self.features().decompress(),
            Need::Abort => self.features().abort(),
            Need::ContextScrub => self.features().context_scrub(),
            Need::Slots => self.function(0).identity().slots.is_some(),
        }
    }

    fn features(&self) -> capabilities::Features {
        let transport = self.open(0);
        // Registers are decoded only with memory space on, which this sees to.
        transport.set_bus_master(false).unwrap();
        let at = BarOffset(CardRegister::CapabilitiesFeatures.offset());
        capabilities::Features(transport.read_register(at).unwrap())
    }

    pub(crate) fn carrier(&self) -> Carrier {
        self.carrier
    }

    /// Longest wait for anything.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// How the suite brings functions up: with longer limits than the driver's, for the card's threads and the driver's may have to
    /// wait for a processor, each in its turn; the longest where the card itself is slow.
    pub(crate) fn config(&self) -> FunctionConfig {
        let config = FunctionConfig::default();
        let factor = match self.carrier.is_slow() {
            false => 4,
            true => 10,
        };
        FunctionConfig {
            admin_limit: config.admin_limit * factor,
            ready_limit: config.ready_limit * factor,
            ..config
        }
    }

    /// The card's faults. The behaviour has asked for them.
    pub(crate) fn faults(&self) -> &CardFaults {
        self.faults.as_ref().unwrap()
    }

    fn socket(&self, name: &str) -> Option<PathBuf> {
        match &self.card {
            Card::Here { dir, .. } => Some(dir.path().join(name)),
            Card::Process(process) => Some(process.dir().join(name)),
            Card::Slots(_) => None,
        }
    }

    /// Opens a function as it is, if it is free.
    ///
    /// # Errors
    /// [`TransportError`].
    pub(crate) fn try_open(&self, index: u8) -> Result<Arc<dyn Transport>, TransportError> {
        match &self.card {
            Card::Here { .. } | Card::Process(_) => {
                let path = self.socket(&format!("fn{index}")).unwrap();
                Ok(Arc::new(VfioUser::connect(&path)?))
            }
            Card::Slots(functions) => {
                let address = functions[usize::from(index)];
                Ok(Arc::new(KernelVfio::open(address)?))
            }
        }
    }

    /// Opens a function, as soon as whoever had it before has let it go, and resets it.
    pub(crate) fn open(&self, index: u8) -> Arc<dyn Transport> {
        let deadline = Instant::now() + self.patience;
        loop {
            match self.try_open(index) {
                // On a machine under load a virtual machine may take longer for a reset than the transport waits.
                Ok(transport) => match transport.function_level_reset() {
                    Ok(()) => return transport,
                    Err(error) if Instant::now() >= deadline => {
                        panic!("function {index} is not reset: {error}")
                    }
                    Err(_) => {}
                },
                Err(error) if Instant::now() >= deadline => panic!("function {index}: {error}"),
                Err(_) => std::thread::yield_now(),
            }
        }
    }

    /// A function that is up, with an arena of its own.
    pub(crate) fn function(&self, index: u8) -> Function {
        self.function_on(index, &self.arena())
    }

    /// A function that is up with this configuration, and an arena of its own.
    pub(crate) fn function_with(&self, index: u8, config: FunctionConfig) -> Function {
        self.bring_up(index, &self.arena(), config)
    }

    /// A function that is up, with this arena.
    pub(crate) fn function_on(&self, index: u8, arena: &Arc<Arena>) -> Function {
        self.bring_up(index, arena, self.config())
    }

    fn bring_up(&self, index: u8, arena: &Arc<Arena>, config: FunctionConfig) -> Function {
        let transport = self.open(index);
        Function::bring_up(transport, Arc::clone(arena), config)
            .unwrap_or_else(|error| panic!("function {index} is not brought up: {error:?}"))
    }

    pub(crate) fn arena(&self) -> Arc<Arena> {
        Arena::new(ARENA_BYTES).unwrap()
    }

    /// Waits until the card's process stands still, which a fault has it do; where it is no child of this process that is not
    /// known, and not waited for.
    pub(crate) fn until_card_stands_still(&self) {
        if let Card::Process(process) = &self.card {
            process.until_stopped(self.patience);
        }
    }

    /// Kills the card's process and starts another one in its place: the fence that its death is. `None` if the card is no
    /// child of this process; then nothing was done.
    pub(crate) fn replace_card(&mut self) -> Option<FenceProof> {
        let Card::Process(process) = &self.card else {
            return None;
        };
        process.kill();
        let proof = process.await_fence(self.patience);
        self.card = Card::Process(CardProcess::start());
        self.faults = self.socket("faults").map(|path| CardFaults::open(&path));
        Some(proof)
    }

    /// Kills the card's process, and returns the fence that its death is where it is a child of this process.
    pub(crate) fn kill_card(&self) -> Option<FenceProof> {
        self.faults().kill();
        match &self.card {
            Card::Process(process) => Some(process.await_fence(self.patience)),
            Card::Here { .. } | Card::Slots(_) => None,
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let (Card::Slots(_), Some(faults)) = (&self.card, &self.faults) {
            faults.clear_if_there();
        }
    }
}

/// The kernel's limit of maps for containers that are opened from now on, until dropped.
struct KernelMapLimit {
    before: String,
}

impl KernelMapLimit {
    const PATH: &str = "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit";

    /// `None` if it is not ours to set.
    fn set(maps_max: usize) -> Option<Self> {
        let before = std::fs::read_to_string(Self::PATH).ok()?;
        std::fs::write(Self::PATH, maps_max.to_string()).ok()?;
        Some(Self { before })
    }
}

impl Drop for KernelMapLimit {
    fn drop(&mut self) {
        let _ = std::fs::write(Self::PATH, self.before.trim());
    }
}

/// Waits until `reached`, looking again and again.
pub(crate) fn until(limit: Duration, what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !reached() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::yield_now();
    }
}
