//! What the session layer speaks with a media thread: commands down, events up.
//!
//! A call's legs all live on one media thread. Opening a leg binds its port pair; everything else
//! is a message over a bounded ring.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

pub use crate::codec::Codec;
use crate::dtls::DtlsPeer;
use crate::mirror::Mirror;
use crate::srtp::SrtpKeys;
pub use crate::tap::TapDirection;
use crate::tap::TapWriter;

/// One media party at one media thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MediaLegId(pub u64);

/// Names a command whose end is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// A G.711 law: what is in a recording, and on most wires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Law {
    /// PCMU, payload type 0.
    Mu,
    /// PCMA, payload type 8.
    A,
}

/// A codec and the payload type it was agreed on with, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// The codec.
    pub codec: Codec,
    /// 0 to 127.
    pub payload_type: u8,
}

impl From<Law> for Format {
    fn from(law: Law) -> Self {
        Format { codec: law.into(), payload_type: law.payload_type() }
    }
}

/// Where and how a leg's audio goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote {
    /// RTP address from the peer's SDP.
    pub rtp: SocketAddr,
    /// RTCP address.
    pub rtcp: SocketAddr,
    /// The negotiated codec.
    pub format: Format,
    /// Payload type of telephone-event (RFC 4733), where negotiated.
    pub dtmf_pt: Option<u8>,
    /// Its clock, kHz: 8, or 48 beside Opus.
    pub dtmf_khz: u8,
    /// The peer sends to us.
    pub receives: bool,
    /// We send to the peer.
    pub sends: bool,
    /// A new offer allows the source address to be learnt again.
    pub relatch: bool,
}

/// A sound to play.
#[derive(Debug, Clone)]
pub enum Sound {
    /// Raw µ-law, 8 kHz, mono; encoded anew where the leg speaks something else.
    Mulaw(Arc<[u8]>),
    /// A tone of up to two frequencies with cadence.
    Tone { hz: [u16; 2], on_ms: u32, off_ms: u32, times: u16 },
}

/// Who is on which channel of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordLegs {
    /// Left, channel 0: the caller.
    pub left: MediaLegId,
    /// Right, channel 1: the agent; `None`: one channel (voicemail).
    pub right: Option<MediaLegId>,
}

/// A party of a conference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MixLeg {
    /// Who; hears everybody who is heard by it.
    pub leg: MediaLegId,
    /// Who hears this party.
    pub heard_by: HeardBy,
}

/// Who hears a party of a conference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeardBy {
    /// All others: a speaker, or a supervisor who barges in.
    Everybody,
    /// A muted party, or a supervisor who listens.
    Nobody,
    /// A supervisor who whispers to this party alone.
    Only(MediaLegId),
}

/// How a leg's packets are protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    Plain,
    /// SRTP with keys from the descriptions (RFC 4568).
    Keys(Box<SrtpKeys>),
    /// SRTP with keys from a DTLS handshake (RFC 5764), the peer's address from ICE, RTCP on the
    /// port of RTP. `Secured` or `SecureFailed` follows.
    Dtls(Box<DtlsPeer>),
}

/// Why a leg could not be protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecureFailure {
    /// No check, or no end of the handshake, within 10 s.
    TimedOut,
    /// The peer's certificate is not the one of its description.
    WrongCertificate,
    /// Nothing in common, or a broken handshake.
    Handshake,
    /// The peer ended the association.
    Closed,
    /// Too many handshakes at a time.
    TooMany,
}

/// What the session layer asks for.
#[derive(Debug)]
pub enum MediaCommand {
    /// The peer's side after offer and answer.
    SetRemote { leg: MediaLegId, remote: Remote },
    /// Protects a leg from now on: nothing else is heard or sent. To be given before `SetRemote`. The
    /// same again changes nothing; another key counts anew in its direction; the same DTLS peer with
    /// other ICE credentials keeps its association.
    Secure { leg: MediaLegId, security: Security },
    /// Plays sounds one after the other, replacing what plays; `PlayEnded` at the end.
    Play { leg: MediaLegId, token: Token, sounds: Vec<Sound>, looped: bool },
    /// Stops what plays.
    StopPlay { leg: MediaLegId },
    /// Joins two legs of this thread: audio and digits are relayed, header bytes patched in place.
    Bridge { a: MediaLegId, b: MediaLegId },
    /// Parts a leg from its peer.
    Unbridge { leg: MediaLegId },
    /// Records into a spool file (see `spool`). A relative path is taken from the engine's spool
    /// folder; `meta` is a `hotline_wire::recording::RecordingMeta` as JSON. Exactly one
    /// `RecordingStopped` follows, also where the recording could not be started.
    StartRecording { token: Token, legs: RecordLegs, spool: PathBuf, meta: String },
    /// Silence goes into the recording until resumed (payment), with a mark.
    PauseRecording { token: Token, paused: bool },
    /// Adds a leg to a channel of a recording that runs, mixed with whoever is on it; `None` takes
    /// the leg out (its channel goes on).
    RecordLeg { token: Token, leg: MediaLegId, channel: Option<u8> },
    /// Ends a recording; `RecordingStopped` follows when all is in the file.
    StopRecording { token: Token },
    /// Reports `Quiet` once the voice on this leg stops for so long; 0 turns it off. A one-channel
    /// recording with a limit of its own needs no other measure.
    WatchQuiet { leg: MediaLegId, for_ms: u32 },
    /// Listens for in-band tones as well, whatever was negotiated; by default it is done only
    /// while no telephone-event is.
    InbandDigits { leg: MediaLegId, on: bool },
    /// Mixes the legs of a conference: two to eight, all on one thread. It replaces any mix these
    /// legs were in and takes them out of their bridges; a list of one takes that leg out.
    Mix { legs: Vec<MixLeg> },
    /// Lets somebody outside listen to a leg, instead of whoever did before (`MediaHandle::tap`
    /// makes the ring); over when the reader is dropped.
    Tap { leg: MediaLegId, direction: TapDirection, into: TapWriter },
    /// Copies a leg's RTP into a capture from now on.
    Mirror { leg: MediaLegId, into: Mirror },
    /// While set, digits from this leg are neither relayed nor recorded, and in-band tones are silenced.
    Secret { leg: MediaLegId, on: bool },
    /// Sends digits as telephone events.
    SendDigits { leg: MediaLegId, digits: String },
    /// Closes the leg and frees its ports; a last `Stats` follows.
    Close { leg: MediaLegId },
}

/// What a media thread reports.
#[derive(Debug, Clone, PartialEq)]
pub enum MediaEvent {
    /// The sounds of a `Play` came to their end (never for a looped or replaced one).
    PlayEnded { leg: MediaLegId, token: Token },
    /// One key press, reported once, at its end or after its first packet if `at_start` is configured.
    Digit { leg: MediaLegId, digit: char, duration_ms: u32 },
    /// The first valid packet: where the peer really sends from.
    Latched { leg: MediaLegId, from: SocketAddr },
    /// No packet for the configured time although the peer should send.
    Silent { leg: MediaLegId, for_ms: u32 },
    /// The voice stopped for `for_ms` (only after `WatchQuiet`); reported once.
    Quiet { leg: MediaLegId, for_ms: u32 },
    /// Every 5 s and at the close.
    Stats { leg: MediaLegId, stats: LegStats, last: bool },
    /// The handshake with a browser is over: its audio flows.
    Secured { leg: MediaLegId },
    /// A leg cannot be protected; nothing is heard or sent.
    SecureFailed { leg: MediaLegId, why: SecureFailure },
    /// A browser was not heard for 6 s, neither packet nor check; or (`away: false`) is again.
    Away { leg: MediaLegId, away: bool },
    /// All of a recording is in its spool file.
    RecordingStopped { token: Token, duration_ms: u64, failure: Option<String> },
}

/// Counted since the leg was opened.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LegStats {
    /// Packets received.
    pub packets: u64,
    /// Packets missing (RFC 3550 appendix A.3).
    pub lost: u64,
    /// Packets sent.
    pub sent: u64,
    /// Dropped: wrong source, payload type, SSRC or sequence window.
    pub rejected: u64,
    /// Interarrival jitter, milliseconds.
    pub jitter_ms: f32,
    /// From RTCP, milliseconds.
    pub round_trip_ms: Option<f32>,
    /// E-model estimate (ITU-T G.107).
    pub mos: f32,
}
