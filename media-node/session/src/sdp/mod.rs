//! Session descriptions (RFC 8866) and offer/answer (RFC 3264) for one audio stream.
//!
//! Only what a telephone call needs: PCMU, PCMA and telephone-event over RTP/AVP. The parser is
//! strict about what it uses, skips what it does not, and every size is bounded.

mod build;
mod parse;

pub use build::{Local, answer, offer, offer_with};
pub use parse::parse;

use hotline_rtp::api::{Law, Remote};
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
    /// No audio section over RTP/AVP with a port and an address.
    #[error("the session description offers no plain RTP audio")]
    NoAudio,
    /// Neither PCMU nor PCMA.
    #[error("the session description has neither PCMU nor PCMA")]
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
}

/// What a peer's description says about its audio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Where its RTP is to be sent.
    pub rtp: SocketAddr,
    /// Where its RTCP is to be sent.
    pub rtcp: SocketAddr,
    /// The G.711 laws in its order of preference; never empty.
    pub laws: Vec<Law>,
    /// Payload type of telephone-event at 8 kHz.
    pub dtmf_pt: Option<u8>,
    /// Its direction; `c=0.0.0.0` is read as "does not receive" (RFC 3264 §8.4).
    pub direction: Direction,
    /// All sections, for the answer.
    pub sections: Vec<Section>,
    /// Which of them is the audio.
    pub audio: usize,
}

impl Description {
    /// Whether the peer put the call on hold.
    pub fn is_hold(&self) -> bool {
        !self.direction.receives()
    }

    /// The first law of its order that is in `ours`; with `prefer` first where the peer has it.
    pub fn choose(&self, prefer: Option<Law>) -> Option<Law> {
        match prefer {
            Some(law) if self.laws.contains(&law) => Some(law),
            _ => self.laws.first().copied(),
        }
    }

    /// What the media thread must know about this peer.
    pub fn remote(&self, law: Law, relatch: bool) -> Remote {
        Remote {
            rtp: self.rtp,
            rtcp: self.rtcp,
            law,
            dtmf_pt: self.dtmf_pt,
            receives: self.direction.sends(),
            sends: self.direction.receives(),
            relatch,
        }
    }
}
