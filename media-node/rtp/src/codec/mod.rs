//! Codecs: what is on a leg's wire, and how it becomes samples and back.
//!
//! Samples are 16-bit at 8 or 16 kHz ([`Rate`]). Opus and G.722 work at either rate by themselves;
//! only G.711 that meets wideband is resampled.

pub mod g722;
pub mod opus;
pub mod resample;

use crate::api::Law;
use resample::{Doubler, Halver};

/// Longest payload decoded, milliseconds: the most an Opus packet may hold (RFC 6716 §3.2.5).
pub const MAX_PACKET_MS: usize = 120;
/// Room for a frame of 20 ms in any codec, bytes.
pub const MAX_FRAME_BYTES: usize = 400;
/// Length of the frames that are made here, milliseconds.
pub const FRAME_MS: usize = 20;

/// A codec as a leg's wire has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 µ-law, payload type 0.
    Pcmu,
    /// G.711 A-law, payload type 8.
    Pcma,
    /// G.722, payload type 9: 16 kHz on an RTP clock of 8 kHz (RFC 3551 §4.5.2).
    G722,
    /// Opus, a dynamic payload type, on an RTP clock of 48 kHz (RFC 7587).
    Opus,
}

impl Codec {
    /// All of them.
    pub const ALL: [Codec; 4] = [Codec::Opus, Codec::G722, Codec::Pcmu, Codec::Pcma];

    /// The encoding's name in a session description.
    pub const fn name(self) -> &'static str {
        match self {
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
            Codec::G722 => "G722",
            Codec::Opus => "opus",
        }
    }

    /// The payload type it always has (RFC 3551 §6); `None`: one is agreed on.
    pub const fn static_payload_type(self) -> Option<u8> {
        match self {
            Codec::Pcmu => Some(0),
            Codec::Pcma => Some(8),
            Codec::G722 => Some(9),
            Codec::Opus => None,
        }
    }

    /// Steps of the RTP clock in a millisecond.
    pub const fn clock_khz(self) -> u32 {
        match self {
            Codec::Pcmu | Codec::Pcma | Codec::G722 => 8,
            Codec::Opus => 48,
        }
    }

    /// The G.711 law, where it is one.
    pub const fn law(self) -> Option<Law> {
        match self {
            Codec::Pcmu => Some(Law::Mu),
            Codec::Pcma => Some(Law::A),
            Codec::G722 | Codec::Opus => None,
        }
    }

    /// Whether it carries more than a telephone's 3.4 kHz.
    pub const fn is_wideband(self) -> bool {
        self.law().is_none()
    }
}

impl From<Law> for Codec {
    fn from(law: Law) -> Self {
        match law {
            Law::Mu => Codec::Pcmu,
            Law::A => Codec::Pcma,
        }
    }
}

/// Samples in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rate {
    /// 8,000.
    Narrow,
    /// 16,000.
    Wide,
}

impl Rate {
    /// Samples in a millisecond.
    pub const fn khz(self) -> usize {
        match self {
            Rate::Narrow => 8,
            Rate::Wide => 16,
        }
    }

    /// Samples in 20 ms.
    pub const fn frame(self) -> usize {
        self.khz() * FRAME_MS
    }
}

#[derive(Debug)]
enum Decoding {
    Law(Law),
    WideLaw(Law, Box<Doubler>),
    G722(Box<g722::Decoder>),
    Opus(Box<opus::Decoder>),
}

/// Turns the payloads of one stream into samples.
#[derive(Debug)]
pub struct Decoder {
    rate: Rate,
    state: Decoding,
}

impl Decoder {
    /// A decoder whose samples come at `rate`.
    pub fn new(codec: Codec, rate: Rate) -> Self {
        let state = match (codec, rate) {
            (Codec::Pcmu, Rate::Narrow) => Decoding::Law(Law::Mu),
            (Codec::Pcma, Rate::Narrow) => Decoding::Law(Law::A),
            (Codec::Pcmu, Rate::Wide) => Decoding::WideLaw(Law::Mu, Box::default()),
            (Codec::Pcma, Rate::Wide) => Decoding::WideLaw(Law::A, Box::default()),
            (Codec::G722, _) => Decoding::G722(Box::default()),
            (Codec::Opus, _) => Decoding::Opus(Box::new(opus::Decoder::new(rate))),
        };
        Self { rate, state }
    }

    /// Appends a payload's samples, 120 ms at most; `false`: it cannot be decoded.
    pub fn decode(&mut self, payload: &[u8], into: &mut Vec<i16>) -> bool {
        // All but Opus have eight bytes in a millisecond.
        let cut = payload.get(..MAX_PACKET_MS * 8).unwrap_or(payload);
        match &mut self.state {
            Decoding::Law(law) => into.extend(cut.iter().map(|byte| law.decode(*byte))),
            Decoding::WideLaw(law, doubler) => {
                for byte in cut {
                    into.extend(doubler.step(law.decode(*byte)));
                }
            }
            Decoding::G722(decoder) if self.rate == Rate::Wide => decoder.decode_wide(cut, into),
            Decoding::G722(decoder) => decoder.decode_narrow(cut, into),
            Decoding::Opus(decoder) => return decoder.decode(payload, into),
        }
        !cut.is_empty()
    }

    /// Appends what the next packet knows of a lost one that was `samples` long (Opus's forward
    /// error correction), or what the codec itself makes up where there is no next packet.
    /// `false`: this codec does neither.
    pub fn recover(&mut self, next: Option<&[u8]>, samples: usize, into: &mut Vec<i16>) -> bool {
        match &mut self.state {
            Decoding::Opus(decoder) => decoder.recover(next, samples, into),
            _ => false,
        }
    }

    /// Appends a payload's samples as µ-law at 8 kHz; only for a decoder at that rate.
    pub fn decode_to_mulaw(&mut self, payload: &[u8], scratch: &mut Vec<i16>, into: &mut Vec<u8>) {
        scratch.clear();
        self.decode(payload, scratch);
        into.extend(scratch.iter().map(|sample| Law::Mu.encode(*sample)));
    }
}

#[derive(Debug)]
enum Encoding {
    Law(Law, Box<Halver>),
    G722(Box<g722::Encoder>),
    Opus(Box<opus::Encoder>),
}

/// Turns frames of samples into the payloads of one stream.
#[derive(Debug)]
pub struct Encoder {
    codec: Codec,
    state: Encoding,
}

impl Encoder {
    /// An encoder that has heard nothing yet.
    pub fn new(codec: Codec) -> Self {
        let state = match codec {
            Codec::Pcmu => Encoding::Law(Law::Mu, Box::default()),
            Codec::Pcma => Encoding::Law(Law::A, Box::default()),
            Codec::G722 => Encoding::G722(Box::default()),
            Codec::Opus => Encoding::Opus(Box::default()),
        };
        Self { codec, state }
    }

    /// What it makes.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Encodes 20 ms of samples; returns the bytes written, 0 where it failed.
    pub fn encode(&mut self, frame: &[i16], rate: Rate, into: &mut [u8; MAX_FRAME_BYTES]) -> usize {
        match (&mut self.state, rate) {
            (Encoding::Law(law, _), Rate::Narrow) => {
                for (byte, sample) in into.iter_mut().zip(frame) {
                    *byte = law.encode(*sample);
                }
                frame.len().min(into.len())
            }
            (Encoding::Law(law, halver), Rate::Wide) => {
                let mut count = 0;
                for (byte, pair) in into.iter_mut().zip(frame.chunks_exact(2)) {
                    *byte = law.encode(halver.step(pair[0], pair[1]));
                    count += 1;
                }
                count
            }
            (Encoding::G722(encoder), Rate::Narrow) => encoder.encode_narrow(frame, into),
            (Encoding::G722(encoder), Rate::Wide) => encoder.encode_wide(frame, into),
            (Encoding::Opus(encoder), rate) => encoder.encode(frame, rate, into),
        }
    }
}

#[cfg(test)]
mod tests;
