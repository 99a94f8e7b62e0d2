//! What is examined: a machine, a user, a gateway, cards.
//!
//! Owns where each of these comes from, so that the checks only judge. Invariant: a check meets the outside (a gateway's socket,
//! a device that is opened, a simulated card that is started) through a function in here alone, so that it can be tried without.

use std::path::PathBuf;

use faam_driver::{FunctionIdentity, PciAddress};
use rustix::process::{Gid, getegid, geteuid, getgroups};
use serde_json::Value;

use crate::machine::Machine;
use crate::pci;

/// A user by numbers, as the kernel checks them.
#[derive(Clone, Debug)]
pub(crate) struct User {
    /// Its name, or its number.
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gids: Vec<u32>,
}

/// What was learned of a gateway.
#[derive(Clone, Debug)]
pub(crate) struct RunningGateway {
    /// `GET /admin/v1`.
    pub(crate) about: Value,
    /// Its process as it is numbered here, where it is to be seen from here.
    pub(crate) pid: Option<u32>,
    /// Its functions with what they say of themselves.
    pub(crate) devices: Vec<Value>,
}

/// Why nothing was learned of it.
#[derive(Clone, Debug)]
pub(crate) enum NoGateway {
    /// None runs there.
    NotRunning(String),
    /// It cannot be asked.
    Unreachable(String),
}

/// Why a function or a card does not say who it is.
#[derive(Clone, Debug)]
pub(crate) enum NoIdentity {
    /// It was not asked, for it is in use, or not this user's: why, and what to do.
    Unavailable(String),
    /// It cannot be opened by anybody: why, and what to do.
    Unusable(String),
    /// It says what it must not.
    Wrong(String),
}

/// Who something is, or why it does not say.
pub(crate) type Identity = Result<FunctionIdentity, NoIdentity>;

/// See the module's head.
pub(crate) struct Subject {
    pub(crate) machine: Machine,
    /// Who runs the gateway, or is to.
    pub(crate) user: User,
    /// The cards' functions.
    pub(crate) functions: Vec<PciAddress>,
    /// Directories of vfio-user sockets that were named.
    pub(crate) sockets: Vec<PathBuf>,
    /// The gateway's DMA memory, bytes.
    pub(crate) arena_bytes: usize,
    pub(crate) gateway: Result<RunningGateway, NoGateway>,
    /// Opens a function and asks who it is.
    pub(crate) identify: Box<dyn Fn(PciAddress) -> Identity>,
    /// Asks a simulated card: the one with sockets in a directory, or one that is started for it.
    pub(crate) identify_simulated: fn(Option<&PathBuf>) -> Identity,
    /// The CPU engines that serve.
    pub(crate) cpu_engines: Vec<&'static str>,
}

impl User {
    /// Who runs this.
    pub(crate) fn current() -> Self {
        let uid = geteuid().as_raw();
        let mut gids: Vec<_> = getgroups()
            .unwrap_or_default()
            .into_iter()
            .map(Gid::as_raw)
            .collect();
        gids.push(getegid().as_raw());
        Self {
            name: match uid {
                0 => "root".to_owned(),
                uid => format!("user {uid}"),
            },
            uid,
            gids,
        }
    }

    /// The one of this name in the machine's own files: no name service is asked, for there may be none.
    pub(crate) fn named(machine: &Machine, name: &str) -> Option<Self> {
        let passwd = machine.text("etc/passwd")?;
        // passwd(5): name, password, uid, gid, ...
        let entry = passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(name)).then_some(fields)
        })?;
        let mut numbers = entry.skip(1).map(str::parse);
        let (uid, gid) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        // group(5): name, password, gid, members
        let groups = machine.text("etc/group").unwrap_or_default();
        let member_of = groups.lines().filter_map(|line| {
            let fields: Vec<_> = line.split(':').collect();
            let members = fields.get(3)?;
            members
                .split(',')
                .any(|member| member == name)
                .then_some(())?;
            fields.get(2)?.parse().ok()
        });
        let mut gids: Vec<u32> = member_of.collect();
        gids.push(gid);
        Some(Self {
            name: name.to_owned(),
            uid,
            gids,
        })
    }

    pub(crate) fn is_root(&self) -> bool {
        self.uid == 0
    }
}

impl Subject {
    /// Functions that a gateway would have, at least.
    pub(crate) fn functions_served(&self) -> usize {
        let served = self.gateway.as_ref().map(|gateway| gateway.devices.len());
        let mut named = Self::found(&self.machine);
        named.extend(&self.functions);
        named.sort_unstable();
        named.dedup();
        match named.len().max(served.unwrap_or(0)) {
            // A card's own number.
            0 => usize::from(faam_hwif::FUNCTIONS),
            count => count,
        }
    }

    /// The running gateway's number in this machine's /proc.
    pub(crate) fn gateway_pid(&self) -> Option<u32> {
        self.gateway.as_ref().ok()?.pid
    }

    /// Functions in a machine that say they are a FaaM card's.
    pub(crate) fn found(machine: &Machine) -> Vec<PciAddress> {
        let functions = pci::functions(machine).filter(pci::PciFunction::is_faam);
        functions.map(|function| function.address).collect()
    }
}
