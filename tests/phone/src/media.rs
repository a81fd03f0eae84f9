//! RTP of one call: what is sent each 20 ms, and what is made of what comes.

use rtp_rs::{RtpPacketBuilder, RtpReader, Seq};
use std::collections::VecDeque;
use std::time::Duration;

use crate::config::Microphone;
use crate::g711::{Law, decode, encode};
use crate::sdp::Agreed;
use crate::tone::Tone;
use hotline_rtp::api::Codec;
use hotline_rtp::codec::{Decoder, Encoder, MAX_FRAME_BYTES, Rate};

/// Samples of a packet: 20 ms at 8 kHz.
const PACKET: usize = 160;
/// Length of a packet, milliseconds.
const PACKET_MS: u32 = 20;
/// Packets of a key press before its end: 100 ms.
const PRESS_PACKETS: u16 = 5;
/// The end of a press is sent three times (RFC 4733 §2.5.1.4).
const END_PACKETS: u16 = 3;
/// Packets of sound between presses: 60 ms.
const GAP_PACKETS: u16 = 3;
/// Longest recording, samples: ten minutes.
const HEARD: usize = 8_000 * 600;
/// A jump of timestamps over this is a new stream: five seconds.
const JUMP: usize = 40_000;
/// Presses remembered.
const DIGITS: usize = 1_000;

/// A key press that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeardDigit {
    /// 0 to 9, `*`, `#`, A to D.
    pub digit: char,
    /// As reported by its last packet.
    pub duration: Duration,
}

/// Packets of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MediaCounts {
    /// Sent.
    pub sent: u64,
    /// Received from the agreed address.
    pub received: u64,
    /// From elsewhere, or no RTP.
    pub rejected: u64,
}

/// G.711 by our own tables, the rest by `hotline-rtp`.
fn law(codec: Codec) -> Option<Law> {
    match codec {
        Codec::Pcmu => Some(Law::Mu),
        Codec::Pcma => Some(Law::A),
        Codec::G722 | Codec::Opus => None,
    }
}

#[derive(Debug)]
enum Ears {
    Law(Law),
    Coded(Box<Decoder>),
}

impl Ears {
    fn new(codec: Codec) -> Self {
        law(codec).map_or_else(|| Ears::Coded(Box::new(Decoder::new(codec, Rate::Narrow))), Ears::Law)
    }

    fn decode(&mut self, payload: &[u8]) -> Vec<i16> {
        match self {
            Ears::Law(law) => payload.iter().map(|byte| decode(*law, *byte)).collect(),
            Ears::Coded(decoder) => {
                let mut samples = Vec::new();
                // What cannot be decoded is silence.
                let _ = decoder.decode(payload, &mut samples);
                samples
            }
        }
    }
}

/// What was heard in a call.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub samples: Vec<i16>,
    pub digits: Vec<HeardDigit>,
    pub counts: MediaCounts,
    stream: Option<Stream>,
    last_press: Option<u32>,
    /// The moment of the call at which the recording begins; `None`: at the next packet.
    origin: Option<Duration>,
}

#[derive(Debug)]
struct Stream {
    codec: Codec,
    decoder: Ears,
    ssrc: u32,
    timestamp: u32,
    position: usize,
}

impl Heard {
    /// A recording that begins with the call.
    pub fn of_call() -> Self {
        Self { origin: Some(Duration::ZERO), ..Self::default() }
    }

    /// One packet from the agreed address, `at` after the answer.
    pub fn receive(&mut self, agreed: &Agreed, at: Duration, packet: &[u8]) -> Option<char> {
        let Ok(rtp) = RtpReader::new(packet) else {
            self.counts.rejected += 1;
            return None;
        };
        self.counts.received += 1;
        if Some(rtp.payload_type()) == agreed.dtmf {
            return self.press(rtp.timestamp(), rtp.payload(), agreed.format.codec.clock_khz());
        }
        if rtp.payload_type() != agreed.format.payload_type {
            return None;
        }
        let codec = agreed.format.codec;
        let origin = *self.origin.get_or_insert(at);
        let arrival = (at.saturating_sub(origin).as_millis() as usize).saturating_mul(8);
        let clock = i64::from(codec.clock_khz()) / 8;
        let known = self.stream.take().filter(|s| s.ssrc == rtp.ssrc() && s.codec == codec).and_then(|s| {
            let offset = i64::from(rtp.timestamp().wrapping_sub(s.timestamp) as i32) / clock;
            let offset = usize::try_from(offset).ok().filter(|offset| *offset < JUMP + self.samples.len())?;
            Some((s, offset))
        });
        let (stream, offset) = known.unwrap_or_else(|| {
            let decoder = Ears::new(codec);
            (Stream { codec, decoder, ssrc: rtp.ssrc(), timestamp: rtp.timestamp(), position: arrival }, 0)
        });
        let stream = self.stream.insert(stream);
        let position = stream.position + offset;
        let heard = stream.decoder.decode(rtp.payload());
        let end = position + heard.len();
        if end > HEARD {
            return None;
        }
        if self.samples.len() < end {
            self.samples.resize(end, 0);
        }
        if let Some(place) = self.samples.get_mut(position..end) {
            place.copy_from_slice(&heard);
        }
        None
    }

    /// RFC 4733: all packets of one press have one timestamp.
    fn press(&mut self, timestamp: u32, payload: &[u8], khz: u32) -> Option<char> {
        let [event, _flags, high, low, ..] = *payload else {
            return None;
        };
        let digit = char_of(event)?;
        let duration = Duration::from_millis(u64::from(u16::from_be_bytes([high, low])) / u64::from(khz));
        if self.last_press == Some(timestamp) {
            if let Some(last) = self.digits.last_mut() {
                last.duration = last.duration.max(duration);
            }
            return None;
        }
        self.last_press = Some(timestamp);
        if self.digits.len() < DIGITS {
            self.digits.push(HeardDigit { digit, duration });
        }
        Some(digit)
    }
}

const KEYS: &str = "0123456789*#ABCD";

/// The RFC 4733 event of a key.
pub(crate) fn event_of(digit: char) -> Option<u8> {
    KEYS.chars().position(|k| k == digit.to_ascii_uppercase()).map(|p| p as u8)
}

fn char_of(event: u8) -> Option<char> {
    KEYS.chars().nth(usize::from(event))
}

#[derive(Debug)]
struct Press {
    event: u8,
    timestamp: u32,
    packets: u16,
}

/// Makes the packets we send.
#[derive(Debug)]
pub(crate) struct Speaker {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    microphone: Microphone,
    tone: Option<Tone>,
    /// Makes payloads that are not G.711.
    encoder: Option<Box<Encoder>>,
    position: usize,
    keys: VecDeque<u8>,
    press: Option<Press>,
    gap: u16,
    first: bool,
}

impl Speaker {
    pub fn new(microphone: Microphone, random: u64) -> Self {
        let tone = match microphone {
            Microphone::Tone(hz) => Some(Tone::new(hz)),
            _ => None,
        };
        Self {
            ssrc: random as u32,
            sequence: (random >> 32) as u16,
            timestamp: (random >> 16) as u32,
            microphone,
            tone,
            encoder: None,
            position: 0,
            keys: VecDeque::new(),
            press: None,
            gap: 0,
            first: true,
        }
    }

    /// Adds key presses; they follow one another.
    pub fn press_keys(&mut self, events: impl IntoIterator<Item = u8>) {
        self.keys.extend(events);
    }

    /// Whether all presses were sent.
    pub fn idle(&self) -> bool {
        self.keys.is_empty() && self.press.is_none()
    }

    /// Changes what is sent.
    pub fn set_microphone(&mut self, microphone: Microphone) {
        *self = Self {
            keys: std::mem::take(&mut self.keys),
            press: self.press.take(),
            ssrc: self.ssrc,
            sequence: self.sequence,
            timestamp: self.timestamp,
            encoder: self.encoder.take(),
            first: self.first,
            ..Self::new(microphone, 0)
        };
    }

    /// The packet of the next 20 ms; `None`: nothing is sent in them.
    pub fn next_packet(&mut self, agreed: &Agreed) -> Option<Vec<u8>> {
        let timestamp = self.timestamp;
        let step = PACKET_MS * agreed.format.codec.clock_khz();
        self.timestamp = self.timestamp.wrapping_add(step);
        if self.press.is_none() && self.gap == 0 {
            let next = if agreed.dtmf.is_some() { self.keys.pop_front() } else { None };
            self.press = next.map(|event| Press { event, timestamp, packets: 0 });
        }
        if let (Some(press), Some(payload_type)) = (&mut self.press, agreed.dtmf) {
            press.packets += 1;
            let end = press.packets > PRESS_PACKETS;
            let duration = press.packets.min(PRESS_PACKETS) * step as u16;
            let [high, low] = duration.to_be_bytes();
            let payload = [press.event, if end { 0x80 | 10 } else { 10 }, high, low];
            let (marked, timestamp) = (press.packets == 1, press.timestamp);
            if press.packets >= PRESS_PACKETS + END_PACKETS {
                self.press = None;
                self.gap = GAP_PACKETS;
            }
            return self.packet(payload_type, marked, timestamp, &payload);
        }
        self.gap = self.gap.saturating_sub(1);
        let mut frame = [0i16; PACKET];
        for sample in &mut frame {
            *sample = self.sample()?;
        }
        let mut payload = [0u8; MAX_FRAME_BYTES];
        let codec = agreed.format.codec;
        let length = match law(codec) {
            Some(law) => {
                for (byte, sample) in payload.iter_mut().zip(frame) {
                    *byte = encode(law, sample);
                }
                PACKET
            }
            None => {
                let known = self.encoder.take().filter(|encoder| encoder.codec() == codec);
                let encoder = self.encoder.insert(known.unwrap_or_else(|| Box::new(Encoder::new(codec))));
                encoder.encode(&frame, Rate::Narrow, &mut payload)
            }
        };
        let marked = std::mem::replace(&mut self.first, false);
        self.packet(agreed.format.payload_type, marked, timestamp, payload.get(..length)?)
    }

    fn packet(&mut self, payload_type: u8, marked: bool, timestamp: u32, payload: &[u8]) -> Option<Vec<u8>> {
        let built = RtpPacketBuilder::new()
            .payload_type(payload_type)
            .marked(marked)
            .ssrc(self.ssrc)
            .sequence(Seq::from(self.sequence))
            .timestamp(timestamp)
            .payload(payload)
            .build()
            .ok()?;
        self.sequence = self.sequence.wrapping_add(1);
        Some(built)
    }

    fn sample(&mut self) -> Option<i16> {
        match &self.microphone {
            Microphone::Off => None,
            Microphone::Silence => Some(0),
            Microphone::Tone(_) => self.tone.as_mut().map(Tone::sample),
            Microphone::Samples { samples, repeat } => {
                if *repeat && self.position >= samples.len() {
                    self.position = 0;
                }
                let sample = samples.get(self.position).copied().unwrap_or(0);
                self.position += 1;
                Some(sample)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone::tone_share;
    use hotline_rtp::api::Format;

    fn agreed() -> Agreed {
        agreed_on(Codec::Pcmu, 0)
    }

    fn agreed_on(codec: Codec, payload_type: u8) -> Agreed {
        let format = Format { codec, payload_type };
        Agreed { remote: "127.0.0.1:4000".parse().unwrap(), format, dtmf: Some(101), send: true }
    }

    #[test]
    fn wideband_sound_and_keys_lie_on_the_codecs_clock() {
        for (codec, payload_type) in [(Codec::G722, 9), (Codec::Opus, 111)] {
            let agreed = agreed_on(codec, payload_type);
            let mut speaker = Speaker::new(Microphone::Tone(880), 5);
            let mut heard = Heard::of_call();
            for number in 0..60 {
                if number == 30 {
                    speaker.press_keys(event_of('7'));
                }
                let packet = speaker.next_packet(&agreed).unwrap();
                heard.receive(&agreed, Duration::ZERO, &packet);
            }
            assert_eq!(heard.samples.len(), 60 * 160, "{codec:?}");
            assert!(tone_share(&heard.samples[800..4_800], 880) > 0.95, "{codec:?}");
            assert_eq!(heard.digits, [HeardDigit { digit: '7', duration: Duration::from_millis(100) }]);
        }
    }

    #[test]
    fn a_press_has_one_timestamp_growing_durations_and_three_ends() {
        let mut speaker = Speaker::new(Microphone::Tone(440), 1);
        speaker.press_keys([event_of('1').unwrap(), event_of('#').unwrap()]);
        let packets: Vec<Vec<u8>> = (0..25).filter_map(|_| speaker.next_packet(&agreed())).collect();
        let line = |packet: &Vec<u8>| {
            let rtp = RtpReader::new(packet).unwrap();
            match rtp.payload() {
                [event, flags, high, low] => {
                    format!(
                        "{event} {} {}{}",
                        u16::from_be_bytes([*high, *low]),
                        if rtp.mark() { "M" } else { "" },
                        if flags & 0x80 != 0 { "E" } else { "" }
                    )
                }
                _ => "audio".into(),
            }
        };
        let lines: Vec<String> = packets.iter().map(line).collect();
        assert_eq!(
            lines[..12],
            [
                "1 160 M", "1 320 ", "1 480 ", "1 640 ", "1 800 ", "1 800 E", "1 800 E", "1 800 E", "audio", "audio",
                "audio", "11 160 M"
            ]
        );
        assert!(speaker.idle());
        let mut heard = Heard::default();
        for packet in packets.iter().chain(&packets) {
            heard.receive(&agreed(), Duration::ZERO, packet);
        }
        let press = |digit| HeardDigit { digit, duration: Duration::from_millis(100) };
        assert_eq!(heard.digits[..2], [press('1'), press('#')]);
    }

    #[test]
    fn sound_lies_where_its_timestamp_says() {
        let mut speaker = Speaker::new(Microphone::Tone(880), 5);
        let packets: Vec<Vec<u8>> = (0..100).filter_map(|_| speaker.next_packet(&agreed())).collect();
        let mut heard = Heard::of_call();
        // Pairs in the wrong order, and a second of loss.
        for pair in packets.chunks(2).enumerate().filter(|(i, _)| !(10..35).contains(i)).map(|(_, p)| p) {
            for packet in pair.iter().rev() {
                heard.receive(&agreed(), Duration::from_millis(500), packet);
            }
        }
        assert_eq!(heard.samples.len(), 4_000 + 100 * 160);
        let share = tone_share(&heard.samples[4_160..], 880);
        assert!((0.45..0.55).contains(&share), "{share}");
    }

    #[test]
    fn garbage_is_counted() {
        let mut heard = Heard::default();
        heard.receive(&agreed(), Duration::ZERO, b"no rtp");
        assert_eq!(heard.counts, MediaCounts { sent: 0, received: 0, rejected: 1 });
    }
}
