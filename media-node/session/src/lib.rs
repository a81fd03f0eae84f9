//! One call as a state machine: legs, script verbs, decisions and recordings, without I/O.
//!
//! A [`Session`] is made for each incoming call. The shell feeds it SIP events, media events,
//! decisions, commands and time, and carries out what [`Session::poll_output`] hands out, in
//! that order. It never waits for anything: whatever takes time comes back as an input.

mod asks;
mod partners;
mod recordings;
mod script;
pub mod sdp;
mod session;
mod sounds;
mod types;

pub use session::Session;
pub use types::{
    Arrival, DecisionFailure, DialError, Dialed, LegNo, Loaded, Note, Now, OpenedLeg, Output, Refusal, SessionConfig,
    Target,
};
