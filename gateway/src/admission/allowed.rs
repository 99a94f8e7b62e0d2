//! What a tenant may use at all: kernels and engines.
//!
//! Owns the one place where a request's wish for engines is narrowed to those that its tenant may have. Invariant: what
//! comes out names no engine that the tenant may not use. It is pure, and knows no request.

use thiserror::Error;

use crate::allowed_images::AllowedImages;
use crate::card_kernel::CardKernel;
use crate::job::BackendPolicy;
use crate::tenants::{AllowedBackends, AllowedKernels, TenantLimits, may_use};

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
    /// A kernel of cards.
    #[error(
        "this tenant may not use the card kernel {0}, and nothing else may serve this; ask for another level, or send `auto`"
    )]
    CardKernel(&'static str),
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

/// The engines that a request may run on, whose work on a card would be this kernel's.
///
/// # Errors
/// [`NotAllowed`] where none of them is allowed.
pub fn engines(
    limits: &TenantLimits,
    kernel: Option<CardKernel>,
    asked: BackendPolicy,
) -> Result<BackendPolicy, NotAllowed> {
    let without = AllowedBackends {
        cards: false,
        ..limits.backends
    };
    if limits.images.as_ref().is_some_and(AllowedImages::is_empty) {
        return without.narrow(asked);
    }
    let Some(kernel) = kernel.filter(|kernel| !may_use(limits, *kernel)) else {
        return limits.backends.narrow(asked);
    };
    without.narrow(asked).map_err(|refused| {
        // What its other limits refuse is theirs.
        match limits.backends.narrow(asked) {
            Ok(_) => NotAllowed::CardKernel(kernel.name()),
            Err(_) => refused,
        }
    })
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
    fn a_card_kernel_that_is_not_allowed_leaves_the_cpu() {
        use BackendPolicy::{Auto, Cpu, PreferHardware, RequireHardware};
        let mut limits = TenantLimits::default();
        limits.card_kernels.deflate_tables = false;
        let all = [Auto, PreferHardware, RequireHardware, Cpu];
        let of = |limits: &TenantLimits, kernel| all.map(|asked| engines(limits, kernel, asked));
        assert_eq!(of(&limits, Some(CardKernel::DeflateFast)), all.map(Ok));
        assert_eq!(of(&limits, None), all.map(Ok));
        let refused = Err(NotAllowed::CardKernel("deflate-tables"));
        assert_eq!(
            of(&limits, Some(CardKernel::DeflateTables)),
            [Ok(Cpu), Ok(Cpu), refused, Ok(Cpu)]
        );
        limits.backends.cpu = false;
        assert_eq!(
            of(&limits, Some(CardKernel::DeflateTables)),
            [refused, refused, refused, Err(NotAllowed::Engines)]
        );
        limits.backends.cards = false;
        assert_eq!(
            of(&limits, Some(CardKernel::DeflateTables)),
            all.map(|_| Err(NotAllowed::Engines))
        );
    }

    #[test]
    fn a_list_without_images_leaves_the_cpu() {
        use BackendPolicy::{Auto, Cpu, PreferHardware, RequireHardware};
        let limits = TenantLimits {
            images: Some(AllowedImages::new([]).expect("a list")),
            ..TenantLimits::default()
        };
        let all = [Auto, PreferHardware, RequireHardware, Cpu];
        let of = all.map(|asked| engines(&limits, Some(CardKernel::Inflate), asked));
        assert_eq!(of, [Ok(Cpu), Ok(Cpu), Err(NotAllowed::Cards), Ok(Cpu)]);
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
