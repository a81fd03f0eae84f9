//! What the fuzzer feeds: one function a format, each taking any bytes and panicking only where
//! something promised does not hold. `fuzz/` drives them with libFuzzer, `tests/replay.rs` with the
//! committed corpora.

mod audio;
mod dtls;
mod endpoint;
mod flow;
mod media;
mod signalling;

/// The upload check of prompts, as the API has it: it is private there.
#[path = "../../../shared/api/src/handlers/wav.rs"]
#[allow(dead_code)]
mod upload;

/// SIP over WebSocket, as the node has it: private there as well.
#[path = "../../../media-node/node/src/streams/websocket.rs"]
#[allow(dead_code)]
mod websocket;

pub use audio::{spool, wav};
pub use dtls::dtls;
pub use endpoint::endpoint;
pub use flow::{flow, script};
pub use media::{rtcp, rtp};
pub use signalling::{sdp, sip, stun, websocket as websocket_stream};

/// A target.
pub type Target = fn(&[u8]);

/// All of them by the names of their corpora.
pub const TARGETS: [(&str, Target); 12] = [
    ("dtls", dtls),
    ("endpoint", endpoint),
    ("flow", flow),
    ("rtcp", rtcp),
    ("rtp", rtp),
    ("script", script),
    ("sdp", sdp),
    ("sip", sip),
    ("spool", spool),
    ("stun", stun),
    ("wav", wav),
    ("websocket", websocket_stream),
];

/// Takes a fuzzer's bytes apart; what is missing is zero.
pub(crate) struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub fn word(&mut self) -> u16 {
        u16::from(self.byte()) << 8 | u16::from(self.byte())
    }

    pub fn long(&mut self) -> u32 {
        u32::from(self.word()) << 16 | u32::from(self.word())
    }

    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        front
    }
}
