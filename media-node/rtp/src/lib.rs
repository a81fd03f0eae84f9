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
//!   patched in place and sent on; it is never decoded where both sides have the same codec, or G.711 of either
//!   law (a table).
//! - Where codecs differ, in conferences and for taps each leg has an [`ear`] (jitter buffer, decoder
//!   of [`codec`], concealment); a [`tap`] is a ring that neither side waits for.
//! - Each leg sends one stream, continuous in source, sequence and clock, whatever feeds it:
//!   prompt, relay, digits or conference ([`stream::Sender`]).
//! - Time is a parameter (`Micros` since the engine's start) everywhere but in the thread's loop, so
//!   that a shard runs in virtual time in tests.
//! - Recordings keep G.711 as it came, on one clock for both channels ([`align`]), in files that a
//!   crash can only tear at the end ([`spool`]).
//! - A leg may be protected by SRTP ([`srtp`]) with keys from the session description, or be a browser's:
//!   found by ICE ([`ice`]), with keys from DTLS ([`dtls`]).
//!
//! Not here: IPv6 and IPv4 mixed on one engine.

pub mod align;
pub mod api;
pub mod codec;
pub mod dtls;
pub mod dtmf;
pub mod ear;
pub mod emodel;
pub mod engine;
pub mod g711;
pub mod goertzel;
pub mod ice;
pub mod mirror;
pub mod packet;
pub mod rtcp;
pub mod spool;
pub mod srtp;
pub mod stream;
pub mod tap;
pub mod tone;
pub mod wav;

pub use engine::{
    CallKey, EventReceiver, EventSender, MediaConfig, MediaEngine, MediaError, MediaHandle, MediaMetrics, OpenedLeg,
    PortRange, event_queue,
};
