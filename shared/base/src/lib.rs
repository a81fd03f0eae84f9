//! What every other crate speaks in: typed ids, time, numbers, redaction, limits and
//! the one shape of a state machine. No clock, no randomness, no I/O.

pub mod country;
mod id;
mod invalid;
pub mod limits;
pub mod machine;
mod name;
mod number;
mod redact;
mod shard;
mod time;

pub use country::{Country, CountryError, NumberError};
pub use id::*;
pub use invalid::{FieldError, Invalid};
pub use machine::{EntityKey, FactBody, IndexRow, Machine, Reject, TimerKey, Transition};
pub use name::{Lang, Name, NameError};
pub use number::{E164, E164Error};
pub use redact::Redacted;
pub use shard::{shard, shards, unsharded};
pub use time::Timestamp;
