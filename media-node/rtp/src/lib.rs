//! RTP, RTCP, DTMF, G.711, relay, prompts and recording: pure parts and the media threads that drive them.

pub mod align;
pub mod api;
pub mod dtmf;
pub mod emodel;
pub mod engine;
pub mod g711;
pub mod goertzel;
pub mod packet;
pub mod rtcp;
pub mod spool;
pub mod stream;
pub mod tone;
pub mod wav;

pub use engine::{
    CallKey, EventReceiver, EventSender, MediaConfig, MediaEngine, MediaError, MediaHandle, MediaMetrics, OpenedLeg,
    PortRange, event_queue,
};
