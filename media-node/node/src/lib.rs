//! The media node: sockets, threads and timers around the SIP endpoint, the sessions and the
//! media engine. It holds no policy: what happens to a call is decided by the functions, or by
//! a file in stand-alone mode.

mod capture;
mod clock;
#[cfg(feature = "cloud")]
pub mod cloud;
mod commands;
pub mod config;
pub mod decisions;
pub mod dial;
mod dispatch;
mod dns;
pub mod files;
pub mod fleet;
mod gate;
mod gateways;
mod http;
mod lease;
mod limits;
mod mailbox;
mod metadata;
mod metrics;
pub mod node;
mod registrar;
mod remembered;
mod shared;
pub mod sounds;
pub mod standalone;
mod streams;
mod tap;
mod trace;
mod uploads;
mod worker;

pub use node::{Node, NodeError, Source};
