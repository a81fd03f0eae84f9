//! One call as a state machine: legs, script verbs, decisions and recordings, without I/O.
//!
//! A [`Session`] is made for each incoming call and for each call that the node places, a [`Relay`]
//! for each that another node sends to a phone registered here. The shell feeds it SIP events, media events,
//! decisions, commands and time, and carries out what [`Session::poll_output`] hands out, in
//! that order. It never waits for anything: whatever takes time comes back as an input.

mod arrange;
mod asks;
mod browser;
mod joined;
mod keys;
mod mission;
mod partners;
mod protection;
mod quality;
mod reason;
mod recordings;
mod refer;
mod relay;
mod script;
pub mod sdp;
mod session;
mod sounds;
mod types;

pub use protection::{LegSecret, OfferedSecurity, SrtpPolicy};
pub use reason::{Verdict, verdict};
pub use relay::{Relay, RelayArrival, RelayOutput};
pub use session::Session;
pub use types::{
    Arrival, DecisionFailure, DialError, Dialed, LegNo, Loaded, Mission, Note, Now, OpenedLeg, Outbound, Output,
    Refusal, SessionConfig, Target, name_addr, replaces,
};
