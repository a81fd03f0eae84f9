//! Calls that limits keep out: no contact begins, only a fact tells of them.

use hotline_base::{FactBody, Redacted};
use serde::{Deserialize, Serialize};

/// The limit that a call met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallLimit {
    /// So many calls of this caller are there already.
    CallerAtOnce,
    /// So many calls of this caller were let in within this minute.
    CallerPerMinute,
    /// So many calls of the tenant are there already.
    TenantAtOnce,
}

/// A call was refused before it began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRefused {
    /// The dialled number.
    pub did: String,
    /// The caller's number; empty where withheld.
    pub from: Redacted<String>,
    /// Who was counted: the number, or where an anonymous call came from.
    pub counted_as: Redacted<String>,
    /// Which limit it met.
    pub limit: CallLimit,
    /// What that limit is.
    pub most: u32,
}

impl CallRefused {
    /// The kind of entity that such a fact is about; its id is the call's.
    pub const KIND: &'static str = "refused-call";
}

impl FactBody for CallRefused {
    fn name(&self) -> &'static str {
        "CallRefused"
    }
}
