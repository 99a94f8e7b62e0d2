//! The records, as callers see them: the same whichever engine keeps them.

use serde::{Deserialize, Serialize};

/// A moment: milliseconds since 1970-01-01T00:00:00Z, without leap seconds (POSIX.1-2017, 4.16).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Millis(pub i64);

/// A tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantRecord {
    /// Its name.
    pub name: String,
    /// Its namespaces, in the order of their making.
    pub namespaces: Vec<String>,
    /// Its limits, an object whose members are the gateway's: those that this version does not know are kept.
    pub limits: serde_json::Value,
    /// Counts its changes, from 1.
    pub revision: i64,
    /// When it was made.
    pub created: Millis,
    /// When it was last changed.
    pub changed: Millis,
}

/// What kind of credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CredentialKind {
    /// `Authorization: Bearer faam_<id>_<secret>`.
    Api,
    /// `Authorization: Basic`, uuid and key, as OpenWhisk's clients have it.
    OpenWhisk,
    /// AWS Signature Version 4.
    SigV4,
}

/// A credential: what recognises it, never the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialRecord {
    /// Its public name, unique over all kinds.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// The one namespace that it is for; `None`: all of the tenant's.
    pub namespace: Option<String>,
    /// Its kind.
    pub kind: CredentialKind,
    /// HMAC-SHA256 of the secret under the pepper; empty where the secret is derived (sigv4).
    pub verifier: Vec<u8>,
    /// Which pepper or root key it was made with.
    pub root: String,
    /// Counts the secrets that this name has had, from 1.
    pub version: i64,
    /// What it may be used for, in words of the gateway's.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created: Millis,
    /// From when on it is no longer taken, if ever.
    pub expires: Option<Millis>,
    /// When it was revoked, if it was.
    pub revoked: Option<Millis>,
    /// The credential that takes its place, where it was rotated.
    pub successor: Option<String>,
}

/// Under what usage is summed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UsageKey {
    /// Begin of the hour (UTC).
    pub hour: Millis,
    /// Who pays.
    pub tenant: String,
    /// On whose behalf; empty where the tenant has one alone.
    pub namespace: String,
    /// `compress`, `decompress`.
    pub kernel: String,
    /// `cpu`, `fpga`, `mixed`, `none`.
    pub backend: String,
    /// How the requests ended.
    pub outcome: String,
    /// Whether they are billed.
    pub billable: bool,
}

/// What is summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageSums {
    /// Requests.
    pub requests: u64,
    /// Bytes of their bodies.
    pub bytes_in: u64,
    /// Bytes of their answers.
    pub bytes_out: u64,
    /// Time on cards, microseconds.
    pub device_us: u64,
    /// Time in queues, microseconds.
    pub queue_us: u64,
    /// Time of CPU engines and of verification, microseconds.
    pub cpu_us: u64,
    /// Cost charged by the scheduler: time on the reference engine, microseconds.
    pub reference_us: u64,
    /// Requests that ran elsewhere than was wished.
    pub fallbacks: u64,
    /// Requests that were refused.
    pub refusals: u64,
}

/// A sum under its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// Under what.
    #[serde(flatten)]
    pub key: UsageKey,
    /// What.
    #[serde(flatten)]
    pub sums: UsageSums,
}

/// Something that happened, for operators and auditors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// When.
    pub at: Millis,
    /// Kind, a word such as `key.revoked` or `card.quarantined`.
    pub kind: String,
    /// Who did it: `operator`, `gateway`, a credential's id.
    pub actor: String,
    /// Which tenant it is about, if any.
    pub tenant: Option<String>,
    /// What it is about: a key's id, a card's.
    pub subject: String,
    /// More, an object; never a secret or a body.
    pub detail: serde_json::Value,
}
