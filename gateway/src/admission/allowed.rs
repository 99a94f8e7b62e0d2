//! What a tenant may use at all: kernels and engines.
//!
//! Owns the one place where a request's wish for engines is narrowed to those that its tenant may have. Invariant: what
//! comes out names no engine that the tenant may not use. It is pure, and knows no request.

use thiserror::Error;

use crate::job::BackendPolicy;
use crate::tenants::{AllowedBackends, AllowedKernels};

/// What tenants call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalledKernel {
    /// `compress`
    Compress,
    /// `decompress`
    Decompress,
}

/// What a tenant asked for and may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotAllowed {
    /// A kernel.
    #[error("this tenant may not call {0}")]
    Kernel(&'static str),
    /// Cards.
    #[error(
        "this tenant may not use cards, and `Faam-Backend: require-hw` came; send `auto` or `cpu`"
    )]
    Cards,
    /// The CPU engines.
    #[error(
        "this tenant may use cards only, and `Faam-Backend: cpu` came; send `auto` or `require-hw`"
    )]
    Cpu,
    /// What no card serves.
    #[error("this tenant may use cards only, and no card serves {0}; ask for what cards serve")]
    BeyondCards(&'static str),
    /// Any engine.
    #[error("this tenant may use no engine")]
    Engines,
}

impl CalledKernel {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compress => "compress",
            Self::Decompress => "decompress",
        }
    }

    /// Whether a tenant may call it.
    ///
    /// # Errors
    /// [`NotAllowed::Kernel`]
    pub const fn check(self, allowed: AllowedKernels) -> Result<(), NotAllowed> {
        let may = match self {
            Self::Compress => allowed.compress,
            Self::Decompress => allowed.decompress,
        };
        if may {
            Ok(())
        } else {
            Err(NotAllowed::Kernel(self.name()))
        }
    }
}

impl AllowedBackends {
    /// The engines that a request may run on, of those that it asked for.
    ///
    /// # Errors
    /// [`NotAllowed`] where none of them is allowed.
    pub const fn narrow(self, asked: BackendPolicy) -> Result<BackendPolicy, NotAllowed> {
        use BackendPolicy::{Auto, Cpu, PreferHardware, RequireHardware};
        match (self.cpu, self.cards, asked) {
            (true, true, asked) => Ok(asked),
            (false, false, _) => Err(NotAllowed::Engines),
            (true, false, Auto | PreferHardware | Cpu) => Ok(Cpu),
            (true, false, RequireHardware) => Err(NotAllowed::Cards),
            (false, true, Auto | PreferHardware | RequireHardware) => Ok(RequireHardware),
            (false, true, Cpu) => Err(NotAllowed::Cpu),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_narrowed_to_what_is_allowed() {
        use BackendPolicy::{Auto, Cpu, PreferHardware, RequireHardware};
        let all = [Auto, PreferHardware, RequireHardware, Cpu];
        let narrowed = |cpu, cards| all.map(|asked| AllowedBackends { cpu, cards }.narrow(asked));
        assert_eq!(narrowed(true, true), all.map(Ok));
        assert_eq!(
            narrowed(true, false),
            [Ok(Cpu), Ok(Cpu), Err(NotAllowed::Cards), Ok(Cpu)]
        );
        let card = Ok(RequireHardware);
        assert_eq!(
            narrowed(false, true),
            [card, card, card, Err(NotAllowed::Cpu)]
        );
        assert_eq!(
            narrowed(false, false),
            all.map(|_| Err(NotAllowed::Engines))
        );
    }

    #[test]
    fn a_kernel_that_is_not_allowed_is_named() {
        let allowed = AllowedKernels {
            compress: true,
            decompress: false,
        };
        assert_eq!(CalledKernel::Compress.check(allowed), Ok(()));
        let refused = CalledKernel::Decompress.check(allowed);
        assert_eq!(refused, Err(NotAllowed::Kernel("decompress")));
    }
}
