//! Prefixed ULIDs: `con_01J…`. The prefix says what it names, the ULID sorts by time.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use crate::Timestamp;

/// A text that is not an id of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an id such as {prefix}_01JD0000000000000000000000, got {got:?}")]
pub struct IdError {
    /// The prefix that was expected, without the underscore.
    pub prefix: &'static str,
    /// At most 40 characters of what was given.
    pub got: String,
}

fn parse(prefix: &'static str, text: &str) -> Result<ulid::Ulid, IdError> {
    let wrong = || IdError { prefix, got: text.chars().take(40).collect() };
    let rest = text.strip_prefix(prefix).and_then(|r| r.strip_prefix('_')).ok_or_else(wrong)?;
    ulid::Ulid::from_string(rest).map_err(|_| wrong())
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(ulid::Ulid);

        impl $name {
            /// The prefix, without the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// An id from a moment and 80 bits of randomness (the upper bits are dropped).
            pub fn new(at: Timestamp, random: u128) -> Self {
                Self(ulid::Ulid::from_parts(at.as_millis().max(0) as u64, random))
            }

            /// An id derived from another text: the same input gives the same id.
            pub const fn from_u128(value: u128) -> Self {
                Self(ulid::Ulid(value))
            }

            /// The 128 bits.
            pub const fn as_u128(self) -> u128 {
                self.0.0
            }

            /// The moment of its creation.
            pub fn created_at(self) -> Timestamp {
                Timestamp::from_millis((self.0.0 >> 80) as i64)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}_{}", $prefix, self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                parse($prefix, text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    )*};
}

ids! {
    /// Who rents a hotline; first in every key.
    TenantId = "ten";
    /// One customer session on one channel, start to end.
    ContactId = "con";
    /// The human on the outside; may have many contacts.
    PartyId = "pty";
    /// A person who signs in.
    UserId = "usr";
    /// A person who takes contacts.
    AgentId = "agt";
    /// A ticket.
    TicketId = "tkt";
    /// A proposal of one contact to one agent.
    OfferId = "off";
    /// One media party of a contact.
    LegId = "leg";
    /// One recording of one contact.
    RecordingId = "rec";
    /// A promised call back.
    CallbackId = "cbk";
    /// A media node.
    NodeId = "nod";
    /// A command to a media node; repeats carry the same id.
    CommandId = "cmd";
    /// An input to a state machine; the idempotency key of a step.
    InputId = "inp";
}

impl TenantId {
    /// The scope of what belongs to no tenant: dialled numbers, SIP user names, nodes.
    pub const PLATFORM: TenantId = TenantId::from_u128(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_order() {
        let a = ContactId::new(Timestamp::from_millis(1_000), 7);
        let b = ContactId::new(Timestamp::from_millis(1_001), 1);
        assert!(a < b);
        assert!(a.to_string() < b.to_string());
        assert_eq!(a.to_string().parse::<ContactId>().unwrap(), a);
        assert_eq!(a.created_at(), Timestamp::from_millis(1_000));
    }

    #[test]
    fn a_wrong_prefix_is_named() {
        let text = ContactId::new(Timestamp::from_millis(5), 1).to_string();
        let error = text.parse::<TicketId>().unwrap_err();
        assert!(error.to_string().contains("tkt_"));
        assert!(serde_json::from_str::<TicketId>("\"\\u0000\"").is_err());
    }
}
