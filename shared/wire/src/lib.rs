//! What crosses a process boundary: the node protocol, the API, queue envelopes and the one
//! table that maps an error to HTTP, SIP and queue outcomes.

pub mod api;
pub mod diverted;
pub mod legs;
pub mod node;
pub mod problem;
pub mod push;
pub mod quality;
pub mod reason;
pub mod recording;
pub mod tones;
