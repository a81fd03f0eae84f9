//! SIP without I/O: a strict pre-parser, RFC 3261 transactions and dialogs, digest, registrar helpers.
//!
//! [`Endpoint`] is fed packets, time and commands and hands out packets and events; see [`api`].

pub mod api;
mod body;
mod config;
mod digest;
mod diversion;
mod draft;
mod endpoint;
mod entropy;
mod flood;
mod guard;
mod message;
mod parse;
mod reason;
mod stream;
mod stun;
mod transaction;
mod uri;

pub use config::{Advertised, AuthPolicy, EndpointConfig, Limits, PerSource, RequestFacts, Shard, Timers, Trust};
pub use diversion::Diverted;
pub use endpoint::{CommandError, Endpoint, Usage};
pub use reason::{Protocol, Reason};
pub use stream::{Frame, FrameError, Framer, MESSAGE_BYTES, shard_of, shard_of_call_id, shard_of_tag};

/// What the pre-parser says of one datagram or framed message: well-formed, or refused.
///
/// # Errors
/// The status a request of this kind is refused with, and why; a response of this kind is dropped.
pub fn inspect(message: &[u8]) -> Result<(), (u16, &'static str)> {
    parse::parse(message).map(|_| ()).map_err(|refusal| (refusal.status, refusal.reason))
}
