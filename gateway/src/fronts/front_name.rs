//! Names of fronts: the label of their metrics, and what is said of a request that came through one.
//!
//! Invariant: each has one name, of a closed list. It knows no platform.

/// A front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrontName {
    /// AWS Lambda's Invoke.
    Lambda,
    /// Apache OpenWhisk's action container.
    OpenWhisk,
    /// Knative, with CloudEvents or without.
    Knative,
    /// OpenFaaS behind its watchdog.
    OpenFaas,
    /// Azure Functions' custom handler.
    Azure,
}

impl FrontName {
    /// Every front.
    pub const ALL: [Self; 5] = [
        Self::Lambda,
        Self::OpenWhisk,
        Self::Knative,
        Self::OpenFaas,
        Self::Azure,
    ];

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lambda => "lambda",
            Self::OpenWhisk => "openwhisk",
            Self::Knative => "knative",
            Self::OpenFaas => "openfaas",
            Self::Azure => "azure",
        }
    }
}
