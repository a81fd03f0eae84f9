//! Load on a media node: callers, agents and their audio, measured from outside, beside the
//! systems people run today. Everything stays on the loopback.

pub mod attack;
pub mod bare;
pub mod bench;
pub mod chart;
pub mod process;
pub mod report;
pub mod rtp;
pub mod sip;
pub mod soak;
pub mod yardstick;
