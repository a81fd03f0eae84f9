//! RTP, RTCP, DTMF, G.711, relay, prompts and recording: pure parts and the media threads that drive them.
//!
//! ```text
//!  SIP worker ── MediaHandle ──► ring ──► media thread (epoll)          spool thread      Uploader
//!       ▲                                 shard: legs, bridges,  frames     │   files    (no I/O of
//!       └──────── EventReceiver ◄──────── mixes, recordings  ─────────────► ▼ ─────────► its own to
//!                                                                                        the network)
//! ```
//! - A call's legs live on one thread, which alone touches them: no locks and no allocation on the
//!   way of a packet. A relayed packet is judged (payload type, source address, stream), its header
//!   patched in place and sent on; it is never decoded, unless the laws differ (a table).
//! - Each leg sends one stream, continuous in source, sequence and clock, whatever feeds it:
//!   prompt, relay, digits or conference ([`stream::Sender`]).
//! - Time is a parameter (`Micros` since the engine's start) everywhere but in the thread's loop, so
//!   that a shard runs in virtual time in tests.
//! - Recordings keep G.711 as it came, on one clock for both channels ([`align`]), in files that a
//!   crash can only tear at the end ([`spool`]).
//! - A leg may be protected by SRTP with keys from the session description ([`srtp`]).
//!
//! Not here: transcoding beyond G.711 (G.722, Opus), DTLS and ICE, jitter buffers (only a conference
//! decodes, with a small one of its own), IPv6 and IPv4 mixed on one engine.

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
pub mod srtp;
pub mod stream;
pub mod tone;
pub mod wav;

pub use engine::{
    CallKey, EventReceiver, EventSender, MediaConfig, MediaEngine, MediaError, MediaHandle, MediaMetrics, OpenedLeg,
    PortRange, event_queue,
};
