//! Session descriptions (RFC 8866) and offer/answer (RFC 3264) for one audio stream.
//!
//! Only what a telephone call needs: Opus, G.722, PCMU, PCMA and telephone-event over plain RTP, over SRTP with
//! keys in the description (RFC 4568), or with a browser's ICE and DTLS (RFC 8829). The parser is
//! strict about what it uses, skips what it does not, and every size is bounded.

mod build;
mod codecs;
mod parse;
mod security;

pub use build::{Local, answer, offer, offer_with};
pub use codecs::{CodecList, EventFormat};
pub use parse::{Accepts, parse, parse_as};
pub use security::{LocalSecurity, LocalWeb, PeerSecurity, Setup, WebPeer};

use hotline_rtp::api::{Codec, Format, Remote};
use std::net::SocketAddr;

/// The largest description accepted, bytes.
pub const SDP_BYTES: usize = 16 * 1024;
/// Media sections accepted.
pub const SECTIONS: usize = 16;
/// Payload types read of one section.
pub const FORMATS: usize = 32;

/// Why a description cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Over [`SDP_BYTES`] or [`SECTIONS`].
    #[error("the session description is too large")]
    TooLarge,
    /// A line that is no `x=value`, or a value that cannot be read.
    #[error("line {line} of the session description: {what}")]
    Syntax {
        /// Counts from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// No audio section with a port and an address over a transport that is spoken here.
    #[error("the session description offers no audio that can be used: {0}")]
    NoAudio(&'static str),
    /// None that is spoken here.
    #[error("the session description has no codec that is spoken here (media.codecs)")]
    NoCodec,
}

/// The direction attribute, seen from whoever wrote it (RFC 8866 §6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Sends and receives.
    #[default]
    SendRecv,
    /// Only sends.
    SendOnly,
    /// Only receives.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// Whether its writer sends.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether its writer receives.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The answer that agrees with it (RFC 3264 §6.1).
    pub fn reversed(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            other => other,
        }
    }

    /// The attribute's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }
}

/// One media section as far as an answer must repeat it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// `audio`, `video`, …
    pub media: String,
    /// `RTP/AVP`, …
    pub protocol: String,
    /// The first format.
    pub format: String,
    /// Its name (`a=mid`), where it has one.
    pub mid: Option<String>,
}

/// What a peer's description says about its audio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Where its RTP is to be sent.
    pub rtp: SocketAddr,
    /// Where its RTCP is to be sent.
    pub rtcp: SocketAddr,
    /// The codecs in its order of preference; never empty.
    pub codecs: Vec<Format>,
    /// Its telephone-events, one for each clock.
    pub events: Vec<EventFormat>,
    /// Its direction; `c=0.0.0.0` is read as "does not receive" (RFC 3264 §8.4).
    pub direction: Direction,
    /// All sections, for the answer.
    pub sections: Vec<Section>,
    /// Which of them is the audio.
    pub audio: usize,
    /// How its packets are protected.
    pub security: PeerSecurity,
    /// Its audio section is bundled (RFC 9143), which an answer must say too.
    pub bundled: bool,
}

impl Description {
    /// Whether the peer put the call on hold.
    pub fn is_hold(&self) -> bool {
        !self.direction.receives()
    }

    /// The codec that is agreed on: `prefer` where the peer has it, else the first of its order.
    pub fn choose(&self, prefer: Option<Codec>) -> Option<Codec> {
        let preferred = prefer.filter(|codec| self.codecs.iter().any(|format| format.codec == *codec));
        preferred.or(self.codecs.first().map(|format| format.codec))
    }

    /// The peer's payload type for a codec; ours where it does not have it.
    pub fn format(&self, codec: Codec) -> Format {
        let theirs = self.codecs.iter().find(|format| format.codec == codec);
        theirs.copied().unwrap_or_else(|| codecs::offered(codec))
    }

    /// The peer's telephone-event that goes with a codec: of the same clock, else of any.
    pub fn event(&self, codec: Codec) -> Option<EventFormat> {
        let same = self.events.iter().find(|event| u32::from(event.khz) == codec.clock_khz());
        same.or(self.events.first()).copied()
    }

    /// What the media thread must know about this peer.
    pub fn remote(&self, codec: Codec, relatch: bool) -> Remote {
        let event = self.event(codec);
        Remote {
            rtp: self.rtp,
            rtcp: self.rtcp,
            format: self.format(codec),
            dtmf_pt: event.map(|event| event.payload_type),
            dtmf_khz: event.map_or(8, |event| event.khz),
            receives: self.direction.sends(),
            sends: self.direction.receives(),
            relatch,
        }
    }
}
