//! RTP of one call: what is sent each 20 ms, and what is made of what comes.

use rtp_rs::{RtpPacketBuilder, RtpReader, Seq};
use std::collections::VecDeque;
use std::time::Duration;

use crate::config::Microphone;
use crate::g711::{Law, decode, encode};
use crate::sdp::Agreed;
use crate::tone::Tone;

/// Samples of a packet: 20 ms at 8 kHz.
const PACKET: u32 = 160;
/// Packets of a key press before its end: 100 ms.
const PRESS_PACKETS: u16 = 5;
/// The end of a press is sent three times (RFC 4733 §2.5.1.4).
const END_PACKETS: u16 = 3;
/// Packets of sound between presses: 60 ms.
const GAP_PACKETS: u16 = 3;
/// Longest recording, samples: ten minutes.
const HEARD: usize = 8_000 * 600;
/// A jump of timestamps over this is a new stream: five seconds.
const JUMP: i64 = 40_000;
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

#[derive(Debug, Clone, Copy)]
struct Stream {
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
            return self.press(rtp.timestamp(), rtp.payload());
        }
        let law = Law::of(rtp.payload_type())?;
        let origin = *self.origin.get_or_insert(at);
        let arrival = (at.saturating_sub(origin).as_millis() as usize).saturating_mul(8);
        let same = self.stream.filter(|s| s.ssrc == rtp.ssrc());
        let offset = same.map(|s| i64::from(rtp.timestamp().wrapping_sub(s.timestamp) as i32));
        let position = match (same, offset) {
            (Some(stream), Some(offset)) if (0..JUMP + self.samples.len() as i64).contains(&offset) => {
                stream.position + offset as usize
            }
            _ => {
                self.stream = Some(Stream { ssrc: rtp.ssrc(), timestamp: rtp.timestamp(), position: arrival });
                arrival
            }
        };
        let end = position + rtp.payload().len();
        if end > HEARD {
            return None;
        }
        if self.samples.len() < end {
            self.samples.resize(end, 0);
        }
        if let Some(place) = self.samples.get_mut(position..end) {
            for (sample, byte) in place.iter_mut().zip(rtp.payload()) {
                *sample = decode(law, *byte);
            }
        }
        None
    }

    /// RFC 4733: all packets of one press have one timestamp.
    fn press(&mut self, timestamp: u32, payload: &[u8]) -> Option<char> {
        let [event, _flags, high, low, ..] = *payload else {
            return None;
        };
        let digit = char_of(event)?;
        let duration = Duration::from_millis(u64::from(u16::from_be_bytes([high, low])) / 8);
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
            first: self.first,
            ..Self::new(microphone, 0)
        };
    }

    /// The packet of the next 20 ms; `None`: nothing is sent in them.
    pub fn next_packet(&mut self, agreed: &Agreed) -> Option<Vec<u8>> {
        let timestamp = self.timestamp;
        self.timestamp = self.timestamp.wrapping_add(PACKET);
        if self.press.is_none() && self.gap == 0 {
            let next = if agreed.dtmf.is_some() { self.keys.pop_front() } else { None };
            self.press = next.map(|event| Press { event, timestamp, packets: 0 });
        }
        if let (Some(press), Some(payload_type)) = (&mut self.press, agreed.dtmf) {
            press.packets += 1;
            let end = press.packets > PRESS_PACKETS;
            let duration = press.packets.min(PRESS_PACKETS) * PACKET as u16;
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
        let mut payload = [0u8; PACKET as usize];
        for byte in &mut payload {
            let sample = self.sample()?;
            *byte = encode(agreed.law, sample);
        }
        let marked = std::mem::replace(&mut self.first, false);
        self.packet(agreed.law.payload_type(), marked, timestamp, &payload)
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

    fn agreed() -> Agreed {
        Agreed { remote: "127.0.0.1:4000".parse().unwrap(), law: Law::Mu, dtmf: Some(101), send: true }
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
